//! The commands that talk to a server: `sql`, `export otlp`, `demo`, `reprice`. They use the public HTTP API as anyone would.

use std::{
    io::{IsTerminal as _, Read as _, Write as _},
    path::Path,
};

use anyhow::{Context as _, anyhow, bail};
use futures::StreamExt as _;
use reqwest::{Client, RequestBuilder, Response, header};
use serde_json::{Value, json};

use crate::{
    cli::{DemoArgs, ExportOtlpArgs, RepriceArgs, ServerArgs, SqlArgs, SqlFormat},
    demo, table,
};

/// `assay sql`.
///
/// # Errors
/// If the server cannot be reached or refuses the query, in its words.
pub(crate) async fn sql(args: &SqlArgs) -> anyhow::Result<()> {
    let query = if args.query == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("could not read the query from standard input")?;
        text
    } else {
        args.query.clone()
    };
    let params: Vec<Value> =
        args.params.iter().map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.clone()))).collect();
    let accept = match args.format {
        SqlFormat::Table | SqlFormat::Json => "application/json",
        SqlFormat::Ndjson => "application/x-ndjson",
        SqlFormat::Csv => "text/csv",
        SqlFormat::Arrow => "application/vnd.apache.arrow.stream",
        SqlFormat::Parquet => "application/vnd.apache.parquet",
    };
    let mut body = json!({ "query": query, "params": params });
    if let Some(row_limit) = args.row_limit {
        body["row_limit"] = row_limit.into();
    }
    let request = post(&args.server, "api/v1/sql")?.header(header::ACCEPT, accept).json(&body);
    let response = send(request).await?;
    if matches!(args.format, SqlFormat::Arrow | SqlFormat::Parquet) && std::io::stdout().is_terminal() {
        bail!("the format is binary: expected standard output to be a file or a pipe");
    }
    if matches!(args.format, SqlFormat::Table) {
        let answer: Value = response.json().await.context("the server's answer is not JSON")?;
        return table::print(&answer);
    }
    copy(response, None).await
}

/// `assay export otlp`.
///
/// # Errors
/// If the server cannot be reached or refuses, or the file cannot be written.
pub(crate) async fn export_otlp(args: &ExportOtlpArgs) -> anyhow::Result<()> {
    let protobuf = args.output.as_ref().is_some_and(|path| path.extension().is_some_and(|e| e == "pb"));
    let accept = if protobuf { "application/x-protobuf" } else { "application/json" };
    let signal = format!("{:?}", args.signal).to_lowercase();
    let mut query = vec![("signal", signal)];
    for (name, value) in [("trace_id", &args.trace_id), ("from", &args.from), ("to", &args.to)] {
        query.extend(value.as_ref().map(|value| (name, value.clone())));
    }
    let request = get(&args.server, "api/v1/export/otlp")?.query(&query).header(header::ACCEPT, accept);
    copy(send(request).await?, args.output.as_deref()).await
}

/// `assay demo`.
///
/// # Errors
/// If the server cannot be reached or refuses a request.
pub(crate) async fn demo(args: &DemoArgs) -> anyhow::Result<()> {
    let options = demo::DemoOptions {
        endpoint: args.server.url.clone(),
        project: args.server.project.clone(),
        seed: args.seed,
        traces: args.traces,
        days: args.days,
    };
    let progress = demo::Progress::default();
    demo::run(&options, &progress).await?;
    println!("sent {} spans in {} traces; look at {}", progress.spans(), progress.traces(), args.server.url);
    Ok(())
}

/// `assay reprice`.
///
/// # Errors
/// If the server cannot be reached or refuses.
pub(crate) async fn reprice(args: &RepriceArgs) -> anyhow::Result<()> {
    let body = json!({ "from": args.from, "to": args.to, "apply": args.apply });
    let answer: Value = send(post(&args.server, "api/v1/reprice")?.json(&body)).await?.json().await?;
    table::print(&answer["preview"])?;
    if args.apply {
        println!("applied: {} rows have a new price", answer["changed_rows"]);
    } else {
        println!("nothing was changed; add --apply to use these prices");
    }
    Ok(())
}

fn get(server: &ServerArgs, path: &str) -> anyhow::Result<RequestBuilder> {
    let url = server.url.join(path).with_context(|| format!("`{}` is not the address of a server", server.url))?;
    Ok(Client::new().get(url).header("X-Assay-Project", &server.project))
}

fn post(server: &ServerArgs, path: &str) -> anyhow::Result<RequestBuilder> {
    let url = server.url.join(path).with_context(|| format!("`{}` is not the address of a server", server.url))?;
    Ok(Client::new().post(url).header("X-Assay-Project", &server.project))
}

/// Sends `request`; an answer that is not a success becomes an error with what the server said.
async fn send(request: RequestBuilder) -> anyhow::Result<Response> {
    let response = request.send().await.context("could not reach the server (hint: is `assay serve` running?)")?;
    let status = response.status();
    if status.is_success() {
        return Ok(response);
    }
    let text = response.text().await.unwrap_or_default();
    let problem: Value = serde_json::from_str(&text).unwrap_or_default();
    let mut message = problem["detail"].as_str().or(problem["title"].as_str()).unwrap_or(&text).to_owned();
    if let (Some(line), Some(column)) = (problem["position"]["line"].as_u64(), problem["position"]["column"].as_u64()) {
        message = format!("{message} (line {line}, column {column})");
    }
    if let Some(hint) = problem["hint"].as_str() {
        message = format!("{message} (hint: {hint})");
    }
    Err(anyhow!("the server answered {status}: {message}"))
}

/// Streams the body of `response` to `path` or standard output.
async fn copy(response: Response, path: Option<&Path>) -> anyhow::Result<()> {
    let mut output: Box<dyn std::io::Write> = match path {
        Some(path) => Box::new(std::fs::File::create(path).with_context(|| format!("could not create `{}`", path.display()))?),
        None => Box::new(std::io::stdout().lock()),
    };
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        output.write_all(&chunk.context("the server's answer broke off")?)?;
    }
    Ok(output.flush()?)
}
