//! How a table is described once and used everywhere: as an Arrow schema, as documentation, as a row type and its builder.
//!
//! [`table!`](crate::table!) turns one struct with documented fields into all four. A field's type is a [`Field`]:
//! [`Text`], [`Label`], [`Int`], … or [`Opt`] of one of them, or a group of columns made by [`columns!`](crate::columns!).
//! Adding a column is adding a field.

use std::{
    borrow::Cow,
    collections::HashMap,
    marker::PhantomData,
    ops::{Deref, DerefMut},
    sync::{Arc, OnceLock, RwLock},
};

use arrow::{
    array::{
        Array, ArrayRef, ArrowPrimitiveType, AsArray, BooleanBuilder, PrimitiveBuilder, RecordBatch, StringBuilder, UInt32Array,
        new_null_array,
    },
    compute::take,
    datatypes::{
        DataType, Date32Type, Decimal128Type, Field as ArrowField, Float64Type, Int64Type, Schema, SchemaRef, TimeUnit,
        TimestampMicrosecondType,
    },
};
use rust_decimal::Decimal;

/// Digits before and after the point of every money column: prices have at most 6 decimals per million tokens, which is 12 per
/// token, and multipliers add up to 3.
pub const MONEY_PRECISION: u8 = 28;
/// See [`MONEY_PRECISION`].
pub const MONEY_SCALE: i8 = 15;

/// How a column is laid out on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Few distinct values: dictionary pages.
    Dictionary,
    /// Many distinct values, no dictionary.
    Plain,
    /// Large text (prompts, answers, documents): no dictionary, no statistics, stronger compression; read only when asked for.
    Payload,
}

/// One column of a table.
#[derive(Clone, Debug)]
pub struct Column {
    /// Name in SQL, in the lake and in `information_schema`.
    pub name: &'static str,
    /// Arrow type; money is `Decimal128(28, 15)`, times are microseconds in UTC, JSON is text.
    pub data_type: DataType,
    /// Whether the value can be unknown.
    pub nullable: bool,
    /// What it means, units included.
    pub doc: &'static str,
    /// How it is laid out on disk.
    pub layout: Layout,
    /// Whether the text is a JSON document.
    pub json: bool,
}

/// A group of columns with a Rust value for one row of it.
pub trait Field {
    /// One row's value.
    type Value;
    /// Collects values into arrays.
    type Builder: Default;
    /// Appends the columns of this field to `out`.
    fn describe(name: &'static str, doc: &'static str, out: &mut Vec<Column>);
    /// Appends one row.
    fn push(builder: &mut Self::Builder, value: Self::Value);
    /// Appends the finished arrays to `out`, in the order of [`Field::describe`].
    fn collect(builder: Self::Builder, out: &mut Vec<ArrayRef>);
    /// Reads one row, taking its arrays from `arrays` in the order of [`Field::describe`].
    fn take(arrays: &mut std::slice::Iter<'_, ArrayRef>, row: usize) -> Self::Value;
}

/// A single value of a column.
pub trait Scalar {
    /// Rust value.
    type Native;
    /// Arrow builder.
    type Builder: Default;
    /// Arrow type.
    const TYPE: DataType;
    /// Layout on disk.
    const LAYOUT: Layout = Layout::Plain;
    /// Whether the text is a JSON document.
    const JSON: bool = false;
    /// Appends a value or a null.
    fn append(builder: &mut Self::Builder, value: Option<Self::Native>);
    /// Finishes the array.
    fn finish(builder: Self::Builder) -> ArrayRef;
    /// Reads one value.
    fn read(array: &dyn Array, row: usize) -> Self::Native;
}

impl<S: Scalar> Field for S {
    type Value = S::Native;
    type Builder = <S as Scalar>::Builder;

