//! The outbox: which text goes next on which channel, and what every answer, receipt, silence and restart means for it.
//!
//! Pure: the caller passes `now`, stores the [`Change`]s and moves the bytes. The order that DESIGN §6 demands is
//!
//! 1. [`Outbox::claim`] chooses a delivery for a lane and returns the rows that say so;
//! 2. the caller stores them, durably;
//! 3. [`Outbox::begin`] releases the [`Submission`], or calls it off;
//! 4. the channel answers exactly once, by [`Outbox::on_submitted`]; an answer that was lost is `Unknown`.
//!
//! Every other method returns the rows that it changed, in the order in which they changed. After they are stored,
//! [`Outbox::stored`] lets go of what has ended.

mod answer;
mod claim;
mod people;
mod record;
mod review;
mod settings;
mod tally;
#[cfg(test)]
mod tests;

pub use record::{
    Attempt, AttemptId, BootId, Change, Delivery, DeliveryState, End, Outcome, Reference, Route,
    Stop, Subject,
};
pub use review::retry_delay;
pub use settings::*;
pub use tally::{Tally, tally};

use crate::domain::message::{DeliveryId, NetworkReceipt, Submission};
use crate::domain::planted::{self, Bug};
use crate::domain::recipient::RecipientId;
use crate::domain::time::Timestamp;
use crate::domain::warning::{MessageType, WarningId};
use people::People;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Everything that the store knows of at a start.
#[derive(Clone, Debug, Default)]
pub struct Stored {
    /// Every delivery that has not ended.
    pub deliveries: Vec<Delivery>,
    /// Their attempts whose outcome is `Open`, `Accepted` or `Unknown`.
    pub attempts: Vec<Attempt>,
    /// The highest attempt number given.
    pub attempt_last: AttemptId,
    /// The newest alert of each warning that is open or has a delivery that has not ended.
    pub newest: Vec<(WarningId, u32, MessageType)>,
    /// For the same warnings, the recipients of the deliveries that `reached` them, all-clears apart.
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
    /// The rows to store: the attempt, and the delivery as `Writing`.
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

/// A delivery, and those of its attempts that have left or may have.
#[derive(Debug)]
struct Held {
    delivery: Delivery,
    attempts: Vec<Attempt>,
}

/// A channel, as the outbox sees it.
#[derive(Debug)]
struct Lane {
    settings: LaneSettings,
    down: Option<String>,
    in_flight: BTreeSet<DeliveryId>,
    free_at: Timestamp,
    last_reference: Option<u8>,
    /// Receipts that came while the answer that explains them is still to come.
    early: Vec<NetworkReceipt>,
}

/// Segments spent on one day.
#[derive(Clone, Copy, Debug)]
struct Spend {
    day: i64,
    segments: u32,
}

/// The outbox of one gateway.
#[derive(Debug)]
pub struct Outbox {
    boot: BootId,
    budget: Option<Budget>,
    deliveries_max: usize,
    lanes: BTreeMap<Arc<str>, Lane>,
    held: BTreeMap<DeliveryId, Held>,
    /// Which deliveries have an attempt with this reference.
    by_reference: BTreeMap<String, BTreeSet<DeliveryId>>,
    people: People,
    attempt_last: AttemptId,
    spend: Spend,
    counters: Counters,
}

impl Outbox {
    /// Takes up what the store holds: what was being written is unknown now, and what a later alert replaced stops.
    ///
    /// Safe to repeat: a crash before the returned rows are stored, and another start, lead to the same rows.
    #[must_use]
    pub fn recover(
        settings: Settings,
        stored: Stored,
        boot: BootId,
        now: Timestamp,
    ) -> (Self, Vec<Change>) {
        let lanes = settings.lanes.into_iter().map(|lane| (lane.name.clone(), Lane::new(lane)));
        let mut outbox = Self {
            boot,
            budget: settings.budget,
            deliveries_max: settings.deliveries_max,
            lanes: lanes.collect(),
            held: BTreeMap::new(),
            by_reference: BTreeMap::new(),
            people: People::new(stored.newest, stored.told),
            attempt_last: stored.attempt_last,
            spend: Spend { day: day(now), segments: stored.spent },
            counters: Counters::default(),
        };
        for delivery in stored.deliveries {
            outbox.people.note_alert(&delivery);
            outbox.held.insert(delivery.id, Held { delivery, attempts: Vec::new() });
        }
        let mut attempts = stored.attempts;
        attempts.sort_by_key(|attempt| attempt.id);
        for attempt in attempts {
            outbox.take_up(attempt);
        }
        let mut changes = Vec::new();
        outbox.doubt_what_was_written(now, &mut changes);
        outbox.stop_replaced(None, now, &mut changes);
        changes.extend(outbox.tick(now));
        (outbox, changes)
    }

