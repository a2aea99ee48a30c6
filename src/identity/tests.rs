//! Expansion against a naive oracle, and tables of every form on a disk.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, BinaryArray, BinaryViewArray, DictionaryArray, FixedSizeBinaryArray,
    Float64Array, Int64Array, LargeStringArray, StringArray, StringViewArray, UInt8Array,
};
use arrow::datatypes::Int32Type;
use arrow::record_batch::RecordBatch;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;

use super::removal::{csv_without, rows_naming};
use super::*;
use crate::io::Mapped;
use crate::subject::SubjectId;

mod damage;

const CAP: usize = crate::limits::IDENTITY_CAP;

fn subjects(ids: &[&str]) -> Subjects {
    Subjects::new(ids.iter().copied()).unwrap()
}

fn graph(links: &[(&str, &str)]) -> IdentityGraph {
    IdentityGraph::from_links(links.iter().copied()).unwrap()
}

/// What each subject covers, by text.
fn covered(expansion: &Expansion) -> Vec<Vec<&str>> {
    let id = |place: &u32| expansion.ids[*place as usize].reveal();
    let covers = expansion.covers.iter();
    covers
        .map(|cover| cover.ids.iter().map(id).collect())
        .collect()
}

fn erased(ids: &[&str]) -> Vec<SubjectId> {
    ids.iter().map(|id| SubjectId::new(*id)).collect()
}

/// A file, called `aliases`.
fn stored(bytes: &[u8]) -> (Arc<dyn ReadAt>, AliasTable) {
    let file = Arc::new(Mapped::new(bytes.to_vec()));
    (file, AliasTable::new("aliases"))
}

fn load(bytes: &[u8]) -> Result<IdentityGraph> {
    let (file, table) = stored(bytes);
    IdentityGraph::load(Arc::clone(&file), &table)
}

fn refused(bytes: &[u8]) -> Error {
    load(bytes).expect_err("the table should be refused")
}

fn parquet(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        columns
            .into_iter()
            .map(|(name, column)| (name, column, true)),
    )
    .unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn an_alias_covers_itself_and_all_that_it_maps_to_along_a_chain() {
    let graph = graph(&[("a", "b"), ("b", "c"), ("x", "b"), ("y", "c")]);
    let expansion = graph
        .expand(&subjects(&["a"]), Identity::Forward, CAP)
        .unwrap();
    assert_eq!(covered(&expansion), [["a", "b", "c"]]);
    assert_eq!(expansion.left_out, 2);
    assert!(expansion.covers[0].linked);
}

#[test]
fn an_alias_may_map_to_two_ids() {
    let graph = graph(&[("a", "b"), ("a", "c"), ("a", "b")]);
    let expansion = graph
        .expand(&subjects(&["a"]), Identity::Forward, CAP)
        .unwrap();
    assert_eq!(covered(&expansion), [["a", "b", "c"]]);
    assert_eq!(expansion.left_out, 0);
}

#[test]
fn a_distinct_id_covers_only_itself_and_counts_its_aliases_as_left_out() {
    let graph = graph(&[("a", "d"), ("b", "d"), ("c", "b")]);
    let expansion = graph
        .expand(&subjects(&["d"]), Identity::Forward, CAP)
        .unwrap();
    assert_eq!(covered(&expansion), [["d"]]);
    assert_eq!(expansion.left_out, 2);
    assert!(expansion.covers[0].linked);
    let both = graph
        .expand(&subjects(&["d", "a"]), Identity::Forward, CAP)
        .unwrap();
    assert_eq!(both.left_out, 1);
}

#[test]
fn cycles_end() {
    let graph = graph(&[("a", "b"), ("b", "c"), ("c", "a"), ("s", "s")]);
    for mode in [Identity::Forward, Identity::Cluster] {
        let expansion = graph.expand(&subjects(&["b", "s"]), mode, CAP).unwrap();
        let mut cycle = covered(&expansion)[0].clone();
        cycle.sort_unstable();
        assert_eq!(cycle, ["a", "b", "c"]);
        assert_eq!(covered(&expansion)[1], ["s"]);
        assert!(expansion.covers[1].linked);
    }
}

