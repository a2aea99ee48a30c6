//! Files put together byte by byte: what no writer at hand writes any more.
#![allow(dead_code, reason = "each test binary uses its own part")]

use efface::parquet_bytes::codec::{Codec, Codecs};
use efface::parquet_bytes::footer::MAGIC;
use efface::parquet_bytes::page::{PageHeader, PageKind};
use efface::parquet_bytes::thrift::{List, Struct, Value};
use parquet::basic::Encoding;

/// Codes of physical types.
pub(crate) const INT32: i32 = 1;
pub(crate) const BYTE_ARRAY: i32 = 6;

/// How often a leaf has a value in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Often {
    Always,
    Perhaps,
    /// An optional list of optional elements: levels up to 1 and 3.
    Many,
}

/// A leaf column.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leaf {
    pub(crate) name: &'static str,
    pub(crate) physical: i32,
    pub(crate) often: Often,
}

/// A page before it is compressed.
#[derive(Debug, Clone)]
pub(crate) struct Page {
    pub(crate) kind: PageKind,
    pub(crate) body: Vec<u8>,
}

/// The pages of each leaf of a row group.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) rows: i64,
    pub(crate) chunks: Vec<Vec<Page>>,
}

impl Leaf {
    pub(crate) fn new(name: &'static str, physical: i32, often: Often) -> Self {
        Self {
            name,
            physical,
            often,
        }
    }

    fn path(&self) -> Vec<&'static str> {
        match self.often {
            Often::Many => vec![self.name, "list", "element"],
            _ => vec![self.name],
        }
    }

    fn elements(&self) -> Vec<Struct> {
        let named = |name: &str| Struct::default().with(4, Value::Binary(name.into()));
        let how = |of: Struct, code: i32| of.with(3, Value::I32(code));
        let leaf = |name| {
            let leaf = named(name).with(1, Value::I32(self.physical));
            match self.physical {
                BYTE_ARRAY => leaf.with(6, Value::I32(0)),
                _ => leaf,
            }
        };
        let group = |name| named(name).with(5, Value::I32(1));
        match self.often {
            Often::Always => vec![how(leaf(self.name), 0)],
            Often::Perhaps => vec![how(leaf(self.name), 1)],
            Often::Many => vec![
                how(group(self.name), 1).with(6, Value::I32(3)),
                how(group("list"), 2),
                how(leaf("element"), 1),
            ],
        }
    }
}

impl Page {
    /// A data page of version 1.
    pub(crate) fn data(entries: u32, encoding: Encoding, levels: Encoding, body: Vec<u8>) -> Self {
        Self {
            kind: PageKind::V1 {
                values: entries,
                encoding,
                definition: levels,
                repetition: levels,
            },
            body,
        }
    }

    /// A dictionary page.
    pub(crate) fn dictionary(entries: u32, encoding: Encoding, body: Vec<u8>) -> Self {
        Self {
            kind: PageKind::Dictionary {
                values: entries,
                encoding,
                sorted: false,
            },
            body,
        }
    }

    fn write(&self, codec: Codec, file: &mut Vec<u8>) {
        let mut body = Vec::new();
        Codecs::default()
            .compress(codec, &self.body, &mut body)
            .unwrap();
        let header = PageHeader {
            offset: 0,
            header_len: 0,
            compressed_len: u32::try_from(body.len()).unwrap(),
            uncompressed_len: u32::try_from(self.body.len()).unwrap(),
            crc: None,
            kind: self.kind,
        };
        file.extend_from_slice(&header.to_tree(Struct::default()).to_bytes());
        file.extend_from_slice(&body);
    }
}

/// `PLAIN` values.
pub(crate) fn texts(values: &[&str]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for value in values {
        bytes.extend_from_slice(&u32::try_from(value.len()).unwrap().to_le_bytes());
        bytes.extend_from_slice(value.as_bytes());
    }
    bytes
}

