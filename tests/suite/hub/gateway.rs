//! A gateway of the tests: it seals readings and packets as a real one does, and believes nothing but tags.

use crate::dice::Dice;
use kengele::domain::quantity::Quantity;
use kengele::domain::reading::{NodeName, Quality, Stamp};
use kengele::domain::time::{ClockQuality, Timestamp, WallClock};
use kengele::hub::storage::{Enrolled, MeasuredRow, MeasuredWanted, Storage};
use kengele::hub::token;
use kengele::wire::batch::{Link, Reading, Stream};
use kengele::wire::uplink::{
    Answers, Block, Down, GatewayNumber, Key, Mark, Packet, Tag, Up, open_down, seal_up,
};
use std::collections::BTreeSet;

/// 2026-11-01 at midnight.
pub(crate) const BEGIN_MS: i64 = 1_793_491_200_000;
/// Where the time line stands when the calendar begins.
const LINE_MS: i64 = 40 * 86_400_000;
pub(crate) const SYNCHRONISED: WallClock =
    WallClock { offset_ms: BEGIN_MS - LINE_MS, quality: ClockQuality::Synchronised };

/// A reading as the hub tells it: node, quantity, Unix ms, sequence, bits of the value, quality, clock.
pub(crate) type Told = (String, &'static str, i64, u64, u64, Quality, ClockQuality);

#[derive(Clone)]
pub(crate) struct Gateway {
    pub(crate) number: GatewayNumber,
    pub(crate) key: Key,
    pub(crate) name: String,
    pub(crate) clock: WallClock,
    pub(crate) chain: u32,
    stream: Stream,
    block: u64,
    packet: u64,
    sequence: u64,
    at_ms: i64,
    dice: Dice,
}

impl Gateway {
    /// Enrols one, and returns it.
    pub(crate) async fn enrol(storage: &Storage, name: &str, seed: u64) -> Self {
        let token = token::draw().unwrap();
        let now_ms = kengele::hub::now_ms();
        storage.add_token(&token::hash(&token), name, now_ms, now_ms + 60_000).await.unwrap();
        let key = Key::new(kengele::hub::random().unwrap());
        let enrolled = storage.enrol(&token::hash(&token), &key, now_ms).await.unwrap();
        let Enrolled::As(number, known) = enrolled else { panic!("not let in") };
        assert_eq!(known, name);
        Self::known(number, key, name, seed)
    }

    /// Returns one that has enrolled.
    pub(crate) fn known(number: GatewayNumber, key: Key, name: &str, seed: u64) -> Self {
        Self {
            number,
            key,
            name: name.to_owned(),
            clock: SYNCHRONISED,
            chain: 1 + u32::try_from(seed).unwrap(),
            stream: Stream::after(Link::START),
            block: 0,
            packet: 0,
            sequence: 0,
            at_ms: LINE_MS,
            dice: Dice::seeded(seed),
        }
    }

    /// Returns the next readings: two gauges and a rain gauge, with and without clocks of their own, now and then doubtful.
    pub(crate) fn readings(&mut self, count: usize) -> Vec<Reading> {
        let signals = [
            ("mto-juu", Quantity::WaterLevel),
            ("mto-kati", Quantity::WaterLevel),
            ("mvua", Quantity::Rain),
            ("mvua", Quantity::AirTemperature),
        ];
        let reading = |_| {
            self.sequence += 1;
            self.at_ms += 1_000 + i64::try_from(self.dice.below(5_000)).unwrap();
            let (node, quantity) = signals[self.dice.index(4)];
            let stamp = match self.dice.below(3) {
                0 => Some(Stamp::Unix(self.at_ms + BEGIN_MS - LINE_MS - 700)),
                1 => Some(Stamp::Age(i64::try_from(self.dice.below(60_000)).unwrap())),
                _ => None,
            };
            let doubtful = self.dice.below(20) == 0;
            Reading {
                node: NodeName(node.into()),
                quantity,
                sequence: self.sequence,
                at: Timestamp::from_millis(self.at_ms),
                clock: self.clock,
                stamp,
                value: if doubtful {
                    f64::NAN
                } else {
                    self.dice.below(4_000) as f64 / 100.0 + 0.01
                },
                quality: if doubtful { Quality::NotANumber } else { Quality::Good },
            }
        };
        (0..count).map(reading).collect()
    }

    /// Seals readings into the next block.
    pub(crate) fn seal(&mut self, readings: &[Reading]) -> Block {
        self.block += 1;
        Block::new(self.chain, self.block, &self.stream.seal(readings).unwrap())
    }

    /// Has the next block stand alone.
    pub(crate) fn stand_alone(&mut self) {
        self.stream.stand_alone();
    }

    /// Puts items into the next packet.
    pub(crate) fn pack(&mut self, items: Vec<Up>) -> Vec<u8> {
        self.packet += 1;
        let packet = Packet { gateway: self.number, number: self.packet, items };
        seal_up(&packet, &self.key, Tag::Long).unwrap()
    }

    /// Goes on as a database that was restored does: another chain, and the time line and the order of an earlier day.
    pub(crate) fn restored(&self, as_of: &Self) -> Self {
        let chain = self.chain.wrapping_add(1_000);
        Self { chain, block: 0, stream: Stream::after(Link::START), ..as_of.clone() }
    }

    /// Reads an answer to a packet; `None` where it is none, or to another packet.
    pub(crate) fn answered(&self, packet: &[u8], answer: &[u8]) -> Option<(Answers, Vec<Down>)> {
        let opened = open_down(answer, &self.key).ok()?;
        let mut items = opened.items;
        let place = items.iter().position(|item| matches!(item, Down::Answers(_)))?;
        let Down::Answers(answers) = items.remove(place) else { return None };
        let is_this = Some(answers.mark) == Mark::of(packet) && opened.gateway == self.number;
        is_this.then_some((answers, items))
    }

    /// Returns how the hub is to tell a reading, as long as nothing is known better than when it was judged.
    pub(crate) fn told(reading: &Reading) -> Told {
        let arrived = reading.clock.unix_ms(reading.at);
        let (unix_ms, clock) = match reading.stamp {
            Some(Stamp::Unix(unix_ms)) => (unix_ms, ClockQuality::Estimated),
            Some(Stamp::Age(age)) => (arrived - age, reading.clock.quality),
            None => (arrived, reading.clock.quality),
        };
        let value = if reading.value.is_nan() { f64::NAN } else { reading.value };
        (
            reading.node.0.to_string(),
            reading.quantity.name(),
            unix_ms,
            reading.sequence,
            value.to_bits(),
            reading.quality,
            clock,
        )
    }
}

/// Returns every reading that a hub has of a gateway; fails where one is there twice.
pub(crate) async fn stored(storage: &Storage, gateway: &str) -> BTreeSet<Told> {
    let wanted = MeasuredWanted { gateway: Some(gateway.to_owned()), ..MeasuredWanted::default() };
    let mut all = BTreeSet::new();
    let mut page = storage.measured(&wanted, None).await.unwrap();
    while let Some(end) = page.last().cloned() {
        for row in &page {
            assert!(all.insert(as_told(row)), "stored twice: {row:?}");
        }
        page = storage.measured(&wanted, Some(&end)).await.unwrap();
    }
    all
}

fn as_told(row: &MeasuredRow) -> Told {
    let value = if row.value.is_nan() { f64::NAN } else { row.value };
    let node = row.node.clone();
    let quantity = row.quantity.name();
    (node, quantity, row.unix_ms, row.sequence, value.to_bits(), row.quality, row.clock)
}
