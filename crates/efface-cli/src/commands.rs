//! What each command does: options to a call of the library, and its answer to a report.

use std::fs;
use std::io::{self, IsTerminal};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use efface::erase::delete::DeleteOptions;
use efface::export::per_subject::{self, Layout};
use efface::export::sink;
use efface::file_system::disk::PositionedFile;
use efface::request::{Kind, Request};
use efface::shard::Shard;
use efface::shard::chunk::level::ZstdLevel;
use efface::shard::rewrite::{RewriteOptions, rewrite};
use efface::table::directory::is_shard;
use efface::{Error, SubjectId};
use efface_object_store::Location;
use jiff::Timestamp;

use crate::args::{Args, Command, Dataset, Form, Ids, RequestArgs, Rows, Written};
use crate::asked::asked;
use crate::failure::{Failure, Result};
use crate::output::{self, Destination, Place, io_error};
use crate::report::{self, Report};
use crate::session::{location, open};
use crate::{demo, ids, pending, signals, tasks};

/// The exit status of `verify` when something of the ids is left.
const RESIDUE_FOUND: u8 = 6;

/// Carries out the command; returns its exit status.
///
/// # Errors
/// Those of the library, and when the report can't be printed.
pub(crate) fn run(args: &Args) -> Result<u8> {
    let report = match &args.command {
        Command::Init { dataset } => init(args, dataset),
        Command::Index { dataset, verify } => index(args, dataset, *verify),
        Command::Inspect { dataset } => return inspect(args, dataset),
        Command::Plan {
            dataset,
            request,
            guard,
            kind,
        } => plan(args, dataset, &asked(*kind, request, Some(guard))?, request),
        Command::Export {
            dataset,
            request,
            written,
        } => return export(args, dataset, request, written).map(|()| 0),
        Command::Delete {
            dataset,
            request,
            guard,
            suppression,
            compression,
        } => {
            let mut asked = asked(Kind::Delete, request, Some(guard))?;
            asked.suppress = suppression.suppress();
            delete(args, dataset, &asked, request, compression.zstd_level)
        }
        Command::Submit(words) => pending::submit(args, words),
        Command::Extend {
            dataset,
            tracking_id,
            reason,
            until,
        } => pending::extend(&open(args, dataset)?, tracking_id, reason, *until),
        Command::Status {
            dataset,
            tracking_id,
            after,
            limit,
        } => {
            let engine = open(args, dataset)?;
            if let Some(tracking_id) = tracking_id {
                pending::status(&engine, tracking_id)
            } else {
                let (report, status) = pending::waiting(&engine, after.as_deref(), *limit)?;
                report.print(args.json)?;
                return Ok(status);
            }
        }
        Command::Cancel {
            dataset,
            tracking_id,
        } => pending::cancel(&open(args, dataset)?, tracking_id),
        Command::Compact {
            dataset,
            max_match,
            tasks,
            compression,
        } => {
            let options = pending::compact_options(*max_match, compression.zstd_level);
            let engine = open(args, dataset)?;
            if !tasks {
                return pending::compact(args, &engine, &options);
            }
            tasks::hand_out(&engine, &options)
        }
        Command::Task {
            dataset,
            pass,
            number,
        } => return tasks::run(&open(args, dataset)?, pass, number).map(|()| 0),
        Command::Commit { dataset, pass } => {
            return tasks::commit(args, &open(args, dataset)?, pass);
        }
        Command::Receipts { dataset, check } => pending::receipts(&open(args, dataset)?, *check),
        Command::Suppress { what } => pending::suppress(args, what),
        Command::Rewrite {
            input,
            output,
            rows,
            compression,
        } => rewrite_file(args, input, output, rows, compression.zstd_level),
        Command::Demo => return demo::run(args).map(|()| 0),
        Command::Verify { dataset, ids } => return verify(args, dataset, ids),
    };
    report?.print(args.json)?;
    Ok(0)
}

fn init(args: &Args, dataset: &Dataset) -> Result<Report> {
    let engine = open(args, dataset)?;
    engine.store_configuration()?;
    Ok(report::init(engine.config()))
}

fn index(args: &Args, dataset: &Dataset, verify: bool) -> Result<Report> {
    let started = Instant::now();
    let engine = open(args, dataset)?;
    let (index, compared) = if verify {
        let (index, compared) = engine.verify_index()?;
        (index, Some(compared))
    } else {
        (engine.refresh()?, None)
    };
    Ok(report::index(&index, compared.as_ref(), started.elapsed()))
}

