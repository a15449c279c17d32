//! The gateway as a process of its own, to be killed, stopped and searched. It is this test binary started again: its
//! test [`varco`] runs the command line it finds in its folder.

use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use clap::Parser as _;
use varco::app::{system_clock, system_now};
use varco::cli::Cli;
use varco::demo::ceremony;
use varco_jose::AesBodyCipher;
use varco_store::keyring::Keyring;
use varco_store::read::Reader;

use crate::world::desk::Desk;
use crate::world::provider::{Play, Provider};
use crate::world::{Ends, Folder, TODAY, configuration, lay};

mod appeal;
mod canary;
mod consent;
mod crash;
mod demo;
mod drops;
mod inbox;
mod report;
mod signals;

/// The command line, a JSON array, in the working folder of the process.
const ARGUMENTS: &str = "varco-arguments.json";

#[test]
#[ignore = "is the program that other tests start"]
fn varco() {
    let Ok(arguments) = std::fs::read(ARGUMENTS) else { return };
    let arguments: Vec<String> = serde_json::from_slice(&arguments).unwrap();
    let ended = Cli::parse_from(arguments).run();
    let codes = [ExitCode::from(0), ExitCode::from(1), ExitCode::from(2)];
    let code = codes.iter().position(|code| *code == ended).unwrap();
    std::process::exit(i32::try_from(code).unwrap());
}

/// `varco <arguments>`, in a folder of its own below `folder`.
fn command(folder: &Path, arguments: &[&str]) -> Command {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let own = folder.join(format!("run-{}", COUNT.fetch_add(1, Ordering::SeqCst)));
    std::fs::create_dir(&own).unwrap();
    let all: Vec<&str> = std::iter::once("varco").chain(arguments.iter().copied()).collect();
    std::fs::write(own.join(ARGUMENTS), serde_json::to_vec(&all).unwrap()).unwrap();
    program(&own)
}

/// Runs `varco <arguments>` to its end.
pub fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).stdin(Stdio::null()).output().unwrap()
}

/// Runs `varco <arguments>` to its end in `folder` itself, where its paths are.
pub fn run_in(folder: &Path, arguments: &[&str]) -> Output {
    let all: Vec<&str> = std::iter::once("varco").chain(arguments.iter().copied()).collect();
    std::fs::write(folder.join(ARGUMENTS), serde_json::to_vec(&all).unwrap()).unwrap();
    program(folder).stdin(Stdio::null()).output().unwrap()
}

/// This test binary as the program `varco`, in a folder that holds its command line.
fn program(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["process::varco", "--exact", "--ignored", "--nocapture", "--test-threads=1"]);
    command.current_dir(folder);
    command
}

/// What a command said, without what the test harness says around it.
pub fn said(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.split_once("test process::varco ... ").map(|(_, said)| said.trim().to_owned()).unwrap()
}

/// A deployment whose gateway is a process; Capannori's system is played by the test.
pub struct Deployed {
    pub folder: Folder,
    pub provider: Provider,
    gateway: Option<Gateway>,
}

struct Gateway {
    child: Child,
    address: SocketAddr,
}

impl Deployed {
    pub async fn start(play: Play, settings: &str) -> Self {
        let folder = Folder::new();
        lay(&folder, &TODAY, ceremony::registry(&TODAY, system_now()).unwrap(), system_now());
        let provider = Provider::start(&TODAY, "comune-capannori", play, system_clock()).await;
        let text = configuration(&[(provider.agency.clone(), provider.port)]) + settings;
        std::fs::write(folder.path("varco.toml"), text).unwrap();
        let mut deployed = Self { folder, provider, gateway: None };
        deployed.start_gateway();
        deployed
    }

