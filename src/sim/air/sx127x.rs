//! An SX1276 (SX1277, SX1278, SX1279) at register level, in its LoRa mode.
//!
//! Source: Semtech *SX1276/77/78/79 Data Sheet* rev. 7, sections 4.1 (LoRa modem), 4.1.6 (channel activity), 6
//! (registers).
//!
//! Modelled registers are those of [`REGISTERS`], all others are counted as faults where a host names them. Not
//! modelled: FSK (a chip that is not in LoRa mode neither sends nor hears, and counts that), frequency hopping,
//! continuous wave, temperature, the gain of the amplifier.

use super::ether::Part;
use super::signal::{Family, Shape, Tuning};
use super::silicon::{Arrival, Checksum, Ear, Emission, Faults, Order, Scene, Silicon};
use super::sx126x_bus::raw_snr;
use crate::wire::chip_link::Pins;
use std::sync::Arc;
use std::time::Duration;

/// `RegIrqFlags`: data sheet §6.4, address 0x12.
mod irq {
    pub(super) const CAD_DETECTED: u8 = 0x01;
    pub(super) const CAD_DONE: u8 = 0x04;
    pub(super) const TX_DONE: u8 = 0x08;
    pub(super) const VALID_HEADER: u8 = 0x10;
    pub(super) const CRC_ERROR: u8 = 0x20;
    pub(super) const RX_DONE: u8 = 0x40;
    pub(super) const RX_TIMEOUT: u8 = 0x80;
}

const FIFO: u8 = 0x00;
const OP_MODE: u8 = 0x01;
const FRF: u8 = 0x06;
const PA_CONFIG: u8 = 0x09;
const FIFO_ADDR_PTR: u8 = 0x0d;
const FIFO_TX_BASE: u8 = 0x0e;
const FIFO_RX_BASE: u8 = 0x0f;
const FIFO_RX_CURRENT: u8 = 0x10;
const IRQ_FLAGS_MASK: u8 = 0x11;
const IRQ_FLAGS: u8 = 0x12;
const RX_NB_BYTES: u8 = 0x13;
const RX_HEADER_COUNT: u8 = 0x14;
const RX_PACKET_COUNT: u8 = 0x16;
const MODEM_STAT: u8 = 0x18;
const PKT_SNR: u8 = 0x19;
const PKT_RSSI: u8 = 0x1a;
const RSSI: u8 = 0x1b;
const HOP_CHANNEL: u8 = 0x1c;
const MODEM_CONFIG_1: u8 = 0x1d;
const MODEM_CONFIG_2: u8 = 0x1e;
const SYMB_TIMEOUT_LSB: u8 = 0x1f;
const PREAMBLE: u8 = 0x20;
const PAYLOAD_LENGTH: u8 = 0x22;
const MAX_PAYLOAD_LENGTH: u8 = 0x23;
const FIFO_RX_BYTE: u8 = 0x25;
const MODEM_CONFIG_3: u8 = 0x26;
const RSSI_WIDEBAND: u8 = 0x2c;
const INVERT_IQ: u8 = 0x33;
const SYNC_WORD: u8 = 0x39;
const DIO_MAPPING_1: u8 = 0x40;
const PA_DAC: u8 = 0x4d;

