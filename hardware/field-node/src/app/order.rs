//! What the node is told, and what it does about it.

use super::{App, INTERVAL_S};
use crate::flash::Flash;
use crate::sealed::{Command, OrderAck, Outcome, Told};

impl<F: Flash> App<'_, F> {
    /// Takes a frame. Returns whether it is new, true, and for this node.
    pub(super) fn hear(&mut self, bytes: &[u8], now_ms: u64) -> bool {
        let uptime_s = Self::uptime_s(now_ms);
        let Ok(heard) = self.session.open(bytes, uptime_s) else {
            self.counters.refused += 1;
            return false;
        };
        let written = heard.record.is_none_or(|record| self.write_record(&record));
        if let Some(counter) = heard.acked {
            self.acked(counter, now_ms);
        }
        match heard.told {
            Some(Told::Again(ack) | Told::Late(ack)) => self.answer_with(ack, now_ms),
            // Without the record the old key holds: the gateway offers again.
            Some(Told::Rekeyed(ack)) if written => {
                self.counters.orders += 1;
                self.answer_with(ack, now_ms);
            }
            // A siren obeys even where nothing can be written: better twice than never.
            Some(Told::Do { number, command }) if written || command.is_siren() => {
                let outcome = self.obey(command, now_ms);
                let (ack, record) = self.session.finish(number, outcome);
                // Where it cannot be written, a restart may do the order once more.
                let _written = self.write_record(&record);
                self.answer_with(ack, now_ms);
            }
            None | Some(Told::Rekeyed(_) | Told::Do { .. }) => {}
        }
        true
    }

    fn answer_with(&mut self, ack: OrderAck, now_ms: u64) {
        self.answer = Some(ack);
        // Sirens of one order do not answer all at once.
        self.answer_at_ms = now_ms + 200 + u64::from(self.dice.below(1_800));
    }

    fn obey(&mut self, command: Command, now_ms: u64) -> Outcome {
        let done = match command {
            Command::SirenOn { seconds } => {
                let longest = self.plan.siren.map(|siren| siren.on_s_max);
                longest.is_some_and(|longest| self.sound(seconds, longest, now_ms))
            }
            Command::SirenTest { seconds } => {
                let longest = self.plan.siren.map(|siren| siren.test_s_max);
                // A test does not cut a warning short.
                self.siren.is_none()
                    && longest.is_some_and(|longest| self.sound(seconds, longest, now_ms))
            }
            Command::SirenOff => {
                self.siren = None;
                self.plan.siren.is_some()
            }
            Command::Interval { seconds } => {
                let [shortest, longest] = INTERVAL_S;
                let possible = (shortest..=longest).contains(&seconds);
                if possible {
                    self.settings.interval_s = seconds;
                    self.write_settings();
                    let soon_ms = now_ms + u64::from(self.sample_s()) * 1000;
                    self.sample_at_ms = self.sample_at_ms.min(soon_ms);
                }
                possible
            }
            Command::Time { unix_s } => {
                let uptime_s = i64::from(Self::uptime_s(now_ms));
                self.calendar = unix_s.map(|unix_s| i64::from(unix_s) - uptime_s).or(self.calendar);
                // Also a gateway that does not know the time wants the answer: it shows that nothing holds frames back.
                true
            }
            // The link has done it already.
            Command::Rekey { .. } => true,
        };
        self.counters.orders += u32::from(done);
        if done { Outcome::Done } else { Outcome::Refused }
    }

    /// Sounds the siren for so long from now, but never beyond the longest time since it began.
    fn sound(&mut self, seconds: u16, longest_s: u16, now_ms: u64) -> bool {
        let since_ms = self.siren.map_or(now_ms, |(since_ms, _)| since_ms);
        let wanted_ms = now_ms + u64::from(seconds) * 1000;
        let last_ms = since_ms + u64::from(longest_s) * 1000;
        self.counters.siren_cut += u32::from(wanted_ms > last_ms);
        self.siren = Some((since_ms, wanted_ms.min(last_ms)));
        true
    }
}
