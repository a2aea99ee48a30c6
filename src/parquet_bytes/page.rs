//! Page headers.
//!
//! ```text
//!   chunk:  header, body | header, body | ..        (a dictionary page, if any, first)
//!   V1 body:  compress(repetition levels, definition levels, values)
//!   V2 body:  repetition levels, definition levels, compress?(values)
//! ```

use parquet::basic::Encoding;

use super::codec::{Codec, Codecs};
use super::thrift::{Struct, Value};
use crate::error::FormatError;

type Result<T> = std::result::Result<T, FormatError>;

/// Field ids of `PageHeader`.
mod header {
    pub(super) const TYPE: i16 = 1;
    pub(super) const UNCOMPRESSED_SIZE: i16 = 2;
    pub(super) const COMPRESSED_SIZE: i16 = 3;
    pub(super) const CRC: i16 = 4;
    pub(super) const DATA_V1: i16 = 5;
    pub(super) const DICTIONARY: i16 = 7;
    pub(super) const DATA_V2: i16 = 8;
}

/// What a page header says, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct PageHeader {
    /// Where the header begins in the file.
    pub offset: u64,
    /// Bytes of the header.
    pub header_len: u32,
    /// Bytes of the body as it is in the file.
    pub compressed_len: u32,
    /// Bytes of the body without compression.
    pub uncompressed_len: u32,
    /// CRC-32 of the body, where the writer made one.
    pub crc: Option<u32>,
    /// What kind of page.
    pub kind: PageKind,
}

/// What kind of page, with what only that kind has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PageKind {
    /// The dictionary of the chunk.
    Dictionary {
        /// Entries.
        values: u32,
        /// How they are encoded (`PLAIN`, or `PLAIN_DICTIONARY` for the same).
        encoding: Encoding,
        /// Whether they are sorted.
        sorted: bool,
    },
    /// A data page, version 1.
    V1 {
        /// Values and nulls.
        values: u32,
        /// How the values are encoded.
        encoding: Encoding,
        /// How the definition levels are encoded (`RLE` or `BIT_PACKED`).
        definition: Encoding,
        /// How the repetition levels are encoded (`RLE` or `BIT_PACKED`).
        repetition: Encoding,
    },
    /// A data page, version 2.
    V2 {
        /// Values and nulls.
        values: u32,
        /// Nulls among them.
        nulls: u32,
        /// The number of rows.
        rows: u32,
        /// How the values are encoded.
        encoding: Encoding,
        /// Bytes of the definition levels.
        definition_len: u32,
        /// Bytes of the repetition levels.
        repetition_len: u32,
        /// Whether the values are compressed.
        compressed: bool,
    },
    /// Something that holds no values (an index page, or a type that is not known).
    Other,
}

impl PageKind {
    /// Values and nulls of a data page.
    pub fn data_values(self) -> Option<u32> {
        match self {
            Self::V1 { values, .. } | Self::V2 { values, .. } => Some(values),
            Self::Dictionary { .. } | Self::Other => None,
        }
    }

    /// Bytes of levels that stand in front of what is compressed.
    pub fn stored_levels(self) -> u32 {
        match self {
            Self::V2 {
                definition_len,
                repetition_len,
                ..
            } => definition_len.saturating_add(repetition_len),
            _ => 0,
        }
    }

    /// Whether the values are dictionary indices.
    pub fn uses_dictionary(self) -> bool {
        matches!(
            self.data_encoding(),
            Some(Encoding::RLE_DICTIONARY | Encoding::PLAIN_DICTIONARY)
        )
    }

    /// How the levels of a data page of version 1 are encoded: of definition, of repetition.
    pub fn level_encodings(self) -> Option<(Encoding, Encoding)> {
        match self {
            Self::V1 {
                definition,
                repetition,
                ..
            } => Some((definition, repetition)),
            _ => None,
        }
    }

    /// How the values of a data page are encoded.
    pub fn data_encoding(self) -> Option<Encoding> {
        match self {
            Self::V1 { encoding, .. } | Self::V2 { encoding, .. } => Some(encoding),
            Self::Dictionary { .. } | Self::Other => None,
        }
    }
}

