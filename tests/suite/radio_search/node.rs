//! A node: its session, two slots of flash, the readings that it keeps, and power that may fail at any step.

use super::oracle::Oracle;
use super::world::{Halt, schema};
use crate::dice::Dice;
use kengele::wire::sealed::{
    Address, Boot, Command, Epoch, FIELDS_MAX, Health, Kind, OrderAck, Outcome, Reading, Record,
    Report, Sealed, Session, Told, Value,
};
use std::collections::BTreeMap;

/// Readings that a node keeps while nobody hears it.
const STORE_MAX: usize = 40;
/// Readings that go into one frame: the newest, and the oldest that wait.
const IN_A_FRAME: usize = 4;
/// How long a node listens behind its own frame, ms.
const WINDOW_MS: u64 = 4000;

/// The power failed.
pub struct Cut;

impl From<Cut> for Halt {
    fn from(Cut: Cut) -> Self {
        Self::Cut
    }
}

#[allow(clippy::struct_excessive_bools, reason = "each says something of its own")]
pub struct Node {
    pub number: u16,
    pub always: bool,
    pub session: Session,
    pub interval_ms: u64,
    /// Power cuts so far.
    pub cuts: u64,
    /// Frames since the last acknowledgement.
    pub tries: u32,
    /// In 100,000 steps.
    pub cut_rate: u64,
    pub listens_until_ms: u64,
    slots: [Vec<u8>; 2],
    slot: usize,
    began_ms: u64,
    per_mille: u64,
    keeps_readings: bool,
    store: Vec<Reading>,
    in_flight: BTreeMap<u32, Vec<u32>>,
    began: bool,
    provisioned: Epoch,
    /// Whether a record was ever written.
    recorded: bool,
}

impl Node {
    pub fn drawn(address: Address, epoch: Epoch, interval_ms: u64, dice: &mut Dice) -> Self {
        Self {
            number: address.node,
            always: dice.chance(250),
            session: Session::provisioned(address, epoch),
            interval_ms,
            cuts: 0,
            tries: 0,
            cut_rate: dice.rate(1000),
            listens_until_ms: 0,
            slots: [Vec::new(), Vec::new()],
            slot: 0,
            began_ms: 0,
            per_mille: dice.between(990, 1010),
            keeps_readings: dice.chance(500),
            store: Vec::new(),
            in_flight: BTreeMap::new(),
            began: true,
            provisioned: epoch,
            recorded: false,
        }
    }

    pub fn waiting(&self) -> usize {
        self.store.len()
    }

    fn uptime_s(&self, now_ms: u64) -> u32 {
        u32::try_from((now_ms - self.began_ms) * self.per_mille / 1_000_000).unwrap()
    }

    /// A moment at which the power may fail.
    fn step(&self, dice: &mut Dice) -> Result<(), Cut> {
        if dice.below(100_000) < self.cut_rate { Err(Cut) } else { Ok(()) }
    }

    /// Comes back after a power cut.
    pub fn restart(&mut self, now_ms: u64) -> Result<(), String> {
        self.cuts += 1;
        self.began_ms = now_ms;
        let slots = self.slots.iter().filter(|slot| !slot.is_empty()).map(Vec::as_slice);
        match Session::resume(slots) {
            Ok(session) => self.session = session,
            // It never got as far as its first record, so nothing was sent: the installer gives it its code again.
            Err(_) if !self.recorded => {
                self.session = Session::provisioned(self.session.address(), self.provisioned);
            }
            Err(error) => return Err(format!("node {}: {error}", self.number)),
        }
        self.in_flight.clear();
        self.began = true;
        if self.keeps_readings {
            self.store.iter_mut().for_each(|reading| reading.before_restart = true);
        } else {
            self.store.clear();
        }
        Ok(())
    }

    fn write(&mut self, record: &Record, dice: &mut Dice, oracle: &mut Oracle) -> Result<(), Halt> {
        self.step(dice)?;
        let bytes = record.to_bytes().to_vec();
        if self.step(dice).is_err() {
            oracle.saw("torn write");
            self.slots[self.slot] = bytes[..dice.index(bytes.len())].to_vec();
            return Err(Halt::Cut);
        }
        self.slots[self.slot] = bytes;
        self.recorded = true;
        self.slot = 1 - self.slot;
        self.step(dice)?;
        if !self.session.written(record) {
            return Err(Halt::Wrong(format!("node {}: record out of turn", self.number)));
        }
        self.step(dice)?;
        Ok(())
    }

    fn reserve(&mut self, now_ms: u64, dice: &mut Dice, oracle: &mut Oracle) -> Result<(), Halt> {
        match self.session.prepare(self.uptime_s(now_ms)) {
            Some(record) => self.write(&record, dice, oracle),
            None => Ok(()),
        }
    }

