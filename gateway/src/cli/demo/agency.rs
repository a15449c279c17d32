//! `varco demo agency`: one agency's system as a process, for the demonstration and the bench.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::net::TcpListener;
use varco_core::id::AgencyId;

use crate::demo::agency::{Keys, System};
use crate::demo::people::Population;

#[derive(clap::Args)]
pub struct Args {
    /// Whose system it is.
    #[arg(long)]
    id: AgencyId,
    /// The folder that `varco pki dev` made.
    #[arg(long, value_name = "DIR")]
    pki: PathBuf,
    /// Where to listen; with port 0 the system chooses one and the first line of output tells it.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// The seed of the population: the same in all systems of a demonstration.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many people there are, in all agencies together.
    #[arg(long, default_value_t = 100)]
    people: usize,
}

/// Runs until its standard input is closed (so that it ends with whoever started it), or until it is interrupted.
pub fn run(args: Args) -> ExitCode {
    let keys = match Keys::from_folder(&args.pki, &args.id, Arc::new(crate::app::system_now)) {
        Ok(keys) => keys,
        Err(error) => return failed(&error),
    };
    let people = Arc::new(Population::generate(args.seed, args.people));
    let system = Arc::new(System::new(args.id, people, keys));
    // One thread serves some thousand requests a second, more than a demonstration or the bench asks for, and leaves the
    // rest of the machine to whatever is tried with it.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&error),
    };
    let served = runtime.block_on(async {
        let listener = TcpListener::bind(args.listen).await?;
        println!("listening {}", listener.local_addr()?);
        system.serve(listener, asked_to_stop()).await;
        Ok::<_, std::io::Error>(())
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

async fn asked_to_stop() {
    tokio::select! {
        () = crate::cli::input_closed() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn failed(error: &dyn std::error::Error) -> ExitCode {
    eprintln!("varco demo agency: {}", crate::cli::reasons(error));
    ExitCode::from(crate::cli::USAGE)
}
