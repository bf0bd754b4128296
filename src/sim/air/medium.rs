//! The medium: chips, frames and attackers on one time line. Pure: `advance` is told how late it is, and says which
//! chips have news for their hosts.

use super::ChipId;
use super::attack::{Attacker, Deeds, HELD_MAX, Plan};
use super::ether::{CAPTURE_DB, Conditions, Ether, Fate, Flight, Jammer, Place, Sender};
use super::log::{Log, Reason, What};
use super::signal::Position;
use super::silicon::{Arrival, Checksum, Emission, Order, Scene, Silicon};
use super::witness::Witness;
use crate::wire::chip_link::Pins;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Symbols of a preamble that a chip needs to notice it: four, of which the sync word's beginning may not be one
/// (SX1261/2 data sheet §13.4.9 has the time-out count symbols until then).
const SYMBOLS_TO_NOTICE: f64 = 4.0;

/// What is due on the air itself.
#[derive(Clone, Debug)]
enum Step {
    Begin { frame: u64 },
    Notice { frame: u64, chip: usize, session: u64 },
    Sync { frame: u64 },
    Header { frame: u64 },
    End { frame: u64 },
    Repeat { attacker: usize, emission: Box<Emission> },
}

struct Seat {
    silicon: Box<dyn Silicon>,
    position: Position,
    /// Its own share of frames that it misses without cause.
    loss: Option<f64>,
    /// The frame that it follows, in which session of its receiver.
    lock: Option<(u64, u64)>,
    sending: Option<u64>,
    deadline: Option<Duration>,
    pins: Pins,
}

pub(super) struct Medium {
    pub(super) ether: Ether,
    pub(super) log: Log,
    pub(super) witness: Witness,
    pub(super) deeds: Deeds,
    chips: Vec<Seat>,
    attackers: Vec<(Attacker, usize)>,
    queue: BTreeMap<(Duration, u64), Step>,
    queued: u64,
    due: BTreeSet<(Duration, usize)>,
    now: Duration,
    news: BTreeSet<usize>,
}

impl Medium {
    pub(super) fn new(seed: u64, conditions: Conditions) -> Self {
        Self {
            ether: Ether::new(seed, conditions),
            log: Log::default(),
            witness: Witness::default(),
            deeds: Deeds::default(),
            chips: Vec::new(),
            attackers: Vec::new(),
            queue: BTreeMap::new(),
            queued: 0,
            due: BTreeSet::new(),
            now: Duration::ZERO,
            news: BTreeSet::new(),
        }
    }

    /// Adds a chip, and returns its number; none beyond the bound of `u32`.
    pub(super) fn add(&mut self, silicon: Box<dyn Silicon>, position: Position) -> ChipId {
        let id = ChipId(u32::try_from(self.chips.len()).unwrap_or(u32::MAX));
        let pins = silicon.pins(self.now);
        self.chips.push(Seat {
            silicon,
            position,
            loss: None,
            lock: None,
            sending: None,
            deadline: None,
            pins,
        });
        self.settle(self.chips.len() - 1, self.now);
        id
    }

    pub(super) fn attack(&mut self, attacker: Attacker) {
        self.attackers.push((attacker, 0));
    }

    pub(super) fn move_to(&mut self, chip: ChipId, position: Position) {
        if let Some(seat) = self.chips.get_mut(chip.0 as usize) {
            seat.position = position;
        }
    }

    pub(super) fn set_loss(&mut self, chip: ChipId, share: Option<f64>) {
        if let Some(seat) = self.chips.get_mut(chip.0 as usize) {
            seat.loss = share;
        }
    }

    /// When something is due of itself.
    pub(super) fn deadline(&self) -> Option<Duration> {
        let air = self.queue.keys().next().map(|&(at, _)| at);
        let chip = self.due.first().map(|&(at, _)| at);
        match (air, chip) {
            (Some(air), Some(chip)) => Some(air.min(chip)),
            (one, other) => one.or(other),
        }
    }

    /// Does all that is due until now, each thing at its own moment, and returns whose pins changed.
    pub(super) fn advance(&mut self, now: Duration) -> BTreeSet<usize> {
        while let Some(at) = self.deadline()
            && at <= now
        {
            self.now = at;
            if let Some(&(moment, chip)) = self.due.first()
                && moment == at
            {
                self.with_chip(chip, at, |silicon, scene| silicon.tick(scene));
            } else if let Some((_, step)) = self.queue.pop_first() {
                self.take(step, at);
            }
        }
        self.now = self.now.max(now);
        std::mem::take(&mut self.news)
    }

