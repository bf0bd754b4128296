//! When to ask for delivery reports. Pure: time is an argument.

use crate::domain::message::{NetworkReceipt, ReceiptState};
use crate::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// How often a provider is asked after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PollPlan {
    /// From the submission to the first question, and between the first two.
    pub interval: Duration,
    /// The interval doubles up to this.
    pub interval_max: Duration,
    /// Questions go on for this long after the message has expired: reports come late.
    pub grace: Duration,
    /// Most messages watched at once.
    pub watched_max: usize,
}

impl Default for PollPlan {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(15),
            interval_max: Duration::from_mins(10),
            grace: Duration::from_mins(10),
            watched_max: 4096,
        }
    }
}

/// The messages whose reports are still to come.
#[derive(Debug)]
pub struct Poller {
    plan: PollPlan,
    watched: BTreeMap<String, Watch>,
    turned_away: u64,
}

#[derive(Debug)]
struct Watch {
    due: Timestamp,
    interval: Duration,
    until: Timestamp,
}

impl Poller {
    /// Returns a poller that watches nothing.
    #[must_use]
    pub const fn new(plan: PollPlan) -> Self {
        Self { plan, watched: BTreeMap::new(), turned_away: 0 }
    }

    /// Watches `reference`, submitted `now`, whose message expires at `expires`.
    ///
    /// Over the bound it is not watched, and counted in [`Poller::turned_away`].
    pub fn watch(&mut self, reference: String, expires: Timestamp, now: Timestamp) {
        if self.watched.len() >= self.plan.watched_max {
            self.turned_away += 1;
            return;
        }
        let interval = self.plan.interval;
        let until = expires + self.plan.grace;
        self.watched.insert(reference, Watch { due: now + interval, interval, until });
    }

    /// Returns the references to ask after, at most `count_max`, the longest due first; each is put off by its interval.
    pub fn take_due(&mut self, count_max: usize, now: Timestamp) -> Vec<String> {
        self.watched.retain(|_, watch| now <= watch.until);
        let mut due: Vec<(Timestamp, String)> = self
            .watched
            .iter()
            .filter(|(_, watch)| watch.due <= now)
            .map(|(reference, watch)| (watch.due, reference.clone()))
            .collect();
        due.sort();
        due.truncate(count_max);
        for (_, reference) in &due {
            if let Some(watch) = self.watched.get_mut(reference) {
                watch.interval = (watch.interval * 2).min(self.plan.interval_max);
                watch.due = now + watch.interval;
            }
        }
        due.into_iter().map(|(_, reference)| reference).collect()
    }

    /// Ends the watch over what `receipts` say is final, however they came.
    pub fn settle(&mut self, receipts: &[NetworkReceipt]) {
        for receipt in receipts {
            match receipt.state {
                ReceiptState::Pending => {}
                ReceiptState::Delivered | ReceiptState::Failed { .. } | ReceiptState::Expired => {
                    self.watched.remove(&receipt.reference);
                }
            }
        }
    }

    /// Returns when [`Poller::take_due`] next has something.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.watched.values().map(|watch| watch.due).min()
    }

    /// Returns how many messages could not be watched, because too many were.
    #[must_use]
    pub const fn turned_away(&self) -> u64 {
        self.turned_away
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_millis(secs * 1000)
    }

    #[test]
    fn questions_grow_rarer_and_end_after_expiry() {
        let plan = PollPlan {
            interval: Duration::from_secs(10),
            interval_max: Duration::from_secs(40),
            grace: Duration::from_secs(20),
            watched_max: 4,
        };
        let mut poller = Poller::new(plan);
        poller.watch("a".to_owned(), at(150), at(0));
        let mut asked = Vec::new();
        while let Some(due) = poller.next_deadline() {
            asked.extend(poller.take_due(9, due).iter().map(|_| due.as_millis() / 1000));
        }
        assert_eq!(asked, [10, 30, 70, 110, 150]);
    }

    #[test]
    fn a_final_word_ends_the_questions() {
        let mut poller = Poller::new(PollPlan::default());
        poller.watch("a".to_owned(), at(900), at(0));
        let said = |state| NetworkReceipt { reference: "a".to_owned(), to: None, state };
        poller.settle(&[said(ReceiptState::Pending)]);
        assert!(poller.next_deadline().is_some());
        poller.settle(&[said(ReceiptState::Delivered)]);
        assert_eq!(poller.next_deadline(), None);
    }

    #[test]
    fn the_longest_due_is_asked_after_first_and_the_rest_keeps_its_turn() {
        let mut poller = Poller::new(PollPlan { watched_max: 3, ..PollPlan::default() });
        for (reference, secs) in [("c", 0), ("a", 1), ("b", 2), ("d", 3)] {
            poller.watch(reference.to_owned(), at(900), at(secs));
        }
        assert_eq!(poller.turned_away(), 1);
        assert_eq!(poller.take_due(2, at(60)), ["c", "a"]);
        assert_eq!(poller.take_due(2, at(60)), ["b"]);
    }
}
