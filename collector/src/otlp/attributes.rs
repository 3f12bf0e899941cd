//! Attributes as the JSON text of a row, and back.
//!
//! An object in received order: text, booleans and null as they are, integers without and doubles with a point or exponent. Large and
//! LLM payload values stand apart (`payload`), still larger ones in blob storage, binary content in them likewise ([`super::binary`]).
//! What an object cannot say (NaN, bytes, repeated
//! keys, a key without value, our own markers) is kept a second time, as OTLP/JSON (`attributes_exact`), and that is then what counts.

use std::collections::{HashMap, HashSet};

use assay_schemas::{genai::GenAi, table::Sparse, tables::Attributes};
use assay_storage::{BlobError, ProjectBlobs};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value};

use super::{
    binary,
    borrowed::{KeyValueRef, ValueRef},
    json::{
        self, JsonError,
        reader::{Reader, Result as ReadResult},
        writer::{Writer, push_double, push_int, push_string},
    },
};

/// Values above this are payload, whatever their key.
pub const PAYLOAD_BYTES: usize = 4 * 1024;
/// Payload above this goes to blob storage.
pub const BLOB_BYTES: usize = 64 * 1024;
/// Characters of a blob that stay in the row.
const PREVIEW_CHARS: usize = 240;

/// Where large values go.
pub trait BlobSink {
    /// Stores `content` and returns its name, the sha256 in hex.
    ///
    /// # Errors
    /// [`BlobError`] if it could not be stored.
    fn put(&self, content: &[u8]) -> Result<String, BlobError>;
}

/// Where large values come from.
pub trait BlobSource {
    /// The content called `sha256`.
    fn get(&self, sha256: &str) -> Option<Bytes>;
}

impl BlobSink for ProjectBlobs {
    fn put(&self, content: &[u8]) -> Result<String, BlobError> {
        Self::put(self, content)
    }
}

/// Blobs fetched beforehand, by name.
impl BlobSource for HashMap<String, Bytes> {
    fn get(&self, sha256: &str) -> Option<Bytes> {
        Self::get(self, sha256).cloned()
    }
}

/// Which attributes are treated specially, by index.
#[derive(Clone, Copy, Debug, Default)]
pub struct Special<'a> {
    /// LLM payload, in rising order.
    pub payload: &'a [usize],
    /// Text that a canonical column of `genai` has as well.
    pub same_as_column: &'a [(usize, &'static str)],
}