/// Addresses and reset values of table 41 for LoRa mode.
pub const REGISTERS: &[(u8, u8)] = &[
    (FIFO, 0x00),
    (OP_MODE, 0x09),
    (FRF, 0x6c),
    (0x07, 0x80),
    (0x08, 0x00),
    (PA_CONFIG, 0x4f),
    (0x0a, 0x09),
    (0x0b, 0x2b),
    (0x0c, 0x20),
    (FIFO_ADDR_PTR, 0x00),
    (FIFO_TX_BASE, 0x80),
    (FIFO_RX_BASE, 0x00),
    (FIFO_RX_CURRENT, 0x00),
    (IRQ_FLAGS_MASK, 0x00),
    (IRQ_FLAGS, 0x00),
    (RX_NB_BYTES, 0x00),
    (RX_HEADER_COUNT, 0x00),
    (0x15, 0x00),
    (RX_PACKET_COUNT, 0x00),
    (0x17, 0x00),
    (MODEM_STAT, 0x10),
    (PKT_SNR, 0x00),
    (PKT_RSSI, 0x00),
    (RSSI, 0x00),
    (HOP_CHANNEL, 0x00),
    (MODEM_CONFIG_1, 0x72),
    (MODEM_CONFIG_2, 0x70),
    (SYMB_TIMEOUT_LSB, 0x64),
    (PREAMBLE, 0x00),
    (0x21, 0x08),
    (PAYLOAD_LENGTH, 0x01),
    (MAX_PAYLOAD_LENGTH, 0xff),
    (0x24, 0x00),
    (FIFO_RX_BYTE, 0x00),
    (MODEM_CONFIG_3, 0x00),
    (0x27, 0x00),
    (0x28, 0x00),
    (0x29, 0x00),
    (0x2a, 0x00),
    (RSSI_WIDEBAND, 0x00),
    (0x2f, 0x20),
    (0x30, 0x00),
    (0x31, 0xc3),
    (INVERT_IQ, 0x27),
    (0x36, 0x03),
    (0x37, 0x0a),
    (SYNC_WORD, 0x12),
    (0x3a, 0x20),
    (0x3b, 0x1d),
    (DIO_MAPPING_1, 0x00),
    (0x41, 0x00),
    (0x42, 0x12),
    (0x44, 0x2d),
    (0x4b, 0x09),
    (PA_DAC, 0x84),
    (0x5b, 0x00),
    (0x61, 0x19),
    (0x62, 0x0c),
    (0x63, 0x4b),
    (0x64, 0xcc),
    (0x70, 0xd0),
];

/// Registers that a host reads and cannot write: table 41, mode `r`.
const READ_ONLY: &[u8] = &[
    FIFO_RX_CURRENT,
    RX_NB_BYTES,
    RX_HEADER_COUNT,
    0x15,
    RX_PACKET_COUNT,
    0x17,
    MODEM_STAT,
    PKT_SNR,
    PKT_RSSI,
    RSSI,
    HOP_CHANNEL,
    FIFO_RX_BYTE,
    0x28,
    0x29,
    0x2a,
    RSSI_WIDEBAND,
    0x42,
    0x5b,
];

/// From standby to transmission and reception, roughly: `TS_TR` and `TS_RE` of section 2.5.
const START: Duration = Duration::from_micros(100);

/// What `RegRssiValue` counts from, dBm, above and below 525 MHz: §5.5.5.
const RSSI_ORIGIN_HIGH_DBM: f64 = -157.0;
const RSSI_ORIGIN_LOW_DBM: f64 = -164.0;

/// Symbols that channel activity detection takes: §4.1.6 has one to listen in and less than another to think.
const CAD_SYMBOLS: f64 = 2.0;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Mode {
    Sleep,
    Standby,
    Synthesis,
    Transmit { ends: Duration },
    Receive { since: Duration, timeout: Option<Duration>, continuous: bool },
    Detect { from: Duration, ends: Duration },
}

#[derive(Debug)]
pub(super) struct Sx127x {
    registers: [u8; 128],
    fifo: [u8; 256],
    mode: Mode,
    session: u64,
    /// Where the next frame of a continuous reception goes.
    write_at: u8,
    orders: Vec<Order>,
    faults: Faults,
}

impl Sx127x {
    pub(super) fn new() -> Self {
        Self {
            registers: fresh(),
            fifo: [0; 256],
            mode: Mode::Standby,
            session: 0,
            write_at: 0,
            orders: Vec::new(),
            faults: Faults::default(),
        }
    }

    fn at(&self, address: u8) -> u8 {
        self.registers.get(usize::from(address)).copied().unwrap_or(0)
    }

