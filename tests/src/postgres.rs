//! A throw-away PostgreSQL for one test: its own data, its own socket, nothing on the network beyond loopback.
//!
//! Uses the server that is installed; where there is none the caller skips what needs it, and says so. The store's own
//! tests include this file by its path, because they must not depend on this crate.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The user without rights, as whom a server started by root runs: PostgreSQL refuses to be root.
const NOBODY: u32 = 65_534;

/// Only a part of the socket's name, where there is nothing on the network.
const PORT: u16 = 5432;

/// An address of loopback that is not taken for this machine's own.
pub const ELSEWHERE: &str = "127.0.0.2";

/// A server on a loaded machine starts within seconds.
const START: Duration = Duration::from_secs(60);

/// A running server. It ends with this value, and also when the process that started it is killed.
#[derive(Debug)]
pub struct Postgres {
    programs: PathBuf,
    directory: PathBuf,
    settings: Vec<String>,
    /// Also a part of its socket's name.
    port: u16,
    server: Child,
}

/// How a server ends.
#[derive(Clone, Copy, Debug)]
pub enum Stop {
    Fast,
    /// As in a power cut: nothing is finished, the next start recovers from the WAL.
    Immediate,
}

impl Postgres {
    /// Starts a server with an empty database; `None` when PostgreSQL is not installed.
    pub fn start() -> io::Result<Option<Self>> {
        Self::of(PORT, |_| Ok(vec!["listen_addresses=".to_owned()]))
    }

    /// The same, also over TLS at a port of [`ELSEWHERE`], with this certificate and its key in PEM.
    pub fn start_with_tls(certificate: &str, key: &str) -> io::Result<Option<Self>> {
        // Free a moment ago.
        let port = std::net::TcpListener::bind((ELSEWHERE, 0))?.local_addr()?.port();
        Self::of(port, |data| {
            fs::write(data.join("server.crt"), certificate)?;
            fs::write(data.join("server.key"), key)?;
            fs::set_permissions(data.join("server.key"), fs::Permissions::from_mode(0o600))?;
            if user()? == 0 {
                chown(data.join("server.key"), Some(NOBODY), Some(NOBODY))?;
            }
            let mut access = File::options().append(true).open(data.join("pg_hba.conf"))?;
            access.write_all(b"\nhostssl all all 127.0.0.0/8 trust\n")?;
            Ok(vec![format!("listen_addresses={ELSEWHERE}"), "ssl=on".to_owned()])
        })
    }

