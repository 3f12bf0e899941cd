//! Functions that make much of little (`range`, `repeat`, …), with a limit on what one call makes for one batch of rows: their results are
//! not counted by a query's memory pool, so without it a short question could take all memory of the process.
//!
//! They are declared volatile, so that a call with constants is made for each batch, where its size is checked, and not once by the
//! planner, whose result would be copied for every row.

use std::sync::Arc;

use arrow::{
    array::{Array as _, ArrayRef, AsArray as _},
    compute::cast,
    datatypes::{DataType, Float64Type, Int64Type, IntervalMonthDayNanoType, IntervalUnit},
};
use datafusion::{
    common::{Result, resources_err},
    logical_expr::{
        ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
    },
};

/// Elements or bytes that one call may make for one batch.
const MADE_MAX: f64 = 64.0 * 1024.0 * 1024.0;
const DAY_NS: f64 = 86_400e9;

/// What the arguments say about the size of the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Makes {
    /// `([start,] stop [, step])`
    Series,
    /// `(value, times)`: so many copies of an element.
    Elements,
    /// `(text, times)`: so many copies of a text.
    Text,
    /// `(text, length, …)`: text of that length.
    Padded,
}

/// The functions and what they make.
pub(super) const BOUNDED: [(&str, Makes); 7] = [
    ("range", Makes::Series),
    ("generate_series", Makes::Series),
    ("array_repeat", Makes::Elements),
    ("repeat", Makes::Text),
    ("array_resize", Makes::Padded),
    ("lpad", Makes::Padded),
    ("rpad", Makes::Padded),
];

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct Bounded {
    inner: Arc<ScalarUDF>,
    makes: Makes,
    signature: Signature,
}

impl Bounded {
    pub(super) fn new(inner: Arc<ScalarUDF>, makes: Makes) -> Self {
        let signature = Signature { volatility: Volatility::Volatile, ..inner.signature().clone() };
        Self { inner, makes, signature }
    }
}

impl ScalarUDFImpl for Bounded {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        self.inner.inner().coerce_types(types)
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<arrow::datatypes::FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let all_scalar = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let columns = ColumnarValue::values_to_arrays(&args.args)?;
        // A result of constants alone is copied for each row.
        let copies = if all_scalar { args.number_rows.max(1) as f64 } else { 1.0 };
        let made = made(self.makes, &columns) * copies;
        if made > MADE_MAX {
            return resources_err!("`{}` would make {made:.0} values at once: expected at most {MADE_MAX:.0}", self.name());
        }
        self.inner.invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

fn made(makes: Makes, columns: &[ArrayRef]) -> f64 {
    let rows = columns.first().map_or(0, |c| c.len());
    let number = |idx: usize| columns.get(idx).and_then(numbers);
    let at = |values: &Option<Vec<f64>>, row: usize, or: f64| values.as_ref().map_or(or, |v| v[row]);
    let (first, second, third) = (number(0), number(1), number(2));
    let each = |row: usize| match makes {
        Makes::Series if columns.len() == 1 => at(&first, row, 0.0).abs(),
        Makes::Series => {
            let step = if columns.len() > 2 { at(&third, row, 1.0).abs() } else { 1.0 };
            if step == 0.0 { 0.0 } else { (at(&second, row, 0.0) - at(&first, row, 0.0)).abs() / step }
        }
        Makes::Elements | Makes::Padded => at(&second, row, 0.0).max(0.0),
        Makes::Text => {
            at(&second, row, 0.0).max(0.0)
                * columns[0].as_string_opt::<i32>().map_or(16.0, |text| f64::from(text.value_length(row)))
        }
    };
    (0..rows).map(each).sum()
}

/// A column as numbers, times and intervals in nanoseconds; NULL is 0. `None` if it is neither.
fn numbers(column: &ArrayRef) -> Option<Vec<f64>> {
    match column.data_type() {
        DataType::Interval(IntervalUnit::MonthDayNano) => {
            let values = column.as_primitive::<IntervalMonthDayNanoType>().iter();
            let nanos = |i: arrow::datatypes::IntervalMonthDayNano| {
                (f64::from(i.months) * 30.0 + f64::from(i.days)) * DAY_NS + i.nanoseconds as f64
            };
            Some(values.map(|i| i.map_or(0.0, nanos)).collect())
        }
        DataType::Date32 | DataType::Timestamp(..) => {
            let nanos = cast(column, &DataType::Timestamp(arrow::datatypes::TimeUnit::Nanosecond, None)).ok()?;
            let nanos = cast(&nanos, &DataType::Int64).ok()?;
            Some(nanos.as_primitive::<Int64Type>().iter().map(|v| v.unwrap_or(0) as f64).collect())
        }
        other if other.is_numeric() => {
            let values = cast(column, &DataType::Float64).ok()?;
            Some(values.as_primitive::<Float64Type>().iter().map(|v| v.unwrap_or(0.0)).collect())
        }
        _ => None,
    }
}
