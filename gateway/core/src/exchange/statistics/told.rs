//! What an answer about statistics says, and what the log says of it: which releases, and none of their numbers.

use serde_json::{Map, Value, json};

use crate::code::Code;
use crate::exchange::answer::{SignError, Stamp};
use crate::exchange::bodies::{operator_body, slots};
use crate::exchange::grounds::{Grounds, OwnerSeal};
use crate::exchange::outcome::{Account, Branch, Salts, Sealed};
use crate::id::{AgencyId, ExchangeId, FieldId};
use crate::json;
use crate::log::entry::{Draft, Kind};
use crate::log::proof::Receipt;
use crate::statistics::release::{Release, Table};
use crate::statistics::{Area, Period, Tabulation};
use crate::wire;

/// An area that is not given, whose fault it is, and why.
#[derive(Debug)]
pub(super) struct LeftOut {
    pub area: Area,
    pub code: Code,
    pub bodies: Vec<AgencyId>,
    pub detail: String,
}

/// What an answer says.
#[derive(Debug)]
pub(in crate::exchange) struct Told {
    pub(super) tabulation: Tabulation,
    pub(super) period: Period,
    pub(super) dimensions: Vec<usize>,
    pub(super) releases: Vec<Release>,
    pub(super) left_out: Vec<LeftOut>,
}

/// One owner whose people are counted, with its own entry.
#[derive(Debug)]
pub(in crate::exchange) struct Counted {
    pub(super) owner: AgencyId,
    pub(super) decision: Grounds,
    pub(super) entry: ExchangeId,
    pub(super) salts: Salts,
}

impl LeftOut {
    fn view(&self) -> Value {
        json!({
            "area": self.area.name,
            "bodies": self.area.owners,
            "because_of": self.bodies,
            "code": self.code.text(),
            "detail": self.detail,
        })
    }

    pub fn said(&self) -> String {
        format!("`{}`: {} ({})", self.area.name, self.detail, self.code.text())
    }
}

/// How numbers are kept back, for whoever reads a table without this manual.
const RULES: [&str; 4] = [
    "no number below the threshold is told, zero included",
    "further numbers are kept back so that none of these can be had by subtraction; which are which is not told",
    "totals over areas are sums of what is told of each, and kept back where any part is",
    "a period is released once: whoever asks again, or for a part, reads the same release",
];

impl Told {
    /// For the log: which releases, and none of their numbers.
    pub fn summary(&self) -> Value {
        let release = |one: &Release| json!({ "area": one.area.name, "release": one.exchange });
        json!({
            "period": self.period,
            "dimensions": self.fields(),
            "form": self.tabulation.form(),
            "releases": self.releases.iter().map(release).collect::<Value>(),
            "left_out": self.left_out.iter().map(LeftOut::view).collect::<Value>(),
        })
    }

    fn fields(&self) -> Vec<&FieldId> {
        self.dimensions
            .iter()
            .filter_map(|at| self.tabulation.dimensions.get(*at))
            .map(|one| &one.field)
            .collect()
    }

    fn claims(&self) -> Map<String, Value> {
        let Self { tabulation, period, dimensions, releases, left_out } = self;
        let table = Table { tabulation, dimensions: dimensions.clone(), releases: releases.iter().collect() };
        let shown = dimensions.iter().filter_map(|at| tabulation.dimensions.get(*at));
        let report = json!({
            "threshold": tabulation.threshold,
            "kept_back": releases.iter().map(|one| one.kept_back().0).sum::<usize>(),
            "cells": releases.iter().map(|one| one.kept_back().1).sum::<usize>(),
            "rules": RULES,
        });
        let mut claims = Map::from_iter([
            ("record_type".to_owned(), json!(tabulation.record_type)),
            ("title".to_owned(), json!(tabulation.title)),
            ("counts".to_owned(), json!(tabulation.counts)),
            ("period".to_owned(), json!(period)),
            ("dimensions".to_owned(), json!(shown.collect::<Vec<_>>())),
            ("areas".to_owned(), releases.iter().map(|one| table.area(one)).collect()),
            ("left_out".to_owned(), left_out.iter().map(LeftOut::view).collect()),
            ("suppression".to_owned(), report),
            ("csv".to_owned(), Value::String(table.csv())),
        ]);
        if releases.len() > 1 {
            claims.insert("together".into(), table.together());
        }
        claims
    }

    /// The table, and the same as a document of its own under the gateway's seal.
    pub fn written(
        &self,
        account: &Account,
        (counted, entered): (&[Counted], &[(Receipt, Branch)]),
        (receipt, stamp): (Value, &Stamp<'_>),
    ) -> Result<String, SignError> {
        let statistics = Value::Object(self.claims());
        let policy =
            account.policy.as_ref().map(|one| json!({ "version": one.version, "sha256": one.sha256 }));
        let claims = json!({
            "aud": account.request.sender.agency,
            "iat": stamp.now.seconds(),
            "iss": stamp.gateway,
            "jti": account.request.exchange,
            "policy": policy,
            "purpose": account.purpose,
            "statistics": statistics,
        });
        let sealed = wire::record_jws(&json::canonical(&claims), stamp.seal)?;
        let entry = |(one, (receipt, _)): (&Counted, &(Receipt, Branch))| json!({ "body": one.owner, "exchange": one.entry, "receipt": receipt.to_text() });
        let body = json!({
            "exchange": account.request.exchange,
            "entries": counted.iter().zip(entered).map(entry).collect::<Value>(),
            "policy": policy,
            "receipt": receipt,
            "statistics": statistics,
            "statistics_jws": sealed,
        });
        Ok(json::canonical(&body))
    }
}

impl Counted {
    /// The owner's own entry: people of theirs were counted, for whom and by what. No number is in it.
    pub fn seal(&self, account: &Account, seal: &dyn OwnerSeal) -> Sealed {
        let mut decision = self.decision.clone();
        decision.insert("request", json!(account.request.digest));
        decision.insert("within", json!(account.request.exchange));
        let mut draft = Draft::new(Kind::Disclosure, self.entry.clone());
        draft.consumer = Some(account.request.sender.agency.clone());
        draft.provider = Some(self.owner.clone());
        draft.purpose.clone_from(&account.purpose);
        draft.record_type.clone_from(&account.record_type);
        draft.policy = account.policy.as_ref().map(|policy| policy.sha256);
        draft.slots = slots(
            decision.body(&draft.id, seal),
            operator_body(&account.request),
            (None, None),
            &self.salts.0,
        );
        Sealed {
            draft,
            guard: None,
            changes: Vec::new(),
            subjects: Vec::new(),
            closes: None,
            also: Vec::new(),
            parcels: Vec::new(),
            signals: Vec::new(),
        }
    }
}
