//! What channels say: answers, receipts, evidence, and that they are gone.

use super::record::{Attempt, Change, Delivery, DeliveryState, Outcome, Reference};
use super::review::retry_delay;
use super::{AttemptId, EARLY_RECEIPTS_MAX, Evidence, Held, Outbox, UNKNOWN_WINDOW};
use super::{DOWN_DELAY, review};
use crate::domain::message::{DeliveryId, NetworkReceipt, ReceiptState, Submitted};
use crate::domain::planted::{self, Bug};
use crate::domain::time::Timestamp;
use std::time::Duration;

/// Digits that two spellings of one telephone number must share at least: an E.164 number has seven or more.
const SHARED_DIGITS_MIN: usize = 7;

impl Outbox {
    /// Takes the channel's answer to the submission that is in flight on it.
    pub fn on_submitted(
        &mut self,
        delivery: DeliveryId,
        channel: &str,
        answer: Submitted,
        now: Timestamp,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(attempt) = self.answered(delivery, channel) else {
            self.counters.answers_unmatched += 1;
            return changes;
        };
        match answer {
            Submitted::Accepted { references } => {
                self.taken(delivery, attempt, references, now, &mut changes);
            }
            Submitted::Retry { reason, after } => {
                self.postpone(delivery, channel, &reason, after, now);
                self.never_left(delivery, attempt, Outcome::Retry { reason }, now, &mut changes);
            }
            Submitted::Rejected { reason } => {
                self.reject(delivery, channel, &reason);
                self.never_left(delivery, attempt, Outcome::Rejected { reason }, now, &mut changes);
            }
            Submitted::ChannelDown { reason } => {
                self.on_channel_down(channel, &reason);
                self.hold_back(delivery, channel, &reason, now + DOWN_DELAY);
                let outcome = Outcome::ChannelDown { reason };
                self.never_left(delivery, attempt, outcome, now, &mut changes);
            }
            Submitted::Unknown { reason, references } => {
                let all = self.get(delivery).is_some_and(|d| references.len() >= d.segments.into());
                if all {
                    self.taken(delivery, attempt, references, now, &mut changes);
                } else {
                    self.doubt(delivery, attempt, reason, references, now, &mut changes);
                }
            }
        }
        self.review(delivery, true, now, &mut changes);
        if let Some(lane) = self.lanes.get_mut(channel) {
            for receipt in std::mem::take(&mut lane.early) {
                changes.extend(self.on_receipt(channel, &receipt, now));
            }
        }
        self.settle_all_clears(delivery, now, &mut changes);
        changes
    }

    /// Takes the network's later word about a segment.
    pub fn on_receipt(
        &mut self,
        channel: &str,
        receipt: &NetworkReceipt,
        now: Timestamp,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        if receipt.state == ReceiptState::Pending {
            return changes;
        }
        let candidates = self.awaiting(channel, receipt);
        let (delivery, attempt) = match candidates.as_slice() {
            [one] => *one,
            [] if self.keep_early(channel, receipt) => return changes,
            [] => {
                let Some(one) = self.bearing_next(channel, receipt) else {
                    self.counters.receipts_unmatched += 1;
                    return changes;
                };
                one
            }
            [first, ..] if planted::is(Bug::ReceiptByReferenceAlone) => *first,
            [rest @ .., last] if rest.iter().all(|(of, _)| *of == last.0) => *last,
            [_, _, ..] => {
                self.counters.receipts_ambiguous += 1;
                return changes;
            }
        };
        self.book(delivery, attempt, receipt, now, &mut changes);
        changes
    }

