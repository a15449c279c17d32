//! The keys of the pseudonyms, taken again when their file changes: a new epoch begins without a stop.
//!
//! A file that lacks an epoch in use, or has it with another key, is refused: what was written under it could not be found
//! any more, and a restriction that is not found would open what it closed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use varco_core::parcel::LockFault;
use varco_core::subject::{SubjectKeys, SubjectKeysFault};
use zeroize::Zeroizing;

use crate::app::App;
use crate::keepers::Keepers;
use crate::tasks::Stop;
use crate::tls;

/// Why a file of keys is not taken. Never says a key.
#[derive(Debug, thiserror::Error)]
pub enum RotationError {
    #[error("no keys can be derived from these")]
    Derive(#[from] LockFault),
    #[error("the epochs {0:?} in use are missing, or have other keys")]
    Missing(Vec<u16>),
    #[error("{0}")]
    Parse(#[from] SubjectKeysFault),
    #[error("the file cannot be read: {0}")]
    Unreadable(#[from] std::io::Error),
}

/// Looks at the file every so often, and at SIGHUP, until told to stop.
pub async fn watch(app: Arc<App>, file: PathBuf, (every, stop): (Duration, Stop)) {
    let changed = || match take(&app, &file) {
        Ok(()) => {
            let (current, epochs) = app.keys.load().epochs();
            tracing::info!(current, ?epochs, "the keys of the pseudonyms were taken again");
            app.keys_refused.store(Arc::new(None));
        }
        Err(error) => {
            tracing::error!(%error, "the keys of the pseudonyms are refused; those in use stay in use");
            app.keys_refused.store(Arc::new(Some(error.to_string())));
        }
    };
    tls::watch_files(|| vec![file.clone()], every, stop, changed).await;
}

/// Takes the keys of the file, if nothing in use is lost by that.
fn take(app: &App, file: &Path) -> Result<(), RotationError> {
    let text = Zeroizing::new(std::fs::read_to_string(file)?);
    let newer = SubjectKeys::parse(&text)?;
    let missing = app.keys.load().missing_in(&newer);
    if !missing.is_empty() {
        return Err(RotationError::Missing(missing));
    }
    let keepers = Keepers::of(&newer)?;
    app.keys.store(Arc::new(newer));
    app.keepers.store(Arc::new(keepers));
    Ok(())
}
