//! One packet, heard by several forwarders: it counts once, and goes back the best way.

use super::super::lorawan::Eui;
use super::packet::Received;
use crate::domain::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// Most gateways that are counted for one packet.
const GATEWAYS_MAX: usize = 16;

/// What became of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Added {
    /// It was not heard before; it will come out of [`Copies::due`].
    First,
    /// It is a copy of one that still waits, or of one that has come out a moment ago.
    Copy,
    /// There was no room; it is dropped.
    Full,
}

/// One hearing of a packet.
#[derive(Clone, Debug, PartialEq)]
pub struct Copy {
    /// Who heard it.
    pub gateway: Eui,
    /// What it says.
    pub received: Received,
}

/// A packet with its best hearing.
#[derive(Clone, Debug, PartialEq)]
pub struct Gathered {
    /// The hearing with the best SNR, then the strongest signal: the way for the downlink.
    pub best: Copy,
    /// How many gateways heard it; counted up to 16.
    pub gateways: u8,
}

/// Packets that may be heard again, oldest first.
#[derive(Clone, Debug)]
pub struct Copies {
    window: Duration,
    memory: Duration,
    capacity: usize,
    groups: VecDeque<Group>,
}

#[derive(Clone, Debug)]
struct Group {
    first_at: Timestamp,
    best: Copy,
    gateways: Vec<Eui>,
    out: bool,
}

impl Copies {
    /// Gathers the copies of a packet for `window` from the first on, and knows them again for `memory`, which is at
    /// least the window. A device repeats a frame not before its second receive window is over, 2 s after the frame:
    /// with a shorter memory, a repetition is not taken for a copy. At most `capacity` packets are held.
    #[must_use]
    pub fn new(window: Duration, memory: Duration, capacity: usize) -> Self {
        Self { window, memory: memory.max(window), capacity, groups: VecDeque::new() }
    }

    /// Takes a packet.
    pub fn add(&mut self, gateway: Eui, received: Received, now: Timestamp) -> Added {
        self.forget(now);
        let known = self.groups.iter_mut().find(|group| group.best.received.phy == received.phy);
        if let Some(group) = known {
            group.add(Copy { gateway, received });
            return Added::Copy;
        }
        if self.groups.len() >= self.capacity && !self.make_room() {
            return Added::Full;
        }
        let best = Copy { gateway, received };
        self.groups.push_back(Group { first_at: now, best, gateways: vec![gateway], out: false });
        Added::First
    }

    /// Returns the packets whose window is over, each once, in the order in which they were first heard.
    pub fn due(&mut self, now: Timestamp) -> Vec<Gathered> {
        let window = self.window;
        let over = |group: &&mut Group| !group.out && group.first_at + window <= now;
        let gathered = self.groups.iter_mut().filter(over).map(Group::take).collect();
        self.forget(now);
        gathered
    }

    /// Returns when [`Copies::due`] has something next.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Timestamp> {
        self.groups.iter().filter(|group| !group.out).map(|g| g.first_at + self.window).min()
    }

    fn forget(&mut self, now: Timestamp) {
        let memory = self.memory;
        self.groups.retain(|group| !group.out || group.first_at + memory > now);
    }

    /// Forgets the oldest packet that has come out. Returns whether there was one.
    fn make_room(&mut self) -> bool {
        let oldest = self.groups.iter().position(|group| group.out);
        oldest.and_then(|at| self.groups.remove(at)).is_some()
    }
}

impl Group {
    fn add(&mut self, copy: Copy) {
        if !self.gateways.contains(&copy.gateway) && self.gateways.len() < GATEWAYS_MAX {
            self.gateways.push(copy.gateway);
        }
        if goodness(&copy.received) > goodness(&self.best.received) {
            self.best = copy;
        }
    }

    fn take(&mut self) -> Gathered {
        self.out = true;
        let gateways = u8::try_from(self.gateways.len()).unwrap_or(u8::MAX);
        Gathered { best: self.best.clone(), gateways }
    }
}

/// Returns what compares hearings: SNR first, then signal strength; what is not known is worst.
fn goodness(received: &Received) -> (f64, f64) {
    let known = |value: Option<f64>| value.unwrap_or(f64::NEG_INFINITY);
    (known(received.snr_db), known(received.rssi_dbm))
}
