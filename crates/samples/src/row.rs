//! One event, filled in.

use std::fmt::Write as _;

use crate::ids::Name;
use crate::people::{Device, Person};
use crate::rng::{Rng, Stream};
use crate::sessions::Key;
use crate::timeline::month_number;
use crate::vocabulary::{
    CAMPAIGNS, CATEGORIES, EVENTS, FEATURES, PATHS, REFERRERS, Topic, UTM_SOURCES,
};
use crate::world::World;

const SITE: &str = "https://shop.example.com";

/// One event. What is text of its own is written by the methods.
pub(crate) struct Row<'w> {
    world: &'w World,
    shard: u64,
    key: Key,
    rng: Rng,
    pub(crate) name: &'static str,
    pub(crate) topic: Topic,
    /// None where the identifier got lost on the way.
    pub(crate) distinct_id: Option<Name>,
    /// Known only while signed in.
    pub(crate) user_id: Option<Name>,
    pub(crate) person: Person,
    pub(crate) device: Device,
    pub(crate) referrer: Option<&'static str>,
    pub(crate) utm_source: Option<&'static str>,
    campaign: Option<&'static str>,
    product: usize,
    query: usize,
    feature: &'static str,
    path: &'static str,
}

impl<'w> Row<'w> {
    pub(crate) fn new(world: &'w World, shard: u64, key: Key) -> Self {
        let mut rng = key.rng(world, shard);
        let distinct_id = distinct_id(&key, &mut rng);

        // A visit's own numbers: the same for all events of the session.
        let mut visit = Rng::new(world.seed, Stream::Visit, [shard, u64::from(key.session)]);
        let words = &world.words;
        let signed_in = visit.chance(708) && distinct_id == Some(Name::person(key.person));
        let person = world.people.person(key.person);
        let device = world
            .people
            .device(key.person, visit.mostly_small(person.devices));
        let referrer = visit
            .chance(550)
            .then(|| REFERRERS[words.referrers.draw(&mut visit)]);
        let utm_source = visit
            .chance(220)
            .then(|| UTM_SOURCES[words.utm_sources.draw(&mut visit)]);
        let campaign = month_number(key.time_us) + visit.mostly_small(3);
        let campaign = CAMPAIGNS[campaign as usize % CAMPAIGNS.len()];

        let (name, topic) = EVENTS[words.events.draw(&mut rng)];
        Self {
            world,
            shard,
            key,
            name,
            topic,
            distinct_id,
            user_id: distinct_id.filter(|_| signed_in),
            person,
            device,
            referrer,
            utm_source,
            campaign: utm_source.map(|_| campaign),
            product: words.products.draw(&mut rng),
            query: words.queries.draw(&mut rng),
            feature: FEATURES[words.features.draw(&mut rng)],
            path: PATHS[words.paths.draw(&mut rng)],
            rng,
        }
    }

    pub(crate) fn time_us(&self) -> i64 {
        self.key.time_us
    }

    pub(crate) fn duration_ms(&mut self) -> Option<i64> {
        let (per_mille, most) = match self.topic {
            Topic::Media => (1_000, 900_000),
            Topic::Page => (600, 60_000),
            Topic::Feature => (400, 20_000),
            Topic::Search | Topic::Commerce | Topic::Account => (0, 0),
        };
        self.rng
            .chance(per_mille)
            .then(|| 50 + self.rng.mostly_small(most) as i64)
    }

    /// What the product costs, in whole cents.
    pub(crate) fn price(&self) -> Option<f64> {
        let cents = 199 + (self.product as u64 * 7_919) % 24_900;
        (self.topic == Topic::Commerce).then_some(cents as f64 / 100.0)
    }

    pub(crate) fn items(&mut self) -> i32 {
        if self.topic == Topic::Commerce {
            1 + self.rng.mostly_small(5) as i32
        } else {
            0
        }
    }

    pub(crate) fn write_name(&self, name: Name, text: &mut String) {
        self.world.ids.write(name, text);
    }

    pub(crate) fn write_device_id(&mut self, text: &mut String) {
        self.world.ids.write_device(&mut self.device.rng, text);
    }