impl PageHeader {
    /// Reads a header from the front of `bytes`, which stand at `offset` of the file.
    ///
    /// # Errors
    /// When the bytes are no page header, or one with lengths that can't be.
    pub fn read(bytes: &[u8], offset: u64) -> Result<Self> {
        let (tree, used) = Struct::read(bytes, "page header", offset)?;
        let at = Fields {
            tree: &tree,
            offset,
        };
        let compressed_len = at.count(header::COMPRESSED_SIZE)?;
        let uncompressed_len = at.count(header::UNCOMPRESSED_SIZE)?;
        let kind = match tree.i32(header::TYPE) {
            Some(0) => {
                let data = at.structure(header::DATA_V1)?;
                PageKind::V1 {
                    values: data.count(1)?,
                    encoding: data.encoding(2)?,
                    definition: data.encoding(3)?,
                    repetition: data.encoding(4)?,
                }
            }
            Some(2) => {
                let dictionary = at.structure(header::DICTIONARY)?;
                PageKind::Dictionary {
                    values: dictionary.count(1)?,
                    encoding: dictionary.encoding(2)?,
                    sorted: dictionary.tree.bool(3).unwrap_or(false),
                }
            }
            Some(3) => {
                let data = at.structure(header::DATA_V2)?;
                PageKind::V2 {
                    values: data.count(1)?,
                    nulls: data.count(2)?,
                    rows: data.count(3)?,
                    encoding: data.encoding(4)?,
                    definition_len: data.count(5)?,
                    repetition_len: data.count(6)?,
                    compressed: data.tree.bool(7).unwrap_or(true),
                }
            }
            Some(_) => PageKind::Other,
            None => return Err(at.invalid("no page type", "one")),
        };
        if let PageKind::V2 {
            definition_len,
            repetition_len,
            ..
        } = kind
        {
            let levels = u64::from(definition_len) + u64::from(repetition_len);
            if levels > u64::from(compressed_len) || levels > u64::from(uncompressed_len) {
                return Err(at.invalid("levels longer than the page", "levels inside the page"));
            }
        }
        let header_len =
            u32::try_from(used).map_err(|_| at.invalid("a huge header", "a small one"))?;
        Ok(Self {
            offset,
            header_len,
            compressed_len,
            uncompressed_len,
            crc: tree.i32(header::CRC).map(i32::cast_unsigned),
            kind,
        })
    }

    /// The header as a tree: `source`, with what this header says in its place.
    pub fn to_tree(&self, source: Struct) -> Struct {
        let int = |value: u32| Value::I32(value.cast_signed());
        let code = |encoding: Encoding| Value::I32(encoding as i32);
        let (kind, id, fields) = match self.kind {
            PageKind::V1 {
                values,
                encoding,
                definition,
                repetition,
            } => {
                let fields = [
                    int(values),
                    code(encoding),
                    code(definition),
                    code(repetition),
                ];
                (0, header::DATA_V1, fields.to_vec())
            }
            PageKind::Dictionary {
                values,
                encoding,
                sorted,
            } => {
                let fields = [int(values), code(encoding), Value::Bool(sorted)];
                (2, header::DICTIONARY, fields.to_vec())
            }
            PageKind::V2 {
                values,
                nulls,
                rows,
                encoding,
                definition_len,
                repetition_len,
                compressed,
            } => {
                let fields = [
                    int(values),
                    int(nulls),
                    int(rows),
                    code(encoding),
                    int(definition_len),
                    int(repetition_len),
                    Value::Bool(compressed),
                ];
                (3, header::DATA_V2, fields.to_vec())
            }
            PageKind::Other => (1, 6, Vec::new()),
        };
        let mut tree = source;
        tree.set(header::TYPE, Value::I32(kind));
        tree.set(header::UNCOMPRESSED_SIZE, int(self.uncompressed_len));
        tree.set(header::COMPRESSED_SIZE, int(self.compressed_len));
        tree.set_or_remove(header::CRC, self.crc.map(int));
        let mut of_kind = tree.structure(id).cloned().unwrap_or_default();
        for (field, value) in (1..).zip(fields) {
            of_kind.set(field, value);
        }
        tree.set(id, Value::Struct(of_kind));
        tree
    }

    /// The statistics in the tree of a data page's header.
    pub fn statistics_in(tree: &Struct) -> Option<&Struct> {
        let (id, field) = Self::statistics_place(tree)?;
        tree.structure(id)?.structure(field)
    }

    /// The same, to edit.
    pub fn statistics_in_mut(tree: &mut Struct) -> Option<&mut Struct> {
        let (id, field) = Self::statistics_place(tree)?;
        tree.structure_mut(id)?.structure_mut(field)
    }

    fn statistics_place(tree: &Struct) -> Option<(i16, i16)> {
        match tree.i32(header::TYPE) {
            Some(0) => Some((header::DATA_V1, 5)),
            Some(3) => Some((header::DATA_V2, 8)),
            _ => None,
        }
    }

    /// Where the body begins in the file.
    pub fn body_offset(&self) -> u64 {
        self.offset + u64::from(self.header_len)
    }

    /// Where the page ends in the file.
    pub fn end(&self) -> u64 {
        self.body_offset() + u64::from(self.compressed_len)
    }

    /// Appends the page's body without compression to `out`, after checking its CRC.
    ///
    /// # Errors
    /// When the CRC is wrong or the bytes can't be decompressed to the length of the header.
    pub fn decompress(
        &self,
        body: &[u8],
        codec: Codec,
        codecs: &mut Codecs,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let (levels, values, compressed) = self.checked_parts(body)?;
        out.extend_from_slice(levels);
        let expected = (self.uncompressed_len as usize).saturating_sub(levels.len());
        if compressed && !(values.is_empty() && expected == 0) {
            codecs.decompress(codec, values, expected, out, self.offset)
        } else if values.len() == expected {
            out.extend_from_slice(values);
            Ok(())
        } else {
            Err(FormatError::Contradiction {
                what: format!("bytes of the uncompressed page at offset {}", self.offset),
                claimed: expected as u64,
                counted: values.len() as u64,
            })
        }
    }

