//! What the ids of a request may look like, and what they cover.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::process::Stdio;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, AsArray, Int64Array, NullArray, RecordBatch, StringArray, UInt64Array,
};
use arrow::datatypes::Int64Type;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::{Value, json};

use crate::lake::{
    Event, Lake, MARK, PEOPLE, Run, SHARDS, one_document, person, strings, write_parquet,
};

/// Rows of each of the people in [`Lake::new`].
const ROWS_EACH: usize = 12;

/// The people of whom an export with these options writes all rows.
#[track_caller]
fn exported(lake: &Lake, options: &[&str]) -> BTreeSet<String> {
    let mut words = options.to_vec();
    words.extend(["-o", "rows.parquet"]);
    let report = lake.json("export", &words);
    let rows = strings(&lake.beside("rows.parquet"), "distinct_id");
    assert_eq!(report["rows"], rows.len());
    let people: BTreeSet<String> = rows.into_iter().flatten().collect();
    assert_eq!(report["rows"], people.len() * ROWS_EACH, "{options:?}");
    people
}

/// The people with these numbers.
fn people(numbers: impl IntoIterator<Item = usize>) -> BTreeSet<String> {
    numbers.into_iter().map(person).collect()
}

/// An id that has no rows.
fn other(name: &str) -> String {
    format!("{MARK}{name}")
}

#[test]
fn an_ids_file_may_be_written_in_many_ways() {
    let lake = Lake::new();
    for text in [
        "person~01\nperson~02\n",
        "person~01\nperson~02",
        "person~01\r\nperson~02\r\n",
        "person~02\n\n\r\nperson~01\n\n",
        "distinct_id\nperson~01\nperson~02\n",
        "\n\ndistinct_id\nperson~01\nperson~02\n",
        "$distinct_id\nperson~01\nperson~02\n",
        "name, Distinct_ID \nAda,person~01\nBob,person~02\n",
        "mp_distinct_id\nperson~01\nperson~02\n",
        "\u{feff}person~01\nperson~02\n",
        "\u{feff}distinct_id\r\nperson~01\r\nperson~02\r\n",
        "\u{feff}\"distinct_id\"\r\n\"person~01\"\r\n\"person~02\"\r\n",
        "name,distinct_id\nAda,person~01\n\"Bob, called \"\"B\"\"\",person~02\n",
        "distinct_id,name\nperson~01,\nperson~02,\"two\nlines\"\n",
        "distinct_id\nperson~01\nperson~02\nperson~01\nperson~02\nperson~02\n",
    ] {
        let path = lake.note("ids.csv", text);
        assert_eq!(
            exported(&lake, &["--ids", &path]),
            people([1, 2]),
            "{text:?}"
        );
    }
    let path = lake.note(
        "ids.csv",
        "\u{feff}name,distinct_id\r\nAda,\"person~07\"\r\n\r\n",
    );
    assert_eq!(
        lake.json("delete", &["--ids", &path])["rows_removed"],
        ROWS_EACH
    );
    assert_eq!(
        lake.people(),
        people((0..PEOPLE).filter(|number| *number != 7))
    );
}

#[test]
fn an_ids_file_whose_column_is_not_said_is_refused_and_nobody_is_erased() {
    let lake = Lake::new();
    let before = lake.snapshot();
    for (text, because) in [
        ("person~01,person~02\n", "2 columns"),
        ("manager,user\nperson~01,person~02\n", "2 columns"),
        ("manager;distinct_id\nperson~01;person~02\n", "semicolons"),
        ("person~01\tperson~02\n", "tabs"),
    ] {
        let path = lake.note("ids.csv", text);
        for command in ["delete", "plan"] {
            let run = lake.run(command, &["--ids", &path]);
            assert_eq!(run.status, 3, "{text:?}");
            assert!(run.stderr.contains(because), "{}", run.stderr);
        }
        let mut left = lake.snapshot();
        left.remove(&lake.beside("ids.csv"));
        assert_eq!(left, before);
    }
    // The id begins with a blank, and ids are compared exactly.
    let path = lake.note("ids.csv", "manager, distinct_id\nperson~01, person~02\n");
    let run = lake.run("delete", &["--ids", &path]);
    assert_eq!(run.status, 3);
    assert!(run.stderr.contains("position 1"), "{}", run.stderr);
    let path = lake.note("ids.csv", "manager,user\nperson~01,person~02\n");
    let options = ["--ids", &path, "--ids-column", "user"];
    assert_eq!(lake.json("delete", &options)["rows_removed"], ROWS_EACH);
    assert!(lake.people().contains(&person(1)));
    assert!(!lake.people().contains(&person(2)));
}

