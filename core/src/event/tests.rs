//! Goldens of what an event becomes in the log. They may never change: entries that are written stay.

use std::collections::BTreeMap;

use super::{EventForm, EventId, RawEvent};
use crate::definitions::{Definitions, DefinitionsSource};

const YAML: &str = r#"
entities: { user: { key: user_id, type: int64 }, place: { key: [country, town], type: [string, int64] } }
events:
  click: { partition_by: user, entities: [place] }
views:
  - name: clicks
    entity: user
    from: [click]
    features: [{ name: a, agg: sum, value: properties.a.b, type: "decimal(18,2)", windows: [1h] }]
"#;

/// Name and value of each field of the entry, a line each.
fn entry(text: &str, form: EventForm) -> String {
    let definitions =
        Definitions::compile(DefinitionsSource { yaml: YAML.to_owned(), schemas: BTreeMap::new() }).unwrap();
    let made = || EventId::Made("made".to_owned());
    let event = RawEvent::parse(text, form).unwrap().validate(&definitions, 1_700_000_000_000, made).unwrap();
    let line = |(name, value): &(_, _)| format!("{name} {value}\n");
    format!("partition {}\n{}", event.partition(8), event.fields().iter().map(line).collect::<String>())
}

#[test]
fn the_entry_of_a_full_event_never_changes() {
    let text = r#"{"properties":{"z":[1,null,2.50,-0.0],"n":null,"a":{"c":"\u00e9\n","b":1.5},"big":18446744073709551615,"e":1E2},
        "user_id":"017850","country":"n/l","town":"03","type":"click","id":7,"source":"till","time":"2023-11-14T13:00:00.5+01:00",
        "traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}"#;
    let golden = r#"partition 6
type click
source till
id 7
time 1699963200500
key:user 17850
key:place n%2Fl,3
properties {"a":{"b":"1.50","c":"é\n"},"big":18446744073709551615,"e":100.0,"z":[1,null,2.5,0]}
traceparent 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01
"#;
    assert_eq!(entry(text, EventForm::Nested), golden);
}

#[test]
fn the_entry_of_the_least_event_never_changes() {
    let golden = "partition 0\ntype click\nsource \nmade_id made\nkey:user 1\nproperties {}\n";
    assert_eq!(entry(r#"{"type":"click","user_id":1}"#, EventForm::Nested), golden);
    assert_eq!(entry(r#"{"type":"click","user_id":1}"#, EventForm::Flat), golden);
}
