//! Reads a filter, character by character, so that every error has its place.

use super::{Filter, KEYS, Key, KeyKind, Kind, Number, Op, ParseFilterError, Target, Term, Value};

/// Longer filters are refused.
const CHARS_MAX: usize = 4096;

pub(super) fn parse(text: &str) -> Result<Filter, ParseFilterError> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > CHARS_MAX {
        let message = format!("the filter is too long: {} characters, expected at most {CHARS_MAX}", chars.len());
        return Err(ParseFilterError { message, found: String::new(), expected: None, hint: None, column: 1 });
    }
    let mut reader = Reader { chars, at: 0 };
    let mut terms = Vec::new();
    while reader.skip_spaces() {
        terms.push(reader.term()?);
    }
    Ok(Filter { terms })
}

/// Whether `text` can be written without quotes and read back as a plain value.
pub(super) fn is_bare(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['>', '<'])
        && !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '|' | '*'))
}

struct Reader {
    chars: Vec<char>,
    at: usize,
}

struct Word {
    text: String,
    quoted: bool,
    start: usize,
}

impl Reader {
    fn skip_spaces(&mut self) -> bool {
        while self.peek().is_some_and(char::is_whitespace) {
            self.at += 1;
        }
        self.at < self.chars.len()
    }

    fn peek(&self) -> Option<char> {
        self.chars.get(self.at).copied()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn term(&mut self) -> Result<Term, ParseFilterError> {
        let next_is_space = self.chars.get(self.at + 1).is_none_or(|c| c.is_whitespace());
        let negated = !next_is_space && self.eat('-');
        let start = self.at;
        let word = self.word(|c| c.is_whitespace() || c == ':')?;
        if word.quoted || self.peek() != Some(':') {
            return Ok(Term { negated, kind: Kind::Text(word.text) });
        }
        self.at += 1;
        let kind = match word.text.as_str() {
            "has" => self.has()?,
            name => {
                let target = self.target(name, start)?;
                self.values(target)?
            }
        };
        Ok(Term { negated, kind })
    }

    /// Reads up to a character for which `ends` holds, or a quoted text. `attr."a key"` is one word.
    fn word(&mut self, ends: impl Fn(char) -> bool) -> Result<Word, ParseFilterError> {
        let start = self.at;
        if self.peek() == Some('"') {
            let text = self.quoted()?;
            return Ok(Word { text, quoted: true, start });
        }
        let mut text = String::new();
        while let Some(c) = self.peek().filter(|c| !ends(*c)) {
            if c == '"' && text == "attr." {
                text.push_str(&self.quoted()?);
            } else {
                text.push(c);
                self.at += 1;
            }
        }
        Ok(Word { text, quoted: false, start })
    }

    fn quoted(&mut self) -> Result<String, ParseFilterError> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => {
                    return Err(error(start, "a quotation mark without its partner", "the end of the filter").expected("`\"`"));
                }
                Some('"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some('\\') if matches!(self.chars.get(self.at + 1), Some('"' | '\\')) => {
                    text.push(self.chars[self.at + 1]);
                    self.at += 2;
                }
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    fn has(&mut self) -> Result<Kind, ParseFilterError> {
        let word = self.word(char::is_whitespace)?;
        if word.text == "error" {
            return Ok(Kind::HasError);
        }
        find(&word.text).filter(|k| k.name != "tokens").map(Kind::Has).ok_or_else(|| unknown(&word.text, word.start))
    }

    fn target(&self, name: &str, start: usize) -> Result<Target, ParseFilterError> {
        if let Some(attribute) = name.strip_prefix("attr.") {
            if attribute.is_empty() {
                return Err(error(start, "`attr.` without a key", name).expected("`attr.<attribute key>:value`"));
            }
            return Ok(Target::Attribute(attribute.to_owned()));
        }
        find(name).map(Target::Key).ok_or_else(|| unknown(name, start))
    }

    fn values(&mut self, target: Target) -> Result<Kind, ParseFilterError> {
        let op = self.op();
        let numeric = match &target {
            Target::Key(key) => matches!(key.kind, KeyKind::Number | KeyKind::Duration),
            Target::Attribute(_) => op != Op::Equal,
        };
        let first = self.value()?;
        if numeric {
            let duration = matches!(&target, Target::Key(Key { kind: KeyKind::Duration, .. }));
            let number = if duration { nanoseconds(&first) } else { number(&first) }?;
            if self.peek() == Some('|') {
                return Err(error(self.at, "a number cannot have alternatives", "|"));
            }
            return Ok(Kind::Compare(target, op, number));
        }
        if op != Op::Equal {
            let message = format!("`{target}` is text and cannot be compared");
            return Err(error(first.start, &message, op.sql()).expected("`key:value`"));
        }
        let mut values = vec![value(first)];
        while self.eat('|') {
            values.push(value(self.value()?));
        }
        Ok(Kind::Any(target, values))
    }

    fn op(&mut self) -> Op {
        if self.eat('>') {
            if self.eat('=') { Op::GreaterEqual } else { Op::Greater }
        } else if self.eat('<') {
            if self.eat('=') { Op::LessEqual } else { Op::Less }
        } else {
            Op::Equal
        }
    }

    fn value(&mut self) -> Result<Word, ParseFilterError> {
        let word = self.word(|c| c.is_whitespace() || c == '|')?;
        if word.text.is_empty() && !word.quoted {
            let found = self.peek().map_or("the end of the filter".to_owned(), String::from);
            return Err(error(word.start, "a key without a value", &found).expected("a value, or `\"\"` for the empty text"));
        }
        Ok(word)
    }
}

fn value(word: Word) -> Value {
    let wildcard = !word.quoted && word.text.contains('*');
    Value { text: word.text, wildcard }
}

fn number(word: &Word) -> Result<Number, ParseFilterError> {
    let text = word.text.trim_start_matches('$');
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.len() <= 28 && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    if !plain || digits.matches('.').count() > 1 || digits == "." {
        return Err(
            error(word.start, &format!("`{}` is not a number", word.text), &word.text).expected("a number, such as `0.01`")
        );
    }
    Ok(Number { written: text.to_owned(), sql: text.to_owned() })
}

fn nanoseconds(word: &Word) -> Result<Number, ParseFilterError> {
    let split = word.text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ').unwrap_or(word.text.len());
    let (amount, unit) = word.text.split_at(split);
    let factor = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" | "min" => 60e9,
        "h" => 3600e9,
        _ => f64::NAN,
    };
    match amount.parse::<f64>() {
        Ok(amount) if (amount * factor).is_finite() && (amount * factor).abs() < 9e18 => {
            Ok(Number { written: word.text.clone(), sql: format!("{:.0}", amount * factor) })
        }
        _ => Err(error(word.start, &format!("`{}` is not a duration", word.text), &word.text)
            .expected("a number with a unit, such as `250ms`, `2s`, `1.5m`")),
    }
}

fn find(name: &str) -> Option<&'static Key> {
    KEYS.iter().find(|key| key.name == name || key.aliases.contains(&name))
}

fn unknown(name: &str, start: usize) -> ParseFilterError {
    let names = KEYS.iter().flat_map(|k| std::iter::once(k.name).chain(k.aliases.iter().copied()));
    let mut unknown = error(start, &format!("no filter key `{name}`"), name);
    unknown.hint = crate::error::nearest(name, names).map(|meant| format!("did you mean `{meant}`?"));
    if unknown.hint.is_none() {
        let all: Vec<_> = KEYS.iter().map(|k| format!("`{}`", k.name)).collect();
        unknown.expected = Some(format!("{}, `has`, `attr.<key>`, or text in quotation marks", all.join(", ")));
    }
    unknown
}

fn error(at: usize, message: &str, found: &str) -> ParseFilterError {
    ParseFilterError { message: message.to_owned(), found: found.to_owned(), expected: None, hint: None, column: at as u64 + 1 }
}

impl ParseFilterError {
    fn expected(mut self, expected: &str) -> Self {
        self.expected = Some(expected.to_owned());
        self
    }
}
