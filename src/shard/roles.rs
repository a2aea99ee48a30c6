//! What a column is for, and whether its type can be that.

use arrow::datatypes::{DataType, TimeUnit as ArrowUnit};
use parquet::arrow::parquet_to_arrow_schema;
use parquet::basic::{ConvertedType, LogicalType, TimeUnit, Type as Physical};
use parquet::schema::types::{ColumnDescPtr, ColumnDescriptor, SchemaDescriptor};

use super::Shard;
use super::schema::{Found, column_names, find, find_usual};
use super::time::{TimeColumn, TimeKind, UnitName};
use crate::error::{Error, Result};
use crate::parquet_bytes::guard::guarded;
use crate::parquet_bytes::hint::hints;
use crate::subject::Form;

/// Names that mean the subject column when none is configured.
pub const SUBJECT_NAMES: [&str; 3] = ["distinct_id", "$distinct_id", "mp_distinct_id"];
/// Names that mean the time column when none is configured.
pub const TIME_NAMES: [&str; 2] = ["time", "mp_time"];

/// Which columns have a role, by name. Empty or `None` means the usual names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    /// Dotted paths of the subject columns; a row belongs to a subject if any of them matches.
    pub subjects: Vec<String>,
    /// Dotted path of the time column.
    pub time: Option<String>,
    /// The unit of a time column of plain integers.
    pub time_unit: Option<UnitName>,
}

/// A subject column of one shard.
#[derive(Debug, Clone)]
pub struct SubjectColumn {
    /// The leaf's number.
    pub leaf: usize,
    /// How its values become canonical bytes.
    pub kind: SubjectKind,
    /// The leaf.
    pub descriptor: ColumnDescPtr,
}

/// How a value of a subject column becomes canonical bytes (see [`subject`](crate::subject)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SubjectKind {
    /// Its bytes, as they are.
    Bytes,
    /// A little-endian integer, to be divided by 10 to the power of `scale`.
    Integer {
        /// Whether the highest bit is a sign.
        signed: bool,
        /// Digits behind the decimal point.
        scale: u32,
    },
    /// A big-endian two's complement integer, to be divided by 10 to the power of `scale`.
    BigEndian {
        /// Digits behind the decimal point.
        scale: u32,
    },
}

impl SubjectColumn {
    /// The forms of an id that its values are compared with.
    pub fn forms(&self) -> &'static [Form] {
        match (self.kind, self.descriptor.physical_type()) {
            (SubjectKind::Bytes, Physical::FIXED_LEN_BYTE_ARRAY) => &[Form::Text, Form::Uuid],
            (SubjectKind::Bytes, _) => &[Form::Text],
            (SubjectKind::Integer { .. } | SubjectKind::BigEndian { .. }, _) => &[Form::Number],
        }
    }
}

impl Roles {
    /// The subject columns of `shard`.
    ///
    /// # Errors
    /// When a column isn't there or its type can't be compared with an id.
    pub fn subjects(&self, shard: &Shard) -> Result<Vec<SubjectColumn>> {
        self.subjects_among(&Columns::of(shard))
    }

    /// The subject columns among these.
    pub(super) fn subjects_among(&self, among: &Columns<'_>) -> Result<Vec<SubjectColumn>> {
        let named: Vec<(&str, Vec<Found>)> = if self.subjects.is_empty() {
            let usual = find_usual(among.schema, &SUBJECT_NAMES);
            let usual = usual.map_err(|names| names.of(among.path, "subject", SUBJECT_NAMES[0]))?;
            vec![usual.unwrap_or((SUBJECT_NAMES[0], Vec::new()))]
        } else {
            let find = |name: &'_ String| among.find("subject", name);
            let found = self.subjects.iter().map(find).collect::<Result<Vec<_>>>()?;
            self.subjects
                .iter()
                .map(String::as_str)
                .zip(found)
                .collect()
        };
        let mut columns: Vec<SubjectColumn> = Vec::new();
        for (name, all) in named {
            if all.is_empty() {
                return Err(among.missing("subject", name));
            }
            for found in all {
                let column = subject(among, name, found)?;
                if columns.iter().all(|other| other.leaf != column.leaf) {
                    columns.push(column);
                }
            }
        }
        Ok(columns)
    }

    /// The time column of `shard`; `None` when none is configured and none has a usual name.
    ///
    /// # Errors
    /// When a configured column isn't there, the type or unit can't be told, or the name is that of several columns:
    /// nothing says which of them a row's time is.
    pub fn time(&self, shard: &Shard) -> Result<Option<TimeColumn>> {
        let (name, found) = self.times(shard)?;
        match *found.as_slice() {
            [] => Ok(None),
            [found] => time(shard, name, found, self.time_unit).map(Some),
            [..] => Err(Error::ColumnType {
                path: shard.path.clone(),
                role: "time",
                column: name.to_owned(),
                found: format!("that of {} columns", found.len()),
                expected: "expected one time a row",
            }),
        }
    }

