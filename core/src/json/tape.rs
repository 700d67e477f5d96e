//! A JSON object as a flat list of borrowed items, made in one pass and in room that is used again. Takes nothing
//! that [`super::parse`] would refuse and gives up on some that it would take: who gives up asks the strict path,
//! which has the words for what is wrong.

use std::borrow::Cow;

use serde_json::{Map, Number, Value};

use super::{TWO_POW_64, checked_float, is_integer};

/// How deep the fast path follows.
const MAX_DEPTH: u32 = 64;
/// Integers of so many digits fit 64 bits whatever they are.
const PLAIN_DIGITS: usize = 18;

/// What an item is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `null`; below the top it is left out of objects, as if it were absent.
    Null,
    /// `true` or `false`.
    Bool,
    /// An integer whose text is canonical and fits 64 bits.
    Int,
    /// Any other number.
    Number,
    /// A string without escapes: its text, less the quotes, is what it says.
    Plain,
    /// A string with escapes.
    Escaped,
    /// Items up to `end` are its elements.
    Array,
    /// Items up to `end` are its members.
    Object,
}

/// One value of the text.
#[derive(Clone, Copy, Debug)]
pub struct Item<'a> {
    /// Its name in the object that it is a member of; else empty.
    pub name: &'a str,
    /// Its text.
    pub text: &'a str,
    /// What it is.
    pub kind: Kind,
    /// Index of the first item that is not inside.
    pub end: usize,
}

/// The items of one object at a time; the object itself is the first.
#[derive(Debug, Default)]
pub struct Tape<'a> {
    items: Vec<Item<'a>>,
    /// Names of the objects that are open, to find one that is given twice.
    names: Vec<&'a str>,
}

/// A value of a tape.
#[derive(Clone, Copy, Debug)]
pub struct Node<'t, 'a> {
    items: &'t [Item<'a>],
    at: usize,
}

impl<'a> Tape<'a> {
    /// Takes an object apart, in place of the one before. None: not one, or one for the strict path.
    pub fn read(&mut self, text: &'a str) -> Option<Node<'_, 'a>> {
        self.items.clear();
        self.names.clear();
        let mut parser = Parser { tape: self, text, bytes: text.as_bytes(), at: 0 };
        parser.space();
        if parser.bytes.get(parser.at) != Some(&b'{') {
            return None;
        }
        parser.value("", 0)?;
        parser.space();
        (parser.at == text.len()).then_some(Node { items: &self.items, at: 0 })
    }
}

struct Parser<'p, 'a> {
    tape: &'p mut Tape<'a>,
    text: &'a str,
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Parser<'_, 'a> {
    fn value(&mut self, name: &'a str, depth: u32) -> Option<()> {
        let (start, index) = (self.at, self.tape.items.len());
        self.tape.items.push(Item { name, text: "", kind: Kind::Null, end: 0 });
        let kind = match *self.bytes.get(self.at)? {
            b'"' => self.string()?,
            b'{' => self.object(depth + 1)?,
            b'[' => self.array(depth + 1)?,
            b't' => self.word("true", Kind::Bool)?,
            b'f' => self.word("false", Kind::Bool)?,
            b'n' => self.word("null", Kind::Null)?,
            _ => self.number()?,
        };
        let end = self.tape.items.len();
        self.tape.items[index] = Item { name, text: &self.text[start..self.at], kind, end };
        Some(())
    }

    fn object(&mut self, depth: u32) -> Option<Kind> {
        let first_name = self.tape.names.len();
        let mut ascending = true;
        if self.opens(b'}', depth)? {
            return Some(Kind::Object);
        }
        loop {
            self.space();
            let name_at = self.at;
            if self.bytes.get(self.at) != Some(&b'"') || self.string()? != Kind::Plain {
                return None;
            }
            let name = &self.text[name_at + 1..self.at - 1];
            if name.is_empty() || name.contains('.') {
                return None;
            }
            ascending &= self.tape.names.len() == first_name || self.tape.names.last().is_none_or(|last| *last < name);
            self.tape.names.push(name);
            self.space();
            self.byte(b':')?;
            self.space();
            let index = self.tape.items.len();
            self.value(name, depth)?;
            // What is absent at the top, and where a field may not stand, differs: the event looks at these itself.
            if depth > 1 && self.tape.items[index].kind == Kind::Null {
                self.tape.items.truncate(index);
            }
            if self.closes(b'}')? {
                break;
            }
        }
        let names = &mut self.tape.names[first_name..];
        if !ascending {
            names.sort_unstable();
        }
        let twice = !ascending && names.windows(2).any(|pair| pair[0] == pair[1]);
        self.tape.names.truncate(first_name);
        (!twice).then_some(Kind::Object)
    }

    fn array(&mut self, depth: u32) -> Option<Kind> {
        if self.opens(b']', depth)? {
            return Some(Kind::Array);
        }
        loop {
            self.space();
            self.value("", depth)?;
            if self.closes(b']')? {
                return Some(Kind::Array);
            }
        }
    }

    /// Enters an array or object; whether it is empty.
    fn opens(&mut self, close: u8, depth: u32) -> Option<bool> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.at += 1;
        self.space();
        let empty = *self.bytes.get(self.at)? == close;
        self.at += usize::from(empty);
        Some(empty)
    }

