//! The node's logic: a state machine without clock, chance, sensor or radio. It is told one [`Event`] at a time, with the
//! time, and answers with the one [`Action`] that is to be done next.
//!
//! Each reading that is worth a report is written to the journal before it is sent, and let go of when the gateway says
//! that it is safe. A counter is used only when the record that reserves it is written. Where flash fails, readings are
//! sent from memory, and the siren obeys: what cannot be stored is better told.

mod order;
mod send;
mod store;

use crate::airtime::Airtime;
use crate::dice::Dice;
use crate::event::{Action, Event, Listen, NotSent};
use crate::flash::{Flash, FlashFault};
use crate::journal::{Journal, Note, Place};
use crate::plan::{Listening, Plan};
use crate::sealed::{
    Boot, FIELDS_MAX, OrderAck, READINGS_MAX, Reading, RecordError, Session, Value,
};
use store::Settings;

/// Health is told so often, s.
const HEALTH_S: u64 = 86_400;
/// The shortest interval and the longest that a node can be told, s.
pub const INTERVAL_S: [u16; 2] = [10, 43_200];
/// A frame that nobody answers is sent again after so long, ms, then after twice that …
const RETRY_MS: u64 = 6_000;
/// … for so many times. An alarm is tried more often.
const RETRIES_MAX: u8 = 3;
const RETRIES_MAX_ALARM: u8 = 7;
/// A window opens so much early, ms, for what the clocks of both sides may differ in two seconds.
const WINDOW_EARLY_MS: u64 = 5;
/// An answer that began in the second window has ended so long behind that, ms: 40 bytes at SF12.
const ANSWER_MS_MAX: u64 = 2_500;
/// Symbols without a preamble after which a window closes: the eight of a preamble, and what the clocks differ.
const WINDOW_SYMBOLS: u16 = 16;
/// So long before the siren must fall silent nothing is begun that cannot be left, ms: a measurement, or a frame with its
/// windows at the slowest setting.
const SIREN_GUARD_MS: u64 = 10_000;
/// After a start the first frame waits for up to so long, ms: power comes back to a whole village at once.
const START_SPREAD_MS: u32 = 20_000;

/// What a node counts. Each number begins at 0 when the node begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames on the air.
    pub sent: u32,
    /// Frames that were sent again, since nobody answered.
    pub repeats: u32,
    /// Times that somebody else was on the air.
    pub busy: u32,
    /// Times that the radio failed.
    pub radio_failures: u32,
    /// Times that the flash failed.
    pub flash_failures: u32,
    /// Readings that were let go of because the gateway has them.
    pub acked: u32,
    /// Frames to this node that changed nothing.
    pub refused: u32,
    /// Orders that were done.
    pub orders: u32,
    /// Orders that asked for a longer sound than the siren may give.
    pub siren_cut: u32,
    /// Times that airtime was not there.
    pub held_back: u32,
}

/// Why a node cannot begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StartError {
    /// It does not know who it is: [`App::provision`].
    NotProvisioned(RecordError),
    /// Its flash cannot be read or written.
    Flash,
}

impl From<FlashFault> for StartError {
    fn from(_: FlashFault) -> Self {
        Self::Flash
    }
}

/// A frame that waits for its answer.
#[derive(Clone, Copy, Debug, Default)]
struct Flight {
    counter: Option<u32>,
    places: [Option<Place>; READINGS_MAX],
    bytes: usize,
    report: bool,
    health: bool,
    wanted: bool,
}

/// What is wanted of the radio next, in falling order of urgency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Answer,
    Alarm,
    Health,
    Telemetry,
}

/// What the node waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doing {
    Idle,
    Sampling,
    Sending(Wish),
    Window(u8),
    Switching,
}

/// Reports to be sent: whether, when, and how often that was tried.
#[derive(Clone, Copy, Debug)]
struct Due {
    at_ms: Option<u64>,
    alarm: bool,
    tries: u8,
}

/// The node.
#[derive(Debug)]
pub struct App<'a, F> {
    plan: Plan<'a>,
    journal: Journal<F>,
    session: Session,
    settings: Settings,
    dice: Dice,
    airtime: Airtime,
    boot: Boot,
    doing: Doing,
    /// When the next measurement is due.
    sample_at_ms: u64,
    /// When the last report was made; none since the start.
    reported_at_ms: Option<u64>,
    reported: [Value; FIELDS_MAX],
    /// What was added up since then, of each field that is a sum.
    sums: [i32; FIELDS_MAX],
    /// The newest reading, until it is safe; without a place if the flash did not take it.
    fresh: Option<(Option<Place>, Reading)>,
    due: Due,
    health_at_ms: u64,
    health_tries: u8,
    answer: Option<OrderAck>,
    answer_at_ms: u64,
    flight: Flight,
    sent_at_ms: u64,
    /// Since when the relay is closed, and until when.
    siren: Option<(u64, u64)>,
    relay_closed: bool,
    battery_mv: u16,
    /// Calendar minus uptime, s.
    calendar: Option<i64>,
    counters: Counters,
}

