//! From a row of a batch view's query to the slot that a run writes: the same state and codec as a streamed view's, so
//! that readers know no difference. Which run wrote it stands in the checkpoint.

use serde_json::Value as Json;
use serde_json::value::RawValue;

use crate::aggregate::Stamp;
use crate::definitions::{Definitions, ValueType, View};
use crate::key::{KeyText, KeyType};
use crate::partition::Partition;
use crate::position::Position;
use crate::scalar::Scalar;
use crate::slot::{Checkpoint, Slot};
use crate::sql::BatchColumns;

/// The name of the slot that runs write.
pub const SLOT: &str = "batch";

/// One run of a batch view's query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its number: later runs of the view have greater ones.
    pub number: u32,
    /// The instant that its values are of, epoch ms; after 1970.
    pub as_of: i64,
}

/// Why a row cannot be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidRow {
    /// Its key as it came, or the beginning of the row where the key is missing.
    pub key: String,
    /// The reason.
    pub reason: String,
}

impl Run {
    /// The checkpoint of its slots. A later run's put wins, even if the run is of an earlier instant. Within a run, a later
    /// pass's put wins.
    pub fn checkpoint(self, pass: u64) -> Checkpoint {
        let ms = u64::try_from(self.as_of).unwrap_or(0).max(1);
        Checkpoint { generation: self.number, position: Position::new(ms, pass) }
    }

    /// The run that wrote a slot.
    pub fn of(checkpoint: Checkpoint) -> Self {
        Self { number: checkpoint.generation, as_of: checkpoint.position.stream_time() }
    }

    /// Its name for people: `view@version-number`.
    pub fn job_id(self, view: &View) -> String {
        view.job_id(self.number)
    }
}

/// Reads the rows of one run.
#[derive(Clone, Debug)]
pub struct RowReader<'d> {
    view: &'d View,
    key: &'d [(String, KeyType)],
    columns: BatchColumns,
    run: Run,
    pass: u64,
    empty: Slot,
}

impl<'d> RowReader<'d> {
    /// For rows as [`crate::sql::batch_rows`] asks for them, for the `pass`th time in this run; 0 is the first.
    pub fn new(definitions: &'d Definitions, view: &'d View, columns: BatchColumns, run: Run, pass: u64) -> Self {
        let mut empty = Slot::empty(view);
        empty.checkpoint.generation = run.number;
        Self { view, key: &definitions.entities[view.entity].key, columns, run, pass, empty }
    }

    /// One line: the key and what the run knows of it.
    pub fn read(&self, line: &str) -> Result<(KeyText, Slot), InvalidRow> {
        let unreadable = |reason: String| InvalidRow { key: line.chars().take(80).collect(), reason };
        let cells: Vec<&RawValue> = serde_json::from_str(line).map_err(|error| unreadable(error.to_string()))?;
        if cells.len() != self.key.len() + self.view.inputs.len() + usize::from(self.columns.event_time) {
            return Err(unreadable(format!("the row has {} values", cells.len())));
        }
        let (key_cells, cells) = cells.split_at(self.key.len());
        let invalid = |reason: String| {
            let parts: Vec<&str> = key_cells.iter().map(|cell| cell.get().trim_matches('"')).collect();
            InvalidRow { key: parts.join(","), reason }
        };
        let key = self.key(key_cells).map_err(invalid)?;
        let event_time = self.event_time(cells).map_err(invalid)?;
        let slot = self.slot(cells, event_time).map_err(invalid)?;
        Ok((key, slot))
    }

    fn key(&self, cells: &[&RawValue]) -> Result<KeyText, String> {
        let values: Result<Vec<Json>, _> = cells.iter().map(|cell| serde_json::from_str(cell.get())).collect();
        let values = values.map_err(|error| error.to_string())?;
        let parts: Vec<(KeyType, &Json)> = self.key.iter().map(|(_, kind)| *kind).zip(&values).collect();
        KeyText::from_parts(&parts).map_err(|error| format!("key: {error}"))
    }

