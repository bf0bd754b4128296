//! Time as a value: the gateway's own monotonic time line, and wall time with its quality.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Milliseconds on the gateway's own time line: it never jumps, and goes on across restarts.
///
/// Rules, windows, retries and expiry use this alone. It has no relation to the calendar; see [`WallClock`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Returns the moment `ms` milliseconds after the start of the time line.
    #[must_use]
    pub const fn from_millis(ms: i64) -> Self {
        Self(ms)
    }

    /// Returns the milliseconds since the start of the time line.
    #[must_use]
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// Returns how long after `earlier` this is; zero when it is not after.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Returns `duration` in whole milliseconds, at most `i64::MAX`.
#[must_use]
pub fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

impl Add<Duration> for Timestamp {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(millis(duration)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Self;

    fn sub(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(millis(duration)))
    }
}

/// How far wall time can be believed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ClockQuality {
    /// Nothing has set the clock since power came back: it may stand in 1970.
    #[default]
    Unset,
    /// Carried over from before a restart, or set by an operator or the mobile network.
    Estimated,
    /// Disciplined by NTP or GNSS.
    Synchronised,
}

impl ClockQuality {
    /// Returns the word used in the database, in JSON and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Estimated => "estimated",
            Self::Synchronised => "synchronised",
        }
    }

    /// Returns the quality that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Unset, Self::Estimated, Self::Synchronised].into_iter().find(|q| q.as_str() == word)
    }
}

/// Where the time line stands on the calendar, as far as is known. For people and records, never for decisions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WallClock {
    /// Unix milliseconds (UTC) minus time-line milliseconds.
    pub offset_ms: i64,
    /// How far that offset can be believed.
    pub quality: ClockQuality,
}

impl WallClock {
    /// Returns the Unix time in milliseconds at `at`.
    #[must_use]
    pub const fn unix_ms(&self, at: Timestamp) -> i64 {
        at.as_millis().saturating_add(self.offset_ms)
    }
}
