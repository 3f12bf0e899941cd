//! How deep the tree of a statement can become, told from its tokens before anything is built of them.
//!
//! The parser limits brackets, but it reads `1 + 1 + 1 …` in a loop, and the tree of it is as deep as the text is long; so is that of `OR`, of
//! `UNION`, of joins, and of common table expressions that build on each other. Trees are dropped, copied and planned by recursion, and a stack
//! that overflows ends the process. The estimate is never too low: it counts every word and sign that is neither a name nor a value.

use datafusion::sql::sqlparser::{
    keywords::Keyword,
    tokenizer::{Token, TokenWithSpan},
};

/// Statements deeper than this are refused. `x = 'a' OR` counts two.
pub(crate) const DEPTH_MAX: usize = 1200;

/// The most levels that the tree of `tokens` can have.
pub(crate) fn depth(tokens: &[TokenWithSpan]) -> usize {
    let mut open = Vec::new();
    let mut level = Level::default();
    for token in tokens {
        match &token.token {
            Token::LParen | Token::LBracket | Token::LBrace => {
                level.chain += 1;
                open.push(std::mem::take(&mut level));
            }
            Token::RParen | Token::RBracket | Token::RBrace => {
                if let Some(around) = open.pop() {
                    let inner = std::mem::replace(&mut level, around);
                    level.close(inner.depth());
                }
            }
            Token::Comma => level.comma(),
            token if is_operand(token) => {}
            token => level.word(token),
        }
    }
    open.push(level);
    // Brackets that were never closed are inside each other.
    open.iter().map(Level::depth).sum()
}

/// What stands between two brackets.
#[derive(Default)]
struct Level {
    /// Words and signs since the last comma.
    chain: usize,
    /// The deepest brackets since then.
    inner: usize,
    /// The deepest part before that.
    parts: usize,
    /// Queries in a row, whatever commas they have.
    queries: usize,
    /// In `FROM` and `WITH`, each part builds on those before it.
    builds_up: bool,
}

impl Level {
    fn word(&mut self, token: &Token) {
        self.chain += 1;
        match token {
            Token::VerticalBarRightAngleBracket => self.queries += 1,
            Token::Word(word) => match word.keyword {
                Keyword::FROM | Keyword::WITH => self.builds_up = true,
                Keyword::SELECT | Keyword::WHERE | Keyword::GROUP | Keyword::HAVING | Keyword::ORDER | Keyword::VALUES => {
                    self.builds_up = false;
                }
                Keyword::UNION | Keyword::EXCEPT | Keyword::INTERSECT | Keyword::MINUS => self.queries += 1,
                _ => {}
            },
            _ => {}
        }
    }

    fn comma(&mut self) {
        if self.builds_up {
            self.chain += 1;
        } else {
            self.parts = self.parts.max(self.chain + self.inner);
            (self.chain, self.inner) = (0, 0);
        }
    }

    fn close(&mut self, inner: usize) {
        self.inner = if self.builds_up { self.inner + inner } else { self.inner.max(inner) };
    }

    fn depth(&self) -> usize {
        self.queries + self.parts.max(self.chain + self.inner)
    }
}

/// Names and values: they make a tree wider, not deeper.
fn is_operand(token: &Token) -> bool {
    match token {
        Token::Word(word) => word.keyword == Keyword::NoKeyword,
        Token::EOF
        | Token::Whitespace(_)
        | Token::Number(..)
        | Token::Placeholder(_)
        | Token::SingleQuotedString(_)
        | Token::DoubleQuotedString(_)
        | Token::TripleSingleQuotedString(_)
        | Token::TripleDoubleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::SingleQuotedByteStringLiteral(_)
        | Token::DoubleQuotedByteStringLiteral(_)
        | Token::NationalStringLiteral(_)
        | Token::EscapedStringLiteral(_)
        | Token::UnicodeStringLiteral(_)
        | Token::HexStringLiteral(_) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::tokenizer::Tokenizer;

    use super::*;
    use crate::dialect::AssayDialect;

    fn of(sql: &str) -> usize {
        depth(&Tokenizer::new(&AssayDialect, sql).tokenize_with_location().unwrap())
    }

    #[test]
    fn what_chains_is_deep() {
        for chained in [
            "1{ + 1}",
            "a = 'x'{ OR a = 'y'}",
            "a{::text}",
            "a{ -> 'b'}",
            "a{[1]}",
            "a{.b}",
            "{NOT }a",
            "a{ IS NULL}",
            "a{ COLLATE c}",
            "a{ AT TIME ZONE 'z'}",
            "{f(}1",
            "{[}1",
            "SELECT a, b{ UNION ALL SELECT a, b}",
            "FROM t{ |> SELECT a, b}",
            "SELECT a FROM b{ JOIN c USING (d)}",
            "SELECT a, b FROM c{, d}",
            "WITH a AS (SELECT 1){, b AS (SELECT * FROM a)} SELECT 1",
        ] {
            let (start, rest) = chained.split_once('{').unwrap();
            let (again, end) = rest.split_once('}').unwrap();
            assert!(of(&format!("{start}{}{end}", again.repeat(1000))) >= 1000, "{chained}");
        }
    }

    #[test]
    fn what_is_only_long_is_not() {
        for flat in
            ["a IN ({'x',}1)", "SELECT {a + b AS c,}d", "VALUES {(1, 2, 'x'),}(1, 2, 'x')", "SELECT x FROM t ORDER BY {a DESC,}b"]
        {
            let (start, rest) = flat.split_once('{').unwrap();
            let (again, end) = rest.split_once('}').unwrap();
            assert!(of(&format!("{start}{}{end}", again.repeat(1000))) < 20, "{flat}");
        }
    }

    #[test]
    fn brackets_without_a_partner_are_counted() {
        assert_eq!(of(") + )"), 1);
        assert_eq!(of("((("), 3);
    }
}
