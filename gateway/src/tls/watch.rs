//! Notices that a channel's files changed, by their times and lengths or because SIGHUP says so.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::signal::unix::{SignalKind, signal};

use super::{Alarm, Channel};
use crate::tasks::Stop;

/// Reloads `channel` when one of its files changes (looked at every `every`) or at SIGHUP, until told to stop.
///
/// A refused reload is logged once and tried again when a file changes again: half-written files mend themselves.
/// Whatever ends soon or has ended is logged once, too.
pub async fn watch(channel: Arc<Channel>, every: Duration, stop: Stop) {
    let mut told = BTreeSet::new();
    let look = |change: Change| {
        if change == Change::Seen {
            reload(&channel);
        }
        tell_alarms(&channel, &mut told);
    };
    watch_each(|| channel.files(), every, stop, look).await;
}

/// Calls `changed` when one of the files that `list` names changes or vanishes, or at SIGHUP, until told to stop.
pub async fn watch_files(
    list: impl Fn() -> Vec<PathBuf>,
    every: Duration,
    stop: Stop,
    mut changed: impl FnMut(),
) {
    let look = |change: Change| {
        if change == Change::Seen {
            changed();
        }
    };
    watch_each(list, every, stop, look).await;
}

/// What a look at the files found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    None,
    Seen,
}

async fn watch_each(
    list: impl Fn() -> Vec<PathBuf>,
    every: Duration,
    mut stop: Stop,
    mut looked: impl FnMut(Change),
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
            looked(Change::Seen);
        } else {
            looked(Change::None);
        }
    }
}

/// Logs each alarm when it begins, and when it is over.
fn tell_alarms(channel: &Channel, told: &mut BTreeSet<Alarm>) {
    let alarms: BTreeSet<Alarm> = channel.status().alarms(channel.now()).into_iter().collect();
    for alarm in alarms.difference(told) {
        tracing::error!(%alarm, "agencies are or will soon be shut out");
    }
    for alarm in told.difference(&alarms) {
        tracing::info!(%alarm, "this is over");
    }
    *told = alarms;
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
