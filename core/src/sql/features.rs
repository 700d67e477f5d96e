//! Writes the SELECT that computes features of a view for some keys at an instant, from the table `events`. It gives the
//! values that the slots of these keys would give, but computes them from all rows at once.
//!
//! The answer has one row per key that has an entry: the parts of the key, `newest`, and each feature as a text. `decode`
//! reads the rows, and the caller sends the query.

use crate::aggregate::{STAMP_COLUMNS, SqlInput};
use crate::definitions::{Definitions, Feature, Slots, View};
use crate::key::{KeyText, KeyType};
use crate::partition::Partition;
use crate::position::Position;

use super::{Param, SETTINGS, SqlQuery, inputs, quote_name};

/// A range of positions of one partition, whose entries count. It is not related to `Slots::Known`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The partition.
    pub partition: Partition,
    /// The position before the range.
    pub after: Position,
    /// The last position of the range.
    pub upto: Position,
}

/// The features to compute, the instant, and the entries that count. By default all entries of the view and the keys count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// Indices of the view's features.
    pub wanted: &'a [usize],
    /// The instant, epoch ms.
    pub t: i64,
    /// Whether entries with a feature time after `t` are left out. Then `t` may lie in the past. If this is false, `t` must
    /// not lie before the `newest` of any of the keys.
    pub point_in_time: bool,
    /// Leaves out entries that were appended to the log after this time, epoch ms.
    pub known_at: Option<i64>,
    /// Leaves out entries outside of these ranges, and so all entries of a partition that has no range.
    pub known: Option<&'a [Known]>,
    /// Leaves out entries that this sink of the group `online` has dead-lettered, wholly or for this view.
    pub without_dead_letters_of: Option<&'a str>,
}

/// The query for these keys, which are keys of the view's entity.
pub fn features(definitions: &Definitions, view: &View, keys: &[KeyText], scope: &Scope<'_>) -> SqlQuery {
    let mut builder = Builder { definitions, view, scope, params: vec![("t".to_owned(), Param::Int(scope.t))] };
    let entries = builder.entries(keys);
    let entries = builder.windows(entries);
    let values: Vec<String> = scope.wanted.iter().map(|index| builder.value(&view.features[*index])).collect();
    let parts = builder.parts();
    let key: Vec<String> = parts.iter().map(|part| format!("toString({part})")).collect();
    let text = format!(
        "SELECT [{}] AS key_parts, max(feature_ms) AS newest, CAST([{}], 'Array(Nullable(String))') AS features\n\
         FROM ({entries})\nGROUP BY {}\nSETTINGS {SETTINGS}",
        key.join(", "),
        values.join(",\n"),
        parts.join(", "),
    );
    SqlQuery { text, params: builder.params }
}

struct Builder<'a> {
    definitions: &'a Definitions,
    view: &'a View,
    scope: &'a Scope<'a>,
    params: Vec<(String, Param)>,
}

