//! The mapping rules in words, as they are compiled: for the page that shows them.

use assay_schemas::dialects::{Part, RuleTable, When};

use super::Normaliser;

/// One mapping file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DialectDoc {
    /// Name, as in the column `dialect`.
    pub name: String,
    /// What it is.
    pub title: String,
    /// Its rules: by column, in the order in which they are asked.
    pub rules: Vec<RuleDoc>,
}

/// One way to fill a column.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleDoc {
    /// Name, as in the column `rules`: `dialect.rule`.
    pub name: String,
    /// The column it fills; `request_parameters.…` for a request parameter.
    pub column: String,
    /// Where it looks.
    pub source: String,
    /// What it does with what it finds, and when it applies; `None` if it always takes it as it is.
    pub doc: Option<String>,
}

impl Normaliser {
    /// The mapping in use: the dialects in the order in which they are asked, those for every record last.
    #[must_use]
    pub fn mappings(&self) -> Vec<DialectDoc> {
        let docs = self.mapping.dialects.iter().map(|dialect| {
            let columns =
                super::Column::ALL.iter().zip(&dialect.columns).map(|(column, rules)| (column.name().to_owned(), rules));
            let parameters = dialect.parameters.iter().map(|(name, rules)| (format!("request_parameters.{name}"), rules));
            let rules = columns.chain(parameters).flat_map(|(column, rules)| {
                rules.iter().map(move |rule| RuleDoc {
                    name: rule.name.to_string(),
                    column: column.clone(),
                    source: rule.label.clone(),
                    doc: rule.doc.clone(),
                })
            });
            DialectDoc { name: dialect.name.clone(), title: dialect.title.clone(), rules: rules.collect() }
        });
        docs.collect()
    }
}

/// What `rule` does and when, beyond taking a value as it is.
pub(super) fn doc(rule: &RuleTable) -> Option<String> {
    let mut says = Vec::new();
    let mut say = |given: bool, text: String| says.extend(given.then_some(text));
    say(rule.value.is_some(), format!("is `{}`", rule.value.as_ref().map(ToString::to_string).unwrap_or_default()));
    say(rule.after.is_some(), format!("the part after `{}`", rule.after.as_deref().unwrap_or_default()));
    say(rule.before.is_some(), format!("the part before `{}`", rule.before.as_deref().unwrap_or_default()));
    say(rule.form.is_some(), format!("read as `{}`", rule.form.as_deref().unwrap_or_default()));
    let only = if rule.alias_only { ", nothing else" } else { "" };
    say(rule.alias.is_some(), format!("translated by the table `{}`{only}", rule.alias.as_deref().unwrap_or_default()));
    say(rule.zero_is_unknown, "zero means unknown".to_owned());
    say(rule.around, "the span is around the call, not the call".to_owned());
    let part = |part: Option<Part>| if part == Some(Part::Inside) { "inside it" } else { "beside it" };
    say(rule.cache.is_some(), format!("cache tokens are {}", part(rule.cache)));
    say(rule.reasoning.is_some(), format!("reasoning tokens are {}", part(rule.reasoning)));
    say(!rule.without.is_empty(), format!("without {}", words(&rule.without)));
    let when = conditions(&rule.when);
    say(!when.is_empty(), format!("if {}", when.join(" and ")));
    (!says.is_empty()).then(|| says.join("; "))
}

fn conditions(when: &When) -> Vec<String> {
    let mut says = Vec::new();
    let mut say = |what: &str, list: &[String]| {
        if !list.is_empty() {
            says.push(format!("{what} {}", words(list)));
        }
    };
    say("the operation is", &when.operation);
    say("the operation is not", &when.operation_not);
    say("the provider is", &when.provider);
    say("there is every attribute of", &when.present);
    say("there is no attribute", &when.absent);
    let key = when.key.as_deref().unwrap_or_default();
    say(&format!("attribute `{key}` is"), &when.is);
    say(&format!("attribute `{key}` is not"), &when.is_not);
    say("the span's name is", &when.span_name);
    say("there is a span event", &when.span_event);
    say("the log event is", &when.event);
    say("the scope is", &when.scope);
    say("the scope is not", &when.scope_not);
    match when.error {
        Some(true) => says.push("there is an error".to_owned()),
        Some(false) => says.push("there is no error".to_owned()),
        None => {}
    }
    says
}

fn words(list: &[String]) -> String {
    list.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_listed_under_the_name_that_rows_carry() {
        let mappings = Normaliser::embedded().mappings();
        let openinference = mappings.iter().find(|dialect| dialect.name == "openinference").expect("it ships");
        assert_eq!(openinference.title, "OpenInference");
        let rule = |name: &str| openinference.rules.iter().find(|rule| rule.name == name).unwrap_or_else(|| panic!("no {name}"));
        let kind = rule("openinference.openinference.span.kind");
        assert_eq!((kind.column.as_str(), kind.source.as_str()), ("operation", "openinference.span.kind"));
        assert_eq!(kind.doc.as_deref(), Some("translated by the table `kinds`, nothing else"));
        let helper = rule("openinference.prepare_helper");
        assert_eq!(helper.doc.as_deref(), Some("is `\"task\"`; if the span's name is `*._prepare_chat_with_tools`"));
        assert!(mappings.iter().all(|dialect| !dialect.rules.is_empty() && !dialect.title.is_empty()));
    }
}
