//! Quotas: what a running period has used so far of what a plan includes and allows, by the same arithmetic as its lines.

use std::collections::BTreeMap;

use jiff::civil::Date;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::domain::book::plan::Cap;
use crate::domain::book::plan::CapLimit;
use crate::domain::book::plan::CapWindow;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Direction;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Tier;
use crate::domain::book::plan::UsageComponent;
use crate::domain::book::program::Program;
use crate::domain::money::Money;
use crate::domain::rating;
use crate::domain::rating::Charge;
use crate::domain::rating::Explained;
use crate::domain::rating::Inputs;
use crate::domain::rating::PriceError;
use crate::domain::rating::RatingError;
use crate::domain::rating::advance_fees;
use crate::domain::rating::caps;
use crate::domain::rating::component;
use crate::domain::rating::component::Lives;
use crate::domain::rating::component::Measured;
use crate::domain::rating::component::Scope;
use crate::domain::rating::component::Standing;
use crate::domain::rating::exact;
use crate::domain::rating::life;
use crate::domain::rating::line::LineKind;
use crate::domain::rating::measured_charges;
use crate::domain::rating::price_error;
use crate::domain::rating::scope;
use crate::domain::time::Instant;

/// Where one line of a component stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Quota {
    pub component: String,
    pub kind: LineKind,
    pub description: String,
    pub meter: String,
    /// The values of the component's `group_by` dimensions.
    pub dimensions: BTreeMap<String, String>,
    /// As the meter measures it.
    pub used: Decimal,
    /// Transformed, and as much of it as caps let count: what is priced, or included. Where tiers carry on, with what came before
    /// this part of the period.
    pub units: Decimal,
    /// What costs nothing, in the order in which it is used up.
    pub included: Vec<Included>,
    /// What is left of all that is included; none if nothing is.
    pub left: Option<Decimal>,
    /// When the period ends, and with it what was used of what is included.
    pub resets_at: Instant,
    /// Shared by all lines of the component.
    pub caps: Vec<Used>,
}

/// Units that cost nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Included {
    pub by: IncludedBy,
    /// The allowance, which other components may use too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowance: Option<String>,
    pub quantity: Decimal,
    pub used: Decimal,
    pub left: Decimal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IncludedBy {
    Allowance,
    FreeQuantity,
    /// The first tier, if it costs nothing.
    FreeTier,
}

/// A cap, and what was used of it in the window that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Whether it counts units or money.
    pub of: CapOf,
    pub per: CapWindow,
    pub limit: Decimal,
    pub used: Decimal,
    pub left: Decimal,
    /// None for a lifetime.
    pub resets_at: Option<Instant>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CapOf {
    Units,
    Amount,
}

/// A running period as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quotas {
    pub components: Vec<Quota>,
    /// What its fees and charges come to, those in advance among them, without tax.
    pub spent: Money,
}

/// A component, and where its lines stand.
struct Counted<'a> {
    component: &'a UsageComponent,
    standings: Vec<Standing>,
    lives: Lives,
}

impl<'a> Counted<'a> {
    fn of(scope: &Scope<'a>, measured: Measured, mut lives: Lives) -> Result<Self, RatingError> {
        let (component, standings) = (scope.component, measured.standings());
        // What caps have let through of an amount is known once there is one.
        component::rate(scope, measured, &mut lives).map_err(|source| price_error(component, source))?;
        Ok(Self { component, standings, lives })
    }

    /// What it was given of an allowance, if it is this one that it names.
    fn given(&self, allowance: &str) -> Result<Decimal, RatingError> {
        if self.component.allowance.as_deref() != Some(allowance) {
            return Ok(Decimal::ZERO);
        }
        let given = self.standings.iter().map(|standing| exact::sub(standing.units, standing.billable));
        let given = given.collect::<Result<Vec<_>, _>>().and_then(exact::sum);
        given.map_err(|source| price_error(self.component, source))
    }
}

