//! Who gets in, and who no longer.

use super::*;
use crate::tls::testing::{Authority, HOUR};
use crate::tls::{Clients, Revocation, Versions};

async fn refusal(world: &World, config: ClientConfig) -> String {
    // With TLS 1.3 the client is done before the server refuses: the refusal shows at the first read.
    match connect(world.address, config).await {
        Ok(mut stream) => ending(&mut stream).await.expect_err("the server lets it in"),
        Err(error) => error.to_string(),
    }
}

async fn refusal_of(world: &World, held: &Held) -> String {
    refusal(world, world.pki.client(Some(held))).await
}

#[tokio::test]
async fn a_certified_peer_is_known_by_its_organization() {
    let world = World::new().await;
    let response = world.get("/who").await;
    assert_eq!(response.body(), "PA:IT-c_b648 X25519MLKEM768");
}

#[tokio::test]
async fn the_hybrid_key_exchange_is_negotiated_and_nothing_can_be_resumed() {
    let world = World::new().await;
    let config = world.config();
    for _ in 0..2 {
        let mut stream = connect(world.address, config.clone()).await.unwrap();
        stream.write_all(b"GET /who HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
        assert!(ending(&mut stream).await.unwrap().starts_with("HTTP/1.1 200"));
        let tls = stream.get_ref().1;
        assert_eq!(tls.negotiated_key_exchange_group().unwrap().name(), rustls::NamedGroup::X25519MLKEM768);
        assert_eq!(tls.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
        assert_eq!(tls.handshake_kind(), Some(rustls::HandshakeKind::Full));
        assert_eq!(tls.tls13_tickets_received(), 0);
    }
}

#[tokio::test]
async fn tls_1_2_is_refused_unless_configured() {
    let world = World::new().await;
    let refused = refusal(&world, world.pki.old_client(Some(&world.client))).await;
    assert!(refused.contains("ProtocolVersion"), "{refused}");

    let pki = Pki::new();
    let material = crate::tls::Material { versions: Versions::Tls12And13, ..pki.material() };
    let channel = Channel::load(material, pki.clock()).unwrap();
    let world = World::over(pki, channel, Limits::default()).await;
    let stream = connect(world.address, world.pki.old_client(Some(&world.client))).await.unwrap();
    assert_eq!(stream.get_ref().1.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_2));
    let response = Http1::over(stream).await.send(request(Method::GET, "/who", "")).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_peer_without_an_acceptable_certificate_is_refused_in_the_handshake() {
    let world = World::new().await;
    assert!(refusal(&world, world.pki.client(None)).await.contains("CertificateRequired"));
    let stranger = Authority::new("Un'altra autorita").issue(&Leaf::client(7));
    assert!(refusal_of(&world, &stranger).await.contains("UnknownCA"));
    let expired = world.pki.authority.issue(&Leaf { until: START.minus(HOUR), ..Leaf::client(8) });
    assert!(refusal_of(&world, &expired).await.contains("CertificateExpired"));
    for purposes in [vec![], vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth]] {
        let server = world.pki.authority.issue(&Leaf { purposes, ..Leaf::client(9) });
        assert!(refusal_of(&world, &server).await.contains("UnsupportedCertificate"));
    }
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_in_the_handshake() {
    let world = World::new().await;
    world.pki.folder.write("crls/channel.crl", world.pki.authority.crl(2, START, &[7]));
    world.channel.reload().unwrap();
    assert!(refusal_of(&world, &world.client).await.contains("CertificateRevoked"));
}

#[tokio::test]
async fn a_certificate_revoked_after_connecting_is_refused_at_its_next_request() {
    let world = World::new().await;
    let mut http1 = world.open().await;
    let mut http2 = Http2::over(&world).await;
    assert_eq!(http1.send(request(Method::GET, "/who", "")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(http2.send(Method::GET, "/who", Bytes::new()).await.unwrap().status(), StatusCode::OK);
    world.pki.folder.write("crls/channel.crl", world.pki.authority.crl(2, START, &[7]));
    world.channel.reload().unwrap();
    let refused = http1.send(request(Method::GET, "/who", "")).await.unwrap();
    assert_eq!((refused.status(), code(&refused).as_str()), (StatusCode::FORBIDDEN, "channel.certificate"));
    assert!(String::from_utf8_lossy(refused.body()).contains("the certificate is revoked"));
    let refused = http2.send(Method::GET, "/who", Bytes::new()).await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert!(http1.send(request(Method::GET, "/who", "")).await.is_err(), "the connection is closed");
}

#[tokio::test]
async fn a_certificate_that_ends_while_connected_is_refused_at_its_next_request() {
    let world = World::new().await;
    let held = world.pki.authority.issue(&Leaf { until: START.plus(HOUR), ..Leaf::client(11) });
    let mut http1 = Http1::over(connect(world.address, world.pki.client(Some(&held))).await.unwrap()).await;
    assert_eq!(http1.send(request(Method::GET, "/who", "")).await.unwrap().status(), StatusCode::OK);
    world.pki.set_now(START.plus(2 * HOUR));
    let refused = http1.send(request(Method::GET, "/who", "")).await.unwrap();
    assert_eq!(code(&refused), "channel.certificate");
}

#[tokio::test]
async fn another_certificate_of_the_issuer_stays_welcome_after_a_revocation() {
    let world = World::new().await;
    let mut http1 = world.open().await;
    assert_eq!(http1.send(request(Method::GET, "/who", "")).await.unwrap().status(), StatusCode::OK);
    world.pki.folder.write("crls/channel.crl", world.pki.authority.crl(2, START, &[99]));
    world.channel.reload().unwrap();
    assert_eq!(http1.send(request(Method::GET, "/who", "")).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn of_two_lists_of_one_issuer_the_newer_counts_whatever_the_order() {
    for (older, newer) in [("a.crl", "b.crl"), ("b.crl", "a.crl")] {
        let pki = Pki::new();
        std::fs::remove_file(pki.path("crls/channel.crl")).unwrap();
        pki.folder.write(&format!("crls/{older}"), pki.authority.crl(1, START.minus(2 * HOUR), &[]));
        pki.folder.write(&format!("crls/{newer}"), pki.authority.crl(2, START.minus(HOUR), &[7]));
        let channel = pki.channel();
        let world = World::over(pki, channel, Limits::default()).await;
        assert!(refusal_of(&world, &world.client).await.contains("CertificateRevoked"), "{older} {newer}");
    }
}

#[tokio::test]
async fn without_a_revocation_list_nobody_gets_in_and_the_status_says_why() {
    let pki = Pki::new();
    std::fs::remove_file(pki.path("crls/channel.crl")).unwrap();
    let channel = pki.channel();
    let world = World::over(pki, channel, Limits::default()).await;
    assert!(!refusal_of(&world, &world.client).await.is_empty());
    let status = world.channel.status();
    assert_eq!(status.issuers.len(), 1);
    assert_eq!(status.issuers[0].name, "CN=Canali di prova");
    assert_eq!(status.issuers[0].revocation, Revocation::Missing);
}

#[tokio::test]
async fn with_another_issuers_list_alone_nobody_gets_in() {
    let pki = Pki::new();
    let other = Authority::new("Un'altra autorita");
    pki.folder.write("crls/channel.crl", other.crl(1, START.minus(HOUR), &[]));
    let channel = pki.channel();
    let world = World::over(pki, channel, Limits::default()).await;
    assert!(!refusal_of(&world, &world.client).await.is_empty());
    let missing =
        world.channel.status().issuers.iter().filter(|i| i.revocation == Revocation::Missing).count();
    assert_eq!(missing, 1);
}

#[tokio::test]
async fn an_expired_revocation_list_closes_the_gate_also_for_live_connections() {
    let world = World::new().await;
    let mut http1 = world.open().await;
    assert_eq!(http1.send(request(Method::GET, "/who", "")).await.unwrap().status(), StatusCode::OK);
    world.pki.set_now(START.plus(2 * DAY));
    let refused = http1.send(request(Method::GET, "/who", "")).await.unwrap();
    assert_eq!(code(&refused), "channel.certificate");
    assert!(!refusal_of(&world, &world.client).await.is_empty());
    let since = START.minus(HOUR).plus(DAY);
    assert_eq!(world.channel.status().issuers[0].revocation, Revocation::Expired { since });
}

#[tokio::test]
async fn a_public_listener_asks_for_no_certificate_and_has_no_peer() {
    let pki = Pki::new();
    let material = crate::tls::Material { clients: Clients::Anyone, ..pki.material() };
    let channel = Channel::load(material, pki.clock()).unwrap();
    let world = World::over(pki, channel, Limits::default()).await;
    let stream = connect(world.address, world.pki.client(None)).await.unwrap();
    let mut http1 = Http1::over(stream).await;
    assert_eq!(http1.send(request(Method::GET, "/who", "")).await.unwrap().body(), "nobody");
    let refused = http1.send(request(Method::GET, "/a//b", "")).await.unwrap();
    assert!(!String::from_utf8_lossy(refused.body()).contains("\"detail\""), "a stranger learns no detail");
}