impl<'a, F: Flash> App<'a, F> {
    /// Gives a node its identity: once, on the desk. What the flash held is forgotten.
    ///
    /// # Errors
    ///
    /// If the flash fails.
    pub fn provision(
        flash: F,
        provisioning: &crate::sealed::Provisioning,
    ) -> Result<F, FlashFault> {
        store::provision(flash, provisioning)
    }

    /// Begins, from what the flash holds. The seed is any number that other nodes do not have.
    ///
    /// # Errors
    ///
    /// If the node was never provisioned, or the flash fails.
    pub fn start(plan: Plan<'a>, flash: F, boot: Boot, seed: u64) -> Result<Self, StartError> {
        let mut journal = Journal::open(flash)?;
        let session =
            Session::resume([journal.note(Note::Link)]).map_err(StartError::NotProvisioned)?;
        let mut settings = Settings::read(journal.note(Note::Settings));
        settings.boots = settings.boots.wrapping_add(1);
        let mut counters = Counters::default();
        // A node whose flash is worn out still measures and warns, as long as counters are left.
        if journal.put(Note::Settings, &settings.bytes()).is_err() {
            counters.flash_failures = 1;
        }
        let mut dice = Dice::new(seed);
        let health_at_ms = u64::from(dice.below(START_SPREAD_MS));
        Ok(Self {
            journal,
            session,
            settings,
            airtime: Airtime::new(plan.airtime_permille),
            boot,
            doing: Doing::Idle,
            sample_at_ms: health_at_ms,
            reported_at_ms: None,
            reported: [Value::Missing; FIELDS_MAX],
            sums: [0; FIELDS_MAX],
            fresh: None,
            due: Due { at_ms: None, alarm: false, tries: 0 },
            health_at_ms,
            health_tries: 0,
            answer: None,
            answer_at_ms: 0,
            flight: Flight::default(),
            sent_at_ms: 0,
            siren: None,
            // Until the board has said otherwise: the first action opens it.
            relay_closed: plan.siren.is_some(),
            battery_mv: 0,
            calendar: None,
            counters,
            dice,
            plan,
        })
    }

    /// Returns the flash, as a loss of power leaves it.
    pub fn into_flash(self) -> F {
        self.journal.into_flash()
    }

    /// Returns the flash, for what a test or simulation does to it.
    pub fn flash_mut(&mut self) -> &mut F {
        self.journal.flash_mut()
    }

    /// Returns what was counted.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Returns how many readings wait for an acknowledgement.
    pub fn waiting(&self) -> u32 {
        self.journal.waiting()
    }

    /// Returns how many readings were dropped because the journal was full.
    pub fn dropped(&self) -> u32 {
        self.journal.dropped()
    }

    /// Returns how long was sent since the start, µs.
    pub fn airtime_us(&self) -> u64 {
        self.airtime.used_us
    }

    /// Returns whether the relay should be closed.
    pub fn siren_on(&self) -> bool {
        self.siren.is_some()
    }

    /// Returns how often the node reports, s.
    pub fn interval_s(&self) -> u16 {
        match self.settings.interval_s {
            0 => self.plan.interval_s,
            told => told,
        }
    }

    /// Returns the time, seconds since 1970, if a gateway told it since the start.
    pub fn unix_s(&self, now_ms: u64) -> Option<i64> {
        Some(self.calendar?.saturating_add(i64::try_from(now_ms / 1000).ok()?))
    }

    /// Takes what happened, and returns what to do next. `now_ms` is the uptime; it never goes back.
    pub fn handle(&mut self, event: Event<'_>, now_ms: u64) -> Action {
        let doing = core::mem::replace(&mut self.doing, Doing::Idle);
        match event {
            Event::Started | Event::Woke | Event::Switched => {}
            Event::Sampled(measured) => self.take_sample(measured, now_ms),
            Event::Sent => {
                if let Doing::Sending(wish) = doing {
                    return self.sent(wish, now_ms);
                }
            }
            Event::NotSent(why) => {
                if let Doing::Sending(wish) = doing {
                    self.not_sent(wish, why, now_ms);
                }
            }
            Event::Heard(bytes) => {
                let new = self.hear(bytes, now_ms);
                // What was not for us, or is old, closes no window.
                if let (Doing::Window(number), false) = (doing, new) {
                    return self.window(number, now_ms);
                }
                if let Doing::Window(_) = doing {
                    self.close_flight(now_ms);
                }
            }
            Event::Silence => match doing {
                Doing::Window(0) => return self.window(1, now_ms),
                Doing::Window(_) => self.close_flight(now_ms),
                Doing::Idle | Doing::Sampling | Doing::Sending(_) | Doing::Switching => {}
            },
        }
        self.next(now_ms)
    }

