//! One value of an array as text: in JSON and in CSV.

use std::io::Write as _;

use arrow::{
    array::{
        Array, ArrayRef, AsArray as _, BinaryArray, BinaryViewArray, BooleanArray, Decimal128Array, FixedSizeBinaryArray,
        LargeBinaryArray, LargeStringArray, StringArray, StringViewArray, StructArray, UnionArray,
    },
    datatypes::{
        DataType, Date32Type, Float32Type, Float64Type, Int8Type, Int16Type, Int32Type, Int64Type, TimeUnit,
        TimestampMicrosecondType, TimestampMillisecondType, TimestampNanosecondType, TimestampSecondType, UInt8Type, UInt16Type,
        UInt32Type, UInt64Type,
    },
    util::display::{ArrayFormatter, FormatOptions},
};
use chrono::{DateTime, SecondsFormat, Utc};

/// An array, looked at once for all its rows.
pub(crate) enum Cell<'a> {
    Null,
    Bool(&'a BooleanArray),
    Int(&'a dyn Array, fn(&dyn Array, usize) -> i128),
    Double(&'a dyn Array, fn(&dyn Array, usize) -> f64),
    Text(&'a dyn Array, for<'b> fn(&'b dyn Array, usize) -> &'b str),
    Bytes(&'a dyn Array, for<'b> fn(&'b dyn Array, usize) -> &'b [u8]),
    Decimal(&'a Decimal128Array, i8),
    Date(&'a dyn Array),
    Time(&'a dyn Array, TimeUnit, bool),
    List(&'a dyn Array, fn(&dyn Array, usize) -> ArrayRef),
    Struct(&'a StructArray, Vec<(&'a str, Cell<'a>)>),
    Dictionary(&'a dyn Array, Box<Cell<'a>>),
    Union(&'a UnionArray),
    /// Whatever Arrow itself can print.
    Other(&'a dyn Array),
}

impl<'a> Cell<'a> {
    pub(crate) fn of(array: &'a dyn Array) -> Self {
        macro_rules! int {
            ($kind:ty) => {
                Self::Int(array, |a, row| i128::from(a.as_primitive::<$kind>().value(row)))
            };
        }
        macro_rules! view {
            ($Variant:ident, $Array:ty) => {
                Self::$Variant(array, |a, row| a.as_any().downcast_ref::<$Array>().expect("the type was matched").value(row))
            };
        }
        match array.data_type() {
            DataType::Null => Self::Null,
            DataType::Boolean => Self::Bool(array.as_boolean()),
            DataType::Int8 => int!(Int8Type),
            DataType::Int16 => int!(Int16Type),
            DataType::Int32 => int!(Int32Type),
            DataType::Int64 => int!(Int64Type),
            DataType::UInt8 => int!(UInt8Type),
            DataType::UInt16 => int!(UInt16Type),
            DataType::UInt32 => int!(UInt32Type),
            DataType::UInt64 => int!(UInt64Type),
            DataType::Float32 => Self::Double(array, |a, row| f64::from(a.as_primitive::<Float32Type>().value(row))),
            DataType::Float64 => Self::Double(array, |a, row| a.as_primitive::<Float64Type>().value(row)),
            DataType::Utf8 => view!(Text, StringArray),
            DataType::LargeUtf8 => view!(Text, LargeStringArray),
            DataType::Utf8View => view!(Text, StringViewArray),
            DataType::Binary => view!(Bytes, BinaryArray),
            DataType::LargeBinary => view!(Bytes, LargeBinaryArray),
            DataType::BinaryView => view!(Bytes, BinaryViewArray),
            DataType::FixedSizeBinary(_) => view!(Bytes, FixedSizeBinaryArray),
            DataType::Decimal128(_, scale) => Self::Decimal(array.as_primitive(), *scale),
            DataType::Date32 => Self::Date(array),
            DataType::Timestamp(unit, zone) => Self::Time(array, *unit, zone.is_some()),
            DataType::List(_) => Self::List(array, |a, row| a.as_list::<i32>().value(row)),
            DataType::LargeList(_) => Self::List(array, |a, row| a.as_list::<i64>().value(row)),
            DataType::FixedSizeList(..) => Self::List(array, |a, row| a.as_fixed_size_list().value(row)),
            DataType::Struct(fields) => {
                let array = array.as_struct();
                let columns = fields.iter().zip(array.columns()).map(|(f, c)| (f.name().as_str(), Self::of(c.as_ref())));
                Self::Struct(array, columns.collect())
            }
            DataType::Dictionary(..) => Self::Dictionary(array, Box::new(Self::of(array.as_any_dictionary().values().as_ref()))),
            DataType::Union(..) => match array.as_any().downcast_ref::<UnionArray>() {
                Some(array) => Self::Union(array),
                None => Self::Other(array),
            },
            _ => Self::Other(array),
        }
    }

    fn is_null(&self, row: usize) -> bool {
        match self {
            Self::Null => true,
            Self::Bool(a) => a.is_null(row),
            Self::Decimal(a, _) => a.is_null(row),
            Self::Struct(a, _) => a.is_null(row),
            Self::Union(_) => false,
            Self::Int(a, _) => a.is_null(row),
            Self::Double(a, _) => a.is_null(row),
            Self::Text(a, _) => a.is_null(row),
            Self::Bytes(a, _) => a.is_null(row),
            Self::Date(a) | Self::Time(a, ..) | Self::Dictionary(a, _) | Self::Other(a) => a.is_null(row),
            Self::List(a, _) => a.is_null(row),
        }
    }
}

/// Writes row `row` as a JSON value.
pub(crate) fn write_json(out: &mut Vec<u8>, cell: &Cell<'_>, row: usize) {
    if cell.is_null(row) {
        out.extend_from_slice(b"null");
        return;
    }
    match cell {
        Cell::Null => out.extend_from_slice(b"null"),
        Cell::Bool(a) => out.extend_from_slice(if a.value(row) { b"true" } else { b"false" }),
        Cell::Int(a, read) => print(out, format_args!("{}", read(*a, row))),
        Cell::Double(a, read) => write_double(out, read(*a, row)),
        Cell::List(a, read) => {
            let values = read(*a, row);
            let values = values.as_ref();
            let inner = Cell::of(values);
            out.push(b'[');
            for idx in 0..values.len() {
                if idx > 0 {
                    out.push(b',');
                }
                write_json(out, &inner, idx);
            }
            out.push(b']');
        }
        Cell::Struct(_, columns) => {
            out.push(b'{');
            for (idx, (name, column)) in columns.iter().enumerate() {
                if idx > 0 {
                    out.push(b',');
                }
                write_json_text(out, name);
                out.push(b':');
                write_json(out, column, row);
            }
            out.push(b'}');
        }
        Cell::Dictionary(a, values) => write_json(out, values, a.as_any_dictionary().normalized_keys()[row]),
        Cell::Union(a) => write_json(out, &Cell::of(a.value(row).as_ref()), 0),
        Cell::Text(a, read) => write_json_text(out, read(*a, row)),
        Cell::Bytes(..) | Cell::Decimal(..) | Cell::Date(_) | Cell::Time(..) | Cell::Other(_) => {
            write_json_text(out, &text(cell, row));
        }
    }
}

/// Writes row `row` as a CSV field: NULL is empty, the empty text is `""`.
pub(crate) fn write_csv(out: &mut Vec<u8>, cell: &Cell<'_>, row: usize) {
    if cell.is_null(row) {
        return;
    }
    match cell {
        Cell::Text(a, read) => write_csv_text(out, read(*a, row)),
        Cell::List(..) | Cell::Struct(..) | Cell::Union(_) => {
            let mut json = Vec::new();
            write_json(&mut json, cell, row);
            write_csv_text(out, &String::from_utf8_lossy(&json));
        }
        Cell::Dictionary(a, values) => write_csv(out, values, a.as_any_dictionary().normalized_keys()[row]),
        Cell::Double(a, read) => match read(*a, row) {
            finite if finite.is_finite() => write_double(out, finite),
            other => write_csv_text(out, not_finite(other)),
        },
        Cell::Null | Cell::Bool(_) | Cell::Int(..) => write_json(out, cell, row),
        Cell::Bytes(..) | Cell::Decimal(..) | Cell::Date(_) | Cell::Time(..) | Cell::Other(_) => {
            write_csv_text(out, &text(cell, row))
        }
    }
}

/// Writes a CSV field, quoted if it must be.
pub(crate) fn write_csv_text(out: &mut Vec<u8>, text: &str) {
    let plain = !text.is_empty() && !text.contains([',', '"', '\n', '\r']) && !text.starts_with(' ') && !text.ends_with(' ');
    if plain {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
    out.push(b'"');
}

/// A decimal without trailing zeros: `0.000123`, `-2`.
pub(crate) fn decimal_text(value: i128, scale: i8) -> String {
    let Ok(scale) = usize::try_from(scale) else { return format!("{value}{}", "0".repeat(scale.unsigned_abs() as usize)) };
    let digits = format!("{:0>width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, part) = digits.split_at(digits.len() - scale);
    let part = part.trim_end_matches('0');
    let sign = if value < 0 { "-" } else { "" };
    if part.is_empty() { format!("{sign}{whole}") } else { format!("{sign}{whole}.{part}") }
}

fn text(cell: &Cell<'_>, row: usize) -> String {
    match cell {
        Cell::Bytes(a, read) => hex::encode(read(*a, row)),
        Cell::Decimal(a, scale) => decimal_text(a.value(row), *scale),
        Cell::Date(a) => a.as_primitive::<Date32Type>().value_as_date(row).map_or_else(String::new, |d| d.to_string()),
        Cell::Time(a, unit, zoned) => time_text(*a, *unit, *zoned, row),
        Cell::Other(a) => {
            let options = FormatOptions::default().with_display_error(true);
            ArrayFormatter::try_new(*a, &options).map_or_else(|e| e.to_string(), |f| f.value(row).to_string())
        }
        _ => String::new(),
    }
}

fn time_text(array: &dyn Array, unit: TimeUnit, zoned: bool, row: usize) -> String {
    let (time, digits): (Option<DateTime<Utc>>, _) = match unit {
        TimeUnit::Second => {
            (DateTime::from_timestamp(array.as_primitive::<TimestampSecondType>().value(row), 0), SecondsFormat::Secs)
        }
        TimeUnit::Millisecond => {
            (DateTime::from_timestamp_millis(array.as_primitive::<TimestampMillisecondType>().value(row)), SecondsFormat::Millis)
        }
        TimeUnit::Microsecond => {
            (DateTime::from_timestamp_micros(array.as_primitive::<TimestampMicrosecondType>().value(row)), SecondsFormat::Micros)
        }
        TimeUnit::Nanosecond => (
            Some(DateTime::from_timestamp_nanos(array.as_primitive::<TimestampNanosecondType>().value(row))),
            SecondsFormat::Nanos,
        ),
    };
    let text = time.map_or_else(String::new, |t| t.to_rfc3339_opts(digits, true));
    if zoned { text } else { text.trim_end_matches('Z').to_owned() }
}

fn not_finite(value: f64) -> &'static str {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "Infinity"
    } else {
        "-Infinity"
    }
}

fn write_double(out: &mut Vec<u8>, value: f64) {
    if value.is_finite() {
        // The shortest text that reads back as the same number.
        write!(out, "{}", serde_json::Number::from_f64(value).expect("the value is finite"))
            .expect("writing to memory does not fail");
    } else {
        write_json_text(out, not_finite(value));
    }
}

fn write_json_text(out: &mut Vec<u8>, text: &str) {
    serde_json::to_writer(out, text).expect("text is always JSON and writing to memory does not fail");
}

fn print(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to memory does not fail");
}
