//! SQL back into a filter: a condition over columns of `spans`, or a `SELECT` with such a `WHERE`.
//!
//! SQL has three truth values and a filter two. A condition is therefore read twice over: [`Reader::when_true`] gives the filter that matches
//! where the condition is true, [`Reader::when_false`] the one that matches where it is false; where it is unknown neither does. That is
//! what makes `NOT (a = 'x')` and `(a = 'x') IS NOT TRUE` the two different filters they are. A part that no filter can say is refused by
//! name, never dropped.

use std::fmt;

use assay_schemas::tables::TableId;
use chrono::{DateTime, SecondsFormat, Utc};
use datafusion::sql::sqlparser::{
    ast::{
        BinaryOperator, DataType, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Query, Select, SetExpr,
        Spanned as _, Statement, UnaryOperator, Value,
    },
    parser::{Parser, ParserError},
    tokenizer::Token,
};
use rust_decimal::Decimal;

use super::{Filter, KEYS, KeyKind, Node, Op, Pattern, Place, TEXT_COLUMNS, Target, Term, Test, keys};
use crate::{
    dialect::AssayDialect,
    error::{Position, QueryError, syntax},
    statement, time_range,
};

/// Nesting beyond this is refused: more than any filter needs.
const RECURSION_MAX: usize = 100;
/// Longer texts are refused before they are parsed.
const SQL_BYTES_MAX: usize = 64 << 10;

/// What a condition in SQL says, as the search box says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Search {
    /// The condition.
    pub filter: Filter,
    /// Begin of the time range, RFC 3339, if the condition has one.
    pub from: Option<String>,
    /// End of the time range, left out of it.
    pub to: Option<String>,
}

/// A part of the SQL cannot be said in a filter.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{}", .0.detail)]
pub struct NoTokenError(pub(crate) Box<QueryError>);

type Result<T, E = NoTokenError> = std::result::Result<T, E>;

/// Reads `sql`: a condition, with or without `WHERE` before it, or a `SELECT … WHERE`.
///
/// # Errors
/// [`NoTokenError`] with the part that no filter can say, and where it is.
pub fn from_sql(sql: &str) -> Result<Search> {
    if sql.len() > SQL_BYTES_MAX {
        return Err(NoTokenError(Box::new(QueryError::invalid(format!("the SQL is longer than {SQL_BYTES_MAX} bytes")))));
    }
    stacker::grow(statement::STACK_BYTES, || read(sql))
}

fn read(sql: &str) -> Result<Search> {
    let reader = Reader;
    let mut search = Search { filter: Filter::default(), from: None, to: None };
    let Some(condition) = condition(sql)? else { return Ok(search) };
    let mut nodes = Vec::new();
    for conjunct in conjuncts(&condition) {
        if !take_time(conjunct, &mut search)? {
            nodes.push(reader.when_true(conjunct)?);
        }
    }
    search.filter = Filter::new(Node::All(nodes));
    only_tokens(&search.filter.root, sql)?;
    Ok(search)
}

fn condition(sql: &str) -> Result<Option<Expr>> {
    let failed = |e: ParserError| NoTokenError(Box::new(syntax(&e.to_string(), sql)));
    let tokens = statement::tokens(sql).map_err(|error| NoTokenError(Box::new(error)))?;
    let mut parser = Parser::new(&AssayDialect).with_recursion_limit(RECURSION_MAX).with_tokens_with_locations(tokens);
    if parser.peek_token().token == Token::EOF {
        return Ok(None);
    }
    let first = parser.peek_token().token.to_string().to_uppercase();
    if matches!(first.as_str(), "SELECT" | "WITH") {
        let statement = parser.parse_statement().map_err(failed)?;
        ended(&mut parser, sql)?;
        let Statement::Query(query) = statement else { return Err(no_query(sql)) };
        return where_of(*query, sql);
    }
    if first == "WHERE" {
        parser.next_token();
    }
    let expr = parser.parse_expr().map_err(failed)?;
    ended(&mut parser, sql)?;
    Ok(Some(expr))
}

