//! Who is believed: tokens, seals and channels.

use std::time::Duration;

use varco_core::json;
use varco_core::wire::Message;

use crate::world::asks::{COACH, Situation, anna, open_case};
use crate::world::desk::Desk;
use crate::world::provider::Play;
use crate::world::{KIT, Setup, World};

/// Refused before anybody knows who asked: no signature, no receipt, no entry.
async fn assert_unanswered(world: &World, desk: &Desk, message: Message, (status, code): (u16, &str)) {
    let before = world.log_size().await;
    let told = desk.send("POST", "/pulls", message).await;
    told.assert_refused(status, code);
    assert!(!told.signed && told.text("receipt").is_empty());
    assert_eq!(world.log_size().await, before, "a stranger wrote to the access log");
    if let Some(provider) = &world.provider {
        assert!(provider.heard().is_empty());
    }
}

fn pull_of(anna: &Situation) -> Message {
    anna.cpi.signed(json::canonical(&anna.pull()).as_bytes())
}

#[tokio::test]
async fn a_token_works_once() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let message = pull_of(&anna);
    assert_eq!(anna.cpi.send("POST", "/pulls", message.clone()).await.status, 200);
    assert_unanswered(&world, &anna.cpi, message, (409, "wire.replayed")).await;
}

#[tokio::test]
async fn two_requests_may_not_share_one_bearer_token() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let (first, mut second) = (pull_of(&anna), pull_of(&anna));
    assert_eq!(anna.cpi.send("POST", "/pulls", first.clone()).await.status, 200);
    let bearer = first.headers.iter().find(|(name, _)| name == "authorization").unwrap().clone();
    second.headers.retain(|(name, _)| name != "authorization");
    second.headers.push(bearer);
    assert_unanswered(&world, &anna.cpi, second, (409, "wire.replayed")).await;
}

#[tokio::test]
async fn a_replay_sent_at_the_same_moment_is_answered_once() {
    let world = World::start().await;
    let anna = Situation::of(&world).await;
    let message = pull_of(&anna);
    let sent = std::iter::repeat_with(|| anna.cpi.send("POST", "/pulls", message.clone())).take(6);
    let mut sending: Vec<_> = sent.map(Box::pin).collect();
    let mut statuses = Vec::new();
    let (a, b, c, d, e, f) = {
        let mut next = || sending.pop().unwrap();
        tokio::join!(next(), next(), next(), next(), next(), next())
    };
    for told in [a, b, c, d, e, f] {
        statuses.push(told.status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 409, 409, 409, 409, 409]);
}

#[tokio::test]
async fn a_body_changed_on_the_way_is_refused() {
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    let mut message = pull_of(&anna);
    let last = message.body.len() - 1;
    message.body.insert(last, b' ');
    assert_unanswered(&world, &anna.cpi, message, (400, "wire.digest")).await;
}

#[tokio::test]
async fn a_digest_recomputed_over_a_changed_body_is_refused() {
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    let mut message = pull_of(&anna);
    message.body.push(b' ');
    let digest = varco_core::wire::digest_header(&varco_core::hash::Sha256::of(&message.body));
    for (name, value) in &mut message.headers {
        if name == "digest" {
            value.clone_from(&digest);
        }
    }
    assert_unanswered(&world, &anna.cpi, message, (400, "wire.digest")).await;
}

#[tokio::test]
async fn a_token_past_its_time_is_refused() {
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    let message = pull_of(&anna);
    world.advance(Duration::from_secs(10 * 60));
    assert_unanswered(&world, &anna.cpi, message, (400, "wire.expired")).await;
    assert_eq!(anna.cpi.send("POST", "/pulls", pull_of(&anna)).await.status, 200);
}

#[tokio::test]
async fn a_token_from_the_future_is_refused() {
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    let mut ahead = world.desk("cpi-lucca", COACH);
    let now = world.now();
    ahead.clock = std::sync::Arc::new(move || now.plus(Duration::from_secs(600)));
    let message = ahead.signed(json::canonical(&anna.pull()).as_bytes());
    assert_unanswered(&world, &anna.cpi, message, (400, "wire.not-yet-valid")).await;
}

#[tokio::test]
async fn a_token_for_another_audience_is_refused() {
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    let mut desk = world.desk("cpi-lucca", COACH);
    desk.claims.audience = "https://elsewhere.example".to_owned();
    let message = desk.signed(json::canonical(&anna.pull()).as_bytes());
    assert_unanswered(&world, &desk, message, (400, "wire.audience")).await;
}

