//! Columns as the cache keeps them. Numbers stand as their distance from the smallest one, in as few bytes as the largest distance takes:
//! most are small (tokens, codes of texts) or close together (times, money), and to widen them again takes less than a nanosecond each.
//! Texts that follow themselves, as the identifiers of traces do, stand once.

use std::{mem::size_of, sync::Arc};

use arrow::{
    array::{Array, ArrayRef, ArrowPrimitiveType, AsArray as _, PrimitiveArray, StringArray, StringBuilder, UInt32Array},
    buffer::NullBuffer,
    compute::take,
    datatypes::{DataType, Decimal128Type, Int64Type, TimeUnit, TimestampMicrosecondType},
};

use super::{chunk::Chunk, dictionary::Dictionary};

/// A [`Chunk`] in less memory, where that is possible.
#[derive(Debug)]
pub(crate) enum Packed {
    /// Nothing to gain.
    AsIs(Chunk),
    /// Codes, each one more than it is, so that NULL is 0.
    Codes { codes: Narrow, dictionary: Arc<Dictionary> },
    /// Texts, each with the row where the next one begins.
    Runs { texts: StringArray, ends: Box<[u32]> },
    /// Whole numbers of 64 or 128 bits.
    Numbers { distances: Narrow, smallest: i128, nulls: Option<NullBuffer>, data_type: DataType },
}

/// Numbers in as few bytes as the largest takes.
#[derive(Debug)]
pub(crate) enum Narrow {
    One(Box<[u8]>),
    Two(Box<[u16]>),
    Four(Box<[u32]>),
    Eight(Box<[u64]>),
}

impl Packed {
    /// `chunk` in less memory.
    pub(crate) fn new(chunk: &Chunk) -> Self {
        let packed = match chunk {
            Chunk::Coded { codes, dictionary } => {
                let codes = || codes.iter().map(|code| u64::from(code.wrapping_add(1)));
                let codes = Narrow::new(codes().max().unwrap_or(0), codes());
                (codes.width() < 4).then(|| Self::Codes { codes, dictionary: Arc::clone(dictionary) })
            }
            Chunk::Plain(array) => match array.data_type() {
                DataType::Int64 => numbers::<Int64Type>(array, 8),
                DataType::Timestamp(TimeUnit::Microsecond, _) => numbers::<TimestampMicrosecondType>(array, 8),
                DataType::Decimal128(_, _) => numbers::<Decimal128Type>(array, 16),
                DataType::Utf8 => runs(array.as_string()),
                _ => None,
            },
            Chunk::Constant { .. } => None,
        };
        packed.unwrap_or_else(|| Self::AsIs(chunk.clone()))
    }

    /// What it was made of.
    pub(crate) fn chunk(&self) -> Chunk {
        match self {
            Self::AsIs(chunk) => chunk.clone(),
            Self::Codes { codes, dictionary } => Chunk::Coded {
                codes: codes.widen(|code| (code as u32).wrapping_sub(1)).into(),
                dictionary: Arc::clone(dictionary),
            },
            Self::Runs { texts, ends } => {
                let mut begin = 0;
                let mut rows = Vec::with_capacity(ends.last().map_or(0, |end| *end as usize));
                for (text, end) in (0..).zip(ends) {
                    rows.extend(std::iter::repeat_n(text, (*end - begin) as usize));
                    begin = *end;
                }
                Chunk::Plain(take(texts, &UInt32Array::from(rows), None).expect("every run has a text"))
            }
            Self::Numbers { distances, smallest, nulls, data_type } => {
                let nulls = nulls.clone();
                // The smallest of numbers of 64 bits has 64 bits, and so has each of them.
                let small = *smallest as i64;
                let number = |distance: u64| small.wrapping_add(distance.cast_signed());
                Chunk::Plain(match data_type {
                    DataType::Int64 => Arc::new(PrimitiveArray::<Int64Type>::new(distances.widen(number).into(), nulls)),
                    DataType::Decimal128(_, _) => {
                        let values = distances.widen(|distance| smallest.wrapping_add(i128::from(distance)));
                        Arc::new(PrimitiveArray::<Decimal128Type>::new(values.into(), nulls).with_data_type(data_type.clone()))
                    }
                    _ => {
                        let values = distances.widen(number).into();
                        Arc::new(PrimitiveArray::<TimestampMicrosecondType>::new(values, nulls).with_data_type(data_type.clone()))
                    }
                })
            }
        }
    }

