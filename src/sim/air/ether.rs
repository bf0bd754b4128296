//! What is on the air at a moment, and what of it reaches a place: powers, noise, clashes.

use super::ChipId;
use super::log::Reason;
use super::signal::{Draws, Parts, PathLoss, Position, Shape, Tuning, decibels, milliwatts};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Frames that are remembered at once; what is more is refused, and counted.
pub const FLIGHTS_MAX: usize = 4096;

/// Sources of noise that are remembered at once; what is more is refused, and counted.
pub const JAMMERS_MAX: usize = 1024;

/// By how much a frame must outdo all others of its spreading factor to be demodulated nevertheless, dB: Bor et al.,
/// *Do LoRa Low-Power Wide-Area Networks Scale?* (2016), §3.
pub const CAPTURE_DB: f64 = 6.0;

/// By how much a frame of another spreading factor must outdo it to hurt, dB: the mean of Croce et al., *Impact of LoRa
/// Imperfect Orthogonality* (2018), table I.
pub const FOREIGN_FACTOR_DB: f64 = 16.0;

/// Symbols of the preamble's end that a receiver needs undisturbed: Bor et al. (2016), §3.
const PREAMBLE_SYMBOLS_CRITICAL: f64 = 5.0;

/// Best signal to noise that a chip reports, dB: its estimate saturates.
const SNR_MAX_DB: f64 = 12.0;

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sender {
    /// A chip.
    Chip(ChipId),
    /// An attacker, by its number.
    Attacker(usize),
}

/// A source of noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Jammer {
    /// Where it stands.
    pub position: Position,
    /// Middle of its band, Hz.
    pub frequency_hz: f64,
    /// Width of its band, Hz.
    pub bandwidth_hz: f64,
    /// What it sends over its whole band, dBm.
    pub power_dbm: f64,
    /// From when, counted from the beginning of the air.
    pub from: Duration,
    /// Until when.
    pub until: Duration,
}

/// Noise everywhere, once in each span of time, at a moment drawn by the seed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Bursts {
    /// One in each span of this length.
    pub every: Duration,
    /// For how long.
    pub lasting: Duration,
    /// By how much the noise rises, dB.
    pub rise_db: f64,
}

/// The place, the weather, and what goes wrong at random.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Conditions {
    /// How power falls with distance.
    pub path_loss: PathLoss,
    /// Which share of frames a receiver misses without cause, 0 to 1; drawn for each frame and receiver.
    pub loss: f64,
    /// Which share arrives damaged, so that its checksum tells.
    pub corruption: f64,
    /// Which share arrives damaged although its checksum is right.
    pub undetected: f64,
    /// Bursts of noise, where there are any.
    pub bursts: Option<Bursts>,
}

/// A frame on the air.
#[derive(Clone, Debug)]
pub(super) struct Flight {
    pub(super) id: u64,
    pub(super) sender: Sender,
    pub(super) position: Position,
    pub(super) tuning: Tuning,
    pub(super) shape: Shape,
    pub(super) parts: Parts,
    pub(super) power_dbm: f64,
    pub(super) payload: Arc<[u8]>,
    pub(super) begins: Duration,
    pub(super) ends: Duration,
    /// Its sender stopped before the end.
    pub(super) cut: bool,
}

/// A place with an owner.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) owner: Sender,
    pub(super) position: Position,
}

/// What purposes draws are for.
#[derive(Clone, Copy)]
enum Purpose {
    Shadowing = 1,
    Fading,
    Loss,
    Corruption,
    Undetected,
    Where,
    Burst,
    Register,
    Choice,
}

/// What becomes of a part of a frame at a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Clean,
    Weak,
    Clash,
}

#[derive(Debug)]
pub(super) struct Ether {
    pub(super) conditions: Conditions,
    pub(super) draws: Draws,
    pub(super) flights: BTreeMap<u64, Flight>,
    jammers: Vec<Jammer>,
    pub(super) refused: u64,
    next: u64,
}

