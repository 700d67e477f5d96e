//! Dead letters: the entries that a sink left out, with the reasons. `advance` writes them together with the progress past
//! them. The copy to ClickHouse and people read them. About the last 100,000 of each partition are kept.

use std::borrow::Cow;

use millrace_core::event::MAX_EVENT_BYTES;
use millrace_core::partition::Partition;
use millrace_core::position::Position;

use super::entry::{RawEntry, entries_of_driver};
use super::error::LogError;
use super::{Log, error};

/// The most bytes of an entry that a letter keeps. Any event that ingest accepts fits.
const MAX_RAW_BYTES: usize = MAX_EVENT_BYTES;

/// An entry, or one view of it, that one sink left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetter {
    /// The group of the sink.
    pub group: String,
    /// The sink.
    pub sink: String,
    /// The feature view that missed it. None: all views of that sink.
    pub view: Option<String>,
    /// The entity key that missed it. None: all keys of the entry.
    pub key: Option<String>,
    /// The position of the entry.
    pub position: Position,
    /// The event id, if the entry has one.
    pub event_id: Option<String>,
    /// Why it was left out.
    pub reason: String,
    /// The entry as it was read, or its beginning.
    pub raw: String,
}

impl DeadLetter {
    /// The fields of its stream entry.
    pub(super) fn fields(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        let mut fields: Vec<(&'static str, Cow<'_, str>)> = Vec::with_capacity(8);
        fields.push(("group", (&self.group).into()));
        fields.push(("sink", (&self.sink).into()));
        let optional = [("view", &self.view), ("key", &self.key), ("event_id", &self.event_id)];
        fields.extend(optional.into_iter().filter_map(|(name, value)| Some((name, value.as_deref()?.into()))));
        fields.push(("position", self.position.to_string().into()));
        fields.push(("reason", (&self.reason).into()));
        fields.push(("raw", beginning(&self.raw, MAX_RAW_BYTES).into()));
        fields
    }

    /// Reads the fields back. A field that is missing stays empty, so that a letter never stops a reader.
    fn from_fields(fields: Vec<(String, String)>) -> Self {
        let mut letter = Self::default();
        for (name, value) in fields {
            match name.as_str() {
                "group" => letter.group = value,
                "sink" => letter.sink = value,
                "view" => letter.view = Some(value),
                "key" => letter.key = Some(value),
                "event_id" => letter.event_id = Some(value),
                "position" => letter.position = value.parse().unwrap_or_default(),
                "reason" => letter.reason = value,
                "raw" => letter.raw = value,
                _ => {}
            }
        }
        letter
    }
}

/// At most `count` letters of a partition after `after`, oldest first, each with its position in the stream of letters.
pub async fn read(
    log: &Log,
    partition: Partition,
    after: Position,
    count: usize,
) -> Result<Vec<(Position, DeadLetter)>, LogError> {
    const DOING: &str = "read dead letters";
    let mut command = redis::cmd("XRANGE");
    command.arg(log.names().dead(partition)).arg(format!("({after}")).arg("+").arg("COUNT").arg(count);
    let reply = log.link_ref().query(DOING, &command).await?;
    let letter = |entry: RawEntry| {
        let fields = entry.fields().map(|fields| fields.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let fields = fields.map_or_else(|not_text| not_text.lossy, Iterator::collect);
        (entry.position, DeadLetter::from_fields(fields))
    };
    let entries = entries_of_driver(reply).ok_or_else(|| error::unexpected(DOING, &"no list of entries"))?;
    Ok(entries.into_iter().map(letter).collect())
}

/// The beginning of a text, at most `bytes` long, cut between characters.
fn beginning(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_letter_round_trips() {
        let letter = DeadLetter {
            group: "online".into(),
            sink: "redis".into(),
            view: Some("spend@1".into()),
            position: Position::new(5, 1),
            reason: "too large".into(),
            raw: "{}".into(),
            ..DeadLetter::default()
        };
        let fields = letter.fields().into_iter().map(|(name, value)| (name.to_owned(), value.into_owned()));
        assert_eq!(DeadLetter::from_fields(fields.collect()), letter);
    }

    #[test]
    fn a_text_is_cut_between_characters() {
        assert_eq!(beginning("aé", 2), "a");
        assert_eq!(beginning("aé", 3), "aé");
        assert_eq!(beginning("", 3), "");
    }
}
