//! Two networks with two truths each: what they took, and what they said of it.

use crate::dice::Dice;
use kengele::domain::message::{DeliveryId, NetworkReceipt, ReceiptState, Submission, Submitted};
use kengele::domain::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

pub const MODEM: &str = "modem";
pub const HTTP: &str = "http";

/// What the gateway knows for certain, stored, of a submission.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    Nothing,
    Accepted,
    NotLeft,
    Unknown,
}

/// One submission, as it truly was.
#[derive(Debug)]
pub struct Truth {
    pub delivery: DeliveryId,
    pub channel: &'static str,
    pub at: Timestamp,
    /// When the outbox chose it: the day that its segments count for.
    pub chosen: Timestamp,
    pub deadline: Timestamp,
    pub to: String,
    pub key: String,
    pub segments: u16,
    pub fate: Fate,
    /// References of the segments that the network took.
    pub references: Vec<String>,
    /// Whether the network may still take some.
    pub open: bool,
    pub arrived: Vec<bool>,
    pub known: Known,
    /// The gateway was told that the network gave a segment up.
    pub given_up: bool,
    /// The gateway was shown that nothing left.
    pub shown_not_left: bool,
}

impl Truth {
    pub fn lied(&self) -> bool {
        matches!(self.fate, Fate::ErrorAfterAccept | Fate::OkWithoutSending)
    }

    pub fn is_copy(&self) -> bool {
        !self.arrived.is_empty() && self.arrived.iter().all(|arrived| *arrived)
    }
}

/// What happens to a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    Accept,
    Retry {
        after: Option<Duration>,
    },
    Reject,
    Down,
    /// No clear answer; so many segments were taken.
    Lost {
        taken: u16,
    },
    /// The channel's task dies; so many segments were taken.
    TaskDies {
        taken: u16,
    },
    ErrorAfterAccept,
    OkWithoutSending,
}

/// Rates per mille.
#[derive(Debug)]
pub struct Faults {
    pub retry: u64,
    pub reject: u64,
    pub down: u64,
    pub lost: u64,
    pub task_dies: u64,
    pub lies: u64,
    pub receipt_lost: u64,
    pub receipt_twice: u64,
    pub receipt_late: u64,
    pub undeliverable: u64,
}

impl Faults {
    pub fn drawn(dice: &mut Dice) -> Self {
        Self {
            retry: dice.rate(300),
            reject: dice.rate(100),
            down: dice.rate(60),
            lost: dice.rate(200),
            task_dies: dice.rate(60),
            lies: if dice.chance(150) { dice.rate(100) } else { 0 },
            receipt_lost: dice.rate(300),
            receipt_twice: dice.rate(300),
            receipt_late: dice.rate(300),
            undeliverable: dice.rate(150),
        }
    }
}

pub struct Network {
    pub faults: Faults,
    pub healthy: bool,
    pub truths: Vec<Truth>,
    /// The modem's message reference: it counts to 255 and begins again (3GPP TS 23.040 §9.2.3.6).
    modem_reference: u8,
    /// Where it begins whenever the modem does.
    modem_reference_first: u8,
    provider_messages: u64,
    /// Whether the provider drops a repetition by its idempotency key.
    deduplicates: bool,
    taken_keys: BTreeMap<String, usize>,
}

impl Network {
    pub fn drawn(dice: &mut Dice) -> Self {
        let modem_reference_first = u8::try_from(dice.between(235, 255)).unwrap();
        Self {
            faults: Faults::drawn(dice),
            healthy: false,
            truths: Vec::new(),
            modem_reference: modem_reference_first,
            modem_reference_first,
            provider_messages: 0,
            deduplicates: dice.chance(500),
            taken_keys: BTreeMap::new(),
        }
    }

    pub fn modem_restarts(&mut self) {
        self.modem_reference = self.modem_reference_first;
    }

    pub fn fate(&mut self, segments: u16, dice: &mut Dice) -> Fate {
        let faults = &self.faults;
        if self.healthy {
            return Fate::Accept;
        }
        let taken = u16::try_from(dice.between(0, segments.into())).unwrap();
        if dice.chance(faults.retry) {
            let after = dice.chance(400).then(|| Duration::from_secs(dice.between(1, 1200)));
            Fate::Retry { after }
        } else if dice.chance(faults.reject) {
            Fate::Reject
        } else if dice.chance(faults.down) {
            Fate::Down
        } else if dice.chance(faults.lost) {
            Fate::Lost { taken }
        } else if dice.chance(faults.task_dies) {
            Fate::TaskDies { taken }
        } else if dice.chance(faults.lies) {
            if dice.chance(500) { Fate::ErrorAfterAccept } else { Fate::OkWithoutSending }
        } else {
            Fate::Accept
        }
    }

    pub fn submit(
        &mut self,
        channel: &'static str,
        submission: &Submission,
        segments: u16,
        now: Timestamp,
        dice: &mut Dice,
    ) -> usize {
        let fate = self.fate(segments, dice);
        self.truths.push(Truth {
            delivery: submission.delivery,
            channel,
            at: now,
            chosen: now,
            deadline: now + submission.validity,
            to: submission.to.clone(),
            key: submission.idempotency_key.clone(),
            segments,
            fate,
            references: Vec::new(),
            open: true,
            arrived: Vec::new(),
            known: Known::Nothing,
            given_up: false,
            shown_not_left: false,
        });
        self.truths.len() - 1
    }

