//! One value of the file, read as what it should be. Durations and sizes are written as people write them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use toml::de::DeValue;
use varco_core::hash::Sha256;
use varco_core::wire::Algorithm;

/// A size in bytes, written `512KiB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub usize);

/// An `https://` address without query, fragment or a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpsUrl(pub String);

/// An `http://` address of this machine, without query, fragment or a slash at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoopbackUrl(pub String);

/// How a value is read; the error says what is expected.
pub trait FromValue: Sized {
    fn read(value: &DeValue<'_>, folder: &Path) -> Result<Self, String>;
}

fn text<'a>(value: &'a DeValue<'_>, expected: &str) -> Result<&'a str, String> {
    value.as_str().ok_or_else(|| format!("expected {expected}"))
}

impl FromValue for String {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let text = text(value, "a text")?;
        if text.trim().is_empty() { Err("expected a text that is not empty".into()) } else { Ok(text.into()) }
    }
}

impl FromValue for PathBuf {
    fn read(value: &DeValue<'_>, folder: &Path) -> Result<Self, String> {
        let path = String::read(value, folder).map_err(|_| "expected a path")?;
        Ok(folder.join(path))
    }
}

impl FromValue for SocketAddr {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let expected = "an address and port such as `0.0.0.0:8443`";
        text(value, expected)?.parse().map_err(|_| format!("expected {expected}"))
    }
}

impl FromValue for Sha256 {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        text(value, "a SHA-256")?.parse().map_err(|fault: varco_core::hash::Sha256Fault| fault.to_string())
    }
}

impl<T: FromValue> FromValue for Vec<T> {
    fn read(value: &DeValue<'_>, folder: &Path) -> Result<Self, String> {
        let items = value.as_array().ok_or("expected a list such as `[\"a\", \"b\"]`")?;
        items.iter().map(|item| T::read(item.get_ref(), folder)).collect()
    }
}

impl FromValue for usize {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let number = value.as_integer().filter(|number| number.radix() == 10);
        let number = number.and_then(|number| number.as_str().parse().ok());
        number.filter(|number| *number > 0).ok_or_else(|| "expected a whole number above 0".into())
    }
}

impl FromValue for u32 {
    fn read(value: &DeValue<'_>, folder: &Path) -> Result<Self, String> {
        Self::try_from(usize::read(value, folder)?).map_err(|_| format!("expected at most {}", Self::MAX))
    }
}

impl FromValue for Duration {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let expected = "a duration such as `500ms`, `5s`, `10m`, `2h` or `1d`";
        let text = text(value, expected)?;
        let (number, unit) = number_and_unit(text).ok_or_else(|| format!("expected {expected}"))?;
        let millis = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60 * 1000,
            "h" => 60 * 60 * 1000,
            "d" => 24 * 60 * 60 * 1000,
            _ => return Err(format!("expected {expected}")),
        };
        match number.checked_mul(millis) {
            Some(total) if total > 0 => Ok(Self::from_millis(total)),
            Some(_) | None => Err(format!("expected {expected}, above zero")),
        }
    }
}

impl FromValue for Size {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let expected = "a size such as `512B`, `32KiB` or `1MiB`";
        let text = text(value, expected)?;
        let (number, unit) = number_and_unit(text).ok_or_else(|| format!("expected {expected}"))?;
        let bytes = match unit {
            "B" => 1,
            "KiB" => 1024,
            "MiB" => 1024 * 1024,
            "GiB" => 1024 * 1024 * 1024,
            _ => return Err(format!("expected {expected}")),
        };
        let total = number.checked_mul(bytes).and_then(|total| usize::try_from(total).ok());
        total.filter(|total| *total > 0).map(Self).ok_or_else(|| format!("expected {expected}, above zero"))
    }
}

fn number_and_unit(text: &str) -> Option<(u64, &str)> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(end)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

impl FromValue for HttpsUrl {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let expected =
            "an address such as `https://sistema.comune.example/varco`, with no query and no final slash";
        let text = text(value, expected)?;
        let uri: Result<axum::http::Uri, _> = text.parse();
        let fits = uri.is_ok_and(|uri| {
            let host = uri.authority().is_some_and(|authority| !authority.as_str().contains('@'));
            uri.scheme_str() == Some("https") && host && uri.query().is_none()
        });
        if fits && !text.ends_with('/') && !text.contains('#') {
            Ok(Self(text.into()))
        } else {
            Err(format!("expected {expected}"))
        }
    }
}

impl FromValue for LoopbackUrl {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let expected = "an address of this machine such as `http://127.0.0.1:8090/varco`, with no query and no \
                        final slash: it is in the clear";
        let text = text(value, expected)?;
        let uri: Result<axum::http::Uri, _> = text.parse();
        let here = |host: &str| {
            let host = host.trim_matches(['[', ']']);
            host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        };
        let fits = uri.is_ok_and(|uri| {
            let plain = uri.scheme_str() == Some("http") && uri.query().is_none();
            plain && uri.host().is_some_and(here) && !text.contains('@')
        });
        if fits && !text.ends_with('/') && !text.contains('#') {
            Ok(Self(text.into()))
        } else {
            Err(format!("expected {expected}"))
        }
    }
}

impl FromValue for varco_core::wire::LevelOfAssurance {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let expected = "`low`, `substantial` or `high`";
        text(value, expected)?.parse().map_err(|_| format!("expected {expected}"))
    }
}

impl FromValue for varco_core::id::AgencyId {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let expected = "an agency's identifier such as `cpi-lucca`";
        text(value, expected)?.parse().map_err(|fault: varco_core::id::IdFault| fault.to_string())
    }
}

impl FromValue for varco_core::id::OperatorId {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let expected = "an operator's code such as `op-cpi-117`";
        text(value, expected)?.parse().map_err(|fault: varco_core::id::IdFault| fault.to_string())
    }
}

/// A value out of a short list of words.
pub fn word<T: Copy>(value: &DeValue<'_>, words: &[(&str, T)]) -> Result<T, String> {
    let found = value.as_str().and_then(|text| words.iter().find(|(word, _)| *word == text));
    found.map(|(_, meant)| *meant).ok_or_else(|| {
        let list: Vec<String> = words.iter().map(|(word, _)| format!("`{word}`")).collect();
        format!("expected one of {}", list.join(", "))
    })
}

impl FromValue for Algorithm {
    fn read(value: &DeValue<'_>, _: &Path) -> Result<Self, String> {
        let words: Vec<(&str, Self)> =
            Self::ALL.iter().map(|algorithm| (algorithm.text(), *algorithm)).collect();
        word(value, &words)
    }
}
