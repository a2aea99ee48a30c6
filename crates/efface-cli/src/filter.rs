//! The command `filter`: events come in on standard input, and those that no suppressed id names go out.
//!
//! What can't be judged stops it, unless the options say otherwise. What was written before that stays written: whoever
//! reads the output looks at the exit status.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, SchemaRef, TimeUnit, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use efface::engine::Engine;
use efface::export::sink::{self, Format};
use efface::shard::roles::{Roles, TIME_NAMES};
use efface::shard::time::UnitName;
use efface::subject::SubjectKey;
use efface::suppression::Suppression;
use efface::suppression::filter::Filter;
use efface::suppression::lines::{Lines, Unjudged};
use efface::{Error, ErrorKind};
use jiff::Timestamp;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use crate::args::{EventFormat, FilterArgs, OnError};
use crate::failure::{Failure, Result};
use crate::output::{Destination, io_error};
use crate::report::Report;
use crate::report::pending as report;

/// Bytes of one line of JSON.
const LINE_BYTES_MAX: u64 = 64 << 20;
const STDIN: &str = "standard input";

/// What became of the events.
#[derive(Default)]
struct Counts {
    kept: u64,
    dropped: u64,
    unjudged: u64,
}

/// The list, and how to compare with it.
struct Judge {
    list: Suppression,
    key: Option<SubjectKey>,
    roles: Roles,
    on_error: OnError,
}

/// Passes standard input on, without events of suppressed ids.
///
/// # Errors
/// [`Failure::Unjudged`] when an event can't be judged and that stops it; what is wrong with the input or the list.
pub(crate) fn run(engine: &Engine, words: &FilterArgs) -> Result<Report> {
    let judge = Judge {
        list: engine.suppression()?,
        key: engine.key_of_hashes()?,
        roles: engine.config().roles(),
        on_error: words.on_error,
    };
    let mut counts = Counts::default();
    let to = Destination::Stdout;
    let mut failed = None;
    let written = to.write(None, |out| {
        let done = match words.format {
            EventFormat::Jsonl => judge.lines(out, &mut counts),
            EventFormat::Arrow => judge.arrow(out, &mut counts),
            EventFormat::Parquet => judge.parquet(out, &mut counts),
        };
        match done {
            Ok(()) => Ok(()),
            Err(Failure::Library(error)) => Err(error),
            Err(other) => {
                failed = Some(other);
                Ok(())
            }
        }
    });
    written?;
    failed.map_or(Ok(()), Err)?;
    Ok(report::filtered(
        counts.kept,
        counts.dropped,
        counts.unjudged,
    ))
}

impl Judge {
    fn lines(&self, out: &mut (dyn Write + Send), counts: &mut Counts) -> Result<()> {
        let lines = Lines::new(&self.list, self.key.as_ref(), &self.roles);
        let mut input = BufReader::new(io::stdin().lock());
        let mut line = Vec::new();
        let mut number = 0_u64;
        loop {
            line.clear();
            let read = input
                .by_ref()
                .take(LINE_BYTES_MAX)
                .read_until(b'\n', &mut line);
            if read.map_err(Error::io("read", STDIN))? == 0 {
                return Ok(());
            }
            number += 1;
            if line.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            if line.len() as u64 == LINE_BYTES_MAX && !line.ends_with(b"\n") {
                return Err(Failure::Unjudged(format!(
                    "event {number} has more than {LINE_BYTES_MAX} bytes"
                )));
            }
            let text = std::str::from_utf8(&line).map_err(|_| Unjudged::NoObject);
            let passes = match text.and_then(|text| lines.may_come_in(text)) {
                Ok(true) => {
                    counts.kept += 1;
                    true
                }
                Ok(false) => {
                    counts.dropped += 1;
                    false
                }
                Err(why) => {
                    counts.unjudged += 1;
                    self.unjudged(&format!("event {number} can't be judged: {why}"))?
                }
            };
            if passes {
                out.write_all(&line)
                    .map_err(Error::io("write to", "standard output"))?;
            }
        }
    }

