//! The steps of a line's explanation, in words that a customer can read.

use rust_decimal::Decimal;

use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::plan::Cap;
use crate::domain::book::plan::CapLimit;
use crate::domain::book::plan::CapWindow;
use crate::domain::book::plan::Commitment;
use crate::domain::book::plan::Each;
use crate::domain::book::plan::Milestones;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Percentage;
use crate::domain::book::plan::Rounding;
use crate::domain::book::plan::Transform;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::rating::PriceError;
use crate::domain::rating::course::Course;
use crate::domain::rating::course::NO_PRICE;
use crate::domain::rating::exact;
use crate::domain::rating::line::Step;
use crate::domain::rating::line::StepKind;
use crate::domain::rating::line::TierStep;
use crate::domain::rating::modifiers::Amounts;
use crate::domain::rating::modifiers::OfPeriod;

/// Decimals that a sentence shows of a number that has more; `before` and `after` keep them all.
const SHOWN_DECIMALS_MAX: u32 = 8;

/// A step, unless it changed nothing.
pub fn changed(step: StepKind, before: Decimal, after: Decimal, text: impl FnOnce() -> String) -> Option<Step> {
    (before != after).then(|| Step { step, text: text(), before, after, tiers: Vec::new() })
}

/// Rounds an exact amount once, and says so if that changed it.
pub fn round(exact: Decimal, currency: Currency) -> Result<(Money, Option<Step>), MoneyError> {
    let money = Money::round(exact, currency)?;
    Ok((money, rounding(exact, money)))
}

/// From the exact amount to the money that it became.
pub fn rounding(exact: Decimal, money: Money) -> Option<Step> {
    let text = || format!("rounded to {}", amount(money.decimal(), money.currency()));
    changed(StepKind::Rounding, exact, money.decimal(), text)
}

/// What was measured. A quantity below zero counts as zero.
pub fn usage(model: &Model, meter: &Meter, events: i64, measured: Decimal) -> Option<Step> {
    let counted = measured.max(Decimal::ZERO);
    if events == 0 && counted.is_zero() {
        return None;
    }
    let shown = number(measured);
    let events = plural(Decimal::from(events), "event", "events");
    let id = &meter.id;
    let mut text = match meter.aggregation {
        _ if matches!(model, Model::GraduatedProrated { .. }) => {
            format!("{id}: {shown} there in the end, after {events}")
        }
        Aggregation::Count => format!("{id}: {shown} counted"),
        Aggregation::Sum => format!("{id}: {shown}, the sum of {events}"),
        Aggregation::Avg => format!("{id}: {shown}, the mean of {events}"),
        Aggregation::Max => format!("{id}: {shown}, the largest of {events}"),
        Aggregation::Latest => format!("{id}: {shown}, the latest of {events}"),
        Aggregation::Unique if meter.operation.is_some() => format!("{id}: {shown} there in the end, after {events}"),
        Aggregation::Unique => format!("{id}: {shown} different ones in {events}"),
        Aggregation::WeightedSum => format!("{id}: {shown} on average over time, with {events}"),
        Aggregation::Percentile(rank) => {
            format!("{id}: {shown}, percentile {} of what {events} came to", number(rank.percent()))
        }
    };
    if measured.is_sign_negative() && !measured.is_zero() {
        text.push_str("; less than nothing counts as zero");
    }
    Some(Step { step: StepKind::Usage, text, before: Decimal::ZERO, after: counted, tiers: Vec::new() })
}

/// What was counted instead of what was measured.
pub fn milestones(milestones: &Milestones, meter: &Meter, events: i64, reached: Decimal) -> Option<Step> {
    if events == 0 && reached.is_zero() {
        return None;
    }
    let times = plural(reached, "time", "times");
    let text = match milestones {
        Milestones::Every(size) => format!("every {} in all, {times}", units(*size)),
        Milestones::At(quantities) => {
            let all = plural(Decimal::from(quantities.len()), "milestone", "milestones");
            format!("{} of {all} reached", number(reached))
        }
        Milestones::DaysInARow { days, .. } => {
            format!("{} in a row, {times}", plural(Decimal::from(days.get()), "day", "days"))
        }
    };
    let text = format!("{}: {text}", meter.id);
    Some(Step { step: StepKind::Usage, text, before: Decimal::ZERO, after: reached, tiers: Vec::new() })
}