    /// Bytes of memory, without the dictionary.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::AsIs(chunk) => chunk.bytes(),
            Self::Codes { codes, .. } => codes.bytes(),
            Self::Runs { texts, ends } => texts.get_array_memory_size() + ends.len() * size_of::<u32>(),
            Self::Numbers { distances, nulls, .. } => {
                distances.bytes() + nulls.as_ref().map_or(0, |nulls| nulls.buffer().capacity())
            }
        }
    }
}

/// `array`, whose numbers take `width` bytes each, if they fit into half of that.
fn numbers<T: ArrowPrimitiveType<Native: Into<i128>>>(array: &ArrayRef, width: usize) -> Option<Packed> {
    let array: &PrimitiveArray<T> = array.as_primitive();
    let known = || array.iter().flatten().map(Into::<i128>::into);
    let smallest = known().min().unwrap_or(0);
    let largest = known().max().unwrap_or(0);
    let distance = |value: i128| u64::try_from(value.wrapping_sub(smallest));
    let span = distance(largest).ok()?;
    // What stands in the place of NULL does not matter.
    let distances = array.iter().map(|value| value.map_or(0, |value| distance(value.into()).unwrap_or(0)));
    let distances = Narrow::new(span, distances);
    if distances.width() * 2 > width {
        return None;
    }
    Some(Packed::Numbers { distances, smallest, nulls: array.nulls().cloned(), data_type: array.data_type().clone() })
}

/// `texts`, if there are not more than half as many runs of equal ones as there are rows.
fn runs(texts: &StringArray) -> Option<Packed> {
    if texts.is_empty() {
        return None;
    }
    let most = texts.len() / 2;
    let (mut ends, mut bytes, mut last) = (Vec::new(), 0, None);
    for (row, text) in (0..).zip(texts) {
        if last != Some(text) {
            if ends.len() == most {
                return None;
            }
            if row > 0 {
                ends.push(row);
            }
            bytes += text.map_or(0, str::len);
            last = Some(text);
        }
    }
    ends.push(u32::try_from(texts.len()).ok()?);
    let mut of_runs = StringBuilder::with_capacity(ends.len(), bytes);
    for end in &ends {
        let row = *end as usize - 1;
        of_runs.append_option(texts.is_valid(row).then(|| texts.value(row)));
    }
    Some(Packed::Runs { texts: of_runs.finish(), ends: ends.into() })
}

impl Narrow {
    /// `numbers`, of which `largest` is the largest.
    fn new(largest: u64, numbers: impl Iterator<Item = u64>) -> Self {
        match largest {
            0..=0xff => Self::One(numbers.map(|n| n as u8).collect()),
            0x100..=0xffff => Self::Two(numbers.map(|n| n as u16).collect()),
            0x1_0000..=0xffff_ffff => Self::Four(numbers.map(|n| n as u32).collect()),
            _ => Self::Eight(numbers.collect()),
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::One(_) => 1,
            Self::Two(_) => 2,
            Self::Four(_) => 4,
            Self::Eight(_) => 8,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::One(numbers) => numbers.len(),
            Self::Two(numbers) => numbers.len() * 2,
            Self::Four(numbers) => numbers.len() * 4,
            Self::Eight(numbers) => numbers.len() * 8,
        }
    }

