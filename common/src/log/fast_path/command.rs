//! Encodes the `XADD` of an event in Redis's protocol (RESP), straight from the event into the bytes that are sent. Sending
//! them and reading the replies are left to `append_pipeline`.

use millrace_core::event::Event;

/// The arguments with which every `XADD` to a stream begins, up to the first field. With `NOMKSTREAM` it never creates a
/// stream, because that stream would have no consumer groups; `migrate` creates the streams with their groups.
pub(in crate::log) fn append_head(stream: &str) -> Vec<u8> {
    let mut head = Vec::new();
    for part in ["XADD", stream, "NOMKSTREAM", "*"] {
        bulk(&["", part], &mut head);
    }
    head
}

/// Adds the `XADD` of an event to `commands`. `head` comes from [`append_head`] for the stream of the event's partition.
pub(in crate::log) fn append_command(head: &[u8], event: &Event, commands: &mut Vec<u8>) {
    // The command is an array: the four arguments of the head, then the name and the value of each field.
    length(b'*', 4 + 2 * event.field_count(), commands);
    commands.extend_from_slice(head);
    event.each_field(|name, value| {
        bulk(&name, commands);
        bulk(&[value, ""], commands);
    });
}

/// Adds a bulk string, which is the two parts joined: the name of a key's field has a prefix and the entity's name.
fn bulk(parts: &[&str; 2], commands: &mut Vec<u8>) {
    length(b'$', parts[0].len() + parts[1].len(), commands);
    commands.extend_from_slice(parts[0].as_bytes());
    commands.extend_from_slice(parts[1].as_bytes());
    commands.extend_from_slice(b"\r\n");
}

/// Adds a length: `*` and the number of an array's elements, or `$` and the number of a bulk string's bytes.
fn length(kind: u8, mut number: usize, commands: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
        if number == 0 {
            break;
        }
    }
    commands.push(kind);
    commands.extend_from_slice(&digits[at..]);
    commands.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use millrace_core::event::EventId;
    use millrace_core::key::KeyText;

    #[test]
    fn a_command_is_what_the_driver_would_make_of_the_fields() {
        let event = Event {
            event_type: "click".into(),
            source: String::new(),
            id: EventId::Made("é".into()),
            time: Some(-1_000),
            keys: vec![("user".into(), KeyText::from_canonical("1")), ("item".into(), KeyText::from_canonical("x"))],
            properties: "{\"a\":\"\r\n\"}".repeat(100),
            traceparent: Some("00-0".into()),
        };
        for event in [Event { time: None, traceparent: None, ..event.clone() }, event] {
            let mut command = redis::cmd("XADD");
            command.arg("events:{3}").arg("NOMKSTREAM").arg("*");
            for (name, value) in event.fields() {
                command.arg(name.as_ref()).arg(value.as_ref());
            }
            let mut written = Vec::new();
            append_command(&append_head("events:{3}"), &event, &mut written);
            assert_eq!(String::from_utf8(written).unwrap(), String::from_utf8(command.get_packed_command()).unwrap());
        }
    }
}