/// The attribute columns of a row. `genai` holds the columns that `special` refers to.
///
/// # Errors
/// [`BlobError`] if a large value could not be stored.
pub fn to_columns(
    attributes: &[KeyValueRef<'_>],
    dropped: u32,
    special: Special<'_>,
    genai: &GenAi,
    blobs: &dyn BlobSink,
) -> Result<Attributes, BlobError> {
    let mut natural = Writer { out: String::with_capacity(48 * attributes.len() + 2) };
    let mut payload: Option<Writer> = None;
    let mut exact = false;
    let shadowed = shadowed(attributes, |attribute| attribute.key);
    natural.open('{');
    for (idx, attribute) in attributes.iter().enumerate() {
        exact |= attribute.key_strindex != 0 || attribute.value.is_none();
        if shadowed.contains(&idx) {
            exact = true;
            continue;
        }
        natural.element();
        push_string(&mut natural.out, attribute.key);
        natural.out.push(':');
        let value = attribute.value.as_ref().unwrap_or(&ValueRef::Empty);
        if let Some(column) = column_with_text(idx, value, special, genai) {
            natural.out.push_str("{\"$column\":");
            push_string(&mut natural.out, column);
            natural.out.push('}');
            continue;
        }
        let is_payload = special.payload.binary_search(&idx).is_ok();
        let mut move_out = |content: &str, rendered: &str, is_text: bool| -> Result<(), BlobError> {
            let payload = payload.get_or_insert_with(|| Writer { out: "{".to_owned() });
            payload.element();
            push_string(&mut payload.out, attribute.key);
            payload.out.push(':');
            if let Some(pieces) = binary::to_pieces(content, blobs)? {
                payload.out.push_str("{\"$pieces\":");
                payload.out.push_str(&pieces);
                payload.out.push_str(if is_text { "}" } else { ",\"format\":\"json\"}" });
                Ok(())
            } else if content.len() > BLOB_BYTES {
                push_blob(&mut payload.out, content, is_text, blobs)
            } else if is_text {
                push_string(&mut payload.out, content);
                Ok(())
            } else {
                payload.out.push_str(rendered);
                Ok(())
            }
        };
        let moved = match value {
            // Text is measured before it is written, so that a prompt is copied once.
            ValueRef::Text(text) if is_payload || text.len() > PAYLOAD_BYTES => {
                move_out(text, "", true)?;
                Some(text.len())
            }
            _ => {
                let start = natural.out.len();
                exact |= push_natural(&mut natural.out, value);
                let len = natural.out.len() - start;
                if is_payload || len > PAYLOAD_BYTES {
                    let rendered = natural.out.split_off(start);
                    move_out(&rendered, &rendered, false)?;
                    Some(len)
                } else {
                    None
                }
            }
        };
        if let Some(len) = moved {
            natural.out.push_str("{\"$payload\":");
            push_int(&mut natural.out, len as i128);
            natural.out.push('}');
        }
    }
    natural.close('}');
    Ok(Attributes {
        attributes: natural.out,
        payload: payload.map(|mut payload| {
            payload.close('}');
            payload.out
        }),
        attributes_exact: exact.then(|| json::encode_list(&attributes.iter().map(KeyValueRef::to_key_value).collect::<Vec<_>>())),
        dropped_attributes_count: i64::from(dropped),
    })
}

/// Attributes as a JSON object, and whether the object cannot say all.
#[must_use]
pub fn to_object(attributes: &[KeyValue]) -> (String, bool) {
    let mut out = String::with_capacity(48 * attributes.len() + 2);
    let exact = push_object(&mut out, attributes);
    (out, exact)
}

/// A value as JSON, which may not say all of it.
#[must_use]
pub fn to_json(any: &AnyValue) -> String {
    let mut out = String::new();
    push_natural(&mut out, &ValueRef::of(any));
    out
}

/// The columns cannot be turned back into attributes.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// A column does not hold what this module writes.
    #[error("column `{column}` does not hold what was stored: {source}")]
    Text {
        /// Which column.
        column: &'static str,
        /// Why.
        source: Box<JsonError>,
    },
    /// A value that should stand elsewhere does not.
    #[error("the value of attribute `{key}` is missing: expected it in {expected}")]
    Missing {
        /// The attribute.
        key: String,
        /// Where it should be.
        expected: String,
    },
}

/// Attributes as received.
///
/// # Errors
/// [`RestoreError`] if the columns were not written by [`to_columns`], or a blob is missing.
pub fn from_columns(columns: &Attributes, genai: &GenAi, blobs: &dyn BlobSource) -> Result<Vec<KeyValue>, RestoreError> {
    if let Some(exact) = &columns.attributes_exact {
        return json::decode_list(exact).map_err(|source| RestoreError::Text { column: "attributes_exact", source });
    }
    let mut attributes = from_object("attributes", &columns.attributes)?;
    let mut payload: HashMap<String, Option<AnyValue>> = match &columns.payload {
        Some(text) => from_object("payload", text)?.into_iter().map(|kv| (kv.key, kv.value)).collect(),
        None => HashMap::new(),
    };
    for attribute in &mut attributes {
        let Some((marker, argument)) = marker_of(attribute.value.as_ref()) else { continue };
        let missing = |expected: String| RestoreError::Missing { key: attribute.key.clone(), expected };
        attribute.value = match (marker, argument) {
            ("$column", Some(Value::StringValue(column))) => {
                let text = payload_column(genai, column).ok_or_else(|| missing(format!("column `{column}`")))?;
                let text = binary::put_back(text, blobs).map_err(|name| missing(format!("blob `{name}`")))?;
                Some(AnyValue { value: Some(Value::StringValue(text.into_owned())) })
            }
            _ => {
                let value = payload.remove(&attribute.key).ok_or_else(|| missing("column `payload`".to_owned()))?;
                match Apart::of(value.as_ref()) {
                    None => value,
                    Some(apart) => {
                        let text = apart.text(blobs).map_err(missing)?;
                        Some(if apart.is_text {
                            AnyValue { value: Some(Value::StringValue(text)) }
                        } else {
                            from_json("blob", &text)?
                        })
                    }
                }
            }
        };
    }
    Ok(attributes)
}

