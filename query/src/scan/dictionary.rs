//! The distinct texts of one column of one project, each with a number that stays the same in every row group: what groups, compares or
//! filters by the column then works on numbers, and on each text once.

use std::{
    hash::BuildHasher as _,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
};

use arrow::{
    array::{Array, AsArray as _, StringArray},
    buffer::{OffsetBuffer, ScalarBuffer},
    datatypes::Int32Type,
};
use datafusion::common::hash_utils::RandomState;
use hashbrown::HashTable;
use parking_lot::Mutex;

/// The number that stands for NULL.
pub(crate) const NULL: u32 = u32::MAX;
/// If more than this share of the rows of a row group are new texts, numbers save nothing.
const NEW_MAX: f64 = 0.9;
/// Row groups with fewer rows say little about a column.
const ROWS_TELLING: usize = 1024;

/// Texts by number. Only grows.
#[derive(Debug)]
pub(crate) struct Dictionary {
    inner: Mutex<Inner>,
    bytes: AtomicUsize,
    closed: AtomicBool,
    bytes_max: usize,
}

#[derive(Debug)]
struct Inner {
    numbers: HashTable<u32>,
    offsets: Vec<i32>,
    text: Vec<u8>,
    hasher: RandomState,
    /// The texts as an array, as it was when last asked for.
    snapshot: StringArray,
}

impl Dictionary {
    /// An empty one that takes no more texts at `bytes_max` bytes.
    pub(crate) fn new(bytes_max: usize) -> Self {
        let inner = Inner {
            numbers: HashTable::new(),
            offsets: vec![0],
            text: Vec::new(),
            hasher: RandomState::default(),
            snapshot: StringArray::new_null(0),
        };
        Self { inner: Mutex::new(inner), bytes: AtomicUsize::new(0), closed: AtomicBool::new(false), bytes_max }
    }

    /// The numbers of the texts of `column` (text, or a dictionary of text); `None` if it has too many different ones.
    pub(crate) fn encode(&self, column: &dyn Array) -> Option<ScalarBuffer<u32>> {
        let mut inner = self.inner.lock();
        if self.is_closed() {
            return None;
        }
        let before = inner.offsets.len();
        let rows = column.len() - column.null_count();
        let numbers = inner.numbers(column, self.bytes_max).filter(|_| {
            let new = inner.offsets.len() - before;
            rows < ROWS_TELLING || new as f64 <= rows as f64 * NEW_MAX
        });
        if numbers.is_none() {
            inner.end(before);
            self.closed.store(true, Ordering::Relaxed);
        }
        self.bytes.store(inner.bytes(), Ordering::Relaxed);
        numbers
    }

