//! How many rows each identifier has, counted while the shards are written.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::ids::{Kind, Name};
use crate::rng::{Rng, Stream};
use crate::world::World;

/// What is enough of an alias's rows to show something.
const FEW_ROWS: u32 = 5;

/// Rows by person and by anonymous alias, and shards by person. Sums don't depend on the order of
/// the shards.
///
/// Memory: eight bytes for each person, a bit more for each thread, and four more while the median
/// is looked for.
pub(crate) struct Counts {
    people: Vec<AtomicU32>,
    shards: Vec<AtomicU32>,
    anonymous: Vec<AtomicU32>,
}

/// Who occurred in a shard, a bit for each person.
pub(crate) struct Seen {
    words: Vec<u64>,
}

impl Seen {
    /// Whether `person` is seen for the first time.
    fn is_new(&mut self, person: usize) -> bool {
        let bit = 1 << (person % 64);
        let Some(word) = self.words.get_mut(person / 64) else {
            return false;
        };
        let is_new = *word & bit == 0;
        *word |= bit;
        is_new
    }
}

impl Counts {
    pub(crate) fn new(world: &World) -> Self {
        let zeros = |count| (0..count).map(|_| AtomicU32::new(0)).collect();
        let people = world.people.count();
        Self {
            people: zeros(people),
            shards: zeros(people),
            anonymous: zeros(world.aliases.anonymous()),
        }
    }

    /// To count a shard with.
    pub(crate) fn nobody_seen(&self) -> Seen {
        Seen {
            words: vec![0; self.people.len().div_ceil(64)],
        }
    }

    /// Counts a row of the shard that `seen` belongs to.
    pub(crate) fn add(&self, name: Option<Name>, seen: &mut Seen) {
        match name {
            Some(Name {
                kind: Kind::Person,
                number,
            }) => {
                increment(&self.people, number);
                if seen.is_new(number as usize) {
                    increment(&self.shards, number);
                }
            }
            Some(Name {
                kind: Kind::Anonymous,
                number,
            }) => increment(&self.anonymous, number),
            _ => {}
        }
    }

    /// How many people's own ids occur.
    pub(crate) fn people(&self) -> u64 {
        self.occurring().count() as u64
    }

    /// `wanted` of the people whose own ids occur, evenly drawn, in random order; fewer if there
    /// are fewer.
    pub(crate) fn sample(&self, seed: u64, wanted: u64) -> Vec<Name> {
        let rng = Rng::new(seed, Stream::Sample, [wanted, 0]);
        sample(
            self.occurring().map(|(person, _)| person),
            self.people(),
            wanted,
            rng,
        )
    }

    /// Someone with the median number of rows of those who occur, in the median number of shards
    /// of those who have as many, and without a past under an anonymous alias.
    pub(crate) fn median_person(&self, world: &World) -> Option<Name> {
        let rows = median(self.occurring().map(|(_, rows)| rows).collect())?;
        let plain = |person: &u64| world.aliases.anonymous_of(*person).is_none();
        let with_rows = || {
            let of_median = self.occurring().filter(|(_, of_person)| *of_person == rows);
            of_median.map(|(person, _)| person).filter(plain)
        };
        let shards = median(
            with_rows()
                .map(|person| load(&self.shards, person))
                .collect(),
        )?;
        let typical = || with_rows().filter(|person| load(&self.shards, *person) == shards);
        let rng = Rng::new(world.seed, Stream::Sample, [1, 1]);
        sample(typical(), typical().count() as u64, 1, rng).pop()
    }

    /// An anonymous alias with a few rows both under it and under its person's own id; of several,
    /// that of the least active person.
    pub(crate) fn alias_with_rows(&self, world: &World) -> Option<Name> {
        let rows_of_both = |alias: &u64| {
            let before = load(&self.anonymous, *alias).min(FEW_ROWS);
            before * load(&self.people, world.aliases.person_of(*alias)).min(FEW_ROWS)
        };
        (0..self.anonymous.len() as u64)
            .filter(|alias| rows_of_both(alias) > 0)
            .max_by_key(rows_of_both)
            .map(|alias| Name::new(Kind::Anonymous, alias))
    }

    fn occurring(&self) -> impl Iterator<Item = (u64, u32)> {
        let rows = self.people.iter().map(|rows| rows.load(Ordering::Relaxed));
        (0..).zip(rows).filter(|(_, rows)| *rows > 0)
    }
}

fn increment(counters: &[AtomicU32], number: u64) {
    if let Some(counter) = counters.get(number as usize) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

fn load(counters: &[AtomicU32], number: u64) -> u32 {
    counters
        .get(number as usize)
        .map_or(0, |counter| counter.load(Ordering::Relaxed))
}

fn median(mut numbers: Vec<u32>) -> Option<u32> {
    let middle = numbers.len() / 2;
    (!numbers.is_empty()).then(|| *numbers.select_nth_unstable(middle).1)
}

/// Selection sampling (Knuth, TAOCP volume 2, 3.4.2, algorithm S), then a shuffle.
fn sample(
    people: impl Iterator<Item = u64>,
    mut left: u64,
    mut wanted: u64,
    mut rng: Rng,
) -> Vec<Name> {
    let mut chosen = Vec::new();
    for person in people {
        if rng.below(left) < wanted {
            chosen.push(Name::person(person));
            wanted -= 1;
        }
        left -= 1;
    }
    for end in (1..chosen.len()).rev() {
        chosen.swap(end, rng.below(end as u64 + 1) as usize);
    }
    chosen
}
