//! What is disclosed is in the log, and what cannot be logged is not disclosed.

use std::sync::Arc;

use sqlx::{Connection as _, Executor as _, SqliteConnection};
use tokio::sync::Semaphore;
use varco_core::json;
use varco_core::log::entry::Kind;

use crate::world::asks::Situation;
use crate::world::provider::Play;
use crate::world::{World, until};

/// Somebody else holds the database, and the gateway cannot write.
async fn lock(world: &World) -> SqliteConnection {
    let url = format!("sqlite:{}", world.folder.path("varco.db").display());
    let mut connection = SqliteConnection::connect(&url).await.unwrap();
    connection.execute("PRAGMA busy_timeout = 5000").await.unwrap();
    connection.execute("BEGIN IMMEDIATE").await.unwrap();
    connection
}

async fn unlock(mut connection: SqliteConnection) {
    connection.execute("ROLLBACK").await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_the_exchange_before_the_provider_is_asked() {
    let world = World::played(Play::Honest).await;
    let anna = Situation::of(&world).await;
    let lock = lock(&world).await;
    let told = anna.cpi.post("/pulls", &anna.pull()).await;
    told.assert_refused(503, "log.unavailable");
    assert!(world.provider.as_ref().unwrap().heard().is_empty());
    let status = world.client("cpi-lucca").get("/rest/varco/v1/status").await;
    let status = status.unwrap();
    assert_eq!(status.status, 503, "the status does not tell the truth");
    unlock(lock).await;
    until("the log recovers", async || anna.cpi.post("/pulls", &anna.pull()).await.status == 200).await;
}

#[tokio::test]
async fn a_log_that_fails_after_the_fetch_discloses_nothing() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::played(Play::Held(Arc::clone(&gate))).await;
    let anna = Situation::of(&world).await;
    let pull = anna.pull();
    let meanwhile = async {
        world.provider.as_ref().unwrap().asked().await;
        let lock = lock(&world).await;
        gate.add_permits(1);
        lock
    };
    let (told, lock) = tokio::join!(anna.cpi.post("/pulls", &pull), meanwhile);
    told.assert_refused(503, "log.unavailable");
    assert!(!told.signed);
    unlock(lock).await;
    gate.add_permits(1);
    until("the log recovers", async || {
        gate.add_permits(1);
        anna.cpi.post("/pulls", &pull).await.status == 200
    })
    .await;
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_lose_the_entry_of_its_exchange() {
    let gate = Arc::new(Semaphore::new(0));
    let world = World::played(Play::Held(Arc::clone(&gate))).await;
    let anna = Situation::of(&world).await;
    let before = world.log_size().await;
    let mut connection = anna.cpi.client.connect().await.unwrap();
    let message = anna.cpi.signed(json::canonical(&anna.pull()).as_bytes());
    {
        let sending = connection.send("POST", "/rest/varco/v1/pulls", message);
        let asked = world.provider.as_ref().unwrap().asked();
        tokio::pin!(sending, asked);
        tokio::select! {
            _ = &mut sending => panic!("answered before the provider was"),
            () = &mut asked => {}
        }
    }
    drop(connection);
    gate.add_permits(1);
    until("the entry", async || world.log_size().await > before).await;
    let entries = world.entries(before).await;
    assert_eq!(entries.len(), 1);
    assert!(matches!(entries[0].kind(), Kind::Disclosure), "{:?}", entries[0].kind());
}
