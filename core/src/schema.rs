//! The JSON schema of an event's properties. Compiled twice from one text by the same crate: over a tape, to say yes
//! without building a tree, and over trees, whose errors have a path and words.

use std::borrow::Cow;

use jsonschema::json::{Array, Json, Node as JsonNode, NodeIdentity, Object};
use jsonschema::{JsonType, Validator};
use serde_json::{Number, Value};

use crate::json::tape::{Children, Item, Kind, Node};

/// A compiled schema.
#[derive(Debug)]
pub struct Schema {
    tapes: Validator<Tapes>,
    trees: Validator,
}

impl Schema {
    /// Compiles a schema, or says why it is none.
    pub fn compile(schema: &Value) -> Result<Self, String> {
        let tapes = jsonschema::options_for::<Tapes>().build(schema).map_err(|error| error.to_string())?;
        let trees = jsonschema::validator_for(schema).map_err(|error| error.to_string())?;
        Ok(Self { tapes, trees })
    }

    /// Whether it takes the value.
    pub fn takes(&self, node: Node<'_, '_>) -> bool {
        self.tapes.is_valid(node)
    }

    /// The first thing that it does not take: a JSON pointer and what is wrong there.
    pub fn error(&self, value: &Value) -> Option<(String, String)> {
        let error = self.trees.iter_errors(value).next()?;
        Some((error.instance_path().to_string(), error.to_string()))
    }
}

/// Tapes, as the validator reads them.
struct Tapes;

impl Json for Tapes {
    type Node<'a> = Node<'a, 'a>;
    type PreparedKey = String;
    type StringBuffer = String;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(buffer: &mut String, string: &str, f: impl FnOnce(Self::Node<'_>) -> T) -> T {
        *buffer = Value::from(string).to_string();
        let kind = if buffer.contains('\\') { Kind::Escaped } else { Kind::Plain };
        f(Node::alone(&Item { name: "", text: buffer, kind, end: 1 }))
    }
}

impl<'a> JsonNode<'a, Tapes> for Node<'a, 'a> {
    type Object = Self;
    type Array = Self;
    type Number = Number;

    fn as_object(&self) -> Option<Self> {
        (self.item().kind == Kind::Object).then_some(*self)
    }

    fn as_array(&self) -> Option<Self> {
        (self.item().kind == Kind::Array).then_some(*self)
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        self.string()
    }

    fn as_number(&self) -> Option<Number> {
        self.number()
    }

    fn is_number(&self) -> bool {
        matches!(self.item().kind, Kind::Int | Kind::Number)
    }

    fn as_boolean(&self) -> Option<bool> {
        (self.item().kind == Kind::Bool).then(|| self.item().text == "true")
    }

    fn is_null(&self) -> bool {
        self.item().kind == Kind::Null
    }

    fn json_type(&self) -> JsonType {
        match self.item().kind {
            Kind::Null => JsonType::Null,
            Kind::Bool => JsonType::Boolean,
            Kind::Int | Kind::Number => JsonType::Number,
            Kind::Plain | Kind::Escaped => JsonType::String,
            Kind::Array => JsonType::Array,
            Kind::Object => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self.string(), expected) {
            (Some(text), Value::String(expected)) => text == *expected,
            (Some(_), _) | (None, Value::String(_)) => false,
            (None, _) => jsonschema::json::cmp::equal(&Node::to_value(*self), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(Node::to_value(*self))
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref(self.item()) as usize))
    }
}

impl<'a> Object<'a, Tapes> for Node<'a, 'a> {
    type Node = Self;
    type MemberName = &'a str;
    type MembersIter = Members<'a>;

    fn len(&self) -> usize {
        self.children().count()
    }

    fn get(&self, key: &String) -> Option<Self> {
        self.member(key)
    }

    fn members(&self) -> Members<'a> {
        Members(self.children())
    }
}

/// Members with their names.
struct Members<'a>(Children<'a, 'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, Node<'a, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|node| (node.item().name, node))
    }
}

impl<'a> Array<'a, Tapes> for Node<'a, 'a> {
    type Node = Self;
    type ElementsIter = Children<'a, 'a>;

    fn len(&self) -> usize {
        self.children().count()
    }

    fn elements(&self) -> Children<'a, 'a> {
        self.children()
    }
}
