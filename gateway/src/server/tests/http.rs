//! What of HTTP is accepted, over both versions.

use super::*;

/// Sends raw bytes over a connection of their own; what comes back until the server closes.
async fn raw(world: &World, bytes: &[u8]) -> String {
    let mut stream = world.connect().await;
    stream.write_all(bytes).await.unwrap();
    ending(&mut stream).await.unwrap_or_else(|error| error)
}

async fn check_refused(world: &World, bytes: &str, status: u16) {
    let answer = raw(world, bytes.as_bytes()).await;
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{bytes:?} gives {answer}");
}

#[tokio::test]
async fn both_versions_of_http_carry_requests_and_bodies() {
    let world = World::new().await;
    let mut http1 = world.open().await;
    for _ in 0..2 {
        let response = http1.send(request(Method::POST, "/echo", "ciao")).await.unwrap();
        assert_eq!((response.status(), response.body().as_ref()), (StatusCode::OK, &b"ciao"[..]));
    }
    let mut http2 = Http2::over(&world).await;
    for _ in 0..2 {
        let response = http2.send(Method::POST, "/echo", "ciao".into()).await.unwrap();
        assert_eq!((response.status(), response.body().as_ref()), (StatusCode::OK, &b"ciao"[..]));
    }
    let chunked = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n4\r\nciao\r\n0\r\n\r\n";
    assert!(raw(&world, chunked.as_bytes()).await.ends_with("ciao"));
}

#[tokio::test]
async fn requests_that_two_programs_may_read_differently_are_refused() {
    let world = World::new().await;
    let post = |headers: &str, body: &str| format!("POST /echo HTTP/1.1\r\n{headers}\r\n{body}");
    let host = "Host: localhost\r\n";
    for (headers, body) in [
        ("Content-Length: 4\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nContent-Length: 4\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
        ("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
        ("Content-Length: 4\r\nContent-Length: 4\r\n", "ciao"),
        ("Content-Length: 4\r\nContent-Length: 5\r\n", "ciao"),
        ("Content-Length: +4\r\n", "ciao"),
        ("Content-Length: 4, 4\r\n", "ciao"),
        ("Transfer-Encoding: chunked\r\n", "4\r\nciao\r\n0\r\nX-Trailer: x\r\n\r\n"),
        ("Content-Length: 4\r\nX-Name : x\r\n", "ciao"),
        ("Content-Length: 4\r\nX-Folded: x\r\n y\r\n", "ciao"),
        ("Content-Length: 4\r\nUpgrade: websocket\r\n", "ciao"),
    ] {
        check_refused(&world, &post(&format!("{host}{headers}"), body), 400).await;
    }
    check_refused(&world, "GET /who HTTP/1.1\nHost: localhost\n\n", 400).await;
    check_refused(&world, "GET /who HTTP/1.1\r\nHost: localhost\n\r\n", 400).await;
    check_refused(&world, "GET /who HTTP/1.1\r\n\r\n", 400).await;
    check_refused(&world, "GET /who HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n", 400).await;
    check_refused(&world, "GET /who HTTP/1.1\r\nHost: elsewhere\r\n\r\n", 400).await;
    check_refused(&world, "GET https://elsewhere/who HTTP/1.1\r\nHost: localhost\r\n\r\n", 400).await;
    check_refused(&world, "GET /who HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nciao", 400).await;
    check_refused(&world, "GET /a/..%2fwho HTTP/1.1\r\nHost: localhost\r\n\r\n", 400).await;
    check_refused(&world, "TRACE /who HTTP/1.1\r\nHost: localhost\r\n\r\n", 405).await;
}

#[tokio::test]
async fn a_request_smuggled_behind_another_is_never_answered() {
    let world = World::new().await;
    let hidden = "GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let length = hidden.len();
    let get = format!("GET /who HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{hidden}");
    let answer = raw(&world, get.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    let post = format!(
        "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
    );
    let answer = raw(&world, post.as_bytes()).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(!answer.contains("PA:IT"), "{answer}");
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_431() {
    let world = World::new().await;
    let long = format!("GET /who HTTP/1.1\r\nHost: localhost\r\nX-Long: {}\r\n\r\n", "x".repeat(40 * 1024));
    check_refused(&world, &long, 431).await;
    let many = format!("GET /who HTTP/1.1\r\nHost: localhost\r\n{}\r\n", "X-Many: x\r\n".repeat(70));
    check_refused(&world, &many, 431).await;
    let mut http2 = Http2::over(&world).await;
    let long = Request::builder().uri("https://localhost/who").header("x-long", "x".repeat(40 * 1024));
    let response = http2.0.send_request(long.body(Full::default()).unwrap()).await;
    let refused = response.map_or(true, |response| response.status() == 431);
    assert!(refused);
}

#[tokio::test]
async fn a_body_that_is_too_large_is_answered_413() {
    let world = World::with(Limits { body_bytes: 16, ..Limits::default() }).await;
    let declared = "POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 17\r\n\r\n";
    check_refused(&world, declared, 413).await;
    let chunked = "POST /echo HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n";
    check_refused(&world, &format!("{chunked}{}", "x".repeat(17)), 413).await;
    let mut http2 = Http2::over(&world).await;
    let response = http2.send(Method::POST, "/echo", Bytes::from(vec![b'x'; 17])).await.unwrap();
    assert_eq!((response.status().as_u16(), code(&response).as_str()), (413, "http.too-large"));
}

#[tokio::test]
async fn a_panic_is_a_problem_and_the_gateway_goes_on() {
    let world = World::new().await;
    let mut http1 = world.open().await;
    let response = http1.send(request(Method::GET, "/panic", "")).await.unwrap();
    assert_eq!((response.status().as_u16(), code(&response).as_str()), (500, "internal"));
    assert_eq!(http1.send(request(Method::GET, "/who", "")).await.unwrap().status(), StatusCode::OK);
}