    /// After an element: whether it was the last.
    fn closes(&mut self, close: u8) -> Option<bool> {
        self.space();
        let byte = *self.bytes.get(self.at)?;
        self.at += 1;
        if byte == close { Some(true) } else { (byte == b',').then_some(false) }
    }

    fn string(&mut self) -> Option<Kind> {
        let start = self.at;
        self.at += 1;
        let mut kind = Kind::Plain;
        loop {
            match *self.bytes.get(self.at)? {
                b'"' => break,
                b'\\' => {
                    kind = Kind::Escaped;
                    self.at += 2;
                }
                0..0x20 => return None,
                _ => self.at += 1,
            }
        }
        self.at += 1;
        // Which escapes there are, and which pairs of surrogates, is left to those who know.
        if kind == Kind::Escaped && serde_json::from_str::<Cow<'_, str>>(self.text.get(start..self.at)?).is_err() {
            return None;
        }
        Some(kind)
    }

    fn number(&mut self) -> Option<Kind> {
        let start = self.at;
        self.at += usize::from(self.bytes[self.at] == b'-');
        let digits = self.digits()?;
        if digits > 1 && self.bytes[self.at - digits] == b'0' {
            return None;
        }
        let mut kind = if digits <= PLAIN_DIGITS { Kind::Int } else { Kind::Number };
        let mut certain = kind == Kind::Int;
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
            kind = Kind::Number;
        }
        if matches!(self.bytes.get(self.at), Some(b'e' | b'E')) {
            self.at += 1;
            self.at += usize::from(matches!(self.bytes.get(self.at), Some(b'+' | b'-')));
            self.digits()?;
            (kind, certain) = (Kind::Number, false);
        }
        let text = &self.text[start..self.at];
        if text == "-0" {
            return Some(Kind::Number);
        }
        (certain || number(text).is_some()).then_some(kind)
    }

    fn digits(&mut self) -> Option<usize> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        (self.at > start).then_some(self.at - start)
    }

    fn word(&mut self, word: &str, kind: Kind) -> Option<Kind> {
        self.bytes[self.at..].starts_with(word.as_bytes()).then(|| {
            self.at += word.len();
            kind
        })
    }

    fn byte(&mut self, wanted: u8) -> Option<()> {
        let found = *self.bytes.get(self.at)? == wanted;
        self.at += 1;
        found.then_some(())
    }

    fn space(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
            self.at += 1;
        }
    }
}

/// The number that a text says, as [`super::parse`] has it.
fn number(text: &str) -> Option<Number> {
    let number: Number = serde_json::from_str(text).ok()?;
    if !number.is_f64() {
        return Some(number);
    }
    let value = number.as_f64()?;
    let bent = value.abs() >= TWO_POW_64 && is_integer(text);
    if bent { None } else { checked_float(value).ok() }
}

impl<'t, 'a> Node<'t, 'a> {
    /// A value that stands for itself: no array, no object.
    pub fn alone(item: &'t Item<'a>) -> Self {
        Self { items: std::slice::from_ref(item), at: 0 }
    }

    /// The item itself.
    pub fn item(self) -> &'t Item<'a> {
        &self.items[self.at]
    }

