//! What was measured, as a table for people and as JSON for programs, with the targets beside it.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::load::{Round, micros};
use crate::log::{Rate, Work};
use crate::millis;
use crate::policy::Speed;
use crate::stages::{DIGESTS, SIGNATURES, Stages, VERIFICATIONS};

/// What the project promises (`docs/performance.md`).
const EXCHANGES_PER_SECOND: f64 = 1500.0;
const RATIO: f64 = 2.5;
const MEMORY_KIB: u64 = 100 * 1024;
const READY: Duration = Duration::from_secs(1);
const COMPILE: Duration = Duration::from_millis(200);
const DECIDE: Duration = Duration::from_micros(5);

pub struct Report {
    pub rounds: Vec<Round>,
    /// Of a new gateway, and of one whose log has entries.
    pub ready: [Duration; 2],
    /// KiB
    pub peak_memory: u64,
    pub record_bytes: usize,
    pub stages: Stages,
    pub policy: Speed,
    pub log: Vec<Rate>,
    /// nginx in front of the provider, or why there is none.
    pub proxy: Result<Round, String>,
}

impl Report {
    /// The load with the most clients.
    fn full(&self) -> Option<&Round> {
        self.rounds.last()
    }

    /// Claim and outcome in the store alone, with the most in flight.
    fn log_micros(&self) -> f64 {
        let mut exchanges = self.log.iter().filter(|rate| rate.work == Work::ClaimAndAppend);
        exchanges.next_back().map_or(0.0, |rate| rate.micros)
    }

    fn proxy_micros(&self) -> f64 {
        self.proxy.as_ref().map_or(0.0, Round::server_micros)
    }

    /// Microseconds of what one exchange cannot do without. Without nginx the carrying counts as nothing, which is stricter.
    fn mandatory(&self) -> f64 {
        micros(self.stages.computing()) + self.log_micros() + self.proxy_micros()
    }

    fn ratio(&self) -> f64 {
        self.full().map_or(f64::INFINITY, Round::server_micros) / self.mandatory()
    }

    pub fn text(&self) -> String {
        let mut text = self.load();
        text.push_str(&self.sum());
        text.push_str(&self.others());
        text.push_str(&self.verdicts());
        text
    }

    fn load(&self) -> String {
        let mut text = format!(
            "\n{}\nrecord of {} bytes, answer of {} bytes\n\n{:<26} {:>9} {:>8} {:>8} {:>9} {:>9} {:>9} {:>7}\n",
            machine(),
            self.record_bytes,
            self.full().map_or(0, |round| round.answer_bytes),
            "load",
            "per s",
            "p50 ms",
            "p99 ms",
            "gateway",
            "provider",
            "client",
            "others"
        );
        let named = self.rounds.iter().map(|round| (format!("gateway, {} clients", round.clients), round));
        let proxy = self.proxy.iter().map(|round| (format!("nginx, {} clients", round.clients), round));
        for (name, round) in named.chain(proxy) {
            let _ = writeln!(
                text,
                "{name:<26} {:>9.0} {:>8.1} {:>8.1} {:>6.0} µs {:>6.0} µs {:>6.0} µs {:>7.2}",
                round.per_second(),
                millis(round.percentile(50)),
                millis(round.percentile(99)),
                round.server_micros(),
                round.provider_micros(),
                round.client_micros(),
                round.others_cores(),
            );
        }
        text.push_str("(µs of CPU for each exchange; others: cores kept busy by other programs meanwhile)\n");
        text
    }

    fn sum(&self) -> String {
        let mut text = "\nmandatory work of one exchange, each stage alone, µs of CPU\n".to_owned();
        let stages = &self.stages;
        let mut line = |name: &str, times: u32, each: f64| {
            let total = each * f64::from(times);
            let _ = writeln!(text, "  {name:<44} {times:>2} x {each:>7.1} = {total:>7.1}");
        };
        line("ES256 verified (consumer's 3, provider's 1)", VERIFICATIONS, micros(stages.verify));
        line("ES256 signed (3 to the provider, answer, record)", SIGNATURES, micros(stages.sign));
        line("SHA-256 of 4 KiB", DIGESTS, micros(stages.digest));
        line("JSON of the record: read, filter, write", 1, micros(stages.json));
        line("log in batches: claim and outcome", 1, self.log_micros());
        match &self.proxy {
            Ok(_) => line("carried over mutual TLS twice (nginx)", 1, self.proxy_micros()),
            Err(why) => text.push_str(&format!("  carrying is not counted: {why}\n")),
        }
        let _ = writeln!(text, "  {:<44} {:>14} {:>9.1}", "sum", "", self.mandatory());
        text
    }

