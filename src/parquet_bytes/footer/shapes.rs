//! Which type each known field of the footer's structures has.
//!
//! The `parquet` crate reads a field by its number as what it should be, whatever type the bytes say it has. Where
//! they say another one, or have the field twice, it and the tree understand the same bytes as different
//! footers, and what is edited in one is elsewhere in the other. So such a footer is damaged. Fields that the
//! crate skips, and those that nobody knows, may be anything.
//!
//! Source: `parquet.thrift` in the Apache Parquet repository.

use self::Kind::{Binary, Bool, Double, I8, I16, I32, I64, List};
use super::Result;
use crate::error::FormatError;
use crate::parquet_bytes::thrift::{Struct, Value};

/// What a field holds.
enum Kind {
    Bool,
    I8,
    I16,
    I32,
    I64,
    Double,
    Binary,
    List(&'static Self),
    Struct(&'static Shape),
}

/// A structure: its name and its fields.
struct Shape(&'static str, &'static [(i16, Kind)]);

/// Checks the types of a footer's known fields.
///
/// # Errors
/// Names the first field that has another one, or that is there twice.
pub(super) fn check(tree: &Struct, offset: u64) -> Result<()> {
    FILE.check(tree).map_err(|found| FormatError::Invalid {
        structure: "footer",
        offset,
        found,
        expected: "one of the type that the format gives it",
    })
}

impl Shape {
    fn check(&self, tree: &Struct) -> std::result::Result<(), String> {
        let Self(name, fields) = self;
        let mut seen = 0_u32;
        for (id, value) in tree.fields() {
            let Some((_, kind)) = fields.iter().find(|(known, _)| known == id) else {
                continue;
            };
            // Known fields have small numbers.
            let bit = 1 << (id & 31);
            if seen & bit != 0 {
                return Err(format!("field {id} of {name} twice"));
            }
            seen |= bit;
            if !kind.check(value)? {
                return Err(format!("field {id} of {name} with another type"));
            }
        }
        Ok(())
    }
}

impl Kind {
    /// Whether `value` is of this kind.
    fn check(&self, value: &Value) -> std::result::Result<bool, String> {
        Ok(match (self, value) {
            (Self::List(kind), Value::List(list)) => {
                for item in &list.items {
                    if !kind.check(item)? {
                        return Ok(false);
                    }
                }
                true
            }
            (Self::Struct(shape), Value::Struct(tree)) => {
                shape.check(tree)?;
                true
            }
            (Self::Bool, Value::Bool(_))
            | (Self::I8, Value::I8(_))
            | (Self::I16, Value::I16(_))
            | (Self::I32, Value::I32(_))
            | (Self::I64, Value::I64(_))
            | (Self::Double, Value::Double(_))
            | (Self::Binary, Value::Binary(_)) => true,
            _ => false,
        })
    }
}

const fn of(shape: &'static Shape) -> Kind {
    Kind::Struct(shape)
}

static EMPTY: Shape = Shape("a structure without fields", &[]);

static FILE: Shape = Shape(
    "FileMetaData",
    &[
        (1, I32),
        (2, List(&of(&SCHEMA_ELEMENT))),
        (3, I64),
        (4, List(&of(&ROW_GROUP))),
        (5, List(&of(&KEY_VALUE))),
        (6, Binary),
        (7, List(&of(&COLUMN_ORDER))),
    ],
);

static COLUMN_ORDER: Shape = Shape("ColumnOrder", &[(1, of(&EMPTY))]);

static KEY_VALUE: Shape = Shape("KeyValue", &[(1, Binary), (2, Binary)]);

static SCHEMA_ELEMENT: Shape = Shape(
    "SchemaElement",
    &[
        (1, I32),
        (2, I32),
        (3, I32),
        (4, Binary),
        (5, I32),
        (6, I32),
        (7, I32),
        (8, I32),
        (9, I32),
        (10, of(&LOGICAL_TYPE)),
    ],
);

static LOGICAL_TYPE: Shape = Shape(
    "LogicalType",
    &[
        (1, of(&EMPTY)),
        (2, of(&EMPTY)),
        (3, of(&EMPTY)),
        (4, of(&EMPTY)),
        (5, of(&Shape("DecimalType", &[(1, I32), (2, I32)]))),
        (6, of(&EMPTY)),
        (7, of(&TIME)),
        (8, of(&TIME)),
        (10, of(&Shape("IntType", &[(1, I8), (2, Bool)]))),
        (11, of(&EMPTY)),
        (12, of(&EMPTY)),
        (13, of(&EMPTY)),
        (14, of(&EMPTY)),
        (15, of(&EMPTY)),
        (16, of(&Shape("VariantType", &[(1, I8)]))),
        (17, of(&Shape("GeometryType", &[(1, Binary)]))),
        (18, of(&Shape("GeographyType", &[(1, Binary), (2, I32)]))),
    ],
);

static TIME: Shape = Shape("TimeType", &[(1, Bool), (2, of(&TIME_UNIT))]);

static TIME_UNIT: Shape = Shape(
    "TimeUnit",
    &[(1, of(&EMPTY)), (2, of(&EMPTY)), (3, of(&EMPTY))],
);

static ROW_GROUP: Shape = Shape(
    "RowGroup",
    &[
        (1, List(&of(&COLUMN_CHUNK))),
        (2, I64),
        (3, I64),
        (4, List(&of(&SORTING_COLUMN))),
        (5, I64),
        (6, I64),
        (7, I16),
    ],
);

static SORTING_COLUMN: Shape = Shape("SortingColumn", &[(1, I32), (2, Bool), (3, Bool)]);

static COLUMN_CHUNK: Shape = Shape(
    "ColumnChunk",
    &[
        (1, Binary),
        (2, I64),
        (3, of(&COLUMN)),
        (4, I64),
        (5, I32),
        (6, I64),
        (7, I32),
    ],
);

static COLUMN: Shape = Shape(
    "ColumnMetaData",
    &[
        (1, I32),
        (2, List(&I32)),
        (4, I32),
        (5, I64),
        (6, I64),
        (7, I64),
        (9, I64),
        (10, I64),
        (11, I64),
        (12, of(&STATISTICS)),
        (13, List(&of(&ENCODING_STATS))),
        (14, I64),
        (15, I32),
        (16, of(&SIZES)),
        (17, of(&GEOSPATIAL)),
    ],
);

static STATISTICS: Shape = Shape(
    "Statistics",
    &[
        (1, Binary),
        (2, Binary),
        (3, I64),
        (4, I64),
        (5, Binary),
        (6, Binary),
        (7, Bool),
        (8, Bool),
    ],
);

static ENCODING_STATS: Shape = Shape("PageEncodingStats", &[(1, I32), (2, I32), (3, I32)]);

static SIZES: Shape = Shape(
    "SizeStatistics",
    &[(1, I64), (2, List(&I64)), (3, List(&I64))],
);

static GEOSPATIAL: Shape = Shape("GeospatialStatistics", &[(1, of(&BOX)), (2, List(&I32))]);

static BOX: Shape = Shape(
    "BoundingBox",
    &[
        (1, Double),
        (2, Double),
        (3, Double),
        (4, Double),
        (5, Double),
        (6, Double),
        (7, Double),
        (8, Double),
    ],
);

#[cfg(test)]
mod tests {
    use super::*;

    /// `version` of `FileMetaData`, as these bytes.
    fn checked(bytes: &[u8]) -> Result<()> {
        check(&Struct::read(bytes, "footer", 0).unwrap().0, 0)
    }

    #[test]
    fn a_known_field_that_is_there_twice_or_has_another_type_is_damage() {
        let once = [0x15, 2, 0];
        let twice = [0x15, 2, 0x05, 2, 2, 0];
        let short = [0x14, 2, 0];
        checked(&once).unwrap();
        assert!(checked(&twice).unwrap_err().to_string().contains("twice"));
        assert!(checked(&short).unwrap_err().to_string().contains("type"));
    }

    #[test]
    fn an_unknown_field_may_be_anything() {
        checked(&[0xF5, 2, 0x05, 30, 2, 0]).unwrap();
    }
}
