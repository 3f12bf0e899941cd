//! `normalise_message(text)`: an error message without what differs between two occurrences of one error.
//!
//! Numbers, identifiers, UUIDs, quoted texts and URLs give way to what they are, so that messages that differ in nothing else are equal:
//! they are how errors are grouped. Only the first line counts; stack traces below it differ by build.

use std::sync::Arc;

use arrow::{
    array::{Array as _, AsArray as _, StringArray},
    datatypes::DataType,
};
use datafusion::{
    common::{Result, cast::as_string_array},
    logical_expr::{
        ColumnarValue, Documentation, ScalarFunctionArgs, ScalarUDFImpl, Signature, Volatility,
        scalar_doc_sections::DOC_SECTION_STRING,
    },
};

/// Longer messages are cut.
const CHARS_MAX: usize = 300;

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) struct NormaliseMessage {
    signature: Signature,
}

impl NormaliseMessage {
    pub(super) fn new() -> Self {
        Self { signature: Signature::string(1, Volatility::Immutable) }
    }
}

impl ScalarUDFImpl for NormaliseMessage {
    fn name(&self) -> &'static str {
        "normalise_message"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let arrays = ColumnarValue::values_to_arrays(&args.args)?;
        let text = arrow::compute::cast(&arrays[0], &DataType::Utf8)?;
        let normalised: StringArray = as_string_array(&text)?.iter().map(|text| text.map(normalised)).collect();
        debug_assert_eq!(normalised.len(), text.as_string::<i32>().len());
        Ok(ColumnarValue::Array(Arc::new(normalised)))
    }

    fn documentation(&self) -> Option<&Documentation> {
        static DOC: std::sync::LazyLock<Documentation> = std::sync::LazyLock::new(|| {
            Documentation::builder(
                DOC_SECTION_STRING,
                "First line of an error message with numbers, identifiers, UUIDs, quoted texts and URLs replaced by `<n>`, `<id>`, \
                 `<uuid>`, `<text>` and `<url>`, so that messages of the same error are equal.",
                "normalise_message(text)",
            )
            .with_argument("text", "A message.")
            .build()
        });
        Some(&DOC)
    }
}

/// The first line of `message`, what varies replaced.
fn normalised(message: &str) -> String {
    let line = message.trim().lines().next().unwrap_or("");
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let before = out.chars().next_back();
        let (replacement, length) = match c {
            _ if before.is_none_or(|b| !is_word(b)) && url_length(rest) > 0 => ("<url>", url_length(rest)),
            '"' | '`' | '\'' => match quoted_length(rest, c, before) {
                Some(length) => ("<text>", length),
                None => ("", 0),
            },
            c if is_word(c) => {
                let length = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
                word(&mut out, rest, length, &mut rest);
                continue;
            }
            _ => ("", 0),
        };
        if length == 0 {
            // One space stands for any number.
            if !(c.is_whitespace() && before.is_some_and(char::is_whitespace)) {
                out.push(if c.is_whitespace() { ' ' } else { c });
            }
            rest = &rest[c.len_utf8()..];
        } else {
            out.push_str(replacement);
            rest = &rest[length..];
        }
        if out.len() > CHARS_MAX * 4 {
            break;
        }
    }
    out.trim_end().chars().take(CHARS_MAX).collect()
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Takes a word, or a number or identifier that begins with it, from the front of `text`.
fn word<'a>(out: &mut String, text: &'a str, length: usize, rest: &mut &'a str) {
    if let Some(length) = uuid_length(text) {
        out.push_str("<uuid>");
        *rest = &text[length..];
        return;
    }
    let word = &text[..length];
    *rest = &text[length..];
    let digits = word.bytes().take_while(u8::is_ascii_digit).count();
    if digits == word.len() && digits > 0 {
        // 1.5 and 1,000 are one number; a full stop ends a sentence.
        while let Some(more) = rest.strip_prefix(['.', ',']).filter(|r| r.starts_with(|c: char| c.is_ascii_digit())) {
            let digits = more.find(|c: char| !c.is_ascii_digit()).unwrap_or(more.len());
            if more[digits..].starts_with(is_word) && !is_unit(&more[digits..]) {
                break;
            }
            *rest = &more[digits..];
        }
        out.push_str("<n>");
    } else if digits > 0 && is_unit(&word[digits..]) {
        out.push_str("<n>");
        out.push_str(&word[digits..]);
    } else if is_id(word) {
        out.push_str("<id>");
    } else {
        out.push_str(word);
    }
}

