//! Files that an agency's system drops into a folder, and that we drop for it: CSV or XML, in a folder of this machine or on an
//! SFTP server.
//!
//! The folder belongs to the agency's side and so do its files: nothing is copied, moved or deleted. In memory lies where each
//! person's rows are, under keyed digests; a pull reads those rows from the folder again (decision 0028). A file counts
//! when it has its final name. What became of it is told in `esiti/`; deliveries lie in `consegne/`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex as Lock, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Instant;
use varco_core::exchange::{Assurance, Said, SaidOf};
use varco_core::hash::Sha256;
use varco_core::id::{FieldId, RecordTypeId};
use varco_core::json;
use varco_core::subject::CodiceFiscale;

use crate::encoding::Encoding;
use crate::mapping::{Ask, Mapping, Mappings};
use crate::rows::{self, Placed};
use crate::{Accepted, AgencyRecord, Delivery, FetchError, Request};

pub(crate) mod csv;
mod folder;
mod form;
mod index;
mod report;
pub mod sftp;

#[cfg(test)]
mod tests;

pub use form::FileFault;
pub use index::Key;

use folder::{Folder, Listed};
use form::{Form, Format, faults, format_of, is_incremental, matches};
use index::{Held, Index, Spot};
use sftp::Sftp;

/// 200,000 people with 300 bytes each. A larger file is not taken in.
pub const FILE_MAX: usize = 64 * 1024 * 1024;
/// Taking in a folder's new files; a file of the largest size over a slow line takes a minute.
pub(crate) const TEND_MAX: Duration = Duration::from_secs(120);
/// Files whose rows count at once, of one record type.
const FILES_MAX: usize = 400;
/// Words that a mapping may have beside `da` and `soggetto`.
pub const WORDS: [&str; 3] = ["consegna", "elemento", "modo"];
/// The folder of deliveries, below the drop folder.
const DELIVERIES: &str = "consegne";

/// Where the drop folder is and how its files are written.
#[derive(Clone)]
pub struct Settings {
    pub place: Place,
    pub encoding: Encoding,
    pub separator: char,
    /// How long a listing of the folder is good for.
    pub look_every: Duration,
    /// Made at random at each start.
    pub key: Key,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Folder(std::path::PathBuf),
    Sftp(sftp::Server),
}

pub struct File {
    mappings: Arc<Mappings>,
    folder: Folder,
    form: (Encoding, u8),
    assurance: Assurance,
    look_every: Duration,
    key: Key,
    /// What was taken in, of each record type.
    taken: BTreeMap<RecordTypeId, Taken>,
}

/// The files of one record type that count.
#[derive(Default)]
struct Taken {
    seen: Lock<Seen>,
    /// Held while looking: two at once would read the same files twice. Who finds it held goes by what was seen before.
    looking: Mutex<()>,
}

#[derive(Clone, Default)]
struct Seen {
    looked: Option<Instant>,
    /// In the order of their names, the newest last.
    files: Vec<(Listed, Arc<Index>)>,
}

/// What the folder holds of one person.
struct Record {
    tree: Value,
    said: Said,
    row: u64,
}

impl File {
    /// Looks into the folder only when something is asked. The mappings must be such as files can serve.
    pub fn new(settings: Settings, mappings: Mappings) -> Result<Self, Vec<FileFault>> {
        let faults: Vec<FileFault> = mappings.all().flat_map(faults).collect();
        if !faults.is_empty() {
            return Err(faults);
        }
        let (folder, assurance) = match settings.place {
            Place::Folder(path) => (Folder::Local(path), Assurance::Folder),
            Place::Sftp(server) => (Folder::Sftp(Box::new(Sftp::new(server))), Assurance::HostKey),
        };
        let separator = u8::try_from(settings.separator).unwrap_or(b';');
        let taken = mappings.all().map(|mapping| (mapping.record.id.clone(), Taken::default())).collect();
        Ok(Self {
            mappings: Arc::new(mappings),
            folder,
            form: (settings.encoding, separator),
            assurance,
            look_every: settings.look_every,
            key: settings.key,
            taken,
        })
    }

    pub fn mappings(&self) -> &Mappings {
        &self.mappings
    }