    fn put(&mut self, address: u8, value: u8) {
        if let Some(place) = self.registers.get_mut(usize::from(address)) {
            *place = value;
        }
    }

    fn raise(&mut self, flags: u8) {
        let shown = flags & !self.at(IRQ_FLAGS_MASK);
        self.put(IRQ_FLAGS, self.at(IRQ_FLAGS) | shown);
    }

    fn fault(&mut self, count: fn(&mut Faults) -> &mut u64, words: String) {
        *count(&mut self.faults) += 1;
        self.faults.last = Some(words);
    }

    fn is_lora(&self) -> bool {
        self.at(OP_MODE) & 0x80 != 0
    }

    fn frequency_hz(&self) -> f64 {
        let steps = u32::from_be_bytes([0, self.at(FRF), self.at(FRF + 1), self.at(FRF + 2)]);
        // 32 MHz / 2^19 a step: §4.1.4.
        f64::from(steps) * 32e6 / 524_288.0
    }

    fn tuning(&self, inverted: bool) -> Tuning {
        // §6.4, address 0x1d.
        let bandwidth_hz = match self.at(MODEM_CONFIG_1) >> 4 {
            0 => 7_812.5,
            1 => 10_416.7,
            2 => 15_625.0,
            3 => 20_833.3,
            4 => 31_250.0,
            5 => 41_666.7,
            6 => 62_500.0,
            8 => 250_000.0,
            9 => 500_000.0,
            _ => 125_000.0,
        };
        Tuning {
            family: Family::Sx127x,
            frequency_hz: self.frequency_hz(),
            bandwidth_hz,
            spreading_factor: (self.at(MODEM_CONFIG_2) >> 4).clamp(6, 12),
            inverted,
        }
    }

    /// `RegInvertIQ` has a bit for the receiver, and one for the transmitter that counts the other way (§6.4, address
    /// 0x33).
    fn receives_inverted(&self) -> bool {
        self.at(INVERT_IQ) & 0x40 != 0
    }

    fn transmits_inverted(&self) -> bool {
        self.at(INVERT_IQ) & 0x01 == 0
    }

    fn shape(&self) -> Shape {
        Shape {
            sync_word: self.at(SYNC_WORD),
            preamble_symbols: u16::from_be_bytes([self.at(PREAMBLE), self.at(PREAMBLE + 1)]),
            coding_rate: ((self.at(MODEM_CONFIG_1) >> 1) & 7).clamp(1, 4),
            low_data_rate: self.at(MODEM_CONFIG_3) & 0x08 != 0,
            implicit: self.at(MODEM_CONFIG_1) & 1 != 0,
            crc: self.at(MODEM_CONFIG_2) & 0x04 != 0,
        }
    }

    /// Returns the output power, dBm: `RegPaConfig` and `RegPaDac`, §5.4.2 and §5.4.3.
    fn power_dbm(&self) -> f64 {
        let config = self.at(PA_CONFIG);
        let output = f64::from(config & 0x0f);
        if config & 0x80 == 0 {
            let most = 10.8 + 0.6 * f64::from((config >> 4) & 7);
            most - (15.0 - output)
        } else if self.at(PA_DAC) & 7 == 7 {
            20.0 - (15.0 - output)
        } else {
            17.0 - (15.0 - output)
        }
    }

    fn symbol_timeout(&self) -> Duration {
        let high = self.at(MODEM_CONFIG_2) & 3;
        let count = u16::from_be_bytes([high, self.at(SYMB_TIMEOUT_LSB)]);
        self.tuning(false).symbols(f64::from(count))
    }

    /// Leaves whatever the chip is doing; `RegOpMode` tells so.
    fn leave(&mut self, mode: Mode, code: u8) {
        if matches!(self.mode, Mode::Transmit { .. }) {
            self.orders.push(Order::Cut);
        }
        self.session += 1;
        self.mode = mode;
        self.put(OP_MODE, (self.at(OP_MODE) & 0xf8) | code);
    }