#[tokio::test]
async fn nobody_speaks_in_the_name_of_another() {
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    let mut desk = world.desk("comune-lucca", COACH);
    desk.claims.issuer = "cpi-lucca".to_owned();
    let message = desk.signed(json::canonical(&anna.pull()).as_bytes());
    let told = desk.client.send("POST", "/rest/varco/v1/pulls", message).await.unwrap();
    assert_eq!((told.status, told.code().as_str()), (400, "wire.issuer"));
}

#[tokio::test]
async fn a_message_may_not_come_over_the_channel_of_another_agency() {
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    let mut desk = world.desk("cpi-lucca", COACH);
    desk.client = world.client("comune-lucca");
    let message = pull_of(&anna);
    assert_unanswered(&world, &desk, message, (403, "wire.channel")).await;
}

#[tokio::test]
async fn an_agency_that_acts_for_another_may_carry_its_messages_and_the_log_says_so() {
    let world = World::of(Setup {
        registry: |registry| {
            let lucca = registry.agencies.iter_mut().find(|agency| agency.id.as_str() == "comune-lucca");
            lucca.unwrap().acts_for = vec!["cpi-lucca".parse().unwrap()];
        },
        ..Setup::default()
    })
    .await;
    let anna = Situation::of(&world).await;
    let mut desk = world.desk("cpi-lucca", COACH);
    desk.client = world.client("comune-lucca");
    let told = desk.post("/pulls", &anna.pull()).await;
    assert_eq!(told.status, 200, "{:?}", told.body);
    let (leaf, slots) = world.entries_of(told.exchange()).await.remove(0);
    assert_eq!(leaf.content().consumer.as_ref().unwrap().as_str(), "cpi-lucca");
    let operator: serde_json::Value = serde_json::from_str(&slots.operator.unwrap().body).unwrap();
    assert_eq!(operator["carrier"], "comune-lucca");
    // The permission goes one way only.
    let mut back = world.desk("comune-lucca", "op-luc-1");
    back.client = world.client("cpi-lucca");
    let message = back.signed(json::canonical(&anna.pull()).as_bytes());
    assert_unanswered(&world, &back, message, (403, "wire.channel")).await;
}

#[tokio::test]
async fn a_suspended_agency_is_a_stranger_at_once() {
    let world = World::of(Setup {
        registry: |registry| {
            let pescaglia =
                registry.agencies.iter_mut().find(|agency| agency.id.as_str() == "comune-pescaglia");
            pescaglia.unwrap().suspended = Some(crate::world::NOW.plus(Duration::from_secs(60)));
        },
        ..Setup::default()
    })
    .await;
    let desk = world.desk("comune-pescaglia", "op-pes-1");
    assert_eq!(desk.post("/cases", &open_case()).await.status, 201);
    world.advance(Duration::from_secs(60));
    let message = desk.signed(json::canonical(&open_case()).as_bytes());
    assert_unanswered(&world, &desk, message, (403, "wire.unknown-sender")).await;
}

#[tokio::test]
async fn the_key_of_a_channel_does_not_seal() {
    let world = World::start().await;
    let mut desk = world.desk("cpi-lucca", COACH);
    desk.signer =
        crate::world::desk::signer(&KIT.agency(&"cpi-lucca".parse().unwrap()).unwrap().party.channel);
    let message = desk.signed(json::canonical(&anna()).as_bytes());
    assert_unanswered(&world, &desk, message, (400, "wire.certificate")).await;
}

#[tokio::test]
async fn one_operator_can_be_slowed_down_without_its_agency() {
    let world =
        World::of(Setup { config: |config| config.rates.operator.requests = 2, ..Setup::default() }).await;
    let (busy, other) = (world.desk("comune-lucca", "op-1"), world.desk("comune-lucca", "op-2"));
    for _ in 0..2 {
        assert_eq!(busy.post("/cases", &open_case()).await.status, 201);
    }
    let answer = busy.client.send(
        "POST",
        "/rest/varco/v1/cases",
        busy.signed(json::canonical(&open_case()).as_bytes()),
    );
    let answer = answer.await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (429, "limit.exceeded"));
    assert!(answer.header("retry-after").is_some());
    assert!(answer.header("x-ratelimit-limit").is_some());
    assert_eq!(other.post("/cases", &open_case()).await.status, 201);
}
