//! The link, by example, by chance, and against other people's numbers.

#![allow(clippy::string_slice, reason = "codes and hexadecimal digits are ASCII")]

mod vectors;
mod window;
mod report;
mod link;
mod orders;
mod hostile;

use super::*;

pub(super) const ADDRESS: Address = Address { net: 0x1234_5678, node: 17 };
pub(super) const EPOCH: Epoch = Epoch { number: 3, root: Root::new([7; 16]) };

pub(super) const FIELDS: [Field; 6] = [
    // Water level, 0 to 20 m by 5 mm.
    Field { quantity: 1, min_milli: 0, step_milli: 5, bits: 12 },
    // Rain, 0 to 100 mm by 0.2 mm.
    Field { quantity: 3, min_milli: 0, step_milli: 200, bits: 9 },
    // Air temperature, from -40 °C by 0.1 °C.
    Field { quantity: 4, min_milli: -40_000, step_milli: 100, bits: 10 },
    // Humidity, 0 to 105 % by 1 %.
    Field { quantity: 5, min_milli: 0, step_milli: 1000, bits: 7 },
    // Pressure, from 800 hPa by 0.2 hPa.
    Field { quantity: 6, min_milli: 800_000, step_milli: 200, bits: 11 },
    // Battery, from 2 V by 0.02 V.
    Field { quantity: 21, min_milli: 2000, step_milli: 20, bits: 7 },
];

pub(super) fn schema() -> Schema {
    Schema::new(&FIELDS).unwrap()
}

pub(super) fn at(s: u64) -> Now {
    Now { s, unix_s: Some(1_800_000_000), stores: true }
}

/// Both ends of one link, with a flash that works and a store that commits.
pub(super) struct Pair {
    pub(super) node: Session,
    pub(super) peer: Peer,
    pub(super) flash: Vec<u8>,
}

impl Pair {
    pub(super) fn new(listens: Listens) -> Self {
        let profile = Profile { address: ADDRESS, epoch: EPOCH, listens, schema: schema() };
        let node = Session::provisioned(ADDRESS, EPOCH);
        let mut pair = Self { node, peer: Peer::new(profile, None), flash: Vec::new() };
        pair.reserve(0);
        pair
    }

    pub(super) fn reserve(&mut self, uptime_s: u32) {
        if let Some(record) = self.node.prepare(uptime_s) {
            self.keep(&record);
        }
    }

    pub(super) fn keep(&mut self, record: &Record) {
        self.flash = record.to_bytes().to_vec();
        assert!(self.node.written(record));
    }

    pub(super) fn reboot_node(&mut self) {
        self.node = Session::resume([&self.flash[..]]).unwrap();
        self.reserve(0);
    }

    pub(super) fn reboot_gateway(&mut self) {
        let state = State::from_bytes(&self.peer.state().to_bytes()).unwrap();
        assert_eq!(state, *self.peer.state());
        self.peer = Peer::new(*self.peer.profile(), Some(state));
    }

    pub(super) fn seal(&mut self, kind: Kind, ack: bool, uptime_s: u32) -> Sealed {
        self.reserve(uptime_s);
        let mut report = Report::new(uptime_s);
        let id = self.node.name_reading(uptime_s).unwrap();
        let values = [Value::Milli(1000); FIELDS_MAX];
        report.push(Reading { id, before_restart: false, values }).unwrap();
        self.node.seal_report(kind, ack, &schema(), &report, uptime_s).unwrap()
    }

    /// Hears and commits.
    pub(super) fn hear(&mut self, frame: &[u8], s: u64) -> Result<Accepted, Refusal> {
        let accepted = self.peer.hear(frame, at(s))?;
        self.peer.commit(accepted.state);
        Ok(accepted)
    }

    /// Opens and writes what must be written.
    pub(super) fn open(&mut self, frame: &[u8], uptime_s: u32) -> Result<Heard, Refusal> {
        let heard = self.node.open(frame, uptime_s)?;
        if let Some(record) = heard.record {
            self.keep(&record);
        }
        Ok(heard)
    }

    pub(super) fn order(&mut self, order: Order, expires_at_s: u64) -> OrderId {
        let (id, step) = self.peer.order(order, expires_at_s).unwrap();
        self.peer.commit(step.state);
        id
    }

    /// The node says what became of an order, and the gateway hears it.
    pub(super) fn say(&mut self, ack: OrderAck, uptime_s: u32, s: u64) -> Accepted {
        self.reserve(uptime_s);
        let sealed = self.node.seal(Kind::Ack, false, &ack.to_bytes(), uptime_s).unwrap();
        self.hear(&sealed.frame, s).unwrap()
    }
}
