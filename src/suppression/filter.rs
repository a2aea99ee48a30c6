//! Taking rows of suppressed ids out of record batches, on their way into a dataset.
//!
//! ```text
//!   RecordBatch ── shard::batch_ids ──> distinct ids ── known verdicts, else keyed hash ──> none suppressed: as it is
//!                                                                                     └──> halves, down to the rows
//! ```
//! Of a dictionary column the entries are judged, not the rows; a dictionary that several batches share (the same
//! array, not an equal one) is judged whole once, and then a row costs one bit. Batches without a suppressed id are
//! the usual case, and are handed on as they are.
//!
//! ```
//! use std::sync::Arc;
//!
//! use arrow::array::{ArrayRef, RecordBatch, StringArray};
//! use efface::shard::roles::Roles;
//! use efface::subject::{SubjectId, SubjectKey};
//! use efface::suppression::{Suppression, filter::Filter};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let key = SubjectKey::random();
//! let mut list = Suppression::default();
//! list.add(&key, &[SubjectId::new("ada")], None, "2026-01-31T12:00:00Z".parse()?);
//!
//! let ids: ArrayRef = Arc::new(StringArray::from(vec!["ada", "bob", "ada", "cyd"]));
//! let events = RecordBatch::try_from_iter([("distinct_id", ids)])?;
//! let mut filter = Filter::new(&list, &key, &events.schema(), &Roles::default())?;
//! let kept = filter.keep(&events, |_row| None)?;
//! assert_eq!(kept.num_rows(), 2);
//! # Ok(())
//! # }
//! ```
//!
//! Memory: the verdicts on at most [`VERDICTS_MAX`] ids, with their bytes, and the last dictionary of each column.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    AnyDictionaryArray, Array, ArrayRef, BooleanArray, BooleanBufferBuilder, RecordBatch,
};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use jiff::Timestamp;

use super::{CutOff, Suppression};
use crate::error::{Error, Result};
use crate::shard::batch_ids::BatchColumns;
use crate::shard::roles::Roles;
use crate::subject::{Form, SubjectKey};

/// Ids whose verdict is remembered from batch to batch.
pub const VERDICTS_MAX: usize = 1 << 20;

/// Whether canonical bytes are suppressed, and until when.
type Verdicts = HashMap<Box<[u8]>, Option<CutOff>>;

/// Takes the rows of suppressed ids out of batches of one schema.
pub struct Filter<'a> {
    list: &'a Suppression,
    key: &'a SubjectKey,
    schema: SchemaRef,
    columns: BatchColumns,
    /// What is known of canonical bytes that were seen, by the forms that they are compared in.
    verdicts: HashMap<&'static [Form], Verdicts>,
    /// By column: the dictionary of the last batch.
    dictionaries: Vec<Option<Dictionary>>,
}

/// A dictionary that batches may share. It is held, so that no other one can come to lie in its place.
struct Dictionary {
    entries: ArrayRef,
    /// Which entries are suppressed; not known before a second batch has it.
    suppressed: Option<BooleanBuffer>,
}

impl<'a> Filter<'a> {
    /// A filter for batches with this schema, whose subject columns `roles` tells.
    ///
    /// # Errors
    /// When a subject column isn't there, or has a type that can't be compared with an id.
    pub fn new(
        list: &'a Suppression,
        key: &'a SubjectKey,
        schema: &SchemaRef,
        roles: &Roles,
    ) -> Result<Self> {
        let columns = BatchColumns::of(schema, roles, "the record batch")?;
        Ok(Self {
            list,
            key,
            schema: Arc::clone(schema),
            dictionaries: (0..columns.len()).map(|_| None).collect(),
            columns,
            verdicts: HashMap::new(),
        })
    }

