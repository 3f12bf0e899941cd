//! How a filter is written: the one way among those in which it can be read.

use std::fmt;

use rust_decimal::Decimal;

use super::{Filter, KeyKind, Node, Op, Pattern, Target, Term, Test};

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.root {
            Node::All(nodes) => write_joined(f, nodes, " "),
            Node::Any(nodes) => write_joined(f, &alternatives(nodes), " OR "),
            one => write!(f, "{one}"),
        }
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::All(nodes) => write_group(f, nodes, " "),
            Self::Any(nodes) => match alternatives(nodes).as_slice() {
                [one] => f.write_str(one),
                many => write_group(f, many, " OR "),
            },
            Self::Not(inner) => match inner.as_ref() {
                Self::Term(Term::Has(Target::Key(key))) if key.name == "parent" => f.write_str("root:true"),
                inner => write!(f, "-{inner}"),
            },
            Self::Term(term) => write!(f, "{term}"),
        }
    }
}

/// The alternatives, a failed status and a named error together as `has:error`.
fn alternatives(nodes: &[Node]) -> Vec<String> {
    let place = |is: fn(&Term) -> bool| nodes.iter().position(|node| matches!(node, Node::Term(term) if is(term)));
    let mut written: Vec<String> = nodes.iter().map(ToString::to_string).collect();
    if let (Some(failed), Some(named)) = (place(is_failed), place(is_named)) {
        "has:error".clone_into(&mut written[failed]);
        written.remove(named);
    }
    written
}

fn is_failed(term: &Term) -> bool {
    matches!(term, Term::Tests(Target::Key(key), tests) if key.name == "status"
        && matches!(tests.as_slice(), [Test::Matches(pattern)] if pattern.as_exact() == Some("ERROR")))
}

fn is_named(term: &Term) -> bool {
    matches!(term, Term::Has(Target::Key(key)) if key.name == "error_type")
}

fn write_group<T: fmt::Display>(f: &mut fmt::Formatter<'_>, nodes: &[T], between: &str) -> fmt::Result {
    f.write_str("(")?;
    write_joined(f, nodes, between)?;
    f.write_str(")")
}

fn write_joined<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T], between: &str) -> fmt::Result {
    for (idx, item) in items.iter().enumerate() {
        if idx > 0 {
            f.write_str(between)?;
        }
        write!(f, "{item}")?;
    }
    Ok(())
}

impl fmt::Display for Term {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(pattern) => {
                let quoted: Vec<String> = pattern.parts.iter().map(|part| in_quotes(part)).collect();
                f.write_str(&quoted.join("*"))
            }
            Self::Has(target) => write!(f, "has:{target}"),
            Self::Tests(target, tests) => {
                write!(f, "{target}:")?;
                let written: Vec<String> = tests.iter().map(|test| written(target, test)).collect();
                write_joined(f, &written, "|")
            }
            Self::Contains(column, pattern) => write!(f, "{column} ILIKE '{}'", super::sql::containing(pattern)),
        }
    }
}

fn written(target: &Target, test: &Test) -> String {
    let duration = matches!(target, Target::Key(key) if key.kind == KeyKind::Duration);
    let number = |n: &Decimal| if duration { duration_text(*n) } else { n.normalize().to_string() };
    match test {
        Test::Matches(pattern) => pattern.to_string(),
        // Without a sign, an attribute would be compared as text.
        Test::Compare(Op::Equal, n) if matches!(target, Target::Key(_)) => number(n),
        Test::Compare(op, n) => format!("{}{}", op.sql(), number(n)),
        Test::Between(low, high) => format!("{}..{}", number(low), number(high)),
        Test::Flag(flag) => flag.to_string(),
    }
}

/// Nanoseconds in the largest unit that shows them whole, seconds and less with up to three decimals.
fn duration_text(nanos: Decimal) -> String {
    const UNITS: [(&str, i64, u32); 6] = [
        ("h", 3_600_000_000_000, 0),
        ("m", 60_000_000_000, 0),
        ("s", 1_000_000_000, 3),
        ("ms", 1_000_000, 3),
        ("us", 1_000, 3),
        ("ns", 1, 0),
    ];
    let nanos = nanos.normalize();
    for (unit, factor, decimals) in UNITS {
        let amount = (nanos / Decimal::from(factor)).normalize();
        let whole = amount.scale() <= decimals && amount.checked_mul(Decimal::from(factor)) == Some(nanos);
        if whole && amount.abs() >= Decimal::ONE {
            return format!("{amount}{unit}");
        }
    }
    format!("{nanos}ns")
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => f.write_str(key.name),
            Self::Json(place, key) => {
                let bare = !key.contains(|c: char| c.is_whitespace() || matches!(c, ':' | '"' | '(' | ')' | '|'));
                write!(f, "{}.{}", place.name(), if bare { key.clone() } else { in_quotes(key) })
            }
        }
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.as_exact() {
            return f.write_str(&if is_bare(text) { text.to_owned() } else { in_quotes(text) });
        }
        for (idx, part) in self.parts.iter().enumerate() {
            if idx > 0 {
                f.write_str("*")?;
            }
            f.write_str(&if part.is_empty() || is_bare(part) { part.clone() } else { in_quotes(part) })?;
        }
        Ok(())
    }
}

/// Whether `text` can be written without quotation marks and read back as it is.
fn is_bare(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['>', '<', '=', '!'])
        && !text.contains("..")
        && !text.contains(|c: char| c.is_whitespace() || matches!(c, '"' | '|' | '*' | '(' | ')'))
}

fn in_quotes(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
