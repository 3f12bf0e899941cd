//! A pull reader of JSON text that knows where it is: every error names the path, what was found and what was expected.

use std::{borrow::Cow, fmt::Write as _};

/// Messages inside messages, as protobuf limits them.
const MESSAGE_DEPTH_MAX: usize = 100;
/// Brackets inside brackets in a value that is skipped.
const SKIP_DEPTH_MAX: usize = 1000;

/// The text is not the OTLP/JSON that was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("at `{path}` (byte {offset}): found {found}, expected {expected}")]
pub struct JsonError {
    /// Where, as a JSON path: `$.resourceSpans[0].scopeSpans[0].spans[3].traceId`.
    pub path: String,
    /// Where, in bytes from the start.
    pub offset: usize,
    /// What stood there.
    pub found: String,
    /// What should have.
    pub expected: Cow<'static, str>,
}

/// Boxed: it is the rare case, and the reader returns results at every step.
pub(crate) type Result<T, E = Box<JsonError>> = std::result::Result<T, E>;

#[derive(Clone, Copy)]
enum Step {
    Field(&'static str),
    Index(usize),
}

/// A record that could not be read while its neighbours could.
#[derive(Clone, Debug, PartialEq)]
pub struct Defect {
    /// Why, with the place.
    pub detail: String,
    /// The record as received: JSON text, or empty for protobuf.
    pub record: String,
    /// Its size as received.
    pub record_bytes: usize,
}

/// Reads one JSON text from its start to its end.
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
    path: Vec<Step>,
    depth: usize,
    pub(crate) defects: Vec<Defect>,
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        let at = if bytes.starts_with(b"\xEF\xBB\xBF") { 3 } else { 0 };
        Self { bytes, at, path: Vec::new(), depth: 0, defects: Vec::new() }
    }

    /// Fails unless only white space is left.
    pub(crate) fn finish(&mut self) -> Result<()> {
        match self.peek() {
            None => Ok(()),
            Some(_) => Err(self.unexpected("the end of the text")),
        }
    }

    /// Whether the next value is `null`, which is then consumed.
    pub(crate) fn null(&mut self) -> Result<bool> {
        if self.peek() != Some(b'n') {
            return Ok(false);
        }
        self.literal(b"null")?;
        Ok(true)
    }

    /// Reads an object; `field` reads the value of a key it knows and returns false for others, which are skipped. Nulls are absent.
    pub(crate) fn object(&mut self, mut field: impl FnMut(&mut Self, &str) -> Result<bool>) -> Result<()> {
        self.entries(|reader, key| {
            if !reader.null()? && !field(reader, &key)? {
                reader.skip()?;
            }
            Ok(())
        })
    }

    /// Reads an object; `entry` reads the value of each key.
    pub(crate) fn entries(&mut self, mut entry: impl FnMut(&mut Self, Cow<'a, str>) -> Result<()>) -> Result<()> {
        self.open(b'{', "an object")?;
        self.depth += 1;
        if self.depth > MESSAGE_DEPTH_MAX {
            return Err(self.error("deeper nesting", format!("at most {MESSAGE_DEPTH_MAX} levels")));
        }
        if !self.close(b'}') {
            loop {
                if self.peek() != Some(b'"') {
                    return Err(self.unexpected("a key"));
                }
                let key = self.string()?;
                self.open(b':', "`:`")?;
                entry(self, key)?;
                if self.close(b'}') {
                    break;
                }
                self.open(b',', "`,` or `}`")?;
            }
        }
        self.depth -= 1;
        Ok(())
    }

    /// Reads an array, element by element.
    pub(crate) fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.open(b'[', "an array")?;
        if self.close(b']') {
            return Ok(());
        }
        for index in 0.. {
            self.path.push(Step::Index(index));
            element(self)?;
            self.path.pop();
            if self.close(b']') {
                break;
            }
            self.open(b',', "`,` or `]`")?;
        }
        Ok(())
    }

    /// Reads an array of records. One that is well-formed JSON but not a record becomes a [`Defect`], and reading goes on after it.
    pub(crate) fn records<T>(&mut self, mut read: impl FnMut(&mut Self) -> Result<T>, out: &mut Vec<T>) -> Result<()> {
        self.array(|reader| {
            reader.peek();
            let (start, path_len, depth) = (reader.at, reader.path.len(), reader.depth);
            match read(reader) {
                Ok(record) => out.push(record),
                Err(error) => {
                    reader.path.truncate(path_len);
                    (reader.at, reader.depth) = (start, depth);
                    reader.skip()?;
                    let record = &reader.bytes[start..reader.at];
                    reader.defects.push(Defect {
                        detail: error.to_string(),
                        record: String::from_utf8_lossy(record).into_owned(),
                        record_bytes: record.len(),
                    });
                }
            }
            Ok(())
        })
    }

    /// Reads the value of field `name`; errors inside carry the name.
    pub(crate) fn within<T>(&mut self, name: &'static str, read: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.path.push(Step::Field(name));
        let value = read(self)?;
        self.path.pop();
        Ok(value)
    }

    /// Reads a text.
    pub(crate) fn text(&mut self, expected: &'static str) -> Result<Cow<'a, str>> {
        if self.peek() == Some(b'"') { self.string() } else { Err(self.unexpected(expected)) }
    }

    /// Reads `true` or `false`.
    pub(crate) fn bool(&mut self) -> Result<bool> {
        match self.peek() {
            Some(b't') => self.literal(b"true").map(|()| true),
            Some(b'f') => self.literal(b"false").map(|()| false),
            _ => Err(self.unexpected("`true` or `false`")),
        }
    }

    /// Reads a number, or a text that holds one: the text of the number.
    pub(crate) fn number_or_text(&mut self, expected: &'static str) -> Result<Cow<'a, str>> {
        match self.peek() {
            Some(b'"') => self.string(),
            Some(b'-' | b'0'..=b'9') => self.number().map(Cow::Borrowed),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// Reads a number.
    pub(crate) fn number_text(&mut self, expected: &'static str) -> Result<&'a str> {
        match self.peek() {
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.unexpected(expected)),
        }
    }

    /// What the next value begins with.
    pub(crate) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\n' | b'\r') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    /// Skips one value of any kind.
    pub(crate) fn skip(&mut self) -> Result<()> {
        let mut open = Vec::new();
        loop {
            match self.peek() {
                Some(bracket @ (b'{' | b'[')) => {
                    self.at += 1;
                    open.push(bracket);
                    if open.len() > SKIP_DEPTH_MAX {
                        return Err(self.error("deeper nesting".to_owned(), format!("at most {SKIP_DEPTH_MAX} levels")));
                    }
                    if bracket == b'{' && self.peek() == Some(b'"') {
                        self.string_span()?;
                        self.open(b':', "`:`")?;
                        continue;
                    }
                    let end = if bracket == b'{' { b'}' } else { b']' };
                    if self.peek() != Some(end) {
                        if bracket == b'{' {
                            return Err(self.unexpected("a key or `}`"));
                        }
                        continue;
                    }
                }
                Some(b'"') => drop(self.string_span()?),
                Some(b't') => self.literal(b"true")?,
                Some(b'f') => self.literal(b"false")?,
                Some(b'n') => self.literal(b"null")?,
                Some(b'-' | b'0'..=b'9') => drop(self.number()?),
                _ => return Err(self.unexpected("a value")),
            }
            // A value has ended: close what ends with it, then step over the comma, if any.
            loop {
                let Some(bracket) = open.last() else { return Ok(()) };
                let end = if *bracket == b'{' { b'}' } else { b']' };
                if self.close(end) {
                    open.pop();
                    continue;
                }
                let in_object = *bracket == b'{';
                self.open(b',', "`,` or a closing bracket")?;
                if in_object {
                    if self.peek() != Some(b'"') {
                        return Err(self.unexpected("a key"));
                    }
                    self.string_span()?;
                    self.open(b':', "`:`")?;
                }
                break;
            }
        }
    }

    /// An error at the current place.
    pub(crate) fn error(&self, found: impl Into<String>, expected: impl Into<Cow<'static, str>>) -> Box<JsonError> {
        let mut path = "$".to_owned();
        for step in &self.path {
            match step {
                Step::Field(name) => write!(path, ".{name}"),
                Step::Index(index) => write!(path, "[{index}]"),
            }
            .expect("a String takes any text");
        }
        Box::new(JsonError { path, offset: self.at, found: found.into(), expected: expected.into() })
    }

    fn unexpected(&mut self, expected: &'static str) -> Box<JsonError> {
        let found = match self.peek() {
            None => "the end of the text".to_owned(),
            Some(b'"') => match self.string() {
                Ok(text) => quoted(&text),
                Err(error) => return error,
            },
            Some(b'{') => "an object".to_owned(),
            Some(b'[') => "an array".to_owned(),
            Some(_) => {
                let rest = &self.bytes[self.at..self.bytes.len().min(self.at + 24)];
                let end = rest.iter().position(|b| matches!(b, b',' | b'}' | b']' | b' ' | b'\n')).unwrap_or(rest.len()).max(1);
                format!("`{}`", String::from_utf8_lossy(&rest[..end.min(rest.len())]))
            }
        };
        self.error(found, expected)
    }

    fn open(&mut self, byte: u8, expected: &'static str) -> Result<()> {
        if self.close(byte) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn close(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    fn literal(&mut self, word: &'static [u8]) -> Result<()> {
        if !self.bytes[self.at..].starts_with(word) {
            return Err(self.unexpected("a value"));
        }
        self.at += word.len();
        Ok(())
    }

    fn number(&mut self) -> Result<&'a str> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|b| !matches!(b, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')).unwrap_or(rest.len());
        let text = std::str::from_utf8(&rest[..end]).expect("digits and signs");
        if !is_json_number(text.as_bytes()) {
            return Err(self.error(format!("`{}`", &text[..text.len().min(40)]), "a number"));
        }
        self.at += end;
        Ok(text)
    }

    /// The raw text between the quotes, and whether it has escapes.
    fn string_span(&mut self) -> Result<(&'a [u8], bool)> {
        let start = self.at + 1;
        let mut at = start;
        let mut escaped = false;
        loop {
            match memchr::memchr2(b'"', b'\\', &self.bytes[at..]) {
                None => return Err(self.error("the end of the text", "`\"`")),
                Some(n) if self.bytes[at + n] == b'"' => {
                    at += n;
                    break;
                }
                Some(n) => {
                    escaped = true;
                    at += n + 2;
                    if at > self.bytes.len() {
                        return Err(self.error("the end of the text", "`\"`"));
                    }
                }
            }
        }
        self.at = at + 1;
        Ok((&self.bytes[start..at], escaped))
    }

    fn string(&mut self) -> Result<Cow<'a, str>> {
        let (raw, escaped) = self.string_span()?;
        if let Some(control) = raw.iter().find(|byte| **byte < 0x20) {
            return Err(self.error(format!("control character 0x{control:02x} in a text"), "an escape"));
        }
        let text =
            std::str::from_utf8(raw).map_err(|error| self.error(format!("a text that is not UTF-8 ({error})"), "UTF-8"))?;
        if escaped { self.unescape(text).map(Cow::Owned) } else { Ok(Cow::Borrowed(text)) }
    }

    fn unescape(&self, text: &str) -> Result<String> {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(n) = memchr::memchr(b'\\', rest.as_bytes()) {
            out.push_str(&rest[..n]);
            let escape = rest.as_bytes()[n + 1];
            rest = rest.get(n + 2..).unwrap_or_default();
            match escape {
                b'"' | b'\\' | b'/' => out.push(escape as char),
                b'b' => out.push('\u{8}'),
                b'f' => out.push('\u{c}'),
                b'n' => out.push('\n'),
                b'r' => out.push('\r'),
                b't' => out.push('\t'),
                b'u' => {
                    let unit = hex4(rest).ok_or_else(|| self.error("a broken `\\u` escape", "four hex digits"))?;
                    rest = &rest[4..];
                    let low = rest.strip_prefix("\\u").and_then(hex4).filter(|low| (0xDC00..0xE000).contains(low));
                    match (unit, low) {
                        (0xD800..0xDC00, Some(low)) => {
                            rest = &rest[6..];
                            let code = 0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00);
                            out.push(char::from_u32(code).expect("a surrogate pair is a character"));
                        }
                        // Half a pair, as JavaScript writes when a text was cut in the middle of a character.
                        (0xD800..0xE000, _) => out.push(char::REPLACEMENT_CHARACTER),
                        _ => out.push(char::from_u32(unit).expect("surrogates are excluded above")),
                    }
                }
                _ => return Err(self.error("an unknown escape", "one of `\\\" \\\\ \\/ \\b \\f \\n \\r \\t \\u`")),
            }
        }
        out.push_str(rest);
        Ok(out)
    }
}

