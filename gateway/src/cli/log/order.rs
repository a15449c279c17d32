//! `varco log erase`, `hold`, `lift`, `prune`: the documents that officers sign to order something about the log.
//!
//! Each prints one document. `varco registry sign --act order` signs it, `varco registry propose` puts document and
//! statements together, and anybody brings the result to `POST /log/orders`.

use std::process::ExitCode;
use std::str::FromStr;

use clap::Subcommand;
use varco_core::json;
use varco_core::log::entry::{Reason, SlotName};

use super::Failure;
use crate::app::system_now;
use crate::orders::{Act, Entries, Order};

/// What every order says.
#[derive(clap::Args)]
pub struct Common {
    /// The log's origin, as the first line of its checkpoint names it.
    #[arg(long)]
    log: String,
    /// By what act, such as `Trib. Lucca, decreto 12/2026`. Stays in the log for ever: it must name no person.
    #[arg(long)]
    authority: String,
}

#[derive(Subcommand)]
pub enum Command {
    /// Order that bodies of entries be erased (officers of two agencies).
    Erase {
        /// Entries, as `<index>` or `<first>-<last>`; in order.
        #[arg(long = "entries", required = true, value_name = "RANGE")]
        entries: Vec<Range>,
        /// Which bodies: decision, operator, subject.
        #[arg(long = "slot", required = true, value_name = "NAME")]
        slots: Vec<SlotName>,
        /// Why: authority, mistake or person.
        #[arg(long)]
        reason: Reason,
        #[command(flatten)]
        common: Common,
    },
    /// Order that no body of these entries be erased (one officer).
    Hold {
        /// The name under which the hold is lifted.
        #[arg(long)]
        name: String,
        /// Entries, as `<index>`, `<first>-<last>` or `<first>-` for all that follow.
        #[arg(long = "entries", required = true, value_name = "RANGE")]
        entries: Vec<Range>,
        #[command(flatten)]
        common: Common,
    },
    /// Order that a hold end (officers of two agencies).
    Lift {
        #[arg(long)]
        name: String,
        #[command(flatten)]
        common: Common,
    },
    /// Order that entries before an index lose their bodies and are served no more (officers of two agencies).
    Prune {
        /// A multiple of 256.
        #[arg(long)]
        minimum: u64,
        #[command(flatten)]
        common: Common,
    },
}

/// Entries from first to last.
#[derive(Clone)]
pub struct Range(Entries);

impl FromStr for Range {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const EXPECTED: &str = "expected an index, or two with `-` between them";
        let number = |text: &str| text.parse().map_err(|_| EXPECTED);
        let (first, last) = match text.split_once('-') {
            Some((first, "")) => (number(first)?, varco_core::log::leaf::INDEX_MAX),
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        if first <= last { Ok(Self(Entries { first, last })) } else { Err(EXPECTED) }
    }
}

pub fn run(command: Command) -> Result<ExitCode, Failure> {
    let listed = |ranges: Vec<Range>| ranges.into_iter().map(|range| range.0).collect();
    let (common, act) = match command {
        Command::Erase { entries, slots, reason, common } => {
            (common, Act::Erase { entries: listed(entries), slots, reason })
        }
        Command::Hold { name, entries, common } => {
            (common, Act::Hold { hold: name, entries: listed(entries) })
        }
        Command::Lift { name, common } => (common, Act::Lift { hold: name }),
        Command::Prune { minimum, common } => (common, Act::Prune { minimum }),
    };
    let order = Order { log: common.log, at: system_now(), authority: common.authority, act };
    // How long the log is only the gateway knows.
    order.check(u64::MAX).map_err(|fault| Failure::Usage(fault.to_string()))?;
    print!("{}", json::canonical_of(&order));
    Ok(ExitCode::SUCCESS)
}