    fn describe(name: &'static str, doc: &'static str, out: &mut Vec<Column>) {
        out.push(Column { name, data_type: S::TYPE, nullable: false, doc, layout: S::LAYOUT, json: S::JSON });
    }
    fn push(builder: &mut Self::Builder, value: Self::Value) {
        S::append(builder, Some(value));
    }
    fn collect(builder: Self::Builder, out: &mut Vec<ArrayRef>) {
        out.push(S::finish(builder));
    }
    fn take(arrays: &mut std::slice::Iter<'_, ArrayRef>, row: usize) -> Self::Value {
        S::read(arrays.next().expect("one array for each described column"), row)
    }
}

/// A column whose value can be unknown (NULL).
#[derive(Debug)]
pub struct Opt<S>(PhantomData<S>);

impl<S: Scalar> Field for Opt<S> {
    type Value = Option<S::Native>;
    type Builder = <S as Scalar>::Builder;

    fn describe(name: &'static str, doc: &'static str, out: &mut Vec<Column>) {
        out.push(Column { name, data_type: S::TYPE, nullable: true, doc, layout: S::LAYOUT, json: S::JSON });
    }
    fn push(builder: &mut Self::Builder, value: Self::Value) {
        S::append(builder, value);
    }
    fn collect(builder: Self::Builder, out: &mut Vec<ArrayRef>) {
        out.push(S::finish(builder));
    }
    fn take(arrays: &mut std::slice::Iter<'_, ArrayRef>, row: usize) -> Self::Value {
        let array = arrays.next().expect("one array for each described column");
        (!array.is_null(row)).then(|| S::read(array, row))
    }
}

/// A group of columns of which many rows say nothing: such a row is a null pointer, and reads as the group's default.
#[derive(Clone, Debug)]
pub struct Sparse<G>(Option<Box<G>>);

/// A group with one default for all to look at.
pub trait Blank: Default + 'static {
    /// A group in which nothing is said.
    fn blank() -> &'static Self;
}

impl<G> Sparse<G> {
    /// Whether nothing was ever said.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.0.is_none()
    }
}

impl<G: Default> Sparse<G> {
    /// The group.
    #[must_use]
    pub fn into_inner(self) -> G {
        self.0.map_or_else(G::default, |group| *group)
    }
}

impl<G> Default for Sparse<G> {
    fn default() -> Self {
        Self(None)
    }
}

impl<G> From<G> for Sparse<G> {
    fn from(group: G) -> Self {
        Self(Some(Box::new(group)))
    }
}

impl<G: Blank> Deref for Sparse<G> {
    type Target = G;

    fn deref(&self) -> &G {
        self.0.as_deref().unwrap_or_else(|| G::blank())
    }
}

/// Costs memory even if nothing is said then: see [`Sparse::is_blank`].
impl<G: Blank> DerefMut for Sparse<G> {
    fn deref_mut(&mut self) -> &mut G {
        self.0.get_or_insert_default()
    }
}

impl<G: Blank + PartialEq> PartialEq for Sparse<G> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// Collects rows; those that say nothing are counted until one says something.
#[derive(Debug, Default)]
pub struct SparseGroupBuilder<B> {
    leading: u32,
    columns: Option<B>,
}

impl<G: Field<Value = G> + Blank> Field for Sparse<G> {
    type Value = Self;
    type Builder = SparseGroupBuilder<G::Builder>;

    fn describe(name: &'static str, doc: &'static str, out: &mut Vec<Column>) {
        G::describe(name, doc, out);
    }
    fn push(builder: &mut Self::Builder, value: Self::Value) {
        if value.is_blank() && builder.columns.is_none() {
            builder.leading += 1;
            return;
        }
        let leading = builder.leading;
        let columns = builder.columns.get_or_insert_with(|| {
            let mut columns = G::Builder::default();
            (0..leading).for_each(|_| G::push(&mut columns, G::default()));
            columns
        });
        G::push(columns, value.into_inner());
    }
    fn collect(builder: Self::Builder, out: &mut Vec<ArrayRef>) {
        match builder.columns {
            Some(columns) => G::collect(columns, out),
            None => collect_repeated([G::default()], &vec![0; builder.leading as usize].into(), out),
        }
    }
    fn take(arrays: &mut std::slice::Iter<'_, ArrayRef>, row: usize) -> Self::Value {
        G::take(arrays, row).into()
    }
}

