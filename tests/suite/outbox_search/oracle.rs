//! The naive judge: it looks at the plan, at what the networks truly did and at what is stored, and at no code of the
//! outbox.

use super::network::{Known, MODEM, Network, Truth};
use kengele::domain::message::{DeliveryId, Priority, Submission};
use kengele::domain::outbox::{
    Attempt, AttemptId, Budget, Change, Delivery, DeliveryState, End, day,
};
use kengele::domain::recipient::RecipientId;
use kengele::domain::time::Timestamp;
use kengele::domain::warning::WarningId;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// What survives a crash.
#[derive(Default)]
pub struct Store {
    pub deliveries: BTreeMap<DeliveryId, Delivery>,
    pub attempts: BTreeMap<i64, Attempt>,
    pub opted_out: BTreeSet<RecipientId>,
}

pub struct Lane {
    pub interval: Duration,
    pub up: bool,
    pub width: usize,
    /// What it is armed with, or writing.
    pub busy: BTreeSet<DeliveryId>,
    pub free_at: Timestamp,
}

#[derive(Default)]
pub struct Oracle {
    pub budget: Option<Budget>,
    /// Attempts that were stored, and not begun, when a crash came: the gateway cannot know that.
    pub hidden: BTreeSet<(DeliveryId, AttemptId)>,
    /// The same, though it was found out later.
    pub ever_hidden: BTreeSet<DeliveryId>,
    /// The earliest moment at which the network wants to hear of a delivery again, by channel.
    pub asked: BTreeMap<(DeliveryId, &'static str), Timestamp>,
    pub told_at_end: BTreeMap<DeliveryId, bool>,
}

type Judged = Result<(), String>;

impl Oracle {
    /// Judges rows before they are stored: an end is an end.
    pub fn judge_change(store: &Store, network: &Network, change: &Change) -> Judged {
        let Change::Delivery(new) = change else { return Ok(()) };
        let Some(old) = store.deliveries.get(&new.id) else {
            return Err(format!("{:?} was never inserted", new.id));
        };
        if old.end().is_some() && old.state != new.state {
            return Err(format!("P3: {:?} ended twice: {:?}, {:?}", new.id, old.state, new.state));
        }
        if new.end().is_some() != new.ended.is_some() {
            return Err(format!("{:?} ends without a time, or the reverse", new.id));
        }
        if new.end() == Some(End::Delivered) {
            let mut truths = network.truths.iter().filter(|t| t.delivery == new.id);
            let arrived = truths.clone().any(Truth::is_copy) || truths.any(Truth::lied);
            if !arrived && !is_muddled(store, network, new.id) {
                return Err(format!("P3: {:?} is said to be delivered and is not", new.id));
            }
        }
        Ok(())
    }

    /// Judges a submission at the moment at which the outbox lets it go.
    pub fn judge_submission(
        &self,
        store: &Store,
        network: &Network,
        lanes: &BTreeMap<&'static str, Lane>,
        channel: &'static str,
        submission: &Submission,
        now: Timestamp,
    ) -> Judged {
        let id = submission.delivery;
        let row = &store.deliveries[&id];
        let before: Vec<&Truth> = network.truths.iter().filter(|t| t.delivery == id).collect();
        if now >= row.expires || now + submission.validity != row.expires {
            return Err(format!("P4: {id:?} leaves at {now:?}, expires {:?}", row.expires));
        }
        if row.end().is_some() {
            return Err(format!("P3: {id:?} leaves after its end"));
        }
        if store.opted_out.contains(&row.recipient) {
            return Err(format!("{id:?} leaves although its recipient opted out"));
        }
        if is_replaced(store, row) {
            return Err(format!("P4: {id:?} leaves although a later alert replaced it"));
        }
        if row.number.as_ref() != submission.to || row.text.as_ref() != submission.text {
            return Err(format!("{id:?} leaves with another number or text"));
        }
        if !lanes[channel].up || !lanes[channel].busy.contains(&id) {
            return Err(format!("{id:?} leaves by a lane that is down or busy"));
        }
        if self.asked.get(&(id, channel)).is_some_and(|until| now < *until) {
            return Err(format!("{id:?} leaves before the network wants it again"));
        }
        self.judge_repetition(store, network, row, &before)?;
        self.judge_all_clear(store, network, row)?;
        Ok(())
    }

    /// Judges the choice of what goes next on a lane, when it is made.
    pub fn judge_claim(
        &self,
        store: &Store,
        network: &Network,
        lanes: &BTreeMap<&'static str, Lane>,
        channel: &'static str,
        chosen: DeliveryId,
        now: Timestamp,
    ) -> Judged {
        let lane = &lanes[channel];
        if lane.busy.len() >= lane.width || !lane.up || now < lane.free_at {
            return Err(format!("{chosen:?} is chosen for {channel}, which is not free"));
        }
        let row = &store.deliveries[&chosen];
        self.judge_budget(network, row, now)?;
        let priority = row.priority;
        for other in store.deliveries.values().filter(|other| other.priority < priority) {
            // The budget may hold a warning back that is longer than the advice after it.
            let judged = other.priority == Priority::Danger || self.budget.is_none();
            if judged && could_go(store, lanes, other, channel, now) {
                return Err(format!("P5: {chosen:?} goes before {:?}", other.id));
            }
        }
        Ok(())
    }

