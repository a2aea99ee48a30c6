//! The cost of carrying a plan out, from the page indexes (or the page headers) of the row groups that it touches.
//!
//! The price of a delete is found with its plan, so that damage is refused before anything is touched; that of an
//! export only when the caller asks.

use rayon::prelude::*;
use roaring::RoaringBitmap;

use super::named::stays;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::parquet_bytes::page_places::Places;
use crate::plan::{Plan, PlanReport, Price, ShardPlan};
use crate::request::{Disclosure, Kind};
use crate::shard::Shard;
use crate::shard::clear::Clearing;

/// What `plan` says, with the price of each shard.
pub(crate) fn report(dataset: &Dataset, plan: &Plan) -> Result<PlanReport> {
    let of_each: Vec<Result<Price>> = plan
        .shards
        .par_iter()
        .map(|planned| match planned.price {
            Some(price) => Ok(price),
            None => of_export(dataset, planned),
        })
        .collect();
    let prices: Vec<Price> = of_each.into_iter().collect::<Result<_>>()?;
    let refused = check(dataset, plan).err();
    Ok(PlanReport::new(plan, &prices, refused.as_ref()))
}

/// Whether what is planned would be carried out, as far as can be told without trying.
///
/// # Errors
/// Those of [`Plan::check`]; of a delete also [`ManagedTable`](Error::ManagedTable), as far as can be seen without
/// listing all files, and [`Place`](Error::Place), when rows would stay elsewhere.
pub(crate) fn check(dataset: &Dataset, plan: &Plan) -> Result<()> {
    plan.check()?;
    match plan.kind() {
        Kind::Export => Ok(()),
        Kind::Delete => {
            dataset.table.check_changeable()?;
            if plan.disclosure() == Disclosure::Data {
                let is_gone = |path: &str| {
                    let planned = plan.shards.iter().find(|planned| planned.path() == path);
                    planned.is_some_and(|planned| planned.rows.len() == planned.total_rows)
                };
                let shards = dataset.snapshot()?.shards;
                if let Some(error) = stays(dataset, &shards, plan.names(), &is_gone)? {
                    return Err(error);
                }
            }
            let mut shards = plan.shards.iter();
            shards.try_for_each(|planned| dataset.check_names(&planned.shard))
        }
    }
}

fn of_export(dataset: &Dataset, planned: &ShardPlan) -> Result<Price> {
    let shard = dataset.open(&planned.shard)?;
    if shard.footer.hash != planned.footer_hash {
        return Err(Error::ShardChanged { path: shard.path });
    }
    of_pages(&shard, &planned.rows, None)
}

/// The pages with some of `rows`; with `clearing`, only those of the columns that lose values.
pub(super) fn of_pages(
    shard: &Shard,
    rows: &RoaringBitmap,
    clearing: Option<&Clearing>,
) -> Result<Price> {
    let mut price = Price::default();
    let row = |row: u64| u32::try_from(row).unwrap_or(u32::MAX);
    let is_hit = |first: u64, last: u64| rows.range_cardinality(row(first)..row(last)) > 0;
    let columns = shard.footer.schema().columns();
    for (group, base) in shard.footer.row_groups().iter().zip(shard.row_bases()) {
        if !is_hit(base, base + group.rows) {
            continue;
        }
        for (leaf, (chunk, descriptor)) in group.chunks.iter().zip(columns).enumerate() {
            if clearing.is_some_and(|clearing| clearing.action(leaf).is_none()) {
                continue;
            }
            let is_flat = descriptor.max_rep_level() == 0;
            let places = Places::find(&shard.file, chunk, is_flat, group.rows)
                .map_err(|error| error.in_shard(&shard.path))?;
            for place in places.pages {
                let of_page = place.rows.as_ref();
                if of_page.is_none_or(|rows| is_hit(base + rows.start, base + rows.end)) {
                    price.pages += 1;
                    price.bytes += place.bytes.end - place.bytes.start;
                }
            }
        }
    }
    Ok(price)
}
