//! Event time: where a reading stands on the time line, by what its node says and when it arrived.
//!
//! A node's own clock may be wrong by years, and so may ours. So wall time is never compared with wall time: a
//! node's first stamp is laid on the moment of its arrival, and from then on only differences count. That makes windows
//! exact (they hold the node's own intervals) and keeps a wrong calendar, here or there, from changing a decision.

use crate::domain::reading::Stamp;
use crate::domain::snapshot::{Reader, SnapshotError, Writer};
use crate::domain::time::{Timestamp, millis};
use std::time::Duration;

/// Stamps that go back this often in a row, at the pace of their arrival, mean that the node's clock was set.
const STEP_CONFIRMATIONS: u32 = 3;
/// How far stamps and arrivals may differ for that, ms.
const STEP_TOLERANCE_MS: i64 = 5_000;
/// How much of the time that passes a node's clock may be believed to drift: an RC oscillator is good for 1 %.
const DRIFT_SHARE: i64 = 100;

/// Where a reading stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Placed {
    /// Event time.
    pub at: Timestamp,
    /// How much longer than usual it was on its way.
    pub late_by: Duration,
    /// The node's clock was found to have been set anew.
    pub stepped: bool,
}

/// What is known of one node's clock.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NodeClock {
    /// Time line minus the node's clock, ms; from its first stamp.
    offset_ms: Option<i64>,
    /// Latest event time so far.
    newest: Option<Timestamp>,
    /// Arrival of the frame that held it.
    newest_arrival: Timestamp,
    /// Shortest time on the way, allowing for drift, ms.
    usual_lag_ms: i64,
    /// Stamps that went back.
    back: Option<Back>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Back {
    count: u32,
    first_stamp_ms: i64,
    first_arrival: Timestamp,
}

impl NodeClock {
    /// Lays a reading on the time line.
    pub(crate) fn place(
        &mut self,
        stamp: Option<Stamp>,
        arrival: Timestamp,
        interval: Duration,
    ) -> Placed {
        match stamp {
            Some(Stamp::Unix(stamp_ms)) => self.place_stamped(stamp_ms, arrival, interval),
            Some(Stamp::Age(age_ms)) => {
                let age = Duration::from_millis(u64::try_from(age_ms).unwrap_or(0));
                self.advance(arrival - age, arrival);
                Placed { at: arrival - age, late_by: age, stepped: false }
            }
            None => {
                let at = self.newest.map_or(arrival, |newest| newest.max(arrival));
                self.advance(at, arrival);
                Placed { at, late_by: Duration::ZERO, stepped: false }
            }
        }
    }

    /// Returns whether a reading was ever placed.
    pub(crate) const fn has_begun(&self) -> bool {
        self.newest.is_some()
    }

    /// Returns the latest event time so far; the beginning of the time line before the first reading.
    pub(crate) fn newest(&self) -> Timestamp {
        self.newest.unwrap_or_default()
    }

    /// Returns where a stamp would stand, without taking it in; `None` before the first one.
    pub(crate) fn position(&self, stamp_ms: i64) -> Option<Timestamp> {
        self.offset_ms.map(|offset_ms| Timestamp::from_millis(stamp_ms.saturating_add(offset_ms)))
    }

    /// Returns the event time that it is for this node at `now`, when nothing comes.
    pub(crate) fn at(&self, now: Timestamp) -> Timestamp {
        self.newest.map_or(now, |newest| newest + now.since(self.newest_arrival))
    }

    fn place_stamped(&mut self, stamp_ms: i64, arrival: Timestamp, interval: Duration) -> Placed {
        let offset_ms = *self.offset_ms.get_or_insert(arrival.as_millis().saturating_sub(stamp_ms));
        let mut at = Timestamp::from_millis(stamp_ms.saturating_add(offset_ms));
        let mut stepped = false;
        match self.newest {
            Some(newest) if at < newest => {
                stepped = self.went_back(stamp_ms, arrival, interval);
                if stepped {
                    at = newest + arrival.since(self.newest_arrival).max(Duration::from_millis(1));
                    self.offset_ms = Some(at.as_millis().saturating_sub(stamp_ms));
                    self.usual_lag_ms = arrival.as_millis().saturating_sub(at.as_millis());
                    self.advance(at, arrival);
                }
            }
            Some(_) | None => {
                self.back = None;
                self.advance(at, arrival);
            }
        }
        let lag_ms = arrival.as_millis().saturating_sub(at.as_millis());
        self.usual_lag_ms = self.usual_lag_ms.min(lag_ms);
        let late_ms = u64::try_from(lag_ms.saturating_sub(self.usual_lag_ms)).unwrap_or(0);
        Placed { at, late_by: Duration::from_millis(late_ms), stepped }
    }

