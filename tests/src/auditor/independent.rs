//! Go's own packages for the checksum database, from Debian, accept our log over HTTP and reject every change to it.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use super::world::{Deployed, World};

/// Builds `tests/peers/tlog.go` with Debian's Go and `golang.org/x/mod`; says why where that cannot be had.
pub fn checker(folder: &Path) -> Option<PathBuf> {
    const SOURCE: &str = "/usr/share/gocode/src/golang.org/x/mod/sumdb/tlog/tlog.go";
    let present = || Path::new(SOURCE).exists() && Command::new("go").arg("version").output().is_ok();
    if !present() {
        let install =
            ["install", "-y", "-qq", "--no-install-recommends", "golang-go", "golang-golang-x-mod-dev"];
        let _ = Command::new("apt-get").args(install).output();
    }
    if !present() {
        eprintln!("skipped: golang-go and golang-golang-x-mod-dev are not installed and cannot be");
        return None;
    }
    let program = folder.join("tlog");
    let built = Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("peers/tlog.go"))
        .env("GO111MODULE", "off")
        .env("GOPATH", "/usr/share/gocode")
        .env("GOCACHE", std::env::temp_dir().join("varco-go-cache"))
        .output()
        .unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    Some(program)
}

/// A checker with what does not change between its runs.
pub struct Checker {
    pub program: PathBuf,
    pub ca: PathBuf,
    pub key: String,
}

impl Checker {
    pub fn new(world: &World) -> Option<Self> {
        let program = checker(&world.deployed.folder)?;
        Some(Self { program, ca: world.deployed.authority(), key: world.deployed.log_key() })
    }

    /// Runs on a thread of its own, so that the gateway in this process can answer.
    pub async fn run(&self, from: &str, more: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.arg("-from").arg(from).arg("-ca").arg(&self.ca).arg("-key").arg(&self.key).args(more);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    }

    pub async fn accepts(&self, from: &str, more: &[&str]) {
        let output = self.run(from, more).await;
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    pub async fn rejects(&self, from: &str, more: &[&str], why: &str) {
        let output = self.run(from, more).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(why), "{more:?}: {said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn go_accepts_our_log_over_http_and_rejects_each_change() {
    let world = Deployed::new().start("", &[]).await;
    let Some(go) = Checker::new(&world) else { return world.stop().await };
    let first = world.fill(300).await;
    let old = world.path("old");
    std::fs::write(&old, world.running.app.store.checkpoint().note.as_bytes()).unwrap();
    let second = world.fill(400).await;
    let mut files = Vec::new();
    for (n, receipt) in first.iter().chain(&second).enumerate().step_by(97) {
        let path = world.path(&format!("{n}.tlog-proof"));
        std::fs::write(&path, receipt.to_text()).unwrap();
        files.push(path.to_str().unwrap().to_owned());
    }
    let log = world.log();
    let old = old.to_str().unwrap();
    go.accepts(&log, &["-old", old, "-receipts", &files.join(",")]).await;

    // What is served, with one bit turned.
    for (flip, why) in [
        ("checkpoint@3", "checkpoint"),
        ("checkpoint@40", "checkpoint"),
        ("checkpoint@150", "checkpoint"),
        ("tile/0/000@17", "do not lead"),
        ("tile/0/001@8000", "do not lead"),
        ("tile/0/002.p/189@5", "do not lead"),
        ("tile/1/000.p/2@40", "tile/1/000.p/2 is not"),
    ] {
        go.rejects(&log, &["-flip", flip], why).await;
    }
    a_changed_receipt_is_rejected(&world, &go, &files[2]).await;
    a_changed_old_checkpoint_is_rejected(&world, &go, old).await;
    let stranger = Deployed::new();
    let other = Checker { key: stranger.log_key(), ..go };
    other.rejects(&log, &[], "checkpoint").await;
    world.stop().await;
}

async fn a_changed_receipt_is_rejected(world: &World, go: &Checker, file: &str) {
    let good = std::fs::read_to_string(file).unwrap();
    let path = world.path("changed.tlog-proof");
    let changes = [
        // A letter inside the entry, the index, a hash of the path, the checkpoint's root, its signature.
        good.replacen("extra eyJ", "extra eyI", 1),
        good.replacen("\nindex 1", "\nindex 2", 1),
        swap_after(&good, "index", 12),
        swap_after(&good, "\n\n", 60),
        swap_after(&good, "\u{2014}", 60),
    ];
    for changed in changes {
        assert_ne!(changed, good);
        std::fs::write(&path, &changed).unwrap();
        go.rejects(&world.log(), &["-receipts", path.to_str().unwrap()], "changed.tlog-proof").await;
    }
}

async fn a_changed_old_checkpoint_is_rejected(world: &World, go: &Checker, old: &str) {
    let good = std::fs::read_to_string(old).unwrap();
    let path = world.path("old-changed");
    std::fs::write(&path, swap_after(&good, "\n", 10)).unwrap();
    go.rejects(&world.log(), &["-old", path.to_str().unwrap()], "old checkpoint").await;
}

/// Another base64 letter at a distance after the first place of a mark.
pub fn swap_after(text: &str, mark: &str, distance: usize) -> String {
    let at = text.find(mark).unwrap() + distance;
    let mut bytes = text.as_bytes().to_vec();
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}
