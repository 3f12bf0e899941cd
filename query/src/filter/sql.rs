//! A filter as SQL: a predicate over columns of `spans`.

use super::{KeyKind, Node, Op, Pattern, Place, TEXT_COLUMNS, Target, Term, Test};

/// The predicate; it can stand between `AND`s.
pub(super) fn predicate(root: &Node) -> String {
    match root {
        Node::All(_) => write(root).0,
        other => enclosed(other),
    }
}

/// The SQL of a node, and whether it must be enclosed to stand beside others.
fn write(node: &Node) -> (String, bool) {
    match node {
        Node::All(nodes) => (nodes.iter().map(enclosed).collect::<Vec<_>>().join(" AND "), true),
        Node::Any(nodes) => (nodes.iter().map(enclosed).collect::<Vec<_>>().join(" OR "), true),
        Node::Not(inner) => (negated(inner), false),
        Node::Term(term) => any(alternatives(term)),
    }
}

fn enclosed(node: &Node) -> String {
    match write(node) {
        (sql, true) => format!("({sql})"),
        (sql, false) => sql,
    }
}

fn negated(inner: &Node) -> String {
    if let Node::Term(Term::Has(target)) = inner
        && let [one] = values(target).as_slice()
    {
        return format!("{one} IS NULL");
    }
    // NULL is "does not match", so its negation is "matches".
    format!("({}) IS NOT TRUE", write(inner).0)
}

fn any(alternatives: Vec<String>) -> (String, bool) {
    (alternatives.join(" OR "), alternatives.len() > 1)
}

fn alternatives(term: &Term) -> Vec<String> {
    match term {
        Term::Text(pattern) => {
            let pattern = quoted(&containing(pattern));
            TEXT_COLUMNS.iter().map(|column| format!("{column} ILIKE {pattern}")).collect()
        }
        Term::Contains(column, pattern) => vec![format!("{column} ILIKE {}", quoted(&containing(pattern)))],
        Term::Has(target) => values(target).iter().map(|value| format!("{value} IS NOT NULL")).collect(),
        Term::Tests(Target::Key(key), tests) => match key.expression {
            Some(expression) => tested(expression, expression, key.kind, tests),
            None => key.columns.iter().flat_map(|column| tested(column, column, key.kind, tests)).collect(),
        },
        Term::Tests(Target::Json(place, key), tests) => {
            let text = attribute(*place, key);
            tested(&text, &format!("TRY_CAST({text} AS DOUBLE)"), KeyKind::Text, tests)
        }
    }
}

fn values(target: &Target) -> Vec<String> {
    match target {
        Target::Key(key) => key.columns.iter().map(|column| (*column).to_owned()).collect(),
        Target::Json(place, key) => vec![attribute(*place, key)],
    }
}

/// The tests on one value; exact texts become one list.
fn tested(text: &str, number: &str, kind: KeyKind, tests: &[Test]) -> Vec<String> {
    let exact: Vec<String> = match kind {
        KeyKind::Element => Vec::new(),
        _ => tests.iter().filter_map(|test| if let Test::Matches(p) = test { p.as_exact().map(quoted) } else { None }).collect(),
    };
    let list = match exact.as_slice() {
        [] => None,
        [one] => Some(format!("{text} = {one}")),
        many => Some(format!("{text} IN ({})", many.join(", "))),
    };
    let others = tests.iter().filter_map(|test| match test {
        Test::Matches(pattern) if kind == KeyKind::Element => Some(format!("{text} LIKE {}", quoted(&element(pattern)))),
        Test::Matches(pattern) if pattern.as_exact().is_some() => None,
        Test::Matches(pattern) => Some(format!("{text} LIKE {}", quoted(&like(pattern)))),
        Test::Compare(op, n) => Some(comparison(number, *op, &n.normalize().to_string())),
        Test::Between(low, high) => Some(format!("{number} BETWEEN {} AND {}", low.normalize(), high.normalize())),
        Test::Flag(flag) => Some(format!("{text} = {flag}")),
    });
    list.into_iter().chain(others).collect()
}

fn comparison(value: &str, op: Op, number: &str) -> String {
    format!("{value} {} {number}", op.sql())
}

/// An attribute as text.
pub(crate) fn attribute(place: Place, key: &str) -> String {
    let key = quoted(key);
    match place.columns() {
        [only] => format!("json_as_text({only}, {key})"),
        columns => {
            let each: Vec<_> = columns.iter().map(|column| format!("json_as_text({column}, {key})")).collect();
            format!("coalesce({})", each.join(", "))
        }
    }
}

/// A SQL text literal.
pub(crate) fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

fn like(pattern: &Pattern) -> String {
    pattern.parts.iter().map(|part| like_escaped(part)).collect::<Vec<_>>().join("%")
}

/// A pattern for text that contains it.
pub(super) fn containing(pattern: &Pattern) -> String {
    format!("%{}%", like(pattern))
}

/// A pattern for a JSON array of text that has such an element.
fn element(pattern: &Pattern) -> String {
    let inside = pattern.map(|part| {
        let json = serde_json::Value::from(part).to_string();
        json[1..json.len() - 1].to_owned()
    });
    format!("%\"{}\"%", like(&inside))
}

fn like_escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('%', "\\%").replace('_', "\\_")
}
