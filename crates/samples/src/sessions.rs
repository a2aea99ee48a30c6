//! Which events a shard holds: who, when, in which session.
//!
//! ```text
//! sessions of the shard, in order of their start     open sessions, by their next event
//! [0] [1] [2] ..................... [n-1]     ->     (heap)     ->     keys in order of time
//! ```
//!
//! Each shard covers an equal share of all activity; session `i` of `n` starts somewhere in the
//! `i`-th of `n` equal parts of that share. The last session is cut off where the shard is full. The
//! last sessions may run on into the time of the next shard, as uploads of live data do.
//!
//! Memory: the open sessions, those of at most two hours.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::iter::from_fn;

use crate::ids::{Kind, Name};
use crate::people::SESSION_EVENTS_MAX;
use crate::rng::{Rng, Stream};
use crate::timeline::SESSION_HOURS_MAX;
use crate::world::World;

const GAP_MS_MIN: u64 = 1_000;
const GAP_MS_MAX: u64 = 110_000;
const _: () =
    assert!(GAP_MS_MAX * SESSION_EVENTS_MAX as u64 <= SESSION_HOURS_MAX as u64 * 3_600_000);

/// One event before it is filled in. The order of keys is that of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) time_us: i64,
    pub(crate) session: u32,
    /// Number of the event in its session.
    pub(crate) event: u32,
    pub(crate) person: u64,
    /// The anonymous alias, if the session was before its person signed up.
    anonymous: Option<u32>,
}

impl Key {
    /// Who the event is sent as, unless the identifier gets lost.
    pub(crate) fn name(&self) -> Name {
        self.anonymous.map_or(Name::person(self.person), |alias| {
            Name::new(Kind::Anonymous, u64::from(alias))
        })
    }

    /// The random numbers of this event.
    pub(crate) fn rng(&self, world: &World, shard: u64) -> Rng {
        Rng::new(world.seed, Stream::Event, [self.number(shard), 0])
    }

    /// Another number for each event of the dataset.
    pub(crate) fn number(&self, shard: u64) -> u64 {
        shard << 40 | u64::from(self.session) << 6 | u64::from(self.event)
    }
}

/// The events of shard `shard` in order of time, exactly `world.rows_per_shard` of them.
pub(crate) fn keys(world: &World, shard: u64) -> impl Iterator<Item = Key> {
    let mut sessions = sessions(world, shard).peekable();
    // Each open session is its next event and how many there are after that.
    let mut open: BinaryHeap<Reverse<(Key, u32)>> = BinaryHeap::new();
    from_fn(move || {
        while let Some(started) = sessions.next_if(|(start, _)| {
            open.peek()
                .is_none_or(|Reverse((next, _))| start.time_us <= next.time_us)
        }) {
            open.push(Reverse(started));
        }
        let Reverse((key, left)) = open.pop()?;
        if left > 0 {
            let mut next = key;
            next.event += 1;
            next.time_us += gap_us(world, shard, &next);
            open.push(Reverse((next, left - 1)));
        }
        Some(key)
    })
}

/// The first event of each session and how many there are after it, in order of time.
fn sessions(world: &World, shard: u64) -> impl Iterator<Item = (Key, u32)> {
    let mut count: u32 = 0;
    let mut rows = 0;
    while rows < world.rows_per_shard {
        rows += u64::from(draw(world, shard, count).1);
        count += 1;
    }
    let cut_off = (rows - world.rows_per_shard) as u32;

    (0..count).map(move |session| {
        let (person, events, mut rng) = draw(world, shard, session);
        let within_shard = (f64::from(session) + rng.unit()) / f64::from(count);
        let place = (shard as f64 + within_shard) / world.shards as f64;
        let anonymous = world
            .aliases
            .anonymous_of(person)
            .filter(|alias| place < world.aliases.sign_up_share(*alias))
            .map(|alias| alias as u32);
        let time_us = world.timeline.instant_us(place);
        let cut_off = if session + 1 == count { cut_off } else { 0 };
        (
            Key {
                time_us,
                session,
                event: 0,
                person,
                anonymous,
            },
            events - cut_off - 1,
        )
    })
}

/// Whose session it is, how many events it has, and the generator to go on with.
fn draw(world: &World, shard: u64, session: u32) -> (u64, u32, Rng) {
    let mut rng = Rng::new(world.seed, Stream::Session, [shard, u64::from(session)]);
    let person = world.people.draw(&mut rng);
    let events = world.people.draw_events(person, &mut rng);
    (person, events, rng)
}

/// Time since the event before it in the session.
fn gap_us(world: &World, shard: u64, key: &Key) -> i64 {
    let mut rng = Rng::new(world.seed, Stream::Gap, [key.number(shard), 0]);
    let gap_ms = GAP_MS_MIN + rng.mostly_small(GAP_MS_MAX - GAP_MS_MIN);
    gap_ms as i64 * 1_000
}