    fn widen<T>(&self, to: impl Fn(u64) -> T) -> Vec<T> {
        match self {
            Self::One(numbers) => numbers.iter().map(|n| to(u64::from(*n))).collect(),
            Self::Two(numbers) => numbers.iter().map(|n| to(u64::from(*n))).collect(),
            Self::Four(numbers) => numbers.iter().map(|n| to(u64::from(*n))).collect(),
            Self::Eight(numbers) => numbers.iter().map(|n| to(*n)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{Decimal128Array, Int64Array, TimestampMicrosecondArray};
    use proptest::prelude::*;

    use super::*;

    /// Numbers that are close together, far apart, or as far as can be.
    fn values() -> impl Strategy<Value = Vec<Option<i64>>> {
        let near = prop::collection::vec(prop::option::of(0..300_i64), 0..50);
        let times = prop::collection::vec(prop::option::of(1_790_000_000_000_000..1_790_000_900_000_000_i64), 0..50);
        let any = prop::collection::vec(prop::option::of(any::<i64>()), 0..50);
        prop_oneof![near, times, any]
    }

    proptest! {
        #[test]
        fn what_is_packed_comes_back(values in values(), cut in 0..50_usize) {
            let cut = cut.min(values.len());
            let money = values.iter().map(|v| v.map(|v| i128::from(v) * 1_000_003)).collect::<Decimal128Array>();
            let arrays: [ArrayRef; 4] = [
                Arc::new(Int64Array::from(values.clone())),
                Arc::new(TimestampMicrosecondArray::from(values.clone()).with_timezone("UTC")),
                Arc::new(money.with_precision_and_scale(38, 15).unwrap()),
                Arc::new(values.iter().map(|v| v.map(|v| v.to_string())).collect::<StringArray>()),
            ];
            for array in arrays {
                let array = array.slice(cut, array.len() - cut);
                let packed = Packed::new(&Chunk::Plain(Arc::clone(&array)));
                prop_assert_eq!(&packed.chunk().array().unwrap(), &array);
                prop_assert!(packed.bytes() <= array.get_array_memory_size());
            }
        }

        #[test]
        fn codes_come_back(texts in prop::collection::vec(prop::option::of(0..600_u16), 0..800)) {
            let dictionary = Arc::new(Dictionary::new(1 << 20));
            let array = texts.iter().map(|text| text.map(|t| format!("text {t}"))).collect::<StringArray>();
            let Some(codes) = dictionary.encode(&array) else { return Ok(()) };
            let packed = Packed::new(&Chunk::Coded { codes, dictionary });
            prop_assert!(packed.bytes() <= 2 * texts.len());
            let back = packed.chunk().array().unwrap();
            prop_assert_eq!(back.as_string::<i32>(), &array);
        }
    }

    proptest! {
        #[test]
        fn runs_come_back(runs in prop::collection::vec((prop::option::of(0..4_u8), 1..6_usize), 0..60), cut in 0..20_usize) {
            let texts = runs.iter().flat_map(|(text, rows)| std::iter::repeat_n(text.map(|t| format!("trace {t}")), *rows));
            let array: ArrayRef = Arc::new(texts.collect::<StringArray>());
            let cut = cut.min(array.len());
            let array = array.slice(cut, array.len() - cut);
            let packed = Packed::new(&Chunk::Plain(Arc::clone(&array)));
            prop_assert_eq!(&packed.chunk().array().unwrap(), &array);
        }
    }

    #[test]
    fn texts_that_follow_themselves_stand_once() {
        let traces: ArrayRef = Arc::new((0..10_000).map(|n| Some(format!("{:032x}", n / 10))).collect::<StringArray>());
        let packed = Packed::new(&Chunk::Plain(Arc::clone(&traces)));
        assert!(packed.bytes() < 45_000, "{}", packed.bytes());
        assert!(matches!(packed, Packed::Runs { .. }));
        let ever_new: ArrayRef = Arc::new((0..1000).map(|n| Some(n.to_string())).collect::<StringArray>());
        assert!(matches!(Packed::new(&Chunk::Plain(ever_new)), Packed::AsIs(_)));
    }

    #[test]
    fn close_numbers_take_little() {
        let tokens: ArrayRef = Arc::new((0..1000).map(|n| (n % 3 > 0).then_some(n % 200)).collect::<Int64Array>());
        let packed = Packed::new(&Chunk::Plain(Arc::clone(&tokens)));
        assert!(packed.bytes() < 1200, "{}", packed.bytes());
        let money = Decimal128Array::from_iter_values((0..1000).map(|n| n * 1_000_000_000_000)).with_precision_and_scale(28, 15);
        let packed = Packed::new(&Chunk::Plain(Arc::new(money.unwrap())));
        assert_eq!(packed.bytes(), 8000);
    }
}
