//! The functions SQL can call: DataFusion's, JSON access (`->`, `->>`, `json_get…`), and our own `time_bucket`, `llm_cost` and
//! `normalise_message`.

mod bounded;
mod date_trunc;
mod json_path;
mod llm_cost;
mod normalise_message;
mod time_bucket;

use std::{collections::BTreeMap, sync::Arc};

use assay_schemas::prices::PriceTable;
use datafusion::{
    common::Result,
    execution::SessionState,
    functions_aggregate::approx_percentile_cont::approx_percentile_cont_udaf,
    logical_expr::{Documentation, ScalarUDF, Signature, TypeSignature, registry::FunctionRegistry},
};
use serde::Serialize;

/// Registers our own functions and those of JSON access.
pub(crate) fn register(state: &mut SessionState, prices: Arc<PriceTable>) -> Result<()> {
    // Before the planner of JSON access: the first that can plan an operator does.
    state.register_expr_planner(Arc::new(json_path::JsonPath))?;
    datafusion_functions_json::register_all(state)?;
    state.register_udf(Arc::new(ScalarUDF::from(date_trunc::DateTrunc::new())))?;
    state.register_udf(Arc::new(ScalarUDF::from(time_bucket::TimeBucket::new())))?;
    state.register_udf(Arc::new(ScalarUDF::from(llm_cost::LlmCost::new(prices))))?;
    state.register_udf(Arc::new(ScalarUDF::from(normalise_message::NormaliseMessage::new())))?;
    for (name, makes) in bounded::BOUNDED {
        let inner = state.udf(name)?;
        state.register_udf(Arc::new(ScalarUDF::from(bounded::Bounded::new(inner, makes))))?;
    }
    state.register_udaf(Arc::new(approx_percentile_cont_udaf().as_ref().clone().with_aliases(["approx_percentile"])))?;
    Ok(())
}

/// A function, described.
#[derive(Clone, Debug, Serialize, utoipa::ToSchema)]
pub struct FunctionDoc {
    /// Name in SQL.
    pub name: String,
    /// How it is called.
    pub signature: String,
    /// What it returns.
    pub doc: String,
}

/// Every function, by name. Aliases are listed too.
pub(crate) fn docs(state: &SessionState) -> Vec<FunctionDoc> {
    let mut docs = BTreeMap::new();
    let mut add = |name: &String, own: &str, documentation: Option<&Documentation>, signature: &Signature| {
        let described = documentation.map(|d| (d.syntax_example.clone(), d.description.trim().to_owned()));
        let (signature, doc) =
            described.unwrap_or_else(|| json_doc(own).unwrap_or_else(|| (arguments(own, signature), String::new())));
        let doc = if name == own { doc } else { format!("Alias of `{own}`. {doc}").trim().to_owned() };
        docs.insert(name.clone(), FunctionDoc { name: name.clone(), signature, doc });
    };
    for (name, function) in state.scalar_functions() {
        add(name, function.name(), function.documentation(), function.signature());
    }
    for (name, function) in state.aggregate_functions() {
        add(name, function.name(), function.documentation(), function.signature());
    }
    for (name, function) in state.window_functions() {
        add(name, function.name(), function.documentation(), function.signature());
    }
    docs.into_values().filter(|doc| doc.name.starts_with(|c: char| c.is_ascii_alphabetic())).collect()
}

/// Every function name.
pub(crate) fn names(state: &SessionState) -> Vec<String> {
    let names = state.scalar_functions().keys().chain(state.aggregate_functions().keys()).chain(state.window_functions().keys());
    names.cloned().collect()
}

fn arguments(name: &str, signature: &Signature) -> String {
    let arguments = match &signature.type_signature {
        TypeSignature::Nullary => String::new(),
        other => TypeSignature::join_types(&other.to_string_repr(), ", "),
    };
    format!("{name}({arguments})")
}

/// JSON access comes without documentation of its own.
fn json_doc(name: &str) -> Option<(String, String)> {
    let (arguments, doc) = match name {
        "json_get" => ("json, key_or_index [, …]", "Value at a path, of whatever type it has. `json -> 'key'` is the same."),
        "json_get_str" => ("json, key_or_index [, …]", "Text at a path; NULL if there is none or it is not text."),
        "json_get_int" => ("json, key_or_index [, …]", "Integer at a path; NULL if there is none or it is not an integer."),
        "json_get_float" => ("json, key_or_index [, …]", "Number at a path; NULL if there is none or it is not a number."),
        "json_get_bool" => ("json, key_or_index [, …]", "Boolean at a path; NULL if there is none or it is not a boolean."),
        "json_get_json" => ("json, key_or_index [, …]", "JSON text of the value at a path."),
        "json_get_array" => ("json, key_or_index [, …]", "Elements of the array at a path, each as JSON text."),
        "json_as_text" => {
            ("json, key_or_index [, …]", "Value at a path as text, whatever its type. `json ->> 'key'` is the same.")
        }
        "json_contains" => ("json, key_or_index [, …]", "Whether there is a value at a path."),
        "json_length" => ("json [, key_or_index, …]", "Number of elements or keys at a path."),
        "json_object_keys" => ("json [, key_or_index, …]", "Keys of the object at a path."),
        "json_from_scalar" => ("value", "A SQL value as a JSON value."),
        "json_union_to_text" => ("value", "A value returned by `json_get` as text."),
        _ => return None,
    };
    Some((format!("{name}({arguments})"), doc.to_owned()))
}