#[test]
fn a_cluster_is_the_whole_connected_component() {
    let graph = graph(&[("a", "d"), ("b", "d"), ("c", "b"), ("other", "one")]);
    let expansion = graph
        .expand(&subjects(&["a"]), Identity::Cluster, CAP)
        .unwrap();
    assert_eq!(covered(&expansion), [["a", "d", "b", "c"]]);
    assert_eq!(expansion.left_out, 0);
}

#[test]
fn exact_covers_nothing_else() {
    let graph = graph(&[("a", "b")]);
    let expansion = graph
        .expand(&subjects(&["a", "x"]), Identity::Exact, 1)
        .unwrap();
    assert_eq!(covered(&expansion), [["a"], ["x"]]);
    assert!(expansion.covers[0].linked && !expansion.covers[1].linked);
    assert_eq!(expansion.left_out, 0);
}

#[test]
fn ids_are_listed_once_and_subjects_keep_their_positions() {
    let graph = graph(&[("a", "d"), ("b", "d")]);
    let subjects = subjects(&["unknown", "b", "b", "a", "d"]);
    let expansion = graph.expand(&subjects, Identity::Forward, CAP).unwrap();
    assert_eq!(expansion.ids, erased(&["unknown", "b", "d", "a"]));
    let positions: Vec<_> = expansion
        .covers
        .iter()
        .map(|cover| cover.position)
        .collect();
    assert_eq!(positions, [1, 2, 4, 5]);
    assert_eq!(
        covered(&expansion),
        [vec!["unknown"], vec!["b", "d"], vec!["a", "d"], vec!["d"]]
    );
}

#[test]
fn an_empty_graph_covers_the_submitted_ids() {
    for mode in Identity::ALL {
        let expansion = IdentityGraph::empty()
            .expand(&subjects(&["b", "a"]), *mode, 1)
            .unwrap();
        assert_eq!(covered(&expansion), [["b"], ["a"]]);
        assert!(expansion.covers.iter().all(|cover| !cover.linked));
    }
}

#[test]
fn an_expansion_over_the_cap_is_refused_by_position() {
    let links: Vec<_> = (0..10)
        .map(|id| ("hub".to_owned(), format!("{id}")))
        .collect();
    let graph = IdentityGraph::from_links(links).unwrap();
    let subjects = subjects(&["x", "x", "hub"]);
    assert!(graph.expand(&subjects, Identity::Forward, 11).is_ok());
    for mode in [Identity::Forward, Identity::Cluster] {
        let error = graph.expand(&subjects, mode, 10).unwrap_err();
        assert!(matches!(
            error,
            Error::IdentityCap {
                position: 3,
                cap: 10
            }
        ));
    }
    assert!(graph.expand(&subjects, Identity::Exact, 10).is_ok());
}

#[test]
fn a_chain_of_a_million_links_needs_no_stack() {
    let links = (0..1_000_000_u32).map(|id| (id.to_string(), (id + 1).to_string()));
    let graph = IdentityGraph::from_links(links).unwrap();
    for mode in [Identity::Forward, Identity::Cluster] {
        let expansion = graph.expand(&subjects(&["0"]), mode, usize::MAX).unwrap();
        assert_eq!(expansion.ids.len(), 1_000_001);
    }
}

#[test]
fn debug_prints_no_id() {
    let graph = graph(&[("ada", "bob")]);
    let expansion = graph
        .expand(&subjects(&["ada"]), Identity::Forward, CAP)
        .unwrap();
    let told = format!("{graph:?} {expansion:?}");
    assert!(!told.contains("ada") && !told.contains("bob"), "{told}");
}

/// All that `id` covers, found by going over all links until nothing is added.
fn naive_cover(links: &[(String, String)], id: &str, mode: Identity) -> BTreeSet<String> {
    let mut cover = BTreeSet::from([id.to_owned()]);
    loop {
        let before = cover.len();
        for (alias, distinct_id) in links {
            if mode != Identity::Exact && cover.contains(alias) {
                cover.insert(distinct_id.clone());
            }
            if mode == Identity::Cluster && cover.contains(distinct_id) {
                cover.insert(alias.clone());
            }
        }
        if cover.len() == before {
            return cover;
        }
    }
}

