//! What a plan's disclosure asks for: rows, or the headers of the data table; all together, or told apart by subject.

use std::sync::Arc;

use arrow::array::{AsArray, UInt64Array};
use arrow::datatypes::{Schema, SchemaRef};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::arrow_types::arrow_schema;
use super::categories::Categories;
use super::headers::{Columns, Roles};
use super::int96::Instants;
use super::owners::{Owners, Subjects};
use super::{Canceller, Export, ExportOptions, ShardRows, open_unchanged};
use crate::config::Config;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::parquet_bytes::footer::Footer;
use crate::plan::Plan;
use crate::request::Disclosure;
use crate::shard::select::Wanted;

/// An export as it was asked for.
#[derive(Debug)]
pub enum Disclosed {
    /// Rows: whole ones, or only whose each one is, when, and how it was collected.
    Rows(Export),
    /// Which columns of the rows hold a value, for each subject.
    Categories(Categories),
}

impl Disclosed {
    pub(crate) fn new(dataset: &Dataset, plan: &Plan) -> Result<Self> {
        let sources_of = match plan.disclosure() {
            Disclosure::Data => None,
            Disclosure::Sources => Some(Arc::new(dataset.config.clone())),
            Disclosure::Categories => return categories(dataset, plan).map(Self::Categories),
        };
        rows(dataset, plan, sources_of).map(Self::Rows)
    }
}

impl Disclosed {
    /// What gives this export up.
    pub fn canceller(&self) -> Canceller {
        match self {
            Self::Rows(rows) => rows.canceller(),
            Self::Categories(categories) => categories.canceller(),
        }
    }
}

impl Iterator for Disclosed {
    type Item = Result<RecordBatch, ArrowError>;

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Self::Rows(rows) => rows.next(),
            Self::Categories(categories) => categories.next(),
        }
    }
}

impl RecordBatchReader for Disclosed {
    fn schema(&self) -> SchemaRef {
        match self {
            Self::Rows(rows) => rows.schema(),
            Self::Categories(categories) => categories.schema(),
        }
    }
}

/// An export batch by batch, with the subjects of each row.
pub struct BySubject {
    disclosed: Disclosed,
    /// The owners of rows; headers name theirs themselves.
    owners: Option<Owners>,
    /// The position of each subject in the request.
    positions: Vec<usize>,
    about: About,
}

/// What is said of an export besides its rows.
#[derive(Debug, Clone)]
pub(super) struct About {
    /// What the rows are of.
    pub(super) table: String,
    pub(super) disclosure: Disclosure,
    pub(super) roles: Roles,
    config: Config,
}

impl About {
    /// The columns of an export with this schema.
    pub(super) fn columns(&self, schema: &Schema) -> Columns {
        Columns::new(schema, &self.roles, &self.config)
    }
}

/// A batch, and whose its rows are.
#[derive(Debug, Clone)]
pub struct Owned {
    /// The rows.
    pub batch: RecordBatch,
    /// The subjects of each, by their place in the plan.
    pub subjects: Vec<Subjects>,
}

impl BySubject {
    pub(crate) fn new(dataset: &Dataset, plan: &Plan) -> Result<Self> {
        let owners = match plan.disclosure() {
            Disclosure::Data | Disclosure::Sources => Some(owners(dataset, plan)?),
            Disclosure::Categories => None,
        };
        Ok(Self {
            disclosed: Disclosed::new(dataset, plan)?,
            owners,
            positions: positions(plan),
            about: About {
                table: dataset.name(),
                disclosure: plan.disclosure(),
                roles: roles(dataset, plan)?,
                config: dataset.config.clone(),
            },
        })
    }

    pub(super) fn about(&self) -> About {
        self.about.clone()
    }

    /// What gives this export up.
    pub fn canceller(&self) -> Canceller {
        self.disclosed.canceller()
    }

    /// The schema of the batches.
    pub fn schema(&self) -> SchemaRef {
        self.disclosed.schema()
    }

