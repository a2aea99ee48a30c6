//! The alias table: who else a person is known as.
//!
//! Links come in tens, after the first of which the alias `anon-0` reaches its person in one step
//! and `mail-0` in three:
//!
//! ```text
//! anon-0 .. anon-5 -> a person each, whose events before sign-up are under the alias itself
//! crm-0            -> anon-0        an alias of an alias
//! mail-0           -> crm-0         a chain of three
//! kiosk-0          -> two people    (two links)
//! ```
//!
//! The last four links are the cycle `ring-0 -> ring-1 -> ring-2 -> ring-0` and its way out,
//! `ring-2 ->` a person. Nothing is stored: each link is computed from its number.

use crate::ids::{Kind, Name};
use crate::rng::{Rng, Stream};

const GROUP: u64 = 10;
const ANONYMOUS_IN_GROUP: u64 = 6;
const CYCLE: u64 = 4;

/// The alias table of a dataset.
pub(crate) struct Aliases {
    seed: u64,
    links: u64,
    /// Links before those of the cycle.
    body: u64,
    people: u64,
}

impl Aliases {
    /// `links` must not be more than `people`.
    pub(crate) fn new(seed: u64, links: u64, people: u64) -> Self {
        let body = links.checked_sub(CYCLE).unwrap_or(links);
        Self {
            seed,
            links,
            body,
            people,
        }
    }

    /// How many anonymous aliases there are: the only ones that occur in events.
    pub(crate) fn anonymous(&self) -> u64 {
        let rest = (self.body % GROUP).min(ANONYMOUS_IN_GROUP);
        self.body / GROUP * ANONYMOUS_IN_GROUP + rest
    }

    /// Whose `anonymous`-th anonymous alias is; they are spread evenly over all people.
    pub(crate) fn person_of(&self, anonymous: u64) -> u64 {
        let stride = self.stride();
        anonymous * stride + stride / 2
    }

    /// The anonymous alias of a person, if they have one.
    pub(crate) fn anonymous_of(&self, person: u64) -> Option<u64> {
        let stride = self.stride();
        let has_one = person % stride == stride / 2 && person / stride < self.anonymous();
        has_one.then_some(person / stride)
    }

    /// The share of all time after which a person with an anonymous alias has signed up.
    pub(crate) fn sign_up_share(&self, anonymous: u64) -> f64 {
        let mut rng = Rng::new(self.seed, Stream::Link, [anonymous, 0]);
        0.125 + rng.unit() / 2.0
    }

    /// A few names that show each kind of link, for a request to try things out with.
    pub(crate) fn curious(&self) -> impl Iterator<Item = Name> {
        let first_of = |kind, from: u64| (self.links >= from).then(|| Name::new(kind, 0));
        [
            first_of(Kind::Mail, CYCLE + 8),
            first_of(Kind::Kiosk, CYCLE + 10),
            first_of(Kind::Ring, CYCLE),
        ]
        .into_iter()
        .flatten()
    }

    /// All links: alias and what it stands for.
    pub(crate) fn links(&self) -> impl Iterator<Item = (Name, Name)> {
        (0..self.links).map(|link| self.link(link))
    }

    fn link(&self, link: u64) -> (Name, Name) {
        if link >= self.body && self.links >= CYCLE {
            let way_out = Name::person(self.people / 2);
            let ring = |number| Name::new(Kind::Ring, number);
            return match link - self.body {
                0 => (ring(0), ring(1)),
                1 => (ring(1), ring(2)),
                2 => (ring(2), ring(0)),
                _ => (ring(2), way_out),
            };
        }
        let group = link / GROUP;
        let first_anonymous = group * ANONYMOUS_IN_GROUP;
        match link % GROUP {
            6 => (
                Name::new(Kind::Crm, group),
                Name::new(Kind::Anonymous, first_anonymous),
            ),
            7 => (Name::new(Kind::Mail, group), Name::new(Kind::Crm, group)),
            sharer @ (8 | 9) => {
                let mut rng = Rng::new(self.seed, Stream::Link, [group, 1]);
                let first = rng.below(self.people);
                let other = first + 1 + rng.below(self.people - 1);
                let person = if sharer == 8 {
                    first
                } else {
                    other % self.people
                };
                (Name::new(Kind::Kiosk, group), Name::person(person))
            }
            place => {
                let anonymous = first_anonymous + place;
                (
                    Name::new(Kind::Anonymous, anonymous),
                    Name::person(self.person_of(anonymous)),
                )
            }
        }
    }

    fn stride(&self) -> u64 {
        self.people / self.anonymous().max(1)
    }
}
