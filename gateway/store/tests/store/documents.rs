//! Streams of events and artifacts.

use tokio::task::JoinSet;
use varco_core::hash::Sha256;
use varco_core::log::entry::Kind;
use varco_store::read::{ReadError, Stream};
use varco_store::submission::{
    AppendError, Artifact, ArtifactKind, Change, ClaimError, Found, StreamEpoch, StreamKind, Submission,
    Wanted,
};

use crate::on_both;
use crate::world::*;

on_both! {
    a_claim_tells_what_its_exchange_will_rest_on
    a_document_grows_by_its_events
    a_stale_change_is_refused_and_enters_nothing
    an_artifact_is_kept_under_its_digest
    documents_are_found_by_their_people
    a_stream_waits_for_its_agencies_until_it_does_not
}

async fn a_document_grows_by_its_events(world: World) {
    let store = world.open().await;
    assert_eq!(store.read().stream("c").await.unwrap(), None);
    store.append(consent(1, "c", 0)).await.unwrap();
    store.append(consent(2, "c", 1)).await.unwrap();
    let mut renamed = consent(3, "c", 2);
    renamed.changes[0].header = Some("{\"new\":true}".to_owned());
    store.append(renamed).await.unwrap();
    let expected = Stream {
        id: "c".to_owned(),
        kind: StreamKind::Consent,
        epoch: 3,
        header: Some("{\"new\":true}".to_owned()),
        events: (1..=3).map(|n| format!("{{\"event\":{n}}}")).collect(),
    };
    assert_eq!(store.read().stream("c").await.unwrap(), Some(expected));
    // Two changes of one submission, one of them of a new document.
    let mut both = consent(4, "c", 3);
    both.changes.extend(consent(4, "d", 0).changes);
    both.changes.extend(consent(4, "d", 1).changes);
    store.append(both).await.unwrap();
    assert_eq!(store.read().stream("c").await.unwrap().unwrap().epoch, 4);
    assert_eq!(store.read().stream("d").await.unwrap().unwrap().events.len(), 2);
}

async fn a_stale_change_is_refused_and_enters_nothing(world: World) {
    let store = world.open().await;
    store.append(consent(1, "c", 0)).await.unwrap();
    let mut tasks = JoinSet::new();
    for n in 10..30 {
        let store = store.clone();
        tasks.spawn(async move { store.append(consent(n, "c", 1)).await });
    }
    let results = tasks.join_all().await;
    assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    let conflict = AppendError::Conflict(StreamKind::Consent);
    assert!(results.iter().all(|result| result.as_ref().err().is_none_or(|fault| *fault == conflict)));
    assert_eq!(store.append(consent(40, "c", 0)).await.unwrap_err(), conflict);
    assert_eq!(store.append(consent(41, "new", 7)).await.unwrap_err(), conflict);
    let size = store.sign().await.unwrap().head.size;
    assert_eq!(size, 2);
    assert_eq!(store.read().stream("c").await.unwrap().unwrap().epoch, 2);
    assert_eq!(store.read().stream("new").await.unwrap(), None);
}

async fn an_artifact_is_kept_under_its_digest(world: World) {
    let store = world.open().await;
    let artifact = Artifact { kind: ArtifactKind::Policy, bytes: vec![0, 255, 7] };
    for n in 0..2 {
        let submission = Submission {
            artifacts: vec![artifact.clone(), artifact.clone()],
            ..Submission::new(draft(Kind::Policy, n))
        };
        store.append(submission).await.unwrap();
    }
    let read = store.read();
    assert_eq!(read.artifact(&artifact.sha256()).await.unwrap(), Some(artifact.clone()));
    assert_eq!(read.artifact(&Sha256::of(b"other")).await.unwrap(), None);
    world.tamper("UPDATE artifact SET kind = 'nothing'").await.unwrap();
    assert!(matches!(read.artifact(&artifact.sha256()).await, Err(ReadError::Damaged(_))));
}

async fn documents_are_found_by_their_people(world: World) {
    let store = world.open().await;
    let case = Change {
        stream: "case".to_owned(),
        kind: StreamKind::Case,
        expected: 0,
        header: None,
        event: "{}".to_owned(),
        subjects: vec![person(1)],
        waits_for: None,
    };
    store.append(Submission { changes: vec![case], ..Submission::new(draft(Kind::Case, 1)) }).await.unwrap();
    store.append(consent(2, "b", 0)).await.unwrap();
    store.append(consent(3, "a", 0)).await.unwrap();
    store.append(consent(4, "b", 1)).await.unwrap();
    let read = store.read();
    let found = read.streams_of(&[person(1), person(2), person(9)], StreamKind::Consent).await.unwrap();
    let found: Vec<(&str, u64, usize)> =
        found.iter().map(|stream| (stream.id.as_str(), stream.epoch, stream.events.len())).collect();
    assert_eq!(found, [("a", 1, 1), ("b", 2, 2)]);
    assert_eq!(read.streams_of(&[person(1)], StreamKind::Case).await.unwrap().len(), 1);
    assert_eq!(read.streams_of(&[person(2)], StreamKind::Case).await.unwrap(), []);
    assert_eq!(read.streams_of(&[person(9)], StreamKind::Consent).await.unwrap(), []);
    assert_eq!(read.streams_of(&[], StreamKind::Consent).await.unwrap(), []);
    let many: Vec<_> = std::iter::repeat_n(person(1), 300).collect();
    assert!(matches!(read.streams_of(&many, StreamKind::Case).await, Err(ReadError::TooMuch)));
}

