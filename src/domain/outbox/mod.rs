//! The outbox: what becomes of each delivery, from planned to its one recorded end. Pure: it says what to hand to which
//! channel and what to write down, and is told what came of it.
//!
//! `queued → armed → writing → submitted → delivered | accepted | failed | expired | unknown`, besides `superseded`
//! (a newer alert took its place before it left) and `opted out`. A delivery is *armed* when a lane has chosen it; it is
//! *writing* on disk before the first byte goes to the network, so that whoever finds it so after a crash knows that it may
//! have gone out. What may have gone out and is danger goes out once more, marked as a possible duplicate; anything else
//! does not.

mod delivery;
#[cfg(test)]
mod tests;

pub use delivery::{Delivery, End, Reference, State};

use crate::domain::message::{
    DeliveryId, NetworkReceipt, Priority, ReceiptState, Submission, Submitted,
};
use crate::domain::planted::{self, Bug};
use crate::domain::recipient::RecipientId;
use crate::domain::time::Timestamp;
use crate::domain::warning::{MessageType, WarningId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// How long a late answer or a delivery report may settle what became of an unknown attempt.
pub const UNKNOWN_WAIT: Duration = Duration::from_secs(90);
/// A channel that is down is tried again after this.
pub const DOWN_WAIT: Duration = Duration::from_mins(1);
/// How long after its expiry the network may still report on a delivery.
pub const REPORT_WAIT: Duration = Duration::from_mins(10);
/// Share of the daily budget that is kept for warnings, in percent.
const RESERVE_PERCENT: u32 = 20;
const DAY_MS: i64 = 86_400_000;
/// Digits at the end of two numbers that must agree: networks write the same number with and without its country code.
const DIGITS_COMPARED: usize = 8;

/// What the outbox goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Name of the gateway: part of every idempotency key.
    pub gateway: String,
    /// Segments a day; `None` is no bound.
    pub budget_segments: Option<u32>,
    /// Attempts on one channel before the next is tried.
    pub attempts_max: u32,
    /// First wait before trying again; doubles with each attempt.
    pub retry_delay: Duration,
    /// Longest wait before trying again.
    pub retry_delay_max: Duration,
}

