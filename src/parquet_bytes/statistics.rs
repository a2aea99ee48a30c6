//! `Statistics` and `SizeStatistics` after some values were removed or changed. A field that can't stem from a removed
//! value stays. The others are rebuilt from the values that are left, or removed.

use super::footer::statistics as field;
use super::order::{Bound, Extremes, ValueOrder, cut_max, cut_min};
use super::thrift::{List, Struct, Value};

/// Rebuilt bounds of strings are cut to this length, as most writers do, unless the old ones were longer.
pub const BOUND_BYTES_MAX: usize = 64;

/// The bounds of a `Statistics`, and what is known of where they stem from.
#[derive(Debug, Default)]
pub struct Watched {
    bounds: Vec<(i16, Bound)>,
}

impl Watched {
    /// The bounds in `tree`.
    pub fn new(tree: &Struct, order: Option<ValueOrder>) -> Self {
        let fields = [
            (field::MIN, false),
            (field::MAX, true),
            (field::MIN_VALUE, false),
            (field::MAX_VALUE, true),
        ];
        let bounds = fields
            .into_iter()
            .filter_map(|(id, is_max)| Some((id, Bound::new(tree.binary(id)?, is_max, order))))
            .collect();
        Self { bounds }
    }

    /// The bounds, to see values.
    pub fn bounds_mut(&mut self) -> impl Iterator<Item = &mut Bound> {
        self.bounds.iter_mut().map(|(_, bound)| bound)
    }

    /// Whether a bound may not be kept, as far as is known.
    pub fn is_open(&self) -> bool {
        self.bounds.iter().any(|(_, bound)| bound.is_open())
    }

    /// Replaces the bounds of `tree` that may not be kept by those of `left`, the values that are left, and
    /// removes those that can't be told to be right.
    pub fn mend(&self, tree: &mut Struct, order: Option<ValueOrder>, left: &Extremes) {
        let fresh = order.and_then(|order| left.bounds(order).map(|bounds| (order, bounds)));
        for (id, bound) in self.bounds.iter().filter(|(_, bound)| bound.is_open()) {
            let is_deprecated = matches!(*id, field::MIN | field::MAX);
            let exact = match *id {
                field::MIN_VALUE => Some(field::IS_MIN_VALUE_EXACT),
                field::MAX_VALUE => Some(field::IS_MAX_VALUE_EXACT),
                _ => None,
            };
            match &fresh {
                Some((order, (min, max))) if !is_deprecated || order.is_deprecated_one() => {
                    let is_max = matches!(*id, field::MAX | field::MAX_VALUE);
                    let mut bytes = if is_max { max.clone() } else { min.clone() };
                    let is_cut = !is_deprecated && cut(&mut bytes, *order, is_max, bound);
                    tree.set(*id, Value::Binary(bytes));
                    if let Some(exact) = exact
                        && (is_cut || tree.get(exact).is_some())
                    {
                        tree.set(exact, Value::Bool(!is_cut));
                    }
                }
                _ => {
                    tree.remove(*id);
                    if let Some(exact) = exact {
                        tree.remove(exact);
                    }
                }
            }
        }
        // The deprecated bounds of other orders were made by a wrong one, and some readers believe them.
        if !order.is_some_and(ValueOrder::is_deprecated_one) {
            tree.remove(field::MIN);
            tree.remove(field::MAX);
        }
        // Half a pair of the deprecated bounds is no use, and neither is half of the other one.
        for pair in [
            [field::MIN, field::MAX],
            [field::MIN_VALUE, field::MAX_VALUE],
        ] {
            if pair.iter().any(|id| tree.get(*id).is_none()) {
                for id in pair {
                    tree.remove(id);
                }
            }
        }
    }
}

/// Cuts a fresh bound as the one that it replaces may have been cut; says whether it did.
pub fn cut(bytes: &mut Vec<u8>, order: ValueOrder, is_max: bool, replaced: &Bound) -> bool {
    let len = replaced.len().max(BOUND_BYTES_MAX);
    match (order.is_cut(), is_max) {
        (false, _) => false,
        (true, false) => cut_min(bytes, len),
        (true, true) => cut_max(bytes, len),
    }
}

/// Changes a count, which goes when that makes it negative.
pub fn change(tree: &mut Struct, id: i16, by: i64) {
    let left = tree.i64(id).and_then(|count| changed(count, by));
    tree.set_or_remove(id, left.map(Value::I64));
}

/// `count + by`, if that is not negative. A count that is negative to begin with means that it isn't known,
/// and stays so.
pub fn changed(count: i64, by: i64) -> Option<i64> {
    if count < 0 {
        return Some(count);
    }
    count.checked_add(by).filter(|left| *left >= 0)
}

/// `histogram + by`, level by level, if none of it is negative.
pub fn histogram_changed(histogram: &[i64], by: &[i64]) -> Option<Vec<i64>> {
    histogram
        .iter()
        .enumerate()
        .map(|(level, count)| changed(*count, by.get(level).copied().unwrap_or(0)))
        .collect()
}

/// A `SizeStatistics` with what changed; `None` when it was wrong to begin with.
pub fn sizes_changed(
    sizes: &Struct,
    data_bytes: i64,
    repetition: &[i64],
    definition: &[i64],
) -> Option<Struct> {
    const UNENCODED: i16 = 1;
    let mut left = sizes.clone();
    if let Some(bytes) = sizes.i64(UNENCODED) {
        left.set(UNENCODED, Value::I64(changed(bytes, data_bytes)?));
    }
    for (id, by) in [(2, repetition), (3, definition)] {
        if let Some(levels) = sizes.list(id) {
            let levels: Vec<i64> = levels.i64s().collect();
            let levels = histogram_changed(&levels, by)?;
            left.set(id, Value::List(List::of_i64(levels)));
        }
    }
    Some(left)
}
