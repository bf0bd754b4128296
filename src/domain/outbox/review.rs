//! What time, evidence and later alerts do to a delivery that is not in flight: the one place where it ends.

use super::record::{Change, Delivery, DeliveryState, Outcome, Route, Stop};
use super::{
    Attempt, DAY_MS, Held, Outbox, RETRY_DELAY_MAX, RETRY_DELAY_MIN, TRIES_MAX, UNKNOWN_WINDOW, day,
};
use crate::domain::message::{DeliveryId, Priority};
use crate::domain::planted::{self, Bug};
use crate::domain::time::{Timestamp, millis};
use std::time::Duration;

/// What becomes of a delivery.
enum Verdict {
    Stays,
    Again,
    Ends(DeliveryState),
}

/// Whether the all-clear that a delivery brings is wanted.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Clearance {
    Wanted,
    /// An alert to the same recipient is in flight: its answer decides.
    Waits,
    Pointless,
}

impl Outbox {
    /// Does what is due by the clock alone: call it when [`Outbox::next_deadline`] has come.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Change> {
        let mut changes = Vec::new();
        for id in self.ids(|_| true) {
            self.review(id, false, now, &mut changes);
        }
        changes
    }

    /// Returns the next moment after `now` at which [`Outbox::tick`] or [`Outbox::claim`] may do what they cannot now.
    ///
    /// What is due already is not in it: tick, and claim for every free lane, before waiting.
    #[must_use]
    pub fn next_deadline(&self, now: Timestamp) -> Option<Timestamp> {
        let mut waiting = false;
        let mut next: Option<Timestamp> = None;
        let mut consider = |at: Timestamp| {
            if at > now && next.is_none_or(|earliest| at < earliest) {
                next = Some(at);
            }
        };
        for held in self.held.values() {
            match &held.delivery.state {
                DeliveryState::Queued => {
                    waiting = true;
                    consider(held.delivery.expires);
                    open_routes(&held.delivery).for_each(|route| consider(route.not_before));
                }
                DeliveryState::Submitted { attempt } => {
                    let attempt = held.attempts.iter().find(|a| a.id == *attempt);
                    consider(self.report_deadline(&held.delivery, attempt));
                }
                DeliveryState::Unknown { decide_at: Some(at), .. } => consider(*at),
                DeliveryState::Armed { .. }
                | DeliveryState::Writing { .. }
                | DeliveryState::Unknown { decide_at: None, .. }
                | DeliveryState::Delivered
                | DeliveryState::Accepted
                | DeliveryState::Failed { .. }
                | DeliveryState::Expired
                | DeliveryState::Superseded
                | DeliveryState::OptedOut => {}
            }
        }
        if waiting {
            self.lanes.values().for_each(|lane| consider(lane.free_at));
            if self.budget.is_some() {
                consider(Timestamp::from_millis((day(now) + 1).saturating_mul(DAY_MS)));
            }
        }
        next
    }

    /// Looks at one delivery anew, and reports it when it changes now or is `dirty`: changed before.
    pub(super) fn review(
        &mut self,
        id: DeliveryId,
        dirty: bool,
        now: Timestamp,
        changes: &mut Vec<Change>,
    ) {
        let Some(held) = self.held.get(&id) else { return };
        let verdict = self.verdict(held, now);
        let Some(held) = self.held.get_mut(&id) else { return };
        match verdict {
            Verdict::Stays if !dirty => return,
            Verdict::Stays => {}
            Verdict::Again => {
                held.delivery.state = DeliveryState::Queued;
                held.delivery.possible_duplicate = !planted::is(Bug::DuplicateUnmarked);
            }
            Verdict::Ends(state) => held.end(state, now),
        }
        self.report(id, changes);
    }

    fn verdict(&self, held: &Held, now: Timestamp) -> Verdict {
        let delivery = &held.delivery;
        match &delivery.state {
            DeliveryState::Accepted if planted::is(Bug::SecondEnd) && now >= delivery.expires => {
                Verdict::Ends(DeliveryState::Expired)
            }
            DeliveryState::Armed { .. }
            | DeliveryState::Writing { .. }
            | DeliveryState::Unknown { decide_at: None, .. }
            | DeliveryState::Delivered
            | DeliveryState::Accepted
            | DeliveryState::Failed { .. }
            | DeliveryState::Expired
            | DeliveryState::Superseded
            | DeliveryState::OptedOut => Verdict::Stays,
            DeliveryState::Queued
            | DeliveryState::Submitted { .. }
            | DeliveryState::Unknown { decide_at: Some(_), .. }
                if held.attempts.iter().any(|a| a.outcome == Outcome::Delivered) =>
            {
                Verdict::Ends(DeliveryState::Delivered)
            }
            DeliveryState::Queued => self.verdict_queued(delivery, now),
            DeliveryState::Submitted { attempt } => {
                let attempt = held.attempts.iter().find(|a| a.id == *attempt);
                if now >= self.report_deadline(delivery, attempt) {
                    Verdict::Ends(DeliveryState::Accepted)
                } else if planted::is(Bug::FailoverInFlight)
                    && attempt.and_then(|a| a.ended).is_some_and(|at| now >= at + UNKNOWN_WINDOW)
                {
                    Verdict::Again
                } else {
                    Verdict::Stays
                }
            }
            DeliveryState::Unknown { decide_at: Some(at), .. } if now < *at => Verdict::Stays,
            DeliveryState::Unknown { attempt, decide_at: Some(_) } => {
                if self.goes_again(delivery, now) {
                    Verdict::Again
                } else {
                    let attempt = *attempt;
                    Verdict::Ends(DeliveryState::Unknown { attempt, decide_at: None })
                }
            }
        }
    }

    fn verdict_queued(&self, delivery: &Delivery, now: Timestamp) -> Verdict {
        match delivery.stop {
            Some(Stop::Superseded) => return Verdict::Ends(DeliveryState::Superseded),
            Some(Stop::OptedOut) => return Verdict::Ends(DeliveryState::OptedOut),
            None => {}
        }
        if now >= delivery.expires && !planted::is(Bug::ExpiredSent) {
            return Verdict::Ends(DeliveryState::Expired);
        }
        if self.clearance(delivery) == Clearance::Pointless {
            return Verdict::Ends(DeliveryState::Superseded);
        }
        if !self.has_a_way(delivery) {
            return Verdict::Ends(DeliveryState::Failed { reason: reasons(delivery) });
        }
        if delivery.tries() >= TRIES_MAX {
            let last = delivery.last_error.as_deref().unwrap_or("no reason was given");
            let reason = format!("given up after {TRIES_MAX} tries: {last}");
            return Verdict::Ends(DeliveryState::Failed { reason });
        }
        Verdict::Stays
    }

    /// Decides DESIGN §6: of what is of unknown fate, danger goes once more, and nothing else.
    fn goes_again(&self, delivery: &Delivery, now: Timestamp) -> bool {
        let repeats = match delivery.priority {
            Priority::Danger => true,
            Priority::Warning | Priority::Advice => planted::is(Bug::UnknownAdviceResent),
        };
        repeats
            && !delivery.possible_duplicate
            && delivery.stop.is_none()
            && now < delivery.expires
            && self.has_a_way(delivery)
    }

    fn has_a_way(&self, delivery: &Delivery) -> bool {
        open_routes(delivery).any(|route| self.lanes.contains_key(&route.channel))
    }

    /// Returns until when a receipt is awaited.
    fn report_deadline(&self, delivery: &Delivery, attempt: Option<&Attempt>) -> Timestamp {
        let Some((taken, attempt)) = attempt.and_then(|a| Some((a.ended?, a))) else {
            return delivery.created;
        };
        let window = match self.lanes.get(&attempt.channel) {
            Some(lane) => lane.settings.report_window,
            None => Duration::ZERO,
        };
        (taken + window).min(delivery.expires.max(taken) + UNKNOWN_WINDOW)
    }

    pub(super) fn clearance(&self, delivery: &Delivery) -> Clearance {
        let Some(warning) = delivery.clears() else { return Clearance::Wanted };
        let recipient = delivery.recipient;
        if self.people.was_told(warning, recipient) || planted::is(Bug::AllClearToEverybody) {
            return Clearance::Wanted;
        }
        let in_flight =
            self.lanes.values().flat_map(|lane| &lane.in_flight).filter_map(|id| self.get(*id));
        let mut in_flight = in_flight;
        let answer_decides = in_flight.any(|other| {
            other.recipient == recipient
                && other.clears().is_none()
                && other.alert().is_some_and(|(of, _)| of == warning)
        });
        if answer_decides && !planted::is(Bug::AllClearMissed) {
            Clearance::Waits
        } else {
            Clearance::Pointless
        }
    }
}

