//! Every byte of a file, decompressed by the `parquet` crate's page reader, which the rewriting code doesn't use.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::file::serialized_reader::SerializedPageReader;

/// Every decompressed page of a file, and the file's own bytes.
pub(crate) fn haystacks(path: &Path) -> Vec<(String, Vec<u8>)> {
    let file = Arc::new(File::open(path).unwrap());
    let reader = SerializedFileReader::new(File::open(path).unwrap()).unwrap();
    let mut all = vec![("file".to_owned(), fs::read(path).unwrap())];
    for (number, group) in reader.metadata().row_groups().iter().enumerate() {
        for column in group.columns() {
            let rows = usize::try_from(group.num_rows()).unwrap();
            let pages = SerializedPageReader::new(Arc::clone(&file), column, rows, None).unwrap();
            for page in pages {
                let page = page.unwrap();
                let place = format!(
                    "row group {number}, {}, {:?}",
                    column.column_path(),
                    page.page_type()
                );
                all.push((place, page.buffer().to_vec()));
            }
        }
    }
    all
}

/// Where `needle` is.
pub(crate) fn found(haystacks: &[(String, Vec<u8>)], needle: &[u8]) -> Vec<String> {
    haystacks
        .iter()
        .filter(|(_, bytes)| bytes.windows(needle.len()).any(|window| window == needle))
        .map(|(place, _)| place.clone())
        .collect()
}

/// Every file below a directory.
pub(crate) fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(walk(&path));
        } else {
            files.push(path);
        }
    }
    files
}