/// A group of columns that many rows in a row have in common: kept once for all of them.
#[derive(Debug)]
pub struct Shared<G>(PhantomData<G>);

/// Collects runs of the same value.
#[derive(Debug)]
pub struct SharedBuilder<G> {
    runs: Vec<(Arc<G>, u32)>,
}

impl<G> Default for SharedBuilder<G> {
    fn default() -> Self {
        Self { runs: Vec::new() }
    }
}

impl<G: Field<Value = G> + Clone> Field for Shared<G> {
    type Value = Arc<G>;
    type Builder = SharedBuilder<G>;

    fn describe(name: &'static str, doc: &'static str, out: &mut Vec<Column>) {
        G::describe(name, doc, out);
    }
    fn push(builder: &mut Self::Builder, value: Self::Value) {
        match builder.runs.last_mut() {
            Some((last, rows)) if Arc::ptr_eq(last, &value) => *rows += 1,
            _ => builder.runs.push((value, 1)),
        }
    }
    fn collect(builder: Self::Builder, out: &mut Vec<ArrayRef>) {
        let rows: Vec<u32> =
            (0..).zip(&builder.runs).flat_map(|(nth, (_, rows))| std::iter::repeat_n(nth, *rows as usize)).collect();
        collect_repeated(builder.runs.into_iter().map(|(value, _)| Arc::unwrap_or_clone(value)), &rows.into(), out);
    }
    fn take(arrays: &mut std::slice::Iter<'_, ArrayRef>, row: usize) -> Self::Value {
        Arc::new(G::take(arrays, row))
    }
}

/// Appends the columns of as many rows as `rows` has, each the one of `values` that it names.
fn collect_repeated<G: Field<Value = G>>(values: impl IntoIterator<Item = G>, rows: &UInt32Array, out: &mut Vec<ArrayRef>) {
    let mut columns = G::Builder::default();
    values.into_iter().for_each(|value| G::push(&mut columns, value));
    let mut once = Vec::new();
    G::collect(columns, &mut once);
    out.extend(once.into_iter().map(|column| match column.null_count() == column.len() {
        true => nulls(column.data_type(), rows.len()),
        false => take(&column, rows, None).expect("a row is one of the values"),
    }));
}

/// Above so many rows, [`nulls`] makes an array for the one who asks.
pub const NULLS_SHARED_MAX: usize = 8192;

/// `rows` NULLs. Their memory is shared by all columns of that type, so that a column without a value costs next to nothing: most
/// columns of most batches are such. The array shown is a slice of one that is longer.
#[must_use]
pub fn nulls(data_type: &DataType, rows: usize) -> ArrayRef {
    static SHARED: OnceLock<RwLock<HashMap<(DataType, usize), ArrayRef>>> = OnceLock::new();
    if rows > NULLS_SHARED_MAX {
        return new_null_array(data_type, rows);
    }
    let shared = SHARED.get_or_init(RwLock::default);
    let key = (data_type.clone(), rows.next_power_of_two().max(16));
    // A panic while it is held leaves whole arrays or none: nothing is half-made.
    if let Some(array) = shared.read().unwrap_or_else(std::sync::PoisonError::into_inner).get(&key) {
        return array.slice(0, rows);
    }
    let array = new_null_array(data_type, key.1);
    let shown = array.slice(0, rows);
    shared.write().unwrap_or_else(std::sync::PoisonError::into_inner).insert(key, array);
    shown
}

