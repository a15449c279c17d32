//! Counterparties written by others: PyJWT in Python and `jose` in Node sign requests that we accept and check what
//! we sign. Their scripts are in `tests/peers`; their libraries are installed under the target folder.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use varco_core::hash::Sha256;
use varco_core::id::TokenId;
use varco_core::wire::{
    AnswerClaims, Evidence, Expectation, Jtis, LevelOfAssurance, Message, RequestClaims, Rules,
    digest_header, sign_request, sign_response, verify_request, verify_response,
};
use varco_jose::SealTrust;

use crate::wire::scene::{CONSUMER, GATEWAY, Kit, NOW, Seal};

const BODY: &str = r#"{"record_type":"anagrafica_nucleo","motivo":"perché serve"}"#;

#[test]
#[ignore = "needs python3 with venv, and the Python package index the first time"]
fn a_counterparty_in_python_understands_us_and_we_it() {
    converse(&mut Peer::python());
}

#[test]
#[ignore = "needs node and npm, and the npm registry the first time"]
fn a_counterparty_in_node_understands_us_and_we_it() {
    converse(&mut Peer::node());
}

fn converse(peer: &mut Peer) {
    let kit = Kit::new();
    for seal in [&kit.consumer, &kit.rsa] {
        its_request_is_accepted(peer, &kit, seal);
        its_answer_is_accepted(peer, &kit, seal);
        our_request_is_accepted(peer, &kit, seal);
        our_answer_is_accepted(peer, &kit, seal);
    }
}

fn its_request_is_accepted(peer: &mut Peer, kit: &Kit, seal: &Seal) {
    let message = peer.sign(seal, GATEWAY, None);
    let audiences = [GATEWAY.to_owned()];
    let expectation = Expectation { audiences: &audiences, now: NOW, rules: Rules::default() };
    let verified = verify_request(&message, &expectation, &trust(kit)).unwrap();
    assert_eq!(verified.issuer, CONSUMER);
    assert_eq!(verified.seal, *seal.signer.identity());
    assert_eq!(verified.evidence.operator.as_str(), "op-7");

    let mut changed = message;
    changed.body.push(b' ');
    assert!(verify_request(&changed, &expectation, &trust(kit)).is_err());
}

fn its_answer_is_accepted(peer: &mut Peer, kit: &Kit, seal: &Seal) {
    let asked = Sha256::of(b"question");
    let message = peer.sign(seal, CONSUMER, Some(&asked));
    let audiences = [CONSUMER.to_owned()];
    let expectation = Expectation { audiences: &audiences, now: NOW, rules: Rules::default() };
    assert!(verify_response(&message, &expectation, &asked, &trust(kit)).is_ok());
    let other = Sha256::of(b"another question");
    assert!(verify_response(&message, &expectation, &other, &trust(kit)).is_err());
}

fn our_request_is_accepted(peer: &mut Peer, kit: &Kit, seal: &Seal) {
    let claims = RequestClaims {
        issuer: "gateway.piana.example".to_owned(),
        audience: "provider.example".to_owned(),
        content_type: Some("application/json".to_owned()),
        evidence: Evidence {
            operator: "op-42".parse().unwrap(),
            location: "sportello".to_owned(),
            loa: LevelOfAssurance::High,
        },
    };
    let jtis = Jtis::new(NOW, [[1; 10], [2; 10], [3; 10]]);
    let headers = sign_request(BODY.as_bytes(), &claims, &seal.signer, NOW, &jtis).unwrap();
    let order = order(kit, seal, "provider.example", &headers);
    let answer = peer.ask(&order);
    assert_eq!(answer, json!({"ok": true, "iss": "gateway.piana.example", "operator": "op-42"}));
    assert_refuses_changes(peer, &order);
}

fn our_answer_is_accepted(peer: &mut Peer, kit: &Kit, seal: &Seal) {
    let asked = Sha256::of(b"question");
    let claims = AnswerClaims {
        issuer: "gateway.piana.example".to_owned(),
        audience: CONSUMER.to_owned(),
        content_type: Some("application/json".to_owned()),
        request_digest: asked,
    };
    let jti = TokenId::new(NOW, [4; 10]);
    let headers = sign_response(BODY.as_bytes(), &claims, &seal.signer, NOW, &jti).unwrap();
    let mut order = order(kit, seal, CONSUMER, &headers);
    order["request_digest"] = json!(digest_header(&asked));
    assert_eq!(peer.ask(&order), json!({"ok": true, "iss": "gateway.piana.example"}));
    assert_refuses_changes(peer, &order);
}

fn order(kit: &Kit, seal: &Seal, audience: &str, headers: &[(String, String)]) -> Value {
    json!({
        "do": "verify", "alg": seal.signer.algorithm().text(), "aud": audience, "now": NOW.seconds(),
        "root": kit.seals.certificate_pem(), "headers": headers, "body": BODY,
    })
}

