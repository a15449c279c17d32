//! A second look at the raw bytes of an HTTP/1.1 connection.
//!
//! hyper forgives some framing that two programs can read in two ways (request smuggling): bare LF line ends,
//! Content-Length beside Transfer-Encoding, a repeated Content-Length, trailers. By the time a request is parsed these
//! are gone, so they are looked for here, in the bytes as they arrive. The scanner only marks a connection as suspect;
//! the server then answers 400 and closes. It changes no byte.

/// Longest line of a head that is looked at; hyper refuses longer heads altogether.
const LONGEST_LINE: usize = 64 * 1024;

/// What is ambiguous in the bytes of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FramingFault {
    #[error("a line ends with LF alone instead of CRLF")]
    BareLineFeed,
    #[error("a chunk is not framed as RFC 9112 section 7.1 says")]
    Chunk,
    #[error("Content-Length is repeated or not a plain number")]
    ContentLength,
    #[error("Content-Length stands beside Transfer-Encoding")]
    LengthAndEncoding,
    #[error("a line is too long")]
    LongLine,
    #[error("trailers are not accepted")]
    Trailers,
    #[error("the only transfer coding accepted is `chunked`, once")]
    TransferEncoding,
}

/// Where in the stream of requests the next byte is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Between requests: no byte of the next one has arrived.
    Between,
    Head,
    /// So many bytes of a body with Content-Length are still to come.
    Body(u64),
    ChunkSize,
    /// So many bytes of a chunk are still to come, and then CRLF.
    Chunk(u64),
    ChunkEnd,
    /// After the last chunk, where trailers could be.
    Trailer,
    Suspect(FramingFault),
}

/// Follows one connection. Feed it every byte received, in order.
#[derive(Debug)]
pub struct Scanner {
    place: Place,
    line: Vec<u8>,
    length: Option<u64>,
    chunked: bool,
}

impl Scanner {
    pub fn new() -> Self {
        Self { place: Place::Between, line: Vec::new(), length: None, chunked: false }
    }

    /// What is wrong, once something is. It stays so: the connection must be closed.
    pub fn fault(&self) -> Option<FramingFault> {
        match self.place {
            Place::Suspect(fault) => Some(fault),
            Place::Between
            | Place::Head
            | Place::Body(_)
            | Place::ChunkSize
            | Place::Chunk(_)
            | Place::ChunkEnd
            | Place::Trailer => None,
        }
    }

    /// Whether a head has begun and not ended: what the header timeout measures.
    pub fn in_head(&self) -> bool {
        self.place == Place::Head
    }

    pub fn feed(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && self.fault().is_none() {
            bytes = match self.place {
                Place::Body(left) => self.skip(bytes, left, Place::Body, Place::Between),
                Place::Chunk(left) => self.skip(bytes, left, Place::Chunk, Place::ChunkEnd),
                Place::Between | Place::Head | Place::ChunkSize | Place::ChunkEnd | Place::Trailer => {
                    self.take_line(bytes)
                }
                Place::Suspect(_) => return,
            };
        }
    }

