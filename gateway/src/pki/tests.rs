use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration as StdDuration;

use webpki::{EndEntityCert, ExpirationPolicy, KeyUsage, RevocationCheckDepth, RevocationOptionsBuilder};
use x509_parser::prelude::FromDer as _;

use super::dev::{Kit, STEPS, Secrecy};
use super::*;

const NOW: Timestamp = Timestamp::from_seconds(1_795_000_000);

fn holder(purpose: Purpose) -> Holder {
    let organization = Some("PA:IT-xx_capannori".parse().unwrap());
    Holder { name: "Comune di Capannori".to_owned(), organization, purpose }
}

fn channel() -> Holder {
    holder(Purpose::Channel { names: vec!["localhost".to_owned(), "127.0.0.1".to_owned()] })
}

/// What a strict TLS peer does: chain, validity, usage, revocation with expiry enforced.
fn accepted(
    authority: &Authority,
    issued: &Issued,
    crl: &CertificateRevocationListDer<'static>,
    usage: KeyUsage,
) -> Result<(), webpki::Error> {
    let anchors = [webpki::anchor_from_trusted_cert(authority.certificate()).unwrap()];
    let crl =
        webpki::CertRevocationList::Borrowed(webpki::BorrowedCertRevocationList::from_der(crl).unwrap());
    let crls = [&crl];
    let revocation = RevocationOptionsBuilder::new(&crls)
        .unwrap()
        .with_depth(RevocationCheckDepth::Chain)
        .with_expiration_policy(ExpirationPolicy::Enforce)
        .build();
    let time = rustls_pki_types::UnixTime::since_unix_epoch(StdDuration::from_millis(
        u64::try_from(NOW.millis()).unwrap(),
    ));
    let certificate = EndEntityCert::try_from(issued.certificate()).unwrap();
    let algorithms = [webpki::aws_lc_rs::ECDSA_P256_SHA256];
    certificate.verify_for_usage(&algorithms, &anchors, &[], time, usage, Some(revocation), None).map(|_| ())
}

#[test]
fn a_channel_certificate_is_good_at_both_ends_until_it_is_revoked() {
    let authority = Authority::new("channels", NOW).unwrap();
    let issued = authority.issue(&channel(), NOW).unwrap();
    let clean = authority.crl(&[], 1, NOW).unwrap();
    assert_eq!(accepted(&authority, &issued, &clean, KeyUsage::client_auth()), Ok(()));
    assert_eq!(accepted(&authority, &issued, &clean, KeyUsage::server_auth()), Ok(()));
    let revoking = authority.crl(&[issued.serial()], 2, NOW).unwrap();
    assert_eq!(
        accepted(&authority, &issued, &revoking, KeyUsage::client_auth()),
        Err(webpki::Error::CertRevoked)
    );
    let name = "localhost".try_into().unwrap();
    let certificate = EndEntityCert::try_from(issued.certificate()).unwrap();
    assert_eq!(certificate.verify_is_valid_for_subject_name(&name), Ok(()));
}

#[test]
fn another_authority_of_the_same_name_is_not_trusted() {
    let ours = Authority::new("channels", NOW).unwrap();
    let theirs = Authority::new("channels", NOW).unwrap();
    let issued = theirs.issue(&channel(), NOW).unwrap();
    let crl = ours.crl(&[], 1, NOW).unwrap();
    assert!(accepted(&ours, &issued, &crl, KeyUsage::client_auth()).is_err());
}

#[test]
fn an_old_certificate_and_an_old_revocation_list_are_refused() {
    let authority = Authority::new("channels", NOW.minus(StdDuration::from_hours(24 * 200))).unwrap();
    let crl = authority.crl(&[], 1, NOW).unwrap();
    let day = StdDuration::from_hours(24);
    let expired = authority.issue_between(&channel(), (NOW.minus(2 * day), day)).unwrap();
    assert!(matches!(
        accepted(&authority, &expired, &crl, KeyUsage::client_auth()),
        Err(webpki::Error::CertExpired { .. })
    ));
    let good = authority.issue(&channel(), NOW).unwrap();
    let stale = authority.crl(&[], 1, NOW.minus(100 * day)).unwrap();
    assert!(matches!(
        accepted(&authority, &good, &stale, KeyUsage::client_auth()),
        Err(webpki::Error::CrlExpired { .. })
    ));
}

