use clap::Parser as _;

fn main() -> std::process::ExitCode {
    varco::cli::Cli::parse().run()
}
