//! From the rows of `features` to the values that readers get. Each aggregate reads its own text and finishes it as it
//! finishes the state of a slot.

use serde_json::Value as Json;

use crate::aggregate::At;
use crate::assemble::FeatureValue;
use crate::definitions::{Entity, Feature, View};
use crate::key::{InvalidKey, KeyText, KeyType};
use crate::status::{self, Status};

/// One row of the answer.
#[derive(Clone, Debug, PartialEq)]
pub struct FeatureRow {
    /// The greatest feature time of the key's entries, epoch ms.
    pub newest: i64,
    /// The wanted features, in the order asked.
    pub features: Vec<Option<String>>,
}

/// The key that its parts make, decoded as they are.
pub fn decode_key(entity: &Entity, parts: Vec<String>) -> Result<KeyText, InvalidKey> {
    let values: Vec<Json> = parts.into_iter().map(Json::String).collect();
    let typed: Vec<(KeyType, &Json)> = entity.key.iter().map(|(_, kind)| *kind).zip(&values).collect();
    KeyText::from_parts(&typed)
}

/// The values at `t` of the wanted features, as `assemble` answers them. No row: nothing is known of the key.
pub fn decode(view: &View, wanted: &[usize], row: Option<&FeatureRow>, t: i64) -> Vec<FeatureValue> {
    let newest = match status::defined_at(view, row.map(|row| row.newest), None, t) {
        Ok(newest) => newest,
        Err(undefined) => return undefined.values(view, wanted),
    };
    let texts = row.into_iter().flat_map(|row| &row.features).map(Option::as_deref).chain(std::iter::repeat(None));
    wanted.iter().zip(texts).map(|(index, text)| value(view, &view.features[*index], text, newest, t)).collect()
}

fn value(view: &View, feature: &Feature, text: Option<&str>, newest: i64, t: i64) -> FeatureValue {
    let window_start = view.windows[feature.window].window.start_at(t);
    match feature.aggregate.finish_sql(text, At { t, window_start, newest }) {
        Ok(value) => FeatureValue::found(feature, value, Some(newest)),
        Err(error) => FeatureValue::missing(feature, Status::Error, Some(newest), Some(error.to_string())),
    }
}
