//! The node's side: counters that are never used twice, orders that are done once, and the change of keys.
//!
//! What must outlive a loss of power is a [`Record`]. A record is written, then given to [`Session::written`], then its
//! consequence may follow; if the write fails, nothing has happened.

use super::buffer::{Buffer, Reader, crc16};
use super::frame::{self, DOWN_BITS, Direction, Frame, Kind, Parts, Plain, TooLong};
use super::key::{Address, Epoch, Keys, Root};
use super::message::{Command, Down, OrderAck, Outcome, Preface};
use super::planted::{self, Fault};
use super::refusal::Refusal;
use super::report::{Report, ReportError, Schema};
use super::window::{WINDOW, Window};
use core::fmt;

/// Seconds, and so counters, that one record reserves.
pub const RESERVE_S: u32 = 1024;
/// The next block is asked for when so many counters are left.
const RESERVE_LEAD: u32 = 64;
/// An order that refers to a moment longer ago, s, is late.
pub const ORDER_LATE_S: u32 = 1800;
/// Turns of the 8 bits on the air that a node tries: it finds the way back after 16,384 frames that it did not hear.
const DOWN_TURNS: u64 = 64;
/// Bytes of a record, at most.
pub const RECORD_BYTES_MAX: usize = 64;
const RECORD_FORMAT: u8 = 1;

/// What a node keeps in its flash. It holds keys; its `Debug` does not show them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    sequence: u32,
    address: Address,
    /// Counters below it may be used.
    mark: u32,
    current: Epoch,
    /// The key that the gateway offered: the node speaks with it, and hears with both.
    next: Option<Epoch>,
    /// The highest counter of a frame to the node that had a consequence.
    down_highest: Option<u32>,
    /// The last order that was done.
    done: Option<OrderAck>,
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordError {
    /// There is none: the node was never provisioned.
    Nothing,
    /// All that is there is damaged.
    Damaged,
}

/// Why nothing is sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealError {
    /// No counter is reserved: write the record that [`Session::prepare`] gives.
    NotReserved,
    /// The payload is longer than a frame.
    TooLong(usize),
    /// A node sends no such frame.
    WrongWay(Kind),
    /// The report cannot be written.
    Report(ReportError),
    /// The node has lived for 136 years.
    CountersExhausted,
}

/// A frame that may go on the air once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// The bytes.
    pub frame: Frame,
    /// Its counter: what an acknowledgement names.
    pub counter: u32,
}

/// What an order means for the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Do it, then call [`Session::finish`] and send the acknowledgement.
    Do {
        /// The order's number.
        number: u16,
        /// What to do.
        command: Command,
    },
    /// It is done already: send the acknowledgement again.
    Again(OrderAck),
    /// It was sent too long ago: do not do it, and send this, by which the gateway learns the node's clock.
    Late(OrderAck),
    /// The new key holds from now on: send the acknowledgement, with it.
    Rekeyed(OrderAck),
}

/// What a frame to the node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heard {
    /// The counter of the frame whose readings are safe at the gateway.
    pub acked: Option<u32>,
    /// The order.
    pub told: Option<Told>,
    /// To be written before the order has any consequence.
    pub record: Option<Record>,
}

/// A node's end of the link.
#[derive(Clone, Debug)]
pub struct Session {
    kept: Record,
    current: Keys,
    next: Option<Keys>,
    /// The node's second when it began.
    base_s: u32,
    last: Option<u32>,
    last_reading: Option<u32>,
    down: Window<WINDOW>,
    done: Option<OrderAck>,
}

impl Session {
    /// Returns the session of a node that was just provisioned. Write what [`Session::prepare`] gives before anything else.
    #[must_use]
    pub fn provisioned(address: Address, epoch: Epoch) -> Self {
        Self::from_record(Record {
            sequence: 0,
            address,
            mark: 0,
            current: epoch,
            next: None,
            down_highest: None,
            done: None,
        })
    }

