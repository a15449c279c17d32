//! The store from outside, on SQLite and on PostgreSQL.

#[cfg(test)]
mod world;

use varco_core::log::entry::Kind;
use varco_store::submission::Branch;
use world::*;

#[tokio::test]
async fn smoke() {
    let world = World::sqlite("smoke");
    let store = world.open().await;
    let verifier = world.verifier();
    store.append(consent(9000, "c", 0)).await.unwrap();
    for n in 0..600 {
        store.claim(claim(n, &format!("jti-{n}"))).await.unwrap();
        let done =
            store.append(Submission { closes: Some(exchange(n)), ..guarded(n, "c", 1) }).await.unwrap();
        assert_eq!(done.branch, Branch::Primary);
        verifier.check(&done.receipt).unwrap();
    }
    store.append(consent(9001, "c", 1)).await.unwrap();
    let done = store.append(guarded(9002, "c", 1)).await.unwrap();
    assert_eq!((done.branch, done.receipt.leaf.kind()), (Branch::Fallback, Kind::Denial));
    verifier.check(&store.receipt(&exchange(17)).await.unwrap().unwrap()).unwrap();
    store.close().await;
    let store = world.open().await;
    verifier.check(&store.receipt(&exchange(17)).await.unwrap().unwrap()).unwrap();
}
use varco_store::submission::Submission;
