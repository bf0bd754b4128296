//! The gateway's own radio: frames of our own nodes from the antenna, and answers back to them.
//!
//! The chip is driven by lora-phy, on this machine's bus (`wired.rs`) or emulated behind a socket (`linked.rs`); what is
//! wrong with the driver is mended between it and the bus (`shim.rs`). One thread does all of it, because the bus blocks.
//! It listens without a pause; when something is to be sent (`schedule.rs`), listening ends in order, the channel is
//! felt, and the frame goes out if the country's plan has airtime left for it. A chip that does not answer is reset and
//! begun anew, with growing pauses, and counted.

mod chip;
mod linked;
mod schedule;
mod shim;
mod station;
mod wired;

pub use chip::{Chip, Circuit};
pub use wired::Wires;

use crate::domain::airtime::Plan;
use crate::domain::frame::Envelope;
use crate::domain::radio::{Downlink, Modulation};
use crate::domain::time::Timestamp;
use crate::supervise::Stop;
use crate::telemetry::{Clock, Counter};
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{self, Arc, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Mutex, mpsc};

/// Pause after the driver has panicked.
const AFTER_PANIC: Duration = Duration::from_secs(1);

/// What the radio is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Name of this source in origins.
    pub link: Arc<str>,
    /// How the chip is reached.
    pub bus: Bus,
    /// What it is, and how its board is made.
    pub circuit: Circuit,
    /// Channel, Hz.
    pub frequency_hz: u32,
    /// Spreading factor and bandwidth.
    pub modulation: Modulation,
    /// What may be sent; none: nothing.
    pub plan: Option<&'static Plan>,
    /// Most power, dBm.
    pub power_dbm: i32,
    /// Gain of the antenna, dBi.
    pub antenna_dbi: f64,
    /// Where the account of airtime is kept for the time after a restart.
    pub record: Option<PathBuf>,
}

/// How a chip is reached.
#[derive(Clone, Debug)]
pub enum Bus {
    /// By this machine's own bus and lines.
    Wired(Wires),
    /// Emulated, behind the Unix socket of that path.
    Linked(PathBuf),
}

/// How the radio is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It is being begun.
    #[default]
    Starting,
    /// It listens.
    Listening,
    /// It does not answer.
    Down(String),
}

/// What the radio counts, and how it is.
#[derive(Debug, Default)]
pub struct Counters {
    state: sync::Mutex<State>,
    share: sync::Mutex<Option<(f64, f64)>>,
    heard: sync::Mutex<Option<Timestamp>>,
    /// Frames handed on.
    pub frames: Counter,
    /// Frames with a damaged checksum or header.
    pub damaged: Counter,
    /// Frames that found no room.
    pub dropped: Counter,
    /// Frames sent.
    pub sent: Counter,
    /// Frames that came too late for their windows, or found the queue full.
    pub late: Counter,
    /// Frames for which no airtime was left, or that the plan does not let out at all.
    pub held: Counter,
    /// Frames put off because somebody else was on the air.
    pub busy: Counter,
    /// How often the chip was begun anew.
    pub resets: Counter,
}

impl Counters {
    /// Returns how the radio is.
    #[must_use]
    pub fn state(&self) -> State {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the share of the last hour that was sent, and the share that is allowed, if that is limited.
    #[must_use]
    pub fn share(&self) -> Option<(f64, f64)> {
        *self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns when a frame was heard last.
    #[must_use]
    pub fn heard(&self) -> Option<Timestamp> {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_state(&self, state: State) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }

    fn set_share(&self, share: Option<(f64, f64)>) {
        *self.share.lock().unwrap_or_else(PoisonError::into_inner) = share;
    }

    fn set_heard(&self, at: Timestamp) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = Some(at);
    }
}

/// Why the chip is begun anew.
#[derive(Debug, Error)]
enum Fault {
    /// A bus, a line or a socket cannot be opened.
    #[error("cannot open {what}")]
    Open {
        /// Which.
        what: String,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The chip did something else than the driver expects.
    #[error("the chip does not do what it is told ({0:?})")]
    Driver(lora_phy::mod_params::RadioError),
    /// It said nothing for too long.
    #[error("the chip did not say that it had sent")]
    Silent,
    /// The emulated chip's end of the link is gone.
    #[error("the link to the emulated chip broke")]
    Link(#[source] std::io::Error),
    /// The driver has no such modulation.
    #[error("the driver knows no such spreading factor, bandwidth or frequency")]
    Modulation,
}

/// The radio.
pub struct Radio {
    settings: Settings,
    clock: Clock,
    frames: mpsc::Sender<Envelope>,
    counters: Arc<Counters>,
}

impl Radio {
    /// Makes it; nothing is opened yet.
    #[must_use]
    pub fn new(settings: Settings, clock: Clock, frames: mpsc::Sender<Envelope>) -> Self {
        Self { settings, clock, frames, counters: Arc::default() }
    }

    /// Returns what it counts.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Listens and sends until it is told to stop, on a thread of its own: the bus blocks.
    ///
    /// # Errors
    ///
    /// None: a radio that cannot be reached is tried again.
    pub async fn run(
        self,
        downlinks: mpsc::Receiver<Downlink>,
        stop: Stop,
    ) -> Result<(), Infallible> {
        let desk =
            Arc::new(Mutex::new(station::Desk::new(&self.settings, downlinks, self.clock.now())));
        let radio = Arc::new(self);
        loop {
            let runtime = tokio::runtime::Handle::current();
            let (of, desk, stop) = (Arc::clone(&radio), Arc::clone(&desk), stop.clone());
            let work = move || {
                runtime.block_on(async { station::run(&of, &mut *desk.lock().await, stop).await });
            };
            let Err(error) = tokio::task::spawn_blocking(work).await else { return Ok(()) };
            // The driver panics where a chip does what its author did not think of.
            tracing::error!(%error, "the radio's thread ended: it is begun anew");
            radio.counters.resets.add(1);
            radio.counters.set_state(State::Down(error.to_string()));
            tokio::time::sleep(AFTER_PANIC).await;
        }
    }
}
