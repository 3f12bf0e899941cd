//! One value out of a long JSON text, without building the rest: what is not on the path is skipped, and reading stops at the find.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// What stands at `path` in the JSON `text`; see [`super::values::at_path`] for paths.
///
/// # Errors
/// [`NotJson`] if `text` is not JSON as far as it was read, or the path leads into JSON within text: parse it whole then.
pub(super) fn search(text: &str, path: &[String]) -> Result<Option<Value>, NotJson> {
    let mut found = None;
    let mut reader = serde_json::Deserializer::from_str(text);
    let mut in_text = false;
    let outcome = Seek { path, found: &mut found, in_text: &mut in_text }.deserialize(&mut reader);
    match outcome {
        _ if in_text => Err(NotJson),
        // Reading was broken off at the find.
        _ if found.is_some() => Ok(found),
        Ok(()) => Ok(None),
        Err(_) => Err(NotJson),
    }
}

/// The text is not JSON, or holds JSON in text on the path.
#[derive(Debug)]
pub(super) struct NotJson;

struct Seek<'p, 'f> {
    path: &'p [String],
    found: &'f mut Option<Value>,
    in_text: &'f mut bool,
}

impl Seek<'_, '_> {
    fn found_nothing(&self) -> bool {
        self.found.is_none()
    }
}

impl<'de> DeserializeSeed<'de> for Seek<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.path.is_empty() {
            let value = <Value as serde::Deserialize>::deserialize(deserializer)?;
            *self.found = Some(value).filter(|value| !value.is_null());
            return Ok(());
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seek<'_, '_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let (step, rest) = self.path.split_first().expect("checked by the seed");
        while let Some(key) = map.next_key::<std::borrow::Cow<'_, str>>()? {
            if step == "*" || *step == *key {
                map.next_value_seed(Seek { path: rest, found: &mut *self.found, in_text: &mut *self.in_text })?;
                if !self.found_nothing() {
                    return Err(A::Error::custom("found"));
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let (step, rest) = self.path.split_first().expect("checked by the seed");
        if step == "[]" {
            let mut all = Vec::new();
            loop {
                let mut one = None;
                // What breaks off at the find leaves the reader in the middle: each element is read whole here.
                let Some(element) = seq.next_element::<Value>()? else { break };
                if let Some(value) = super::values::at_path(&element, rest) {
                    one = Some(value);
                }
                all.extend(one);
            }
            if !all.is_empty() {
                *self.found = Some(Value::Array(all));
                return Err(A::Error::custom("found"));
            }
            return Ok(());
        }
        let wanted: Option<usize> = step.parse().ok();
        let mut index = 0;
        loop {
            let more = if step == "*" || wanted == Some(index) {
                seq.next_element_seed(Seek { path: rest, found: &mut *self.found, in_text: &mut *self.in_text })?.is_some()
            } else {
                seq.next_element::<IgnoredAny>()?.is_some()
            };
            if !self.found_nothing() {
                return Err(A::Error::custom("found"));
            }
            if !more {
                return Ok(());
            }
            index += 1;
        }
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<(), E> {
        *self.in_text |= matches!(text.trim_start().as_bytes().first(), Some(b'{' | b'['));
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }
    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }
    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }
    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::values::at_path, search};

    #[test]
    fn a_search_finds_what_parsing_finds() {
        let document = json!({
            "id": "x", "none": null, "choices": [{"index": 0, "finish_reason": "stop"}, {"finish_reason": "length"}],
            "usage": {"details": {"cached": 3}}, "openai": {"a": 1}, "other": {"cached": 7}, "list": [[1], [2]],
        });
        let text = document.to_string();
        for path in [
            "id",
            "none",
            "choices.0.index",
            "choices.1.finish_reason",
            "choices.[].finish_reason",
            "choices.[].nothing",
            "*.cached",
            "usage.details.cached",
            "*.details.cached",
            "id.deeper",
            "choices.7",
            "list.1.0",
            "list.*.0",
            "missing",
        ] {
            let steps: Vec<String> = path.split('.').map(str::to_owned).collect();
            assert_eq!(search(&text, &steps).expect("JSON"), at_path(&document, &steps), "{path}");
        }
    }

    #[test]
    fn json_in_text_and_broken_json_are_left_to_the_parser() {
        let steps = ["a".to_owned(), "b".to_owned()];
        assert!(search(r#"{"a": "{\"b\": 1}"}"#, &steps).is_err());
        assert!(search("{'a': {'b': 1}}", &steps).is_err());
    }
}
