//! `docs/errors.md` is the table of codes in words. Written anew by `VARCO_WRITE_DOCS=1 cargo test -p varco-tests errors`.

use std::fmt::Write as _;
use std::path::Path;

use varco_core::code::Code;

const HEAD: &str = "\
# Errors

Every error answer is `application/problem+json` (RFC 9457) with these members:

| member | what |
|---|---|
| `type` | `urn:varco:error:` and the code |
| `code` | the code: stable, for programs |
| `title` | what happened, the same for every occurrence |
| `status` | the HTTP status |
| `detail` | what exactly is wrong this time. Only for peers that are authenticated; never a value of a record |
| `remedy` | what you can do next |
| `instance` | `urn:uuid:` and the exchange, for the gateway's operator and for the log |
| `fields`, `policy` | for `exchange.denied`: what became of each field, under which policy |
| `receipt` | proof that the outcome is in the log, once the gateway knows who asked |

Errors that come after the sender is known are signed like any answer (`Digest`, `Agid-JWT-Signature`). A code keeps its
meaning; one that is no longer used stays reserved. What does not exist and what you may not know of look the same.

This page is made from `gateway/core/src/code.rs`; a test compares the two.
";

/// What each area is about. An area that is not here has no page and fails the test.
const AREAS: [(&str, &str); 23] = [
    ("adapter", "The provider's own system, as the gateway reads from it. What it said is never passed on."),
    ("agent", "`varco agent`, on the agency's own side. These never come from a gateway."),
    ("appeal", "Motivated requests (richieste motivate): a refused field, asked for with a reason."),
    ("case", "Cases (prese in carico)."),
    ("channel", "The connection."),
    ("consent", "Consent records."),
    ("emergency", "Asking without the person's word."),
    ("exchange", "The decision."),
    ("http", "The HTTP request as such, before anything is decided."),
    ("internal", "A fault of the gateway."),
    ("limit", "How often an agency, or one operator, may ask."),
    ("log", "The access log. Without it nothing is disclosed."),
    ("notice", "Notices that something has ended."),
    ("policy", "A proposed version of the policy."),
    ("push", "Pushed records and deliveries."),
    ("registry", "A proposed version of the registry."),
    ("request", "The body of a request."),
    ("restriction", "What a person asked not to be shown."),
    ("server", "The gateway's capacity."),
    ("signal", "Change signals of a provider."),
    ("statistics", "Counts of people, of whom nobody is named."),
    ("subject", "The person asked for."),
    ("subscription", "Subscriptions to change signals."),
];
const WIRE: (&str, &str) = (
    "wire",
    "Tokens, signatures and identity. `varco wire check` says of a captured request which check fails, and why.",
);

#[test]
fn the_page_of_errors_says_what_the_codes_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/errors.md");
    let page = page();
    if std::env::var_os("VARCO_WRITE_DOCS").is_some() {
        std::fs::write(&path, &page).unwrap();
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == page,
        "docs/errors.md is out of date: VARCO_WRITE_DOCS=1 cargo test -p varco-tests errors"
    );
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    let mut told = 0;
    for (area, about) in AREAS.into_iter().chain([WIRE]) {
        let codes: Vec<Code> = Code::ALL.iter().copied().filter(|code| area_of(*code) == area).collect();
        assert!(!codes.is_empty(), "there is no code in `{area}`");
        told += codes.len();
        write!(
            page,
            "\n## {area}\n\n{about}\n\n| code | status | what happened | what to do |\n|---|---|---|---|\n"
        )
        .unwrap();
        for code in codes {
            let (text, status) = (code.text(), code.status());
            writeln!(page, "| `{text}` | {status} | {} | {} |", code.title(), code.remedy()).unwrap();
        }
    }
    assert_eq!(told, Code::ALL.len(), "a code has an area that this page does not know");
    page
}

fn area_of(code: Code) -> &'static str {
    code.text().split('.').next().unwrap()
}
