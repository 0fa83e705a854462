//! What went over the balance at Stripe, held against what is booked: each transfer, reversal and charge, to the cent.
//!
//! Both sides are known by the object that moved the money, and by whether it came back. What Stripe has of other kinds (its own
//! fees, payouts to the platform's bank) is not booked by itself: it is listed until a manual journal has it.

use std::collections::BTreeMap;

use miniserde::Deserialize;
use serde::Serialize;
use stripe_core::balance_transaction::ListBalanceTransaction;
use stripe_types::RangeBoundsTs;
use stripe_types::RangeQueryTs;

use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::payee::Method;
use crate::domain::time::Instant;
use crate::domain::time::Zone;
use crate::settlement::stripe::Error;
use crate::settlement::stripe::Stripe;
use crate::settlement::stripe::asking::Said;
use crate::store::Db;
use crate::store::Read;
use crate::store::Tx;
use crate::store::payouts::Sought;
use crate::store::settlements::Wanted;

/// As many as Stripe lists at once.
const LISTED_MAX: i64 = 100;
/// Payouts that are read at once.
const PAGE: i64 = 1_000;

#[derive(Deserialize)]
struct Listed {
    data: Vec<Transaction>,
    has_more: bool,
}

#[derive(Deserialize)]
struct Transaction {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    net: i64,
    currency: String,
    source: Option<Source>,
}

/// A reversal names its transfer.
#[derive(Deserialize)]
struct Source {
    id: String,
    transfer: Option<String>,
}

/// Something that is on one side alone, or is not the same on both.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Stripe's id of what moved the money.
    pub object: String,
    /// Stripe's word for it.
    pub kind: String,
    /// What it changed at Stripe, after fees; none if Stripe does not have it.
    pub at_stripe: Option<Money>,
    /// What is booked of it on account 1010; none if it is not.
    pub booked: Option<Money>,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// How many are the same on both sides.
    pub same: usize,
    pub differences: Vec<Difference>,
    /// What Stripe has in all less what is booked, by currency.
    pub sums: Vec<Sum>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sum {
    pub at_stripe: Money,
    pub booked: Money,
}

/// By object, and whether the money came back.
type Moved = BTreeMap<(String, bool), (String, Money)>;

impl Stripe {
    /// Compares everything from one instant until another, or from the beginning, or to the end.
    pub async fn reconcile(&self, db: &Db, from: Option<Instant>, to: Option<Instant>) -> Result<Reconciled, Error> {
        let at_stripe = self.balance(from, to).await?;
        let booked = booked(&mut db.read().await?, from, to).await?;
        Ok(compared(at_stripe, booked)?)
    }

    async fn balance(&self, from: Option<Instant>, to: Option<Instant>) -> Result<Moved, Error> {
        let seconds = |at: Instant| at.micros().div_euclid(1_000_000);
        let (gte, lt) = (from.map(seconds), to.map(seconds));
        let range = RangeQueryTs::Bounds(RangeBoundsTs { gte, lt, ..Default::default() });
        let mut moved = Moved::new();
        let mut after: Option<String> = None;
        loop {
            let mut request = ListBalanceTransaction::new().limit(LISTED_MAX).expand(["data.source".to_owned()]);
            if from.or(to).is_some() {
                request = request.created(range);
            }
            if let Some(after) = after {
                request = request.starting_after(after);
            }
            let listed: Listed = match self.ask(None, &request).await {
                Said::Done(listed) => listed,
                Said::Refused { reason, .. } | Said::Unknown(reason) => return Err(Error::NotYet(reason)),
            };
            after = listed.data.last().map(|last| last.id.clone());
            for transaction in listed.data {
                add(&mut moved, transaction)?;
            }
            if !listed.has_more || after.is_none() {
                return Ok(moved);
            }
        }
    }
}

