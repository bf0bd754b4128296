//! Joining the segments of inbound messages.

use crate::domain::time::Timestamp;
use crate::wire::tpdu::{Address, UserData};
use std::fmt;
use std::time::Duration;

/// A message whose waiting is over.
#[derive(Clone, PartialEq, Eq)]
pub struct Joined {
    /// Its sender.
    pub from: Address,
    /// Its text; where segments are missing stands `[...]`.
    pub text: String,
    /// How many segments never came; 0 for a whole message.
    pub missing: u8,
}

impl fmt::Debug for Joined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Joined").field("missing", &self.missing).finish_non_exhaustive()
    }
}

/// Joins segments by sender, reference and total, in any order, with repetitions.
#[derive(Debug)]
pub struct Reassembler {
    messages_max: usize,
    wait_max: Duration,
}

impl Reassembler {
    /// Returns an empty one that holds at most `messages_max` (at least 1) unfinished messages, each for `wait_max`.
    #[must_use]
    pub fn new(messages_max: usize, wait_max: Duration) -> Self {
        Self { messages_max: messages_max.max(1), wait_max }
    }

    /// Takes one message or segment; returns what is now finished, whole or pushed out by the bound.
    pub fn add(&mut self, _from: &Address, _data: &UserData, _now: Timestamp) -> Vec<Joined> {
        todo!()
    }

    /// Returns what has waited too long, as far as it came.
    pub fn expire(&mut self, _now: Timestamp) -> Vec<Joined> {
        todo!()
    }

    /// Returns when [`Reassembler::expire`] has something to do next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        todo!()
    }
}
