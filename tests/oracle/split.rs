//! Pages that begin inside of a row, as old writers made them: no writer at hand does any more.

use std::fs::{self, File};
use std::io::Write;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use efface::file_system::FileSystem;
use efface::file_system::disk::Disk;
use efface::parquet_bytes::footer::{Footer, MAGIC, chunk, column, file, row_group};
use efface::parquet_bytes::levels::{self, Levels};
use efface::parquet_bytes::page::{PageHeader, PageKind};
use efface::parquet_bytes::page_walk::PageWalk;
use efface::parquet_bytes::thrift::{List, Struct, Value};
use efface::parquet_bytes::values::{PageValues, Physical};

/// Splits every data page of an uncompressed file of version 1 into pages of `every` entries, and drops its page
/// index and bloom filters.
pub(crate) fn split_pages(path: &Path, every: usize) {
    let bytes = fs::read(path).unwrap();
    let name = path.file_name().unwrap().to_str().unwrap();
    let source = Disk::new(path.parent().unwrap()).open(name).unwrap();
    let footer = Footer::read(&*source).unwrap();
    let mut out = MAGIC.to_vec();
    let mut tree = footer.tree().clone();
    let mut groups = Vec::new();
    for (number, group) in footer.row_groups().iter().enumerate() {
        let mut chunks = Vec::new();
        for (leaf, source_chunk) in group.chunks.iter().enumerate() {
            let mut of = footer.chunk_tree(number, leaf).unwrap().clone();
            let descriptor = &footer.schema().columns()[leaf];
            let max = (descriptor.max_rep_level(), descriptor.max_def_level());
            let start = out.len();
            let (mut dictionary, mut data) = (None, None);
            let mut walk = PageWalk::new(Arc::clone(&source), source_chunk.range.clone());
            while let Some(header) = walk.peek().unwrap() {
                let from = usize::try_from(header.offset).unwrap();
                let to = usize::try_from(header.end()).unwrap();
                let body = walk.body(&header).unwrap().to_vec();
                let at = i64::try_from(out.len()).unwrap();
                if header.kind.data_values().is_some() {
                    data.get_or_insert(at);
                    split_page(
                        &header,
                        &body,
                        max,
                        Physical::of(descriptor),
                        every,
                        &mut out,
                    );
                } else {
                    dictionary.get_or_insert(at);
                    out.extend_from_slice(&bytes[from..to]);
                }
                walk.skip(&header);
            }
            for field in 4..=7 {
                of.remove(field);
            }
            let len = Value::I64(i64::try_from(out.len() - start).unwrap());
            let meta = of.structure_mut(chunk::META_DATA).unwrap();
            meta.set(column::DATA_PAGE_OFFSET, Value::I64(data.unwrap()));
            meta.set_or_remove(column::DICTIONARY_PAGE_OFFSET, dictionary.map(Value::I64));
            meta.set(column::TOTAL_COMPRESSED_SIZE, len.clone());
            meta.set(column::TOTAL_UNCOMPRESSED_SIZE, len);
            for field in [
                column::BLOOM_FILTER_OFFSET,
                column::BLOOM_FILTER_LENGTH,
                column::ENCODING_STATS,
            ] {
                meta.remove(field);
            }
            chunks.push(of);
        }
        let mut group = footer.row_group_tree(number).unwrap().clone();
        group.set(row_group::COLUMNS, Value::List(List::of_structs(chunks)));
        group.remove(row_group::FILE_OFFSET);
        groups.push(group);
    }
    tree.set(file::ROW_GROUPS, Value::List(List::of_structs(groups)));
    let footer = tree.to_bytes();
    out.extend_from_slice(&footer);
    out.extend_from_slice(&u32::try_from(footer.len()).unwrap().to_le_bytes());
    out.extend_from_slice(&MAGIC);
    File::create(path).unwrap().write_all(&out).unwrap();
}

fn split_page(
    header: &PageHeader,
    body: &[u8],
    max: (i16, i16),
    physical: Physical,
    every: usize,
    out: &mut Vec<u8>,
) {
    let mut all = Levels::default();
    let values = all.read(header, body, max.0, max.1).unwrap();
    let entries = header.kind.data_values().unwrap() as usize;
    let is_value = |entry: usize| {
        all.definition
            .get(entry)
            .is_none_or(|level| i64::from(*level) == i64::from(max.1))
    };
    let count = |entries: Range<usize>| entries.filter(|entry| is_value(*entry)).count();
    let at = body.len() - values.len();
    let values = PageValues::read(
        header,
        physical,
        body.to_vec(),
        at,
        count(0..entries),
        Vec::new(),
    )
    .unwrap();
    for from in (0..entries).step_by(every) {
        let to = entries.min(from + every);
        let part = |levels: &[u32]| levels.get(from..to).unwrap_or_default().to_vec();
        let levels = Levels {
            repetition: part(&all.repetition),
            definition: part(&all.definition),
        };
        let mut kind = header.kind;
        let PageKind::V1 {
            values: of_page,
            encoding,
            ..
        } = &mut kind
        else {
            panic!("a page of version 1");
        };
        *of_page = u32::try_from(to - from).unwrap();
        let encoding = *encoding;
        let mut body = Vec::new();
        levels::write(&levels, to - from, kind, max.0, max.1, &mut body);
        let first = count(0..from);
        let range = first..first + count(from..to);
        values.write(encoding, &[range], None, &mut body);
        let len = u32::try_from(body.len()).unwrap();
        let new = PageHeader {
            kind,
            compressed_len: len,
            uncompressed_len: len,
            crc: None,
            ..*header
        };
        out.extend_from_slice(&new.to_tree(Struct::default()).to_bytes());
        out.extend_from_slice(&body);
    }
}
