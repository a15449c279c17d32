//! Who must have cosigned a checkpoint (c2sp.org/tlog-policy): logs, witnesses, groups of them, and the quorum.
//!
//! A policy only says which keys count and when there are enough; it knows nothing of how they are reached beyond the
//! address that stands beside each.

use std::collections::BTreeSet;

use crate::log::note::VerifierKey;

/// The specification recommends to support 32 of each; twice that bounds the work.
const LINES_MAX: usize = 256;

/// A policy as its file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    pub logs: Vec<Party>,
    pub witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Quorum,
}

/// A log, with the address where it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Party {
    pub key: VerifierKey,
    pub url: Option<String>,
}

/// A witness: its name in this file, its key, and the address under which `add-checkpoint` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Witness {
    pub name: String,
    pub key: VerifierKey,
    pub url: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Group {
    name: String,
    threshold: usize,
    members: Vec<Member>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Member {
    Group(usize),
    Witness(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Quorum {
    Member(Member),
    None,
}

/// What is wrong with a policy, and on which line, counted from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct PolicyFault {
    pub line: usize,
    pub what: PolicyProblem,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyProblem {
    #[error("control characters are not allowed")]
    Character,
    #[error("the key stands here twice")]
    KeyTwice,
    #[error(
        "expected `log <key> [<url>]`, `witness <name> <key> [<url>]`, `group <name> <k> <member>...` or `quorum <name>`"
    )]
    Line,
    #[error("the member `{0}` is already part of another group")]
    MemberTwice(String),
    #[error("the name `{0}` stands here twice, or is `none`")]
    Name(String),
    #[error("there is no quorum line")]
    NoQuorum,
    #[error("there are two quorum lines")]
    TwoQuorums,
    #[error("there are more than {LINES_MAX} lines")]
    TooLong,
    #[error("the threshold is not between 1 and the number of members")]
    Threshold,
    #[error("`{0}` is not defined above")]
    Unknown(String),
    #[error("the verifier key is not one: {0}")]
    VerifierKey(#[from] crate::log::note::VerifierKeyFault),
}

impl Policy {
    /// Reads a policy file.
    pub fn parse(text: &str) -> Result<Self, PolicyFault> {
        let mut reading = Reading::default();
        let mut last = 0;
        for (line, content) in (1..).zip(text.split('\n')) {
            last = line;
            let fault = |what| PolicyFault { line, what };
            if line > LINES_MAX {
                return Err(fault(PolicyProblem::TooLong));
            }
            reading.line(content).map_err(fault)?;
        }
        let quorum = reading.quorum.ok_or(PolicyFault { line: last, what: PolicyProblem::NoQuorum })?;
        Ok(Self { logs: reading.logs, witnesses: reading.witnesses, groups: reading.groups, quorum })
    }

    /// Whether the witnesses at these positions are enough.
    pub fn is_met(&self, cosigned: &BTreeSet<usize>) -> bool {
        match self.quorum {
            Quorum::Member(member) => self.counts(member, cosigned),
            Quorum::None => true,
        }
    }

    /// Whether any cosignature is demanded at all.
    pub const fn demands_witnesses(&self) -> bool {
        matches!(self.quorum, Quorum::Member(_))
    }

    // Groups only refer to those above them, so this ends.
    fn counts(&self, member: Member, cosigned: &BTreeSet<usize>) -> bool {
        match member {
            Member::Group(at) => self.groups.get(at).is_some_and(|group| {
                let present = group.members.iter().filter(|member| self.counts(**member, cosigned));
                present.count() >= group.threshold
            }),
            Member::Witness(at) => cosigned.contains(&at),
        }
    }
}

#[derive(Default)]
struct Reading {
    logs: Vec<Party>,
    witnesses: Vec<Witness>,
    groups: Vec<Group>,
    quorum: Option<Quorum>,
    taken: Vec<String>,
}

impl Reading {
    fn line(&mut self, content: &str) -> Result<(), PolicyProblem> {
        if content.bytes().any(|byte| (byte < b' ' && byte != b'\t') || byte == 0x7F) {
            return Err(PolicyProblem::Character);
        }
        let words: Vec<&str> = content.split([' ', '\t']).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with('#') => Ok(()),
            ["log", key] => self.log(key, None),
            ["log", key, url] => self.log(key, Some(url)),
            ["witness", name, key] => self.witness(name, key, None),
            ["witness", name, key, url] => self.witness(name, key, Some(url)),
            ["group", name, threshold, members @ ..] => self.group(name, threshold, members),
            ["quorum", name] => self.set_quorum(name),
            _ => Err(PolicyProblem::Line),
        }
    }

    fn log(&mut self, key: &str, url: Option<&&str>) -> Result<(), PolicyProblem> {
        let key: VerifierKey = key.parse()?;
        if self.logs.iter().any(|log| log.key.public() == key.public()) {
            return Err(PolicyProblem::KeyTwice);
        }
        self.logs.push(Party { key, url: url.map(|url| (*url).to_owned()) });
        Ok(())
    }

    fn witness(&mut self, name: &str, key: &str, url: Option<&&str>) -> Result<(), PolicyProblem> {
        self.fresh(name)?;
        let key: VerifierKey = key.parse()?;
        if self.witnesses.iter().any(|witness| witness.key.public() == key.public()) {
            return Err(PolicyProblem::KeyTwice);
        }
        let url = url.map(|url| (*url).to_owned());
        self.witnesses.push(Witness { name: name.to_owned(), key, url });
        Ok(())
    }

    fn group(&mut self, name: &str, threshold: &str, members: &[&str]) -> Result<(), PolicyProblem> {
        self.fresh(name)?;
        let threshold = match threshold {
            "all" => members.len(),
            "any" => 1,
            digits => digits.parse().map_err(|_| PolicyProblem::Threshold)?,
        };
        if !(1..=members.len()).contains(&threshold) {
            return Err(PolicyProblem::Threshold);
        }
        let mut found = Vec::new();
        for member in members {
            // Each name counts in one way only.
            if self.taken.iter().any(|taken| taken == member) {
                return Err(PolicyProblem::MemberTwice((*member).to_owned()));
            }
            found.push(self.member(member)?);
            self.taken.push((*member).to_owned());
        }
        self.groups.push(Group { name: name.to_owned(), threshold, members: found });
        Ok(())
    }

    fn set_quorum(&mut self, name: &str) -> Result<(), PolicyProblem> {
        if self.quorum.is_some() {
            return Err(PolicyProblem::TwoQuorums);
        }
        self.quorum = Some(match name {
            "none" => Quorum::None,
            name => Quorum::Member(self.member(name)?),
        });
        Ok(())
    }

    fn member(&self, name: &str) -> Result<Member, PolicyProblem> {
        let witness = self.witnesses.iter().position(|witness| witness.name == name).map(Member::Witness);
        let group = || self.groups.iter().position(|group| group.name == name).map(Member::Group);
        witness.or_else(group).ok_or_else(|| PolicyProblem::Unknown(name.to_owned()))
    }

    fn fresh(&self, name: &str) -> Result<(), PolicyProblem> {
        if name == "none" || self.member(name).is_ok() {
            return Err(PolicyProblem::Name(name.to_owned()));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::note::COSIGNATURE_V1;

    fn key(n: u8) -> String {
        VerifierKey::new(&format!("witness{n}.example"), COSIGNATURE_V1, &[n; 32]).unwrap().to_string()
    }

    fn policy() -> String {
        let mut text = format!("# who must agree\nlog {} https://log.example\n\n", key(99));
        for (n, name) in (1..).zip(["X1", "X2", "X3", "Y1", "Y2"]) {
            text.push_str(&format!("witness {name} {}\thttps://{name}.example\n", key(n)));
        }
        text + "group X 2 X1 X2 X3\n  group Y any Y1 Y2\ngroup both all X Y\nquorum both\n"
    }

    #[test]
    fn the_example_of_the_specification_is_read() {
        let policy = Policy::parse(&policy()).unwrap();
        assert_eq!((policy.logs.len(), policy.witnesses.len()), (1, 5));
        assert_eq!(policy.witnesses[3].url.as_deref(), Some("https://Y1.example"));
        for (cosigned, enough) in [
            (vec![], false),
            (vec![0, 1], false),
            (vec![0, 3], false),
            (vec![0, 2, 4], true),
            (vec![0, 1, 2, 3, 4], true),
            (vec![3, 4], false),
        ] {
            assert_eq!(policy.is_met(&cosigned.iter().copied().collect()), enough, "{cosigned:?}");
        }
    }

    #[test]
    fn without_a_quorum_nothing_is_demanded() {
        let policy = Policy::parse("quorum none\n").unwrap();
        assert!(policy.is_met(&BTreeSet::new()) && !policy.demands_witnesses());
    }

    #[test]
    fn other_files_are_refused_with_their_line() {
        let good = policy();
        for (wrong, line) in [
            (good.replace("quorum both\n", ""), 12),
            (good.replace("quorum both", "quorum nobody"), 12),
            (good.replace("quorum both", "quorum both\nquorum X"), 13),
            (good.replace("group X 2", "group X 4"), 9),
            (good.replace("group X 2", "group X 0"), 9),
            (good.replace("any Y1 Y2", "any Y1 Y2 X1"), 10),
            (good.replace("any Y1 Y2", "any"), 10),
            (good.replace("group both all X Y", "group both all both"), 11),
            (good.replace("witness X2", "witness X1"), 5),
            (good.replace(&key(2), &key(1)), 5),
            (good.replace("witness X2", "witness none"), 5),
            (good.replace("witness X2", "witnes X2"), 5),
            (good.replace("witness X2", "witness X2\u{1}"), 5),
        ] {
            assert_eq!(Policy::parse(&wrong).unwrap_err().line, line, "{wrong}");
        }
    }
}
