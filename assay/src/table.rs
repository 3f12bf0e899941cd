//! A JSON answer of the SQL endpoint as a table for people.

use anyhow::Context as _;
use serde_json::Value;

const CELL_CHARS_MAX: usize = 80;

/// Prints `{"columns":[{"name"}],"rows":[[…]]}` to standard output.
///
/// # Errors
/// If `answer` does not have that shape, or standard output is closed.
pub(crate) fn print(answer: &Value) -> anyhow::Result<()> {
    use std::io::Write as _;
    Ok(std::io::stdout().lock().write_all(render(answer)?.as_bytes())?)
}

fn render(answer: &Value) -> anyhow::Result<String> {
    let columns = answer["columns"].as_array().context("the answer has no `columns`")?;
    let rows = answer["rows"].as_array().context("the answer has no `rows`")?;
    let header: Vec<String> = columns.iter().map(|column| cell(&column["name"])).collect();
    let cells: Vec<Vec<String>> =
        rows.iter().map(|row| row.as_array().map(|row| row.iter().map(cell).collect()).unwrap_or_default()).collect();
    let widths: Vec<usize> = (0..header.len())
        .map(|i| {
            std::iter::once(&header).chain(&cells).filter_map(|row| row.get(i)).map(|c| c.chars().count()).max().unwrap_or(0)
        })
        .collect();
    let numeric: Vec<bool> = (0..header.len()).map(|i| rows.iter().any(|row| row[i].is_number())).collect();

    let mut out = String::new();
    let mut line = |row: &[String]| {
        let padded: Vec<String> = row
            .iter()
            .zip(&widths)
            .zip(&numeric)
            .map(|((text, &width), &right)| if right { format!("{text:>width$}") } else { format!("{text:<width$}") })
            .collect();
        out.push_str(padded.join("  ").trim_end());
        out.push('\n');
    };
    line(&header);
    line(&widths.iter().map(|&width| "─".repeat(width)).collect::<Vec<_>>());
    cells.iter().for_each(|row| line(row));
    let count = rows.len();
    out.push_str(&format!("({count} row{})\n", if count == 1 { "" } else { "s" }));
    if answer["stats"]["truncated"] == true {
        out.push_str("cut at the row limit: there are more rows\n");
    }
    Ok(out)
}

fn cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return "∅".to_owned(),
        Value::String(text) => text.replace('\n', "⏎"),
        other => other.to_string(),
    };
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_right_and_unknown_is_not_empty() {
        let answer = serde_json::json!({
            "columns": [{"name": "model"}, {"name": "calls"}],
            "rows": [["gpt-4o", 7], [null, 12345]],
        });
        insta::assert_snapshot!(render(&answer).expect("a table"), @r"
        model   calls
        ──────  ─────
        gpt-4o      7
        ∅       12345
        (2 rows)
        ");
    }
}
