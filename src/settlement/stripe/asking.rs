//! Asks Stripe, and asks again. Our own loop: the library's own retries send money under keys that nobody wrote down, or
//! under none.

use std::collections::HashMap;
use std::time::Duration;

use miniserde::Deserialize;
use stripe::IdempotencyKey;
use stripe::RequestStrategy;
use stripe::StripeError;
use stripe::StripeRequest;

use crate::domain::money::Money;
use crate::settlement::stripe::Stripe;

/// How often it is asked before that is put off.
const TRIES: u32 = 3;
/// Before the second try; twice as long before each that follows.
const PAUSE: Duration = Duration::from_millis(400);

/// Under which our key is found on what Stripe makes. One only: the library puts several in an order that changes, and the same
/// key must come with the same body.
pub(in crate::settlement::stripe) const METADATA: &str = "tallystick";

/// Something that Stripe made.
#[derive(Deserialize)]
pub(in crate::settlement::stripe) struct Made {
    pub id: String,
}

/// The same, with what we wrote on it.
#[derive(Deserialize)]
struct Marked {
    id: String,
    metadata: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
pub(in crate::settlement::stripe) struct Listed {
    data: Vec<Marked>,
    pub has_more: bool,
}

impl Listed {
    /// The id of the one that was made with this key.
    pub fn of(self, key: &str) -> Option<String> {
        let is_of = |made: &Marked| {
            let ours = made.metadata.as_ref().and_then(|metadata| metadata.get(METADATA));
            ours.is_some_and(|ours| ours == key)
        };
        self.data.into_iter().find(is_of).map(|made| made.id)
    }
}

/// What came of asking.
#[derive(Debug)]
pub(in crate::settlement::stripe) enum Said<T> {
    Done(T),
    /// It was not done, and under this key it never will be.
    Refused {
        reason: String,
        /// Whether it is only that there is not enough money at Stripe just now.
        short: bool,
    },
    /// It may have been done.
    Unknown(String),
}

impl<T> Said<T> {
    /// The database was changed from outside.
    pub fn incomplete() -> Self {
        Self::Unknown("what it was asked for is not written down completely".to_owned())
    }

    pub fn map<U>(self, to: impl FnOnce(T) -> U) -> Said<U> {
        match self {
            Self::Done(done) => Said::Done(to(done)),
            Self::Refused { reason, short } => Said::Refused { reason, short },
            Self::Unknown(why) => Said::Unknown(why),
        }
    }
}

impl Stripe {
    /// Asks for something that has this key, or that changes nothing and has none.
    ///
    /// Of the answer no more is read than `T`: the library's own types fail as a whole when Stripe adds a word somewhere,
    /// and what was done would then look as if it were unknown.
    pub(in crate::settlement::stripe) async fn ask<T, R>(&self, key: Option<&str>, request: &R) -> Said<T>
    where
        T: miniserde::Deserialize,
        R: StripeRequest + Sync,
    {
        let strategy = match key.map(IdempotencyKey::new).transpose() {
            Ok(key) => key.map_or(RequestStrategy::Once, RequestStrategy::Idempotent),
            Err(error) => return Said::Unknown(error.to_string()),
        };
        let mut pause = PAUSE;
        let mut tries = 1;
        loop {
            let error =
                match request.build().customize::<T>().request_strategy(strategy.clone()).send(&self.client).await {
                    Ok(done) => return Said::Done(done),
                    Err(error) => error,
                };
            match judge(error) {
                Judged::Again(_) if tries < TRIES => {}
                Judged::Again(why) | Judged::Unknown(why) => return Said::Unknown(why),
                Judged::Refused { reason, short } => return Said::Refused { reason, short },
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2);
            tries += 1;
        }
    }
}

enum Judged {
    Refused {
        reason: String,
        short: bool,
    },
    /// It is unknown whether it was done; the same again, under the same key, tells.
    Again(String),
    /// Unknown as well, and asking again now is no use.
    Unknown(String),
}

/// Only an error that Stripe gives for the request itself says that it was not done. It gives the same for the same key, so
/// that also holds if an earlier answer was lost. That our key is not valid any more, or that another request had the
/// idempotency key, says nothing of it.
fn judge(error: StripeError) -> Judged {
    let (error, status) = match error {
        StripeError::Stripe(error, status) => (error, status),
        StripeError::ConfigError(why) => return Judged::Unknown(why),
        StripeError::JSONDeserialize(why) => return Judged::Again(format!("its answer cannot be read: {why}")),
        StripeError::ClientError(why) => return Judged::Again(why),
        StripeError::Timeout => return Judged::Again("it did not answer in time".to_owned()),
    };
    let code = error.code.as_ref().map(|code| code.as_str()).unwrap_or_default();
    let said = error.message.as_deref().unwrap_or("it does not say why");
    let reason = if code.is_empty() { said.to_owned() } else { format!("{said} ({code})") };
    match status {
        409 | 424 | 429 | 500.. => Judged::Again(format!("{status}: {reason}")),
        400 | 402 | 404 if error.type_.as_str() != "idempotency_error" => {
            Judged::Refused { reason, short: code == "balance_insufficient" }
        }
        _ => Judged::Unknown(format!("{status}: {reason}")),
    }
}

/// Stripe writes currencies in small letters.
pub(in crate::settlement::stripe) fn currency(amount: Money) -> stripe_types::Currency {
    let code = amount.currency().code().to_lowercase();
    code.parse().unwrap_or(stripe_types::Currency::Unknown(code))
}
