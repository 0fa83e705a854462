//! Program budgets: what is left of one is given to all parties' rewards together, in order of bucket time.
//!
//! The bucket in which the budget runs out shares what is left in proportion to what each line would have got there
//! ([`Exhausted::Partial`]) or gets nothing ([`Exhausted::Stop`]); every later bucket gets nothing.
//! - A bucket that takes something back (see [`super::caps`]) takes it from the same line's latest buckets before it,
//!   so that only what stood at the end of the period competes for the budget.
//! - Each line is rounded once, half away from zero. Where all lines together would then exceed what is left, and
//!   where a partial budget ran out, exactly what is left is shared out instead, by largest remainder.
//! - The order in which the rewards are given does not matter: they are put in order of key, component, dimensions.

use std::collections::BTreeMap;
use std::iter::zip;

use rust_decimal::Decimal;

use crate::domain::book::meter::Path;
use crate::domain::book::program::Exhausted;
use crate::domain::book::program::Program;
use crate::domain::measure::test::Field;
use crate::domain::measure::test::holds;
use crate::domain::money::Money;
use crate::domain::money::MoneyError;
use crate::domain::money::split_by_largest_remainder;
use crate::domain::rating::Marginal;
use crate::domain::rating::PriceError;
use crate::domain::rating::RatingError;
use crate::domain::rating::UnbudgetedReward;
use crate::domain::rating::exact;
use crate::domain::rating::explain;
use crate::domain::rating::line::Line;
use crate::domain::rating::line::Step;
use crate::domain::rating::line::StepKind;
use crate::domain::time::Instant;

/// Whether a consumer may earn from a program: all its conditions hold of the consumer's fields.
pub fn eligible(program: &Program, consumer_fields: &dyn Fn(&Path) -> Option<String>) -> bool {
    program.eligible.iter().all(|test| {
        let value = consumer_fields(&test.field);
        holds(&test.operation, value.as_deref().map(Field::Text))
    })
}

/// Settles all rewards of one program that are closed together. `left` is what its budget has left; none means that
/// it has no limit. The lines come back with their keys, in order of key, component and dimensions.
pub fn settle_budget<K: Ord>(
    program: &Program,
    left: Option<Money>,
    mut rewards: Vec<(K, UnbudgetedReward)>,
) -> Result<Vec<(K, Line)>, RatingError> {
    rewards.sort_by(|(a, first), (b, second)| a.cmp(b).then_with(|| place(first).cmp(&place(second))));
    let Some(left) = left else {
        return rewards.into_iter().map(|(key, reward)| Ok((key, finished(reward.line, reward.exact)?))).collect();
    };
    for (_, reward) in &rewards {
        left.checked_add(reward.line.amount)?;
    }
    let granted = grant(program.exhausted, left.decimal().max(Decimal::ZERO), &rewards)
        .map_err(|source| RatingError::Budget { program: program.id.clone(), source })?;
    let amounts = round_within(left, program.exhausted, &granted)?;
    let mut lines = Vec::with_capacity(rewards.len());
    for (((key, mut reward), exact), amount) in zip(zip(rewards, granted.amounts), amounts) {
        reward.line.explanation.steps.extend(shortened(program, &reward, exact));
        lines.push((key, with_amount(reward.line, exact, amount)));
    }
    Ok(lines)
}

fn place(reward: &UnbudgetedReward) -> (&str, &BTreeMap<String, String>) {
    (&reward.line.component, &reward.line.dimensions)
}

/// What each reward gets, exact, and whether somebody got less than he would have.
struct Granted {
    amounts: Vec<Decimal>,
    ran_out: bool,
}

fn grant<K>(exhausted: Exhausted, mut left: Decimal, rewards: &[(K, UnbudgetedReward)]) -> Result<Granted, PriceError> {
    let mut granted = Granted { amounts: Vec::with_capacity(rewards.len()), ran_out: false };
    let mut in_time: Vec<(Instant, usize, Decimal)> = Vec::new();
    for (index, (_, reward)) in rewards.iter().enumerate() {
        let (standing, owed) = standing(&reward.marginals)?;
        granted.amounts.push(exact::sub(Decimal::ZERO, owed)?);
        in_time.extend(standing.into_iter().map(|marginal| (marginal.at, index, marginal.amount)));
    }
    in_time.sort_by_key(|(at, index, _)| (*at, *index));
    for bucket in in_time.chunk_by(|(a, ..), (b, ..)| a == b) {
        let wanted = exact::sum(bucket.iter().map(|(.., amount)| *amount))?;
        let runs_out = wanted > left;
        for (_, index, amount) in bucket {
            let given = match (runs_out, exhausted) {
                (false, _) => *amount,
                (true, Exhausted::Partial) => exact::share(*amount, left, wanted)?,
                (true, Exhausted::Stop) => Decimal::ZERO,
            };
            granted.amounts[*index] = exact::add(granted.amounts[*index], given)?;
        }
        if runs_out {
            granted.ran_out = true;
            break;
        }
        left = exact::sub(left, wanted)?;
    }
    Ok(granted)
}

