//! The exact rows of a shard that belong to a set of ids.
//!
//! ```text
//!   Wanted (canonical bytes -> ordinal of the id) ── hits of each id column, row group by row group
//!      ──> rows of the time window ──> Selection { rows of the shard, rows of each subject }
//! ```
//!
//! Memory: the hits of one row group, and the selected rows as a bitmap.

use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use roaring::RoaringBitmap;

use super::Shard;
use super::ids;
use super::roles::SubjectColumn;
use super::time::{self, TimeColumn};
use crate::error::{Error, FormatError, Result};
use crate::subject::{Form, SubjectId};

/// The ids that are looked for, by canonical bytes.
pub struct Wanted {
    sieve: Sieve,
    ordinals: HashMap<Form, HashMap<Vec<u8>, u32>>,
    /// For each ordinal, the subjects (by their place in the request) that it belongs to.
    subjects: Vec<Vec<u32>>,
    /// How many subjects there are.
    subject_count: usize,
}

/// What was selected in one shard.
#[derive(Debug, Clone, Default)]
pub struct Selection {
    /// Row numbers, counted in the shard.
    pub rows: RoaringBitmap,
    /// Rows of each subject, by its place in the request.
    pub of_subject: Vec<u64>,
    /// Whether the subject has any row here, also outside the window.
    pub is_held: Vec<bool>,
}

impl Wanted {
    /// `ids` with, for each, the subjects that it belongs to (by their place in the request).
    pub fn new(ids: &[SubjectId], subjects: Vec<Vec<u32>>, subject_count: usize) -> Self {
        let mut ordinals: HashMap<Form, HashMap<Vec<u8>, u32>> = HashMap::new();
        let mut merged: Vec<Vec<u32>> = Vec::new();
        for (id, of) in ids.iter().zip(subjects) {
            for form in Form::ALL {
                let Some(canonical) = id.canonical(form) else {
                    continue;
                };
                let next = u32::try_from(merged.len()).unwrap_or(u32::MAX);
                let ordinals = ordinals.entry(form).or_default();
                let ordinal = *ordinals.entry(canonical).or_insert(next);
                // Two ids can share a form (7 and 007 in a column of numbers): a hit belongs to both.
                match merged.get_mut(ordinal as usize) {
                    Some(all) => all.extend_from_slice(&of),
                    None => merged.push(of.clone()),
                }
            }
        }
        for all in &mut merged {
            all.sort_unstable();
            all.dedup();
        }
        Self {
            sieve: Sieve::of(ordinals.values().flat_map(HashMap::keys)),
            ordinals,
            subjects: merged,
            subject_count,
        }
    }

    /// Values in their canonical bytes, of no subject.
    pub(crate) fn of_values(values: impl IntoIterator<Item = (Form, Vec<u8>)>) -> Self {
        let mut ordinals: HashMap<Form, HashMap<Vec<u8>, u32>> = HashMap::new();
        for (form, canonical) in values {
            ordinals.entry(form).or_default().insert(canonical, 0);
        }
        Self {
            sieve: Sieve::of(ordinals.values().flat_map(HashMap::keys)),
            ordinals,
            subjects: Vec::new(),
            subject_count: 0,
        }
    }

    /// Every canonical form of every id.
    pub fn forms(&self) -> impl Iterator<Item = &[u8]> {
        let all = self.ordinals.values().flat_map(HashMap::keys);
        all.map(Vec::as_slice)
    }

    /// The subjects, by their place in the request, that the id with this ordinal belongs to.
    pub fn subjects_of(&self, ordinal: u32) -> &[u32] {
        let subjects = self.subjects.get(ordinal as usize);
        subjects.map_or(&[], Vec::as_slice)
    }

    /// The ordinal of a value of `column`, if it is wanted.
    fn ordinal(&self, column: &SubjectColumn, canonical: &[u8]) -> Option<u32> {
        if !self.sieve.may_hold(canonical) {
            return None;
        }
        let mut forms = column.forms().iter();
        forms.find_map(|form| self.ordinals.get(form)?.get(canonical).copied())
    }
}

/// Lets all wanted values through and few others, at a fraction of the price of a look-up.
struct Sieve {
    bits: Vec<u64>,
    /// Bits of a key that are not used.
    shift: u32,
}

impl Sieve {
    fn of<'a>(values: impl Iterator<Item = &'a Vec<u8>> + Clone) -> Self {
        const BITS_PER_VALUE: usize = 32;
        let count = values.clone().count().saturating_mul(BITS_PER_VALUE);
        let bits = count.clamp(1 << 12, 1 << 24).next_power_of_two();
        let mut sieve = Self {
            bits: vec![0; bits / 64],
            shift: u64::BITS - bits.trailing_zeros(),
        };
        for value in values {
            let (word, bit) = sieve.place(value);
            if let Some(word) = sieve.bits.get_mut(word) {
                *word |= bit;
            }
        }
        sieve
    }

    fn may_hold(&self, value: &[u8]) -> bool {
        let (word, bit) = self.place(value);
        self.bits.get(word).is_some_and(|word| word & bit != 0)
    }

    /// The word and the bit of a value, by its length, its first bytes and its last ones.
    fn place(&self, value: &[u8]) -> (usize, u64) {
        let ends = match (value.first_chunk::<8>(), value.last_chunk::<8>()) {
            (Some(first), Some(last)) => {
                u64::from_le_bytes(*first) ^ u64::from_le_bytes(*last).rotate_left(29)
            }
            _ => value
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        };
        let mixed = (ends ^ value.len() as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ mixed >> 32).wrapping_mul(0xD6E8_FEB8_6659_FD93);
        let place = mixed >> self.shift;
        (usize::try_from(place / 64).unwrap_or(0), 1 << (place % 64))
    }
}

