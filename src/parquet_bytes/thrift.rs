//! A lossless tree of any structure in the Thrift compact protocol.
//!
//! ```text
//!   struct:  (field header, value)* 0x00        field header:  delta<<4 | type   or   type, zigzag id
//!   list:    size<<4 | type   or   0xF0 | type, varint size;   then the items
//! ```
//!
//! Reading keeps every field, known or not, in its order, so that what is emitted is the same bytes
//! except for what was edited. (Two spellings that no known writer uses are normalised: long field
//! headers where a short one would do, and varints with superfluous zero groups.)
//!
//! Source: `thrift-compact-protocol.md` in the Apache Thrift repository.
//!
//! # Invariants
//! Depth is bounded by [`THRIFT_DEPTH_MAX`](crate::limits::THRIFT_DEPTH_MAX), the number of values by
//! [`THRIFT_VALUES_MAX`](crate::limits::THRIFT_VALUES_MAX); every length is compared with what is left of the
//! input before anything is allocated for it.

use self::read::Reader;
use super::varint;
use crate::error::FormatError;

mod read;

type Result<T> = std::result::Result<T, FormatError>;

const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I8: u8 = 3;
const I16: u8 = 4;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const SET: u8 = 10;
const MAP: u8 = 11;
const STRUCT: u8 = 12;
const UUID: u8 = 13;

/// Any value.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Value {
    /// A boolean field.
    Bool(bool),
    /// A byte; also an item of a list of booleans, where 1 is true.
    I8(u8),
    /// A 16-bit integer.
    I16(i16),
    /// A 32-bit integer, also an enum.
    I32(i32),
    /// A 64-bit integer.
    I64(i64),
    /// A double, as its bytes.
    Double([u8; 8]),
    /// A string or binary.
    Binary(Vec<u8>),
    /// A list.
    List(List),
    /// A set.
    Set(List),
    /// A map.
    Map(Map),
    /// A struct, also a union.
    Struct(Struct),
    /// A UUID.
    Uuid([u8; 16]),
}

/// A list of values of one type.
#[derive(Debug, Clone, PartialEq)]
pub struct List {
    element: u8,
    /// The items, in order.
    pub items: Vec<Value>,
}

/// A map.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    types: u8,
    entries: Vec<(Value, Value)>,
}

/// A struct: its fields in the order in which they stand in the file.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Struct {
    fields: Vec<(i16, Value)>,
}

impl List {
    /// A list of structs.
    pub fn of_structs(items: impl IntoIterator<Item = Struct>) -> Self {
        Self {
            element: STRUCT,
            items: items.into_iter().map(Value::Struct).collect(),
        }
    }

    /// A list of 32-bit integers or enums.
    pub fn of_i32(items: impl IntoIterator<Item = i32>) -> Self {
        Self {
            element: I32,
            items: items.into_iter().map(Value::I32).collect(),
        }
    }

    /// A list of 64-bit integers.
    pub fn of_i64(items: impl IntoIterator<Item = i64>) -> Self {
        Self {
            element: I64,
            items: items.into_iter().map(Value::I64).collect(),
        }
    }

    /// A list of booleans.
    pub fn of_bool(items: impl IntoIterator<Item = bool>) -> Self {
        Self {
            element: TRUE,
            items: items
                .into_iter()
                .map(|item| Value::I8(if item { TRUE } else { FALSE }))
                .collect(),
        }
    }

    /// A list of binaries.
    pub fn of_binary(items: impl IntoIterator<Item = Vec<u8>>) -> Self {
        Self {
            element: BINARY,
            items: items.into_iter().map(Value::Binary).collect(),
        }
    }

    /// The items that are structs.
    pub fn structs(&self) -> impl Iterator<Item = &Struct> {
        self.items.iter().filter_map(|item| match item {
            Value::Struct(item) => Some(item),
            _ => None,
        })
    }

    /// The items that are booleans.
    pub fn bools(&self) -> impl Iterator<Item = bool> {
        self.items.iter().filter_map(|item| match item {
            Value::Bool(item) => Some(*item),
            Value::I8(item) => Some(*item == TRUE),
            _ => None,
        })
    }

    /// The items that are 64-bit integers.
    pub fn i64s(&self) -> impl Iterator<Item = i64> {
        self.items.iter().filter_map(|item| match item {
            Value::I64(item) => Some(*item),
            _ => None,
        })
    }

    /// The items that are 32-bit integers.
    pub fn i32s(&self) -> impl Iterator<Item = i32> {
        self.items.iter().filter_map(|item| match item {
            Value::I32(item) => Some(*item),
            _ => None,
        })
    }