fn ended(parser: &mut Parser<'_>, sql: &str) -> Result<()> {
    while parser.consume_token(&Token::SemiColon) {}
    let token = parser.peek_token();
    if token.token == Token::EOF {
        return Ok(());
    }
    let mut error = QueryError::invalid(format!("syntax error: expected the end of the condition, found `{}`", token.token));
    error.found = Some(token.token.to_string());
    error.position = position(token.span.start.line, token.span.start.column).or_else(|| crate::error::position_of(sql, ""));
    Err(NoTokenError(Box::new(error)))
}

fn no_query(sql: &str) -> NoTokenError {
    let error = QueryError::invalid("only a plain `SELECT … FROM spans WHERE …` can become a filter")
        .found(sql.chars().take(80).collect::<String>());
    NoTokenError(Box::new(error.expected("a condition, or one `SELECT` with a `WHERE`, without `GROUP BY`, joins or unions")))
}

/// The condition of a query over rows that a filter can be about.
fn where_of(query: Query, sql: &str) -> Result<Option<Expr>> {
    let SetExpr::Select(select) = *query.body else { return Err(no_query(sql)) };
    let Select { from, selection, having, group_by, .. } = *select;
    let grouped = group_by != datafusion::sql::sqlparser::ast::GroupByExpr::Expressions(Vec::new(), Vec::new());
    let [table] = from.as_slice() else { return Err(no_query(sql)) };
    let known =
        ["spans", "steps", "llm_calls"].contains(&table.relation.to_string().to_lowercase().trim_start_matches("public."));
    if query.with.is_some() || having.is_some() || grouped || !table.joins.is_empty() || !known {
        return Err(no_query(sql));
    }
    Ok(selection)
}

fn conjuncts(expr: &Expr) -> Vec<&Expr> {
    match expr {
        Expr::Nested(inner) => conjuncts(inner),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            let mut all = conjuncts(left);
            all.extend(conjuncts(right));
            all
        }
        other => vec![other],
    }
}

/// Takes a conjunct that limits the time range; whether it does.
fn take_time(expr: &Expr, search: &mut Search) -> Result<bool> {
    let Expr::BinaryOp { left, op, right } = expr else { return Ok(false) };
    let is_start = |e: &Expr| column(e).as_deref() == Some("start_time");
    let Some(op) = comparison(op) else { return Ok(false) };
    let (op, time) = match (is_start(left), is_start(right)) {
        (true, false) => (op, right),
        (false, true) => (op.mirrored(), left),
        _ => return Ok(false),
    };
    let text = match time.as_ref() {
        Expr::TypedString(typed) => text_value(&typed.value.value),
        other => literal_text(other),
    };
    let micros = text.as_deref().and_then(|t| time_range::parse(&with_zone(t), Utc::now().timestamp_micros()).ok());
    let Some(micros) = micros else { return Err(no_token(expr, "this bound of the time range is not a plain time")) };
    // A range has its begin and not its end; times are whole microseconds.
    let (place, micros) = match op {
        Op::GreaterEqual => (&mut search.from, micros),
        Op::Greater => (&mut search.from, micros + 1),
        Op::Less => (&mut search.to, micros),
        Op::LessEqual => (&mut search.to, micros + 1),
        Op::Equal => return Err(no_token(expr, "a time range has a begin and an end")),
    };
    if place.is_some() {
        return Err(no_token(expr, "the time range has this bound already"));
    }
    *place = DateTime::<Utc>::from_timestamp_micros(micros).map(|t| t.to_rfc3339_opts(SecondsFormat::Micros, true));
    Ok(true)
}

/// Times without a zone are UTC.
fn with_zone(text: &str) -> String {
    let text = text.trim().replacen(' ', "T", 1);
    let date_only = text.len() == 10;
    let zoned = text.ends_with(['Z', 'z']) || text.get(11..).is_some_and(|time| time.contains(['+', '-']));
    match (date_only, zoned) {
        (true, _) => format!("{text}T00:00:00Z"),
        (false, true) => text,
        (false, false) => format!("{text}Z"),
    }
}

