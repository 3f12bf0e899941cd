//! Reads a filter, character by character, so that every error has its place.

use rust_decimal::Decimal;

use super::{KEYS, Key, KeyKind, Node, Op, ParseFilterError, Pattern, Place, Target, Term, Test, keys};

/// Longer filters are refused.
const CHARS_MAX: usize = 4096;
/// Deeper nesting is refused.
const DEPTH_MAX: usize = 16;

type Result<T, E = ParseFilterError> = std::result::Result<T, E>;

pub(super) fn parse(text: &str) -> Result<Node> {
    let chars: Vec<char> = text.chars().collect();
    if chars.len() > CHARS_MAX {
        let message = format!("the filter is too long: {} characters, expected at most {CHARS_MAX}", chars.len());
        return Err(error(0, message, ""));
    }
    let mut reader = Reader { chars, at: 0, depth: 0 };
    if !reader.skip_spaces() {
        return Ok(Node::All(Vec::new()));
    }
    let node = reader.any()?;
    match reader.peek() {
        None => Ok(node),
        Some(_) => Err(error(reader.at, "a closing parenthesis without its partner", ")").hint("put text in quotation marks")),
    }
}

struct Reader {
    chars: Vec<char>,
    at: usize,
    depth: usize,
}

/// A value or a free text as it was written.
struct Word {
    parts: Vec<String>,
    /// The source, where no part of it was quoted.
    bare: Option<String>,
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
        self.peek_at(0)
    }

    fn peek_at(&self, ahead: usize) -> Option<char> {
        self.chars.get(self.at + ahead).copied()
    }

    fn eat(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    /// What stands here, for an error.
    fn found(&self) -> String {
        self.peek().map_or("the end of the filter".to_owned(), String::from)
    }

    /// Whether the keyword stands here as a word of its own.
    fn at_keyword(&self, keyword: &str) -> bool {
        let after = self.peek_at(keyword.len());
        keyword.chars().enumerate().all(|(idx, c)| self.peek_at(idx) == Some(c))
            && after.is_none_or(|c| c.is_whitespace() || matches!(c, '(' | ')'))
    }

    fn eat_keyword(&mut self, keyword: &str) -> bool {
        let found = self.at_keyword(keyword);
        self.at += if found { keyword.len() } else { 0 };
        found
    }

    fn any(&mut self) -> Result<Node> {
        let mut alternatives = vec![self.all()?];
        while self.eat_keyword("OR") {
            alternatives.push(self.all()?);
        }
        Ok(Node::Any(alternatives))
    }

    fn all(&mut self) -> Result<Node> {
        let mut terms = Vec::new();
        let mut wanted = true;
        loop {
            let ends = !self.skip_spaces() || self.peek() == Some(')') || self.at_keyword("OR");
            if ends && wanted {
                let found = if self.at_keyword("OR") { "OR".to_owned() } else { self.found() };
                return Err(error(self.at, "a condition is missing", &found)
                    .expected("a condition, such as `service:api`")
                    .hint("to search for the word itself, write it in quotation marks"));
            }
            if ends {
                return Ok(Node::All(terms));
            }
            if !wanted && self.eat_keyword("AND") {
                wanted = true;
                continue;
            }
            terms.push(self.term()?);
            wanted = false;
        }
    }

    fn term(&mut self) -> Result<Node> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(error(self.at, format!("conditions are nested deeper than {DEPTH_MAX} levels"), &self.found()));
        }
        let node = self.term_inside();
        self.depth -= 1;
        node
    }

    fn term_inside(&mut self) -> Result<Node> {
        let next_is_space = self.peek_at(1).is_none_or(char::is_whitespace);
        if !next_is_space && self.eat('-') {
            return Ok(Node::Not(Box::new(self.term()?)));
        }
        if self.eat_keyword("NOT") {
            if !self.skip_spaces() || self.peek() == Some(')') || self.at_keyword("OR") {
                return Err(
                    error(self.at, "`NOT` without a condition", &self.found()).expected("a condition, such as `service:api`")
                );
            }
            return Ok(Node::Not(Box::new(self.term()?)));
        }
        let start = self.at;
        if self.eat('(') {
            let inside = self.any()?;
            if !self.eat(')') {
                return Err(error(start, "a parenthesis without its partner", &self.found()).expected("`)`"));
            }
            return Ok(inside);
        }
        match self.key()? {
            Some(name) if name == "has" => self.has(),
            Some(name) => {
                let target = target(&name, start)?;
                self.tests(target).map(Node::Term)
            }
            None => self.text().map(Node::Term),
        }
    }

    /// The text before a colon, which is read too; nothing is read if there is none.
    fn key(&mut self) -> Result<Option<String>> {
        let start = self.at;
        let mut name = String::new();
        while let Some(c) = self.peek() {
            match c {
                ':' if name.is_empty() => {
                    return Err(error(start, "a colon without a key before it", ":").expected("`key:value`"));
                }
                ':' => {
                    self.at += 1;
                    return Ok(Some(name));
                }
                '"' if is_place(&name) => name.push_str(&self.quoted()?),
                '"' | '(' | ')' => break,
                c if c.is_whitespace() => break,
                c => {
                    name.push(c);
                    self.at += 1;
                }
            }
        }
        self.at = start;
        Ok(None)
    }

    fn text(&mut self) -> Result<Term> {
        let mut word = self.word(false)?;
        while word.parts.len() > 1 && word.parts.last().is_some_and(String::is_empty) {
            word.parts.pop();
        }
        while word.parts.len() > 1 && word.parts[0].is_empty() {
            word.parts.remove(0);
        }
        if word.parts.concat().is_empty() {
            return Err(error(word.start, "an empty text matches everything", &self.found()).expected("text to look for"));
        }
        Ok(Term::Text(Pattern { parts: word.parts }))
    }

    /// Reads up to a space or a parenthesis of the filter; of a value, up to a bar. Quoted parts stand for themselves.
    fn word(&mut self, is_value: bool) -> Result<Word> {
        let start = self.at;
        let (mut parts, mut open, mut quoted) = (vec![String::new()], 0_usize, false);
        while let Some(c) = self.peek() {
            let n_parts = parts.len();
            let part = parts.last_mut().expect("begins with one and only grows");
            match c {
                '"' => {
                    quoted = true;
                    let text = self.quoted()?;
                    part.push_str(&text);
                    continue;
                }
                // Two wildcards are one.
                '*' if part.is_empty() && n_parts > 1 => {}
                '*' => parts.push(String::new()),
                '|' if is_value => break,
                ')' if open == 0 => break,
                c if c.is_whitespace() => break,
                c => {
                    open = if c == '(' { open + 1 } else { open - usize::from(c == ')') };
                    part.push(c);
                }
            }
            self.at += 1;
        }
        let bare = (!quoted).then(|| self.chars[start..self.at].iter().collect());
        Ok(Word { parts, bare, start })
    }

    fn quoted(&mut self) -> Result<String> {
        let start = self.at;
        self.at += 1;
        let mut text = String::new();
        loop {
            match self.peek() {
                None => {
                    let error = error(start, "a quotation mark without its partner", "the end of the filter");
                    return Err(error.expected("`\"`").hint("write `\\\"` for a quotation mark inside a text"));
                }
                Some('"') => {
                    self.at += 1;
                    return Ok(text);
                }
                Some('\\') if matches!(self.peek_at(1), Some('"' | '\\')) => {
                    text.extend(self.peek_at(1));
                    self.at += 2;
                }
                Some(c) => {
                    text.push(c);
                    self.at += 1;
                }
            }
        }
    }

    fn has(&mut self) -> Result<Node> {
        let mut things = vec![self.thing()?];
        while self.eat('|') {
            things.push(self.thing()?);
        }
        Ok(Node::Any(things))
    }

    fn thing(&mut self) -> Result<Node> {
        let start = self.at;
        let mut name = String::new();
        while let Some(c) = self.peek().filter(|c| !c.is_whitespace() && !matches!(c, '|' | ')' | '(')) {
            if c == '"' && is_place(&name) {
                name.push_str(&self.quoted()?);
            } else {
                name.push(c);
                self.at += 1;
            }
        }
        if name.is_empty() {
            return Err(error(start, "`has:` without a key", &self.found()).expected("a key, such as `has:error` or `has:cost`"));
        }
        if name == "error" {
            let status = keys::find("status").expect("a key of the language");
            let failed = Term::Tests(Target::Key(status), vec![Test::Matches(Pattern::exact("ERROR"))]);
            // Some SDKs name the error and leave the status unset.
            let named = Term::Has(Target::Key(keys::find("error_type").expect("a key of the language")));
            return Ok(Node::Any(vec![Node::Term(failed), Node::Term(named)]));
        }
        let name =
            if name == "root" { return Ok(Node::Not(Box::new(Node::Term(Term::Has(target("parent", start)?))))) } else { name };
        target(&name, start).map(|target| Node::Term(Term::Has(target)))
    }

    fn tests(&mut self, target: Target) -> Result<Term> {
        let mut tests = vec![self.test(&target)?];
        while self.eat('|') {
            tests.push(self.test(&target)?);
        }
        Ok(Term::Tests(target, tests))
    }

    fn test(&mut self, target: &Target) -> Result<Test> {
        let start = self.at;
        if self.peek() == Some('!') && self.peek_at(1) == Some('=') {
            return Err(error(start, "`!=` is not an operator of filters", "!=").hint(format!("write `-{target}:value`")));
        }
        let op = self.op();
        let word = self.word(true)?;
        if word.bare.as_deref() == Some("") {
            let expected = if op.is_some() { "a number" } else { "a value, or `\"\"` for the empty text" };
            return Err(error(word.start, "a key without a value", &self.found()).expected(expected));
        }
        match target {
            Target::Key(key) if key.kind.is_number() => number_test(key.kind, op, &word),
            Target::Key(key) => match op {
                None => text_test(key, word),
                Some(op) if key.kind == KeyKind::Flag => {
                    Err(error(start, format!("`{target}` cannot be compared"), op.sql()).expected("`true` or `false`"))
                }
                Some(Op::Equal) => Err(error(start, "`=` is not needed", "=").hint(format!("write `{target}:value`"))),
                Some(op) => {
                    Err(error(start, format!("`{target}` is text and cannot be compared"), op.sql()).expected("`key:value`"))
                }
            },
            Target::Json(..) if op.is_some() || is_range(&word) => number_test(KeyKind::Number, op, &word),
            Target::Json(..) => Ok(Test::Matches(Pattern { parts: word.parts })),
        }
    }

    fn op(&mut self) -> Option<Op> {
        if self.eat('>') {
            return Some(if self.eat('=') { Op::GreaterEqual } else { Op::Greater });
        }
        if self.eat('<') {
            return Some(if self.eat('=') { Op::LessEqual } else { Op::Less });
        }
        self.eat('=').then_some(Op::Equal)
    }
}

