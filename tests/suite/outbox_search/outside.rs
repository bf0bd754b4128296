//! What happens outside the gateway: submissions, answers, receipts, and channels that come and go.

use super::network::{HTTP, Known, MODEM, Truth};
use super::world::{Boundary, Event, Step, World};
use kengele::domain::message::{DeliveryId, ReceiptState, Submission, Submitted};
use kengele::domain::outbox::{Evidence, Outcome};
use std::time::Duration;

impl World {
    pub(super) fn submit(&mut self, channel: &'static str, submission: &Submission) -> Step {
        let now = self.now;
        let (store, network, lanes) = (&self.store, &self.network, &self.lanes);
        self.oracle.judge_submission(store, network, lanes, channel, submission, now)?;
        let row = &self.store.deliveries[&submission.delivery];
        let segments = row.segments;
        let truth = self.network.submit(channel, submission, segments, now, &mut self.dice);
        let before = self.store.attempts.values().filter(|a| a.delivery == submission.delivery);
        if let Some(attempt) = before.max_by_key(|a| a.id) {
            self.network.truths[truth].chosen = attempt.started;
        }
        let fate = self.network.truths[truth].fate.clone();
        self.note(|| format!("  out by {channel}: {:?}, {fate:?}", submission.delivery));
        let taken = now + Duration::from_millis(self.dice.between(1, 4000));
        let answered = taken + Duration::from_millis(self.dice.between(1, 60_000));
        self.at(taken, Event::Take(truth));
        self.at(answered, Event::Answer { truth, boot: self.boot });
        self.boundary(Boundary::BytesOut)
    }

    pub(super) fn take(&mut self, truth: usize) {
        let fresh = self.network.take(truth);
        for segment in 0..fresh {
            let (at, state) = self.network.journey(truth, self.now, &mut self.dice);
            if state == ReceiptState::Delivered {
                self.at(at, Event::Arrive { truth, segment });
            }
            for late in self.network.receipts(&mut self.dice) {
                let state = state.clone();
                self.at(at + late, Event::Receipt { truth, segment, state });
            }
        }
    }

    pub(super) fn answer(&mut self, truth: usize) -> Step {
        let now = self.now;
        let (delivery, channel) =
            (self.network.truths[truth].delivery, self.network.truths[truth].channel);
        let answer = self.network.answer(truth, &mut self.dice);
        let known = match &answer {
            Some(Submitted::Accepted { .. }) => Known::Accepted,
            Some(Submitted::Unknown { references, .. })
                if references.len() == usize::from(self.network.truths[truth].segments) =>
            {
                Known::Accepted
            }
            Some(Submitted::Unknown { .. }) | None => Known::Unknown,
            Some(
                Submitted::Retry { .. }
                | Submitted::Rejected { .. }
                | Submitted::ChannelDown { .. },
            ) => Known::NotLeft,
        };
        self.free(channel, delivery, None);
        if let Some(Submitted::ChannelDown { .. }) = &answer {
            self.lanes.get_mut(channel).expect("an answer names a lane that exists").up = false;
            let mended = now + Duration::from_secs(self.dice.between(1, 1800));
            self.at(mended, Event::ChannelUp(channel));
        }
        // What answers nothing, because its task is gone, leaves its fate unknown.
        let lost = || Submitted::Unknown { reason: "lost".to_owned(), references: Vec::new() };
        let answer = answer.unwrap_or_else(lost);
        let changes = self.outbox().on_submitted(delivery, channel, answer, now);
        self.pending = Some((truth, known));
        self.commit(&changes)?;
        if known == Known::Unknown {
            self.plan_look(delivery);
        }
        Ok(())
    }

    /// The channel may look for a text of unknown fate in the modem's memory, or ask the provider.
    pub(super) fn plan_look(&mut self, delivery: DeliveryId) {
        if self.dice.chance(self.look_rate) {
            let at = self.now + Duration::from_secs(self.dice.between(5, 120));
            self.at(at, Event::Look { delivery, boot: self.boot });
        }
    }

    pub(super) fn look(&mut self, delivery: DeliveryId) -> Step {
        let now = self.now;
        let doubtful = |o: &Outcome| matches!(o, Outcome::Unknown { .. });
        let attempts = self.outbox().attempts();
        let ours = attempts.filter(|a| a.delivery == delivery && doubtful(&a.outcome)).last();
        let Some(attempt) = ours.cloned() else { return Ok(()) };
        let begun = |t: &Truth| t.delivery == delivery && t.chosen == attempt.started;
        let index = self.network.truths.iter().rposition(begun);
        let evidence = match index.map(|index| &self.network.truths[index]) {
            Some(truth) if truth.open => return Ok(()),
            Some(truth) if truth.references.len() == usize::from(truth.segments) => {
                Evidence::Left { references: truth.references.clone() }
            }
            Some(truth) if !truth.references.is_empty() => return Ok(()),
            Some(_) | None => Evidence::NeverLeft,
        };
        self.note(|| format!("  {evidence:?}"));
        let left = evidence != Evidence::NeverLeft;
        let changes = self.outbox().on_evidence(delivery, evidence, now);
        if !changes.is_empty() {
            match index {
                Some(index) if left => self.pending = Some((index, Known::Accepted)),
                Some(_) | None => self.pending_not_left.push((delivery, attempt.id)),
            }
        }
        self.commit(&changes)
    }

    pub(super) fn receipt(&mut self, truth: usize, segment: usize, state: ReceiptState) -> Step {
        let now = self.now;
        let channel = self.network.truths[truth].channel;
        if matches!(state, ReceiptState::Failed { .. } | ReceiptState::Expired) {
            self.network.give_up(truth, segment);
        }
        let receipt = self.network.receipt(truth, segment, state, &mut self.dice);
        let changes = self.outbox().on_receipt(channel, &receipt, now);
        self.commit(&changes)
    }

    pub(super) fn channel_down(&mut self, channel: &'static str) {
        if let Some(lane) = self.lanes.get_mut(channel) {
            lane.up = false;
        }
        self.outbox().on_channel_down(channel, "simulated");
    }

    pub(super) fn channel_up(&mut self, channel: &'static str) {
        if let Some(lane) = self.lanes.get_mut(channel) {
            lane.up = true;
        }
        self.outbox().on_channel_up(channel);
    }

    /// The modem counts its references anew; whether the gateway notices is chance.
    pub(super) fn modem_restarts(&mut self) {
        self.network.modem_restarts();
        if self.dice.chance(500) && self.lanes.contains_key(MODEM) && !self.healed {
            self.channel_down(MODEM);
            let at = self.now + Duration::from_secs(self.dice.between(5, 60));
            self.at(at, Event::ChannelUp(MODEM));
        }
    }

    pub(super) fn heal(&mut self) {
        self.healed = true;
        self.network.healthy = true;
        self.crash_rate = 0;
        self.slow_commit_rate = 0;
        for channel in [MODEM, HTTP] {
            if self.outbox.is_some() {
                self.channel_up(channel);
            } else if let Some(lane) = self.lanes.get_mut(channel) {
                lane.up = true;
            }
        }
    }
}