    /// Looks for new files without anybody waiting: taking in a large one takes longer than a person at a desk has.
    pub async fn tend(&self) -> Result<(), FetchError> {
        for mapping in self.mappings.all() {
            let Some(taken) = self.taken.get(&mapping.record.id) else { continue };
            let _turn = taken.looking.lock().await;
            self.look(mapping, taken).await?;
        }
        Ok(())
    }

    pub(crate) async fn fetch(&self, request: &Request<'_>) -> Result<AgencyRecord, FetchError> {
        let mapping = self.mappings.of(request.record_type).ok_or(FetchError::NoMapping)?;
        let record = self.record(mapping, request.subject, request.fields).await?;
        let ask = Ask { row: record.row, subject: Some(request.subject), fields: request.fields };
        let mapped = mapping.read(&record.tree, &ask).map_err(FetchError::NotFitting)?;
        Ok(AgencyRecord::mapped(mapped, record.said))
    }

    /// One person's record, as the mapping reads it.
    pub async fn tree(
        &self,
        mapping: &Mapping,
        subject: &CodiceFiscale,
        fields: &[FieldId],
    ) -> Result<(Value, Said), FetchError> {
        let record = self.record(mapping, subject, fields).await?;
        Ok((record.tree, record.said))
    }

    /// Records of any persons, at most so many: for those who tend the adapter.
    pub async fn trees(&self, mapping: &Mapping, most: usize) -> Result<Vec<(u64, Value)>, FetchError> {
        let form = self.form(mapping);
        let mut rows = Vec::new();
        for file in self.current(mapping).await? {
            let bytes = self.whole(&file).await?.ok_or(FetchError::Moved)?;
            match form.format {
                Format::Csv => rows.extend(all_rows(&bytes, &form, most)),
                Format::Xml => {
                    let elements = index::elements(&bytes, &form).unwrap_or_default();
                    let placed = (1..).zip(elements).filter_map(|(row, tree)| {
                        if let Value::Object(columns) = tree { Some(Placed { row, columns }) } else { None }
                    });
                    rows.extend(placed.take(most));
                }
            }
        }
        rows.truncate(most);
        Ok(rows::by_person(rows, mapping))
    }

    /// Lays a delivery down: the signed document, and then the record in the agency's own shape, whose name says that all is there.
    pub(crate) async fn deliver(&self, delivery: &Delivery<'_>) -> Result<Accepted, FetchError> {
        let mapping = self.mappings.of(delivery.record_type).ok_or(FetchError::NoMapping)?;
        let written = mapping.write(delivery.record, delivery.subject).map_err(FetchError::NotFitting)?;
        let base = format!("{DELIVERIES}/{}_{}", delivery.record_type, delivery.exchange);
        let (ending, bytes) = match mapping.words.get("consegna").map(String::as_str) {
            Some("json") => ("json", json::canonical(&written.tree).into_bytes()),
            Some(_) | None => ("csv", self.table(&written.tree)?),
        };
        let name = format!("{base}.{ending}");
        // The same exchange is the same delivery: what lies there already is not laid down again.
        if self.folder.read(&name, 0, 1).await?.is_none() {
            let document = format!("{base}.documento.json");
            self.folder.put(&document, delivery.document.as_bytes()).await?;
            self.folder.put(&name, &bytes).await?;
        }
        let said = Said { digest: Sha256::of(&bytes), of: SaidOf::Bytes, by: self.assurance };
        Ok(Accepted { said, seal: None, without_place: written.without_place })
    }

    /// A tree of columns, with its list of rows, as CSV in the encoding of the agency's files.
    fn table(&self, tree: &Value) -> Result<Vec<u8>, FetchError> {
        let (encoding, separator) = self.form;
        let text = csv::table(tree, char::from(separator));
        encoding.encode(&text).ok_or(FetchError::NotFitting(vec![crate::mapping::RowFault::new(
            0,
            "",
            crate::mapping::Reason::Encoding,
        )]))
    }

