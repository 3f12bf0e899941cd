//! Which rows of a file can hold a text: for every few thousand rows, the set of all sequences of [`GRAM_BYTES`] bytes that occur in the
//! columns that free text looks at. A text whose sequences are not all there occurs nowhere in those rows, so they are not read.
//!
//! ```text
//! "Refund policy" ─ folded ─ "refund policy" ─ refu efun fund und\u{20} nd\u{20}p … ─ hashed ─ one bit each, of 2^k bits
//! ```
//! The sets are bitmaps with one hash, made large and halved while that leaves most bits empty: as good as a Bloom filter for texts of
//! several sequences, and a few machine instructions for each byte of text to make. False positives are rows read in vain; a row is never
//! missed. Letters are folded so that texts which `ILIKE` takes for equal have equal sequences.
//!
//! `lake-index/spans/<name of the Parquet file>.txt` is made when files are merged, or when a larger file that lacks it is first searched.
//! It can be lost. Used by `query` to leave out rows before they are read.

use std::ops::Range;

use arrow::array::{Array as _, AsArray as _, RecordBatch, StringArray};
use assay_schemas::tables::TEXT_COLUMNS;
use bytes::Bytes;
use parquet::arrow::{ProjectionMask, arrow_reader::ParquetRecordBatchReaderBuilder};

/// Files of fewer rows have no index: to read them costs no more than to look.
pub(crate) const ROWS_MIN: u64 = 8192;

/// Bytes of a sequence. With three, any few thousand rows of prose hold those of most words; with five the index is twice as large.
const GRAM_BYTES: usize = 4;
/// Rows of a set at most: the rows of a page of the file.
const SET_ROWS_MAX: u32 = 4096;
/// Bits of a set at most, a power of two.
const SET_BITS_MAX: usize = 1 << 19;
const SET_BITS_MIN: usize = 1 << 9;
/// A set with more of its bits set than this, in percent, says too little.
const FULL_PERCENT: usize = 30;

const MAGIC: [u8; 8] = *b"ASSAYTX\x01";
const HEADER_BYTES: usize = 16;
/// Before the bits of each set: its rows, its number of bytes.
const SET_HEADER_BYTES: usize = 8;

/// The sequences of texts that must all occur in a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextGrams(Vec<u32>);

impl TextGrams {
    /// Of a row that has all of `fragments` somewhere in its text, whatever the case; `None` if they are too short to tell.
    pub fn of<'a>(fragments: impl IntoIterator<Item = &'a str>) -> Option<Self> {
        let mut hashes = Vec::new();
        for fragment in fragments {
            hashes.extend(folded(fragment, &mut Vec::new()).windows(GRAM_BYTES).map(hash));
        }
        hashes.sort_unstable();
        hashes.dedup();
        (!hashes.is_empty()).then_some(Self(hashes))
    }
}

/// The sets of one file.
#[derive(Clone, Debug)]
pub struct FileText {
    content: Bytes,
    sets: std::sync::Arc<[Set]>,
}

#[derive(Debug)]
struct Set {
    rows: Range<u64>,
    bits: Range<usize>,
}

impl FileText {
    /// The rows of the file that can pass `test`, which is asked of each set what it can hold; joined where they touch.
    pub fn rows(&self, test: impl Fn(&dyn Fn(&TextGrams) -> bool) -> bool) -> Vec<Range<u64>> {
        let mut rows: Vec<Range<u64>> = Vec::new();
        for set in &*self.sets {
            let bits = &self.content[set.bits.clone()];
            let has = |hash: &u32| {
                let bit = *hash as usize & (bits.len() * 8 - 1);
                bits[bit / 8] >> (bit % 8) & 1 == 1
            };
            if !test(&|grams| grams.0.iter().all(has)) {
                continue;
            }
            match rows.last_mut() {
                Some(last) if last.end == set.rows.start => last.end = set.rows.end,
                _ => rows.push(set.rows.clone()),
            }
        }
        rows
    }

    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> usize {
        self.content.len() + self.sets.len() * size_of::<Set>()
    }
}

/// Reads the content of an index file; `None` if it is damaged or is not of a file of `rows` rows.
pub(crate) fn decode(content: Bytes, rows: u64) -> Option<FileText> {
    let header = content.get(..HEADER_BYTES)?;
    let number = |bytes: &[u8]| Some(u32::from_le_bytes(bytes.try_into().ok()?));
    if header[..8] != MAGIC || number(&header[12..16])? != crc32fast::hash(&content[HEADER_BYTES..]) {
        return None;
    }
    let (mut sets, mut at, mut row) = (Vec::new(), HEADER_BYTES, 0);
    for _ in 0..number(&header[8..12])? {
        let set = content.get(at..at + SET_HEADER_BYTES)?;
        let (set_rows, set_bytes) = (number(&set[..4])?, number(&set[4..])? as usize);
        at += SET_HEADER_BYTES;
        if !set_bytes.is_power_of_two() || at + set_bytes > content.len() {
            return None;
        }
        sets.push(Set { rows: row..row + u64::from(set_rows), bits: at..at + set_bytes });
        at += set_bytes;
        row += u64::from(set_rows);
    }
    (row == rows && at == content.len()).then(|| FileText { content, sets: sets.into() })
}