/// Collects text. The bytes are copied once, into memory that is exactly as large: prompts make columns of megabytes.
#[derive(Debug)]
pub struct TextBuilder<T = String> {
    /// NULLs before the first value: most columns of most tables are never more than that.
    leading: usize,
    values: Vec<Option<T>>,
}

impl<T> Default for TextBuilder<T> {
    fn default() -> Self {
        Self { leading: 0, values: Vec::new() }
    }
}

impl<T: AsRef<str>> TextBuilder<T> {
    fn append(&mut self, value: Option<T>) {
        if value.is_none() && self.values.is_empty() {
            self.leading += 1;
        } else {
            self.values.push(value);
        }
    }

    fn finish(self) -> ArrayRef {
        let rows = self.leading + self.values.len();
        if self.values.is_empty() {
            return nulls(&DataType::Utf8, rows);
        }
        let bytes = self.values.iter().flatten().map(|value| value.as_ref().len()).sum();
        let mut builder = StringBuilder::with_capacity(rows, bytes);
        builder.append_nulls(self.leading);
        for value in self.values {
            builder.append_option(value);
        }
        Arc::new(builder.finish())
    }
}

macro_rules! text_scalars {
    ($($(#[doc = $doc:literal])* $name:ident: $Native:ty, $layout:expr, json $json:literal;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Scalar for $name {
            type Native = $Native;
            type Builder = TextBuilder<$Native>;
            const TYPE: DataType = DataType::Utf8;
            const LAYOUT: Layout = $layout;
            const JSON: bool = $json;

            fn append(builder: &mut Self::Builder, value: Option<Self::Native>) {
                builder.append(value);
            }
            fn finish(builder: Self::Builder) -> ArrayRef {
                builder.finish()
            }
            fn read(array: &dyn Array, row: usize) -> Self::Native {
                array.as_string::<i32>().value(row).to_owned().into()
            }
        }
    )*};
}

text_scalars! {
    /// Text with many distinct values.
    Text: String, Layout::Plain, json false;
    /// Text with few distinct values.
    Label: String, Layout::Dictionary, json false;
    /// Text with few distinct values, mostly that of the row before: rows of one request hold it together.
    SharedLabel: Arc<str>, Layout::Dictionary, json false;
    /// Text that is nearly always one of the words that the code knows.
    Word: Cow<'static, str>, Layout::Dictionary, json false;
    /// A JSON document as text, many distinct values.
    Json: String, Layout::Plain, json true;
    /// A JSON document as text, few distinct values.
    JsonLabel: String, Layout::Dictionary, json true;
    /// A JSON document as text, large.
    JsonPayload: String, Layout::Payload, json true;
    /// Large text.
    TextPayload: String, Layout::Payload, json false;
}

/// Collects values of which there may be none: nothing is kept of NULLs before the first value but their number.
#[derive(Debug, Default)]
pub struct SparseBuilder<B> {
    leading: usize,
    values: Option<B>,
}

impl<T: ArrowPrimitiveType> SparseBuilder<PrimitiveBuilder<T>> {
    fn append(&mut self, value: Option<T::Native>, make: impl FnOnce() -> PrimitiveBuilder<T>) {
        if value.is_none() && self.values.is_none() {
            self.leading += 1;
            return;
        }
        let leading = self.leading;
        let values = self.values.get_or_insert_with(|| {
            let mut values = make();
            values.append_nulls(leading);
            values
        });
        values.append_option(value);
    }

    fn finish(self, data_type: &DataType) -> ArrayRef {
        match self.values {
            Some(mut values) => Arc::new(values.finish()),
            None => nulls(data_type, self.leading),
        }
    }
}

