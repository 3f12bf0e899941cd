//! Sends spans to an OTLP server with little CPU of its own, and measures the least that receiving them can cost. Used by `tests/bench`.
//!
//! Both commands read a file of request bodies, each behind its length (4 bytes, little-endian). A body is sent any number of times;
//! each time its identifiers, times and texts are renewed in place (`corpus.rs`), so that no span counts as sent again. What was found is
//! printed as one line of JSON.

mod client;
mod corpus;
mod floor;
mod latency;
mod random;
mod send;
mod wire;

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};

use corpus::Corpus;

#[derive(Debug, Parser)]
#[command(name = "assay-load", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Send bodies over several connections, as fast as the server answers or at a fixed rate.
    Send(SendArgs),
    /// Decode the bodies (prost) and compress them (zstd 1), once, and say what CPU that took.
    Floor(FloorArgs),
}

/// Where to, how, and how much.
#[derive(Debug, Args)]
struct SendArgs {
    /// File of bodies.
    corpus: PathBuf,
    /// Address of the server.
    #[arg(long)]
    to: SocketAddr,
    /// The protocol to speak.
    #[arg(long, value_enum, default_value_t = Protocol::Http)]
    protocol: Protocol,
    /// Path of OTLP/HTTP.
    #[arg(long, default_value = "/v1/traces")]
    path: String,
    /// Further headers, as `name:value`.
    #[arg(long = "header", value_name = "NAME:VALUE")]
    headers: Vec<String>,
    /// Connections; each has one request on its way at a time.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Requests per second over all connections; without it, each connection sends again as soon as it has its answer.
    #[arg(long)]
    rate: Option<f64>,
    #[command(flatten)]
    until: Until,
}

/// When to stop: at the first that is reached; without any, when each body went once.
#[derive(Debug, Args)]
struct Until {
    /// Spans.
    #[arg(long)]
    spans: Option<u64>,
    /// Bytes of bodies.
    #[arg(long)]
    bytes: Option<u64>,
    /// Seconds; requests on their way are still waited for.
    #[arg(long)]
    seconds: Option<f64>,
    /// Decides identifiers and texts: another seed, other spans.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Debug, Args)]
struct FloorArgs {
    /// File of bodies.
    corpus: PathBuf,
    #[command(flatten)]
    until: Until,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Protocol {
    /// OTLP/HTTP, protobuf, HTTP/1.1.
    Http,
    /// OTLP/gRPC.
    Grpc,
}

fn main() -> anyhow::Result<()> {
    let report = match Cli::parse().command {
        Command::Send(args) => {
            let corpus = Corpus::read(&args.corpus, args.until.seed)?;
            // One thread: sending costs a small part of receiving, and the other cores are the server's.
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the runtime")?;
            let plan = send::Plan {
                target: client::Target::new(args.to, args.protocol, &args.path, &args.headers)?,
                connections: args.connections.max(1),
                rate: args.rate,
                budget: args.until.budget(&corpus),
            };
            runtime.block_on(send::send(corpus, plan))?
        }
        Command::Floor(args) => {
            let corpus = Corpus::read(&args.corpus, args.until.seed)?;
            let budget = args.until.budget(&corpus);
            floor::measure(&corpus, &budget)?
        }
    };
    println!("{report}");
    Ok(())
}

impl Until {
    fn budget(&self, corpus: &Corpus) -> corpus::Budget {
        let unsaid = self.spans.is_none() && self.bytes.is_none() && self.seconds.is_none();
        corpus::Budget {
            spans: self.spans.unwrap_or(if unsaid { corpus.n_spans() } else { u64::MAX }),
            bytes: self.bytes.unwrap_or(u64::MAX),
            time: self.seconds.map(Duration::from_secs_f64),
        }
    }
}
