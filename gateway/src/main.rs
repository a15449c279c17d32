use clap::Parser as _;

/// A third of an exchange's own work is making and dropping small values, on several threads (docs/decisions/0012).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    varco::cli::Cli::parse().run()
}
