//! The headers of the data table: which columns, and which keys of maps and JSON objects, hold a value.
//!
//! ```text
//!   shards ── Roles ──> Columns of the exported schema ── a batch ──> Seen ── rows of a subject ──> Counts
//! ```
//!
//! A field of a struct is a column of its own; what is inside of a list counts for the list. A key is one of a map
//! with text for keys, or of a JSON object in a string column. A row counts where the column, or the key, holds at
//! least one value that isn't null.
//!
//! Memory: [`KEYS_MAX`] keys; for each subject one count per column and key that it has.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;

use super::disclose::leaf_count;
use super::edit::text_bytes;
use super::fields::{layout, walk};
use super::presence::{array_at, has_value};
use super::type_names::{field_type_name, type_name};
use crate::config::Config;
use crate::error::Result;
use crate::request::Disclosure;
use crate::shard::Shard;
use crate::shard::json::{each_member, json_leaves};
use crate::shard::sources::Sources;
use crate::shard::time::{TimeKind, UnitName};

/// Different keys that are counted separately, over all columns. Later ones are counted together, as the key `*`.
pub const KEYS_MAX: usize = 20_000;

/// What a column is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Says whose the row is.
    Subject,
    /// Says when it was.
    Time,
    /// Says how it was collected.
    Source,
    /// Everything else.
    Data,
}

impl Role {
    /// The role as SPEC and output spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::Time => "time",
            Self::Source => "source",
            Self::Data => "data",
        }
    }
}

/// Which columns have a role, by their dotted paths, over some shards.
#[derive(Debug, Clone, Default)]
pub(super) struct Roles {
    subjects: BTreeSet<String>,
    pub(super) times: BTreeSet<String>,
    json: BTreeSet<String>,
    /// The unit of a time column of integers.
    pub(super) unit: Option<UnitName>,
}

impl Roles {
    /// The roles in one shard with this Arrow schema.
    ///
    /// # Errors
    /// When a column that has a role isn't there, or has a wrong type, or a page that had to be looked at is damaged.
    pub(super) fn of(
        shard: &Shard,
        schema: &Schema,
        config: &Config,
        disclosure: Disclosure,
    ) -> Result<Self> {
        let subjects = config.roles().subjects(shard)?;
        let subjects: BTreeSet<usize> = subjects.iter().map(|column| column.leaf).collect();
        let times = config.roles().time_leaves(shard)?;
        // Of several, nothing says which is meant, so no unit is either.
        let time = match times.as_slice() {
            [_] => config.roles().time(shard)?,
            _ => None,
        };
        let unit = time.and_then(|column| match column.kind {
            TimeKind::Instant(unit) => Some(unit),
            TimeKind::Date | TimeKind::DateMillis | TimeKind::Int96 => None,
        });
        let json = json_leaves(shard, config.said(disclosure != Disclosure::Data))?;
        let mut roles = Self {
            unit,
            ..Self::default()
        };
        let mut next = 0;
        walk(schema.fields(), &mut |path, field| {
            let leaves = next..next + leaf_count(field.data_type());
            next = leaves.end;
            if subjects.range(leaves.clone()).next().is_some() {
                roles.subjects.insert(path.to_owned());
            }
            if times.iter().any(|time| leaves.contains(time)) {
                roles.times.insert(path.to_owned());
            }
            if json.contains(&leaves.start) && is_text(field.data_type()) {
                roles.json.insert(path.to_owned());
            }
        });
        Ok(roles)
    }

    pub(super) fn add(&mut self, other: Self) {
        self.subjects.extend(other.subjects);
        self.times.extend(other.times);
        self.json.extend(other.json);
        self.unit = self.unit.or(other.unit);
    }
}

/// One column of an export.
#[derive(Debug, Clone)]
pub(super) struct Column {
    /// Its dotted path.
    pub(super) path: String,
    pub(super) type_name: String,
    pub(super) role: Role,
    /// Its keys, if it has some.
    keys: Option<Keys>,
    /// Where it is: the column of the schema, then fields of structs.
    pub(super) place: Vec<usize>,
}

/// The keys of a column.
#[derive(Debug, Clone)]
enum Keys {
    /// Those of a map, whose values are of this type.
    Map(String),
    /// Those of JSON objects.
    Json,
}

/// The columns of an export, and the keys that were seen in them.
pub(super) struct Columns {
    pub(super) listed: Vec<Column>,
    sources: Sources,
    /// Number of each column's key.
    numbers: HashMap<(usize, String), u32>,
    /// The other way round.
    names: Vec<(usize, String)>,
}