    fn of(port: u16, settings: impl FnOnce(&Path) -> io::Result<Vec<String>>) -> io::Result<Option<Self>> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let Some(programs) = programs() else { return Ok(None) };
        let count = COUNT.fetch_add(1, Ordering::SeqCst);
        // Short, because the path of a socket has at most 107 bytes.
        let directory = std::env::temp_dir().join(format!("varco-pg-{}-{count}", std::process::id()));
        let _ = fs::remove_dir_all(&directory);
        own_directory(&directory)?;
        let template = template(&programs)?;
        done(command("cp".as_ref()).arg("-a").arg(template).arg(directory.join("data")), "cp")?;
        let mut settings = settings(&directory.join("data"))?;
        settings.push(format!("port={port}"));
        let server = spawn(&programs, &directory, &settings)?;
        Ok(Some(Self { programs, directory, settings, port, server }))
    }

    /// The database, as its owner.
    pub fn url(&self) -> String {
        format!("postgres://varco@localhost:{}/postgres?host={}", self.port, self.directory.display())
    }

    /// The same over TLS, of a server that was started with it.
    pub fn url_elsewhere(&self) -> String {
        format!("postgres://varco@{ELSEWHERE}:{}/postgres", self.port)
    }

    /// Where its data lies.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Ends the server. The data stays, for [`Postgres::start_again`].
    pub fn stop(&mut self, how: Stop) -> io::Result<()> {
        let mode = match how {
            Stop::Fast => "fast",
            Stop::Immediate => "immediate",
        };
        let data = self.directory.join("data");
        let mut stop = command(self.programs.join("pg_ctl").as_os_str());
        done(stop.args(["stop", "-w", "-m", mode, "-D"]).arg(data), "pg_ctl")?;
        self.server.wait().map(drop)
    }

    /// Stops every process of the server where it stands: its sockets stay open and say nothing.
    pub fn freeze(&self) -> io::Result<()> {
        self.signal("-STOP")
    }

    /// Lets them go on.
    pub fn thaw(&self) -> io::Result<()> {
        self.signal("-CONT")
    }

    fn signal(&self, signal: &str) -> io::Result<()> {
        let server = self.server.id();
        let children = fs::read_to_string(format!("/proc/{server}/task/{server}/children"))?;
        let own = server.to_string();
        let all = std::iter::once(own.as_str()).chain(children.split_whitespace());
        done(Command::new("kill").arg(signal).args(all), "kill")
    }

    /// Keeps a copy of the stopped server's data, as a standby that is behind would have it.
    pub fn keep(&self) -> io::Result<()> {
        let mut copy = command("cp".as_ref());
        done(copy.arg("-a").arg(self.directory.join("data")).arg(self.directory.join("kept")), "cp")
    }

    /// Puts the kept data in place of the stopped server's own.
    pub fn go_back(&self) -> io::Result<()> {
        fs::remove_dir_all(self.directory.join("data"))?;
        fs::rename(self.directory.join("kept"), self.directory.join("data"))
    }

    pub fn start_again(&mut self) -> io::Result<()> {
        self.server = spawn(&self.programs, &self.directory, &self.settings)?;
        Ok(())
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // One that is frozen would not hear.
        let _ = self.thaw();
        let _ = self.stop(Stop::Immediate);
        let _ = self.server.kill();
        let _ = self.server.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// The directory of `postgres` and `initdb`: in the search path, or where Debian keeps them.
fn programs() -> Option<PathBuf> {
    let mut places: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .filter_map(|version| Some(version.ok()?.path().join("bin")))
        .collect();
    places.sort();
    places.extend(["/usr/local/bin", "/usr/bin"].map(PathBuf::from));
    places.into_iter().rev().find(|place| place.join("postgres").exists() && place.join("initdb").exists())
}

/// A database cluster to copy from, made once for each user of a machine: making one takes seconds.
fn template(programs: &Path) -> io::Result<PathBuf> {
    let directory = std::env::temp_dir().join(format!("varco-pg-template-{}", user()?));
    own_directory(&directory)?;
    let lock = File::create(directory.join("lock"))?;
    lock.lock()?;
    let data = directory.join("data");
    if !directory.join("whole").exists() {
        let _ = fs::remove_dir_all(&data);
        let mut initdb = command(programs.join("initdb").as_os_str());
        let initdb =
            initdb.args(["-A", "trust", "-U", "varco", "-E", "UTF8", "--locale=C", "--no-sync", "-D"]);
        done(initdb.arg(&data), "initdb")?;
        File::create(directory.join("whole"))?;
    }
    Ok(data)
}

fn spawn(programs: &Path, directory: &Path, settings: &[String]) -> io::Result<Child> {
    let data = directory.join("data");
    let log = File::options().create(true).append(true).open(directory.join("log"))?;
    let mut postgres = command(programs.join("postgres").as_os_str());
    postgres.arg("-D").arg(&data).arg("-k").arg(directory);
    for setting in
        ["shared_buffers=16MB", "max_connections=40"].into_iter().chain(settings.iter().map(String::as_str))
    {
        postgres.args(["-c", setting]);
    }
    let mut server = postgres.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
    let deadline = Instant::now() + START;
    loop {
        // The eighth line of this file is what `pg_ctl` waits for, too.
        let status = fs::read_to_string(data.join("postmaster.pid")).unwrap_or_default();
        if status.lines().nth(7).is_some_and(|line| line.trim_end() == "ready") {
            return Ok(server);
        }
        if let Some(end) = server.try_wait()? {
            let log = fs::read_to_string(directory.join("log")).unwrap_or_default();
            return Err(io::Error::other(format!("PostgreSQL ended with {end}: {log}")));
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("PostgreSQL did not start in time"));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A program, run without root's rights and ended with the test that runs it.
fn command(program: &OsStr) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]);
    if user().is_ok_and(|user| user == 0) {
        let id = NOBODY.to_string();
        command.args(["--reuid", &id, "--regid", &id, "--clear-groups"]);
    }
    command.arg(program).current_dir("/");
    command
}

fn done(command: &mut Command, name: &str) -> io::Result<()> {
    let output = command.stdin(Stdio::null()).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(io::Error::other(format!("{name}: {}", String::from_utf8_lossy(&output.stderr))))
}

/// A directory that the server's user may write to.
fn own_directory(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if user()? == 0 { chown(path, Some(NOBODY), Some(NOBODY)) } else { Ok(()) }
}

/// The user this process runs as.
fn user() -> io::Result<u32> {
    Ok(fs::metadata("/proc/self")?.uid())
}
