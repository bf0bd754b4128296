//! What is to be sent, and when: answers in the node's windows, everything else as soon as may be, danger first.

use crate::domain::radio::{Downlink, Hearing, Modulation, Urgency, When, Window};
use crate::domain::time::Timestamp;
use std::time::Duration;

/// Frames that wait to be sent.
pub(super) const WAITING_MAX: usize = 64;
/// An answer that begins so long after its moment is not heard: a window opens 5 ms early, and closes when 16 symbols
/// brought no preamble (`hardware/field-node/src/app/mod.rs`); five symbols of it must have come by then.
const LATE_SYMBOLS_MAX: u32 = 11;
const WINDOW_EARLY: Duration = Duration::from_millis(5);
/// A frame that finds no moment for so long is let go: whoever ordered it orders it again.
const WAITS_MAX: Duration = Duration::from_mins(2);

/// A frame that waits.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Waiting {
    pub(super) phy: Vec<u8>,
    pub(super) urgency: Urgency,
    pub(super) frequency_hz: u32,
    pub(super) modulation: Modulation,
    /// When it goes out; before that it is too early.
    pub(super) at: Timestamp,
    /// The other window of an answer.
    second: Option<Window>,
    hearing: Option<std::sync::Arc<Hearing>>,
    until: Timestamp,
}

impl Waiting {
    /// Returns whether the window has closed that it was for.
    pub(super) fn is_missed(&self, now: Timestamp) -> bool {
        let tolerated = (symbol(self.modulation) * LATE_SYMBOLS_MAX).saturating_sub(WINDOW_EARLY);
        self.hearing.is_some() && now > self.at + tolerated
    }
}

/// Returns how long a symbol is.
pub(super) fn symbol(modulation: Modulation) -> Duration {
    match modulation {
        Modulation::Lora { spreading_factor, bandwidth_hz } => Duration::from_secs_f64(
            f64::from(1_u32 << spreading_factor.min(12)) / f64::from(bandwidth_hz.max(1)),
        ),
        Modulation::Fsk { .. } => Duration::ZERO,
    }
}

/// Frames that wait, and what became of those that do not any more.
#[derive(Debug, Default)]
pub(super) struct Schedule(Vec<Waiting>);

impl Schedule {
    /// Takes a frame in. Returns whether there was a moment, and room, for it.
    pub(super) fn add(
        &mut self,
        downlink: Downlink,
        channel: (u32, Modulation),
        lead: Duration,
        now: Timestamp,
    ) -> bool {
        let Downlink { phy, urgency, when, .. } = downlink;
        let (frequency_hz, modulation) = channel;
        let at_once = |frequency_hz, modulation| Waiting {
            phy: phy.clone(),
            urgency,
            frequency_hz,
            modulation,
            at: now,
            second: None,
            hearing: None,
            until: now + WAITS_MAX,
        };
        let waiting = match when {
            When::Always => Some(at_once(frequency_hz, modulation)),
            When::Now { window, .. } => Some(at_once(window.frequency_hz, window.modulation)),
            When::Answer { hearing, windows: [first, second] } => {
                let open = |window: Window| hearing.at + window.delay >= now + lead;
                let (window, second) = match (first.filter(|w| open(*w)), second) {
                    (Some(first), second) => (Some(first), second),
                    (None, second) => (second.filter(|w| open(*w)), None),
                };
                window.map(|window| Waiting {
                    at: hearing.at + window.delay,
                    until: hearing.at + window.delay,
                    second,
                    hearing: Some(hearing),
                    ..at_once(window.frequency_hz, window.modulation)
                })
            }
        };
        let Some(waiting) = waiting else { return false };
        if self.0.len() >= WAITING_MAX && !self.make_room(urgency) {
            return false;
        }
        self.0.push(waiting);
        true
    }

    /// Lets an ordinary frame go for one that warns of danger.
    fn make_room(&mut self, urgency: Urgency) -> bool {
        let ordinary = self.0.iter().position(|waiting| waiting.urgency < urgency);
        ordinary.is_some_and(|place| {
            self.0.remove(place);
            true
        })
    }

    /// Returns when the radio must turn to the next frame.
    pub(super) fn next(&self, lead: Duration) -> Option<Timestamp> {
        self.0.iter().map(|waiting| waiting.at - lead).min()
    }

    /// Takes the frame whose moment has come, danger first.
    pub(super) fn take(&mut self, lead: Duration, now: Timestamp) -> Option<Waiting> {
        let due = self.0.iter().enumerate().filter(|(_, waiting)| waiting.at - lead <= now);
        let first = due.min_by_key(|(_, waiting)| (std::cmp::Reverse(waiting.urgency), waiting.at));
        let place = first.map(|(place, _)| place)?;
        Some(self.0.remove(place))
    }

