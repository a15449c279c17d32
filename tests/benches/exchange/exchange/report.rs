//! The exchange's figures as text and JSON, with the targets.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::Measured;
use crate::finding::{Bound, Finding, Target};
use crate::load::Round;
use crate::stages::{DIGESTS, SIGNATURES, VERIFICATIONS};
use crate::{micros, millis};

/// What the project promises (`docs/performance.md`).
const EXCHANGES_PER_SECOND: f64 = 1500.0;
const RATIO: f64 = 2.5;
const MEMORY_MIB: f64 = 100.0;
const READY_MS: f64 = 1000.0;

impl Measured {
    pub fn finding(&self) -> Finding {
        Finding { text: self.text(), targets: self.targets(), json: self.json() }
    }

    /// The load with the most clients.
    fn full(&self) -> Option<&Round> {
        self.rounds.last()
    }

    fn proxy_micros(&self) -> f64 {
        self.proxy.as_ref().map_or(0.0, Round::server_micros)
    }

    /// Microseconds of what one exchange cannot do without. Without nginx the carrying counts as nothing, which is stricter.
    fn mandatory(&self) -> f64 {
        micros(self.stages.computing()) + self.log.micros + self.proxy_micros()
    }

    fn ratio(&self) -> f64 {
        self.full().map_or(f64::INFINITY, Round::server_micros) / self.mandatory()
    }

    fn targets(&self) -> Vec<Target> {
        let ready = self.ready.iter().max().copied().unwrap_or_default();
        let memory = f64::from(u32::try_from(self.peak_memory).unwrap_or(u32::MAX)) / 1024.0;
        let full = self.full().map_or(0.0, Round::per_second);
        vec![
            Target::new("exchanges a second, 64 clients", full, Bound::AtLeast(EXCHANGES_PER_SECOND)),
            Target::new("gateway's CPU over the mandatory sum", self.ratio(), Bound::AtMost(RATIO)),
            Target::new("peak memory, MiB", memory, Bound::Below(MEMORY_MIB)),
            Target::new("ready, new log or old, ms", millis(ready), Bound::Below(READY_MS)),
        ]
    }

    fn text(&self) -> String {
        let mut text = format!(
            "record of {} bytes, answer of {} bytes\n\n{:<26} {:>9} {:>8} {:>8} {:>9} {:>9} {:>9} {:>9} {:>7}\n",
            self.record_bytes,
            self.full().map_or(0, |round| round.answer_bytes),
            "load",
            "per s",
            "p50 ms",
            "p99 ms",
            "gateway",
            "provider",
            "client",
            "together",
            "others"
        );
        let named = self.rounds.iter().map(|round| (format!("gateway, {} clients", round.clients), round));
        let proxy = self.proxy.iter().map(|round| (format!("nginx, {} clients", round.clients), round));
        for (name, round) in named.chain(proxy) {
            let _ = writeln!(
                text,
                "{name:<26} {:>9.0} {:>8.1} {:>8.1} {:>6.0} µs {:>6.0} µs {:>6.0} µs {:>6.0} µs {:>7.2}",
                round.per_second(),
                millis(round.percentile(50)),
                millis(round.percentile(99)),
                round.server_micros(),
                round.provider_micros(),
                round.client_micros(),
                round.all_micros(),
                round.others_cores(),
            );
        }
        text.push_str("(µs of CPU for each exchange; others: cores kept busy by other programs meanwhile)\n");
        let full = self.full().map_or(f64::INFINITY, Round::all_micros);
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cores = f64::from(u32::try_from(cores).unwrap_or(1));
        let _ = writeln!(
            text,
            "{cores} cores for nothing but this would carry {:.0} a second",
            cores * 1e6 / full
        );
        text.push_str(&self.sum());
        text
    }

    fn sum(&self) -> String {
        let mut text = "\nmandatory work of one exchange, each stage alone, µs of CPU\n".to_owned();
        let stages = &self.stages;
        let mut line = |name: &str, times: u32, each: f64| {
            let total = each * f64::from(times);
            let _ = writeln!(text, "  {name:<50} {times:>2} x {each:>7.1} = {total:>7.1}");
        };
        line("ES256 verified (consumer's 3, provider's 1)", VERIFICATIONS, micros(stages.verify));
        line("ES256 signed (3 to the provider, answer, record)", SIGNATURES, micros(stages.sign));
        line("SHA-256 of 4 KiB", DIGESTS, micros(stages.digest));
        line("JSON of the record: read, filter, write", 1, micros(stages.json));
        line("log: claim and outcome, 64 in flight", 1, self.log.micros);
        match &self.proxy {
            Ok(_) => line("carried over mutual TLS twice (nginx)", 1, self.proxy_micros()),
            Err(why) => text.push_str(&format!("  carrying is not counted: {why}\n")),
        }
        let _ = writeln!(text, "  {:<50} {:>14} {:>9.1}", "sum", "", self.mandatory());
        let _ = writeln!(
            text,
            "  {:<50} {:>14} {:>9.2}",
            "gateway with 64 clients, times the sum",
            "",
            self.ratio()
        );
        let _ = writeln!(text, "one fdatasync of 4 KiB: {:.2} ms", millis(stages.fsync));
        text
    }

    fn json(&self) -> Value {
        let rounds: Vec<_> = self.rounds.iter().map(round).collect();
        let stages = &self.stages;
        let ready = self.ready.map(|ready: Duration| millis(ready));
        json!({
            "record_bytes": self.record_bytes,
            "gateway": rounds,
            "nginx": self.proxy.as_ref().map_or_else(|why| json!({ "missing": why }), round),
            "peak_memory_kib": self.peak_memory,
            "ready_ms": ready,
            "stages_us": {
                "es256_verify": micros(stages.verify),
                "es256_sign": micros(stages.sign),
                "sha256_4k": micros(stages.digest),
                "json_4k": micros(stages.json),
                "log_claim_and_entry": self.log.micros,
                "carry": self.proxy_micros(),
                "sum": self.mandatory(),
            },
            "ratio": self.ratio(),
            "fdatasync_ms": millis(stages.fsync),
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