fn inspect(args: &Args, dataset: &Dataset) -> Result<u8> {
    let engine = open(args, dataset)?;
    let waiting = engine.waiting(Timestamp::now())?;
    report::inspect(&engine.inspect()?, &waiting)?.print(args.json)?;
    Ok(pending::whole(&waiting))
}

fn plan(args: &Args, dataset: &Dataset, request: &Request, words: &RequestArgs) -> Result<Report> {
    let started = Instant::now();
    let engine = open(args, dataset)?;
    let plan = engine.plan(request)?;
    expect_digest(words, &plan.digest)?;
    let refused = engine.check(&plan).err();
    let found = engine.report(&plan)?;
    Ok(report::plan(&found, refused.as_ref(), started.elapsed())?)
}

fn export(args: &Args, dataset: &Dataset, words: &RequestArgs, how: &Written) -> Result<()> {
    let started = Instant::now();
    let request = asked(Kind::Export, words, None)?;
    let output = how.output.as_path();
    let form = how.form()?;
    let format = match form {
        Form::Rows(format) if !how.per_subject => format,
        Form::Rows(format) => {
            return per_subject(
                args,
                dataset,
                (words, &request),
                output,
                &Layout::new(format),
            );
        }
        Form::Report => {
            return per_subject(args, dataset, (words, &request), output, &Layout::report());
        }
    };
    let destination = Destination::of(output, "-o")?;
    if let Destination::Stdout = destination
        && format.is_binary()
        && io::stdout().is_terminal()
    {
        return Err(Failure::usage(
            "-o",
            "this format is not for terminals: name a file, or redirect the output",
        ));
    }
    let engine = open(args, dataset)?;
    if let Destination::File(place) = &destination {
        refuse_shard(&dataset.path, place)?;
    }
    let plan = engine.plan(&request)?;
    expect_digest(words, &plan.digest)?;
    let mut rows = engine.export(&plan)?;
    signals::cancel(rows.canceller())?;
    let written = destination.write(|out| sink::write(&mut rows, format, out))?;
    let report = report::export(&plan, &written, None, output, started.elapsed());
    match destination {
        Destination::Stdout => report.print_to_stderr(args.json)?,
        Destination::Stream(_) | Destination::File(_) => report.print(args.json)?,
    }
    Ok(())
}

/// An export into a directory.
fn per_subject(
    args: &Args,
    dataset: &Dataset,
    (words, request): (&RequestArgs, &Request),
    output: &Path,
    layout: &Layout,
) -> Result<()> {
    let started = Instant::now();
    let directory = output::directory(output, "-o")?;
    per_subject::check(&directory)?;
    let engine = open(args, dataset)?;
    let name = format!("subject-0001.{}", layout.format.ending());
    if output.is_dir() {
        refuse_shard(&dataset.path, &Place::of(&output.join(name), "-o")?)?;
    } else {
        // It isn't there yet; what would be in it is where it is.
        let place = Place::of(output, "-o")?;
        let beside = Place {
            directory: place.directory,
            name: format!("{}/{name}", place.name),
        };
        refuse_shard(&dataset.path, &beside)?;
    }
    let plan = engine.plan(request)?;
    expect_digest(words, &plan.digest)?;
    let rows = engine.export_by_subject(&plan)?;
    let _held = output::hold(output)?;
    signals::cancel(rows.canceller())?;
    let manifest = per_subject::write(rows, &plan.subjects, &directory, layout)?;
    let written = sink::Written {
        rows: manifest.subjects.iter().map(|entry| entry.rows).sum(),
        bytes: manifest.subjects.iter().map(|entry| entry.bytes).sum(),
    };
    let files = Some(manifest.subjects.len());
    report::export(&plan, &written, files, output, started.elapsed()).print(args.json)?;
    Ok(())
}

fn delete(
    args: &Args,
    dataset: &Dataset,
    request: &Request,
    words: &RequestArgs,
    zstd_level: ZstdLevel,
) -> Result<Report> {
    let started = Instant::now();
    let options = DeleteOptions {
        now: Some(Timestamp::now()),
        zstd_level,
        ..DeleteOptions::default()
    };
    let expected = words.expected_plan.as_deref();
    let done = open(args, dataset)?.delete(request, expected, &options)?;
    Ok(report::delete(&done, request.clears(), started.elapsed())?)
}

