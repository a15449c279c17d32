//! Time stamps over checkpoints (RFC 3161): the request, and what a response says.
//!
//! What is stamped is the SHA-256 of a checkpoint's text, its three lines. The response is kept as it came, so that
//! others' tools check its signature: `openssl ts -verify -data checkpoint.txt -in response.tsr`. Here it is only read:
//! whether it is of this checkpoint and answers this request.

use crate::hash::Sha256;
use crate::time::Timestamp;

/// A response with a chain of four RSA-4096 certificates is some 8 KiB.
pub const RESPONSE_MAX: usize = 64 * 1024;

/// What a time stamp says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub imprint: Sha256,
    /// When, by the authority's clock.
    pub at: Timestamp,
    /// The serial number, hexadecimal.
    pub serial: String,
    pub nonce: Option<u64>,
}

/// Why a response is no time stamp of what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StampFault {
    #[error("the response is not of the form that RFC 3161 gives")]
    Malformed,
    #[error("the time stamp answers another request")]
    OtherNonce,
    #[error("the time stamp is of something else")]
    OtherImprint,
    #[error("the authority refused with status {0}")]
    Refused(u8),
}

/// `SEQUENCE { OID sha256, NULL }` and the beginning of the digest.
const IMPRINT: [u8; 17] =
    [0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20];

const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const EXPLICIT_0: u8 = 0xa0;

/// The nonce a request is made with: 62 random bits, so that its eight bytes are a positive number without a leading
/// zero.
pub const fn nonce(random: [u8; 8]) -> u64 {
    u64::from_be_bytes(random) & (u64::MAX >> 1) | 1 << 62
}

/// A request (RFC 3161 section 2.4.1) for a stamp with the authority's certificate: 69 bytes of DER.
pub fn request(imprint: &Sha256, nonce: u64) -> Vec<u8> {
    let mut body = vec![INTEGER, 1, 1, SEQUENCE, 49];
    body.extend_from_slice(&IMPRINT);
    body.extend_from_slice(imprint.as_bytes());
    body.extend_from_slice(&[INTEGER, 8]);
    body.extend_from_slice(&nonce.to_be_bytes());
    // certReq TRUE.
    body.extend_from_slice(&[1, 1, 0xff]);
    let mut request = vec![SEQUENCE, u8::try_from(body.len()).unwrap_or(u8::MAX)];
    request.append(&mut body);
    request
}

/// What a response says, if it is a stamp of this imprint and, where it names one, of this request.
pub fn check(response: &[u8], imprint: &Sha256, nonce: Option<u64>) -> Result<Stamp, StampFault> {
    let stamp = read(response)?;
    if stamp.imprint != *imprint {
        return Err(StampFault::OtherImprint);
    }
    // RFC 3161 section 2.4.2: the nonce is in the response if it was in the request.
    if nonce.is_some() && stamp.nonce != nonce {
        return Err(StampFault::OtherNonce);
    }
    Ok(stamp)
}

/// What a response says of itself.
pub fn read(response: &[u8]) -> Result<Stamp, StampFault> {
    let malformed = StampFault::Malformed;
    let mut rest = Der(response);
    let mut response = rest.inside(SEQUENCE).filter(|_| rest.0.is_empty()).ok_or(malformed)?;
    let status = response.inside(SEQUENCE).and_then(|mut status| status.take(INTEGER));
    match status {
        // Granted, and granted with modifications.
        Some([0 | 1]) => {}
        Some([status]) => return Err(StampFault::Refused(*status)),
        Some(_) | None => return Err(malformed),
    }
    stamp(response).ok_or(malformed)
}

/// From a ContentInfo with SignedData (RFC 5652) down to the TSTInfo.
fn stamp(mut token: Der<'_>) -> Option<Stamp> {
    let mut content = token.inside(SEQUENCE)?;
    content.take(OID)?;
    let mut signed = content.inside(EXPLICIT_0)?.inside(SEQUENCE)?;
    signed.take(INTEGER)?;
    signed.take(SET)?;
    let mut encapsulated = signed.inside(SEQUENCE)?;
    encapsulated.take(OID)?;
    let mut info = Der(encapsulated.inside(EXPLICIT_0)?.take(OCTETS)?).inside(SEQUENCE)?;
    info.take(INTEGER)?;
    info.take(OID)?;
    let imprint = info.take(SEQUENCE)?.strip_prefix(&IMPRINT).and_then(Sha256::from_slice)?;
    let serial = info.take(INTEGER)?.iter().map(|byte| format!("{byte:02x}")).collect();
    let at = instant(info.take(TIME)?)?;
    let mut nonce = None;
    while let Some((tag, value)) = info.next() {
        if tag == INTEGER {
            nonce = value.try_into().ok().map(u64::from_be_bytes);
        }
    }
    Some(Stamp { imprint, at, serial, nonce })
}

/// A GeneralizedTime: `20260302084107Z`, perhaps with a fraction of a second.
fn instant(text: &[u8]) -> Option<Timestamp> {
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let part = |from, to| whole.get(from..to);
    if whole.len() != 14 || fraction.is_empty() || fraction.len() > 9 {
        return None;
    }
    let (date, time) =
        ([part(0, 4)?, part(4, 6)?, part(6, 8)?], [part(8, 10)?, part(10, 12)?, part(12, 14)?]);
    format!("{}T{}.{fraction}Z", date.join("-"), time.join(":")).parse().ok()
}

