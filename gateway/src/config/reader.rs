//! Walks a TOML table key by key, remembers what was asked for, and gathers faults with their lines.

use std::cell::RefCell;
use std::ops::Range;
use std::path::Path;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::ConfigFault;
use super::value::FromValue;

/// A file being read.
pub struct Reader<'a> {
    text: &'a str,
    folder: &'a Path,
    environment: &'a dyn Fn(&str) -> Option<String>,
    faults: RefCell<Vec<ConfigFault>>,
}

/// A table of the file, or the place where one is missing.
pub struct Section<'r, 'a> {
    reader: &'r Reader<'a>,
    /// `limits`, or `providers.comune-lucca`; empty for the whole file.
    name: String,
    line: usize,
    table: Option<&'r DeTable<'a>>,
    known: Vec<&'static str>,
}

impl<'a> Reader<'a> {
    pub fn new(text: &'a str, folder: &'a Path, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { text, folder, environment, faults: RefCell::default() }
    }

    pub fn root<'r>(&'r self, table: &'r DeTable<'a>) -> Section<'r, 'a> {
        Section { reader: self, name: String::new(), line: 1, table: Some(table), known: Vec::new() }
    }

    pub fn fault(&self, line: usize, what: impl Into<String>) {
        self.faults.borrow_mut().push(ConfigFault { line, what: what.into() });
    }

    pub fn line(&self, span: Range<usize>) -> usize {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        before.iter().filter(|byte| **byte == b'\n').count().saturating_add(1)
    }

    pub fn faults(&self) -> Vec<ConfigFault> {
        let mut faults = self.faults.borrow().clone();
        faults.sort();
        faults.dedup();
        faults
    }
}

impl<'r, 'a> Section<'r, 'a> {
    /// A table inside this one. If it is missing, its keys are reported as missing here.
    pub fn section(&mut self, key: &'static str) -> Section<'r, 'a> {
        let found = self.take(key);
        let table = found.and_then(|value| self.table_of(value));
        Section {
            reader: self.reader,
            name: self.key_name(key),
            line: found.map_or(self.line, |value| self.reader.line(value.span())),
            table,
            known: Vec::new(),
        }
    }

    /// A table that may be left out.
    pub fn optional_section(&mut self, key: &'static str) -> Option<Section<'r, 'a>> {
        if self.table.is_some_and(|table| table.contains_key(key)) {
            Some(self.section(key))
        } else {
            self.known.push(key);
            None
        }
    }

    /// The tables inside this one, whatever their names.
    pub fn each(&self) -> Vec<(&'r str, usize, Section<'r, 'a>)> {
        let mut sections = Vec::new();
        for (key, value) in self.table.into_iter().flatten() {
            let line = self.reader.line(key.span());
            let name: &'r str = key.get_ref();
            let section = Section {
                reader: self.reader,
                name: self.key_name(name),
                line,
                table: self.table_of(value),
                known: Vec::new(),
            };
            sections.push((name, line, section));
        }
        sections
    }

    pub fn required<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        let missing = self.take(key).is_none();
        if missing {
            self.reader.fault(self.line, format!("`{}` is missing", self.key_name(key)));
            return None;
        }
        self.optional(key)
    }

    /// `None` when the key is left out or its value is faulty (which is then reported).
    pub fn optional<T: FromValue>(&mut self, key: &'static str) -> Option<T> {
        self.read_with(key, |value, folder| T::read(value, folder))
    }

    /// The value, or what holds when it is left out.
    pub fn or<T: FromValue>(&mut self, key: &'static str, default: T) -> T {
        self.optional(key).unwrap_or(default)
    }

    pub fn read_with<T>(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&DeValue<'_>, &Path) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.take(key)?;
        match read(value.get_ref(), self.reader.folder) {
            Ok(read) => Some(read),
            Err(expected) => {
                let what = format!("`{}`: {expected}", self.key_name(key));
                self.reader.fault(self.reader.line(value.span()), what);
                None
            }
        }
    }

    /// Where a secret lies: the environment first, then the file.
    pub fn secret(&mut self, key: &'static str) -> Option<std::path::PathBuf> {
        match self.secret_override(key) {
            Some(path) => {
                self.take(key);
                Some(path)
            }
            None => self.required(key),
        }
    }

    pub fn optional_secret(&mut self, key: &'static str) -> Option<std::path::PathBuf> {
        self.secret_override(key).or_else(|| self.optional(key))
    }

    fn secret_override(&self, key: &str) -> Option<std::path::PathBuf> {
        let name = self.key_name(key);
        let (variable, _) = super::SECRETS.iter().find(|(_, overridden)| *overridden == name)?;
        (self.reader.environment)(variable).map(Into::into)
    }

    /// Reports a fault at a key that was read already.
    pub fn fault_at(&self, key: &str, what: &str) {
        let value = self.table.and_then(|table| table.get(key));
        let line = value.map_or(self.line, |value| self.reader.line(value.span()));
        self.reader.fault(line, format!("`{}`: {what}", self.key_name(key)));
    }

    pub fn fault_here(&self, what: &str) {
        self.reader.fault(self.line, format!("`{}`: {what}", self.name));
    }

    pub fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    pub fn folder(&self) -> &'r Path {
        self.reader.folder
    }

    /// Reports every key that nobody asked for.
    pub fn finish(self) {
        for (key, _) in self.table.into_iter().flatten() {
            let name: &str = key.get_ref();
            if !self.known.contains(&name) {
                let hint = closest(name, &self.known).map_or_else(
                    || format!("; known here: {}", self.known.join(", ")),
                    |known| format!("; did you mean `{known}`?"),
                );
                let what = format!("unknown key `{}`{hint}", self.key_name(name));
                self.reader.fault(self.reader.line(key.span()), what);
            }
        }
    }

    fn take(&mut self, key: &'static str) -> Option<&'r Spanned<DeValue<'a>>> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.table?.get(key)
    }

    fn table_of(&self, value: &'r Spanned<DeValue<'a>>) -> Option<&'r DeTable<'a>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.reader.fault(self.reader.line(value.span()), "expected a table `[...]`");
        }
        table
    }

    fn key_name(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }
}

/// The known key that is written most alike, if any is alike at all.
fn closest<'k>(name: &str, known: &[&'k str]) -> Option<&'k str> {
    let near = |key: &&'k str| (distance(name, key), *key);
    let (distance, key) = known.iter().map(near).min()?;
    (distance <= 2.max(name.len() / 3)).then_some(key)
}

/// Levenshtein distance, in bytes.
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        let mut next = vec![left];
        for (y, above) in b.bytes().zip(row.iter().skip(1)) {
            let change = diagonal.saturating_add(usize::from(x != y));
            left = change.min(left.saturating_add(1)).min(above.saturating_add(1));
            next.push(left);
            diagonal = *above;
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}