    async fn record(
        &self,
        mapping: &Mapping,
        subject: &CodiceFiscale,
        fields: &[FieldId],
    ) -> Result<Record, FetchError> {
        let done = self.try_record(mapping, subject, fields).await;
        if !matches!(done, Err(FetchError::Moved)) {
            return done;
        }
        // The agency replaced the file under our hands: look again, once.
        if let Some(taken) = self.taken.get(&mapping.record.id) {
            taken.update(|seen| seen.looked = None);
        }
        self.try_record(mapping, subject, fields).await
    }

    async fn try_record(
        &self,
        mapping: &Mapping,
        subject: &CodiceFiscale,
        fields: &[FieldId],
    ) -> Result<Record, FetchError> {
        let form = self.form(mapping);
        let (file, columns, held) = self.find(mapping, subject).await?.ok_or(FetchError::SubjectUnknown)?;
        let spots = match held {
            Held::Refused(faults) => return Err(FetchError::NotFitting(faults)),
            Held::Elements(numbers) => return self.elements(&file, (mapping, fields), &numbers).await,
            Held::Rows(spots) => spots,
        };
        let mut placed = Vec::with_capacity(spots.len());
        let mut said = Vec::new();
        for spot in &spots {
            let bytes =
                self.folder.read(&file.name, spot.start, spot.length).await?.ok_or(FetchError::Moved)?;
            placed.push(self.row(&bytes, &columns, &form, spot)?);
            said.extend_from_slice(&bytes);
            said.push(b'\n');
        }
        let row = spots.first().map_or(0, |spot| spot.line);
        let said = Said { digest: Sha256::of(&said), of: SaidOf::Bytes, by: self.assurance };
        let tree =
            rows::tree(placed, mapping, fields).map_err(|fault| FetchError::NotFitting(vec![fault]))?;
        Ok(Record { tree, said, row })
    }

    fn row(&self, bytes: &[u8], columns: &[String], form: &Form, spot: &Spot) -> Result<Placed, FetchError> {
        // Whatever lies there now must be one row of the same columns; whose it is, the mapping checks.
        let mut raws = csv::Rows::new(bytes, form.separator);
        let (Some(raw), None) = (raws.next(), raws.next()) else { return Err(FetchError::Moved) };
        let row = raw.cells.and_then(|cells| index::row(columns, cells, form.encoding));
        row.map(|columns| Placed { row: spot.line, columns }).map_err(|_| FetchError::Moved)
    }

    async fn elements(
        &self,
        file: &Listed,
        (mapping, fields): (&Mapping, &[FieldId]),
        numbers: &[usize],
    ) -> Result<Record, FetchError> {
        let bytes = self.whole(file).await?.ok_or(FetchError::Moved)?;
        let elements = index::elements(&bytes, &self.form(mapping)).ok_or(FetchError::Moved)?;
        let mut placed = Vec::with_capacity(numbers.len());
        for number in numbers {
            let Some(Value::Object(columns)) = elements.get(*number) else { return Err(FetchError::Moved) };
            let row = u64::try_from(*number).unwrap_or(u64::MAX).saturating_add(1);
            placed.push(Placed { row, columns: columns.clone() });
        }
        let row = placed.first().map_or(0, |one| one.row);
        let all = placed.iter().map(|one| Value::Object(one.columns.clone())).collect();
        let digest = Sha256::of(json::canonical(&Value::Array(all)).as_bytes());
        let said = Said { digest, of: SaidOf::Tree, by: self.assurance };
        let tree =
            rows::tree(placed, mapping, fields).map_err(|fault| FetchError::NotFitting(vec![fault]))?;
        Ok(Record { tree, said, row })
    }

    /// The newest file that has the person, and what it has.
    async fn find(
        &self,
        mapping: &Mapping,
        subject: &CodiceFiscale,
    ) -> Result<Option<(Listed, Vec<String>, Held)>, FetchError> {
        let Some(taken) = self.taken.get(&mapping.record.id) else { return Ok(None) };
        // The first look is waited for. A later one that somebody else is at changes nothing yet.
        let turn = match taken.seen().looked {
            None => Some(taken.looking.lock().await),
            Some(_) => taken.looking.try_lock().ok(),
        };
        let stale = taken.seen().looked.is_none_or(|looked| looked.elapsed() >= self.look_every);
        if turn.is_some() && stale {
            self.look(mapping, taken).await?;
        }
        drop(turn);
        let seen = taken.seen();
        let found = seen.files.iter().rev().find_map(|(file, index)| {
            index.held(&self.key, subject).map(|held| (file.clone(), index.columns.clone(), held.clone()))
        });
        Ok(found)
    }

