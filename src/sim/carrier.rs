//! The mobile network that virtual modems share: handsets with their inboxes, delivery reports, credit, and a log of
//! what the network really did.

use crate::domain::time::Timestamp;
use crate::wire::segment::{Options, Reassembler, segments};
use crate::wire::tpdu::{
    Address, Class, Deliver, Reference, ServiceTime, Status, StatusReport, Submit, Validity,
    with_smsc,
};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

/// Entries that the log holds; older ones go.
pub const LOG_MAX: usize = 100_000;

/// Texts that one handset holds; older ones go.
pub const INBOX_MAX: usize = 10_000;

/// Texts that one who listens may be behind.
const HEARD_MAX: usize = 256;

/// TPDUs that wait for one modem, and texts that wait for handsets that are off; the network loses what is more.
pub const WAITING_MAX: usize = 1024;

/// Messages whose segments one handset waits for.
const JOINED_MAX: usize = 64;

/// How long a handset waits for the segments of a message.
const JOIN_WAIT: Duration = Duration::from_hours(24);

/// How long the network keeps a text whose sender names no validity.
const VALIDITY_DEFAULT: Duration = Duration::from_hours(72);

/// Calendar moment of the time line's start, Unix seconds: 2026-06-01T00:00:00Z.
const EPOCH_UNIX_SECONDS: i64 = 1_780_272_000;

/// Service centre of this network.
pub const SERVICE_CENTRE: &str = "+46705008999";

/// What a handset is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Handset {
    /// On, and in coverage.
    #[default]
    On,
    /// Off or out of coverage: its texts wait in the network until they expire.
    Off,
    /// No subscriber has this number: a permanent failure.
    Unknown,
}

/// How a text reached a handset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Submitted by a virtual modem.
    Modem,
    /// Put there by [`Carrier::deliver`]: another provider's text.
    Other,
}

/// A text as a person reads it, its segments joined.
#[derive(Clone, PartialEq, Eq)]
pub struct Received {
    /// When its last segment came.
    pub at: Timestamp,
    /// Sender's number or name; empty where the other way told none.
    pub from: String,
    /// The text.
    pub text: String,
    /// It is shown at once and not stored (class 0).
    pub flash: bool,
    /// How it came.
    pub way: Way,
}

impl fmt::Debug for Received {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, flash, way, .. } = self;
        f.debug_struct("Received")
            .field("at", at)
            .field("flash", flash)
            .field("way", way)
            .finish_non_exhaustive()
    }
}

/// What the network did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It took a segment from a modem.
    Taken {
        /// The sender's number.
        from: String,
        /// What was submitted, with the reference that the modem reports.
        submit: Submit,
    },
    /// It refused a segment because the sender has no credit.
    Refused {
        /// The sender's number.
        from: String,
    },
    /// A segment, or a text that came another way, reached a handset or a modem.
    Arrived {
        /// Whose number.
        to: String,
    },
    /// A segment waited in vain for its handset.
    Expired {
        /// Whose number.
        to: String,
    },
    /// It reported to the sender what became of a segment.
    Reported {
        /// The sender's number.
        to: String,
        /// Reference of the segment.
        reference: u8,
        /// What became of it.
        status: Status,
    },
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub event: Event,
}

/// What becomes of the delivery report of one segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Fate {
    #[default]
    Once,
    Lost,
    Twice,
    Late(Duration),
}

/// How a modem wants a segment to be treated.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub(super) report_delay: Duration,
    pub(super) fate: Fate,
}

/// What the network refuses: 3GPP TS 24.011 annex E-2 cause 21, "short message transfer rejected".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NoCredit;

/// Tells the time of a carrier.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// The network; clones share it.
#[derive(Clone)]
pub struct Carrier {
    state: Arc<Mutex<State>>,
    clock: Clock,
}

struct State {
    rng: ChaCha8Rng,
    handsets: BTreeMap<String, Subscriber>,
    modems: BTreeMap<String, Modem>,
    /// At most [`WAITING_MAX`].
    held: Vec<Held>,
    credit: BTreeMap<String, u64>,
    ussd: BTreeMap<String, String>,
    /// At most [`LOG_MAX`].
    log: VecDeque<Entry>,
    heard: broadcast::Sender<(String, Received)>,
}

struct Subscriber {
    handset: Handset,
    /// At most [`INBOX_MAX`].
    inbox: VecDeque<Received>,
    /// At most [`INBOX_MAX`].
    segments: VecDeque<Deliver>,
    reassembler: Reassembler,
}