/// The attributes that a JSON object says.
///
/// # Errors
/// [`RestoreError::Text`] if `text` is not an object; `column` names it.
pub fn from_object(column: &'static str, text: &str) -> Result<Vec<KeyValue>, RestoreError> {
    let mut reader = Reader::new(text.as_bytes());
    read_object(&mut reader)
        .and_then(|list| reader.finish().map(|()| list))
        .map_err(|source| RestoreError::Text { column, source })
}

/// The value that a JSON text says.
///
/// # Errors
/// [`RestoreError::Text`] if `text` is not JSON; `column` names it.
pub fn from_json(column: &'static str, text: &str) -> Result<AnyValue, RestoreError> {
    let mut reader = Reader::new(text.as_bytes());
    read_natural(&mut reader)
        .and_then(|value| reader.finish().map(|()| value))
        .map_err(|source| RestoreError::Text { column, source })
}

/// Names of the blobs that the columns refer to.
///
/// # Errors
/// [`RestoreError::Text`] if `payload` is not an object.
pub fn blobs_of(columns: &Attributes, genai: &GenAi) -> Result<Vec<String>, RestoreError> {
    let mut names: Vec<String> = Vec::new();
    if let Some(payload) = columns.payload.as_deref().filter(|payload| payload.contains("\"$blob\"")) {
        for kv in from_object("payload", payload)? {
            if let Some(apart) = Apart::of(kv.value.as_ref()) {
                names.extend(apart.blobs().map(str::to_owned));
            }
        }
    }
    if columns.attributes.contains("\"$column\"") {
        for text in PAYLOAD_COLUMNS.iter().filter_map(|column| payload_column(genai, column)) {
            names.extend(binary::blobs_of_column(text).map(str::to_owned));
        }
    }
    // A sender may have written what looks like a reference.
    names.retain(|name| name.len() == 64 && name.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
    Ok(names)
}

/// Puts references in the place of binary content in the columns of `genai`, once [`to_columns`] has seen them as they were.
///
/// # Errors
/// [`BlobError`] if the content could not be stored.
pub(super) fn take_binary_out(genai: &mut Sparse<GenAi>, blobs: &dyn BlobSink) -> Result<(), BlobError> {
    if genai.is_blank() {
        return Ok(());
    }
    for text in payload_columns_mut(genai) {
        if let Some(without) = binary::take_out(text, blobs)? {
            *text = without;
        }
    }
    Ok(())
}

fn column_with_text(idx: usize, value: &ValueRef<'_>, special: Special<'_>, genai: &GenAi) -> Option<&'static str> {
    let (_, column) = special.same_as_column.iter().find(|(at, _)| *at == idx)?;
    let ValueRef::Text(text) = value else { return None };
    // What reads like our own references could not be told from them later.
    (payload_column(genai, column) == Some(*text) && !binary::is_ambiguous(text)).then_some(*column)
}