    /// Takes what was found out about the attempt of unknown fate at `delivery`.
    pub fn on_evidence(
        &mut self,
        delivery: DeliveryId,
        evidence: Evidence,
        now: Timestamp,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        let Some(held) = self.held.get_mut(&delivery) else { return changes };
        let awaited = match held.delivery.state {
            DeliveryState::Unknown { decide_at: Some(_), .. } | DeliveryState::Queued => true,
            DeliveryState::Armed { .. }
            | DeliveryState::Writing { .. }
            | DeliveryState::Submitted { .. }
            | DeliveryState::Unknown { decide_at: None, .. }
            | DeliveryState::Delivered
            | DeliveryState::Accepted
            | DeliveryState::Failed { .. }
            | DeliveryState::Expired
            | DeliveryState::Superseded
            | DeliveryState::OptedOut => false,
        };
        let doubtful = |a: &&Attempt| matches!(a.outcome, Outcome::Unknown { .. });
        let attempt = held.attempts.iter().rev().find(doubtful).map(|a| a.id);
        let Some(attempt) = attempt.filter(|_| awaited) else { return changes };
        let others = held.attempts.iter().filter(doubtful).count() > 1;
        held.delivery.possible_duplicate &= others;
        match evidence {
            Evidence::Left { references } => {
                self.taken(delivery, attempt, references, now, &mut changes);
            }
            Evidence::NeverLeft => {
                let reason = "found not to have left".to_owned();
                self.never_left(delivery, attempt, Outcome::Retry { reason }, now, &mut changes);
            }
        }
        self.review(delivery, true, now, &mut changes);
        self.settle_all_clears(delivery, now, &mut changes);
        changes
    }

    /// Takes note that a channel works no more: nothing starts on it until [`Outbox::on_channel_up`]. What is in flight
    /// keeps its answer.
    pub fn on_channel_down(&mut self, channel: &str, reason: &str) {
        if let Some(lane) = self.lanes.get_mut(channel) {
            lane.down = Some(reason.to_owned());
            // A modem that restarts may count its references anew.
            lane.last_reference = None;
        }
    }

    /// Takes note that a channel works again.
    pub fn on_channel_up(&mut self, channel: &str) {
        if let Some(lane) = self.lanes.get_mut(channel) {
            lane.down = None;
        }
    }

    /// Frees the place on the lane whose answer came, and returns the attempt that it is about.
    fn answered(&mut self, delivery: DeliveryId, channel: &str) -> Option<AttemptId> {
        let DeliveryState::Writing { attempt } = self.get(delivery)?.state else { return None };
        let lane = self.lanes.get_mut(channel)?;
        lane.in_flight.remove(&delivery).then_some(attempt)
    }

    /// The network has it.
    fn taken(
        &mut self,
        delivery: DeliveryId,
        attempt: AttemptId,
        references: Vec<String>,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let state = DeliveryState::Submitted { attempt };
        self.left(delivery, attempt, (state, Outcome::Accepted), references, now, changes);
    }

    /// Something of it may have gone out.
    pub(super) fn doubt(
        &mut self,
        delivery: DeliveryId,
        attempt: AttemptId,
        reason: String,
        references: Vec<String>,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        if let Some(held) = self.held.get_mut(&delivery) {
            held.delivery.last_error = Some(reason.clone());
        }
        let state = DeliveryState::Unknown { attempt, decide_at: Some(now + UNKNOWN_WINDOW) };
        let becomes = (state, Outcome::Unknown { reason });
        self.left(delivery, attempt, becomes, references, now, changes);
    }

    fn left(
        &mut self,
        id: DeliveryId,
        attempt: AttemptId,
        (state, outcome): (DeliveryState, Outcome),
        references: Vec<String>,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        self.strike(id, attempt, &references, changes);
        let Some(held) = self.held.get_mut(&id) else { return };
        let Some(attempt) = held.attempts.iter_mut().find(|a| a.id == attempt) else { return };
        if let Some(lane) = self.lanes.get_mut(&attempt.channel) {
            let last = references.last().and_then(|reference| reference.parse().ok());
            lane.last_reference = last.or(lane.last_reference);
        }
        for reference in references {
            if attempt.references.iter().any(|known| known.reference == reference) {
                continue;
            }
            self.by_reference.entry(reference.clone()).or_default().insert(id);
            attempt.references.push(Reference { reference, delivered: false });
        }
        attempt.outcome = outcome;
        attempt.ended = Some(now);
        changes.push(Change::Attempt(attempt.clone()));
        held.delivery.state = state;
        held.delivery.reached = true;
        if let (Some((warning, _)), None) = (held.delivery.alert(), held.delivery.clears()) {
            self.people.note_told(warning, held.delivery.recipient);
        }
    }

    /// A reference that the modem gave to this text is not the lost one of another.
    fn strike(
        &mut self,
        id: DeliveryId,
        attempt: AttemptId,
        references: &[String],
        changes: &mut Vec<Change>,
    ) {
        let Some(channel) = self.held.get(&id).and_then(|held| {
            held.attempts.iter().find(|a| a.id == attempt).map(|a| a.channel.clone())
        }) else {
            return;
        };
        let given: Vec<u8> = references.iter().filter_map(|r| r.parse().ok()).collect();
        let others = self.held.values_mut().flat_map(|held| &mut held.attempts);
        for other in others.filter(|a| a.id != attempt && a.channel == channel) {
            if given.iter().any(|reference| other.may_bear(*reference)) {
                other.reference_before = None;
                changes.push(Change::Attempt(other.clone()));
            }
        }
    }