    fn listen(&mut self, now: Duration, continuous: bool) {
        let since = now + START;
        let timeout = (!continuous).then(|| since + self.symbol_timeout());
        self.write_at = self.at(FIFO_RX_BASE);
        self.leave(Mode::Receive { since, timeout, continuous }, if continuous { 5 } else { 6 });
        self.orders.push(Order::Listen);
    }

    fn transmit(&mut self, now: Duration) {
        let (tuning, shape) = (self.tuning(self.transmits_inverted()), self.shape());
        if tuning.spreading_factor == 6 && !shape.implicit {
            let words = "spreading factor 6 with an explicit header: §4.1.1.2".to_owned();
            self.fault(|faults| &mut faults.out_of_place, words);
        }
        let base = usize::from(self.at(FIFO_TX_BASE));
        let length = usize::from(self.at(PAYLOAD_LENGTH));
        let payload: Arc<[u8]> = (base..base + length)
            .map(|index| self.fifo.get(index % 256).copied().unwrap_or(0))
            .collect();
        let begins = now + START;
        let ends = begins + shape.parts(&tuning, payload.len()).whole;
        self.leave(Mode::Transmit { ends }, 3);
        let power_dbm = self.power_dbm();
        self.orders.push(Order::Send(Emission { tuning, shape, power_dbm, payload, begins }));
    }

    fn set_mode(&mut self, value: u8, now: Duration) {
        // LongRangeMode changes in sleep alone, says §6.4. Common drivers set it in the very write that puts the chip to
        // sleep, and chips take it.
        let settable = self.mode == Mode::Sleep || value.trailing_zeros() >= 3;
        let long_range = if settable { value & 0x80 } else { self.at(OP_MODE) & 0x80 };
        self.put(OP_MODE, long_range | (value & 0x78) | (self.at(OP_MODE) & 7));
        let code = value & 7;
        if code > 1 && !self.is_lora() {
            let words = format!("mode {code} outside LoRa");
            self.fault(|faults| &mut faults.out_of_place, words);
            return;
        }
        match code {
            0 => {
                self.fifo = [0; 256];
                self.leave(Mode::Sleep, 0);
            }
            1 => self.leave(Mode::Standby, 1),
            2 | 4 => self.leave(Mode::Synthesis, code),
            3 => self.transmit(now),
            5 => self.listen(now, true),
            6 => self.listen(now, false),
            _ => {
                let from = now + START;
                let ends = from + self.tuning(false).symbols(CAD_SYMBOLS);
                self.leave(Mode::Detect { from, ends }, 7);
            }
        }
    }

    fn is_known(&mut self, address: u8) -> bool {
        let known = REGISTERS.iter().any(|&(register, _)| register == address);
        if !known {
            let words = format!("register {address:#04x} is not modelled");
            self.fault(|faults| &mut faults.unknown_registers, words);
        }
        known
    }

    /// Moves the pointer of the FIFO by one, and returns where it was; none in sleep, when there is no FIFO (§4.1.2.3).
    fn step(&mut self) -> Option<usize> {
        if self.mode == Mode::Sleep {
            let words = "the FIFO cannot be reached in sleep".to_owned();
            self.fault(|faults| &mut faults.out_of_place, words);
            return None;
        }
        let pointer = self.at(FIFO_ADDR_PTR);
        self.put(FIFO_ADDR_PTR, pointer.wrapping_add(1));
        Some(usize::from(pointer))
    }

    fn write(&mut self, address: u8, value: u8, now: Duration) {
        if !self.is_known(address) || READ_ONLY.contains(&address) {
            return;
        }
        match address {
            FIFO => {
                if let Some(place) = self.step().and_then(|index| self.fifo.get_mut(index)) {
                    *place = value;
                }
            }
            OP_MODE => self.set_mode(value, now),
            // A one clears: §6.4.
            IRQ_FLAGS => self.put(IRQ_FLAGS, self.at(IRQ_FLAGS) & !value),
            _ => self.put(address, value),
        }
    }

