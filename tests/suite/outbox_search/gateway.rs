//! The gateway of the world: what its pipeline, store and dispatch task do around the outbox.

use super::network::{Fate, HTTP, MODEM, Truth};
use super::oracle::Oracle;
use super::world::{Boundary, Event, Halt, Step, World};
use kengele::domain::message::DeliveryId;
use kengele::domain::outbox::{
    Attempt, AttemptId, Begin, BootId, Change, DeliveryState, Outbox, Outcome, Stored, day,
};
use kengele::domain::time::Timestamp;
use kengele::domain::warning::{MessageType, WarningId};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

impl World {
    pub(super) fn commit(&mut self, changes: &[Change]) -> Step {
        if changes.is_empty() {
            self.apply_pending();
            return Ok(());
        }
        self.boundary(Boundary::BeforeCommit)?;
        for change in changes {
            Oracle::judge_change(&self.store, &self.network, change)?;
            self.note(|| match change {
                Change::Delivery(d) => format!("  {:?} {:?}", d.id, d.state),
                Change::Attempt(a) => format!("  {:?} of {:?} {:?}", a.id, a.delivery, a.outcome),
            });
            match change {
                Change::Delivery(row) => {
                    self.store.deliveries.insert(row.id, row.clone());
                    self.oracle.note_end(&self.store, &self.network, row);
                }
                Change::Attempt(attempt) => {
                    self.store.attempts.insert(attempt.id.0, attempt.clone());
                }
            }
        }
        self.apply_pending();
        self.boundary(Boundary::AfterCommit)?;
        self.outbox().stored(changes);
        Ok(())
    }

    pub(super) fn apply_pending(&mut self) {
        if let Some((truth, known)) = self.pending.take() {
            let truth = &mut self.network.truths[truth];
            truth.known = known;
            if let Fate::Retry { after: Some(after) } = truth.fate {
                self.oracle.asked.insert((truth.delivery, truth.channel), self.now + after);
            }
        }
        for (delivery, attempt) in std::mem::take(&mut self.pending_not_left) {
            self.oracle.hidden.remove(&(delivery, attempt));
            let chosen = self.store.attempts[&attempt.0].started;
            let shown = |t: &&mut Truth| t.delivery == delivery && t.chosen == chosen;
            for truth in self.network.truths.iter_mut().filter(shown) {
                truth.shown_not_left = true;
            }
        }
    }

    /// Does what the dispatch task does after each event: what is due, then every lane that is free.
    pub(super) fn pump(&mut self) -> Step {
        if self.outbox.is_none() {
            return Ok(());
        }
        let now = self.now;
        loop {
            let changes = self.outbox().tick(now);
            self.commit(&changes)?;
            let mut moved = false;
            for channel in [MODEM, HTTP] {
                let Some(claim) = self.outbox().claim(channel, now) else { continue };
                moved = true;
                let (store, network, lanes) = (&self.store, &self.network, &self.lanes);
                self.oracle.judge_claim(store, network, lanes, channel, claim.delivery, now)?;
                let lane = self.lanes.get_mut(channel).expect("a claim names a lane that exists");
                lane.busy.insert(claim.delivery);
                let segments = u32::from(self.store.deliveries[&claim.delivery].segments);
                lane.free_at = now + lane.interval * segments;
                if !self.healed && self.dice.chance(15) {
                    self.store_fails(channel, claim.delivery, &claim.changes)?;
                    continue;
                }
                self.commit(&claim.changes)?;
                self.boundary(Boundary::ArmedNotBegun)?;
                if self.dice.chance(self.slow_commit_rate) {
                    let at = now + Duration::from_secs(self.dice.between(1, 120));
                    let (delivery, boot) = (claim.delivery, self.boot);
                    self.at(at, Event::Begin { channel, delivery, boot });
                } else {
                    self.begin(channel, claim.delivery)?;
                }
            }
            if !moved {
                break;
            }
        }
        Oracle::judge_idle(&self.store, &self.lanes, now)?;
        self.set_alarm()
    }

    pub(super) fn set_alarm(&mut self) -> Step {
        let now = self.now;
        let Some(next) = self.outbox().next_deadline(now) else { return Ok(()) };
        if next <= now {
            return Err(Halt::Wrong(format!("{next:?} is no deadline after {now:?}")));
        }
        if self.wake.is_none_or(|at| next < at) {
            self.wake = Some(next);
            self.at(next, Event::Wake);
        }
        Ok(())
    }

    /// The rows of a claim cannot be stored; nobody knows whether they were, all the same.
    pub(super) fn store_fails(
        &mut self,
        channel: &'static str,
        delivery: DeliveryId,
        changes: &[Change],
    ) -> Step {
        let now = self.now;
        if self.dice.chance(500) {
            self.commit(changes)?;
        }
        let undo = self.outbox().disarm(delivery, now);
        self.free(channel, delivery, Some(now));
        self.commit(&undo)
    }

    pub(super) fn free(
        &mut self,
        channel: &'static str,
        delivery: DeliveryId,
        free_at: Option<Timestamp>,
    ) {
        let lane = self.lanes.get_mut(channel).expect("only lanes that exist are freed");
        lane.busy.remove(&delivery);
        lane.free_at = free_at.unwrap_or(lane.free_at);
    }

