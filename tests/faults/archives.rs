//! Exports of a file for each subject that are cut off at each change of the disk, or in which one operation fails.

use efface::config::Config;
use efface::export::per_subject::{self, Layout, MANIFEST, Manifest};
use efface::export::sink::Format;
use efface::request::{Request, Subjects};
use efface::state::files::StateFiles;
use efface::testing::sim::Sim;
use efface::{ErrorKind, Result};
use rayon::prelude::*;
use serde_json::Value;

use crate::lake::{Files, VICTIMS, config, engine, is_temporary, lake};

/// Writes the archive of the lake's [`VICTIMS`] to `out`.
fn archive(dataset: &Sim, config: &Config, out: &Sim, layout: &Layout) -> Result<Manifest> {
    let asked = "2026-01-31T12:00:00Z".parse().unwrap();
    let engine = engine(dataset, config);
    let plan = engine.plan(&Request::export(Subjects::new(VICTIMS)?, asked))?;
    per_subject::write(
        engine.export_by_subject(&plan)?,
        &plan.subjects,
        &StateFiles::new(out.clone()),
        layout,
    )
}

/// Every file under its final name is whole: as it was before the run, or as an undisturbed run leaves it. With a
/// manifest there are just the files that it names, and their hashes are right.
fn check(found: &Files, old: &Files, new: &Files, what: &str) {
    for (path, bytes) in found.iter().filter(|(path, _)| !is_temporary(path)) {
        let is_whole = Some(bytes) == new.get(path) || Some(bytes) == old.get(path);
        assert!(is_whole, "{what}: {path} is half written");
    }
    let Some(manifest) = found.get(MANIFEST) else {
        return;
    };
    let manifest: Value = serde_json::from_slice(manifest).unwrap();
    for entry in manifest["subjects"].as_array().unwrap() {
        let file = &found[entry["file"].as_str().unwrap()];
        assert_eq!(
            entry["blake3"],
            blake3::hash(file).to_hex().as_str(),
            "{what}"
        );
        if let Some(page) = entry["page"].as_str() {
            assert!(found.contains_key(page), "{what}: {page} is missing");
        }
    }
}

/// Archives into a directory that is `before`, with every fault.
fn run_with_every_fault(layout: &Layout, before: &Sim) {
    let config = config();
    let dataset = lake(&config, true);
    let whole = before.fork(0);
    archive(&dataset, &config, &whole, layout).unwrap();
    let (old, new) = (before.all(), whole.all());
    let run = |out: &Sim, what: &str| {
        // What a rerun leaves is what an undisturbed run leaves, temporary files included.
        archive(&dataset, &config, out, layout).unwrap();
        assert!(
            out.reboot().all() == new,
            "{what}: a rerun leaves something else"
        );
    };
    for reopen in [Sim::reboot, Sim::restart] {
        (0..whole.changes()).into_par_iter().for_each(|cut| {
            let what = format!("cut {cut}");
            let out = before.fork(cut);
            out.cut_at(cut);
            let error = archive(&dataset, &config, &out, layout).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Io, "{what}: {error}");
            let out = reopen(&out);
            check(&out.all(), &old, &new, &what);
            run(&out, &what);
        });
    }
    (0..whole.operations()).into_par_iter().for_each(|number| {
        let what = format!("failure {number}");
        let out = before.fork(number);
        out.fail_at(number);
        let outcome = archive(&dataset, &config, &out, layout);
        check(&out.all(), &old, &new, &what);
        if outcome.is_err() {
            run(&out, &what);
        }
    });
}

/// So little is gathered that a temporary file is used.
fn spooled(layout: Layout) -> Layout {
    Layout {
        spool_bytes: 1,
        ..layout
    }
}

#[test]
fn an_archive_that_is_cut_off_holds_whole_files_and_a_manifest_only_when_it_is_whole() {
    for layout in [
        Layout::new(Format::Jsonl),
        spooled(Layout::new(Format::Parquet)),
    ] {
        run_with_every_fault(&layout, &Sim::new(1));
    }
}

#[test]
fn a_report_that_replaces_another_one_and_is_cut_off_is_whole_or_has_no_manifest() {
    let config = config();
    let before = Sim::new(1);
    archive(
        &lake(&config, true),
        &config,
        &before,
        &Layout::new(Format::Parquet),
    )
    .unwrap();
    run_with_every_fault(&spooled(Layout::report()), &before);
}
