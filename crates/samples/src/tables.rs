//! The small files beside the shards: the alias table and the lists of ids.

use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;

use crate::args::TableForm;
use crate::columns::DISTINCT_ID;
use crate::counts::Counts;
use crate::ids::Name;
use crate::world::World;
use crate::{Problem, about};

const ALIAS: &str = "alias";
const BATCH_ROWS: usize = 8_192;

/// Writes the alias table. Memory: one batch of links and, as Parquet, one row group.
pub(crate) fn write_aliases(
    world: &World,
    form: TableForm,
    directory: &Path,
) -> Result<(), Problem> {
    match form {
        TableForm::Csv => {
            let path = directory.join("aliases.csv");
            let links = world.aliases.links().map(|(alias, name)| [alias, name]);
            write_csv(world, &[ALIAS, DISTINCT_ID], links, &path).map_err(about(&path))
        }
        TableForm::Parquet => {
            let path = directory.join("aliases.parquet");
            write_parquet(world, &path).map_err(about(&path))
        }
    }
}

/// Writes the lists of ids to ask for.
pub(crate) fn write_ids(world: &World, counts: &Counts, directory: &Path) -> Result<(), Problem> {
    let median: Vec<Name> = counts.median_person(world).into_iter().collect();
    let curious: Vec<Name> = counts
        .alias_with_rows(world)
        .into_iter()
        .chain(world.aliases.curious())
        .chain(median.iter().copied())
        .collect();
    let lists = [
        ("ids.csv", curious),
        ("ids-1.csv", median),
        ("ids-20.csv", counts.sample(world.seed, 20)),
        ("ids-2000.csv", counts.sample(world.seed, 2_000)),
    ];
    for (file_name, names) in lists {
        let path = directory.join(file_name);
        let records = names.into_iter().map(|name| [name]);
        write_csv(world, &[DISTINCT_ID], records, &path).map_err(about(&path))?;
    }
    Ok(())
}

fn write_csv<const N: usize>(
    world: &World,
    header: &[&str; N],
    records: impl Iterator<Item = [Name; N]>,
    path: &Path,
) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_path(path)?;
    writer.write_record(header)?;
    for names in records {
        writer.write_record(names.map(|name| world.ids.text(name)))?;
    }
    writer.flush()?;
    Ok(())
}

fn write_parquet(world: &World, path: &Path) -> Result<(), Box<dyn Error + Send + Sync>> {
    let field = |name| Field::new(name, DataType::Utf8, false);
    let schema = Arc::new(Schema::new(vec![field(ALIAS), field(DISTINCT_ID)]));
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .build();
    let mut writer =
        ArrowWriter::try_new(File::create(path)?, Arc::clone(&schema), Some(properties))?;
    let mut links = world.aliases.links().peekable();
    while links.peek().is_some() {
        let (aliases, names): (Vec<String>, Vec<String>) = links
            .by_ref()
            .take(BATCH_ROWS)
            .map(|(alias, name)| (world.ids.text(alias), world.ids.text(name)))
            .unzip();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(aliases)),
            Arc::new(StringArray::from(names)),
        ];
        writer.write(&RecordBatch::try_new(Arc::clone(&schema), columns)?)?;
    }
    writer.close()?;
    Ok(())
}
