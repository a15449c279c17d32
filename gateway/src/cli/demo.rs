//! `varco demo`: the story of one exchange; and its parts, each a process of its own.

use std::process::ExitCode;

use clap::Subcommand;

mod agency;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    part: Option<Part>,
}

#[derive(Subcommand)]
enum Part {
    /// Simulate an agency's own system.
    #[command(hide = true)]
    Agency(agency::Args),
}

pub fn run(args: Args) -> ExitCode {
    match args.part {
        Some(Part::Agency(args)) => agency::run(args),
        None => ExitCode::from(super::USAGE),
    }
}
