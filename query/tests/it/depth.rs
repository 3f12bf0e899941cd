//! However long a chain of operators, joins or unions is, it is planned or refused: no question takes the stack of the process.

use assay_query::{Ask, QueryErrorKind, filter::from_sql};
use assay_schemas::ids::ProjectId;

use crate::support::Fixture;

/// What comes before, again and again, and after.
const CHAINS: [(&str, &str, &str); 16] = [
    ("SELECT 1", " + 1", ""),
    ("SELECT * FROM spans WHERE service_name = 'a'", " AND service_name = 'a'", ""),
    ("SELECT * FROM spans WHERE service_name = 'a'", " OR service_name = 'a'", ""),
    ("SELECT 1", " UNION ALL SELECT 1", ""),
    ("SELECT service_name", " || service_name", " FROM spans"),
    ("SELECT 1", "::text", ""),
    ("SELECT 1", " IS NULL", ""),
    ("SELECT attributes", " -> 'a'", " FROM spans"),
    ("SELECT attributes -> 'a' ->> 'b'", " -> 'a'", " FROM spans"),
    ("SELECT start_time", " AT TIME ZONE 'UTC'", " FROM spans"),
    ("SELECT [1]", "[1]", ""),
    ("SELECT ", "NOT ", "true"),
    ("SELECT ", "- ", "1"),
    ("SELECT ", "(", "1"),
    ("SELECT CASE ", "WHEN service_name = 'a' THEN 1 ", "END FROM spans"),
    ("FROM spans", " |> LIMIT 1", ""),
];

#[tokio::test]
async fn long_chains_are_planned_or_refused() {
    let fixture = Fixture::new().await;
    let project = ProjectId::default_project();
    for (start, again, end) in CHAINS {
        for times in [280, 20_000] {
            let sql = format!("{start}{}{end}", again.repeat(times));
            match fixture.engine.ask(&project, Ask::new(&sql)).await {
                Ok(answer) => drop(answer.collect().await),
                Err(error) => {
                    assert!(matches!(error.kind, QueryErrorKind::Invalid | QueryErrorKind::TooLarge), "{start}{again}: {error}")
                }
            }
            drop(fixture.engine.explain(&project, Ask::new(&sql), false).await);
            drop(from_sql(&sql));
            drop(from_sql(&sql.replace("SELECT ", "")));
        }
    }
    let deepest = format!("SELECT 1{}", " + 1".repeat(1190));
    assert_eq!(fixture.value(&deepest).await, "1191");
}

#[tokio::test]
async fn a_path_of_keys_is_one_access() {
    let fixture = Fixture::new().await;
    let json = r#"SELECT '{"a": ["x", {"b": 2}]}' AS j"#;
    let table = fixture.table(&format!("SELECT j -> 'a' -> 1 ->> 'b', j -> 'a' -> 0, '[[7]]' -> 0 -> 0 FROM ({json})")).await;
    let (names, row) = (table.lines().nth(1).unwrap(), table.lines().nth(3).unwrap());
    assert_eq!(names, "| j -> 'a' -> 1 ->> 'b' | j -> 'a' -> 0 | '[[7]]' -> 0 -> 0 |");
    assert_eq!(row.replace(' ', ""), r#"|2|"x"|7|"#);
}
