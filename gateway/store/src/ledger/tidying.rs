//! What the writer forgets in its quiet moments.

use varco_core::time::Timestamp;

use super::Ledger;
use crate::statements;

impl Ledger {
    /// Forgets tokens that expired before an instant, some thousand at a time.
    pub async fn forget(&mut self, before: Timestamp) -> Result<(), sqlx::Error> {
        /// Ten thousand deletions take some ten milliseconds, which a commit can wait.
        const MOST: i64 = 10_000;
        statements::forget(&mut self.link, before, MOST).await
    }
}
