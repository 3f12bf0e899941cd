//! What every operation of the OpenAPI document shares, said once: the header that names the project, and the problems that any question
//! can meet. Handlers state only what is their own.

use utoipa::{
    Modify,
    openapi::{
        ContentBuilder, Object, OpenApi, Ref, RefOr, Required, ResponseBuilder, Type,
        path::{Operation, Parameter, ParameterBuilder, ParameterIn},
        schema::SchemaType,
    },
};

const PROJECT: &str = "X-Assay-Project";

/// Problems that reading can meet whatever is asked.
const PROBLEMS: [(&str, &str); 5] = [
    ("400", "The request cannot be understood: what was found, what was expected, where"),
    ("422", "It needs more memory than one query may use"),
    ("500", "The server made a mistake"),
    ("503", "Too many queries at once: try again"),
    ("504", "It took too long"),
];

/// Adds to every operation under `/api/v1` what it does not say itself.
pub(super) struct Shared;

impl Modify for Shared {
    fn modify(&self, document: &mut OpenApi) {
        for (path, item) in &mut document.paths.paths {
            if !path.starts_with("/api/v1/") {
                continue;
            }
            let operations = [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch];
            operations.into_iter().flatten().for_each(complete);
        }
    }
}

fn complete(operation: &mut Operation) {
    let parameters = operation.parameters.get_or_insert_default();
    let named = |parameter: &RefOr<Parameter>| matches!(parameter, RefOr::T(parameter) if parameter.name == PROJECT);
    if !parameters.iter().any(named) {
        let text = Object::builder().schema_type(SchemaType::Type(Type::String)).build();
        let header = ParameterBuilder::new()
            .name(PROJECT)
            .parameter_in(ParameterIn::Header)
            .required(Required::False)
            .description(Some("Project; `default` if left out"))
            .schema(Some(text));
        parameters.insert(0, RefOr::T(header.build()));
    }
    for (status, description) in PROBLEMS {
        operation.responses.responses.entry(status.to_owned()).or_insert_with(|| {
            let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
            RefOr::T(ResponseBuilder::new().description(description).content("application/problem+json", content).build())
        });
    }
}