macro_rules! primitive_scalars {
    ($($(#[doc = $doc:literal])* $name:ident: $arrow:ty;)*) => {$(
        $(#[doc = $doc])*
        #[derive(Debug)]
        pub struct $name;

        impl Scalar for $name {
            type Native = <$arrow as ArrowPrimitiveType>::Native;
            type Builder = SparseBuilder<PrimitiveBuilder<$arrow>>;
            const TYPE: DataType = <$arrow as ArrowPrimitiveType>::DATA_TYPE;

            fn append(builder: &mut Self::Builder, value: Option<Self::Native>) {
                builder.append(value, PrimitiveBuilder::new);
            }
            fn finish(builder: Self::Builder) -> ArrayRef {
                builder.finish(&Self::TYPE)
            }
            fn read(array: &dyn Array, row: usize) -> Self::Native {
                array.as_primitive::<$arrow>().value(row)
            }
        }
    )*};
}

primitive_scalars! {
    /// 64-bit signed integer.
    Int: Int64Type;
    /// 64-bit float.
    Double: Float64Type;
    /// Days since 1970-01-01, UTC.
    Day: Date32Type;
}

/// True or false.
#[derive(Debug)]
pub struct Bool;

impl Scalar for Bool {
    type Native = bool;
    type Builder = BooleanBuilder;
    const TYPE: DataType = DataType::Boolean;

    fn append(builder: &mut Self::Builder, value: Option<Self::Native>) {
        builder.append_option(value);
    }
    fn finish(mut builder: Self::Builder) -> ArrayRef {
        Arc::new(builder.finish())
    }
    fn read(array: &dyn Array, row: usize) -> Self::Native {
        array.as_boolean().value(row)
    }
}

/// An instant, microseconds since 1970 UTC.
#[derive(Debug)]
pub struct Time;

impl Time {
    fn utc() -> Arc<str> {
        static UTC: std::sync::OnceLock<Arc<str>> = std::sync::OnceLock::new();
        Arc::clone(UTC.get_or_init(|| "UTC".into()))
    }

    /// The Arrow type of an instant.
    #[must_use]
    pub fn arrow_type() -> DataType {
        DataType::Timestamp(TimeUnit::Microsecond, Some(Self::utc()))
    }
}

impl Field for Time {
    type Value = i64;
    type Builder = PrimitiveBuilder<TimestampMicrosecondType>;

    fn describe(name: &'static str, doc: &'static str, out: &mut Vec<Column>) {
        out.push(Column { name, data_type: Self::arrow_type(), nullable: false, doc, layout: Layout::Plain, json: false });
    }
    fn push(builder: &mut Self::Builder, value: Self::Value) {
        builder.append_value(value);
    }
    fn collect(mut builder: Self::Builder, out: &mut Vec<ArrayRef>) {
        out.push(Arc::new(builder.finish().with_timezone(Self::utc())));
    }
    fn take(arrays: &mut std::slice::Iter<'_, ArrayRef>, row: usize) -> Self::Value {
        arrays.next().expect("one array for each described column").as_primitive::<TimestampMicrosecondType>().value(row)
    }
}

/// An instant that can be unknown.
#[derive(Debug)]
pub struct OptTime;

impl Field for OptTime {
    type Value = Option<i64>;
    type Builder = PrimitiveBuilder<TimestampMicrosecondType>;

    fn describe(name: &'static str, doc: &'static str, out: &mut Vec<Column>) {
        out.push(Column { name, data_type: Time::arrow_type(), nullable: true, doc, layout: Layout::Plain, json: false });
    }
    fn push(builder: &mut Self::Builder, value: Self::Value) {
        builder.append_option(value);
    }
    fn collect(builder: Self::Builder, out: &mut Vec<ArrayRef>) {
        Time::collect(builder, out);
    }
    fn take(arrays: &mut std::slice::Iter<'_, ArrayRef>, row: usize) -> Self::Value {
        let array = arrays.next().expect("one array for each described column");
        let array = array.as_primitive::<TimestampMicrosecondType>();
        (!array.is_null(row)).then(|| array.value(row))
    }
}

/// US dollars, exact.
#[derive(Debug)]
pub struct Money;

impl Money {
    /// The stored integer of `value`: `value × 10^MONEY_SCALE`. Digits beyond the scale are rounded half to even.
    #[must_use]
    pub fn to_stored(value: Decimal) -> i128 {
        let mut scaled = value;
        scaled.rescale(MONEY_SCALE as u32);
        if scaled.scale() == MONEY_SCALE as u32 {
            scaled.mantissa()
        } else {
            // `rescale` stops where 96 bits end: the value is above 7.9e13 dollars; widen by hand.
            scaled.mantissa() * 10_i128.pow(MONEY_SCALE as u32 - scaled.scale())
        }
    }

    /// The inverse of [`Money::to_stored`].
    #[must_use]
    pub fn from_stored(stored: i128) -> Decimal {
        Decimal::from_i128_with_scale(stored, MONEY_SCALE as u32).normalize()
    }
}

impl Scalar for Money {
    type Native = Decimal;
    type Builder = SparseBuilder<PrimitiveBuilder<Decimal128Type>>;
    const TYPE: DataType = DataType::Decimal128(MONEY_PRECISION, MONEY_SCALE);

    fn append(builder: &mut Self::Builder, value: Option<Self::Native>) {
        builder.append(value.map(Self::to_stored), || PrimitiveBuilder::new().with_data_type(Self::TYPE));
    }
    fn finish(builder: Self::Builder) -> ArrayRef {
        builder.finish(&Self::TYPE)
    }
    fn read(array: &dyn Array, row: usize) -> Self::Native {
        Self::from_stored(array.as_primitive::<Decimal128Type>().value(row))
    }
}

/// A row of a table, as made by [`table!`](crate::table!).
pub trait Row: Sized {
    /// Which table.
    const TABLE: crate::tables::TableId;
    /// Collects rows into a batch.
    type Builder: Default;
    /// Appends one row.
    fn append(self, builder: &mut Self::Builder);
    /// The rows collected, with [`crate::tables::TableId::schema`].
    fn finish(builder: Self::Builder) -> RecordBatch;
    /// Row `row` of `batch`, which must have [`crate::tables::TableId::schema`].
    fn read(batch: &RecordBatch, row: usize) -> Self;

    /// All of `rows` as one batch.
    fn batch(rows: impl IntoIterator<Item = Self>) -> RecordBatch {
        let mut builder = Self::Builder::default();
        for row in rows {
            row.append(&mut builder);
        }
        Self::finish(builder)
    }
}

/// The Arrow schema of `columns`. Column documentation travels in the field metadata under `comment`.
#[must_use]
pub fn arrow_schema(columns: &[Column]) -> SchemaRef {
    let fields: Vec<_> = columns
        .iter()
        .map(|c| {
            let comment = [("comment".to_owned(), c.doc.to_owned())].into();
            ArrowField::new(c.name, c.data_type.clone(), c.nullable).with_metadata(comment)
        })
        .collect();
    Arc::new(Schema::new(fields))
}

/// A group of columns shared by several tables: a struct whose fields are columns, usable as a [`Field`].
#[macro_export]
macro_rules! columns {
    ($(#[doc = $group_doc:literal])* $Group:ident { $($(#[doc = $doc:literal])* $field:ident: $Kind:ty,)* }) => {
        $(#[doc = $group_doc])*
        #[derive(Clone, Debug, Default, PartialEq)]
        #[allow(missing_docs, reason = "each field's documentation is attached below")]
        pub struct $Group { $($(#[doc = $doc])* pub $field: <$Kind as $crate::table::Field>::Value,)* }

        const _: () = {
            #[derive(Default)]
            pub struct Builders { $($field: <$Kind as $crate::table::Field>::Builder,)* }

            impl $crate::table::Field for $Group {
                type Value = Self;
                type Builder = Builders;

                fn describe(_: &'static str, _: &'static str, out: &mut Vec<$crate::table::Column>) {
                    $(<$Kind as $crate::table::Field>::describe(stringify!($field), concat!($($doc),*).trim_ascii(), out);)*
                }
                fn push(builder: &mut Builders, value: Self) {
                    $(<$Kind as $crate::table::Field>::push(&mut builder.$field, value.$field);)*
                }
                fn collect(builder: Builders, out: &mut Vec<arrow::array::ArrayRef>) {
                    $(<$Kind as $crate::table::Field>::collect(builder.$field, out);)*
                }
                fn take(arrays: &mut std::slice::Iter<'_, arrow::array::ArrayRef>, row: usize) -> Self {
                    Self { $($field: <$Kind as $crate::table::Field>::take(arrays, row),)* }
                }
            }
        };
    };
}

/// A table: a [`columns!`](crate::columns!) group that is also a [`Row`].
#[macro_export]
macro_rules! table {
    ($(#[doc = $table_doc:literal])* $Row:ident in $Table:ident { $($body:tt)* }) => {
        $crate::columns! { $(#[doc = $table_doc])* $Row { $($body)* } }

        impl $crate::table::Row for $Row {
            const TABLE: $crate::tables::TableId = $crate::tables::TableId::$Table;
            type Builder = <$Row as $crate::table::Field>::Builder;

            fn append(self, builder: &mut Self::Builder) {
                <$Row as $crate::table::Field>::push(builder, self);
            }
            fn finish(builder: Self::Builder) -> arrow::array::RecordBatch {
                let mut arrays = Vec::new();
                <$Row as $crate::table::Field>::collect(builder, &mut arrays);
                arrow::array::RecordBatch::try_new(Self::TABLE.schema(), arrays).expect("the builders follow the schema")
            }
            fn read(batch: &arrow::array::RecordBatch, row: usize) -> Self {
                <$Row as $crate::table::Field>::take(&mut batch.columns().iter(), row)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use arrow::array::Array as _;

    use super::*;
    use crate::tables::{Sender, SpanRow};

    /// Senders come in runs; what one of them lacks and another has is read back row by row, as are values after many NULLs.
    #[test]
    fn rows_come_back_as_they_were_written() {
        let sender = |name: Option<&str>| Arc::new(Sender { service_name: name.map(str::to_owned), ..Sender::default() });
        let (named, nameless) = (sender(Some("a")), sender(None));
        let mut rows: Vec<SpanRow> = (0..40)
            .map(|nth| {
                let sender = if (10..20).contains(&nth) { &nameless } else { &named };
                SpanRow { span_id: nth.to_string(), sender: Arc::clone(sender), ..SpanRow::default() }
            })
            .collect();
        rows[33].genai.input_tokens = Some(7);
        rows[34].genai.cost_usd = Some(Decimal::new(25, 1));
        rows[35].genai.session_id = Some("s".to_owned());
        let batch = SpanRow::batch(rows.clone());
        assert_eq!((0..40).map(|row| SpanRow::read(&batch, row)).collect::<Vec<_>>(), rows);
        rows.truncate(30);
        assert!(rows.iter().all(|row| row.genai.is_blank()));
        let batch = SpanRow::batch(rows.clone());
        assert_eq!((0..30).map(|row| SpanRow::read(&batch, row)).collect::<Vec<_>>(), rows);
        assert_eq!(SpanRow::batch(Vec::new()).num_rows(), 0);
    }

    #[test]
    fn nulls_share_their_memory() {
        for rows in [0, 1, 16, 17, 1000, 8192, 8193] {
            let array = nulls(&DataType::Utf8, rows);
            assert_eq!((array.len(), array.null_count()), (rows, rows));
        }
        let offsets = |rows| nulls(&DataType::Utf8, rows).as_string::<i32>().value_offsets().as_ptr();
        assert_eq!(offsets(900), offsets(1000));
    }
}