    /// The leaves of all columns that have the name of the time column.
    ///
    /// # Errors
    /// When a configured column isn't there, or is a group.
    pub fn time_leaves(&self, shard: &Shard) -> Result<Vec<usize>> {
        let (name, found) = self.times(shard)?;
        let among = Columns::of(shard);
        let leaves = found
            .into_iter()
            .map(|found| among.leaf("time", name, found));
        leaves.map(|found| found.map(|(leaf, _)| leaf)).collect()
    }

    fn times(&self, shard: &Shard) -> Result<(&str, Vec<Found>)> {
        let among = Columns::of(shard);
        let Some(name) = &self.time else {
            let usual = find_usual(among.schema, &TIME_NAMES);
            let usual = usual.map_err(|names| names.of(among.path, "time", TIME_NAMES[0]))?;
            return Ok(usual.unwrap_or((TIME_NAMES[0], Vec::new())));
        };
        let found = among.find("time", name)?;
        if found.is_empty() {
            return Err(among.missing("time", name));
        }
        Ok((name, found))
    }
}

/// The columns of a shard, or of what will be one.
pub(super) struct Columns<'a> {
    /// For messages.
    pub(super) path: &'a str,
    pub(super) schema: &'a SchemaDescriptor,
}

impl<'a> Columns<'a> {
    fn of(shard: &'a Shard) -> Self {
        Self {
            path: &shard.path,
            schema: shard.footer.schema(),
        }
    }

    fn find(&self, role: &'static str, column: &str) -> Result<Vec<Found>> {
        find(self.schema, column).map_err(|names| names.of(self.path, role, column))
    }

    fn missing(&self, role: &'static str, column: &str) -> Error {
        Error::MissingColumn {
            path: self.path.to_owned(),
            role,
            column: column.to_owned(),
            columns: column_names(self.schema),
        }
    }

    fn leaf(&self, role: &'static str, name: &str, found: Found) -> Result<(usize, ColumnDescPtr)> {
        if let Found::Leaf(leaf) = found
            && let Some(descriptor) = self.schema.columns().get(leaf)
        {
            return Ok((leaf, descriptor.clone()));
        }
        Err(Error::ColumnType {
            path: self.path.to_owned(),
            role,
            column: name.to_owned(),
            found: "a group".into(),
            expected: "name one of its fields by a dotted path",
        })
    }
}

/// The type of a leaf, for a message.
fn type_name(descriptor: &ColumnDescriptor) -> String {
    match (descriptor.logical_type_ref(), descriptor.converted_type()) {
        (Some(logical), _) => format!("{} ({logical:?})", descriptor.physical_type()),
        (None, ConvertedType::NONE) => descriptor.physical_type().to_string(),
        (None, converted) => format!("{} ({converted})", descriptor.physical_type()),
    }
}

fn subject(among: &Columns<'_>, name: &str, found: Found) -> Result<SubjectColumn> {
    let (leaf, descriptor) = among.leaf("subject", name, found)?;
    let kind = subject_kind(&descriptor).ok_or_else(|| Error::ColumnType {
        path: among.path.to_owned(),
        role: "subject",
        column: name.to_owned(),
        found: type_name(&descriptor),
        expected: "expected text, binary, an integer or a decimal",
    })?;
    Ok(SubjectColumn {
        leaf,
        kind,
        descriptor,
    })
}

