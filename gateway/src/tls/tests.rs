//! Loading and reloading: what is refused, and that a refusal changes nothing.

use std::time::Duration;

use super::testing::{Authority, DAY, HOUR, Leaf, Pki, START};
use super::*;
use crate::tasks::Tasks;

fn load_error(pki: &Pki) -> String {
    Channel::load(pki.material(), pki.clock()).map(|_| ()).unwrap_err().to_string()
}

fn check_reload_refused(pki: &Pki, channel: &Channel, why: &str) {
    let before = channel.status();
    let error = channel.reload().unwrap_err().to_string();
    assert!(error.contains(why), "{error}");
    let after = channel.status();
    assert_eq!(after.fault.as_deref(), Some(error.as_str()));
    assert_eq!(Status { fault: None, ..after }, Status { fault: None, ..before });
    let client = pki.authority.issue(&Leaf::client(7));
    assert_eq!(verify(channel, &client.certificate), Ok(()), "the material in use stays in use");
}

fn verify(channel: &Channel, pem: &str) -> Result<(), VerifyError> {
    use rustls::pki_types::pem::PemObject as _;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    channel.current().verify_again(&[der], channel.now())
}

#[test]
fn a_reload_takes_a_new_list_and_a_new_certificate_at_once() {
    let pki = Pki::new();
    let channel = pki.channel();
    let before = channel.status();
    assert_eq!(before.issuers[0].revocation, Revocation::Current { until: START.minus(HOUR).plus(DAY) });
    let client = pki.authority.issue(&Leaf::client(7));
    assert_eq!(verify(&channel, &client.certificate), Ok(()));
    pki.folder.write("crls/channel.crl", pki.authority.crl(2, START, &[7]));
    pki.write_server(2);
    channel.reload().unwrap();
    assert_eq!(verify(&channel, &client.certificate), Err(VerifyError::Revoked));
    let after = channel.status();
    assert!(after.generation > before.generation);
    assert_eq!(after.issuers[0].revocation, Revocation::Current { until: START.plus(DAY) });
}

#[test]
fn a_bad_reload_keeps_the_good_material_and_says_so() {
    let pki = Pki::new();
    let channel = pki.channel();
    let good_list = std::fs::read(pki.path("crls/channel.crl")).unwrap();

    pki.folder.write("crls/channel.crl", pki.authority.crl(0, START.minus(2 * HOUR), &[]));
    check_reload_refused(&pki, &channel, "older");
    std::fs::remove_file(pki.path("crls/channel.crl")).unwrap();
    check_reload_refused(&pki, &channel, "gone");
    pki.folder.write("crls/channel.crl", "-----BEGIN X509 CRL-----\nAAAA\n");
    check_reload_refused(&pki, &channel, "not a version 2");
    pki.folder.write("crls/channel.crl", pki.authority.crl(3, START.plus(HOUR), &[]));
    check_reload_refused(&pki, &channel, "in the future");
    pki.folder.write("crls/channel.crl", &good_list);
    // Another authority of the same name: the name alone must not do.
    let forged = Authority::new("Canali di prova").crl(9, START.minus(Duration::from_secs(1)), &[]);
    pki.folder.write("crls/forged.crl", forged);
    check_reload_refused(&pki, &channel, "not signed by the authority");
    std::fs::remove_file(pki.path("crls/forged.crl")).unwrap();

    let key = pki.authority.issue(&Leaf::client(50)).key;
    pki.folder.write("server.key", key);
    check_reload_refused(&pki, &channel, "does not belong to the certificate");
    pki.write_server(3);
    assert!(channel.reload().is_ok());
    assert_eq!(channel.status().fault, None);
}

#[test]
fn what_cannot_work_is_refused_at_the_first_load() {
    let pki = Pki::new();
    pki.folder.write("server.pem", "nothing");
    assert!(load_error(&pki).contains("there is no certificate"), "{}", load_error(&pki));
    let held = pki.authority.issue(&Leaf { until: START.minus(HOUR), ..Leaf::client(2) });
    pki.folder.write("server.pem", held.certificate);
    pki.folder.write("server.key", held.key);
    assert!(load_error(&pki).contains("it has expired"));
    pki.write_server(3);
    pki.folder.write("ca.pem", pki.authority.issue(&Leaf::client(4)).certificate);
    assert!(load_error(&pki).contains("not a certification authority"));
    std::fs::remove_file(pki.path("ca.pem")).unwrap();
    assert!(load_error(&pki).contains("cannot read"));
}