/// `text` in back-ticks, cut to a readable length.
pub(crate) fn quoted(text: &str) -> String {
    let cut = text.char_indices().nth(60).map_or(text.len(), |(at, _)| at);
    if cut < text.len() { format!("`\"{}…\"`", &text[..cut]) } else { format!("`\"{text}\"`") }
}

fn hex4(text: &str) -> Option<u32> {
    let digits = text.get(..4)?;
    digits.bytes().all(|b| b.is_ascii_hexdigit()).then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// RFC 8259 section 6.
fn is_json_number(text: &[u8]) -> bool {
    let digits = |from: usize| text[from..].iter().take_while(|b| b.is_ascii_digit()).count();
    let mut at = usize::from(text.first() == Some(&b'-'));
    let whole = digits(at);
    if whole == 0 || (whole > 1 && text[at] == b'0') {
        return false;
    }
    at += whole;
    if text.get(at) == Some(&b'.') {
        let fraction = digits(at + 1);
        if fraction == 0 {
            return false;
        }
        at += 1 + fraction;
    }
    if matches!(text.get(at), Some(b'e' | b'E')) {
        at += 1 + usize::from(matches!(text.get(at + 1), Some(b'+' | b'-')));
        let exponent = digits(at);
        if exponent == 0 {
            return false;
        }
        at += exponent;
    }
    at == text.len()
}
