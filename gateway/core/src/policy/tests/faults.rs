use super::*;

/// The shipped bundle with one text replaced in one file, and the faults that follow.
fn faults_of(file: &str, from: &str, to: &str) -> Vec<String> {
    let mut files = shipped_files();
    let (_, bytes) = files.iter_mut().find(|(path, _)| path.ends_with(file)).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(text.contains(from), "`{from}` is not in {file}");
    *bytes = text.replacen(from, to, 1).into_bytes();
    match Policy::load(&files) {
        Ok(_) => Vec::new(),
        Err(faults) => faults.iter().map(ToString::to_string).collect(),
    }
}

fn check(file: &str, from: &str, to: &str, expected: &str) {
    let faults = faults_of(file, from, to);
    assert!(faults.iter().any(|fault| fault.contains(expected)), "expected `{expected}`, got {faults:#?}");
}

#[test]
fn a_wrong_word_is_answered_with_its_line_and_the_nearest_right_one() {
    let rt01 = "RT-01-anagrafica_nucleo.txt";
    check(
        rt01,
        "| mascherato | -\nemail",
        "| mascerato | -\nemail",
        "unknown view `mascerato`; did you mean `mascherato`?",
    );
    check(rt01, "[matrice", "[matrici", "unknown section `matrici`; did you mean `matrice`?");
    check(
        rt01,
        "\nsesso                      |      |",
        "\nseso                      |      |",
        "did you mean `sesso`?",
    );
    check(rt01, "ordinaria", "ordinria", "unknown category `ordinria`; did you mean `ordinaria`?");
    check(rt01, "codice(sesso)", "codice(seso)", "unknown list `seso`; did you mean `sesso`?");
    check("finalita.txt", "consenso = garanzia", "consenso = garanzie", "did you mean `garanzia`?");
    check("finalita.txt", "conservazione", "conservazioni", "did you mean `conservazione`?");
    check("legge.txt", "comune, asl", "comuni, asl", "unknown recipient `comuni`; did you mean `comune`?");
    check(
        "regolamenti/cpi-lucca.txt",
        "[regolamento cpi-lucca]",
        "[regolamento cpi-luca]",
        "did you mean `cpi-lucca`?",
    );
}

#[test]
fn every_fault_is_reported_at_once_and_in_order() {
    let mut files = shipped_files();
    for (_, bytes) in &mut files {
        *bytes = String::from_utf8(bytes.clone()).unwrap().replace("ordinaria", "ordinria").into_bytes();
    }
    let faults = Policy::load(&files).unwrap_err();
    assert!(faults.len() > 20);
    assert!(faults.is_sorted_by(|a, b| (&a.file, a.line) <= (&b.file, b.line)));
}

#[test]
fn two_grants_for_one_cell_are_an_error_that_names_both() {
    let row = "isee_fascia              |      | intero | intero   | intero | intero | (intero) | -  | intero       | (intero) | intero\n";
    check(
        "RT-07-condizione_economica_prestazioni.txt",
        row,
        &row.repeat(2),
        "second grant for the same cell, the first at record/RT-07",
    );
}

#[test]
fn a_grant_without_an_act_and_special_data_without_its_source_are_errors() {
    check(
        "RT-07-condizione_economica_prestazioni.txt",
        "prestazioni              | B2 ",
        "prestazioni              |    ",
        "no source for GDPR art. 9, which a `speciale` field needs",
    );
    check("protocollo.txt", "atto | titolo", "atti | titolo", "unknown column `atti`; did you mean `atto`?");
    check("finalita.txt", "base = B10", "base = B99", "unknown act `B99`");
    check("finalita.txt", "base = B1, B4\n", "", "`base` is missing");
}

#[test]
fn a_grant_that_tells_more_than_it_grants_is_an_error_that_names_both_fields() {
    let mut files = shipped_files();
    let (_, bytes) = files.iter_mut().find(|(path, _)| path.contains("RT-01")).unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let line = text
        .lines()
        .find(|line| line.starts_with("comune_nascita") && line.matches("intero").count() > 5)
        .unwrap();
    *bytes = text.replace(line, &line.replacen("intero", "-", 1)).into_bytes();
    let faults = Policy::load(&files).unwrap_err();
    let text = faults[0].to_string();
    assert!(text.contains("`codice_fiscale` intero for C1") && text.contains("`comune_nascita`"), "{text}");
    assert_eq!(faults.len(), 1, "{faults:?}");
}

#[test]
fn a_broken_promise_names_the_cell_that_breaks_it() {
    let rt07 = "RT-07-condizione_economica_prestazioni.txt";
    check(
        rt07,
        "isee_valore              |      | intero | intero   | -  ",
        "isee_valore              |      | intero | intero   | intero",
        "assertion `importi ISEE mai a CPI, terzo settore, statistica` is broken by `condizione_economica_prestazioni.isee_valore` for P1 under F02: intero",
    );
}