    fn skip<'a>(&mut self, bytes: &'a [u8], left: u64, more: fn(u64) -> Place, after: Place) -> &'a [u8] {
        let here = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
        let left = left.saturating_sub(u64::try_from(here).unwrap_or(u64::MAX));
        self.place = if left == 0 { after } else { more(left) };
        bytes.get(here..).unwrap_or_default()
    }

    /// Gathers a line; when it is complete, looks at it.
    fn take_line<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        if self.place == Place::Between {
            self.place = Place::Head;
            self.length = None;
            self.chunked = false;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end.saturating_add(1)));
        if self.line.len().saturating_add(part.len()) > LONGEST_LINE {
            self.place = Place::Suspect(FramingFault::LongLine);
            return rest;
        }
        self.line.extend_from_slice(part);
        if end.is_some() {
            let line = std::mem::take(&mut self.line);
            self.place = match line.strip_suffix(b"\r\n") {
                Some(line) => self.read_line(line).unwrap_or_else(Place::Suspect),
                None => Place::Suspect(FramingFault::BareLineFeed),
            };
            // Keep the memory for the next line.
            self.line = line;
            self.line.clear();
        }
        rest
    }

    fn read_line(&mut self, line: &[u8]) -> Result<Place, FramingFault> {
        match (self.place, line) {
            (Place::Head, []) => Ok(self.after_head()),
            (Place::Head, line) => self.read_field(line).map(|()| Place::Head),
            (Place::ChunkSize, line) => match chunk_size(line)? {
                0 => Ok(Place::Trailer),
                size => Ok(Place::Chunk(size)),
            },
            (Place::ChunkEnd, []) => Ok(Place::ChunkSize),
            (Place::ChunkEnd, _) => Err(FramingFault::Chunk),
            (Place::Trailer, []) => Ok(Place::Between),
            (Place::Trailer, _) => Err(FramingFault::Trailers),
            // Lines are gathered only in the places above.
            (place @ (Place::Between | Place::Body(_) | Place::Chunk(_) | Place::Suspect(_)), _) => Ok(place),
        }
    }

    /// The request line, too, comes here: it holds no colon before its first space, so it names no field of ours.
    fn read_field(&mut self, line: &[u8]) -> Result<(), FramingFault> {
        let Some(colon) = line.iter().position(|byte| *byte == b':') else {
            return Ok(());
        };
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(b":").unwrap_or(value).trim_ascii();
        if name.eq_ignore_ascii_case(b"content-length") {
            let digits = std::str::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_digit()));
            let length = digits.and_then(|digits| digits.parse().ok()).ok_or(FramingFault::ContentLength)?;
            if self.length.replace(length).is_some() {
                return Err(FramingFault::ContentLength);
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
                return Err(FramingFault::TransferEncoding);
            }
            self.chunked = true;
        }
        if self.chunked && self.length.is_some() { Err(FramingFault::LengthAndEncoding) } else { Ok(()) }
    }

    fn after_head(&self) -> Place {
        match (self.chunked, self.length) {
            (true, _) => Place::ChunkSize,
            (false, Some(length)) if length > 0 => Place::Body(length),
            (false, Some(_) | None) => Place::Between,
        }
    }
}

impl Default for Scanner {
    fn default() -> Self {
        Self::new()
    }
}

/// Hexadecimal digits, then perhaps extensions, which nobody uses and which mean nothing here.
fn chunk_size(line: &[u8]) -> Result<u64, FramingFault> {
    let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii_end();
    let digits = std::str::from_utf8(digits).map_err(|_| FramingFault::Chunk)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(FramingFault::Chunk);
    }
    u64::from_str_radix(digits, 16).map_err(|_| FramingFault::Chunk)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(bytes: &str, expected: Option<FramingFault>) {
        let mut whole = Scanner::new();
        whole.feed(bytes.as_bytes());
        assert_eq!(whole.fault(), expected, "{bytes:?}");
        let mut drop_by_drop = Scanner::new();
        bytes.bytes().for_each(|byte| drop_by_drop.feed(&[byte]));
        assert_eq!(drop_by_drop.fault(), expected, "{bytes:?} byte by byte");
    }

    #[test]
    fn plain_requests_pass_one_after_the_other() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", None);
        check("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\n\n\n\nGET / HTTP/1.1\r\n\r\n", None);
        check(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\n\n\n\n\r\n0\r\n\r\nGET / H",
            None,
        );
    }

    #[test]
    fn what_two_programs_may_read_differently_is_refused() {
        check("GET / HTTP/1.1\nHost: a\r\n\r\n", Some(FramingFault::BareLineFeed));
        check("GET / HTTP/1.1\r\nHost: a\n\r\n", Some(FramingFault::BareLineFeed));
        let both = "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(both, Some(FramingFault::LengthAndEncoding));
        let reversed = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n";
        check(reversed, Some(FramingFault::LengthAndEncoding));
        let twice = "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\n";
        check(twice, Some(FramingFault::ContentLength));
        check("POST / HTTP/1.1\r\nContent-Length: 3, 3\r\n\r\n", Some(FramingFault::ContentLength));
        check(
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            Some(FramingFault::TransferEncoding),
        );
        let trailer = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: y\r\n\r\n";
        check(trailer, Some(FramingFault::Trailers));
        check(
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n",
            Some(FramingFault::Chunk),
        );
    }

    #[test]
    fn the_second_request_is_looked_at_like_the_first() {
        let second = "POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nxGET / HTTP/1.1\nHost: a\r\n\r\n";
        check(second, Some(FramingFault::BareLineFeed));
    }
}
