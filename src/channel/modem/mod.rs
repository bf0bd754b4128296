//! A GSM or LTE modem on a serial port: texts out, status reports and texts in.
//!
//! One task owns the port. It runs one command at a time, keeps the news that comes between, and answers every request
//! exactly once. What it says of a text is what it knows: `Accepted` only with the network's reference, `Retry` and
//! `Rejected` only when nothing can have gone out, and `Unknown` for the rest.

mod inbox;
mod init;
mod port;
mod quirks;
mod run;
mod settings;
mod submit;
mod ussd;
mod watchdog;

pub use quirks::{GENERIC, KNOWN, Quirks, UssdForm, by_call, by_name};
pub use run::Error;
pub use settings::{Balance, Pin, ReferenceWidth, Settings, Times};

use crate::domain::message::{InboundText, NetworkReceipt, Submission, Submitted};
use crate::domain::time::Timestamp;
use crate::wire::at::Storage;
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

/// Requests that wait for the modem.
pub const REQUESTS_MAX: usize = 16;
/// Events that wait to be taken; what does not fit stays on the SIM.
pub const EVENTS_MAX: usize = 64;

/// Gives the gateway's own time.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What a modem can be asked. Each is answered once, on its `reply`.
#[derive(Debug)]
pub enum Request {
    /// Hand a text to the network, segment by segment.
    Submit {
        /// The text.
        submission: Submission,
        /// What became of it.
        reply: oneshot::Sender<Submitted>,
    },
    /// Dial a USSD code and return the network's answer.
    Ussd {
        /// What to dial, such as `*100#`.
        code: String,
        /// The answer.
        reply: oneshot::Sender<Result<String, Refused>>,
    },
    /// Ask for the balance, as the settings say, and return the amount.
    Balance {
        /// The amount as the operator writes it.
        reply: oneshot::Sender<Result<String, Refused>>,
    },
    /// Count what is stored on the SIM.
    Stored {
        /// Places taken and places in all.
        reply: oneshot::Sender<Result<Storage, Refused>>,
    },
    /// Delete everything that is stored on the SIM, handed over or not.
    DeleteStored {
        /// Whether it was done.
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// Cut the modem's power and restore it.
    PowerCycle {
        /// Whether it was done.
        reply: oneshot::Sender<Result<(), Refused>>,
    },
    /// Send a text to the SIM's own number and wait until it comes back.
    SelfTest {
        /// How long that took.
        reply: oneshot::Sender<Result<Duration, Refused>>,
    },
}

/// Why a request other than a text was not fulfilled, in the operator's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// What a modem tells unasked.
#[derive(Debug)]
pub enum Event {
    /// The network's word about a segment.
    Receipt(Handover<NetworkReceipt>),
    /// A text that came in.
    Text(Handover<InboundText>),
}

/// Something that the modem's side keeps until the other side has it for good.
#[derive(Debug)]
pub struct Handover<T> {
    /// What is handed over.
    pub item: T,
    taken: oneshot::Sender<()>,
}

impl<T> Handover<T> {
    /// Tells that the item is stored for good: it is deleted from the SIM, or acknowledged to the network. An item that
    /// is dropped without this word comes again.
    pub fn taken(self) -> T {
        // An error means that the modem's task is gone: the item comes again after its restart.
        let _restarting = self.taken.send(()).is_err();
        self.item
    }
}

/// How a modem is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// Whether it can send, and why not.
    pub state: State,
    /// What it calls itself.
    pub model: String,
    /// Name of the quirks in use.
    pub quirks: &'static str,
    /// Whether a network has it.
    pub registered: bool,
    /// Registration in words.
    pub registration: &'static str,
    /// Network operator's name.
    pub operator: String,
    /// `GSM`, `UMTS`, `LTE`; empty when unknown.
    pub technology: &'static str,
    /// Signal strength, -113 to -51 dBm.
    pub signal_dbm: Option<i16>,
    /// Service centre's number.
    pub service_centre: String,
    /// The SIM.
    pub sim: Sim,
    /// How full the SIM is.
    pub storage: Option<Storage>,
    /// Amount of the last balance query.
    pub balance: Option<String>,
    /// What was counted since the start.
    pub counts: Counts,
}