    fn postpone(
        &mut self,
        delivery: DeliveryId,
        channel: &str,
        reason: &str,
        after: Option<Duration>,
        now: Timestamp,
    ) {
        let Some(held) = self.held.get_mut(&delivery) else { return };
        let route = held.delivery.routes.iter_mut().find(|route| *route.channel == *channel);
        let Some(route) = route else { return };
        route.tries += 1;
        let asked = after.filter(|_| !planted::is(Bug::RetryAfterIgnored)).unwrap_or_default();
        let delay = retry_delay(delivery, route.tries).max(asked);
        self.hold_back(delivery, channel, reason, now + delay);
    }

    fn hold_back(&mut self, delivery: DeliveryId, channel: &str, reason: &str, until: Timestamp) {
        let Some(held) = self.held.get_mut(&delivery) else { return };
        held.delivery.last_error = Some(format!("{channel}: {reason}"));
        for route in held.delivery.routes.iter_mut().filter(|route| *route.channel == *channel) {
            route.not_before = until;
        }
    }

    fn reject(&mut self, delivery: DeliveryId, channel: &str, reason: &str) {
        let Some(held) = self.held.get_mut(&delivery) else { return };
        held.delivery.last_error = Some(format!("{channel}: {reason}"));
        for route in held.delivery.routes.iter_mut().filter(|route| *route.channel == *channel) {
            route.rejected = Some(reason.to_owned());
        }
    }

    /// Decides the all-clears that waited for the answer about `delivery`.
    fn settle_all_clears(
        &mut self,
        delivery: DeliveryId,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let Some((warning, _)) = self.get(delivery).and_then(Delivery::alert) else { return };
        if !self.people.is_over(warning) {
            return;
        }
        for id in self.ids(|d| d.clears() == Some(warning)) {
            self.review(id, false, now, changes);
        }
    }

    /// Returns the attempts that wait for this receipt: by channel and reference, and by number where it is given,
    /// since a modem counts its references from 0 to 255 and begins again.
    fn awaiting(&self, channel: &str, receipt: &NetworkReceipt) -> Vec<(DeliveryId, AttemptId)> {
        let ids = self.by_reference.get(&receipt.reference);
        let held = ids.into_iter().flatten().filter_map(|id| self.held.get(id));
        held.filter(|held| held.delivery.end().is_none())
            .filter(|held| {
                planted::is(Bug::ReceiptByReferenceAlone) || is_to(receipt, &held.delivery.number)
            })
            .flat_map(|held| &held.attempts)
            .filter(|attempt| {
                let has = |r: &Reference| r.reference == receipt.reference && !r.delivered;
                *attempt.channel == *channel && attempt.references.iter().any(has)
            })
            .map(|attempt| (attempt.delivery, attempt.id))
            .collect()
    }

    /// Returns the one attempt of unknown fate whose lost reference this must be: to the same number, next after the
    /// last that the modem gave before it, and while its fate is still open. Later, another text of unknown fate may have
    /// borne the same reference, and be forgotten.
    fn bearing_next(
        &self,
        channel: &str,
        receipt: &NetworkReceipt,
    ) -> Option<(DeliveryId, AttemptId)> {
        let reference: u8 = receipt.reference.parse().ok()?;
        receipt.to.as_ref()?;
        let open = |held: &&Held| {
            matches!(held.delivery.state, DeliveryState::Unknown { decide_at: Some(_), .. })
                && is_to(receipt, &held.delivery.number)
        };
        let attempts = self.held.values().filter(open).filter_map(|held| held.attempts.last());
        let mut fitting = attempts.filter(|attempt| {
            *attempt.channel == *channel
                && attempt.may_bear(reference)
                && attempt.references.iter().all(|r| r.reference != receipt.reference)
        });
        let one = fitting.next()?;
        fitting.next().is_none().then_some((one.delivery, one.id))
    }

