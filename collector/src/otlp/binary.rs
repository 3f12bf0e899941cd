//! Images, audio and files inside text: base64 that is stored decoded, once, in blob storage, and put back to the letter.
//!
//! Two forms, both exact:
//!
//! * [`to_pieces`] cuts any text into the text around binary content and references to it, for attributes as received;
//! * [`take_out`] puts a reference in the place of a JSON string, for canonical columns, so that they stay JSON:
//!   `"content":"iVBOR…"` becomes `"content":{"$blob":"<sha256>","bytes":70}`. [`put_back`] undoes it.
//!
//! Finding costs next to nothing: a run of `n` base64 digits covers every stretch of `n` bytes it lies in, so a text without one is
//! looked at once per [`RUN_DIGITS`].

use std::{borrow::Cow, ops::Range};

use assay_storage::BlobError;
use base64::{
    Engine as _,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value as Any};
use serde_json::Value;

use super::{
    attributes::{BLOB_BYTES, BlobSink, BlobSource},
    json::writer::{push_int, push_string},
};

/// Binary content of at least so many bytes is stored apart.
const BINARY_BYTES: usize = 4 * 1024;
/// Digits that encode [`BINARY_BYTES`], padding apart.
const RUN_DIGITS: usize = BINARY_BYTES * 4 / 3;
/// What a reference begins with.
const REFERENCE: &str = "{\"$blob\":\"";
/// A media type is looked for in so many bytes before its data.
const MIME_BYTES: usize = 128;

/// How bytes are written as text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Alphabet {
    Standard,
    StandardUnpadded,
    UrlSafe,
    UrlSafeUnpadded,
}

impl Alphabet {
    const ALL: [Self; 4] = [Self::Standard, Self::UrlSafe, Self::StandardUnpadded, Self::UrlSafeUnpadded];

    fn name(self) -> &'static str {
        match self {
            Self::Standard => "base64",
            Self::StandardUnpadded => "base64-unpadded",
            Self::UrlSafe => "base64url",
            Self::UrlSafeUnpadded => "base64url-unpadded",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|alphabet| alphabet.name() == name)
    }

    /// Decodes only what it would encode in the same way.
    fn engine(self) -> GeneralPurpose {
        let config = GeneralPurposeConfig::new();
        let padded = config.with_encode_padding(true).with_decode_padding_mode(DecodePaddingMode::RequireCanonical);
        let unpadded = config.with_encode_padding(false).with_decode_padding_mode(DecodePaddingMode::RequireNone);
        match self {
            Self::Standard => GeneralPurpose::new(&base64::alphabet::STANDARD, padded),
            Self::StandardUnpadded => GeneralPurpose::new(&base64::alphabet::STANDARD, unpadded),
            Self::UrlSafe => GeneralPurpose::new(&base64::alphabet::URL_SAFE, padded),
            Self::UrlSafeUnpadded => GeneralPurpose::new(&base64::alphabet::URL_SAFE, unpadded),
        }
    }

    /// The bytes that `digits` say, and how they say them.
    fn decode(digits: &str) -> Option<(Self, Vec<u8>)> {
        Self::ALL.into_iter().find_map(|alphabet| Some((alphabet, alphabet.engine().decode(digits).ok()?)))
    }
}

/// `text`, which was received in an attribute, as a JSON array of text and references; `None` if there is nothing binary in it.
///
/// # Errors
/// [`BlobError`] if the content could not be stored.
pub(super) fn to_pieces(text: &str, blobs: &dyn BlobSink) -> Result<Option<String>, BlobError> {
    let mut out = String::new();
    let mut done = 0;
    for run in Runs::in_text(text) {
        if !text[..run.start].ends_with("base64,") && !looks_binary(&text[run.clone()]) {
            continue;
        }
        let Some((alphabet, content)) = Alphabet::decode(&text[run.clone()]) else { continue };
        push_piece(&mut out, &text[done..run.start], blobs)?;
        out.push(',');
        push_reference(&mut out, &blobs.put(&content)?, content.len(), None, Some(alphabet));
        done = run.end;
    }
    if done == 0 {
        return Ok(None);
    }
    push_piece(&mut out, &text[done..], blobs)?;
    out.push(']');
    Ok(Some(out))
}

