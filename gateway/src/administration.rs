//! Acts of system administrators as entries of the log (Garante, 27 November 2008): who started and stopped the gateway, and
//! who opened its database with a command of ours, when, and with which.
//!
//! A command cannot write to the log itself: there is one writer, the gateway. It writes its act down first, beside the
//! SQLite database or into PostgreSQL, and the gateway enters it. Who reads the database with other programs is for the
//! operating system's and the database's own logs to tell (docs/operations.md).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use varco_core::id::ExchangeId;
use varco_core::log::entry::{Draft, Kind, Slot};
use varco_core::time::Timestamp;
use varco_store::kept::{self, Record};
use varco_store::submission::{AppendError, Submission};

use crate::app::{App, system_entropy, system_now};
use crate::config::Database;
use crate::tasks::Stop;

/// How often acts that were written down are entered.
const EVERY: Duration = Duration::from_secs(10);

/// An act is a few hundred bytes.
const ACT_MAX: u64 = 16 * 1024;

/// What somebody did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Act {
    /// Names the entry, so that it is entered once.
    pub id: ExchangeId,
    pub at: Timestamp,
    /// `started`, `stopped`, or `database-opened`.
    pub act: String,
    /// The command without its arguments: `log verify`.
    pub command: String,
    pub who: Who,
}

/// Who did it, as the operating system knows them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Who {
    pub user: String,
    /// Who logged in, before any change of user; empty where the system does not say.
    pub login: String,
    pub host: String,
}

impl Who {
    /// Whoever runs this process.
    pub fn here() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        let status = read("/proc/self/status");
        let uid = status.lines().find_map(|line| line.strip_prefix("Uid:"));
        let uid = uid.and_then(|ids| ids.split_whitespace().next()).unwrap_or_default().to_owned();
        let users = read("/etc/passwd");
        // 2^32 - 1: nobody has logged in.
        let login = read("/proc/self/loginuid").trim().to_owned();
        let login = if login == "4294967295" { String::new() } else { name_of(&users, &login) };
        let host = read("/proc/sys/kernel/hostname").trim().to_owned();
        Self { user: name_of(&users, &uid), login, host }
    }
}

/// The name in a file of users, or the number where it has none.
fn name_of(users: &str, uid: &str) -> String {
    let named = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    });
    named.unwrap_or_else(|| uid.to_owned())
}

impl Act {
    pub fn new(act: &str, command: &str) -> Self {
        let (now, mut random) = (system_now(), [0; 10]);
        system_entropy()(&mut random);
        Self {
            id: ExchangeId::new(now, random),
            at: now,
            act: act.to_owned(),
            command: command.to_owned(),
            who: Who::here(),
        }
    }
}

/// Why an act could not be written down.
#[derive(Debug, thiserror::Error)]
pub enum NoteError {
    #[error(transparent)]
    Connect(#[from] varco_store::db::ConnectError),
    #[error("`{}`: {}", .0.display(), .1)]
    File(PathBuf, #[source] std::io::Error),
}

/// Writes down that a command opens a database, before it does.
pub async fn note(url: &str, command: &str) -> Result<(), NoteError> {
    let act = Act::new("database-opened", command);
    let text = json!(act).to_string();
    match url.strip_prefix("sqlite:") {
        Some(path) => {
            let folder = waiting(Path::new(path.trim_start_matches("//")));
            let write = || {
                std::fs::create_dir_all(&folder)?;
                // Whole or not at all: the gateway looks for `.json` only.
                let beside = folder.join(format!("{}.new", act.id));
                std::fs::write(&beside, &text)?;
                std::fs::File::open(&beside)?.sync_all()?;
                std::fs::rename(&beside, folder.join(format!("{}.json", act.id)))
            };
            write().map_err(|error| NoteError::File(folder.clone(), error))
        }
        None => Ok(kept::note_act(url, act.id.as_str(), &text).await.map(drop)?),
    }
}

/// Where acts wait beside an SQLite database.
fn waiting(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-acts");
    name.into()
}

/// Enters an act. One that is entered already is no fault.
pub async fn enter(app: &App, act: &Act) -> Result<(), AppendError> {
    let mut draft = Draft::new(Kind::Admin, act.id.clone());
    let body = json!({ "act": act.act, "at": act.at, "command": act.command });
    draft.slots.decision = Some(Slot::new(app.random(), &body));
    draft.slots.operator = Some(Slot::new(app.random(), &json!(act.who)));
    match app.store.append(Submission::new(draft)).await {
        Ok(_) | Err(AppendError::Duplicate) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Enters what commands have written down, until told to stop.
pub async fn watch(app: Arc<App>, database: Database, mut stop: Stop) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.called() => return,
            _ = ticks.tick() => {}
        }
        let entered = match &database {
            Database::Sqlite(path) => from_folder(&app, &waiting(path)).await,
            Database::Postgres { .. } => from_table(&app).await,
        };
        if let Err(error) = entered {
            tracing::warn!(error, "acts of administrators wait to be entered in the log");
        }
    }
}

async fn from_folder(app: &App, folder: &Path) -> Result<(), String> {
    let Ok(listed) = std::fs::read_dir(folder) else { return Ok(()) };
    let mut paths: Vec<PathBuf> = listed.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    for path in paths {
        let small = std::fs::metadata(&path).is_ok_and(|found| found.len() <= ACT_MAX);
        let text = if small { std::fs::read(&path).map_err(|error| error.to_string())? } else { Vec::new() };
        match serde_json::from_slice::<Act>(&text) {
            Ok(act) => enter(app, &act).await.map_err(|error| error.to_string())?,
            // Somebody put it there; it stays out of the way, for a person to look at.
            Err(error) => {
                tracing::warn!(file = %path.display(), %error, "this is no act of an administrator");
                let _ = std::fs::rename(&path, path.with_extension("unreadable"));
                continue;
            }
        }
        std::fs::remove_file(&path).map_err(|error| error.to_string())?;
    }
    Ok(())
}

async fn from_table(app: &App) -> Result<(), String> {
    for (id, text) in app.store.read().acts().await.map_err(|error| error.to_string())? {
        match serde_json::from_str::<Act>(&text) {
            Ok(act) => enter(app, &act).await.map_err(|error| error.to_string())?,
            Err(error) => tracing::warn!(%error, "this is no act of an administrator"),
        }
        app.store.keep(vec![Record::ActEntered(id)]).await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_have_the_names_of_the_system() {
        let users = "root:x:0:0:root:/root:/bin/sh\nmario:x:1000:1000::/home/mario:/bin/sh\n";
        assert_eq!(name_of(users, "1000"), "mario");
        assert_eq!(name_of(users, "0"), "root");
        assert_eq!(name_of(users, "42"), "42");
        assert!(!Who::here().user.is_empty());
    }

    #[tokio::test]
    async fn an_act_is_written_down_beside_the_database() {
        let folder = crate::tls::testing::Folder::new();
        let database = folder.write("varco.db", "");
        note(&format!("sqlite:{}", database.display()), "log verify").await.unwrap();
        let files: Vec<_> =
            std::fs::read_dir(waiting(&database)).unwrap().map(|e| e.unwrap().path()).collect();
        let act: Act = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
        assert_eq!(
            (files.len(), act.act.as_str(), act.command.as_str()),
            (1, "database-opened", "log verify")
        );
        std::fs::remove_dir_all(waiting(&database)).unwrap();
    }
}
