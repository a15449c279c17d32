//! `deny.toml`, enforced without cargo-deny: licences, banned crates, and duplicates, as `cargo tree` sees them.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

#[test]
fn every_licence_of_a_dependency_is_on_the_list() {
    let deny = Deny::read();
    let refused: Vec<String> = tree(&deny, &["--format", "{p}|{l}"])
        .iter()
        .filter_map(|line| line.split_once('|'))
        .filter(|(_, licence)| !Expression::parse(licence).is_allowed_by(&deny.licences))
        .map(|(package, licence)| format!("{package}: {licence:?}"))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

#[test]
fn a_licence_that_nothing_needs_is_not_on_the_list() {
    let deny = Deny::read();
    for one in &deny.licences {
        let fewer: Vec<String> = deny.licences.iter().filter(|other| *other != one).cloned().collect();
        let lines = tree(&deny, &["--format", "{p}|{l}"]);
        let mut expressions = lines.iter().filter_map(|line| Some(line.split_once('|')?.1));
        assert!(
            expressions.any(|text| !Expression::parse(text).is_allowed_by(&fewer)),
            "{one} is not needed"
        );
    }
}

#[test]
fn banned_crates_come_only_where_they_may() {
    let deny = Deny::read();
    let present = versions(&deny);
    for ban in &deny.bans {
        if !present.contains_key(&ban.name) {
            continue;
        }
        let users = tree(&deny, &["--invert", &ban.name, "--depth", "1", "--format", "{p}"]);
        let users: BTreeSet<&str> = users.iter().skip(1).filter_map(|line| line.split(' ').next()).collect();
        let strangers: Vec<_> = users.iter().filter(|user| !ban.wrappers.contains(**user)).collect();
        assert!(strangers.is_empty() && !ban.wrappers.is_empty(), "`{}` is used by {users:?}", ban.name);
    }
}

#[test]
fn two_versions_of_a_crate_are_known_and_needed() {
    let deny = Deny::read();
    let mut found = BTreeSet::new();
    for (name, versions) in versions(&deny) {
        let newest = versions.iter().max_by_key(|version| numbers(version)).cloned();
        let older = versions.iter().filter(|version| Some(*version) != newest.as_ref());
        found.extend(older.map(|version| format!("{name}@{version}")));
    }
    assert_eq!(found, deny.skips, "left: in the tree, right: in deny.toml");
}

/// What of `deny.toml` is enforced here.
struct Deny {
    target: String,
    licences: Vec<String>,
    bans: Vec<Ban>,
    skips: BTreeSet<String>,
}

struct Ban {
    name: String,
    wrappers: BTreeSet<String>,
}

impl Deny {
    fn read() -> Self {
        let text = std::fs::read_to_string(root().join("deny.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let list = |value: &toml::Value| -> Vec<toml::Value> { value.as_array().unwrap().clone() };
        let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
        let bans = list(&table["bans"]["deny"]).into_iter().map(|ban| Ban {
            name: text(&ban["crate"]),
            wrappers: ban.get("wrappers").map(&list).unwrap_or_default().iter().map(text).collect(),
        });
        Self {
            target: text(&table["graph"]["targets"][0]),
            licences: list(&table["licenses"]["allow"]).iter().map(text).collect(),
            bans: bans.collect(),
            skips: list(&table["bans"]["skip"]).iter().map(|skip| text(&skip["crate"])).collect(),
        }
    }
}

/// A licence as SPDX writes it, and with `/` for `OR` as old crates do.
#[derive(Debug)]
enum Expression {
    All(Vec<Self>),
    Any(Vec<Self>),
    One(String),
}

impl Expression {
    fn parse(text: &str) -> Self {
        let spaced = text.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
        let mut words = spaced.split_whitespace().peekable();
        Self::any(&mut words)
    }

    fn any<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Self {
        let mut parts = vec![Self::all(words)];
        while words.next_if_eq(&"OR").is_some() {
            parts.push(Self::all(words));
        }
        Self::Any(parts)
    }

    fn all<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Self {
        let mut parts = vec![Self::one(words)];
        while words.next_if_eq(&"AND").is_some() {
            parts.push(Self::one(words));
        }
        Self::All(parts)
    }

    fn one<'a>(words: &mut std::iter::Peekable<impl Iterator<Item = &'a str>>) -> Self {
        if words.next_if_eq(&"(").is_some() {
            let inner = Self::any(words);
            assert_eq!(words.next(), Some(")"));
            return inner;
        }
        let mut name = words.next().unwrap_or_default().to_owned();
        if words.next_if_eq(&"WITH").is_some() {
            name = format!("{name} WITH {}", words.next().unwrap());
        }
        Self::One(name)
    }

    fn is_allowed_by(&self, list: &[String]) -> bool {
        match self {
            Self::All(parts) => parts.iter().all(|part| part.is_allowed_by(list)),
            Self::Any(parts) => parts.iter().any(|part| part.is_allowed_by(list)),
            Self::One(name) => list.contains(name),
        }
    }
}

fn versions(deny: &Deny) -> BTreeMap<String, BTreeSet<String>> {
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for line in tree(deny, &["--format", "{p}"]) {
        let mut words = line.split(' ');
        let (name, version) = (words.next().unwrap(), words.next().unwrap());
        versions.entry(name.to_owned()).or_default().insert(version.trim_start_matches('v').to_owned());
    }
    versions
}

/// The parts of a version that decide which is the newer.
fn numbers(version: &str) -> Vec<u64> {
    version.split(['.', '+', '-']).map_while(|part| part.parse().ok()).collect()
}

/// The lines of `cargo tree` over everything that is built, tests included.
fn tree(deny: &Deny, arguments: &[&str]) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--workspace", "--locked", "--prefix", "none", "--edges", "normal,build,dev"])
        .args(["--target", &deny.target])
        .args(arguments)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().map(|line| line.trim_end_matches(" (*)").to_owned());
    lines.filter(|line| !line.is_empty() && !line.starts_with('[')).collect()
}

fn root() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
