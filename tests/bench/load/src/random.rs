//! Numbers and text that look random and depend on a seed alone.

/// The output function of SplitMix64: a different, evenly spread number for each `x`.
///
/// G. L. Steele, D. Lea, C. H. Flood: Fast splittable pseudorandom number generators, OOPSLA 2014, fig. 17.
pub(crate) fn mixed(x: u64) -> u64 {
    let mut z = x;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A stream of such numbers.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed(self.0)
    }

    /// A number in `0..n`. The bias of the remainder does not matter here.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % n.max(1) as u64).unwrap_or_default()
    }
}

/// Prose-like text of `n` bytes: words of a vocabulary of 20 000 by Zipf's law, with sentences. It needs no escape in JSON.
pub(crate) fn prose(seed: u64, n: usize) -> Vec<u8> {
    const LETTERS: &[u8] = b"eeeeeeeeeeeetttttttttaaaaaaaaoooooooiiiiiiinnnnnnnsssssshhhhhhrrrrrrddddllllcccuuummmwwffggyyppbbvk";
    let mut random = Random::new(seed);
    let vocabulary: Vec<Vec<u8>> = (0..20_000_usize)
        .map(|rank| {
            // Frequent words are short.
            let length = 2 + random.below(3 + 3 * rank.checked_ilog10().unwrap_or_default() as usize);
            (0..length).map(|_| LETTERS[random.below(LETTERS.len())]).collect()
        })
        .collect();
    let mut text = Vec::with_capacity(n + 32);
    let mut since_stop = 0;
    while text.len() < n {
        // Rank r with a probability in proportion to 1/r: the inverse of the harmonic series, taken as a logarithm.
        let uniform = (random.next() >> 11) as f64 / (1_u64 << 53) as f64;
        let rank = ((vocabulary.len() as f64).powf(uniform) - 1.0) as usize;
        text.extend_from_slice(&vocabulary[rank.min(vocabulary.len() - 1)]);
        since_stop += 1;
        text.extend_from_slice(if since_stop > 6 && random.below(10) == 0 {
            since_stop = 0;
            b". "
        } else {
            b" "
        });
    }
    text.truncate(n);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_gives_the_published_sequence() {
        let mut random = Random::new(1_234_567);
        // The first numbers for this seed in the authors' own test.
        let expected = [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423];
        assert_eq!([random.next(), random.next(), random.next()], expected);
    }

    #[test]
    fn prose_packs_like_prose() {
        let text = prose(1, 1 << 20);
        let packed = zstd::bulk::compress(&text, 1).expect("in memory");
        let ratio = text.len() as f64 / packed.len() as f64;
        assert!((2.0..3.2).contains(&ratio), "English prose packs about 2.5 times, this {ratio:.2}");
        assert!(text.iter().all(|&byte| byte.is_ascii_lowercase() || byte == b' ' || byte == b'.'));
    }
}
