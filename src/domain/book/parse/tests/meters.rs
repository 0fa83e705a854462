//! What a meter may say, and what it may not.

use super::*;
use crate::domain::book::meter;
use crate::domain::book::meter::Path;
use crate::domain::time::Bucket;

#[test]
fn mistakes_of_meters_stand_on_their_lines() {
    expect_marked(
        "meters/flights.toml",
        r#"
[[meter]]
id = "miles"
event_type = "flight.complete" #! unknown_event_type
aggregation = "sum"
value = "distance" #! unknown_field
party = "data.amount * 0.029" #! invalid_path
dimensions = { Origin = "data.origin", dest = "data..dest" } #! invalid_id invalid_path
bucket = "2h" #! unknown_value

[[meter]]
id = "miles" #! duplicate_id
event_type = "train.*" #! unknown_event_type
aggregation = "unique"
value = "data.tail"

[[meter]]
id = "flights"
event_type = "flight.scheduled" #! retired_event_type
aggregation = "count"
value = "data.distance" #! value_of_a_count
where = [
    { field = "data.distance" }, #! missing_key
    { field = "data.distance", gt = 0 }, #! not_a_decimal_string
    { field = "data.distance", exists = "yes" }, #! wrong_type
    { field = "data.origin", in = [] }, #! empty_list
    { field = "data.flight", eq = 1545 }, #! not_a_decimal_string
    { feild = "data.origin", eq = "EWR" }, #! unknown_key
]

[[meter]] #! missing_key
id = ""  #! empty_text
event_type = "flight*" #! invalid_pattern
"#,
    );
}

#[test]
fn an_aggregation_has_what_it_needs_and_nothing_else() {
    expect_marked(
        "meters/flights.toml",
        r#"
[[meter]] #! missing_key
id = "miles"
event_type = "flight.completed"
aggregation = "latest"
dimensions = { origin = "data.origin" }
bucket = "event" #! bucket_of_events

[[meter]] #! missing_key
id = "flights"
event_type = "flight.completed"
aggregation = "percentile"
value = "data.distance"

[[meter]]
id = "rank"
event_type = "flight.completed"
aggregation = "percentile"
percentile = "100.1" #! rank_out_of_range
value = "data.distance"

[[meter]]
id = "level"
event_type = "flight.completed"
aggregation = "weighted_sum"
percentile = "95" #! rank_without_percentile
value = "data.gates * 2 +" #! invalid_expression
operation = "data.op" #! operation_without_unique
bucket = "event"

[[meter]]
id = "tails"
event_type = "flight.completed"
aggregation = "unique"
value = "data.tail + data.crew" #! invalid_path
operation = "op" #! unknown_field
bucket = "event" #! bucket_of_events

[[meter]]
id = "fares"
event_type = "flight.completed"
aggregation = "avg"
value = "max(data.fare-data.tax, 0)" #! invalid_expression

[[meter]]
id = "constant"
event_type = "flight.completed"
aggregation = "sum"
value = "0.30" #! constant_value
"#,
    );
}

#[test]
fn a_meter_aggregates_a_field_or_an_expression() {
    let meters = r#"
[[meter]]
id = "miles"
event_type = "flight.completed"
aggregation = "percentile"
percentile = "95.0"
value = "(data.distance)"
bucket = "event"
dimensions = { origin = "data.origin" }

[[meter]]
id = "flights"
event_type = "flight.completed"
aggregation = "unique"
value = "data.tail-number"
operation = "data.op"

[[meter]]
id = "fees"
event_type = "flight.completed"
aggregation = "sum"
value = "data.fare*0.029 + 0.30"
"#;
    let book = parse(&with("meters/flights.toml", meters)).unwrap_or_else(|mistakes| panic!("{mistakes:#?}"));
    let [fees, flights, miles] = ["fees", "flights", "miles"].map(|id| &book.meters[id]);
    assert_eq!(miles.value, Path::parse("data.distance").map(meter::Value::Path));
    assert_eq!((miles.aggregation.name(), miles.bucket), ("percentile", Bucket::Event));
    assert_eq!(flights.value, Path::parse("data.tail-number").map(meter::Value::Path));
    assert!(flights.carries_over() && !miles.carries_over());
    assert_eq!(fees.value.as_ref().map(ToString::to_string).as_deref(), Some("data.fare * 0.029 + 0.30"));
}

#[test]
fn a_mistake_in_an_expression_points_at_its_place() {
    let meters = METERS.replace("\"data.distance\"\nwhere", "\"data.distance * * 2\"\nwhere");
    let mistakes = parse(&with("meters/flights.toml", &meters)).expect_err("has a mistake");
    assert_eq!((mistakes[0].line, mistakes[0].column, mistakes[0].width), (6, 26, 1));
    assert_eq!(
        mistakes[0].to_string(),
        "meters/flights.toml:6: `*` at character 17 where a number, a field or `(` should come; \
         write it like `data.amount * 0.029`"
    );
}