/// What the rows of one batch hold.
pub(super) struct Seen {
    /// For each column, whether each row has a value.
    columns: Vec<Vec<bool>>,
    /// Which keys each row has, with the kind of their values; sorted, each once.
    keys: Vec<(usize, u32, Kinds)>,
}

/// Kinds of JSON values, as bits.
type Kinds = u8;
const KINDS: [&str; 5] = ["string", "number", "boolean", "object", "array"];

/// In how many rows of one subject each column and key has a value.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    columns: Vec<u64>,
    keys: HashMap<u32, (u64, Kinds)>,
}

/// One header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) column: String,
    pub(super) type_name: String,
    pub(super) role: Role,
    pub(super) rows: u64,
}

impl Columns {
    /// The columns of an export with this schema.
    pub(super) fn new(schema: &Schema, roles: &Roles, config: &Config) -> Self {
        let mut paths = BTreeSet::new();
        walk(schema.fields(), &mut |path, _| {
            paths.insert(path.to_owned());
        });
        // A name that could be that of several columns is an error where their shards are looked at.
        let sources = Sources::new(&config.source);
        let sources = sources.clone().spelled(&paths).unwrap_or(sources);
        let mut columns = Vec::new();
        let mut place = Vec::new();
        layout(
            schema.fields(),
            "",
            false,
            &mut place,
            &mut |path, field, place, is_source| {
                let is_source = is_source || sources.column(path, field.name()).is_some();
                let Some(place) = place.last().map(|_| place.to_vec()) else {
                    return is_source;
                };
                if matches!(field.data_type(), DataType::Struct(_)) {
                    return is_source;
                }
                let role = if roles.subjects.contains(path) {
                    Role::Subject
                } else if roles.times.contains(path) {
                    Role::Time
                } else if is_source {
                    Role::Source
                } else {
                    Role::Data
                };
                let keys = match field.data_type() {
                    DataType::Map(entry, _) => {
                        map_values(entry).map(|values| Keys::Map(type_name(values)))
                    }
                    other if is_text(other) && roles.json.contains(path) => Some(Keys::Json),
                    _ => None,
                };
                columns.push(Column {
                    path: path.to_owned(),
                    type_name: field_type_name(field),
                    role,
                    keys,
                    place,
                });
                is_source
            },
        );
        Self {
            listed: columns,
            sources,
            numbers: HashMap::new(),
            names: Vec::new(),
        }
    }

    /// Looks at a batch, with `has_keys` also at the keys.
    ///
    /// # Errors
    /// When text can't be had from a column of text.
    pub(super) fn look(&mut self, batch: &RecordBatch, has_keys: bool) -> Result<Seen, ArrowError> {
        let mut seen = Seen {
            columns: Vec::with_capacity(self.listed.len()),
            keys: Vec::new(),
        };
        for number in 0..self.listed.len() {
            let Some(column) = self.listed.get(number) else {
                break;
            };
            let (array, is_there) = array_at(batch, &column.place);
            let Some(array) = array else {
                seen.columns.push(vec![false; batch.num_rows()]);
                continue;
            };
            let mut has = has_value(&array);
            has.iter_mut()
                .zip(is_there)
                .for_each(|(has, is_there)| *has &= is_there);
            match &column.keys {
                _ if !has_keys => {}
                None => {}
                Some(Keys::Map(_)) => self.map_keys(number, &array, &has, &mut seen.keys)?,
                Some(Keys::Json) => self.json_keys(number, &array, &has, &mut seen.keys)?,
            }
            seen.columns.push(has);
        }
        // Of a key that an object has twice, the kinds of both.
        seen.keys.sort_unstable();
        seen.keys.dedup_by(|later, first| {
            let is_same = (later.0, later.1) == (first.0, first.1);
            first.2 |= if is_same { later.2 } else { 0 };
            is_same
        });
        Ok(seen)
    }

    fn map_keys(
        &mut self,
        column: usize,
        array: &ArrayRef,
        has: &[bool],
        into: &mut Vec<(usize, u32, Kinds)>,
    ) -> Result<(), ArrowError> {
        let map = array.as_map();
        let keys = text_bytes(map.keys())?;
        let holds = has_value(map.values());
        for (row, range) in map.offsets().windows(2).enumerate() {
            let [start, end] = range else { continue };
            if !has.get(row).copied().unwrap_or(false) {
                continue;
            }
            for at in usize::try_from(*start).unwrap_or(0)..usize::try_from(*end).unwrap_or(0) {
                if holds.get(at).copied().unwrap_or(false) && keys.is_valid(at) {
                    let key = String::from_utf8_lossy(keys.value(at));
                    into.push((row, self.number(column, &key), 0));
                }
            }
        }
        Ok(())
    }

