//! Notices that a channel's files changed, by their times and lengths or because SIGHUP says so.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};

use super::Channel;
use crate::tasks::Stop;

/// Reloads `channel` when one of its files changes (looked at every `every`) or at SIGHUP, until told to stop.
///
/// A refused reload is logged once and tried again when a file changes again: half-written files mend themselves.
pub async fn watch(channel: Arc<Channel>, every: Duration, stop: Stop) {
    watch_files(|| channel.files(), every, stop, || reload(&channel)).await;
}

/// Calls `changed` when one of the files that `list` names changes or vanishes, or at SIGHUP, until told to stop.
pub async fn watch_files(
    list: impl Fn() -> Vec<PathBuf>,
    every: Duration,
    mut stop: Stop,
    mut changed: impl FnMut(),
) {
    let mut seen = fingerprint(list());
    let mut hangup = match signal(SignalKind::hangup()) {
        Ok(hangup) => hangup,
        Err(error) => {
            tracing::error!(%error, "cannot listen for SIGHUP, so changed files are not reloaded");
            return;
        }
    };
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        let asked = tokio::select! {
            () = stop.called() => return,
            _ = hangup.recv() => true,
            _ = ticks.tick() => false,
        };
        let found = fingerprint(list());
        if asked || found != seen {
            seen = found;
            changed();
        }
    }
}

fn reload(channel: &Channel) {
    match channel.reload() {
        Ok(generation) => {
            tracing::info!(generation, "certificates, authorities and revocation lists reloaded")
        }
        Err(error) => {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            tracing::error!(%error, cause, "reload refused; the material in use stays in use");
        }
    }
}

/// What a look at the files can tell without reading them.
fn fingerprint(files: Vec<PathBuf>) -> Vec<(PathBuf, Option<(SystemTime, u64)>)> {
    let look = |path: PathBuf| {
        let metadata = std::fs::metadata(&path).ok();
        let seen = metadata.and_then(|metadata| Some((metadata.modified().ok()?, metadata.len())));
        (path, seen)
    };
    files.into_iter().map(look).collect()
}
