//! `varco serve`: a gateway, until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{SignalKind, signal};

use super::{NO, USAGE};
use crate::administration::{self, Act};
use crate::app::{system_clock, system_entropy};
use crate::config::{self, Config};
use crate::{start, telemetry};

#[derive(clap::Args)]
pub struct Args {
    /// The configuration, a TOML file.
    #[arg(long, short, value_name = "FILE", default_value = "varco.toml")]
    config: PathBuf,
    /// What to do instead of serving until a signal comes.
    #[arg(long, value_enum)]
    only: Option<Only>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Only {
    /// Check the configuration and end.
    Check,
    /// Serve as long as standard input is open: whoever started the gateway takes it along, however they end.
    WhileAttended,
}

/// Exits 0 after an orderly stop, 1 when exchanges were cut off, 2 when it cannot start.
pub fn run(args: Args) -> ExitCode {
    let config = match config::load(&args.config) {
        Ok(config) => config,
        Err(faults) => {
            for fault in faults {
                eprintln!("{}: {fault}", args.config.display());
            }
            return ExitCode::from(USAGE);
        }
    };
    if args.only == Some(Only::Check) {
        return ExitCode::SUCCESS;
    }
    if telemetry::start(config.log).is_err() {
        eprintln!("varco serve: logs were already being written");
        return ExitCode::from(USAGE);
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("varco serve: {error}");
            return ExitCode::from(USAGE);
        }
    };
    runtime.block_on(serve(config, args.only))
}

async fn serve(config: Config, only: Option<Only>) -> ExitCode {
    let running = match start::start(config, system_clock(), system_entropy()).await {
        Ok(running) => running,
        Err(error) => {
            eprintln!("varco serve: {}", super::reasons(&error));
            return ExitCode::from(USAGE);
        }
    };
    // Whoever started us reads the addresses here, above all when the system chose the ports.
    println!("listening exchange {}", running.exchange);
    for (name, address) in [("log", running.log), ("metrics", running.metrics)] {
        if let Some(address) = address {
            println!("listening {name} {address}");
        }
    }
    if let Some(witness) = &running.app.witness {
        eprintln!("varco serve: witness {}", witness.verifier_key());
    }
    let started = Act::new("started", &format!("serve {}", env!("CARGO_PKG_VERSION")));
    if let Err(error) = administration::enter(&running.app, &started).await {
        eprintln!("varco serve: that the gateway was started could not be entered: {error}");
        return ExitCode::from(USAGE);
    }
    println!("ready");
    until_stopped(only).await;
    // A log that cannot be written any more does not keep the gateway from stopping.
    let _ = administration::enter(&running.app, &Act::new("stopped", "serve")).await;
    match running.stop().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(unfinished) => {
            eprintln!("varco serve: {unfinished}");
            ExitCode::from(NO)
        }
    }
}

/// Returns at a signal, and where the caller wants it also when standard input is closed.
pub(super) async fn until_stopped(only: Option<Only>) {
    match only {
        Some(Only::WhileAttended) => {
            tokio::select! {
                () = super::input_closed() => {}
                () = asked_to_stop() => {}
            }
        }
        Some(Only::Check) | None => asked_to_stop().await,
    }
}

async fn asked_to_stop() {
    let Ok(mut terminate) = signal(SignalKind::terminate()) else {
        let _ = tokio::signal::ctrl_c().await;
        return;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