    /// Whether it takes no more texts, because the column has so many that numbers do not help.
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Relaxed)
    }

    /// The texts by number: at least those of all numbers given out before.
    pub(crate) fn values(&self) -> StringArray {
        let mut inner = self.inner.lock();
        if inner.snapshot.len() + 1 < inner.offsets.len() {
            let offsets = OffsetBuffer::new(ScalarBuffer::from(inner.offsets.clone()));
            // The bytes were text when they were added, and are cut where they were joined.
            inner.snapshot = StringArray::new(offsets, inner.text.clone().into(), None);
        }
        inner.snapshot.clone()
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

impl Inner {
    /// The numbers of the texts of `column`, `None` if they and those before take more than `bytes_max`.
    fn numbers(&mut self, column: &dyn Array, bytes_max: usize) -> Option<ScalarBuffer<u32>> {
        let Some(coded) = column.as_dictionary_opt::<Int32Type>() else {
            return self.numbers_of(column.as_string_opt()?, bytes_max);
        };
        let of_values = self.numbers_of(coded.values().as_string_opt()?, bytes_max)?;
        let keys = coded.keys();
        // A value may itself be NULL.
        let number = |row: usize| if keys.is_null(row) { NULL } else { of_values[keys.value(row) as usize] };
        Some((0..keys.len()).map(number).collect())
    }

    fn numbers_of(&mut self, column: &StringArray, bytes_max: usize) -> Option<ScalarBuffer<u32>> {
        let mut last: Option<(&str, u32)> = None;
        let mut numbers = Vec::with_capacity(column.len());
        for text in column {
            let number = match (text, last) {
                (None, _) => NULL,
                // Neighbours are often alike.
                (Some(text), Some((before, number))) if before == text => number,
                (Some(text), _) => self.number_of(text.as_bytes(), bytes_max)?,
            };
            last = text.map(|text| (text, number)).or(last);
            numbers.push(number);
        }
        Some(numbers.into())
    }

    fn number_of(&mut self, text: &[u8], bytes_max: usize) -> Option<u32> {
        let hash = self.hasher.hash_one(text);
        let (offsets, all) = (&self.offsets, &self.text);
        let at = |number: u32| &all[offsets[number as usize] as usize..offsets[number as usize + 1] as usize];
        if let Some(number) = self.numbers.find(hash, |number| at(*number) == text) {
            return Some(*number);
        }
        if self.bytes() + 2 * text.len() > bytes_max {
            return None;
        }
        let number = u32::try_from(self.offsets.len() - 1).ok()?;
        let end = i32::try_from(self.text.len() + text.len()).ok()?;
        self.text.extend_from_slice(text);
        self.offsets.push(end);
        let (offsets, all, hasher) = (&self.offsets, &self.text, &self.hasher);
        let at = |number: u32| &all[offsets[number as usize] as usize..offsets[number as usize + 1] as usize];
        self.numbers.insert_unique(hash, number, |number| hasher.hash_one(at(*number)));
        Some(number)
    }

    /// Forgets how texts are found, and those after the first `offsets - 1`, of which no number was given out.
    fn end(&mut self, offsets: usize) {
        self.numbers = HashTable::new();
        self.offsets.truncate(offsets);
        self.offsets.shrink_to_fit();
        self.text.truncate(self.offsets.last().map_or(0, |end| *end as usize));
        self.text.shrink_to_fit();
    }

    /// Of the texts twice, because a scan holds them as an array too.
    fn bytes(&self) -> usize {
        2 * (self.offsets.capacity() * 4 + self.text.capacity()) + self.numbers.allocation_size()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, DictionaryArray};

    use super::*;

    #[test]
    fn a_text_has_one_number_in_every_row_group() {
        let dictionary = Dictionary::new(1 << 20);
        let first: ArrayRef = Arc::new(StringArray::from(vec![Some("b"), None, Some("a"), Some("b")]));
        let second: DictionaryArray<Int32Type> = vec![Some("c"), Some("a"), None].into_iter().collect();
        assert_eq!(*dictionary.encode(&first).unwrap(), [0, NULL, 1, 0]);
        assert_eq!(*dictionary.encode(&second).unwrap(), [2, 1, NULL]);
        assert_eq!(dictionary.values(), StringArray::from(vec!["b", "a", "c"]));
    }

    #[test]
    fn a_column_of_ever_new_texts_has_no_numbers() {
        let dictionary = Dictionary::new(1 << 20);
        let ids: StringArray = (0..2000).map(|n| Some(n.to_string())).collect();
        assert!(dictionary.encode(&ids).is_none());
        assert!(dictionary.encode(&StringArray::from(vec!["a"])).is_none(), "it stays so");
        let small = Dictionary::new(100);
        let few: StringArray = (0..20).map(|n| Some(format!("text {n}"))).collect();
        assert!(small.encode(&few).is_none(), "more bytes than allowed");
        assert!(small.bytes() < 100);
    }

    #[test]
    fn numbers_given_out_outlive_the_end_of_a_dictionary() {
        let dictionary = Dictionary::new(1000);
        assert_eq!(*dictionary.encode(&StringArray::from(vec!["a", "b"])).unwrap(), [0, 1]);
        let many: StringArray = (0..200).map(|n| Some(format!("text {n}"))).collect();
        assert!(dictionary.encode(&many).is_none() && dictionary.is_closed());
        assert_eq!(dictionary.values(), StringArray::from(vec!["a", "b"]));
        assert!(dictionary.encode(&StringArray::from(vec!["a"])).is_none());
    }
}
