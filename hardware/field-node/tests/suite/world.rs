//! A node, its gateway and the air between them.

use kengele_field_node::airtime::Modulation;
use kengele_field_node::app::App;
use kengele_field_node::dice::Dice;
use kengele_field_node::event::{Action, Event, Listen, Measured};
use kengele_field_node::filter::{Filter, Gather, Raw};
use kengele_field_node::flash::MemoryFlash;
use kengele_field_node::plan::{Confirm, Listening, Plan};
use kengele_field_node::sealed::{
    Address, Boot, Content, End, Endings, Epoch, Field, Frame, Kind, Listens, Now, Order, Peer,
    Profile, Provisioning, Reading, Root, Schema, Value, parse,
};
use std::collections::{BTreeMap, BTreeSet};

pub(crate) type Flash = MemoryFlash<16, 4096>;

const FIELDS: [Field; 3] = [
    Field { quantity: 0, min_milli: 0, step_milli: 1, bits: 14 },
    Field { quantity: 20, min_milli: 2_000, step_milli: 10, bits: 9 },
    Field { quantity: 2, min_milli: 0, step_milli: 200, bits: 9 },
];
const FILTERS: [Filter; 3] = [
    Filter {
        gather: Gather::Last,
        samples: 5,
        possible_milli: [0, 10_000],
        change_milli: Some(100),
    },
    Filter { gather: Gather::Last, samples: 1, possible_milli: [1_000, 6_000], change_milli: None },
    Filter {
        gather: Gather::Sum,
        samples: 1,
        possible_milli: [0, 10_000],
        change_milli: Some(5_000),
    },
];

pub(crate) fn plan() -> Plan<'static> {
    Plan {
        firmware: [0, 1],
        schema: Schema::new(&FIELDS).unwrap(),
        filters: &FILTERS,
        sample_s: 60,
        interval_s: 600,
        modulation: Modulation { spreading_factor: 9, bandwidth_hz: 125_000 },
        frequency_hz: 868_100_000,
        power_dbm: 14,
        airtime_permille: 10,
        payload_bytes_max: 24,
        confirm: Confirm::All,
        windows_ms: [1_000, 2_000],
        listening: Listening::Windows,
        siren: None,
    }
}

pub(crate) fn provisioning() -> Provisioning {
    Provisioning {
        address: Address { net: 0xA1B2_C3D4, node: 17 },
        epoch: Epoch { number: 1, root: Root::new(*b"sixteen letters!") },
    }
}

