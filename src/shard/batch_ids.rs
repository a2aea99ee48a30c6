//! Canonical bytes of the id columns of a record batch: those of the Parquet column that it is written as.
//!
//! ```text
//!   Arrow schema ──> Parquet schema ──> roles ──> leaf ──> steps through structs and lists
//!   RecordBatch ── steps ──> leaf array, and which of its values are in a row ──> canonical bytes
//! ```
//! A null struct or list hides whatever stands below it, as it does in the file.
//!
//! Memory: one bit for each value of the arrays on the way, and one number for each key of a dictionary array.

use arrow::array::{
    AnyDictionaryArray, Array, AsArray, BooleanBufferBuilder, GenericListViewArray,
    OffsetSizeTrait, RecordBatch,
};
use arrow::buffer::{BooleanBuffer, OffsetBuffer};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Decimal32Type, Decimal64Type, Decimal128Type, Decimal256Type,
    Fields, Int8Type, Int16Type, Int32Type, Int64Type, Schema, UInt8Type, UInt16Type, UInt32Type,
    UInt64Type, i256,
};
use parquet::arrow::ArrowSchemaConverter;

use super::roles::{Columns, Roles, SubjectColumn, SubjectKind};
use crate::error::{Error, Result};
use crate::subject::Form;

/// The subject columns of batches of one schema.
#[derive(Debug, Clone)]
pub struct BatchColumns {
    /// What messages call the batches.
    name: String,
    columns: Vec<BatchColumn>,
}

#[derive(Debug, Clone)]
struct BatchColumn {
    /// From the batch down to the leaf.
    steps: Vec<Step>,
    kind: SubjectKind,
    forms: &'static [Form],
}

#[derive(Debug, Clone, Copy)]
enum Step {
    /// Into a field of a struct.
    Field(usize),
    /// Into the elements of a list, or the entries of a map.
    Elements,
}

impl BatchColumns {
    /// The columns of `schema` that are subject columns by `roles`. `name` (the path of the shard, say) is what
    /// messages call the batches.
    ///
    /// # Errors
    /// Those of [`Roles::subjects`], and when the schema can't be that of a Parquet file.
    pub fn of(schema: &Schema, roles: &Roles, name: &str) -> Result<Self> {
        let converted = ArrowSchemaConverter::new()
            .convert(schema)
            .map_err(|source| Error::Arrow {
                context: format!("using the schema of {name}"),
                source: source.into(),
            })?;
        let place = Columns {
            path: name,
            schema: &converted,
        };
        let column_of = |column: SubjectColumn| {
            let mut left = column.leaf;
            let found = steps_to(schema.fields(), &mut left).filter(|(_, leaf)| is_id(leaf));
            let Some((mut steps, _)) = found else {
                return Err(Error::ColumnType {
                    path: name.to_owned(),
                    role: "subject",
                    column: column.descriptor.path().string(),
                    found: "an Arrow type that isn't written as text, a number or a decimal".into(),
                    expected: "expected text, binary, an integer or a decimal",
                });
            };
            steps.reverse();
            let (kind, forms) = (column.kind, column.forms());
            Ok(BatchColumn { steps, kind, forms })
        };
        let columns = roles.subjects_among(&place)?;
        Ok(Self {
            name: name.to_owned(),
            columns: columns.into_iter().map(column_of).collect::<Result<_>>()?,
        })
    }