/// The marginals that stood at the end, none negative, and what could not be taken back from any of them.
fn standing(marginals: &[Marginal]) -> Result<(Vec<Marginal>, Decimal), PriceError> {
    let mut standing: Vec<Marginal> = Vec::with_capacity(marginals.len());
    let mut owed = Decimal::ZERO;
    for marginal in marginals {
        let amount = exact::sub(marginal.amount, owed)?;
        owed = Decimal::ZERO;
        if !amount.is_sign_negative() {
            standing.push(Marginal { at: marginal.at, amount });
            continue;
        }
        owed = amount.abs();
        while let Some(last) = standing.last_mut() {
            let taken = last.amount.min(owed);
            last.amount = exact::sub(last.amount, taken)?;
            owed = exact::sub(owed, taken)?;
            if !last.amount.is_zero() {
                break;
            }
            standing.pop();
        }
    }
    Ok((standing, owed))
}

/// Rounds each line; shares out exactly what is left where they would exceed it, or where it must all be given.
fn round_within(left: Money, exhausted: Exhausted, granted: &Granted) -> Result<Vec<Money>, RatingError> {
    let currency = left.currency();
    let rounded = granted.amounts.iter().map(|exact| Money::round(*exact, currency)).collect::<Result<Vec<_>, _>>()?;
    let given = Money::sum(currency, rounded.iter().copied().filter(|amount| !amount.is_negative()))?;
    let gives_all = granted.ran_out && exhausted == Exhausted::Partial;
    if !gives_all && given.minor() <= left.minor() {
        return Ok(rounded);
    }
    let weights: Vec<Decimal> = granted.amounts.iter().map(|exact| (*exact).max(Decimal::ZERO)).collect();
    let parts = split_by_largest_remainder(left.minor().max(0), &weights).ok_or(MoneyError::Overflow)?;
    let part = |(rounded, minor): (Money, i64)| match rounded.is_negative() {
        true => rounded,
        false => Money::from_minor(minor, currency),
    };
    Ok(zip(rounded, parts).map(part).collect())
}

fn shortened(program: &Program, reward: &UnbudgetedReward, granted: Decimal) -> Option<Step> {
    explain::changed(StepKind::Budget, reward.exact, granted, || {
        let currency = reward.line.amount.currency();
        let (granted, wanted) = (explain::amount(granted, currency), explain::amount(reward.exact, currency));
        format!("the budget of {} ran out: {granted} of {wanted}", program.name)
    })
}

fn finished(line: Line, exact: Decimal) -> Result<Line, MoneyError> {
    let amount = Money::round(exact, line.amount.currency())?;
    Ok(with_amount(line, exact, amount))
}

fn with_amount(mut line: Line, exact: Decimal, amount: Money) -> Line {
    line.explanation.steps.extend(explain::rounding(exact, amount));
    line.amount = amount;
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::book::meter::Operand;
    use crate::domain::book::meter::Operation;
    use crate::domain::book::meter::Path;
    use crate::domain::book::meter::Test;
    use crate::domain::rating::examples::program;

    #[test]
    fn a_consumer_is_eligible_if_all_conditions_hold() {
        let test = |field: &str, operation| Test { field: Path::parse(field).expect("a path"), operation };
        let mut program = program(None);
        let tier = |value: &'static str| {
            move |path: &Path| (path.to_string() == "consumer.tags.tier").then(|| value.to_owned())
        };
        assert!(eligible(&program, &tier("tin")));
        let metals = ["gold", "silver"].map(Operand::new).to_vec();
        program.eligible = vec![test("consumer.tags.tier", Operation::In(metals))];
        assert!(eligible(&program, &tier("gold")) && !eligible(&program, &tier("tin")));
        program.eligible.push(test("consumer.country", Operation::Exists(true)));
        assert!(!eligible(&program, &tier("gold")));
    }
}
