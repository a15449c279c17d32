//! A throw-away MariaDB for one test: its own data, its own socket, nothing on the network.
//!
//! The adapters' own tests include this file by its path, because they must not depend on this crate.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The user without rights, as whom a server started by root runs.
const NOBODY: u32 = 65_534;
/// A server on a loaded machine starts within seconds.
const START: Duration = Duration::from_secs(60);

/// A running server. It ends with this value, and also when the process that started it is killed.
#[derive(Debug)]
pub struct Mariadb {
    directory: PathBuf,
    server: Child,
}

impl Mariadb {
    /// Starts a server with an empty database `anagrafe`; `None` when MariaDB is not installed.
    pub fn start() -> io::Result<Option<Self>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        if !Path::new("/usr/sbin/mariadbd").exists() {
            return Ok(None);
        }
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        let directory = std::env::temp_dir().join(format!("varco-my-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        fs::create_dir_all(&directory)?;
        if is_root()? {
            chown(&directory, Some(NOBODY), Some(NOBODY))?;
        }
        let data = format!("--datadir={}", directory.join("data").display());
        // Its own place for temporary tables: a server that starts removes those it finds, its neighbours' too.
        let temporary = format!("--tmpdir={}", directory.display());
        let made = command("mariadb-install-db")?
            .args([
                "--no-defaults",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
                &data,
                &temporary,
            ])
            .stdin(Stdio::null())
            .output()?;
        if !made.status.success() {
            return Err(io::Error::other(String::from_utf8_lossy(&made.stderr).into_owned()));
        }
        let log = File::create(directory.join("log"))?;
        let server = command("/usr/sbin/mariadbd")?
            .args(["--no-defaults", &data, &temporary, "--skip-networking", "--innodb-buffer-pool-size=16M"])
            .arg(format!("--socket={}", directory.join("socket").display()))
            .arg(format!("--pid-file={}", directory.join("pid").display()))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        let mut started = Self { directory, server };
        started.wait()?;
        started.run("CREATE DATABASE anagrafe CHARACTER SET utf8mb4")?;
        Ok(Some(started))
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.join("socket")
    }

    /// Runs statements as the owner.
    pub fn run(&self, statements: &str) -> io::Result<()> {
        let output = Command::new("mariadb")
            .args(["--no-defaults", "--user=root", "--default-character-set=utf8mb4", "-e", statements])
            .arg(format!("--socket={}", self.socket().display()))
            .stdin(Stdio::null())
            .output()?;
        if output.status.success() {
            return Ok(());
        }
        Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    fn wait(&mut self) -> io::Result<()> {
        let deadline = Instant::now() + START;
        while self.run("SELECT 1").is_err() {
            if let Some(end) = self.server.try_wait()? {
                let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
                return Err(io::Error::other(format!("MariaDB ended with {end}: {log}")));
            }
            if Instant::now() > deadline {
                return Err(io::Error::other("MariaDB did not start in time"));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Ok(())
    }
}

impl Drop for Mariadb {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// A program, run without root's rights and ended with the test that runs it.
fn command(program: &str) -> io::Result<Command> {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if is_root()? {
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    command.arg(program).current_dir("/");
    Ok(command)
}

fn is_root() -> io::Result<bool> {
    Ok(fs::metadata("/proc/self")?.uid() == 0)
}
