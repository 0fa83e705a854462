//! Milestones of a component.

use std::num::NonZero;

use rust_decimal::Decimal;

use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::book::plan::Milestones;
use crate::domain::book::plan::Model;

/// The most days of a streak.
const DAYS_MAX: u16 = 366;

/// Reads the `milestones` of a component with this model and meter.
pub fn read(table: &mut Table<'_>, model: Option<&Model>, meter: Option<&Meter>) -> Option<Milestones> {
    let value = table.get("milestones")?;
    if model.is_some_and(|model| !model.is_of_quantity()) {
        let message =
            "this model prices more of the usage than its sum, so it cannot price how many milestones there are";
        return value.wrong("milestones_without_quantity", message.to_owned(), "use a model such as \"per_unit\"");
    }
    if let Some(meter) = meter.filter(|meter| !grows(meter)) {
        let message = format!("meter `{}` measures what goes up and down, and milestones are reached once", meter.id);
        return value.wrong("milestones_of_level", message, "use a meter that counts, sums, or takes the largest");
    }
    value.table("milestones", |table| {
        let kinds = ["every", "at", "days_in_a_row"].map(|kind| table.has(kind));
        if kinds.iter().filter(|is_there| **is_there).count() != 1 {
            let message = "milestones are either `every` so much, `at` some quantities, or `days_in_a_row`".to_owned();
            table.note("milestones", "milestones_without_one_kind", message, "give it one of the three");
        }
        let every = table.optional("every", Value::above_zero).map(Milestones::Every);
        let at = table.optional("at", quantities).map(Milestones::At);
        every.or(at).or_else(|| days(table))
    })
}

fn days(table: &mut Table<'_>) -> Option<Milestones> {
    let days: NonZero<u16> = table.optional("days_in_a_row", |value| value.whole_up_to(DAYS_MAX))?;
    let at_least = table.optional_exact("at_least", Value::above_zero)?.unwrap_or(Decimal::ONE);
    Some(Milestones::DaysInARow { days, at_least })
}

/// Whether there is never less of it when more happens.
fn grows(meter: &Meter) -> bool {
    match meter.aggregation {
        Aggregation::Count | Aggregation::Sum | Aggregation::Max => true,
        Aggregation::Unique => meter.operation.is_none(),
        Aggregation::Avg | Aggregation::Latest | Aggregation::WeightedSum | Aggregation::Percentile(_) => false,
    }
}

fn quantities(list: Value<'_>) -> Option<Vec<Decimal>> {
    let items = list.clone().items()?;
    if items.is_empty() {
        return list.wrong("empty_list", "`at` lists no quantity".to_owned(), "list those that are milestones");
    }
    let mut quantities: Vec<Decimal> = Vec::with_capacity(items.len());
    for item in items {
        let quantity = item.clone().above_zero()?;
        if let Some(before) = quantities.last().filter(|before| quantity <= **before) {
            let message = format!("{quantity} is not above the milestone before it, {before}");
            return item.wrong("milestones_out_of_order", message, "write them in rising order");
        }
        quantities.push(quantity);
    }
    Some(quantities)
}
