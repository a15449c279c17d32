//! The command line: one subcommand a file, each with its arguments and one `run`.
//!
//! Exit codes everywhere: 0 yes, 1 no, 2 usage or configuration.

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub mod adapter;
pub mod agent;
pub mod appeal;
pub mod call;
pub mod consent;
pub mod demo;
pub mod language;
pub mod log;
pub mod notice;
pub mod pki;
pub mod policy;
pub mod registry;
pub mod serve;
pub mod subject;
pub mod wire;

/// The exit code for "no": a check that failed, a request that was refused.
pub const NO: u8 = 1;
/// The exit code for a mistake in usage or configuration.
pub const USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "varco",
    version,
    about = "Consent-based exchange of records between Italian public agencies"
)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Try an agency's system and its mapping.
    Adapter(Box<adapter::Args>),
    /// Carry an agency's plain local calls to the gateway and back, signed.
    Agent(agent::Args),
    /// Ask the owner for a refused field with a reason, and decide on such requests.
    Appeal(appeal::Args),
    /// Make a signed call to a gateway.
    Call(Box<call::Args>),
    /// Write and check consent records as ISO/IEC TS 27560 has them.
    Consent(consent::Args),
    /// Play the story of one exchange on this machine, with synthetic people.
    Demo(demo::Args),
    /// Check the access log and what it proves.
    Log(log::Args),
    /// Read what is sealed to you as an officer.
    Notice(notice::Args),
    /// Make keys and certificates for development.
    Pki(pki::Args),
    /// Check disclosure policies and ask them questions.
    Policy(policy::Args),
    /// Make, sign and apply versions of the registry.
    Registry(registry::Args),
    /// Run the gateway.
    Serve(serve::Args),
    /// Ask for what a person is entitled to know.
    Subject(Box<subject::Args>),
    /// Check a captured request, step by step.
    Wire(wire::Args),
}

/// An error and what caused it, in one line. A cause that the text already ends with is not said again.
pub fn reasons(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.map(ToString::to_string).fold(error.to_string(), |text, cause| {
        if text.ends_with(&cause) { text } else { format!("{text}: {cause}") }
    })
}

/// Returns when standard input is closed, which happens at the latest when whoever holds its other end is gone.
pub(crate) async fn input_closed() {
    let (close, closed) = tokio::sync::oneshot::channel();
    // A thread, because reading standard input cannot be given up; it ends with the process.
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
        let _ = close.send(());
    });
    let _ = closed.await;
}

impl Cli {
    pub fn run(self) -> ExitCode {
        match self.command {
            Command::Adapter(args) => adapter::run(*args),
            Command::Agent(args) => agent::run(args),
            Command::Appeal(args) => appeal::run(args),
            Command::Call(args) => call::run(&args),
            Command::Consent(args) => consent::run(&args),
            Command::Demo(args) => demo::run(args),
            Command::Log(args) => log::run(args),
            Command::Notice(args) => notice::run(args),
            Command::Pki(args) => pki::run(args),
            Command::Policy(args) => policy::run(args),
            Command::Registry(args) => registry::run(args),
            Command::Serve(args) => serve::run(args),
            Command::Subject(args) => subject::run(&args),
            Command::Wire(args) => wire::run(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the log cannot be opened: {0}")]
    struct Outer(#[from] Middle);

    #[derive(Debug, thiserror::Error)]
    #[error("the anchor cannot be read")]
    struct Middle(#[from] std::io::Error);

    #[test]
    fn reasons_say_each_cause_once() {
        let error = Outer(Middle(std::io::Error::other("no such disk")));
        assert_eq!(reasons(&error), "the log cannot be opened: the anchor cannot be read: no such disk");
    }
}
