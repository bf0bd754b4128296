//! One seed's world: the events in their order, the medium, and the attacker.

use super::gateway::Gateway;
use super::node::Node;
use super::oracle::Oracle;
use crate::dice::Dice;
use kengele::domain::airtime::{Airtime, Plan, Verdict};
use kengele::domain::radio::{Modulation, Urgency};
use kengele::domain::time::Timestamp;
use kengele::wire::sealed::{Address, Epoch, Field, Order, Reply, Root, Schema, Sealed};
use std::collections::{BTreeMap, BTreeSet};

const AIR: Modulation = Modulation::Lora { spreading_factor: 9, bandwidth_hz: 125_000 };
const MINUTE_MS: u64 = 60_000;
const DAY_MS: u64 = 86_400_000;
/// A node waits so long for an acknowledgement before it speaks again, ms.
const AGAIN_MS: [u64; 2] = [60_000, 150_000];
/// The channel of `[radio]` where nothing else is said: 1 % of an hour.
const CHANNEL_HZ: u32 = 867_900_000;
/// Frames that the attacker keeps to replay after a crash.
const KEPT: usize = 30;
const NET: u32 = 0xC0FF_EE00;

/// Why something did not come to its end.
pub enum Halt {
    /// A node's power failed.
    Cut,
    /// The gateway died.
    Crash,
    Wrong(String),
}

impl From<String> for Halt {
    fn from(wrong: String) -> Self {
        Self::Wrong(wrong)
    }
}

/// How large a world is.
#[derive(Clone, Copy)]
pub struct Size {
    nodes: u16,
    days: u64,
    interval_ms: u64,
    replays: u64,
    /// Whether every kind of fault happens; else each happens in half of the seeds.
    every_fault: bool,
}

impl Size {
    pub const DAYS: Self =
        Self { nodes: 6, days: 3, interval_ms: 15 * MINUTE_MS, replays: 3, every_fault: false };
    pub const MONTH: Self =
        Self { nodes: 200, days: 30, interval_ms: 240 * MINUTE_MS, replays: 1, every_fault: true };
}

/// What a seed came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Story {
    pub seen: BTreeMap<&'static str, u64>,
    /// The most that a node, and the gateway, was on the air in an hour, ms.
    pub airtime_most_ms: [u64; 2],
    pub readings: usize,
}

#[derive(Debug)]
pub struct Wrong {
    pub what: String,
    pub trace: Vec<String>,
}

#[derive(Clone, Debug)]
enum Event {
    Measure(usize),
    /// With the number of the try that it belongs to.
    Speak(usize, u32),
    Up(Vec<u8>),
    Down(u16, Vec<u8>),
    Order(usize),
    WakeGateway(u16),
    PowerBack(usize),
    GatewayBack,
    Heal,
}

pub struct World {
    dice: Dice,
    size: Size,
    now_ms: u64,
    sequence: u64,
    events: BTreeMap<(u64, u64), Event>,
    nodes: Vec<Node>,
    off: BTreeSet<usize>,
    gateway: Gateway,
    gateway_off: bool,
    /// What the gateway itself keeps of its time on the air; the oracle counts for itself.
    account: Airtime,
    oracle: Oracle,
    loss: u64,
    double: u64,
    hold: u64,
    mutate: u64,
    order_rate: u64,
    next_label: u16,
    /// The last frames on the air, for the attacker.
    kept: Vec<Vec<u8>>,
    healed: bool,
    trace: Option<Vec<String>>,
}

pub fn schema() -> Schema {
    Schema::new(&[Field { quantity: 1, min_milli: 0, step_milli: 5, bits: 13 }]).unwrap()
}