    /// Judges DESIGN §6: one copy, and one more for danger after each moment whose outcome is unknowable.
    fn judge_repetition(
        &self,
        store: &Store,
        network: &Network,
        row: &Delivery,
        before: &[&Truth],
    ) -> Judged {
        if is_muddled(store, network, row.id) {
            return Ok(());
        }
        let with_network = before.iter().any(|t| t.known == Known::Accepted && !t.given_up);
        if with_network {
            return Err(format!("{:?} leaves again while a network has it", row.id));
        }
        let doubtful = before.iter().filter(|t| is_doubtful(t)).count();
        if doubtful == 0 && !self.is_hidden(row.id) {
            return Ok(());
        }
        if row.priority != Priority::Danger {
            return Err(format!("P3: {:?} leaves again, and is no danger", row.id));
        }
        if doubtful > 1 {
            return Err(format!("P3: {:?} leaves a third time", row.id));
        }
        if !row.possible_duplicate {
            return Err(format!("P3: {:?} is not marked as a possible duplicate", row.id));
        }
        Ok(())
    }

    fn is_hidden(&self, id: DeliveryId) -> bool {
        self.hidden.iter().any(|(delivery, _)| *delivery == id)
    }

    fn judge_budget(&self, network: &Network, row: &Delivery, now: Timestamp) -> Judged {
        let Some(budget) = self.budget else { return Ok(()) };
        if row.clears().is_some() || row.priority == Priority::Danger {
            return Ok(());
        }
        let spent: u32 = network
            .truths
            .iter()
            .filter(|t| day(t.chosen) == day(now) && t.known != Known::NotLeft && !t.shown_not_left)
            .map(|t| u32::from(t.segments))
            .sum();
        let limit = match row.priority {
            Priority::Advice => budget.segments_per_day,
            Priority::Warning | Priority::Danger => {
                budget.segments_per_day + budget.warning_reserve
            }
        };
        if spent + u32::from(row.segments) > limit {
            return Err(format!("P9: {:?} overdraws: {spent} of {limit}", row.id));
        }
        Ok(())
    }

    fn judge_all_clear(&self, store: &Store, network: &Network, row: &Delivery) -> Judged {
        let Some(warning) = row.clears() else { return Ok(()) };
        if self.may_have_heard(store, network, warning, row.recipient) {
            return Ok(());
        }
        Err(format!("P4: {:?} clears for somebody who was never told", row.id))
    }

    /// Returns whether an earlier text about `warning` may have reached `recipient`, as far as the gateway knew at any
    /// time: an all-clear too many is better than one too few.
    fn may_have_heard(
        &self,
        store: &Store,
        network: &Network,
        warning: WarningId,
        recipient: RecipientId,
    ) -> bool {
        let about = |row: &&Delivery| {
            row.recipient == recipient
                && row.clears().is_none()
                && row.alert().is_some_and(|(of, _)| of == warning)
        };
        store.deliveries.values().filter(about).any(|row| {
            self.ever_hidden.contains(&row.id)
                || network.truths.iter().any(|t| t.delivery == row.id && t.known != Known::NotLeft)
        })
    }

    /// Judges that no danger waits which could have gone at `at`.
    pub fn judge_idle(
        store: &Store,
        lanes: &BTreeMap<&'static str, Lane>,
        at: Timestamp,
    ) -> Judged {
        for (channel, lane) in lanes {
            if !lane.up || lane.busy.len() >= lane.width || at < lane.free_at {
                continue;
            }
            for row in store.deliveries.values() {
                if row.priority == Priority::Danger && could_go(store, lanes, row, channel, at) {
                    return Err(format!("P5: {:?} waits though {channel} is free", row.id));
                }
            }
        }
        Ok(())
    }

    /// Notes what a row's end is to be measured by, at the moment of its end.
    pub fn note_end(&mut self, store: &Store, network: &Network, row: &Delivery) {
        if let (Some(warning), Some(_)) = (row.clears(), row.end()) {
            let heard = network.truths.iter().any(|t| {
                let about = &store.deliveries[&t.delivery];
                about.recipient == row.recipient
                    && about.clears().is_none()
                    && about.alert().is_some_and(|(of, _)| of == warning)
                    && (t.is_copy() || t.open && !t.references.is_empty())
                    && !t.lied()
            });
            self.told_at_end.entry(row.id).or_insert(heard);
        }
    }