/// What the period that `at` lies in has used. A reward is shown if `is_eligible` says so of its program.
pub fn quotas(inputs: &Inputs<'_>, at: Instant, is_eligible: impl Fn(&Program) -> bool) -> Result<Quotas, RatingError> {
    let plan = inputs.plan;
    let mut charges = measured_charges(inputs, Explained::No)?;
    let mut all = Vec::new();
    for component in &plan.components {
        let Component::Usage(usage) = component else { continue };
        match &usage.direction {
            Direction::Charge => {
                if let Some(Charge { scope, lives, measured }) = charges.remove(usage.id.as_str()) {
                    all.push(Counted::of(&scope, measured, lives)?);
                }
            }
            Direction::Reward { program } => {
                let program = inputs.programs.get(program).filter(|program| is_eligible(program));
                all.extend(program.map(|program| reward(inputs, usage, program, at)).transpose()?.flatten());
            }
        }
    }
    let mut components = Vec::with_capacity(all.len());
    for one in &all {
        let caps = caps_of(inputs, one, at)?;
        let allowance = one.component.allowance.as_ref();
        let mut shared = None;
        if let Some((id, quantity)) = allowance.and_then(|id| plan.allowances.get_key_value(id)) {
            let given = all.iter().map(|other| other.given(id)).collect::<Result<Vec<_>, _>>()?;
            let used = exact::sum(given).map_err(|source| price_error(one.component, source))?;
            shared = Some((id, *quantity, used));
        }
        for standing in &one.standings {
            let quota = quota(inputs, one.component, standing, (shared, &caps));
            components.push(quota.map_err(|source| price_error(one.component, source))?);
        }
    }
    let lines = rating::charges(inputs, Explained::No)?;
    let advance = advance_fees(plan, inputs.life(), (inputs.period, inputs.whole))?;
    let spent = Money::sum(plan.currency, advance.iter().chain(&lines).map(|line| line.amount))?;
    Ok(Quotas { components, spent })
}

/// None outside of the program's window.
fn reward<'a>(
    inputs: &Inputs<'a>,
    component: &'a UsageComponent,
    program: &Program,
    at: Instant,
) -> Result<Option<Counted<'a>>, RatingError> {
    let Some(span) = inputs.period.intersect(program.window).filter(|span| span.contains(at)) else { return Ok(None) };
    let scope = scope(inputs, component, (span, inputs.life_from.max(program.window.from())), Explained::No)?;
    let mut lives = life::before(inputs, &scope, Some(program.window))?;
    let measured = component::measure(&scope, &mut lives).map_err(|source| price_error(component, source))?;
    Counted::of(&scope, measured, lives).map(Some)
}

fn quota(
    inputs: &Inputs<'_>,
    component: &UsageComponent,
    standing: &Standing,
    (allowance, caps): (Option<(&String, Decimal, Decimal)>, &[Used]),
) -> Result<Quota, PriceError> {
    let mut included = Vec::new();
    if let Some((id, quantity, used)) = allowance {
        included.push(Included::of(IncludedBy::Allowance, Some(id.clone()), quantity, used)?);
    }
    let mut rest = standing.billable;
    let free = [
        (IncludedBy::FreeQuantity, component.modifiers.free_quantity),
        (IncludedBy::FreeTier, free_tier(&component.model)),
    ];
    for (by, quantity) in free.into_iter().filter(|(_, quantity)| *quantity > Decimal::ZERO) {
        let used = rest.min(quantity);
        rest = exact::sub(rest, used)?;
        included.push(Included::of(by, None, quantity, used)?);
    }
    let left = match included.is_empty() {
        true => None,
        false => Some(exact::sum(included.iter().map(|included| included.left))?),
    };
    Ok(Quota {
        component: component.id.clone(),
        kind: if component.program().is_some() { LineKind::Reward } else { LineKind::Charge },
        description: component.name.clone(),
        meter: component.meter.clone(),
        dimensions: standing.dimensions.clone(),
        used: standing.quantity,
        units: standing.units,
        included,
        left,
        resets_at: inputs.period.to(),
        caps: caps.to_vec(),
    })
}

impl Included {
    fn of(by: IncludedBy, allowance: Option<String>, quantity: Decimal, used: Decimal) -> Result<Self, PriceError> {
        let left = exact::sub(quantity, used)?.max(Decimal::ZERO);
        Ok(Self { by, allowance, quantity, used, left })
    }
}

/// How many units the first tier holds, if they cost nothing.
fn free_tier(model: &Model) -> Decimal {
    let tiers = match model {
        Model::Graduated(tiers)
        | Model::Volume(tiers)
        | Model::GraduatedPercentage(tiers)
        | Model::Stairstep(tiers)
        | Model::GraduatedProrated { tiers, .. } => tiers,
        Model::Flat { .. }
        | Model::PerUnit { .. }
        | Model::Package { .. }
        | Model::Dynamic { .. }
        | Model::Percentage(_)
        | Model::Capacity(_)
        | Model::Matrix(_)
        | Model::PerBucket { .. } => return Decimal::ZERO,
    };
    let is_free = |tier: &&Tier| tier.unit_amount.is_zero() && tier.flat_amount.is_zero();
    tiers.iter().next().filter(is_free).and_then(|tier| tier.up_to).unwrap_or_default()
}

