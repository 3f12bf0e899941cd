//! A small seeded mutator for the short form of the targets. `make fuzz` uses libFuzzer's.

use rand::{Rng, RngExt as _};

/// Bytes that decoders treat specially.
const SPECIAL: [&[u8]; 16] = [
    b"\0",
    b"\xff",
    b"\xff\xff\xff\xff\x7f",
    b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01",
    b"\"",
    b"\\",
    b"{",
    b"[[[[[[[[",
    b"((((((((",
    b"-9223372036854775808",
    b"1e999",
    b"\\ud800",
    b"\xf0\x9f\x9a\x80",
    b"NaN",
    b"' OR ",
    b"*",
];

/// `seed` after a few random changes; `other` is what parts may be taken from.
#[must_use]
pub fn mutated(rng: &mut impl Rng, seed: &[u8], other: &[u8]) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..=rng.random_range(0..4) {
        let at = rng.random_range(0..=bytes.len());
        let end = (at + 1 + rng.random_range(0..16)).min(bytes.len());
        match rng.random_range(0..7) {
            0 if at < bytes.len() => bytes[at] ^= 1 << rng.random_range(0..8),
            1 if at < bytes.len() => bytes[at] = rng.random(),
            2 if at < end => drop(bytes.drain(at..end)),
            3 if at < end => {
                let part = bytes[at..end].to_vec();
                bytes.splice(at..at, part.repeat(1 + rng.random_range(0..40)));
            }
            4 => bytes.truncate(at),
            5 if !other.is_empty() => {
                let from = rng.random_range(0..other.len());
                let to = (from + 1 + rng.random_range(0..64)).min(other.len());
                bytes.splice(at..at, other[from..to].iter().copied());
            }
            _ => drop(bytes.splice(at..at, SPECIAL[rng.random_range(0..SPECIAL.len())].iter().copied())),
        }
    }
    bytes
}