    /// Takes deliveries that were just stored as `Queued`. An alert stops those before it of its warning.
    ///
    /// All deliveries of one alert come in one call. Those that are held already are passed over. Above the bound, the last in turn end at once.
    pub fn insert(&mut self, deliveries: Vec<Delivery>, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        let mut warnings = BTreeSet::new();
        for delivery in deliveries {
            self.people.note_alert(&delivery);
            warnings.extend(delivery.alert().map(|(warning, _)| warning));
            self.held.entry(delivery.id).or_insert(Held { delivery, attempts: Vec::new() });
        }
        for warning in warnings {
            self.stop_replaced(Some(warning), now, &mut changes);
        }
        self.turn_away(now, &mut changes);
        changes
    }

    /// Stops what is older than alert `number` of `warning`. Needed only for an alert that nobody is told.
    pub fn supersede(&mut self, warning: WarningId, number: u32, now: Timestamp) -> Vec<Change> {
        self.people.note_number(warning, number);
        let mut changes = Vec::new();
        self.stop_replaced(Some(warning), now, &mut changes);
        changes
    }

    /// Stops everything to a recipient who does not want to be told any more.
    pub fn opt_out(&mut self, recipient: RecipientId, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        let theirs = self.ids(|d| d.recipient == recipient);
        self.stop(theirs, Stop::OptedOut, now, &mut changes);
        changes
    }

    /// Returns whether `recipient` got, or may have got, an alert of `warning`.
    #[must_use]
    pub fn was_told(&self, warning: WarningId, recipient: RecipientId) -> bool {
        self.people.was_told(warning, recipient)
    }

    /// Forgets who was told of a warning that ended without an all-clear. After an all-clear this happens by itself.
    pub fn close(&mut self, warning: WarningId) {
        self.people.forget(warning);
    }

    /// Lets go of the ended deliveries among `changes`, now that those are stored.
    pub fn stored(&mut self, changes: &[Change]) {
        for change in changes {
            let Change::Delivery(Delivery { id, .. }) = change else { continue };
            let ended = self.held.get(id).is_some_and(|held| held.delivery.end().is_some());
            if !ended || planted::is(Bug::SecondEnd) {
                continue;
            }
            let Some(held) = self.held.remove(id) else { continue };
            for attempt in &held.attempts {
                self.unindex(*id, attempt);
            }
            let Some((warning, _)) = held.delivery.alert() else { continue };
            let about = |h: &Held| h.delivery.alert().is_some_and(|(of, _)| of == warning);
            if self.people.is_over(warning) && !self.held.values().any(about) {
                self.people.forget(warning);
            }
        }
    }

    /// Returns a delivery that is held.
    #[must_use]
    pub fn get(&self, delivery: DeliveryId) -> Option<&Delivery> {
        self.held.get(&delivery).map(|held| &held.delivery)
    }

    /// Returns the deliveries held, by number.
    pub fn deliveries(&self) -> impl Iterator<Item = &Delivery> {
        self.held.values().map(|held| &held.delivery)
    }

    /// Returns the attempts that have left or may have, such as the unknown ones that a channel should look for.
    pub fn attempts(&self) -> impl Iterator<Item = &Attempt> {
        self.held.values().flat_map(|held| &held.attempts)
    }

    /// Returns why `channel` is down; `None` when it works.
    #[must_use]
    pub fn down(&self, channel: &str) -> Option<&str> {
        self.lanes.get(channel)?.down.as_deref()
    }

    /// Returns the segments spent on the day of `now`.
    #[must_use]
    pub fn segments_spent(&self, now: Timestamp) -> u32 {
        if self.spend.day == day(now) { self.spend.segments } else { 0 }
    }

    /// Returns what was turned away.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters { told_overflowed: self.people.overflowed(), ..self.counters }
    }

    fn ids(&self, which: impl Fn(&Delivery) -> bool) -> Vec<DeliveryId> {
        self.deliveries().filter(|d| which(d)).map(|d| d.id).collect()
    }

    /// Puts an attempt from the store beside its delivery.
    fn take_up(&mut self, attempt: Attempt) {
        let Some(held) = self.held.get_mut(&attempt.delivery) else { return };
        if let Some(lane) = self.lanes.get_mut(&attempt.channel) {
            let last = attempt.references.last().and_then(|r| r.reference.parse().ok());
            lane.last_reference = last.or(attempt.reference_before).or(lane.last_reference);
        }
        for reference in &attempt.references {
            let ids = self.by_reference.entry(reference.reference.clone()).or_default();
            ids.insert(attempt.delivery);
        }
        held.attempts.push(attempt);
    }

