//! A YAML file as a tree, which can be read again without the parts of it that are wrong.
//!
//! The parser stops at the first mistake, and knows places, but not what comes behind. From the tree everything can be read that is
//! right, so that all mistakes are found: each is noted and taken out, and then the rest is read again.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

/// Most values in a tree. YAML lets a small file repeat a long list by reference.
const NODES_MAX: usize = 100_000;

/// A step from a value into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// To the value of a key; the number counts its occurrences before this one.
    Key(String, usize),
    /// To an entry of a list, from 0.
    Entry(usize),
}

/// A value of the file. What is taken out leaves the numbers of the rest as they are in the file.
#[derive(Clone, Debug)]
pub(super) enum Node {
    Null,
    Bool(bool),
    Unsigned(u64),
    Signed(i64),
    Float(f64),
    Text(String),
    Inner(Kind, Vec<(Step, Node)>),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    List,
    Map,
}

/// What is wrong with a value, and where.
#[derive(Clone, Debug)]
pub(super) struct Mistake {
    pub(super) trail: Vec<Step>,
    /// Whether it is the key at the end of the trail, rather than its value.
    pub(super) is_key: bool,
    pub(super) message: String,
}

/// The way to a value, as messages write it: `allowed_commands[2].keys`.
pub(super) fn written(trail: &[Step]) -> String {
    let mut text = String::new();
    for step in trail {
        match step {
            Step::Key(key, _) if text.is_empty() => text.push_str(key),
            Step::Key(key, _) => text.push_str(&format!(".{key}")),
            Step::Entry(number) => text.push_str(&format!("[{number}]")),
        }
    }
    text
}

impl Node {
    /// The tree of a file; none for what is no YAML, has something in it that no policy file has, or is too large.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let room = Cell::new(NODES_MAX);
        Build(&room)
            .deserialize(serde_yaml::Deserializer::from_str(text))
            .ok()
    }

    /// Reads a value, up to the first mistake.
    pub(super) fn read<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Mistake> {
        let walk = Walk::default();
        let read = T::deserialize(At {
            node: self,
            walk: &walk,
        });
        read.map_err(|Wrong(message)| Mistake {
            trail: walk.trail.into_inner(),
            is_key: walk.is_key.get(),
            message,
        })
    }

    /// Keys that stand in their mapping for another time.
    pub(super) fn repeated(&self) -> Vec<Mistake> {
        let Node::Inner(_, entries) = self else {
            return Vec::new();
        };
        let mut all = Vec::new();
        for (step, node) in entries {
            if let Step::Key(key, 1..) = step {
                all.push(Mistake {
                    trail: vec![step.clone()],
                    is_key: true,
                    message: format!("duplicate field `{key}`"),
                });
                continue;
            }
            all.extend(node.repeated().into_iter().map(|mut mistake| {
                mistake.trail.insert(0, step.clone());
                mistake
            }));
        }
        all
    }

    /// Takes a value out, with its key.
    pub(super) fn remove(&mut self, trail: &[Step]) {
        let Some((first, rest)) = trail.split_first() else {
            return;
        };
        let Node::Inner(_, entries) = self else {
            return;
        };
        if rest.is_empty() {
            entries.retain(|(step, _)| step != first);
        } else if let Some((_, node)) = entries.iter_mut().find(|(step, _)| step == first) {
            node.remove(rest);
        }
    }

    /// The way in the file to what a path names after things were taken out.
    pub(super) fn trail(&self, path: &str) -> Option<Vec<Step>> {
        if path.is_empty() {
            return Some(Vec::new());
        }
        let Node::Inner(_, entries) = self else {
            return None;
        };
        let path = path.strip_prefix('.').unwrap_or(path);
        entries
            .iter()
            .enumerate()
            .find_map(|(number, (step, node))| {
                let rest = match step {
                    Step::Key(key, _) => path.strip_prefix(key.as_str()),
                    Step::Entry(_) => path.strip_prefix(&format!("[{number}]")),
                };
                let rest = rest.filter(|rest| rest.is_empty() || rest.starts_with(['.', '[']))?;
                let mut trail = vec![step.clone()];
                trail.extend(node.trail(rest)?);
                Some(trail)
            })
    }
}

/// Builds a tree, with the number of values that there is still room for.
#[derive(Clone, Copy)]
struct Build<'a>(&'a Cell<usize>);

