//! `time_bucket(interval, time [, origin])`: the start of the bucket a time falls into, as TimescaleDB has it and Grafana writes it.
//!
//! It is DataFusion's `date_bin` with the origin people expect: weeks begin on Monday, months on the first.

use std::sync::Arc;

use arrow::datatypes::{DataType, IntervalUnit, TimeUnit};
use datafusion::{
    common::{Result, ScalarValue, plan_err},
    logical_expr::{
        ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, Volatility,
        scalar_doc_sections::DOC_SECTION_DATETIME,
    },
};

/// Monday, 2000-01-03, nanoseconds since 1970.
const MONDAY: i64 = 946_857_600_000_000_000;
/// 2000-01-01, nanoseconds since 1970.
const FIRST: i64 = 946_684_800_000_000_000;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct TimeBucket {
    signature: Signature,
    date_bin: Arc<ScalarUDF>,
}

impl TimeBucket {
    pub(super) fn new() -> Self {
        Self { signature: Signature::user_defined(Volatility::Immutable), date_bin: datafusion::functions::datetime::date_bin() }
    }
}

impl ScalarUDFImpl for TimeBucket {
    fn name(&self) -> &'static str {
        "time_bucket"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn coerce_types(&self, types: &[DataType]) -> Result<Vec<DataType>> {
        let time = |given: &DataType| match given {
            DataType::Timestamp(..) => Ok(given.clone()),
            DataType::Date32 | DataType::Date64 | DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Null => {
                Ok(DataType::Timestamp(TimeUnit::Nanosecond, None))
            }
            other => plan_err!("time_bucket: expected a timestamp, found `{other}`"),
        };
        let interval = DataType::Interval(IntervalUnit::MonthDayNano);
        match types {
            [_, at] => Ok(vec![interval, time(at)?]),
            [_, at, _] => Ok(vec![interval, time(at)?, DataType::Timestamp(TimeUnit::Nanosecond, None)]),
            other => plan_err!("time_bucket: expected (interval, timestamp [, origin]), found {} arguments", other.len()),
        }
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        match types.get(1) {
            Some(time) => Ok(time.clone()),
            None => plan_err!("time_bucket: expected (interval, timestamp [, origin])"),
        }
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        if args.args.len() == 2 {
            let by_month =
                matches!(&args.args[0], ColumnarValue::Scalar(ScalarValue::IntervalMonthDayNano(Some(i))) if i.months != 0);
            let origin = ScalarValue::TimestampNanosecond(Some(if by_month { FIRST } else { MONDAY }), None);
            args.args.push(ColumnarValue::Scalar(origin));
            args.arg_fields.push(Arc::new(arrow::datatypes::Field::new(
                "origin",
                DataType::Timestamp(TimeUnit::Nanosecond, None),
                false,
            )));
        }
        self.date_bin.inner().invoke_with_args(args)
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOC: std::sync::LazyLock<Documentation> = std::sync::LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_DATETIME,
                "Start of the bucket of the given width that a time falls into. Weeks begin on Monday, months on the first; an origin \
                 moves the buckets.",
                "time_bucket(interval, time [, origin])",
            )
            .with_argument("interval", "Width of a bucket, e.g. `INTERVAL '5 minutes'` or `'1 hour'`.")
            .with_argument("time", "A time.")
            .build()
        });
        Some(&DOC)
    }
}
