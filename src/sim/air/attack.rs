//! People who listen and send what they should not.

use super::signal::Position;
use std::time::Duration;

/// Frames that one attacker holds for later; what is more it lets go, and that is counted.
pub const HELD_MAX: usize = 4096;

/// What an attacker does with the frames that it hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Sends each again, so often, so long after its end and after each other.
    Replay {
        /// How long after.
        after: Duration,
        /// How often.
        times: u32,
    },
    /// Jams each from its header on, so that nobody near hears it, and sends it so long after its end: the wormhole of
    /// Aras et al., *Selective Jamming of LoRaWAN Using Commodity Hardware* (2017).
    Wormhole {
        /// How long after.
        after: Duration,
    },
    /// Sends each with some of its bits turned, so long after its end: what is only encrypted says something else then.
    Forge {
        /// How long after.
        after: Duration,
    },
}

/// An attacker: one ear, one antenna, on all channels at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Attacker {
    /// Where it listens.
    pub ear: Position,
    /// Where it sends from.
    pub antenna: Position,
    /// With which output, dBm.
    pub power_dbm: f64,
    /// What it does.
    pub plan: Plan,
    /// With which share of the frames that it hears, 0 to 1; drawn for each frame by the seed.
    pub share: f64,
    /// From when, counted from the beginning of the air.
    pub from: Duration,
    /// Until when it listens.
    pub until: Duration,
}

/// What attackers did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deeds {
    /// Frames that they heard.
    pub heard: u64,
    /// Frames that they jammed.
    pub jammed: u64,
    /// Frames that they sent, as they were heard or forged.
    pub sent: u64,
    /// Frames among them that were forged.
    pub forged: u64,
    /// Frames that they had no room for.
    pub let_go: u64,
}
