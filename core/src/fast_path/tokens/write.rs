//! Turns tokens back into JSON: into a tree, and into canonical text (names sorted, no spaces, one form per number).

use serde_json::{Map, Value};

use super::{TokenKind, TokenNode};

/// Texts to write in place of the tokens with these indexes.
pub type Replacements = [(usize, String)];

impl TokenNode<'_, '_> {
    /// The value as a tree: the one that [`crate::json::parse`] makes of the same text.
    pub fn to_value(self) -> Value {
        match self.token().kind {
            TokenKind::Null => Value::Null,
            TokenKind::Bool => Value::Bool(self.token().text == "true"),
            TokenKind::Int | TokenKind::Number => self.number().map_or(Value::Null, Value::Number),
            TokenKind::Plain | TokenKind::Escaped => Value::String(self.string().unwrap_or_default().into_owned()),
            TokenKind::Array => Value::Array(self.children().map(Self::to_value).collect()),
            TokenKind::Object => {
                let member = |node: Self| (node.token().name.to_owned(), node.to_value());
                Value::Object(self.children().map(member).collect::<Map<_, _>>())
            }
        }
    }

    /// Writes the canonical text, with `replacements` in it.
    pub fn write(self, replacements: &Replacements, out: &mut String) {
        if let Some((_, text)) = replacements.iter().find(|(index, _)| *index == self.index()) {
            out.push_str(text);
            return;
        }
        match self.token().kind {
            TokenKind::Null | TokenKind::Bool | TokenKind::Int | TokenKind::Plain => out.push_str(self.token().text),
            TokenKind::Number => out.push_str(&self.number().map(|number| number.to_string()).unwrap_or_default()),
            TokenKind::Escaped => out.push_str(&Value::from(self.string().unwrap_or_default()).to_string()),
            TokenKind::Array => self.write_array(replacements, out),
            TokenKind::Object => self.write_object(replacements, out),
        }
    }

    fn write_array(self, replacements: &Replacements, out: &mut String) {
        out.push('[');
        for (index, element) in self.children().enumerate() {
            if index > 0 {
                out.push(',');
            }
            element.write(replacements, out);
        }
        out.push(']');
    }

    fn write_object(self, replacements: &Replacements, out: &mut String) {
        out.push('{');
        let mut first = true;
        let mut write = |member: Self| {
            out.push_str(if std::mem::take(&mut first) { "\"" } else { ",\"" });
            out.push_str(member.token().name);
            out.push_str("\":");
            member.write(replacements, out);
        };
        if self.children().is_sorted_by(|a, b| a.token().name < b.token().name) {
            self.children().for_each(&mut write);
        } else {
            let mut members: Vec<Self> = self.children().collect();
            members.sort_unstable_by_key(|member| member.token().name);
            members.into_iter().for_each(&mut write);
        }
        out.push('}');
    }
}
