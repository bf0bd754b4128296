//! The clock of the daemon: where its time line goes on after a restart, and where it stands on the calendar.

use crate::domain::time::{ClockQuality, Timestamp, WallClock};
use crate::store::{Boot, LastRun};
use std::path::Path;
use std::time::Duration;

/// Written by systemd-timesyncd when NTP has set the clock.
const SYNCHRONISED: &str = "/run/systemd/timesync/synchronized";
/// A clock that stands before this (2024-01-01) has not been set since power came back: this program did not exist.
const SET_FROM_MS: i64 = 1_704_067_200_000;
/// A gap that two synchronised clocks say is longer than this is not believed.
const GAP_MAX_MS: i64 = 366 * 86_400_000;

/// What the machine's clocks say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clocks {
    /// The kernel's boot id.
    pub kernel: String,
    /// Time since the kernel started, suspended time included, ms.
    pub uptime_ms: i64,
    /// Unix time, ms.
    pub unix_ms: i64,
    /// How far that can be believed.
    pub quality: ClockQuality,
}

impl Clocks {
    /// Reads them.
    #[must_use]
    pub fn read() -> Self {
        let uptime = nix::time::clock_gettime(nix::time::ClockId::CLOCK_BOOTTIME);
        let uptime_ms = uptime.map_or(0, |t| crate::domain::time::millis(Duration::from(t)));
        #[expect(clippy::disallowed_methods, reason = "this is the clock in app")]
        let now = std::time::SystemTime::now();
        let unix = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let unix_ms = crate::domain::time::millis(unix);
        let quality = if unix_ms < SET_FROM_MS {
            ClockQuality::Unset
        } else if Path::new(SYNCHRONISED).exists() {
            ClockQuality::Synchronised
        } else {
            ClockQuality::Estimated
        };
        let kernel = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        Self { kernel: kernel.trim().to_owned(), uptime_ms, unix_ms, quality }
    }
}

/// How long the gateway was down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// So long, as far as the clocks say.
    pub down: Duration,
    /// Whether that is certain: by the kernel's uptime, or by two clocks that NTP had set.
    pub is_certain: bool,
}