    /// Puts a frame back that did not go out, for its other window or a later moment. Returns whether it has one.
    pub(super) fn put_back(&mut self, mut waiting: Waiting, at: Timestamp) -> bool {
        if let Some(hearing) = &waiting.hearing {
            let Some(second) = waiting.second.take() else { return false };
            (waiting.frequency_hz, waiting.modulation) = (second.frequency_hz, second.modulation);
            waiting.at = hearing.at + second.delay;
            self.0.push(waiting);
            return true;
        }
        if at > waiting.until {
            return false;
        }
        waiting.at = at;
        self.0.push(waiting);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::radio::SyncWord;
    use std::sync::Arc;

    const SF9: Modulation = Modulation::Lora { spreading_factor: 9, bandwidth_hz: 125_000 };
    const CHANNEL: (u32, Modulation) = (867_900_000, SF9);
    const LEAD: Duration = Duration::from_millis(60);

    fn ms(ms: i64) -> Timestamp {
        Timestamp::from_millis(ms)
    }

    fn downlink(urgency: Urgency, when: When) -> Downlink {
        Downlink { link: "radio".into(), phy: vec![1, 2, 3], when, urgency }
    }

    fn answer(at: Timestamp) -> When {
        let hearing = Hearing {
            link: "radio".into(),
            sync_word: SyncWord::Private,
            gateway: 0,
            tmst: 0,
            at,
            frequency_hz: 867_900_000,
            modulation: SF9,
            snr_db: None,
            rssi_dbm: None,
            gateways: 1,
        };
        let window = |s| {
            Some(Window {
                delay: Duration::from_secs(s),
                frequency_hz: 867_900_000,
                modulation: SF9,
            })
        };
        When::Answer { hearing: Arc::new(hearing), windows: [window(1), window(2)] }
    }

    #[test]
    fn an_answer_goes_out_in_the_first_window_that_it_still_reaches() {
        for (now, at) in [(5100, Some(6000)), (5950, Some(7000)), (6950, None)] {
            let mut schedule = Schedule::default();
            let added =
                schedule.add(downlink(Urgency::Ordinary, answer(ms(5000))), CHANNEL, LEAD, ms(now));
            assert_eq!(added, at.is_some(), "{now}");
            assert_eq!(schedule.next(LEAD), at.map(|at: i64| ms(at) - LEAD));
            if let Some(at) = at {
                assert_eq!(schedule.take(LEAD, ms(at) - LEAD - LEAD), None);
                assert_eq!(schedule.take(LEAD, ms(at) - LEAD).unwrap().at, ms(at));
            }
        }
    }

    #[test]
    fn an_answer_that_misses_its_first_window_has_the_second_and_no_third() {
        let mut schedule = Schedule::default();
        schedule.add(downlink(Urgency::Ordinary, answer(ms(0))), CHANNEL, LEAD, ms(10));
        let first = schedule.take(LEAD, ms(1000)).unwrap();
        assert!(schedule.put_back(first, ms(1001)));
        let second = schedule.take(LEAD, ms(2000)).unwrap();
        assert_eq!(second.at, ms(2000));
        assert!(!schedule.put_back(second, ms(2001)));
    }

    #[test]
    fn an_answer_whose_window_has_closed_is_missed_and_an_order_to_a_siren_never() {
        let mut schedule = Schedule::default();
        schedule.add(downlink(Urgency::Ordinary, answer(ms(0))), CHANNEL, LEAD, ms(10));
        let answer = schedule.take(LEAD, ms(1500)).unwrap();
        // A symbol of SF9 is 4.096 ms.
        assert_eq!([1040, 1041].map(|at| answer.is_missed(ms(at))), [false, true]);
        schedule.add(downlink(Urgency::Ordinary, When::Always), CHANNEL, LEAD, ms(10));
        let order = schedule.take(LEAD, ms(1500)).unwrap();
        assert!(!order.is_missed(ms(1500)));
    }

    #[test]
    fn danger_goes_first_and_finds_room() {
        let mut schedule = Schedule::default();
        for _ in 0..WAITING_MAX {
            assert!(schedule.add(downlink(Urgency::Ordinary, When::Always), CHANNEL, LEAD, ms(0)));
        }
        assert!(!schedule.add(downlink(Urgency::Ordinary, When::Always), CHANNEL, LEAD, ms(1)));
        assert!(schedule.add(downlink(Urgency::Danger, When::Always), CHANNEL, LEAD, ms(1)));
        assert_eq!(schedule.take(LEAD, ms(1)).unwrap().urgency, Urgency::Danger);
        // What finds no moment for two minutes is let go.
        let waiting = schedule.take(LEAD, ms(1)).unwrap();
        assert!(schedule.put_back(waiting, ms(60_000)));
        let waiting = schedule.take(LEAD, ms(60_000)).unwrap();
        assert!(!schedule.put_back(waiting, ms(120_001)));
    }
}