/// Values of DER, one after the other. Only definite lengths, as DER has them.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn next(&mut self) -> Option<(u8, &'a [u8])> {
        let (tag, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            0x81..=0x84 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                (bytes.iter().fold(0, |length: usize, byte| length << 8 | usize::from(*byte)), rest)
            }
            _ => return None,
        };
        let (value, rest) = rest.split_at_checked(length)?;
        self.0 = rest;
        Some((*tag, value))
    }

    fn take(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.next().filter(|(found, _)| *found == tag).map(|(_, value)| value)
    }

    fn inside(&mut self, tag: u8) -> Option<Self> {
        self.take(tag).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let body = parts.concat();
        let mut out = vec![tag];
        match body.len() {
            length @ 0..128 => out.push(u8::try_from(length).unwrap()),
            length => {
                out.push(0x82);
                out.extend_from_slice(&u16::try_from(length).unwrap().to_be_bytes());
            }
        }
        out.extend(body);
        out
    }

    /// A response as an authority builds it, without certificates and signature, which are not read here.
    fn response(status: u8, imprint: &Sha256, nonce: u64) -> Vec<u8> {
        let oid = tlv(OID, &[&[42, 3]]);
        let info = tlv(
            SEQUENCE,
            &[
                &tlv(INTEGER, &[&[1]]),
                &oid,
                &tlv(SEQUENCE, &[&IMPRINT, imprint.as_bytes()]),
                &tlv(INTEGER, &[&[0x0a, 0xbc]]),
                &tlv(TIME, &[b"20260302084107.12Z"]),
                &tlv(SEQUENCE, &[&tlv(INTEGER, &[&[1]])]),
                &tlv(INTEGER, &[&nonce.to_be_bytes()]),
            ],
        );
        let encapsulated = tlv(SEQUENCE, &[&oid, &tlv(EXPLICIT_0, &[&tlv(OCTETS, &[&info])])]);
        let signed = tlv(SEQUENCE, &[&tlv(INTEGER, &[&[3]]), &tlv(SET, &[]), &encapsulated, &[0x31, 0x00]]);
        let token = tlv(SEQUENCE, &[&oid, &tlv(EXPLICIT_0, &[&signed])]);
        tlv(SEQUENCE, &[&tlv(SEQUENCE, &[&tlv(INTEGER, &[&[status]])]), &token])
    }

    #[test]
    fn a_request_is_the_der_that_openssl_makes() {
        // openssl ts -query -data <file> -sha256 -cert, with the nonce 4123456789abcdef
        let imprint = Sha256::of(b"checkpoint");
        let request = request(&imprint, 0x4123_4567_89ab_cdef);
        assert_eq!(request.len(), 69);
        assert_eq!(request[..5], [0x30, 67, 0x02, 0x01, 0x01]);
        assert_eq!(request[24..56], *imprint.as_bytes());
        assert_eq!(request[56..], [0x02, 8, 0x41, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 1, 1, 0xff]);
    }

    #[test]
    fn a_nonce_has_eight_bytes_and_no_sign() {
        for random in [[0; 8], [0xff; 8], [0x80, 0, 0, 0, 0, 0, 0, 1]] {
            assert!((0x40..0x80).contains(&nonce(random).to_be_bytes()[0]));
        }
    }

    #[test]
    fn a_stamp_of_this_checkpoint_and_this_request_is_taken() {
        let imprint = Sha256::of(b"checkpoint");
        let stamp = check(&response(0, &imprint, 1 << 62), &imprint, Some(1 << 62)).unwrap();
        assert_eq!(stamp.at.to_string(), "2026-03-02T08:41:07.120Z");
        assert_eq!(stamp.serial, "0abc");
        assert!(check(&response(1, &imprint, 5), &imprint, None).is_ok());
    }

    #[test]
    fn another_stamp_is_refused() {
        let (imprint, other) = (Sha256::of(b"checkpoint"), Sha256::of(b"other"));
        let good = response(0, &imprint, 7);
        assert_eq!(check(&good, &other, Some(7)), Err(StampFault::OtherImprint));
        assert_eq!(check(&good, &imprint, Some(8)), Err(StampFault::OtherNonce));
        assert_eq!(check(&response(2, &imprint, 7), &imprint, Some(7)), Err(StampFault::Refused(2)));
        for length in 0..good.len() {
            assert!(read(&good[..length]).is_err());
        }
        assert_eq!(read(&[good.clone(), vec![0]].concat()), Err(StampFault::Malformed));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_fail_otherwise(bytes in prop::collection::vec(any::<u8>(), 0..300), at in 0..250_usize) {
            let _ = read(&bytes);
            let mut bent = response(0, &Sha256::of(b"x"), 7);
            let at = at % bent.len();
            bent.splice(at..=at, bytes.into_iter().take(3));
            let _ = read(&bent);
        }
    }
}
