//! What any chip has: pins, a bus, an antenna, and faults of its host that it remembers.

use super::ether::{Ether, Part, Place};
use super::signal::{Shape, Tuning};
use crate::wire::chip_link::Pins;
use std::sync::Arc;
use std::time::Duration;

/// What a host did that a chip does not forgive, or that this emulator does not model.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// It clocked the bus while BUSY was high; the chip took nothing.
    pub clocked_while_busy: u64,
    /// A command woke the chip and was lost by that.
    pub lost_by_waking: u64,
    /// Commands that are not modelled, or do not exist.
    pub unknown_commands: u64,
    /// Registers that are not modelled, or do not exist.
    pub unknown_registers: u64,
    /// Commands that the chip cannot execute in its state.
    pub out_of_place: u64,
    /// Transmissions that the air had no room for.
    pub refused: u64,
    /// The last of them in words, for the test that fails.
    pub last: Option<String>,
}

impl Faults {
    /// Returns how many there were.
    #[must_use]
    pub const fn total(&self) -> u64 {
        self.clocked_while_busy
            + self.lost_by_waking
            + self.unknown_commands
            + self.unknown_registers
            + self.out_of_place
            + self.refused
    }
}

/// A receiver that is on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ear {
    pub(super) tuning: Tuning,
    pub(super) sync_word: u8,
    pub(super) low_data_rate: bool,
    /// With an implicit header: how many bytes are expected, and whether with a checksum.
    pub(super) implicit: Option<(usize, bool)>,
    pub(super) since: Duration,
    /// Another number each time that reception begins anew.
    pub(super) session: u64,
}

/// A frame that a chip wants to send.
#[derive(Clone, Debug)]
pub(super) struct Emission {
    pub(super) tuning: Tuning,
    pub(super) shape: Shape,
    pub(super) power_dbm: f64,
    pub(super) payload: Arc<[u8]>,
    pub(super) begins: Duration,
}

/// A frame that has reached a chip.
#[derive(Clone, Debug)]
pub(super) struct Arrival {
    pub(super) payload: Vec<u8>,
    pub(super) coding_rate: u8,
    pub(super) crc: Checksum,
    pub(super) rssi_dbm: f64,
    pub(super) signal_dbm: f64,
    pub(super) snr_db: f64,
}

/// What the checksum says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    Absent,
    Right,
    Wrong,
}

/// What a chip asks of the air.
#[derive(Clone, Debug)]
pub(super) enum Order {
    /// To send.
    Send(Emission),
    /// To break off what it sends.
    Cut,
    /// To look whether a preamble is on the air already.
    Listen,
}

/// What a chip can see of the world.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) now: Duration,
    pub(super) ether: &'a Ether,
    pub(super) place: Place,
}

impl Scene<'_> {
    pub(super) fn has_chirps(&self, tuning: &Tuning, from: Duration, part: Part) -> bool {
        self.ether.has_chirps(tuning, self.place, (from, self.now), part)
    }

    pub(super) fn strength_dbm(&self, tuning: &Tuning) -> f64 {
        self.ether.strength_dbm(tuning, self.place, self.now)
    }

    pub(super) fn random(&self) -> u64 {
        self.ether.random(self.place, self.now)
    }
}

/// A chip as a state machine: no clock, no tasks; what is due is told by [`Silicon::deadline`].
pub(super) trait Silicon: Send {
    /// NSS low, these bytes, NSS high; returns as many.
    fn transfer(&mut self, mosi: &[u8], scene: &Scene<'_>) -> Vec<u8>;
    /// A pulse on NRESET.
    fn reset(&mut self, now: Duration);
    /// Does what is due.
    fn tick(&mut self, scene: &Scene<'_>);
    /// When something is due of itself.
    fn deadline(&self) -> Option<Duration>;
    fn pins(&self, now: Duration) -> Pins;
    fn ear(&self) -> Option<Ear>;
    /// A preamble was noticed.
    fn preamble(&mut self, now: Duration);
    /// The frame behind the preamble has another sync word, or broke off: the search goes on.
    fn astray(&mut self, now: Duration);
    /// The header came, right or wrong.
    fn header(&mut self, right: bool, now: Duration);
    /// The frame came to its end.
    fn arrived(&mut self, arrival: &Arrival, now: Duration);
    fn faults(&mut self) -> &mut Faults;
    fn take_orders(&mut self) -> Vec<Order>;
}