fn is_place(name: &str) -> bool {
    name.strip_suffix('.').is_some_and(|name| Place::ALL.iter().any(|place| place.name() == name))
}

fn target(name: &str, start: usize) -> Result<Target> {
    if is_place(name) {
        return Err(error(start, format!("`{name}` without a key"), name).expected(format!("`{name}<attribute key>:value`")));
    }
    Target::named(name).ok_or_else(|| unknown(name, start))
}

fn text_test(key: &Key, word: Word) -> Result<Test> {
    let pattern = Pattern { parts: word.parts };
    Ok(match key.kind {
        KeyKind::Upper => Test::Matches(pattern.map(str::to_uppercase)),
        KeyKind::Lower => Test::Matches(pattern.map(str::to_lowercase)),
        KeyKind::Flag => match pattern.as_exact() {
            Some("true" | "yes") => Test::Flag(true),
            Some("false" | "no") => Test::Flag(false),
            _ => {
                let found = word.bare.unwrap_or_default();
                return Err(
                    error(word.start, format!("`{}` is either true or false", key.name), &found).expected("`true` or `false`")
                );
            }
        },
        _ => Test::Matches(pattern),
    })
}

/// Whether a value is a range of numbers; an attribute's value may well be text with dots in it.
fn is_range(word: &Word) -> bool {
    let sides = word.bare.as_deref().and_then(|text| text.split_once(".."));
    sides.is_some_and(|(low, high)| decimal(low).is_some() && decimal(high).is_some())
}

