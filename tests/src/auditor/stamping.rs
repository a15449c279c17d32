//! Time stamps over our checkpoints: given by OpenSSL as an authority, verified by OpenSSL as an auditor would.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use varco::fetch::Fetcher;
use varco_store::kept::{Record, Stamp};

use super::reading::{run, varco};
use super::receiver::{Answer, Receiver};
use super::world::{Deployed, World};

/// An authority of OpenSSL: its certificate, made for the test, and `openssl ts -reply`.
struct OpenSsl {
    folder: std::path::PathBuf,
}

impl OpenSsl {
    fn new(folder: &Path) -> Self {
        let folder = folder.join("tsa");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("serial"), "01\n").unwrap();
        let config = "[req]\ndistinguished_name = name\n[name]\n[v3]\nextendedKeyUsage = critical,timeStamping\n\
             keyUsage = critical,digitalSignature\n[tsa]\ndefault_tsa = one\n[one]\nserial = serial\n\
             signer_digest = sha256\ndefault_policy = 1.3.6.1.4.1.99999.1\ndigests = sha256\n\
             accuracy = secs:1\nordering = no\ntsa_name = no\ness_cert_id_chain = no\ness_cert_id_alg = sha256\n";
        std::fs::write(folder.join("openssl.cnf"), config).unwrap();
        let own = Self { folder };
        let made = own.run(&[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "30",
            "-subj",
            "/CN=TSA",
            "-config",
            "openssl.cnf",
            "-extensions",
            "v3",
            "-keyout",
            "key.pem",
            "-out",
            "cert.pem",
        ]);
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        own
    }

    fn run(&self, args: &[&str]) -> std::process::Output {
        Command::new("openssl").args(args).current_dir(&self.folder).output().unwrap()
    }

    fn reply(&self, query: &[u8]) -> Vec<u8> {
        std::fs::write(self.folder.join("query"), query).unwrap();
        let replied = self.run(&[
            "ts",
            "-reply",
            "-queryfile",
            "query",
            "-signer",
            "cert.pem",
            "-inkey",
            "key.pem",
            "-config",
            "openssl.cnf",
            "-out",
            "reply",
        ]);
        assert!(replied.status.success(), "{}", String::from_utf8_lossy(&replied.stderr));
        std::fs::read(self.folder.join("reply")).unwrap()
    }

    /// Whether OpenSSL takes the response for a stamp of these bytes.
    fn verifies(&self, data: &[u8], response: &[u8]) -> bool {
        std::fs::write(self.folder.join("checked"), data).unwrap();
        std::fs::write(self.folder.join("response"), response).unwrap();
        let verified =
            self.run(&["ts", "-verify", "-data", "checked", "-in", "response", "-CAfile", "cert.pem"]);
        verified.status.success()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn checkpoints_are_stamped_and_openssl_verifies_them() {
    let deployed = Deployed::new();
    let tsa = Arc::new(OpenSsl::new(&deployed.folder));
    let replying = Arc::clone(&tsa);
    let good = Receiver::start(None, Arc::new(move |_, query: &[u8]| (200, replying.reply(query)))).await;
    // The second authority answers with a stamp of something else.
    let other = Arc::clone(&tsa);
    let lying: Answer = Arc::new(move |_, query: &[u8]| {
        let mut wrong = query.to_vec();
        wrong[30] ^= 1;
        (200, other.reply(&wrong))
    });
    let bad = Receiver::start(None, lying).await;
    let more = format!(
        "[timestamps]\nevery = \"1h\"\nalarm = \"2h\"\n[timestamps.authorities.first]\nurl = \"http://127.0.0.1:{}/tsr\"\n\
         [timestamps.authorities.second]\nurl = \"http://127.0.0.1:{}/tsr\"\n",
        good.port, bad.port
    );
    let world = deployed.start(&more, &[]).await;
    world.fill(10).await;
    let app = &world.running.app;
    let stamps = app.stamps.as_ref().unwrap();
    stamps.round(app).await;
    assert_eq!(good.heard().last().unwrap().1, "application/timestamp-query");
    assert_eq!(good.heard().last().unwrap().2.len(), 69);
    let standing = stamps.standing();
    assert!(standing[0].fault.is_none(), "{standing:?}");
    assert!(standing[1].fault.as_deref().unwrap().contains("something else"), "{standing:?}");
    // Two hours later the second one is an alarm, and exchanges go on.
    let later = app.now().plus(std::time::Duration::from_secs(7201));
    assert_eq!(stamps.late(later).len(), 2);
    assert!(world.fill(1).await.len() == 1);
    // Anybody reads them.
    let fetcher = Fetcher::new(&[world.deployed.authority()], None).unwrap();
    let listed = fetcher.get(&format!("{}/timestamps", world.log())).await.unwrap();
    let listed: Value = serde_json::from_slice(&listed.body).unwrap();
    let newest = &listed["timestamps"][0];
    assert_eq!((newest["size"].as_u64(), newest["authority"].as_str()), (Some(11), Some("first")));
    let note = newest["checkpoint"].as_str().unwrap();
    assert!(app.log.open(note.as_bytes()).is_ok());
    let text = format!("{}\n", note.split_once("\n\n").unwrap().0);
    let response = STANDARD.decode(newest["response"].as_str().unwrap()).unwrap();
    assert!(tsa.verifies(text.as_bytes(), &response));
    assert!(!tsa.verifies(text.replace("11", "12").as_bytes(), &response));
    let one = fetcher.get(&format!("{}/timestamps/11/first", world.log())).await.unwrap();
    assert_eq!((one.status, one.body.to_vec()), (200, response));
    assert_eq!(fetcher.get(&format!("{}/timestamps/11/second", world.log())).await.unwrap().status, 404);
    exported(&varco(), &world, &tsa).await;
    verified(&world, &stamps_of(&world).await[0]).await;
    world.stop().await;
}

async fn stamps_of(world: &World) -> Vec<Stamp> {
    world.running.app.store.read().stamps(u64::MAX, 1).await.unwrap()
}

/// Whoever verifies the log is told of a stamp that is over something else.
async fn verified(world: &World, good: &Stamp) {
    let (database, key) = (format!("sqlite:{}", world.path("varco.db").display()), world.deployed.log_key());
    let anchor = world.path("anchor/checkpoint");
    let args = [
        "log",
        "verify",
        "--database",
        &database,
        "--anchor",
        anchor.to_str().unwrap(),
        "--key",
        &key,
        "--json",
    ];
    let said = async || {
        let done = run(&varco(), &args).await;
        let said: Value = serde_json::from_slice(&done.stdout).unwrap();
        (done.status.code(), said["time_stamps"]["of_this_log"].clone(), said["time_stamps"]["wrong"].clone())
    };
    let (status, fitting, wrong) = said().await;
    assert_eq!((status, wrong), (Some(0), json!(0)));
    assert!(fitting.as_u64().unwrap() > 0);
    let store = &world.running.app.store;
    let note = store.checkpoint().note.to_string();
    let moved = Stamp { authority: "second".to_owned(), note, ..good.clone() };
    store.keep(vec![Record::Stamp(moved)]).await.unwrap();
    assert_eq!(said().await, (Some(1), fitting, json!(1)));
}

/// An export has them, with what was stamped.
async fn exported(varco: &Path, world: &World, tsa: &OpenSsl) {
    let (database, key) = (format!("sqlite:{}", world.path("varco.db").display()), world.deployed.log_key());
    let (anchor, out) = (world.path("anchor/checkpoint"), world.path("export"));
    let (anchor, folder) = (anchor.to_str().unwrap(), out.to_str().unwrap());
    let args = ["log", "export", "--database", &database, "--anchor", anchor, "--key", &key, "--out", folder];
    let done = run(varco, &args).await;
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    let note = std::fs::read_to_string(out.join("timestamps/11/checkpoint")).unwrap();
    let text = format!("{}\n", note.split_once("\n\n").unwrap().0);
    assert!(tsa.verifies(text.as_bytes(), &std::fs::read(out.join("timestamps/11/first.tsr")).unwrap()));
    assert!(!out.join("timestamps/11/second.tsr").exists());
}
