//! The statement: what a consumer was charged, was rewarded and used in a period, in one place.

use jiff::ToSpan;
use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::domain::book::meter::Meter;
use crate::domain::document::date_text;
use crate::domain::document::invoice::Totals;
use crate::domain::measure::aggregate::by_window;
use crate::domain::measure::delta::TooLarge;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::period::Period;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::Usage;
use crate::domain::time::Instant;
use crate::domain::time::Zone;

/// In one currency: a consumer is billed in no other.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Statement {
    pub consumer: String,
    pub period: Period,
    /// In which its days begin.
    pub timezone: Zone,
    pub state: StatementState,
    pub charges: Vec<Line>,
    pub rewards: Vec<Line>,
    /// Differences for periods that were closed before.
    pub adjustments: Vec<Line>,
    /// What the charges come to, and the rewards, each with its adjustments.
    pub charged: Money,
    pub tax: Money,
    pub rewarded: Money,
    /// What the consumer owes: charges and tax less rewards. Below zero, the platform owes it.
    pub net: Money,
    /// Ids of the documents that it shows.
    pub documents: Vec<String>,
    /// Usage by day, for every meter that measured something.
    pub usage: Vec<MeterDays>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum StatementState {
    /// So far: the period runs, or was not closed yet. Amounts are rated from the usage of this moment.
    Open,
    /// Everything is on finalised documents.
    Closed,
}

/// What a meter measured day by day: one value for each day of the period.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MeterDays {
    pub meter: String,
    pub days: Vec<Day>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Day {
    #[serde(serialize_with = "date_text")]
    pub date: Date,
    pub value: Decimal,
}

/// What a statement shows, before it is added up.
#[derive(Clone, Debug, Default)]
pub struct Contents {
    pub charges: Vec<Line>,
    pub taxes: Vec<Money>,
    pub rewards: Vec<Line>,
    pub documents: Vec<String>,
}

/// Which period was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `2013-01-15`: the billing period that holds this day.
    Day(Date),
    /// `2013-01`, `2013`, or `2013-01-01..2013-02-15`: from the first day to before the second.
    Days(Date, Date),
}

impl Contents {
    pub fn add_charges(&mut self, totals: Totals) {
        self.charges.extend(totals.lines);
        self.taxes.push(totals.tax);
    }
}

impl Statement {
    /// Adds up what is shown.
    pub fn of(
        consumer: &str,
        currency: Currency,
        (period, timezone): (Period, Zone),
        state: StatementState,
        contents: Contents,
        usage: Vec<MeterDays>,
    ) -> Result<Self, MoneyError> {
        let Contents { charges, taxes, rewards, documents } = contents;
        let charged = Money::sum(currency, charges.iter().map(|line| line.amount))?;
        let rewarded = Money::sum(currency, rewards.iter().map(|line| line.amount))?;
        let tax = Money::sum(currency, taxes)?;
        let net = charged.checked_add(tax)?.checked_sub(rewarded)?;
        let (late, charges): (Vec<Line>, Vec<Line>) = charges.into_iter().partition(Line::is_adjustment);
        let (late_rewards, rewards): (Vec<Line>, Vec<Line>) = rewards.into_iter().partition(Line::is_adjustment);
        let adjustments = late.into_iter().chain(late_rewards).collect();
        Ok(Self {
            consumer: consumer.to_owned(),
            period,
            timezone,
            state,
            charges,
            rewards,
            adjustments,
            charged,
            tax,
            rewarded,
            net,
            documents,
            usage,
        })
    }
}

impl Asked {
    pub fn parse(text: &str) -> Option<Self> {
        if let Some((from, to)) = text.split_once("..").or_else(|| text.split_once('/')) {
            let (from, to) = (date(from)?, date(to)?);
            return (from < to).then_some(Self::Days(from, to));
        }
        match text.len() {
            4 => {
                let from = date(&format!("{text}-01-01"))?;
                Some(Self::Days(from, from.checked_add(1.year()).ok()?))
            }
            7 => {
                let from = date(&format!("{text}-01"))?;
                Some(Self::Days(from, from.checked_add(1.month()).ok()?))
            }
            _ => date(text).map(Self::Day),
        }
    }

    /// The first day, and the day after the last.
    pub fn days(self) -> Option<(Date, Date)> {
        match self {
            Self::Day(day) => Some((day, day.tomorrow().ok()?)),
            Self::Days(from, to) => Some((from, to)),
        }
    }
}