    /// Shows the canonical bytes of every id of `batch` to `see`, some of them repeatedly, with the forms of an id
    /// that they are compared with.
    ///
    /// # Errors
    /// When the batch has another schema, or an array a type that can't be an id.
    pub fn each(
        &self,
        batch: &RecordBatch,
        see: &mut dyn FnMut(&'static [Form], &[u8]),
    ) -> Result<()> {
        (0..self.columns.len()).try_for_each(|column| self.each_of(column, batch, see))
    }

    /// How many subject columns there are.
    pub(crate) fn len(&self) -> usize {
        self.columns.len()
    }

    /// As [`each`](Self::each), of one column.
    pub(crate) fn each_of(
        &self,
        column: usize,
        batch: &RecordBatch,
        see: &mut dyn FnMut(&'static [Form], &[u8]),
    ) -> Result<()> {
        let all = BooleanBuffer::new_set(batch.num_rows());
        self.shown(column, see, |column, leaf| {
            let (Step::Field(at), steps) = column.steps.split_first()? else {
                return None;
            };
            leaf.descend(batch.columns().get(*at)?, &all, steps)
        })
    }

    /// As [`each_of`](Self::each_of), of one entry of a dictionary that the column has.
    pub(crate) fn entry(
        &self,
        column: usize,
        entry: &dyn Array,
        see: &mut dyn FnMut(&'static [Form], &[u8]),
    ) -> Result<()> {
        let all = BooleanBuffer::new_set(entry.len());
        self.shown(column, see, |_, leaf| leaf.descend(entry, &all, &[]))
    }

    /// The array of a column of `batch`, where it is a dictionary array that stands in no other one.
    pub(crate) fn dictionary<'b>(
        &self,
        column: usize,
        batch: &'b RecordBatch,
    ) -> Option<&'b dyn AnyDictionaryArray> {
        match self.columns.get(column)?.steps.as_slice() {
            [Step::Field(at)] => batch.columns().get(*at)?.as_any_dictionary_opt(),
            _ => None,
        }
    }

    fn shown(
        &self,
        column: usize,
        see: &mut dyn FnMut(&'static [Form], &[u8]),
        show: impl FnOnce(&BatchColumn, &mut Leaf<'_>) -> Option<()>,
    ) -> Result<()> {
        let shown = self.columns.get(column).and_then(|column| {
            let mut leaf = Leaf {
                kind: column.kind,
                forms: column.forms,
                scratch: Vec::new(),
                see,
            };
            show(column, &mut leaf)
        });
        shown.ok_or_else(|| Error::Internal {
            path: self.name.clone(),
            invariant: "a record batch lacks a subject column that its schema has",
        })
    }
}

/// Whether values of this type can be shown. Others may have a Parquet type that can (times in seconds are plain
/// integers there), but are no ids.
fn is_id(data_type: &DataType) -> bool {
    match data_type {
        DataType::Dictionary(_, values) => is_id(values),
        DataType::Utf8
        | DataType::LargeUtf8
        | DataType::Utf8View
        | DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::FixedSizeBinary(_) => true,
        _ => data_type.is_integer() || data_type.is_decimal(),
    }
}

/// The steps to a leaf, the last one first, and its type.
type Way<'a> = (Vec<Step>, &'a DataType);

/// The way to the leaf of which `left` others stand before it; they are counted off.
fn steps_to<'a>(fields: &'a Fields, left: &mut usize) -> Option<Way<'a>> {
    fields.iter().enumerate().find_map(|(at, field)| {
        let (mut steps, leaf) = steps_within(field.data_type(), left)?;
        steps.push(Step::Field(at));
        Some((steps, leaf))
    })
}

fn steps_within<'a>(data_type: &'a DataType, left: &mut usize) -> Option<Way<'a>> {
    match data_type {
        DataType::Struct(fields) => steps_to(fields, left),
        DataType::List(item)
        | DataType::LargeList(item)
        | DataType::ListView(item)
        | DataType::LargeListView(item)
        | DataType::FixedSizeList(item, _)
        | DataType::Map(item, _) => {
            let (mut steps, leaf) = steps_within(item.data_type(), left)?;
            steps.push(Step::Elements);
            Some((steps, leaf))
        }
        leaf if *left == 0 => Some((Vec::new(), leaf)),
        _ => {
            *left -= 1;
            None
        }
    }
}

/// Shows the values of one leaf. What returns `None` came across a type that can't be there.
struct Leaf<'a> {
    kind: SubjectKind,
    forms: &'static [Form],
    scratch: Vec<u8>,
    see: &'a mut dyn FnMut(&'static [Form], &[u8]),
}