    /// Appends at least the first `wanted` bytes of the page's body without compression to `out`, after checking its
    /// CRC; says whether it did: not every codec can stop before the end.
    ///
    /// # Errors
    /// When the CRC is wrong or the bytes can't be decompressed.
    pub fn decompress_front(
        &self,
        body: &[u8],
        codec: Codec,
        codecs: &mut Codecs,
        wanted: usize,
        out: &mut Vec<u8>,
    ) -> Result<bool> {
        let (levels, values, compressed) = self.checked_parts(body)?;
        if !compressed {
            return Ok(false);
        }
        out.extend_from_slice(levels);
        let wanted = wanted.saturating_sub(levels.len());
        codecs.decompress_front(codec, values, wanted, out, self.offset)
    }

    /// The levels that stand in front of what is compressed, the rest, and whether that is compressed.
    fn checked_parts<'a>(&self, body: &'a [u8]) -> Result<(&'a [u8], &'a [u8], bool)> {
        if let Some(expected) = self.crc {
            let found = crc32fast::hash(body);
            if found != expected {
                return Err(FormatError::Checksum {
                    offset: self.offset,
                    expected,
                    found,
                });
            }
        }
        let (levels, compressed) = match self.kind {
            PageKind::V2 {
                definition_len,
                repetition_len,
                compressed,
                ..
            } => (
                definition_len as usize + repetition_len as usize,
                compressed,
            ),
            _ => (0, true),
        };
        let (levels, values) = body
            .split_at_checked(levels)
            .ok_or(FormatError::Truncated {
                structure: "page levels",
                offset: self.offset,
                needed: levels as u64,
                available: body.len() as u64,
            })?;
        Ok((levels, values, compressed))
    }
}

/// A struct of the header, with where it is for messages.
struct Fields<'a> {
    tree: &'a Struct,
    offset: u64,
}

impl<'a> Fields<'a> {
    fn invalid(&self, found: impl Into<String>, expected: &'static str) -> FormatError {
        FormatError::Invalid {
            structure: "page header",
            offset: self.offset,
            found: found.into(),
            expected,
        }
    }

    fn count(&self, id: i16) -> Result<u32> {
        let value = self.tree.i32(id);
        value
            .and_then(|value| u32::try_from(value).ok())
            .ok_or_else(|| {
                self.invalid(
                    format!("{value:?} in field {id}"),
                    "a number that is not negative",
                )
            })
    }

    fn structure(&self, id: i16) -> Result<Fields<'a>> {
        match self.tree.structure(id) {
            Some(tree) => Ok(Fields {
                tree,
                offset: self.offset,
            }),
            None => Err(self.invalid(format!("no field {id}"), "the fields of its page type")),
        }
    }

    fn encoding(&self, id: i16) -> Result<Encoding> {
        let code = self.tree.i32(id);
        Ok(match code {
            Some(0) => Encoding::PLAIN,
            Some(2) => Encoding::PLAIN_DICTIONARY,
            Some(3) => Encoding::RLE,
            #[expect(deprecated, reason = "old files hold it")]
            Some(4) => Encoding::BIT_PACKED,
            Some(5) => Encoding::DELTA_BINARY_PACKED,
            Some(6) => Encoding::DELTA_LENGTH_BYTE_ARRAY,
            Some(7) => Encoding::DELTA_BYTE_ARRAY,
            Some(8) => Encoding::RLE_DICTIONARY,
            Some(9) => Encoding::BYTE_STREAM_SPLIT,
            Some(code) => {
                return Err(FormatError::Unsupported {
                    feature: format!("encoding {code}"),
                });
            }
            None => return Err(self.invalid("no encoding", "one")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_every_kind_read_back() {
        let kinds = [
            PageKind::Dictionary {
                values: 3,
                encoding: Encoding::PLAIN,
                sorted: false,
            },
            PageKind::V1 {
                values: 10,
                encoding: Encoding::RLE_DICTIONARY,
                definition: Encoding::RLE,
                repetition: Encoding::RLE,
            },
            PageKind::V2 {
                values: 10,
                nulls: 2,
                rows: 9,
                encoding: Encoding::DELTA_BYTE_ARRAY,
                definition_len: 4,
                repetition_len: 3,
                compressed: false,
            },
        ];
        for kind in kinds {
            let mut header = PageHeader {
                offset: 100,
                header_len: 0,
                compressed_len: 70,
                uncompressed_len: 200,
                crc: Some(0xDEAD_BEEF),
                kind,
            };
            let bytes = header.to_tree(Struct::default()).to_bytes();
            header.header_len = u32::try_from(bytes.len()).unwrap();
            assert_eq!(PageHeader::read(&bytes, 100).unwrap(), header);
        }
    }
}
