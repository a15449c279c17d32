//! Rules of the repository that no compiler checks: floors, sizes, where dangerous things may stand. Reads the files
//! that git would commit.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each crate, and which of ours it may use. Neighbours do not import one another.
const FLOORS: [(&str, &[&str]); 6] = [
    ("gateway/core", &[]),
    ("gateway/jose", &["varco-core"]),
    ("gateway/store", &["varco-core"]),
    ("adapters", &["varco-core"]),
    ("gateway", &["varco-adapters", "varco-core", "varco-jose", "varco-store"]),
    ("tests", &["varco", "varco-adapters", "varco-core", "varco-jose", "varco-store"]),
];

/// All that the pure heart is built on. A new line here is a decision: none of these does I/O.
const UNDER_CORE: [&str; 9] =
    ["base64", "hkdf", "hmac", "serde", "serde_json", "sha2", "thiserror", "time", "zeroize"];

const LINES_MAX: usize = 500;

/// Uses of aws-lc-rs outside `varco-jose`: randomness, and TLS, where rustls takes it from. May only shrink.
const CRYPTO: [&str; 6] = [
    "gateway/src/app.rs",
    "gateway/src/cli/call/caller.rs",
    "gateway/src/pki/dev.rs",
    "gateway/src/pki/tests.rs",
    "gateway/src/cli/log/verify/tests.rs",
    "gateway/src/tls/load.rs",
];

/// Where waiting for a moment is the thing itself: asking again whether a condition holds. May only shrink.
const SLEEPS: [&str; 7] = [
    "gateway/src/agent/local.rs",
    "gateway/src/cli/log/watch.rs",
    "gateway/src/server.rs",
    "tests/benches/exchange/process.rs",
    "tests/src/mariadb.rs",
    "tests/src/postgres.rs",
    "tests/src/world.rs",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Path and text of every file that is or would be committed and is text.
fn files() -> BTreeMap<String, String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success());
    let names = String::from_utf8(listed.stdout).unwrap();
    let read = |name: &str| Some((name.to_owned(), std::fs::read_to_string(root().join(name)).ok()?));
    let files: BTreeMap<_, _> = names.split('\0').filter(|name| !name.is_empty()).filter_map(read).collect();
    assert!(files.len() > 100, "git lists only {} files", files.len());
    files
}

fn rust() -> impl Iterator<Item = (String, String)> {
    files().into_iter().filter(|(name, _)| name.ends_with(".rs"))
}

fn is_test(name: &str) -> bool {
    name.starts_with("tests/")
        || name.contains("/tests/")
        || name.ends_with("/tests.rs")
        || name.ends_with("testing.rs")
}

