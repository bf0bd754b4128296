//! An SX1261 or SX1262 at command level: bytes between two edges of NSS, BUSY and DIO1.
//!
//! Source: Semtech *SX1261/2 Data Sheet* rev. 2.1, sections 8.3 (BUSY and switching times), 9 (modes), 11 (list of
//! commands), 12 (registers), 13 (commands). LoRa alone is modelled; in FSK a chip of this kind neither sends nor
//! hears, and counts that as a fault.
//!
//! Modelled commands are those of [`COMMANDS`], modelled registers those of [`REGISTERS`]. Not modelled, and counted
//! where a host asks for it: continuous wave and preamble (`0xD1`, `0xD2`), the errata of section 15 (a host may write
//! their registers; that it forgot is not punished), over-current, temperature, and the exact spectrum of a 500 kHz
//! signal.

use super::ether::Part;
use super::signal::{Family, Shape, Tuning};
use super::silicon::{Arrival, Checksum, Ear, Emission, Faults, Order, Scene, Silicon};
use super::sx126x_bus::{self as bus, Board, Memory, fallback, ticks, word};
use crate::wire::chip_link::Pins;
use std::time::Duration;

pub use super::sx126x_bus::{COMMANDS, REGISTERS};

/// Interrupts: data sheet table 13-29.
pub(super) mod irq {
    pub(crate) const TX_DONE: u16 = 0x0001;
    pub(crate) const RX_DONE: u16 = 0x0002;
    pub(crate) const PREAMBLE: u16 = 0x0004;
    pub(crate) const HEADER_VALID: u16 = 0x0010;
    pub(crate) const HEADER_ERROR: u16 = 0x0020;
    pub(crate) const CRC_ERROR: u16 = 0x0040;
    pub(crate) const CAD_DONE: u16 = 0x0080;
    pub(crate) const CAD_DETECTED: u16 = 0x0100;
    pub(crate) const TIMEOUT: u16 = 0x0200;
}

/// Command status of table 13-76.
mod status {
    pub(super) const DATA_AVAILABLE: u8 = 2;
    pub(super) const TIMEOUT: u8 = 3;
    pub(super) const PROCESSING_ERROR: u8 = 4;
    pub(super) const FAILURE: u8 = 5;
    pub(super) const TX_DONE: u8 = 6;
}

/// `XOSC_START_ERR`: §13.6.1.
const XOSC_START_ERROR: u16 = 0x0020;

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Mode {
    Sleep { warm: bool },
    Standby { crystal: bool },
    Synthesis,
    Receive(Reception),
    Pause { rx: Duration, sleep: Duration, until: Duration },
    Transmit { timeout: Option<Duration>, ends: Duration },
    Detect { from: Duration, ends: Duration },
}

/// How reception ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Reception {
    since: Duration,
    continuous: bool,
    /// When the timer runs out.
    timer: Option<Duration>,
    /// When the wait for symbols runs out.
    symbols: Option<Duration>,
    /// Of a duty cycle: how long it listens and sleeps.
    cycle: Option<(Duration, Duration)>,
}

#[derive(Debug)]
pub(super) struct Sx126x {
    pub(super) memory: Memory,
    pub(super) mode: Mode,
    board: Board,
    session: u64,
    busy_until: Option<Duration>,
    orders: Vec<Order>,
    faults: Faults,
}

impl Sx126x {
    pub(super) fn new(board: Board, now: Duration) -> Self {
        let mut chip = Self {
            memory: Memory::fresh(board),
            mode: Mode::Standby { crystal: false },
            board,
            session: 0,
            busy_until: None,
            orders: Vec::new(),
            faults: Faults::default(),
        };
        chip.busy(now, bus::COLD);
        chip
    }

    fn busy(&mut self, now: Duration, lasting: Duration) {
        self.busy_until = Some(now + lasting);
    }

    fn fault(&mut self, count: fn(&mut Faults) -> &mut u64, words: String) {
        *count(&mut self.faults) += 1;
        self.faults.last = Some(words);
    }

    fn raise(&mut self, flags: u16) {
        self.memory.irq |= flags & self.memory.irq_mask;
    }

    fn status(&self) -> u8 {
        let mode = match self.mode {
            Mode::Sleep { .. } | Mode::Pause { .. } => 0,
            Mode::Standby { crystal: false } => 2,
            Mode::Standby { crystal: true } => 3,
            Mode::Synthesis => 4,
            Mode::Receive(_) | Mode::Detect { .. } => 5,
            Mode::Transmit { .. } => 6,
        };
        (mode << 4) | (self.memory.status << 1)
    }

    fn is_lora(&self) -> bool {
        self.memory.packet_type == 1
    }