fn date(text: &str) -> Option<Date> {
    (text.len() == 10).then(|| text.parse().ok())?
}

/// What a meter measured on each day of `zone`. Every day of the period has a value, of what falls into the period.
pub fn by_day(meter: &Meter, usage: &[Usage], period: Period, zone: &Zone) -> Result<MeterDays, TooLarge> {
    let last = Instant::from_micros(period.to().micros().saturating_sub(1)).date_in(zone);
    let dates = period.from().date_in(zone).series(1.day()).take_while(|date| *date <= last);
    let window = |date: Date| {
        let (from, to) = (Instant::start_of(date, zone)?, Instant::start_of(date.tomorrow().ok()?, zone)?);
        Period::new(from, to).ok()?.intersect(period)
    };
    let windows = dates.filter_map(window);
    let days = by_window(meter, usage.iter().map(Usage::row).collect(), windows)?.into_iter();
    let days = days.map(|day| Day { date: day.window.from().date_in(zone), value: day.number });
    Ok(MeterDays { meter: meter.id.clone(), days: days.collect() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use jiff::civil::date;

    use super::*;
    use crate::domain::book::meter::Aggregation;
    use crate::domain::document::invoice::tests::line;
    use crate::domain::document::invoice::tests::usd;
    use crate::domain::measure::nano::Nano;
    use crate::domain::rating::line::LineKind;

    fn at(text: &str) -> Instant {
        Instant::parse(text).expect("a time")
    }

    #[test]
    fn a_period_is_a_year_a_month_days_or_the_billing_period_of_a_day() {
        let days = |text: &str| Asked::parse(text).and_then(Asked::days);
        assert_eq!(days("2012-02"), Some((date(2012, 2, 1), date(2012, 3, 1))));
        assert_eq!(days("2013"), Some((date(2013, 1, 1), date(2014, 1, 1))));
        assert_eq!(days("2013-01-01..2013-02-15"), Some((date(2013, 1, 1), date(2013, 2, 15))));
        assert_eq!(days("2013-01-01/2013-02-15"), days("2013-01-01..2013-02-15"));
        assert_eq!(Asked::parse("2013-01-15"), Some(Asked::Day(date(2013, 1, 15))));
        for wrong in ["2013-13", "2013-1", "january", "2013-02-01..2013-02-01", "2013-02-30", "", "2013-01-01.."] {
            assert_eq!(Asked::parse(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn usage_is_added_up_by_local_day_and_every_day_has_a_value() {
        let usage = |bucket: &str, value: i64| Usage {
            bucket: at(bucket),
            dimensions: BTreeMap::new(),
            item: String::new(),
            value: Nano::from(value),
            count: 1,
        };
        let rows =
            [usage("2013-01-01T05:00:00Z", 3), usage("2013-01-02T04:00:00Z", 4), usage("2013-01-03T05:00:00Z", 5)];
        let zone = Zone::named("America/New_York").expect("a zone");
        let period = Period::new(at("2013-01-01T05:00:00Z"), at("2013-01-04T05:00:00Z")).expect("a period");
        let values = |aggregation| {
            let days = by_day(&Meter::example(aggregation), &rows, period, &zone).expect("fits").days;
            days.into_iter().map(|day| (day.date.day(), day.value.to_string())).collect::<Vec<_>>()
        };
        let of = |values: [&str; 3]| (1..).zip(values.map(str::to_owned)).collect::<Vec<(i8, String)>>();
        assert_eq!(values(Aggregation::Sum), of(["7", "0", "5"]));
        assert_eq!(values(Aggregation::Max), of(["4", "0", "5"]));
    }

    #[test]
    fn the_net_is_charges_and_tax_less_rewards() {
        let contents = Contents {
            charges: vec![line("a", LineKind::Charge, 1000)],
            taxes: vec![usd(210)],
            rewards: vec![line("r", LineKind::Reward, 1500)],
            documents: vec!["inv_1".to_owned()],
        };
        let period = Period::new(Instant::from_micros(0), Instant::from_micros(1)).expect("a period");
        let currency = usd(0).currency();
        let when = (period, Zone::utc());
        let statement =
            Statement::of("UA", currency, when, StatementState::Closed, contents, Vec::new()).expect("fits");
        assert_eq!(statement.net, usd(-290));
        let json = serde_json::to_value(&statement).expect("serialises");
        assert_eq!((&json["state"], &json["timezone"]), (&"closed".into(), &"UTC".into()));
    }
}
