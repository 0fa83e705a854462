//! The chart of accounts, and accounts: a place in the chart, whose it is, and a currency.
//!
//! An account is known by a text that never changes, such as `1100:UA:USD` or `1000:USD`. Whatever is not an ASCII
//! letter, digit, `-`, `_` or `.` in the middle part is written as `%` and two hex digits a byte, so that any id of a
//! consumer fits and no two meet.

use std::cmp::Ordering;
use std::fmt;
use std::fmt::Write as _;

use thiserror::Error;

use crate::domain::money::Currency;

/// The two sides of a posting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    Debit,
    Credit,
}

/// What an account says about the business.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccountType {
    Asset,
    Liability,
    Income,
    Expense,
}

/// What tells the accounts of one place in the chart apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dimension {
    Party,
    Component,
    Program,
    Jurisdiction,
}

/// The chart of accounts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Chart {
    Bank,
    Stripe,
    PayoutsInTransit,
    Receivable,
    ClawbackReceivable,
    RewardsHeld,
    RewardsAvailable,
    PayoutsInFlight,
    PrepaidCredit,
    CustomerCredit,
    TaxPayable,
    UsageRevenue,
    Breakage,
    CustomerRewards,
    Concessions,
    IncentiveExpense,
    ProducerShare,
    ProcessingFees,
    BadDebt,
    Rounding,
    Suspense,
}

/// An account: made only by [`Account::new`], which knows what the chart wants.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Account {
    chart: Chart,
    of: Option<String>,
    currency: Currency,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AccountError {
    #[error("account {code} is kept for each {dimension}: say which")]
    WithoutDimension { code: i64, dimension: Dimension },
    #[error("account {code} is not divided")]
    NotDivided { code: i64 },
    #[error("this is not the id of an account, such as `1100:UA:USD`")]
    NotAnId,
}

impl Side {
    pub const fn opposite(self) -> Self {
        match self {
            Self::Debit => Self::Credit,
            Self::Credit => Self::Debit,
        }
    }

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Debit => "debit",
            Self::Credit => "credit",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        [Self::Debit, Self::Credit].into_iter().find(|side| side.as_str() == text)
    }
}

impl Chart {
    pub const ALL: [Self; 21] = [
        Self::Bank,
        Self::Stripe,
        Self::PayoutsInTransit,
        Self::Receivable,
        Self::ClawbackReceivable,
        Self::RewardsHeld,
        Self::RewardsAvailable,
        Self::PayoutsInFlight,
        Self::PrepaidCredit,
        Self::CustomerCredit,
        Self::TaxPayable,
        Self::UsageRevenue,
        Self::Breakage,
        Self::CustomerRewards,
        Self::Concessions,
        Self::IncentiveExpense,
        Self::ProducerShare,
        Self::ProcessingFees,
        Self::BadDebt,
        Self::Rounding,
        Self::Suspense,
    ];

    pub fn from_code(code: i64) -> Option<Self> {
        Self::ALL.into_iter().find(|chart| chart.code() == code)
    }

    const fn row(self) -> (i64, &'static str, Option<Dimension>) {
        use Dimension::Component;
        use Dimension::Jurisdiction;
        use Dimension::Party;
        use Dimension::Program;
        match self {
            Self::Bank => (1000, "Bank", None),
            Self::Stripe => (1010, "Stripe", None),
            Self::PayoutsInTransit => (1020, "Payouts in transit", None),
            Self::Receivable => (1100, "Receivable", Some(Party)),
            Self::ClawbackReceivable => (1200, "Clawback receivable", Some(Party)),
            Self::RewardsHeld => (2000, "Rewards held", Some(Party)),
            Self::RewardsAvailable => (2010, "Rewards available", Some(Party)),
            Self::PayoutsInFlight => (2020, "Payouts in flight", None),
            Self::PrepaidCredit => (2100, "Prepaid credit", Some(Party)),
            Self::CustomerCredit => (2110, "Customer credit", Some(Party)),
            Self::TaxPayable => (2200, "Tax payable", Some(Jurisdiction)),
            Self::UsageRevenue => (4000, "Usage revenue", Some(Component)),
            Self::Breakage => (4010, "Breakage", None),
            Self::CustomerRewards => (4090, "Rewards to customers", Some(Program)),
            Self::Concessions => (4095, "Credits and concessions", None),
            Self::IncentiveExpense => (5000, "Incentive expense", Some(Program)),
            Self::ProducerShare => (5010, "Producer share", None),
            Self::ProcessingFees => (5100, "Processing fees", None),
            Self::BadDebt => (5200, "Bad debt", None),
            Self::Rounding => (5900, "Rounding", None),
            Self::Suspense => (9999, "Suspense", None),
        }
    }

