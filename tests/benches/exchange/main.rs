//! `make bench`: the real gateway under load, and beside it, in the same run, what its mandatory work costs alone.
//!
//! A closed loop of 1, 16 and 64 clients over mutual TLS makes pulls of a record of 4 KB from `varco serve`, which asks
//! `varco demo agency`; all on this machine, everything switched on. The gateway is judged by its CPU time for an exchange
//! against the sum of what the exchange cannot do without, because that holds on a busy machine too.
//! Options: `--requests N` (for 64 clients; default 12000), `--json FILE`, `--postgres URL` (for the store alone).

use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio_rustls::TlsConnector;
use varco_jose::Ed25519NoteKey;

mod load;
mod log;
mod policy;
mod process;
mod proxy;
mod report;
mod scene;
mod stages;

use load::{Round, Target};
use report::Report;
use scene::Scene;
use stages::Stages;

type Failure = Box<dyn std::error::Error>;

const CLIENTS: [usize; 3] = [1, 16, 64];
const PROXY_CLIENTS: usize = 32;

struct Options {
    requests: usize,
    json: Option<PathBuf>,
    postgres: Option<String>,
}

fn main() -> Result<(), Failure> {
    let options = options()?;
    // One thread: what the load costs is taken from the gateway's cores, so it must be little.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(bench(&options))?;
    print!("{}", report.text());
    if let Some(path) = &options.json {
        std::fs::write(path, format!("{:#}\n", report.json()))?;
    }
    Ok(())
}

fn options() -> Result<Options, Failure> {
    let mut options = Options { requests: 12_000, json: None, postgres: None };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("`{word}` needs a value"));
        match word.as_str() {
            "--requests" => options.requests = value()?.parse()?,
            "--json" => options.json = Some(value()?.into()),
            "--postgres" => options.postgres = Some(value()?),
            // Cargo says so itself.
            "--bench" => {}
            _ => return Err(format!("`{word}` is not an option of the bench").into()),
        }
    }
    Ok(options)
}

async fn bench(options: &Options) -> Result<Report, Failure> {
    let program = program()?;
    let folder = program.with_file_name("bench-data");
    say("keys, genesis and processes");
    let scene = Scene::set(&program, &folder)?;
    let gateway = scene.gateway()?;
    let ready_first = gateway.ready_after;
    let pull = scene.prepare(&gateway).await?;
    let target = Target { address: gateway.address, connector: scene.consumer()? };
    let mut rounds = Vec::new();
    // The first requests fill caches and open connections to the provider.
    let warm = scene.pulls(&pull, options.requests.div_ceil(20))?;
    load::run(&target, warm, 16, (&gateway, &scene.provider)).await?;
    for clients in CLIENTS {
        say(&format!("{clients} clients"));
        let count = match clients {
            1 => options.requests / 8,
            16 => options.requests / 2,
            _ => options.requests,
        };
        let pulls = scene.pulls(&pull, count)?;
        rounds.push(load::run(&target, pulls, clients, (&gateway, &scene.provider)).await?);
    }
    let peak_memory = gateway.peak_memory()?;
    gateway.stop()?;
    let again = scene.gateway()?;
    let ready_again = again.ready_after;
    again.stop()?;
    say("the log, from the first entry to the last");
    verify_log(&scene)?;
    say("the stages alone");
    let stages = Stages::measure(&scene)?;
    let policy = policy::measure()?;
    let log = log_rates(&scene, &folder, options).await?;
    say("nginx");
    let proxy = proxied(&scene, target.connector, options.requests).await;
    Ok(Report {
        rounds,
        ready: [ready_first, ready_again],
        peak_memory,
        record_bytes: scene.record.to_string().len(),
        stages,
        policy,
        log,
        proxy: proxy.map_err(|failure| failure.to_string()),
    })
}

async fn log_rates(scene: &Scene, folder: &Path, options: &Options) -> Result<Vec<log::Rate>, Failure> {
    let pki = scene.stage.pki();
    let name = scene.stage.log_key.split('+').next().unwrap_or_default();
    let key = Ed25519NoteKey::from_pem(name, &std::fs::read(pki.join("gateway/log.key.pem"))?)?;
    log::measure(&folder.join("log"), key, options.postgres.as_deref(), options.requests).await
}

async fn proxied(scene: &Scene, connector: TlsConnector, requests: usize) -> Result<Round, Failure> {
    let nginx = proxy::start(scene)?;
    let target = Target { address: nginx.address, connector };
    let processes = (&nginx, &scene.provider);
    load::run(&target, scene.provider_requests(requests.div_ceil(20))?, PROXY_CLIENTS, processes).await?;
    load::run(&target, scene.provider_requests(requests)?, PROXY_CLIENTS, processes).await
}

fn verify_log(scene: &Scene) -> Result<(), Failure> {
    let arguments = varco::demo::story::verify_arguments(&scene.stage);
    let checked = std::process::Command::new(&scene.program).args(arguments).output()?;
    if checked.status.success() { Ok(()) } else { Err("the log does not verify after the load".into()) }
}

/// The gateway's program, built beside this one: cargo puts benches into `deps`.
fn program() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(Path::parent).map(|folder| folder.join("varco"));
    built.filter(|path| path.is_file()).ok_or_else(|| "build the gateway first: cargo build --release".into())
}

/// What is being done, for whoever waits.
fn say(what: &str) {
    eprintln!("bench: {what}");
}

/// Milliseconds.
fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