fn caps_of(inputs: &Inputs<'_>, counted: &Counted<'_>, at: Instant) -> Result<Vec<Used>, RatingError> {
    let zone = &inputs.plan.calendar.zone;
    let day = at.date_in(zone);
    let used = counted.lives.used_on(counted.component, day);
    let of = |(cap, used): (&Cap, Decimal)| {
        let (of, limit) = match cap.limit {
            CapLimit::Units(limit) => (CapOf::Units, limit),
            CapLimit::Amount(limit) => (CapOf::Amount, limit),
        };
        let used = used.max(Decimal::ZERO);
        let left = exact::sub(limit, used)?.max(Decimal::ZERO);
        Ok(Used { of, per: cap.per, limit, used, left, resets_at: resets_at(inputs, cap.per, day) })
    };
    let caps = counted.component.caps.iter().zip(used).map(of).collect::<Result<_, _>>();
    caps.map_err(|source| price_error(counted.component, source))
}

/// When the window of a cap that runs on this day ends. The period cuts all but a lifetime.
fn resets_at(inputs: &Inputs<'_>, per: CapWindow, day: Date) -> Option<Instant> {
    let ends = inputs.period.to();
    let next = caps::window(per, day).and_then(|first| caps::after(per, first));
    let next = next.and_then(|next| Instant::start_of(next, &inputs.plan.calendar.zone));
    (per != CapWindow::Lifetime).then(|| next.map_or(ends, |next| next.min(ends)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::book::meter::Meter;
    use crate::domain::book::plan::Tiers;
    use crate::domain::rating::examples::Case;
    use crate::domain::rating::examples::hour;
    use crate::domain::rating::examples::program;
    use crate::domain::rating::examples::usage;
    use crate::domain::rating::line::Usage;

    const ALLOWANCE: &str = "included";

    /// The plan of a case with these components, at an hour.
    fn stand(case: &Case, components: &[UsageComponent], rows: &[Usage], at: i64) -> Quotas {
        let mut plan = case.plan.clone();
        plan.components = components.iter().cloned().map(Component::Usage).collect();
        let inputs = Inputs {
            plan: &plan,
            programs: &BTreeMap::from([("program".to_owned(), case.program.clone())]),
            meters: &BTreeMap::from([("miles".to_owned(), Meter::example(case.aggregation))]),
            period: case.period,
            whole: case.whole,
            life_from: case.life_from,
            carries_from: case.whole.from(),
            days: &case.days,
            changes: &case.changes,
            quantities: &case.quantities,
            usage: &BTreeMap::from([("miles".to_owned(), rows.to_vec())]),
        };
        quotas(&inputs, hour(at), |_| true).expect("rates")
    }

    fn units(index: i64, units: i64) -> Usage {
        usage(index, Decimal::from(units), "EWR")
    }

    fn case() -> Case {
        Case::new(Model::PerUnit { unit_amount: Decimal::ONE })
    }

    fn tiers(free: i64) -> Model {
        let tier = |up_to, unit_amount| Tier {
            up_to,
            unit_amount,
            flat_amount: Decimal::ZERO,
            package_size: None,
            max_amount: None,
        };
        let tiers = vec![tier(Some(Decimal::from(free)), Decimal::ZERO), tier(None, Decimal::ONE)];
        Model::Graduated(Tiers::new(tiers).expect("are in order"))
    }

    fn shown(quota: &Quota) -> Vec<(IncludedBy, String)> {
        let said = |included: &Included| format!("{} of {}, {} left", included.used, included.quantity, included.left);
        quota.included.iter().map(|included| (included.by, said(included))).collect()
    }

    #[test]
    fn what_is_included_is_used_up_one_after_the_other_and_an_allowance_is_shared() {
        let mut case = case();
        case.plan.allowances.insert(ALLOWANCE.to_owned(), Decimal::from(100));
        case.component.allowance = Some(ALLOWANCE.to_owned());
        let other = UsageComponent { id: "other".to_owned(), ..case.component.clone() };
        case.component.model = tiers(20);
        case.component.modifiers.free_quantity = Decimal::from(10);
        let components = [case.component.clone(), other];
        let quotas = stand(&case, &components, &[units(1, 65)], 2);
        let [first, other] = &quotas.components[..] else { panic!("two lines") };
        // Both count the same 65, and in their hour the first comes first.
        let allowance = (IncludedBy::Allowance, "100 of 100, 0 left".to_owned());
        let (quantity, tier) = ("0 of 10, 10 left".to_owned(), "0 of 20, 20 left".to_owned());
        let free = [(IncludedBy::FreeQuantity, quantity), (IncludedBy::FreeTier, tier)];
        assert_eq!(shown(first), [&[allowance.clone()][..], &free].concat());
        assert_eq!(
            (first.used, first.units, first.left),
            (Decimal::from(65), Decimal::from(65), Some(Decimal::from(30)))
        );
        assert_eq!((shown(other), other.left), (vec![allowance], Some(Decimal::ZERO)));
        assert_eq!((quotas.spent.minor(), other.resets_at), (3_000, case.period.to()));
        let quotas = stand(&case, &components[..1], &[units(1, 115)], 2);
        let said = shown(&quotas.components[0]).into_iter().map(|(_, said)| said).collect::<Vec<_>>();
        assert_eq!(said, ["100 of 100, 0 left", "10 of 10, 0 left", "5 of 20, 15 left"]);
    }

    #[test]
    fn a_cap_is_that_of_the_window_that_runs() {
        let mut case = case();
        case.cap_units(Decimal::from(40), CapWindow::Day);
        case.cap_amount(Decimal::from(50), CapWindow::Month);
        case.cap_units(Decimal::from(200), CapWindow::Lifetime);
        let components = [case.component.clone()];
        let rows = [units(1, 45), units(30, 7), units(31, 8)];
        let caps = |at| {
            let quotas = stand(&case, &components, &rows, at);
            let said = |cap: &Used| {
                let until = cap.resets_at.map_or_else(String::new, |until| until.to_string()[..10].to_owned());
                format!("{} of {}, {} left until {until}", cap.used, cap.limit, cap.left)
            };
            quotas.components[0].caps.iter().map(said).collect::<Vec<_>>()
        };
        let lifetime = "55 of 200, 145 left until ";
        assert_eq!(
            caps(40),
            ["15 of 40, 25 left until 2013-01-03", "50 of 50, 0 left until 2013-02-01", lifetime],
            "two amounts more, and the month's cap lets 50 through"
        );
        assert_eq!(
            caps(24 * 40),
            ["0 of 40, 40 left until 2013-02-11", "0 of 50, 50 left until 2013-03-01", lifetime],
            "another day, and another month"
        );
    }

    #[test]
    fn a_free_tier_that_carries_on_is_used_up_by_what_came_before() {
        let mut case = case();
        case.component.model = tiers(20);
        case.component.carry_tiers = true;
        case.period = crate::domain::period::Period::new(hour(24), case.whole.to()).expect("a period");
        let stand = |rows: &[Usage]| stand(&case, &[case.component.clone()], rows, 40).components.remove(0);
        let quota = stand(&[units(1, 15), units(30, 3)]);
        assert_eq!(shown(&quota), [(IncludedBy::FreeTier, "18 of 20, 2 left".to_owned())]);
        assert_eq!((quota.used, quota.units), (Decimal::from(3), Decimal::from(18)));
        assert_eq!(stand(&[units(1, 15)]).left, Some(Decimal::from(5)), "of a part without usage too");
    }

    #[test]
    fn a_reward_is_shown_to_those_who_can_earn_it_while_its_program_runs() {
        let mut case = case();
        case.component.direction = Direction::Reward { program: "program".to_owned() };
        case.cap_units(Decimal::from(10), CapWindow::Period);
        let components = [case.component.clone()];
        let quotas = stand(&case, &components, &[units(1, 4)], 2);
        let [reward] = &quotas.components[..] else { panic!("a line") };
        assert_eq!((reward.kind, reward.caps[0].left, quotas.spent.minor()), (LineKind::Reward, Decimal::from(6), 0));
        case.program = program(crate::domain::period::Period::new(hour(5), hour(9)).ok());
        assert!(stand(&case, &components, &[units(1, 4)], 4).components.is_empty());
        assert_eq!(stand(&case, &components, &[units(1, 4), units(6, 3)], 8).components[0].used, Decimal::from(3));
        assert!(stand(&case, &components, &[units(1, 4)], 9).components.is_empty());
    }

    proptest! {
        /// As much as is left costs nothing, and one more costs something; and what is spent is what the lines come to.
        #[test]
        fn as_much_as_is_left_is_free(
            rows in prop::collection::vec((0_i64..100, 0_i64..30), 0..10),
            (allowance, free, tier) in (0_i64..100, 0_i64..50, 1_i64..50),
        ) {
            let mut case = case();
            case.plan.allowances.insert(ALLOWANCE.to_owned(), Decimal::from(allowance));
            case.component.allowance = Some(ALLOWANCE.to_owned());
            case.component.modifiers.free_quantity = Decimal::from(free);
            case.component.model = tiers(tier);
            let mut rows: Vec<Usage> = rows.into_iter().map(|(index, used)| units(index, used)).collect();
            let before = stand(&case, &[case.component.clone()], &rows, 200);
            let spent: i64 = case.rate(&rows).lines.iter().map(|line| line.amount.minor()).sum();
            prop_assert_eq!(before.spent.minor(), spent);
            let left = before.components[0].left.expect("something is included");
            rows.push(usage(150, left, "EWR"));
            let after = stand(&case, &[case.component.clone()], &rows, 200);
            prop_assert_eq!((after.spent, after.components[0].left), (before.spent, Some(Decimal::ZERO)));
            rows.push(units(160, 1));
            prop_assert_eq!(stand(&case, &[case.component.clone()], &rows, 200).spent.minor(), spent + 100);
        }
    }
}
