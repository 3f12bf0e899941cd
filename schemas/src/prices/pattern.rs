//! Patterns of model names in the price table: `prefix`, `suffix`, `contains`, `eq`, `regex`, joined by `any` and `all`.
//!
//! They are matched against lower-case names, in linear time: a leading negative look-ahead is turned into an exclusion.

use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

/// A pattern as the table writes it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RawPattern {
    Eq(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    Regex(String),
    Any(Vec<RawPattern>),
    All(Vec<RawPattern>),
}

/// A pattern ready to match.
#[derive(Debug)]
pub(super) enum Pattern {
    Eq(Box<str>),
    Prefix(Box<str>),
    Suffix(Box<str>),
    Contains(Box<str>),
    Regex(Box<Regex>),
    Not(Box<Pattern>),
    All(Box<[Pattern]>),
}

impl Pattern {
    pub(super) fn matches(&self, name: &str) -> bool {
        match self {
            Self::Eq(text) => name == &**text,
            Self::Prefix(text) => name.starts_with(&**text),
            Self::Suffix(text) => name.ends_with(&**text),
            Self::Contains(text) => name.contains(&**text),
            Self::Regex(regex) => regex.is_match(name.as_bytes()),
            Self::Not(pattern) => !pattern.matches(name),
            Self::All(patterns) => patterns.iter().all(|pattern| pattern.matches(name)),
        }
    }

    /// How many characters of the name the pattern spells out: the measure of how specific it is.
    pub(super) fn literal_len(&self) -> usize {
        match self {
            Self::Eq(text) | Self::Prefix(text) | Self::Suffix(text) | Self::Contains(text) => text.len(),
            Self::Regex(regex) => literal_prefix_len(regex.as_str()),
            Self::Not(_) => 0,
            Self::All(patterns) => patterns.iter().map(Self::literal_len).max().unwrap_or(0),
        }
    }
}

/// Appends the alternatives of `raw` to `out`.
///
/// # Errors
/// The expression that a linear-time engine cannot match.
pub(super) fn compile(raw: &RawPattern, out: &mut Vec<Pattern>) -> Result<(), String> {
    let lower = |text: &String| text.to_ascii_lowercase().into_boxed_str();
    match raw {
        RawPattern::Eq(text) => out.push(Pattern::Eq(lower(text))),
        RawPattern::Prefix(text) => out.push(Pattern::Prefix(lower(text))),
        RawPattern::Suffix(text) => out.push(Pattern::Suffix(lower(text))),
        RawPattern::Contains(text) => out.push(Pattern::Contains(lower(text))),
        RawPattern::Regex(text) => out.push(compile_regex(text)?),
        RawPattern::Any(patterns) => patterns.iter().try_for_each(|pattern| compile(pattern, out))?,
        RawPattern::All(patterns) => {
            let mut all = Vec::new();
            for pattern in patterns {
                if matches!(pattern, RawPattern::Any(_)) {
                    return Err("`any` inside `all`".to_owned());
                }
                compile(pattern, &mut all)?;
            }
            out.push(Pattern::All(all.into()));
        }
    }
    Ok(())
}

/// `^(?!X)Y` is "does not match `^X` and matches `^Y`".
fn compile_regex(text: &str) -> Result<Pattern, String> {
    let Some(rest) = text.strip_prefix("^(?!") else { return linear(text) };
    let end = closing_parenthesis(rest).ok_or_else(|| text.to_owned())?;
    let (excluded, wanted) = (&rest[..end], &rest[end + 1..]);
    let not = Pattern::Not(Box::new(linear(&format!("^(?:{excluded})"))?));
    if wanted.is_empty() {
        return Ok(not);
    }
    Ok(Pattern::All([not, linear(&format!("^(?:{wanted})"))?].into()))
}

fn linear(text: &str) -> Result<Pattern, String> {
    let regex = RegexBuilder::new(text).unicode(false).case_insensitive(true).build();
    regex.map(|regex| Pattern::Regex(Box::new(regex))).map_err(|_| text.to_owned())
}

/// Where the group that `text` is inside of closes. The table escapes no parenthesis and puts none in a class.
fn closing_parenthesis(text: &str) -> Option<usize> {
    let mut depth = 1;
    text.bytes().position(|byte| {
        depth += match byte {
            b'(' => 1,
            b')' => -1,
            _ => 0,
        };
        depth == 0
    })
}

fn literal_prefix_len(regex: &str) -> usize {
    let mut bytes = regex.trim_start_matches('^').bytes().peekable();
    let mut len = 0;
    while let Some(byte) = bytes.next() {
        match byte {
            b'\\' if bytes.peek().is_some_and(|next| !next.is_ascii_alphanumeric()) => {
                bytes.next();
                len += 1;
            }
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'/' | b':' | b'@' => len += 1,
            _ => break,
        }
    }
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(raw: &str) -> Vec<Pattern> {
        let mut out = Vec::new();
        compile(&serde_json::from_str(raw).expect("a pattern"), &mut out).expect("a linear pattern");
        out
    }

    #[test]
    fn negative_look_ahead_becomes_an_exclusion() {
        let patterns = check(r#"{"all":[{"prefix":"gemini-2.5-pro"},{"regex":"^(?!.*-[tT][tT][sS](?:$|-))"}]}"#);
        for (name, matches) in
            [("gemini-2.5-pro-preview", true), ("gemini-2.5-pro-preview-tts", false), ("gemini-2.5-pro-tts-x", false)]
        {
            assert_eq!(patterns.iter().any(|pattern| pattern.matches(name)), matches, "{name}");
        }
    }

    #[test]
    fn specific_patterns_have_longer_literals() {
        assert_eq!(check(r#"{"regex":"^gpt-5\\.6-luna-\\d{4}$"}"#)[0].literal_len(), "gpt-5.6-luna-".len());
        assert_eq!(
            check(r#"{"any":[{"eq":"abc"},{"contains":"de"}]}"#).iter().map(Pattern::literal_len).collect::<Vec<_>>(),
            [3, 2]
        );
    }
}
