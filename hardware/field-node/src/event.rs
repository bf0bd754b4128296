//! What the node's logic hears, and what it wants done.

use crate::filter::{Filter, Raw, Samples};
use crate::sealed::{FIELDS_MAX, Frame};

/// What happened. Exactly one follows each [`Action`].
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Power came; the first event.
    Started,
    /// The time of [`Action::Sleep`] is over, or something woke the board early.
    Woke,
    /// What [`Action::Sample`] asked for.
    Sampled(&'a Measured),
    /// A frame is on the air, whole.
    Sent,
    /// A frame is not on the air.
    NotSent(NotSent),
    /// Somebody was heard.
    Heard(&'a [u8]),
    /// Nobody was heard until the time of [`Action::Listen`] was over, or the radio failed.
    Silence,
    /// The relay did what [`Action::Switch`] asked for.
    Switched,
}

/// Why a frame is not on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// Somebody else is.
    Busy,
    /// The radio failed; it was begun again.
    Failed,
}

#[allow(
    clippy::large_enum_variant,
    reason = "without a heap there is no box, and one lives at a time"
)]
/// What is to be done. Then tell the logic how it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Nothing until then.
    Sleep {
        /// Uptime, ms.
        until_ms: u64,
    },
    /// Measure each field as often as its filter says, and the battery.
    Sample,
    /// Send, once.
    Transmit(Frame),
    /// Listen.
    Listen(Listen),
    /// Close the siren's relay, or open it.
    Switch {
        /// Whether the siren is to sound.
        on: bool,
    },
}

/// How long to listen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// From a moment on until so many symbols have passed without a preamble.
    Window {
        /// Uptime, ms.
        from_ms: u64,
        /// Symbols.
        symbols: u16,
    },
    /// Until a moment, all the time.
    Until {
        /// Uptime, ms.
        until_ms: u64,
    },
    /// Until a moment, now and then.
    Sampled {
        /// Uptime, ms.
        until_ms: u64,
        /// Awake for so long, ms.
        awake_ms: u32,
        /// Then asleep for so long, ms.
        asleep_ms: u32,
    },
}

/// One set of measurements.
#[derive(Clone, Copy, Debug, Default)]
pub struct Measured {
    /// For each field of the schema.
    pub fields: [Samples; FIELDS_MAX],
    /// Battery, mV; 0 if it is not measured.
    pub battery_mv: u16,
}

impl Measured {
    /// Adds one measurement of a field.
    pub fn push(&mut self, field: usize, raw: Raw, filter: &Filter) {
        if let Some(samples) = self.fields.get_mut(field) {
            samples.push(raw, filter);
        }
    }
}
