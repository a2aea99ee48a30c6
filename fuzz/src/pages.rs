//! A file of one chunk whose pages may hold anything, below headers and a footer that mostly hold: so that levels,
//! encodings and dictionaries are reached, which damage of a whole file hardly does.

use arbitrary::{Arbitrary, Unstructured};
use efface::parquet_bytes::codec::{Codec, Codecs};
use efface::parquet_bytes::footer::MAGIC;
use efface::parquet_bytes::levels::Levels;
use efface::parquet_bytes::page::{PageHeader, PageKind};
use efface::parquet_bytes::rle;
use efface::parquet_bytes::thrift::{List, Struct, Value};
use parquet::basic::Encoding;
use roaring::RoaringBitmap;

/// Entries of a page at most.
const ENTRIES_MAX: u16 = 400;

/// The chunk.
#[derive(Debug)]
pub struct Pages<'a> {
    kind: u8,
    shape: u8,
    codec: u8,
    pages: Vec<Page<'a>>,
    goes: u8,
}

#[derive(Debug)]
struct Page<'a> {
    form: Form,
    encoding: u8,
    entries: u16,
    /// Levels as they are encoded, or what they are to be.
    levels: [(bool, &'a [u8]); 2],
    values: &'a [u8],
    /// Zeros behind the values.
    zeros: u8,
    lie: Option<Lie>,
}

#[derive(Debug, Clone, Copy, Arbitrary)]
enum Form {
    Dictionary,
    Version1,
    Version2,
    Other,
}

/// What is wrong with a page header.
#[derive(Debug, Clone, Copy, Arbitrary)]
enum Lie {
    Entries(u32),
    Length(u32),
    Checksum(u32),
    Levels(u32),
}

impl<'a> Arbitrary<'a> for Pages<'a> {
    fn arbitrary(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let [kind, shape, codec, goes] = u.arbitrary()?;
        let mut pages = Vec::new();
        while !u.is_empty() && pages.len() < 8 {
            pages.push(Page::some(u)?);
        }
        Ok(Self {
            kind,
            shape,
            codec,
            pages,
            goes,
        })
    }
}

impl<'a> Page<'a> {
    fn some(u: &mut Unstructured<'a>) -> arbitrary::Result<Self> {
        let mut part = |max: u16| {
            let len = u.int_in_range(0..=max)?;
            u.bytes(usize::from(len).min(u.len()))
        };
        let values = part(1000)?;
        let levels = [part(60)?, part(60)?];
        Ok(Self {
            form: u.arbitrary()?,
            encoding: u.arbitrary()?,
            entries: u.int_in_range(0..=ENTRIES_MAX)?,
            levels: [(u.arbitrary()?, levels[0]), (u.arbitrary()?, levels[1])],
            values,
            zeros: u.arbitrary()?,
            lie: u.arbitrary()?,
        })
    }
}

impl Pages<'_> {
    /// Repetition and definition level at most.
    fn max(&self) -> (i16, i16) {
        [(0, 0), (0, 1), (1, 3)][usize::from(self.shape % 3)]
    }

    fn type_code(&self) -> i32 {
        i32::from(self.kind % 8)
    }

    fn fixed_len(&self) -> i32 {
        i32::from(self.kind / 8)
    }

    /// The rows, of so many, that are to go.
    pub fn dropped(&self, rows: u64) -> RoaringBitmap {
        let rows = 0..u32::try_from(rows).unwrap();
        rows.filter(|row| self.goes >> (row % 8) & 1 == 1).collect()
    }

    /// The file.
    pub fn file(&self) -> bytes::Bytes {
        let codec = [0, 1, 2, 4, 5, 6, 7][usize::from(self.codec) % 7];
        let known = Codec::try_from(codec).expect("a codec");
        let mut file = MAGIC.to_vec();
        let (mut values, mut rows) = (0, 0);
        let (mut dictionary, mut data) = (None, None);
        for page in &self.pages {
            let at = Value::I64(file.len() as i64);
            let (entries, begun) = page.write(known, self.max(), &mut file);
            match page.form {
                Form::Dictionary => drop(dictionary.get_or_insert(at)),
                _ => drop(data.get_or_insert(at)),
            }
            values += entries;
            rows += begun;
        }
        let len = Value::I64((file.len() - MAGIC.len()) as i64);
        let start = || Value::I64(MAGIC.len() as i64);
        let path: &[&str] = if self.max().0 > 0 {
            &["l", "list", "v"]
        } else {
            &["v"]
        };
        let path = path.iter().map(|name| name.as_bytes().to_vec());
        let meta = Struct::default()
            .with(1, Value::I32(self.type_code()))
            .with(2, Value::List(List::of_i32([0])))
            .with(3, Value::List(List::of_binary(path)))
            .with(4, Value::I32(codec))
            .with(5, Value::I64(values))
            .with(6, len.clone())
            .with(7, len.clone())
            .with(9, data.unwrap_or_else(start));
        let meta = match dictionary {
            Some(at) => meta.with(11, at),
            None => meta,
        };
        let chunk = Struct::default()
            .with(2, Value::I64(0))
            .with(3, Value::Struct(meta));
        let group = Struct::default()
            .with(1, Value::List(List::of_structs([chunk])))
            .with(2, len)
            .with(3, Value::I64(rows));
        let footer = Struct::default()
            .with(1, Value::I32(1))
            .with(2, Value::List(List::of_structs(self.schema())))
            .with(3, Value::I64(rows))
            .with(4, Value::List(List::of_structs([group])))
            .to_bytes();
        file.extend_from_slice(&footer);
        file.extend_from_slice(&u32::try_from(footer.len()).unwrap().to_le_bytes());
        file.extend_from_slice(&MAGIC);
        file.into()
    }

    fn schema(&self) -> Vec<Struct> {
        let named = |name: &str| Struct::default().with(4, Value::Binary(name.into()));
        let group = |name: &str| named(name).with(5, Value::I32(1));
        let repeated = |of: Struct, how: i32| of.with(3, Value::I32(how));
        let leaf = named("v").with(1, Value::I32(self.type_code()));
        let leaf = match self.type_code() {
            7 => leaf.with(2, Value::I32(self.fixed_len())),
            _ => leaf,
        };
        let mut schema = vec![group("rows")];
        match self.max() {
            (0, optional) => schema.push(repeated(leaf, optional.into())),
            _ => {
                let list = group("l").with(6, Value::I32(3));
                schema.push(repeated(list, 1));
                schema.push(repeated(group("list"), 2));
                schema.push(repeated(leaf, 1));
            }
        }
        schema
    }
}