/// Its "yes" would mean little if it never said "no".
fn assert_refuses_changes(peer: &mut Peer, good: &Value) {
    for (member, value) in [
        ("body", json!(BODY.replace("serve", "piace"))),
        ("aud", json!("elsewhere.example")),
        ("now", json!(NOW.seconds() + 3600)),
        ("alg", json!("PS256")),
    ] {
        let mut changed = good.clone();
        changed[member] = value;
        assert_eq!(peer.ask(&changed)["ok"], json!(false), "{member}");
    }
}

fn trust(kit: &Kit) -> SealTrust {
    let roots = [kit.seals.certificate().to_vec()];
    SealTrust::new(&roots, std::slice::from_ref(&kit.crl), &varco_core::wire::Algorithm::DEFAULT).unwrap()
}

/// A running script that answers a line with a line.
struct Peer {
    process: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Peer {
    fn python() -> Self {
        Self::start(Command::new(python()).arg(sources().join("peer.py")))
    }

    fn node() -> Self {
        Self::start(Command::new("node").arg(node_script("peer.mjs")))
    }

    fn start(command: &mut Command) -> Self {
        let mut process = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap());
        Self { process, answers }
    }

    fn ask(&mut self, order: &Value) -> Value {
        writeln!(self.process.stdin.as_mut().unwrap(), "{order}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        serde_json::from_str(&line).unwrap()
    }

    fn sign(&mut self, seal: &Seal, audience: &str, asked: Option<&Sha256>) -> Message {
        let mut order = json!({
            "do": "sign", "alg": seal.signer.algorithm().text(), "iss": CONSUMER, "aud": audience,
            "now": NOW.seconds(), "key": seal.key_pem, "chain": seal.chain_pem, "body": BODY,
        });
        if let Some(asked) = asked {
            order["request_digest"] = json!(digest_header(asked));
        }
        let answer = self.ask(&order);
        let headers: Vec<(String, String)> = serde_json::from_value(answer["headers"].clone())
            .unwrap_or_else(|_| panic!("no headers: {answer}"));
        let headers = headers.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
        Message { headers, body: BODY.as_bytes().to_vec() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The Python that has the peers' libraries.
pub fn python() -> PathBuf {
    let home = home("python");
    let python = home.join("venv/bin/python");
    let wanted = sources().join("requirements.txt");
    install(&home, &wanted, || {
        run(Command::new("python3").args(["-m", "venv"]).arg(home.join("venv")));
        run(Command::new(&python).args(["-m", "pip", "install", "--quiet", "-r"]).arg(&wanted));
    });
    python
}

/// The folder whose scripts find the peers' libraries for Node.
pub fn node() -> PathBuf {
    npm("node", "package.json")
}

/// A script of ours beside the packages it needs: Node looks for packages there.
pub fn node_script(name: &str) -> PathBuf {
    let script = node().join(name);
    std::fs::copy(sources().join(name), &script).unwrap();
    script
}

/// HL7's example resources of FHIR R4, one a file. 191 MB: installed by themselves, for the one test that reads them.
pub fn fhir_examples() -> Vec<PathBuf> {
    let folder = npm("examples", "examples.json").join("node_modules/hl7.fhir.r4.examples");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.ends_with(".json") && name.starts_with(|c: char| c.is_ascii_uppercase())
    });
    files.sort();
    files
}

fn npm(name: &str, list: &str) -> PathBuf {
    let home = home(name);
    let wanted = sources().join(list);
    install(&home, &wanted, || {
        std::fs::copy(&wanted, home.join("package.json")).unwrap();
        let arguments = ["install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"];
        run(Command::new("npm").args(arguments).current_dir(&home));
    });
    home
}

pub fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("peers")
}

fn home(name: &str) -> PathBuf {
    let home = Path::new(env!("CARGO_TARGET_TMPDIR")).join("peers").join(name);
    std::fs::create_dir_all(&home).unwrap();
    home
}

/// Installs once for each content of the list of packages. Tests run in processes of their own: one installs, the others wait.
fn install(home: &Path, wanted: &Path, steps: impl FnOnce()) {
    let turn = std::fs::File::create(home.join("turn")).unwrap();
    turn.lock().unwrap();
    let mark = home.join("installed");
    let hash = Sha256::of(&std::fs::read(wanted).unwrap()).to_string();
    if std::fs::read_to_string(&mark).is_ok_and(|done| done == hash) {
        return;
    }
    steps();
    std::fs::write(mark, hash).unwrap();
}

fn run(command: &mut Command) {
    let status = command.stdout(Stdio::null()).status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}