fn number_test(kind: KeyKind, op: Option<Op>, word: &Word) -> Result<Test> {
    let number = |text: &str, at: usize| if kind == KeyKind::Duration { nanoseconds(text, at) } else { plain_number(text, at) };
    let text = match &word.bare {
        Some(bare) => bare.clone(),
        None => word.parts.join("*"),
    };
    let Some((low, high)) = text.split_once("..").filter(|_| op.is_none()) else {
        return Ok(Test::Compare(op.unwrap_or(Op::Equal), number(&text, word.start)?));
    };
    let high_start = word.start + low.chars().count() + 2;
    match (low.is_empty(), high.is_empty()) {
        (true, true) => {
            Err(error(word.start, "a range without an end", &text).expected("a range, such as `1..5`, `1..` or `..5`"))
        }
        (true, false) => Ok(Test::Compare(Op::LessEqual, number(high, high_start)?)),
        (false, true) => Ok(Test::Compare(Op::GreaterEqual, number(low, word.start)?)),
        (false, false) => {
            let (from, to) = (number(low, word.start)?, number(high, high_start)?);
            if from > to {
                let error = error(word.start, format!("nothing lies between {low} and {high}"), &text);
                return Err(error.hint(format!("did you mean `{high}..{low}`?")));
            }
            Ok(Test::Between(from, to))
        }
    }
}

