//! Which events are sent, in what order and at what times: rows become events, the span is chosen, all are sorted by
//! time, and one shift is shared by all. Nothing is sent here.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::PathBuf;

use super::error::ReplayError;
use super::expr::RowView;
use super::join::Table;
use super::mapping::{Field, Mapping, TimeSource};
use super::value::Value;

/// What is to be replayed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selection {
    /// Only the last so many rows of the first mapping, by time, and the same span of the others.
    pub last: Option<usize>,
    /// Only the first so many events of what is selected.
    pub limit: Option<usize>,
    /// Moves all times so that the latest becomes this one, epoch ms.
    pub shift_to: Option<i64>,
}

/// An event, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedEvent {
    /// When it happened, shifted, epoch ms.
    pub time: i64,
    /// Index of its mapping.
    pub mapping: usize,
    /// Its row in the file, from 1.
    pub row: u64,
    /// Hash of its first key: what is equal here is sent in order.
    pub key_hash: u64,
    /// Its JSON up to the time.
    body: Box<str>,
}

/// All events in the order of time; ties in the order of mappings and rows.
#[derive(Debug)]
pub struct Plan {
    /// The events.
    pub events: Vec<PlannedEvent>,
    /// What was added to every time, in ms.
    pub shift_ms: i64,
    /// Where the span starts, shifted, epoch ms.
    pub span_start: i64,
    /// Names of the mappings and how many rows their files have.
    pub mappings: Vec<(String, u64)>,
}

impl PlannedEvent {
    /// Appends the event as one JSON object.
    pub fn write_json(&self, out: &mut String) {
        out.push_str(&self.body);
        out.push_str(",\"time\":");
        out.push_str(&self.time.to_string());
        out.push('}');
    }

    /// Length of the JSON, nearly.
    pub fn json_len(&self) -> usize {
        self.body.len() + 32
    }
}

impl Plan {
    /// Reads what is selected of the mappings' files.
    pub fn read(mappings: &[Mapping], selection: Selection) -> Result<Self, ReplayError> {
        check_names(mappings)?;
        let tables = mappings.iter().map(load_tables).collect::<Result<Vec<_>, _>>()?;
        let start = match (selection.last, mappings.first().zip(tables.first())) {
            (Some(last), Some((first, tables))) => Some(start_of_last(first, tables, last)?),
            _ => None,
        };
        let mut plan = Self { events: Vec::new(), shift_ms: 0, span_start: 0, mappings: Vec::new() };
        for (index, (mapping, tables)) in mappings.iter().zip(&tables).enumerate() {
            let from = match (index, start) {
                (_, None) => (i64::MIN, 0),
                (0, Some(start)) => start,
                (_, Some((time, _))) => (time, 0),
            };
            let rows = EventReader { mapping, index, tables, from }.read(&mut plan.events)?;
            plan.mappings.push((mapping.name.clone(), rows));
        }
        plan.settle_times(start.map(|(time, _)| time), selection)?;
        Ok(plan)
    }

    fn settle_times(&mut self, start: Option<i64>, selection: Selection) -> Result<(), ReplayError> {
        let timed = || self.events.iter().map(|event| event.time).filter(|time| *time != UNTIMED);
        let Some((earliest, latest)) = timed().min().zip(timed().max()) else {
            let message = "no row with a time of its own is left: `span_start` needs at least one other mapping";
            return if self.events.is_empty() { Ok(()) } else { Err(ReplayError::Options(message.to_owned())) };
        };
        let start = start.unwrap_or(earliest);
        self.shift_ms = selection.shift_to.map_or(0, |now| now - latest);
        self.span_start = start + self.shift_ms;
        for event in &mut self.events {
            event.time = if event.time == UNTIMED { start } else { event.time } + self.shift_ms;
        }
        self.events.sort_unstable_by_key(|event| (event.time, event.mapping, event.row));
        self.events.truncate(selection.limit.unwrap_or(usize::MAX));
        Ok(())
    }

    /// For each mapping the events with their first and last time.
    pub fn spans(&self) -> BTreeMap<usize, (u64, i64, i64)> {
        let mut spans: BTreeMap<usize, (u64, i64, i64)> = BTreeMap::new();
        for event in &self.events {
            let span = spans.entry(event.mapping).or_insert((0, event.time, event.time));
            *span = (span.0 + 1, span.1.min(event.time), span.2.max(event.time));
        }
        spans
    }
}

/// Stands for the start of the span until that is known.
const UNTIMED: i64 = i64::MIN;

fn check_names(mappings: &[Mapping]) -> Result<(), ReplayError> {
    for (index, mapping) in mappings.iter().enumerate() {
        if mappings[..index].iter().any(|other| other.name == mapping.name) {
            let name = &mapping.name;
            let message = format!("two mappings are called `{name}`; give one another `name`, so that ids differ");
            return Err(ReplayError::Options(message));
        }
    }
    Ok(())
}

fn load_tables(mapping: &Mapping) -> Result<Vec<Table>, ReplayError> {
    mapping.joins.iter().map(Table::load).collect()
}

/// (time, row) of the first of the last so many rows.
fn start_of_last(mapping: &Mapping, tables: &[Table], last: usize) -> Result<(i64, u64), ReplayError> {
    let TimeSource::Computed(_) = mapping.time else {
        let message = format!("--last counts rows of the first mapping, and `{}` has no time of its own", mapping.name);
        return Err(ReplayError::Options(message));
    };
    let rows = Rows { mapping, tables };
    let mut times = Vec::new();
    mapping.file.read(&mapping.columns[..mapping.columns_for_time], &mut |number, columns| {
        times.extend(rows.with(number, columns, |row| rows.time(row))?.map(|time| (time, number)));
        Ok(())
    })?;
    if last == 0 || times.is_empty() {
        return Err(ReplayError::Options("--last selects no row; give a larger number".to_owned()));
    }
    let place = times.len().saturating_sub(last);
    Ok(*times.select_nth_unstable(place).1)
}