    /// Decides what is most urgent.
    fn next(&mut self, now_ms: u64) -> Action {
        if self.siren.is_some_and(|(_, until_ms)| now_ms >= until_ms) {
            self.siren = None;
        }
        if self.siren.is_some() != self.relay_closed {
            self.relay_closed = self.siren.is_some();
            self.doing = Doing::Switching;
            return Action::Switch { on: self.relay_closed };
        }
        if let Some((_, until_ms)) = self.siren
            && until_ms - now_ms <= SIREN_GUARD_MS
        {
            return self.rest(until_ms);
        }
        if now_ms >= self.sample_at_ms {
            let period_ms = u64::from(self.sample_s()) * 1000;
            let late = (now_ms - self.sample_at_ms) / period_ms;
            self.sample_at_ms += period_ms * (late + 1);
            self.doing = Doing::Sampling;
            return Action::Sample;
        }
        let mut deadline_ms = self.sample_at_ms;
        if let Some((_, until_ms)) = self.siren {
            deadline_ms = deadline_ms.min(until_ms);
        }
        match self.next_frame(now_ms) {
            Ok((wish, frame)) => {
                self.doing = Doing::Sending(wish);
                return Action::Transmit(frame);
            }
            Err(Some(later_ms)) => deadline_ms = deadline_ms.min(later_ms),
            Err(None) => {}
        }
        self.rest(deadline_ms.max(now_ms + 1))
    }

    fn rest(&mut self, until_ms: u64) -> Action {
        self.doing = Doing::Idle;
        match self.plan.listening {
            Listening::Windows => Action::Sleep { until_ms },
            Listening::Always => Action::Listen(Listen::Until { until_ms }),
            Listening::Sampled { awake_ms, asleep_ms } => {
                Action::Listen(Listen::Sampled { until_ms, awake_ms, asleep_ms })
            }
        }
    }

    /// Opens a window behind the frame that was sent last. One that is over by now is not opened.
    fn window(&mut self, number: u8, now_ms: u64) -> Action {
        let [first, second] = self.plan.windows_ms;
        if self.plan.listening == Listening::Always {
            // It is awake anyway: an answer may come at once, and takes until behind the second window at the latest.
            let until_ms = self.sent_at_ms + u64::from(second) + ANSWER_MS_MAX;
            if now_ms < until_ms {
                self.doing = Doing::Window(1);
                return Action::Listen(Listen::Until { until_ms });
            }
        }
        let numbered = [(0, first), (1, second)];
        for (index, delay_ms) in numbered.into_iter().filter(|(index, _)| *index >= number) {
            let from_ms = (self.sent_at_ms + u64::from(delay_ms)).saturating_sub(WINDOW_EARLY_MS);
            if now_ms <= from_ms + WINDOW_EARLY_MS {
                self.doing = Doing::Window(index);
                return Action::Listen(Listen::Window { from_ms, symbols: WINDOW_SYMBOLS });
            }
        }
        self.close_flight(now_ms);
        self.next(now_ms)
    }

    fn sample_s(&self) -> u16 {
        self.plan.sample_s.min(self.interval_s()).max(1)
    }

    fn uptime_s(now_ms: u64) -> u32 {
        u32::try_from(now_ms / 1000).unwrap_or(u32::MAX)
    }

    fn not_sent(&mut self, wish: Wish, why: NotSent, now_ms: u64) {
        self.flight = Flight::default();
        let pause_ms = match why {
            NotSent::Busy => {
                self.counters.busy += 1;
                // Two to six times what such a frame takes: whoever is on the air will have ended.
                let air_ms =
                    self.plan.modulation.time_on_air_us(self.plan.payload_bytes_max) / 1000;
                let spread = u32::try_from(air_ms * 4).unwrap_or(u32::MAX);
                air_ms * 2 + u64::from(self.dice.below(spread))
            }
            NotSent::Failed => {
                self.counters.radio_failures += 1;
                RETRY_MS + u64::from(self.dice.below(1000))
            }
        };
        let at_ms = now_ms + pause_ms;
        match wish {
            Wish::Answer => self.answer_at_ms = at_ms,
            Wish::Health => self.health_at_ms = at_ms,
            Wish::Alarm | Wish::Telemetry => self.due.at_ms = Some(at_ms),
        }
    }
}
