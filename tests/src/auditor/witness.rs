//! Two gateways: one keeps a log, the other watches it and cosigns.

use std::sync::LazyLock;
use std::time::Duration;

use rcgen::{KeyPair, PKCS_ED25519};
use varco::fetch::Fetcher;
use varco_core::hash::Sha256;
use varco_core::log::checkpoint::Checkpoint;
use varco_core::log::note::Note;
use varco_core::log::witness::AddCheckpoint;
use varco_jose::{Ed25519NoteKey, WitnessKey};

use super::independent::Checker;
use super::world::{Deployed, World};

const NAME: &str = "witness.example";

/// A gateway that watches the log of `watched`; gives back its witness key too.
pub async fn watching(watched: &Deployed) -> (World, String) {
    let witness = Deployed::new();
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
    std::fs::write(witness.folder.join("witness.key.pem"), &key).unwrap();
    let verifier = WitnessKey::from_pem(NAME, key.as_bytes()).unwrap().verifier_key().to_string();
    let more = format!(
        "[witness]\nname = \"{NAME}\"\nkey = \"witness.key.pem\"\nfolder = \"witness\"\nlogs = [\"{}\"]\n",
        watched.log_key()
    );
    (witness.start(&more, &[]).await, verifier)
}

pub fn prefix(witness: &World) -> String {
    witness.log().replace("/log", "/witness")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_is_cosigned_by_another_gateway_and_go_sees_it() {
    let kept = Deployed::new();
    let (witness, verifier) = watching(&kept).await;
    let policy = format!("witness W {verifier} {}\nquorum W\n", prefix(&witness));
    std::fs::write(kept.folder.join("policy"), policy).unwrap();
    // An hour between rounds: this test makes its own.
    let more = format!(
        "[witnesses]\npolicy = \"policy\"\nauthorities = [\"{}\"]\nevery = \"1h\"\nalarm = \"5m\"\n",
        witness.deployed.authority().display()
    );
    let log = kept.start(&more, std::slice::from_ref(&verifier)).await;
    let app = &log.running.app;
    let witnesses = app.witnesses.as_ref().unwrap();
    for count in [1, 300, 0, 40] {
        log.fill(count).await;
        assert!(witnesses.round(app).await, "{:?}", witnesses.quorum(app.now()));
    }
    let cosigned = witnesses.cosigned().unwrap();
    assert_eq!(cosigned.head, app.store.checkpoint().head);
    assert!(!witnesses.quorum(app.now()).alarm);
    if let Some(go) = Checker::new(&log) {
        go.accepts(&log.log(), &["-cosigned", &verifier]).await;
        let other = WitnessKey::from_pem(
            NAME,
            KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem().as_bytes(),
        );
        let other = other.unwrap().verifier_key().to_string();
        go.rejects(&log.log(), &["-cosigned", &other], "has not cosigned").await;
    }
    // The witness shows what it has cosigned.
    let fetcher = Fetcher::new(&[witness.deployed.authority()], None).unwrap();
    let origin = Sha256::of(log.running.app.log.origin().as_bytes());
    let shown = fetcher.get(&format!("{}/{origin}/checkpoint", prefix(&witness))).await.unwrap();
    let shown = app.log.open(&shown.body).unwrap();
    assert_eq!(shown.head(), cosigned.head);

    // It is gone: the quorum is missing, and after five minutes that is an alarm.
    witness.stop().await;
    log.fill(1).await;
    assert!(!witnesses.round(app).await);
    let quorum = witnesses.quorum(app.now().plus(std::time::Duration::from_secs(301)));
    assert!(quorum.alarm && quorum.parties[0].fault.is_some());
    assert_eq!(witnesses.cosigned().unwrap().head, cosigned.head);
    log.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_witness_keeps_to_one_history_also_over_a_restart() {
    let kept = Deployed::new();
    let pem = kept.kit.log_key.serialize_pem();
    let origin = kept.log_key().split('+').next().unwrap().to_owned();
    let key = Ed25519NoteKey::from_pem(&origin, pem.as_bytes()).unwrap();
    let (world, _) = watching(&kept).await;
    let fetcher = Fetcher::new(&[world.deployed.authority()], None).unwrap();
    let url = format!("{}/add-checkpoint", prefix(&world));
    let request = |old: u64, size: u64, root: &str| {
        let checkpoint = Checkpoint { origin: origin.clone(), size, root: Sha256::of(root.as_bytes()) };
        AddCheckpoint { old, proof: Vec::new(), note: checkpoint.sign(&[&key]).unwrap() }.to_string()
    };
    let status = async |body: String| {
        let answer = fetcher.post(&url, body).await.unwrap();
        (answer.status, String::from_utf8(answer.body.to_vec()).unwrap())
    };
    let (code, cosignature) = status(request(0, 7, "ours")).await;
    assert_eq!(code, 200, "{cosignature}");
    assert!(cosignature.starts_with("\u{2014} witness.example ") && cosignature.ends_with('\n'));
    assert_eq!(status(request(7, 7, "ours")).await.0, 200);
    assert_eq!(status(request(7, 7, "forged")).await, (409, "7\n".to_owned()));
    assert_eq!(status(request(7, 9, "forged")).await.0, 422);
    assert_eq!(status(request(7, 3, "ours")).await.0, 400);
    assert_eq!(status(request(0, 9, "ours")).await, (409, "7\n".to_owned()));
    assert_eq!(status("old 1\n".to_owned()).await.0, 400);
    let stranger = Checkpoint { origin: "stranger.example".to_owned(), size: 1, root: Sha256::of(b"x") };
    let unknown = AddCheckpoint { old: 0, proof: Vec::new(), note: stranger.sign(&[&key]).unwrap() };
    assert_eq!(status(unknown.to_string()).await.0, 404);
    let unsigned = Note::parse(
        format!("{origin}\n9\n{}\n\n\u{2014} x AAAAAAAA\n", Sha256::of(b"x").base64()).as_bytes(),
    );
    let unsigned = AddCheckpoint { old: 7, proof: Vec::new(), note: unsigned.unwrap() };
    assert_eq!(status(unsigned.to_string()).await.0, 403);

    // A restart forgets nothing.
    let settings = varco::config::load(&world.path("varco.toml")).unwrap().witness.unwrap();
    world.running.stop().await.unwrap();
    let again = varco::witness::Witness::open(&settings).unwrap();
    let now = varco::app::system_now();
    assert!(again.add(request(7, 9, "forged").as_bytes(), now).is_err());
    assert!(again.add(request(0, 7, "forged").as_bytes(), now).is_err());
    assert!(again.add(request(7, 7, "ours").as_bytes(), now).is_ok());
}

/// A witness that nobody reaches.
static AWAY: LazyLock<String> = LazyLock::new(|| {
    let key = KeyPair::generate_for(&PKCS_ED25519).unwrap().serialize_pem();
    WitnessKey::from_pem(NAME, key.as_bytes()).unwrap().verifier_key().to_string()
});

#[tokio::test(flavor = "multi_thread")]
async fn without_a_quorum_for_too_long_no_exchange_is_carried_out_where_the_configuration_says_so() {
    let world = crate::world::World::of(crate::world::Setup {
        registry: |registry| registry.witnesses.push(AWAY.clone()),
        config: |config| {
            let folder = config.deployment.genesis.parent().unwrap();
            let policy = folder.join("witnesses.policy");
            std::fs::write(&policy, format!("witness W {} https://127.0.0.1:1/witness\nquorum W\n", *AWAY))
                .unwrap();
            config.witnesses = Some(varco::config::Witnesses {
                policy,
                authorities: config.outbound.authorities.clone(),
                every: Duration::from_secs(3600),
                alarm: Duration::from_secs(300),
                stop_after: Some(Duration::from_secs(3600)),
            });
        },
        ..crate::world::Setup::default()
    })
    .await;
    let anna = crate::world::asks::Situation::of(&world).await;
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    let alarm = async || {
        let status = anna.cpi.client.get("/rest/varco/v1/status").await.unwrap();
        status.json()["witnesses"]["alarm"].as_bool().unwrap()
    };
    assert!(!alarm().await);
    world.advance(Duration::from_secs(301));
    assert!(alarm().await);
    // An alarm alone stops nothing.
    assert_eq!(anna.cpi.post("/pulls", &anna.pull()).await.status, 200);
    world.advance(Duration::from_secs(3300));
    let before = world.log_size().await;
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    assert_eq!((told.status, told.code(), told.signed), (503, "log.unavailable", false));
    assert_eq!(world.log_size().await, before);
}
