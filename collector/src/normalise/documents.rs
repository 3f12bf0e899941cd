//! Tools, documents and evaluation results, from the shapes that SDKs use into one.

use serde_json::{Map, Value, json};

use super::values::{float_of, parse_json, parse_structure, text_of};
use crate::normalised::{ScoreDraft, ScoreScope};

/// Tool definitions as `{"type": "function", "name", "description", "parameters"}`.
pub(super) fn tools(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.iter().filter_map(tool).collect(),
        Value::Object(object) => match object.get("tools").or_else(|| object.get("functions")) {
            Some(inner) => tools(inner),
            None => tool(value).into_iter().collect(),
        },
        Value::String(text) => parse_json(text).filter(|inner| !inner.is_string()).map_or_else(Vec::new, |inner| tools(&inner)),
        _ => Vec::new(),
    }
}

fn tool(value: &Value) -> Option<Value> {
    let outer = match value {
        Value::String(text) => match parse_json(text) {
            Some(inner @ Value::Object(_)) => return tool(&inner),
            _ if text.is_empty() => return None,
            _ => return Some(json!({"type": "function", "name": text})),
        },
        Value::Object(object) => object,
        _ => return None,
    };
    if let Some(inner) = outer.get("tool").or_else(|| outer.get("json_schema")).or_else(|| outer.get("toolSpec")) {
        return tool(inner);
    }
    let object = outer.get("function").and_then(Value::as_object).unwrap_or(outer);
    let name = object.get("name").or_else(|| object.get("title"))?;
    let parameters = ["parameters", "input_schema", "inputSchema", "parametersJsonSchema", "parameters_json_schema"]
        .iter()
        .find_map(|key| object.get(*key))
        .map(|schema| schema.get("json").unwrap_or(schema).clone());
    let mut out = Map::new();
    let kind =
        outer.get("type").and_then(Value::as_str).filter(|kind| *kind != "object" && *kind != "custom").unwrap_or("function");
    out.insert("type".to_owned(), kind.into());
    out.insert("name".to_owned(), name.clone());
    if let Some(description) = object.get("description").filter(|description| !description.is_null()) {
        out.insert("description".to_owned(), description.clone());
    }
    if let Some(parameters) = parameters.filter(|parameters| !parameters.is_null()) {
        let parameters = match &parameters {
            Value::String(text) => parse_structure(text).unwrap_or(parameters),
            _ => parameters,
        };
        out.insert("parameters".to_owned(), parameters);
    }
    Some(Value::Object(out))
}

/// Documents as `{"id", "content", "score", "metadata"}`, what is unknown left out.
pub(super) fn documents(value: &Value) -> Vec<Value> {
    match value {
        Value::Array(items) => items.iter().filter_map(document).collect(),
        Value::Object(object) => {
            let inner =
                ["documents", "output", "outputs", "results", "nodes", "data", "context"].iter().find_map(|key| object.get(*key));
            match inner {
                Some(inner @ (Value::Array(_) | Value::Object(_))) => documents(inner),
                _ => document(value).into_iter().collect(),
            }
        }
        Value::String(text) => {
            parse_structure(text).filter(|inner| !inner.is_string()).map_or_else(Vec::new, |inner| documents(&inner))
        }
        _ => Vec::new(),
    }
}

fn document(value: &Value) -> Option<Value> {
    let mut score = None;
    let mut object = match value {
        Value::Object(object) => object,
        Value::String(text) if !text.is_empty() => return Some(json!({"content": text})),
        // (document, score), as similarity searches return them.
        Value::Array(pair) => match pair.as_slice() {
            [Value::Object(object), number @ Value::Number(_)] => {
                score = Some(number);
                object
            }
            _ => return None,
        },
        _ => return None,
    };
    for key in ["document", "kwargs", "node"] {
        if let Some(Value::Object(inner)) = object.get(key) {
            score = score.or_else(|| object.get("score"));
            object = inner;
        }
    }
    let content = ["content", "page_content", "pageContent", "text"]
        .iter()
        .find_map(|key| object.get(*key))
        .filter(|found| !found.is_null());
    let id = ["id", "doc_id", "id_", "node_id", "document_id"]
        .iter()
        .find_map(|key| object.get(*key))
        .filter(|found| !found.is_null());
    if content.is_none() && id.is_none() {
        return None;
    }
    let metadata = ["metadata", "meta"].iter().find_map(|key| object.get(*key)).map(|found| match found {
        Value::String(text) => parse_structure(text).unwrap_or_else(|| found.clone()),
        other => other.clone(),
    });
    let mut out = Map::new();
    for (key, found) in
        [("id", id), ("content", content), ("score", score.or_else(|| object.get("score")).filter(|found| !found.is_null()))]
    {
        if let Some(found) = found {
            out.insert(key.to_owned(), found.clone());
        }
    }
    if let Some(metadata) = metadata.filter(|found| found.as_object().is_some_and(|object| !object.is_empty())) {
        out.insert("metadata".to_owned(), metadata);
    }
    Some(Value::Object(out))
}