    /// Starts the gateway and waits until it is ready. What it logs is in `gateway.log`.
    pub fn start_gateway(&mut self) {
        let config = self.folder.path("varco.toml");
        let log = std::fs::File::options().create(true).append(true).open(self.folder.path("gateway.log"));
        let mut command =
            command(&self.folder.path(""), &["serve", "--config", &config.display().to_string()]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log.unwrap()).spawn().unwrap();
        let mut address = None;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        loop {
            let Some(line) = lines.next() else {
                let log = std::fs::read_to_string(self.folder.path("gateway.log")).unwrap_or_default();
                panic!("the gateway did not start: {log}");
            };
            let line = line.unwrap();
            if let Some((_, said)) = line.split_once("listening exchange ") {
                address = Some(said.parse().unwrap());
            }
            if line == "ready" {
                break;
            }
        }
        // Whatever else it prints must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        self.gateway = Some(Gateway { child, address: address.unwrap() });
    }

    /// As a power cut does it: nothing is finished.
    pub fn kill(&mut self) {
        let mut gateway = self.gateway.take().unwrap();
        gateway.child.kill().unwrap();
        gateway.child.wait().unwrap();
    }

    /// Asks the gateway to end, as an operator does.
    pub fn terminate(&self) {
        let pid = self.gateway.as_ref().unwrap().child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }

    /// Waits for the end of a gateway that was asked to end.
    pub fn ended(&mut self) -> bool {
        let mut gateway = self.gateway.take().unwrap();
        gateway.child.wait().unwrap().success()
    }

    pub fn ends(&self) -> Ends {
        Ends { kit: &TODAY, address: self.gateway.as_ref().unwrap().address, clock: system_clock() }
    }

    pub fn desk(&self, agency: &str, operator: &str) -> Desk {
        Desk::new(&self.ends(), agency, operator)
    }

    /// A command that asks the gateway, with what every operator of that agency has in front.
    pub fn asking(&self, command: &[&str], agency: &str, operator: &str) -> Vec<String> {
        let pki = |path: &str| self.folder.path(&format!("pki/{path}")).display().to_string();
        let own = |path: &str| pki(&format!("agencies/{agency}/{path}"));
        let mut words: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        for (name, value) in [
            ("gateway", format!("https://localhost:{}", self.ends().address.port())),
            ("audience", ceremony::AUDIENCE.to_owned()),
            ("issuer", agency.to_owned()),
            ("cert", own("channel.pem")),
            ("key", own("channel.key.pem")),
            ("ca", pki("ca/channel.pem")),
            ("seal-cert", own("seal.pem")),
            ("seal-key", own("seal.key.pem")),
            ("seal-ca", pki("ca/seal.pem")),
            ("seal-crl", pki("ca/seal.crl.pem")),
            ("operator", operator.to_owned()),
            ("location", "sede".to_owned()),
        ] {
            words.extend([format!("--{name}"), value]);
        }
        words
    }

    /// The log with its bodies, as whoever has the keys reads it.
    pub async fn log(&self) -> Reader {
        let keys = Keyring::beside(&self.folder.path("anchor/checkpoint"));
        let keyring = Keyring::open(keys, Arc::new(AesBodyCipher)).unwrap();
        Reader::open_with(&self.database(), Arc::new(keyring)).await.unwrap()
    }

    fn database(&self) -> String {
        format!("sqlite:{}", self.folder.path("varco.db").display())
    }

    /// `varco log verify`, which must find nothing wrong.
    pub fn verify_log(&self) {
        let (anchor, key) = (self.folder.path("anchor/checkpoint"), self.folder.path("pki/gateway/log.pub"));
        let (anchor, key) = (anchor.display().to_string(), key.display().to_string());
        let database = self.database();
        let arguments =
            ["log", "verify", "--database", &database, "--anchor", &anchor, "--key", &key, "--json"];
        let output = run(&self.folder.path(""), &arguments);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}

impl Drop for Deployed {
    fn drop(&mut self) {
        if let Some(gateway) = &mut self.gateway {
            let _ = gateway.child.kill();
            let _ = gateway.child.wait();
        }
    }
}
