//! What waits in the gateway's inbox comes to local software, each delivery once, whatever is refused or breaks.

use std::path::{Path as FilePath, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::world::asks::push;
use crate::world::until;

/// Local software that takes deliveries, and refuses some.
#[derive(Clone, Default)]
struct Taker {
    /// The `Idempotency-Key` and the body of each.
    heard: Arc<Mutex<Vec<(String, Value)>>>,
    refuses: Arc<Mutex<Option<String>>>,
}

impl Taker {
    async fn take(State(taker): State<Self>, headers: HeaderMap, Json(delivery): Json<Value>) -> StatusCode {
        let key = headers["idempotency-key"].to_str().unwrap().to_owned();
        assert_eq!(delivery["delivery"], json!(key));
        let is_refused = taker.refuses.lock().unwrap().as_ref() == Some(&key);
        taker.heard.lock().unwrap().push((key, delivery));
        if is_refused { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::NO_CONTENT }
    }

    /// One that takes deliveries at once, until what is returned last is dropped; and the settings of an agent for it.
    async fn open(folder: &Folder) -> (Self, String, JoinSet<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let more = into_url(listener.local_addr().unwrap().port(), &folder.path("state"));
        let taker = Self::default();
        let serving = taker.serve(listener);
        (taker, more, serving)
    }

    /// Serves until what is returned is dropped.
    fn serve(&self, listener: TcpListener) -> JoinSet<()> {
        let routes = Router::new().route("/deliveries", post(Self::take)).with_state(self.clone());
        let mut task = JoinSet::new();
        let served = axum::serve(listener, routes);
        task.spawn(async move { served.await.unwrap() });
        task
    }

    fn heard_of(&self, delivery: &str) -> usize {
        self.heard.lock().unwrap().iter().filter(|(key, _)| key == delivery).count()
    }
}

fn into_url(port: u16, state: &FilePath) -> String {
    let (url, state) = (format!("http://127.0.0.1:{port}/deliveries"), state.display());
    inbox(&format!("url = \"{url}\"\nstate = \"{state}\"\n"))
}

fn into_folder(folder: &FilePath) -> String {
    inbox(&format!("folder = \"{}\"\n", folder.display()))
}

fn inbox(into: &str) -> String {
    format!("{LOCAL}[inbox]\n{into}operator = \"op-agent\"\nevery = \"20ms\"\n")
}

/// One push of Capannori to the employment centre: its identifier, and that of its delivery.
async fn pushed(anna: &Situation) -> (String, String) {
    let told = anna.capannori.post("/pushes", &push(&["cpi-lucca"])).await;
    assert_eq!(told.status, 202, "{:?}", told.body);
    let delivery = told.body["recipients"][0]["exchange"].as_str().unwrap().to_owned();
    (told.text("push").to_owned(), delivery)
}

async fn is_delivered(anna: &Situation, push: &str) -> bool {
    let told = anna.capannori.get(&format!("/pushes/{push}")).await;
    told.body["recipients"][0]["state"] == "delivered"
}

/// The files that local software finds.
fn found(folder: &FilePath) -> Vec<PathBuf> {
    let paths = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.filter(|path| path.is_file()).collect()
}

/// How often a delivery was read: each time is an entry of its own, which names it.
async fn reads(world: &World, delivery: &str) -> usize {
    let mut count = 0;
    for leaf in world.entries(0).await {
        let slots = world.app().store.read().slots(leaf.index()).await.unwrap();
        let decision = slots.decision.map(|slot| slot.body).unwrap_or_default();
        count += usize::from(decision.contains("\"entry\"") && decision.contains(delivery));
    }
    count
}

#[tokio::test]
async fn a_delivery_that_is_refused_holds_up_nothing_and_is_tried_again_ever_more_rarely() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    // Identifiers are in the order of their instants.
    let (first, refused) = pushed(&anna).await;
    world.advance(Duration::from_millis(1));
    let (second, taken) = pushed(&anna).await;
    let folder = Folder::new();
    let (taker, more, _serving) = Taker::open(&folder).await;
    *taker.refuses.lock().unwrap() = Some(refused.clone());
    let stand = Stand::start("cpi-lucca", world.address(), &more, world.clock()).await;

    until("the one behind it", async || is_delivered(&anna, &second).await).await;
    let read = reads(&world, &refused).await;
    world.advance(Duration::from_millis(1));
    let (third, later) = pushed(&anna).await;
    until("one that came later", async || is_delivered(&anna, &third).await).await;
    assert_eq!((taker.heard_of(&refused), taker.heard_of(&taken), taker.heard_of(&later)), (1, 1, 1));
    assert_eq!(reads(&world, &refused).await, read, "what is let be is not read either");
    assert!(!is_delivered(&anna, &first).await);

    // After one interval, after two more, and not before.
    world.advance(Duration::from_millis(19));
    until("the second attempt", async || taker.heard_of(&refused) == 2).await;
    world.advance(Duration::from_millis(39));
    let (fourth, _) = pushed(&anna).await;
    until("a round", async || is_delivered(&anna, &fourth).await).await;
    assert_eq!(taker.heard_of(&refused), 2);
    *taker.refuses.lock().unwrap() = None;
    world.advance(Duration::from_millis(1));
    until("the third attempt", async || is_delivered(&anna, &first).await).await;
    assert_eq!(taker.heard_of(&refused), 3);
    stand.running.stop().await.unwrap();
}

