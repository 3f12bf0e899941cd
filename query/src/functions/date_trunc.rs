//! `date_trunc` as DataFusion has it, made quick for times in UTC, which all of ours are: without a zone it is integer arithmetic, with
//! one it goes through a calendar for every row, and UTC has no calendar of its own.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::{
    common::{Result, ScalarValue},
    logical_expr::{
        ColumnarValue, Documentation, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
        sort_properties::{ExprProperties, SortProperties},
    },
};

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct DateTrunc {
    inner: Arc<ScalarUDF>,
}

impl DateTrunc {
    pub(super) fn new() -> Self {
        Self { inner: datafusion::functions::datetime::date_trunc() }
    }
}

impl ScalarUDFImpl for DateTrunc {
    fn name(&self) -> &str {
        self.inner.name()
    }

    fn aliases(&self) -> &[String] {
        self.inner.aliases()
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs<'_>) -> Result<FieldRef> {
        self.inner.inner().return_field_from_args(args)
    }

    fn invoke_with_args(&self, mut args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(ColumnarValue::Array(times)) = args.args.get(1) else { return self.inner.invoke_with_args(args) };
        let zoned = times.data_type().clone();
        let DataType::Timestamp(unit, Some(zone)) = &zoned else { return self.inner.invoke_with_args(args) };
        if !matches!(&**zone, "UTC" | "+00:00" | "Etc/UTC" | "Z") {
            return self.inner.invoke_with_args(args);
        }
        let plain = DataType::Timestamp(*unit, None);
        args.args[1] = ColumnarValue::Array(with_type(times, &plain)?);
        args.arg_fields[1] = Arc::new(Field::new(args.arg_fields[1].name(), plain.clone(), true));
        args.return_field = Arc::new(Field::new(args.return_field.name(), plain, true));
        match self.inner.invoke_with_args(args)? {
            ColumnarValue::Array(truncated) => Ok(ColumnarValue::Array(with_type(&truncated, &zoned)?)),
            ColumnarValue::Scalar(scalar) => {
                let array = with_type(&scalar.to_array()?, &zoned)?;
                Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?))
            }
        }
    }

    fn output_ordering(&self, input: &[ExprProperties]) -> Result<SortProperties> {
        self.inner.inner().output_ordering(input)
    }

    fn documentation(&self) -> Option<&Documentation> {
        self.inner.documentation()
    }
}

/// The same numbers under another type of time: nothing is copied.
fn with_type(array: &arrow::array::ArrayRef, data_type: &DataType) -> Result<arrow::array::ArrayRef> {
    Ok(arrow::array::make_array(array.to_data().into_builder().data_type(data_type.clone()).build()?))
}
