//! Cliffs: bounds where one more unit makes what a component comes to smaller.
//!
//! Found from the book alone, at each bound of its tiers: what the bound comes to, beside what just above it does. A volume
//! price has a cliff wherever a tier is cheaper than the one before, since all units get its price at once; a graduated one
//! has none unless a tier's flat amount or maximum makes one. Caps, allowances and budgets are left aside: they depend on
//! usage.

use std::fmt;

use rust_decimal::Decimal;
use serde::Deserialize;
use serde::Serialize;

use crate::domain::book::Book;
use crate::domain::book::meter::Aggregation;
use crate::domain::book::plan::CapacityTier;
use crate::domain::book::plan::Component;
use crate::domain::book::plan::Model;
use crate::domain::book::plan::Modifiers;
use crate::domain::book::plan::Tiers;
use crate::domain::book::plan::UsageComponent;
use crate::domain::money::Currency;
use crate::domain::money::Money;
use crate::domain::rating::modifiers;
use crate::domain::rating::modifiers::Amounts;

/// The smallest quantity that is measured: a billionth.
const SMALLEST: Decimal = Decimal::from_parts(1, 0, 0, false, 9);

/// A bound above which a component comes to less.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cliff {
    pub plan: String,
    pub component: String,
    /// The last quantity below it, in the units of the price, those that are free included. For a capacity, what its tier
    /// is called.
    pub at: String,
    /// The next quantity; none where it is only a little more.
    pub above: Option<Decimal>,
    pub amount_at: Money,
    pub amount_above: Money,
}

/// Every cliff of a book, plan by plan. A bound whose price is too large to compute has none.
pub fn cliffs(book: &Book) -> Vec<Cliff> {
    let mut found = Vec::new();
    for plan in book.plans.values() {
        for component in &plan.components {
            if let Component::Usage(usage) = component {
                let drops = drops(&usage.model, &usage.modifiers, is_whole(book, usage));
                found.extend(drops.into_iter().filter_map(|drop| drop.named(&plan.id, &usage.id, plan.currency)));
            }
        }
    }
    found
}

/// A cliff, exact.
struct Drop {
    at: String,
    above: Option<Decimal>,
    amount_at: Decimal,
    amount_above: Decimal,
}

impl Drop {
    fn named(self, plan: &str, component: &str, currency: Currency) -> Option<Cliff> {
        Some(Cliff {
            plan: plan.to_owned(),
            component: component.to_owned(),
            at: self.at,
            above: self.above,
            amount_at: Money::round(self.amount_at, currency).ok()?,
            amount_above: Money::round(self.amount_above, currency).ok()?,
        })
    }
}

/// Whether the quantity that is priced comes in whole units.
fn is_whole(book: &Book, component: &UsageComponent) -> bool {
    if let Some(transform) = &component.modifiers.transform {
        return transform.round.is_some();
    }
    let aggregation = book.meters.get(&component.meter).map(|meter| meter.aggregation);
    matches!(aggregation, Some(Aggregation::Count | Aggregation::Unique))
}

fn drops(model: &Model, modifiers: &Modifiers, is_whole: bool) -> Vec<Drop> {
    match model {
        Model::Graduated(tiers)
        | Model::GraduatedPercentage(tiers)
        | Model::Volume(tiers)
        | Model::Stairstep(tiers) => at_bounds(model, tiers, modifiers, is_whole),
        // Each window is priced by itself, so its cliffs are those of the inner model.
        Model::PerBucket { inner, .. } => {
            let within = Modifiers { free_quantity: inner.free_quantity, ..Modifiers::default() };
            drops(&inner.model, &within, is_whole)
        }
        Model::Capacity(tiers) => of_capacity(tiers, modifiers),
        Model::Flat { .. }
        | Model::PerUnit { .. }
        | Model::Package { .. }
        | Model::Dynamic { .. }
        | Model::Percentage(_)
        | Model::Matrix(_)
        | Model::GraduatedProrated { .. } => Vec::new(),
    }
}

fn at_bounds(model: &Model, tiers: &Tiers, modifiers: &Modifiers, is_whole: bool) -> Vec<Drop> {
    let bounds = tiers.iter().filter_map(|tier| tier.up_to);
    bounds.filter_map(|bound| at_bound(model, bound, modifiers, is_whole)).collect()
}

fn at_bound(model: &Model, bound: Decimal, modifiers: &Modifiers, is_whole: bool) -> Option<Drop> {
    let at = bound.checked_add(modifiers.free_quantity)?;
    let (at, above) = match is_whole {
        true => (at.floor(), at.floor().checked_add(Decimal::ONE)?),
        false => (at, at.checked_add(SMALLEST)?),
    };
    let amount =
        |quantity| modifiers::amounts(model, modifiers, quantity, None, true).ok().map(|Amounts { total, .. }| total);
    let (amount_at, amount_above) = (amount(at)?, amount(above)?);
    let above = is_whole.then_some(above);
    (amount_above < amount_at).then(|| Drop { at: at.normalize().to_string(), above, amount_at, amount_above })
}