    pub const fn code(self) -> i64 {
        self.row().0
    }

    pub const fn name(self) -> &'static str {
        self.row().1
    }

    pub const fn dimension(self) -> Option<Dimension> {
        self.row().2
    }

    pub const fn account_type(self) -> AccountType {
        match self.code() {
            2000..=2999 => AccountType::Liability,
            4000..=4999 => AccountType::Income,
            5000..=5999 => AccountType::Expense,
            _ => AccountType::Asset,
        }
    }

    /// The side on which the account grows. Contra revenue (4090, 4095) is income that grows on the debit side.
    pub const fn normal_side(self) -> Side {
        match (self, self.account_type()) {
            (Self::CustomerRewards | Self::Concessions, _) | (_, AccountType::Asset | AccountType::Expense) => {
                Side::Debit
            }
            (_, AccountType::Liability | AccountType::Income) => Side::Credit,
        }
    }

    /// Whether the database refuses a balance below zero: nobody is paid, and nothing is burned, that is not there.
    /// The same list stands in the migrations of both engines.
    pub const fn has_floor(self) -> bool {
        matches!(self, Self::RewardsAvailable | Self::PrepaidCredit | Self::CustomerCredit)
    }
}

impl Account {
    /// `of` says whose account it is where the chart divides (a consumer, component, program or jurisdiction).
    pub fn new(chart: Chart, of: Option<&str>, currency: Currency) -> Result<Self, AccountError> {
        let code = chart.code();
        match (chart.dimension(), of) {
            (Some(dimension), None | Some("")) => Err(AccountError::WithoutDimension { code, dimension }),
            (None, Some(_)) => Err(AccountError::NotDivided { code }),
            (Some(_), Some(_)) | (None, None) => Ok(Self { chart, of: of.map(str::to_owned), currency }),
        }
    }

    /// Reads what [`fmt::Display`] writes, and nothing else.
    pub fn parse(id: &str) -> Result<Self, AccountError> {
        let (code, rest) = id.split_once(':').ok_or(AccountError::NotAnId)?;
        let (of, currency) = match rest.split_once(':') {
            Some((of, currency)) => (Some(unescape(of).ok_or(AccountError::NotAnId)?), currency),
            None => (None, rest),
        };
        let chart = code.parse().ok().and_then(Chart::from_code).ok_or(AccountError::NotAnId)?;
        let currency = Currency::from_code(currency).ok_or(AccountError::NotAnId)?;
        let account = Self::new(chart, of.as_deref(), currency)?;
        if account.to_string() == id { Ok(account) } else { Err(AccountError::NotAnId) }
    }

    pub fn chart(&self) -> Chart {
        self.chart
    }

    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// Whose or what for, as the platform writes it.
    pub fn of(&self) -> Option<&str> {
        self.of.as_deref()
    }

    /// The consumer whose account it is.
    pub fn party(&self) -> Option<&str> {
        self.of().filter(|_| self.chart.dimension() == Some(Dimension::Party))
    }

    /// The component, program or jurisdiction that it is for.
    pub fn purpose(&self) -> Option<&str> {
        self.of().filter(|_| self.chart.dimension() != Some(Dimension::Party))
    }