#[tokio::test]
async fn a_file_comes_whole_with_the_copy_and_its_receipt() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let folder = Folder::new();
    let stand =
        Stand::start("cpi-lucca", world.address(), &into_folder(&folder.path("")), world.clock()).await;
    let (push, delivery) = pushed(&anna).await;
    until("delivered", async || is_delivered(&anna, &push).await).await;
    assert_eq!(found(&folder.path("")), [folder.path(&format!("{delivery}.json"))]);
    let file = std::fs::read(folder.path(&format!("{delivery}.json"))).unwrap();
    let copy: Value = serde_json::from_slice(&file).unwrap();
    assert_eq!(copy["record"]["motivi_comuni"], json!(["lavoro", "reddito"]));
    let receipt = varco_core::log::proof::Receipt::parse(copy["receipt"].as_str().unwrap().as_bytes());
    assert_eq!(receipt.unwrap().leaf.kind(), varco_core::log::entry::Kind::Delivery);
    stand.running.stop().await.unwrap();
}

/// Stands between an agent and the gateway and hangs up for good as soon as something holds: before the next byte of the
/// agent passes.
async fn cut_when(
    gateway: SocketAddr,
    holds: impl Fn() -> bool + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicBool>, JoinSet<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, is_cut) = (listener.local_addr().unwrap(), Arc::new(AtomicBool::new(false)));
    let (holds, cut) = (Arc::new(holds), is_cut.clone());
    let mut task = JoinSet::new();
    task.spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((agent, _)) = listener.accept().await {
            let (holds, cut) = (holds.clone(), cut.clone());
            connections.spawn(async move {
                let (mut from, mut back) = agent.into_split();
                let (mut answers, mut to) = TcpStream::connect(gateway).await.unwrap().into_split();
                let forth = async {
                    let mut bytes = vec![0; 16 * 1024];
                    while let Ok(read) = from.read(&mut bytes).await {
                        if holds() {
                            cut.store(true, Ordering::SeqCst);
                        }
                        if read == 0
                            || cut.load(Ordering::SeqCst)
                            || to.write_all(&bytes[..read]).await.is_err()
                        {
                            return;
                        }
                    }
                };
                tokio::select! {
                    () = forth => {}
                    _ = tokio::io::copy(&mut answers, &mut back) => {}
                }
            });
        }
    });
    (address, is_cut, task)
}

#[tokio::test]
async fn a_file_that_was_taken_before_the_gateway_was_told_does_not_come_again() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let folder = Folder::new();
    let place = folder.path("");
    let (proxy, is_cut, _proxy) =
        cut_when(world.address(), move || found(&place).iter().any(|path| path.extension().is_some())).await;
    let more = into_folder(&folder.path(""));
    let stand = Stand::start("cpi-lucca", proxy, &more, world.clock()).await;
    let (push, delivery) = pushed(&anna).await;
    until("the acknowledgement is cut off", async || is_cut.load(Ordering::SeqCst)).await;
    std::fs::remove_file(folder.path(&format!("{delivery}.json"))).unwrap();
    assert!(!is_delivered(&anna, &push).await);

    let stand = stand.restart(&settings("cpi-lucca", world.address(), &more), world.clock()).await;
    until("the gateway is told", async || is_delivered(&anna, &push).await).await;
    assert!(found(&folder.path("")).is_empty(), "it came again");
    stand.running.stop().await.unwrap();
}

#[tokio::test]
async fn what_local_software_has_answered_for_is_not_posted_again_after_a_restart() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let folder = Folder::new();
    let (taker, more, _serving) = Taker::open(&folder).await;
    let heard = taker.heard.clone();
    let (proxy, is_cut, _proxy) = cut_when(world.address(), move || !heard.lock().unwrap().is_empty()).await;
    let stand = Stand::start("cpi-lucca", proxy, &more, world.clock()).await;
    let (push, delivery) = pushed(&anna).await;
    until("the acknowledgement is cut off", async || is_cut.load(Ordering::SeqCst)).await;
    assert!(!is_delivered(&anna, &push).await);

    let stand = stand.restart(&settings("cpi-lucca", world.address(), &more), world.clock()).await;
    until("the gateway is told", async || is_delivered(&anna, &push).await).await;
    assert_eq!(taker.heard_of(&delivery), 1);
    stand.running.stop().await.unwrap();
}

#[tokio::test]
async fn where_nobody_listens_everything_waits_until_somebody_does() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let (taker, folder) = (Taker::default(), Folder::new());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let (push, delivery) = pushed(&anna).await;
    let more = into_url(address.port(), &folder.path("state"));
    let stand = Stand::start("cpi-lucca", world.address(), &more, world.clock()).await;
    until("a first attempt", async || reads(&world, &delivery).await == 1).await;
    let _serving = taker.serve(TcpListener::bind(address).await.unwrap());
    until("delivered", async || {
        world.advance(Duration::from_millis(20));
        is_delivered(&anna, &push).await
    })
    .await;
    assert_eq!(taker.heard_of(&delivery), 1);
    stand.running.stop().await.unwrap();
}

#[test]
fn an_inbox_goes_to_one_place_and_an_address_needs_a_memory() {
    let folder = Folder::new();
    for (into, fault) in [
        ("url = \"http://127.0.0.1:1/x\"\n", "`inbox.state`: is missing"),
        ("folder = \"x\"\nstate = \"y\"\n", "`inbox.state`: goes with `url`"),
        ("folder = \"x\"\nurl = \"http://127.0.0.1:1/x\"\nstate = \"y\"\n", "not both"),
        ("state = \"y\"\n", "`inbox.folder`: is missing"),
        ("url = \"http://piana.example/x\"\nstate = \"y\"\n", "an address of this machine"),
    ] {
        let text = settings("cpi-lucca", SocketAddr::from(([127, 0, 0, 1], 9)), &inbox(into));
        std::fs::write(folder.path("agent.toml"), text).unwrap();
        let faults = config::agent::load(&folder.path("agent.toml")).unwrap_err();
        assert!(faults.len() == 1 && faults[0].what.contains(fault), "{into}: {faults:?}");
    }
}
