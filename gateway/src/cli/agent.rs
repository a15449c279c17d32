//! `varco agent`: an agency's own end of the wire, until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use super::{NO, USAGE};
use crate::app::{system_clock, system_entropy};
use crate::config::agent::{Agent, load};
use crate::{agent, telemetry};

#[derive(clap::Args)]
pub struct Args {
    /// The configuration, a TOML file.
    #[arg(long, short, value_name = "FILE", default_value = "agent.toml")]
    config: PathBuf,
    /// What to do instead of serving until a signal comes.
    #[arg(long, value_enum)]
    only: Option<super::serve::Only>,
}

/// Exits 0 after an orderly stop, 1 when calls were cut off, 2 when it cannot start.
pub fn run(args: Args) -> ExitCode {
    let settings = match load(&args.config) {
        Ok(settings) => settings,
        Err(faults) => {
            for fault in faults {
                eprintln!("{}: {fault}", args.config.display());
            }
            return ExitCode::from(USAGE);
        }
    };
    if args.only == Some(super::serve::Only::Check) {
        return ExitCode::SUCCESS;
    }
    if telemetry::start(settings.log).is_err() {
        eprintln!("varco agent: logs were already being written");
        return ExitCode::from(USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("varco agent: {error}");
            return ExitCode::from(USAGE);
        }
    };
    runtime.block_on(serve(settings, args.only))
}

async fn serve(settings: Agent, only: Option<super::serve::Only>) -> ExitCode {
    let running = match agent::start(settings, system_clock(), system_entropy()).await {
        Ok(running) => running,
        Err(error) => {
            eprintln!("varco agent: {}", super::reasons(&error));
            return ExitCode::from(USAGE);
        }
    };
    // Whoever started us reads the addresses here, above all when the system chose the ports.
    println!("listening local {}", running.local);
    if let Some(address) = running.answers {
        println!("listening answers {address}");
    }
    println!("ready");
    super::serve::until_stopped(only).await;
    match running.stop().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(unfinished) => {
            eprintln!("varco agent: {unfinished}");
            ExitCode::from(NO)
        }
    }
}