    fn read(&mut self, address: u8, scene: &Scene<'_>) -> u8 {
        if !self.is_known(address) {
            return 0;
        }
        match address {
            FIFO => self.step().and_then(|index| self.fifo.get(index).copied()).unwrap_or(0),
            RSSI => self.raw_strength(scene.strength_dbm(&self.tuning(false))),
            RSSI_WIDEBAND => scene.random().to_le_bytes()[0],
            MODEM_STAT => match self.mode {
                Mode::Receive { .. } => 0x04,
                Mode::Sleep
                | Mode::Standby
                | Mode::Synthesis
                | Mode::Transmit { .. }
                | Mode::Detect { .. } => 0x10,
            },
            _ => self.at(address),
        }
    }

    fn origin_dbm(&self) -> f64 {
        if self.frequency_hz() > 525e6 { RSSI_ORIGIN_HIGH_DBM } else { RSSI_ORIGIN_LOW_DBM }
    }

    fn raw_strength(&self, dbm: f64) -> u8 {
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 255")]
        let raw = (dbm - self.origin_dbm()).round().clamp(0.0, 255.0) as u8;
        raw
    }

    fn count(&mut self, address: u8) {
        let more = u16::from_be_bytes([self.at(address), self.at(address + 1)]).wrapping_add(1);
        let [high, low] = more.to_be_bytes();
        self.put(address, high);
        self.put(address + 1, low);
    }
}

fn fresh() -> [u8; 128] {
    let mut registers = [0; 128];
    for &(address, value) in REGISTERS {
        if let Some(place) = registers.get_mut(usize::from(address)) {
            *place = value;
        }
    }
    registers
}

impl Silicon for Sx127x {
    fn transfer(&mut self, mosi: &[u8], scene: &Scene<'_>) -> Vec<u8> {
        let Some((&first, rest)) = mosi.split_first() else { return Vec::new() };
        let (writes, start) = (first & 0x80 != 0, first & 0x7f);
        let mut miso = vec![0];
        // In a burst the address moves on, except on the FIFO: §2.2, SPI interface.
        for (offset, byte) in (0_u8..=127).cycle().zip(rest) {
            let address = if start == FIFO { FIFO } else { start.wrapping_add(offset) & 0x7f };
            if writes {
                miso.push(self.at(address));
                self.write(address, *byte, scene.now);
            } else {
                let value = self.read(address, scene);
                miso.push(value);
            }
        }
        miso
    }

    fn reset(&mut self, _now: Duration) {
        self.leave(Mode::Standby, 1);
        self.registers = fresh();
        self.fifo = [0; 256];
    }

    fn tick(&mut self, scene: &Scene<'_>) {
        let now = scene.now;
        match self.mode {
            Mode::Transmit { ends } if ends <= now => {
                // The air has ended the frame itself: nothing is cut.
                self.mode = Mode::Standby;
                self.leave(Mode::Standby, 1);
                self.raise(irq::TX_DONE);
            }
            Mode::Receive { timeout: Some(at), .. } if at <= now => {
                self.leave(Mode::Standby, 1);
                self.raise(irq::RX_TIMEOUT);
            }
            Mode::Detect { from, ends } if ends <= now => {
                let tuning = self.tuning(self.receives_inverted());
                let found = scene.has_chirps(&tuning, from, Part::Preamble);
                self.leave(Mode::Standby, 1);
                self.raise(irq::CAD_DONE | if found { irq::CAD_DETECTED } else { 0 });
            }
            Mode::Sleep
            | Mode::Standby
            | Mode::Synthesis
            | Mode::Transmit { .. }
            | Mode::Receive { .. }
            | Mode::Detect { .. } => {}
        }
    }