    fn owned(&mut self, batch: RecordBatch) -> Result<Owned> {
        let subjects = if let Some(owners) = &mut self.owners {
            owners.next_rows(batch.num_rows())?
        } else {
            let positions = batch.column_by_name("subject");
            let positions = positions.and_then(|column| column.as_primitive_opt());
            let none = UInt64Array::from(Vec::<u64>::new());
            let positions = positions.unwrap_or(&none).values().iter();
            positions.map(|position| self.place(*position)).collect()
        };
        Ok(Owned { batch, subjects })
    }

    fn place(&self, position: u64) -> Subjects {
        let mut positions = (0..).zip(&self.positions);
        let place = positions.find(|(_, known)| **known as u64 == position);
        place.map(|(place, _)| place).into_iter().collect()
    }
}

impl Iterator for BySubject {
    type Item = Result<Owned>;

    fn next(&mut self) -> Option<Self::Item> {
        let batch = self.disclosed.next()?;
        let batch = batch.map_err(Error::arrow("reading the export"));
        Some(batch.and_then(|batch| self.owned(batch)))
    }
}

impl std::fmt::Debug for BySubject {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BySubject({} subjects)", self.positions.len())
    }
}

fn selected(plan: &Plan) -> Vec<ShardRows> {
    let shards = plan.shards.iter().map(|shard| ShardRows {
        shard: shard.shard.clone(),
        footer_hash: shard.footer_hash,
        rows: shard.rows.clone(),
    });
    shards.collect()
}

fn positions(plan: &Plan) -> Vec<usize> {
    plan.subjects
        .iter()
        .map(|subject| subject.position)
        .collect()
}

fn rows(dataset: &Dataset, plan: &Plan, sources_of: Option<Arc<Config>>) -> Result<Export> {
    let options = ExportOptions {
        sources_of,
        ..ExportOptions::default()
    };
    let footers = plan.shards.iter().map(|shard| shard.footer.clone());
    let mut shards: Vec<(ShardRows, Option<Arc<Footer>>)> =
        selected(plan).into_iter().zip(footers).collect();
    if shards.is_empty() {
        shards.push((nothing(dataset)?, None));
    }
    Export::with_footers(Arc::clone(&dataset.table), shards, &options)
}

/// No row of the first shard: it says what columns an export without rows has.
fn nothing(dataset: &Dataset) -> Result<ShardRows> {
    let snapshot = dataset.snapshot()?;
    let shards = || snapshot.shards.iter();
    let mut whole = shards().filter(|shard| !dataset.config.may_lack_subject(&shard.path));
    let shard = whole.next().or_else(|| shards().next());
    let shard = shard.ok_or_else(|| Error::NoShards {
        path: dataset.table.name(),
    })?;
    Ok(ShardRows {
        footer_hash: dataset.open(shard)?.footer.hash,
        shard: shard.clone(),
        rows: RoaringBitmap::new(),
    })
}

fn owners(dataset: &Dataset, plan: &Plan) -> Result<Owners> {
    let Some(wanted) = plan.wanted() else {
        return Err(Error::PlanWithoutIds);
    };
    let wanted: Arc<Wanted> = Arc::clone(wanted);
    let table = Arc::clone(&dataset.table);
    Ok(Owners::new(
        table,
        dataset.config.clone(),
        wanted,
        selected(plan),
    ))
}

fn categories(dataset: &Dataset, plan: &Plan) -> Result<Categories> {
    let export = rows(dataset, plan, None)?;
    let columns = Columns::new(&export.schema(), &roles(dataset, plan)?, &dataset.config);
    let table = dataset.name();
    Ok(Categories::new(
        table,
        positions(plan),
        export,
        owners(dataset, plan)?,
        columns,
    ))
}

/// The roles of the columns in all shards of the plan.
pub(super) fn roles(dataset: &Dataset, plan: &Plan) -> Result<Roles> {
    let of_each: Vec<Roles> = selected(plan)
        .par_iter()
        .map(|rows| {
            let shard = open_unchanged(&*dataset.table, rows, None)?;
            let schema = Arc::new(arrow_schema(&shard.path, &shard.footer, &Instants::new())?);
            Roles::of(&shard, &schema, &dataset.config, plan.disclosure())
        })
        .collect::<Result<_>>()?;
    let mut roles = Roles::default();
    for of_shard in of_each {
        roles.add(of_shard);
    }
    Ok(roles)
}
