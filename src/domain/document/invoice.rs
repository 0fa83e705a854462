//! Invoices: what a consumer owes for a period, with tax.

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::domain::book::Tax;
use crate::domain::document::Number;
use crate::domain::document::Occasion;
use crate::domain::document::settlement::InvoiceState;
use crate::domain::document::settlement::Settlement;
use crate::domain::document::some_date_text;
use crate::domain::ids::InvoiceId;
use crate::domain::ids::SubscriptionId;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::period::Period;
use crate::domain::rating::line::Line;
use crate::domain::time::Instant;

/// An invoice that has no number yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    pub id: InvoiceId,
    pub consumer: String,
    pub subscription: SubscriptionId,
    pub occasion: Occasion,
    pub period: Period,
    pub book_version: String,
    pub totals: Totals,
}

/// A finalised invoice: it has its number, and nothing in it changes any more but what is settled of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Invoice {
    pub id: InvoiceId,
    pub number: Number,
    pub consumer: String,
    pub subscription: SubscriptionId,
    pub occasion: Occasion,
    pub period: Period,
    pub state: InvoiceState,
    #[serde(flatten)]
    pub totals: Totals,
    /// The price-book version that it was rated under.
    pub book_version: String,
    pub issued_at: Instant,
    /// The last day on which it is paid in time. None of invoices that were made before there was one.
    #[serde(serialize_with = "some_date_text")]
    pub due_on: Option<Date>,
    /// What is still owed of the total.
    pub outstanding: Money,
    pub settlements: Vec<Settlement>,
}

/// Lines and what they come to: `net` is their sum, `total` is `net` and `tax`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Totals {
    pub lines: Vec<Line>,
    pub net: Money,
    pub taxes: Vec<Taxed>,
    pub tax: Money,
    pub total: Money,
}

/// The tax that is owed to one jurisdiction.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Taxed {
    /// The `[[tax]]` of the price book.
    pub tax: String,
    pub jurisdiction: String,
    /// Percent.
    pub rate: Decimal,
    pub amount: Money,
}

impl Draft {
    pub fn finalize(self, number: Number, issued_at: Instant, due_on: Date) -> Invoice {
        let total = self.totals.total;
        Invoice {
            id: self.id,
            number,
            consumer: self.consumer,
            subscription: self.subscription,
            occasion: self.occasion,
            period: self.period,
            state: if total.is_zero() { InvoiceState::Paid } else { InvoiceState::Open },
            totals: self.totals,
            book_version: self.book_version,
            issued_at,
            due_on: Some(due_on),
            outstanding: total,
            settlements: Vec::new(),
        }
    }
}

impl Totals {
    /// Adds up lines, and the tax on each: rounded once a line, then summed.
    pub fn of(currency: Currency, lines: Vec<Line>, tax: Option<&Tax>) -> Result<Self, MoneyError> {
        let net = Money::sum(currency, lines.iter().map(|line| line.amount))?;
        let taxes = match tax {
            Some(tax) => vec![taxed(currency, &lines, tax)?],
            None => Vec::new(),
        };
        let tax = Money::sum(currency, taxes.iter().map(|taxed| taxed.amount))?;
        Ok(Self { lines, net, taxes, tax, total: net.checked_add(tax)? })
    }

    pub fn currency(&self) -> Currency {
        self.net.currency()
    }

    /// Whether it says anything: it comes to something, or something was used.
    pub fn is_worth_recording(&self) -> bool {
        !self.total.is_zero() || self.lines.iter().any(|line| !line.amount.is_zero() || line.explanation.events > 0)
    }
}

fn taxed(currency: Currency, lines: &[Line], tax: &Tax) -> Result<Taxed, MoneyError> {
    let amounts = lines.iter().map(|line| tax_on(line.amount, tax.rate)).collect::<Result<Vec<_>, _>>()?;
    Ok(Taxed {
        tax: tax.id.clone(),
        jurisdiction: tax.jurisdiction.clone(),
        rate: tax.rate,
        amount: Money::sum(currency, amounts)?,
    })
}

