use super::*;
use crate::policy::questions::diff::Direction;

fn changed(file: &str, from: &str, to: &str) -> Policy {
    let mut files = shipped_files();
    let (_, bytes) = files.iter_mut().find(|(path, _)| path.ends_with(file)).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(from), "`{from}` is not in {file}");
    *bytes = text.replacen(from, to, 1).into_bytes();
    load(&files)
}

/// The cells that move, as `field audience level purpose: direction`.
fn moved(after: &Policy) -> Vec<String> {
    let diff = shipped().diff(after, now());
    let of = |one: &crate::policy::questions::diff::Moved| {
        let key = &one.key;
        format!(
            "{} {} {} {}: {:?} of {}",
            key.field,
            key.audience,
            key.level,
            key.purpose,
            one.direction,
            one.owners.len()
        )
    };
    diff.cells.iter().map(of).collect()
}

#[test]
fn a_bundle_differs_from_itself_in_nothing() {
    let diff = shipped().diff(&shipped(), now());
    assert!(diff.cells.is_empty() && diff.terms.is_empty() && !diff.widens());
}

#[test]
fn every_cell_that_moves_is_listed_with_its_direction_and_its_owners() {
    let rt04 = "RT-04-posizione_lavoro.txt";
    let row = "mesi_disoccupazione            |      | fascia ";
    let wider = changed(rt04, row, "mesi_disoccupazione            |      | intero ");
    assert_eq!(
        moved(&wider),
        ["F02", "F04", "F05"].map(|purpose| format!("mesi_disoccupazione comune 1 {purpose}: Widens of 1"))
    );
    assert!(shipped().diff(&wider, now()).widens());
    assert!(!wider.diff(&shipped(), now()).widens());
    let narrower = changed("regolamenti/comune-lucca.txt", "titolo =", "atto = prova\ntitolo =");
    assert_eq!(moved(&narrower), Vec::<String>::new());
    let free = changed("finalita.txt", "consenso = garanzia", "consenso = nessuno");
    let diff = shipped().diff(&free, now());
    assert!(
        diff.cells.iter().all(|one| one.direction == Direction::Widens && one.key.purpose.as_str() == "F02")
    );
}

#[test]
fn a_change_reaches_what_it_implies() {
    let row = "[regolamento comune-lucca]\n";
    let after = changed(
        "regolamenti/comune-lucca.txt",
        row,
        &format!(
            "{row}ruolo | record | campo | verso | al massimo | fonte\ntitolare | anagrafica_nucleo | data_nascita | cpi | anno | prova\n"
        ),
    );
    let cells = moved(&after);
    assert!(cells.contains(&"data_nascita cpi 1 F02: Narrows of 1".to_owned()), "{cells:?}");
    assert!(cells.contains(&"codice_fiscale cpi 1 F02: Narrows of 1".to_owned()), "{cells:?}");
    assert!(cells.iter().all(|cell| cell.contains("Narrows")));
}

#[test]
fn terms_that_open_a_gate_count_as_widening() {
    let longer = changed("protocollo.txt", "al = 2029-02-28", "al = 2034-02-28");
    let diff = shipped().diff(&longer, now());
    assert!(diff.widens() && diff.cells.is_empty() && diff.terms.len() == 1);
}

#[test]
fn who_sees_dead_and_uncovered_agree_with_the_matrix() {
    let policy = shipped();
    let isee = "condizione_economica_prestazioni".parse().unwrap();
    let ways = policy.who(&isee, &"isee_valore".parse().unwrap(), now());
    assert!(
        ways.iter().all(|way| way.key.audience == "comune" || way.effect.view.as_str() == "sotto_soglia")
    );
    assert!(ways.iter().any(|way| way.key.audience == "asl"));
    let pooled = policy.sees("cpi", now());
    assert!(pooled.iter().any(|one| one.field.as_str() == "isee_fascia"));
    assert!(!pooled.iter().any(|one| one.field.as_str() == "isee_valore"));
    let uncovered = policy.uncovered(now());
    assert!(uncovered.iter().any(|(_, field)| field.as_str() == "diario_colloqui"));
    assert!(!uncovered.iter().any(|(_, field)| field.as_str() == "cognome"));
    assert!(policy.dead().is_empty(), "{:?}", policy.dead());
    let idle = changed(
        "regolamenti/comune-lucca.txt",
        "[regolamento comune-lucca]\n",
        "[regolamento comune-lucca]\nruolo | record | campo | al massimo | fonte\n\
         titolare | condizione_economica_prestazioni | patrimonio_mobiliare | - | prova\n",
    );
    assert_eq!(idle.dead().len(), 1, "a row that takes nothing away");
}