    /// Clocks a command through a chip.
    pub(super) fn transfer(&mut self, chip: ChipId, mosi: &[u8], now: Duration) -> Vec<u8> {
        let done = |silicon: &mut dyn Silicon, scene: &Scene<'_>| silicon.transfer(mosi, scene);
        self.with_chip(chip.0 as usize, now, done).unwrap_or_default()
    }

    /// Pulls a chip's reset.
    pub(super) fn reset(&mut self, chip: ChipId, now: Duration) {
        self.with_chip(chip.0 as usize, now, |silicon, scene| silicon.reset(scene.now));
    }

    pub(super) fn pins(&self, chip: ChipId, now: Duration) -> Pins {
        self.chips.get(chip.0 as usize).map(|seat| seat.silicon.pins(now)).unwrap_or_default()
    }

    pub(super) fn with_faults<T>(
        &mut self,
        chip: ChipId,
        look: impl FnOnce(&mut super::silicon::Faults) -> T,
    ) -> Option<T> {
        self.chips.get_mut(chip.0 as usize).map(|seat| look(seat.silicon.faults()))
    }

    fn place(&self, chip: usize) -> Option<Place> {
        let owner = Sender::Chip(ChipId(u32::try_from(chip).ok()?));
        self.chips.get(chip).map(|seat| Place { owner, position: seat.position })
    }