    /// Returns the session after a restart, by the newest whole record of the slots that records are written to in turn.
    ///
    /// # Errors
    ///
    /// There is no whole record: the node must be provisioned.
    pub fn resume<'a>(slots: impl IntoIterator<Item = &'a [u8]>) -> Result<Self, RecordError> {
        let mut error = RecordError::Nothing;
        let mut newest: Option<Record> = None;
        for slot in slots {
            match Record::from_bytes(slot) {
                Ok(record) if newest.is_none_or(|n| record.sequence > n.sequence) => {
                    newest = Some(record);
                }
                Ok(_) | Err(RecordError::Nothing) => {}
                Err(RecordError::Damaged) => error = RecordError::Damaged,
            }
        }
        newest.map(Self::from_record).ok_or(error)
    }

    fn from_record(kept: Record) -> Self {
        let base_s = if planted::is(Fault::CounterReuse) {
            kept.mark.saturating_sub(RESERVE_S)
        } else {
            kept.mark
        };
        Self {
            kept,
            current: kept.current.keys(kept.address),
            next: kept.next.map(|epoch| epoch.keys(kept.address)),
            base_s,
            last: None,
            last_reading: None,
            down: kept.down_highest.map_or_else(Window::default, Window::closed_at),
            done: kept.done,
        }
    }

    /// Returns who the node is.
    #[must_use]
    pub const fn address(&self) -> Address {
        self.kept.address
    }

    /// Returns the epoch that the node speaks with.
    #[must_use]
    pub fn epoch(&self) -> u16 {
        self.speaking().epoch
    }

    /// Returns the node's second: since it was provisioned, as far as it knows.
    #[must_use]
    pub const fn seconds(&self, uptime_s: u32) -> u32 {
        self.base_s.saturating_add(uptime_s)
    }

    /// Returns the record to be written so that counters go on, if the reserved ones run short.
    #[must_use]
    pub fn prepare(&self, uptime_s: u32) -> Option<Record> {
        let next = self.next_counter(uptime_s)?;
        let short = next.saturating_add(RESERVE_LEAD) >= self.kept.mark;
        short.then(|| self.record(Record { mark: next.saturating_add(RESERVE_S), ..self.kept }))
    }

    fn record(&self, changed: Record) -> Record {
        Record { sequence: self.kept.sequence.saturating_add(1), ..changed }
    }

    /// Takes over a record that is safely written. One that is not the next in turn is not taken.
    ///
    /// Returns whether it was taken.
    #[must_use]
    pub fn written(&mut self, record: &Record) -> bool {
        if self.kept.sequence.checked_add(1) != Some(record.sequence) {
            return false;
        }
        self.kept = *record;
        self.current = record.current.keys(record.address);
        self.next = record.next.map(|epoch| epoch.keys(record.address));
        true
    }

    fn next_counter(&self, uptime_s: u32) -> Option<u32> {
        let above_last = self.last.map_or(Some(0), |last| last.checked_add(1))?;
        let reading = self.last_reading.unwrap_or(0);
        Some(above_last.max(self.seconds(uptime_s)).max(reading))
    }

    /// Returns the name of a reading that is taken now: its second, or the next one that no reading has.
    ///
    /// # Errors
    ///
    /// No counter is reserved.
    pub fn name_reading(&mut self, uptime_s: u32) -> Result<u32, SealError> {
        let above_last = self.last_reading.map_or(Some(0), |last| last.checked_add(1));
        let id = above_last.ok_or(SealError::CountersExhausted)?.max(self.seconds(uptime_s));
        if id >= self.kept.mark {
            return Err(SealError::NotReserved);
        }
        self.last_reading = Some(id);
        Ok(id)
    }

    /// Seals readings.
    ///
    /// # Errors
    ///
    /// The report cannot be written, or no counter is reserved.
    pub fn seal_report(
        &mut self,
        kind: Kind,
        ack_wanted: bool,
        schema: &Schema,
        report: &Report,
        uptime_s: u32,
    ) -> Result<Sealed, SealError> {
        let counter = self.next_counter(uptime_s).ok_or(SealError::CountersExhausted)?;
        let payload = report.write(schema, counter).map_err(SealError::Report)?;
        self.seal(kind, ack_wanted, &payload, uptime_s)
    }

    /// Seals any payload.
    ///
    /// # Errors
    ///
    /// The payload is too long, a node sends no such frame, or no counter is reserved.
    pub fn seal(
        &mut self,
        kind: Kind,
        ack_wanted: bool,
        payload: &[u8],
        uptime_s: u32,
    ) -> Result<Sealed, SealError> {
        match kind {
            Kind::Telemetry | Kind::Alarm | Kind::Health | Kind::Ack => {}
            Kind::Command | Kind::Time | Kind::Rekey => return Err(SealError::WrongWay(kind)),
        }
        let counter = self.next_counter(uptime_s).ok_or(SealError::CountersExhausted)?;
        if counter >= self.kept.mark {
            return Err(SealError::NotReserved);
        }
        self.last = Some(counter);
        let plain = Plain { kind, direction: Direction::Up, ack_wanted, counter, payload };
        let frame = frame::seal(self.speaking(), &plain)
            .map_err(|TooLong(bytes)| SealError::TooLong(bytes))?;
        Ok(Sealed { frame, counter })
    }

    fn speaking(&self) -> &Keys {
        self.next.as_ref().unwrap_or(&self.current)
    }

    /// Opens a frame to this node.
    ///
    /// # Errors
    ///
    /// Says why the frame changes nothing.
    pub fn open(&mut self, bytes: &[u8], uptime_s: u32) -> Result<Heard, Refusal> {
        let parts = frame::parse(bytes)?;
        match parts.direction {
            Direction::Down => {}
            Direction::Up => return Err(Refusal::WrongWay),
        }
        if parts.node != self.kept.address.node {
            return Err(Refusal::ForeignNode);
        }
        let with_next = parts.odd_epoch != self.kept.current.is_odd();
        let keys = if with_next { self.next } else { Some(self.current) };
        let (counter, payload) = self.find(&parts, &keys.ok_or(Refusal::OtherEpoch)?)?;
        let behind = self.down.highest.is_some_and(|highest| counter < highest);
        let window = self.down.admit(counter)?;
        let down = Down::read(parts.kind, &payload).ok_or(Refusal::Malformed)?;
        if behind && down.order.is_some() {
            return Err(Refusal::OutOfOrder);
        }
        self.down = window;
        let mut record = Record { down_highest: window.highest, ..self.kept };
        let mut must_write = false;
        if let Some(next) = self.kept.next.filter(|_| with_next) {
            (record.current, record.next) = (next, None);
            must_write = true;
        }
        let acked = (down.preface.answer && down.preface.ack)
            .then(|| self.meant(down.preface.reference, uptime_s));
        let told = match down.order {
            Some(order) => {
                let told = self.judge(order, down.preface, &mut record, uptime_s)?;
                must_write |= matches!(told, Told::Do { .. } | Told::Rekeyed(_));
                Some(told)
            }
            None => None,
        };
        Ok(Heard { acked, told, record: must_write.then(|| self.record(record)) })
    }

    /// Finds the counter under which a frame opens.
    fn find(&self, parts: &Parts<'_>, keys: &Keys) -> Result<(u32, frame::Payload), Refusal> {
        let candidates = self.down.candidates(parts.counter_low, DOWN_BITS);
        let ahead = (0..DOWN_TURNS).map_while(|turns| candidates.ahead(turns));
        if let Some(found) = parts.open(keys, ahead) {
            return Ok(found);
        }
        let behind = parts.open(keys, candidates.behind().into_iter());
        Err(if behind.is_some() { Refusal::TooOld } else { Refusal::Tag })
    }

    /// Returns the node's second that 24 bits mean: the nearest to now.
    fn meant(&self, low: u32, uptime_s: u32) -> u32 {
        let now = self.seconds(uptime_s);
        let back = now.wrapping_sub(low) & 0x00FF_FFFF;
        if back < 1 << 23 { now.saturating_sub(back) } else { now.saturating_add((1 << 24) - back) }
    }

    fn judge(
        &self,
        (number, command): (u16, Command),
        preface: Preface,
        record: &mut Record,
        uptime_s: u32,
    ) -> Result<Told, Refusal> {
        let ack = |outcome| OrderAck { number, outcome };
        if let Command::Rekey { epoch, random } = command {
            if epoch == record.current.number || record.next.is_some_and(|n| n.number == epoch) {
                return Ok(Told::Again(ack(Outcome::Done)));
            }
            let next = record.current.next(record.address, &random);
            let next = next.filter(|next| next.number == epoch).ok_or(Refusal::Malformed)?;
            record.next = Some(next);
            return Ok(Told::Rekeyed(ack(Outcome::Done)));
        }
        if let Some(done) = self.done.filter(|done| done.number == number) {
            return Ok(Told::Again(done));
        }
        let sent = self.meant(preface.reference, uptime_s);
        if self.seconds(uptime_s).saturating_sub(sent) > ORDER_LATE_S {
            return Ok(Told::Late(ack(Outcome::Late)));
        }
        Ok(Told::Do { number, command })
    }

    /// Remembers what became of an order, so that it is not done again. Returns what is to be sent, and a record that makes
    /// it last beyond a restart: without it the order may be done once more.
    pub fn finish(&mut self, number: u16, outcome: Outcome) -> (OrderAck, Record) {
        let ack = OrderAck { number, outcome };
        self.done = Some(ack);
        (ack, self.record(Record { done: self.done, ..self.kept }))
    }
}