#[allow(clippy::struct_excessive_bools, reason = "each is one fault that a test turns on")]
pub(crate) struct World {
    plan: Plan<'static>,
    app: Option<App<'static, Flash>>,
    pub(crate) gateway: Peer,
    pub(crate) dice: Dice,
    /// Time of the world, and of the last start, ms.
    now_ms: u64,
    boot_ms: u64,
    next: Action,
    /// Frames on their way to the node.
    down: Vec<Frame>,
    pub(crate) level_mm: i32,
    /// Rain since the last measurement, µm.
    pub(crate) rain_um: i32,
    /// Readings that nodes let go of, over all their starts.
    pub(crate) acked: u64,
    pub(crate) deaf: bool,
    pub(crate) acks_lost: bool,
    /// Whether each answer comes in the window of the next frame only.
    pub(crate) acks_late: bool,
    late: Option<Frame>,
    pub(crate) loss_percent: u64,
    pub(crate) relay: bool,
    relay_since_ms: Option<u64>,
    longest_ms: u64,
    pub(crate) readings: BTreeMap<u32, Reading>,
    pub(crate) kinds: BTreeMap<Kind, u32>,
    pub(crate) ages_s: Vec<u32>,
    /// Whether the level rises by 1 mm a minute, so that a reading shows when it was taken.
    pub(crate) rises: bool,
    /// Of each reading of a level that rises: in which minute it was taken, as the gateway reckons, less the true one.
    pub(crate) errors_min: Vec<i32>,
    pub(crate) ended: Vec<End>,
    pub(crate) sent: Vec<(u64, u64)>,
    pub(crate) nonces: BTreeSet<(bool, u32)>,
    pub(crate) nonce_twice: bool,
    boots: u64,
    seed: u64,
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan<'static>) -> Self {
        let listens = match plan.listening {
            Listening::Windows => Listens::AfterItsFrames,
            Listening::Always | Listening::Sampled { .. } => Listens::Always,
        };
        let Provisioning { address, epoch } = provisioning();
        let profile = Profile { address, epoch, listens, schema: plan.schema };
        let flash = App::provision(Flash::default(), &provisioning()).unwrap();
        let mut world = Self {
            plan,
            app: None,
            gateway: Peer::new(profile, None),
            dice: Dice::new(seed ^ 0xD1CE),
            now_ms: 5_000_000,
            boot_ms: 5_000_000,
            next: Action::Sample,
            down: Vec::new(),
            level_mm: 1_000,
            rain_um: 0,
            acked: 0,
            deaf: false,
            acks_lost: false,
            acks_late: false,
            late: None,
            loss_percent: 0,
            relay: false,
            relay_since_ms: None,
            longest_ms: 0,
            readings: BTreeMap::new(),
            kinds: BTreeMap::new(),
            ages_s: Vec::new(),
            rises: false,
            errors_min: Vec::new(),
            ended: Vec::new(),
            sent: Vec::new(),
            nonces: BTreeSet::new(),
            nonce_twice: false,
            boots: 0,
            seed,
        };
        world.begin(flash, Boot::Provisioned);
        world
    }

    fn begin(&mut self, flash: Flash, boot: Boot) {
        self.boots += 1;
        self.boot_ms = self.now_ms;
        let mut app = App::start(self.plan, flash, boot, self.seed << 8 | self.boots).unwrap();
        self.next = app.handle(Event::Started, 0);
        self.app = Some(app);
        // The relay falls open without power.
        self.switch(false);
        self.down.clear();
    }

    pub(crate) fn app(&self) -> &App<'static, Flash> {
        self.app.as_ref().unwrap()
    }

    /// Seconds since the world began.
    pub(crate) fn now_s(&self) -> u64 {
        self.now_ms / 1000 - 5_000
    }

    fn minute(&self) -> i32 {
        i32::try_from(self.now_s() / 60).unwrap()
    }

    pub(crate) fn reboot(&mut self, boot: Boot) {
        let app = self.app.take().unwrap();
        self.acked += u64::from(app.counters().acked);
        let mut flash = app.into_flash();
        flash.fail_after(None);
        self.now_ms += 3_000;
        self.begin(flash, boot);
    }

    pub(crate) fn cut_after(&mut self, words: u32) {
        self.change_flash(Some(words));
    }

    pub(crate) fn break_flash(&mut self) {
        self.change_flash(Some(0));
    }

    fn change_flash(&mut self, words: Option<u32>) {
        self.app.as_mut().unwrap().flash_mut().fail_after(words);
    }

    pub(crate) fn longest_s(&self) -> u64 {
        self.longest_ms / 1000
    }

    fn gateway_now(&self) -> Now {
        Now { s: self.now_ms / 1000, unix_s: None, stores: true }
    }

    pub(crate) fn order(&mut self, order: Order) {
        let expires_at_s = self.now_ms / 1000 + 3_600;
        let (_, step) = self.gateway.order(order, expires_at_s).unwrap();
        self.gateway.commit(step.state);
    }

    fn is_lost(&mut self) -> bool {
        u64::from(self.dice.below(100)) < self.loss_percent
    }

    /// Lets time pass, to a second since the world began.
    pub(crate) fn run_until(&mut self, until_s: u64) {
        let end_ms = (until_s + 5_000) * 1000;
        while self.now_ms < end_ms {
            self.step(end_ms);
        }
    }

    /// Does so many things, however long they take.
    pub(crate) fn run_steps(&mut self, steps: u32) {
        for _ in 0..steps {
            self.step(u64::MAX);
        }
    }

    fn step(&mut self, until_ms: u64) {
        let mut heard = None;
        let mut measured = Measured::default();
        let event = match self.next {
            Action::Sleep { until_ms: wake_ms } => {
                let wake_ms = self.boot_ms + wake_ms;
                if wake_ms > until_ms {
                    self.now_ms = until_ms;
                    return;
                }
                self.now_ms = self.now_ms.max(wake_ms);
                Event::Woke
            }
            Action::Sample => {
                self.now_ms += 500;
                for sample in 0..5 {
                    // One of five is nonsense.
                    let risen = if self.rises { self.minute() } else { 0 };
                    let raw = if sample == 2 { 9_999 } else { self.level_mm + risen };
                    measured.push(0, Raw::Milli(raw), &FILTERS[0]);
                }
                measured.push(1, Raw::Milli(3_900), &FILTERS[1]);
                measured.push(2, Raw::Milli(std::mem::take(&mut self.rain_um)), &FILTERS[2]);
                measured.battery_mv = 3_900;
                Event::Sampled(&measured)
            }
            Action::Transmit(frame) => {
                self.transmit(&frame);
                Event::Sent
            }
            Action::Listen(listen) => {
                if !self.listen(listen, until_ms, &mut heard) {
                    return;
                }
                match &heard {
                    Some(frame) => Event::Heard(frame),
                    None => Event::Silence,
                }
            }
            Action::Switch { on } => {
                self.switch(on);
                Event::Switched
            }
        };
        let uptime_ms = self.now_ms - self.boot_ms;
        self.next = self.app.as_mut().unwrap().handle(event, uptime_ms);
    }

    /// Keeps how orders ended; those for the time the gateway gives by itself.
    fn note(&mut self, ended: &Endings) {
        let told = ended.iter().filter(|ended| ended.order != Order::Time);
        self.ended.extend(told.map(|ended| ended.end));
    }

    fn switch(&mut self, on: bool) {
        self.relay = on;
        match (on, self.relay_since_ms) {
            (true, None) => self.relay_since_ms = Some(self.now_ms),
            (false, Some(since_ms)) => {
                self.longest_ms = self.longest_ms.max(self.now_ms - since_ms);
                self.relay_since_ms = None;
            }
            (true, Some(_)) | (false, None) => {}
        }
    }

    fn transmit(&mut self, frame: &Frame) {
        let parts = parse(frame).unwrap();
        self.nonce_twice |= !self.nonces.insert((parts.odd_epoch, parts.counter_low));
        let air_us = self.plan.modulation.time_on_air_us(frame.len());
        self.sent.push((self.now_s(), air_us));
        self.now_ms += air_us.div_ceil(1000);
        self.down.clear();
        if self.deaf || self.is_lost() {
            return;
        }
        let accepted = self.gateway.hear(frame, self.gateway_now()).unwrap();
        self.gateway.commit(accepted.state);
        *self.kinds.entry(accepted.kind).or_default() += 1;
        self.note(&accepted.ended);
        if let Content::Readings(readings) = accepted.content {
            for reading in readings.new_ones() {
                let age_s = accepted.age_s(reading);
                self.ages_s.push(age_s);
                self.readings.insert(reading.id, *reading);
                if let (true, Value::Milli(level_mm)) = (self.rises, reading.values[0]) {
                    let reckoned = (self.now_s() - u64::from(age_s)) / 60;
                    let reckoned = i32::try_from(reckoned).unwrap();
                    self.errors_min.push(reckoned - (level_mm - self.level_mm));
                }
            }
        }
        if let Some(reply) = accepted.reply
            && !self.acks_lost
        {
            let frame = Some(reply.frame);
            let now = if self.acks_late { std::mem::replace(&mut self.late, frame) } else { frame };
            self.down.extend(now);
        }
    }

    /// Returns whether the listening is over.
    fn listen(&mut self, listen: Listen, until_ms: u64, heard: &mut Option<Frame>) -> bool {
        let end_ms = match listen {
            Listen::Window { from_ms, symbols } => {
                self.now_ms = self.now_ms.max(self.boot_ms + from_ms);
                let symbols_us = u64::from(symbols) * u64::from(self.plan.modulation.symbol_us());
                self.now_ms + symbols_us / 1000
            }
            Listen::Until { until_ms } | Listen::Sampled { until_ms, .. } => {
                self.boot_ms + until_ms
            }
        };
        let is_window = matches!(listen, Listen::Window { .. });
        if !is_window && self.down.is_empty() {
            // The gateway looks each second whether something is due.
            let look_ms = (self.now_ms + 1_000).min(end_ms);
            if look_ms > until_ms {
                self.now_ms = until_ms;
                return false;
            }
            self.now_ms = look_ms.max(self.now_ms);
            if let Some(step) = self.gateway.step(self.gateway_now()) {
                self.gateway.commit(step.state);
                self.note(&step.ended);
                self.down.extend(step.reply.map(|reply| reply.frame));
            }
        }
        match self.down.pop() {
            Some(frame) if !self.is_lost() => {
                let air_us = self.plan.modulation.time_on_air_us(frame.len());
                self.now_ms += air_us.div_ceil(1000);
                if !is_window && self.now_ms > end_ms {
                    // Its time was over in the middle of the frame.
                    self.now_ms = end_ms;
                    return true;
                }
                *heard = Some(frame);
                true
            }
            Some(_) | None if is_window => {
                self.now_ms = end_ms;
                true
            }
            Some(_) | None => self.now_ms >= end_ms,
        }
    }
}
