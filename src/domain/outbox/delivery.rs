//! One alert to one recipient by one channel.

use super::{REPORT_WAIT, UNKNOWN_WAIT};
use crate::domain::message::{DeliveryId, Priority, Submission};
use crate::domain::recipient::{PhoneNumber, RecipientId};
use crate::domain::time::Timestamp;
use crate::domain::warning::{MessageType, WarningId};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fmt::Write as _;
use std::time::Duration;

/// Letters of an idempotency key: 104 bits.
const KEY_LETTERS: usize = 26;

/// One alert (or notice) to one recipient.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub id: DeliveryId,
    /// The alert; `None` for a notice or a test.
    pub alert: Option<(WarningId, u32)>,
    /// What the alert does to those before it.
    pub message_type: MessageType,
    /// To whom.
    pub recipient: RecipientId,
    /// Their number.
    pub number: PhoneNumber,
    /// What is said.
    pub text: String,
    /// Segments that the text takes.
    pub segments: u32,
    /// Which goes first.
    pub priority: Priority,
    /// Who goes first among equals.
    pub rank: u32,
    /// Channels, best first.
    pub channels: Vec<String>,
    /// Which of them is used now.
    pub channel_number: usize,
    /// Channels that have refused it for good.
    pub refused: Vec<usize>,
    /// When it was planned.
    pub created: Timestamp,
    /// Nothing may leave after this.
    pub expires: Timestamp,
    /// Not to be tried before this.
    pub due: Timestamp,
    /// Attempts on the channel that is used now.
    pub attempts: u32,
    /// A copy may have gone out before: this one may be the second.
    pub possible_duplicate: bool,
    /// Where it stands.
    pub state: State,
    /// What was last wrong.
    pub reason: Option<String>,
    /// When it reached its end.
    pub ended: Option<Timestamp>,
}

/// Where a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Waits for its turn.
    Queued,
    /// Is with the channel: bytes may be going out.
    Writing,
    /// The network has it.
    Submitted {
        /// Its segments.
        references: Vec<Reference>,
        /// Since when.
        since: Timestamp,
    },
    /// Something may have gone out, and nobody has said what.
    Unknown {
        /// Segments that have certainly left.
        references: Vec<Reference>,
        /// Since when.
        since: Timestamp,
    },
    /// Is over.
    Ended(End),
}

/// How a delivery ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The network says that every segment is in the recipient's telephone.
    Delivered,
    /// The network took it, and said no more.
    Accepted,
    /// No channel could, for this reason.
    Failed {
        /// The reason, in the operator's words.
        reason: String,
    },
    /// Its time ran out.
    Expired,
    /// Nobody knows whether it went out.
    Unknown,
    /// A newer alert took its place before it left, or there was nothing to take back.
    Superseded,
    /// The recipient did not want it.
    OptedOut,
}

/// A segment as the network knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// The network's reference.
    pub reference: String,
    /// The network says that it has arrived.
    pub delivered: bool,
}

impl Reference {
    /// Makes the reference of a segment that has just been submitted.
    #[must_use]
    pub fn new(reference: String) -> Self {
        Self { reference, delivered: false }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("alert", &self.alert)
            .field("recipient", &self.recipient)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl State {
    /// Returns the word used in the database, in JSON and on screen.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Writing => "writing",
            Self::Submitted { .. } => "submitted",
            Self::Unknown { .. } | Self::Ended(End::Unknown) => "unknown",
            Self::Ended(End::Delivered) => "delivered",
            Self::Ended(End::Accepted) => "accepted",
            Self::Ended(End::Failed { .. }) => "failed",
            Self::Ended(End::Expired) => "expired",
            Self::Ended(End::Superseded) => "superseded",
            Self::Ended(End::OptedOut) => "opted_out",
        }
    }

    /// Returns whether the recipient has, or may have, been told.
    #[must_use]
    pub const fn may_have_left(&self) -> bool {
        match self {
            Self::Writing
            | Self::Submitted { .. }
            | Self::Unknown { .. }
            | Self::Ended(End::Delivered | End::Accepted | End::Unknown) => true,
            Self::Queued
            | Self::Ended(End::Failed { .. } | End::Expired | End::Superseded | End::OptedOut) => {
                false
            }
        }
    }
}

impl Delivery {
    /// Returns the channel that is used now.
    #[must_use]
    pub fn channel(&self) -> Option<&str> {
        self.channels.get(self.channel_number).map(String::as_str)
    }

    /// Returns its segments as the network knows them.
    #[must_use]
    pub fn references(&self) -> &[Reference] {
        match &self.state {
            State::Submitted { references, .. } | State::Unknown { references, .. } => references,
            State::Queued | State::Writing | State::Ended(_) => &[],
        }
    }

    /// Notes that a segment has arrived. Returns whether all have.
    pub(super) fn segment_delivered(&mut self, reference: &str) -> bool {
        let (State::Submitted { references, .. } | State::Unknown { references, .. }) =
            &mut self.state
        else {
            return false;
        };
        if let Some(segment) =
            references.iter_mut().find(|r| r.reference == reference && !r.delivered)
        {
            segment.delivered = true;
        }
        references.iter().all(|r| r.delivered)
    }

    /// Goes on to the next channel that has not refused. Returns whether there is one.
    pub(super) fn next_channel(&mut self, refused: bool) -> bool {
        if refused {
            self.refused.push(self.channel_number);
        }
        let count = self.channels.len();
        let next = (1..=count)
            .map(|step| (self.channel_number + step) % count)
            .find(|place| !self.refused.contains(place));
        if let Some(place) = next {
            self.channel_number = place;
        }
        next.is_some()
    }

    /// Returns until when somebody else's word is waited for.
    pub(super) fn wait_until(&self) -> Option<Timestamp> {
        match &self.state {
            State::Submitted { since, .. } => Some(self.expires.max(*since) + REPORT_WAIT),
            State::Unknown { since, .. } => Some(*since + UNKNOWN_WAIT),
            State::Queued | State::Writing | State::Ended(_) => None,
        }
    }

    pub(super) fn wait_is_over(&self, now: Timestamp) -> bool {
        self.wait_until().is_some_and(|until| until <= now)
    }

    /// Returns what a channel is asked to hand over.
    pub(super) fn submission(&self, gateway: &str, validity: Duration) -> Submission {
        Submission {
            delivery: self.id,
            to: self.number.as_str().to_owned(),
            text: self.text.clone(),
            validity,
            priority: self.priority,
            idempotency_key: self.idempotency_key(gateway),
            flash: false,
        }
    }

    /// The same for every attempt at this delivery, and for no other.
    fn idempotency_key(&self, gateway: &str) -> String {
        let mut digest = Sha256::new();
        digest.update(format!("{gateway}|{}|{}|{:?}", self.id.0, self.recipient.0, self.alert));
        let mut key = String::with_capacity(KEY_LETTERS);
        for byte in digest.finalize().iter().take(KEY_LETTERS / 2) {
            write!(key, "{byte:02x}").expect("a String takes all that is written");
        }
        key
    }
}