    /// The items that are binaries.
    pub fn binaries(&self) -> impl Iterator<Item = &[u8]> {
        self.items.iter().filter_map(|item| match item {
            Value::Binary(item) => Some(item.as_slice()),
            _ => None,
        })
    }
}

impl Struct {
    /// Reads one struct from the front of `bytes`; also says how many bytes it took.
    ///
    /// # Errors
    /// When the bytes end too early or are not Thrift; `name` and `offset` (of `bytes` in the file)
    /// are for the message.
    pub fn read(bytes: &[u8], name: &'static str, offset: u64) -> Result<(Self, usize)> {
        Reader::new(bytes, name, offset).whole()
    }

    /// Appends the struct's bytes to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let mut last = 0_i16;
        for (id, value) in &self.fields {
            let kind = match value {
                Value::Bool(true) => TRUE,
                Value::Bool(false) => FALSE,
                Value::I8(_) => I8,
                Value::I16(_) => I16,
                Value::I32(_) => I32,
                Value::I64(_) => I64,
                Value::Double(_) => DOUBLE,
                Value::Binary(_) => BINARY,
                Value::List(_) => LIST,
                Value::Set(_) => SET,
                Value::Map(_) => MAP,
                Value::Struct(_) => STRUCT,
                Value::Uuid(_) => UUID,
            };
            match u8::try_from(id.wrapping_sub(last)) {
                Ok(delta @ 1..=15) if *id > last => out.push(delta << 4 | kind),
                _ => {
                    out.push(kind);
                    varint::write_zigzag(out, i64::from(*id));
                }
            }
            last = *id;
            if !matches!(value, Value::Bool(_)) {
                value.write(out);
            }
        }
        out.push(0);
    }

    /// The struct's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.write(&mut out);
        out
    }

    /// The fields, in the order in which they stand in the file.
    pub(super) fn fields(&self) -> impl Iterator<Item = &(i16, Value)> {
        self.fields.iter()
    }

    /// The field `id`.
    pub fn get(&self, id: i16) -> Option<&Value> {
        self.fields
            .iter()
            .find_map(|(field, value)| (*field == id).then_some(value))
    }

    fn get_mut(&mut self, id: i16) -> Option<&mut Value> {
        self.fields
            .iter_mut()
            .find_map(|(field, value)| (*field == id).then_some(value))
    }

    /// The field `id` if it is a boolean.
    pub fn bool(&self, id: i16) -> Option<bool> {
        match self.get(id)? {
            Value::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The field `id` if it is a 32-bit integer or enum.
    pub fn i32(&self, id: i16) -> Option<i32> {
        match self.get(id)? {
            Value::I32(value) => Some(*value),
            _ => None,
        }
    }

    /// The field `id` if it is a 64-bit integer.
    pub fn i64(&self, id: i16) -> Option<i64> {
        match self.get(id)? {
            Value::I64(value) => Some(*value),
            _ => None,
        }
    }

    /// The field `id` if it is a string or binary.
    pub fn binary(&self, id: i16) -> Option<&[u8]> {
        match self.get(id)? {
            Value::Binary(value) => Some(value),
            _ => None,
        }
    }

    /// The field `id` if it is a list.
    pub fn list(&self, id: i16) -> Option<&List> {
        match self.get(id)? {
            Value::List(value) => Some(value),
            _ => None,
        }
    }

    /// The field `id` if it is a list, to edit.
    pub fn list_mut(&mut self, id: i16) -> Option<&mut List> {
        match self.get_mut(id)? {
            Value::List(value) => Some(value),
            _ => None,
        }
    }

    /// The field `id` if it is a struct.
    pub fn structure(&self, id: i16) -> Option<&Self> {
        match self.get(id)? {
            Value::Struct(value) => Some(value),
            _ => None,
        }
    }

    /// The field `id` if it is a struct, to edit.
    pub fn structure_mut(&mut self, id: i16) -> Option<&mut Self> {
        match self.get_mut(id)? {
            Value::Struct(value) => Some(value),
            _ => None,
        }
    }

    /// Sets the field `id`: in its place if it is there, else in the order of ids.
    pub fn set(&mut self, id: i16, value: Value) {
        if let Some(slot) = self.get_mut(id) {
            *slot = value;
        } else {
            let at = self
                .fields
                .iter()
                .position(|(field, _)| *field > id)
                .unwrap_or(self.fields.len());
            self.fields.insert(at, (id, value));
        }
    }

    /// Sets the field `id`, or removes it for `None`.
    pub fn set_or_remove(&mut self, id: i16, value: Option<Value>) {
        match value {
            Some(value) => self.set(id, value),
            None => self.remove(id),
        }
    }

    /// Removes the field `id` if it is there.
    pub fn remove(&mut self, id: i16) {
        self.fields.retain(|(field, _)| *field != id);
    }

    /// The struct with one more field, for building one in place.
    #[must_use]
    pub fn with(mut self, id: i16, value: Value) -> Self {
        self.set(id, value);
        self
    }
}

impl Value {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Bool(value) => out.push(if *value { TRUE } else { FALSE }),
            Self::I8(value) => out.push(*value),
            Self::I16(value) => varint::write_zigzag(out, i64::from(*value)),
            Self::I32(value) => varint::write_zigzag(out, i64::from(*value)),
            Self::I64(value) => varint::write_zigzag(out, *value),
            Self::Double(bytes) => out.extend_from_slice(bytes),
            Self::Uuid(bytes) => out.extend_from_slice(bytes),
            Self::Binary(bytes) => {
                varint::write(out, bytes.len() as u64);
                out.extend_from_slice(bytes);
            }
            Self::List(list) | Self::Set(list) => {
                if let Ok(size @ 0..15) = u8::try_from(list.items.len()) {
                    out.push(size << 4 | list.element);
                } else {
                    out.push(0xF0 | list.element);
                    varint::write(out, list.items.len() as u64);
                }
                for item in &list.items {
                    item.write(out);
                }
            }
            Self::Map(map) => {
                varint::write(out, map.entries.len() as u64);
                if !map.entries.is_empty() {
                    out.push(map.types);
                }
                for (key, value) in &map.entries {
                    key.write(out);
                    value.write(out);
                }
            }
            Self::Struct(value) => value.write(out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i16>().prop_map(Value::I16),
            any::<i32>().prop_map(Value::I32),
            any::<i64>().prop_map(Value::I64),
            any::<[u8; 8]>().prop_map(Value::Double),
            any::<[u8; 16]>().prop_map(Value::Uuid),
            any::<u8>().prop_map(Value::I8),
            proptest::collection::vec(any::<u8>(), 0..20).prop_map(Value::Binary),
            proptest::collection::vec(any::<bool>(), 0..20)
                .prop_map(|items| Value::List(List::of_bool(items))),
        ];
        leaf.prop_recursive(4, 32, 5, |inner| {
            prop_oneof![
                proptest::collection::vec(any::<i64>(), 0..20)
                    .prop_map(|items| Value::Set(List::of_i64(items))),
                structure(inner.clone()).prop_map(Value::Struct),
                proptest::collection::vec(structure(inner), 0..18)
                    .prop_map(|items| Value::List(List::of_structs(items))),
            ]
        })
    }

    fn structure(value: impl Strategy<Value = Value>) -> impl Strategy<Value = Struct> {
        let field = (
            any::<i16>(),
            prop_oneof![9 => value, 1 => any::<bool>().prop_map(Value::Bool)],
        );
        proptest::collection::vec(field, 0..6).prop_map(|fields| Struct { fields })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_the_same(tree in structure(value())) {
            let bytes = tree.to_bytes();
            let (back, used) = Struct::read(&bytes, "test", 0).unwrap();
            prop_assert_eq!(used, bytes.len());
            prop_assert_eq!(&back, &tree);
            prop_assert_eq!(back.to_bytes(), bytes);
        }

        #[test]
        fn any_bytes_end_in_a_tree_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok((tree, used)) = Struct::read(&bytes, "test", 0) {
                let again = tree.to_bytes();
                prop_assert!(used <= bytes.len());
                prop_assert_eq!(Struct::read(&again, "test", 0).unwrap().0, tree);
            }
        }
    }

    #[test]
    fn deep_nesting_and_huge_sizes_are_errors() {
        assert!(Struct::read(&[0x1C; 10_000], "test", 0).is_err());
        assert!(Struct::read(&[0x19; 10_000], "test", 0).is_err());
        let huge_list = [0x19, 0xF5, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F, 0];
        assert!(Struct::read(&huge_list, "test", 0).is_err());
    }

    #[test]
    fn a_set_field_keeps_its_place() {
        let mut tree = Struct::default()
            .with(1, Value::I32(1))
            .with(5, Value::I32(5))
            .with(3, Value::I32(3));
        tree.set(1, Value::I32(7));
        tree.remove(5);
        assert_eq!(tree.fields, [(1, Value::I32(7)), (3, Value::I32(3))]);
    }
}