/// Whether a word that follows digits is a unit of theirs.
fn is_unit(text: &str) -> bool {
    const UNITS: [&str; 18] =
        ["s", "ms", "us", "ns", "m", "min", "h", "d", "k", "M", "KB", "MB", "GB", "kB", "KiB", "MiB", "GiB", "x"];
    let word = &text[..text.find(|c| !is_word(c)).unwrap_or(text.len())];
    UNITS.contains(&word)
}

/// Hex of eight digits and more, or a long mixture of letters and digits such as `req_011CSHoEeqs5C35K2UUqR7Fy`.
fn is_id(word: &str) -> bool {
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let hex = word.strip_prefix("0x").unwrap_or(word);
    let is_hex = hex.len() >= 8 && hex.bytes().all(|b| b.is_ascii_hexdigit());
    digits > 0 && (is_hex || (word.len() >= 12 && digits >= 3))
}

fn uuid_length(text: &str) -> Option<usize> {
    const LENGTH: usize = 36;
    let bytes = text.as_bytes().get(..LENGTH)?;
    let fits = bytes.iter().enumerate().all(|(idx, b)| match idx {
        8 | 13 | 18 | 23 => *b == b'-',
        _ => b.is_ascii_hexdigit(),
    });
    (fits && !text[LENGTH..].starts_with(is_word)).then_some(LENGTH)
}

/// Length of the URL at the front of `text`, without the punctuation that ends a sentence; 0 if there is none.
fn url_length(text: &str) -> usize {
    let scheme = text.bytes().take_while(u8::is_ascii_alphabetic).count();
    if scheme < 2 || !text[scheme..].starts_with("://") {
        return 0;
    }
    let end = text.find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`' | '<' | '>' | ')')).unwrap_or(text.len());
    text[..end].trim_end_matches(['.', ',', ';', ':']).len()
}

/// Length of the quoted text at the front of `text`. An apostrophe within a word quotes nothing.
fn quoted_length(text: &str, quote: char, before: Option<char>) -> Option<usize> {
    if before.is_some_and(is_word) {
        return None;
    }
    let inside = &text[quote.len_utf8()..];
    let ends = |at: usize| quote != '\'' || !inside[at + 1..].starts_with(is_word);
    let end = inside.match_indices(quote).map(|(at, _)| at).find(|at| ends(*at))?;
    Some(end + 2 * quote.len_utf8())
}

#[cfg(test)]
mod tests {
    use super::normalised;

    #[test]
    fn what_varies_is_replaced() {
        let cases = [
            ("timeout after 30s (attempt 3 of 5)", "timeout after <n>s (attempt <n> of <n>)"),
            ("Rate limit reached for gpt-4o: 429, retry in 1.5 s.", "Rate limit reached for gpt-4o: <n>, retry in <n> s."),
            ("no file '/tmp/a b.txt' for \"ada\" in `x`", "no file <text> for <text> in <text>"),
            ("can't parse it, don't try", "can't parse it, don't try"),
            ("job 550e8400-e29b-41d4-a716-446655440000 failed", "job <uuid> failed"),
            ("req_011CSHoEeqs5C35K2UUqR7Fy: 0xdeadbeef01 at deadbeef99", "<id>: <id> at <id>"),
            ("GET https://api.example.com/v1/x?id=1: refused", "GET <url>: refused"),
            ("first line 7\n  at stack:12", "first line <n>"),
            ("1,000.5 tokens   over\tthe limit of 128k", "<n> tokens over the limit of <n>k"),
            ("", ""),
            ("ünïcode 'x' 5€", "ünïcode <text> <n>€"),
        ];
        for (message, expected) in cases {
            assert_eq!(normalised(message), expected);
        }
    }

    #[test]
    fn a_long_message_is_cut() {
        assert_eq!(normalised(&"wörd ".repeat(1000)).chars().count(), super::CHARS_MAX);
    }
}