proptest! {
    #[test]
    fn expansion_is_what_going_over_all_links_again_and_again_finds(
        links in prop::collection::vec(("[a-l]", "[a-l]"), 0..20),
        submitted in prop::collection::vec("[a-n]", 1..6),
    ) {
        let graph = IdentityGraph::from_links(links.clone()).unwrap();
        let subjects = Subjects::new(submitted).unwrap();
        for mode in Identity::ALL {
            let expansion = graph.expand(&subjects, *mode, CAP).unwrap();
            let mut all = BTreeSet::new();
            for ((position, id), (cover, ids)) in
                subjects.iter().zip(expansion.covers.iter().zip(covered(&expansion)))
            {
                let naive = naive_cover(&links, id.reveal(), *mode);
                prop_assert_eq!(cover.position, position);
                prop_assert_eq!(ids[0], id.reveal());
                prop_assert_eq!(ids.len(), naive.len());
                prop_assert_eq!(ids.iter().map(|id| (*id).to_owned()).collect::<BTreeSet<_>>(), naive.clone());
                prop_assert_eq!(cover.linked, links.iter().any(|(a, d)| a == id.reveal() || d == id.reveal()));
                all.extend(naive);
            }
            let ids: BTreeSet<_> = expansion.ids.iter().map(|id| id.reveal().to_owned()).collect();
            prop_assert_eq!(ids.len(), expansion.ids.len());
            prop_assert_eq!(&ids, &all);
            let left_out: BTreeSet<_> = links
                .iter()
                .filter(|(a, d)| *mode == Identity::Forward && all.contains(d) && !all.contains(a))
                .map(|(a, _)| a)
                .collect();
            prop_assert_eq!(expansion.left_out, left_out.len() as u64);
        }
    }

    #[test]
    fn a_csv_without_erased_ids_is_the_other_records_byte_for_byte(
        rows in prop::collection::vec(("[ab]{1,2}|\"x\r\ny\"|\"b\"|", "[abc]|\"b\"\"\"", "\n|\r\n|\r|\n\n|\r\n\r\n"), 0..12),
        bom in any::<bool>(),
        last_line_ends in any::<bool>(),
    ) {
        let bom = if bom { "\u{feff}" } else { "" };
        let header = format!("{bom}alias,\"distinct_id\"\r\n");
        let (mut whole, mut expected, mut removed) = (header.clone(), header, 0);
        for (place, (alias, distinct_id, end)) in rows.iter().enumerate() {
            let last = place + 1 == rows.len();
            let end = if last && !last_line_ends { "" } else { end.as_str() };
            let row = format!("{alias},{distinct_id}{end}");
            whole.push_str(&row);
            if alias.trim_matches('"') == "b" || distinct_id == "b" || alias == "\"x\r\ny\"" {
                removed += 1;
                // The blank line after a removed record stays; what ends the record goes with it.
                let blank = end.strip_prefix("\r\n").or_else(|| end.get(1..)).unwrap_or_default();
                expected.push_str(blank);
            } else {
                expected.push_str(&row);
            }
        }
        let (file, table) = stored(whole.as_bytes());
        let mut written = Vec::new();
        let count = csv_without(&file, &table, &erased(&["b", "x\r\ny", "absent"]), &mut written).unwrap();
        prop_assert_eq!(String::from_utf8(written).unwrap(), expected);
        prop_assert_eq!(count, removed);
        let rows = rows_naming(Arc::clone(&file), &table, &erased(&["b", "x\r\ny"])).unwrap();
        prop_assert_eq!(rows.len(), removed);
    }
}

#[test]
fn a_csv_table_is_read_whatever_the_order_of_its_columns() {
    let csv = "\u{feff}when,distinct_id,alias\r\n1,d,a\r\n2,,b\r\n\r\n3,d,\r\n4,\"d\",\"c\"\r\n";
    let graph = load(csv.as_bytes()).unwrap();
    assert_eq!(graph.ids(), 3);
    let expansion = graph
        .expand(&subjects(&["a", "b", "c"]), Identity::Forward, CAP)
        .unwrap();
    assert_eq!(
        covered(&expansion),
        [vec!["a", "d"], vec!["b"], vec!["c", "d"]]
    );
}

