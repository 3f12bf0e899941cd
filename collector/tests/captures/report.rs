//! What SDKs never sent, as reviewed, and the page of documentation made from the comparison.

use std::{collections::BTreeMap, fmt::Write as _};

use serde::Deserialize;

use crate::compare::Mismatch;

/// `known_losses.toml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KnownLosses {
    loss: Vec<Loss>,
}

/// Facts that cannot be had, and why.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Loss {
    folder: String,
    scenarios: Vec<String>,
    fields: Vec<String>,
    reason: String,
}

impl KnownLosses {
    pub(crate) fn read() -> Self {
        toml::from_str(include_str!("known_losses.toml")).expect("known_losses.toml is well formed")
    }

    fn reason(&self, folder: &str, scenario: &str, field: &str) -> Option<&str> {
        self.loss
            .iter()
            .find(|loss| {
                loss.folder == folder
                    && loss.scenarios.iter().any(|known| known == scenario)
                    && loss.fields.iter().any(|known| known == field)
            })
            .map(|loss| loss.reason.as_str())
    }

    /// (mismatches that nothing explains, losses that do not happen), as lines to print.
    pub(crate) fn explain(&self, outcomes: &BTreeMap<(String, String), Vec<Mismatch>>) -> (Vec<String>, Vec<String>) {
        let mut unexplained = Vec::new();
        for ((folder, scenario), mismatches) in outcomes {
            for Mismatch { field, expected, found } in mismatches {
                if self.reason(folder, scenario, field).is_none() {
                    unexplained.push(format!("{folder} {scenario} {field}: expected {expected}, found {found}"));
                }
            }
        }
        let mut stale = Vec::new();
        for loss in &self.loss {
            for scenario in &loss.scenarios {
                for field in &loss.fields {
                    let happens = outcomes
                        .get(&(loss.folder.clone(), scenario.clone()))
                        .is_some_and(|mismatches| mismatches.iter().any(|mismatch| mismatch.field == field));
                    if !happens {
                        stale.push(format!("known loss does not happen: {} {scenario} {field}", loss.folder));
                    }
                }
            }
        }
        (unexplained, stale)
    }
}

/// `docs/captures.md`.
pub(crate) fn page(outcomes: &BTreeMap<(String, String), Vec<Mismatch>>, losses: &KnownLosses) -> String {
    let mut page = String::from(
        "# What the captures give\n\n\
         Made from `collector/tests/captures.rs`; do not edit. Each scenario is a program that ran against a mock provider which knows the truth\n\
         (`tests/captures/README.md`). Compared per call: provider, operation, models, tokens of each kind, streaming, error, finish reasons,\n\
         tool calls, prompt and completion text; per scenario: the number of calls, session, user, tools run. \"all\" means every fact agrees;\n\
         otherwise the facts that cannot be had are named, with the reason at the source. Those are NULL, or what the SDK said, never a guess of ours.\n\n\
         | capture | scenario | agrees | not to be had | because |\n|---|---|---|---|---|\n",
    );
    for ((folder, scenario), mismatches) in outcomes {
        let mut fields: Vec<&str> = mismatches.iter().map(|mismatch| mismatch.field).collect();
        fields.sort_unstable();
        fields.dedup();
        let mut reasons: Vec<&str> = fields.iter().filter_map(|field| losses.reason(folder, scenario, field)).collect();
        reasons.dedup();
        let agrees = if fields.is_empty() { "all" } else { "the rest" };
        writeln!(page, "| {folder} | {scenario} | {agrees} | {} | {} |", fields.join(", "), reasons.join(" "))
            .expect("writing to text");
    }
    page
}
