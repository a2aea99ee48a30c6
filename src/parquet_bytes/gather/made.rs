//! A page in the making: levels and `PLAIN` values.

use bytes::Bytes;
use parquet::basic::{Encoding, Type};
use parquet::column::page::Page;
use parquet::schema::types::ColumnDescriptor;

use crate::parquet_bytes::levels::{self, Levels};
use crate::parquet_bytes::page::PageKind;
use crate::parquet_bytes::rle;

/// The page in the making.
#[derive(Default)]
pub(super) struct Made {
    pub(super) levels: Levels,
    pub(super) values: Vec<u8>,
    booleans: Vec<u32>,
    pub(super) entries: usize,
    pub(super) nulls: usize,
    pub(super) rows: usize,
}

impl Made {
    /// Appends a value, as `PLAIN` has it but without a length.
    pub(super) fn push(&mut self, value: &[u8], physical: Type) {
        match physical {
            Type::BOOLEAN => self
                .booleans
                .push(value.first().copied().unwrap_or(0).into()),
            Type::BYTE_ARRAY => {
                // A value is shorter than its page, which is shorter than 2 GiB.
                let len = u32::try_from(value.len()).unwrap_or(u32::MAX);
                self.values.extend_from_slice(&len.to_le_bytes());
                self.values.extend_from_slice(value);
            }
            _ => self.values.extend_from_slice(value),
        }
    }

    /// The page; this is empty then.
    pub(super) fn page(&mut self, column: &ColumnDescriptor) -> Page {
        let (max_repetition, max_definition) = (column.max_rep_level(), column.max_def_level());
        let narrow = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let kind = PageKind::V2 {
            values: narrow(self.entries),
            nulls: narrow(self.nulls),
            rows: narrow(self.rows),
            encoding: Encoding::PLAIN,
            definition_len: 0,
            repetition_len: 0,
            compressed: false,
        };
        let mut bytes = Vec::with_capacity(self.values.len() + self.entries / 4 + 64);
        let (repetition, definition) = levels::write(
            &self.levels,
            self.entries,
            kind,
            max_repetition,
            max_definition,
            &mut bytes,
        );
        bytes.extend_from_slice(&self.values);
        rle::pack(&self.booleans, 1, &mut bytes);
        let page = Page::DataPageV2 {
            buf: Bytes::from(bytes),
            num_values: narrow(self.entries),
            encoding: Encoding::PLAIN,
            num_nulls: narrow(self.nulls),
            num_rows: narrow(self.rows),
            def_levels_byte_len: narrow(definition),
            rep_levels_byte_len: narrow(repetition),
            is_compressed: false,
            statistics: None,
        };
        self.levels.repetition.clear();
        self.levels.definition.clear();
        self.values.clear();
        self.booleans.clear();
        (self.entries, self.nulls, self.rows) = (0, 0, 0);
        page
    }
}