#[test]
fn the_columns_of_a_table_can_have_other_names() {
    let (file, table) = stored(b"old,new\na,b\n");
    let table = AliasTable {
        alias_column: "old".to_owned(),
        distinct_id_column: "new".to_owned(),
        ..table
    };
    assert_eq!(
        IdentityGraph::load(Arc::clone(&file), &table)
            .unwrap()
            .ids(),
        2
    );
}

#[test]
fn a_csv_without_the_columns_is_refused_without_showing_what_may_be_ids() {
    let Error::MissingColumn {
        role,
        column,
        columns,
        ..
    } = refused(b"alias,to\na,b\n")
    else {
        panic!("another error");
    };
    assert_eq!((role, column.as_str()), ("alias", "distinct_id"));
    assert_eq!(columns, ["alias", "to"]);
    let told = refused(b"ada,bob\nann,ben\n").to_string();
    assert!(
        !told.contains("ada") && told.contains("2, not shown"),
        "{told}"
    );
    assert!(matches!(refused(b""), Error::MissingColumn { .. }));
}

#[test]
fn a_damaged_csv_table_is_refused_by_record() {
    for (csv, reason) in [
        (
            b"alias,distinct_id\na,b\nada\n".as_slice(),
            "record 3: field 2 is missing",
        ),
        (
            b"alias,distinct_id\nada,\xff\n",
            "record 2: field 2 is not UTF-8 text",
        ),
        (
            b"alias,distinct_id\nada,\"b\n",
            "record 2: a quoted field is never closed",
        ),
    ] {
        assert_eq!(refused(csv).to_string(), format!("aliases: {reason}"));
    }
}

#[test]
fn a_parquet_table_is_read_from_columns_of_every_type() {
    let texts = [Some("7"), None, Some("8"), Some(""), Some("7")];
    let bytes = texts.map(|text| text.map(str::as_bytes));
    let dictionary: DictionaryArray<Int32Type> = texts.into_iter().collect();
    let numbers = [Some(7), None, Some(8), None, Some(7)];
    let columns: Vec<ArrayRef> = vec![
        Arc::new(StringArray::from_iter(texts)),
        Arc::new(LargeStringArray::from_iter(texts)),
        Arc::new(StringViewArray::from_iter(texts)),
        Arc::new(BinaryArray::from_iter(bytes)),
        Arc::new(BinaryViewArray::from_iter(bytes)),
        Arc::new(dictionary),
        Arc::new(Int64Array::from_iter(numbers)),
        Arc::new(UInt8Array::from_iter(numbers.map(|number| {
            number.map(|number| u8::try_from(number).unwrap())
        }))),
    ];
    for column in columns {
        let targets: ArrayRef = Arc::new(StringArray::from(vec!["d", "d", "e", "d", "f"]));
        let found = column.data_type().clone();
        let file = parquet(vec![("distinct_id", targets), ("alias", column)]);
        let (file, table) = stored(&file);
        assert_eq!(table.format_of(&*file).unwrap(), TableFormat::Parquet);
        let graph = IdentityGraph::load(Arc::clone(&file), &table).unwrap();
        let expansion = graph
            .expand(&subjects(&["7", "8"]), Identity::Forward, CAP)
            .unwrap();
        assert_eq!(
            covered(&expansion),
            [vec!["7", "d", "f"], vec!["8", "e"]],
            "{found}"
        );
        let rows: Vec<_> = rows_naming(Arc::clone(&file), &table, &erased(&["7", "e"]))
            .unwrap()
            .into_iter()
            .collect();
        assert_eq!(rows, [0, 2, 4], "{found}");
        let on_the_other_side = rows_naming(Arc::clone(&file), &table, &erased(&["d"])).unwrap();
        assert_eq!(
            on_the_other_side.len(),
            3,
            "a row with a null names an erased id too: {found}"
        );
    }
}

