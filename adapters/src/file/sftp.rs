//! An SFTP server, spoken to through the system's own `ssh`.
//!
//! OpenSSH carries the connection (keys, host keys, ciphers: one well-kept implementation, no second stack in here); what
//! goes through it is version 3 of the file transfer protocol (draft-ietf-secsh-filexfer-02), as far as a drop folder needs it.
//! Nothing of a file ever touches a disk of ours.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;

use super::folder::Listed;
use crate::FetchError;

/// What one READ asks for: OpenSSH's own limit, below that of every server.
const CHUNK: u32 = 32 * 1024;
/// A packet: a chunk, or a listing's part.
const PACKET_MAX: usize = 256 * 1024;
/// Names in a folder; a drop folder of years has a few thousand.
const NAMES_MAX: usize = 20_000;
/// A server on the same network answers at once.
const CONNECT_SECONDS: u8 = 5;

const OPEN_READ: u32 = 0x01;
/// Write, create, and make it empty.
const OPEN_WRITE: u32 = 0x02 | 0x08 | 0x10;

/// Where the server is and how we prove who we are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    pub host: String,
    pub port: u16,
    pub user: String,
    /// The folder on the server.
    pub folder: String,
    /// Our private key, a file that only `ssh` reads.
    pub identity: PathBuf,
    /// The server's host key, in OpenSSH's form. No other is accepted.
    pub known_hosts: PathBuf,
}

pub(super) struct Sftp {
    server: Server,
    /// Taken out while in use: a call that was given up half-way leaves none behind, and the next one connects anew.
    session: Mutex<Option<Session>>,
}

struct Session {
    _ssh: Child,
    to: ChildStdin,
    from: ChildStdout,
    next: u32,
}

/// What a server answers.
enum Answer {
    Attributes,
    Bytes(Vec<u8>),
    Handle(Vec<u8>),
    Names(Vec<(String, Attributes)>),
    Status(u32),
}

#[derive(Clone, Copy, Default)]
struct Attributes {
    size: u64,
    modified: u32,
    is_file: bool,
}

/// `SSH_FX_*`
const OK: u32 = 0;
const END: u32 = 1;
const NO_SUCH_FILE: u32 = 2;

impl Sftp {
    pub fn new(server: Server) -> Self {
        Self { server, session: Mutex::new(None) }
    }

    fn path(&self, name: &str) -> String {
        format!("{}/{name}", self.server.folder.trim_end_matches('/'))
    }

    /// The files of the folder.
    pub async fn list(&self) -> Result<Vec<Listed>, FetchError> {
        let folder = self.server.folder.clone();
        let mut slot = self.session.lock().await;
        let mut session = self.session_of(&mut slot).await?;
        let listed = session.list(&folder).await?;
        *slot = Some(session);
        Ok(listed)
    }

    /// Bytes of a file; `None` where it is not there.
    pub async fn read(&self, name: &str, from: u64, length: usize) -> Result<Option<Vec<u8>>, FetchError> {
        let mut slot = self.session.lock().await;
        let mut session = self.session_of(&mut slot).await?;
        let bytes = session.read(&self.path(name), from, length).await?;
        *slot = Some(session);
        Ok(bytes)
    }

    /// A whole file under its name at once, or not at all.
    pub async fn put(&self, name: &str, bytes: &[u8]) -> Result<(), FetchError> {
        let (folder, file) = name.rsplit_once('/').unwrap_or(("", name));
        let slash = if folder.is_empty() { "" } else { "/" };
        let part = self.path(&format!("{folder}{slash}.{file}.part"));
        let mut slot = self.session.lock().await;
        let mut session = self.session_of(&mut slot).await?;
        if !folder.is_empty() {
            // It may be there already; if it cannot be made, writing into it says so.
            session.ask(14, &[Field::Text(self.path(folder).as_bytes()), Field::Number(0)]).await?;
        }
        session.write(&part, bytes).await?;
        session.rename(&part, &self.path(name)).await?;
        *slot = Some(session);
        Ok(())
    }

    async fn session_of(&self, slot: &mut Option<Session>) -> Result<Session, FetchError> {
        if let Some(mut session) = slot.take()
            && session.is_alive().await
        {
            return Ok(session);
        }
        Session::connect(&self.server).await
    }
}

enum Field<'a> {
    Long(u64),
    Number(u32),
    Text(&'a [u8]),
}

