//! Writes JSON text into a `String`, without an intermediate value.

/// Writes objects and arrays with the commas where they belong.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    pub(crate) out: String,
}

impl Writer {
    pub(crate) fn open(&mut self, bracket: char) {
        self.out.push(bracket);
    }

    pub(crate) fn close(&mut self, bracket: char) {
        self.out.push(bracket);
    }

    /// Begins an element: a comma unless it is the first.
    pub(crate) fn element(&mut self) {
        if !matches!(self.out.as_bytes().last(), None | Some(b'{' | b'[')) {
            self.out.push(',');
        }
    }

    /// Begins a field whose name needs no escape.
    pub(crate) fn field(&mut self, name: &'static str) {
        self.element();
        self.out.push('"');
        self.out.push_str(name);
        self.out.push_str("\":");
    }
}

/// Appends `text` as a JSON string.
pub(crate) fn push_string(out: &mut String, text: &str) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    out.reserve(text.len() + 2);
    out.push('"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, byte) in bytes.iter().enumerate() {
        if *byte >= 0x20 && *byte != b'"' && *byte != b'\\' {
            continue;
        }
        out.push_str(&text[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\n' => out.push_str("\\n"),
            b'\r' => out.push_str("\\r"),
            b'\t' => out.push_str("\\t"),
            _ => {
                out.push_str("\\u00");
                out.push(HEX[usize::from(byte >> 4)] as char);
                out.push(HEX[usize::from(byte & 15)] as char);
            }
        }
    }
    out.push_str(&text[from..]);
    out.push('"');
}

/// Appends a finite number so that it reads as a double (`1.0`, not `1`), or `"NaN"`, `"Infinity"`, `"-Infinity"`.
pub(crate) fn push_double(out: &mut String, value: f64) {
    if value.is_finite() {
        out.push_str(ryu::Buffer::new().format_finite(value));
    } else {
        out.push_str(if value.is_nan() {
            "\"NaN\""
        } else if value > 0.0 {
            "\"Infinity\""
        } else {
            "\"-Infinity\""
        });
    }
}

/// Appends a whole number.
pub(crate) fn push_int(out: &mut String, value: impl Into<i128>) {
    use std::fmt::Write as _;
    let value = value.into();
    // `i64` formatting is the fast path; only counts above 2^63 need more.
    match i64::try_from(value) {
        Ok(value) => write!(out, "{value}"),
        Err(_) => write!(out, "{value}"),
    }
    .expect("a String takes any text");
}