impl Record {
    /// Returns the bytes for the flash. They hold keys.
    ///
    /// # Panics
    ///
    /// Never: the longest fits.
    #[must_use]
    pub fn to_bytes(&self) -> Buffer<RECORD_BYTES_MAX> {
        let mut out = Buffer::new();
        let written = self.write(&mut out);
        written.expect("1 + 4 + 6 + 4 + 18 + 19 + 5 + 4 + 2 is 63");
        out
    }

    fn write(&self, out: &mut Buffer<RECORD_BYTES_MAX>) -> Result<(), super::buffer::Full> {
        out.push(RECORD_FORMAT)?;
        out.extend(&self.sequence.to_be_bytes())?;
        out.extend(&self.address.net.to_be_bytes())?;
        out.extend(&self.address.node.to_be_bytes())?;
        out.extend(&self.mark.to_be_bytes())?;
        out.extend(&self.current.number.to_be_bytes())?;
        out.extend(self.current.root.secret_bytes())?;
        out.push(u8::from(self.next.is_some()))?;
        if let Some(next) = self.next {
            out.extend(&next.number.to_be_bytes())?;
            out.extend(next.root.secret_bytes())?;
        }
        out.push(u8::from(self.down_highest.is_some()))?;
        out.extend(&self.down_highest.unwrap_or(0).to_be_bytes())?;
        out.push(u8::from(self.done.is_some()))?;
        if let Some(done) = self.done {
            out.extend(&done.to_bytes())?;
        }
        out.extend(&crc16(out).to_be_bytes())
    }

