//! The outbox: which text goes next on which channel, and what every answer, receipt, silence and restart means for it.
//!
//! Pure: the caller passes `now`, stores the [`Change`]s and moves the bytes. The order that DESIGN §6 demands is
//!
//! 1. [`Outbox::claim`] chooses a delivery for a lane and returns the rows that say so;
//! 2. the caller stores them, durably;
//! 3. [`Outbox::begin`] releases the [`Submission`](crate::domain::message::Submission), or calls it off;
//! 4. the channel answers exactly once, by [`Outbox::on_submitted`]; or the caller lost it: [`Outbox::on_lane_lost`].
//!
//! Every other method returns the rows that it changed, in the order in which they changed. After they are stored,
//! [`Outbox::stored`] lets go of what has ended.

mod record;
mod settings;

pub use record::{
    Attempt, AttemptId, BootId, Change, Delivery, DeliveryState, End, Outcome, Reference, Route,
    Stop, Subject,
};
pub use settings::*;

use crate::domain::message::{DeliveryId, NetworkReceipt, Submission, Submitted};
use crate::domain::recipient::RecipientId;
use crate::domain::time::Timestamp;
use crate::domain::warning::WarningId;

/// Everything that the store knows of at a start.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Every delivery that has not ended.
    pub deliveries: Vec<Delivery>,
    /// Their attempts whose outcome is `Open`, `Accepted` or `Unknown`.
    pub attempts: Vec<Attempt>,
    /// The highest attempt number given.
    pub attempt_last: AttemptId,
    /// For each open warning, the number of its newest alert.
    pub newest: Vec<(WarningId, u32)>,
    /// For each open warning, the recipients of deliveries that `reached` them (all-clears apart).
    pub told: Vec<(WarningId, RecipientId)>,
    /// Segments of the attempts started on the present [`day`] that may have left.
    pub spent: u32,
}

/// A delivery chosen for a lane. Nothing goes out before `changes` are stored and [`Outbox::begin`] was called.
#[derive(Debug)]
pub struct Claim {
    /// Which delivery.
    pub delivery: DeliveryId,
    /// The attempt to be stored.
    pub attempt: AttemptId,
    /// The rows to store: the delivery as `Writing`, and the attempt.
    pub changes: Vec<Change>,
}

/// Whether a claimed delivery goes out.
#[derive(Debug)]
pub enum Begin {
    /// It does: hand this to the channel.
    Send(Submission),
    /// It does not any more; the lane is free and these rows say why.
    CalledOff(Vec<Change>),
}

/// What the modem's memory, or a provider's list of messages, says about an attempt of unknown fate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// It left; by these references, as far as they are known.
    Left {
        /// One a segment.
        references: Vec<String>,
    },
    /// Nothing of it left.
    NeverLeft,
}

/// What was turned away, or could not be made sense of, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Deliveries that ended because the outbox was full.
    pub turned_away: u64,
    /// Receipts that fit nothing that is awaited.
    pub receipts_unmatched: u64,
    /// Receipts that fit more than one attempt, and so prove nothing.
    pub receipts_ambiguous: u64,
    /// Receipts that came before the answer and found no room to wait for it.
    pub receipts_early_dropped: u64,
    /// Answers about deliveries that were not in flight.
    pub answers_unmatched: u64,
    /// Open warnings whose list of told people was given up for want of room.
    pub told_overflowed: u64,
}

/// The outbox of one gateway.
#[derive(Debug)]
pub struct Outbox;

impl Outbox {
    /// Takes up what the store holds: what was being written is unknown now, and what a later alert replaces stops.
    #[must_use]
    pub fn recover(
        settings: Settings,
        stored: Stored,
        boot: BootId,
        now: Timestamp,
    ) -> (Self, Vec<Change>) {
        todo!()
    }
    /// Takes deliveries that were just stored. An alert supersedes those before it of its warning.
    pub fn insert(&mut self, deliveries: Vec<Delivery>, now: Timestamp) -> Vec<Change> {
        todo!()
    }
    /// Chooses what goes next on `channel`: by priority, then rank, then age.
    pub fn claim(&mut self, channel: &str, now: Timestamp) -> Option<Claim> {
        todo!()
    }
    /// Releases a claimed delivery, now that its attempt is stored.
    pub fn begin(&mut self, delivery: DeliveryId, now: Timestamp) -> Begin {
        todo!()
    }
    /// Takes a claim back, because its rows could not be stored.
    pub fn disarm(&mut self, delivery: DeliveryId, now: Timestamp) -> Vec<Change> {
        todo!()
    }
    /// Takes the channel's answer.
    pub fn on_submitted(
        &mut self,
        delivery: DeliveryId,
        channel: &str,
        answer: Submitted,
        now: Timestamp,
    ) -> Vec<Change> {
        todo!()
    }
    /// Takes the network's later word about a segment.
    pub fn on_receipt(
        &mut self,
        channel: &str,
        receipt: &NetworkReceipt,
        now: Timestamp,
    ) -> Vec<Change> {
        todo!()
    }
    /// Takes what was found out about an attempt of unknown fate.
    pub fn on_evidence(
        &mut self,
        delivery: DeliveryId,
        evidence: Evidence,
        now: Timestamp,
    ) -> Vec<Change> {
        todo!()
    }
    /// Takes note that a channel works no more.
    pub fn on_channel_down(&mut self, channel: &str, reason: &str) {
        todo!()
    }
    /// Takes note that a channel works again.
    pub fn on_channel_up(&mut self, channel: &str) {
        todo!()
    }
    /// Takes note that the task of a channel is gone with its answer; a new one starts empty.
    pub fn on_lane_lost(&mut self, channel: &str, now: Timestamp) -> Vec<Change> {
        todo!()
    }
    /// Does what is due by the clock alone.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Change> {
        todo!()
    }
    /// Stops what is older than alert `number` of `warning`. Needed only for an alert that nobody is told.
    pub fn supersede(&mut self, warning: WarningId, number: u32, now: Timestamp) -> Vec<Change> {
        todo!()
    }
    /// Stops everything to a recipient who does not want to be told any more.
    pub fn opt_out(&mut self, recipient: RecipientId, now: Timestamp) -> Vec<Change> {
        todo!()
    }
    /// Returns whether `recipient` got, or may have got, an alert of `warning`.
    #[must_use]
    pub fn was_told(&self, warning: WarningId, recipient: RecipientId) -> bool {
        todo!()
    }
    /// Forgets who was told of a warning that is over.
    pub fn close(&mut self, warning: WarningId) {
        todo!()
    }
    /// Lets go of the ended deliveries among `changes`, now that those are stored.
    pub fn stored(&mut self, changes: &[Change]) {
        todo!()
    }
    /// Returns the next moment after `now` at which `tick` or `claim` may have something to do that they have not now.
    #[must_use]
    pub fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        todo!()
    }
    /// Returns a delivery that is held.
    #[must_use]
    pub fn get(&self, delivery: DeliveryId) -> Option<&Delivery> {
        todo!()
    }
    /// Returns the deliveries held, by number.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        std::iter::empty()
    }
    /// Returns the attempts whose fate may still be learnt, such as the unknown ones that a channel should look for.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        std::iter::empty()
    }
    /// Returns the segments spent on the day of `now`.
    #[must_use]
    pub fn segments_spent(&self, now: Timestamp) -> u32 {
        todo!()
    }
    /// Returns what was turned away.
    #[must_use]
    pub fn counters(&self) -> Counters {
        todo!()
    }
}

/// Returns the day of the budget that `at` lies in.
#[must_use]
pub const fn day(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MS)
}