/// Makes `payload_column` and `payload_column_mut` from one list.
macro_rules! payload_columns {
    ($($column:ident)*) => {
        /// Columns whose text an attribute may have as well.
        const PAYLOAD_COLUMNS: &[&str] = &[$(stringify!($column)),*];

        /// The text of a canonical payload column.
        fn payload_column<'a>(genai: &'a GenAi, column: &str) -> Option<&'a str> {
            $(if column == stringify!($column) {
                return genai.$column.as_deref();
            })*
            None
        }

        /// The canonical payload columns.
        fn payload_columns_mut(genai: &mut GenAi) -> impl Iterator<Item = &mut String> {
            [$(&mut genai.$column),*].into_iter().flatten()
        }
    };
}

payload_columns! {
    input_messages output_messages system_instructions tool_definitions tool_arguments tool_result
    input_value output_value retrieval_query retrieval_documents
}

fn push_blob(out: &mut String, content: &str, is_text: bool, blobs: &dyn BlobSink) -> Result<(), BlobError> {
    let name = blobs.put(content.as_bytes())?;
    let preview = content.char_indices().nth(PREVIEW_CHARS).map_or(content, |(at, _)| &content[..at]);
    out.push_str("{\"$blob\":");
    push_string(out, &name);
    out.push_str(",\"bytes\":");
    push_int(out, content.len() as i128);
    if !is_text {
        out.push_str(",\"format\":\"json\"");
    }
    out.push_str(",\"preview\":");
    push_string(out, preview);
    out.push('}');
    Ok(())
}

/// Indices of entries whose key comes again later: an object shows the last one, as SDKs that overwrite would have sent.
fn shadowed<'a, A>(list: &'a [A], key: impl Fn(&'a A) -> &'a str) -> HashSet<usize> {
    // Comparing each with each is quicker than hashing for the usual dozen.
    let repeats = if list.len() <= 16 {
        list.iter().enumerate().any(|(idx, entry)| list[..idx].iter().any(|other| key(other) == key(entry)))
    } else {
        let mut seen = HashSet::with_capacity(list.len());
        list.iter().any(|entry| !seen.insert(key(entry)))
    };
    if !repeats {
        return HashSet::new();
    }
    let last: HashMap<&str, usize> = list.iter().enumerate().map(|(idx, entry)| (key(entry), idx)).collect();
    (0..list.len()).filter(|idx| last[key(&list[*idx])] != *idx).collect()
}