impl World {
    pub fn seeded(seed: u64, size: Size, traced: bool) -> Self {
        let mut dice = Dice::seeded(seed);
        let rate = |most, dice: &mut Dice| match dice.rate(most) {
            _ if size.every_fault => most / 2,
            rate => rate,
        };
        let mut nodes = Vec::new();
        for number in 1..=size.nodes {
            let mut key = [0; 16];
            key.fill_with(|| u8::try_from(dice.below(256)).unwrap());
            let epoch =
                Epoch { number: u16::try_from(dice.below(3)).unwrap(), root: Root::new(key) };
            let address = Address { net: NET, node: number };
            nodes.push((address, epoch, Node::drawn(address, epoch, size.interval_ms, &mut dice)));
        }
        let known = nodes.iter().map(|(address, epoch, node)| (*address, *epoch, node.always));
        let gateway = Gateway::new(known, rate(1000, &mut dice));
        let mut world = Self {
            loss: rate(400, &mut dice),
            double: rate(200, &mut dice),
            hold: rate(30, &mut dice),
            mutate: rate(100, &mut dice),
            order_rate: rate(60, &mut dice),
            nodes: nodes.into_iter().map(|(_, _, node)| node).collect(),
            dice,
            size,
            now_ms: 0,
            sequence: 0,
            events: BTreeMap::new(),
            off: BTreeSet::new(),
            gateway,
            gateway_off: false,
            account: Airtime::new(Plan::named("EU868").unwrap(), 2.15),
            oracle: Oracle::default(),
            next_label: 1,
            kept: Vec::new(),
            healed: false,
            trace: traced.then(Vec::new),
        };
        for node in 0..world.nodes.len() {
            let first = world.dice.below(size.interval_ms);
            world.at(first, Event::Measure(node));
        }
        world.at(size.days * DAY_MS, Event::Heal);
        world
    }

    fn at(&mut self, ms: u64, event: Event) {
        self.sequence += 1;
        self.events.insert((ms, self.sequence), event);
    }

    fn after(&mut self, ms: u64, event: Event) {
        self.at(self.now_ms + ms, event);
    }

    pub fn run(mut self) -> Result<Story, Wrong> {
        let end = self.size.days * DAY_MS + DAY_MS;
        match self.live(end).and_then(|()| self.at_rest()) {
            Ok(()) => Ok(Story {
                readings: self.oracle.stored.len(),
                airtime_most_ms: self.oracle.airtime_most_ms,
                seen: self.oracle.seen,
            }),
            Err(what) => Err(Wrong { what, trace: self.trace.unwrap_or_default() }),
        }
    }

    fn live(&mut self, end_ms: u64) -> Result<(), String> {
        while let Some(((ms, _), event)) = self.events.pop_first() {
            if ms > end_ms {
                break;
            }
            self.now_ms = ms;
            if let Some(trace) = &mut self.trace {
                trace.push(format!("{:>9}.{:03} {event:02x?}", ms / 1000, ms % 1000));
            }
            let node = match event {
                Event::Measure(node) | Event::Speak(node, _) => Some(node),
                Event::Down(number, _) => Some(usize::from(number) - 1),
                Event::Up(_)
                | Event::Order(_)
                | Event::WakeGateway(_)
                | Event::PowerBack(_)
                | Event::GatewayBack
                | Event::Heal => None,
            };
            match self.happen(event) {
                Ok(()) => {}
                Err(Halt::Wrong(what)) => return Err(what),
                Err(Halt::Cut) => {
                    self.oracle.saw("power cut");
                    let node = node.ok_or("a power cut of no node")?;
                    self.off.insert(node);
                    let away = if self.dice.chance(800) {
                        1 + self.dice.below(5000)
                    } else {
                        self.dice.below(DAY_MS / 4)
                    };
                    self.after(away, Event::PowerBack(node));
                }
                Err(Halt::Crash) => {
                    self.gateway_off = true;
                    let away = self.dice.below(10 * MINUTE_MS);
                    self.after(away, Event::GatewayBack);
                }
            }
        }
        Ok(())
    }