pub fn transform(transform: &Transform, before: Decimal, after: Decimal) -> Option<Step> {
    changed(StepKind::Transform, before, after, || {
        let rounded = match transform.round {
            None => "",
            Some(Rounding::Up) => ", rounded up",
            Some(Rounding::Down) => ", rounded down",
        };
        format!("{} / {}{rounded} = {}", number(before), number(transform.divide_by), number(after))
    })
}

/// What came before this part of a period fills the tiers first.
pub fn carried(before: Decimal, own: Decimal, all: Decimal) -> Option<Step> {
    changed(StepKind::Carried, own, all, || {
        format!("after {} earlier in the period: {} in all", number(before), number(all))
    })
}

pub fn unit_cap(caps: &[Cap], before: Decimal, after: Decimal) -> Option<Step> {
    changed(StepKind::UnitCap, before, after, || {
        let limits = limits(caps, |limit| match limit {
            CapLimit::Units(most) => Some(units(*most)),
            CapLimit::Amount(_) => None,
        });
        format!("at most {limits} count: {} of {}", number(after), number(before))
    })
}

pub fn allowance(id: &str, before: Decimal, after: Decimal) -> Option<Step> {
    changed(StepKind::Allowance, before, after, || {
        let included = before.checked_sub(after).unwrap_or_default();
        format!("{} included in the allowance {id}, which leaves {}", units(included), number(after))
    })
}

pub fn amount_cap(caps: &[Cap], currency: Currency, before: Decimal, after: Decimal) -> Option<Step> {
    changed(StepKind::AmountCap, before, after, || {
        let limits = limits(caps, |limit| match limit {
            CapLimit::Units(_) => None,
            CapLimit::Amount(most) => Some(amount(*most, currency)),
        });
        format!("at most {limits}: {} of {}", amount(after, currency), amount(before, currency))
    })
}

