//! Bodies as they are handed out beside the entries: JSON Lines, one file for each bundle of 256 entries.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use crate::json;
use crate::log::entry::{Slot, SlotName, Slots};
use crate::log::tile::BundleId;

/// Where the bodies of a bundle's entries are: `bodies/x001/234`.
pub fn path(bundle: BundleId) -> String {
    bundle.to_string().replacen("tile/entries/", "bodies/", 1)
}

/// Of each entry that has any bodies its index, and of each body its salt (base64) and text.
pub fn to_lines(bodies: &[(u64, Slots)]) -> String {
    let opened = |slot: &Slot| Opened { salt: STANDARD.encode(slot.salt), body: slot.body.clone() };
    let mut text = String::new();
    for (index, slots) in bodies {
        let slots = slots.iter().map(|(name, slot)| (name, opened(slot))).collect();
        text.push_str(&json::canonical_of(&Line { index: *index, slots }));
        text.push('\n');
    }
    text
}

/// Reads such a file; `None` when it is not of this form.
pub fn from_lines(bytes: &[u8]) -> Option<Vec<(u64, Slots)>> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    lines.map(line).collect()
}

fn line(bytes: &[u8]) -> Option<(u64, Slots)> {
    let line: Line = serde_json::from_slice(bytes).ok()?;
    let mut slots = Slots::default();
    for (name, opened) in line.slots {
        let salt = STANDARD.decode(opened.salt).ok()?.try_into().ok()?;
        slots.set(name, Slot { salt, body: opened.body });
    }
    Some((line.index, slots))
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    index: u64,
    slots: BTreeMap<SlotName, Opened>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Opened {
    salt: String,
    body: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_read_back_as_they_were_written() {
        let mut slots = Slots::default();
        slots.set(SlotName::Operator, Slot { salt: [7; 32], body: r#"{"operator":"x"}"#.to_owned() });
        slots.set(SlotName::Subject, Slot { salt: [9; 32], body: "{}".to_owned() });
        let bodies = vec![(3, slots), (5, Slots::default())];
        let lines = to_lines(&bodies);
        assert_eq!(lines.lines().count(), 2);
        assert_eq!(from_lines(lines.as_bytes()), Some(bodies));
        assert_eq!(from_lines(b""), Some(Vec::new()));
        assert_eq!(from_lines(b"{}\n"), None);
        assert_eq!(path(BundleId { n: 1234, width: 12 }), "bodies/x001/234.p/12");
    }
}