    fn happen(&mut self, event: Event) -> Result<(), Halt> {
        match event {
            Event::Measure(place) => {
                let interval = self.nodes[place].interval_ms;
                self.after(interval, Event::Measure(place));
                if self.dice.chance(self.order_rate) {
                    self.after(1000, Event::Order(place));
                }
                if self.off.contains(&place) {
                    return Ok(());
                }
                let node = &mut self.nodes[place];
                node.measure(self.now_ms, &mut self.dice, &mut self.oracle)?;
                node.tries = 1;
                self.speak(place)
            }
            Event::Speak(place, _) if self.off.contains(&place) => Ok(()),
            Event::Speak(place, tries) => {
                if self.nodes[place].tries == tries {
                    self.nodes[place].tries += 1;
                    return self.speak(place);
                }
                // It was heard; what waits goes on.
                if self.nodes[place].tries == 0 && self.nodes[place].waiting() > 0 {
                    self.nodes[place].tries = 1;
                    return self.speak(place);
                }
                Ok(())
            }
            Event::Up(frame) => self.arrive(&frame),
            Event::Down(number, frame) => self.arrive_at_node(number, &frame),
            Event::Order(place) => self.order(place),
            Event::WakeGateway(number) => self.wake_gateway(number),
            Event::PowerBack(place) => {
                self.off.remove(&place);
                self.nodes[place].restart(self.now_ms)?;
                self.after(5000, Event::Speak(place, self.nodes[place].tries));
                Ok(())
            }
            Event::GatewayBack => {
                self.gateway_off = false;
                self.gateway.restart(&mut self.dice);
                // The attacker's best moment.
                for frame in self.kept.clone() {
                    self.after(1, Event::Up(frame));
                }
                for number in 1..=self.size.nodes {
                    self.after(10, Event::WakeGateway(number));
                }
                Ok(())
            }
            Event::Heal => {
                (self.loss, self.double, self.hold, self.order_rate) = (0, 0, 0, 0);
                self.gateway.crash_rate = 0;
                self.nodes.iter_mut().for_each(|node| node.cut_rate = 0);
                self.healed = true;
                Ok(())
            }
        }
    }

    fn speak(&mut self, place: usize) -> Result<(), Halt> {
        let node = &mut self.nodes[place];
        let sealed = node.speak(self.now_ms, &mut self.dice, &mut self.oracle)?;
        let Some(sealed) = sealed else { return Ok(()) };
        let tries = self.nodes[place].tries;
        if tries <= 2 {
            let wait = AGAIN_MS[usize::from(tries == 2)] + self.dice.below(5000);
            self.after(wait, Event::Speak(place, tries));
        }
        self.up(place, &sealed)
    }

    /// Brings a node's frame on the air, where the attacker hears it too.
    fn up(&mut self, place: usize, sealed: &Sealed) -> Result<(), Halt> {
        let air = AIR.time_on_air(sealed.frame.len(), true);
        self.oracle.on_air(Some(self.nodes[place].number), air, self.now_ms)?;
        let air_ms = u64::try_from(air.as_millis()).unwrap();
        let frame = sealed.frame.to_vec();
        self.attack(&frame, Event::Up);
        if self.kept.len() == KEPT {
            self.kept.remove(0);
        }
        self.kept.push(frame.clone());
        if self.dice.chance(self.loss) {
            return Ok(());
        }
        if self.dice.chance(self.hold) {
            // Jammed, and played later.
            let later = self.dice.between(MINUTE_MS, 6 * 60 * MINUTE_MS);
            self.after(later, Event::Up(frame));
            return Ok(());
        }
        if self.dice.chance(self.double) {
            let later = self.dice.below(2000);
            self.after(air_ms + later, Event::Up(frame.clone()));
        }
        self.after(air_ms, Event::Up(frame));
        Ok(())
    }

    /// The attacker plays each frame again, soon and late, and once with a bit turned.
    fn attack(&mut self, frame: &[u8], event: impl Fn(Vec<u8>) -> Event) {
        for n in 0..self.size.replays {
            let wait = match n {
                0 => self.dice.below(3 * MINUTE_MS),
                1 => self.dice.below(60 * MINUTE_MS),
                _ => self.dice.below(2 * DAY_MS),
            };
            self.after(2000 + wait, event(frame.to_vec()));
        }
        if self.dice.chance(self.mutate) {
            let mut forged = frame.to_vec();
            let place = self.dice.index(forged.len());
            forged[place] ^= 1 << self.dice.below(8);
            self.after(500, event(forged));
        }
    }