fn push_object(out: &mut String, list: &[KeyValue]) -> bool {
    let shadowed = shadowed(list, |kv| &kv.key);
    let mut exact = !shadowed.is_empty();
    out.push('{');
    let mut first = true;
    for (idx, kv) in list.iter().enumerate() {
        exact |= kv.key_strindex != 0 || kv.value.is_none();
        if shadowed.contains(&idx) {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        push_string(out, &kv.key);
        out.push(':');
        exact |= push_natural(out, &kv.value.as_ref().map_or(ValueRef::Empty, ValueRef::of));
    }
    out.push('}');
    exact
}

/// Appends the value as JSON; returns whether JSON cannot say all of it.
fn push_natural(out: &mut String, value: &ValueRef<'_>) -> bool {
    match value {
        ValueRef::Empty => out.push_str("null"),
        ValueRef::Text(text) => push_string(out, text),
        ValueRef::Bool(flag) => out.push_str(if *flag { "true" } else { "false" }),
        ValueRef::Int(int) => push_int(out, *int),
        ValueRef::Double(double) => {
            push_double(out, *double);
            return !double.is_finite();
        }
        ValueRef::Array(values) => {
            let mut exact = false;
            out.push('[');
            for (idx, value) in values.iter().enumerate() {
                if idx > 0 {
                    out.push(',');
                }
                exact |= push_natural(out, &ValueRef::of(value));
            }
            out.push(']');
            return exact;
        }
        ValueRef::Map(values) => {
            let reserved =
                values.first().is_some_and(|kv| matches!(kv.key.as_str(), "$payload" | "$column" | "$blob" | "$pieces"));
            return push_object(out, values) || reserved;
        }
        ValueRef::Bytes(bytes) => {
            out.push('"');
            BASE64_STANDARD.encode_string(bytes, out);
            out.push('"');
            return true;
        }
        ValueRef::TextIndex(index) => {
            push_int(out, *index);
            return true;
        }
    }
    false
}

fn read_object(reader: &mut Reader<'_>) -> ReadResult<Vec<KeyValue>> {
    let mut list = Vec::new();
    reader.entries(|reader, key| {
        list.push(KeyValue { key: key.into_owned(), value: Some(read_natural(reader)?), key_strindex: 0 });
        Ok(())
    })?;
    Ok(list)
}

fn read_natural(reader: &mut Reader<'_>) -> ReadResult<AnyValue> {
    let value = match reader.peek() {
        Some(b'n') => {
            reader.null()?;
            return Ok(AnyValue { value: None });
        }
        Some(b'"') => Value::StringValue(reader.text("a text")?.into_owned()),
        Some(b't' | b'f') => Value::BoolValue(reader.bool()?),
        Some(b'{') => Value::KvlistValue(KeyValueList { values: read_object(reader)? }),
        Some(b'[') => {
            let mut values = Vec::new();
            reader.array(|reader| {
                values.push(read_natural(reader)?);
                Ok(())
            })?;
            Value::ArrayValue(ArrayValue { values })
        }
        _ => {
            let number = reader.number_text("a value")?;
            match number.parse() {
                Ok(int) => Value::IntValue(int),
                Err(_) => Value::DoubleValue(number.parse().map_err(|_| reader.error(number, "a number"))?),
            }
        }
    };
    Ok(AnyValue { value: Some(value) })
}

fn marker_of(value: Option<&AnyValue>) -> Option<(&str, Option<&Value>)> {
    let Some(Value::KvlistValue(list)) = &value?.value else { return None };
    let first = list.values.first()?;
    matches!(first.key.as_str(), "$payload" | "$column")
        .then(|| (first.key.as_str(), first.value.as_ref().and_then(|v| v.value.as_ref())))
}

/// A value that stands in blob storage, or whose pieces do.
struct Apart<'a> {
    pieces: Pieces<'a>,
    /// Text, or else the JSON of a value that is not.
    is_text: bool,
}

enum Pieces<'a> {
    Whole(&'a str),
    Several(&'a [AnyValue]),
}

impl<'a> Apart<'a> {
    /// What `value`, from the column `payload`, marks.
    fn of(value: Option<&'a AnyValue>) -> Option<Self> {
        let Some(Value::KvlistValue(list)) = &value?.value else { return None };
        let first = list.values.first()?;
        let pieces = match (first.key.as_str(), first.value.as_ref()?.value.as_ref()?) {
            ("$blob", Value::StringValue(name)) => Pieces::Whole(name),
            ("$pieces", Value::ArrayValue(pieces)) => Pieces::Several(&pieces.values),
            _ => return None,
        };
        Some(Self { pieces, is_text: !list.values.iter().any(|kv| kv.key == "format") })
    }

    /// Its text; what is missing, if something is.
    fn text(&self, blobs: &dyn BlobSource) -> Result<String, String> {
        match self.pieces {
            Pieces::Whole(name) => {
                let content = blobs.get(name).ok_or_else(|| format!("blob `{name}`"))?;
                Ok(String::from_utf8_lossy(&content).into_owned())
            }
            Pieces::Several(pieces) => binary::join_pieces(pieces, blobs),
        }
    }

    fn blobs(&self) -> impl Iterator<Item = &'a str> {
        let (name, pieces) = match self.pieces {
            Pieces::Whole(name) => (Some(name), [].as_slice()),
            Pieces::Several(pieces) => (None, pieces),
        };
        name.into_iter().chain(binary::blobs_of_pieces(pieces))
    }
}