    /// What a mode that needs the crystal costs before it begins: the TCXO's time, where one must start first.
    fn start_up(&self) -> Duration {
        let runs = !matches!(self.mode, Mode::Sleep { .. } | Mode::Standby { crystal: false });
        if runs { Duration::ZERO } else { self.memory.tcxo.unwrap_or(Duration::ZERO) }
    }

    /// Returns whether the oscillator starts; if not, the command fails (§13.6.1).
    fn oscillates(&mut self) -> bool {
        if self.board.tcxo && self.memory.tcxo.is_none() {
            self.memory.errors |= XOSC_START_ERROR;
            self.memory.status = status::FAILURE;
            let words = "the board has a TCXO and the host did not switch it on".to_owned();
            self.fault(|faults| &mut faults.out_of_place, words);
            return false;
        }
        if !self.is_lora() {
            self.memory.status = status::FAILURE;
            let words = "a LoRa command with the packet type of FSK".to_owned();
            self.fault(|faults| &mut faults.out_of_place, words);
            return false;
        }
        true
    }

    /// Leaves whatever the chip is doing.
    fn leave(&mut self, next: Mode) {
        if matches!(self.mode, Mode::Transmit { .. }) {
            self.orders.push(Order::Cut);
        }
        self.session += 1;
        self.mode = next;
    }

    fn rest(&mut self) {
        let next = fallback(self.memory.fallback);
        self.leave(next);
    }

    fn transmit(&mut self, arguments: &[u8], now: Duration) {
        if !self.oscillates() {
            return;
        }
        let start = self.start_up() + bus::TO_TX;
        let begins = now + start;
        let tuning = self.memory.tuning();
        let shape = self.memory.shape();
        let payload = self.memory.outgoing();
        let ends = begins + shape.parts(&tuning, payload.len()).whole;
        let timeout = match ticks(arguments) {
            0 => None,
            count => Some(begins + bus::timer(count)),
        };
        self.leave(Mode::Transmit { timeout, ends });
        self.busy(now, start);
        let power_dbm = self.memory.power_dbm();
        self.orders.push(Order::Send(Emission { tuning, shape, power_dbm, payload, begins }));
    }

    fn receive(&mut self, arguments: &[u8], now: Duration) {
        if !self.oscillates() {
            return;
        }
        let start = self.start_up() + bus::TO_RX;
        let count = ticks(arguments);
        let timer =
            (count != 0 && count != bus::CONTINUOUS).then(|| now + start + bus::timer(count));
        self.busy(now, start);
        self.listen(now + start, count == bus::CONTINUOUS, timer, None);
    }

    fn listen(
        &mut self,
        since: Duration,
        continuous: bool,
        timer: Option<Duration>,
        cycle: Option<(Duration, Duration)>,
    ) {
        let symbols = match self.memory.symbols_max {
            0 => None,
            count => Some(since + self.memory.tuning().symbols(f64::from(count))),
        };
        self.leave(Mode::Receive(Reception { since, continuous, timer, symbols, cycle }));
        self.orders.push(Order::Listen);
    }

    fn cycle(&mut self, arguments: &[u8], now: Duration) {
        if !self.oscillates() {
            return;
        }
        let rx = bus::timer(ticks(arguments));
        let sleep = bus::timer(ticks(arguments.get(3..).unwrap_or_default()));
        let start = self.start_up() + bus::TO_RX;
        self.busy(now, start);
        self.listen(now + start, false, Some(now + start + rx), Some((rx, sleep)));
    }

    fn detect(&mut self, now: Duration) {
        if !self.oscillates() {
            return;
        }
        let from = now + self.start_up() + bus::TO_RX;
        let symbols = f64::from(1_u32 << self.memory.cad.symbols.min(4));
        let ends = from + self.memory.tuning().symbols(symbols);
        self.busy(now, from.saturating_sub(now));
        self.leave(Mode::Detect { from, ends });
    }

    fn detected(&mut self, from: Duration, scene: &Scene<'_>) {
        let found = scene.has_chirps(&self.memory.tuning(), from, Part::Whole);
        let (exit, timeout) = (self.memory.cad.exit, self.memory.cad.timeout);
        self.leave(Mode::Standby { crystal: false });
        // CAD_RX listens on when it found something, CAD_LBT sends when it found nothing: §13.4.7.
        match (exit, found) {
            (1, true) => {
                let timer = (timeout != 0).then(|| scene.now + bus::timer(timeout));
                self.listen(scene.now, false, timer, None);
            }
            (0x10, false) => self.transmit(&[0, 0, 0], scene.now),
            (_, _) => {}
        }
        self.raise(irq::CAD_DONE | if found { irq::CAD_DETECTED } else { 0 });
    }