#[test]
fn ids_can_come_from_standard_input() {
    let lake = Lake::new();
    let words = lake.words("plan", &["--ids", "-", "--json"]);
    let mut child = lake
        .command(&words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input
        .write_all(b"distinct_id\nperson~01\nperson~03\n")
        .unwrap();
    drop(input);
    let run = Run::of(child.wait_with_output().unwrap());
    assert_eq!(run.status, 0, "{}", run.stderr);
    assert_eq!(one_document(&run.stdout)["rows"], 2 * ROWS_EACH);
}

#[test]
fn positions_count_the_options_first_and_then_the_file() {
    let lake = Lake::new();
    let path = lake.note(
        "ids.csv",
        "distinct_id\nperson~02\nperson~none\nperson~01\nperson~03\n",
    );
    let options = ["--ids", &path, "--id", &person(1), "--id", &other("nobody")];
    let subjects = lake.json("plan", &options)["subjects"].take();
    let subject =
        |position, found, rows| json!({"position": position, "found": found, "rows": rows});
    let expected = json!([
        subject(1, true, ROWS_EACH),
        subject(2, false, 0),
        subject(3, true, ROWS_EACH),
        subject(4, false, 0),
        // The fifth was given before.
        subject(6, true, ROWS_EACH),
    ]);
    assert_eq!(subjects, expected);
}

#[test]
fn an_id_may_be_any_text() {
    let lake = Lake::new();
    let odd = [
        " person~ ",
        "person~a,b",
        "person~\"quoted\"",
        "person~two\nlines",
        "-person~",
        "--id=person~",
        "person~é\u{1F600}",
        "person~0\0",
        "distinct_id person~",
    ];
    let ids: Vec<String> = odd.into_iter().map(str::to_owned).collect();
    let event = |id: &String| Event {
        who: Some(id.clone()),
        device: other("device-1"),
        time_us: None,
    };
    lake.add_shard("odd.parquet", &ids.iter().map(event).collect::<Vec<_>>());
    let quoted = |id: &String| format!("\"{}\"\n", id.replace('"', "\"\""));
    let path = lake.note("ids.csv", ids.iter().map(quoted).collect::<String>());
    assert_eq!(lake.json("plan", &["--ids", &path])["rows"], ids.len());
    for id in ids.iter().filter(|id| !id.contains('\0')) {
        let plan = lake.json("plan", &["--id", id]);
        assert_eq!(plan["rows"], 1, "{id:?}");
    }
    assert_eq!(
        lake.json("delete", &["--ids", &path])["rows_removed"],
        ids.len()
    );
    assert_eq!(lake.people(), people(0..PEOPLE));
}

#[test]
fn numbers_are_found_by_their_value() {
    let lake = Lake::without_shards();
    let numbers = Int64Array::from(vec![
        Some(42),
        Some(-7),
        None,
        Some(0),
        Some(i64::MIN),
        Some(9),
    ]);
    let large = UInt64Array::from(vec![
        Some(u64::MAX),
        None,
        Some(1),
        Some(2),
        Some(3),
        Some(4),
    ]);
    let columns: [(&str, ArrayRef); 2] =
        [("distinct_id", Arc::new(numbers)), ("big", Arc::new(large))];
    let shard = lake.at("a.parquet");
    write_parquet(&shard, &RecordBatch::try_from_iter(columns).unwrap());
    for id in [
        "42",
        "042",
        "+42",
        "42.0",
        "-7",
        "0",
        "-0",
        "-9223372036854775808",
    ] {
        let id = format!("--id={id}");
        assert_eq!(lake.json("plan", &[&id])["rows"], 1, "{id}");
    }
    let big = ["--subject", "big", "--id", "18446744073709551615"];
    assert_eq!(lake.json("plan", &big)["rows"], 1);
    for id in [
        "4",
        "42x",
        "42.5",
        " 42",
        "4_2",
        "0x2a",
        "18446744073709551616",
        "null",
        "",
    ] {
        let id = format!("--id={id}");
        assert_eq!(lake.run("delete", &[&id]).status, 3, "{id}");
    }
    let path = lake.note("ids.csv", "distinct_id\n0042\n-7\n");
    assert_eq!(lake.json("delete", &["--ids", &path])["rows_removed"], 2);
    let mut reader = ParquetRecordBatchReaderBuilder::try_new(File::open(shard).unwrap())
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .unwrap();
    let left = reader.next().unwrap().unwrap();
    let left: Vec<_> = left.column(0).as_primitive::<Int64Type>().iter().collect();
    assert_eq!(left, [None, Some(0), Some(i64::MIN), Some(9)]);
}

/// Links that no test but those of aliases has.
///
/// ```text
///   crm ──> laptop ──> person 1 <── phone ──> person 3     person 4 ──> person 5
///                                              person 6 <──> person 7
/// ```
fn links() -> Vec<(String, String)> {
    vec![
        (other("crm"), other("laptop")),
        (other("laptop"), person(1)),
        (other("phone"), person(1)),
        (other("phone"), person(3)),
        (person(4), person(5)),
        (person(6), person(7)),
        (person(7), person(6)),
    ]
}

fn link_csv(header: &str) -> String {
    let lines = links()
        .into_iter()
        .map(|(alias, id)| format!("{alias},{id}\n"));
    format!("{header}\n{}", lines.collect::<String>())
}

fn link_batch() -> RecordBatch {
    let (aliases, ids): (Vec<_>, Vec<_>) = links().into_iter().unzip();
    let columns: [(&str, ArrayRef); 2] = [
        ("alias", Arc::new(StringArray::from(aliases))),
        ("distinct_id", Arc::new(StringArray::from(ids))),
    ];
    RecordBatch::try_from_iter(columns).unwrap()
}

#[test]
fn an_alias_covers_what_the_identity_option_says() {
    let lake = Lake::new();
    let as_csv = lake.note("aliases.csv", link_csv("alias,distinct_id"));
    write_parquet(&lake.beside("aliases.parquet"), &link_batch());
    let nobody: [usize; 0] = [];
    for table in [as_csv.as_str(), "../aliases.parquet"] {
        for (id, identity, covered, left_out) in [
            (other("crm"), "forward", &[1][..], 1),
            (other("laptop"), "forward", &[1], 2),
            (other("phone"), "forward", &[1, 3], 1),
            (person(1), "forward", &[1], 2),
            (person(4), "forward", &[4, 5], 0),
            (person(5), "forward", &[5], 1),
            (person(6), "forward", &[6, 7], 0),
            (other("crm"), "cluster", &[1, 3], 0),
            (person(3), "cluster", &[1, 3], 0),
            (person(5), "cluster", &[4, 5], 0),
            (person(8), "cluster", &[8], 0),
            (other("phone"), "exact", &nobody, 0),
            (person(4), "exact", &[4], 0),
        ] {
            let options = ["--aliases", table, "--identity", identity, "--id", &id];
            let what = format!("{identity} of {id} by {table}");
            let plan = lake.json("plan", &options);
            assert_eq!(plan["rows"], covered.len() * ROWS_EACH, "{what}");
            assert_eq!(plan["left_out"], left_out, "{what}");
            assert_eq!(plan["subjects"][0]["found"], true, "{what}");
            assert_eq!(
                exported(&lake, &options),
                people(covered.to_vec()),
                "{what}"
            );
        }
    }
}

#[test]
fn ids_that_were_left_out_are_told_in_words_as_well() {
    let lake = Lake::new();
    let table = lake.note("aliases.csv", link_csv("alias,distinct_id"));
    for command in ["plan", "delete"] {
        let run = lake.run(command, &["--aliases", &table, "--id", &person(1)]);
        let text = String::from_utf8(run.stdout).unwrap();
        assert!(text.contains("left out: 2 other ids"), "{command}: {text}");
        assert!(text.contains("--identity cluster"), "{command}: {text}");
    }
}

#[test]
fn without_an_alias_table_an_alias_is_unknown() {
    let lake = Lake::new();
    for command in ["export", "delete"] {
        assert_eq!(lake.run(command, &["--id", &other("crm")]).status, 3);
    }
    // One id is covered twice: its rows come once.
    let table = lake.note("aliases.csv", link_csv("alias,distinct_id"));
    let both = [
        "--aliases",
        &table,
        "--id",
        &other("crm"),
        "--id",
        &person(1),
    ];
    let plan = lake.json("plan", &both);
    assert_eq!(plan["rows"], ROWS_EACH);
    assert_eq!(plan["subjects"][0]["rows"], ROWS_EACH);
    assert_eq!(plan["subjects"][1]["rows"], ROWS_EACH);
}

#[test]
fn the_columns_of_the_alias_table_can_be_named_and_remembered() {
    let lake = Lake::new();
    lake.note("aliases.csv", link_csv("from,to"));
    let names = [
        "--aliases=../aliases.csv",
        "--alias-column=from",
        "--alias-distinct-id-column=to",
    ];
    let id = format!("--id={}", other("crm"));
    let options = [&names[..], &[id.as_str()]].concat();
    assert_eq!(exported(&lake, &options), people([1]));
    lake.json("init", &names);
    assert_eq!(exported(&lake, &[&id]), people([1]));
}

#[test]
fn unknown_ids_can_be_reported_while_the_rest_is_carried_out() {
    let lake = Lake::new();
    let options = [
        "--unknown",
        "report",
        "--id",
        &other("nobody"),
        "--id",
        &person(9),
        "--id",
        &other("no one"),
    ];
    let found = |report: &Value| -> Vec<bool> {
        let subjects = report["subjects"].as_array().unwrap();
        subjects
            .iter()
            .map(|subject| subject["found"] == true)
            .collect()
    };
    assert_eq!(exported(&lake, &options), people([9]));
    let plan = lake.run("plan", &options);
    let text = String::from_utf8(plan.stdout).unwrap();
    assert!(
        text.contains("not found: the ids at position 1, 3"),
        "{text}"
    );
    let done = lake.json("delete", &options);
    assert_eq!(done["rows_removed"], ROWS_EACH);
    assert_eq!(found(&done), [false, true, false]);
    assert_eq!(found(&lake.json("plan", &options)), [false, false, false]);
}

#[test]
fn a_row_is_covered_if_any_of_several_columns_holds_the_id() {
    let lake = Lake::new();
    let columns = ["--subject", "distinct_id", "--subject", "device_id"];
    let rows = |ids: &[String]| {
        let mut options = columns.to_vec();
        options.extend(ids.iter().flat_map(|id| ["--id", id.as_str()]));
        lake.json("plan", &options)["rows"].as_u64().unwrap()
    };
    let device = other("device-1");
    assert_eq!(rows(&[person(1)]), 12);
    assert_eq!(rows(std::slice::from_ref(&device)), 80);
    // A third of the person's rows are on that device.
    assert_eq!(rows(&[person(1), device.clone()]), 80 + 8);
    let done = lake.json("delete", &[&columns[..], &["--id", &device]].concat());
    assert_eq!(done["rows_removed"], 80);
    assert_eq!(lake.subjects().len(), 160);
    let again = lake.run("delete", &[&columns[..], &["--id", &device]].concat());
    assert_eq!(again.status, 3, "{}", again.stderr);
}

#[test]
fn rows_without_an_id_belong_to_nobody() {
    let lake = Lake::new();
    let nobody = |_| Event {
        who: None,
        device: other("device-9"),
        time_us: None,
    };
    lake.add_shard("nobody.parquet", &(0..50).map(nobody).collect::<Vec<_>>());
    for id in ["null", "NULL", "None", "NaN"] {
        assert_eq!(lake.run("delete", &["--id", id]).status, 3, "{id}");
    }
    lake.json("delete", &["--id", &person(0)]);
    let left = lake.subjects();
    assert_eq!(left.iter().filter(|who| who.is_none()).count(), 50);
    assert_eq!(left.len(), 240 - ROWS_EACH + 50);
}

#[test]
fn a_ccpa_export_covers_a_year_and_a_delete_everything() {
    let lake = Lake::new();
    let undated = Event {
        who: Some(person(1)),
        device: other("device-1"),
        time_us: None,
    };
    lake.add_shard("undated.parquet", &[undated]);
    let id = format!("--id={}", person(1));
    let rows = |options: &[&str]| {
        let words = [
            &[id.as_str(), "--kind=export", "--regulation=ccpa"],
            options,
        ]
        .concat();
        lake.json("plan", &words)["rows"].as_u64().unwrap()
    };
    // Events are hourly from 2026-01-01T01:00Z on, the person's are the 2nd, 22nd, 42nd ... 222nd.
    assert_eq!(rows(&["--requested-at=2026-01-11T00:00:00Z"]), 12 + 1);
    assert_eq!(rows(&["--requested-at=2027-01-01T02:00:00Z"]), 12 + 1);
    assert_eq!(
        rows(&["--requested-at=2027-01-01T02:00:00.000001Z"]),
        11 + 1
    );
    assert_eq!(rows(&["--requested-at=2027-01-06T00:00:00Z"]), 6 + 1);
    assert_eq!(rows(&["--requested-at=2028-06-01T00:00:00Z"]), 1);
    let longer = ["--requested-at=2028-06-01T00:00:00Z", "--since=2026-01-06"];
    assert_eq!(rows(&longer), 6 + 1);
    let none_left = ["--kind=export", "--requested-at=2028-06-01T00:00:00Z"];
    assert_eq!(
        lake.json("plan", &[&none_left[..], &[&id]].concat())["rows"],
        12 + 1
    );
    let delete = [
        "--regulation=ccpa",
        "--requested-at=2028-06-01T00:00:00Z",
        &id,
    ];
    assert_eq!(lake.json("delete", &delete)["rows_removed"], 12 + 1);
}

#[test]
fn text_is_compared_byte_for_byte_also_when_it_looks_like_a_number() {
    let lake = Lake::without_shards();
    let ids = ["1", "01", "+1", "1.0", "-0", "0"];
    let events: Vec<Event> = ids
        .iter()
        .map(|id| Event {
            who: Some((*id).to_owned()),
            device: "any".to_owned(),
            time_us: None,
        })
        .collect();
    lake.add_shard("a.parquet", &events);
    for id in ids {
        assert_eq!(lake.json("plan", &["--id", id])["rows"], 1, "{id}");
    }
    assert_eq!(lake.run("delete", &["--id", "001"]).status, 3);
    assert_eq!(lake.json("delete", &["--id", "01"])["rows_removed"], 1);
    assert_eq!(lake.json("verify", &["--id", "01"])["clean"], true);
    assert_eq!(lake.run("verify", &["--id", "1", "--json"]).status, 6);
}

#[test]
fn a_shard_whose_ids_are_all_null_has_rows_of_nobody() {
    let lake = Lake::new();
    let nulls: ArrayRef = Arc::new(NullArray::new(3));
    let batch = RecordBatch::try_from_iter_with_nullable([("distinct_id", nulls, true)]).unwrap();
    let file = File::create(lake.at("day=2/nulls.parquet")).unwrap();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    let done = lake.json("delete", &["--id", &person(3)]);
    assert_eq!(done["shards_rewritten"], SHARDS.len());
    assert_eq!(lake.json("verify", &["--id", &person(3)])["clean"], true);
}
