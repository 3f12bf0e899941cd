//! Seeded randomness: everything that the demo draws comes through here, so a seed decides a whole run on every platform.

use std::f64::consts::TAU;

use rand::{RngExt as _, SeedableRng as _, rngs::Xoshiro256PlusPlus};

/// One stream of draws.
pub(crate) struct Dice(Xoshiro256PlusPlus);

impl Dice {
    /// The stream number `stream` of `seed`; streams do not influence each other.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(Xoshiro256PlusPlus::seed_from_u64(mixed(seed ^ mixed(stream))))
    }

    /// True with probability `p`.
    pub(crate) fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    /// A number between 0 (included) and 1 (excluded).
    pub(crate) fn unit(&mut self) -> f64 {
        self.0.random()
    }

    /// A whole number in `low..=high`.
    pub(crate) fn between(&mut self, low: u64, high: u64) -> u64 {
        self.0.random_range(low..=high)
    }

    /// One of `items`, which must not be empty.
    pub(crate) fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.0.random_range(0..items.len())]
    }

    /// One of `items`, each as likely as its weight says.
    pub(crate) fn weighted<T: Copy>(&mut self, items: &[(f64, T)]) -> T {
        let mut left = self.unit() * items.iter().map(|(weight, _)| weight).sum::<f64>();
        for (weight, item) in items {
            left -= weight;
            if left < 0.0 {
                return *item;
            }
        }
        items[items.len() - 1].1
    }

    /// An index below `n`, low ones far more often: a few users make most of the traffic.
    pub(crate) fn skewed(&mut self, n: usize) -> usize {
        ((n as f64).powf(self.unit().powf(1.3)) - 1.0) as usize
    }

    /// A log-normal draw: half of the draws lie below `median`; `sigma` is the deviation of the logarithm.
    pub(crate) fn log_normal(&mut self, median: f64, sigma: f64) -> f64 {
        let (radius, angle) = (self.unit().max(1e-12), self.unit());
        median * (sigma * (-2.0 * radius.ln()).sqrt() * (TAU * angle).cos()).exp()
    }

    /// `n` random bytes, never all zero.
    pub(crate) fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes: Vec<u8> = (0..n).map(|_| self.0.random()).collect();
        if bytes.iter().all(|byte| *byte == 0) {
            bytes[0] = 1;
        }
        bytes
    }

    /// `n` random letters and digits, as providers make identifiers.
    pub(crate) fn token(&mut self, n: usize) -> String {
        const ALPHABET: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
        (0..n).map(|_| char::from(*self.pick(ALPHABET))).collect()
    }
}

/// Spreads the bits of `x`, so that near seeds give unrelated streams.
pub(crate) fn mixed(x: u64) -> u64 {
    let x = (x ^ (x >> 31)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    let x = (x ^ (x >> 29)).wrapping_mul(0xD6E8_FEB8_6659_FD93);
    x ^ (x >> 32)
}