fn subject_kind(descriptor: &ColumnDescriptor) -> Option<SubjectKind> {
    let is_decimal = matches!(descriptor.logical_type_ref(), Some(LogicalType::Decimal(_)))
        || descriptor.converted_type() == ConvertedType::DECIMAL;
    let scale = u32::try_from(descriptor.type_scale()).unwrap_or(0);
    match descriptor.physical_type() {
        Physical::BYTE_ARRAY | Physical::FIXED_LEN_BYTE_ARRAY if is_decimal => {
            (descriptor.type_length() <= 32).then_some(SubjectKind::BigEndian { scale })
        }
        Physical::BYTE_ARRAY => Some(SubjectKind::Bytes),
        Physical::FIXED_LEN_BYTE_ARRAY => {
            let is_other = matches!(descriptor.logical_type_ref(), Some(LogicalType::Float16))
                || descriptor.converted_type() == ConvertedType::INTERVAL;
            (!is_other).then_some(SubjectKind::Bytes)
        }
        Physical::INT32 | Physical::INT64 if is_decimal => Some(SubjectKind::Integer {
            signed: true,
            scale,
        }),
        Physical::INT32 | Physical::INT64 => match descriptor.logical_type_ref() {
            Some(LogicalType::Integer(integer)) => Some(SubjectKind::Integer {
                signed: integer.is_signed,
                scale: 0,
            }),
            // Of all nulls, whose type the writer could not know.
            Some(LogicalType::Unknown) => Some(SubjectKind::Integer {
                signed: true,
                scale: 0,
            }),
            Some(_) => None,
            None => match descriptor.converted_type() {
                ConvertedType::UINT_8
                | ConvertedType::UINT_16
                | ConvertedType::UINT_32
                | ConvertedType::UINT_64 => Some(SubjectKind::Integer {
                    signed: false,
                    scale: 0,
                }),
                ConvertedType::NONE
                | ConvertedType::INT_8
                | ConvertedType::INT_16
                | ConvertedType::INT_32
                | ConvertedType::INT_64 => Some(SubjectKind::Integer {
                    signed: true,
                    scale: 0,
                }),
                _ => None,
            },
        },
        Physical::BOOLEAN | Physical::INT96 | Physical::FLOAT | Physical::DOUBLE => None,
    }
}

fn time(shard: &Shard, name: &str, found: Found, unit: Option<UnitName>) -> Result<TimeColumn> {
    let (leaf, descriptor) = Columns::of(shard).leaf("time", name, found)?;
    let wrong = |expected| Error::ColumnType {
        path: shard.path.clone(),
        role: "time",
        column: name.to_owned(),
        found: type_name(&descriptor),
        expected,
    };
    if descriptor.max_rep_level() > 0 {
        return Err(wrong("expected one time a row, not a list"));
    }
    let unit_of = |unit: &TimeUnit| match unit {
        TimeUnit::MILLIS => UnitName::Milliseconds,
        TimeUnit::MICROS => UnitName::Microseconds,
        TimeUnit::NANOS => UnitName::Nanoseconds,
    };
    let kind = match (
        descriptor.physical_type(),
        descriptor.logical_type_ref(),
        descriptor.converted_type(),
    ) {
        (Physical::INT96, _, _) => Some(TimeKind::Int96),
        (Physical::INT64, Some(LogicalType::Timestamp(timestamp)), _) => {
            Some(TimeKind::Instant(unit_of(&timestamp.unit)))
        }
        (Physical::INT64, None, ConvertedType::TIMESTAMP_MILLIS) => {
            Some(TimeKind::Instant(UnitName::Milliseconds))
        }
        (Physical::INT64, None, ConvertedType::TIMESTAMP_MICROS) => {
            Some(TimeKind::Instant(UnitName::Microseconds))
        }
        (Physical::INT32, Some(LogicalType::Date), _)
        | (Physical::INT32, None, ConvertedType::DATE) => Some(TimeKind::Date),
        (Physical::INT32 | Physical::INT64, Some(LogicalType::Integer(_)) | None, converted)
            if !matches!(
                converted,
                ConvertedType::DECIMAL | ConvertedType::TIME_MICROS | ConvertedType::TIME_MILLIS
            ) =>
        {
            let kind = match unit {
                Some(unit) => TimeKind::Instant(unit),
                None => hinted(shard, &descriptor)
                    .or_else(|| UnitName::guess(shard, leaf).map(TimeKind::Instant))
                    .ok_or_else(|| Error::NoTimeUnit {
                        path: shard.path.clone(),
                        column: name.to_owned(),
                        found: type_name(&descriptor),
                    })?,
            };
            Some(kind)
        }
        _ => None,
    };
    match kind {
        Some(kind) => Ok(TimeColumn {
            leaf,
            kind,
            descriptor,
        }),
        None => Err(wrong("expected a timestamp, a date or an integer")),
    }
}

/// What the writer's Arrow schema says of a plain integer: Parquet has no type for times in seconds and for dates in
/// milliseconds.
fn hinted(shard: &Shard, descriptor: &ColumnDescriptor) -> Option<TimeKind> {
    let hints = Some(hints(&shard.footer)?);
    let schema = guarded("schema", || {
        parquet_to_arrow_schema(shard.footer.schema(), hints)
    })
    .ok()?;
    let (first, rest) = descriptor.path().parts().split_first()?;
    let mut found = schema.field_with_name(first).ok()?.data_type();
    for name in rest {
        let DataType::Struct(fields) = found else {
            return None;
        };
        found = fields.find(name)?.1.data_type();
    }
    match found {
        DataType::Timestamp(ArrowUnit::Second, _) => Some(TimeKind::Instant(UnitName::Seconds)),
        DataType::Date64 => Some(TimeKind::DateMillis),
        _ => None,
    }
}
