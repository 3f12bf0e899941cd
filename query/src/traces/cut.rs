//! Long values of a span, shortened where they stand, so that a body of 50 MB opens at once: the beginning, the full size, and the path
//! by which the whole can be asked for.

use serde_json::{Value, json};

/// Items of a list that stay when it is longer.
const ITEMS_MAX: usize = 1_000;
/// Bytes of a text that stay when it is cut.
const HEAD_BYTES: usize = 8 << 10;

/// Shortens every text over `text_bytes_max` bytes and every list over 1000 items in `value`, which stands at `path`.
///
/// A text becomes `{"$cut":{"path","bytes","head"}}`; a list ends with `{"$cut":{"path","items"}}`, `items` being all it had.
pub(crate) fn cut(value: &mut Value, path: &mut String, text_bytes_max: usize) {
    match value {
        Value::String(text) if text.len() > text_bytes_max => {
            let head = &text[..text.floor_char_boundary(HEAD_BYTES.min(text_bytes_max))];
            *value = json!({"$cut": {"path": *path, "bytes": text.len(), "head": head}});
        }
        Value::Array(items) => {
            let all = items.len();
            items.truncate(ITEMS_MAX);
            for (idx, item) in items.iter_mut().enumerate() {
                within(path, &idx.to_string(), |path| cut(item, path, text_bytes_max));
            }
            if all > ITEMS_MAX {
                items.push(json!({"$cut": {"path": *path, "items": all}}));
            }
        }
        Value::Object(fields) => {
            for (key, field) in fields {
                within(path, &key.replace('~', "~0").replace('/', "~1"), |path| cut(field, path, text_bytes_max));
            }
        }
        _ => {}
    }
}

fn within(path: &mut String, step: &str, act: impl FnOnce(&mut String)) {
    let length = path.len();
    path.push('/');
    path.push_str(step);
    act(path);
    path.truncate(length);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_says_how_much_there_was_and_where() {
        let whole = json!({"a/b": ["é".repeat(30_000), "short"], "n": (0..1_500).collect::<Vec<_>>()});
        let mut value = whole.clone();
        cut(&mut value, &mut String::new(), 50_000);
        assert_eq!(value["a/b"][1], "short");
        let said = &value["a/b"][0]["$cut"];
        assert_eq!((&said["bytes"], said["head"].as_str().unwrap().len()), (&json!(60_000), 8192));
        assert_eq!(whole.pointer(said["path"].as_str().unwrap()).unwrap().as_str().unwrap().len(), 60_000);
        assert_eq!(value["n"].as_array().unwrap().len(), 1_001);
        assert_eq!(value["n"][1_000], json!({"$cut": {"path": "/n", "items": 1_500}}));
    }
}