    fn deadline(&self) -> Option<Duration> {
        match self.mode {
            Mode::Transmit { ends } | Mode::Detect { ends, .. } => Some(ends),
            Mode::Receive { timeout, .. } => timeout,
            Mode::Sleep | Mode::Standby | Mode::Synthesis => None,
        }
    }

    fn pins(&self, _now: Duration) -> Pins {
        let (flags, mapping) = (self.at(IRQ_FLAGS), self.at(DIO_MAPPING_1));
        // Table 18.
        let dio0 = match mapping >> 6 {
            0 => irq::RX_DONE,
            1 => irq::TX_DONE,
            2 => irq::CAD_DONE,
            _ => 0,
        };
        let dio1 = match (mapping >> 4) & 3 {
            0 => irq::RX_TIMEOUT,
            2 => irq::CAD_DETECTED,
            _ => 0,
        };
        Pins { busy: false, irq: flags & dio0 != 0, dio1: flags & dio1 != 0 }
    }

    fn ear(&self) -> Option<Ear> {
        let Mode::Receive { since, .. } = self.mode else { return None };
        let Shape { sync_word, low_data_rate, implicit, crc, .. } = self.shape();
        Some(Ear {
            tuning: self.tuning(self.receives_inverted()),
            sync_word,
            low_data_rate,
            implicit: implicit.then(|| (usize::from(self.at(PAYLOAD_LENGTH)), crc)),
            since,
            session: self.session,
        })
    }

    fn preamble(&mut self, _now: Duration) {
        if let Mode::Receive { timeout, .. } = &mut self.mode {
            *timeout = None;
        }
    }

    fn astray(&mut self, now: Duration) {
        let wait = self.symbol_timeout();
        if let Mode::Receive { timeout, continuous: false, .. } = &mut self.mode {
            *timeout = Some(now + wait);
        }
    }

    fn header(&mut self, right: bool, now: Duration) {
        if right && self.at(MODEM_CONFIG_1) & 1 == 0 {
            self.count(RX_HEADER_COUNT);
            self.raise(irq::VALID_HEADER);
        } else if !right {
            self.astray(now);
        }
    }

    fn arrived(&mut self, arrival: &Arrival, _now: Duration) {
        let start = self.write_at;
        for byte in &arrival.payload {
            if let Some(place) = self.fifo.get_mut(usize::from(self.write_at)) {
                *place = *byte;
            }
            self.put(FIFO_RX_BYTE, self.write_at);
            self.write_at = self.write_at.wrapping_add(1);
        }
        self.put(FIFO_RX_CURRENT, start);
        self.put(RX_NB_BYTES, u8::try_from(arrival.payload.len()).unwrap_or(u8::MAX));
        self.put(PKT_SNR, raw_snr(arrival.snr_db));
        let strength = if arrival.snr_db >= 0.0 {
            // The host multiplies what lies above the origin by 16/15: §5.5.5.
            self.origin_dbm() + (arrival.rssi_dbm - self.origin_dbm()) * 15.0 / 16.0
        } else {
            arrival.rssi_dbm
        };
        let raw = self.raw_strength(strength);
        self.put(PKT_RSSI, raw);
        self.count(RX_PACKET_COUNT);
        let checked = arrival.crc != Checksum::Absent;
        self.put(HOP_CHANNEL, if checked { 0x40 } else { 0 });
        let status = self.at(MODEM_STAT) & 0x1f;
        self.put(MODEM_STAT, status | (arrival.coding_rate << 5));
        if matches!(self.mode, Mode::Receive { continuous: false, .. }) {
            self.leave(Mode::Standby, 1);
        }
        let wrong = arrival.crc == Checksum::Wrong;
        self.raise(irq::RX_DONE | if wrong { irq::CRC_ERROR } else { 0 });
    }

    fn faults(&mut self) -> &mut Faults {
        &mut self.faults
    }

    fn take_orders(&mut self) -> Vec<Order> {
        std::mem::take(&mut self.orders)
    }
}
