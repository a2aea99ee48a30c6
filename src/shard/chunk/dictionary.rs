//! Which entries of a chunk's dictionary only what goes refers to, and the dictionary without them.
//!
//! The entries that those rows refer to are looked for in what is left: first of the pages that lose rows,
//! then of the others, until each has been met again. Those that never are met are orphans.

use super::erasure::Erasure;
use super::faults::outside;
use super::page::{NewPage, OpenPage, Tools};
use super::survey::PageAt;
use super::{CACHED_VALUES_MAX, Result, Source};
use crate::error::FormatError;
use crate::parquet_bytes::dictionary::{Dictionary, Shrunk};
use crate::parquet_bytes::page::PageKind;
use crate::parquet_bytes::rle;
use crate::parquet_bytes::values::{PageValues, Physical};

/// The dictionary of a chunk that loses something.
#[derive(Default)]
pub(super) struct DictionaryEdit {
    dictionary: Option<Dictionary>,
    shrunk: Option<Shrunk>,
    /// By page: decoded already.
    cache: Vec<Option<OpenPage>>,
    /// By page: the largest index that stays.
    max_index: Vec<Option<u32>>,
    /// Entries that nothing refers to any more were found.
    has_orphans: bool,
    /// Whether a page that uses the dictionary is left.
    is_used: bool,
}

/// What becomes of the dictionary page.
pub(super) enum DictionaryFate {
    /// It stays as it is.
    Copied,
    /// It loses entries.
    New(NewPage),
    /// No page uses it any more.
    Gone,
}

impl DictionaryEdit {
    /// Finds the orphans that are left when `erasure` is done; with `scrub`, every entry that nothing refers
    /// to.
    pub(super) fn new(
        source: &Source<'_>,
        pages: &[PageAt],
        erasure: &Erasure<'_>,
        scrub: bool,
        tools: &mut Tools,
    ) -> Result<Self> {
        let mut edit = Self {
            cache: pages.iter().map(|_| None).collect(),
            max_index: vec![None; pages.len()],
            ..Self::default()
        };
        let users = || {
            pages
                .iter()
                .enumerate()
                .filter(|(_, page)| page.uses_dictionary())
        };
        edit.is_used = users().any(|(_, page)| {
            !erasure.takes_rows() || page.among(erasure.rows).len() < page.rows.len()
        });
        let is_touched = |page: &PageAt| !page.among(erasure.rows).is_empty();
        if !scrub && !users().any(|(_, page)| is_touched(page)) {
            return Ok(edit);
        }
        edit.load(source, pages, tools)?;
        let Some(entries) = edit.dictionary.as_ref().map(Dictionary::len) else {
            return Ok(edit);
        };
        let mut orphans = Orphans {
            is_candidate: vec![scrub; entries],
            left: if scrub { entries } else { 0 },
        };
        for (number, page) in users().filter(|(_, page)| is_touched(page)) {
            let open = OpenPage::read(source, page, erasure, edit.dictionary.as_mut(), tools)?;
            orphans.suspect(page, open.gone_indices())?;
            edit.put(source, number, open, tools);
        }
        // What was added is referred to.
        let extended = edit.dictionary.as_ref().map_or(entries, Dictionary::len);
        orphans.is_candidate.resize(extended, false);
        for (number, page) in users().filter(|(_, page)| is_touched(page)) {
            edit.meet(source, number, page, erasure, &mut orphans, tools)?;
        }
        for (number, page) in users().filter(|(_, page)| !is_touched(page)) {
            if orphans.left == 0 {
                break;
            }
            edit.meet(source, number, page, erasure, &mut orphans, tools)?;
        }
        edit.has_orphans = orphans.left > 0;
        if let Some(dictionary) = &edit.dictionary
            && (edit.has_orphans || dictionary.is_extended())
        {
            edit.shrunk = Some(dictionary.without(&orphans.is_candidate));
        }
        Ok(edit)
    }

    /// Decodes the dictionary, if there is one and it is not decoded yet.
    pub(super) fn load(
        &mut self,
        source: &Source<'_>,
        pages: &[PageAt],
        tools: &mut Tools,
    ) -> Result<()> {
        if self.dictionary.is_some() {
            return Ok(());
        }
        for page in pages {
            if let PageKind::Dictionary { values, sorted, .. } = page.header.kind {
                let body = tools.decompressed(source, page)?;
                let physical = Physical::of(source.descriptor);
                let entries =
                    PageValues::read(&page.header, physical, body, 0, values as usize, Vec::new())?;
                self.dictionary = Some(Dictionary::new(entries, sorted));
                return Ok(());
            }
        }
        match pages.iter().find(|page| page.uses_dictionary()) {
            None => Ok(()),
            Some(page) => Err(FormatError::Invalid {
                structure: "column chunk",
                offset: page.header.offset,
                found: "a page of dictionary indices".into(),
                expected: "a dictionary page in front of it",
            }),
        }
    }

