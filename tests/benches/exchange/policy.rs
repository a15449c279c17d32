//! How long compiling and deciding take, on a bundle of a size that no agreement will reach.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::time::Duration;

use varco_core::case::{CaseFact, Level};
use varco_core::consent::ConsentFact;
use varco_core::policy::{Facts, Party, Policy, Question};
use varco_core::registry::AgencyKind;

use serde_json::json;

use crate::finding::{Bound, Finding, Target};
use crate::process::own_thread_cpu;
use crate::{Bench, Care, Failure, micros, millis};

const RECORDS: usize = 10;
const FIELDS: usize = 300;
const PURPOSES: usize = 15;
const OFFICES: usize = 3;
const ROUNDS: u32 = 20_000;

/// What the project promises (`docs/performance.md`).
const CELLS: usize = 700_000;
const COMPILE_MS: f64 = 200.0;
const DECIDE_MICROS: f64 = 5.0;

/// CPU times, so that others on the machine count less.
struct Speed {
    cells: usize,
    compile: Duration,
    /// One decision over all fields.
    decide: Duration,
}

pub fn chapter(bench: &Bench) -> Result<Finding, Failure> {
    let rounds = if bench.care == Care::Full { ROUNDS } else { ROUNDS / 10 };
    let Speed { cells, compile, decide } = measure(rounds)?;
    if cells < CELLS {
        return Err(format!("the bundle has {cells} cells, fewer than {CELLS}").into());
    }
    Ok(Finding {
        text: format!(
            "a bundle of {cells} cells, read, checked and compiled: {:.0} ms of CPU\n\
             one decision over {FIELDS} fields: {:.2} µs of CPU\n",
            millis(compile),
            micros(decide)
        ),
        targets: vec![
            Target::new(format!("{cells} cells compiled, ms"), millis(compile), Bound::Below(COMPILE_MS)),
            Target::new(format!("{FIELDS} fields decided, µs"), micros(decide), Bound::Below(DECIDE_MICROS)),
        ],
        json: json!({ "cells": cells, "compile_ms": millis(compile), "fields": FIELDS, "decide_us": micros(decide) }),
    })
}

fn measure(rounds: u32) -> Result<Speed, Failure> {
    let files = bundle()?;
    let start = own_thread_cpu()?;
    let policy = Policy::load(&files).map_err(|faults| format!("{faults:#?}"))?;
    let compile = own_thread_cpu()? - start;

    let party = |agency: &str, kind| -> Result<Party, Failure> {
        Ok(Party { agency: agency.parse()?, kind, office: None })
    };
    let purpose = "F01".parse()?;
    let facts = Facts {
        provider: party("comune-uno", AgencyKind::Comune)?,
        consumer: party("cpi-uno", AgencyKind::Cpi)?,
        case: Some(CaseFact {
            case: "0198f0c2-aaaa-7fff-bfff-ffffffffffff".parse()?,
            epoch: 1,
            level: Level::First,
            purposes: vec!["F01".parse()?],
            scopes: BTreeSet::new(),
        }),
        consents: vec![ConsentFact {
            consent: "0198f0c2-bbbb-7fff-bfff-ffffffffffff".parse()?,
            epoch: 1,
            item: "s1".into(),
            fields: None,
            excluded: Vec::new(),
        }],
        restrictions: Vec::new(),
        household: Vec::new(),
        acts: Vec::new(),
        openings: Vec::new(),
    };
    let record_type = "record_0".parse()?;
    let now = "2026-11-23T10:00:00Z".parse()?;
    let question =
        Question { record_type: &record_type, purpose: &purpose, requested: None, facts: &facts, now };
    if policy.decide(&question)?.to_fetch().len() < FIELDS / 2 {
        return Err("the decision shows less than half of the fields: it is not the one to measure".into());
    }
    let start = own_thread_cpu()?;
    for _ in 0..rounds {
        std::hint::black_box(policy.decide(std::hint::black_box(&question))?);
    }
    let decide = (own_thread_cpu()? - start) / rounds;
    Ok(Speed { cells: policy.size(), compile, decide })
}

fn bundle() -> Result<Vec<(String, Vec<u8>)>, std::fmt::Error> {
    let mut text = String::from(
        "[pacchetto]\nnome = prova\nversione = 1\n\
         [protocollo]\ntitolo = prova\ndal = 2024-01-01\nal = 2029-01-01\n\
         [parti]\nente | tipo\ncomune-uno | comune\ncpi-uno | cpi\n\
         [atti]\natto | titolo | art6 | art9\nB1 | prova | 6(1)(e) | 9(2)(g)\n\
         [scala data]\nvista | sotto | come | tecnica\nanno | intero | anno | generalizzato\n\
         fascia | anno | anni(5) | generalizzato\n\
         [legge]\ncategoria | al massimo | solo con | fonte\nspeciale | | consenso | prova\n\
         [regolamento comune-uno]\nruolo | record | campo | al massimo | fonte\n\
         titolare | record_0 | campo_1 | anno | prova\n\
         [colonne]\ncolonna | enti | ufficio | livello\n",
    );
    let mut columns = Vec::new();
    for level in 1..=2 {
        for kind in AgencyKind::ALL {
            columns.push((kind.text().to_owned(), String::new(), level));
        }
        columns.extend((0..OFFICES).map(|office| ("cpi".to_owned(), format!("ufficio-{office}"), level)));
    }
    let names: Vec<String> = (0..columns.len()).map(|i| format!("K{i}")).collect();
    for (name, (kind, office, level)) in names.iter().zip(&columns) {
        writeln!(text, "{name} | {kind} | {office} | {level}")?;
    }
    for purpose in 1..=PURPOSES {
        writeln!(
            text,
            "[finalita F{purpose:02}]\nnome = prova\ncaso = richiesto\nlivelli = 1, 2\nconsenso = garanzia\n\
             base = B1\ndpia = D1\nstesso_tipo = si\ncolonne = {}\nrecord | campi",
            names.join(", ")
        )?;
        for record in 0..RECORDS {
            writeln!(text, "record_{record} | tutti")?;
        }
    }
    let mut files = vec![("comune.txt".to_owned(), text.into_bytes())];
    for record in 0..RECORDS {
        let mut text = format!(
            "[record record_{record}]\ntitolo = prova\ntitolare = comune\ncampo | tipo | categoria | scala\n"
        );
        for field in 0..FIELDS {
            let category = if field % 10 == 0 { "speciale" } else { "ordinaria" };
            writeln!(text, "campo_{field} | data | {category} | data")?;
        }
        writeln!(text, "[implica record_{record}]\nse mostra | dice")?;
        for field in 1..20 {
            writeln!(text, "campo_{field} | campo_{}:anno", field + 100)?;
        }
        writeln!(text, "[matrice record_{record}]\ncampo | {}", names.join(" | "))?;
        for field in 0..FIELDS {
            let cells = vec!["intero"; names.len()].join(" | ");
            writeln!(text, "campo_{field} | {cells}")?;
        }
        files.push((format!("record_{record}.txt"), text.into_bytes()));
    }
    Ok(files)
}