fn of_capacity(tiers: &[CapacityTier], modifiers: &Modifiers) -> Vec<Drop> {
    let amount = |tier: &CapacityTier| {
        modifiers::around(modifiers, Decimal::ZERO, tier.amount, true).ok().map(|Amounts { total, .. }| total)
    };
    let drop = |pair: &[CapacityTier]| {
        let [tier, next] = pair else { return None };
        let (amount_at, amount_above) = (amount(tier)?, amount(next)?);
        (amount_above < amount_at).then(|| Drop { at: tier.label(), above: None, amount_at, amount_above })
    };
    tiers.windows(2).filter_map(drop).collect()
}

/// `plan pro: component records: 50 units come to 30.00 EUR, 51 to 20.40 EUR`
impl fmt::Display for Cliff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, component, at, above, amount_at, amount_above } = self;
        write!(f, "plan {plan}: component {component}: {at} units come to {amount_at}, ")?;
        match above {
            Some(above) => write!(f, "{} to {amount_above}", above.normalize()),
            None => write!(f, "a little more to {amount_above}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::book::SourceFile;
    use crate::domain::book::parse;
    use crate::domain::book::plan::Tier;

    fn said(aggregation: &str, component: &str) -> Vec<String> {
        let file = |path: &str, text: String| SourceFile { path: path.to_owned(), text };
        let book = parse(&[
            file("book.toml", "name = \"A\"\ncurrency = \"EUR\"\ntimezone = \"UTC\"\n".to_owned()),
            file("catalog/a.toml", "[[event_type]]\ntype = \"used\"\n".to_owned()),
            file("meters/a.toml", format!("[[meter]]\nid = \"used\"\nevent_type = \"used\"\n{aggregation}\n")),
            file(
                "plans/a.toml",
                format!("[plan]\nid = \"pro\"\n[[plan.component]]\nid = \"c\"\nkind = \"charge\"\nmeter = \"used\"\n{component}\n"),
            ),
        ])
        .unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
        cliffs(&book).iter().map(ToString::to_string).collect()
    }

    const COUNT: &str = "aggregation = \"count\"";
    const SUM: &str = "aggregation = \"sum\"\nvalue = \"data.size\"";

    #[test]
    fn a_volume_price_has_a_cliff_where_a_tier_is_cheaper() {
        let tiers = "model = \"volume\"\ntiers = [ { up_to = \"50\", unit_amount = \"0.60\" }, { up_to = \"500\", unit_amount = \"0.40\" }, { unit_amount = \"0.3999\" } ]";
        assert_eq!(
            said(COUNT, tiers),
            ["plan pro: component c: 50 units come to 30.00 EUR, 51 to 20.40 EUR"],
            "501 × 0.3999 is more than 500 × 0.40"
        );
        assert_eq!(
            said(SUM, tiers),
            [
                "plan pro: component c: 50 units come to 30.00 EUR, a little more to 20.00 EUR",
                "plan pro: component c: 500 units come to 200.00 EUR, a little more to 199.95 EUR",
            ]
        );
        assert_eq!(
            said(COUNT, &format!("free_quantity = \"10\"\n{tiers}")),
            ["plan pro: component c: 60 units come to 30.00 EUR, 61 to 20.40 EUR"]
        );
        // The first cliff is above what the component can come to.
        assert_eq!(said(COUNT, &format!("maximum_amount = \"20.00\"\n{tiers}")), [""; 0]);
    }

    #[test]
    fn steps_that_fall_are_cliffs_and_rising_ones_are_not() {
        let steps = |first: &str, second: &str| {
            format!(
                "model = \"stairstep\"\ntiers = [ {{ up_to = \"10\", flat_amount = \"{first}\" }}, {{ flat_amount = \"{second}\" }} ]"
            )
        };
        assert_eq!(said(COUNT, &steps("5", "9")), [""; 0]);
        assert_eq!(said(COUNT, &steps("9", "5")), ["plan pro: component c: 10 units come to 9.00 EUR, 11 to 5.00 EUR"]);
        let per_day = "model = \"per_bucket\"\nper = \"day\"\neach = { model = \"volume\", tiers = [ { up_to = \"2\", unit_amount = \"3\" }, { unit_amount = \"1\" } ] }";
        assert_eq!(said(COUNT, per_day), ["plan pro: component c: 2 units come to 6.00 EUR, 3 to 3.00 EUR"]);
    }

    proptest! {
        /// A graduated price never falls, so it has no cliff.
        #[test]
        fn a_graduated_price_has_no_cliff(tiers in prop::collection::vec((1_i64..100, 0_i64..50, 0_i64..50, prop::option::of(0_i64..500)), 1..6), is_whole: bool) {
            let mut up_to = 0;
            let mut rising: Vec<Tier> = tiers.iter().map(|(size, unit, flat, max)| {
                up_to += size;
                Tier { up_to: Some(Decimal::from(up_to)), unit_amount: Decimal::new(*unit, 2), flat_amount: Decimal::from(*flat), package_size: None, max_amount: max.map(Decimal::from) }
            }).collect();
            if let Some(last) = rising.last_mut() {
                last.up_to = None;
            }
            let model = Model::Graduated(Tiers::new(rising).expect("rises"));
            prop_assert!(drops(&model, &Modifiers::default(), is_whole).is_empty());
        }
    }
}