    /// Judges the whole story when it is over.
    pub fn judge_story(&self, store: &Store, network: &Network, healed: Timestamp) -> Judged {
        for row in store.deliveries.values() {
            let id = row.id;
            let Some(end) = row.end() else {
                return Err(format!("P3: {id:?} never ended: {:?}", row.state));
            };
            if is_muddled(store, network, id) {
                continue;
            }
            let truths: Vec<&Truth> = network.truths.iter().filter(|t| t.delivery == id).collect();
            let copies = truths.iter().filter(|t| t.is_copy()).count();
            let unknowable = truths.iter().filter(|t| is_unknowable(t)).count();
            let lies = truths.iter().filter(|t| t.lied()).count();
            if copies > 1 + unknowable + lies {
                return Err(format!("P3: {copies} copies of {id:?}, {unknowable} unknowable"));
            }
            if copies > 1 && lies == 0 && !row.possible_duplicate {
                return Err(format!("P3: two copies of {id:?}, not marked"));
            }
            let taken = truths.iter().any(|t| !t.references.is_empty());
            match end {
                End::Accepted if !taken && lies == 0 => {
                    return Err(format!("{id:?} is said to be accepted and was not"));
                }
                End::Superseded if !is_replaced(store, row) && row.clears().is_none() => {
                    return Err(format!("{id:?} is said to be replaced and is not"));
                }
                End::Superseded if self.told_at_end.get(&id) == Some(&true) => {
                    return Err(format!("P4: no all-clear {id:?} for somebody who was told"));
                }
                End::OptedOut if !store.opted_out.contains(&row.recipient) => {
                    return Err(format!("{id:?} is said to be opted out and is not"));
                }
                End::Expired
                    if !taken && lies == 0 && row.ended.is_some_and(|at| at < row.expires) =>
                {
                    return Err(format!("{id:?} ended as expired before it did"));
                }
                End::Unknown if unknowable == 0 && !self.is_hidden(id) => {
                    return Err(format!("{id:?} is said to be unknown and is not"));
                }
                End::Expired | End::Failed
                    if row.priority == Priority::Danger
                        && row.ended.is_some_and(|at| at > healed)
                        && row.expires > healed + Duration::from_hours(3)
                        && row.routes.iter().any(|route| route.rejected.is_none()) =>
                {
                    return Err(format!("P5: {id:?} ended as {end:?} in good health"));
                }
                End::Delivered
                | End::Accepted
                | End::Failed
                | End::Expired
                | End::Unknown
                | End::Superseded
                | End::OptedOut => {}
            }
        }
        Ok(())
    }
}

fn is_unknowable(truth: &Truth) -> bool {
    matches!(truth.known, Known::Unknown | Known::Nothing)
}

fn is_doubtful(truth: &Truth) -> bool {
    is_unknowable(truth) && !truth.shown_not_left && !truth.given_up
}

fn is_replaced(store: &Store, row: &Delivery) -> bool {
    row.alert().is_some_and(|(warning, number)| {
        let mut alerts = store.deliveries.values().filter_map(Delivery::alert);
        alerts.any(|(of, other)| of == warning && other > number)
    })
}

/// Returns whether `row` waits and could go on `channel` at `at`. Leaves out the all-clears, which wait for more.
fn could_go(
    store: &Store,
    lanes: &BTreeMap<&'static str, Lane>,
    row: &Delivery,
    channel: &str,
    at: Timestamp,
) -> bool {
    let busy = lanes.values().any(|lane| lane.busy.contains(&row.id));
    let ways = row.routes.iter().filter(|route| {
        let up = lanes.get(route.channel.as_ref()).is_some_and(|lane| lane.up);
        up && route.rejected.is_none() && route.not_before <= at
    });
    row.state == DeliveryState::Queued
        && !busy
        && row.clears().is_none()
        && at < row.expires
        && !is_replaced(store, row)
        && !store.opted_out.contains(&row.recipient)
        && ways.clone().any(|route| {
            route.channel.as_ref() == channel && ways.clone().all(|other| route.step <= other.step)
        })
}

/// Returns whether a receipt about `id` cannot be told from one about another delivery: because a modem that counts to
/// 255, or starts anew, gave both the same reference to the same number; or because a reference that was lost would
/// have been that of an older text, of which a receipt comes late. Nobody could judge those right.
pub fn is_muddled(store: &Store, network: &Network, id: DeliveryId) -> bool {
    let to = store.deliveries[&id].number.as_ref();
    let modem = || network.truths.iter().filter(|t| t.to == to && t.channel == MODEM);
    let own: BTreeSet<&String> =
        modem().filter(|t| t.delivery == id).flat_map(|t| &t.references).collect();
    let others = || modem().filter(|t| t.delivery != id);
    if others().flat_map(|t| &t.references).any(|reference| own.contains(reference)) {
        return true;
    }
    let lost = |a: &&Attempt| {
        a.delivery == id
            && a.outcome.may_have_left()
            && a.references.iter().filter(|r| own.contains(&r.reference)).count()
                < usize::from(a.segments)
    };
    store.attempts.values().filter(lost).any(|attempt| {
        let Some(before) = attempt.reference_before else { return false };
        let lost: Vec<String> = (1..=attempt.segments)
            .map(|n| before.wrapping_add(n.to_le_bytes()[0]).to_string())
            .collect();
        let older = others().filter(|t| t.at < attempt.started);
        older.into_iter().flat_map(|t| &t.references).any(|reference| lost.contains(reference))
    })
}
