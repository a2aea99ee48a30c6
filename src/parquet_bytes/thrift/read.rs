//! Reading a tree.

use super::{
    BINARY, DOUBLE, FALSE, I8, I16, I32, I64, LIST, List, MAP, Map, Result, SET, STRUCT, Struct,
    TRUE, UUID, Value,
};
use crate::error::FormatError;
use crate::limits::{THRIFT_DEPTH_MAX, THRIFT_VALUES_MAX};
use crate::parquet_bytes::varint;

pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    name: &'static str,
    offset: u64,
    /// Values so far.
    values: usize,
}

impl<'a> Reader<'a> {
    /// A reader of `bytes`; `name` and `offset` (of `bytes` in the file) are for messages.
    pub(super) fn new(bytes: &'a [u8], name: &'static str, offset: u64) -> Self {
        Self {
            bytes,
            at: 0,
            name,
            offset,
            values: 0,
        }
    }

    /// One struct, and how many bytes it took.
    pub(super) fn whole(mut self) -> Result<(Struct, usize)> {
        let value = self.structure(0)?;
        Ok((value, self.at))
    }

    /// A value takes a byte or two in the file and 32 and more in memory.
    fn count(&mut self) -> Result<()> {
        self.values += 1;
        if self.values > THRIFT_VALUES_MAX {
            return Err(FormatError::Unsupported {
                feature: format!("a {} of more than {THRIFT_VALUES_MAX} values", self.name),
            });
        }
        Ok(())
    }

    fn invalid(&self, found: String, expected: &'static str) -> FormatError {
        FormatError::Invalid {
            structure: self.name,
            offset: self.offset + self.at as u64,
            found,
            expected,
        }
    }

    fn take(&mut self, len: usize) -> Result<&[u8]> {
        let left = self.bytes.len() - self.at;
        let end = self.at.saturating_add(len);
        let Some(bytes) = self.bytes.get(self.at..end) else {
            return Err(FormatError::Truncated {
                structure: self.name,
                offset: self.offset + self.at as u64,
                needed: len as u64,
                available: left as u64,
            });
        };
        self.at = end;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    fn varint(&mut self) -> Result<u64> {
        let mut rest = self.bytes.get(self.at..).unwrap_or_default();
        let before = rest.len();
        match varint::read(&mut rest) {
            Some(value) => {
                self.at += before - rest.len();
                Ok(value)
            }
            // Asks for one byte more than there is, for the error.
            None if rest.is_empty() => self.take(before + 1).map(|_| 0),
            None => Err(self.invalid("a varint of more than 10 bytes".into(), "at most 10")),
        }
    }

    fn zigzag(&mut self) -> Result<i64> {
        self.varint().map(varint::zigzag)
    }

    fn integer<T: TryFrom<i64>>(&mut self) -> Result<T> {
        let value = self.zigzag()?;
        T::try_from(value)
            .map_err(|_| self.invalid(value.to_string(), "an integer that fits its type"))
    }

    /// The number of items that a header claims; each takes at least one byte.
    fn size(&self, claimed: u64) -> Result<usize> {
        let left = self.bytes.len() - self.at;
        match usize::try_from(claimed) {
            Ok(size) if size <= left => Ok(size),
            _ => Err(FormatError::Truncated {
                structure: self.name,
                offset: self.offset + self.at as u64,
                needed: claimed,
                available: left as u64,
            }),
        }
    }

    fn structure(&mut self, depth: usize) -> Result<Struct> {
        if depth >= THRIFT_DEPTH_MAX {
            return Err(self.invalid(format!("a struct at depth {depth}"), "at most 32 levels"));
        }
        let mut fields = Vec::new();
        let mut last = 0_i16;
        loop {
            let header = self.byte()?;
            if header == 0 {
                return Ok(Struct { fields });
            }
            let id = match header >> 4 {
                0 => self.integer()?,
                delta => last.wrapping_add(i16::from(delta)),
            };
            last = id;
            self.count()?;
            let value = match header & 0x0F {
                TRUE => Value::Bool(true),
                FALSE => Value::Bool(false),
                kind => self.value(kind, depth)?,
            };
            fields.push((id, value));
        }
    }

    fn value(&mut self, kind: u8, depth: usize) -> Result<Value> {
        self.count()?;
        Ok(match kind {
            // Only items of containers get here: a field's boolean is in its header.
            TRUE | FALSE | I8 => Value::I8(self.byte()?),
            I16 => Value::I16(self.integer()?),
            I32 => Value::I32(self.integer()?),
            I64 => Value::I64(self.zigzag()?),
            DOUBLE => Value::Double(self.array()?),
            UUID => Value::Uuid(self.array()?),
            BINARY => {
                let claimed = self.varint()?;
                let size = self.size(claimed)?;
                Value::Binary(self.take(size)?.to_vec())
            }
            LIST => Value::List(self.list(depth)?),
            SET => Value::Set(self.list(depth)?),
            MAP => {
                let claimed = self.varint()?;
                let size = self.size(claimed)?;
                let types = if size == 0 { 0 } else { self.byte()? };
                let mut entries = Vec::new();
                for _ in 0..size {
                    let key = self.value(types >> 4, depth + 1)?;
                    entries.push((key, self.value(types & 0x0F, depth + 1)?));
                }
                Value::Map(Map { types, entries })
            }
            STRUCT => Value::Struct(self.structure(depth + 1)?),
            other => return Err(self.invalid(format!("type {other}"), "a Thrift type (1 to 13)")),
        })
    }

    fn list(&mut self, depth: usize) -> Result<List> {
        if depth >= THRIFT_DEPTH_MAX {
            return Err(self.invalid(format!("a list at depth {depth}"), "at most 32 levels"));
        }
        let header = self.byte()?;
        let element = header & 0x0F;
        let claimed = match header >> 4 {
            15 => self.varint()?,
            short => u64::from(short),
        };
        let size = self.size(claimed)?;
        let mut items = Vec::new();
        for _ in 0..size {
            items.push(self.value(element, depth + 1)?);
        }
        Ok(List { element, items })
    }
}