    fn sleep(&mut self, configuration: u8) {
        let warm = configuration & 4 != 0;
        if warm {
            self.memory.doze();
        } else {
            self.memory = Memory::fresh(self.board);
        }
        self.leave(Mode::Sleep { warm });
        self.busy_until = None;
    }

    /// NSS fell while the chip slept: it wakes, and takes nothing of this transfer.
    fn wake(&mut self, opcode: u8, now: Duration) {
        let cold = matches!(self.mode, Mode::Sleep { warm: false });
        self.leave(Mode::Standby { crystal: false });
        self.busy(now, if cold { bus::COLD } else { bus::WARM });
        if opcode != bus::GET_STATUS {
            let words = format!("command {opcode:#04x} woke the chip and was lost");
            self.fault(|faults| &mut faults.lost_by_waking, words);
        }
    }

    /// Carries out what a transfer said, once NSS is high again.
    fn execute(&mut self, opcode: u8, arguments: &[u8], now: Duration) {
        // BUSY behind a setting is over within a microsecond (section 8.3), sooner than a host can look.
        match opcode {
            bus::SET_SLEEP => self.sleep(arguments.first().copied().unwrap_or(0)),
            bus::SET_STANDBY => {
                let crystal = arguments.first() == Some(&1);
                let start = if crystal { self.start_up() } else { Duration::ZERO };
                self.leave(Mode::Standby { crystal });
                self.busy(now, bus::TO_STANDBY + start);
            }
            bus::SET_FS => {
                let start = self.start_up();
                self.leave(Mode::Synthesis);
                self.busy(now, bus::TO_FS + start);
            }
            bus::SET_TX => self.transmit(arguments, now),
            bus::SET_RX => self.receive(arguments, now),
            bus::SET_RX_DUTY_CYCLE => self.cycle(arguments, now),
            bus::SET_CAD => self.detect(now),
            bus::CALIBRATE => {
                let start = self.memory.tcxo.unwrap_or(Duration::ZERO);
                self.busy(now, bus::CALIBRATION + start);
            }
            bus::CALIBRATE_IMAGE => {
                let start = self.start_up();
                self.busy(now, bus::CALIBRATION + start);
            }
            bus::CLEAR_IRQ_STATUS => self.memory.irq &= !word(arguments),
            known if self.memory.set(known, arguments) => {}
            known if COMMANDS.iter().any(|command| command.opcode == known) => {}
            unknown => {
                self.memory.status = status::PROCESSING_ERROR;
                let words = format!("command {unknown:#04x} is not modelled");
                self.fault(|faults| &mut faults.unknown_commands, words);
            }
        }
        for address in self.memory.take_strangers() {
            let words = format!("register {address:#06x} is not modelled");
            self.fault(|faults| &mut faults.unknown_registers, words);
        }
    }

    /// A reception ended without a frame.
    fn out_of_time(&mut self) {
        self.rest();
        self.memory.status = status::TIMEOUT;
        self.raise(irq::TIMEOUT);
    }
}

impl Silicon for Sx126x {
    fn transfer(&mut self, mosi: &[u8], scene: &Scene<'_>) -> Vec<u8> {
        let Some((&opcode, arguments)) = mosi.split_first() else { return Vec::new() };
        if matches!(self.mode, Mode::Sleep { .. } | Mode::Pause { .. }) {
            self.wake(opcode, scene.now);
            return vec![0; mosi.len()];
        }
        if self.busy_until.is_some_and(|until| scene.now < until) {
            let words = format!("command {opcode:#04x} was clocked while BUSY was high");
            self.fault(|faults| &mut faults.clocked_while_busy, words);
            return vec![0; mosi.len()];
        }
        let strength = (opcode == bus::GET_RSSI_INST).then(|| match self.mode {
            Mode::Receive(_) => scene.strength_dbm(&self.memory.tuning()),
            Mode::Sleep { .. }
            | Mode::Standby { .. }
            | Mode::Synthesis
            | Mode::Pause { .. }
            | Mode::Transmit { .. }
            | Mode::Detect { .. } => -127.5,
        });
        self.memory.observe(strength, scene.random());
        let status = self.status();
        let miso = self.memory.answer(status, mosi);
        self.execute(opcode, arguments, scene.now);
        miso
    }

    fn reset(&mut self, now: Duration) {
        self.leave(Mode::Standby { crystal: false });
        self.memory = Memory::fresh(self.board);
        self.busy(now, bus::COLD);
    }