struct Reader;

impl Reader {
    fn when_true(&self, expr: &Expr) -> Result<Node> {
        Ok(match expr {
            Expr::Nested(inner) => self.when_true(inner)?,
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                Node::All(vec![self.when_true(left)?, self.when_true(right)?])
            }
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                Node::Any(vec![self.when_true(left)?, self.when_true(right)?])
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => self.when_false(expr)?,
            Expr::IsTrue(inner) => self.when_true(inner)?,
            Expr::IsNotTrue(inner) => not(self.when_true(inner)?),
            Expr::IsFalse(inner) => self.when_false(inner)?,
            Expr::IsNotFalse(inner) => not(self.when_false(inner)?),
            Expr::Value(value) if value.value == Value::Boolean(true) => Node::All(Vec::new()),
            Expr::IsNull(inner) => not(has(self.target(inner, expr)?)),
            Expr::IsNotNull(inner) => has(self.target(inner, expr)?),
            Expr::IsDistinctFrom(left, right) => not(self.equal(left, right, expr)?.matching()),
            Expr::IsNotDistinctFrom(left, right) => self.equal(left, right, expr)?.matching(),
            other => self.leaf(other)?.when(true),
        })
    }

    fn when_false(&self, expr: &Expr) -> Result<Node> {
        Ok(match expr {
            Expr::Nested(inner) => self.when_false(inner)?,
            Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
                Node::Any(vec![self.when_false(left)?, self.when_false(right)?])
            }
            Expr::BinaryOp { left, op: BinaryOperator::Or, right } => {
                Node::All(vec![self.when_false(left)?, self.when_false(right)?])
            }
            Expr::UnaryOp { op: UnaryOperator::Not, expr } => self.when_true(expr)?,
            Expr::Value(value) if value.value == Value::Boolean(false) => Node::All(Vec::new()),
            // These are never unknown: false is "not true".
            Expr::IsTrue(_)
            | Expr::IsNotTrue(_)
            | Expr::IsFalse(_)
            | Expr::IsNotFalse(_)
            | Expr::IsNull(_)
            | Expr::IsNotNull(_)
            | Expr::IsDistinctFrom(..)
            | Expr::IsNotDistinctFrom(..) => not(self.when_true(expr)?),
            other => self.leaf(other)?.when(false),
        })
    }

    /// A comparison of one value with literals.
    fn leaf(&self, expr: &Expr) -> Result<Leaf> {
        match expr {
            Expr::BinaryOp { left, op: BinaryOperator::Eq, right } => self.equal(left, right, expr),
            Expr::BinaryOp { left, op: BinaryOperator::NotEq, right } => Ok(self.equal(left, right, expr)?.negated(true)),
            Expr::BinaryOp { left, op, right } => match comparison(op) {
                Some(op) => self.compared(left, op, right, expr),
                None => Err(no_token(expr, "no filter can say this")),
            },
            Expr::InList { expr: value, list, negated } => {
                let target = self.operand(value, expr)?;
                let tests = list.iter().map(|item| self.equals(&target, item, expr)).collect::<Result<Vec<_>>>()?;
                Ok(Leaf::tests(target.target, tests).negated(*negated))
            }
            Expr::Like { negated, any: false, expr: value, pattern, escape_char } => {
                let pattern = like_pattern(expr, pattern, escape_char.as_ref().map(|v| &v.value))?;
                let target = self.operand(value, expr)?;
                if target.numeric {
                    return Err(no_token(expr, "a number cannot be like a text"));
                }
                let pattern = match &target.target {
                    Target::Key(key) if key.kind == KeyKind::Element => element(&pattern).ok_or_else(|| {
                        no_token(expr, "no filter can say this of a list")
                            .hinted(format!("an element of the list is `{} LIKE '%\"element\"%'`", key.columns[0]))
                    })?,
                    _ => pattern,
                };
                Ok(Leaf::tests(target.target.clone(), vec![stored_as(&target.target, pattern, expr)?]).negated(*negated))
            }
            Expr::ILike { negated, any: false, expr: value, pattern, escape_char } => {
                let pattern = like_pattern(expr, pattern, escape_char.as_ref().map(|v| &v.value))?;
                let column = column(value).and_then(|name| TEXT_COLUMNS.into_iter().find(|c| *c == name));
                let (Some(column), Some(pattern)) = (column, contained(&pattern)) else {
                    return Err(no_token(expr, "no filter can say this whatever the case")
                        .hinted("text is looked for in names, previews and error messages together: `\"text\"`; or use `LIKE`"));
                };
                let key = keys::of_column(column).map(Target::Key);
                Ok(Leaf { matching: Term::Contains(column, pattern), target: key, negated: *negated })
            }
            Expr::Between { expr: value, negated, low, high } => {
                let target = self.operand(value, expr)?;
                if !target.is_number() {
                    return Err(no_token(expr, "text cannot be compared in a filter"));
                }
                match (number(low), number(high)) {
                    (Some(low), Some(high)) if low <= high => {
                        Ok(Leaf::tests(target.target, vec![Test::Between(low, high)]).negated(*negated))
                    }
                    _ => Err(no_token(expr, "a range needs two numbers, the smaller first")),
                }
            }
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                let target = self.operand(expr, expr)?;
                match &target.target {
                    Target::Key(key) if key.kind == KeyKind::Flag => Ok(Leaf::tests(target.target, vec![Test::Flag(true)])),
                    _ => Err(no_token(expr, "a column is not a condition")),
                }
            }
            _ => Err(no_token(expr, "no filter can say this")),
        }
    }

    fn equal(&self, left: &Expr, right: &Expr, whole: &Expr) -> Result<Leaf> {
        let (value, literal) = if is_literal(left) { (right, left) } else { (left, right) };
        let target = self.operand(value, whole)?;
        let test = self.equals(&target, literal, whole)?;
        Ok(Leaf::tests(target.target, vec![test]))
    }

    fn equals(&self, operand: &Operand, literal: &Expr, whole: &Expr) -> Result<Test> {
        let flag = matches!(&operand.target, Target::Key(key) if key.kind == KeyKind::Flag);
        if let (true, Expr::Value(value)) = (flag, literal)
            && let Value::Boolean(flag) = value.value
        {
            return Ok(Test::Flag(flag));
        }
        if operand.is_number() {
            return number(literal)
                .map(|n| Test::Compare(Op::Equal, n))
                .ok_or_else(|| no_token(whole, "a number is compared with a number"));
        }
        match literal_text(literal) {
            Some(_) if matches!(&operand.target, Target::Key(key) if key.kind == KeyKind::Element) => {
                Err(no_token(whole, "a list is never one text").hinted("an element of the list is `LIKE '%\"element\"%'`"))
            }
            Some(text) if !flag => stored_as(&operand.target, Pattern::exact(text), whole),
            _ => Err(no_token(whole, "this is compared with something that is not a literal of its type")),
        }
    }

    fn compared(&self, left: &Expr, op: Op, right: &Expr, whole: &Expr) -> Result<Leaf> {
        let (value, op, literal) = if is_literal(left) { (right, op.mirrored(), left) } else { (left, op, right) };
        let target = self.operand(value, whole)?;
        match number(literal) {
            Some(n) if target.is_number() => Ok(Leaf::tests(target.target, vec![Test::Compare(op, n)])),
            Some(_) if matches!(target.target, Target::Json(..)) => {
                Err(no_token(whole, "an attribute is text")
                    .hinted("as a number it is `TRY_CAST(attributes ->> 'key' AS DOUBLE)`"))
            }
            _ => Err(no_token(whole, "only numbers can be compared in a filter")),
        }
    }

    fn target(&self, value: &Expr, whole: &Expr) -> Result<Target> {
        self.operand(value, whole).map(|operand| match operand.target {
            // Whether there is a parent is asked of `parent`.
            Target::Key(key) if key.name == "root" => Target::Key(keys::of_column("parent_span_id").unwrap_or(key)),
            target => target,
        })
    }

    /// The one value that a leaf is about.
    fn operand(&self, expr: &Expr, whole: &Expr) -> Result<Operand> {
        let plain = |target| Operand { target, numeric: false };
        if let Some(key) = KEYS.iter().find(|key| key.expression.is_some_and(|sql| same_sql(expr, sql))) {
            return Ok(plain(Target::Key(key)));
        }
        match expr {
            Expr::Nested(inner) => self.operand(inner, whole),
            Expr::Identifier(_) | Expr::CompoundIdentifier(_) => {
                let name = column(expr).unwrap_or_default();
                match keys::of_column(&name) {
                    Some(key) => Ok(plain(Target::Key(key))),
                    None => Err(unknown_column(expr, &name)),
                }
            }
            Expr::Cast { expr: inner, data_type, .. } if is_number_type(data_type) => match self.operand(inner, whole)? {
                Operand { target: target @ Target::Json(..), .. } => Ok(Operand { target, numeric: true }),
                _ => Err(no_token(whole, "only attributes can be cast in a filter")),
            },
            other => attribute(other).map(plain).ok_or_else(|| no_token(whole, "no filter can say this")),
        }
    }
}

