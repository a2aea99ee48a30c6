//! Who the users are: how active, where they live, what they use.

use crate::rng::{Rng, Stream, Zipf};
use crate::vocabulary::{CITIES, City, EXPERIMENTS, PLANS, PLATFORMS, Platform};

/// Longest session, in events. Event numbers have six bits, and the gaps of a longest session must
/// fit in the timeline's margin.
pub(crate) const SESSION_EVENTS_MAX: u32 = 60;
const _: () = assert!(SESSION_EVENTS_MAX < 64);

/// Mean number of further events in a session of the most active person.
const FURTHER_EVENTS: f64 = 4.0;

/// The population: `count` people, numbered from the most active down.
///
/// Sessions fall to people by a Zipf-Mandelbrot law of exponent 1/2 whose tail is thinned out
/// towards the last rank, so that many come once or twice; and the more often people come, the
/// longer they stay. Of 16 million events of 400,000 people the median person has 11, in sessions
/// of hardly more than one; the busiest have thousands, several to a session.
pub(crate) struct People {
    seed: u64,
    count: u64,
    /// Ranks to shift Zipf's law by, so that nobody is a tenth of the traffic.
    shift: f64,
    cities: Zipf,
    plans: Zipf,
    platforms: Zipf,
    choices: Zipf,
}

/// What stays the same of a person.
pub(crate) struct Person {
    pub(crate) city: &'static City,
    pub(crate) plan: &'static str,
    pub(crate) experiment: Option<&'static str>,
    pub(crate) devices: u64,
}

/// What stays the same of a device.
pub(crate) struct Device {
    pub(crate) platform: &'static Platform,
    pub(crate) os: &'static str,
    pub(crate) os_version: &'static str,
    pub(crate) browser: Option<&'static str>,
    pub(crate) screen_width: u32,
    /// How many releases its library is behind.
    pub(crate) lag: u64,
    /// For the device's id.
    pub(crate) rng: Rng,
}

impl People {
    pub(crate) fn new(seed: u64, count: u64) -> Self {
        Self {
            seed,
            count,
            shift: count as f64 / 4_000.0,
            cities: Zipf::new(CITIES.len()),
            plans: Zipf::new(PLANS.len()),
            platforms: Zipf::new(PLATFORMS.len()),
            choices: Zipf::new(4),
        }
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Who a session belongs to.
    pub(crate) fn draw(&self, rng: &mut Rng) -> u64 {
        let count = self.count as f64;
        let low = self.shift.sqrt();
        let high = (count + self.shift).sqrt();
        let root = low + rng.unit() * (high - low);
        let share = ((root * root - self.shift) / count).clamp(0.0, 1.0);
        let place = 1.0 - (1.0 - share).sqrt();
        ((place * count) as u64).min(self.count - 1)
    }

    /// How many events a session of `person` has: 1 to [`SESSION_EVENTS_MAX`].
    pub(crate) fn draw_events(&self, person: u64, rng: &mut Rng) -> u32 {
        let mut mean = FURTHER_EVENTS;
        let place = 1.0 - (person as f64 + 0.5) / self.count as f64;
        for _ in 0..15 {
            mean *= place;
        }
        let go_on = mean / (1.0 + mean);
        let mut events = 1;
        while events < SESSION_EVENTS_MAX && rng.unit() < go_on {
            events += 1;
        }
        events
    }

    pub(crate) fn person(&self, person: u64) -> Person {
        let mut rng = Rng::new(self.seed, Stream::Person, [person, 0]);
        Person {
            city: &CITIES[self.cities.draw(&mut rng)],
            plan: PLANS[self.plans.draw(&mut rng)],
            experiment: EXPERIMENTS.get(rng.below(8) as usize).copied(),
            devices: match rng.below(10) {
                0..=5 => 1,
                6..=8 => 2,
                _ => 3,
            },
        }
    }

    pub(crate) fn device(&self, person: u64, device: u64) -> Device {
        let mut rng = Rng::new(self.seed, Stream::Device, [person, device]);
        let platform = &PLATFORMS[self.platforms.draw(&mut rng)];
        let system = &platform.systems[rng.mostly_small(platform.systems.len() as u64) as usize];
        let browsers = platform.browsers;
        Device {
            platform,
            os: system.name,
            os_version: system.versions[self.choices.draw(&mut rng)],
            browser: browsers
                .get(rng.mostly_small(browsers.len() as u64) as usize)
                .copied(),
            screen_width: platform.screen_widths[self.choices.draw(&mut rng)],
            lag: rng.mostly_small(4),
            rng,
        }
    }
}