impl Session {
    async fn connect(server: &Server) -> Result<Self, FetchError> {
        let known = format!("UserKnownHostsFile={}", server.known_hosts.display());
        let wait = format!("ConnectTimeout={CONNECT_SECONDS}");
        let mut ssh = Command::new("ssh");
        ssh.args(["-T", "-F", "none", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes"]);
        ssh.args([
            "-o",
            &known,
            "-o",
            "GlobalKnownHostsFile=/dev/null",
            "-o",
            &wait,
            "-o",
            "ServerAliveInterval=15",
        ]);
        ssh.args(["-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-i"]).arg(&server.identity);
        ssh.args(["-p", &server.port.to_string(), "-l", &server.user, "-s", "--", &server.host, "sftp"]);
        ssh.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).kill_on_drop(true);
        let mut child = ssh.spawn().map_err(|error| FetchError::Unreachable(Box::new(error)))?;
        let (Some(to), Some(from)) = (child.stdin.take(), child.stdout.take()) else { return Err(broken()) };
        let mut session = Self { _ssh: child, to, from, next: 0 };
        session.send(1, &[Field::Number(3)], None).await?;
        let (kind, body) = session.receive().await?;
        let version = Reader(&body).number();
        if kind == 2 && version.is_some_and(|version| version >= 3) { Ok(session) } else { Err(broken()) }
    }

    /// An idle connection that the server has closed is noticed before anything is asked of it.
    async fn is_alive(&mut self) -> bool {
        self.ask(17, &[Field::Text(b".")]).await.is_ok()
    }

    async fn list(&mut self, folder: &str) -> Result<Vec<Listed>, FetchError> {
        let handle = self.handle(11, &[Field::Text(folder.as_bytes())]).await?.ok_or_else(broken)?;
        let mut listed = Vec::new();
        loop {
            match self.ask(12, &[Field::Text(&handle)]).await? {
                Answer::Names(names) => {
                    let files = names.into_iter().filter(|(_, attributes)| attributes.is_file);
                    listed.extend(files.map(|(name, attributes)| Listed {
                        name,
                        size: attributes.size,
                        modified: attributes.modified.into(),
                    }));
                    if listed.len() > NAMES_MAX {
                        return Err(FetchError::AnswerTooLarge { limit: NAMES_MAX });
                    }
                }
                Answer::Status(END) => break,
                Answer::Attributes | Answer::Bytes(_) | Answer::Handle(_) | Answer::Status(_) => {
                    return Err(broken());
                }
            }
        }
        self.close(&handle).await?;
        Ok(listed)
    }

    async fn read(&mut self, path: &str, from: u64, length: usize) -> Result<Option<Vec<u8>>, FetchError> {
        let open = [Field::Text(path.as_bytes()), Field::Number(OPEN_READ), Field::Number(0)];
        let Some(handle) = self.handle(3, &open).await? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(length);
        while bytes.len() < length {
            let at = from.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            let rest = u32::try_from(length - bytes.len()).unwrap_or(u32::MAX).min(CHUNK);
            match self.ask(5, &[Field::Text(&handle), Field::Long(at), Field::Number(rest)]).await? {
                Answer::Bytes(chunk) if !chunk.is_empty() && chunk.len() <= length - bytes.len() => {
                    bytes.extend_from_slice(&chunk);
                }
                Answer::Status(END) => break,
                Answer::Attributes
                | Answer::Bytes(_)
                | Answer::Handle(_)
                | Answer::Names(_)
                | Answer::Status(_) => return Err(broken()),
            }
        }
        self.close(&handle).await?;
        Ok(Some(bytes))
    }

    async fn write(&mut self, path: &str, bytes: &[u8]) -> Result<(), FetchError> {
        let open = [Field::Text(path.as_bytes()), Field::Number(OPEN_WRITE), Field::Number(0)];
        let handle = self.handle(3, &open).await?.ok_or_else(broken)?;
        let mut at: u64 = 0;
        for chunk in bytes.chunks(usize::try_from(CHUNK).unwrap_or(usize::MAX)) {
            let write = [Field::Text(&handle), Field::Long(at), Field::Text(chunk)];
            self.done(6, &write).await?;
            at = at.saturating_add(u64::try_from(chunk.len()).unwrap_or(u64::MAX));
        }
        // On the disk before it gets its name, where the server can say so.
        self.ask(200, &[Field::Text(b"fsync@openssh.com"), Field::Text(&handle)]).await?;
        self.close(&handle).await
    }

    /// Over one that is there, as POSIX renames; servers that cannot are asked for their own kind.
    async fn rename(&mut self, from: &str, to: &str) -> Result<(), FetchError> {
        let (from, to) = (from.as_bytes(), to.as_bytes());
        let posix = [Field::Text(b"posix-rename@openssh.com"), Field::Text(from), Field::Text(to)];
        match self.ask(200, &posix).await? {
            Answer::Status(OK) => Ok(()),
            Answer::Attributes
            | Answer::Bytes(_)
            | Answer::Handle(_)
            | Answer::Names(_)
            | Answer::Status(_) => self.done(18, &[Field::Text(from), Field::Text(to)]).await,
        }
    }

    async fn handle(&mut self, kind: u8, fields: &[Field<'_>]) -> Result<Option<Vec<u8>>, FetchError> {
        match self.ask(kind, fields).await? {
            Answer::Handle(handle) => Ok(Some(handle)),
            Answer::Status(NO_SUCH_FILE) => Ok(None),
            Answer::Attributes | Answer::Bytes(_) | Answer::Names(_) | Answer::Status(_) => Err(broken()),
        }
    }

    async fn close(&mut self, handle: &[u8]) -> Result<(), FetchError> {
        self.done(4, &[Field::Text(handle)]).await
    }

    async fn done(&mut self, kind: u8, fields: &[Field<'_>]) -> Result<(), FetchError> {
        match self.ask(kind, fields).await? {
            Answer::Status(OK) => Ok(()),
            Answer::Attributes
            | Answer::Bytes(_)
            | Answer::Handle(_)
            | Answer::Names(_)
            | Answer::Status(_) => Err(broken()),
        }
    }

    /// One request and its answer; there is never another one under way.
    async fn ask(&mut self, kind: u8, fields: &[Field<'_>]) -> Result<Answer, FetchError> {
        self.next = self.next.wrapping_add(1);
        let id = self.next;
        self.send(kind, fields, Some(id)).await?;
        let (kind, body) = self.receive().await?;
        let mut reader = Reader(&body);
        if reader.number() != Some(id) {
            return Err(broken());
        }
        reader.answer(kind).ok_or_else(broken)
    }

    async fn send(&mut self, kind: u8, fields: &[Field<'_>], id: Option<u32>) -> Result<(), FetchError> {
        let mut body = vec![kind];
        body.extend(id.into_iter().flat_map(u32::to_be_bytes));
        for field in fields {
            match field {
                Field::Long(number) => body.extend(number.to_be_bytes()),
                Field::Number(number) => body.extend(number.to_be_bytes()),
                Field::Text(text) => {
                    body.extend(u32::try_from(text.len()).map_err(|_| broken())?.to_be_bytes());
                    body.extend_from_slice(text);
                }
            }
        }
        let length = u32::try_from(body.len()).map_err(|_| broken())?;
        self.to.write_all(&length.to_be_bytes()).await.map_err(lost)?;
        self.to.write_all(&body).await.map_err(lost)?;
        self.to.flush().await.map_err(lost)
    }

    async fn receive(&mut self) -> Result<(u8, Vec<u8>), FetchError> {
        let length = self.from.read_u32().await.map_err(lost)?;
        let length = usize::try_from(length).ok().filter(|length| (1..=PACKET_MAX).contains(length));
        let mut body = vec![0; length.ok_or_else(broken)?];
        self.from.read_exact(&mut body).await.map_err(lost)?;
        let kind = body.first().copied().unwrap_or_default();
        body.drain(..1);
        Ok((kind, body))
    }
}

struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self) -> Option<u32> {
        self.take(4)?.try_into().ok().map(u32::from_be_bytes)
    }

    fn long(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<&'a [u8]> {
        let length = self.number()?;
        self.take(usize::try_from(length).ok()?)
    }

    fn answer(&mut self, kind: u8) -> Option<Answer> {
        match kind {
            101 => self.number().map(Answer::Status),
            102 => self.text().map(|handle| Answer::Handle(handle.to_vec())),
            103 => self.text().map(|bytes| Answer::Bytes(bytes.to_vec())),
            104 => {
                let count = self.number()?;
                let mut names = Vec::new();
                for _ in 0..count {
                    let name = String::from_utf8(self.text()?.to_vec());
                    self.text()?;
                    let attributes = self.attributes()?;
                    // A name that is no text is none of ours.
                    names.extend(name.ok().map(|name| (name, attributes)));
                }
                Some(Answer::Names(names))
            }
            105 => self.attributes().map(|_| Answer::Attributes),
            _ => None,
        }
    }

    fn attributes(&mut self) -> Option<Attributes> {
        let flags = self.number()?;
        let mut attributes = Attributes::default();
        if flags & 0x01 != 0 {
            attributes.size = self.long()?;
        }
        if flags & 0x02 != 0 {
            self.take(8)?;
        }
        if flags & 0x04 != 0 {
            // The file type of POSIX: 0o100000 is a regular file.
            attributes.is_file = self.number()? & 0o170_000 == 0o100_000;
        }
        if flags & 0x08 != 0 {
            self.number()?;
            attributes.modified = self.number()?;
        }
        if flags & 0x8000_0000 != 0 {
            for _ in 0..self.number()? {
                self.text()?;
                self.text()?;
            }
        }
        Some(attributes)
    }
}

fn broken() -> FetchError {
    FetchError::Unreachable("the SFTP server does not answer as it must".into())
}

fn lost(error: std::io::Error) -> FetchError {
    FetchError::Unreachable(Box::new(error))
}