struct Operand {
    target: Target,
    /// Whether it was cast to a number.
    numeric: bool,
}

impl Operand {
    fn is_number(&self) -> bool {
        self.numeric || matches!(&self.target, Target::Key(key) if key.kind.is_number())
    }
}

/// A test on one value, unknown where the value is.
struct Leaf {
    matching: Term,
    target: Option<Target>,
    negated: bool,
}

impl Leaf {
    fn tests(target: Target, tests: Vec<Test>) -> Self {
        Self { matching: Term::Tests(target.clone(), tests), target: Some(target), negated: false }
    }

    fn negated(mut self, negated: bool) -> Self {
        self.negated ^= negated;
        self
    }

    fn matching(self) -> Node {
        Node::Term(self.matching)
    }

    /// The filter that matches where the leaf is `truth`.
    fn when(self, truth: bool) -> Node {
        if truth != self.negated {
            return Node::Term(self.matching);
        }
        let doubtful = self.target.filter(can_be_unknown);
        // Of a number that is known, the opposite comparison says the same.
        if let Term::Tests(target, tests) = &self.matching
            && let [Test::Compare(op, n)] = tests.as_slice()
            && let Some(opposite) = op.negated()
            && matches!(target, Target::Key(_))
        {
            return Node::Term(Term::Tests(target.clone(), vec![Test::Compare(opposite, *n)]));
        }
        let differs = not(Node::Term(self.matching));
        match doubtful {
            Some(target) => Node::All(vec![has(target), differs]),
            None => differs,
        }
    }
}

