//! How long the writer waits for those who are about to come.

use std::time::Duration;

/// A commit costs the CPU as much as some twenty entries. For each exchange that is on its way to the log the next commit
/// waits so long, which is what the machine needs to bring it there.
const EACH: Duration = Duration::from_micros(150);

/// But never longer than this, counted from the end of the last commit: an exchange waits for two.
const MOST: Duration = Duration::from_millis(10);

/// With fewer exchanges under way than these a batch would not grow by waiting: then nobody waits.
const COMPANY: usize = 20;

/// How often those who have come are counted.
pub const COUNTED_EVERY: Duration = Duration::from_millis(1);

/// Whether so many of those under way have come that waiting for the rest would leave the machine idle: half.
pub fn is_company(come: usize, under_way: usize) -> bool {
    come.saturating_mul(2) >= under_way
}

/// How long after a commit the next one begins at the earliest, while so many others are under way.
pub fn linger(under_way: usize) -> Duration {
    if under_way < COMPANY {
        return Duration::ZERO;
    }
    EACH.saturating_mul(u32::try_from(under_way).unwrap_or(u32::MAX)).min(MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_few_and_nobody_waits_long_for_many() {
        assert_eq!([0, 1, 19].map(linger), [Duration::ZERO; 3]);
        assert!(is_company(32, 64) && !is_company(31, 64));
        assert_eq!(linger(20), Duration::from_millis(3));
        assert_eq!([67, 128, usize::MAX].map(linger), [MOST; 3]);
    }
}