    fn tick(&mut self, scene: &Scene<'_>) {
        let now = scene.now;
        if self.busy_until.is_some_and(|until| until <= now) {
            self.busy_until = None;
        }
        let due = |moment: Option<Duration>| moment.is_some_and(|at| at <= now);
        match self.mode {
            Mode::Receive(Reception { timer, symbols, cycle, .. })
                if due(timer) || due(symbols) =>
            {
                match cycle {
                    Some((rx, sleep)) => self.leave(Mode::Pause { rx, sleep, until: now + sleep }),
                    None => self.out_of_time(),
                }
            }
            Mode::Pause { rx, sleep, until } if until <= now => {
                let since = now + bus::WARM;
                self.listen(since, false, Some(since + rx), Some((rx, sleep)));
            }
            Mode::Transmit { timeout, ends } if due(Some(ends)) || due(timeout) => {
                if ends <= now {
                    // The air has ended the frame itself: nothing is cut.
                    self.session += 1;
                    self.mode = fallback(self.memory.fallback);
                    self.memory.status = status::TX_DONE;
                    self.raise(irq::TX_DONE);
                } else {
                    self.out_of_time();
                }
            }
            Mode::Detect { from, ends } if ends <= now => self.detected(from, scene),
            Mode::Sleep { .. }
            | Mode::Standby { .. }
            | Mode::Synthesis
            | Mode::Receive(_)
            | Mode::Pause { .. }
            | Mode::Transmit { .. }
            | Mode::Detect { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let mode = match self.mode {
            Mode::Receive(Reception { timer, symbols, .. }) => {
                [timer, symbols].into_iter().flatten().min()
            }
            Mode::Pause { until, .. } => Some(until),
            Mode::Transmit { timeout, ends } => Some(timeout.map_or(ends, |at| at.min(ends))),
            Mode::Detect { ends, .. } => Some(ends),
            Mode::Sleep { .. } | Mode::Standby { .. } | Mode::Synthesis => None,
        };
        [mode, self.busy_until].into_iter().flatten().min()
    }

    fn pins(&self, now: Duration) -> Pins {
        let asleep = matches!(self.mode, Mode::Sleep { .. } | Mode::Pause { .. });
        Pins {
            busy: asleep || self.busy_until.is_some_and(|until| now < until),
            irq: self.memory.irq & self.memory.dio1_mask != 0,
            dio1: false,
        }
    }

    fn ear(&self) -> Option<Ear> {
        let Mode::Receive(Reception { since, .. }) = self.mode else { return None };
        let Shape { sync_word, low_data_rate, implicit, crc, .. } = self.memory.shape();
        Some(Ear {
            tuning: Tuning { family: Family::Sx126x, ..self.memory.tuning() },
            sync_word,
            low_data_rate,
            implicit: implicit.then(|| (usize::from(self.memory.payload_length), crc)),
            since,
            session: self.session,
        })
    }

    fn preamble(&mut self, _now: Duration) {
        let stop = self.memory.stop_on_preamble;
        if let Mode::Receive(reception) = &mut self.mode {
            reception.symbols = None;
            if stop || reception.cycle.is_some() {
                reception.timer = None;
            }
        }
        self.raise(irq::PREAMBLE);
    }

    fn astray(&mut self, now: Duration) {
        let symbols = self.memory.symbols_max;
        let wait = self.memory.tuning().symbols(f64::from(symbols));
        if let Mode::Receive(reception) = &mut self.mode {
            // The search begins anew, and so does the wait for symbols.
            reception.symbols = (symbols != 0).then(|| now + wait);
            if let (Some((rx, _)), None) = (reception.cycle, reception.timer) {
                reception.timer = Some(now + rx);
            }
        }
    }

    fn header(&mut self, right: bool, now: Duration) {
        let explicit = !self.memory.implicit;
        if right {
            if let Mode::Receive(reception) = &mut self.mode {
                reception.timer = None;
            }
            if explicit {
                self.raise(irq::HEADER_VALID);
            }
        } else {
            if explicit {
                self.memory.counts.header_errors = self.memory.counts.header_errors.wrapping_add(1);
                self.raise(irq::HEADER_ERROR);
            }
            self.astray(now);
        }
    }

    fn arrived(&mut self, arrival: &Arrival, _now: Duration) {
        let wrong = arrival.crc == Checksum::Wrong;
        self.memory.store(arrival);
        let continuous = matches!(self.mode, Mode::Receive(Reception { continuous: true, .. }));
        if !continuous {
            self.rest();
        }
        // A wrong checksum is told by the interrupt alone.
        self.memory.status = status::DATA_AVAILABLE;
        self.raise(irq::RX_DONE | if wrong { irq::CRC_ERROR } else { 0 });
    }

    fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }
}
