//! `a -> 'b' -> 'c'` as one access with a path. Planned as accesses inside each other, each under a name of its own, the type of an
//! expression is worked out twice for each level (for its type and for its metadata): twenty levels took eight seconds.

use datafusion::{
    common::{DFSchema, Result, ScalarValue},
    logical_expr::{
        Expr,
        expr::{Alias, ScalarFunction},
        planner::{ExprPlanner, PlannerResult, RawBinaryExpr},
    },
    sql::sqlparser::ast::BinaryOperator,
};
use datafusion_functions_json::udfs::{json_as_text_udf, json_get_udf};

/// Adds a key to the path of the access on the left. What else there is stays with the planner of JSON access.
#[derive(Debug)]
pub(super) struct JsonPath;

impl ExprPlanner for JsonPath {
    fn plan_binary_op(&self, expr: RawBinaryExpr, _schema: &DFSchema) -> Result<PlannerResult<RawBinaryExpr>> {
        let (function, sign) = match expr.op {
            BinaryOperator::Arrow => (json_get_udf(), "->"),
            BinaryOperator::LongArrow => (json_as_text_udf(), "->>"),
            _ => return Ok(PlannerResult::Original(expr)),
        };
        let (Some((name, path)), Some(key)) = (path_of(&expr.left), key_of(&expr.right)) else {
            return Ok(PlannerResult::Original(expr));
        };
        // The name of the column, as it is without this planner.
        let name = format!("{name} {sign} {key}");
        let args = path.iter().cloned().chain([expr.right]).collect();
        let access = Expr::ScalarFunction(ScalarFunction { func: function, args });
        Ok(PlannerResult::Planned(Expr::Alias(Alias::new(access, None::<&str>, name))))
    }
}

/// Name and arguments of a `->` whose keys are all literals.
fn path_of(expr: &Expr) -> Option<(&str, &[Expr])> {
    let Expr::Alias(alias) = expr else { return None };
    let Expr::ScalarFunction(access) = alias.expr.as_ref() else { return None };
    let literal = access.args.iter().skip(1).all(|key| key_of(key).is_some());
    (access.func.name() == "json_get" && literal).then_some((alias.name.as_str(), access.args.as_slice()))
}

/// A literal key or index, as it is written.
fn key_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Literal(ScalarValue::Utf8(Some(key)), _) => Some(format!("'{key}'")),
        Expr::Literal(ScalarValue::Int64(Some(index)), _) => Some(index.to_string()),
        _ => None,
    }
}