/// Decides where the time line goes on, and for how long the gateway was down. Under one kernel the uptime says it
/// exactly. After a power cut only two clocks that were set say it; without them the time line goes on where it ended,
/// because a gap that nobody knows must not make anything expire.
#[must_use]
pub fn go_on(last: Option<&LastRun>, clocks: &Clocks) -> (Boot, Gap) {
    let mut is_certain = true;
    let at = last.map_or(Timestamp::from_millis(0), |last| {
        let same_kernel = last.kernel == clocks.kernel && !clocks.kernel.is_empty();
        let set = last.wall.quality > ClockQuality::Unset && clocks.quality > ClockQuality::Unset;
        let ended_ms = last.until.as_millis();
        let by_calendar_ms = clocks.unix_ms - last.wall.unix_ms(last.until);
        let now_ms = if same_kernel {
            clocks.uptime_ms + last.line_minus_uptime_ms
        } else if set && (0..GAP_MAX_MS).contains(&by_calendar_ms) {
            let by_ntp = |quality| quality == ClockQuality::Synchronised;
            is_certain = by_ntp(last.wall.quality) && by_ntp(clocks.quality);
            clocks.unix_ms - last.wall.offset_ms
        } else {
            is_certain = false;
            ended_ms
        };
        Timestamp::from_millis(now_ms.max(ended_ms + 1))
    });
    let down = last.map_or(Duration::ZERO, |last| at.since(last.lived));
    let wall = match (clocks.quality, last) {
        // A clock that is not set knows less than the record of the last run.
        (ClockQuality::Unset, Some(last)) if last.wall.quality > ClockQuality::Unset => {
            WallClock { quality: ClockQuality::Estimated, ..last.wall }
        }
        (quality, _) => WallClock { offset_ms: clocks.unix_ms - at.as_millis(), quality },
    };
    let boot = Boot { kernel: clocks.kernel.clone(), uptime_ms: clocks.uptime_ms, at, wall };
    (boot, Gap { down, is_certain })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600_000;
    const NOW: i64 = 1_800_000_000_000;

    fn clocks(kernel: &str, uptime_ms: i64, unix_ms: i64, quality: ClockQuality) -> Clocks {
        Clocks { kernel: kernel.into(), uptime_ms, unix_ms, quality }
    }

    fn last(quality: ClockQuality) -> LastRun {
        LastRun {
            kernel: "k1".into(),
            line_minus_uptime_ms: -HOUR,
            until: Timestamp::from_millis(10 * HOUR),
            lived: Timestamp::from_millis(10 * HOUR),
            wall: WallClock { offset_ms: NOW - 10 * HOUR, quality },
        }
    }

    use ClockQuality::{Estimated, Synchronised, Unset};

    #[test]
    fn under_one_kernel_the_uptime_says_it_whatever_the_calendar_says() {
        for unix_ms in [0, NOW - 900 * 24 * HOUR, NOW + 900 * 24 * HOUR] {
            let (boot, gap) =
                go_on(Some(&last(Synchronised)), &clocks("k1", 13 * HOUR, unix_ms, Estimated));
            assert_eq!(boot.at.as_millis(), 12 * HOUR);
            assert_eq!(gap, Gap { down: Duration::from_hours(2), is_certain: true });
        }
    }

    #[test]
    fn after_a_restore_the_engine_was_down_since_the_backup() {
        let last = LastRun { lived: Timestamp::from_millis(4 * HOUR), ..last(Synchronised) };
        let (boot, gap) = go_on(Some(&last), &clocks("k1", 13 * HOUR, 0, Unset));
        assert_eq!(boot.at.as_millis(), 12 * HOUR);
        assert_eq!(gap, Gap { down: Duration::from_hours(8), is_certain: true });
    }

    #[test]
    fn after_a_power_cut_two_clocks_that_are_set_say_it() {
        let (boot, gap) =
            go_on(Some(&last(Synchronised)), &clocks("k2", 60_000, NOW + 5 * HOUR, Synchronised));
        let five_hours = Gap { down: Duration::from_hours(5), is_certain: true };
        assert_eq!((boot.at.as_millis(), gap), (15 * HOUR, five_hours));
        // A clock that nobody set since may have stood still: it says the same, and is not certain.
        let (_, gap) =
            go_on(Some(&last(Synchronised)), &clocks("k2", 60_000, NOW + 5 * HOUR, Estimated));
        assert_eq!(gap, Gap { is_certain: false, ..five_hours });
        assert_eq!(boot.wall.unix_ms(boot.at), NOW + 5 * HOUR);
    }

    #[test]
    fn a_clock_in_1970_or_years_away_moves_nothing() {
        for (unix_ms, quality) in [
            (5_000, Unset),
            (NOW - 900 * 24 * HOUR, Estimated),
            (NOW + 900 * 24 * HOUR, Synchronised),
        ] {
            let (boot, gap) =
                go_on(Some(&last(Synchronised)), &clocks("k2", 5_000, unix_ms, quality));
            let unknown = Gap { down: Duration::from_millis(1), is_certain: false };
            assert_eq!((boot.at.as_millis(), gap), (10 * HOUR + 1, unknown));
        }
    }

    #[test]
    fn without_a_clock_the_record_of_the_last_run_is_an_estimate() {
        let (boot, _) = go_on(Some(&last(Synchronised)), &clocks("k2", 5_000, 5_000, Unset));
        assert_eq!(boot.wall.quality, Estimated);
        assert_eq!(boot.wall.unix_ms(boot.at), NOW + 1);
        let (boot, gap) = go_on(None, &clocks("k2", 5_000, 5_000, Unset));
        assert_eq!((boot.at.as_millis(), boot.wall.quality), (0, Unset));
        assert_eq!(gap, Gap { down: Duration::ZERO, is_certain: true });
    }
}
