//! What a chapter gives: a text for people, the same for programs, and targets with what was measured against them.

use std::fmt::Write as _;

use serde_json::{Map, Value, json};

pub struct Finding {
    pub text: String,
    pub targets: Vec<Target>,
    pub json: Value,
}

/// One promise, and what came of it.
pub struct Target {
    /// With its unit: `ready, ms`.
    pub what: String,
    pub measured: f64,
    pub bound: Bound,
}

#[derive(Clone, Copy)]
pub enum Bound {
    AtLeast(f64),
    AtMost(f64),
    Below(f64),
}

impl Target {
    pub fn new(what: impl Into<String>, measured: f64, bound: Bound) -> Self {
        Self { what: what.into(), measured, bound }
    }

    pub fn is_met(&self) -> bool {
        match self.bound {
            Bound::AtLeast(least) => self.measured >= least,
            Bound::AtMost(most) => self.measured <= most,
            Bound::Below(limit) => self.measured < limit,
        }
    }
}

impl Bound {
    fn text(self) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {least}"),
            Self::AtMost(most) => format!("<= {most}"),
            Self::Below(limit) => format!("< {limit}"),
        }
    }
}

/// All targets of all chapters: what, target, measured, met or not.
pub fn table(findings: &[(&str, Finding)]) -> String {
    let mut text = format!("{:<58} {:>9} {:>10}  met\n", "what", "target", "measured");
    for (chapter, finding) in findings {
        for target in &finding.targets {
            let measured = if target.measured < 10.0 {
                format!("{:.2}", target.measured)
            } else {
                format!("{:.0}", target.measured)
            };
            let met = if target.is_met() { "yes" } else { "NO" };
            let what = format!("{chapter}: {}", target.what);
            let _ = writeln!(text, "{what:<58} {:>9} {measured:>10}  {met}", target.bound.text());
        }
    }
    text
}

pub fn json(machine: &str, findings: &[(&str, Finding)]) -> Value {
    let target = |target: &Target| {
        json!({
            "what": target.what,
            "target": target.bound.text(),
            "measured": target.measured,
            "met": target.is_met(),
        })
    };
    let chapter = |finding: &Finding| {
        json!({
            "figures": finding.json,
            "targets": finding.targets.iter().map(target).collect::<Vec<_>>(),
        })
    };
    let chapters: Map<String, Value> =
        findings.iter().map(|(name, finding)| ((*name).to_owned(), chapter(finding))).collect();
    let met = findings.iter().all(|(_, finding)| finding.targets.iter().all(Target::is_met));
    json!({ "machine": machine, "chapters": chapters, "targets_met": met })
}