fn can_be_unknown(target: &Target) -> bool {
    match target {
        Target::Json(..) => true,
        // The sum counts an unknown part as none.
        Target::Key(key) if key.expression.is_some() => false,
        Target::Key(key) => {
            TableId::Spans.columns().iter().filter(|c| key.columns.contains(&c.name)).any(|column| column.nullable)
        }
    }
}

fn has(target: Target) -> Node {
    Node::Term(Term::Has(target))
}

fn not(node: Node) -> Node {
    Node::Not(Box::new(node))
}

/// Refuses what only SQL can say.
fn only_tokens(node: &Node, sql: &str) -> Result<()> {
    match node {
        Node::All(nodes) | Node::Any(nodes) => nodes.iter().try_for_each(|node| only_tokens(node, sql)),
        Node::Not(inner) => only_tokens(inner, sql),
        Node::Term(term @ Term::Contains(column, _)) => {
            let error = QueryError::invalid(format!(
                "`{term}` has no token: free text is looked for in {} together",
                TEXT_COLUMNS.join(", ")
            ))
            .found(term.to_string())
            .hint("use `LIKE` for one column");
            Err(NoTokenError(Box::new(error.at(crate::error::position_of(sql, column)))))
        }
        Node::Term(_) => Ok(()),
    }
}