/// Computes over the rows of one mapping.
struct Rows<'m> {
    mapping: &'m Mapping,
    tables: &'m [Table],
}

impl Rows<'_> {
    fn with<T>(
        &self,
        number: u64,
        columns: &[Value],
        work: impl FnOnce(RowView<'_>) -> Result<T, ReplayError>,
    ) -> Result<T, ReplayError> {
        let own = RowView { number, columns, joined: &[] };
        if self.tables.is_empty() {
            return work(own);
        }
        let mut joined = Vec::with_capacity(self.tables.len());
        for (table, join) in self.tables.iter().zip(&self.mapping.joins) {
            joined.push(table.find(&join.key_values, own).map_err(|error| self.join_error(own, &join.alias, &error))?);
        }
        work(RowView { joined: &joined, ..own })
    }

    /// The event's time; none if the filter leaves the row out.
    fn time(&self, row: RowView<'_>) -> Result<Option<i64>, ReplayError> {
        if let Some(filter) = &self.mapping.filter
            && !filter.expression.holds(row).map_err(|error| self.error(row, filter, &error.to_string()))?
        {
            return Ok(None);
        }
        let TimeSource::Computed(field) = &self.mapping.time else { return Ok(Some(UNTIMED)) };
        match self.eval(row, field)? {
            Value::Time(time) => Ok(Some(time)),
            Value::Null => Err(self.error(row, field, "is null; leave such rows out with `filter: not is_null(…)`")),
            other => Err(self.error(row, field, &format!("is {}; make it a time with time(…)", other.kind()))),
        }
    }

    fn eval(&self, row: RowView<'_>, field: &Field) -> Result<Value, ReplayError> {
        field.expression.eval(row).map_err(|error| self.error(row, field, &error.to_string()))
    }

    fn error(&self, row: RowView<'_>, field: &Field, message: &str) -> ReplayError {
        ReplayError::Row {
            path: self.path(),
            row: row.number,
            field: field.name.clone(),
            expression: field.text.clone(),
            message: message.to_owned(),
        }
    }

    fn join_error(&self, row: RowView<'_>, alias: &str, error: &super::expr::EvalError) -> ReplayError {
        let (path, row) = (self.path(), row.number);
        ReplayError::Read { path, row, message: format!("join `{alias}`: {error}") }
    }

    fn path(&self) -> PathBuf {
        self.mapping.file.path.clone()
    }
}

/// Turns rows of one mapping into events.
struct EventReader<'m> {
    mapping: &'m Mapping,
    index: usize,
    tables: &'m [Table],
    /// The first (time, row) that is wanted.
    from: (i64, u64),
}

impl EventReader<'_> {
    fn read(&self, events: &mut Vec<PlannedEvent>) -> Result<u64, ReplayError> {
        let rows = Rows { mapping: self.mapping, tables: self.tables };
        let head = self.head();
        let mut body = String::new();
        self.mapping.file.read(&self.mapping.columns, &mut |number, columns| {
            let event = rows.with(number, columns, |row| {
                let Some(time) = rows.time(row)?.filter(|time| *time == UNTIMED || (*time, number) >= self.from) else {
                    return Ok(None);
                };
                body.clear();
                body.push_str(&head);
                let key_hash = self.write_event(&rows, row, &mut body)?;
                let body = body.as_str().into();
                Ok(Some(PlannedEvent { time, mapping: self.index, row: number, key_hash, body }))
            })?;
            events.extend(event);
            Ok(())
        })
    }

    /// What all of the mapping's events begin with.
    fn head(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let source = self.mapping.source.as_ref().map_or_else(String::new, |s| format!(",\"source\":{}", quoted(s)));
        format!("{{\"type\":{}{source},\"id\":", quoted(&self.mapping.event))
    }

    fn write_event(&self, rows: &Rows<'_>, row: RowView<'_>, body: &mut String) -> Result<u64, ReplayError> {
        let id = match rows.eval(row, &self.mapping.id)? {
            Value::Null => return Err(rows.error(row, &self.mapping.id, "is null; every event needs a stable id")),
            id => Value::Text(id.to_string()),
        };
        id.write_json(body);
        let mut hasher = DefaultHasher::new();
        for (index, key) in self.mapping.keys.iter().enumerate() {
            let value = rows.eval(row, key)?;
            if index == 0 {
                if value == Value::Null {
                    let message = "is null; leave such rows out with `filter: not is_null(…)`";
                    return Err(rows.error(row, key, message));
                }
                value.to_string().hash(&mut hasher);
            }
            write_member(body, true, &key.name, &value);
        }
        body.push_str(",\"properties\":{");
        let mut written = false;
        for property in &self.mapping.properties {
            written |= write_member(body, written, &property.name, &rows.eval(row, property)?);
        }
        body.push('}');
        Ok(hasher.finish())
    }
}

/// A null is the same as absent, so it is not written. Answers whether something was.
fn write_member(body: &mut String, comma: bool, name: &str, value: &Value) -> bool {
    if *value == Value::Null {
        return false;
    }
    if comma {
        body.push(',');
    }
    body.push_str(&serde_json::Value::from(name).to_string());
    body.push(':');
    value.write_json(body);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

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
        assert_eq!(plan.spans()[&0], (4, NINE, NINE + 3 * HOUR));
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
        assert!(message.contains("a.csv, row 2: `time: time(at)`: `soon` is no time; give its format"), "{message}");
    }
}