    fn event_time(&self, cells: &[&RawValue]) -> Result<i64, String> {
        let cell = cells.get(self.view.inputs.len()).map(|cell| cell.get());
        match cell.map(|text| Scalar::read(text, &ValueType::Timestamp)) {
            None | Some(Ok(None)) => Ok(self.run.as_of),
            Some(Ok(Some(Scalar::Int(ms)))) if ms <= self.run.as_of => Ok(ms),
            Some(Ok(_)) => Err("event_time: it is after the run's as_of".to_owned()),
            Some(Err(error)) => Err(format!("event_time: {error}")),
        }
    }

    fn slot(&self, cells: &[&RawValue], event_time: i64) -> Result<Slot, String> {
        let mut inputs = Vec::with_capacity(self.view.inputs.len());
        for ((cell, (_, kind)), feature) in cells.iter().zip(&self.view.inputs).zip(&self.view.features) {
            inputs.push(Scalar::read(cell.get(), kind).map_err(|error| format!("{}: {error}", feature.name))?);
        }
        let mut slot = self.empty.clone();
        // The job id is derived from the checkpoint, not repeated beside every value.
        let stamp = Stamp {
            feature_time: event_time,
            event_id: "",
            position: self.run.checkpoint(self.pass).position,
            partition: Partition(0),
        };
        slot.absorb(self.view, stamp, &inputs).map_err(|error| error.to_string())?;
        Ok(slot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::{Status, assemble};
    use crate::codec;
    use crate::definitions::DefinitionsSource;
    use crate::sql::BatchColumn;
    use serde_json::json;

    const YAML: &str = r#"
entities: { household: { key: household_id, type: int64 }, shelf: { key: [store, place], type: [string, int64] } }
views:
  - name: orders
    entity: household
    query: SELECT 1
    features:
      - { name: amount, type: "decimal(18,2)" }
      - { name: orders, type: int64, default: 0 }
  - { name: stock, entity: shelf, query: SELECT 1, features: [{ name: items, type: "list<string>" }] }
"#;
    const RUN: Run = Run { number: 7, as_of: 1_700_000_000_000 };

    fn definitions() -> Definitions {
        Definitions::compile(DefinitionsSource { yaml: YAML.into(), schemas: Default::default() }).unwrap()
    }

    fn read(view: usize, event_time: bool, line: &str) -> Result<(KeyText, Slot), InvalidRow> {
        let definitions = definitions();
        RowReader::new(&definitions, &definitions.views[view], BatchColumns { event_time }, RUN, 0).read(line)
    }

    #[test]
    fn a_row_is_what_readers_get() {
        let definitions = definitions();
        let view = &definitions.views[0];
        let (key, slot) = read(0, false, r#"["17","12.50",null]"#).unwrap();
        assert_eq!(key.as_str(), "17");
        assert_eq!(Run::of(slot.checkpoint), RUN);
        assert_eq!(Run::of(slot.checkpoint).job_id(view), "orders@1-7");
        let slot = codec::decode_for(view, &codec::encode(&slot)).unwrap();
        let values = assemble(view, &[slot], &[0, 1], RUN.as_of + 1);
        assert_eq!((&values[0].value, values[0].status), (&json!("12.50"), Status::Present));
        assert_eq!((&values[1].value, values[1].status), (&json!(0), Status::NullValue));
        assert_eq!(values[0].event_time, Some(RUN.as_of));
    }

    #[test]
    fn a_later_run_is_the_later_checkpoint_whatever_instant_it_is_of() {
        let earlier_instant = Run { number: 8, as_of: 5 };
        assert!(earlier_instant.checkpoint(0) > RUN.checkpoint(1) && RUN.checkpoint(1) > RUN.checkpoint(0));
        let slot = read(0, false, r#"[1,1,1]"#).unwrap().1;
        assert_eq!(codec::checkpoint(&codec::encode(&slot)), Ok(RUN.checkpoint(0)));
    }

    #[test]
    fn a_row_may_say_when_its_values_were_true() {
        let newest = |line: &str| read(0, true, line).map(|(_, slot)| slot.newest);
        assert_eq!(newest(r#"[1,"1.5",2,"2023-11-14T22:13:19.000Z"]"#).unwrap(), Some(1_699_999_999_000));
        assert_eq!(newest(r#"[1,"1.5",2,"1699999999000"]"#).unwrap(), Some(1_699_999_999_000));
        assert_eq!(newest(r#"[1,"1.5",2,null]"#).unwrap(), Some(RUN.as_of));
        assert!(newest(r#"[1,"1.5",2,1700000000001]"#).unwrap_err().reason.contains("after the run's as_of"));
    }

    #[test]
    fn values_are_as_old_as_their_run_whatever_event_time_a_row_says() {
        let definitions = definitions();
        let view = &definitions.views[0];
        let slot = read(0, true, r#"[1,"1.5",2,"2020-01-01T00:00:00.000Z"]"#).unwrap().1;
        let status = |t: i64| assemble(view, std::slice::from_ref(&slot), &[0], t)[0].status;
        assert_eq!(status(RUN.as_of - 1), Status::Error);
        assert_eq!(status(RUN.as_of + 25 * 3_600_000), Status::Present);
        assert_eq!(status(RUN.as_of + 25 * 3_600_000 + 1), Status::OutsideMaxAge);
        let value = &assemble(view, &[slot], &[0], RUN.as_of)[0];
        assert_eq!(value.event_time, Some(1_577_836_800_000));
    }

    #[test]
    fn what_cannot_be_stored_names_its_key_and_its_column() {
        let refused = |view: usize, line: &str| read(view, false, line).map(|_| ()).unwrap_err();
        assert_eq!(refused(0, r#"["17","12.505",1]"#).key, "17");
        assert!(refused(0, r#"["17","12.505",1]"#).reason.starts_with("amount: "));
        assert!(refused(0, r#"["17","1",1.5]"#).reason.starts_with("orders: "));
        assert!(refused(0, r#"[null,"1",1]"#).reason.starts_with("key: "));
        assert!(refused(1, r#"["berlin","x",["a"]]"#).reason.starts_with("key: "));
        assert!(refused(0, r#"["17","1"]"#).reason.contains("2 values"));
        assert_eq!(refused(0, "Code: 241.").key, "Code: 241.");
        assert_eq!(read(1, false, r#"["a,b","7",["x"]]"#).unwrap().0.as_str(), "a%2Cb,7");
    }

    fn column(name: &str, kind: &str) -> BatchColumn {
        BatchColumn { name: name.to_owned(), kind: kind.to_owned() }
    }

    #[test]
    fn columns_are_compared_by_name() {
        let definitions = definitions();
        let check = |columns: &[&str]| {
            let columns: Vec<_> = columns.iter().map(|name| column(name, "Int64")).collect();
            BatchColumns::check(&definitions, &definitions.views[0], &columns)
        };
        assert_eq!(check(&["orders", "household_id", "amount"]), Ok(BatchColumns { event_time: false }));
        assert_eq!(check(&["event_time", "orders", "household_id", "amount"]), Ok(BatchColumns { event_time: true }));
        assert_eq!(
            check(&["household_id", "amount"]).unwrap_err(),
            "the query of view `orders@1` does not return `orders`"
        );
        assert!(check(&["household_id", "amount", "orders", "x"]).unwrap_err().contains("returns `x`"));
    }

    #[test]
    fn a_day_is_not_an_instant() {
        let yaml = YAML.replace("orders, type: int64, default: 0", "orders, type: timestamp");
        let definitions = Definitions::compile(DefinitionsSource { yaml, schemas: Default::default() }).unwrap();
        let check = |orders: &str, event_time: &str| {
            let kinds =
                [("household_id", "Date"), ("amount", "String"), ("orders", orders), ("event_time", event_time)];
            let columns = kinds.map(|(name, kind)| column(name, kind));
            BatchColumns::check(&definitions, &definitions.views[0], &columns)
        };
        for instant in ["DateTime", "DateTime64(3, 'UTC')", "Nullable(DateTime)", "String", "Int64"] {
            assert_eq!(check(instant, instant), Ok(BatchColumns { event_time: true }), "{instant}");
        }
        for day in ["Date", "Date32", "Nullable(Date)", "LowCardinality(Nullable(Date))"] {
            let said = check(day, "DateTime").unwrap_err();
            assert!(said.contains(&format!("returns `orders` as {day}, which is not an instant")), "{said}");
            assert!(check("DateTime", day).unwrap_err().contains("`event_time`"), "{day}");
        }
    }
}