    fn put(&mut self, source: &Source<'_>, number: usize, open: OpenPage, tools: &mut Tools) {
        match self.cache.get_mut(number) {
            Some(slot) if source.chunk.values <= CACHED_VALUES_MAX => *slot = Some(open),
            _ => tools.recycle(open),
        }
    }

    /// Looks for the candidates in what is left of a page.
    fn meet(
        &mut self,
        source: &Source<'_>,
        number: usize,
        page: &PageAt,
        erasure: &Erasure<'_>,
        orphans: &mut Orphans,
        tools: &mut Tools,
    ) -> Result<()> {
        let open = match self.take(number) {
            Some(open) => open,
            None => OpenPage::read(source, page, erasure, self.dictionary.as_mut(), tools)?,
        };
        let largest = orphans.meet(page, open.kept_indices())?;
        if let Some(slot) = self.max_index.get_mut(number) {
            *slot = largest;
        }
        self.put(source, number, open, tools);
        Ok(())
    }

    /// The page, if it is decoded already.
    pub(super) fn take(&mut self, number: usize) -> Option<OpenPage> {
        self.cache.get_mut(number)?.take()
    }

    /// The new indices for a page that refers to an entry that moves.
    pub(super) fn remap_of(&self, number: usize) -> Option<&[u32]> {
        let shrunk = self.shrunk.as_ref()?;
        let largest = self.max_index.get(number).copied().flatten()?;
        (largest >= shrunk.first_moved).then_some(shrunk.places.as_slice())
    }

    /// The entries, if they are decoded.
    pub(super) fn entries(&self) -> Option<&Dictionary> {
        self.dictionary.as_ref()
    }

    /// The entries that `page` refers to, if it does to some.
    pub(super) fn entries_of(&self, page: &PageAt) -> Option<&Dictionary> {
        self.dictionary.as_ref().filter(|_| page.uses_dictionary())
    }

    /// The entries, if they are decoded, to add to them.
    pub(super) fn entries_mut(&mut self) -> Option<&mut Dictionary> {
        self.dictionary.as_mut()
    }

    /// Whether entries go.
    pub(super) fn has_orphans(&self) -> bool {
        self.has_orphans
    }

    /// Whether entries go or come.
    pub(super) fn is_changed(&self) -> bool {
        self.shrunk.is_some()
    }

    /// Shows the entries that stay.
    pub(super) fn each_left(&self, see: &mut dyn FnMut(&[u8])) {
        let Some(dictionary) = self.dictionary.as_ref().filter(|_| self.is_used) else {
            return;
        };
        let all = 0..u32::try_from(dictionary.len()).unwrap_or(u32::MAX);
        let left: &mut dyn Iterator<Item = u32> = match &self.shrunk {
            Some(shrunk) => &mut shrunk.order().iter().copied(),
            None => &mut all.into_iter(),
        };
        left.filter_map(|entry| dictionary.get(entry)).for_each(see);
    }

    /// What becomes of the dictionary page.
    pub(super) fn page(
        &self,
        source: &Source<'_>,
        page: &PageAt,
        tools: &mut Tools,
    ) -> Result<DictionaryFate> {
        if !self.is_used {
            return Ok(DictionaryFate::Gone);
        }
        let (Some(shrunk), Some(dictionary)) = (&self.shrunk, &self.dictionary) else {
            return Ok(DictionaryFate::Copied);
        };
        let mut body = Vec::new();
        let left = dictionary.write(shrunk, &mut body);
        let mut kind = page.header.kind;
        if let PageKind::Dictionary { values, sorted, .. } = &mut kind {
            *values = left;
            *sorted &= dictionary.is_sorted();
        }
        NewPage::pack(source, page, kind, &body, 0, tools, |_| {}).map(DictionaryFate::New)
    }
}

/// The entries that rows that go refer to and that were not met again yet.
struct Orphans {
    is_candidate: Vec<bool>,
    left: usize,
}

impl Orphans {
    fn suspect<'a>(
        &mut self,
        page: &PageAt,
        indices: impl Iterator<Item = &'a [u32]>,
    ) -> Result<()> {
        for index in indices.flatten() {
            let slot = self.is_candidate.get_mut(*index as usize);
            let slot = slot.ok_or_else(|| outside(page, *index))?;
            self.left += usize::from(!*slot);
            *slot = true;
        }
        Ok(())
    }

    /// Returns the largest index.
    fn meet<'a>(
        &mut self,
        page: &PageAt,
        indices: impl Iterator<Item = &'a [u32]>,
    ) -> Result<Option<u32>> {
        let mut largest = None;
        for run in indices {
            if run.is_empty() {
                continue;
            }
            let most = rle::largest(run);
            if most as usize >= self.is_candidate.len() {
                return Err(outside(page, most));
            }
            largest = largest.max(Some(most));
            if self.left == 0 {
                continue;
            }
            for index in run {
                if let Some(slot @ true) = self.is_candidate.get_mut(*index as usize) {
                    *slot = false;
                    self.left -= 1;
                }
            }
        }
        Ok(largest)
    }
}