    /// Takes what the fate of a submission says; returns how many segments are new to the network.
    pub fn take(&mut self, index: usize) -> usize {
        let truth = &mut self.truths[index];
        truth.open = false;
        let taken = match truth.fate {
            Fate::Accept | Fate::ErrorAfterAccept => truth.segments,
            Fate::Lost { taken } | Fate::TaskDies { taken } => taken,
            Fate::Retry { .. } | Fate::Reject | Fate::Down | Fate::OkWithoutSending => 0,
        };
        let whole = taken == truth.segments;
        if truth.channel == HTTP && self.deduplicates && whole {
            if let Some(first) = self.taken_keys.get(&truth.key) {
                self.truths[index].references = self.truths[*first].references.clone();
                return 0;
            }
            self.taken_keys.insert(truth.key.clone(), index);
        }
        for _ in 0..taken {
            let reference = if truth.channel == MODEM {
                self.modem_reference = self.modem_reference.wrapping_add(1);
                self.modem_reference.to_string()
            } else {
                self.provider_messages += 1;
                format!("m{}", self.provider_messages)
            };
            truth.references.push(reference);
        }
        truth.arrived = vec![false; truth.segments.into()];
        taken.into()
    }

    /// Returns what the network says of a submission; `None` when its channel's task dies instead.
    pub fn answer(&mut self, index: usize, dice: &mut Dice) -> Option<Submitted> {
        let truth = &self.truths[index];
        let reason = || "simulated".to_owned();
        Some(match &truth.fate {
            Fate::Accept => Submitted::Accepted { references: truth.references.clone() },
            Fate::Retry { after } => Submitted::Retry { reason: reason(), after: *after },
            Fate::ErrorAfterAccept => Submitted::Retry { reason: reason(), after: None },
            Fate::Reject => Submitted::Rejected { reason: reason() },
            Fate::Down => Submitted::ChannelDown { reason: reason() },
            Fate::Lost { .. } => {
                let heard = dice.index(truth.references.len() + 1);
                let references = truth.references[..heard].to_vec();
                Submitted::Unknown { reason: reason(), references }
            }
            Fate::TaskDies { .. } => return None,
            Fate::OkWithoutSending => {
                let references = (0..truth.segments).map(|n| {
                    if truth.channel == MODEM {
                        self.modem_reference = self.modem_reference.wrapping_add(1);
                        self.modem_reference.to_string()
                    } else {
                        format!("lie{index}-{n}")
                    }
                });
                Submitted::Accepted { references: references.collect() }
            }
        })
    }

    /// Decides when, and whether, a segment that was taken reaches the telephone.
    pub fn journey(
        &self,
        index: usize,
        now: Timestamp,
        dice: &mut Dice,
    ) -> (Timestamp, ReceiptState) {
        if self.healthy {
            return (now + Duration::from_secs(5), ReceiptState::Delivered);
        }
        if dice.chance(self.faults.undeliverable) {
            let reason = "absent subscriber".to_owned();
            return (
                now + Duration::from_secs(dice.between(1, 600)),
                ReceiptState::Failed { reason },
            );
        }
        let longest = if dice.chance(150) { 7200 } else { 40 };
        let at = now + Duration::from_secs(dice.between(1, longest));
        let deadline = self.truths[index].deadline;
        if at < deadline {
            (at, ReceiptState::Delivered)
        } else {
            (deadline, ReceiptState::Expired)
        }
    }

    /// Notes that the gateway is told of a segment that was given up; a provider that drops a repetition gave both
    /// submissions the same reference.
    pub fn give_up(&mut self, index: usize, segment: usize) {
        let channel = self.truths[index].channel;
        let reference = self.truths[index].references[segment].clone();
        let shared = |t: &&mut Truth| t.channel == channel && t.references.contains(&reference);
        let delivery = self.truths[index].delivery;
        for truth in self.truths.iter_mut().filter(|t| t.delivery == delivery).filter(shared) {
            truth.given_up = true;
        }
    }

    /// Returns after how long each copy of a receipt reaches the gateway.
    pub fn receipts(&self, dice: &mut Dice) -> Vec<Duration> {
        if self.healthy {
            return vec![Duration::from_secs(1)];
        }
        let mut copies = Vec::new();
        let times = 1 + u64::from(dice.chance(self.faults.receipt_twice));
        for _ in 0..times {
            if !dice.chance(self.faults.receipt_lost) {
                let late = dice.chance(self.faults.receipt_late);
                copies.push(Duration::from_secs(dice.between(0, if late { 7200 } else { 20 })));
            }
        }
        copies
    }

    pub fn receipt(
        &self,
        index: usize,
        segment: usize,
        state: ReceiptState,
        dice: &mut Dice,
    ) -> NetworkReceipt {
        let truth = &self.truths[index];
        let bare = truth.to.trim_start_matches('+').to_owned();
        let to = match (truth.channel, dice.below(3)) {
            (HTTP, 0) => None,
            (_, 1) => Some(format!("00{bare}")),
            (_, _) => Some(truth.to.clone()),
        };
        NetworkReceipt { reference: truth.references[segment].clone(), to, state }
    }
}
