//! The encodings that files and documents of agencies have, and how each becomes text.

/// An encoding we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Ascii,
    /// ISO-8859-1.
    Latin1,
    /// ISO-8859-15: Latin-1 with the euro sign.
    Latin9,
    Utf8,
    Utf16BigEndian,
    Utf16LittleEndian,
    Windows1252,
}

/// What ISO-8859-15 has where ISO-8859-1 has other characters.
const LATIN9: [(u8, char); 8] =
    [(0xA4, '€'), (0xA6, 'Š'), (0xA8, 'š'), (0xB4, 'Ž'), (0xB8, 'ž'), (0xBC, 'Œ'), (0xBD, 'œ'), (0xBE, 'Ÿ')];

/// windows-1252 from 0x80 to 0x9F. A space stands where it has nothing.
const WINDOWS: [char; 32] = [
    '€', ' ', '‚', 'ƒ', '„', '…', '†', '‡', 'ˆ', '‰', 'Š', '‹', 'Œ', ' ', 'Ž', ' ', ' ', '‘', '’', '“', '”',
    '•', '–', '—', '˜', '™', 'š', '›', 'œ', ' ', 'ž', 'Ÿ',
];

impl Encoding {
    /// By the name that documents and configurations use (IANA), in any case.
    pub fn named(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "us-ascii" | "ascii" => Some(Self::Ascii),
            "iso-8859-1" | "latin1" => Some(Self::Latin1),
            "iso-8859-15" | "latin-9" => Some(Self::Latin9),
            "utf-8" | "utf8" => Some(Self::Utf8),
            "windows-1252" | "cp1252" => Some(Self::Windows1252),
            _ => None,
        }
    }

    /// By the byte order mark at the beginning.
    pub fn marked(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xEF, 0xBB, 0xBF, ..] => Some(Self::Utf8),
            [0xFE, 0xFF, ..] => Some(Self::Utf16BigEndian),
            [0xFF, 0xFE, ..] => Some(Self::Utf16LittleEndian),
            _ => None,
        }
    }

    /// The text in this encoding. `None` where it has characters that the encoding has not. UTF-16 is only read.
    pub fn encode(self, text: &str) -> Option<Vec<u8>> {
        if self == Self::Utf8 {
            return Some(text.as_bytes().to_vec());
        }
        let byte = |c: char| match u8::try_from(c) {
            Ok(ascii) if ascii.is_ascii() => Some(ascii),
            Ok(_) | Err(_) => {
                (0x80..=0xFF).find(|byte| self.decode(&[*byte]).is_some_and(|one| one.starts_with(c)))
            }
        };
        match self {
            Self::Utf16BigEndian | Self::Utf16LittleEndian => None,
            Self::Ascii | Self::Latin1 | Self::Latin9 | Self::Utf8 | Self::Windows1252 => {
                text.chars().map(byte).collect()
            }
        }
    }

    /// The text, without a byte order mark. `None` where the bytes are no text in this encoding.
    pub fn decode(self, bytes: &[u8]) -> Option<String> {
        let text = match self {
            Self::Ascii => String::from_utf8(bytes.to_vec()).ok().filter(|text| text.is_ascii())?,
            Self::Latin1 => bytes.iter().copied().map(char::from).collect(),
            Self::Latin9 => bytes.iter().copied().map(latin9).collect(),
            Self::Utf8 => String::from_utf8(bytes.to_vec()).ok()?,
            Self::Utf16BigEndian => utf16(bytes, u16::from_be_bytes)?,
            Self::Utf16LittleEndian => utf16(bytes, u16::from_le_bytes)?,
            Self::Windows1252 => bytes.iter().copied().map(windows).collect::<Option<_>>()?,
        };
        Some(text.strip_prefix('\u{FEFF}').map_or_else(|| text.clone(), str::to_owned))
    }
}