fn push_piece(out: &mut String, text: &str, blobs: &dyn BlobSink) -> Result<(), BlobError> {
    out.push(if out.is_empty() { '[' } else { ',' });
    if text.len() > BLOB_BYTES {
        push_reference(out, &blobs.put(text.as_bytes())?, text.len(), None, None);
    } else {
        push_string(out, text);
    }
    Ok(())
}

/// The text that the pieces of [`to_pieces`] were; else what is missing.
pub(super) fn join_pieces(pieces: &[AnyValue], blobs: &dyn BlobSource) -> Result<String, String> {
    let mut out = String::new();
    for piece in pieces {
        if let Some(Any::StringValue(text)) = &piece.value {
            out.push_str(text);
            continue;
        }
        let name = field(piece, "$blob").ok_or("a piece with a blob")?;
        let content = blobs.get(name).ok_or_else(|| format!("blob `{name}`"))?;
        match field(piece, "encoding") {
            None => out.push_str(&String::from_utf8_lossy(&content)),
            Some(name) => {
                let alphabet = Alphabet::from_name(name).ok_or_else(|| format!("encoding `{name}`"))?;
                alphabet.engine().encode_string(&content, &mut out);
            }
        }
    }
    Ok(out)
}

/// Names of the blobs that the pieces of [`to_pieces`] refer to.
pub(super) fn blobs_of_pieces(pieces: &[AnyValue]) -> impl Iterator<Item = &str> {
    pieces.iter().filter_map(|piece| field(piece, "$blob"))
}

fn field<'a>(piece: &'a AnyValue, key: &str) -> Option<&'a str> {
    let Some(Any::KvlistValue(list)) = &piece.value else { return None };
    match &list.values.iter().find(|kv| kv.key == key)?.value.as_ref()?.value {
        Some(Any::StringValue(text)) => Some(text),
        _ => None,
    }
}

/// The JSON `text` of a canonical column with references in the place of binary content: of whole JSON strings that are a data URL,
/// or base64 in a field for it. `None` if there is none.
///
/// # Errors
/// [`BlobError`] if the content could not be stored.
pub(super) fn take_out(text: &str, blobs: &dyn BlobSink) -> Result<Option<String>, BlobError> {
    // A sender that writes references of its own could not be told from us: its text stays as it is.
    if text.len() < RUN_DIGITS || text.contains(REFERENCE) || !matches!(text.as_bytes()[0], b'{' | b'[' | b'"') {
        return Ok(None);
    }
    let mut out = String::new();
    let mut done = 0;
    for run in Runs::in_text(text) {
        let Some(literal) = literal_around(text, &run) else { continue };
        let mime = data_url_mime(&text[literal.start + 1..run.start]);
        if mime.is_none() && !(literal.start + 1 == run.start && is_field_for_data(text, &literal)) {
            continue;
        }
        let Some((alphabet, content)) = Alphabet::decode(&text[run.clone()]) else { continue };
        out.push_str(&text[done..literal.start]);
        let alphabet = Some(alphabet).filter(|alphabet| *alphabet != Alphabet::Standard);
        push_reference(&mut out, &blobs.put(&content)?, content.len(), mime, alphabet);
        done = literal.end;
    }
    if done == 0 {
        return Ok(None);
    }
    out.push_str(&text[done..]);
    Ok(Some(out))
}

/// The same for JSON values.
///
/// # Errors
/// [`BlobError`] if the content could not be stored.
pub(crate) fn take_out_of(values: &mut Vec<Value>, blobs: &dyn BlobSink) -> Result<(), BlobError> {
    if values.iter().any(holds_long_text) {
        let text = Value::Array(std::mem::take(values)).to_string();
        let text = take_out(&text, blobs)?.unwrap_or(text);
        if let Ok(Value::Array(found)) = serde_json::from_str(&text) {
            *values = found;
        }
    }
    Ok(())
}

fn holds_long_text(value: &Value) -> bool {
    match value {
        Value::String(text) => text.len() >= RUN_DIGITS,
        Value::Array(items) => items.iter().any(holds_long_text),
        Value::Object(object) => object.values().any(holds_long_text),
        _ => false,
    }
}