/// Evaluation results in a list of `{"evaluation" | "annotation": {name, score, label, explanation, …}}`.
pub(super) fn scores(value: &Value, scope: ScoreScope) -> Vec<ScoreDraft> {
    let items = match value {
        Value::Array(items) => items.as_slice(),
        other => std::slice::from_ref(other),
    };
    items
        .iter()
        .filter_map(|item| {
            let object = item.get("evaluation").or_else(|| item.get("annotation")).unwrap_or(item).as_object()?;
            let text = |key: &str| object.get(key).and_then(text_of);
            let known = ["name", "score", "label", "explanation", "annotator_kind", "metadata"];
            let mut metadata = match object.get("metadata") {
                Some(Value::String(text)) => {
                    parse_structure(text).and_then(|found| found.as_object().cloned()).unwrap_or_default()
                }
                Some(Value::Object(found)) => found.clone(),
                _ => Map::new(),
            };
            metadata.extend(
                object.iter().filter(|(key, _)| !known.contains(&key.as_str())).map(|(key, found)| (key.clone(), found.clone())),
            );
            Some(ScoreDraft {
                name: text("name")?,
                value: object.get("score").and_then(float_of),
                label: text("label"),
                explanation: text("explanation"),
                annotator_kind: text("annotator_kind"),
                metadata: (!metadata.is_empty()).then(|| Value::Object(metadata).to_string()),
                scope,
                ..ScoreDraft::default()
            })
        })
        .collect()
}

/// The evaluation result in the attributes of a `gen_ai.evaluation.result` event.
pub(super) fn evaluation_event(attributes: &Value) -> Option<ScoreDraft> {
    const START: &str = "gen_ai.evaluation.";
    let object = attributes.as_object()?;
    let text = |key: &str| object.get(&format!("{START}{key}")).and_then(text_of);
    let metadata: Map<String, Value> = object
        .iter()
        .filter(|(key, found)| {
            !key.starts_with(START) && !key.starts_with("event") && key.as_str() != "gen_ai.response.id" && !found.is_null()
        })
        .map(|(key, found)| (key.clone(), found.clone()))
        .collect();
    Some(ScoreDraft {
        name: text("name")?,
        value: object.get("gen_ai.evaluation.score.value").and_then(float_of),
        label: text("score.label"),
        explanation: text("explanation"),
        metadata: (!metadata.is_empty()).then(|| Value::Object(metadata).to_string()),
        response_id: object.get("gen_ai.response.id").and_then(text_of),
        ..ScoreDraft::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_of_every_provider_become_one_form() {
        let parameters = json!({"type": "object", "properties": {"city": {"type": "string"}}});
        let expected = json!([{"type": "function", "name": "get_weather", "description": "d", "parameters": parameters}]);
        for given in [
            json!([{"type": "function", "function": {"name": "get_weather", "description": "d", "parameters": parameters}}]),
            json!([{"name": "get_weather", "description": "d", "input_schema": parameters}]),
            json!([{"name": "get_weather", "description": "d", "inputSchema": parameters}]),
            json!([{"tool": {"json_schema": json!({"name": "get_weather", "description": "d", "input_schema": parameters}).to_string()}}]),
            json!({"tools": [json!({"type": "function", "name": "get_weather", "description": "d", "parameters": parameters}).to_string()]}),
            json!([{"name": "get_weather", "description": "d", "parameters": parameters.to_string()}]),
        ] {
            assert_eq!(Value::Array(tools(&given)), expected, "{given}");
        }
        assert_eq!(tools(&json!(["get_weather"])), [json!({"type": "function", "name": "get_weather"})]);
    }

    #[test]
    fn documents_of_every_framework_become_one_form() {
        let expected = json!({"id": "doc-1", "content": "text", "score": 0.5, "metadata": {"source": "s"}});
        for given in [
            json!([{"document": {"id": "doc-1", "content": "text", "score": 0.5, "metadata": "{\"source\": \"s\"}"}}]),
            json!({"documents": [{"id": "doc-1", "page_content": "text", "score": 0.5, "metadata": {"source": "s"}}]}),
            json!([[{"id": "doc-1", "page_content": "text", "metadata": {"source": "s"}}, 0.5]]),
            json!([{"node": {"id_": "doc-1", "text": "text", "metadata": {"source": "s"}}, "score": 0.5}]),
        ] {
            assert_eq!(documents(&given), std::slice::from_ref(&expected), "{given}");
        }
    }
}