/// Whether a modem can send.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It is being started.
    #[default]
    Starting,
    /// It looks for a network.
    Searching,
    /// It can send.
    Ready,
    /// It cannot, for this reason.
    Down(String),
}

/// The state of a SIM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sim {
    /// Not asked yet.
    #[default]
    Unknown,
    /// Ready.
    Ready,
    /// Not there, or broken.
    Absent,
    /// It wants a PIN, and none is configured.
    PinWanted,
    /// It refused the PIN; it is not tried again, because the third wrong one locks it.
    PinRefused,
    /// It is locked and wants its PUK.
    PukWanted,
}

/// What was counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Segments that the network took.
    pub segments_accepted: u64,
    /// Segments whose outcome is unknown.
    pub segments_unknown: u64,
    /// Segments that were refused.
    pub segments_refused: u64,
    /// Answers that came when nobody waited for them any longer.
    pub late_answers: u64,
    /// Lines that were neither answer nor news.
    pub noise_lines: u64,
    /// News that found the queue full.
    pub news_dropped: u64,
    /// Stored or direct messages that are no PDU.
    pub undecodable: u64,
    /// Handovers that found the queue full, and come again.
    pub handovers_refused: u64,
    /// Times that the modem was restarted by command.
    pub resets: u64,
    /// Times that its power was cut.
    pub power_cycles: u64,
}

/// The other end of a [`Modem`].
#[derive(Debug)]
pub struct Line {
    /// Takes requests.
    pub requests: mpsc::Sender<Request>,
    /// Gives receipts and texts.
    pub events: mpsc::Receiver<Event>,
    /// Shows how the modem is.
    pub health: watch::Receiver<Health>,
}

/// A modem's task, not yet running: see [`Modem::run`].
pub struct Modem {
    requests: mpsc::Receiver<Request>,
    driver: Driver,
}

/// All but the requests, which are answered even while the driver is busy with a modem that does not work.
struct Driver {
    settings: Settings,
    clock: Clock,
    events: mpsc::Sender<Event>,
    published: watch::Sender<Health>,
    health: Health,
    quirks: &'static Quirks,
    inbox: inbox::Inbox,
    stage: watchdog::Stage,
    /// The fault that was logged last: each is logged once.
    told: Option<String>,
    /// Wait before the port is opened again.
    backoff: Duration,
    /// Since when it has been without a network, or unplugged.
    astray: Option<Instant>,
    /// The next text may go out.
    next_text: Instant,
    /// Number that the segments of the last long text shared.
    concat: u16,
    self_test: Option<submit::SelfTest>,
    random: ChaCha8Rng,
}

impl fmt::Debug for Modem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Modem").field("name", &self.driver.settings.name).finish_non_exhaustive()
    }
}

impl Modem {
    /// Returns a modem and the line to it. Nothing happens before [`Modem::run`].
    #[must_use]
    pub fn new(settings: Settings, clock: Clock) -> (Self, Line) {
        let (requests_in, requests) = mpsc::channel(REQUESTS_MAX);
        let (events, events_out) = mpsc::channel(EVENTS_MAX);
        let (published, health) = watch::channel(Health::default());
        let mut random = ChaCha8Rng::seed_from_u64(settings.seed);
        // Not always the same after a restart: segments of the last text may still be on their way.
        let [low, high, ..] = random.next_u32().to_le_bytes();
        let driver = Driver {
            inbox: inbox::Inbox::new(settings.times.segments_wait),
            stage: watchdog::Stage::Fine,
            told: None,
            backoff: settings.times.reopen_min,
            astray: None,
            next_text: Instant::now(),
            concat: u16::from_le_bytes([low, high]),
            self_test: None,
            random,
            health: Health {
                quirks: GENERIC.name,
                registration: "not asked yet",
                ..Health::default()
            },
            quirks: &GENERIC,
            settings,
            clock,
            events,
            published,
        };
        (Self { requests, driver }, Line { requests: requests_in, events: events_out, health })
    }
}

impl Driver {
    fn publish(&mut self) {
        let health = &self.health;
        self.published.send_if_modified(|shown| {
            let changed = shown != health;
            if changed {
                shown.clone_from(health);
            }
            changed
        });
    }

    fn show(&mut self, state: State) {
        self.health.state = state;
        self.publish();
    }
}