    pub(crate) fn write_insert_id(&mut self, text: &mut String) {
        let number = self.key.number(self.shard);
        self.world.ids.write_insert(number, &mut self.rng, text);
    }

    pub(crate) fn write_session_id(&self, text: &mut String) {
        self.world
            .ids
            .write_session(self.shard, u64::from(self.key.session), text);
    }

    /// A release comes out each month; devices lag behind by up to three.
    pub(crate) fn write_lib_version(&self, text: &mut String) {
        let release = 40 + month_number(self.key.time_us) - self.device.lag;
        let major = self.device.platform.lib_major;
        push(text, format_args!("{major}.{release}.{}", release * 7 % 4));
    }

    /// Writes nothing for apps' events that aren't about a product: they have no URL.
    pub(crate) fn write_current_url(&self, text: &mut String) {
        if self.topic == Topic::Commerce {
            return push(
                text,
                format_args!("{SITE}/products/{}", 1_000 + self.product),
            );
        }
        if self.device.browser.is_none() {
            return;
        }
        match self.topic {
            Topic::Search => push(
                text,
                format_args!("{SITE}/search?page={}", 1 + self.query / 16),
            ),
            Topic::Feature => push(text, format_args!("{SITE}/app/{}", self.feature)),
            _ => push(text, format_args!("{SITE}{}", self.path)),
        }
    }

    /// A JSON object of three to eight keys. Only queries need escaping, which they have had.
    pub(crate) fn write_properties(&mut self, text: &mut String) {
        let Device {
            os_version,
            screen_width,
            ..
        } = self.device;
        let plan = self.person.plan;
        push(
            text,
            format_args!(r#"{{"$os_version":"{os_version}","screen_width":{screen_width}"#),
        );
        push(text, format_args!(r#","plan":"{plan}""#));
        if let Some(campaign) = self.campaign {
            push(text, format_args!(r#","utm_campaign":"{campaign}""#));
        }
        if let Some(experiment) = self.person.experiment {
            push(text, format_args!(r#","experiment":"{experiment}""#));
        }
        if !matches!(self.topic, Topic::Commerce | Topic::Account) {
            let visible_ms = self.rng.mostly_small(1_800_000);
            push(text, format_args!(r#","visible_ms":{visible_ms}"#));
        }
        match self.topic {
            Topic::Page => {
                let load_ms = 80 + self.rng.mostly_small(3_000);
                push(text, format_args!(r#","load_ms":{load_ms}"#));
                if self.rng.chance(500) {
                    push(
                        text,
                        format_args!(r#","scroll_depth":{}"#, self.rng.below(21) * 5),
                    );
                }
            }
            Topic::Search => {
                let query = &self.world.words.quoted_queries[self.query];
                let results = self.rng.mostly_small(400);
                push(
                    text,
                    format_args!(r#","query":{query},"results":{results}"#),
                );
            }
            Topic::Commerce => {
                let category = CATEGORIES[self.product % CATEGORIES.len()];
                let product = 1_000 + self.product;
                push(
                    text,
                    format_args!(r#","product_id":{product},"category":"{category}""#),
                );
                if self.rng.chance(150) {
                    push(
                        text,
                        format_args!(r#","coupon":"SAVE{}""#, 5 * (1 + self.rng.below(6))),
                    );
                }
            }
            Topic::Feature => {
                let position = self.rng.mostly_small(24);
                push(
                    text,
                    format_args!(r#","feature":"{}","position":{position}"#, self.feature),
                );
            }
            Topic::Media => {
                let media = 1 + self.product % 300;
                let percent = self.rng.below(101);
                push(
                    text,
                    format_args!(r#","media_id":{media},"percent":{percent}"#),
                );
            }
            Topic::Account => {}
        }
        text.push('}');
    }
}

/// The subject of an event: about one in a thousand has lost it. Takes the first of the event's
/// random numbers.
pub(crate) fn distinct_id(key: &Key, rng: &mut Rng) -> Option<Name> {
    (!rng.chance(1)).then(|| key.name())
}

fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String can't fail.
    let _ = text.write_fmt(arguments);
}
