//! The same folder behind OpenSSH's own server.

use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;

/// A private `sshd` on a loopback port, and the keys of both ends. It ends with this value.
struct Sshd {
    folder: testing::Folder,
    server: Child,
    port: u16,
}

impl Sshd {
    fn start() -> Self {
        let folder = testing::Folder::new("sshd");
        let at = |name: &str| folder.path().join(name);
        for name in ["host", "client", "stranger"] {
            let made = Command::new("ssh-keygen")
                .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                .arg(at(name))
                .status()
                .unwrap();
            assert!(made.success());
        }
        std::fs::copy(at("client.pub"), at("authorized")).unwrap();
        std::fs::create_dir_all(at("drop")).unwrap();
        std::fs::create_dir_all("/run/sshd").unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = std::fs::read_to_string(at("host.pub")).unwrap();
        folder.write("known", format!("[127.0.0.1]:{port} {host}").as_bytes());
        let settings = format!(
            "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
             PasswordAuthentication no\nPermitRootLogin yes\nPidFile none\nSubsystem sftp internal-sftp\n",
            at("host").display(),
            at("authorized").display()
        );
        folder.write("config", settings.as_bytes());
        let mut server = Command::new("/usr/sbin/sshd")
            .args(["-D", "-e", "-f"])
            .arg(at("config"))
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(server.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains("listening") {
            line.clear();
            assert!(said.read_line(&mut line).unwrap() > 0, "sshd ended");
        }
        // Read on, or the server would block once the pipe is full; it ends with the server.
        std::thread::spawn(move || std::io::copy(&mut said, &mut std::io::sink()));
        Self { folder, server, port }
    }

    fn source(&self, identity: &str, known: &str) -> File {
        let user = String::from_utf8(Command::new("id").arg("-un").output().unwrap().stdout).unwrap();
        let server = sftp::Server {
            host: "127.0.0.1".to_owned(),
            port: self.port,
            user: user.trim().to_owned(),
            folder: self.dropped().display().to_string(),
            identity: self.folder.path().join(identity),
            known_hosts: self.folder.path().join(known),
        };
        File::new(settings(Place::Sftp(server), Encoding::Utf8), mappings(MAPPING)).unwrap()
    }

    fn dropped(&self) -> std::path::PathBuf {
        self.folder.path().join("drop")
    }

    fn put(&self, name: &str, text: &str) {
        std::fs::write(self.dropped().join(name), text).unwrap();
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

#[tokio::test]
#[ignore = "needs openssh-server"]
async fn drops_on_an_sftp_server_are_read_and_deliveries_laid_down_there() {
    let sshd = Sshd::start();
    let rows: String = (0..3000).map(|_| format!("{MARCO};100,00;;;A1\r\n")).collect();
    sshd.put("isee_1.csv", &format!("{HEADER}{ANNA};8.450,50;31/12/2026;INPS-ISEE-1;A1.01\r\n"));
    let file = sshd.source("client", "known");
    assert_eq!(read(&file, ANNA).await.unwrap()["isee_valore"], "8450.50");
    let outcome = sshd.dropped().join("esiti");
    assert_eq!(std::fs::read_dir(outcome).unwrap().count(), 1);
    // Larger than one packet, and longer than a person's record may be.
    sshd.put("isee_2.csv", &format!("{HEADER}{rows}"));
    assert_eq!(faults(read(&file, MARCO).await.unwrap_err())[0].reason, Reason::TooManyItems);
    deliver(&file, json!({"isee_valore": "1.00"})).await.unwrap();
    deliver(&file, json!({"isee_valore": "1.00"})).await.unwrap();
    let mut names: Vec<_> = std::fs::read_dir(sshd.dropped().join("consegne"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names.len(), 2, "no part of a file is left behind: {names:?}");
    assert!(Path::new(&names[0]).extension().is_some_and(|end| end == "csv"));
}

#[tokio::test]
#[ignore = "needs openssh-server"]
async fn a_server_with_another_key_and_a_key_that_is_not_ours_are_refused() {
    let sshd = Sshd::start();
    sshd.put("isee_1.csv", &format!("{HEADER}{ANNA};1,00;;;\r\n"));
    let stranger = std::fs::read_to_string(sshd.folder.path().join("stranger.pub")).unwrap();
    sshd.folder.write("other", format!("[127.0.0.1]:{} {stranger}", sshd.port).as_bytes());
    for (identity, known) in [("client", "other"), ("stranger", "known")] {
        let refused = read(&sshd.source(identity, known), ANNA).await.unwrap_err();
        assert!(matches!(refused, FetchError::Unreachable(_)) && refused.is_outage(), "{refused}");
    }
    assert!(read(&sshd.source("client", "known"), ANNA).await.is_ok());
}
