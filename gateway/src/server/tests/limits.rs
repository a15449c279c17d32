//! Slow peers, many peers, old connections, and the end. Times are short and real.

use super::*;
use crate::http::problem::MEDIA_TYPE;

const SHORT: Duration = Duration::from_millis(500);

/// A connection that its peer does not use any more: `Ok` when the server ends it in time.
async fn check_closed(mut stream: impl tokio::io::AsyncRead + Unpin) -> String {
    let mut bytes = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    assert!(ended.is_ok(), "the server leaves it open");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_slow_handshake_is_cut() {
    let world = World::with(Limits { handshake: SHORT, ..Limits::default() }).await;
    let silent = TcpStream::connect(world.address).await.unwrap();
    check_closed(silent).await;
    let mut half = TcpStream::connect(world.address).await.unwrap();
    half.write_all(&[22, 3, 1]).await.unwrap();
    check_closed(half).await;
}

#[tokio::test]
async fn a_connection_without_a_first_request_is_cut() {
    let world = World::with(Limits { head: SHORT, ..Limits::default() }).await;
    assert_eq!(check_closed(world.connect().await).await, "");
    let mut config = world.config();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let mut http2 = connect(world.address, config).await.unwrap();
    http2.write_all(b"PRI * HTTP/2.0\r\n").await.unwrap();
    check_closed(http2).await;
}

#[tokio::test]
async fn a_slow_head_is_cut_also_after_a_first_request() {
    let world = World::with(Limits { head: SHORT, ..Limits::default() }).await;
    let mut stream = world.connect().await;
    stream.write_all(b"GET /who HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut start = [0; 15];
    stream.read_exact(&mut start).await.unwrap();
    assert_eq!(&start, b"HTTP/1.1 200 OK");
    stream.write_all(b"GET /who HTTP/1.1\r\nHos").await.unwrap();
    assert_eq!(check_closed(stream).await.matches("HTTP/1.1").count(), 0);
}

#[tokio::test]
async fn a_first_request_may_be_worked_on_for_longer_than_its_head_may_take() {
    let world = World::with(Limits { head: SHORT, ..Limits::default() }).await;
    let mut busy = world.open().await;
    let begun = world.begun.clone();
    let slow = Tasks::new().spawn("slow", async move { busy.send(request(Method::GET, "/slow", "")).await });
    begun.notified().await;
    // A silent connection that is opened later is cut first.
    assert_eq!(check_closed(world.connect().await).await, "");
    world.go_on.notify_one();
    assert_eq!(slow.await.unwrap().unwrap().body(), "done");
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    let world = World::with(Limits { body: SHORT, ..Limits::default() }).await;
    let mut stream = world.connect().await;
    stream.write_all(b"POST /echo HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\n\r\nci").await.unwrap();
    let answer = check_closed(stream).await;
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains(MEDIA_TYPE), "{answer}");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_a_busy_one_is_not() {
    let world = World::with(Limits { idle: SHORT, ..Limits::default() }).await;
    let mut busy = world.open().await;
    let begun = world.begun.clone();
    let slow = Tasks::new().spawn("slow", async move { busy.send(request(Method::GET, "/slow", "")).await });
    begun.notified().await;
    // An idle connection opened later is closed first.
    let mut idle = world.open().await;
    assert_eq!(idle.send(request(Method::GET, "/who", "")).await.unwrap().status(), StatusCode::OK);
    let closed = timeout(PATIENCE, async {
        while idle.0.ready().await.is_ok() {
            tokio::task::yield_now().await
        }
    });
    closed.await.expect("the idle connection stays open");
    world.go_on.notify_one();
    assert_eq!(slow.await.unwrap().unwrap().body(), "done");
}

#[tokio::test]
async fn an_old_connection_takes_no_further_request() {
    let world = World::with(Limits { age: SHORT, ..Limits::default() }).await;
    let mut http2 = Http2::over(&world).await;
    let refused =
        timeout(PATIENCE, async { while http2.send(Method::GET, "/who", Bytes::new()).await.is_ok() {} });
    refused.await.expect("the old connection goes on");
}

#[tokio::test]
async fn one_peer_cannot_take_all_connections() {
    let world = World::with(Limits { connections_per_peer: 2, ..Limits::default() }).await;
    let mut first = world.open().await;
    let mut second = world.open().await;
    assert_eq!(first.send(request(Method::GET, "/who", "")).await.unwrap().status(), StatusCode::OK);
    assert_eq!(second.send(request(Method::GET, "/who", "")).await.unwrap().status(), StatusCode::OK);
    assert!(connect(world.address, world.config()).await.is_err(), "the third is refused");
    drop(second);
    let again = timeout(PATIENCE, async { while connect(world.address, world.config()).await.is_err() {} });
    again.await.expect("the place is not given back");
}

#[tokio::test]
async fn above_the_bound_of_requests_the_gateway_says_that_it_is_busy() {
    for limits in
        [Limits { requests: 1, ..Limits::default() }, Limits { requests_per_peer: 1, ..Limits::default() }]
    {
        check_busy(World::with(limits).await).await;
    }
}

async fn check_busy(world: World) {
    let mut first = world.open().await;
    let slow = Tasks::new().spawn("slow", async move { first.send(request(Method::GET, "/slow", "")).await });
    world.begun.notified().await;
    let mut second = world.open().await;
    let refused = second.send(request(Method::POST, "/echo", "ciao")).await.unwrap();
    assert_eq!((refused.status().as_u16(), code(&refused).as_str()), (503, "server.busy"));
    assert!(refused.headers().contains_key("retry-after"));
    world.go_on.notify_one();
    assert_eq!(slow.await.unwrap().unwrap().status(), StatusCode::OK);
    let response = second.send(request(Method::POST, "/echo", "ciao")).await.unwrap();
    assert_eq!(response.body(), "ciao", "the refusal did not cost the connection");
}

#[tokio::test]
async fn a_shutdown_finishes_the_running_exchange_and_takes_no_other() {
    let world = World::new().await;
    let mut first = world.open().await;
    let mut idle = Http2::over(&world).await;
    assert_eq!(idle.send(Method::GET, "/who", Bytes::new()).await.unwrap().status(), StatusCode::OK);
    let slow = Tasks::new().spawn("slow", async move { first.send(request(Method::GET, "/slow", "")).await });
    world.begun.notified().await;
    world.tasks.call_stop();
    let closed = timeout(PATIENCE, async { while TcpStream::connect(world.address).await.is_ok() {} });
    closed.await.expect("the listener goes on");
    assert!(!world.serving.is_finished());
    world.go_on.notify_one();
    assert_eq!(slow.await.unwrap().unwrap().body(), "done");
    assert_eq!(timeout(PATIENCE, world.serving).await.expect("it does not end").unwrap(), Ok(()));
}

#[tokio::test]
async fn a_peer_that_hangs_up_does_not_cut_its_exchange_short() {
    let world = World::new().await;
    let mut stream = world.connect().await;
    stream.write_all(b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    world.begun.notified().await;
    drop(stream);
    world.tasks.call_stop();
    assert!(!world.serving.is_finished());
    world.go_on.notify_one();
    // Had the exchange been cancelled, nobody would have taken the permission to go on.
    assert_eq!(timeout(PATIENCE, world.serving).await.expect("it does not end").unwrap(), Ok(()));
    assert!(timeout(SHORT, world.go_on.notified()).await.is_err());
}

#[tokio::test]
async fn a_shutdown_that_takes_too_long_says_what_it_cut_off() {
    let world = World::with(Limits { shutdown: SHORT, ..Limits::default() }).await;
    let mut first = world.open().await;
    let _slow =
        Tasks::new().spawn("slow", async move { first.send(request(Method::GET, "/slow", "")).await });
    world.begun.notified().await;
    world.tasks.call_stop();
    let unfinished = timeout(PATIENCE, world.serving).await.expect("it does not end").unwrap().unwrap_err();
    assert!(unfinished.names.contains(&"exchange"), "{unfinished}");
}

#[tokio::test]
async fn a_loopback_listener_serves_plain_http_within_the_same_limits() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new().route("/metrics", get(|| async { "varco_log_size 7" }));
    let limits = Limits { head: SHORT, ..Limits::default() };
    let server = Server { transport: Transport::Loopback, router, hosts: Hosts::default(), limits };
    let tasks = Tasks::new();
    let serving = tasks.spawn("serve", serve(listener, server, tasks.stop()));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await.unwrap();
    assert!(check_closed(stream).await.ends_with("varco_log_size 7"));
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /met").await.unwrap();
    check_closed(stream).await;
    tasks.call_stop();
    assert_eq!(timeout(PATIENCE, serving).await.expect("it does not end").unwrap(), Ok(()));
}