#[test]
fn numbers_and_uuids_are_found_by_value() {
    let uuid = "00112233-4455-6677-8899-aabbccddeeff";
    let bytes: Vec<u8> = (0..16).map(|byte| byte * 17).collect();
    let aliases = FixedSizeBinaryArray::try_from_iter([bytes].into_iter()).unwrap();
    let file = parquet(vec![
        ("alias", Arc::new(aliases)),
        ("distinct_id", Arc::new(Int64Array::from(vec![-7]))),
    ]);
    let (file, table) = stored(&file);
    let graph = IdentityGraph::load(Arc::clone(&file), &table).unwrap();
    let upper = uuid.to_uppercase();
    let submitted = subjects(&[&upper, "-007", "-7.0"]);
    let expansion = graph.expand(&submitted, Identity::Forward, CAP).unwrap();
    assert_eq!(
        covered(&expansion),
        [
            vec![upper.as_str(), uuid, "-7"],
            vec!["-007", "-7"],
            vec!["-7.0", "-7"]
        ]
    );
    assert!(expansion.covers.iter().all(|cover| cover.linked));
    for id in [upper.as_str(), "-007"] {
        assert_eq!(
            rows_naming(Arc::clone(&file), &table, &erased(&[id]))
                .unwrap()
                .len(),
            1
        );
    }
    let exact = graph.expand(&submitted, Identity::Exact, CAP).unwrap();
    assert_eq!(exact.ids.len(), 3);
}

#[test]
fn a_table_of_several_batches_counts_its_rows_through() {
    let count = 20_000;
    let aliases = StringArray::from_iter_values((0..count).map(|id| format!("a{id}")));
    let targets = StringArray::from_iter_values((0..count).map(|id| format!("d{}", id % 5000)));
    let (file, table) = stored(&parquet(vec![
        ("alias", Arc::new(aliases)),
        ("distinct_id", Arc::new(targets)),
    ]));
    assert_eq!(
        IdentityGraph::load(Arc::clone(&file), &table)
            .unwrap()
            .ids(),
        25_000
    );
    let rows = rows_naming(Arc::clone(&file), &table, &erased(&["d4999", "a19998"])).unwrap();
    assert_eq!(
        rows.into_iter().collect::<Vec<_>>(),
        [4999, 9999, 14_999, 19_998, 19_999]
    );
}

#[test]
fn a_parquet_file_that_is_no_alias_table_is_refused() {
    let text = || Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
    let number = Arc::new(Float64Array::from(vec![1.0])) as ArrayRef;
    let not_text = Arc::new(BinaryArray::from(vec![b"\xff".as_slice()])) as ArrayRef;
    assert!(matches!(
        refused(&parquet(vec![("alias", text()), ("to", text())])),
        Error::MissingColumn { role: "alias", .. }
    ));
    assert!(matches!(
        refused(&parquet(vec![("alias", text()), ("distinct_id", number)])),
        Error::ColumnType { role: "alias", .. }
    ));
    assert!(matches!(
        refused(&parquet(vec![("alias", not_text), ("distinct_id", text())])),
        Error::State { .. }
    ));
    for damaged in [
        b"PAR1".as_slice(),
        b"PAR1 and then nothing of a footer PAR1",
        b"PARE    PARE",
    ] {
        assert!(matches!(refused(damaged), Error::Shard { .. }));
    }
}

#[test]
fn the_csv_removal_refuses_a_parquet_table() {
    let text = Arc::new(StringArray::from(vec!["a"])) as ArrayRef;
    let (file, table) = stored(&parquet(vec![
        ("alias", Arc::clone(&text)),
        ("distinct_id", text),
    ]));
    let error = csv_without(&file, &table, &erased(&["a"]), &mut Vec::new()).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Unsupported);
}

#[test]
fn the_expansion_does_not_depend_on_the_hash_seed() {
    let links: Vec<_> = (0..100_u32)
        .map(|id| (format!("{}", id % 7), format!("{}", id * 37 % 50)))
        .collect();
    let expand = || {
        let graph = IdentityGraph::from_links(links.clone()).unwrap();
        graph
            .expand(&subjects(&["3", "5"]), Identity::Cluster, CAP)
            .unwrap()
    };
    let first = expand();
    assert!((0..3).all(|_| expand() == first));
}
