//! The `assay` binary: configuration, composition, signals. No logic of its own.

mod accounts_api;
mod allocator;
mod assets;
mod cli;
mod client;
mod config;
mod demo;
mod demo_api;
mod export;
mod health;
mod kafka;
mod listen;
mod mappings_api;
mod migrate;
mod openapi;
mod probe;
mod reprice;
mod roles;
mod seed;
mod serve;
mod table;

use std::process::ExitCode;

use clap::Parser as _;
use cli::{Cli, Command, ExportCommand};
use serve::Part;

fn main() -> ExitCode {
    allocator::give_back_soon();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("assay").build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("could not start the runtime")),
    };
    let result = runtime.block_on(async {
        match cli.command {
            Command::Serve(args) => serve::run(args.configuration(), args.node.ready_file.as_deref(), Part::Serve).await,
            Command::Collector(args) => serve::run(args.configuration(), args.node.ready_file.as_deref(), Part::Collector).await,
            Command::Query(args) => serve::run(args.configuration(), args.ready_file.as_deref(), Part::Query).await,
            Command::Health(args) => return Ok(health::run(&args).await),
            Command::Migrate(args) => migrate::run(&args).await,
            Command::Sql(args) => client::sql(&args).await,
            Command::Export(args) => match args.what {
                ExportCommand::Otlp(args) => client::export_otlp(&args).await,
            },
            Command::Demo(args) => client::demo(&args).await,
            Command::Probe(args) => return probe::run(&args).await,
            Command::Reprice(args) => client::reprice(&args).await,
        }
        .map(|()| ExitCode::SUCCESS)
    });
    result.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("assay: {error:#}");
    ExitCode::from(2)
}
