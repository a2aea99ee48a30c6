//! The whole of efface on a copy of the sample data, told step by step.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use arrow::array::{BooleanArray, RecordBatch};
use arrow::compute::{concat_batches, filter_record_batch};
use efface::config::Config;
use efface::engine::{Configuration, Engine, EngineOptions, Inspection};
use efface::erase::delete::DeleteOptions;
use efface::export::sink::{self, Format};
use efface::plan::Plan;
use efface::request::{Kind, Request, Subjects, Unknown};
use efface::{Error, FormatError, SubjectId};
use indicatif::HumanBytes;
use jiff::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use roaring::RoaringBitmap;
use serde_json::{Value, json};

use crate::args::Args;
use crate::failure::{Failure, Result};
use crate::output::{self, Destination, io_error};
use crate::report::{bytes, counted, grouped, seconds};
use crate::session::engine_options;

const SAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data-samples");

/// Shows an index, an export and a delete, and checks what they claim.
///
/// # Errors
/// When the samples aren't there, a step fails, or a claim doesn't hold.
pub(crate) fn run(args: &Args) -> Result<()> {
    let samples = Path::new(SAMPLES);
    if !samples.is_dir() {
        return Err(Failure::usage(
            "demo",
            "the sample data lies beside the source code, and that isn't there",
        ));
    }
    let copy = tempfile::tempdir().map_err(Error::io("make", "a temporary directory"))?;
    copy_files(samples, copy.path())?;
    let mut story = Story {
        quiet: args.json,
        steps: Vec::new(),
    };
    tell(args, copy.path(), &mut story)?;
    copy.close()
        .map_err(Error::io("remove", "the temporary directory"))?;
    if args.json {
        return Ok(output::print(&format!(
            "{}\n",
            json!({"steps": story.steps})
        ))?);
    }
    Ok(output::print(
        "\nThe copy is gone, and data-samples/ is as it was. On data of your own:\n  \
         efface plan DATASET --ids ids.csv\n  \
         efface export DATASET --ids ids.csv -o rows.parquet\n  \
         efface delete DATASET --ids ids.csv\n",
    )?)
}

fn tell(args: &Args, root: &Path, story: &mut Story) -> Result<()> {
    let config = Config {
        aliases: Some("aliases.csv".to_owned()),
        ..Config::default()
    };
    let options = EngineOptions {
        configuration: Configuration::Overriding(config),
        ..engine_options(args)
    };
    let engine = Engine::open_dir_with(root, options)?;
    let before = engine.inspect()?;
    story.say(&format!(
        "efface on a copy of data-samples/: {}, {}, {}\n\n",
        counted(before.shards.len() as u64, "shard", "shards"),
        counted(rows_of(&before), "row", "rows"),
        HumanBytes(size_of(&before))
    ))?;

    let started = Instant::now();
    let index = engine.refresh()?;
    story.step(
        "index",
        &format!(
            "{} subject ids in {} rows, {}",
            grouped(&index.subjects),
            grouped(&index.rows),
            HumanBytes(index.bytes)
        ),
        started.elapsed(),
        json!({"rows": index.rows, "subjects": index.subjects, "bytes": index.bytes}),
    )?;

    let subjects = Subjects::from_csv(output::open(&root.join("ids.csv"))?)?;
    let now = Timestamp::now();
    let export = Request::export(subjects.clone(), now);
    let started = Instant::now();
    let exported = export_rows(&engine, &engine.plan(&export)?, &root.join("rows.jsonl"))?;
    story.step(
        "export",
        &format!(
            "{} of {} (some are aliases), {} of JSON Lines",
            counted(exported.rows, "row", "rows"),
            counted(subjects.len() as u64, "id", "ids"),
            HumanBytes(exported.bytes)
        ),
        started.elapsed(),
        json!({"rows": exported.rows, "bytes": exported.bytes}),
    )?;

    let delete = Request {
        unknown: Unknown::Refuse,
        ..Request::delete(subjects, now)
    };
    let started = Instant::now();
    let plan = engine.plan(&delete)?;
    story.step(
        "plan",
        &format!(
            "{} in {} of {}",
            counted(plan.rows, "row", "rows"),
            counted(plan.row_groups, "row group", "row groups"),
            counted(plan.shards.len() as u64, "shard", "shards")
        ),
        started.elapsed(),
        json!({"rows": plan.rows, "row_groups": plan.row_groups, "digest": plan.digest}),
    )?;
    let survivors = read_without(root, &before, &plan)?;

    let started = Instant::now();
    let done = engine.delete(&delete, Some(&plan.digest), &DeleteOptions::default())?;
    story.step(
        "delete",
        &format!(
            "{} removed, {}",
            counted(done.rows_removed, "row", "rows"),
            bytes(done.bytes_copied, done.bytes_encoded)
        ),
        started.elapsed(),
        json!({
            "rows_removed": done.rows_removed,
            "shards_rewritten": done.shards_rewritten,
            "bytes_copied": done.bytes_copied,
            "bytes_encoded": done.bytes_encoded,
        }),
    )?;
    let after = Remains {
        before: &before,
        expected_rows: &survivors,
        removed: done.rows_removed,
    };
    after.check(&engine, root, export, story)
}

/// What must be left after the delete.
struct Remains<'a> {
    before: &'a Inspection,
    expected_rows: &'a [(String, RecordBatch)],
    removed: u64,
}