    fn with_chip<T>(
        &mut self,
        chip: usize,
        now: Duration,
        work: impl FnOnce(&mut dyn Silicon, &Scene<'_>) -> T,
    ) -> Option<T> {
        let place = self.place(chip)?;
        let seat = self.chips.get_mut(chip)?;
        let scene = Scene { now, ether: &self.ether, place };
        let done = work(seat.silicon.as_mut(), &scene);
        self.settle(chip, now);
        Some(done)
    }

    /// Carries out what a chip asks for, and notes when it is due next and whether its pins changed.
    fn settle(&mut self, chip: usize, now: Duration) {
        let Some(seat) = self.chips.get_mut(chip) else { return };
        for order in seat.silicon.take_orders() {
            match order {
                Order::Send(emission) => self.send(chip, emission),
                Order::Cut => self.cut(chip, now),
                Order::Listen => self.look_for_preambles(chip),
            }
        }
        let Some(seat) = self.chips.get_mut(chip) else { return };
        let deadline = seat.silicon.deadline();
        if deadline != seat.deadline {
            if let Some(old) = seat.deadline {
                self.due.remove(&(old, chip));
            }
            if let Some(new) = deadline {
                self.due.insert((new, chip));
            }
            seat.deadline = deadline;
        }
        let pins = seat.silicon.pins(now);
        if pins != seat.pins {
            seat.pins = pins;
            self.news.insert(chip);
        }
    }

    fn schedule(&mut self, at: Duration, step: Step) {
        self.queued += 1;
        self.queue.insert((at, self.queued), step);
    }

    fn send(&mut self, chip: usize, emission: Emission) {
        let Some(place) = self.place(chip) else { return };
        let launched = self.launch(place, emission);
        if let Some(seat) = self.chips.get_mut(chip) {
            seat.sending = launched;
            if launched.is_none() {
                seat.silicon.faults().refused += 1;
            }
        }
    }

    fn launch(&mut self, from: Place, emission: Emission) -> Option<u64> {
        let Emission { tuning, shape, power_dbm, payload, begins } = emission;
        let parts = shape.parts(&tuning, payload.len());
        self.ether.forget(self.now);
        let frame = self.ether.launch(Flight {
            id: 0,
            sender: from.owner,
            position: from.position,
            tuning,
            shape,
            parts,
            power_dbm,
            payload,
            begins,
            ends: begins + parts.whole,
            cut: false,
        })?;
        self.schedule(begins, Step::Begin { frame });
        self.schedule(begins + parts.sync, Step::Sync { frame });
        self.schedule(begins + parts.header, Step::Header { frame });
        self.schedule(begins + parts.whole, Step::End { frame });
        Some(frame)
    }

    /// A chip stops sending before the end.
    fn cut(&mut self, chip: usize, now: Duration) {
        let Some(frame) = self.chips.get_mut(chip).and_then(|seat| seat.sending.take()) else {
            return;
        };
        if let Some(flight) = self.ether.flights.get_mut(&frame)
            && flight.ends > now
        {
            flight.ends = now.max(flight.begins);
            flight.cut = true;
            let flight = flight.clone();
            self.note_airtime(&flight);
        }
    }

    fn note_airtime(&mut self, flight: &Flight) {
        let long = flight.ends.saturating_sub(flight.begins);
        if let Sender::Chip(chip) = flight.sender
            && long > Duration::ZERO
        {
            let hz = flight.tuning.frequency_hz;
            self.witness.note(chip, hz, flight.power_dbm, flight.begins, long);
        }
    }

    fn take(&mut self, step: Step, now: Duration) {
        match step {
            Step::Begin { frame } => self.begin(frame, now),
            Step::Notice { frame, chip, session } => self.notice(frame, chip, session, now),
            Step::Sync { frame } => self.sync(frame, now),
            Step::Header { frame } => self.header(frame, now),
            Step::End { frame } => self.end(frame, now),
            Step::Repeat { attacker, emission } => self.repeat(attacker, *emission),
        }
    }

    fn flight(&self, frame: u64) -> Option<Flight> {
        self.ether.flights.get(&frame).cloned()
    }

    fn begin(&mut self, frame: u64, now: Duration) {
        let Some(flight) = self.flight(frame) else { return };
        if flight.cut {
            return;
        }
        let frequency = flight.tuning.frequency_hz.round();
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "chips reach 1.1 GHz"
        )]
        let frequency_hz = frequency as u32;
        self.log.note(
            now,
            What::Sent {
                by: flight.sender,
                frame,
                frequency_hz,
                spreading_factor: flight.tuning.spreading_factor,
                airtime: flight.parts.whole,
                payload: flight.payload.clone(),
            },
        );
        for chip in 0..self.chips.len() {
            self.note_deaf(&flight, chip);
            self.expect(&flight, chip);
        }
    }

    fn note_deaf(&mut self, flight: &Flight, chip: usize) {
        let Some(place) = self.place(chip) else { return };
        let is_deaf = self.chips.get(chip).is_some_and(|seat| seat.silicon.ear().is_none());
        if is_deaf
            && flight.sender != place.owner
            && let Sender::Chip(chip) = place.owner
        {
            self.log.tally_of(chip).deaf += 1;
        }
    }

    fn look_for_preambles(&mut self, chip: usize) {
        // Reception that begins anew lets go what it followed: SetRx, given again, does so.
        if let Some((frame, _)) = self.chips.get_mut(chip).and_then(|seat| seat.lock.take()) {
            self.miss(chip, frame, Reason::Left, self.now);
        }
        let flying: Vec<Flight> = self.ether.flights.values().cloned().collect();
        for flight in flying {
            if flight.begins <= self.now && flight.ends > self.now {
                self.expect(&flight, chip);
            }
        }
    }

    /// Schedules the moment at which a chip notices a preamble, if it is tuned to it.
    fn expect(&mut self, flight: &Flight, chip: usize) {
        let Some(ear) = self.chips.get(chip).and_then(|seat| seat.silicon.ear()) else { return };
        let Some(place) = self.place(chip) else { return };
        if flight.sender == place.owner || !ear.tuning.hears(&flight.tuning) {
            return;
        }
        let at = flight.begins.max(ear.since) + flight.tuning.symbols(SYMBOLS_TO_NOTICE);
        if at <= flight.begins + flight.parts.preamble {
            let step = Step::Notice { frame: flight.id, chip, session: ear.session };
            self.schedule(at, step);
        } else if flight.ends > ear.since {
            self.miss(chip, flight.id, Reason::Late, self.now);
        }
    }

    fn miss(&mut self, chip: usize, frame: u64, reason: Reason, now: Duration) {
        let by = ChipId(u32::try_from(chip).unwrap_or(u32::MAX));
        self.log.note(now, What::Missed { by, frame, reason });
    }

    fn notice(&mut self, frame: u64, chip: usize, session: u64, now: Duration) {
        let (Some(flight), Some(place)) = (self.flight(frame), self.place(chip)) else { return };
        let Some(seat) = self.chips.get(chip) else { return };
        if flight.cut || seat.silicon.ear().is_none_or(|ear| ear.session != session) {
            return;
        }
        let span = (now.saturating_sub(flight.tuning.symbols(SYMBOLS_TO_NOTICE)), now);
        let snr = self.ether.power_dbm(&flight, place)
            - self.ether.noise_dbm(&flight.tuning, place, span);
        if snr < flight.tuning.floor_db() {
            let reason = self.ether.why_weak(&flight, place, span);
            return self.miss(chip, frame, reason, now);
        }
        if self.ether.is_lost(&flight, place, seat.loss) {
            return self.miss(chip, frame, Reason::Chance, now);
        }
        if let Some((other, _)) = seat.lock {
            // A much stronger preamble takes the receiver from one that has not come to its sync word.
            let taken = self.ether.flights.get(&other).is_some_and(|held| {
                now < held.begins + held.parts.sync
                    && self.ether.power_dbm(&flight, place)
                        >= self.ether.power_dbm(held, place) + CAPTURE_DB
            });
            if !taken {
                return self.miss(chip, frame, Reason::Busy, now);
            }
            self.miss(chip, other, Reason::Clash, now);
        }
        if let Some(seat) = self.chips.get_mut(chip) {
            seat.lock = Some((frame, session));
        }
        self.with_chip(chip, now, |silicon, scene| silicon.preamble(scene.now));
    }

    /// Returns who follows a frame still; those whose receiver was switched off meanwhile are let go.
    fn followers(&mut self, frame: u64, now: Duration) -> Vec<usize> {
        let mut following = Vec::new();
        let mut left = Vec::new();
        for (chip, seat) in self.chips.iter_mut().enumerate() {
            match seat.lock {
                Some((held, session)) if held == frame => {
                    if seat.silicon.ear().is_some_and(|ear| ear.session == session) {
                        following.push(chip);
                    } else {
                        seat.lock = None;
                        left.push(chip);
                    }
                }
                Some(_) | None => {}
            }
        }
        for chip in left {
            self.miss(chip, frame, Reason::Left, now);
        }
        following
    }

    fn release(&mut self, chip: usize) {
        if let Some(seat) = self.chips.get_mut(chip) {
            seat.lock = None;
        }
    }

    fn sync(&mut self, frame: u64, now: Duration) {
        let Some(flight) = self.flight(frame) else { return };
        for chip in self.followers(frame, now) {
            let ear = self.chips.get(chip).and_then(|seat| seat.silicon.ear());
            let matches = ear.is_some_and(|ear| ear.sync_word == flight.shape.sync_word);
            if flight.cut || !matches {
                let reason = if flight.cut { Reason::Cut } else { Reason::SyncWord };
                self.release(chip);
                self.miss(chip, frame, reason, now);
                self.with_chip(chip, now, |silicon, scene| silicon.astray(scene.now));
            }
        }
    }

    fn header(&mut self, frame: u64, now: Duration) {
        let Some(flight) = self.flight(frame) else { return };
        for chip in self.followers(frame, now) {
            let Some(place) = self.place(chip) else { continue };
            let ear = self.chips.get(chip).and_then(|seat| seat.silicon.ear());
            let agrees = ear.is_some_and(|ear| ear.implicit.is_some() == flight.shape.implicit);
            let fate = self.ether.fate(&flight, place, (flight.critical(), now));
            let fault = match fate {
                _ if flight.cut => Some(Reason::Cut),
                Fate::Weak => Some(self.ether.why_weak(&flight, place, (flight.critical(), now))),
                Fate::Clash => Some(Reason::Clash),
                Fate::Clean if !agrees => Some(Reason::Shape),
                Fate::Clean => None,
            };
            if let Some(reason) = fault {
                self.release(chip);
                self.miss(chip, frame, reason, now);
            }
            self.with_chip(chip, now, |silicon, scene| {
                silicon.header(fault.is_none(), scene.now);
            });
        }
        if !flight.cut {
            self.overhear(&flight, now);
        }
    }

    fn end(&mut self, frame: u64, now: Duration) {
        let Some(flight) = self.flight(frame) else { return };
        for chip in self.followers(frame, now) {
            self.release(chip);
            self.deliver(&flight, chip, now);
        }
        if !flight.cut {
            self.note_airtime(&flight);
            if let Sender::Chip(chip) = flight.sender
                && let Some(seat) = self.chips.get_mut(chip.0 as usize)
                && seat.sending == Some(frame)
            {
                seat.sending = None;
            }
        }
    }

    fn deliver(&mut self, flight: &Flight, chip: usize, now: Duration) {
        let Some(place) = self.place(chip) else { return };
        let Some(ear) = self.chips.get(chip).and_then(|seat| seat.silicon.ear()) else { return };
        let header = flight.begins + flight.parts.header;
        let agreed = ear
            .implicit
            .is_none_or(|(bytes, crc)| bytes == flight.payload.len() && crc == flight.shape.crc);
        let agreed = agreed && ear.low_data_rate == flight.shape.low_data_rate;
        let reason = match self.ether.fate(flight, place, (header, now)) {
            _ if flight.cut => Some(Reason::Cut),
            _ if !agreed => Some(Reason::Shape),
            Fate::Weak => Some(self.ether.why_weak(flight, place, (header, now))),
            Fate::Clash => Some(Reason::Clash),
            Fate::Clean if self.ether.is_corrupt(flight, place) => Some(Reason::Chance),
            Fate::Clean => None,
        };
        let slipped = reason.is_none() && self.ether.is_undetected(flight, place);
        let payload = if reason.is_some() || slipped {
            self.ether.damaged(flight, place)
        } else {
            flight.payload.to_vec()
        };
        let crc = match (flight.shape.crc, reason) {
            (false, _) => Checksum::Absent,
            (true, Some(_)) => Checksum::Wrong,
            (true, None) => Checksum::Right,
        };
        let (rssi_dbm, signal_dbm, snr_db) = self.ether.measured(flight, place);
        let by = ChipId(u32::try_from(chip).unwrap_or(u32::MAX));
        self.log.note(
            now,
            match reason {
                Some(reason) => What::Missed { by, frame: flight.id, reason },
                None => What::Heard { by, frame: flight.id },
            },
        );
        let coding_rate = flight.shape.coding_rate;
        let arrival = Arrival { payload, coding_rate, crc, rssi_dbm, signal_dbm, snr_db };
        self.with_chip(chip, now, |silicon, scene| silicon.arrived(&arrival, scene.now));
    }

    /// Attackers hear a frame, jam what is left of it, and plan to send it.
    fn overhear(&mut self, flight: &Flight, now: Duration) {
        if matches!(flight.sender, Sender::Attacker(_)) {
            return;
        }
        for index in 0..self.attackers.len() {
            let Some((attacker, held)) = self.attackers.get(index).copied() else { continue };
            let place = Place { owner: Sender::Attacker(index), position: attacker.ear };
            let power = self.ether.power_dbm(flight, place);
            let hears = power - flight.tuning.noise_dbm() >= flight.tuning.floor_db();
            if !hears || now < attacker.from || now >= attacker.until {
                continue;
            }
            self.deeds.heard += 1;
            if !self.ether.is_chosen(flight, place, attacker.share) {
                continue;
            }
            let mut payload = Arc::clone(&flight.payload);
            let (after, times) = match attacker.plan {
                Plan::Replay { after, times } => (after, times),
                Plan::Forge { after } => {
                    payload = self.ether.damaged(flight, place).into();
                    (after, 1)
                }
                Plan::Wormhole { after } => {
                    self.deeds.jammed += 1;
                    let jammer = Jammer {
                        position: attacker.antenna,
                        frequency_hz: flight.tuning.frequency_hz,
                        bandwidth_hz: flight.tuning.bandwidth_hz,
                        power_dbm: attacker.power_dbm,
                        from: now,
                        until: flight.ends,
                    };
                    self.ether.jam(jammer, now);
                    (after, 1)
                }
            };
            for round in 1..=times {
                if held + round as usize > HELD_MAX {
                    self.deeds.let_go += 1;
                    continue;
                }
                if let Some((_, held)) = self.attackers.get_mut(index) {
                    *held += 1;
                }
                let begins = flight.ends + after * round;
                let emission = Emission {
                    tuning: flight.tuning,
                    shape: flight.shape,
                    power_dbm: attacker.power_dbm,
                    payload: Arc::clone(&payload),
                    begins,
                };
                self.schedule(
                    begins,
                    Step::Repeat { attacker: index, emission: Box::new(emission) },
                );
            }
        }
    }

    fn repeat(&mut self, index: usize, emission: Emission) {
        let Some((attacker, held)) = self.attackers.get_mut(index) else { return };
        *held = held.saturating_sub(1);
        let is_forged = matches!(attacker.plan, Plan::Forge { .. });
        let place = Place { owner: Sender::Attacker(index), position: attacker.antenna };
        if self.launch(place, emission).is_some() {
            self.deeds.sent += 1;
            self.deeds.forged += u64::from(is_forged);
        }
    }
}