/// What [`take_out`] was given; `Err` with the name of a blob that is missing.
pub(super) fn put_back<'t>(text: &'t str, blobs: &dyn BlobSource) -> Result<Cow<'t, str>, String> {
    let mut out = String::new();
    let mut done = 0;
    for reference in References(text, 0) {
        let content = blobs.get(reference.name).ok_or_else(|| reference.name.to_owned())?;
        out.push_str(&text[done..reference.range.start]);
        out.push('"');
        if let Some(mime) = reference.mime {
            out.push_str("data:");
            out.push_str(mime);
            out.push_str(";base64,");
        }
        reference.alphabet.engine().encode_string(&content, &mut out);
        out.push('"');
        done = reference.range.end;
    }
    if done == 0 {
        return Ok(Cow::Borrowed(text));
    }
    out.push_str(&text[done..]);
    Ok(Cow::Owned(out))
}

/// Names of the blobs that a column refers to.
pub(super) fn blobs_of_column(text: &str) -> impl Iterator<Item = &str> {
    References(text, 0).map(|reference| reference.name)
}

/// Whether [`take_out`] cannot have made `text`, nor leaves it as it is.
pub(super) fn is_ambiguous(text: &str) -> bool {
    text.contains(REFERENCE)
}

fn push_reference(out: &mut String, name: &str, bytes: usize, mime: Option<&str>, alphabet: Option<Alphabet>) {
    out.push_str(REFERENCE);
    out.push_str(name);
    out.push_str("\",\"bytes\":");
    push_int(out, bytes as i128);
    if let Some(mime) = mime {
        out.push_str(",\"mime_type\":");
        push_string(out, mime);
    }
    if let Some(alphabet) = alphabet {
        out.push_str(",\"encoding\":");
        push_string(out, alphabet.name());
    }
    out.push('}');
}

/// Finds runs of base64 digits that are long enough.
struct Runs<'t> {
    text: &'t [u8],
    at: usize,
}

impl<'t> Runs<'t> {
    fn in_text(text: &'t str) -> Self {
        Self { text: text.as_bytes(), at: 0 }
    }
}

impl Iterator for Runs<'_> {
    type Item = Range<usize>;

    fn next(&mut self) -> Option<Range<usize>> {
        loop {
            let stretch = self.text.get(self.at..self.at + RUN_DIGITS)?;
            match stretch.iter().rposition(|byte| !is_digit(*byte)) {
                Some(other) => self.at += other + 1,
                None => break,
            }
        }
        let start = self.at;
        let rest = &self.text[start + RUN_DIGITS..];
        let digits = RUN_DIGITS + rest.iter().position(|byte| !is_digit(*byte)).unwrap_or(rest.len());
        let padding = self.text[start + digits..].iter().take(2).take_while(|byte| **byte == b'=').count();
        self.at = start + digits + padding;
        Some(start..self.at)
    }
}

fn is_digit(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'-' | b'_')
}

/// Whether `digits` are likely to be binary content rather than a long word or a number in hexadecimal.
fn looks_binary(digits: &str) -> bool {
    let head = &digits.as_bytes()[..256];
    head.iter().any(u8::is_ascii_uppercase) && head.iter().any(u8::is_ascii_lowercase) && head.iter().any(u8::is_ascii_digit)
}

/// The JSON string, quotes included, that ends with `run`.
fn literal_around(text: &str, run: &Range<usize>) -> Option<Range<usize>> {
    let bytes = text.as_bytes();
    // A character boundary is not needed: quotes are never part of another character.
    let from = run.start.saturating_sub(MIME_BYTES);
    let open = from + bytes[from..run.start].iter().rposition(|byte| *byte == b'"')?;
    let is_escaped = open > 0 && bytes[open - 1] == b'\\';
    let is_closed = bytes.get(run.end) == Some(&b'"');
    // A key of an object is not a value.
    let is_key = text.get(run.end + 1..).is_some_and(|rest| rest.trim_start().starts_with(':'));
    (!is_escaped && is_closed && !is_key).then(|| open..run.end + 1)
}