/// The tax on an amount, at a rate in percent, rounded.
pub fn tax_on(amount: Money, rate: Decimal) -> Result<Money, MoneyError> {
    let exact =
        amount.decimal().checked_mul(rate).and_then(|hundredfold| hundredfold.checked_div(Decimal::ONE_HUNDRED));
    Money::round(exact.ok_or(MoneyError::Overflow)?, amount.currency())
}

/// What may be credited of an amount that was paid for: not more than was paid, less what was credited before.
pub fn creditable(wanted: Money, paid: Money, credited: Money) -> Result<Money, MoneyError> {
    let left = paid.checked_sub(credited)?.minor().min(paid.minor());
    Ok(Money::from_minor(wanted.minor().min(left).max(0), paid.currency()))
}

#[cfg(test)]
pub mod tests {
    use std::collections::BTreeMap;

    use jiff::civil::date;

    use super::*;
    use crate::domain::rating::line::Explanation;
    use crate::domain::rating::line::LineKind;

    pub fn usd(minor: i64) -> Money {
        Money::from_minor(minor, Currency::from_code("USD").expect("USD exists"))
    }

    pub fn line(component: &str, kind: LineKind, minor: i64) -> Line {
        Line {
            component: component.to_owned(),
            kind,
            description: component.to_owned(),
            dimensions: BTreeMap::new(),
            from: Instant::from_micros(0),
            to: Instant::from_micros(3_600_000_000),
            quantity: Decimal::ONE,
            amount: usd(minor),
            program: None,
            explanation: Explanation::default(),
        }
    }

    #[test]
    fn tax_is_rounded_once_a_line_and_then_summed() {
        let tax = Tax { id: "ny".to_owned(), jurisdiction: "US-NY".to_owned(), rate: Decimal::new(8875, 3) };
        let lines = [("a", 1005), ("b", 1005), ("c", -7)].map(|(id, minor)| line(id, LineKind::Charge, minor));
        let totals = Totals::of(usd(0).currency(), lines.to_vec(), Some(&tax)).expect("fits");
        // 8.875 % of 10.05 is 0.8919…, twice 0.89; of -0.07 it is -0.0062…, -0.01. At once it would be 1.78.
        assert_eq!((totals.net, totals.tax, totals.total), (usd(2003), usd(177), usd(2180)));
        assert_eq!(totals.taxes[0].jurisdiction, "US-NY");
    }

    #[test]
    fn totals_without_tax_are_the_sum_of_the_lines_and_zero_without_usage_says_nothing() {
        let totals = Totals::of(usd(0).currency(), vec![line("a", LineKind::Fee, 5)], None).expect("fits");
        assert_eq!((totals.net, totals.tax, totals.total), (usd(5), usd(0), usd(5)));
        let mut zero = Totals::of(usd(0).currency(), vec![line("a", LineKind::Fee, 0)], None).expect("fits");
        assert!(totals.is_worth_recording() && !zero.is_worth_recording());
        zero.lines[0].explanation.events = 1;
        assert!(zero.is_worth_recording());
    }

    #[test]
    fn an_invoice_reads_as_the_contract_says() {
        let draft = Draft {
            id: InvoiceId::parse("inv_1").expect("an id"),
            consumer: "UA".to_owned(),
            subscription: SubscriptionId::parse("sub_1").expect("an id"),
            occasion: Occasion::Closing,
            period: Period::new(Instant::from_micros(0), Instant::from_micros(1)).expect("a period"),
            book_version: "v1".to_owned(),
            totals: Totals::of(usd(0).currency(), vec![line("a", LineKind::Fee, 5)], None).expect("fits"),
        };
        let invoice = draft.finalize(
            Number { prefix: "INV-".to_owned(), ordinal: 42 },
            Instant::from_micros(0),
            date(1970, 1, 31),
        );
        let json = serde_json::to_value(&invoice).expect("serialises");
        assert_eq!(json["number"], "INV-000042");
        assert_eq!((&json["state"], &json["due_on"]), (&"open".into(), &"1970-01-31".into()));
        assert_eq!(json["total"], serde_json::json!({"amount": "0.05", "currency": "USD"}));
        assert_eq!(json["period"]["from"], "1970-01-01T00:00:00Z");
        assert_eq!(json["lines"][0]["component"], "a");
    }
}
