//! `assay health`: whether a server answers, as an exit status. For health checks of containers that hold no other program to ask with.

use std::process::ExitCode;

use anyhow::{Context as _, bail};

use crate::cli::HealthArgs;

/// Asks the server of `args`. Status 0 if it is healthy, 1 if not, with the reason on standard error: container engines reserve other codes.
pub(crate) async fn run(args: &HealthArgs) -> ExitCode {
    match check(args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("assay: {error:#}");
            ExitCode::from(1)
        }
    }
}

async fn check(args: &HealthArgs) -> anyhow::Result<()> {
    let path = if args.ready { "readyz" } else { "healthz" };
    let url = args.url.join(path).with_context(|| format!("`{}` is not the address of a server", args.url))?;
    // The server is asked itself, whatever proxy the environment names for others.
    let client = reqwest::Client::builder().no_proxy().timeout(args.timeout.into()).build()?;
    let response = client.get(url.clone()).send().await.with_context(|| format!("no answer from `{url}`"))?;
    if !response.status().is_success() {
        bail!("`{url}` answered {}, expected 200", response.status());
    }
    Ok(())
}