/// The media type in the head of a data URL.
fn data_url_mime(head: &str) -> Option<&str> {
    let mime = head.strip_prefix("data:")?.strip_suffix(";base64,")?;
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'.' | b'+' | b'-');
    mime.bytes().all(is_plain).then_some(mime)
}

/// Whether the string `literal` stands where binary data is expected: content of a part of type `blob`, or a field named for data.
fn is_field_for_data(text: &str, literal: &Range<usize>) -> bool {
    let head = &text[..literal.start];
    let key = head.trim_end().strip_suffix(':').map(str::trim_end).and_then(|head| head.strip_suffix('"'));
    let Some(key) = key.and_then(|head| head.rsplit('"').next()) else { return false };
    match key {
        "content" => {
            let before = head.rfind('{').map_or("", |open| &head[open..]);
            let after = &text[literal.end..];
            let after = after.find('}').map_or("", |close| &after[..close]);
            before.contains("\"blob\"") || after.contains("\"blob\"")
        }
        "data" | "bytes" | "b64_json" | "file_data" | "image" | "audio" | "base64" => looks_binary(&text[literal.start + 1..]),
        _ => false,
    }
}

/// Finds what [`push_reference`] wrote into a column.
struct References<'t>(&'t str, usize);

struct Reference<'t> {
    range: Range<usize>,
    name: &'t str,
    mime: Option<&'t str>,
    alphabet: Alphabet,
}

impl<'t> Iterator for References<'t> {
    type Item = Reference<'t>;

    fn next(&mut self) -> Option<Reference<'t>> {
        loop {
            let start = self.1 + self.0[self.1..].find(REFERENCE)?;
            self.1 = start + REFERENCE.len();
            if let Some(reference) = reference_at(self.0, start) {
                self.1 = reference.range.end;
                return Some(reference);
            }
        }
    }
}

