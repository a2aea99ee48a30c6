//! The events that `state_0_1/make.py` writes, and those that a shard holds.

use std::fs::File;
use std::path::Path;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Float64Type, Int64Type, TimestampMillisecondType};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Every shard of a case, in the order of their numbers.
pub(crate) const SHARDS: [&str; 4] = ["a.parquet", "b.parquet", "day=1/c.parquet", "late.parquet"];

/// The values of one event: the subject, `seq`, the time, `event`, `$browser`, `city` and `price`.
pub(crate) type Event = (
    String,
    i64,
    i64,
    String,
    Option<String>,
    Option<String>,
    f64,
);

/// What `state_0_1/make.py` wrote into a shard.
pub(crate) fn original(shard: usize) -> Vec<Event> {
    let people = [
        "bob",
        "ada@gone",
        "cyd",
        "eve@gone",
        "dan",
        "laptop@gone",
        "gus",
        "fay@gone",
    ];
    let late = ["dan", "eve@gone", "bob", "gus"];
    let (people, rows) = match shard {
        3 => (&late[..], 16),
        _ => (&people[..], 32),
    };
    let event = |row: usize| {
        let person = people[(3 * row + shard) % people.len()];
        let number = 100 * shard + row;
        let seq = i64::try_from(number).unwrap();
        let browser = [Some("Firefox"), Some("Safari"), None][number % 3];
        (
            person.to_owned(),
            seq,
            1_767_225_600_000 + 1000 * seq,
            ["open", "buy", "close"][number % 3].to_owned(),
            browser.map(str::to_owned),
            Some(format!("City {}", number % 5)),
            f64::from(u32::try_from(number).unwrap()) / 4.0,
        )
    };
    (0..rows).map(event).collect()
}

pub(crate) fn read(path: &Path) -> Vec<Event> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(path).unwrap());
    let mut events = Vec::new();
    for batch in reader.unwrap().build().unwrap() {
        let batch = batch.unwrap();
        let column = |name: &str| batch.column_by_name(name).unwrap();
        let text = |name: &str, row: usize| {
            let values = column(name).as_string::<i32>();
            values.is_valid(row).then(|| values.value(row).to_owned())
        };
        for row in 0..batch.num_rows() {
            events.push((
                text("distinct_id", row).unwrap(),
                column("seq").as_primitive::<Int64Type>().value(row),
                column("time")
                    .as_primitive::<TimestampMillisecondType>()
                    .value(row),
                text("event", row).unwrap(),
                text("$browser", row),
                text("city", row),
                column("price").as_primitive::<Float64Type>().value(row),
            ));
        }
    }
    events
}