    /// Its index, which tells it from all others of its tape.
    pub fn index(self) -> usize {
        self.at
    }

    /// What is directly inside, in order. Of a value without an inside: nothing.
    pub fn children(self) -> Children<'t, 'a> {
        Children { items: self.items, at: self.at + 1, end: self.item().end }
    }

    /// The member of that name.
    pub fn member(self, name: &str) -> Option<Self> {
        self.children().find(|child| child.item().name == name)
    }

    /// The value below these names, each inside an object.
    pub fn below(self, path: &[String]) -> Option<Self> {
        path.iter().try_fold(self, |node, name| if node.item().kind == Kind::Object { node.member(name) } else { None })
    }

    /// What a string says.
    pub fn string(self) -> Option<Cow<'a, str>> {
        let item = self.item();
        match item.kind {
            Kind::Plain => Some(Cow::Borrowed(&item.text[1..item.text.len() - 1])),
            Kind::Escaped => serde_json::from_str(item.text).ok(),
            _ => None,
        }
    }

    /// A number.
    pub fn number(self) -> Option<Number> {
        let item = self.item();
        match item.kind {
            Kind::Int => item.text.parse::<i64>().ok().map(Number::from),
            Kind::Number => number(item.text),
            _ => None,
        }
    }

    /// The value as a tree: what [`super::parse`] makes of the same text.
    pub fn to_value(self) -> Value {
        match self.item().kind {
            Kind::Null => Value::Null,
            Kind::Bool => Value::Bool(self.item().text == "true"),
            Kind::Int | Kind::Number => self.number().map_or(Value::Null, Value::Number),
            Kind::Plain | Kind::Escaped => Value::String(self.string().unwrap_or_default().into_owned()),
            Kind::Array => Value::Array(self.children().map(Self::to_value).collect()),
            Kind::Object => {
                let member = |node: Self| (node.item().name.to_owned(), node.to_value());
                Value::Object(self.children().map(member).collect::<Map<_, _>>())
            }
        }
    }

    /// Writes its canonical text, and in place of the items of these indexes those texts.
    pub fn write(self, instead: &[(usize, String)], out: &mut String) {
        let item = self.item();
        if let Some((_, text)) = instead.iter().find(|(index, _)| *index == self.at) {
            out.push_str(text);
            return;
        }
        match item.kind {
            Kind::Null | Kind::Bool | Kind::Int | Kind::Plain => out.push_str(item.text),
            Kind::Number => out.push_str(&self.number().map(|number| number.to_string()).unwrap_or_default()),
            Kind::Escaped => write_string(&self.string().unwrap_or_default(), out),
            Kind::Array => {
                out.push('[');
                for (index, element) in self.children().enumerate() {
                    if index > 0 {
                        out.push(',');
                    }
                    element.write(instead, out);
                }
                out.push(']');
            }
            Kind::Object => self.write_object(instead, out),
        }
    }

    fn write_object(self, instead: &[(usize, String)], out: &mut String) {
        out.push('{');
        let mut first = true;
        let mut write = |member: Self| {
            out.push_str(if std::mem::take(&mut first) { "\"" } else { ",\"" });
            out.push_str(member.item().name);
            out.push_str("\":");
            member.write(instead, out);
        };
        if self.children().is_sorted_by(|a, b| a.item().name < b.item().name) {
            self.children().for_each(&mut write);
        } else {
            let mut members: Vec<Self> = self.children().collect();
            members.sort_unstable_by_key(|member| member.item().name);
            members.into_iter().for_each(&mut write);
        }
        out.push('}');
    }
}

fn write_string(text: &str, out: &mut String) {
    out.push_str(&Value::from(text).to_string());
}

/// Siblings, in the order of the text.
#[derive(Clone, Debug)]
pub struct Children<'t, 'a> {
    items: &'t [Item<'a>],
    at: usize,
    end: usize,
}

impl<'t, 'a> Iterator for Children<'t, 'a> {
    type Item = Node<'t, 'a>;

    fn next(&mut self) -> Option<Node<'t, 'a>> {
        if self.at >= self.end {
            return None;
        }
        let node = Node { items: self.items, at: self.at };
        self.at = node.item().end;
        Some(node)
    }
}