impl<'de> DeserializeSeed<'de> for Build<'_> {
    type Value = Node;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Node, D::Error> {
        let left = self.0.get().checked_sub(1);
        self.0
            .set(left.ok_or_else(|| de::Error::custom("too many values"))?);
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Build<'_> {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value without a tag")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Unsigned(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Signed(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Float(value))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some(node) = from.next_element_seed(self)? {
            entries.push((Step::Entry(entries.len()), node));
        }
        Ok(Node::Inner(Kind::List, entries))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut from: A) -> Result<Node, A::Error> {
        let mut entries: Vec<(Step, Node)> = Vec::new();
        while let Some(key) = from.next_key::<String>()? {
            let is_same =
                |(step, _): &&(Step, Node)| matches!(step, Step::Key(known, _) if *known == key);
            let before = entries.iter().filter(is_same).count();
            entries.push((Step::Key(key, before), from.next_value_seed(self)?));
        }
        Ok(Node::Inner(Kind::Map, entries))
    }
}

/// How far a tree has been read. After a mistake it stays where that is.
#[derive(Default)]
struct Walk {
    trail: RefCell<Vec<Step>>,
    is_key: Cell<bool>,
}

/// The text of a mistake.
#[derive(Debug)]
struct Wrong(String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

impl de::Error for Wrong {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

/// Reads a node as the parser of YAML reads what it was made of.
struct At<'a> {
    node: &'a Node,
    walk: &'a Walk,
}

impl<'a> At<'a> {
    /// Any scalar is a text where a text is wanted.
    fn text(&self) -> Option<String> {
        match self.node {
            Node::Null | Node::Inner(..) => None,
            Node::Bool(value) => Some(value.to_string()),
            Node::Unsigned(value) => Some(value.to_string()),
            Node::Signed(value) => Some(value.to_string()),
            Node::Float(value) => Some(value.to_string()),
            Node::Text(text) => Some(text.clone()),
        }
    }

    /// The entries; those of nothing are none.
    fn inner(&self, kind: Kind) -> Option<Entries<'a>> {
        let entries = match self.node {
            Node::Null => &[],
            Node::Inner(of, entries) if *of == kind => entries.as_slice(),
            _ => return None,
        };
        Some(Entries {
            entries: entries.iter(),
            value: None,
            walk: self.walk,
        })
    }
}

impl<'de> Deserializer<'de> for At<'_> {
    type Error = Wrong;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.node {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Unsigned(value) => visitor.visit_u64(*value),
            Node::Signed(value) => visitor.visit_i64(*value),
            Node::Float(value) => visitor.visit_f64(*value),
            Node::Text(text) => visitor.visit_str(text),
            Node::Inner(Kind::List, _) => self.deserialize_seq(visitor),
            Node::Inner(Kind::Map, _) => self.deserialize_map(visitor),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.text() {
            Some(text) => visitor.visit_str(&text),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.node {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.inner(Kind::List) {
            Some(entries) => visitor.visit_seq(entries),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Wrong> {
        match self.inner(Kind::Map) {
            Some(entries) => visitor.visit_map(entries),
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Wrong> {
        match self.text() {
            Some(text) => {
                let word: StrDeserializer<'_, Wrong> = text.as_str().into_deserializer();
                visitor.visit_enum(word)
            }
            None => Err(de::Error::invalid_type(self.unexpected(), &"one word")),
        }
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char bytes byte_buf unit unit_struct newtype_struct tuple
        tuple_struct identifier ignored_any
    }
}

impl At<'_> {
    fn unexpected(&self) -> Unexpected<'_> {
        match self.node {
            Node::Inner(Kind::List, _) => Unexpected::Seq,
            Node::Inner(Kind::Map, _) => Unexpected::Map,
            _ => Unexpected::Unit,
        }
    }
}

/// The entries of a list or a mapping.
struct Entries<'a> {
    entries: std::slice::Iter<'a, (Step, Node)>,
    /// That of the key which was read last.
    value: Option<&'a Node>,
    walk: &'a Walk,
}

impl Entries<'_> {
    fn enter<'de, T: DeserializeSeed<'de>>(&self, seed: T, node: &Node) -> Result<T::Value, Wrong> {
        let walk = self.walk;
        walk.is_key.set(false);
        let value = seed.deserialize(At { node, walk })?;
        walk.trail.borrow_mut().pop();
        Ok(value)
    }
}

impl<'de> SeqAccess<'de> for Entries<'_> {
    type Error = Wrong;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Wrong> {
        let Some((step, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.walk.trail.borrow_mut().push(step.clone());
        self.enter(seed, node).map(Some)
    }
}

impl<'de> MapAccess<'de> for Entries<'_> {
    type Error = Wrong;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Wrong> {
        let Some((step, node)) = self.entries.next() else {
            return Ok(None);
        };
        self.walk.trail.borrow_mut().push(step.clone());
        self.walk.is_key.set(true);
        self.value = Some(node);
        let key = match step {
            Step::Key(key, _) => key.as_str(),
            Step::Entry(_) => "",
        };
        let key: StrDeserializer<'_, Wrong> = key.into_deserializer();
        seed.deserialize(key).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Wrong> {
        let node = self.value.take().unwrap_or(&Node::Null);
        self.enter(seed, node)
    }
}