    /// Measures something.
    pub fn measure(
        &mut self,
        now_ms: u64,
        dice: &mut Dice,
        oracle: &mut Oracle,
    ) -> Result<(), Halt> {
        self.reserve(now_ms, dice, oracle)?;
        let id = self.session.name_reading(self.uptime_s(now_ms)).map_err(wrong)?;
        let milli = 5 * i32::try_from(dice.below(4000)).unwrap();
        let mut values = [Value::Missing; FIELDS_MAX];
        values[0] = Value::Milli(milli);
        oracle.measured((self.number, id), values[0])?;
        if self.store.len() == STORE_MAX {
            self.store.remove(0);
            oracle.saw("dropped by a full node");
        }
        self.store.push(Reading { id, before_restart: false, values });
        self.step(dice)?;
        Ok(())
    }

    /// Seals what there is to say: first how it began, then readings.
    pub fn speak(
        &mut self,
        now_ms: u64,
        dice: &mut Dice,
        oracle: &mut Oracle,
    ) -> Result<Option<Sealed>, Halt> {
        self.reserve(now_ms, dice, oracle)?;
        let uptime_s = self.uptime_s(now_ms);
        if self.began {
            self.began = false;
            let health = Health {
                boot: Boot::PowerOn,
                firmware: [1, 0],
                schema: schema().digest(),
                uptime_s,
                battery_mv: 3600,
                boots: 0,
                dropped: 0,
                repeats: 0,
            };
            return self.seal(Kind::Health, &health.to_bytes(), now_ms, dice, oracle).map(Some);
        }
        if self.store.is_empty() {
            return Ok(None);
        }
        let mut report = Report::new(uptime_s);
        let newest = self.store.len() - 1;
        let places: Vec<usize> =
            (0..newest.min(IN_A_FRAME - 1)).chain(std::iter::once(newest)).collect();
        let mut names = Vec::new();
        for place in places {
            report.push(self.store[place]).map_err(wrong)?;
            names.push(self.store[place].id);
        }
        let kind = if dice.chance(50) { Kind::Alarm } else { Kind::Telemetry };
        let sealed = self.session.seal_report(kind, true, &schema(), &report, uptime_s);
        let sealed = sealed.map_err(wrong)?;
        self.sent(&sealed, now_ms, dice, oracle)?;
        self.in_flight.insert(sealed.counter, names);
        while self.in_flight.len() > 4 {
            self.in_flight.pop_first();
        }
        Ok(Some(sealed))
    }

    fn seal(
        &mut self,
        kind: Kind,
        payload: &[u8],
        now_ms: u64,
        dice: &mut Dice,
        oracle: &mut Oracle,
    ) -> Result<Sealed, Halt> {
        self.reserve(now_ms, dice, oracle)?;
        let ack = kind != Kind::Ack;
        let sealed = self.session.seal(kind, ack, payload, self.uptime_s(now_ms)).map_err(wrong)?;
        self.sent(&sealed, now_ms, dice, oracle)?;
        Ok(sealed)
    }

    fn sent(
        &mut self,
        sealed: &Sealed,
        now_ms: u64,
        dice: &mut Dice,
        oracle: &mut Oracle,
    ) -> Result<(), Halt> {
        let nonce = (self.number, self.session.epoch(), sealed.counter);
        oracle.sealed(nonce, &sealed.frame, now_ms)?;
        self.listens_until_ms = now_ms + WINDOW_MS;
        self.step(dice)?;
        Ok(())
    }

    /// Hears a frame, and returns what it answers.
    pub fn hear(
        &mut self,
        frame: &[u8],
        now_ms: u64,
        dice: &mut Dice,
        oracle: &mut Oracle,
    ) -> Result<Option<Sealed>, Halt> {
        let heard = match self.session.open(frame, self.uptime_s(now_ms)) {
            Ok(heard) => heard,
            Err(refusal) => {
                oracle.refused(true, refusal);
                return Ok(None);
            }
        };
        if let Some(names) = heard.acked.and_then(|counter| self.in_flight.remove(&counter)) {
            let all: Vec<_> = names.iter().map(|id| (self.number, *id)).collect();
            oracle.acked(&all)?;
            self.store.retain(|reading| !names.contains(&reading.id));
        }
        if heard.acked.is_some() {
            self.tries = 0;
        }
        if let Some(record) = heard.record {
            self.write(&record, dice, oracle)?;
        }
        let ack = match heard.told {
            None => return Ok(None),
            Some(Told::Again(ack) | Told::Late(ack) | Told::Rekeyed(ack)) => ack,
            Some(Told::Do { number, command }) => self.obey(number, command, dice, oracle)?,
        };
        self.seal(Kind::Ack, &ack.to_bytes(), now_ms, dice, oracle).map(Some)
    }

    fn obey(
        &mut self,
        number: u16,
        command: Command,
        dice: &mut Dice,
        oracle: &mut Oracle,
    ) -> Result<OrderAck, Halt> {
        match command {
            Command::SirenOn { seconds } => oracle.done(self.number, seconds, self.cuts)?,
            Command::Time { .. } => oracle.saw("time told"),
            Command::SirenOff
            | Command::SirenTest { .. }
            | Command::Interval { .. }
            | Command::Rekey { .. } => {}
        }
        self.step(dice)?;
        let (ack, record) = self.session.finish(number, Outcome::Done);
        self.write(&record, dice, oracle)?;
        Ok(ack)
    }
}

fn wrong(error: impl std::fmt::Display) -> Halt {
    Halt::Wrong(format!("what a node should be able to say it cannot: {error}"))
}