fn add(moved: &mut Moved, transaction: Transaction) -> Result<(), Error> {
    let Transaction { id, kind, net, currency, source, .. } = transaction;
    let Some(currency) = Currency::from_code(&currency.to_uppercase()) else {
        return Err(Error::NotYet(format!("{id} is in `{currency}`, which is not a currency that is known here")));
    };
    let is_back = kind == "transfer_refund";
    let object = match source {
        Some(Source { transfer: Some(transfer), .. }) if is_back => transfer,
        Some(source) => source.id,
        None => id,
    };
    let net = Money::from_minor(net, currency);
    let standing = moved.entry((object, is_back)).or_insert((kind, Money::zero(currency)));
    standing.1 = standing.1.checked_add(net)?;
    Ok(())
}

/// What is booked on account 1010 of payouts and payments.
async fn booked(tx: &mut Tx<Read>, from: Option<Instant>, to: Option<Instant>) -> Result<Moved, Error> {
    let is_within = |at: Instant| from.is_none_or(|from| from <= at) && to.is_none_or(|to| at < to);
    let mut moved = Moved::new();
    let mut after: Option<String> = None;
    loop {
        let page = tx.payouts_of_money(Sought::Page { after: after.as_deref(), limit: PAGE }).await?;
        let Some(last) = page.last() else { break };
        after = Some(last.id.to_string());
        let attempts =
            page.iter().flat_map(|payout| payout.attempts.iter().map(move |attempt| (payout.amount, attempt)));
        for (amount, attempt) in attempts.filter(|(_, attempt)| matches!(attempt.method, Method::Stripe(_))) {
            let Some(transfer) = &attempt.reference else { continue };
            if attempt.ended_at.is_some_and(is_within) {
                moved.insert((transfer.clone(), false), ("transfer".to_owned(), amount.checked_neg()?));
            }
            if attempt.returned_at.is_some_and(is_within) {
                moved.insert((transfer.clone(), true), ("transfer_refund".to_owned(), amount));
            }
        }
    }
    let all = Wanted::Page { consumer: None, before: None, limit: i64::MAX };
    for payment in tx.payments(all).await? {
        let received_at = Instant::start_of(payment.received_on, &Zone::utc());
        if let Some(fee) = payment.stripe_fee.filter(|_| received_at.is_some_and(is_within)) {
            moved.insert((payment.reference, false), ("charge".to_owned(), payment.amount.checked_sub(fee)?));
        }
    }
    Ok(moved)
}

fn compared(at_stripe: Moved, mut booked: Moved) -> Result<Reconciled, MoneyError> {
    let mut reconciled = Reconciled::default();
    let mut sums: BTreeMap<&'static str, Sum> = BTreeMap::new();
    let mut count = |at_stripe: Option<Money>, booked: Option<Money>| {
        let Some(currency) = at_stripe.or(booked).map(Money::currency) else { return Ok(()) };
        let nothing = Money::zero(currency);
        let sum = sums.entry(currency.code()).or_insert(Sum { at_stripe: nothing, booked: nothing });
        sum.at_stripe = sum.at_stripe.checked_add(at_stripe.unwrap_or(nothing))?;
        sum.booked = sum.booked.checked_add(booked.unwrap_or(nothing))?;
        Ok::<(), MoneyError>(())
    };
    for ((object, is_back), (kind, amount)) in at_stripe {
        let known = booked.remove(&(object.clone(), is_back)).map(|(_, amount)| amount);
        count(Some(amount), known.filter(|known| known.currency() == amount.currency()))?;
        if known == Some(amount) {
            reconciled.same += 1;
        } else {
            reconciled.differences.push(Difference { object, kind, at_stripe: Some(amount), booked: known });
        }
    }
    for ((object, _), (kind, amount)) in booked {
        count(None, Some(amount))?;
        reconciled.differences.push(Difference { object, kind, at_stripe: None, booked: Some(amount) });
    }
    reconciled.sums = sums.into_values().collect();
    Ok(reconciled)
}