/// What is compiled into the product: without the tests at the end of a file, and without comments.
fn production(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

fn dependencies(manifest: &str, section: &str) -> BTreeSet<String> {
    let table: toml::Table = manifest.parse().unwrap();
    table
        .get(section)
        .and_then(|found| found.as_table())
        .into_iter()
        .flat_map(|found| found.keys().cloned())
        .collect()
}

#[test]
fn crates_import_only_downwards() {
    let files = files();
    for (folder, below) in FLOORS {
        let manifest = &files[&format!("{folder}/Cargo.toml")];
        for section in ["dependencies", "build-dependencies"] {
            let ours = dependencies(manifest, section).into_iter().filter(|name| name.starts_with("varco"));
            let above: Vec<_> = ours.filter(|name| !below.contains(&name.as_str())).collect();
            assert!(above.is_empty(), "{folder} uses {above:?}");
        }
        assert!(
            manifest.contains("[lints]\nworkspace = true"),
            "{folder} is not under the workspace's lints"
        );
    }
    let crates = files.keys().filter(|name| name.ends_with("Cargo.toml")).count();
    assert_eq!(crates, FLOORS.len() + 1, "a crate has no floor");
}

#[test]
fn the_heart_is_pure() {
    let files = files();
    let under = dependencies(&files["gateway/core/Cargo.toml"], "dependencies");
    assert_eq!(under, UNDER_CORE.map(str::to_owned).into());
    let shell = [
        "std::fs",
        "std::net",
        "std::env",
        "std::process",
        "std::thread",
        "std::io",
        "SystemTime",
        "Instant::now",
        "println!",
        "eprintln!",
        "dbg!",
        "now_utc",
        "OsRng",
    ];
    for (name, text) in rust().filter(|(name, _)| name.starts_with("gateway/core/src/") && !is_test(name)) {
        let code = production(&text);
        for word in shell {
            assert!(!code.contains(word), "{name} uses {word}");
        }
    }
}

/// The order of core's modules as its own first page states it, lowest first.
fn order(page: &str) -> Vec<String> {
    let first = page.lines().skip_while(|line| !line.starts_with("//! `time`"));
    let lines: Vec<&str> = first.take_while(|line| line.starts_with("//! ")).collect();
    lines.join(" ").split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn inside_core_imports_only_go_down() {
    let files = files();
    let order = order(&files["gateway/core/src/lib.rs"]);
    let rank = |module: &str| order.iter().position(|known| known == module);
    for (name, text) in rust() {
        let Some(path) = name.strip_prefix("gateway/core/src/").filter(|path| *path != "lib.rs") else {
            continue;
        };
        if is_test(&name) || name.ends_with("oracles.rs") {
            continue;
        }
        let module = path.trim_end_matches(".rs").split('/').next().unwrap();
        let own = rank(module).unwrap_or_else(|| panic!("`{module}` has no place in the order of lib.rs"));
        for used in production(&text).split("crate::").skip(1) {
            let used: String = used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let Some(other) = rank(&used) else { continue };
            assert!(other <= own, "{name} imports `{used}`, which is above it");
        }
    }
}

#[test]
fn files_are_short() {
    for (name, text) in rust() {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{name} has {lines} lines");
    }
}

#[test]
fn sql_is_written_only_in_the_store() {
    let verbs = ["SELECT", "INSERT", "UPDATE", "DELETE", "PRAGMA", "CREATE", "DROP", "ALTER"];
    for (name, text) in rust().filter(|(name, _)| !name.starts_with("gateway/store/") && !is_test(name)) {
        if name == "adapters/src/sql.rs" {
            continue;
        }
        for verb in verbs {
            assert!(!production(&text).contains(&format!("\"{verb} ")), "{name} speaks SQL");
        }
    }
    for crates in ["gateway", "gateway/core", "gateway/jose"] {
        let manifest = &files()[&format!("{crates}/Cargo.toml")];
        assert!(!dependencies(manifest, "dependencies").contains("sqlx"), "{crates} depends on sqlx");
    }
}

#[test]
fn cryptography_is_behind_one_door() {
    let files = files();
    for (name, text) in
        rust().filter(|(name, _)| !name.starts_with("gateway/jose/") && !name.starts_with("tests/"))
    {
        let code =
            production(&text).replace("rustls::crypto::aws_lc_rs", "").replace("webpki::aws_lc_rs", "");
        assert!(!code.contains("josekit"), "{name} uses josekit");
        assert!(!code.contains("aws_lc_rs::") || CRYPTO.contains(&name.as_str()), "{name} uses aws-lc-rs");
    }
    for (folder, _) in FLOORS.iter().filter(|(folder, _)| !["gateway/jose", "tests"].contains(folder)) {
        let manifest = &files[&format!("{folder}/Cargo.toml")];
        assert!(!dependencies(manifest, "dependencies").contains("josekit"), "{folder} depends on josekit");
    }
}

#[test]
fn tasks_are_never_let_loose_and_tests_never_sleep() {
    for (name, text) in rust() {
        let sleeps = production(&text).contains("sleep(") || (is_test(&name) && text.contains("sleep("));
        let this = name == "tests/src/tidy.rs";
        assert!(!sleeps || this || SLEEPS.contains(&name.as_str()), "{name} sleeps");
        let ignored = text.lines().any(|line| line.trim() == "#[ignore]");
        assert!(!ignored, "{name} ignores a test without saying why");
    }
}

#[test]
fn nothing_secret_and_nothing_of_one_machine_is_kept() {
    let key = ["PRIVATE", " KEY-----"].concat();
    let places = ["home", "root", "Users", "work", "mnt"].map(|place| format!("/{place}/"));
    for (name, text) in files() {
        assert!(!text.contains(&key), "{name} holds a private key");
        for (number, line) in text.lines().enumerate() {
            for place in &places {
                let Some((before, _)) = line.split_once(place.as_str()) else { continue };
                // A path of an address or of a folder is another thing than a path of a machine.
                let inside = before
                    .ends_with(|c: char| c.is_alphanumeric() || matches!(c, '.' | '}' | '-' | '_' | ':'));
                assert!(inside, "{name}:{}: a path of one machine", number + 1);
            }
        }
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    let files = files();
    for (name, text) in files.iter().filter(|(name, _)| name.ends_with(".md")) {
        let folder = Path::new(name).parent().unwrap();
        for target in targets(text) {
            if target.contains("://") || target.starts_with("mailto:") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target.as_str(), ""));
            let found = if path.is_empty() { PathBuf::from(name) } else { folder.join(path) };
            assert!(root().join(&found).exists(), "{name} links to {target}");
            if anchor.is_empty() || found.extension().is_none_or(|kind| kind != "md") {
                continue;
            }
            let text = std::fs::read_to_string(root().join(&found)).unwrap();
            let anchors = text.lines().filter(|line| line.starts_with('#')).map(slug);
            assert!(anchors.collect::<BTreeSet<_>>().contains(anchor), "{name} links to {target}");
        }
    }
}

/// The targets of `[text](target)`, outside of code.
fn targets(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut code = false;
    for line in text.lines() {
        if line.trim_start().starts_with("```") {
            code = !code;
        }
        let prose: String = line.split('`').step_by(2).collect();
        if !code {
            let parts = prose.split("](").skip(1).filter_map(|part| part.split(')').next());
            found.extend(parts.map(|part| part.split(' ').next().unwrap_or_default().to_owned()));
        }
    }
    found
}

/// A heading as it is linked to.
fn slug(heading: &str) -> String {
    let text = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = text.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}