/// The encoding of an XML document (XML 1.0 appendix F): its mark, its declaration, or UTF-8. `None` where it declares
/// one we do not read.
pub fn of_xml(bytes: &[u8]) -> Option<Encoding> {
    if let Some(marked) = Encoding::marked(bytes) {
        return Some(marked);
    }
    let Some(rest) = bytes.strip_prefix(b"<?xml") else { return Some(Encoding::Utf8) };
    // A declaration is ASCII, and short.
    let end = rest.iter().take(256).position(|byte| *byte == b'>').unwrap_or(0);
    let declaration = String::from_utf8_lossy(rest.get(..end).unwrap_or_default()).into_owned();
    let Some((_, after)) = declaration.split_once("encoding") else { return Some(Encoding::Utf8) };
    let value = after.trim_start().strip_prefix('=')?.trim_start();
    let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''))?;
    Encoding::named(value.split(quote).nth(1)?)
}

fn latin9(byte: u8) -> char {
    LATIN9.iter().find(|(known, _)| *known == byte).map_or(char::from(byte), |(_, c)| *c)
}

fn windows(byte: u8) -> Option<char> {
    match byte {
        0x80..=0x9F => WINDOWS.get(usize::from(byte.saturating_sub(0x80))).copied().filter(|c| *c != ' '),
        _ => Some(char::from(byte)),
    }
}

fn utf16(bytes: &[u8], unit: fn([u8; 2]) -> u16) -> Option<String> {
    let units = bytes.chunks(2).map(|pair| <[u8; 2]>::try_from(pair).ok().map(unit));
    String::from_utf16(&units.collect::<Option<Vec<_>>>()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_encoding_reads_its_own_bytes() {
        for (encoding, bytes, text) in [
            (Encoding::Latin1, &b"Nicol\xf2 \xa4"[..], "Nicolò ¤"),
            (Encoding::Latin9, b"Nicol\xf2 \xa4", "Nicolò €"),
            (Encoding::Windows1252, b"D\x92Angelo \x80", "D’Angelo €"),
            (Encoding::Utf8, b"\xef\xbb\xbfNicol\xc3\xb2", "Nicolò"),
            (Encoding::Utf16LittleEndian, b"\xff\xfeN\0\xf2\0", "Nò"),
            (Encoding::Utf16BigEndian, b"\xfe\xff\0N\0\xf2", "Nò"),
            (Encoding::Ascii, b"Nicolo", "Nicolo"),
        ] {
            assert_eq!(encoding.decode(bytes).as_deref(), Some(text), "{encoding:?}");
        }
    }

    #[test]
    fn what_an_encoding_has_is_written_as_it_is_read() {
        for encoding in [Encoding::Ascii, Encoding::Latin1, Encoding::Latin9, Encoding::Windows1252] {
            for byte in 0..=u8::MAX {
                let Some(text) = encoding.decode(&[byte]) else { continue };
                assert_eq!(encoding.encode(&text), Some(vec![byte]), "{encoding:?} {byte:#x}");
            }
            assert_eq!(encoding.encode("日"), None);
        }
    }

    #[test]
    fn bytes_that_are_no_text_in_an_encoding_are_none() {
        for (encoding, bytes) in [
            (Encoding::Ascii, &b"\xf2"[..]),
            (Encoding::Utf8, b"Nicol\xf2"),
            (Encoding::Utf16LittleEndian, b"\xff\xfeN"),
            (Encoding::Utf16LittleEndian, b"\0\xd8"),
            (Encoding::Windows1252, b"\x81"),
        ] {
            assert_eq!(encoding.decode(bytes), None, "{encoding:?}");
        }
    }

    #[test]
    fn an_xml_document_says_its_encoding_itself() {
        for (document, encoding) in [
            (&b"<a/>"[..], Some(Encoding::Utf8)),
            (b"<?xml version='1.0'?><a/>", Some(Encoding::Utf8)),
            (b"<?xml version=\"1.0\" encoding=\"ISO-8859-15\"?><a/>", Some(Encoding::Latin9)),
            (b"<?xml version='1.0' encoding = 'utf-8' ?><a/>", Some(Encoding::Utf8)),
            (b"<?xml version='1.0' encoding='EBCDIC-IT'?><a/>", None),
            (b"\xff\xfe<\0a\0", Some(Encoding::Utf16LittleEndian)),
        ] {
            assert_eq!(of_xml(document), encoding);
        }
    }
}