impl Selection {
    /// What was selected in different row groups of one shard.
    pub fn union(parts: impl IntoIterator<Item = Self>) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.rows |= part.rows;
            let subjects = all.of_subject.len().max(part.of_subject.len());
            all.of_subject.resize(subjects, 0);
            all.is_held.resize(subjects, false);
            for (sum, rows) in all.of_subject.iter_mut().zip(part.of_subject) {
                *sum += rows;
            }
            for (any, is_held) in all.is_held.iter_mut().zip(part.is_held) {
                *any |= is_held;
            }
        }
        all
    }
}

impl std::fmt::Debug for Wanted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Wanted({} forms)", self.forms().count())
    }
}

/// Selects the rows of `shard` that belong to `wanted`, reading only the row groups `groups`; with
/// `window`, only those at or after that instant.
///
/// # Errors
/// [`NoSuchRowGroup`](Error::NoSuchRowGroup) when one of `groups` is not in the shard; when a page is damaged, or
/// pages and footer disagree on how many values there are.
pub fn select(
    shard: &Shard,
    groups: impl IntoIterator<Item = u32>,
    columns: &[SubjectColumn],
    wanted: &Wanted,
    window: Option<(&TimeColumn, Timestamp)>,
) -> Result<Selection> {
    let bases = shard.row_bases();
    let mut selection = Selection {
        rows: RoaringBitmap::new(),
        of_subject: vec![0; wanted.subject_count],
        is_held: vec![false; wanted.subject_count],
    };
    for number in groups {
        let number = number as usize;
        let (Some(group), Some(base)) = (shard.footer.row_groups().get(number), bases.get(number))
        else {
            return Err(Error::NoSuchRowGroup {
                path: shard.path.clone(),
                row_group: number,
                row_groups: shard.footer.row_groups().len(),
            });
        };
        let mut found = hits(shard, number, columns, wanted)?;
        let ordinals: BTreeSet<u32> = found.iter().map(|(_, ordinal)| *ordinal).collect();
        for subject in ordinals
            .into_iter()
            .flat_map(|ordinal| wanted.subjects_of(ordinal))
        {
            if let Some(is_held) = selection.is_held.get_mut(*subject as usize) {
                *is_held = true;
            }
        }
        if let Some((column, start)) = window {
            let mut rows: Vec<u32> = found.iter().map(|(row, _)| *row).collect();
            rows.dedup();
            let inside = time::inside(shard, number, column, &rows, start)?;
            found.retain(|(row, _)| inside.binary_search(row).is_ok());
        }
        for rows in found.chunk_by(|left, right| left.0 == right.0) {
            let Some((row, _)) = rows.first() else {
                continue;
            };
            if u64::from(*row) >= group.rows {
                return Err(FormatError::Contradiction {
                    what: format!("rows of row group {number} (by its id column)"),
                    claimed: group.rows,
                    counted: u64::from(*row) + 1,
                }
                .in_shard(&shard.path));
            }
            let row = u32::try_from(base + u64::from(*row)).map_err(|_| {
                FormatError::Unsupported {
                    feature: "a shard of more than 4,294,967,295 rows".into(),
                }
                .in_shard(&shard.path)
            })?;
            selection.rows.insert(row);
            let mut subjects: Vec<u32> = rows
                .iter()
                .flat_map(|(_, ordinal)| wanted.subjects_of(*ordinal))
                .copied()
                .collect();
            subjects.sort_unstable();
            subjects.dedup();
            for subject in subjects {
                if let Some(count) = selection.of_subject.get_mut(subject as usize) {
                    *count += 1;
                }
            }
        }
    }
    Ok(selection)
}

/// Which rows of a row group (counted in it) hold which wanted id, by its ordinal; sorted, each once.
///
/// # Errors
/// As [`select`].
pub fn hits(
    shard: &Shard,
    group: usize,
    columns: &[SubjectColumn],
    wanted: &Wanted,
) -> Result<Vec<(u32, u32)>> {
    let mut found: Vec<(u32, u32)> = Vec::new();
    let group = shard.footer.row_groups().get(group);
    for column in columns {
        let Some(chunk) = group.and_then(|group| group.chunks.get(column.leaf)) else {
            continue;
        };
        let mut judge = |value: &[u8]| wanted.ordinal(column, value);
        ids::hits(
            &shard.file,
            chunk,
            column,
            &mut judge,
            &mut |row, ordinal| {
                found.push((row, ordinal));
            },
        )
        .map_err(|error| error.in_shard(&shard.path))?;
    }
    found.sort_unstable();
    found.dedup();
    Ok(found)
}
