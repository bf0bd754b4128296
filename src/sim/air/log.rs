//! What happened on the air, in order, and one number for all of it.

use super::ChipId;
use super::ether::Sender;
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Entries that the log holds; older ones go, and stay in the digest.
pub const LOG_MAX: usize = 100_000;

/// Why a frame that a receiver was tuned to did not reach it whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// Reception began when too little of the preamble was left.
    Late,
    /// The receiver was busy with another frame.
    Busy,
    /// Below what can be demodulated.
    Weak,
    /// Another frame was not weaker enough.
    Clash,
    /// Another sync word.
    SyncWord,
    /// One had a header, and the other expected none; or they disagree about what is agreed beforehand.
    Shape,
    /// The sender stopped in the middle.
    Cut,
    /// By the seed's will.
    Chance,
    /// The receiver was switched off or tuned away in the middle.
    Left,
    /// A jammer's noise was too much; without it, it would have been strong enough.
    Jammed,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 10] = [
        Self::Late,
        Self::Busy,
        Self::Weak,
        Self::Clash,
        Self::SyncWord,
        Self::Shape,
        Self::Cut,
        Self::Chance,
        Self::Left,
        Self::Jammed,
    ];

    /// Returns its word for people and machines.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Late => "late",
            Self::Busy => "busy",
            Self::Weak => "weak",
            Self::Clash => "clash",
            Self::SyncWord => "sync_word",
            Self::Shape => "shape",
            Self::Cut => "cut",
            Self::Chance => "chance",
            Self::Left => "left",
            Self::Jammed => "jammed",
        }
    }
}

/// What a chip sent, heard and missed since it stands on its air, whatever the log has forgotten.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames that it sent.
    pub sent: u64,
    /// Frames that reached it whole.
    pub heard: u64,
    /// Frames that it was tuned to and did not get, by reason.
    pub missed: BTreeMap<Reason, u64>,
    /// Frames that began while it did not listen: it slept, or sent itself.
    pub deaf: u64,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A frame went on the air.
    Sent {
        /// Who sent it.
        by: Sender,
        /// Its number.
        frame: u64,
        /// On which frequency, Hz, rounded.
        frequency_hz: u32,
        /// 5 to 12.
        spreading_factor: u8,
        /// How long it is.
        airtime: Duration,
        /// What it holds.
        payload: Arc<[u8]>,
    },
    /// A frame reached a receiver whole, as far as its checksum can tell.
    Heard {
        /// Who heard it.
        by: ChipId,
        /// The frame's number.
        frame: u64,
    },
    /// A frame reached a receiver damaged, or not at all.
    Missed {
        /// Who missed it.
        by: ChipId,
        /// The frame's number.
        frame: u64,
        /// Why.
        reason: Reason,
    },
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// When, from the beginning of the air.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// The log and its digest.
#[derive(Debug, Default)]
pub(super) struct Log {
    pub(super) entries: VecDeque<Event>,
    /// One for each chip that did anything.
    pub(super) tallies: BTreeMap<ChipId, Tally>,
    hasher: Sha256,
}

impl Log {
    pub(super) fn note(&mut self, at: Duration, what: What) {
        self.hasher.update(at.as_nanos().to_le_bytes());
        match &what {
            What::Sent { by, frame, frequency_hz, spreading_factor, airtime, payload } => {
                let (kind, number) = match by {
                    Sender::Chip(chip) => (0_u8, u64::from(chip.0)),
                    Sender::Attacker(index) => (1, *index as u64),
                };
                self.hasher.update([0, kind, *spreading_factor]);
                self.hasher.update(number.to_le_bytes());
                self.hasher.update(frame.to_le_bytes());
                self.hasher.update(frequency_hz.to_le_bytes());
                self.hasher.update(airtime.as_nanos().to_le_bytes());
                self.hasher.update((payload.len() as u64).to_le_bytes());
                self.hasher.update(payload);
            }
            What::Heard { by, frame } => {
                self.hasher.update([1]);
                self.hasher.update(by.0.to_le_bytes());
                self.hasher.update(frame.to_le_bytes());
            }
            What::Missed { by, frame, reason } => {
                self.hasher.update([2, *reason as u8]);
                self.hasher.update(by.0.to_le_bytes());
                self.hasher.update(frame.to_le_bytes());
            }
        }
        self.tally(&what);
        if self.entries.len() >= LOG_MAX {
            self.entries.pop_front();
        }
        self.entries.push_back(Event { at, what });
    }

    fn tally(&mut self, what: &What) {
        match *what {
            What::Sent { by: Sender::Chip(by), .. } => self.tally_of(by).sent += 1,
            What::Sent { by: Sender::Attacker(_), .. } => {}
            What::Heard { by, .. } => self.tally_of(by).heard += 1,
            What::Missed { by, reason, .. } => {
                *self.tally_of(by).missed.entry(reason).or_default() += 1;
            }
        }
    }

    /// Returns the counts of a chip, to add to.
    pub(super) fn tally_of(&mut self, chip: ChipId) -> &mut Tally {
        self.tallies.entry(chip).or_default()
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        self.hasher.clone().finalize().into()
    }
}