    fn others(&self) -> String {
        let mut text = format!(
            "\none fdatasync of 4 KiB: {:.2} ms\n\n{:<26} {:>9} {:>8} {:>8} {:>9}\n",
            millis(self.stages.fsync),
            "the store alone",
            "per s",
            "p50 ms",
            "p99 ms",
            "µs of CPU"
        );
        for rate in &self.log {
            let work = match rate.work {
                Work::Append => "entry",
                Work::ClaimAndAppend => "claim + entry",
            };
            let _ = writeln!(
                text,
                "{:<26} {:>9.0} {:>8.2} {:>8.2} {:>9.1}",
                format!("{work}, {} in flight", rate.in_flight),
                rate.per_second,
                millis(rate.p50),
                millis(rate.p99),
                rate.micros,
            );
        }
        text
    }

    fn verdicts(&self) -> String {
        let mut text = "\n".to_owned();
        for (what, found, target, holds) in self.targets() {
            let word = if holds { "yes" } else { "NO" };
            let _ = writeln!(text, "{what:<44} {found:>10} {target:>12} {word:>4}");
        }
        text
    }

    /// What, found, target, and whether it holds.
    fn targets(&self) -> Vec<(String, String, String, bool)> {
        let row = |what: &str, found: String, target: String, holds| (what.to_owned(), found, target, holds);
        let full = self.full().map_or(0.0, Round::per_second);
        let ready = self.ready.iter().max().copied().unwrap_or_default();
        let (speed, memory) = (&self.policy, self.peak_memory);
        let ratio = self.ratio();
        vec![
            row(
                "exchanges a second, 64 clients",
                format!("{full:.0}"),
                format!(">= {EXCHANGES_PER_SECOND}"),
                full >= EXCHANGES_PER_SECOND,
            ),
            row(
                "gateway's CPU over the mandatory sum",
                format!("{ratio:.2}"),
                format!("<= {RATIO}"),
                ratio <= RATIO,
            ),
            row(
                "peak memory of the gateway, MiB",
                format!("{}", memory / 1024),
                "< 100".to_owned(),
                memory < MEMORY_KIB,
            ),
            row(
                "ready, slower of new log and old, ms",
                format!("{:.0}", millis(ready)),
                "< 1000".to_owned(),
                ready < READY,
            ),
            row(
                &format!("policy of {} cells compiled, ms", speed.cells),
                format!("{:.0}", millis(speed.compile)),
                "< 200".to_owned(),
                speed.compile < COMPILE,
            ),
            row(
                &format!("{} fields decided, µs", speed.fields),
                format!("{:.1}", micros(speed.decide)),
                "< 5".to_owned(),
                speed.decide < DECIDE,
            ),
        ]
    }

    pub fn json(&self) -> Value {
        let rounds: Vec<_> = self.rounds.iter().map(round).collect();
        let log = self.log.iter().map(|rate| {
            json!({
                "claim": rate.work == Work::ClaimAndAppend,
                "in_flight": rate.in_flight,
                "per_second": rate.per_second,
                "p50_ms": millis(rate.p50),
                "p99_ms": millis(rate.p99),
                "cpu_us": rate.micros,
            })
        });
        let stages = &self.stages;
        json!({
            "machine": machine(),
            "record_bytes": self.record_bytes,
            "gateway": rounds,
            "nginx": self.proxy.as_ref().map_or_else(|why| json!({ "missing": why }), round),
            "peak_memory_kib": self.peak_memory,
            "ready_ms": self.ready.map(millis),
            "stages_us": {
                "es256_verify": micros(stages.verify),
                "es256_sign": micros(stages.sign),
                "sha256_4k": micros(stages.digest),
                "json_4k": micros(stages.json),
                "log_claim_and_entry": self.log_micros(),
                "carry": self.proxy_micros(),
                "sum": self.mandatory(),
            },
            "ratio": self.ratio(),
            "fdatasync_ms": millis(stages.fsync),
            "store": log.collect::<Vec<_>>(),
            "policy": {
                "cells": self.policy.cells,
                "compile_ms": millis(self.policy.compile),
                "fields": self.policy.fields,
                "decide_us": micros(self.policy.decide),
            },
            "targets_met": self.targets().iter().all(|(_, _, _, holds)| *holds),
        })
    }
}

fn round(round: &Round) -> Value {
    json!({
        "clients": round.clients,
        "exchanges": round.exchanges,
        "per_second": round.per_second(),
        "p50_ms": millis(round.percentile(50)),
        "p99_ms": millis(round.percentile(99)),
        "server_cpu_us": round.server_micros(),
        "provider_cpu_us": round.provider_micros(),
        "client_cpu_us": round.client_micros(),
        "others_cores": round.others_cores(),
        "answer_bytes": round.answer_bytes,
    })
}

/// Cores, processor, kernel.
fn machine() -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let info = read("/proc/cpuinfo");
    let model = info.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kernel = read("/proc/sys/kernel/osrelease");
    format!("{cores} cores, {}, Linux {}", model.trim_start_matches([' ', '\t', ':']), kernel.trim())
}