/// Text as the column stores it; a column in capitals never equals small letters.
fn stored_as(target: &Target, pattern: Pattern, whole: &Expr) -> Result<Test> {
    let stored = match target {
        Target::Key(key) if key.kind == KeyKind::Upper => pattern.map(str::to_uppercase),
        Target::Key(key) if key.kind == KeyKind::Lower => pattern.map(str::to_lowercase),
        Target::Key(key) if key.kind.is_number() || key.kind == KeyKind::Flag => return Err(no_token(whole, "this is not text")),
        _ => pattern.clone(),
    };
    if stored != pattern {
        return Err(no_token(whole, "no span has such a value")
            .hinted("this column is stored in capitals or, for identifiers, in lower case"));
    }
    Ok(Test::Matches(stored))
}

fn comparison(op: &BinaryOperator) -> Option<Op> {
    match op {
        BinaryOperator::Eq => Some(Op::Equal),
        BinaryOperator::Gt => Some(Op::Greater),
        BinaryOperator::GtEq => Some(Op::GreaterEqual),
        BinaryOperator::Lt => Some(Op::Less),
        BinaryOperator::LtEq => Some(Op::LessEqual),
        _ => None,
    }
}

/// The name of a column, in lower case unless it is quoted, without its table.
fn column(expr: &Expr) -> Option<String> {
    let ident = match expr {
        Expr::Nested(inner) => return column(inner),
        Expr::Identifier(ident) => ident,
        Expr::CompoundIdentifier(idents) => idents.last()?,
        _ => return None,
    };
    Some(if ident.quote_style.is_some() { ident.value.clone() } else { ident.value.to_lowercase() })
}

/// `json_as_text(attributes, 'k')`, `attributes ->> 'k'`, or the first of several that has one.
fn attribute(expr: &Expr) -> Option<Target> {
    match expr {
        Expr::Nested(inner) => attribute(inner),
        Expr::BinaryOp { left, op: BinaryOperator::LongArrow, right } => json(&column(left)?, literal_text(right)?),
        Expr::Function(function) => {
            let arguments = arguments(function)?;
            match (function.name.to_string().to_lowercase().as_str(), arguments.as_slice()) {
                ("json_as_text" | "json_get_str", [from, key]) => json(&column(from)?, literal_text(key)?),
                ("coalesce", [first, second]) => match (attribute(first)?, attribute(second)?) {
                    (Target::Json(Place::Span, key), Target::Json(Place::Resource, same)) if key == same => {
                        Some(Target::Json(Place::Either, key))
                    }
                    _ => None,
                },
                _ => None,
            }
        }
        _ => None,
    }
}

fn json(column: &str, key: String) -> Option<Target> {
    let place = Place::ALL.into_iter().find(|place| place.columns() == [column])?;
    (!key.is_empty()).then_some(Target::Json(place, key))
}

fn arguments(function: &Function) -> Option<Vec<&Expr>> {
    let FunctionArguments::List(list) = &function.args else { return None };
    let plain = function.over.is_none() && function.filter.is_none() && list.clauses.is_empty();
    let expr = |arg| match arg {
        &FunctionArg::Unnamed(FunctionArgExpr::Expr(ref expr)) => Some(expr),
        _ => None,
    };
    list.args.iter().map(expr).collect::<Option<Vec<_>>>().filter(|_| plain)
}

fn is_literal(expr: &Expr) -> bool {
    literal_text(expr).is_some() || number(expr).is_some()
}