/// Makes the sets of a file as its rows come.
#[derive(Debug)]
pub(crate) struct TextCollector {
    bits: Vec<u64>,
    ones: usize,
    rows: u32,
    sets: u32,
    out: Vec<u8>,
    folded: Vec<u8>,
}

impl Default for TextCollector {
    fn default() -> Self {
        let bits = vec![0; SET_BITS_MAX / 64];
        Self { bits, ones: 0, rows: 0, sets: 0, out: vec![0; HEADER_BYTES], folded: Vec::new() }
    }
}

impl TextCollector {
    /// Adds the rows of `slice`, which has the [`TEXT_COLUMNS`] of `spans`.
    pub(crate) fn add(&mut self, slice: &RecordBatch) {
        let column = |name: &str| slice.column_by_name(name).expect("a column of spans").as_string::<i32>();
        let columns: Vec<&StringArray> = TEXT_COLUMNS.into_iter().map(column).filter(|c| c.null_count() < c.len()).collect();
        for row in 0..slice.num_rows() {
            for column in columns.iter().filter(|column| column.is_valid(row)) {
                self.add_text(column.value(row));
            }
            self.rows += 1;
            if self.rows == SET_ROWS_MAX || self.ones * 100 >= SET_BITS_MAX * FULL_PERCENT {
                self.finish_set();
            }
        }
    }

    fn add_text(&mut self, text: &str) {
        for gram in folded(text, &mut self.folded).windows(GRAM_BYTES) {
            let bit = hash(gram) as usize & (SET_BITS_MAX - 1);
            let word = &mut self.bits[bit / 64];
            let mask = 1 << (bit % 64);
            self.ones += usize::from(*word & mask == 0);
            *word |= mask;
        }
    }

    fn finish_set(&mut self) {
        let mut bits = self.bits.len();
        while bits * 64 > SET_BITS_MIN {
            let (low, high) = self.bits[..bits].split_at(bits / 2);
            let ones: usize = low.iter().zip(high).map(|(low, high)| (low | high).count_ones() as usize).sum();
            if ones * 100 > bits / 2 * 64 * FULL_PERCENT {
                break;
            }
            bits /= 2;
            let (low, high) = self.bits.split_at_mut(bits);
            low.iter_mut().zip(high).for_each(|(low, high)| *low |= *high);
        }
        self.out.extend_from_slice(&self.rows.to_le_bytes());
        self.out.extend_from_slice(&u32::try_from(bits * 8).expect("a set is small").to_le_bytes());
        self.out.extend(self.bits[..bits].iter().flat_map(|word| word.to_le_bytes()));
        self.bits.fill(0);
        (self.ones, self.rows) = (0, 0);
        self.sets += 1;
    }

    /// The content of the index file.
    pub(crate) fn encode(mut self) -> Bytes {
        if self.rows > 0 {
            self.finish_set();
        }
        let crc = crc32fast::hash(&self.out[HEADER_BYTES..]);
        self.out[..8].copy_from_slice(&MAGIC);
        self.out[8..12].copy_from_slice(&self.sets.to_le_bytes());
        self.out[12..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.out.into()
    }
}

/// The content of the index file of a data file. CPU-bound.
pub(crate) fn rebuild(content: Bytes) -> Result<Bytes, Box<dyn std::error::Error + Send + Sync>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(content)?;
    let mask = ProjectionMask::columns(builder.parquet_schema(), TEXT_COLUMNS);
    let mut text = TextCollector::default();
    for batch in builder.with_projection(mask).build()? {
        text.add(&batch?);
    }
    Ok(text.encode())
}

/// `text` with one form of each letter, in `buffer`: what differs only in case for `ILIKE` is equal.
fn folded<'a>(text: &str, buffer: &'a mut Vec<u8>) -> &'a [u8] {
    buffer.clear();
    if text.is_ascii() {
        buffer.extend(text.bytes().map(|byte| byte.to_ascii_lowercase()));
    } else {
        text.chars().for_each(|c| buffer.extend_from_slice(fold(c).encode_utf8(&mut [0; 4]).as_bytes()));
    }
    buffer
}

/// The same letter for all that Unicode's simple case folding takes for one: capital first, since some small letters share one.
fn fold(c: char) -> char {
    fn only(mut forms: impl ExactSizeIterator<Item = char>, otherwise: char) -> char {
        if forms.len() == 1 { forms.next().unwrap_or(otherwise) } else { otherwise }
    }
    match c {
        // Letters that fold into each other, though neither is the small form of the other.
        '\u{1FD3}' => '\u{390}',
        '\u{1FE3}' => '\u{3B0}',
        '\u{FB05}' => '\u{FB06}',
        _ => {
            let capital = only(c.to_uppercase(), c);
            only(capital.to_lowercase(), capital)
        }
    }
}

/// Mixes all bits of a sequence into the lowest ones.
fn hash(gram: &[u8]) -> u32 {
    let mut hash = u32::from_le_bytes(gram.try_into().expect("a sequence has four bytes"));
    hash = hash.wrapping_mul(0x9E37_79B1);
    hash ^= hash >> 15;
    hash = hash.wrapping_mul(0x85EB_CA77);
    hash ^ (hash >> 13)
}

#[cfg(test)]
mod tests;