#[test]
fn a_delta_list_is_refused() {
    let pki = Pki::new();
    let delta = super::testing::delta(&pki.authority, START.minus(HOUR));
    pki.folder.write("crls/delta.der", delta);
    assert!(load_error(&pki).contains("delta"), "{}", load_error(&pki));
}

#[test]
fn a_list_may_be_der_and_a_file_may_hold_several() {
    let pki = Pki::new();
    let other = Authority::new("Un'altra autorita");
    let both = format!("{}{}", pki.authority.crl(2, START, &[7]), other.crl(1, START, &[]));
    pki.folder.write("crls/both.pem", both);
    let channel = pki.channel();
    assert_eq!(channel.status().issuers.len(), 2);
    let client = pki.authority.issue(&Leaf::client(7));
    assert_eq!(verify(&channel, &client.certificate), Err(VerifyError::Revoked));
    let lists = pki.trust().read(START).unwrap().revocations();
    assert_eq!(lists.len(), 2, "of each issuer the newest");
    std::fs::remove_dir_all(pki.path("crls")).unwrap();
    std::fs::create_dir(pki.path("crls")).unwrap();
    for (i, list) in lists.iter().enumerate() {
        pki.folder.write(&format!("crls/{i}.der"), list);
    }
    assert!(channel.reload().is_ok());
}

#[tokio::test]
async fn changed_files_are_noticed() {
    let pki = Pki::new();
    let channel = pki.channel();
    let tasks = Tasks::new();
    let watching = watch(channel.clone(), Duration::from_millis(5), tasks.stop());
    let watching = tasks.spawn("watch", watching);
    tokio::task::yield_now().await;
    pki.folder.write("crls/channel.crl", pki.authority.crl(2, START, &[7, 8, 9]));
    let noticed = tokio::time::timeout(Duration::from_secs(10), async {
        while channel.status().generation == 1 {
            tokio::task::yield_now().await;
        }
    });
    noticed.await.expect("the change is not noticed");
    tasks.call_stop();
    watching.await.unwrap();
}

#[test]
fn an_authority_that_expires_while_we_run_takes_its_certificates_along() {
    let pki = Pki::with_authority_until(START.plus(2 * HOUR));
    let channel = pki.channel();
    let client = pki.authority.issue(&Leaf::client(7));
    assert_eq!(verify(&channel, &client.certificate), Ok(()));
    pki.set_now(START.plus(3 * HOUR));
    assert_eq!(verify(&channel, &client.certificate), Err(VerifyError::AuthorityExpired));
}

#[test]
fn trust_for_other_uses_follows_the_same_rules() {
    let pki = Pki::new();
    let files = pki.trust();
    let first = files.read(START).unwrap();
    assert_eq!((first.authorities.len(), first.revocations().len()), (1, 1));
    pki.folder.write("crls/newer.crl", pki.authority.crl(2, START, &[7]));
    assert_eq!(files.files().len(), 3);
    let second = files.read_after(&first, START).unwrap();
    assert_ne!(first.revocations(), second.revocations());
    std::fs::remove_file(pki.path("crls/newer.crl")).unwrap();
    let error = files.read_after(&second, START).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains("older"), "{error}");
}

#[test]
fn what_ends_soon_is_an_alarm_before_it_shuts_anybody_out() {
    let pki = Pki::new();
    let channel = pki.channel();
    let name = "CN=Canali di prova".to_owned();
    let end = START.minus(HOUR).plus(DAY);
    let alarms = |now| {
        pki.set_now(now);
        channel.status().alarms(now)
    };
    assert_eq!(alarms(START), []);
    assert_eq!(alarms(end.minus(HOUR)), [Alarm::ListEnds(name.clone(), end)]);
    assert_eq!(alarms(end), [Alarm::ListEnded(name, end)]);
    let certificate = START.plus(90 * DAY);
    assert_eq!(alarms(certificate.minus(20 * DAY))[0], Alarm::CertificateEnds(certificate));
}