#[test]
fn a_certificate_says_whose_it_is_for_what_and_how_long() {
    let authority = Authority::new("seals", NOW).unwrap();
    let issued = authority.issue(&holder(Purpose::Seal), NOW).unwrap();
    let (_, parsed) = x509_parser::certificate::X509Certificate::from_der(issued.certificate()).unwrap();
    let oid = x509_parser::der_parser::oid!(2.5.4.97);
    let organization: Vec<_> =
        parsed.subject().iter_by_oid(&oid).map(|attribute| attribute.as_str().unwrap()).collect();
    assert_eq!(organization, ["PA:IT-xx_capannori"]);
    assert!(parsed.key_usage().unwrap().unwrap().value.digital_signature());
    assert!(parsed.extended_key_usage().unwrap().is_none());
    let days = (parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp()) / 86_400;
    assert!((90..=366).contains(&days), "{days}");
    assert_eq!(issued.pin(), Sha256::of(parsed.public_key().raw));
    assert_eq!(parsed.raw_serial(), issued.serial());
}

#[test]
fn an_authority_read_back_issues_what_the_first_one_did() {
    let first = Authority::new("channels", NOW).unwrap();
    let again = Authority::from_pem(&first.certificate_pem(), &first.key_pem()).unwrap();
    let issued = again.issue(&channel(), NOW).unwrap();
    let crl = again.crl(&[], 1, NOW).unwrap();
    assert_eq!(accepted(&first, &issued, &crl, KeyUsage::client_auth()), Ok(()));
}

#[test]
fn the_development_folder_is_complete_and_its_keys_are_secret() {
    let mut steps = 0;
    let kit = Kit::make(NOW, |_| steps += 1).unwrap();
    assert_eq!(steps, STEPS);
    assert_eq!((kit.agencies.len(), kit.officers.len()), (9, 7));
    let folder = std::env::temp_dir().join(format!("varco-pki-test-{}", std::process::id()));
    kit.write(&folder).unwrap();
    assert!(kit.write(&folder).is_err(), "never writes over keys");
    for file in kit.files().unwrap() {
        let path = folder.join(&file.path);
        let mode = std::fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        let secret = file.contents.contains("PRIVATE") || path.ends_with("subject.keys");
        assert_eq!(file.secrecy == Secrecy::Secret, secret, "{}", path.display());
        assert_eq!(mode & 0o077 == 0, secret, "{}", path.display());
    }
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_revoked_certificate_stays_on_the_list_and_a_renewed_one_is_good() {
    use rustls_pki_types::pem::PemObject as _;
    let kit = Kit::make(NOW, |_| ()).unwrap();
    let folder = std::env::temp_dir().join(format!("varco-pki-upkeep-test-{}", std::process::id()));
    kit.write(&folder).unwrap();
    let cpi = "cpi-lucca".parse().unwrap();
    for id in ["cpi-lucca", "comune-lucca", "cpi-lucca"] {
        let certificate = format!("agencies/{id}/channel.pem");
        let list = upkeep::revoke(&folder, certificate.as_ref(), NOW).unwrap();
        assert_eq!(list, std::path::Path::new("ca/channel.crl.pem"));
    }
    let pem = std::fs::read(folder.join("ca/channel.crl.pem")).unwrap();
    let crl = CertificateRevocationListDer::from_pem_slice(&pem).unwrap();
    for agency in &kit.agencies {
        let revoked = ["cpi-lucca", "comune-lucca"].contains(&agency.id.as_str());
        let verdict = accepted(&kit.channel_authority, &agency.party.channel, &crl, KeyUsage::client_auth());
        assert_eq!(verdict, if revoked { Err(webpki::Error::CertRevoked) } else { Ok(()) });
    }
    upkeep::renew(&folder, &cpi, "next", NOW).unwrap();
    let pem = std::fs::read(folder.join("agencies/cpi-lucca/channel.next.pem")).unwrap();
    assert_ne!(
        CertificateDer::from_pem_slice(&pem).unwrap(),
        *kit.agency(&cpi).unwrap().party.channel.certificate()
    );
    assert!(upkeep::renew(&folder, &"comune-pisa".parse().unwrap(), "next", NOW).is_err());
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn every_certificate_of_the_folder_is_good() {
    let kit = Kit::make(NOW, |_| ()).unwrap();
    let channels = kit.channel_authority.crl(&[], 1, NOW).unwrap();
    let agencies = kit.agencies.iter().map(|agency| &agency.party.channel);
    let officers = kit.officers.iter().map(|officer| &officer.channel);
    for issued in agencies.chain(officers) {
        assert_eq!(accepted(&kit.channel_authority, issued, &channels, KeyUsage::client_auth()), Ok(()));
    }
    for officer in &kit.officers {
        assert_eq!(officer.channel.pin(), pin(&officer.key));
    }
}

#[test]
fn the_log_key_is_written_as_notes_name_it() {
    let kit = Kit::make(NOW, |_| ()).unwrap();
    let verifier = kit.log_verifier();
    let parts: Vec<_> = verifier.splitn(3, '+').collect();
    assert_eq!((parts[0], parts[1].len(), parts[2].len()), (dev::GATEWAY, 8, 44));
}