impl Remains<'_> {
    fn check(
        &self,
        engine: &Engine,
        root: &Path,
        export: Request,
        story: &mut Story,
    ) -> Result<()> {
        debug_assert_eq!(export.kind, Kind::Export);
        let ids: Vec<SubjectId> = export.subjects.iter().map(|(_, id)| id.clone()).collect();
        let again = Request {
            unknown: Unknown::Report,
            ..export
        };
        let started = Instant::now();
        let left = export_rows(
            engine,
            &engine.plan(&again)?,
            &root.join("rows-after.jsonl"),
        )?;
        claim(left.rows == 0, "rows of the deleted ids are left")?;
        story.step(
            "export",
            "no row of the same ids",
            started.elapsed(),
            json!({"rows": left.rows}),
        )?;

        let started = Instant::now();
        let verified = engine.verify(&ids)?;
        claim(verified.clean, "a trace of the deleted ids is left")?;
        story.step(
            "verify",
            "no trace of them in pages, dictionaries, statistics, indexes and efface's own files",
            started.elapsed(),
            json!({"clean": verified.clean}),
        )?;

        let started = Instant::now();
        let after = engine.inspect()?;
        claim(
            rows_of(&after) + self.removed == rows_of(self.before),
            "the rows before and after don't add up",
        )?;
        for (path, expected) in self.expected_rows {
            let found = read(root, path)?;
            claim(found == *expected, "other rows changed")?;
        }
        story.step(
            "compare",
            &format!(
                "{} are as they were, value for value; {} of shards, {} before",
                counted(rows_of(&after), "other row", "other rows"),
                HumanBytes(size_of(&after)),
                HumanBytes(size_of(self.before))
            ),
            started.elapsed(),
            json!({"rows": rows_of(&after), "bytes": size_of(&after)}),
        )
    }
}

/// Tells each step as it ends, or keeps all of them for one JSON document.
struct Story {
    quiet: bool,
    steps: Vec<Value>,
}

impl Story {
    fn say(&self, text: &str) -> Result<()> {
        if !self.quiet {
            output::print(text)?;
        }
        Ok(())
    }

    fn step(&mut self, name: &str, text: &str, took: Duration, mut json: Value) -> Result<()> {
        if let Value::Object(json) = &mut json {
            json.insert("step".to_owned(), name.into());
            json.insert("seconds".to_owned(), took.as_secs_f64().into());
        }
        self.steps.push(json);
        let number = self.steps.len();
        let took = seconds(took);
        self.say(&format!("  {number}. {name:<8} {took:>7}  {text}\n"))
    }
}

fn export_rows(engine: &Engine, plan: &Plan, to: &Path) -> Result<sink::Written> {
    let mut rows = engine.export(plan)?;
    let destination = Destination::of(to, "-o")?;
    Ok(destination.write(None, |out| sink::write(&mut rows, Format::Jsonl, out))?)
}

/// Every shard without the plan's rows, by a full read that has nothing in common with a rewrite.
fn read_without(
    root: &Path,
    dataset: &Inspection,
    plan: &Plan,
) -> Result<Vec<(String, RecordBatch)>> {
    let mut shards = Vec::new();
    for shard in &dataset.shards {
        let planned = plan
            .shards
            .iter()
            .find(|planned| planned.path() == shard.path);
        let none = RoaringBitmap::new();
        let rows = planned.map_or(&none, |planned| &planned.rows);
        let batch = read(root, &shard.path)?;
        let stays: BooleanArray = (0_u32..)
            .take(batch.num_rows())
            .map(|row| Some(!rows.contains(row)))
            .collect();
        let batch = filter_record_batch(&batch, &stays).map_err(arrow_error)?;
        shards.push((shard.path.clone(), batch));
    }
    Ok(shards)
}

fn read(root: &Path, path: &str) -> Result<RecordBatch> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(output::open(&root.join(path))?)
        .and_then(ParquetRecordBatchReaderBuilder::build)
        .map_err(|error| FormatError::parquet("read back")(error).in_shard(path))?;
    let schema = arrow::array::RecordBatchReader::schema(&reader);
    let batches = reader.collect::<Result<Vec<_>, _>>().map_err(arrow_error)?;
    Ok(concat_batches(&schema, &batches).map_err(arrow_error)?)
}

fn arrow_error(source: arrow::error::ArrowError) -> Error {
    Error::Arrow {
        context: "demo".to_owned(),
        source,
    }
}

fn claim(holds: bool, otherwise: &str) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Failure::Claim(otherwise.to_owned()))
}

fn rows_of(dataset: &Inspection) -> u64 {
    dataset.shards.iter().map(|shard| shard.rows).sum()
}

fn size_of(dataset: &Inspection) -> u64 {
    dataset.shards.iter().map(|shard| shard.bytes).sum()
}

fn copy_files(from: &Path, to: &Path) -> Result<()> {
    let copy = || -> io::Result<()> {
        let mut directories = vec![(from.to_owned(), to.to_owned())];
        while let Some((from, to)) = directories.pop() {
            fs::create_dir_all(&to)?;
            for entry in fs::read_dir(&from)? {
                let entry = entry?;
                let target = to.join(entry.file_name());
                if entry.file_type()?.is_dir() {
                    directories.push((entry.path(), target));
                } else {
                    fs::copy(entry.path(), target)?;
                }
            }
        }
        Ok(())
    };
    Ok(copy().map_err(io_error("copy", from))?)
}