/// The steps from the counted quantity to the component's amount.
pub fn price(
    (model, agreed): (&Model, &OfPeriod<'_>),
    currency: Currency,
    counted: Decimal,
    amounts: &Amounts,
    course: &Course,
    events: i64,
) -> Result<Vec<Step>, PriceError> {
    let OfPeriod { modifiers, share } = agreed;
    let money = |exact| amount(exact, currency);
    let of_share = |exact| match share {
        Some(share) => format!("{} for {share}", money(exact)),
        None => money(exact),
    };
    let free = changed(StepKind::FreeQuantity, counted, amounts.billable, || {
        format!("the first {} are free, which leaves {}", number(modifiers.free_quantity), number(amounts.billable))
    });
    let text = model_text(model, currency, amounts.billable, course, events)?;
    let all = exact::add(amounts.price, course.carried)?;
    let text = format!("{text} = {}", money(all));
    let tiers = course.tiers.clone();
    let price = Step { step: StepKind::Price, text, before: amounts.billable, after: all, tiers };
    let carried = changed(StepKind::Carried, all, amounts.price, || {
        format!("less {}, what it came to before", money(course.carried))
    });
    let base = changed(StepKind::BaseAmount, amounts.price, amounts.with_base, || {
        format!("plus a base of {}", money(modifiers.base_amount))
    });
    let discount = changed(StepKind::Discount, amounts.with_base, amounts.discounted, || {
        format!("less {} %", number(modifiers.percentage_discount))
    });
    let commitment = modifiers.commitment.as_ref();
    let overage = commitment.and_then(|commitment| {
        changed(StepKind::Overage, amounts.discounted, amounts.with_overage, || {
            overage(commitment, currency, amounts.discounted)
        })
    });
    let maximum = changed(StepKind::Maximum, amounts.with_overage, amounts.limited, || {
        format!("at most {}", of_share(amounts.limited))
    });
    let true_up = changed(StepKind::Commitment, amounts.limited, amounts.trued_up, || {
        format!("at least the commitment of {}", of_share(amounts.trued_up))
    });
    let minimum =
        changed(StepKind::Minimum, amounts.trued_up, amounts.total, || format!("at least {}", of_share(amounts.total)));
    Ok([free, Some(price), carried, base, discount, overage, maximum, true_up, minimum].into_iter().flatten().collect())
}

/// `20.00 USD beyond the commitment of 100.00 USD, times 1.5`
pub fn overage(commitment: &Commitment, currency: Currency, came_to: Decimal) -> String {
    let beyond = came_to.checked_sub(commitment.amount).unwrap_or_default();
    let (beyond, committed) = (amount(beyond, currency), amount(commitment.amount, currency));
    format!("{beyond} beyond the commitment of {committed}, times {}", number(commitment.overage_factor))
}

/// How the model came to its price.
fn model_text(
    model: &Model,
    currency: Currency,
    billable: Decimal,
    course: &Course,
    events: i64,
) -> Result<String, PriceError> {
    let tiers = |shown: fn(&TierStep, Currency) -> String| {
        let parts: Vec<String> = course.tiers.iter().map(|tier| shown(tier, currency)).collect();
        if parts.is_empty() { "nothing".to_owned() } else { parts.join(" + ") }
    };
    Ok(match model {
        Model::Flat { .. } => "a flat amount".to_owned(),
        Model::PerUnit { unit_amount } => format!("{} at {}", units(billable), amount(*unit_amount, currency)),
        Model::Package { package_size, package_amount, round } => {
            let packages = exact::whole_times(billable, *package_size, *round)?;
            let packages = plural(packages, "package", "packages");
            format!("{packages} of {} at {}", number(*package_size), amount(*package_amount, currency))
        }
        Model::Graduated(_) => tiers(tier_text),
        Model::Volume(_) => format!("all {}", tiers(tier_text)),
        Model::GraduatedPercentage(_) => tiers(rate_text),
        Model::Stairstep(_) => format!("the step for {}", units(billable)),
        Model::Dynamic { multiplier } if *multiplier == Decimal::ONE => "the amounts of the events".to_owned(),
        Model::Dynamic { multiplier } => {
            format!("the amounts of the events, {}, times {}", amount(billable, currency), number(*multiplier))
        }
        Model::Percentage(model) => percentage_text(model, currency, billable, course, events),
        Model::Capacity(_) => {
            let labels: Vec<&str> = course.tiers.iter().map(|tier| tier.label.as_str()).collect();
            format!("the capacity {}", labels.join(", "))
        }
        Model::Matrix(_) => tiers(labelled_text),
        Model::PerBucket { per, .. } => {
            let windows = plural(Decimal::from(course.so_far.len()), "window", "windows");
            let each = match per {
                Each::Bucket => "each bucket on its own",
                Each::Day => "each day on its own",
                Each::Week => "each week on its own",
                Each::Month => "each month on its own",
            };
            format!("{each}, {windows}")
        }
        Model::GraduatedProrated { .. } => {
            format!("each unit for the time that it was there, {} at the end", number(billable))
        }
    })
}

/// `2.9 % of 1,234.00 USD and 0.30 USD for each of 4 events`
fn percentage_text(model: &Percentage, currency: Currency, billable: Decimal, course: &Course, events: i64) -> String {
    let paying = course.events.map_or(billable, |events| events.paying);
    let mut text = format!("{} % of {}", number(model.rate), amount(paying, currency));
    let charged = course.events.map_or(Decimal::from(events), |events| Decimal::from(events.charged));
    if !model.fixed_amount.is_zero() {
        let charged = plural(charged, "event", "events");
        text.push_str(&format!(" and {} for each of {charged}", amount(model.fixed_amount, currency)));
    }
    let each = [("at least", model.by_event.minimum), ("at most", model.by_event.maximum)];
    for (most, limit) in each.into_iter().filter_map(|(most, limit)| Some((most, limit?))) {
        text.push_str(&format!(", {most} {} each", amount(limit, currency)));
    }
    if let Some(free) = course.events.map(|events| events.free).filter(|free| *free > 0) {
        text.push_str(&format!(", {} free", plural(Decimal::from(free), "event", "events")));
    }
    text
}

/// `1,000.00 USD at 2 %`
fn rate_text(tier: &TierStep, currency: Currency) -> String {
    let rate = tier.unit_amount.checked_mul(Decimal::ONE_HUNDRED).unwrap_or(tier.unit_amount);
    with_flat(format!("{} at {} %", amount(tier.units, currency), number(rate)), tier, currency)
}

/// `5 units at 20.00 USD (region europe)`
fn labelled_text(tier: &TierStep, currency: Currency) -> String {
    match tier.label.as_str() {
        NO_PRICE => format!("{} {NO_PRICE}", units(tier.units)),
        label => format!("{} ({label})", tier_text(tier, currency)),
    }
}

fn tier_text(tier: &TierStep, currency: Currency) -> String {
    with_flat(format!("{} at {}", units(tier.units), amount(tier.unit_amount, currency)), tier, currency)
}

fn with_flat(mut text: String, tier: &TierStep, currency: Currency) -> String {
    if !tier.flat_amount.is_zero() {
        text.push_str(" and ");
        text.push_str(&amount(tier.flat_amount, currency));
    }
    text
}

/// `100 units a day and 1,000 units a month`
fn limits(caps: &[Cap], shown: impl Fn(&CapLimit) -> Option<String>) -> String {
    let limits: Vec<String> = caps
        .iter()
        .filter_map(|cap| {
            let window = match cap.per {
                CapWindow::Day => "a day",
                CapWindow::Week => "a week",
                CapWindow::Month => "a month",
                CapWindow::Period => "a period",
                CapWindow::Lifetime => "in all",
            };
            Some(format!("{} {window}", shown(&cap.limit)?))
        })
        .collect();
    limits.join(" and ")
}

/// `100,000 units`
pub fn units(quantity: Decimal) -> String {
    plural(quantity, "unit", "units")
}

pub fn plural(quantity: Decimal, one: &str, many: &str) -> String {
    format!("{} {}", number(quantity), if quantity == Decimal::ONE { one } else { many })
}

/// `1,234.50 USD`: with the currency's decimals at least, and more where the amount has more.
pub fn amount(exact: Decimal, currency: Currency) -> String {
    let mut shown = exact.round_dp(SHOWN_DECIMALS_MAX).normalize();
    if shown.scale() < currency.exponent() {
        shown.rescale(currency.exponent());
    }
    format!("{} {currency}", grouped(shown))
}

/// `1,234.5`
pub fn number(exact: Decimal) -> String {
    grouped(exact.round_dp(SHOWN_DECIMALS_MAX).normalize())
}

fn grouped(decimal: Decimal) -> String {
    let text = decimal.abs().to_string();
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(whole, rest)| (whole, Some(rest)));
    let mut shown = if decimal.is_sign_negative() && !decimal.is_zero() { "-".to_owned() } else { String::new() };
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && whole.len().saturating_sub(place).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    if let Some(fraction) = fraction {
        shown.push('.');
        shown.push_str(fraction);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_as_people_write_them() {
        let decimal = |text| Decimal::from_str_exact(text).expect("a decimal");
        let usd = Currency::from_code("USD").expect("USD exists");
        let jpy = Currency::from_code("JPY").expect("JPY exists");
        for (exact, shown) in [("0", "0"), ("999", "999"), ("1000.50", "1,000.5"), ("-1234567", "-1,234,567")] {
            assert_eq!(number(decimal(exact)), shown);
        }
        for (exact, shown) in [("0.0100", "0.01 USD"), ("0.00125", "0.00125 USD"), ("1000", "1,000.00 USD")] {
            assert_eq!(amount(decimal(exact), usd), shown);
        }
        assert_eq!(amount(decimal("33.333333333333333333"), usd), "33.33333333 USD");
        assert_eq!(amount(decimal("1500"), jpy), "1,500 JPY");
    }
}
