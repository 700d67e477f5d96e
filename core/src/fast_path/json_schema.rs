//! Lets the JSON Schema validator read tokens as it reads a tree. The schemas themselves are left to [`crate::schema`].

use std::borrow::Cow;

use jsonschema::JsonType;
use jsonschema::json::{Array, Json, Node as JsonNode, NodeIdentity, Object};
use serde_json::{Number, Value};

use super::tokens::{Children, Token, TokenKind, TokenNode};

/// Marks tokens as the kind of JSON that a validator reads.
pub struct TokenJson;

impl Json for TokenJson {
    type Node<'a> = TokenNode<'a, 'a>;
    type PreparedKey = String;
    type StringBuffer = String;

    fn prepare_key(key: &str) -> String {
        key.to_owned()
    }

    fn with_string_node<T>(buffer: &mut String, string: &str, f: impl FnOnce(Self::Node<'_>) -> T) -> T {
        *buffer = Value::from(string).to_string();
        let kind = if buffer.contains('\\') { TokenKind::Escaped } else { TokenKind::Plain };
        f(TokenNode::alone(&Token { name: "", text: buffer, kind, end: 1 }))
    }
}

impl<'a> JsonNode<'a, TokenJson> for TokenNode<'a, 'a> {
    type Object = Self;
    type Array = Self;
    type Number = Number;

    fn as_object(&self) -> Option<Self> {
        (self.token().kind == TokenKind::Object).then_some(*self)
    }

    fn as_array(&self) -> Option<Self> {
        (self.token().kind == TokenKind::Array).then_some(*self)
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        self.string()
    }

    fn as_number(&self) -> Option<Number> {
        self.number()
    }

    fn is_number(&self) -> bool {
        matches!(self.token().kind, TokenKind::Int | TokenKind::Number)
    }

    fn as_boolean(&self) -> Option<bool> {
        (self.token().kind == TokenKind::Bool).then(|| self.token().text == "true")
    }

    fn is_null(&self) -> bool {
        self.token().kind == TokenKind::Null
    }

    fn json_type(&self) -> JsonType {
        match self.token().kind {
            TokenKind::Null => JsonType::Null,
            TokenKind::Bool => JsonType::Boolean,
            TokenKind::Int | TokenKind::Number => JsonType::Number,
            TokenKind::Plain | TokenKind::Escaped => JsonType::String,
            TokenKind::Array => JsonType::Array,
            TokenKind::Object => JsonType::Object,
        }
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self.string(), expected) {
            (Some(text), Value::String(expected)) => text == *expected,
            (Some(_), _) | (None, Value::String(_)) => false,
            (None, _) => jsonschema::json::cmp::equal(&TokenNode::to_value(*self), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(TokenNode::to_value(*self))
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::new(std::ptr::from_ref(self.token()) as usize))
    }
}

impl<'a> Object<'a, TokenJson> for TokenNode<'a, 'a> {
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
pub struct Members<'a>(Children<'a, 'a>);

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, TokenNode<'a, 'a>);

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next().map(|node| (node.token().name, node))
    }
}

impl<'a> Array<'a, TokenJson> for TokenNode<'a, 'a> {
    type Node = Self;
    type ElementsIter = Children<'a, 'a>;

    fn len(&self) -> usize {
        self.children().count()
    }

    fn elements(&self) -> Children<'a, 'a> {
        self.children()
    }
}