/// `PLAIN` values.
pub(crate) fn numbers(values: impl IntoIterator<Item = i32>) -> Vec<u8> {
    values.into_iter().flat_map(i32::to_le_bytes).collect()
}

/// The file.
pub(crate) fn file(leaves: &[Leaf], codec: i32, groups: &[Group]) -> Vec<u8> {
    let known = Codec::try_from(codec).unwrap();
    let mut file = MAGIC.to_vec();
    let mut group_trees = Vec::new();
    for group in groups {
        let mut chunks = Vec::new();
        let begin = file.len();
        for (leaf, pages) in leaves.iter().zip(&group.chunks) {
            chunks.push(chunk(leaf, codec, known, pages, &mut file));
        }
        group_trees.push(
            Struct::default()
                .with(1, Value::List(List::of_structs(chunks)))
                .with(2, int64(file.len() - begin))
                .with(3, Value::I64(group.rows)),
        );
    }
    let root = Struct::default()
        .with(4, Value::Binary("schema".into()))
        .with(5, Value::I32(i32::try_from(leaves.len()).unwrap()));
    let schema = std::iter::once(root).chain(leaves.iter().flat_map(Leaf::elements));
    let footer = Struct::default()
        .with(1, Value::I32(1))
        .with(2, Value::List(List::of_structs(schema)))
        .with(
            3,
            Value::I64(groups.iter().map(|group| group.rows).sum::<i64>()),
        )
        .with(4, Value::List(List::of_structs(group_trees)));
    finish(file, &footer)
}

fn chunk(leaf: &Leaf, codec: i32, known: Codec, pages: &[Page], file: &mut Vec<u8>) -> Struct {
    let begin = file.len();
    let (mut values, mut dictionary, mut data) = (0, None, None);
    for page in pages {
        let at = int64(file.len());
        match page.kind {
            PageKind::Dictionary { .. } => drop(dictionary.get_or_insert(at)),
            _ => drop(data.get_or_insert(at)),
        }
        values += page.kind.data_values().unwrap_or(0);
        page.write(known, file);
    }
    let path = leaf.path().into_iter().map(|name| name.as_bytes().to_vec());
    let len = int64(file.len() - begin);
    let mut meta = Struct::default()
        .with(1, Value::I32(leaf.physical))
        .with(2, Value::List(List::of_i32([0, 3, 4])))
        .with(3, Value::List(List::of_binary(path)))
        .with(4, Value::I32(codec))
        .with(5, Value::I64(values.into()))
        .with(6, len.clone())
        .with(7, len)
        .with(9, data.unwrap_or_else(|| int64(begin)));
    if let Some(at) = dictionary {
        meta = meta.with(11, at);
    }
    Struct::default()
        .with(2, int64(begin))
        .with(3, Value::Struct(meta))
}

/// Puts a footer behind the pages.
fn finish(mut file: Vec<u8>, footer: &Struct) -> Vec<u8> {
    let footer = footer.to_bytes();
    file.extend_from_slice(&footer);
    file.extend_from_slice(&u32::try_from(footer.len()).unwrap().to_le_bytes());
    file.extend_from_slice(&MAGIC);
    file
}

/// The file with another footer.
pub(crate) fn with_footer(file: &[u8], edit: impl FnOnce(&mut Struct)) -> Vec<u8> {
    with_more(file, &[], |footer, _| edit(footer))
}

/// The file with more bytes before another footer; `edit` gets their offset.
pub(crate) fn with_more(
    file: &[u8],
    more: &[u8],
    edit: impl FnOnce(&mut Struct, usize),
) -> Vec<u8> {
    let tail = file.len() - 8;
    let len = u32::from_le_bytes(file[tail..tail + 4].try_into().unwrap());
    let at = tail - len as usize;
    let (mut footer, _) = Struct::read(&file[at..tail], "footer", 0).unwrap();
    edit(&mut footer, at);
    finish([&file[..at], more].concat(), &footer)
}

fn int64(value: usize) -> Value {
    Value::I64(i64::try_from(value).unwrap())
}
