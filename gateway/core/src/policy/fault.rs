//! What is wrong with a bundle: file, line, what, and the nearest word that would have been right.

use std::fmt;

use crate::view::ladder::LadderFault;

mod italian;

/// More faults than this help nobody; the rest come back after these are mended.
pub const MOST_FAULTS: usize = 200;

/// One fault. All faults of a bundle are reported at once, by file and line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyFault {
    pub file: String,
    /// From 1; 0 when the fault is of the bundle or the file as a whole.
    pub line: u32,
    pub problem: Problem,
    /// The valid word nearest to the one found.
    pub nearest: Option<String>,
}

impl fmt::Display for PolicyFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.file.as_str(), self.line) {
            ("", _) => {}
            (file, 0) => write!(f, "{file}: ")?,
            (file, line) => write!(f, "{file}:{line}: ")?,
        }
        write!(f, "{}", self.problem)?;
        match &self.nearest {
            Some(word) => write!(f, "; did you mean `{word}`?"),
            None => Ok(()),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    #[error("act `{0}` gives no source for GDPR art. {1}, which a `{2}` field needs")]
    ActWithoutSource(String, u8, &'static str),
    #[error("assertion `{name}` is broken by {cell}: {view}")]
    Assertion { name: String, cell: String, view: String },
    #[error("the two bases {0} and {1} of GDPR art. 6 meet in one grant; a grant has exactly one")]
    BasisTwice(String, String),
    #[error("consent is the basis of purpose `{0}`, but none of its acts is GDPR 6(1)(a) or 9(2)(a)")]
    BasisWithoutConsent(String),
    #[error("`{0}` and what it implies imply each other")]
    Circle(String),
    #[error("a control field must be of kind `si_no`")]
    ControlKind,
    #[error("`{0}` is read, but not the field `{1}` that decides whether it may be shown")]
    ControlUnread(String, String),
    #[error("`{field}` for {column}: no purpose reaches this cell; write `-`, or put it in brackets")]
    DeadCell { field: String, column: String },
    #[error("no purpose can reach this column, so its cells are dead")]
    DeadColumn,
    #[error("no purpose gives this record type, so its cells are dead")]
    DeadMatrix,
    #[error("there is already a `{0}`, at {1}")]
    Duplicate(String, String),
    #[error("the end is not after the beginning")]
    EmptyPeriod,
    #[error("there is a second grant for the same cell, the first at {0}")]
    GrantTwice(String),
    #[error(
        "{shows} shows more than it grants of what it implies: {implied} needs at least `{at_least}`, granted at {place}"
    )]
    Implication { shows: String, implied: String, at_least: String, place: String },
    #[error("a file holds at most {0} bytes, a bundle {1} files")]
    Limits(usize, usize),
    #[error("ladder: {0}")]
    Ladder(#[from] LadderFault),
    #[error("`{0}` is missing")]
    Missing(&'static str),
    #[error("`{field}` for {column} is in brackets, but a purpose reaches it: write what it shows, or `-`")]
    ReservedReached { field: String, column: String },
    #[error("the row has {found} cells, its table has {expected} columns")]
    RowWidth { found: usize, expected: usize },
    #[error("a cell marked `s` needs a scope for field `{0}`")]
    ScopeMissing(String),
    #[error("the line is neither a `[section]`, nor `word = value`, nor a table row with `|`")]
    Syntax,
    #[error("this fallback view tells what must stay hidden")]
    TellingFallback,
    #[error("a file must be UTF-8 text")]
    Text,
    #[error("unknown {what} `{word}`")]
    Unknown { what: &'static str, word: String },
    #[error("`{word}` is not {expected}")]
    Value { word: String, expected: &'static str },
    #[error("a grant without an enabling act")]
    WithoutAct,
    #[error("purpose `{0}` gives special, judicial or protected data and names no `dpia`")]
    WithoutDpia(String),
    #[error("`=` says that the recipient owns the record, but column `{0}` is not of the owner's kind")]
    NotOwner(String),
}

/// Where something stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    pub file: String,
    pub line: u32,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// Faults as they are found.
#[derive(Debug, Default)]
pub struct Faults {
    found: Vec<PolicyFault>,
}

impl Faults {
    pub fn add(&mut self, place: &Place, problem: Problem) {
        self.push(place, problem, None);
    }

    /// An unknown word, with the nearest of those that would have been right.
    pub fn unknown<'a>(
        &mut self,
        place: &Place,
        what: &'static str,
        word: &str,
        valid: impl IntoIterator<Item = &'a str>,
    ) {
        let nearest = nearest(word, valid);
        self.push(place, Problem::Unknown { what, word: shown(word) }, nearest);
    }

    fn push(&mut self, place: &Place, problem: Problem, nearest: Option<String>) {
        self.found.push(PolicyFault { file: place.file.clone(), line: place.line, problem, nearest });
    }

    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them by file and line, each once.
    pub fn into_sorted(mut self) -> Vec<PolicyFault> {
        self.found.sort_by(|a, b| {
            (&a.file, a.line, a.problem.to_string()).cmp(&(&b.file, b.line, b.problem.to_string()))
        });
        self.found.dedup();
        self.found.truncate(MOST_FAULTS);
        self.found
    }
}

/// A word cut to what fits in a message.
pub fn shown(word: &str) -> String {
    const LONGEST: usize = 60;
    if word.chars().count() <= LONGEST {
        word.to_owned()
    } else {
        word.chars().take(LONGEST).chain(['…']).collect()
    }
}

/// The valid word at the smallest edit distance, if it is near enough to be meant.
pub fn nearest<'a>(word: &str, valid: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let most = word.chars().count().div_ceil(3).clamp(1, 6);
    let best = valid.into_iter().map(|other| (distance(word, other), other)).min()?;
    (best.0 <= most).then(|| best.1.to_owned())
}

/// Levenshtein, counting a swap of neighbours as one (optimal string alignment), on at most 64 characters.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.to_lowercase().chars().take(64).collect();
    let b: Vec<char> = b.to_lowercase().chars().take(64).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |list: &[usize], k: usize| list.get(k).copied().unwrap_or(usize::MAX - 1);
            let mut best = (at(&row, j) + usize::from(x != y)).min(at(&row, j + 1) + 1).min(at(&next, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            next.push(best);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_that_was_meant() {
        assert_eq!(nearest("mascerato", ["mascherato", "intero", "pseudonimo"]), Some("mascherato".into()));
        assert_eq!(nearest("fasica", ["fascia", "anno"]), Some("fascia".into()));
        assert_eq!(nearest("xyzzy", ["mascherato", "intero"]), None);
        assert_eq!(distance("ab", "ba"), 1);
    }
}
