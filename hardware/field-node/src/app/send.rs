//! What goes on the air next, and what follows when it is answered, or not.

use super::store::read_reading;
use super::{App, Due, Flight, HEALTH_S, RETRIES_MAX, RETRIES_MAX_ALARM, RETRY_MS, Wish};
use crate::airtime::Share;
use crate::event::Action;
use crate::flash::Flash;
use crate::journal::{Place, REPORT_MAX};
use crate::plan::Confirm;
use crate::sealed::{
    AGE_S_MAX, Boot, Frame, Health, Kind, OVERHEAD_BYTES, READINGS_MAX, Reading, Report, Sealed,
};

/// Ages up to it cost a byte, greater ones three.
const AGE_YOUNG_S: u32 = 127;
/// What a report is likely to cost, bytes, before it is made.
const REPORT_BYTES_LIKELY: usize = OVERHEAD_BYTES + 12;

impl<F: Flash> App<'_, F> {
    /// Returns the frame that goes out now, or when one may.
    pub(super) fn next_frame(&mut self, now_ms: u64) -> Result<(Wish, Frame), Option<u64>> {
        let mut later_ms = None;
        for wish in [Wish::Answer, Wish::Alarm, Wish::Health, Wish::Telemetry] {
            let Some(at_ms) = self.wished_at_ms(wish) else { continue };
            let at_ms = if at_ms > now_ms { Some(at_ms) } else { self.room_at_ms(wish, now_ms) };
            let Some(at_ms) = at_ms else { continue };
            if at_ms <= now_ms {
                if let Some(frame) = self.make(wish, now_ms) {
                    return Ok((wish, frame));
                }
                continue;
            }
            later_ms = Some(later_ms.map_or(at_ms, |other: u64| other.min(at_ms)));
        }
        Err(later_ms)
    }

    fn wished_at_ms(&self, wish: Wish) -> Option<u64> {
        match wish {
            Wish::Answer => self.answer.map(|_| self.answer_at_ms),
            Wish::Alarm => self.due.at_ms.filter(|_| self.due.alarm),
            Wish::Health => Some(self.health_at_ms),
            Wish::Telemetry => self.due.at_ms.filter(|_| !self.due.alarm),
        }
    }

    /// Returns when there is airtime for it.
    fn room_at_ms(&mut self, wish: Wish, now_ms: u64) -> Option<u64> {
        let (share, bytes) = match wish {
            Wish::Answer => (Share::Whole, OVERHEAD_BYTES + 4),
            Wish::Alarm => (Share::Whole, REPORT_BYTES_LIKELY.max(self.report_bytes_max())),
            Wish::Health => (Share::Ordinary, OVERHEAD_BYTES + Health::BYTES),
            Wish::Telemetry => (Share::Ordinary, REPORT_BYTES_LIKELY.max(self.report_bytes_max())),
        };
        let wanted_us = self.plan.modulation.time_on_air_us(bytes);
        let at_ms = self.airtime.ready_at_ms(wanted_us, share, now_ms);
        if at_ms.is_none_or(|at_ms| at_ms > now_ms) {
            self.counters.held_back += 1;
        }
        at_ms
    }

    fn report_bytes_max(&self) -> usize {
        OVERHEAD_BYTES + self.plan.payload_bytes_max.max(self.plan.schema.report_bytes(0, 1))
    }

    fn make(&mut self, wish: Wish, now_ms: u64) -> Option<Frame> {
        self.reserve(now_ms);
        let sealed = match wish {
            Wish::Answer => self.make_answer(now_ms),
            Wish::Health => self.make_health(now_ms),
            Wish::Alarm | Wish::Telemetry => self.make_report(wish, now_ms),
        };
        if let Some(sealed) = sealed {
            self.flight.counter = Some(sealed.counter);
            self.flight.bytes = sealed.frame.len();
            return Some(sealed.frame);
        }
        // Nothing to say, or no counter: the next measurement asks again.
        match wish {
            Wish::Answer => self.answer = None,
            Wish::Health => self.health_at_ms = now_ms + HEALTH_S * 1000,
            Wish::Alarm | Wish::Telemetry => self.due.at_ms = None,
        }
        None
    }

    fn make_answer(&mut self, now_ms: u64) -> Option<Sealed> {
        let bytes = self.answer?.to_bytes();
        self.flight = Flight::default();
        self.session.seal(Kind::Ack, false, &bytes, Self::uptime_s(now_ms)).ok()
    }

    fn make_health(&mut self, now_ms: u64) -> Option<Sealed> {
        let [dropped, ..] = split(self.journal.dropped());
        let [repeats, ..] = split(self.counters.repeats);
        let health = Health {
            boot: self.boot,
            firmware: self.plan.firmware,
            schema: self.plan.schema.digest(),
            uptime_s: Self::uptime_s(now_ms),
            battery_mv: self.battery_mv,
            boots: self.settings.boots,
            dropped,
            repeats,
        };
        self.flight = Flight { health: true, wanted: true, ..Flight::default() };
        self.session.seal(Kind::Health, true, &health.to_bytes(), Self::uptime_s(now_ms)).ok()
    }

    /// Puts the newest reading first, then the oldest that wait, as many as fit.
    fn make_report(&mut self, wish: Wish, now_ms: u64) -> Option<Sealed> {
        let uptime_s = Self::uptime_s(now_ms);
        let node_s = self.session.seconds(uptime_s);
        let mut report = Report::new(uptime_s);
        let mut size = Size { young: 0, old: 0 };
        let mut places = [None; READINGS_MAX];
        let mut free = places.iter_mut();
        let mut newest = None;
        if let Some((place, reading)) = self.fresh {
            newest = place;
            self.fit(&mut report, &mut size, reading, node_s);
            if let (Some(place), Some(slot)) = (place, free.next()) {
                *slot = Some(place);
            }
        }
        let mut after = None;
        while let Some((place, reading)) = self.waiting_after(after) {
            after = Some(place);
            if newest == Some(place) {
                continue;
            }
            if node_s.saturating_sub(reading.id) > AGE_S_MAX - 60 {
                // Nobody can be told of it any more: it is as good as dropped.
                let _settled = self.journal.settle(place).is_ok();
                continue;
            }
            if !self.fit(&mut report, &mut size, reading, node_s) {
                break;
            }
            if let Some(slot) = free.next() {
                *slot = Some(place);
            }
        }
        let wanted = wish == Wish::Alarm || self.plan.confirm == Confirm::All;
        self.flight = Flight { places, wanted, report: true, ..Flight::default() };
        let kind = if wish == Wish::Alarm { Kind::Alarm } else { Kind::Telemetry };
        self.session.seal_report(kind, wanted, &self.plan.schema, &report, uptime_s).ok()
    }

    /// Adds a reading, if the frame does not grow beyond what the plan allows.
    fn fit(&self, report: &mut Report, size: &mut Size, reading: Reading, node_s: u32) -> bool {
        let base_s = self.session.seconds(0);
        let before_restart = reading.id < base_s;
        // A few seconds pass until it is sealed.
        let is_young = !before_restart && node_s.saturating_sub(reading.id) + 5 <= AGE_YOUNG_S;
        let larger = Size {
            young: size.young + usize::from(is_young),
            old: size.old + usize::from(!is_young),
        };
        let bytes = self.plan.schema.report_bytes(larger.young, larger.old);
        let is_first = report.readings().is_empty();
        if !is_first && bytes > self.plan.payload_bytes_max {
            return false;
        }
        let fits = report.push(Reading { before_restart, ..reading }).is_ok();
        if fits {
            *size = larger;
        }
        fits
    }

    fn waiting_after(&mut self, after: Option<Place>) -> Option<(Place, Reading)> {
        let mut bytes = [0; REPORT_MAX];
        match self.journal.next(after, &mut bytes) {
            Ok(Some((place, length))) => {
                Some((place, read_reading(bytes.get(..length).unwrap_or_default())?))
            }
            Ok(None) => None,
            Err(_) => {
                self.counters.flash_failures += 1;
                None
            }
        }
    }

    /// Goes on when a frame was sent.
    pub(super) fn sent(&mut self, wish: Wish, now_ms: u64) -> Action {
        self.sent_at_ms = now_ms;
        self.counters.sent += 1;
        let air_us = self.plan.modulation.time_on_air_us(self.flight.bytes);
        self.airtime.spend(air_us, now_ms);
        match wish {
            Wish::Answer => self.answer = None,
            Wish::Health => self.health_at_ms = now_ms + HEALTH_S * 1000,
            Wish::Alarm | Wish::Telemetry => self.due.at_ms = None,
        }
        if !self.flight.wanted {
            self.settle_flight(now_ms);
        }
        self.window(0, now_ms)
    }

    /// The frame's readings are safe, or were not worth a confirmation.
    fn settle_flight(&mut self, now_ms: u64) {
        let places = core::mem::take(&mut self.flight.places);
        if self.flight.report {
            self.fresh = None;
        }
        for place in places.into_iter().flatten() {
            match self.journal.settle(place) {
                Ok(()) => self.counters.acked += 1,
                Err(_) => self.counters.flash_failures += 1,
            }
        }
        self.health_tries = 0;
        self.due.tries = 0;
        // What waits still follows soon: somebody listens.
        if self.due.at_ms.is_none() && self.journal.waiting() > 0 {
            let at_ms = now_ms + 2_500 + u64::from(self.dice.below(4_000));
            self.due = Due { at_ms: Some(at_ms), alarm: false, tries: 0 };
        }
    }

    /// Takes an acknowledgement.
    pub(super) fn acked(&mut self, counter: u32, now_ms: u64) {
        if self.flight.counter == Some(counter) && self.flight.wanted {
            if self.flight.health {
                self.boot = Boot::Running;
            }
            self.settle_flight(now_ms);
            self.flight = Flight::default();
        }
    }

    /// Nobody answers any more: what was to be confirmed is tried again, later each time.
    pub(super) fn close_flight(&mut self, now_ms: u64) {
        let flight = core::mem::take(&mut self.flight);
        if !flight.wanted {
            return;
        }
        let (tries, retries_max) = if flight.health {
            (&mut self.health_tries, RETRIES_MAX)
        } else if self.due.alarm {
            (&mut self.due.tries, RETRIES_MAX_ALARM)
        } else {
            (&mut self.due.tries, RETRIES_MAX)
        };
        if *tries >= retries_max {
            *tries = 0;
            // An alarm that nobody heard goes on with the reports of its interval.
            return;
        }
        let pause_ms = RETRY_MS << (*tries).min(6);
        *tries += 1;
        self.counters.repeats += 1;
        let spread = u32::try_from(pause_ms).unwrap_or(u32::MAX);
        let at_ms = now_ms + pause_ms + u64::from(self.dice.below(spread));
        if flight.health {
            self.health_at_ms = at_ms;
        } else {
            self.due.at_ms = Some(self.due.at_ms.map_or(at_ms, |due| due.min(at_ms)));
        }
    }
}

struct Size {
    young: usize,
    old: usize,
}

/// The lower and the upper half of a number.
fn split(number: u32) -> [u16; 2] {
    let [a, b, c, d] = number.to_le_bytes();
    [u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d])]
}
