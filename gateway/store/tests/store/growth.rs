//! A log grown past 65,536 entries, where the first tile of the second level is complete.

use sqlx::{Connection as _, SqliteConnection};
use varco_core::hash::Sha256;
use varco_core::log::entry::{Draft, Kind};
use varco_core::log::tree::{Frontier, Hashes as _, leaf_hash};
use varco_core::time::Timestamp;
use varco_store::store::{MissingAnchor, Options, Store};
use varco_store::submission::Submission;

use crate::world::*;

/// A little less than the 65,536 that complete the tile.
const BEFORE: u64 = 65_500;

/// Fills an empty log past its writer, which would take long, with what the writer would have written.
async fn fill(world: &World) {
    let at = Timestamp::from_millis(START);
    let leaves: Vec<_> = (0..BEFORE).map(|n| Draft::new(Kind::Read, exchange(n)).leaf(n, at)).collect();
    let hashes: Vec<Sha256> = leaves.iter().map(|leaf| leaf_hash(leaf.as_bytes())).collect();
    let mut frontier = Frontier::new();
    let batch = frontier.append(&hashes);
    let mut connection = SqliteConnection::connect(&world.url).await.unwrap();
    let mut transaction = connection.begin().await.unwrap();
    for (leaf, hash) in leaves.iter().zip(&hashes) {
        sqlx::query("INSERT INTO log_entry (idx, id, kind, leaf, leaf_hash) VALUES (?, ?, 'read', ?, ?)")
            .bind(i64::try_from(leaf.index()).unwrap())
            .bind(leaf.id().as_str().to_owned())
            .bind(leaf.as_str().to_owned())
            .bind(hash.as_bytes().to_vec())
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    for (n, tile) in (0_i64..).zip(hashes.chunks_exact(256)) {
        let root = batch.node(8, u64::try_from(n).unwrap()).unwrap();
        sqlx::query("INSERT INTO log_tile (level, n, hashes, root) VALUES (0, ?, ?, ?)")
            .bind(n)
            .bind(tile.iter().flat_map(|hash| *hash.as_bytes()).collect::<Vec<u8>>())
            .bind(root.as_bytes().to_vec())
            .execute(&mut *transaction)
            .await
            .unwrap();
    }
    sqlx::query("UPDATE log_state SET size = ?, frontier = ?, root = ?, last_at = ?")
        .bind(i64::try_from(BEFORE).unwrap())
        .bind(frontier.to_bytes())
        .bind(frontier.root().as_bytes().to_vec())
        .bind(at.millis())
        .execute(&mut *transaction)
        .await
        .unwrap();
    transaction.commit().await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn a_log_grows_past_a_tile_of_tiles() {
    let world = World::sqlite("growth");
    world.open().await.close().await;
    fill(&world).await;
    // The old anchor speaks of an empty log, of which every log is a continuation.
    let store = world.open().await;
    for round in 0..3 {
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..40 {
            let store = store.clone();
            let submission = Submission::new(Draft::new(Kind::Read, exchange(BEFORE + round * 40 + n)));
            tasks.spawn(async move { store.append(submission).await.unwrap().receipt });
        }
        for receipt in tasks.join_all().await {
            world.verifier().check(&receipt).unwrap();
        }
    }
    let size = BEFORE + 120;
    assert_eq!(store.checkpoint().head.size, size);
    let read = store.read();
    let tile = read.tile(1, 0, size).await.unwrap().unwrap();
    assert_eq!(tile.len(), 256);
    assert_eq!(read.tile(2, 0, size).await.unwrap().unwrap().len(), 1);
    assert_eq!(read.tile(1, 1, size).await.unwrap(), None);
    for index in [0, 255, 256, 40_000, 65_499, 65_535, 65_536, size - 1] {
        world.verifier().check(&store.receipt(&exchange(index)).await.unwrap().unwrap()).unwrap();
    }
    store.close().await;
    // From the tiles alone, and from every entry.
    let store = world.open().await;
    assert_eq!(store.checkpoint().head.size, size);
    store.close().await;
    std::fs::remove_file(world.directory.join("anchor")).unwrap();
    let adopting = Options { missing_anchor: MissingAnchor::Adopt, ..world.options() };
    assert_eq!(Store::open(adopting).await.unwrap().checkpoint().head.size, size);
}