    /// What becomes of what can't be judged: whether it passes.
    fn unjudged(&self, why: &str) -> Result<bool> {
        match self.on_error {
            OnError::Stop => Err(Failure::Unjudged(why.to_owned())),
            OnError::Drop => Ok(false),
            OnError::Pass => Ok(true),
        }
    }

    fn arrow(&self, out: &mut (dyn Write + Send), counts: &mut Counts) -> Result<()> {
        let input = BufReader::new(io::stdin().lock());
        let batches = StreamReader::try_new(input, None).map_err(Error::arrow("reading events"))?;
        self.batches(&batches.schema(), batches, Format::Arrow, out, counts)
    }

    fn parquet(&self, out: &mut (dyn Write + Send), counts: &mut Counts) -> Result<()> {
        // Its footer comes last.
        let mut file: File = tempfile::tempfile().map_err(Error::io("make", "a temporary file"))?;
        io::copy(&mut io::stdin().lock(), &mut file).map_err(io_error("read", STDIN.as_ref()))?;
        let failed = |error: parquet::errors::ParquetError| {
            Error::arrow("reading events")(ArrowError::from(error))
        };
        let reader = ParquetRecordBatchReaderBuilder::try_new(file).map_err(failed)?;
        let batches = reader.build().map_err(failed)?;
        let schema = arrow::array::RecordBatchReader::schema(&batches);
        self.batches(&schema, batches, Format::Parquet, out, counts)
    }

    fn batches(
        &self,
        schema: &SchemaRef,
        batches: impl Iterator<Item = Result<RecordBatch, ArrowError>>,
        format: Format,
        out: &mut (dyn Write + Send),
        counts: &mut Counts,
    ) -> Result<()> {
        let nobody = SubjectKey::random();
        let key = self.key.as_ref().unwrap_or(&nobody);
        let mut filter = match Filter::new(&self.list, key, schema, &self.roles) {
            Ok(filter) => Some(filter),
            Err(error) if error.kind() == ErrorKind::Usage => {
                self.unjudged(&format!("no event can be judged: {error}"))?;
                None
            }
            Err(error) => return Err(error.into()),
        };
        let passes = self.on_error == OnError::Pass;
        let kept = batches.filter_map(|batch| {
            let batch = match batch {
                Ok(batch) => batch,
                Err(error) => return Some(Err(error)),
            };
            let rows = batch.num_rows() as u64;
            let Some(filter) = &mut filter else {
                counts.unjudged += rows;
                return passes.then_some(Ok(batch));
            };
            let times = self.times(&batch);
            let time_of = |row: usize| {
                let times = times.as_ref()?.as_primitive::<TimestampMicrosecondType>();
                let time = times.is_valid(row).then(|| times.value(row))?;
                Timestamp::from_microsecond(time).ok()
            };
            let kept = filter.keep(&batch, time_of);
            let kept = kept.map_err(|error| ArrowError::ExternalError(Box::new(error)));
            if let Ok(kept) = &kept {
                counts.kept += kept.num_rows() as u64;
                counts.dropped += rows - kept.num_rows() as u64;
            }
            Some(kept)
        });
        sink::write_batches(schema, kept, format, out)?;
        Ok(())
    }

    /// The times of a batch; `None` if they can't be told.
    fn times(&self, batch: &RecordBatch) -> Option<arrow::array::ArrayRef> {
        let named = self.roles.time.as_deref();
        let names = named.map_or(TIME_NAMES.to_vec(), |name| vec![name]);
        let column = names.iter().find_map(|name| batch.column_by_name(name))?;
        let unit = match self.roles.time_unit {
            None => None,
            Some(UnitName::Seconds) => Some(TimeUnit::Second),
            Some(UnitName::Milliseconds) => Some(TimeUnit::Millisecond),
            Some(UnitName::Microseconds) => Some(TimeUnit::Microsecond),
            Some(UnitName::Nanoseconds) => Some(TimeUnit::Nanosecond),
        };
        let instants = if column.data_type().is_integer() {
            cast(column, &DataType::Timestamp(unit?, None)).ok()?
        } else {
            column.clone()
        };
        // A zone changes how an instant is shown, not which one it is.
        let micros = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
        cast(&instants, &micros).ok()
    }
}