fn verify(args: &Args, dataset: &Dataset, ids: &Ids) -> Result<u8> {
    let started = Instant::now();
    let subjects = ids::subjects(ids)?;
    let ids: Vec<SubjectId> = subjects.iter().map(|(_, id)| id.clone()).collect();
    let found = open(args, dataset)?.verify(&ids)?;
    report::verify(&found, started.elapsed())?.print(args.json)?;
    Ok(if found.clean { 0 } else { RESIDUE_FOUND })
}

fn rewrite_file(
    args: &Args,
    input: &Path,
    out: &Path,
    rows: &Rows,
    zstd_level: ZstdLevel,
) -> Result<Report> {
    let started = Instant::now();
    let real_input = fs::canonicalize(input).map_err(io_error("open", input))?;
    if fs::canonicalize(out).is_ok_and(|real_output| real_output == real_input) {
        return Err(Failure::usage("OUT", "it is the same file as IN"));
    }
    let Destination::File(to) = Destination::of(out, "OUT")? else {
        return Err(Failure::usage("OUT", "it must be a regular file"));
    };
    // Messages name the file as the caller does.
    let file = output::open(&real_input)
        .and_then(|file| PositionedFile::new(file).map_err(io_error("open", input)))?;
    let shard = Shard::new(&input.display().to_string(), Arc::new(file))?;
    let options = RewriteOptions {
        memory: args.memory(),
        zstd_level,
    };
    let done = to.publish(|sink, temporary| {
        let done = rewrite(&shard, &rows.0, sink, &options)?;
        sink.sync().map_err(io_error("write", out))?;
        check_rows(out, temporary, shard.footer.rows(), rows.0.len())?;
        Ok(done)
    })?;
    Ok(report::rewrite(&done, started.elapsed()))
}

/// Reads the new footer back before the file gets its name.
fn check_rows(out: &Path, temporary: &Path, before: u64, removed: u64) -> efface::Result<()> {
    let file = output::open(temporary)
        .and_then(|file| PositionedFile::new(file).map_err(io_error("open", out)))?;
    let written = Shard::new(&out.display().to_string(), Arc::new(file))?;
    let (found, expected) = (written.footer.rows(), before.saturating_sub(removed));
    if found == expected {
        return Ok(());
    }
    Err(Error::CheckFailed {
        path: out.display().to_string(),
        reason: format!("it has {found} rows instead of {expected}"),
    })
}

fn expect_digest(words: &RequestArgs, found: &str) -> Result<()> {
    match &words.expected_plan {
        Some(expected) if expected != found => Err(Failure::Library(Error::PlanChanged {
            expected: expected.clone(),
            found: found.to_owned(),
        })),
        _ => Ok(()),
    }
}

/// An export that lies in the dataset as a Parquet file would count as one of its shards.
fn refuse_shard(dataset: &Path, place: &Place) -> Result<()> {
    let Location::Local(root) = location(dataset)? else {
        return Ok(());
    };
    let root = root.as_path();
    let root = fs::canonicalize(root).map_err(io_error("open", root))?;
    let directory = &place.directory;
    let directory = fs::canonicalize(directory).map_err(io_error("open", directory))?;
    let inside = directory.join(&place.name);
    let path = inside.strip_prefix(root).ok().and_then(Path::to_str);
    if path.is_some_and(is_shard) {
        return Err(Failure::usage(
            "-o",
            "a Parquet file inside the dataset would count as one of its shards",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_export_never_becomes_a_shard_of_its_dataset() {
        let directory = tempfile::tempdir().unwrap();
        let place = |name| Place::of(&directory.path().join(name), "-o").unwrap();
        for shard in ["rows.parquet", "rows.PQ", "rows.parq"] {
            assert!(
                refuse_shard(directory.path(), &place(shard)).is_err(),
                "{shard}"
            );
        }
        for other in ["rows.jsonl", ".rows.parquet", "_rows.pq"] {
            assert!(
                refuse_shard(directory.path(), &place(other)).is_ok(),
                "{other}"
            );
        }
        let elsewhere = tempfile::tempdir().unwrap();
        assert!(refuse_shard(elsewhere.path(), &place("rows.parquet")).is_ok());
    }
}