    fn json_keys(
        &mut self,
        column: usize,
        array: &ArrayRef,
        has: &[bool],
        into: &mut Vec<(usize, u32, Kinds)>,
    ) -> Result<(), ArrowError> {
        let texts = text_bytes(array)?;
        for (row, text) in texts.iter().enumerate() {
            let Some(text) = text.filter(|_| has.get(row).copied().unwrap_or(false)) else {
                continue;
            };
            // Text that is no object has no keys.
            let _no_object = each_member(text, |key, value| {
                let kind = match value.first() {
                    Some(b'n') | None => return,
                    Some(b'"') => 1,
                    Some(b't' | b'f') => 1 << 2,
                    Some(b'{') => 1 << 3,
                    Some(b'[') => 1 << 4,
                    Some(_) => 1 << 1,
                };
                into.push((row, self.number(column, key), kind));
            });
        }
        Ok(())
    }

    fn number(&mut self, column: usize, key: &str) -> u32 {
        let key = match self.names.len() < KEYS_MAX {
            true => (column, key.to_owned()),
            false if self.numbers.contains_key(&(column, key.to_owned())) => {
                (column, key.to_owned())
            }
            false => (column, "*".to_owned()),
        };
        let next = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry(key.clone()).or_insert(next);
        if number == next {
            self.names.push(key);
        }
        number
    }

    /// Whether a key of a column says how the data was collected.
    pub(super) fn is_source_key(&self, column: &Column, key: &str) -> bool {
        column.role == Role::Source || self.sources.name_key(&column.path, key, key)
    }

    /// What was counted, as headers: those of each column, then of its keys in their order.
    pub(super) fn headers(&self, counts: &Counts) -> Vec<Header> {
        let mut keys: BTreeMap<(usize, &str), (u64, Kinds)> = BTreeMap::new();
        for (number, count) in &counts.keys {
            if let Some((column, key)) = self.names.get(*number as usize) {
                keys.insert((*column, key), *count);
            }
        }
        let mut headers = Vec::new();
        for (number, (column, rows)) in self.listed.iter().zip(&counts.columns).enumerate() {
            if *rows == 0 {
                continue;
            }
            headers.push(Header {
                column: column.path.clone(),
                type_name: column.type_name.clone(),
                role: column.role,
                rows: *rows,
            });
            for ((_, key), (rows, kinds)) in keys.range((number, "")..(number + 1, "")) {
                let is_source = self.is_source_key(column, key);
                headers.push(Header {
                    column: format!("{}.{key}", column.path),
                    type_name: match &column.keys {
                        Some(Keys::Map(values)) => values.clone(),
                        _ => kind_names(*kinds),
                    },
                    role: if is_source { Role::Source } else { Role::Data },
                    rows: *rows,
                });
            }
        }
        headers
    }
}

impl Column {
    /// Whether it has keys.
    pub(super) fn has_keys(&self) -> bool {
        self.keys.is_some()
    }
}

impl Counts {
    /// The counts of each column.
    pub(super) fn columns(&self) -> &[u64] {
        &self.columns
    }

    /// Counts these rows of a batch; they are in order.
    pub(super) fn add(&mut self, seen: &Seen, rows: &[usize]) {
        self.columns.resize(seen.columns.len(), 0);
        for (count, has) in self.columns.iter_mut().zip(&seen.columns) {
            let held = rows
                .iter()
                .filter(|row| has.get(**row).copied().unwrap_or(false));
            *count += held.count() as u64;
        }
        for row in rows {
            let first = seen.keys.partition_point(|(at, ..)| at < row);
            let keys = seen.keys.iter().skip(first);
            for (_, key, kinds) in keys.take_while(|(at, ..)| at == row) {
                let count = self.keys.entry(*key).or_default();
                count.0 += 1;
                count.1 |= kinds;
            }
        }
    }
}

fn kind_names(kinds: Kinds) -> String {
    let names = KINDS.iter().enumerate();
    let names: Vec<&str> = names
        .filter(|(bit, _)| kinds >> bit & 1 == 1)
        .map(|(_, name)| *name)
        .collect();
    names.join(" or ")
}

/// The types of the values of a map that has text for keys.
fn map_values(entry: &Field) -> Option<&DataType> {
    let DataType::Struct(fields) = entry.data_type() else {
        return None;
    };
    let [key, value] = fields.as_ref() else {
        return None;
    };
    is_text(key.data_type()).then(|| value.data_type())
}

pub(super) fn is_text(data_type: &DataType) -> bool {
    match data_type {
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView => true,
        DataType::Dictionary(_, values) => is_text(values),
        _ => false,
    }
}
