//! `docs/data-model.md` is made from the table descriptions; here it is written, and compared so that it cannot go stale.

use std::{fmt::Write as _, fs, path::PathBuf};

use arrow::datatypes::{DataType, TimeUnit};
use assay_schemas::{
    table::{Column, Layout},
    tables::TableId,
};

/// `ASSAY_WRITE_DOCS=1` writes the page.
#[test]
fn the_data_model_page_says_what_the_tables_are() {
    if std::env::var_os("ASSAY_WRITE_DOCS").is_some() {
        fs::write(page(), rendered()).expect("the checkout is writable");
    }
    let found = fs::read_to_string(page()).expect("docs/data-model.md exists");
    assert!(
        found == rendered(),
        "docs/data-model.md is stale: write it again with `ASSAY_WRITE_DOCS=1 cargo test --package assay-schemas --test docs`"
    );
}

fn page() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/data-model.md"))
}

const INTRODUCTION: &str = "\
# Data model

Made from `schemas/src/tables.rs` and `schemas/src/genai.rs`; a test fails when it is stale. The views over these tables, the functions
and examples are in [sql.md](sql.md).

- Every row belongs to one project. SQL shows the rows of the caller's project, whatever the query says.
- Each table is a Delta table in `<data folder>/lake/<table>/`, partitioned by `project_id` and `date`. Any engine that reads Delta reads it.
- NULL means unknown, 0 means none.
- Times are UTC, to the microsecond. A column `…_ns_part` holds the nanoseconds below it; durations are exact nanoseconds.
- Money is a decimal with 15 places, in US dollars.
- *JSON* is text that holds a JSON document. *Payload* columns are large: name them only when you want them, they are stored apart from
  the others and never read otherwise.
";

fn rendered() -> String {
    let mut page = INTRODUCTION.to_owned();
    page.push_str("\n| table | a row is |\n|---|---|\n");
    for table in TableId::ALL {
        writeln!(page, "| [`{0}`](#{0}) | {1} |", table.name(), table.doc()).expect("text grows");
    }
    for table in TableId::ALL {
        write!(page, "\n## {}\n\n{}\n\n| column | type | meaning |\n|---|---|---|\n", table.name(), table.doc())
            .expect("text grows");
        for column in table.columns() {
            writeln!(page, "| `{}` | {} | {} |", column.name, kind(column), column.doc.replace('|', "\\|")).expect("text grows");
        }
    }
    page
}

fn kind(column: &Column) -> String {
    let base = match &column.data_type {
        DataType::Utf8 if column.json => "JSON",
        DataType::Utf8 => "text",
        DataType::Int64 => "integer",
        DataType::Float64 => "double",
        DataType::Boolean => "boolean",
        DataType::Date32 => "date",
        DataType::Decimal128(..) => "money",
        DataType::Timestamp(TimeUnit::Microsecond, Some(_)) => "time",
        other => panic!("the page has no word for the type `{other}` of `{}`: add one", column.name),
    };
    let mut kind = base.to_owned();
    if column.layout == Layout::Payload {
        kind.push_str(", payload");
    }
    if column.nullable {
        kind.push_str(", or NULL");
    }
    kind
}