/// Every delivery that has not reached its end, and who has been told of which open warning.
#[derive(Clone, Debug)]
pub struct Outbox {
    policy: Policy,
    deliveries: BTreeMap<DeliveryId, Delivery>,
    told: BTreeMap<WarningId, BTreeSet<RecipientId>>,
    down_until: BTreeMap<String, Timestamp>,
    in_flight: BTreeMap<String, DeliveryId>,
    spent: Spent,
    changed: BTreeSet<DeliveryId>,
    ended: Vec<Delivery>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Spent {
    day: i64,
    segments: u32,
}

impl Outbox {
    /// Makes an empty outbox.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            deliveries: BTreeMap::new(),
            told: BTreeMap::new(),
            down_until: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            spent: Spent::default(),
            changed: BTreeSet::new(),
            ended: Vec::new(),
        }
    }

    /// Takes in what the store held when the program started: deliveries without an end, who has been told of which
    /// warning, and the segments spent in the day of `now`. What was being written then is unknown now.
    pub fn recover(
        &mut self,
        deliveries: Vec<Delivery>,
        told: Vec<(WarningId, RecipientId)>,
        segments_today: u32,
        now: Timestamp,
    ) {
        self.spent = Spent { day: day(now), segments: segments_today };
        for (warning, recipient) in told {
            self.told.entry(warning).or_default().insert(recipient);
        }
        for mut delivery in deliveries {
            if matches!(delivery.state, State::Writing) {
                delivery.state = if planted::is(Bug::ForgetsWriting) {
                    State::Queued
                } else {
                    State::Unknown { references: Vec::new(), since: now }
                };
                self.changed.insert(delivery.id);
            }
            self.insert_one(delivery, now);
        }
    }

    /// Takes in what has just been planned and committed.
    pub fn insert(&mut self, deliveries: Vec<Delivery>, now: Timestamp) {
        for delivery in deliveries {
            self.insert_one(delivery, now);
        }
    }

    /// A newer alert takes the place of what waits for the same recipient; an all-clear is only for who may have heard.
    fn insert_one(&mut self, delivery: Delivery, now: Timestamp) {
        let id = delivery.id;
        if let Some((warning, number)) = delivery.alert {
            if !planted::is(Bug::KeepsSuperseded) {
                self.supersede(warning, number, delivery.recipient, now);
            }
            if delivery.state.may_have_left() {
                self.told.entry(warning).or_default().insert(delivery.recipient);
            }
        }
        let needless = delivery.message_type == MessageType::Cancel
            && matches!(delivery.state, State::Queued)
            && !planted::is(Bug::ClearsEverybody)
            && delivery
                .alert
                .is_some_and(|(warning, _)| !self.was_told(warning, delivery.recipient));
        self.deliveries.insert(id, delivery);
        if needless {
            self.end(id, End::Superseded, now);
        }
    }

    fn supersede(
        &mut self,
        warning: WarningId,
        number: u32,
        recipient: RecipientId,
        now: Timestamp,
    ) {
        let older: Vec<DeliveryId> = self
            .deliveries
            .values()
            .filter(|d| d.recipient == recipient && matches!(d.state, State::Queued))
            .filter(|d| d.alert.is_some_and(|(w, n)| w == warning && n < number))
            .map(|d| d.id)
            .collect();
        for id in older {
            self.end(id, End::Superseded, now);
        }
    }

    /// Returns whether a recipient has heard, or may have heard, of a warning.
    #[must_use]
    pub fn was_told(&self, warning: WarningId, recipient: RecipientId) -> bool {
        self.told.get(&warning).is_some_and(|told| told.contains(&recipient))
    }

    /// Chooses what the lane of `channel` hands over next, and arms it. The delivery must be on disk as it is returned
    /// ([`Outbox::take_changes`]) before its first byte goes out; [`Outbox::disarm`] takes that back.
    pub fn claim(&mut self, channel: &str, now: Timestamp) -> Option<Submission> {
        if self.in_flight.contains_key(channel) || self.is_down(channel, now) {
            return None;
        }
        self.expire(now);
        let order = |d: &Delivery| (d.priority, d.rank, d.created, d.id);
        let ready = self.deliveries.values().filter(|d| {
            matches!(d.state, State::Queued)
                && d.due <= now
                && d.channel() == Some(channel)
                && self.affordable(d, now)
        });
        let next = if planted::is(Bug::ReversesPriority) {
            ready.max_by_key(|d| order(d))
        } else {
            ready.min_by_key(|d| order(d))
        };
        let id = next?.id;
        let validity = next?.expires.since(now);
        self.in_flight.insert(channel.to_owned(), id);
        self.spend(id, now);
        let delivery = self.deliveries.get_mut(&id)?;
        delivery.state = State::Writing;
        delivery.attempts += 1;
        if let Some((warning, _)) = delivery.alert {
            self.told.entry(warning).or_default().insert(delivery.recipient);
        }
        self.changed.insert(id);
        Some(delivery.submission(&self.policy.gateway, validity))
    }

    /// Takes back a claim of which nothing has gone out: the record of it could not be written.
    pub fn disarm(&mut self, id: DeliveryId, retry_at: Timestamp) {
        self.land(id);
        if let Some(delivery) = self.deliveries.get_mut(&id) {
            delivery.state = State::Queued;
            delivery.attempts = delivery.attempts.saturating_sub(1);
            delivery.due = retry_at;
            self.changed.insert(id);
        }
    }

    /// Takes in what a channel said of an attempt.
    pub fn submitted(&mut self, id: DeliveryId, outcome: Submitted, now: Timestamp) {
        let channel = self.land(id);
        let Some(delivery) = self.deliveries.get_mut(&id) else { return };
        if !matches!(delivery.state, State::Writing) {
            return;
        }
        self.changed.insert(id);
        let references = |list: Vec<String>| list.into_iter().map(Reference::new).collect();
        match outcome {
            Submitted::Accepted { references: list } => {
                delivery.state = State::Submitted { references: references(list), since: now };
            }
            Submitted::Unknown { references: list, reason } => {
                delivery.reason = Some(reason);
                delivery.state = State::Unknown { references: references(list), since: now };
            }
            Submitted::Retry { reason, after } => {
                delivery.reason = Some(reason);
                delivery.state = State::Queued;
                let wait = backoff(&self.policy, delivery).max(after.unwrap_or_default());
                delivery.due = now + wait;
                if delivery.attempts >= self.policy.attempts_max {
                    delivery.next_channel(false);
                    delivery.attempts = 0;
                }
            }
            Submitted::Rejected { reason } => {
                delivery.reason = Some(reason.clone());
                self.fail_over(id, reason, now);
            }
            Submitted::ChannelDown { reason } => {
                delivery.reason = Some(reason);
                delivery.state = State::Queued;
                delivery.attempts = delivery.attempts.saturating_sub(1);
                delivery.due = now;
                delivery.next_channel(false);
                if let Some(channel) = channel {
                    self.down_until.insert(channel, now + DOWN_WAIT);
                }
            }
        }
    }

    /// Takes in the network's later word about a segment. Returns whether it belonged to anything.
    pub fn receipt(&mut self, channel: &str, receipt: &NetworkReceipt, now: Timestamp) -> bool {
        let about = |d: &&mut Delivery| {
            let same_number =
                receipt.to.as_ref().is_none_or(|to| same_number(to, d.number.as_str()));
            d.channel() == Some(channel)
                && (same_number || planted::is(Bug::MatchesReferenceOnly))
                && d.references().iter().any(|r| r.reference == receipt.reference && !r.delivered)
        };
        // References repeat after 256 texts: the newest that fits is meant.
        let Some(delivery) = self.deliveries.values_mut().rev().find(about) else { return false };
        let id = delivery.id;
        self.changed.insert(id);
        match &receipt.state {
            ReceiptState::Pending => {}
            ReceiptState::Delivered => {
                if delivery.segment_delivered(&receipt.reference) {
                    self.end(id, End::Delivered, now);
                }
            }
            ReceiptState::Failed { reason } => {
                delivery.reason = Some(reason.clone());
                self.fail_over(id, reason.clone(), now);
            }
            ReceiptState::Expired => self.end(id, End::Expired, now),
        }
        true
    }

    /// Says that a channel works again.
    pub fn channel_up(&mut self, channel: &str) {
        self.down_until.remove(channel);
    }

    /// Does what the passing of time asks for.
    pub fn tick(&mut self, now: Timestamp) {
        self.expire(now);
        let settled: Vec<DeliveryId> =
            self.deliveries.values().filter(|d| d.wait_is_over(now)).map(|d| d.id).collect();
        for id in settled {
            let Some(delivery) = self.deliveries.get_mut(&id) else { continue };
            match delivery.state {
                State::Submitted { .. } => self.end(id, End::Accepted, now),
                State::Unknown { .. } => {
                    let again = delivery.priority == Priority::Danger
                        && !delivery.possible_duplicate
                        || planted::is(Bug::ResendsEverything);
                    if again && delivery.expires > now {
                        delivery.state = State::Queued;
                        delivery.possible_duplicate = true;
                        delivery.due = now;
                        delivery.next_channel(false);
                        self.changed.insert(id);
                    } else {
                        self.end(id, End::Unknown, now);
                    }
                }
                State::Queued | State::Writing | State::Ended(_) => {}
            }
        }
    }

    /// Drops whatever waits for someone who does not want to hear any more.
    pub fn opt_out(&mut self, recipient: RecipientId, now: Timestamp) {
        let theirs = |d: &&Delivery| d.recipient == recipient && matches!(d.state, State::Queued);
        let ids: Vec<DeliveryId> = self.deliveries.values().filter(theirs).map(|d| d.id).collect();
        for id in ids {
            self.end(id, End::OptedOut, now);
        }
    }

    /// Returns when [`Outbox::tick`] or [`Outbox::claim`] may next have something to do.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        let of_deliveries = self.deliveries.values().filter_map(|d| match &d.state {
            State::Queued => {
                let up = d.channel().and_then(|c| self.down_until.get(c)).copied().unwrap_or(d.due);
                Some(d.due.max(up).min(d.expires))
            }
            State::Submitted { .. } | State::Unknown { .. } => d.wait_until(),
            State::Writing | State::Ended(_) => None,
        });
        of_deliveries.min()
    }

    /// Returns the deliveries that are different from what was last taken, those that have ended among them, to be
    /// written down.
    pub fn take_changes(&mut self) -> Vec<Delivery> {
        let changed = std::mem::take(&mut self.changed);
        let mut rows = std::mem::take(&mut self.ended);
        rows.extend(changed.iter().filter_map(|id| self.deliveries.get(id)).cloned());
        rows
    }

    /// Returns every delivery that has not reached its end.
    pub fn open(&self) -> impl Iterator<Item = &Delivery> {
        self.deliveries.values()
    }

    /// Returns the segments handed over in the day of `now`.
    #[must_use]
    pub fn segments_today(&self, now: Timestamp) -> u32 {
        if self.spent.day == day(now) { self.spent.segments } else { 0 }
    }

    /// Forgets who was told of a warning that has ended, once nothing about it waits.
    pub fn forget(&mut self, warning: WarningId) {
        if self.deliveries.values().all(|d| d.alert.is_none_or(|(w, _)| w != warning)) {
            self.told.remove(&warning);
        }
    }

    fn land(&mut self, id: DeliveryId) -> Option<String> {
        let channel =
            self.in_flight.iter().find(|(_, flying)| **flying == id).map(|(c, _)| c.clone())?;
        self.in_flight.remove(&channel);
        Some(channel)
    }

    fn is_down(&self, channel: &str, now: Timestamp) -> bool {
        self.down_until.get(channel).is_some_and(|until| now < *until)
    }

    fn affordable(&self, delivery: &Delivery, now: Timestamp) -> bool {
        let Some(budget) = self.policy.budget_segments else { return true };
        let bound = match delivery.priority {
            Priority::Danger if !planted::is(Bug::BudgetsDanger) => return true,
            Priority::Danger | Priority::Warning => budget,
            Priority::Advice => budget - budget * RESERVE_PERCENT / 100,
        };
        self.segments_today(now).saturating_add(delivery.segments) <= bound
    }

    fn spend(&mut self, id: DeliveryId, now: Timestamp) {
        let segments = self.deliveries.get(&id).map_or(0, |d| d.segments);
        self.spent =
            Spent { day: day(now), segments: self.segments_today(now).saturating_add(segments) };
    }

    fn expire(&mut self, now: Timestamp) {
        if planted::is(Bug::SendsExpired) {
            return;
        }
        let late = |d: &&Delivery| matches!(d.state, State::Queued) && d.expires <= now;
        let ids: Vec<DeliveryId> = self.deliveries.values().filter(late).map(|d| d.id).collect();
        for id in ids {
            self.end(id, End::Expired, now);
        }
    }

    /// Goes to the next channel that has not refused, or fails.
    fn fail_over(&mut self, id: DeliveryId, reason: String, now: Timestamp) {
        let Some(delivery) = self.deliveries.get_mut(&id) else { return };
        if delivery.next_channel(true) && delivery.expires > now {
            delivery.state = State::Queued;
            delivery.attempts = 0;
            delivery.due = now;
        } else {
            self.end(id, End::Failed { reason }, now);
        }
    }

    fn end(&mut self, id: DeliveryId, end: End, now: Timestamp) {
        self.changed.remove(&id);
        if let Some(mut delivery) = self.deliveries.remove(&id) {
            delivery.state = State::Ended(end);
            delivery.ended = Some(now);
            self.ended.push(delivery);
        }
    }
}

/// Waits double with each attempt. A delivery's number spreads them, so that a hundred that failed together do not come
/// back together.
fn backoff(policy: &Policy, delivery: &Delivery) -> Duration {
    let doubled =
        policy.retry_delay.saturating_mul(1 << delivery.attempts.saturating_sub(1).min(10));
    let spread = u32::try_from(delivery.id.0.rem_euclid(16)).unwrap_or(0);
    let wait = doubled.min(policy.retry_delay_max);
    wait + wait.saturating_mul(spread) / 64
}

fn day(now: Timestamp) -> i64 {
    now.as_millis().div_euclid(DAY_MS)
}

fn same_number(a: &str, b: &str) -> bool {
    let tail = |number: &str| -> Vec<u8> {
        number.bytes().rev().filter(u8::is_ascii_digit).take(DIGITS_COMPARED).collect()
    };
    tail(a) == tail(b)
}
