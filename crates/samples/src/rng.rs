//! Random numbers that are the same on every machine, for ever.
//!
//! Everything is a pure function of the seed and of what it is drawn for (a person, a session, an
//! event), so shards can be made in any order and on any number of threads. The generator is
//! `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
//! Floating point is kept to `+ - * /` and the square root, which IEEE 754 rounds exactly; `ln` and
//! `powf` differ between C libraries.

const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// What a sequence of random numbers is drawn for; keeps equal numbers of different things apart.
#[derive(Clone, Copy)]
pub(crate) enum Stream {
    Person = 1,
    Device,
    Session,
    Visit,
    Gap,
    Event,
    Key,
    Name,
    Link,
    Sample,
}

/// A sequence of random numbers.
pub(crate) struct Rng(u64);

impl Rng {
    /// The sequence that belongs to `parts` of `stream`.
    pub(crate) fn new(seed: u64, stream: Stream, parts: [u64; 2]) -> Self {
        let [first, second] = parts;
        let state = mix(seed ^ mix(stream as u64));
        Self(mix(mix(state ^ first).wrapping_add(GOLDEN) ^ second))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(GOLDEN);
        mix(self.0)
    }

    /// A number in `0..bound`; 0 when `bound` is 0. The bias is below `bound / 2^64`.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `0..bound`, the small ones much more often: the product of two draws.
    pub(crate) fn mostly_small(&mut self, bound: u64) -> u64 {
        let range = self.below(bound + 1);
        self.below(range)
    }

    /// A number in `[0, 1)` with 53 random bits.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// True in `per_mille` of 1000 draws.
    pub(crate) fn chance(&mut self, per_mille: u64) -> bool {
        self.below(1000) < per_mille
    }
}

/// A bijection of 64-bit numbers: `SplitMix64`'s finisher.
pub(crate) const fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// A bijection of `bits`-bit numbers (`2 <= bits < 64`), another one for each `key`. What makes
/// random-looking names that can't be equal.
pub(crate) const fn scramble(value: u64, bits: u32, key: u64) -> u64 {
    let mask = (1 << bits) - 1;
    let mut z = value.wrapping_add(key) & mask;
    z = (z ^ (z >> (bits / 2))).wrapping_mul(0xBF58_476D_1CE4_E5B9) & mask;
    z = (z ^ (z >> (bits / 2))).wrapping_mul(0x94D0_49BB_1331_11EB) & mask;
    z ^ (z >> (bits / 2))
}

/// Draws ranks `0..n` with Zipf's weights: rank `r` comes `r + 1` times less often than rank 0.
pub(crate) struct Zipf {
    ends: Vec<u64>,
}

impl Zipf {
    pub(crate) fn new(n: usize) -> Self {
        let mut end = 0;
        let ends = (1..=n as u64)
            .map(|divisor| {
                end += (1 << 32) / divisor;
                end
            })
            .collect();
        Self { ends }
    }

    pub(crate) fn draw(&self, rng: &mut Rng) -> usize {
        let total = self.ends.last().copied().unwrap_or_default();
        let point = rng.below(total);
        self.ends.partition_point(|end| *end <= point)
    }
}
