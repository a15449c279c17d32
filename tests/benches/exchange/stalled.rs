//! One provider that takes requests and never answers, and what the others' exchanges notice of it.
//!
//! 16 clients pull from the provider that answers, alone and then while 96 others wait for the one that does not: its 64
//! turns are taken and 32 more wait for one. Both are measured in several short rounds, because the machine has moods.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use rustls::{ServerConfig, version};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use varco_core::id::AgencyId;

use crate::finding::{Bound, Finding, Target};
use crate::load::{self, Round};
use crate::scene::Scene;
use crate::{Bench, Care, Failure, millis, say};

/// A Comune whose system stalls.
const STALLED: &str = "comune-lucca";
const CLIENTS: usize = 16;
const WAITING: usize = 96;
const ROUNDS: usize = 5;
/// How much later the 99th of 100 may be: what two equal rounds differ by on a machine that does other things too.
const LATER_MAX: f64 = 1.25;

pub async fn measure(bench: &Bench) -> Result<Finding, Failure> {
    let scene = bench.scene()?;
    let provider: AgencyId = STALLED.parse()?;
    let mut stalling = JoinSet::new();
    let address = stall(scene, &mut stalling).await?;
    // Longer than all rounds take, so that nobody is released in between.
    scene.configure(&[(provider, address)], "timeout = \"60s\"\n")?;
    let gateway = scene.gateway()?;
    let pull = scene.prepare(&gateway).await?;
    let target = load::Target { address: gateway.address, connector: scene.consumer()? };
    let requests = match bench.care {
        Care::Full => bench.requests / 8,
        Care::Quick => bench.requests / 4,
    };
    let round = async || {
        load::run(&target, scene.pulls(&pull, requests)?, CLIENTS, (&gateway, &scene.provider)).await
    };
    round().await?;
    say("without a stalled provider");
    let mut alone = Vec::new();
    for _ in 0..ROUNDS {
        alone.push(round().await?);
    }
    say("beside one");
    let mut waiting = JoinSet::new();
    let hopeless = merged(&pull, &json!({ "provider": STALLED }));
    for request in scene.pulls(&hopeless, WAITING)? {
        let connection = load::connect(&target).await?;
        waiting.spawn(load::send_and_wait(connection, request));
    }
    let mut beside = Vec::new();
    for _ in 0..ROUNDS {
        beside.push(round().await?);
    }
    if let Some(ended) = waiting.try_join_next() {
        return Err(format!(
            "an exchange with the stalled provider has ended, so nothing was shown: {}",
            ended?
        )
        .into());
    }
    waiting.abort_all();
    drop(gateway);
    scene.configure(&[], "")?;
    Ok(finding(&alone, &beside))
}

fn finding(alone: &[Round], beside: &[Round]) -> Finding {
    let (p50, p99) =
        ([alone, beside].map(|rounds| median(rounds, 50)), [alone, beside].map(|rounds| median(rounds, 99)));
    let [before, after] = p99;
    let later = if before > 0.0 { after / before } else { f64::INFINITY };
    let text = format!(
        "{CLIENTS} clients of one provider, medians of {ROUNDS} rounds     p50 ms   p99 ms\n\
         alone                                            {:>11.1} {:>8.1}\n\
         beside {WAITING} that wait for a provider which stalls  {:>11.1} {:>8.1}\n",
        p50[0], p99[0], p50[1], p99[1]
    );
    Finding {
        text,
        targets: vec![Target::new(
            "p99 beside a stalled provider, times alone",
            later,
            Bound::AtMost(LATER_MAX),
        )],
        json: json!({ "p50_ms": p50, "p99_ms": p99 }),
    }
}

fn median(rounds: &[Round], percent: usize) -> f64 {
    let mut found: Vec<_> = rounds.iter().map(|round| round.percentile(percent)).collect();
    found.sort_unstable();
    found.get(found.len() / 2).copied().map_or(f64::INFINITY, millis)
}

fn merged(pull: &Value, with: &Value) -> Value {
    let mut merged = pull.clone();
    if let (Some(members), Some(with)) = (merged.as_object_mut(), with.as_object()) {
        members.extend(with.clone());
    }
    merged
}

/// A system with an agency's certificate that reads whatever comes and says nothing.
async fn stall(scene: &Scene, stalling: &mut JoinSet<()>) -> Result<SocketAddr, Failure> {
    let own = scene.stage.pki().join("agencies").join(STALLED);
    let chain = CertificateDer::pem_file_iter(own.join("channel.pem"))?.collect::<Result<Vec<_>, _>>()?;
    let key = PrivateKeyDer::from_pem_file(own.join("channel.key.pem"))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    stalling.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((tcp, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            connections.spawn(async move {
                let Ok(mut stream) = acceptor.accept(tcp).await else { return };
                let mut buffer = [0; 4096];
                while stream.read(&mut buffer).await.is_ok_and(|read| read > 0) {}
            });
        }
    });
    Ok(address)
}
