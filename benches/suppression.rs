//! The suppression filter for record batches on their way in.
//!
//! ```sh
//! cargo bench --bench suppression
//! ```
//!
//! 100 batches of 8,192 rows with a dictionary column of 100,000 ids, each row drawn evenly (a linear congruential
//! generator, seed 1; about 7,860 different ids a batch); 10,000 other ids are suppressed, so nothing is filtered out.
//! One thread, all in memory; this is the full size. Beside it the limit: the keys of the batches summed up.

use std::hint::black_box;
use std::sync::Arc;

use arrow::array::{ArrayRef, DictionaryArray, Int32Array, RecordBatch, StringArray};
use arrow::datatypes::Int32Type;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use efface::shard::roles::Roles;
use efface::subject::{SubjectId, SubjectKey};
use efface::suppression::Suppression;
use efface::suppression::filter::Filter;

const ROWS: usize = 8192;
const BATCHES: usize = 100;
const IDS: u64 = 100_000;

fn suppression(criterion: &mut Criterion) {
    let key = SubjectKey::new([7; 32]);
    let mut list = Suppression::default();
    let gone: Vec<SubjectId> = (0..10_000)
        .map(|id| SubjectId::new(format!("gone-{id}")))
        .collect();
    list.add(&key, &gone, None, "2026-01-31T12:00:00Z".parse().unwrap());
    let entries: ArrayRef = Arc::new(StringArray::from_iter_values(
        (0..IDS).map(|id| format!("user-{id}")),
    ));
    let mut state = 1_u64;
    let batches: Vec<RecordBatch> = (0..BATCHES)
        .map(|_| {
            let keys = Int32Array::from_iter_values((0..ROWS).map(|_| {
                state = state
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1);
                i32::try_from((state >> 33) % IDS).unwrap()
            }));
            let ids: ArrayRef = Arc::new(DictionaryArray::<Int32Type>::new(
                keys,
                Arc::clone(&entries),
            ));
            RecordBatch::try_from_iter([("distinct_id", ids)]).unwrap()
        })
        .collect();
    let schema = batches[0].schema();
    let mut filter = Filter::new(&list, &key, &schema, &Roles::default()).unwrap();
    let mut group = criterion.benchmark_group("suppression");
    group.throughput(Throughput::Elements((ROWS * BATCHES) as u64));
    group.bench_function("filter", |bencher| {
        bencher.iter(|| {
            for batch in &batches {
                assert_eq!(
                    filter.keep(black_box(batch), |_| None).unwrap().num_rows(),
                    ROWS
                );
            }
        });
    });
    group.bench_function("limit: keys summed up", |bencher| {
        bencher.iter(|| {
            let keys = batches.iter().map(|batch| {
                let ids = batch
                    .column(0)
                    .as_any()
                    .downcast_ref::<DictionaryArray<Int32Type>>();
                ids.unwrap()
                    .keys()
                    .values()
                    .iter()
                    .map(|key| i64::from(*key))
                    .sum::<i64>()
            });
            black_box(keys.sum::<i64>())
        });
    });
    group.finish();
}

criterion_group!(benches, suppression);
criterion_main!(benches);