    /// Takes in what is new and forgets what is gone. Whoever calls it has the turn.
    async fn look(&self, mapping: &Mapping, taken: &Taken) -> Result<(), FetchError> {
        let current = self.current(mapping).await?;
        let mut files = taken.seen().files;
        files.retain(|(file, _)| current.contains(file));
        for file in current {
            if files.iter().any(|(known, _)| *known == file) {
                continue;
            }
            // Gone again already: the next look finds what came in its place.
            let Some(bytes) = self.whole(&file).await? else { continue };
            let (bytes, index) = self.take_in(mapping, bytes).await?;
            let told = (file.name.as_str(), bytes.as_slice());
            report::tell(&self.folder, told, &mapping.record.id, &index.report).await?;
            files.push((file, Arc::new(index)));
        }
        files.sort_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        taken.update(|seen| *seen = Seen { looked: Some(Instant::now()), files });
        Ok(())
    }

    /// On a thread of its own: hundreds of thousands of rows would keep every other exchange waiting.
    async fn take_in(&self, mapping: &Mapping, bytes: Vec<u8>) -> Result<(Vec<u8>, Index), FetchError> {
        let (mappings, record) = (Arc::clone(&self.mappings), mapping.record.id.clone());
        let (form, key) = (self.form(mapping), self.key);
        let work = move || {
            let mapping = mappings.of(&record)?;
            let index = Index::build(&bytes, &form, mapping, &key);
            Some((bytes, index))
        };
        let done = tokio::task::spawn_blocking(work).await;
        done.map_err(|error| FetchError::Unreachable(Box::new(error)))?.ok_or(FetchError::NoMapping)
    }

    /// The files that count: all that match, or of complete extractions the one with the last name.
    async fn current(&self, mapping: &Mapping) -> Result<Vec<Listed>, FetchError> {
        let pattern = mapping.from.as_deref().unwrap_or_default();
        let mut files = self.folder.list().await?;
        files.retain(|file| matches(pattern, &file.name));
        files.sort_by(|a, b| a.name.cmp(&b.name));
        let keep = if is_incremental(mapping) { FILES_MAX } else { 1 };
        Ok(files.split_off(files.len().saturating_sub(keep)))
    }

    async fn whole(&self, file: &Listed) -> Result<Option<Vec<u8>>, FetchError> {
        let size = usize::try_from(file.size).ok().filter(|size| *size <= FILE_MAX);
        let size = size.ok_or(FetchError::AnswerTooLarge { limit: FILE_MAX })?;
        let bytes = self.folder.read(&file.name, 0, size).await?;
        // Shorter than the listing said: still growing, or replaced.
        Ok(bytes.filter(|bytes| bytes.len() == size))
    }

    fn form(&self, mapping: &Mapping) -> Form {
        let (encoding, separator) = self.form;
        let format = format_of(mapping).unwrap_or(Format::Csv);
        let element = mapping.words.get("elemento").cloned().unwrap_or_default();
        Form { format, encoding, separator, element }
    }
}

impl Taken {
    fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn update(&self, change: impl FnOnce(&mut Seen)) {
        change(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

fn all_rows(bytes: &[u8], form: &Form, most: usize) -> Vec<Placed> {
    let mut raws = csv::Rows::new(bytes, form.separator);
    let Some(Ok(header)) = raws.next().map(|raw| raw.cells) else { return Vec::new() };
    let names = header.iter().map(|cell| form.encoding.decode(cell).map(|name| name.trim().to_owned()));
    let Some(columns) = names.collect::<Option<Vec<String>>>() else { return Vec::new() };
    let placed = raws.filter_map(|raw| {
        let columns = raw.cells.and_then(|cells| index::row(&columns, cells, form.encoding)).ok()?;
        Some(Placed { row: raw.line, columns })
    });
    placed.take(most).collect()
}
