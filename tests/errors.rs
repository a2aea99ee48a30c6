//! What errors tell whoever gets them: what to do, and what is wrong with a call.

use std::fs::File;
use std::io;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::error::ArrowError;
use efface::shard::rewrite::{RewriteOptions, rewrite};
use efface::shard::roles::Roles;
use efface::shard::select::{Wanted, select};
use efface::storage::Storage;
use efface::{Disk, Error, ErrorKind, FormatError, Shard, SubjectId};
use parquet::arrow::ArrowWriter;

#[test]
fn what_a_network_says_is_no_fault_of_the_file_system() {
    for (error, kind) in [
        (io::ErrorKind::TimedOut, ErrorKind::Unavailable),
        (io::ErrorKind::ConnectionRefused, ErrorKind::Unavailable),
        (io::ErrorKind::ConnectionReset, ErrorKind::Unavailable),
        (io::ErrorKind::NetworkUnreachable, ErrorKind::Unavailable),
        (io::ErrorKind::PermissionDenied, ErrorKind::Io),
        (io::ErrorKind::StorageFull, ErrorKind::Io),
        (io::ErrorKind::NotFound, ErrorKind::Io),
    ] {
        let source = || io::Error::from(error);
        let read = FormatError::Read {
            offset: 4,
            source: source(),
        };
        let arrow = ArrowError::IoError("reading".to_owned(), source());
        for told in [
            Error::io("read", "a.parquet")(source()),
            read.in_shard("a.parquet"),
            Error::arrow("reading")(arrow),
        ] {
            assert_eq!(told.kind(), kind, "{told}");
        }
    }
}

#[test]
fn a_broken_invariant_asks_for_a_report_and_a_cancelled_call_for_nothing() {
    let broken = Error::Internal {
        path: "a.parquet".to_owned(),
        invariant: "a row group was lost",
    };
    assert_eq!(broken.kind(), ErrorKind::Internal);
    let says = broken.to_string();
    assert!(says.contains("report") && !says.contains("again"), "{says}");
    assert_eq!(Error::Cancelled.kind(), ErrorKind::Cancelled);
}

#[test]
fn rows_and_row_groups_that_a_shard_lacks_are_errors_of_the_call() {
    let dir = tempfile::tempdir().unwrap();
    let ids: ArrayRef = Arc::new(StringArray::from(vec!["ada", "bob"]));
    let events = RecordBatch::try_from_iter([("distinct_id", ids)]).unwrap();
    let file = File::create(dir.path().join("a.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, events.schema(), None).unwrap();
    writer.write(&events).unwrap();
    writer.close().unwrap();
    let disk = Disk::new(dir.path());
    let shard = Shard::open(&disk, "a.parquet").unwrap();

    let mut sink = disk.create("b.parquet", None).unwrap();
    let options = RewriteOptions::default();
    let error = rewrite(&shard, &[1, 2].into(), &mut *sink, &options).unwrap_err();
    assert!(matches!(
        &error,
        Error::NoSuchRow { path, row: 2, rows: 2 } if path == "a.parquet"
    ));
    assert_eq!(error.kind(), ErrorKind::Usage);

    let columns = Roles::default().subjects(&shard).unwrap();
    let wanted = Wanted::new(&[SubjectId::new("ada")], vec![vec![0]], 1);
    let error = select(&shard, [0, 1], &columns, &wanted, None).unwrap_err();
    assert!(matches!(
        &error,
        Error::NoSuchRowGroup { path, row_group: 1, row_groups: 1 } if path == "a.parquet"
    ));
    assert_eq!(error.kind(), ErrorKind::Usage);
}