impl Leaf<'_> {
    /// `present` says which values of `array` are in a row.
    fn descend(
        &mut self,
        array: &dyn Array,
        present: &BooleanBuffer,
        steps: &[Step],
    ) -> Option<()> {
        let valid = match array.logical_nulls() {
            Some(nulls) => present & nulls.inner(),
            None => present.clone(),
        };
        match steps.split_first() {
            None => self.show(array, &valid),
            Some((Step::Field(at), steps)) => {
                let field = array.as_struct_opt()?.columns().get(*at)?;
                self.descend(field, &valid, steps)
            }
            Some((Step::Elements, steps)) => {
                let (elements, present): (&dyn Array, _) = match array.data_type() {
                    DataType::List(_) => {
                        let list = array.as_list_opt::<i32>()?;
                        (
                            list.values(),
                            spans(list.offsets(), &valid, list.values().len())?,
                        )
                    }
                    DataType::LargeList(_) => {
                        let list = array.as_list_opt::<i64>()?;
                        (
                            list.values(),
                            spans(list.offsets(), &valid, list.values().len())?,
                        )
                    }
                    DataType::Map(_, _) => {
                        let map = array.as_map_opt()?;
                        (
                            map.entries(),
                            spans(map.offsets(), &valid, map.entries().len())?,
                        )
                    }
                    DataType::FixedSizeList(_, len) => {
                        let values = array.as_fixed_size_list_opt()?.values();
                        let len = usize::try_from(*len).ok()?;
                        let ranges = valid.set_indices().map(|row| (row * len, len));
                        (values, marked(ranges, values.len())?)
                    }
                    DataType::ListView(_) => views(array.as_list_view_opt::<i32>()?, &valid)?,
                    DataType::LargeListView(_) => views(array.as_list_view_opt::<i64>()?, &valid)?,
                    _ => return None,
                };
                self.descend(elements, &present, steps)
            }
        }
    }

    /// Shows the `valid` values of a leaf.
    fn show(&mut self, array: &dyn Array, valid: &BooleanBuffer) -> Option<()> {
        let rows = valid.set_indices();
        match array.data_type() {
            DataType::Utf8 => {
                let values = array.as_string_opt::<i32>()?;
                rows.for_each(|row| self.canonical(values.value(row).as_bytes()));
            }
            DataType::LargeUtf8 => {
                let values = array.as_string_opt::<i64>()?;
                rows.for_each(|row| self.canonical(values.value(row).as_bytes()));
            }
            DataType::Utf8View => {
                let values = array.as_string_view_opt()?;
                rows.for_each(|row| self.canonical(values.value(row).as_bytes()));
            }
            DataType::Binary => {
                let values = array.as_binary_opt::<i32>()?;
                rows.for_each(|row| self.canonical(values.value(row)));
            }
            DataType::LargeBinary => {
                let values = array.as_binary_opt::<i64>()?;
                rows.for_each(|row| self.canonical(values.value(row)));
            }
            DataType::BinaryView => {
                let values = array.as_binary_view_opt()?;
                rows.for_each(|row| self.canonical(values.value(row)));
            }
            DataType::FixedSizeBinary(_) => {
                let values = array.as_fixed_size_binary_opt()?;
                rows.for_each(|row| self.canonical(values.value(row)));
            }
            DataType::Int8 => {
                self.numbers::<Int8Type, 4>(array, valid, |n| i32::from(n).to_le_bytes())?;
            }
            DataType::Int16 => {
                self.numbers::<Int16Type, 4>(array, valid, |n| i32::from(n).to_le_bytes())?;
            }
            DataType::Int32 => self.numbers::<Int32Type, 4>(array, valid, i32::to_le_bytes)?,
            DataType::Int64 => self.numbers::<Int64Type, 8>(array, valid, i64::to_le_bytes)?,
            DataType::UInt8 => {
                self.numbers::<UInt8Type, 4>(array, valid, |n| u32::from(n).to_le_bytes())?;
            }
            DataType::UInt16 => {
                self.numbers::<UInt16Type, 4>(array, valid, |n| u32::from(n).to_le_bytes())?;
            }
            DataType::UInt32 => self.numbers::<UInt32Type, 4>(array, valid, u32::to_le_bytes)?,
            DataType::UInt64 => self.numbers::<UInt64Type, 8>(array, valid, u64::to_le_bytes)?,
            DataType::Decimal32(..) => {
                self.decimals::<Decimal32Type>(array, valid, |n| i256::from_i128(n.into()))?;
            }
            DataType::Decimal64(..) => {
                self.decimals::<Decimal64Type>(array, valid, |n| i256::from_i128(n.into()))?;
            }
            DataType::Decimal128(..) => {
                self.decimals::<Decimal128Type>(array, valid, i256::from_i128)?;
            }
            DataType::Decimal256(..) => self.decimals::<Decimal256Type>(array, valid, |n| n)?,
            DataType::Dictionary(..) => {
                let dictionary = array.as_any_dictionary_opt()?;
                let entries = dictionary.values();
                if entries.is_empty() {
                    return Some(());
                }
                let keys = dictionary.normalized_keys();
                let used = rows.filter_map(|row| Some((*keys.get(row)?, 1)));
                let used = marked(used, entries.len())?;
                self.descend(entries, &used, &[])?;
            }
            _ => return None,
        }
        Some(())
    }

    /// Shows numbers by their little-endian bytes.
    fn numbers<T: ArrowPrimitiveType, const BYTES: usize>(
        &mut self,
        array: &dyn Array,
        valid: &BooleanBuffer,
        raw: impl Fn(T::Native) -> [u8; BYTES],
    ) -> Option<()> {
        let values = array.as_primitive_opt::<T>()?;
        for row in valid.set_indices() {
            self.canonical(&raw(values.value(row)));
        }
        Some(())
    }

    /// Shows decimals by the bytes that they have in a column of this kind.
    fn decimals<T: ArrowPrimitiveType>(
        &mut self,
        array: &dyn Array,
        valid: &BooleanBuffer,
        wide: impl Fn(T::Native) -> i256,
    ) -> Option<()> {
        let values = array.as_primitive_opt::<T>()?;
        for row in valid.set_indices() {
            let bytes = wide(values.value(row)).to_be_bytes();
            match self.kind {
                SubjectKind::Integer { .. } => {
                    let mut low = *bytes.last_chunk::<8>()?;
                    low.reverse();
                    self.canonical(&low);
                }
                _ => self.canonical(&bytes),
            }
        }
        Some(())
    }

    fn canonical(&mut self, raw: &[u8]) {
        (self.see)(self.forms, self.kind.canonical(raw, &mut self.scratch));
    }
}

