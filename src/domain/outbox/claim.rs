//! What goes next on a lane, and what it may cost.

use super::record::{Attempt, Change, Delivery, DeliveryState, Outcome};
use super::review::{Clearance, open_routes};
use super::{AttemptId, Begin, Claim, Outbox, Spend, TRIES_MAX, day};
use crate::domain::message::{DeliveryId, Priority, Submission};
use crate::domain::planted::{self, Bug};
use crate::domain::time::Timestamp;

/// Decides who goes first: by priority, then rank; then those who have heard nothing of the warning yet, so that an alert
/// issued anew while the list is still being told does not start at its head again; then by age.
type Turn = (Priority, u8, bool, Timestamp, DeliveryId);

impl Outbox {
    /// Chooses what goes next on `channel`; `None` when nothing may go now.
    ///
    /// Until the answer a place of the lane is taken. Store the changes, then call [`Outbox::begin`]; or, when they cannot be
    /// stored, [`Outbox::disarm`], except for danger, which storage must not stop (P5).
    pub fn claim(&mut self, channel: &str, now: Timestamp) -> Option<Claim> {
        let lane = self.lanes.get(channel)?;
        if lane.in_flight.len() >= lane.settings.width || lane.down.is_some() || now < lane.free_at
        {
            return None;
        }
        if self.spend.day != day(now) {
            self.spend = Spend { day: day(now), segments: 0 };
        }
        let advice_too = lane.in_flight.len() < lane.settings.width.div_ceil(2);
        let eligible = self.deliveries().filter(|d| {
            (advice_too || d.priority != Priority::Advice) && self.may_go(d, channel, now)
        });
        let id = eligible.min_by_key(|d| self.turn(d))?.id;

        let lane = self.lanes.get_mut(channel)?;
        let held = self.held.get_mut(&id)?;
        self.attempt_last.0 += 1;
        let attempt = Attempt {
            id: self.attempt_last,
            delivery: id,
            channel: lane.settings.name.clone(),
            boot: self.boot,
            started: now,
            segments: held.delivery.segments,
            reference_before: lane.last_reference,
            outcome: Outcome::Open,
            ended: None,
            references: Vec::new(),
        };
        lane.in_flight.insert(id);
        lane.free_at =
            now + lane.settings.segment_interval.saturating_mul(u32::from(attempt.segments));
        self.spend.segments = self.spend.segments.saturating_add(u32::from(attempt.segments));
        held.delivery.attempts += 1;
        held.delivery.channel = Some(attempt.channel.clone());
        held.delivery.state = DeliveryState::Armed { attempt: attempt.id };
        held.attempts.push(attempt.clone());
        let mut changes = vec![Change::Attempt(attempt)];
        self.report(id, &mut changes);
        if planted::is(Bug::AttemptNotStoredFirst) {
            changes.clear();
        }
        Some(Claim { delivery: id, attempt: self.attempt_last, changes })
    }

    /// Releases a claimed delivery, now that its attempt is stored; or calls it off, when meanwhile it expired, was
    /// stopped, was found to have arrived, or its channel went down.
    pub fn begin(&mut self, delivery: DeliveryId, now: Timestamp) -> Begin {
        let Some((attempt, down)) = self.armed(delivery) else { return Begin::CalledOff(vec![]) };
        let Some(held) = self.held.get_mut(&delivery) else { return Begin::CalledOff(vec![]) };
        let arrived = held.attempts.iter().any(|a| a.outcome == Outcome::Delivered);
        let late = now >= held.delivery.expires && !planted::is(Bug::ExpiredSent);
        if down || late || arrived || held.delivery.stop.is_some() {
            return Begin::CalledOff(self.disarm(delivery, now));
        }
        held.delivery.state = DeliveryState::Writing { attempt };
        let delivery = &held.delivery;
        Begin::Send(Submission {
            delivery: delivery.id,
            to: delivery.number.as_ref().to_owned(),
            text: delivery.text.as_ref().to_owned(),
            validity: delivery.expires.since(now),
            priority: delivery.priority,
            idempotency_key: delivery.idempotency_key.as_ref().to_owned(),
            flash: delivery.flash,
        })
    }