fn literal_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Nested(inner) => literal_text(inner),
        Expr::Value(value) => text_value(&value.value),
        _ => None,
    }
}

fn text_value(value: &Value) -> Option<String> {
    match value {
        Value::SingleQuotedString(text) | Value::EscapedStringLiteral(text) => Some(text.clone()),
        Value::DollarQuotedString(text) => Some(text.value.clone()),
        _ => None,
    }
}

fn number(expr: &Expr) -> Option<Decimal> {
    match expr {
        Expr::Nested(inner) => number(inner),
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|n| -n),
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => {
                text.parse().ok().or_else(|| Decimal::from_scientific(text).ok()).map(|n: Decimal| n.normalize())
            }
            _ => None,
        },
        _ => None,
    }
}

fn is_number_type(data_type: &DataType) -> bool {
    let name = data_type.to_string().to_uppercase();
    name.starts_with("DOUBLE") || name.starts_with("FLOAT8")
}

fn same_sql(expr: &Expr, sql: &str) -> bool {
    expr.to_string().to_lowercase() == sql
}

/// A `LIKE` pattern as literal parts with any text between them.
fn like_pattern(whole: &Expr, pattern: &Expr, escape: Option<&Value>) -> Result<Pattern> {
    let Some(text) = literal_text(pattern) else { return Err(no_token(whole, "the pattern is not a text literal")) };
    if escape.is_some_and(|value| text_value(value).as_deref() != Some("\\")) {
        return Err(no_token(whole, "only a backslash escapes in a pattern"));
    }
    let mut parts = vec![String::new()];
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let n_parts = parts.len();
        let part = parts.last_mut().expect("begins with one and only grows");
        match c {
            '\\' => part.push(chars.next().unwrap_or('\\')),
            '_' => {
                return Err(
                    no_token(whole, "`_` stands for any one character, which no filter can say").hinted("`\\_` is an underscore")
                );
            }
            '%' if part.is_empty() && n_parts > 1 => {}
            '%' => parts.push(String::new()),
            c => part.push(c),
        }
    }
    Ok(Pattern { parts })
}

/// What a pattern with any text on both sides looks for.
fn contained(pattern: &Pattern) -> Option<Pattern> {
    match pattern.parts.as_slice() {
        [first, inner @ .., last] if first.is_empty() && last.is_empty() && !inner.concat().is_empty() => {
            Some(Pattern { parts: inner.to_vec() })
        }
        _ => None,
    }
}

/// The element that `%"element"%` looks for.
fn element(pattern: &Pattern) -> Option<Pattern> {
    let mut parts = contained(pattern)?.parts;
    let first = parts.first_mut()?;
    *first = first.strip_prefix('"')?.to_owned();
    let last = parts.last_mut()?;
    *last = last.strip_suffix('"')?.to_owned();
    let decoded = |part: &String| serde_json::from_str::<String>(&format!("\"{part}\"")).ok();
    Some(Pattern { parts: parts.iter().map(decoded).collect::<Option<_>>()? })
}

fn unknown_column(expr: &Expr, name: &str) -> NoTokenError {
    let columns = || KEYS.iter().flat_map(|key| key.columns.iter().copied());
    let error = no_token(expr, format!("no filter key stands for the column `{name}`"));
    match crate::error::nearest(name, columns()) {
        Some(meant) if meant != name => error.hinted(format!("did you mean `{meant}`?")),
        _ => error,
    }
}

fn no_token(part: &Expr, why: impl fmt::Display) -> NoTokenError {
    let text = part.to_string();
    let shown: String = if text.chars().count() > 120 { text.chars().take(119).chain(['…']).collect() } else { text };
    let start = part.span().start;
    let error = QueryError::invalid(format!("`{shown}` has no token: {why}")).found(shown);
    NoTokenError(Box::new(error.at(position(start.line, start.column))))
}

fn position(line: u64, column: u64) -> Option<Position> {
    (line > 0).then_some(Position { line, column })
}

impl NoTokenError {
    fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }
}
