//! `varco log adopt`: an anchor for a database that has none here: a new replica, or a replica whose disk was lost.
//!
//! An anchor is what tells the newest database from an old copy, so nobody makes one from the database alone: somebody
//! else's checkpoint says how far the log had come, and the whole log is checked against it first.

use std::path::PathBuf;
use std::process::ExitCode;

use varco_store::anchor::{Anchor, AnchorError};

use super::source::{Channel, Place};
use super::{Answer, BodyKeys, Failure, Trust, read_file, verify};

#[derive(clap::Args)]
pub struct Args {
    /// The database: `sqlite:<path>` or `postgres://...`. It is only read.
    #[arg(long, value_name = "URL")]
    database: String,
    /// The newest checkpoint that a witness, an agency or another replica has: `GET /log/checkpoint` gives it.
    #[arg(long, value_name = "FILE")]
    checkpoint: PathBuf,
    /// The anchor file to make; there must be none, or one without a checkpoint.
    #[arg(long, value_name = "FILE")]
    anchor: PathBuf,
    #[command(flatten)]
    keys: BodyKeys,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    answer: Answer,
}

/// Exits 1, and makes nothing, when the database is not what was signed.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let fault = |fault| Failure::Anchor(args.anchor.clone(), fault);
    let note = String::from_utf8(read_file(&args.checkpoint)?);
    let note = note.map_err(|_| Failure::Usage("the checkpoint is not text".to_owned()))?;
    if args.anchor.exists() && Anchor::peek(&args.anchor).map_err(fault)?.is_some() {
        return Err(Failure::Usage("there is an anchor already; it is not replaced".to_owned()));
    }
    let channel = Channel { ca: Vec::new(), certificate: None, client_key: None };
    let place =
        Place { database: Some(args.database), url: None, export: Vec::new(), channel, keys: args.keys };
    let checked = verify::run(&verify::Args {
        place,
        anchor: None,
        checkpoint: vec![args.checkpoint],
        receipt: Vec::new(),
        officer_key: None,
        // The keys of bodies may have gone with the anchor.
        hashes_only: true,
        trust: args.trust,
        answer: args.answer,
    })?;
    if checked == ExitCode::SUCCESS {
        let mut anchor = Anchor::open(&args.anchor).map_err(fault)?;
        anchor
            .write(&note.into())
            .map_err(|fault: AnchorError| Failure::Anchor(args.anchor.clone(), fault))?;
    }
    Ok(checked)
}