    /// Keeps a receipt that may be about a text in flight, whose reference is not known yet. Returns whether it may.
    fn keep_early(&mut self, channel: &str, receipt: &NetworkReceipt) -> bool {
        let Some(lane) = self.lanes.get_mut(channel) else { return false };
        let mut in_flight = lane.in_flight.iter().filter_map(|id| self.held.get(id));
        if !in_flight.any(|held| is_to(receipt, &held.delivery.number)) {
            return false;
        }
        if lane.early.len() < EARLY_RECEIPTS_MAX {
            lane.early.push(receipt.clone());
        } else {
            self.counters.receipts_early_dropped += 1;
        }
        true
    }

    /// Enters a receipt with its attempt.
    fn book(
        &mut self,
        id: DeliveryId,
        attempt: AttemptId,
        receipt: &NetworkReceipt,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let Some(held) = self.held.get_mut(&id) else { return };
        let Some(at) = held.attempts.iter().position(|a| a.id == attempt) else { return };
        let given_up = match &receipt.state {
            ReceiptState::Pending => return,
            ReceiptState::Delivered => None,
            ReceiptState::Failed { reason } => Some(reason.clone()),
            ReceiptState::Expired => Some("its validity ran out".to_owned()),
        };
        let Some(reason) = given_up else {
            let Some(attempt) = held.attempts.get_mut(at) else { return };
            attempt.note_delivered(&receipt.reference, now);
            changes.push(Change::Attempt(attempt.clone()));
            self.by_reference.entry(receipt.reference.clone()).or_default().insert(id);
            self.review(id, false, now, changes);
            return;
        };
        let outcome = Outcome::GivenUp { reason: reason.clone() };
        let ended = Attempt { outcome, ended: Some(now), ..held.attempts.remove(at) };
        self.unindex(id, &ended);
        self.reject(id, &ended.channel, &reason);
        changes.push(Change::Attempt(ended));
        let Some(held) = self.held.get_mut(&id) else { return };
        match held.delivery.state {
            DeliveryState::Submitted { attempt: of }
            | DeliveryState::Unknown { attempt: of, .. }
                if of == attempt =>
            {
                held.delivery.state = DeliveryState::Queued;
                let closed = review::open_routes(&held.delivery).next().is_none();
                if closed && receipt.state == ReceiptState::Expired {
                    held.end(DeliveryState::Expired, now);
                }
            }
            DeliveryState::Submitted { .. }
            | DeliveryState::Unknown { .. }
            | DeliveryState::Queued
            | DeliveryState::Armed { .. }
            | DeliveryState::Writing { .. }
            | DeliveryState::Delivered
            | DeliveryState::Accepted
            | DeliveryState::Failed { .. }
            | DeliveryState::Expired
            | DeliveryState::Superseded
            | DeliveryState::OptedOut => {}
        }
        self.review(id, true, now, changes);
    }
}

impl Attempt {
    /// Returns whether the reference of one of its segments was lost and may be this.
    fn may_bear(&self, reference: u8) -> bool {
        let step = self.reference_before.map(|before| reference.wrapping_sub(before));
        matches!(self.outcome, Outcome::Unknown { .. })
            && step.is_some_and(|n| (1..=self.segments).contains(&u16::from(n)))
    }

    /// Notes that the segment known by `reference` arrived; with the last of them, the whole attempt did.
    fn note_delivered(&mut self, reference: &str, now: Timestamp) {
        if let Some(known) = self.references.iter_mut().find(|r| r.reference == reference) {
            known.delivered = true;
        } else {
            let reference = reference.to_owned();
            self.references.push(Reference { reference, delivered: true });
        }
        let arrived = self.references.iter().filter(|r| r.delivered).count();
        if arrived >= usize::from(self.segments) && arrived == self.references.len() {
            self.outcome = Outcome::Delivered;
            self.ended = Some(now);
        }
    }
}

/// Returns whether `receipt` can be about a text to `number`: networks write a number with or without the country code.
fn is_to(receipt: &NetworkReceipt, number: &str) -> bool {
    let Some(to) = &receipt.to else { return true };
    let digits = |written: &str| -> String {
        let digits: String = written.chars().filter(char::is_ascii_digit).collect();
        digits.trim_start_matches('0').to_owned()
    };
    let (one, other) = (digits(to), digits(number));
    let shared = one.len().min(other.len());
    shared >= SHARED_DIGITS_MIN && (one.ends_with(&other) || other.ends_with(&one))
}
