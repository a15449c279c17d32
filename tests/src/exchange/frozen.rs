//! Nothing leaves before it is durable: a database that hangs in the middle of an exchange, seen from the consumer's socket.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::time::timeout;
use varco::config::Database;
use varco_core::json;

use crate::postgres::Postgres;
use crate::world::asks::Situation;
use crate::world::provider::Play;
use crate::world::{Setup, World};

/// A little shorter than the two seconds after which a commit is late.
const SILENCE: Duration = Duration::from_millis(1500);

static DATABASE: OnceLock<String> = OnceLock::new();

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_stays_silent_while_the_database_is_frozen() {
    let Some(server) = Postgres::start().unwrap() else {
        eprintln!("skipped: PostgreSQL is not installed");
        return;
    };
    DATABASE.set(server.url()).unwrap();
    let gate = Arc::new(Semaphore::new(0));
    let world = World::of(Setup {
        play: Some(Play::Held(Arc::clone(&gate))),
        config: |config| {
            let url = DATABASE.get().unwrap().clone();
            config.storage.database = Database::Postgres { url, password: None };
        },
        ..Setup::default()
    })
    .await;
    let anna = Situation::of(&world).await;
    let message = anna.cpi.signed(json::canonical(&anna.pull()).as_bytes());
    let mut asking = Box::pin(anna.cpi.client.send("POST", "/rest/varco/v1/pulls", message));
    tokio::select! {
        _ = &mut asking => panic!("answered before the provider was asked"),
        () = world.provider.as_ref().unwrap().asked() => {}
    }
    let before = world.log_size().await;
    // The provider's answer is there from here on; only the entry in the log is missing.
    server.freeze().unwrap();
    gate.add_permits(1);
    assert!(timeout(SILENCE, &mut asking).await.is_err(), "something left that was not durable");
    let answer = asking.await.unwrap();
    assert_eq!((answer.status, answer.code().as_str()), (503, "log.unavailable"));
    let text = String::from_utf8_lossy(&answer.message.body).into_owned();
    assert!(!text.contains("record_jws"), "{text}");
    server.thaw().unwrap();
    // Durable or not, the exchange has one outcome, and the next one is answered.
    crate::world::until("the log is open again", async || {
        anna.capannori.get(&format!("/cases/{}", anna.case)).await.status == 200
    })
    .await;
    assert!(world.log_size().await > before);
}