fn number(sender: Sender) -> u64 {
    match sender {
        Sender::Chip(chip) => u64::from(chip.0),
        Sender::Attacker(index) => (1 << 40) | index as u64,
    }
}

impl Flight {
    fn place(&self) -> Place {
        Place { owner: self.sender, position: self.position }
    }

    /// Returns when the part of its preamble begins that a receiver needs undisturbed.
    pub(super) fn critical(&self) -> Duration {
        let before = self.tuning.symbols(PREAMBLE_SYMBOLS_CRITICAL);
        self.begins + self.parts.preamble.saturating_sub(before)
    }

    fn is_on_air(&self, from: Duration, until: Duration) -> bool {
        self.begins < until && self.ends > from
    }
}

impl Ether {
    pub(super) fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            conditions,
            draws: Draws::new(seed),
            flights: BTreeMap::new(),
            jammers: Vec::new(),
            refused: 0,
            next: 0,
        }
    }

    /// Takes a frame on the air, and returns its number; none where there is no room.
    pub(super) fn launch(&mut self, mut flight: Flight) -> Option<u64> {
        if self.flights.len() >= FLIGHTS_MAX {
            self.refused += 1;
            return None;
        }
        self.next += 1;
        flight.id = self.next;
        self.flights.insert(self.next, flight);
        Some(self.next)
    }

    pub(super) fn jam(&mut self, jammer: Jammer, now: Duration) {
        self.jammers.retain(|known| known.until > now.saturating_sub(Duration::from_mins(10)));
        if self.jammers.len() >= JAMMERS_MAX {
            self.refused += 1;
        } else {
            self.jammers.push(jammer);
        }
    }

    /// Forgets what can no longer meet a frame that is still on the air.
    pub(super) fn forget(&mut self, now: Duration) {
        let flying =
            self.flights.values().filter(|flight| flight.begins + flight.parts.whole > now);
        let earliest = flying.map(|flight| flight.begins).min().unwrap_or(now);
        self.flights.retain(|_, flight| {
            flight.ends > earliest || flight.begins + flight.parts.whole >= now
        });
    }

    /// Returns the power of a frame at a place, dBm.
    pub(super) fn power_dbm(&self, flight: &Flight, at: Place) -> f64 {
        let path = &self.conditions.path_loss;
        let distance = flight.position.distance_m(at.position);
        let (one, two) = (number(flight.place().owner), number(at.owner));
        let pair = [Purpose::Shadowing as u64, one.min(two), one.max(two)];
        let mut loss = path.over_db(distance);
        if path.shadowing_db > 0.0 {
            loss += path.shadowing_db * self.draws.normal(&pair);
        }
        if path.fading_db > 0.0 {
            loss += path.fading_db * self.draws.normal(&[Purpose::Fading as u64, flight.id, two]);
        }
        flight.power_dbm - loss
    }

    /// Returns the noise that a receiver meets at its worst within a span, dBm: the thermal noise of its band, bursts,
    /// jammers, and frames of other bandwidths that reach into it.
    pub(super) fn noise_dbm(
        &self,
        tuning: &Tuning,
        at: Place,
        (from, until): (Duration, Duration),
    ) -> f64 {
        let mut noise = milliwatts(tuning.noise_dbm());
        if let Some(bursts) = &self.conditions.bursts
            && self.bursts_within(bursts, from, until)
        {
            noise *= milliwatts(bursts.rise_db);
        }
        noise += self.jamming_mw(tuning, at, (from, until));
        for flight in self.flights.values() {
            let foreign = flight.sender != at.owner
                && flight.is_on_air(from, until)
                && flight.tuning.overlaps(tuning)
                && !flight.tuning.shares_channel(tuning);
            if foreign {
                let part = (tuning.bandwidth_hz / flight.tuning.bandwidth_hz).min(1.0);
                noise += milliwatts(self.power_dbm(flight, at)) * part;
            }
        }
        decibels(noise)
    }

    /// Returns what jammers put into a receiver's band within a span, mW.
    fn jamming_mw(&self, tuning: &Tuning, at: Place, (from, until): (Duration, Duration)) -> f64 {
        let mut noise = 0.0;
        for jammer in &self.jammers {
            let apart = (jammer.frequency_hz - tuning.frequency_hz).abs();
            let shared = (f64::midpoint(jammer.bandwidth_hz, tuning.bandwidth_hz) - apart)
                .min(jammer.bandwidth_hz)
                .min(tuning.bandwidth_hz);
            if shared > 0.0 && jammer.from < until && jammer.until > from {
                let loss =
                    self.conditions.path_loss.over_db(jammer.position.distance_m(at.position));
                noise += milliwatts(jammer.power_dbm - loss) * shared / jammer.bandwidth_hz;
            }
        }
        noise
    }

    /// Returns why a frame is too weak for its noise: for what jammers add to it, or without that.
    pub(super) fn why_weak(
        &self,
        flight: &Flight,
        at: Place,
        span: (Duration, Duration),
    ) -> Reason {
        let noise = milliwatts(self.noise_dbm(&flight.tuning, at, span));
        let quiet = noise - self.jamming_mw(&flight.tuning, at, span);
        // What is left of a sum of very unlike numbers may be too small.
        let quiet = decibels(quiet.max(milliwatts(flight.tuning.noise_dbm())));
        if self.power_dbm(flight, at) - quiet < flight.tuning.floor_db() {
            Reason::Weak
        } else {
            Reason::Jammed
        }
    }

    fn bursts_within(&self, bursts: &Bursts, from: Duration, until: Duration) -> bool {
        let span = bursts.every.as_nanos().max(1);
        let first = (from.as_nanos() / span).saturating_sub(1);
        let last = until.as_nanos() / span;
        // A frame is shorter than a few spans; more are not looked at.
        (first..=last.min(first + 64)).any(|index| {
            let index = u64::try_from(index).unwrap_or(u64::MAX);
            let unit = self.draws.unit(&[Purpose::Burst as u64, index]);
            let begins = (index as f64 + unit) * bursts.every.as_secs_f64();
            begins < until.as_secs_f64()
                && begins + bursts.lasting.as_secs_f64() > from.as_secs_f64()
        })
    }

    /// Returns what becomes of a frame at a place within a span.
    pub(super) fn fate(
        &self,
        flight: &Flight,
        at: Place,
        (from, until): (Duration, Duration),
    ) -> Fate {
        let power = self.power_dbm(flight, at);
        let mut same = 0.0;
        let mut foreign: f64 = f64::NEG_INFINITY;
        for other in self.flights.values() {
            let meets = other.id != flight.id
                && other.sender != at.owner
                && other.is_on_air(from, until)
                && other.tuning.shares_channel(&flight.tuning)
                && other.tuning.inverted == flight.tuning.inverted;
            if !meets {
                continue;
            }
            let its = self.power_dbm(other, at);
            if other.tuning.spreading_factor == flight.tuning.spreading_factor {
                same += milliwatts(its);
            } else {
                foreign = foreign.max(its);
            }
        }
        let snr = power - self.noise_dbm(&flight.tuning, at, (from, until));
        if snr < flight.tuning.floor_db() {
            Fate::Weak
        } else if (same > 0.0 && power < decibels(same) + CAPTURE_DB)
            || foreign >= power + FOREIGN_FACTOR_DB
        {
            Fate::Clash
        } else {
            Fate::Clean
        }
    }

    /// Returns strength with noise, strength without, and signal to noise as a chip reports them: dBm, dBm, dB.
    pub(super) fn measured(&self, flight: &Flight, at: Place) -> (f64, f64, f64) {
        let signal = self.power_dbm(flight, at);
        let noise = self.noise_dbm(&flight.tuning, at, (flight.begins, flight.ends));
        let total = decibels(milliwatts(signal) + milliwatts(noise));
        (total, signal, (signal - noise).min(SNR_MAX_DB))
    }

    /// Returns all power in a receiver's band at a moment, dBm.
    pub(super) fn strength_dbm(&self, tuning: &Tuning, at: Place, now: Duration) -> f64 {
        let span = (now, now + Duration::from_nanos(1));
        let mut power = milliwatts(self.noise_dbm(tuning, at, span));
        for flight in self.flights.values() {
            let heard = flight.sender != at.owner
                && flight.is_on_air(span.0, span.1)
                && flight.tuning.shares_channel(tuning);
            if heard {
                power += milliwatts(self.power_dbm(flight, at));
            }
        }
        decibels(power)
    }

    /// Returns whether a receiver could notice chirps of its kind within a span; of preambles alone, or of whole
    /// frames.
    pub(super) fn has_chirps(
        &self,
        tuning: &Tuning,
        at: Place,
        (from, until): (Duration, Duration),
        part: Part,
    ) -> bool {
        self.flights.values().any(|flight| {
            let ends = match part {
                Part::Preamble => flight.ends.min(flight.begins + flight.parts.sync),
                Part::Whole => flight.ends,
            };
            // Half a symbol is too little to be noticed.
            let least = tuning.symbols(0.5);
            flight.sender != at.owner
                && tuning.hears(&flight.tuning)
                && ends.min(until).saturating_sub(flight.begins.max(from)) >= least
                && self.power_dbm(flight, at) - self.noise_dbm(tuning, at, (from, until))
                    >= tuning.floor_db()
        })
    }

    fn draw(&self, purpose: Purpose, flight: &Flight, at: Place) -> f64 {
        self.draws.unit(&[purpose as u64, flight.id, number(at.owner)])
    }

    /// Returns whether a receiver misses a frame without cause; `share` where it has one of its own.
    pub(super) fn is_lost(&self, flight: &Flight, at: Place, share: Option<f64>) -> bool {
        self.draw(Purpose::Loss, flight, at) < share.unwrap_or(self.conditions.loss)
    }

    /// Returns whether an attacker takes a frame up; `share` of them it does.
    pub(super) fn is_chosen(&self, flight: &Flight, at: Place, share: f64) -> bool {
        self.draw(Purpose::Choice, flight, at) < share
    }

    /// Returns whether a receiver gets a frame damaged, so that its checksum tells.
    pub(super) fn is_corrupt(&self, flight: &Flight, at: Place) -> bool {
        self.draw(Purpose::Corruption, flight, at) < self.conditions.corruption
    }

    /// Returns whether a receiver gets a frame damaged although its checksum is right.
    pub(super) fn is_undetected(&self, flight: &Flight, at: Place) -> bool {
        self.draw(Purpose::Undetected, flight, at) < self.conditions.undetected
    }

    /// Returns a damaged copy of a payload.
    pub(super) fn damaged(&self, flight: &Flight, at: Place) -> Vec<u8> {
        let mut payload = flight.payload.to_vec();
        for round in 0..2 {
            let words = [Purpose::Where as u64, flight.id, number(at.owner), round];
            let bits = self.draws.bits(&words);
            let length = (payload.len() as u64).max(1);
            let index = usize::try_from((bits >> 16) % length).unwrap_or(0);
            if let Some(byte) = payload.get_mut(index) {
                // The first round always changes something; the second hits another bit.
                *byte ^= if round == 0 { 0x01 } else { 0x80 };
            }
        }
        payload
    }

    /// Returns what a chip's generator of random numbers holds at a moment.
    pub(super) fn random(&self, at: Place, now: Duration) -> u64 {
        let nanos = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
        self.draws.bits(&[Purpose::Register as u64, number(at.owner), nanos])
    }
}

/// Which part of frames detection of channel activity looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// Preambles: SX1276 data sheet §4.1.6.
    Preamble,
    /// Any symbol: SX1261/2 data sheet §6.1.6, AN1200.48.
    Whole,
}