impl Held {
    /// Ends it. Where an attempt is of unknown fate and none is known to have been taken, that is its end.
    pub(super) fn end(&mut self, state: DeliveryState, now: Timestamp) {
        let doubtful = self.attempts.iter().find(|a| matches!(a.outcome, Outcome::Unknown { .. }));
        let taken = matches!(state, DeliveryState::Delivered | DeliveryState::Accepted);
        self.delivery.state = match doubtful {
            Some(attempt) if !taken => {
                DeliveryState::Unknown { attempt: attempt.id, decide_at: None }
            }
            Some(_) | None => state,
        };
        self.delivery.ended = Some(now);
    }
}

/// Returns the routes of `delivery` that are not rejected.
pub(super) fn open_routes(delivery: &Delivery) -> impl Iterator<Item = &Route> {
    delivery.routes.iter().filter(|route| route.rejected.is_none())
}

/// Returns why each route is closed, in one line.
fn reasons(delivery: &Delivery) -> String {
    let each: Vec<String> = delivery
        .routes
        .iter()
        .map(|route| {
            let reason = route.rejected.as_deref().unwrap_or("is not configured");
            format!("{}: {reason}", route.channel)
        })
        .collect();
    if each.is_empty() { "it has no channel".to_owned() } else { each.join("; ") }
}

/// Returns how long to wait after the `tries`-th failure that may pass: doubling from [`RETRY_DELAY_MIN`] to
/// [`RETRY_DELAY_MAX`], a quarter more or less by a figure drawn from the delivery's number, so that texts which
/// failed together do not come back together, and a replay comes back at the same moments.
#[must_use]
pub fn retry_delay(delivery: DeliveryId, tries: u32) -> Duration {
    let doublings = tries.saturating_sub(1).min(16);
    let delay = RETRY_DELAY_MIN.saturating_mul(1 << doublings).min(RETRY_DELAY_MAX);
    let delay_ms = u64::try_from(millis(delay)).unwrap_or(0);
    let drawn = mix(delivery.0.cast_unsigned().wrapping_add(u64::from(tries) << 48));
    Duration::from_millis(delay_ms - delay_ms / 4 + drawn % (delay_ms / 2 + 1))
}

/// Scatters the bits of `x`: the finaliser of `SplitMix64` (Steele, Lea and Flood, OOPSLA 2014).
const fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}