    /// The rows of `batch` that may come in, in their order: those of no suppressed id, and those whose time, by
    /// `time_of` (which is asked for few rows, counted in the batch), is at the id's cut-off or later. A row
    /// without a time can't be shown to be later.
    ///
    /// # Errors
    /// When the batch has another schema than the filter.
    pub fn keep(
        &mut self,
        batch: &RecordBatch,
        time_of: impl Fn(usize) -> Option<Timestamp>,
    ) -> Result<RecordBatch> {
        if batch.schema_ref() != &self.schema {
            return Err(Error::Arrow {
                context: "filtering a record batch".to_owned(),
                source: ArrowError::SchemaError("it is not that of the filter".to_owned()),
            });
        }
        if self.cut_off(batch)?.is_none() {
            return Ok(batch.clone());
        }
        let mut is_kept = vec![true; batch.num_rows()];
        let mut parts = vec![(0, batch.num_rows())];
        while let Some((start, len)) = parts.pop() {
            let Some(cut_off) = self.cut_off(&batch.slice(start, len))? else {
                continue;
            };
            if len > 1 {
                let half = len / 2;
                parts.extend([(start, half), (start + half, len - half)]);
            } else if let Some(is_kept) = is_kept.get_mut(start) {
                let time = time_of(start);
                *is_kept = cut_off.is_some_and(|cut_off| time.is_some_and(|time| time >= cut_off));
            }
        }
        filter_record_batch(batch, &BooleanArray::from(is_kept))
            .map_err(Error::arrow("filtering a record batch"))
    }

    /// The latest cut-off of all suppressed ids of a batch; `None` when there is no such id.
    fn cut_off(&mut self, batch: &RecordBatch) -> Result<Option<CutOff>> {
        let mut latest: Option<CutOff> = None;
        for column in 0..self.columns.len() {
            if self.is_without(column, batch)? {
                continue;
            }
            let (list, key, verdicts) = (self.list, self.key, &mut self.verdicts);
            self.columns.each_of(column, batch, &mut |forms, value| {
                let verdicts = verdicts.entry(forms).or_default();
                let verdict = if let Some(known) = verdicts.get(value) {
                    *known
                } else {
                    let verdict = list.cut_off(key, forms, value);
                    if verdicts.len() >= VERDICTS_MAX {
                        verdicts.clear();
                    }
                    verdicts.insert(value.into(), verdict);
                    verdict
                };
                if let Some(cut_off) = verdict {
                    // A row of two suppressed ids goes as long as either of them does.
                    latest = Some(match latest {
                        None => cut_off,
                        Some(other) => other.zip(cut_off).map(|(one, other)| one.max(other)),
                    });
                }
            })?;
        }
        Ok(latest)
    }

    /// Whether a column is a dictionary column whose keys in this batch are known to be of no suppressed entry.
    fn is_without(&mut self, column: usize, batch: &RecordBatch) -> Result<bool> {
        let array = self.columns.dictionary(column, batch);
        let (Some(array), Some(known)) = (array, self.dictionaries.get_mut(column)) else {
            return Ok(false);
        };
        let Some(known) = known.as_mut().filter(|known| known.is_of(array)) else {
            // Most of it may be in no row: it is judged whole only if another batch has it too.
            *known = Some(Dictionary {
                entries: Arc::clone(array.values()),
                suppressed: None,
            });
            return Ok(false);
        };
        let suppressed = if let Some(suppressed) = &known.suppressed {
            suppressed
        } else {
            let mut suppressed = BooleanBufferBuilder::new(known.entries.len());
            for at in 0..known.entries.len() {
                let mut is_suppressed = false;
                let entry = known.entries.slice(at, 1);
                self.columns.entry(column, &entry, &mut |forms, value| {
                    is_suppressed |= self.list.cut_off(self.key, forms, value).is_some();
                })?;
                suppressed.append(is_suppressed);
            }
            known.suppressed.insert(suppressed.finish())
        };
        // The key of a null is any: that row is looked at then.
        Ok(suppressed.count_set_bits() == 0
            || array.keys().is_empty()
            || array
                .normalized_keys()
                .iter()
                .all(|key| *key < suppressed.len() && !suppressed.value(*key)))
    }
}

impl Dictionary {
    fn is_of(&self, array: &dyn AnyDictionaryArray) -> bool {
        Arc::ptr_eq(&self.entries, array.values())
    }
}

impl std::fmt::Debug for Filter<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Filter({} ids)", self.list.iter().len())
    }
}