impl Builder<'_> {
    fn param(&mut self, name: &str, value: Param) {
        self.params.push((name.to_owned(), value));
    }

    /// The columns that make up the key in the inner query.
    fn parts(&self) -> Vec<String> {
        (0..self.definitions.entities[self.view.entity].key.len()).map(|part| format!("key_{part}")).collect()
    }

    /// One row per entry of the keys: key, stamp, inputs.
    fn entries(&mut self, keys: &[KeyText]) -> String {
        let entity = &self.definitions.entities[self.view.entity];
        let mut columns: Vec<String> = Vec::new();
        for (part, (name, _)) in entity.key.iter().enumerate() {
            columns.push(format!("assumeNotNull({}) AS key_{part}", quote_name(name)));
        }
        columns.push(format!(
            "toUnixTimestamp64Milli(feature_time) AS feature_ms, {}",
            &STAMP_COLUMNS["feature_ms, ".len()..]
        ));
        for (index, (source, kind)) in self.view.inputs.iter().enumerate() {
            if self.is_read(index) {
                columns.push(format!("{} AS input_{index}", inputs::input(self.definitions, source, kind)));
            }
        }
        let conditions = self.conditions(keys).join("\n  AND ");
        format!("SELECT {}\nFROM events FINAL\nWHERE {conditions}", columns.join(",\n  "))
    }

    fn conditions(&mut self, keys: &[KeyText]) -> Vec<String> {
        let types = self.view.from.iter().map(|index| self.definitions.events[*index].name.clone()).collect();
        self.param("types", Param::Texts(types));
        let mut conditions = vec!["`type` IN {types:Array(String)}".to_owned()];
        if self.view.slots == Slots::Known {
            // The table is sorted by `type` and this column, so ClickHouse skips most other keys.
            conditions.push("partition_key IN {keys:Array(String)}".to_owned());
            self.param("keys", Param::Texts(keys.iter().map(KeyText::to_string).collect()));
        }
        conditions.push(self.key_condition(keys));
        if self.scope.point_in_time {
            conditions.push("toUnixTimestamp64Milli(feature_time) <= {t:Int64}".to_owned());
        }
        if let Some(known_at) = self.scope.known_at {
            conditions.push("toInt64(stream_ms) <= {known_at:Int64}".to_owned());
            self.param("known_at", Param::Int(known_at));
        }
        if let Some(known) = self.scope.known {
            conditions.push(self.known_condition(known));
        }
        if let Some(sink) = self.scope.without_dead_letters_of {
            conditions.push(
                "(`partition`, stream_ms, stream_seq) NOT IN (SELECT `partition`, stream_ms, stream_seq FROM dead_letters \
                 WHERE `group` = 'online' AND `sink` = {sink:String} AND `view` IN ('', {view:String}))"
                    .to_owned(),
            );
            self.param("sink", Param::Text(sink.to_owned()));
            self.param("view", Param::Text(self.view.id()));
        }
        conditions
    }

    fn key_condition(&mut self, keys: &[KeyText]) -> String {
        let entity = &self.definitions.entities[self.view.entity];
        let parts: Vec<Vec<String>> = keys.iter().map(KeyText::parts).collect();
        let mut columns = Vec::new();
        let mut arrays = Vec::new();
        for (index, (name, kind)) in entity.key.iter().enumerate() {
            let texts = parts.iter().map(|parts| parts.get(index).cloned().unwrap_or_default());
            let (element, value) = match kind {
                KeyType::Int64 => ("Int64", Param::Ints(texts.map(|text| text.parse().unwrap_or_default()).collect())),
                KeyType::String => ("String", Param::Texts(texts.collect())),
            };
            columns.push(quote_name(name));
            arrays.push(format!("{{key_{index}:Array({element})}}"));
            self.params.push((format!("key_{index}"), value));
        }
        match (columns.as_slice(), arrays.as_slice()) {
            ([column], [array]) => format!("{column} IN {array}"),
            _ => {
                let present: Vec<String> = columns.iter().map(|column| format!("isNotNull({column})")).collect();
                let values: Vec<String> = columns.iter().map(|column| format!("assumeNotNull({column})")).collect();
                let keys = format!("SELECT arrayJoin(arrayZip({}))", arrays.join(", "));
                format!("{} AND ({}) IN ({keys})", present.join(" AND "), values.join(", "))
            }
        }
    }

    fn known_condition(&mut self, known: &[Known]) -> String {
        let column = |of: fn(&Known) -> u64| Param::Unsigned(known.iter().map(of).collect());
        self.param("known_partition", column(|k| u64::from(k.partition.0)));
        self.param("known_after_ms", column(|k| k.after.ms));
        self.param("known_after_seq", column(|k| k.after.seq));
        self.param("known_upto_ms", column(|k| k.upto.ms));
        self.param("known_upto_seq", column(|k| k.upto.seq));
        "arrayExists((p, am, aq, um, uq) -> p = `partition` AND (stream_ms, stream_seq) > (am, aq) \
         AND (stream_ms, stream_seq) <= (um, uq), {known_partition:Array(UInt16)}, {known_after_ms:Array(UInt64)}, \
         {known_after_seq:Array(UInt64)}, {known_upto_ms:Array(UInt64)}, {known_upto_seq:Array(UInt64)})"
            .to_owned()
    }

    /// The SELECT of the entries, with the columns that the windows of the wanted features need.
    fn windows(&self, entries: String) -> String {
        let keys = self.parts().join(", ");
        let mut nested = entries;
        for (index, spec) in self.view.windows.iter().enumerate() {
            if self.scope.wanted.iter().any(|wanted| self.view.features[*wanted].window == index) {
                nested = spec.window.sql_entries(index, &keys, nested);
            }
        }
        nested
    }

    /// The SQL of one feature. Its value is a text, or NULL if there is nothing to show.
    fn value(&self, feature: &Feature) -> String {
        let input = feature.input.map(|index| format!("input_{index}"));
        let present = input.as_ref().map(|input| format!("isNotNull({input})"));
        let in_window = self.view.windows[feature.window].window.sql_condition(feature.window);
        let conditions: Vec<String> = in_window.into_iter().chain(present).collect();
        let counts = if conditions.is_empty() { "1".to_owned() } else { conditions.join(" AND ") };
        let value = input.map_or_else(|| "1".to_owned(), |input| format!("assumeNotNull({input})"));
        feature.aggregate.sql(&SqlInput { value: &value, counts: &counts })
    }

    fn is_read(&self, input: usize) -> bool {
        self.scope.wanted.iter().any(|wanted| self.view.features[*wanted].input == Some(input))
    }
}
