//! The names that people, devices, sessions and events go by.
//!
//! Names are scrambled numbers, so they look random, never collide, and need no table. The text of
//! the names sorts as their [`Ids::sort_key`] does, so that a shard sorted by user is sorted by the
//! bytes of its subject column.

use crate::args::IdForm;
use crate::rng::{Rng, Stream, mix, scramble};

const SHORT_BITS: u32 = 40;
const SHORT_DIGITS: u32 = 8;
const SESSION_BITS: u32 = 60;
const SESSION_DIGITS: u32 = 12;
const INSERT_DIGITS: u32 = 13;
const INSERT_TAIL_DIGITS_MIN: u32 = 3;
const INSERT_TAIL_DIGITS_MAX: u32 = 7;
const BASE: u64 = 36;

const _: () = {
    assert!(BASE.pow(SHORT_DIGITS) > 1 << SHORT_BITS);
    assert!(BASE.pow(SESSION_DIGITS) > 1 << SESSION_BITS);
};

/// What kind of identifier a name is. In the order of the prefixes, which [`Ids::sort_key`] needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// What a person's events were sent under before sign-up.
    Anonymous,
    /// A record number of another system.
    Crm,
    /// A machine that two people share.
    Kiosk,
    /// A hashed mail address.
    Mail,
    /// A member of the cycle of aliases.
    Ring,
    /// The `distinct_id` of a person.
    Person,
}

/// An identifier: the `number`-th of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) kind: Kind,
    pub(crate) number: u64,
}

impl Name {
    pub(crate) fn new(kind: Kind, number: u64) -> Self {
        Self { kind, number }
    }

    pub(crate) fn person(number: u64) -> Self {
        Self::new(Kind::Person, number)
    }
}

/// Turns names into text.
pub(crate) struct Ids {
    form: IdForm,
    seed: u64,
    session_key: u64,
    insert_key: u64,
}

impl Ids {
    pub(crate) fn new(form: IdForm, seed: u64) -> Self {
        let mut keys = Rng::new(seed, Stream::Key, [u64::MAX, 0]);
        Self {
            form,
            seed,
            session_key: keys.next(),
            insert_key: keys.next(),
        }
    }

    /// A number that orders names as the bytes of their text do.
    pub(crate) fn sort_key(&self, name: Name) -> u128 {
        match self.form {
            IdForm::Short => {
                let high = u128::from(name.kind as u8) << SHORT_BITS;
                high | u128::from(self.short(name))
            }
            IdForm::Uuid => self.uuid(name),
        }
    }

    pub(crate) fn write(&self, name: Name, text: &mut String) {
        match self.form {
            IdForm::Short => {
                text.push_str(prefix(name.kind));
                write_base36(self.short(name), SHORT_DIGITS, text);
            }
            IdForm::Uuid => write_uuid(self.uuid(name), text),
        }
    }

    pub(crate) fn text(&self, name: Name) -> String {
        let mut text = String::new();
        self.write(name, &mut text);
        text
    }

    /// The `device_id` of a person's `device`-th device: a UUID in either form of ids.
    pub(crate) fn write_device(&self, rng: &mut Rng, text: &mut String) {
        write_uuid(as_version_4(rng.next(), rng.next() ^ self.seed), text);
    }

    /// Twelve characters, another twelve for each session.
    pub(crate) fn write_session(&self, shard: u64, session: u64, text: &mut String) {
        let number = scramble(shard << 33 | session, SESSION_BITS, self.session_key);
        write_base36(number, SESSION_DIGITS, text);
    }

    /// 16 to 20 characters. The first thirteen are others for each `event`, a number that is unique
    /// in the dataset.
    pub(crate) fn write_insert(&self, event: u64, rng: &mut Rng, text: &mut String) {
        write_base36(mix(event ^ self.insert_key), INSERT_DIGITS, text);
        let lengths = u64::from(INSERT_TAIL_DIGITS_MAX - INSERT_TAIL_DIGITS_MIN + 1);
        let digits = INSERT_TAIL_DIGITS_MIN + rng.below(lengths) as u32;
        write_base36(rng.below(BASE.pow(digits)), digits, text);
    }

    fn short(&self, name: Name) -> u64 {
        let mut key = Rng::new(self.seed, Stream::Key, [name.kind as u64, 0]);
        scramble(name.number, SHORT_BITS, key.next())
    }

    fn uuid(&self, name: Name) -> u128 {
        let mut rng = Rng::new(self.seed, Stream::Name, [name.kind as u64, name.number]);
        as_version_4(rng.next(), rng.next())
    }
}

fn prefix(kind: Kind) -> &'static str {
    match kind {
        Kind::Anonymous => "anon-",
        Kind::Crm => "crm-",
        Kind::Kiosk => "kiosk-",
        Kind::Mail => "mail-",
        Kind::Ring => "ring-",
        Kind::Person => "u",
    }
}

/// 122 random bits with the version and variant of RFC 9562, section 5.4.
fn as_version_4(high: u64, low: u64) -> u128 {
    let high = high & 0xFFFF_FFFF_FFFF_0FFF | 0x4000;
    let low = low & 0x3FFF_FFFF_FFFF_FFFF | 0x8000_0000_0000_0000;
    u128::from(high) << 64 | u128::from(low)
}

fn write_uuid(uuid: u128, text: &mut String) {
    for digit in 0..32 {
        if matches!(digit, 8 | 12 | 16 | 20) {
            text.push('-');
        }
        let nibble = (uuid >> (124 - 4 * digit)) as u32 & 0xF;
        text.push(digit_char(nibble));
    }
}

fn write_base36(number: u64, digits: u32, text: &mut String) {
    let mut divisor = BASE.pow(digits - 1);
    for _ in 0..digits {
        text.push(digit_char((number / divisor % BASE) as u32));
        divisor /= BASE;
    }
}

fn digit_char(digit: u32) -> char {
    char::from_digit(digit, BASE as u32).unwrap_or('?')
}
