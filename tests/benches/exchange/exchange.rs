//! The real gateway under load, and beside it, in the same run, what its mandatory work costs alone.
//!
//! A closed loop of 1, 16 and 64 clients over mutual TLS makes pulls of a record of 4 KB from `varco serve`, which asks
//! `varco demo agency`; all on this machine, everything switched on. The gateway is judged by its CPU time for an exchange
//! against the sum of what the exchange cannot do without, because that holds on a busy machine too.

use std::time::Duration;

use tokio_rustls::TlsConnector;

use crate::finding::Finding;
use crate::load::{self, Round, Target};
use crate::log::{self, Rate};
use crate::scene::Scene;
use crate::stages::Stages;
use crate::{Bench, Failure, proxy, say};

mod report;

const CLIENTS: [usize; 3] = [1, 16, 64];
const PROXY_CLIENTS: usize = 32;

/// What was measured.
struct Measured {
    rounds: Vec<Round>,
    /// Of a new gateway, and of one whose log has entries.
    ready: [Duration; 2],
    /// KiB
    peak_memory: u64,
    record_bytes: usize,
    stages: Stages,
    /// Claim and outcome in the store alone, with as many in flight as the load had at most.
    log: Rate,
    /// nginx in front of the provider, or why there is none.
    proxy: Result<Round, String>,
}

pub async fn measure(bench: &Bench) -> Result<Finding, Failure> {
    let scene = bench.scene()?;
    let gateway = scene.gateway()?;
    let ready_first = gateway.ready_after;
    let pull = scene.prepare(&gateway).await?;
    let target = Target { address: gateway.address, connector: scene.consumer()? };
    let mut rounds = Vec::new();
    // The first requests fill caches and open connections to the provider.
    let warm = scene.pulls(&pull, bench.requests.div_ceil(20))?;
    load::run(&target, warm, 16, (&gateway, &scene.provider)).await?;
    for clients in CLIENTS {
        say(&format!("{clients} clients"));
        let count = match clients {
            1 => bench.requests / 8,
            16 => bench.requests / 2,
            _ => bench.requests,
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
    verify_log(scene)?;
    say("the stages alone");
    let stages = Stages::measure(scene, bench.care)?;
    let log = log::as_in_an_exchange(bench).await?;
    say("nginx");
    let proxy = proxied(scene, target.connector, bench.requests).await;
    let measured = Measured {
        rounds,
        ready: [ready_first, ready_again],
        peak_memory,
        record_bytes: scene.record.to_string().len(),
        stages,
        log,
        proxy: proxy.map_err(|failure| failure.to_string()),
    };
    Ok(measured.finding())
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