    pub(super) fn begin(&mut self, channel: &'static str, delivery: DeliveryId) -> Step {
        let now = self.now;
        match self.outbox().begin(delivery, now) {
            Begin::Send(submission) => self.submit(channel, &submission),
            Begin::CalledOff(changes) => {
                self.free(channel, delivery, Some(now));
                self.commit(&changes)
            }
        }
    }

    pub(super) fn alert(&mut self, index: usize) -> Step {
        let now = self.now;
        let rows = self.plan.rows(index, now, &self.store.opted_out);
        if rows.is_empty() {
            return Ok(());
        }
        for row in &rows {
            self.store.deliveries.insert(row.id, row.clone());
        }
        self.boundary(Boundary::StoredButNotFed)?;
        let changes = self.outbox().insert(rows, now);
        self.commit(&changes)
    }

    pub(super) fn crash(&mut self) {
        self.outbox = None;
        self.pending = None;
        self.pending_not_left.clear();
        self.wake = None;
        for lane in self.lanes.values_mut() {
            lane.busy.clear();
            lane.free_at = Timestamp::from_millis(i64::MIN);
        }
        for row in self.store.deliveries.values() {
            let DeliveryState::Writing { attempt } = row.state else { continue };
            let Some(stored) = self.store.attempts.get(&attempt.0) else { continue };
            let started = stored.started;
            let begun = |t: &Truth| t.delivery == row.id && t.chosen == started;
            if !self.network.truths.iter().any(begun) {
                self.oracle.hidden.insert((row.id, attempt));
                self.oracle.ever_hidden.insert(row.id);
            }
        }
        let down = if self.dice.chance(800) { 30 } else { 3600 };
        let at = self.now + Duration::from_secs(self.dice.between(1, down));
        self.at(at, Event::Start);
    }

    pub(super) fn start(&mut self) -> Step {
        if self.outbox.is_some() {
            return Ok(());
        }
        self.boot += 1;
        let now = self.now;
        let boot = BootId(self.boot);
        let (mut outbox, changes) = Outbox::recover(self.settings.clone(), self.load(), boot, now);
        let (_, again) = Outbox::recover(self.settings.clone(), self.load(), boot, now);
        if changes != again {
            return Err(Halt::Wrong("P2: two starts from one store differ".to_owned()));
        }
        for (channel, lane) in &self.lanes {
            if !lane.up {
                outbox.on_channel_down(channel, "simulated");
            }
        }
        self.outbox = Some(outbox);
        self.boundary(Boundary::DuringRecovery)?;
        self.commit(&changes)?;
        let (_, more) = Outbox::recover(self.settings.clone(), self.load(), boot, now);
        if !more.is_empty() {
            return Err(Halt::Wrong(format!("P2: a second start goes on: {more:?}")));
        }
        for recipient in self.store.opted_out.clone() {
            let changes = self.outbox().opt_out(recipient, now);
            self.commit(&changes)?;
        }
        let doubtful: Vec<DeliveryId> = self
            .outbox()
            .deliveries()
            .filter(|d| matches!(d.state, DeliveryState::Unknown { .. }))
            .map(|d| d.id)
            .collect();
        for delivery in doubtful {
            self.plan_look(delivery);
        }
        Ok(())
    }

    /// Reads what the store's own queries would give.
    pub(super) fn load(&self) -> Stored {
        let rows = || self.store.deliveries.values();
        let live: BTreeSet<DeliveryId> =
            rows().filter(|row| row.end().is_none()).map(|row| row.id).collect();
        let mut newest: BTreeMap<WarningId, (u32, MessageType)> = BTreeMap::new();
        let mut told = BTreeSet::new();
        for row in rows() {
            let Some((warning, number)) = row.alert() else { continue };
            let kind =
                if row.clears().is_some() { MessageType::Cancel } else { MessageType::Update };
            let entry = newest.entry(warning).or_insert((number, kind));
            *entry = (*entry).max((number, kind));
            if row.reached && row.clears().is_none() {
                told.insert((warning, row.recipient));
            }
        }
        let today = |a: &&Attempt| day(a.started) == day(self.now);
        let attempts = self.store.attempts.values();
        let open =
            |o: &Outcome| matches!(o, Outcome::Open | Outcome::Accepted | Outcome::Unknown { .. });
        Stored {
            deliveries: rows().filter(|row| live.contains(&row.id)).cloned().collect(),
            attempts: attempts
                .clone()
                .filter(|a| live.contains(&a.delivery) && open(&a.outcome))
                .cloned()
                .collect(),
            attempt_last: AttemptId(self.store.attempts.keys().last().copied().unwrap_or(0)),
            newest: newest
                .into_iter()
                .map(|(warning, (number, kind))| (warning, number, kind))
                .collect(),
            told: told.into_iter().collect(),
            spent: attempts
                .filter(today)
                .filter(|a| a.outcome.may_have_left())
                .map(|a| u32::from(a.segments))
                .sum(),
        }
    }
}
