//! Plans of small files: which events, in which order, at which times.

use std::path::Path;

use super::*;

const LINES: &str = "at,customer,sku,value
2017-01-01 10:00:00,1,7,1.10
2017-01-01 09:00:00,2,8,0.25
2017-01-01 12:00:00,1,9,3
2017-01-01 10:00:00,2,7,
2017-01-01 11:00:00,,7,1.00
";
const PRODUCTS: &str = "sku,department\n7,DELI\n8,MEAT\n";
const COUPONS: &str = "{\"customer\":2,\"day\":\"2016-12-31\"}\n{\"customer\":1,\"day\":\"2017-01-01\"}\n";

/// `lines` (timed, joined, filtered), `coupons` (a date, counted at its end) and `people` (no time).
fn plan(selection: Selection) -> Result<Plan, ReplayError> {
    let folder = tempfile::tempdir().unwrap();
    let files = [("lines.csv", LINES), ("products.csv", PRODUCTS), ("coupons.ndjson", COUPONS)];
    for (name, content) in files.into_iter().chain([("people.csv", "customer,age\n1,30\n2,\n")]) {
        std::fs::write(folder.path().join(name), content).unwrap();
    }
    let load = |name: &str, text: &str| Mapping::parse(text, Path::new(name), folder.path()).unwrap();
    let mappings = [
        load(
            "lines.yaml",
            "
file: lines.csv
event: purchase
source: till
time: time(at)
filter: not is_null(customer)
keys:
  household_id: int(customer)
  product_id: int(sku)
properties:
  sales_value: decimal(value, 2)
  department: products.department
join:
  - as: products
    file: products.csv
    on:
      sku: sku
",
        ),
        load(
            "coupons.yaml",
            "{file: coupons.ndjson, event: coupon, time: time(day) + 1d, keys: {household_id: customer}}",
        ),
        load(
            "people.yaml",
            "{file: people.csv, event: person, time: span_start, keys: {household_id: int(customer)}, properties: {age: age}}",
        ),
    ];
    Plan::read(&mappings, selection)
}

fn lines(plan: &Plan) -> Vec<String> {
    let json = |event: &PlannedEvent| {
        let mut text = String::new();
        event.write_json(&mut text);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
        assert!(event.json_len() >= text.len());
        text
    };
    plan.events.iter().map(json).collect()
}

fn order(plan: &Plan) -> Vec<(usize, u64)> {
    plan.events.iter().map(|event| (event.mapping, event.row)).collect()
}

const NINE: i64 = 1_483_261_200_000;
const HOUR: i64 = 3_600_000;

#[test]
fn rows_become_events_with_joined_columns_and_without_nulls() {
    let plan = plan(Selection::default()).unwrap();
    let of = |row: u64| lines(&plan)[order(&plan).iter().position(|o| *o == (0, row)).unwrap()].clone();
    let first = r#"{"type":"purchase","source":"till","id":"lines-1","household_id":1,"product_id":7,"properties":{"sales_value":"1.10","department":"DELI"},"time":1483264800000}"#;
    assert_eq!(of(1), first);
    assert!(of(3).contains(r#""properties":{"sales_value":"3.00"}"#), "no such product");
    assert!(of(4).contains(r#""properties":{"department":"DELI"}"#), "no value");
}

#[test]
fn events_are_in_the_order_of_time_then_mapping_then_row() {
    let plan = plan(Selection::default()).unwrap();
    let midnight = NINE - 9 * HOUR;
    assert_eq!(order(&plan), [(1, 1), (2, 1), (2, 2), (0, 2), (0, 1), (0, 4), (0, 3), (1, 2)]);
    assert_eq!(plan.span_start, midnight);
    assert_eq!(plan.mappings[0], ("lines".to_owned(), 5));
    assert_eq!(plan.spans()[&0], MappingSpan { events: 4, first_time: NINE, last_time: NINE + 3 * HOUR });
}

#[test]
fn the_last_rows_of_the_first_mapping_set_the_span_of_all() {
    let plan = plan(Selection { last: Some(2), ..Selection::default() }).unwrap();
    assert_eq!(order(&plan), [(0, 4), (2, 1), (2, 2), (0, 3), (1, 2)]);
    assert_eq!(plan.span_start, NINE + HOUR);
}

#[test]
fn one_shift_is_shared_and_the_latest_time_of_all_files_becomes_now() {
    let now = 1_800_000_000_000;
    let unshifted = plan(Selection { last: Some(3), ..Selection::default() }).unwrap();
    let shifted = plan(Selection { last: Some(3), limit: Some(4), shift_to: Some(now) }).unwrap();
    assert_eq!(order(&shifted), order(&unshifted)[..4], "the limit comes after the shift");
    assert_eq!(shifted.shift_ms, now - (NINE + 15 * HOUR));
    for (a, b) in shifted.events.iter().zip(&unshifted.events) {
        assert_eq!(a.time, b.time + shifted.shift_ms);
    }
}

#[test]
fn bad_rows_name_file_row_and_field() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.csv"), "at,c\n2017-01-01,1\nsoon,2\n").unwrap();
    let text = "{file: a.csv, event: e, time: time(at), keys: {household_id: c}}";
    let mapping = Mapping::parse(text, Path::new("a.yaml"), folder.path()).unwrap();
    let message = Plan::read(&[mapping], Selection::default()).unwrap_err().to_string();
    assert!(message.contains("a.csv, row 2: `time: time(at)`: `soon` is not a time; give its format"), "{message}");
}
