//! Tiers that carry on over the parts of a period: read where a part is what all so far comes to less what came before, and
//! refused where the parts would not add up to the whole.

use crate::domain::book::meter::Aggregation;
use crate::domain::book::meter::Meter;
use crate::domain::book::parse::reader::Table;
use crate::domain::book::parse::value::Value;
use crate::domain::book::plan::Model;

/// What a component with tiers that carry on cannot have: why, and what to do instead.
const APART: [(&str, &str, &str); 8] = [
    ("transform", "units are converted in each part, and do not add up", "let the meter's `value` convert them"),
    ("cap", "a part does not know what was capped before it", "leave out one of the two"),
    ("allowance", "a part does not know what was included before it", "give it a `free_quantity` instead"),
    (
        "milestones",
        "these are counted since the subscription began, whatever parts there are",
        "leave out one of the two",
    ),
    ("base_amount", "each part would owe it once more", "make it the first tier's `flat_amount`, or a fee"),
    (
        "commitment",
        "a part does not know what was beyond it before",
        "give it to the plan, or leave out one of the two",
    ),
    (
        "maximum_amount",
        "a part does not know what was cut off before it",
        "give it to the plan, or leave out one of the two",
    ),
    (
        "minimum_amount",
        "a part does not know what was added before it",
        "give it to the plan, or leave out one of the two",
    ),
];

/// Whether the tiers of a component with this model and meter carry on.
pub fn read(table: &mut Table<'_>, model: Option<&Model>, meter: Option<&Meter>) -> bool {
    let Some(value) = table.get("carry_tiers") else { return false };
    if value.clone().flag() != Some(true) {
        return false;
    }
    for (key, why, fix) in APART.into_iter().filter(|(key, ..)| table.has(key)) {
        value.clone().wrong::<()>("carry_tiers_with_more", format!("with `{key}`: {why}"), fix);
    }
    if let Some(meter) = meter.filter(|meter| !matches!(meter.aggregation, Aggregation::Count | Aggregation::Sum)) {
        let message = format!("what meter `{}` measures of two parts of a period does not add up", meter.id);
        let fix = "use a meter that counts or sums, or leave it out";
        value.clone().wrong::<()>("carry_tiers_without_sum", message, fix);
    }
    if let Some(model) = model {
        fits(&value, model, table.has("group_by"));
    }
    true
}

fn fits(value: &Value<'_>, model: &Model, is_grouped: bool) {
    let (Model::Graduated(tiers) | Model::GraduatedPercentage(tiers)) = model else {
        let message = "this model has no tiers that are filled one after another".to_owned();
        let fix = "use \"graduated\" or \"graduated_percentage\", or leave it out";
        value.clone().wrong::<()>("carry_tiers_without_tiers", message, fix);
        return;
    };
    if is_grouped && tiers.iter().next().is_some_and(|first| !first.flat_amount.is_zero()) {
        // Even a line of nothing owes it, and only usage tells which lines a whole period has.
        let message = "a part does not know which lines of `group_by` owed the first tier's `flat_amount` before it";
        let fix = "make that a fee, or leave out `group_by`";
        value.clone().wrong::<()>("carry_tiers_of_groups", message.to_owned(), fix);
    }
}
