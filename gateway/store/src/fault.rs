//! What can go wrong between the writer and its database.

use varco_core::log::note::SignError;

use crate::keyring::KeyringError;

/// Why a statement did not do what it must.
#[derive(Debug, thiserror::Error)]
pub enum StatementError {
    #[error("a claim is gone that this replica holds for open")]
    ClaimGone,
    #[error("the database does not answer as it must")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A row that no program of ours has written.
    #[error("the database holds something that cannot be: {0}")]
    Damaged(&'static str),
}

/// Why a batch was not committed, or its commit is not known.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    #[error("the clock is more than a minute behind the last entry")]
    ClockBehind,
    #[error(transparent)]
    Statement(#[from] StatementError),
    #[error(transparent)]
    Forked(#[from] Forked),
    #[error("the database did not answer in time")]
    TooSlow,
}

impl From<sqlx::Error> for CommitError {
    fn from(fault: sqlx::Error) -> Self {
        Self::Statement(fault.into())
    }
}

/// The database no longer continues what this replica has signed. A person must look.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Forked {
    #[error("the database has {found} entries, but {signed} were signed for")]
    Behind { found: u64, signed: u64 },
    #[error("the database belongs to the log `{0}`")]
    OtherLog(String),
    #[error("the database was taken through a recovery since this replica started")]
    Recovered,
    #[error("the entries in the database do not lead to the root they should at size {0}")]
    RootDiffers(u64),
}

/// Why a committed tree was not signed.
#[derive(Debug, thiserror::Error)]
pub enum CertifyError {
    #[error(transparent)]
    Forked(#[from] Forked),
    #[error(transparent)]
    Sign(#[from] SignError),
    #[error(transparent)]
    Statement(#[from] StatementError),
}

impl From<sqlx::Error> for CertifyError {
    fn from(fault: sqlx::Error) -> Self {
        Self::Statement(fault.into())
    }
}
