//! The stored tiles held against the leaves: proofs for other people are made from tiles, so they must be right too.

use std::ops::Range;

use varco_core::hash::Sha256;
use varco_core::log::tile::{LEVEL_MAX, TileId, WIDTH, perfect_root};

use super::Failure;
use super::source::Source;
use super::trees::Tree;

/// Takes the leaf hashes in order and compares each tile as soon as it is complete. Holds at most 256 hashes a level.
pub struct TileCheck<'a> {
    source: &'a Source,
    tree: &'a Tree,
    size: u64,
    /// For each level, how many tiles were compared and the hashes of the one that grows.
    levels: Vec<(u64, Vec<Sha256>)>,
    /// The highest level that can be made from what is checked.
    top: u8,
    wrong: Vec<TileId>,
}

impl<'a> TileCheck<'a> {
    /// For the entries `part` of a log of this size: all of them, or such as fill whole tiles of the second level.
    pub fn of(source: &'a Source, tree: &'a Tree, size: u64, part: &Range<u64>) -> Self {
        let begun = |level: u8| part.start.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
        let levels = (0..=LEVEL_MAX).map(|level| (begun(level), Vec::new())).collect();
        let top = if *part == (0..size) { LEVEL_MAX } else { 1 };
        Self { source, tree, size, levels, top, wrong: Vec::new() }
    }

    pub async fn leaf(&mut self, hash: Sha256) -> Result<(), Failure> {
        let mut carry = Some(hash);
        for level in 0..=self.top {
            let Some(hash) = carry.take() else { break };
            let Some((_, hashes)) = self.levels.get_mut(usize::from(level)) else { break };
            hashes.push(hash);
            if u64::try_from(hashes.len()) == Ok(WIDTH) {
                carry = self.compare(level).await?;
            }
        }
        Ok(())
    }

    /// The tiles that are not what the leaves make them, after the incomplete ones at the right edge were compared too.
    pub async fn finish(mut self) -> Result<Vec<TileId>, Failure> {
        for level in 0..=self.top {
            self.compare(level).await?;
        }
        Ok(self.wrong)
    }

    /// Compares the tile that grows at this level and begins the next one. Gives back the root of a full one.
    async fn compare(&mut self, level: u8) -> Result<Option<Sha256>, Failure> {
        let Some((n, hashes)) = self.levels.get_mut(usize::from(level)) else { return Ok(None) };
        let (here, hashes) = (*n, std::mem::take(hashes));
        *n += 1;
        let Ok(width) = u16::try_from(hashes.len()) else { return Ok(None) };
        if width == 0 {
            return Ok(None);
        }
        let stored = self.source.tile(self.tree, (level, here), self.size).await?;
        if stored.as_ref() != Some(&hashes) {
            self.wrong.push(TileId { level, n: here, width });
        }
        Ok(perfect_root(&hashes).filter(|_| u64::from(width) == WIDTH))
    }
}
