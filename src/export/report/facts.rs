//! What a page says of a subject besides the rows.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::{DataType, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::export::cells::Cells;
use crate::export::edit::text_bytes;
use crate::export::headers::{Column, Columns, Counts, Role, is_text};
use crate::export::json::encoder_options;
use crate::export::presence::array_at;
use crate::export::when::When;
use crate::shard::json::each_member;

/// Names of the column that says what happened, the first that there is.
const EVENT_NAMES: [&str; 5] = [
    "event",
    "event_name",
    "$event_name",
    "mp_event_name",
    "event_type",
];

/// Different events that are counted separately; further ones are counted together.
const EVENTS_MAX: usize = 500;

/// Different values of a source that are listed; further ones are left out.
const VALUES_MAX: usize = 200;

/// Characters of a value that are kept.
const VALUE_CHARS: usize = 200;

/// A month of the calendar.
pub(in crate::export) type Month = (i16, i8);

/// What is known of a subject's rows.
#[derive(Debug, Default)]
pub(in crate::export) struct Facts {
    /// The first and the last time.
    pub(in crate::export) time: Option<[Timestamp; 2]>,
    pub(super) counts: Counts,
    /// The rows of each event in each month.
    pub(super) events: BTreeMap<String, BTreeMap<Month, u64>>,
    /// Rows without a time.
    pub(super) undated: u64,
    /// The values of each source (a column or a key), with how often each occurs.
    pub(super) sources: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Facts {
    /// Adds rows of the subject; with `has_details` also what happened when, and the sources.
    ///
    /// # Errors
    /// When a column can't be read as what it should be.
    pub(in crate::export) fn add(
        &mut self,
        batch: &RecordBatch,
        columns: &mut Columns,
        when: Option<&When>,
        has_details: bool,
    ) -> Result<(), ArrowError> {
        let seen = columns.look(batch, has_details)?;
        let rows: Vec<usize> = (0..batch.num_rows()).collect();
        self.counts.add(&seen, &rows);
        let instants = match when {
            Some(when) => when.instants(batch)?,
            None => vec![None; batch.num_rows()],
        };
        for instant in instants.iter().flatten() {
            let [first, last] = self.time.get_or_insert([*instant; 2]);
            (*first, *last) = ((*first).min(*instant), (*last).max(*instant));
        }
        if has_details {
            self.count_events(batch, &instants)?;
            for column in &columns.listed {
                self.sample(batch, columns, column)?;
            }
        }
        Ok(())
    }

    /// The columns that hold a value.
    pub(in crate::export) fn held_columns(&self, columns: &Columns) -> Vec<String> {
        let counted = columns.listed.iter().zip(self.counts.columns());
        let held = counted.filter(|(_, rows)| **rows > 0);
        held.map(|(column, _)| column.path.clone()).collect()
    }

    fn count_events(
        &mut self,
        batch: &RecordBatch,
        instants: &[Option<Timestamp>],
    ) -> Result<(), ArrowError> {
        let names = match event_column(batch.schema_ref()) {
            Some(place) => Some(text_bytes(batch.column(place))?),
            None => None,
        };
        for (row, instant) in instants.iter().enumerate() {
            let name = match &names {
                Some(names) if names.is_valid(row) => short(names.value(row)),
                _ => String::new(),
            };
            let is_known = self.events.len() < EVENTS_MAX || self.events.contains_key(&name);
            let name = if is_known {
                name
            } else {
                "other events".to_owned()
            };
            let months = self.events.entry(name).or_default();
            match instant {
                Some(instant) => {
                    let day = instant.to_zoned(TimeZone::UTC).date();
                    *months.entry((day.year(), day.month())).or_default() += 1;
                }
                None => self.undated += 1,
            }
        }
        Ok(())
    }

    fn sample(
        &mut self,
        batch: &RecordBatch,
        columns: &Columns,
        column: &Column,
    ) -> Result<(), ArrowError> {
        let (Some(array), is_there) = array_at(batch, &column.place) else {
            return Ok(());
        };
        let is_there =
            |row: usize| is_there.get(row).copied().unwrap_or(false) && array.is_valid(row);
        let is_source = |key: &str| columns.is_source_key(column, key);
        match array.data_type() {
            DataType::Map(..) if column.has_keys() => {
                let map = array.as_map();
                let keys = text_bytes(map.keys())?;
                let values = texts(map.values())?;
                for (row, range) in map.offsets().windows(2).enumerate() {
                    let [start, end] = range else { continue };
                    let range =
                        usize::try_from(*start).unwrap_or(0)..usize::try_from(*end).unwrap_or(0);
                    for at in range.filter(|_| is_there(row)) {
                        let key = String::from_utf8_lossy(keys.value(at));
                        if let Some(value) = values.get(at).filter(|_| is_source(&key)) {
                            self.saw(format!("{}.{key}", column.path), value);
                        }
                    }
                }
            }
            _ if column.has_keys() => {
                let objects = text_bytes(&array)?;
                for row in (0..array.len()).filter(|row| is_there(*row)) {
                    // Text that is no object has no keys.
                    let _no_object = each_member(objects.value(row), |key, value| {
                        if is_source(key) && value != b"null" {
                            let value = String::from_utf8_lossy(value);
                            self.saw(format!("{}.{key}", column.path), value.trim_matches('"'));
                        }
                    });
                }
            }
            _ if column.role == Role::Source => {
                let values = texts(&array)?;
                for (_, value) in values.iter().enumerate().filter(|(row, _)| is_there(*row)) {
                    self.saw(column.path.clone(), value);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn saw(&mut self, source: String, value: &str) {
        let values = self.sources.entry(source).or_default();
        let value = short(value.as_bytes());
        if values.len() < VALUES_MAX || values.contains_key(&value) {
            *values.entry(value).or_default() += 1;
        }
    }
}

fn event_column(schema: &Schema) -> Option<usize> {
    let found = EVENT_NAMES
        .iter()
        .find_map(|name| schema.column_with_name(name));
    let (place, _) = found.filter(|(_, field)| is_text(field.data_type()))?;
    Some(place)
}

/// The values of an array as text.
fn texts(array: &ArrayRef) -> Result<Vec<String>, ArrowError> {
    let batch = RecordBatch::try_from_iter_with_nullable([("value", array.clone(), true)])?;
    let options = encoder_options();
    let mut cells = Cells::of(&batch, &options)?;
    let text = |row| {
        let mut text = String::new();
        cells.push(row, 0, &mut text);
        text
    };
    Ok((0..array.len()).map(text).collect())
}

fn short(value: &[u8]) -> String {
    let text = String::from_utf8_lossy(value);
    match text.char_indices().nth(VALUE_CHARS) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text.into_owned(),
    }
}