    fn down(
        account: &mut Airtime,
        oracle: &mut Oracle,
        sent: &mut Vec<(u16, Vec<u8>)>,
        (node, now_ms): (u16, u64),
        reply: &Reply,
    ) -> Result<(), Halt> {
        let bytes = reply.frame.len();
        let at = Timestamp::from_millis(i64::try_from(now_ms).unwrap());
        let urgency = if reply.is_danger() { Urgency::Danger } else { Urgency::Ordinary };
        match account.ask(CHANNEL_HZ, AIR, bytes, urgency, at) {
            Verdict::Now { .. } => account.book(CHANNEL_HZ, AIR, bytes, at),
            // The node's window does not wait.
            Verdict::Wait(_) => {
                oracle.saw("held back for airtime");
                return Ok(());
            }
            Verdict::Never(reason) => return Err(Halt::Wrong(format!("never: {reason:?}"))),
        }
        let air = AIR.time_on_air(bytes, true);
        oracle.on_air(None, air, now_ms)?;
        sent.push((node, reply.frame.to_vec()));
        Ok(())
    }

    fn arrive(&mut self, frame: &[u8]) -> Result<(), Halt> {
        if self.gateway_off {
            return Ok(());
        }
        let (now_ms, mut sent) = (self.now_ms, Vec::new());
        let account = &mut self.account;
        let mut bring = |node, reply: &Reply, oracle: &mut Oracle| {
            Self::down(account, oracle, &mut sent, (node, now_ms), reply)
        };
        let heard = self.gateway.hear(frame, now_ms, &mut self.dice, &mut self.oracle, &mut bring);
        self.on_the_way(sent);
        heard
    }

    fn wake_gateway(&mut self, number: u16) -> Result<(), Halt> {
        if self.gateway_off {
            return Ok(());
        }
        let (now_ms, mut sent) = (self.now_ms, Vec::new());
        let account = &mut self.account;
        let mut bring = |node, reply: &Reply, oracle: &mut Oracle| {
            Self::down(account, oracle, &mut sent, (node, now_ms), reply)
        };
        let woken = self.gateway.wake(number, now_ms, &mut self.dice, &mut self.oracle, &mut bring);
        self.on_the_way(sent);
        woken?;
        if let Some(due) = self.gateway.deadline_ms(number) {
            self.at(due.max(self.now_ms + 1000), Event::WakeGateway(number));
        }
        Ok(())
    }

    fn on_the_way(&mut self, sent: Vec<(u16, Vec<u8>)>) {
        for (number, frame) in sent {
            self.attack(&frame, |bytes| Event::Down(number, bytes));
            if self.dice.chance(self.loss) {
                continue;
            }
            let wait = 1000 + self.dice.below(500);
            self.after(wait, Event::Down(number, frame));
        }
    }

    fn arrive_at_node(&mut self, number: u16, frame: &[u8]) -> Result<(), Halt> {
        let place = usize::from(number) - 1;
        let node = &mut self.nodes[place];
        let deaf = !node.always && self.now_ms > node.listens_until_ms;
        if self.off.contains(&place) || deaf {
            return Ok(());
        }
        match node.hear(frame, self.now_ms, &mut self.dice, &mut self.oracle)? {
            Some(answer) => self.up(place, &answer),
            None => Ok(()),
        }
    }

    fn order(&mut self, place: usize) -> Result<(), Halt> {
        if self.gateway_off {
            return Ok(());
        }
        let number = self.nodes[place].number;
        let order = match self.dice.below(4) {
            0 => Order::Rekey {
                random: std::array::from_fn(|_| u8::try_from(self.dice.below(256)).unwrap()),
            },
            1 => Order::Interval { seconds: 900 },
            _ => {
                let seconds = self.next_label;
                self.next_label += 1;
                self.oracle.ordered(number, seconds);
                Order::SirenOn { seconds }
            }
        };
        let expires_at_s = self.now_ms / 1000 + self.dice.between(60, 6 * 3600);
        self.gateway.order(number, order, expires_at_s, &mut self.dice, &mut self.oracle)?;
        self.after(1, Event::WakeGateway(number));
        Ok(())
    }

    /// A day after the last fault, nothing may be left undone.
    fn at_rest(&mut self) -> Result<(), String> {
        for node in &self.nodes {
            if node.waiting() > 4 {
                return Err(format!("node {} was not heard: {} wait", node.number, node.waiting()));
            }
            let (there, here) = (node.session.epoch(), self.gateway.epoch(node.number));
            if there != here && !self.gateway.is_rekeying(node.number) {
                return Err(format!("node {} speaks with key {there}, not {here}", node.number));
            }
        }
        if self.healed { Ok(()) } else { Err("the world ended early".into()) }
    }
}