impl Page<'_> {
    /// Appends the page; gives how many entries it has, and how many rows begin in it.
    fn write(&self, codec: Codec, max: (i16, i16), file: &mut Vec<u8>) -> (i64, i64) {
        let entries = u32::from(self.entries);
        let encoding = [
            Encoding::PLAIN,
            Encoding::PLAIN_DICTIONARY,
            Encoding::RLE,
            Encoding::DELTA_BINARY_PACKED,
            Encoding::DELTA_LENGTH_BYTE_ARRAY,
            Encoding::DELTA_BYTE_ARRAY,
            Encoding::RLE_DICTIONARY,
            Encoding::BYTE_STREAM_SPLIT,
        ][usize::from(self.encoding) % 8];
        let repetition = self.level_bytes(0, max.0);
        let definition = self.level_bytes(1, max.1);
        let lens = [&repetition, &definition].map(|levels| u32::try_from(levels.len()).unwrap());
        let mut kind = match self.form {
            Form::Dictionary => PageKind::Dictionary {
                values: entries,
                encoding,
                sorted: false,
            },
            Form::Version1 => PageKind::V1 {
                values: entries,
                encoding,
                definition: Encoding::RLE,
                repetition: Encoding::RLE,
            },
            Form::Version2 => PageKind::V2 {
                values: entries,
                nulls: 0,
                rows: entries,
                encoding,
                definition_len: lens[1],
                repetition_len: lens[0],
                compressed: self.zeros & 1 == 0,
            },
            Form::Other => PageKind::Other,
        };
        let mut values = self.values.to_vec();
        values.resize(values.len() + usize::from(self.zeros) * 4, 0);
        let is_compressed = !matches!(
            kind,
            PageKind::V2 {
                compressed: false,
                ..
            }
        );
        let (mut levels, mut rest) = (Vec::new(), Vec::new());
        match kind {
            PageKind::V1 { .. } => {
                for (level, len, max) in
                    [(&repetition, lens[0], max.0), (&definition, lens[1], max.1)]
                {
                    if max > 0 {
                        rest.extend_from_slice(&len.to_le_bytes());
                        rest.extend_from_slice(level);
                    }
                }
            }
            PageKind::V2 { .. } => {
                levels.extend_from_slice(&repetition);
                levels.extend_from_slice(&definition);
            }
            _ => {}
        }
        rest.extend_from_slice(&values);
        let whole = [levels.as_slice(), &rest].concat();
        let mut body = levels;
        if is_compressed {
            let compressed = Codecs::default().compress(codec, &rest, &mut body);
            compressed.expect("a page is small");
        } else {
            body.extend_from_slice(&rest);
        }
        let mut header = PageHeader {
            offset: file.len() as u64,
            header_len: 0,
            compressed_len: u32::try_from(body.len()).unwrap(),
            uncompressed_len: u32::try_from(whole.len()).unwrap(),
            crc: None,
            kind,
        };
        let begun = begun(&header, &whole, max);
        match (self.lie, &mut kind) {
            (
                Some(Lie::Entries(of)),
                PageKind::V1 { values, .. }
                | PageKind::V2 { values, .. }
                | PageKind::Dictionary { values, .. },
            ) => *values = of >> 1,
            (Some(Lie::Levels(of)), PageKind::V2 { definition_len, .. }) => {
                *definition_len = of >> 1;
            }
            (Some(Lie::Length(of)), _) => header.uncompressed_len = of >> 1,
            (Some(Lie::Checksum(of)), _) => header.crc = Some(of),
            _ => {}
        }
        header.kind = kind;
        file.extend_from_slice(&header.to_tree(Struct::default()).to_bytes());
        file.extend_from_slice(&body);
        let entries = i64::from(header.kind.data_values().unwrap_or(0));
        (entries, if max.0 == 0 { entries } else { begun })
    }

    fn level_bytes(&self, which: usize, max: i16) -> Vec<u8> {
        let (is_made, bytes) = self.levels[which];
        let max = u32::try_from(max).unwrap();
        if max == 0 {
            return Vec::new();
        }
        if !is_made {
            return bytes.to_vec();
        }
        let level = |at: usize| match bytes.len() {
            0 => max,
            // The first entry begins a row.
            len => u32::from(bytes[at % len]) % (max + 1) * u32::from(at > 0 || which == 1),
        };
        let levels: Vec<u32> = (0..usize::from(self.entries)).map(level).collect();
        let width = u8::try_from(u32::BITS - max.leading_zeros()).unwrap();
        let mut out = Vec::new();
        rle::encode(&levels, width, &mut out);
        out
    }
}

fn begun(header: &PageHeader, body: &[u8], max: (i16, i16)) -> i64 {
    let mut levels = Levels::default();
    match levels.read(header, body, max.0, max.1) {
        Ok(_) => levels
            .repetition
            .iter()
            .filter(|level| **level == 0)
            .count() as i64,
        Err(_) => 1,
    }
}
