//! The values of a column in some rows, in the form scans work on: as an array, as numbers of a dictionary, or one value for all rows.

use std::sync::Arc;

use arrow::{
    array::{Array, ArrayRef, AsArray as _, BooleanArray, MutableArrayData, UInt32Array, make_array, new_null_array},
    buffer::{NullBuffer, ScalarBuffer},
    compute::{filter, take},
    datatypes::{DataType, UInt32Type},
};
use datafusion::common::{Result, ScalarValue};

use super::dictionary::{Dictionary, NULL};

/// Values of a column.
#[derive(Clone, Debug)]
pub(crate) enum Chunk {
    /// As they are.
    Plain(ArrayRef),
    /// Texts by number.
    Coded { codes: ScalarBuffer<u32>, dictionary: Arc<Dictionary> },
    /// The same in all rows: what the folder of a file says.
    Constant { value: ScalarValue, rows: usize },
}

impl Chunk {
    /// Only NULL.
    pub(crate) fn nulls(data_type: &DataType, rows: usize) -> Self {
        match ScalarValue::try_from(data_type) {
            Ok(value) => Self::Constant { value, rows },
            Err(_) => Self::Plain(new_null_array(data_type, rows)),
        }
    }

    /// Bytes of memory, without the dictionary.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Plain(array) => array.get_array_memory_size(),
            Self::Coded { codes, .. } => codes.inner().capacity(),
            Self::Constant { value, .. } => value.size(),
        }
    }

    /// Some of the rows. Nothing is copied.
    pub(crate) fn slice(&self, offset: usize, rows: usize) -> Self {
        match self {
            Self::Plain(array) => Self::Plain(array.slice(offset, rows)),
            Self::Coded { codes, dictionary } => {
                Self::Coded { codes: codes.slice(offset, rows), dictionary: Arc::clone(dictionary) }
            }
            Self::Constant { value, .. } => Self::Constant { value: value.clone(), rows },
        }
    }

    /// Some of the rows, without a hold on the others: what keeps a batch in memory counts, and holds, these rows only.
    pub(crate) fn copy(&self, offset: usize, rows: usize) -> Result<Self> {
        Ok(match self {
            Self::Plain(array) if rows < array.len() => {
                let data = array.to_data();
                let mut copy = MutableArrayData::new(vec![&data], false, rows);
                copy.try_extend(0, offset, offset + rows)?;
                Self::Plain(make_array(copy.freeze()))
            }
            _ => self.slice(offset, rows),
        })
    }

    /// The rows for which `keep` is true.
    pub(crate) fn filter(&self, keep: &BooleanArray) -> Result<Self> {
        Ok(match self {
            Self::Plain(array) => Self::Plain(filter(array, keep)?),
            Self::Coded { codes, dictionary } => {
                let kept = filter(&UInt32Array::new(codes.clone(), None), keep)?;
                let kept = kept.as_primitive::<UInt32Type>().values().clone();
                Self::Coded { codes: kept, dictionary: Arc::clone(dictionary) }
            }
            Self::Constant { value, .. } => Self::Constant { value: value.clone(), rows: keep.true_count() },
        })
    }

    /// The values as the array that plans expect.
    pub(crate) fn array(&self) -> Result<ArrayRef> {
        match self {
            Self::Plain(array) => Ok(Arc::clone(array)),
            Self::Coded { codes, dictionary } => by_code(&dictionary.values(), codes),
            Self::Constant { value, rows } => value.to_array_of_size(*rows),
        }
    }
}

/// `values[code]` for each code; NULL for that of NULL.
fn by_code(values: &dyn Array, codes: &ScalarBuffer<u32>) -> Result<ArrayRef> {
    let nulls = codes.contains(&NULL).then(|| NullBuffer::from_iter(codes.iter().map(|code| *code != NULL)));
    Ok(take(values, &UInt32Array::new(codes.clone(), nulls), None)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Int64Array, StringArray};

    use super::*;

    #[test]
    fn a_copy_holds_its_rows_only() {
        let texts: StringArray = (0..10_000).map(|n| (n % 3 > 0).then(|| format!("text {n}"))).collect();
        for array in [Arc::new(Int64Array::from_iter(0..10_000)) as ArrayRef, Arc::new(texts)] {
            let chunk = Chunk::Plain(Arc::clone(&array));
            let copy = chunk.copy(77, 20).unwrap();
            assert_eq!(&copy.array().unwrap(), &array.slice(77, 20));
            assert!(copy.bytes() < 2000 && chunk.slice(77, 20).bytes() > 50_000);
        }
    }
}
