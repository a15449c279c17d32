//! Chance that can be repeated: the same seed gives the same people on every machine and in every process.

/// SplitMix64 (Steele, Lea and Flood, 2014): enough for a demonstration, of no use for keys.
#[derive(Clone, Debug)]
pub struct Chance(u64);

impl Chance {
    /// A stream of its own for each subject: what one person draws does not move what the next one draws.
    pub const fn of(seed: u64, subject: u64) -> Self {
        Self(seed ^ subject.wrapping_mul(0xd1b5_4a32_d192_ed03))
    }

    pub const fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`; zero when `end` is.
    pub fn below(&mut self, end: u32) -> u32 {
        // The remainder of a 64-bit number is below `end`, so it fits. Its bias is below 2^-32.
        self.draw().checked_rem(u64::from(end)).and_then(|rest| u32::try_from(rest).ok()).unwrap_or_default()
    }

    /// A number from `first` to `last`, both included.
    pub fn between(&mut self, first: u32, last: u32) -> u32 {
        first.saturating_add(self.below(last.saturating_sub(first).saturating_add(1)))
    }

    /// True in so many of a hundred.
    pub fn percent(&mut self, of_hundred: u32) -> bool {
        self.below(100) < of_hundred
    }

    /// One of several; the default when there is none.
    pub fn pick<T: Copy + Default>(&mut self, from: &[T]) -> T {
        let index = usize::try_from(self.below(u32::try_from(from.len()).unwrap_or_default()));
        index.ok().and_then(|index| from.get(index)).copied().unwrap_or_default()
    }

    /// One of several, each with its weight.
    pub fn weigh<T: Copy + Default>(&mut self, from: &[(u32, T)]) -> T {
        let mut left = self.below(from.iter().map(|(weight, _)| weight).sum());
        for (weight, value) in from {
            if left < *weight {
                return *value;
            }
            left -= weight;
        }
        T::default()
    }
}
