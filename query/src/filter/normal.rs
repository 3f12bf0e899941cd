//! The normal form: what is nested needlessly is not, what is said twice is said once, and alternatives on one key are one term.

use super::{KEYS, KeyKind, Node, Pattern, TEXT_COLUMNS, Target, Term, Test};

/// The normal form of `node`.
pub(super) fn normal(node: Node) -> Node {
    match node {
        Node::Term(term) => normal_term(term),
        Node::Not(inner) => match normal(*inner) {
            Node::Not(twice) => *twice,
            inner => Node::Not(Box::new(inner)),
        },
        Node::All(nodes) => {
            let mut flat = Vec::new();
            for node in nodes {
                match normal(node) {
                    Node::All(inner) => inner.into_iter().for_each(|n| push_new(&mut flat, n)),
                    other => push_new(&mut flat, other),
                }
            }
            one_or(flat, Node::All)
        }
        Node::Any(nodes) => {
            let mut flat = Vec::new();
            for node in nodes {
                match normal(node) {
                    Node::All(none) if none.is_empty() => return Node::All(none),
                    Node::Any(inner) => flat.extend(inner),
                    other => flat.push(other),
                }
            }
            one_or(joined(flat), Node::Any)
        }
    }
}

fn one_or(mut nodes: Vec<Node>, many: fn(Vec<Node>) -> Node) -> Node {
    match nodes.len() {
        1 => nodes.remove(0),
        _ => many(nodes),
    }
}

fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) {
    if !list.contains(&item) {
        list.push(item);
    }
}

fn normal_term(term: Term) -> Node {
    match term {
        Term::Tests(Target::Key(key), tests) if key.name == "root" => {
            // A root is a span without a parent: one condition, one form.
            let parent = Node::Term(Term::Has(Target::Key(super::keys::of_column("parent_span_id").expect("`parent` is a key"))));
            let sides = tests.into_iter().map(|test| match test {
                Test::Flag(false) => parent.clone(),
                _ => Node::Not(Box::new(parent.clone())),
            });
            let mut kept = Vec::new();
            sides.for_each(|side| push_new(&mut kept, side));
            one_or(kept, Node::Any)
        }
        Term::Tests(target, tests) => Node::Term(Term::Tests(target, ordered(tests))),
        other => Node::Term(other),
    }
}

/// Exact texts, then patterns, then the rest, each once.
fn ordered(tests: Vec<Test>) -> Vec<Test> {
    let mut kept = Vec::new();
    tests.into_iter().for_each(|test| push_new(&mut kept, test));
    kept.sort_by_key(|test| match test {
        Test::Matches(pattern) => u8::from(pattern.as_exact().is_none()),
        Test::Compare(..) | Test::Between(..) | Test::Flag(_) => 2,
    });
    kept
}

/// Alternatives, those on the same key joined.
fn joined(nodes: Vec<Node>) -> Vec<Node> {
    let mut joined: Vec<Node> = Vec::new();
    for node in nodes.into_iter().flat_map(split) {
        match node {
            Node::Term(Term::Tests(target, tests)) => {
                let same = joined.iter_mut().find_map(|n| match n {
                    Node::Term(Term::Tests(other, has)) if *other == target => Some(has),
                    _ => None,
                });
                match same {
                    Some(has) => has.extend(tests),
                    None => joined.push(Node::Term(Term::Tests(target, tests))),
                }
            }
            other => push_new(&mut joined, other),
        }
    }
    for node in &mut joined {
        if let Node::Term(Term::Tests(_, tests)) = node {
            *tests = ordered(std::mem::take(tests));
        }
    }
    united_text(united_columns(joined))
}

/// A term over several columns as one term for each of them.
fn split(node: Node) -> Vec<Node> {
    match node {
        Node::Term(Term::Tests(Target::Key(key), tests)) if key.columns.len() > 1 && key.expression.is_none() => {
            parts(key.columns).map(|part| Node::Term(Term::Tests(part, tests.clone()))).collect()
        }
        Node::Term(Term::Has(Target::Key(key))) if key.columns.len() > 1 => {
            parts(key.columns).map(|part| Node::Term(Term::Has(part))).collect()
        }
        other => vec![other],
    }
}

fn parts(columns: &'static [&'static str]) -> impl Iterator<Item = Target> {
    columns.iter().map(|c| Target::Key(super::keys::of_column(c).expect("each column of a composite key has a key of its own")))
}

/// What every column of a key is asked, asked of the key: `model:x` for `request_model:x OR response_model:x`.
fn united_columns(mut nodes: Vec<Node>) -> Vec<Node> {
    for key in KEYS.iter().filter(|key| key.columns.len() > 1) {
        let parts: Vec<Target> = parts(key.columns).collect();
        let has = |nodes: &[Node]| {
            parts.iter().map(|p| nodes.iter().position(|n| *n == Node::Term(Term::Has(p.clone())))).collect::<Option<Vec<_>>>()
        };
        if let Some(places) = has(&nodes) {
            let first = places.iter().copied().min().unwrap_or_default();
            nodes[first] = Node::Term(Term::Has(Target::Key(key)));
            remove_all(&mut nodes, places.into_iter().filter(|place| *place != first).collect());
        }
        if key.expression.is_none() && key.kind == KeyKind::Text {
            unite_tests(&mut nodes, key, &parts);
        }
    }
    nodes
}

fn unite_tests(nodes: &mut Vec<Node>, key: &'static super::Key, parts: &[Target]) {
    let tests_of = |part: &Target| {
        nodes.iter().enumerate().find_map(|(place, node)| match node {
            Node::Term(Term::Tests(target, tests)) if target == part => Some((place, tests.clone())),
            _ => None,
        })
    };
    let Some(found) = parts.iter().map(tests_of).collect::<Option<Vec<_>>>() else { return };
    let common: Vec<Test> =
        found[0].1.iter().filter(|test| found.iter().all(|(_, tests)| tests.contains(test))).cloned().collect();
    if common.is_empty() {
        return;
    }
    let first = found.iter().map(|(place, _)| *place).min().unwrap_or_default();
    let mut emptied = Vec::new();
    for (place, _) in &found {
        if let Node::Term(Term::Tests(_, tests)) = &mut nodes[*place] {
            tests.retain(|test| !common.contains(test));
            if tests.is_empty() {
                emptied.push(*place);
            }
        }
    }
    remove_all(nodes, emptied);
    nodes.insert(first.min(nodes.len()), Node::Term(Term::Tests(Target::Key(key), common)));
}

/// Text that all columns for text are searched for is free text.
fn united_text(mut nodes: Vec<Node>) -> Vec<Node> {
    let mut at = 0;
    while at < nodes.len() {
        if let Node::Term(Term::Contains(_, pattern)) = &nodes[at] {
            let pattern: Pattern = pattern.clone();
            let place =
                |column: &&'static str| nodes.iter().position(|n| *n == Node::Term(Term::Contains(column, pattern.clone())));
            if let Some(places) = TEXT_COLUMNS.iter().map(place).collect::<Option<Vec<_>>>() {
                nodes[at] = Node::Term(Term::Text(pattern));
                remove_all(&mut nodes, places.into_iter().filter(|place| *place != at).collect());
            }
        }
        at += 1;
    }
    let mut kept = Vec::new();
    nodes.into_iter().for_each(|node| push_new(&mut kept, node));
    kept
}

fn remove_all(nodes: &mut Vec<Node>, mut places: Vec<usize>) {
    places.sort_unstable();
    for place in places.into_iter().rev() {
        nodes.remove(place);
    }
}