    /// Reads what [`Record::to_bytes`] wrote; what follows it in the slot is ignored.
    ///
    /// # Errors
    ///
    /// The slot is erased, or damaged.
    pub fn from_bytes(slot: &[u8]) -> Result<Self, RecordError> {
        if slot.iter().all(|byte| *byte == 0xFF) {
            return Err(RecordError::Nothing);
        }
        let mut reader = Reader(slot);
        let record = Self::read(&mut reader).ok_or(RecordError::Damaged)?;
        let whole = slot.len() - reader.0.len();
        let crc = reader.u16().ok_or(RecordError::Damaged)?;
        let body = slot.get(..whole).ok_or(RecordError::Damaged)?;
        if crc16(body) == crc { Ok(record) } else { Err(RecordError::Damaged) }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        reader.byte().filter(|format| *format == RECORD_FORMAT)?;
        let sequence = reader.u32()?;
        let address = Address { net: reader.u32()?, node: reader.u16()? };
        let mark = reader.u32()?;
        let epoch = |reader: &mut Reader<'_>| {
            Some(Epoch { number: reader.u16()?, root: Root::new(reader.take()?) })
        };
        let current = epoch(reader)?;
        let next = if reader.byte()? == 1 { Some(epoch(reader)?) } else { None };
        let heard = reader.byte()? == 1;
        let down_highest = Some(reader.u32()?).filter(|_| heard);
        let done = if reader.byte()? == 1 {
            Some(OrderAck::from_bytes(&reader.take::<3>()?)?)
        } else {
            None
        };
        Some(Self { sequence, address, mark, current, next, down_highest, done })
    }
}

impl fmt::Display for RecordError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "node has no record: it must be provisioned",
            Self::Damaged => "node has no whole record: it must be provisioned again",
        })
    }
}

impl core::error::Error for RecordError {}

impl fmt::Display for SealError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotReserved => f.write_str("no counter is reserved: a record must be written"),
            Self::TooLong(bytes) => TooLong(*bytes).fmt(f),
            Self::WrongWay(kind) => write!(f, "a node sends no frame of type {kind:?}"),
            Self::Report(error) => error.fmt(f),
            Self::CountersExhausted => f.write_str("all counters are used"),
        }
    }
}

impl core::error::Error for SealError {}