    /// Counts a stamp that lies before the newest. A backlog goes back too, but arrives faster than it was measured.
    fn went_back(&mut self, stamp_ms: i64, arrival: Timestamp, interval: Duration) -> bool {
        let first = Back { count: 0, first_stamp_ms: stamp_ms, first_arrival: arrival };
        let mut back = self.back.unwrap_or(first);
        let passed = millis(arrival.since(back.first_arrival));
        let measured = stamp_ms.saturating_sub(back.first_stamp_ms);
        if measured.saturating_sub(passed).abs() > STEP_TOLERANCE_MS.max(passed / 10) {
            back = first;
        }
        back.count += 1;
        let confirmed = back.count >= STEP_CONFIRMATIONS
            && arrival.since(back.first_arrival) >= interval.max(Duration::from_secs(1));
        self.back = if confirmed { None } else { Some(back) };
        confirmed
    }

    fn advance(&mut self, at: Timestamp, arrival: Timestamp) {
        if self.newest.is_none_or(|newest| at >= newest) {
            let passed = millis(arrival.since(self.newest_arrival));
            if self.newest.is_some() {
                self.usual_lag_ms = self.usual_lag_ms.saturating_add(passed / DRIFT_SHARE);
            }
            self.newest = Some(at);
            self.newest_arrival = arrival;
        }
    }

    pub(crate) fn save(&self, to: &mut Writer) {
        to.option(self.offset_ms, Writer::signed);
        to.option(self.newest, |to, at| to.signed(at.as_millis()));
        to.signed(self.newest_arrival.as_millis());
        to.signed(self.usual_lag_ms);
        to.option(self.back, |to, back| {
            to.unsigned(u64::from(back.count));
            to.signed(back.first_stamp_ms);
            to.signed(back.first_arrival.as_millis());
        });
    }

    pub(crate) fn restore(from: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        Ok(Self {
            offset_ms: from.option(Reader::signed)?,
            newest: from.option(Reader::signed)?.map(Timestamp::from_millis),
            newest_arrival: Timestamp::from_millis(from.signed()?),
            usual_lag_ms: from.signed()?,
            back: from.option(|from| {
                Ok(Back {
                    count: u32::try_from(from.unsigned()?).map_err(|_| SnapshotError::Damaged)?,
                    first_stamp_ms: from.signed()?,
                    first_arrival: Timestamp::from_millis(from.signed()?),
                })
            })?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;
    const INTERVAL: Duration = Duration::from_mins(5);

    fn at(minutes: i64) -> Timestamp {
        Timestamp::from_millis(minutes * MINUTE)
    }

    #[expect(clippy::unnecessary_wraps, reason = "it is what `place` takes")]
    fn unix(minutes: i64) -> Option<Stamp> {
        Some(Stamp::Unix(1_640_995_200_000 + minutes * MINUTE))
    }

    #[test]
    fn history_sent_quickly_keeps_its_own_intervals() {
        let mut clock = NodeClock::default();
        let placed: Vec<_> = (0..5)
            .map(|i| clock.place(unix(i * 30), Timestamp::from_millis(i), INTERVAL))
            .collect();
        for pair in placed.windows(2) {
            assert_eq!(pair[1].at.since(pair[0].at), Duration::from_mins(30));
            assert_eq!(pair[1].late_by, Duration::ZERO);
        }
    }

    #[test]
    fn a_frame_held_back_on_the_way_is_late_by_as_much() {
        let mut clock = NodeClock::default();
        for i in 0..4 {
            assert_eq!(clock.place(unix(i * 5), at(i * 5), INTERVAL).late_by, Duration::ZERO);
        }
        let held = clock.place(unix(20), at(80), INTERVAL);
        assert_eq!(held.at, at(20));
        assert!(held.late_by > Duration::from_mins(58), "{held:?}");
    }

    #[test]
    fn a_backlog_is_no_clock_step_but_a_clock_set_back_is() {
        let mut clock = NodeClock::default();
        for i in 0..4 {
            clock.place(unix(i * 5), at(i * 5), INTERVAL);
        }
        for i in 0..3 {
            assert!(!clock.place(unix(i), at(16), INTERVAL).stepped);
        }
        let year = 365 * 24 * 60;
        let stepped: Vec<_> = (0..4)
            .map(|i| clock.place(unix(20 + i * 5 - year), at(20 + i * 5), INTERVAL).stepped)
            .collect();
        assert_eq!(stepped, [false, false, true, false]);
        assert_eq!(clock.newest, Some(at(35)));
    }

    #[test]
    fn drift_of_one_percent_never_makes_a_node_late() {
        let mut clock = NodeClock::default();
        for i in 0..20_000 {
            // The node's clock runs slow: 297 s for every 300 s.
            let stamp = Some(Stamp::Unix(i * 297_000));
            let placed = clock.place(stamp, Timestamp::from_millis(i * 300_000), INTERVAL);
            assert!(placed.late_by <= Duration::from_secs(3), "frame {i}: {placed:?}");
        }
    }
}