    /// Forgets the references of an attempt that is not held any more.
    fn unindex(&mut self, id: DeliveryId, attempt: &Attempt) {
        let others: Vec<&Attempt> = self.held.get(&id).iter().flat_map(|h| &h.attempts).collect();
        for reference in &attempt.references {
            if others.iter().flat_map(|a| &a.references).any(|r| r.reference == reference.reference)
            {
                continue;
            }
            if let Some(ids) = self.by_reference.get_mut(&reference.reference) {
                ids.remove(&id);
                if ids.is_empty() {
                    self.by_reference.remove(&reference.reference);
                }
            }
        }
    }

    /// Makes unknown what the last run of the gateway was writing when it stopped.
    fn doubt_what_was_written(&mut self, now: Timestamp, changes: &mut Vec<Change>) {
        for id in self.ids(|_| true) {
            let Some(held) = self.held.get_mut(&id) else { continue };
            match held.delivery.state {
                DeliveryState::Writing { .. } if planted::is(Bug::RecoveryForgetsWriting) => {
                    held.attempts.retain(|a| a.outcome != Outcome::Open);
                    held.delivery.state = DeliveryState::Queued;
                }
                // An attempt that is not stored has not begun.
                DeliveryState::Writing { attempt } | DeliveryState::Armed { attempt }
                    if held.attempts.iter().all(|a| a.id != attempt) =>
                {
                    held.delivery.state = DeliveryState::Queued;
                    self.review(id, true, now, changes);
                }
                DeliveryState::Writing { attempt } | DeliveryState::Armed { attempt } => {
                    let reason = "the gateway stopped before the answer was stored".to_owned();
                    self.doubt(id, attempt, reason, Vec::new(), now, changes);
                    self.review(id, true, now, changes);
                }
                DeliveryState::Queued
                | DeliveryState::Submitted { .. }
                | DeliveryState::Unknown { .. }
                | DeliveryState::Delivered
                | DeliveryState::Accepted
                | DeliveryState::Failed { .. }
                | DeliveryState::Expired
                | DeliveryState::Superseded
                | DeliveryState::OptedOut => {}
            }
        }
    }

    /// Stops the deliveries, of `warning` or of all, that a later alert replaces.
    fn stop_replaced(
        &mut self,
        warning: Option<WarningId>,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        if planted::is(Bug::SupersededSent) {
            return;
        }
        let replaced = self.ids(|d| {
            d.alert().is_some_and(|(of, number)| {
                warning.is_none_or(|only| only == of) && self.people.is_replaced(of, number)
            })
        });
        self.stop(replaced, Stop::Superseded, now, changes);
    }

    fn stop(&mut self, ids: Vec<DeliveryId>, why: Stop, now: Timestamp, changes: &mut Vec<Change>) {
        for id in ids {
            let Some(held) = self.held.get_mut(&id) else { continue };
            if held.delivery.stop.is_some() || held.delivery.end().is_some() {
                continue;
            }
            held.delivery.stop = Some(why);
            self.review(id, true, now, changes);
        }
    }

    /// Ends the last in turn of those that wait, as many as are over the bound.
    fn turn_away(&mut self, now: Timestamp, changes: &mut Vec<Change>) {
        let live = self.deliveries().filter(|d| d.end().is_none()).count();
        let over = live.saturating_sub(self.deliveries_max);
        if over == 0 {
            return;
        }
        let mut waiting = self.ids(|d| d.state == DeliveryState::Queued);
        waiting.sort_by_cached_key(|id| self.get(*id).map(|d| std::cmp::Reverse(self.turn(d))));
        for id in waiting.into_iter().take(over) {
            let Some(held) = self.held.get_mut(&id) else { continue };
            held.end(DeliveryState::Failed { reason: "the outbox was full".to_owned() }, now);
            self.counters.turned_away += 1;
            self.report(id, changes);
        }
    }

    /// Reports the row of a delivery. An armed one is stored as `Writing`: from then on bytes may go out at any time.
    fn report(&self, id: DeliveryId, changes: &mut Vec<Change>) {
        let Some(mut row) = self.get(id).cloned() else { return };
        if let DeliveryState::Armed { attempt } = row.state {
            row.state = DeliveryState::Writing { attempt };
        }
        changes.push(Change::Delivery(row));
    }
}

impl Lane {
    fn new(settings: LaneSettings) -> Self {
        let free_at = Timestamp::from_millis(i64::MIN);
        let (down, last_reference) = (None, None);
        let in_flight = BTreeSet::new();
        Self { settings, down, in_flight, free_at, last_reference, early: Vec::new() }
    }
}

/// Returns the day of the budget that `at` lies in.
#[must_use]
pub const fn day(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(DAY_MS)
}
