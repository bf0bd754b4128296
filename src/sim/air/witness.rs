//! An independent witness of airtime: it measures what each transmitter really sent, whatever its own books say.

use super::ChipId;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Transmissions of one transmitter under one limit that the witness remembers; beyond that the oldest goes, and is
/// counted.
pub const REMEMBERED_MAX: usize = 65_536;

/// The span that limits speak of: ETSI EN 300 220-1 §5.4.
const HOUR: Duration = Duration::from_hours(1);

/// What the law allows in a band.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// Lowest frequency of the band, Hz.
    pub from_hz: f64,
    /// Highest, Hz.
    pub to_hz: f64,
    /// Airtime allowed in any hour.
    pub an_hour: Duration,
    /// Longest single transmission, where there is such a limit.
    pub dwell_max: Option<Duration>,
    /// Highest output, dBm.
    pub power_max_dbm: f64,
}

/// What the witness knows about one transmitter under one limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Testimony {
    /// Transmissions.
    pub frames: u64,
    /// All airtime.
    pub airtime: Duration,
    /// Airtime of the fullest hour so far.
    pub fullest_hour: Duration,
    /// Longest transmission.
    pub longest: Duration,
    /// Transmissions at whose end the hour before held more than is allowed.
    pub over_hour: u64,
    /// Transmissions longer than is allowed.
    pub over_dwell: u64,
    /// Transmissions stronger than is allowed.
    pub over_power: u64,
    /// Transmissions that had to be forgotten before their hour was over.
    pub forgotten: u64,
}

impl Testimony {
    /// Returns whether no limit was ever exceeded, as far as everything was remembered.
    #[must_use]
    pub fn is_lawful(&self) -> bool {
        self.over_hour == 0 && self.over_dwell == 0 && self.over_power == 0 && self.forgotten == 0
    }
}

#[derive(Debug, Default)]
struct Meter {
    told: Testimony,
    /// Beginning and length of what the last hour holds.
    recent: VecDeque<(Duration, Duration)>,
    held: Duration,
}

/// Measures every transmitter under every limit.
#[derive(Debug, Default)]
pub struct Witness {
    limits: Vec<Limit>,
    meters: BTreeMap<(ChipId, usize), Meter>,
}

impl Witness {
    /// Adds a limit, and returns its number.
    pub(super) fn watch(&mut self, limit: Limit) -> usize {
        self.limits.push(limit);
        self.limits.len() - 1
    }

    /// Notes a transmission that has ended.
    pub(super) fn note(&mut self, by: ChipId, hz: f64, dbm: f64, began: Duration, long: Duration) {
        for (index, limit) in self.limits.iter().enumerate() {
            if hz >= limit.from_hz && hz <= limit.to_hz {
                self.meters.entry((by, index)).or_default().note(limit, dbm, began, long);
            }
        }
    }

    /// Returns what is known about a transmitter under a limit.
    #[must_use]
    pub fn testimony(&self, by: ChipId, limit: usize) -> Testimony {
        self.meters.get(&(by, limit)).map(|meter| meter.told).unwrap_or_default()
    }
}

impl Meter {
    fn note(&mut self, limit: &Limit, dbm: f64, began: Duration, long: Duration) {
        let end = began + long;
        let from = end.saturating_sub(HOUR);
        self.recent.push_back((began, long));
        self.held += long;
        // What ended before the hour began no longer counts.
        while let Some(&(at, length)) = self.recent.front()
            && (at + length <= from || self.recent.len() > REMEMBERED_MAX)
        {
            if at + length > from {
                self.told.forgotten += 1;
            }
            self.held = self.held.saturating_sub(length);
            self.recent.pop_front();
        }
        // The oldest may reach into the hour with its end alone.
        let outside =
            self.recent.front().map_or(Duration::ZERO, |&(at, _)| from.saturating_sub(at));
        let hour = self.held.saturating_sub(outside);
        self.told.frames += 1;
        self.told.airtime += long;
        self.told.fullest_hour = self.told.fullest_hour.max(hour);
        self.told.longest = self.told.longest.max(long);
        self.told.over_hour += u64::from(hour > limit.an_hour);
        self.told.over_dwell += u64::from(limit.dwell_max.is_some_and(|most| long > most));
        self.told.over_power += u64::from(dbm > limit.power_max_dbm + 1e-9);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        from_hz: 868.0e6,
        to_hz: 868.6e6,
        an_hour: Duration::from_secs(36),
        dwell_max: None,
        power_max_dbm: 14.0,
    };

    fn told(sent: &[(u64, u64)]) -> Testimony {
        let mut witness = Witness::default();
        let limit = witness.watch(LIMIT);
        for &(at, long) in sent {
            let (at, long) = (Duration::from_secs(at), Duration::from_secs(long));
            witness.note(ChipId(0), 868.1e6, 14.0, at, long);
        }
        witness.testimony(ChipId(0), limit)
    }

    #[test]
    fn an_hour_that_straddles_two_clock_hours_counts() {
        let told = told(&[(3500, 30), (3700, 7)]);
        assert_eq!((told.over_hour, told.fullest_hour), (1, Duration::from_secs(37)));
        assert!(!told.is_lawful());
    }

    #[test]
    fn what_is_an_hour_old_counts_no_more() {
        let told = told(&[(0, 30), (3631, 7)]);
        assert_eq!((told.over_hour, told.fullest_hour), (0, Duration::from_secs(30)));
        assert!(told.is_lawful());
    }

    #[test]
    fn the_part_of_a_frame_that_lies_before_the_hour_does_not_count() {
        // The hour that ends at 3610 begins at 10: of the first frame 20 seconds lie in it.
        let told = told(&[(0, 30), (3600, 10)]);
        assert_eq!(told.fullest_hour, Duration::from_secs(30));
    }

    #[test]
    fn another_band_is_another_matter() {
        let mut witness = Witness::default();
        let limit = witness.watch(LIMIT);
        witness.note(ChipId(0), 869.5e6, 27.0, Duration::ZERO, Duration::from_secs(40));
        assert_eq!(witness.testimony(ChipId(0), limit), Testimony::default());
    }
}
