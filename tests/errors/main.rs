//! What errors tell whoever gets them: what to do, and what is wrong with a call, in the words of the library.

mod literals;

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::error::ArrowError;
use efface::file_system::{Access, FileSystem};
use efface::shard::rewrite::{RewriteOptions, rewrite};
use efface::shard::roles::Roles;
use efface::shard::select::{Wanted, select};
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
    let shard = Shard::new("a.parquet", disk.open("a.parquet").unwrap()).unwrap();

    let mut new = disk.create("b.parquet", Access::State(None)).unwrap();
    let options = RewriteOptions::default();
    let error = rewrite(&shard, &[1, 2].into(), &mut *new.sink, &options).unwrap_err();
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

/// The commands of the command `efface`, which may be linked to a service that has none.
const COMMANDS: [&str; 15] = [
    "init", "index", "inspect", "plan", "export", "delete", "submit", "status", "cancel",
    "compact", "receipts", "suppress", "verify", "rewrite", "demo",
];

/// The first words of a string that only a user of the command understands.
fn command_line(string: &str) -> Option<&str> {
    let begins_word = |at: usize| {
        let before = string[..at].chars().next_back();
        before.is_none_or(|before| before.is_whitespace() || "(`'=".contains(before))
    };
    let flags = string.match_indices("--").filter(|(at, _)| {
        let next = string[at + 2..].chars().next();
        begins_word(*at) && next.is_some_and(|next| next.is_ascii_lowercase())
    });
    let commands = string.match_indices("efface ").filter(|(at, efface)| {
        let next = &string[at + efface.len()..];
        let is_command = |command: &&str| {
            let after = next.strip_prefix(command);
            after.is_some_and(|after| !after.starts_with(|next: char| next.is_alphanumeric()))
        };
        begins_word(*at) && COMMANDS.iter().any(is_command)
    });
    let first = flags.chain(commands).map(|(at, _)| at).min();
    first.map(|at| &string[at..])
}

/// The Rust files below `directory` that are no tests.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let is_of_tests = path.file_stem().is_some_and(|name| name == "tests");
        if path.is_dir() && !is_of_tests {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") && !is_of_tests {
            files.push(path);
        }
    }
    files
}

#[test]
fn no_string_of_the_library_speaks_the_language_of_the_command_line() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let files = sources(&root);
    let (mut found, mut seen) = (Vec::new(), 0);
    for file in &files {
        let text = fs::read_to_string(file).unwrap();
        for (line, string) in literals::strings(&text) {
            seen += 1;
            // What a plan's digest begins with, and its version, which nobody is shown.
            let is_salt = |string: &str| {
                let version = string.strip_prefix("efface plan ");
                version.is_some_and(|version| version.parse::<u32>().is_ok())
            };
            if let Some(words) = command_line(string).filter(|_| !is_salt(string)) {
                let file = file.strip_prefix(&root).unwrap().display();
                found.push(format!("{file}:{line}: {words}"));
            }
        }
    }
    assert!(
        files.len() > 100 && seen > 500,
        "{} files, {seen} strings",
        files.len()
    );
    assert!(
        found.is_empty(),
        "say it in the words of fields, and give the command a hint:\n{}",
        found.join("\n")
    );
}

#[test]
fn planted_flags_and_commands_are_found_in_strings_only() {
    let found = |text: &str| -> Vec<(usize, String)> {
        let strings = literals::strings(text).into_iter();
        strings
            .filter_map(|(line, string)| Some((line, command_line(string)?.to_owned())))
            .collect()
    };
    for (text, words) in [
        (
            r#"#[error("too many (--max-match raises it)")] Over,"#,
            "--max-match raises it)",
        ),
        (r#"option: "--since","#, "--since"),
        (r#"f('"', "say --time\n")"#, r"--time\n"),
        (
            r##"let s = r#"use "it": `efface rewrite`"#;"##,
            "efface rewrite`",
        ),
        (r#"b"efface compact""#, "efface compact"),
        (r#"fn f<'a>(s: &'a str) { g("a \" --b") }"#, "--b"),
        ("\"use \\\n   --unknown report\"", "--unknown report"),
    ] {
        assert_eq!(found(text), [(1, words.to_owned())], "{text}");
    }
    for text in [
        "// \"--since\"\n/// \"efface rewrite\"\n/* \"--time\" */",
        r#"style = "a style=\"--columns:{n}\" b""#,
        r#""a -- b", "x--y", "another efface (pid 1)", "efface planned""#,
        "#[cfg(test)]\nmod tests { const FLAG: &str = \"--since\"; }",
    ] {
        assert_eq!(found(text), [], "{text}");
    }
    assert_eq!(found("one\n\n\"--two\"")[0].0, 3);
}