#[test]
fn a_ladder_must_have_meets_and_fit_its_fields() {
    let two = "vista | sotto | come | tecnica\na | intero | anno | generalizzato\nb | intero | anni(10) | generalizzato\n\
               c | a, b | anni(20); presente | generalizzato\nd | a, b | anni(20); presente | generalizzato";
    let mut files = shipped_files();
    let (_, bytes) = files.iter_mut().find(|(path, _)| path == "scale.txt").unwrap();
    let text = String::from_utf8(bytes.clone()).unwrap();
    let (before, rest) = text.split_once("[scala data_nascita]").unwrap();
    let (_, after) = rest.split_once("[scala data]").unwrap();
    *bytes = format!("{before}[scala data_nascita]\n{two}\n[scala data]{after}").into_bytes();
    let faults: Vec<_> = Policy::load(&files).unwrap_err().iter().map(ToString::to_string).collect();
    assert!(faults.iter().any(|fault| fault.contains("no single greatest view below both")), "{faults:#?}");
    check(
        "scale.txt",
        "anno        | intero | anno ",
        "anno        | intero | conta",
        "`conta` cannot be applied",
    );
    check(
        "scale.txt",
        "ultime_cifre",
        "ultime_cifr",
        "unknown transformation `ultime_cifr`; did you mean `ultime_cifre`?",
    );
    check("scale.txt", "anno   | anni(5)", "anno   | anni(1)", "does not have the arguments it needs");
}

#[test]
fn dead_rows_circles_and_impossible_conditions_are_errors() {
    let rt07 = "RT-07-condizione_economica_prestazioni.txt";
    check("finalita.txt", "colonne = S\n", "colonne = C1\n", "no purpose can reach this column");
    check(
        rt07,
        "isee_valore:fascia | isee_fascia",
        "isee_valore:fascia | isee_fascia\nisee_fascia | isee_valore",
        "imply each other",
    );
    check(
        rt07,
        "isee_tipo                |      | intero ",
        "isee_tipo                |      | intero s ",
        "needs a scope for field `isee_tipo`",
    );
    check(
        rt07,
        "isee_valore:fascia | isee_fascia",
        "isee_valore:fascia | isee_fascia\nse | oscura",
        "unknown field `se`",
    );
    check(
        "RT-01-anagrafica_nucleo.txt",
        "residenza_indirizzo:comune |",
        "residenza_indirizzo:comne |",
        "did you mean `comune`?",
    );
    check(
        "RT-04-posizione_lavoro.txt",
        "percorso_gol                   |      | intero ",
        "percorso_gol                   |      | = ",
        "column `C1` is not of the owner's kind",
    );
    check("protocollo.txt", "al = 2029-02-28", "al = 2029-02-30", "is not a date");
    check("protocollo.txt", "al = 2029-02-28", "al = 2020-02-28", "the end is not after the beginning");
}

#[test]
fn a_cell_nobody_reaches_is_an_error_and_so_is_one_in_brackets_that_somebody_reaches() {
    let rt07 = "RT-07-condizione_economica_prestazioni.txt";
    let row = "isee_fascia              |      | intero | intero   | intero | intero |";
    assert!(faults_of(rt07, row, row).is_empty());
    check(
        rt07,
        row,
        &row.replacen("| intero |", "| (intero) |", 1),
        "`isee_fascia` for C1 is in brackets, but a purpose reaches it",
    );
    check(
        "RT-08-accertamento_disabilita.txt",
        "frequenza                 |      | -  |",
        "frequenza                 |      | intero |",
        "`frequenza` for C1: no purpose reaches this cell; write `-`, or put it in brackets",
    );
    // What stands in brackets is read like any other cell.
    check(
        "RT-08-accertamento_disabilita.txt",
        "frequenza                 |      | -  |",
        "frequenza                 |      | (anno) |",
        "unknown view `anno`",
    );
}

#[test]
fn a_purpose_that_gives_special_data_names_its_impact_assessment() {
    check(
        "finalita.txt",
        "dpia = DPIA-2026-03\nconservazione = P10Y",
        "conservazione = P10Y",
        "purpose `F09` gives special, judicial or protected data and names no `dpia`",
    );
    let grant = shipped().grants().find(|grant| grant.purpose.as_str() == "F09").unwrap();
    assert_eq!(grant.dpia.as_deref(), Some("DPIA-2026-03"));
}

#[test]
fn officers_read_the_faults_in_italian_with_the_same_places_and_words() {
    let mut files = shipped_files();
    let (_, bytes) = files.iter_mut().find(|(path, _)| path == "legge.txt").unwrap();
    *bytes = String::from_utf8(bytes.clone()).unwrap().replace("comune, asl", "comuni, asl").into_bytes();
    let faults = Policy::load(&files).unwrap_err();
    let told = faults.first().unwrap().italian();
    assert_eq!(told, "legge.txt:8: destinatario sconosciuto `comuni`; forse `comune`?");
}