impl Default for Subscriber {
    fn default() -> Self {
        Self {
            handset: Handset::On,
            inbox: VecDeque::new(),
            segments: VecDeque::new(),
            reassembler: Reassembler::new(JOINED_MAX, JOIN_WAIT),
        }
    }
}

#[derive(Default)]
struct Modem {
    wake: Arc<Notify>,
    /// At most [`WAITING_MAX`].
    waiting: Vec<(Timestamp, Downlink)>,
}

/// What the network brings to a modem.
#[derive(Clone)]
pub(super) enum Downlink {
    Text(Deliver),
    Report(StatusReport),
}

impl Downlink {
    /// Returns the TPDU.
    pub(super) fn tpdu(&self) -> Vec<u8> {
        match self {
            Self::Text(deliver) => deliver.encode(),
            Self::Report(report) => report.encode(),
        }
    }

    /// Returns the TPDU behind the service centre's address, as modems write it.
    pub(super) fn pdu(&self) -> Vec<u8> {
        with_smsc(Address::parse(SERVICE_CENTRE).ok().as_ref(), &self.tpdu())
    }
}

/// A segment that waits for its handset.
struct Held {
    from: String,
    submit: Submit,
    taken: Timestamp,
    until: Timestamp,
    terms: Terms,
}

impl Carrier {
    /// Returns a network whose time starts now and runs with the machine's monotonic clock.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        let start = Instant::now();
        Self::with_clock(seed, Arc::new(move || Timestamp::default() + start.elapsed()))
    }

    /// Returns a network that lives in the time of `clock`.
    #[must_use]
    pub fn with_clock(seed: u64, clock: Clock) -> Self {
        let ussd = [("*100#".to_owned(), "Your balance is {credit}.".to_owned())];
        let state = State {
            rng: ChaCha8Rng::seed_from_u64(seed),
            handsets: BTreeMap::new(),
            modems: BTreeMap::new(),
            held: Vec::new(),
            credit: BTreeMap::new(),
            ussd: ussd.into(),
            log: VecDeque::new(),
            heard: broadcast::Sender::new(HEARD_MAX),
        };
        Self { state: Arc::new(Mutex::new(state)), clock }
    }

    /// Returns the network's time.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        (self.clock)()
    }

    /// Returns the texts that the handset of `number` holds, oldest first. Texts to a modem are in its own memory.
    #[must_use]
    pub fn inbox(&self, number: &str) -> Vec<Received> {
        self.state()
            .handsets
            .get(number)
            .map_or_else(Vec::new, |s| s.inbox.iter().cloned().collect())
    }

    /// Returns the segments as they came to the handset of `number`.
    #[must_use]
    pub fn segments(&self, number: &str) -> Vec<Deliver> {
        self.state()
            .handsets
            .get(number)
            .map_or_else(Vec::new, |s| s.segments.iter().cloned().collect())
    }

    /// Brings a whole text to the handset of `number` by another way than a modem, whatever the handset is doing.
    pub fn deliver(&self, number: &str, from: &str, text: &str) {
        let at = self.now();
        let mut state = self.state();
        let (from, text) = (from.to_owned(), text.to_owned());
        let received = Received { at, from, text, flash: false, way: Way::Other };
        state.buzz(number, received);
        state.note(at, Event::Arrived { to: number.to_owned() });
    }

    /// Sends `text` from the handset of `from` to the modem of `to`, in segments when it is long. Returns whether such
    /// a modem is there and the text can be written in SMS.
    #[must_use]
    pub fn send_from(&self, from: &str, to: &str, text: &str) -> bool {
        let at = self.now();
        let mut state = self.state();
        let Ok(sender) = Address::parse(from) else { return false };
        let reference = state.reference();
        let options = Options { reference, ..Options::default() };
        let Ok(segmented) = segments(text, &options) else { return false };
        let known = state.modems.contains_key(to);
        for segment in segmented.segments {
            state.bring(to, at, Downlink::Text(deliver_of(sender.clone(), segment.data, None, at)));
            state.note(at, Event::Arrived { to: to.to_owned() });
        }
        known
    }

    /// Switches the handset of `number`. Texts that waited for one that is now on reach it.
    pub fn set_handset(&self, number: &str, handset: Handset) {
        let at = self.now();
        let mut state = self.state();
        state.expire(at);
        state.subscriber(number).handset = handset;
        if handset == Handset::On {
            let held = state.held.extract_if(.., |held| held.submit.to.as_str() == number);
            let held: Vec<Held> = held.collect();
            for held in held {
                state.arrive(&held, at);
            }
        }
    }

    /// Sets how many segments `number` may still send; without it there is no limit.
    pub fn set_credit(&self, number: &str, segments: u64) {
        self.state().credit.insert(number.to_owned(), segments);
    }

    /// Returns how many segments `number` may still send.
    #[must_use]
    pub fn credit(&self, number: &str) -> Option<u64> {
        self.state().credit.get(number).copied()
    }

    /// Sets what the network answers to a USSD code; `{credit}` becomes the caller's credit.
    pub fn set_ussd(&self, code: &str, answer: &str) {
        self.state().ussd.insert(code.to_owned(), answer.to_owned());
    }

    /// Returns every whole text that reaches a handset from now on, with the handset's number.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<(String, Received)> {
        self.state().heard.subscribe()
    }

    /// Returns what the network did, oldest first.
    #[must_use]
    pub fn log(&self) -> Vec<Entry> {
        self.state().log.iter().cloned().collect()
    }

    /// Returns what the network took from the modem of `number`, whatever that modem said of it.
    #[must_use]
    pub fn taken_from(&self, number: &str) -> Vec<Submit> {
        let entries = self.log().into_iter();
        entries
            .filter_map(|entry| match entry.event {
                Event::Taken { from, submit } if from == number => Some(submit),
                Event::Taken { .. }
                | Event::Refused { .. }
                | Event::Arrived { .. }
                | Event::Expired { .. }
                | Event::Reported { .. } => None,
            })
            .collect()
    }

    /// Returns the calendar time at `at`, in UTC.
    pub(super) fn service_time(at: Timestamp) -> Option<ServiceTime> {
        ServiceTime::new(EPOCH_UNIX_SECONDS + at.as_millis().div_euclid(1000), 0)
    }

    /// Makes `number` the number of a modem; what comes for it wakes the returned bell.
    pub(super) fn attach(&self, number: &str) -> Arc<Notify> {
        Arc::clone(&self.state().modems.entry(number.to_owned()).or_default().wake)
    }

    /// Takes a segment.
    pub(super) fn submit(
        &self,
        from: &str,
        submit: Submit,
        terms: Terms,
        at: Timestamp,
    ) -> Result<(), NoCredit> {
        let mut state = self.state();
        if let Some(credit) = state.credit.get_mut(from) {
            let Some(left) = credit.checked_sub(1) else {
                state.note(at, Event::Refused { from: from.to_owned() });
                return Err(NoCredit);
            };
            *credit = left;
        }
        state.note(at, Event::Taken { from: from.to_owned(), submit: submit.clone() });
        let lasts = submit.validity.and_then(Validity::duration).unwrap_or(VALIDITY_DEFAULT);
        let held = Held { from: from.to_owned(), submit, taken: at, until: at + lasts, terms };
        let to = held.submit.to.as_str();
        let handset =
            if state.modems.contains_key(to) { Handset::On } else { state.subscriber(to).handset };
        match handset {
            Handset::On => state.arrive(&held, at),
            Handset::Unknown => state.report(&held, UNKNOWN_SUBSCRIBER, at),
            Handset::Off if state.held.len() < WAITING_MAX => state.held.push(held),
            Handset::Off => state.report(&held, Status::EXPIRED, at),
        }
        Ok(())
    }

    /// Takes what has come for the modem of `number`.
    pub(super) fn collect(&self, number: &str, now: Timestamp) -> Vec<Downlink> {
        let mut state = self.state();
        state.expire(now);
        let Some(modem) = state.modems.get_mut(number) else { return Vec::new() };
        let mut due: Vec<_> = modem.waiting.extract_if(.., |(at, _)| *at <= now).collect();
        due.sort_by_key(|(at, _)| *at);
        due.into_iter().map(|(_, downlink)| downlink).collect()
    }

    /// Returns when there is something to [collect](Self::collect) next.
    pub(super) fn next_deadline(&self, number: &str) -> Option<Timestamp> {
        let state = self.state();
        let waiting = state.modems.get(number).into_iter().flat_map(|modem| &modem.waiting);
        let held = state.held.iter().filter(|held| held.from == number).map(|held| held.until);
        waiting.map(|(at, _)| *at).chain(held).min()
    }

    /// Answers a USSD code of `number`.
    pub(super) fn ussd(&self, number: &str, code: &str) -> Option<String> {
        let state = self.state();
        let credit = state
            .credit
            .get(number)
            .map_or_else(|| "12.50 EUR".to_owned(), |left| format!("{left} texts"));
        state.ussd.get(code).map(|answer| answer.replace("{credit}", &credit))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// No subscriber has this number: 3GPP TS 23.040 §9.2.3.15, "not obtainable".
const UNKNOWN_SUBSCRIBER: Status = Status(0x43);

impl State {
    fn subscriber(&mut self, number: &str) -> &mut Subscriber {
        self.handsets.entry(number.to_owned()).or_default()
    }

    /// Puts a whole text into a handset.
    fn buzz(&mut self, number: &str, received: Received) {
        // Nobody need listen.
        let _listeners = self.heard.send((number.to_owned(), received.clone())).is_ok();
        push(&mut self.subscriber(number).inbox, received, INBOX_MAX);
    }

    fn note(&mut self, at: Timestamp, event: Event) {
        push(&mut self.log, Entry { at, event }, LOG_MAX);
    }

    fn reference(&mut self) -> Reference {
        Reference::Narrow(self.rng.next_u32().to_le_bytes()[0])
    }

    /// Puts `downlink` into the post of the modem of `number`.
    fn bring(&mut self, number: &str, due: Timestamp, downlink: Downlink) {
        if let Some(modem) = self.modems.get_mut(number)
            && modem.waiting.len() < WAITING_MAX
        {
            modem.waiting.push((due, downlink));
            modem.wake.notify_one();
        }
    }

    /// A segment reaches its handset, or another modem.
    fn arrive(&mut self, held: &Held, at: Timestamp) {
        let to = held.submit.to.as_str().to_owned();
        if let Ok(sender) = Address::parse(&held.from) {
            let deliver =
                deliver_of(sender.clone(), held.submit.data.clone(), held.submit.class, at);
            if self.modems.contains_key(&to) {
                self.bring(&to, at, Downlink::Text(deliver));
            } else {
                let subscriber = self.subscriber(&to);
                let joined = subscriber.reassembler.add(&sender, &deliver.data, at);
                let flash = deliver.class == Some(Class::Flash);
                push(&mut subscriber.segments, deliver, INBOX_MAX);
                for message in joined {
                    let (from, text) = (message.from.as_str().to_owned(), message.text);
                    self.buzz(&to, Received { at, from, text, flash, way: Way::Modem });
                }
            }
        }
        self.note(at, Event::Arrived { to });
        self.report(held, Status::DELIVERED, at);
    }

    /// Tells the sender what became of its segment, where it wants to know.
    fn report(&mut self, held: &Held, status: Status, at: Timestamp) {
        let (delay, times) = match held.terms.fate {
            Fate::Once => (Duration::ZERO, 1),
            Fate::Twice => (Duration::ZERO, 2),
            Fate::Late(more) => (more, 1),
            Fate::Lost => return,
        };
        if !held.submit.receipt_wanted {
            return;
        }
        let report = StatusReport {
            reference: held.submit.reference,
            to: held.submit.to.clone(),
            submitted: Carrier::service_time(held.taken),
            discharged: Carrier::service_time(at),
            status,
            more_to_come: false,
            of_command: false,
        };
        for _ in 0..times {
            let due = at + held.terms.report_delay + delay;
            self.bring(&held.from, due, Downlink::Report(report.clone()));
            let (to, reference) = (held.from.clone(), report.reference);
            self.note(due, Event::Reported { to, reference, status });
        }
    }

    /// Gives up what has waited too long.
    fn expire(&mut self, now: Timestamp) {
        let expired: Vec<Held> = self.held.extract_if(.., |held| held.until <= now).collect();
        for held in expired {
            self.note(held.until, Event::Expired { to: held.submit.to.as_str().to_owned() });
            self.report(&held, Status::EXPIRED, held.until);
        }
    }
}

fn deliver_of(
    from: Address,
    data: crate::wire::tpdu::UserData,
    class: Option<Class>,
    at: Timestamp,
) -> Deliver {
    Deliver {
        from,
        protocol: 0,
        class,
        sent: Carrier::service_time(at),
        more_to_come: false,
        receipt_wanted: false,
        reply_path: false,
        data,
    }
}

/// Appends `one` to `queue`, whose oldest goes when it would hold more than `max`.
fn push<T>(queue: &mut VecDeque<T>, one: T, max: usize) {
    if queue.len() == max {
        queue.pop_front();
    }
    queue.push_back(one);
}