    /// Takes a claim back before anything went out, because its rows could not be stored. Returns the rows that undo
    /// it, in case they were stored after all.
    pub fn disarm(&mut self, delivery: DeliveryId, now: Timestamp) -> Vec<Change> {
        let Some((attempt, _)) = self.armed(delivery) else { return Vec::new() };
        let mut changes = Vec::new();
        for lane in self.lanes.values_mut() {
            if lane.in_flight.remove(&delivery) {
                lane.free_at = now;
            }
        }
        self.never_left(delivery, attempt, Outcome::CalledOff, now, &mut changes);
        self.review(delivery, true, now, &mut changes);
        changes
    }

    /// Returns the attempt that `delivery` is armed with, and whether its channel has gone down since.
    fn armed(&self, delivery: DeliveryId) -> Option<(AttemptId, bool)> {
        let DeliveryState::Armed { attempt } = self.get(delivery)?.state else { return None };
        let lane = self.lanes.values().find(|lane| lane.in_flight.contains(&delivery));
        Some((attempt, lane.is_none_or(|lane| lane.down.is_some())))
    }

    /// Ends an attempt of which nothing went out: it costs nothing, and its delivery is queued again.
    pub(super) fn never_left(
        &mut self,
        delivery: DeliveryId,
        attempt: AttemptId,
        outcome: Outcome,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let Some(held) = self.held.get_mut(&delivery) else { return };
        let Some(at) = held.attempts.iter().position(|a| a.id == attempt) else { return };
        let ended = Attempt { outcome, ended: Some(now), ..held.attempts.remove(at) };
        if day(ended.started) == self.spend.day {
            self.spend.segments = self.spend.segments.saturating_sub(u32::from(ended.segments));
        }
        held.delivery.state = DeliveryState::Queued;
        self.unindex(delivery, &ended);
        changes.push(Change::Attempt(ended));
    }

    pub(super) fn turn(&self, delivery: &Delivery) -> Turn {
        let told =
            delivery.alert().is_some_and(|(of, _)| self.people.was_told(of, delivery.recipient));
        let priority =
            if planted::is(Bug::PriorityIgnored) { Priority::Danger } else { delivery.priority };
        (priority, delivery.rank, told, delivery.created, delivery.id)
    }

    /// Returns whether `delivery` may start on `channel` now. The channel must stand in the first step with one that works
    /// and is not waiting after a failure: the next step is tried only after the one before has failed, or is down.
    /// A channel that is merely busy is waited for, because the order is the operator's.
    fn may_go(&self, delivery: &Delivery, channel: &str, now: Timestamp) -> bool {
        let ways = open_routes(delivery).filter(|route| {
            let up = self.lanes.get(&route.channel).is_some_and(|lane| lane.down.is_none());
            up && route.not_before <= now
        });
        delivery.state == DeliveryState::Queued
            && delivery.stop.is_none()
            && delivery.tries() < TRIES_MAX
            && (now < delivery.expires || planted::is(Bug::ExpiredSent))
            && ways
                .min_by_key(|r| (r.step, *r.channel != *channel))
                .is_some_and(|r| *r.channel == *channel)
            && self.can_pay(delivery)
            && self.clearance(delivery) == Clearance::Wanted
    }

    /// Returns whether the budget lets `delivery` go: danger always; an all-clear too, for it is owed to whoever was
    /// told; a warning into its reserve; advice not beyond the limit.
    fn can_pay(&self, delivery: &Delivery) -> bool {
        let Some(budget) = self.budget else { return true };
        let after = self.spend.segments.saturating_add(u32::from(delivery.segments));
        let with_reserve = budget.segments_per_day.saturating_add(budget.warning_reserve);
        match delivery.priority {
            Priority::Danger if planted::is(Bug::BudgetBlocksDanger) => after <= with_reserve,
            Priority::Danger => true,
            Priority::Warning | Priority::Advice if delivery.clears().is_some() => true,
            Priority::Warning => after <= with_reserve,
            Priority::Advice => {
                after <= budget.segments_per_day || planted::is(Bug::AdviceOverdraws)
            }
        }
    }
}
