//! Which counters were seen, and which counter a frame's low bits mean.

use super::planted::{self, Fault};

/// Counters that are remembered one by one, of the highest and those below it.
pub const WINDOW: u32 = 64;

/// Why a counter is not new.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seen {
    /// It was seen.
    Replayed,
    /// It lies below the window: whether it was seen is not remembered.
    TooOld,
}

/// The highest counter and the `WIDTH` (at most 64) up to it, each seen or not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Window<const WIDTH: u32> {
    /// None before the first.
    pub(super) highest: Option<u32>,
    /// Bit n: whether `highest - n` was seen.
    pub(super) seen: u64,
}

impl<const WIDTH: u32> Window<WIDTH> {
    /// Returns a window that takes only what is above `highest`.
    pub(super) const fn closed_at(highest: u32) -> Self {
        Self { highest: Some(highest), seen: u64::MAX >> (64 - WIDTH) }
    }

    /// Returns the window after this counter.
    pub(super) fn admit(self, counter: u32) -> Result<Self, Seen> {
        let Some(highest) = self.highest else {
            return Ok(Self { highest: Some(counter), seen: 1 });
        };
        let Some(back) = highest.checked_sub(counter) else {
            let ahead = counter - highest;
            let ahead = if planted::is(Fault::WindowOffByOne) { ahead - 1 } else { ahead };
            let moved = if ahead < WIDTH { self.seen << ahead } else { 0 };
            let seen = (moved | 1) & (u64::MAX >> (64 - WIDTH));
            return Ok(Self { highest: Some(counter), seen });
        };
        if back >= WIDTH {
            return Err(Seen::TooOld);
        }
        if self.seen & (1 << back) != 0 {
            return Err(Seen::Replayed);
        }
        Ok(Self { seen: self.seen | (1 << back), ..self })
    }

    /// Returns the counters that end with these `bits` low bits: the lowest that is in the window or above it, then each
    /// 2^bits further, then those below the window, the nearest first.
    pub(super) fn candidates(self, low: u32, bits: u32) -> Candidates {
        let floor = self.highest.map_or(0, |highest| highest.saturating_sub(WIDTH - 1));
        let turn = 1_u64 << bits;
        let floor = u64::from(floor);
        let first = floor + (u64::from(low).wrapping_sub(floor) & (turn - 1));
        Candidates { first, turn }
    }
}

/// Counters that a frame's low bits may mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Candidates {
    first: u64,
    turn: u64,
}

impl Candidates {
    /// Returns the one that lies so many turns above the nearest.
    pub(super) fn ahead(self, turns: u64) -> Option<u32> {
        u32::try_from(self.first + turns * self.turn).ok()
    }

    /// Returns the one just below the window.
    pub(super) fn behind(self) -> Option<u32> {
        self.first.checked_sub(self.turn).and_then(|counter| u32::try_from(counter).ok())
    }
}