fn decimal(text: &str) -> Option<Decimal> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.len() <= 24 && digits.chars().all(|c| c.is_ascii_digit() || c == '.');
    if !plain || digits.matches('.').count() > 1 || digits == "." {
        return None;
    }
    text.parse().ok()
}

fn plain_number(text: &str, at: usize) -> Result<Decimal> {
    let digits = text.trim_start_matches('$');
    let (digits, factor) = match digits.strip_suffix(['k', 'K']) {
        Some(digits) => (digits, 1_000),
        None => digits.strip_suffix('M').map_or((digits, 1), |digits| (digits, 1_000_000)),
    };
    decimal(digits)
        .and_then(|n| n.checked_mul(Decimal::from(factor)))
        .map(|n| n.normalize())
        .ok_or_else(|| error(at, format!("`{text}` is not a number"), text).expected("a number, such as `0.01` or `20k`"))
}

fn nanoseconds(text: &str, at: usize) -> Result<Decimal> {
    let split = text.find(|c: char| c.is_ascii_alphabetic() || c == 'µ').unwrap_or(text.len());
    let (amount, unit) = text.split_at(split);
    let factor: Option<i64> = match unit {
        "ns" => Some(1),
        "us" | "µs" => Some(1_000),
        "ms" => Some(1_000_000),
        "s" => Some(1_000_000_000),
        "m" | "min" => Some(60_000_000_000),
        "h" => Some(3_600_000_000_000),
        "d" => Some(86_400_000_000_000),
        _ => None,
    };
    let nanos = decimal(amount).zip(factor).and_then(|(amount, factor)| amount.checked_mul(Decimal::from(factor)));
    if let Some(nanos) = nanos.filter(|n| n.abs() < Decimal::from(9_000_000_000_000_000_000_i64)) {
        return Ok(nanos.normalize());
    }
    let error = error(at, format!("`{text}` is not a duration"), text);
    if unit.is_empty() && decimal(amount).is_some() {
        return Err(error
            .expected("a number with a unit, such as `250ms`, `2s`, `1.5m`")
            .hint(format!("did you mean `{text}s` or `{text}ms`?")));
    }
    Err(error.expected("a number with a unit, such as `250ms`, `2s`, `1.5m`"))
}

fn unknown(name: &str, start: usize) -> ParseFilterError {
    let known = keys::names().chain(["has"]);
    let unknown = error(start, format!("no filter key `{name}`"), name);
    if let Some(meant) = crate::error::nearest(name, known) {
        return unknown.hint(format!("did you mean `{meant}`?"));
    }
    let all: Vec<_> = KEYS.iter().map(|k| format!("`{}`", k.name)).collect();
    unknown
        .expected(format!("{}, `has`, `attr.<key>`, or text in quotation marks", all.join(", ")))
        .hint("for an attribute write `attr.` before its name; put text with a colon in quotation marks")
}

fn error(at: usize, message: impl Into<String>, found: &str) -> ParseFilterError {
    ParseFilterError { message: message.into(), found: found.to_owned(), expected: None, hint: None, column: at as u64 + 1 }
}

impl ParseFilterError {
    fn expected(mut self, expected: impl Into<String>) -> Self {
        self.expected = Some(expected.into());
        self
    }

    fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}