async fn a_claim_tells_what_its_exchange_will_rest_on(world: World) {
    let store = world.open().await;
    store.append(consent(1, "b", 0)).await.unwrap();
    store.append(consent(2, "a", 0)).await.unwrap();
    let notice = Change { kind: StreamKind::Notice, ..consent(3, "told", 0).changes.remove(0) };
    store
        .append(Submission { changes: vec![notice], ..Submission::new(draft(Kind::Admin, 3)) })
        .await
        .unwrap();
    let epochs = |held: &[StreamEpoch]| -> Vec<(String, u64)> {
        held.iter().map(|head| (head.stream.clone(), head.epoch)).collect()
    };
    let wanted = Wanted {
        subjects: vec![person(1), person(2), person(9)],
        streams: vec!["told".to_owned(), "nothing".to_owned()],
    };
    let held = store.claim_and_look(claim(10, "one"), wanted.clone()).await.unwrap();
    assert_eq!(epochs(&held.of_subjects), [("a".to_owned(), 1), ("b".to_owned(), 1)]);
    assert_eq!(epochs(&held.named), [("told".to_owned(), 1)]);
    store.append(consent(4, "b", 1)).await.unwrap();
    let held = store.claim_and_look(claim(11, "two"), wanted.clone()).await.unwrap();
    assert_eq!(epochs(&held.of_subjects), [("a".to_owned(), 1), ("b".to_owned(), 2)]);
    let again = store.claim_and_look(claim(12, "two"), wanted).await;
    assert_eq!(again, Err(ClaimError::Replayed), "a used token is told nothing");
    assert_eq!(store.claim_and_look(claim(13, "three"), Wanted::default()).await, Ok(Found::default()));
    let many = Wanted { subjects: vec![person(1); 33], streams: Vec::new() };
    assert!(matches!(store.claim_and_look(claim(14, "four"), many).await, Err(ClaimError::Invalid(_))));

    let read = store.read();
    let names = ["b", "nothing", "a", "a"].map(str::to_owned);
    let found = read.streams_named(&names).await.unwrap();
    let found: Vec<_> = found.iter().map(|stream| (stream.id.as_str(), stream.events.len())).collect();
    assert_eq!(found, [("a", 1), ("b", 2)]);
    assert_eq!(read.streams_named(&[]).await.unwrap(), []);
    assert!(matches!(read.streams_named(&vec!["a".to_owned(); 257]).await, Err(ReadError::TooMuch)));
}

async fn a_stream_waits_for_its_agencies_until_it_does_not(world: World) {
    let store = world.open().await;
    let (cpi, asl) = ("cpi-lucca".parse().unwrap(), "asl-toscana-nord-ovest".parse().unwrap());
    let change = |stream: &str, expected, agencies: &[&varco_core::id::AgencyId]| Change {
        stream: stream.to_owned(),
        kind: StreamKind::Notice,
        expected,
        header: (expected == 0).then(|| "{}".to_owned()),
        event: "{}".to_owned(),
        subjects: Vec::new(),
        waits_for: Some(agencies.iter().map(|agency| (*agency).clone()).collect()),
    };
    let enter = |n, changes| Submission { changes, ..Submission::new(draft(Kind::Consent, n)) };
    let changes = vec![change("b", 0, &[&cpi, &asl]), change("a", 0, &[&cpi])];
    store.append(enter(1, changes)).await.unwrap();
    let ids = async |agency| -> Vec<String> {
        let waiting = store.read().waiting_for(agency, StreamKind::Notice).await.unwrap();
        waiting.into_iter().map(|stream| stream.id).collect()
    };
    assert_eq!(ids(&cpi).await, ["a", "b"]);
    assert_eq!(ids(&asl).await, ["b"]);
    let all = async || -> Vec<String> {
        let waiting = store.read().waiting(StreamKind::Notice).await.unwrap();
        waiting.into_iter().map(|stream| stream.id).collect()
    };
    assert_eq!(all().await, ["a", "b"], "each once, whoever it waits for");
    assert!(store.read().waiting(StreamKind::Emergency).await.unwrap().is_empty());
    assert!(store.read().waiting_for(&cpi, StreamKind::Consent).await.unwrap().is_empty());
    store.append(enter(2, vec![change("b", 1, &[])])).await.unwrap();
    assert_eq!(ids(&cpi).await, ["a"]);
    assert!(ids(&asl).await.is_empty());
    assert_eq!(all().await, ["a"]);
    // A change that says nothing of it leaves it as it is.
    let silent = Change { waits_for: None, ..change("a", 1, &[]) };
    store.append(enter(3, vec![silent])).await.unwrap();
    assert_eq!(ids(&cpi).await, ["a"]);
}
