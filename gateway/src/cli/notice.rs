//! `varco notice`: what an officer does with notices on their own machine.
//!
//! The reading key stays with the officer: nothing here asks a gateway.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use varco_jose::{Reader, SealedFault, SignerFault};
use zeroize::Zeroizing;

use super::{NO, USAGE};

/// A reason of 2000 characters is 3 KiB as a compact JWE, and a key file is smaller.
const FILE_MAX: u64 = 64 * 1024;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Open the reason of an emergency that was sealed to you.
    Open(Open),
}

#[derive(clap::Args)]
struct Open {
    /// Your private reading key.
    #[arg(long, value_name = "PEM")]
    key: PathBuf,
    /// A file with the `jwe` of the notice; standard input when not given.
    #[arg(value_name = "FILE")]
    sealed: Option<PathBuf>,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum OpenError {
    #[error("your reading key: {0}")]
    Key(#[from] SignerFault),
    #[error("{0}")]
    Sealed(#[from] SealedFault),
    #[error("what is sealed is not text")]
    Text,
    #[error("`{}`: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
}

pub fn run(args: Args) -> ExitCode {
    let Command::Open(args) = args.command;
    match open(&args) {
        Ok(text) => {
            let shown = serde_json::json!({ "reason": text.as_str() }).to_string();
            let said = if args.json { shown.as_str() } else { text.as_str() };
            // A reader that closed the pipe has seen what it wanted.
            let _ = writeln!(std::io::stdout(), "{said}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("varco notice open: {error}");
            let is_no = matches!(error, OpenError::Sealed(SealedFault::Closed));
            ExitCode::from(if is_no { NO } else { USAGE })
        }
    }
}

fn open(args: &Open) -> Result<Zeroizing<String>, OpenError> {
    let key = read(&args.key)?;
    let sealed = read(args.sealed.as_deref().unwrap_or(Path::new("-")))?;
    let opened = Reader::from_pem(&key)?.open(String::from_utf8_lossy(&sealed).trim())?;
    String::from_utf8(opened.to_vec()).map(Zeroizing::new).map_err(|_| OpenError::Text)
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, OpenError> {
    let unreadable = |source| OpenError::Unreadable { path: path.to_owned(), source };
    let mut bytes = Zeroizing::new(Vec::new());
    if path == Path::new("-") {
        std::io::stdin().take(FILE_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    } else {
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(FILE_MAX).read_to_end(&mut bytes).map_err(unreadable)?;
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use rcgen::KeyPair;

    use super::*;
    use crate::tls::testing::Folder;

    #[test]
    fn an_officer_opens_what_is_sealed_to_them_and_nothing_else() {
        let folder = Folder::new();
        let (own, other) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
        let key = varco_jose::ReaderKey::from_pem(&own.public_key_pem()).unwrap();
        folder.write("own.pem", own.serialize_pem());
        folder.write("other.pem", other.serialize_pem());
        folder.write("sealed", format!("{}\n", key.seal("perché sì".as_bytes(), &[7; 44]).unwrap()));
        let args =
            |key: &str| Open { key: folder.0.join(key), sealed: Some(folder.0.join("sealed")), json: false };
        assert_eq!(open(&args("own.pem")).unwrap().as_str(), "perché sì");
        assert!(matches!(open(&args("other.pem")), Err(OpenError::Sealed(SealedFault::Closed))));
        assert!(matches!(open(&args("missing.pem")), Err(OpenError::Unreadable { .. })));
    }
}