fn reference_at(text: &str, start: usize) -> Option<Reference<'_>> {
    let end = start + text[start..].find('}')? + 1;
    let fields = text[start..end].strip_prefix(REFERENCE)?.strip_suffix('}')?;
    let (name, fields) = fields.split_once("\",\"bytes\":")?;
    let fields = fields.trim_start_matches(|c: char| c.is_ascii_digit());
    let (fields, alphabet) = match fields.split_once(",\"encoding\":\"") {
        Some((fields, name)) => (fields, Alphabet::from_name(name.strip_suffix('"')?)?),
        None => (fields, Alphabet::Standard),
    };
    let mime = match fields {
        "" => None,
        mime => Some(mime.strip_prefix(",\"mime_type\":\"")?.strip_suffix('"')?),
    };
    Some(Reference { range: start..end, name, mime, alphabet })
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, collections::HashMap};

    use base64::prelude::BASE64_STANDARD;
    use bytes::Bytes;
    use serde_json::json;
    use sha2::{Digest as _, Sha256};

    use super::*;

    #[derive(Default)]
    struct Blobs(RefCell<HashMap<String, Bytes>>);

    impl BlobSink for Blobs {
        fn put(&self, content: &[u8]) -> Result<String, BlobError> {
            let name = hex::encode(Sha256::digest(content));
            self.0.borrow_mut().insert(name.clone(), Bytes::copy_from_slice(content));
            Ok(name)
        }
    }

    impl BlobSource for Blobs {
        fn get(&self, sha256: &str) -> Option<Bytes> {
            self.0.borrow().get(sha256).cloned()
        }
    }

    /// Bytes that look like nothing.
    fn image(seed: u32, len: usize) -> Vec<u8> {
        let mut state = seed;
        (0..len)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            })
            .collect()
    }

    fn standard(content: &[u8]) -> String {
        BASE64_STANDARD.encode(content)
    }

    fn parsed(pieces: &str) -> Vec<AnyValue> {
        match super::super::attributes::from_json("payload", pieces).unwrap().value {
            Some(Any::ArrayValue(array)) => array.values,
            other => panic!("found {other:?}, expected a list"),
        }
    }

    fn taken_out(text: &str, blobs: &Blobs) -> String {
        let out = take_out(text, blobs).unwrap().expect("something binary");
        assert_eq!(put_back(&out, blobs).unwrap(), text, "put back to the letter");
        out
    }

    #[test]
    fn every_form_of_an_image_is_one_blob_and_the_column_stays_json() {
        let blobs = Blobs::default();
        let (bytes, name) = (image(1, 10_000), blobs.put(&image(1, 10_000)).unwrap());
        let digits = standard(&bytes);
        let url = format!("data:image/png;base64,{digits}");
        let reference = json!({"$blob": name, "bytes": 10_000});
        let with_type = json!({"$blob": name, "bytes": 10_000, "mime_type": "image/png"});
        for (given, expected) in [
            (
                json!([{"type": "blob", "mime_type": "image/png", "content": digits}]),
                json!([{"type": "blob", "mime_type": "image/png", "content": reference}]),
            ),
            (
                json!([{"content": digits, "modality": "image", "type": "blob"}, {"a": digits}]),
                json!([{"content": reference, "modality": "image", "type": "blob"}, {"a": digits}]),
            ),
            (json!({"image_url": {"url": url}}), json!({"image_url": {"url": with_type}})),
            (json!({"source": {"type": "base64", "data": digits}}), json!({"source": {"type": "base64", "data": reference}})),
        ] {
            for text in [given.to_string(), serde_json::to_string_pretty(&given).unwrap()] {
                let found: Value = serde_json::from_str(&taken_out(&text, &blobs)).unwrap();
                assert_eq!(found, expected);
            }
        }
        assert_eq!(blobs.0.borrow().len(), 1, "stored once");
    }

    #[test]
    fn other_text_stays_where_it_is() {
        let blobs = Blobs::default();
        let digits = standard(&image(2, 9_000));
        for text in [
            json!([{"type": "text", "content": "x".repeat(20_000)}]).to_string(),
            json!([{"type": "text", "content": digits}]).to_string(),
            json!([{"type": "blob", "content": "AAAA"}]).to_string(),
            json!({"data": "0123456789abcdef".repeat(1000)}).to_string(),
            json!({digits.clone(): 1}).to_string(),
            json!({"arguments": json!({"data": digits}).to_string()}).to_string(),
            json!([{"$blob": "x"}, {"type": "blob", "content": digits}]).to_string(),
            digits,
        ] {
            assert_eq!(take_out(&text, &blobs).unwrap(), None, "{text}");
        }
        assert!(blobs.0.borrow().is_empty());
    }

    #[test]
    fn pieces_are_the_text_in_every_alphabet() {
        let blobs = Blobs::default();
        for len in 6_000..6_004 {
            let content = image(3, len);
            for alphabet in Alphabet::ALL {
                let digits = alphabet.engine().encode(&content);
                for text in [format!("{{'data': '{digits}'}} \"é\" {digits}, \\\"{digits}\\\""), digits.clone()] {
                    let pieces = to_pieces(&text, &blobs).unwrap().expect("something binary");
                    assert!(pieces.len() < 1000, "{pieces}");
                    assert_eq!(join_pieces(&parsed(&pieces), &blobs).unwrap(), text);
                }
            }
        }
        assert_eq!(blobs.0.borrow().len(), 4);
    }

    #[test]
    fn long_text_around_binary_content_is_a_piece_of_its_own() {
        let blobs = Blobs::default();
        let text = format!("{}{}", "é ".repeat(60_000), standard(&image(4, 5_000)));
        let pieces = parsed(&to_pieces(&text, &blobs).unwrap().unwrap());
        assert_eq!(blobs_of_pieces(&pieces).count(), 2);
        assert_eq!(join_pieces(&pieces, &blobs).unwrap(), text);
        assert_eq!(to_pieces(&"x".repeat(100_000), &blobs).unwrap(), None);
        assert!(join_pieces(&pieces, &Blobs::default()).unwrap_err().starts_with("blob `"));
    }

    #[test]
    fn digits_that_say_no_bytes_stay() {
        let blobs = Blobs::default();
        let digits = standard(&image(5, 6_000));
        for broken in [format!("{digits}A"), format!("{digits}-_+/aB3B"), format!("{digits}+_aA")] {
            let text = json!([{"type": "blob", "content": broken}]).to_string();
            assert_eq!(take_out(&text, &blobs).unwrap(), None);
        }
    }
}
