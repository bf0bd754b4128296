//! Deliveries: one alert to one recipient by one channel, and what a channel can say of an attempt.

use crate::domain::time::Timestamp;
use std::fmt;
use std::time::Duration;

/// Which goes first when a channel is scarce. The order of the variants is the order of service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// Life is at stake: goes before everything, may overdraw the budget, is sent again when its fate is unknown.
    Danger,
    /// A hazard is likely: before advice.
    Warning,
    /// Good to know; never overdraws the budget, and is not repeated when its fate is unknown.
    Advice,
}

/// Number of a delivery in the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DeliveryId(pub i64);

/// What a text channel is asked to hand to its network, in one attempt.
#[derive(Clone, PartialEq, Eq)]
pub struct Submission {
    /// The delivery that this is an attempt at.
    pub delivery: DeliveryId,
    /// Recipient's number, E.164 with the leading `+`.
    pub to: String,
    /// The whole text; the channel splits it.
    pub text: String,
    /// How long the network may go on trying: the rest of the alert's validity.
    pub validity: Duration,
    /// Which goes first.
    pub priority: Priority,
    /// The same for every attempt at this delivery by this gateway, so that a provider can drop a repetition.
    pub idempotency_key: String,
    /// Shown on the screen at once, not stored (class 0), where the channel can.
    pub flash: bool,
}

impl fmt::Debug for Submission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submission").field("delivery", &self.delivery).finish_non_exhaustive()
    }
}

/// What is known after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Submitted {
    /// The network took every segment; it knows them by these references, in order.
    Accepted {
        /// One reference a segment: a modem's message reference in decimal, or a provider's message id.
        references: Vec<String>,
    },
    /// Nothing went out, and trying again may help.
    Retry {
        /// What was wrong, in the operator's words; holds no number and no text.
        reason: String,
        /// The earliest that the network wants to hear of it again, when it said so.
        after: Option<Duration>,
    },
    /// Nothing went out, and it never will by this channel to this recipient.
    Rejected {
        /// What was wrong, in the operator's words; holds no number and no text.
        reason: String,
    },
    /// The channel itself cannot work until somebody or something mends it (no SIM, no credit, wrong password);
    /// the delivery is not to blame and stays queued, or goes by another channel.
    ChannelDown {
        /// What was wrong, in the operator's words.
        reason: String,
    },
    /// Something may have gone out: the answer was lost, late or garbled.
    Unknown {
        /// What was seen instead of an answer.
        reason: String,
        /// References of the segments that certainly left.
        references: Vec<String>,
    },
}

/// The network's later word about one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkReceipt {
    /// The reference under which the segment was submitted.
    pub reference: String,
    /// The recipient's number as the network gives it, when it does: tells equal references apart.
    pub to: Option<String>,
    /// What the network says.
    pub state: ReceiptState,
}

/// What a network says about a segment that it took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptState {
    /// Still trying.
    Pending,
    /// In the recipient's telephone.
    Delivered,
    /// Given up, for good.
    Failed {
        /// Why, in the network's words.
        reason: String,
    },
    /// Its validity ran out before it could be delivered.
    Expired,
}

/// A text that came in.
#[derive(Clone, PartialEq, Eq)]
pub struct InboundText {
    /// Sender as the network gives it: a number, a short code or a name. Not authentication.
    pub from: String,
    /// The whole text, joined from its segments.
    pub text: String,
    /// When the gateway read it.
    pub received: Timestamp,
}

impl fmt::Debug for InboundText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InboundText").field("received", &self.received).finish_non_exhaustive()
    }
}
