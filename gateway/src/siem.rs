//! The stream to a SIEM: every entry as an OCSF event in a line of RFC 5424, over TLS (RFC 5425), in order, at least once.
//! It names neither a subject nor a case.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use varco_core::log::mapping;
use varco_store::kept::Record;
use varco_store::read::{PAGE_MAX, ReadError};
use varco_store::submission::Unavailable;

use crate::alerts::entries;
use crate::app::App;
use crate::config;
use crate::fetch::{FetchError, Fetcher, Identity};
use crate::start::{StartError, fault};
use crate::tasks::Stop;

const FOLLOWER: &str = "siem";

/// A page takes milliseconds to write; a receiver that takes longer has stopped reading.
const WRITE_WAIT: Duration = Duration::from_secs(10);

/// Where events go.
pub struct Siem {
    settings: config::Siem,
    fetcher: Fetcher,
}

/// Why the stream broke off. It goes on from the first entry that was not kept as sent.
#[derive(Debug, thiserror::Error)]
enum StreamError {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Keep(#[from] Unavailable),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("the receiver does not take what it is sent")]
    Stalled,
    #[error("the connection failed: {0}")]
    Write(#[from] std::io::Error),
}

impl Siem {
    pub fn open(settings: &config::Siem) -> Result<Self, StartError> {
        let path = settings.authorities.first().cloned().unwrap_or_default();
        let identity = settings.certificate.as_deref().zip(settings.key.as_deref());
        let identity = identity.map(|(certificate, key)| Identity { certificate, key });
        let fetcher = Fetcher::new(&settings.authorities, identity.as_ref()).map_err(fault(&path))?;
        Ok(Self { settings: settings.clone(), fetcher })
    }
}

/// Follows the log until told to stop.
pub async fn watch(app: Arc<App>, mut stop: Stop) {
    let Some(siem) = &app.siem else { return };
    let mut ticks = tokio::time::interval(siem.settings.every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let (mut stream, mut broken) = (None, false);
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => {}
        }
        match send(&app, siem, &mut stream).await {
            Ok(()) => broken = false,
            Err(error) => {
                stream = None;
                if !broken {
                    tracing::warn!(%error, "the SIEM does not get the log's events; it is tried again");
                }
                broken = true;
            }
        }
    }
}

async fn send(app: &App, siem: &Siem, stream: &mut Option<TlsStream<TcpStream>>) -> Result<(), StreamError> {
    let mut next = app.store.read().follower(FOLLOWER).await?.unwrap_or(0);
    // Only what is signed: what a SIEM has seen must not be gone after a recovery.
    let size = app.store.checkpoint().end();
    while next < size {
        let to = next.saturating_add(PAGE_MAX).min(size);
        let mut lines = String::new();
        let gateway = app.in_force.load().registry.gateway.clone();
        for entry in entries(app.store.read(), next, to).await? {
            lines.push_str(&mapping::syslog(&entry, app.log.origin(), &gateway));
        }
        let open = match stream.take() {
            Some(open) => open,
            None => siem.fetcher.connect(&siem.settings.host, siem.settings.port).await?,
        };
        let open = stream.insert(open);
        let writing = async {
            open.write_all(lines.as_bytes()).await?;
            open.flush().await
        };
        tokio::time::timeout(WRITE_WAIT, writing).await.map_err(|_| StreamError::Stalled)??;
        app.store.keep(vec![Record::Followed { name: FOLLOWER, next: to }]).await?;
        next = to;
    }
    Ok(())
}