/// The elements of the lists that are `valid`.
fn spans<O: OffsetSizeTrait>(
    offsets: &OffsetBuffer<O>,
    valid: &BooleanBuffer,
    len: usize,
) -> Option<BooleanBuffer> {
    let ranges = valid.set_indices().filter_map(|row| {
        let (start, end) = (
            offsets.get(row)?.as_usize(),
            offsets.get(row + 1)?.as_usize(),
        );
        Some((start, end.saturating_sub(start)))
    });
    marked(ranges, len)
}

fn views<'a, O: OffsetSizeTrait>(
    list: &'a GenericListViewArray<O>,
    valid: &BooleanBuffer,
) -> Option<(&'a dyn Array, BooleanBuffer)> {
    let ranges = valid.set_indices().filter_map(|row| {
        Some((
            list.offsets().get(row)?.as_usize(),
            list.sizes().get(row)?.as_usize(),
        ))
    });
    let present = marked(ranges, list.values().len())?;
    Some((list.values(), present))
}

/// Of `len` bits those in the ranges (start, length); `None` if one is outside.
fn marked(ranges: impl Iterator<Item = (usize, usize)>, len: usize) -> Option<BooleanBuffer> {
    let mut bits = BooleanBufferBuilder::new(len);
    bits.append_n(len, false);
    for (start, count) in ranges {
        if start.checked_add(count)? > len {
            return None;
        }
        for at in start..start + count {
            bits.set_bit(at, true);
        }
    }
    Some(bits.finish())
}
