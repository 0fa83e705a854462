//! Payees: what must be known of a consumer before it is paid.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use crate::domain::bank::BankAccount;

/// What is on file of a consumer. Of one that nobody has told about there is nothing, and nobody has vouched for it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Payee {
    #[serde(rename = "payout")]
    pub method: Option<Method>,
    /// Somebody made sure that it is who it says.
    pub verified: bool,
    /// Its tax form is on file, or none is needed.
    pub tax_form: bool,
    /// It stands on a list of those who must not be paid.
    pub sanctioned: bool,
}

/// How it is paid, and where to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "lowercase")]
pub enum Method {
    /// By hand: whoever sends it knows how.
    Manual,
    /// A SEPA credit transfer, which is in euros.
    Sepa(BankAccount),
    /// A transfer to an account that is connected to the platform's own at Stripe.
    Stripe(ConnectedAccount),
}

/// An account at Stripe, by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectedAccount {
    /// `acct_…`
    pub account: String,
}

/// What keeps a consumer from being paid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gate {
    NoMethod,
    NotVerified,
    NoTaxForm,
    Sanctioned,
}

impl Payee {
    /// Everything that is in the way, not the first only.
    pub fn gates(&self) -> Vec<Gate> {
        let closed = [
            (Gate::Sanctioned, self.sanctioned),
            (Gate::NoMethod, self.method.is_none()),
            (Gate::NotVerified, !self.verified),
            (Gate::NoTaxForm, !self.tax_form),
        ];
        closed.into_iter().filter(|(_, is_closed)| *is_closed).map(|(gate, _)| gate).collect()
    }
}

impl Method {
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Manual => "manual",
            Self::Sepa(_) => "sepa",
            Self::Stripe(_) => "stripe",
        }
    }
}

impl ConnectedAccount {
    /// Longer than any that Stripe gives.
    const BYTES_MAX: usize = 64;

    /// None unless it looks like one; only Stripe knows whether there is such an account.
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text.strip_prefix("acct_")?;
        let is_id = !rest.is_empty() && text.len() <= Self::BYTES_MAX;
        (is_id && rest.bytes().all(|byte| byte.is_ascii_alphanumeric())).then(|| Self { account: text.to_owned() })
    }
}

impl fmt::Display for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoMethod => "no payout method is on file",
            Self::NotVerified => "the consumer is not verified",
            Self::NoTaxForm => "the tax form is missing",
            Self::Sanctioned => "the consumer has the sanctions flag",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::bank::Iban;

    #[test]
    fn every_gate_that_is_closed_is_named() {
        use Gate::NoMethod;
        use Gate::NoTaxForm;
        use Gate::NotVerified;
        use Gate::Sanctioned;
        assert_eq!(Payee::default().gates(), [NoMethod, NotVerified, NoTaxForm]);
        let open = Payee { method: Some(Method::Manual), verified: true, tax_form: true, sanctioned: false };
        assert_eq!(open.gates(), []);
        assert_eq!(Payee { sanctioned: true, ..open }.gates(), [Sanctioned]);
    }

    #[test]
    fn a_method_says_what_it_is_and_reads_back() {
        let iban = Iban::parse("DE89370400440532013000").expect("an IBAN");
        let sepa = Method::Sepa(BankAccount { name: "Jan Jansen".to_owned(), iban, bic: None });
        let json = serde_json::to_string(&sepa).expect("serialises");
        assert_eq!(json, r#"{"method":"sepa","name":"Jan Jansen","iban":"DE89370400440532013000","bic":null}"#);
        assert_eq!(serde_json::from_str::<Method>(&json).ok(), Some(sepa));
        let stripe = Method::Stripe(ConnectedAccount::parse("acct_1Nv0FGQ9RKHgCVdK").expect("an account"));
        let json = serde_json::to_string(&stripe).expect("serialises");
        assert_eq!(json, r#"{"method":"stripe","account":"acct_1Nv0FGQ9RKHgCVdK"}"#);
        assert_eq!(serde_json::from_str::<Method>(&json).ok(), Some(stripe));
        assert_eq!(["acct_", "acct_a/b", "1Nv0FG"].map(ConnectedAccount::parse), [None, None, None]);
        let manual = serde_json::to_string(&Method::Manual).expect("serialises");
        assert_eq!((&*manual, serde_json::from_str(&manual).ok()), (r#"{"method":"manual"}"#, Some(Method::Manual)));
    }
}
