//! The last frames of radio nodes, as they were heard: for whoever walks with a node and asks how far it reaches.

use crate::domain::radio::{Hearing, Modulation};
use crate::domain::rule::NodeIndex;
use crate::domain::time::Timestamp;
use std::collections::VecDeque;

/// Frames that are remembered, of all nodes together.
const REMEMBERED_MAX: usize = 1024;

/// A frame of a node, as it was heard.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeHearing {
    /// Its number: it only grows, also over a restart. What is asked for next is what comes behind it.
    pub number: u64,
    /// Whose it was.
    pub node: NodeIndex,
    /// Its counter.
    pub counter: u32,
    /// When.
    pub at: Timestamp,
    /// Strength, dBm.
    pub rssi_dbm: f64,
    /// Signal to noise, dB.
    pub snr_db: f64,
    /// LoRa's spreading factor.
    pub spreading_factor: u8,
}

/// What was heard last.
#[derive(Debug)]
pub(super) struct Hearings {
    heard: VecDeque<NodeHearing>,
    count: u64,
}

impl Hearings {
    /// Begins behind a number that no earlier run has reached: the time, Unix ms.
    pub(super) fn from(unix_ms: i64) -> Self {
        Self { heard: VecDeque::new(), count: u64::try_from(unix_ms).unwrap_or(0) }
    }

    /// Returns how many were counted, to go on from under another configuration: there, a place may be another node's.
    pub(super) fn reloaded(&self) -> Self {
        Self { heard: VecDeque::new(), count: self.count }
    }

    /// Takes note of a frame that is true. What nobody measured is not worth a note.
    pub(super) fn note(&mut self, node: NodeIndex, counter: u32, hearing: &Hearing) {
        let (Some(rssi_dbm), Some(snr_db), Modulation::Lora { spreading_factor, .. }) =
            (hearing.rssi_dbm, hearing.snr_db, hearing.modulation)
        else {
            return;
        };
        self.count += 1;
        if self.heard.len() >= REMEMBERED_MAX {
            self.heard.pop_front();
        }
        let (number, at) = (self.count, hearing.at);
        self.heard.push_back(NodeHearing {
            number,
            node,
            counter,
            at,
            rssi_dbm,
            snr_db,
            spreading_factor,
        });
    }

    /// Returns what was heard of a node behind that number.
    pub(super) fn of(&self, node: NodeIndex, behind: u64) -> Vec<NodeHearing> {
        let wanted = |heard: &&NodeHearing| heard.node == node && heard.number > behind;
        self.heard.iter().filter(wanted).cloned().collect()
    }
}