    /// Whose or what for, as it stands in the id.
    pub fn escaped(&self) -> Option<String> {
        self.of().map(escape)
    }
}

impl Ord for Account {
    fn cmp(&self, other: &Self) -> Ordering {
        let key = |account: &Self| (account.chart.code(), account.currency.code());
        (key(self).0, &self.of, key(self).1).cmp(&(key(other).0, &other.of, key(other).1))
    }
}

impl PartialOrd for Account {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.chart.code())?;
        if let Some(of) = self.of() {
            write!(f, "{}:", escape(of))?;
        }
        f.write_str(self.currency.code())
    }
}

impl fmt::Display for Dimension {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Party => "party",
            Self::Component => "component",
            Self::Program => "program",
            Self::Jurisdiction => "jurisdiction",
        })
    }
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.') {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}

fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        if byte == b'%' {
            let (digits, after) = after.split_at_checked(2)?;
            bytes.push(u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?);
            rest = after;
        } else {
            bytes.push(byte);
            rest = after;
        }
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn usd() -> Currency {
        Currency::from_code("USD").expect("USD exists")
    }

    fn receivable(party: &str) -> Account {
        Account::new(Chart::Receivable, Some(party), usd()).expect("an account")
    }

    #[test]
    fn an_account_is_known_by_a_text_that_people_can_read() {
        assert_eq!(receivable("UA").to_string(), "1100:UA:USD");
        assert_eq!(receivable("a:b %").to_string(), "1100:a%3Ab%20%25:USD");
        let bank = Account::new(Chart::Bank, None, usd()).expect("an account");
        assert_eq!(bank.to_string(), "1000:USD");
        assert_eq!(Account::parse("1000:USD"), Ok(bank));
    }

    #[test]
    fn an_account_has_a_dimension_exactly_where_the_chart_divides() {
        let dimension = Dimension::Party;
        assert_eq!(
            Account::new(Chart::Receivable, None, usd()),
            Err(AccountError::WithoutDimension { code: 1100, dimension })
        );
        assert_eq!(Account::new(Chart::Bank, Some("UA"), usd()), Err(AccountError::NotDivided { code: 1000 }));
    }

    #[test]
    fn only_what_was_written_is_read() {
        for id in ["", "1100", "1100:USD", "1100::USD", "1100:UA:usd", "1101:UA:USD", "1100:U%41:USD", "1100:%4:USD"] {
            assert!(Account::parse(id).is_err(), "{id}");
        }
        for id in ["1100:%2a:USD", "01100:UA:USD", "+1100:UA:USD", "1100:%ff:USD", "1100:a:b:USD", "1000:UA:USD"] {
            assert!(Account::parse(id).is_err(), "{id}");
        }
    }

    #[test]
    fn the_chart_is_that_of_the_design() {
        let kinds: Vec<_> = Chart::ALL.iter().map(|chart| (chart.code(), chart.normal_side())).collect();
        assert!(kinds.is_sorted_by_key(|(code, _)| *code));
        for (code, side) in kinds {
            let debit = matches!(code, 1000..=1999 | 4090 | 4095 | 5000..=5999 | 9999);
            assert_eq!(side == Side::Debit, debit, "{code}");
            assert_eq!(Chart::from_code(code).map(Chart::code), Some(code));
        }
        let floors: Vec<_> = Chart::ALL.into_iter().filter(|chart| chart.has_floor()).map(Chart::code).collect();
        assert_eq!(floors, [2010, 2100, 2110]);
    }

    proptest! {
        /// Every party has an account id, it reads back as the same account, and no two parties share one.
        #[test]
        fn account_ids_round_trip_for_any_party(one in "(?s).{1,12}", other in "(?s).{1,12}") {
            let account = receivable(&one);
            prop_assert_eq!(Account::parse(&account.to_string()), Ok(account));
            prop_assert_eq!(one == other, receivable(&one).to_string() == receivable(&other).to_string());
        }
    }
}
