//! What an SX126x remembers, and how commands reach it: the tables of the data sheet.

use super::signal::{Family, Shape, Tuning};
use super::silicon::{Arrival, Checksum};
use super::sx126x::Mode;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) const SET_SLEEP: u8 = 0x84;
pub(super) const SET_STANDBY: u8 = 0x80;
pub(super) const SET_FS: u8 = 0xc1;
pub(super) const SET_TX: u8 = 0x83;
pub(super) const SET_RX: u8 = 0x82;
pub(super) const STOP_TIMER_ON_PREAMBLE: u8 = 0x9f;
pub(super) const SET_RX_DUTY_CYCLE: u8 = 0x94;
pub(super) const SET_CAD: u8 = 0xc5;
pub(super) const SET_REGULATOR_MODE: u8 = 0x96;
pub(super) const CALIBRATE: u8 = 0x89;
pub(super) const CALIBRATE_IMAGE: u8 = 0x98;
pub(super) const SET_PA_CONFIG: u8 = 0x95;
pub(super) const SET_FALLBACK_MODE: u8 = 0x93;
pub(super) const WRITE_REGISTER: u8 = 0x0d;
pub(super) const READ_REGISTER: u8 = 0x1d;
pub(super) const WRITE_BUFFER: u8 = 0x0e;
pub(super) const READ_BUFFER: u8 = 0x1e;
pub(super) const SET_DIO_IRQ_PARAMS: u8 = 0x08;
pub(super) const GET_IRQ_STATUS: u8 = 0x12;
pub(super) const CLEAR_IRQ_STATUS: u8 = 0x02;
pub(super) const SET_DIO2_AS_RF_SWITCH: u8 = 0x9d;
pub(super) const SET_DIO3_AS_TCXO: u8 = 0x97;
pub(super) const SET_RF_FREQUENCY: u8 = 0x86;
pub(super) const SET_PACKET_TYPE: u8 = 0x8a;
pub(super) const GET_PACKET_TYPE: u8 = 0x11;
pub(super) const SET_TX_PARAMS: u8 = 0x8e;
pub(super) const SET_MODULATION_PARAMS: u8 = 0x8b;
pub(super) const SET_PACKET_PARAMS: u8 = 0x8c;
pub(super) const SET_CAD_PARAMS: u8 = 0x88;
pub(super) const SET_BUFFER_BASE: u8 = 0x8f;
pub(super) const SET_SYMBOL_TIMEOUT: u8 = 0xa0;
pub(super) const GET_STATUS: u8 = 0xc0;
pub(super) const GET_RX_BUFFER_STATUS: u8 = 0x13;
pub(super) const GET_PACKET_STATUS: u8 = 0x14;
pub(super) const GET_RSSI_INST: u8 = 0x15;
pub(super) const GET_STATS: u8 = 0x10;
pub(super) const RESET_STATS: u8 = 0x00;
pub(super) const GET_DEVICE_ERRORS: u8 = 0x17;
pub(super) const CLEAR_DEVICE_ERRORS: u8 = 0x07;

/// `SetRx`'s word for "until told otherwise": data sheet §13.1.5.
pub(super) const CONTINUOUS: u32 = 0x00ff_ffff;

/// BUSY after a reset or a cold start, and after a warm start: table 8-2.
pub(super) const COLD: Duration = Duration::from_micros(3500);
pub(super) const WARM: Duration = Duration::from_micros(340);
/// From `STDBY_RC`: table 8-2.
pub(super) const TO_RX: Duration = Duration::from_micros(83);
pub(super) const TO_TX: Duration = Duration::from_micros(126);
pub(super) const TO_FS: Duration = Duration::from_micros(50);
pub(super) const TO_STANDBY: Duration = Duration::from_micros(31);
/// All blocks: §13.1.12.
pub(super) const CALIBRATION: Duration = Duration::from_micros(3500);

/// A command of tables 11-1 to 11-5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Command {
    /// Its opcode.
    pub opcode: u8,
    /// Its name in the data sheet.
    pub name: &'static str,
}

const fn command(opcode: u8, name: &'static str) -> Command {
    Command { opcode, name }
}

/// What is modelled of tables 11-1 to 11-5.
pub const COMMANDS: &[Command] = &[
    command(RESET_STATS, "ResetStats"),
    command(CLEAR_IRQ_STATUS, "ClearIrqStatus"),
    command(CLEAR_DEVICE_ERRORS, "ClearDeviceErrors"),
    command(SET_DIO_IRQ_PARAMS, "SetDioIrqParams"),
    command(WRITE_REGISTER, "WriteRegister"),
    command(WRITE_BUFFER, "WriteBuffer"),
    command(GET_STATS, "GetStats"),
    command(GET_PACKET_TYPE, "GetPacketType"),
    command(GET_IRQ_STATUS, "GetIrqStatus"),
    command(GET_RX_BUFFER_STATUS, "GetRxBufferStatus"),
    command(GET_PACKET_STATUS, "GetPacketStatus"),
    command(GET_RSSI_INST, "GetRssiInst"),
    command(GET_DEVICE_ERRORS, "GetDeviceErrors"),
    command(READ_REGISTER, "ReadRegister"),
    command(READ_BUFFER, "ReadBuffer"),
    command(SET_STANDBY, "SetStandby"),
    command(SET_RX, "SetRx"),
    command(SET_TX, "SetTx"),
    command(SET_SLEEP, "SetSleep"),
    command(SET_RF_FREQUENCY, "SetRfFrequency"),
    command(SET_CAD_PARAMS, "SetCadParams"),
    command(CALIBRATE, "Calibrate"),
    command(SET_PACKET_TYPE, "SetPacketType"),
    command(SET_MODULATION_PARAMS, "SetModulationParams"),
    command(SET_PACKET_PARAMS, "SetPacketParams"),
    command(SET_TX_PARAMS, "SetTxParams"),
    command(SET_BUFFER_BASE, "SetBufferBaseAddress"),
    command(SET_FALLBACK_MODE, "SetRxTxFallbackMode"),
    command(SET_RX_DUTY_CYCLE, "SetRxDutyCycle"),
    command(SET_PA_CONFIG, "SetPaConfig"),
    command(SET_REGULATOR_MODE, "SetRegulatorMode"),
    command(SET_DIO3_AS_TCXO, "SetDIO3AsTCXOCtrl"),
    command(CALIBRATE_IMAGE, "CalibrateImage"),
    command(SET_DIO2_AS_RF_SWITCH, "SetDIO2AsRfSwitchCtrl"),
    command(STOP_TIMER_ON_PREAMBLE, "StopTimerOnPreamble"),
    command(SET_SYMBOL_TIMEOUT, "SetLoRaSymbNumTimeout"),
    command(GET_STATUS, "GetStatus"),
    command(SET_FS, "SetFs"),
    command(SET_CAD, "SetCad"),
];

/// Addresses and reset values of table 12-1 that a LoRa host may touch; those of the retention list are §9.6's.
pub const REGISTERS: &[(u16, u8)] = &[
    (0x029f, 0x00),
    (0x02a0, 0x00),
    (0x02a1, 0x00),
    (0x02a2, 0x00),
    (0x02a3, 0x00),
    (0x02a4, 0x00),
    (0x02a5, 0x00),
    (0x02a6, 0x00),
    (0x02a7, 0x00),
    (0x0702, 0x00),
    (0x0704, 0x00),
    (0x0706, 0x00),
    (0x0736, 0x0d),
    (0x0740, 0x14),
    (0x0741, 0x24),
    (0x0819, 0x00),
    (0x081a, 0x00),
    (0x081b, 0x00),
    (0x081c, 0x00),
    (0x0889, 0x01),
    (0x08ac, 0x94),
    (0x08d8, 0xc8),
    (0x08e2, 0x00),
    (0x08e5, 0x00),
    (0x08e7, 0x38),
    (0x0902, 0x00),
    (0x0911, 0x05),
    (0x0912, 0x05),
    (0x0920, 0x01),
    (0x0944, 0x00),
];

const PAYLOAD_LENGTH: u16 = 0x0702;
const SYMBOL_TIMEOUT: u16 = 0x0706;
const SYNC_WORD: u16 = 0x0740;
const RANDOM: u16 = 0x0819;
const RETENTION: u16 = 0x029f;
/// Registers that a warm start loses unless the retention list names them: §9.6.
const NOT_RETAINED: [u16; 2] = [0x0889, 0x08ac];

/// What the board around a chip has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Board {
    /// The crystal is a TCXO, fed by DIO3: without `SetDIO3AsTCXOCtrl` it does not start.
    pub tcxo: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Cad {
    pub(super) symbols: u8,
    pub(super) exit: u8,
    pub(super) timeout: u32,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    received: u16,
    crc_errors: u16,
    pub(super) header_errors: u16,
}

/// Everything that a cold start loses.
#[allow(clippy::struct_excessive_bools, reason = "each is a bit that the chip keeps")]
#[derive(Clone, Debug)]
pub(super) struct Memory {
    registers: BTreeMap<u16, u8>,
    strangers: Vec<u16>,
    buffer: [u8; 256],
    tx_base: u8,
    rx_base: u8,
    rx_length: u8,
    rx_pointer: u8,
    pub(super) irq: u16,
    pub(super) irq_mask: u16,
    pub(super) dio1_mask: u16,
    pub(super) packet_type: u8,
    steps: u32,
    spreading_factor: u8,
    bandwidth: u8,
    coding_rate: u8,
    low_data_rate: bool,
    preamble: u16,
    pub(super) implicit: bool,
    pub(super) payload_length: u8,
    crc: bool,
    inverted: bool,
    amplifier: [u8; 3],
    power: u8,
    pub(super) cad: Cad,
    pub(super) symbols_max: u16,
    pub(super) stop_on_preamble: bool,
    pub(super) fallback: u8,
    pub(super) tcxo: Option<Duration>,
    pub(super) errors: u16,
    pub(super) status: u8,
    packet: [u8; 3],
    strength: u8,
    pub(super) counts: Counts,
}

/// Returns the 16-bit word at the beginning of arguments.
pub(super) fn word(arguments: &[u8]) -> u16 {
    match arguments {
        [high, low, ..] => u16::from_be_bytes([*high, *low]),
        [high] => u16::from_be_bytes([*high, 0]),
        [] => 0,
    }
}

/// Returns the 24-bit number at the beginning of arguments.
pub(super) fn ticks(arguments: &[u8]) -> u32 {
    match arguments {
        [high, middle, low, ..] => u32::from_be_bytes([0, *high, *middle, *low]),
        _ => 0,
    }
}

/// Returns what so many steps of the chip's timer last: 15.625 µs each, §13.1.4.
pub(super) fn timer(count: u32) -> Duration {
    Duration::from_nanos(u64::from(count) * 15_625)
}

/// Returns where a chip goes behind a frame: table 13-23.
pub(super) fn fallback(code: u8) -> Mode {
    match code {
        0x40 => Mode::Synthesis,
        0x30 => Mode::Standby { crystal: true },
        _ => Mode::Standby { crystal: false },
    }
}

/// Returns a register's value for a strength, dBm: −raw/2.
fn raw_strength(dbm: f64) -> u8 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "within 0 and 255")]
    let raw = (-2.0 * dbm).round().clamp(0.0, 255.0) as u8;
    raw
}

/// Returns a register's value for a signal to noise, dB: raw/4, signed.
pub(super) fn raw_snr(db: f64) -> u8 {
    #[allow(clippy::cast_possible_truncation, reason = "within -128 and 127")]
    let raw = (4.0 * db).round().clamp(-128.0, 127.0) as i8;
    raw.cast_unsigned()
}

impl Memory {
    pub(super) fn fresh(board: Board) -> Self {
        Self {
            registers: REGISTERS.iter().copied().collect(),
            strangers: Vec::new(),
            buffer: [0; 256],
            // Where the transmit and receive halves begin after a reset: §13.4.8.
            tx_base: 0,
            rx_base: 0,
            rx_length: 0,
            rx_pointer: 0,
            irq: 0,
            irq_mask: 0,
            dio1_mask: 0,
            packet_type: 0,
            steps: 0,
            spreading_factor: 7,
            bandwidth: 4,
            coding_rate: 1,
            low_data_rate: false,
            preamble: 8,
            implicit: false,
            payload_length: 0,
            crc: false,
            inverted: false,
            amplifier: [4, 7, 0],
            power: 0,
            cad: Cad::default(),
            symbols_max: 0,
            stop_on_preamble: false,
            fallback: 0x20,
            tcxo: None,
            // With a TCXO the first start of the crystal fails: §13.6.1.
            errors: if board.tcxo { 0x0020 } else { 0 },
            status: 1,
            packet: [0; 3],
            strength: 0xff,
            counts: Counts::default(),
        }
    }

    /// Loses what a warm start does not keep: the buffer, and registers that the retention list does not name.
    pub(super) fn doze(&mut self) {
        self.buffer = [0; 256];
        let read = |address: u16| self.registers.get(&address).copied().unwrap_or(0);
        let count = u16::from(read(RETENTION).min(4));
        let kept: Vec<u16> = (0..count)
            .map(|index| RETENTION + 1 + 2 * index)
            .map(|at| u16::from_be_bytes([read(at), read(at + 1)]))
            .collect();
        for (address, value) in REGISTERS {
            if NOT_RETAINED.contains(address) && !kept.contains(address) {
                self.registers.insert(*address, *value);
            }
        }
    }

    /// Returns registers that a host named and this emulator does not know, once.
    pub(super) fn take_strangers(&mut self) -> Vec<u16> {
        std::mem::take(&mut self.strangers)
    }

    /// Sees to what changes of itself: strength, and the generator of random numbers.
    pub(super) fn observe(&mut self, strength_dbm: Option<f64>, random: u64) {
        if let Some(dbm) = strength_dbm {
            self.strength = raw_strength(dbm);
        }
        for (address, byte) in (RANDOM..RANDOM + 4).zip(random.to_le_bytes()) {
            self.registers.insert(address, byte);
        }
    }

    fn read(&mut self, address: u16) -> u8 {
        if let Some(value) = self.registers.get(&address) {
            return *value;
        }
        self.strangers.push(address);
        0
    }

    fn write(&mut self, address: u16, value: u8) {
        match self.registers.get_mut(&address) {
            Some(place) => *place = value,
            None => self.strangers.push(address),
        }
        if address == SYMBOL_TIMEOUT {
            // Mantissa and exponent: §13.4.9.
            self.symbols_max = u16::from(value >> 3) << (2 * u16::from(value & 7).min(4) + 1);
        }
    }

    fn at(&self, index: usize) -> u8 {
        self.buffer.get(index % 256).copied().unwrap_or(0)
    }

    fn put(&mut self, index: usize, value: u8) {
        if let Some(place) = self.buffer.get_mut(index % 256) {
            *place = value;
        }
    }

    /// Returns what comes out while a transfer goes in.
    pub(super) fn answer(&mut self, status: u8, mosi: &[u8]) -> Vec<u8> {
        let mut miso = vec![status; mosi.len()];
        let (opcode, from) =
            (mosi.first().copied().unwrap_or(0), mosi.get(1..).unwrap_or_default());
        let mut tell = |offset: usize, bytes: &[u8]| {
            for (place, byte) in miso.iter_mut().skip(offset).zip(bytes) {
                *place = *byte;
            }
        };
        match opcode {
            READ_REGISTER => {
                let start = word(from);
                let count = mosi.len().saturating_sub(4);
                let end = start.saturating_add(u16::try_from(count).unwrap_or(u16::MAX));
                let values: Vec<u8> = (start..end).map(|address| self.read(address)).collect();
                tell(4, &values);
            }
            READ_BUFFER => {
                let start = usize::from(from.first().copied().unwrap_or(0));
                let count = mosi.len().saturating_sub(3);
                let values: Vec<u8> = (start..start + count).map(|index| self.at(index)).collect();
                tell(3, &values);
            }
            GET_IRQ_STATUS => tell(2, &self.irq.to_be_bytes()),
            GET_RX_BUFFER_STATUS => tell(2, &[self.rx_length, self.rx_pointer]),
            GET_PACKET_STATUS => tell(2, &self.packet),
            GET_RSSI_INST => tell(2, &[self.strength]),
            GET_PACKET_TYPE => tell(2, &[self.packet_type]),
            GET_DEVICE_ERRORS => tell(2, &self.errors.to_be_bytes()),
            GET_STATS => {
                let Counts { received, crc_errors, header_errors } = self.counts;
                let words = [received, crc_errors, header_errors];
                tell(2, &words.map(u16::to_be_bytes).concat());
            }
            _ => {}
        }
        miso
    }

    /// Takes a setting, and returns whether the command is one.
    pub(super) fn set(&mut self, opcode: u8, arguments: &[u8]) -> bool {
        let at = |index: usize| arguments.get(index).copied().unwrap_or(0);
        match opcode {
            WRITE_REGISTER => {
                let values = arguments.get(2..).unwrap_or_default();
                for (address, value) in (word(arguments)..=u16::MAX).zip(values) {
                    self.write(address, *value);
                }
            }
            WRITE_BUFFER => {
                let start = usize::from(at(0));
                for (index, value) in (start..).zip(arguments.get(1..).unwrap_or_default()) {
                    self.put(index, *value);
                }
            }
            SET_DIO_IRQ_PARAMS => {
                self.irq_mask = word(arguments);
                self.dio1_mask = word(arguments.get(2..).unwrap_or_default());
            }
            SET_PACKET_TYPE => self.packet_type = at(0),
            SET_RF_FREQUENCY => self.steps = u32::from_be_bytes([at(0), at(1), at(2), at(3)]),
            SET_MODULATION_PARAMS => {
                (self.spreading_factor, self.bandwidth) = (at(0), at(1));
                (self.coding_rate, self.low_data_rate) = (at(2), at(3) == 1);
            }
            SET_PACKET_PARAMS => {
                (self.preamble, self.implicit) = (word(arguments), at(2) == 1);
                self.payload_length = at(3);
                (self.crc, self.inverted) = (at(4) == 1, at(5) == 1);
                self.registers.insert(PAYLOAD_LENGTH, at(3));
            }
            SET_PA_CONFIG => self.amplifier = [at(0), at(1), at(2)],
            SET_TX_PARAMS => self.power = at(0),
            SET_BUFFER_BASE => (self.tx_base, self.rx_base) = (at(0), at(1)),
            SET_CAD_PARAMS => {
                let timeout = ticks(arguments.get(4..).unwrap_or_default());
                self.cad = Cad { symbols: at(0), exit: at(3), timeout };
            }
            STOP_TIMER_ON_PREAMBLE => self.stop_on_preamble = at(0) == 1,
            SET_SYMBOL_TIMEOUT => self.symbols_max = u16::from(at(0)),
            SET_FALLBACK_MODE => self.fallback = at(0),
            SET_DIO3_AS_TCXO => {
                self.tcxo = Some(timer(ticks(arguments.get(1..).unwrap_or_default())));
            }
            CLEAR_DEVICE_ERRORS => self.errors = 0,
            RESET_STATS => self.counts = Counts::default(),
            _ => return false,
        }
        true
    }

    /// Returns how the chip is tuned.
    pub(super) fn tuning(&self) -> Tuning {
        // Table 13-48; 32 MHz / 2^25 a step: §13.4.1.
        let bandwidth_hz = match self.bandwidth {
            0x00 => 7_812.5,
            0x08 => 10_416.7,
            0x01 => 15_625.0,
            0x09 => 20_833.3,
            0x02 => 31_250.0,
            0x0a => 41_666.7,
            0x03 => 62_500.0,
            0x05 => 250_000.0,
            0x06 => 500_000.0,
            _ => 125_000.0,
        };
        Tuning {
            family: Family::Sx126x,
            frequency_hz: f64::from(self.steps) * 32e6 / 33_554_432.0,
            bandwidth_hz,
            spreading_factor: self.spreading_factor.clamp(5, 12),
            inverted: self.inverted,
        }
    }

    /// Returns how the parts behind the preamble are made.
    pub(super) fn shape(&self) -> Shape {
        let value = |address: u16| self.registers.get(&address).copied().unwrap_or(0);
        Shape {
            sync_word: (value(SYNC_WORD) & 0xf0) | (value(SYNC_WORD + 1) >> 4),
            preamble_symbols: self.preamble,
            coding_rate: self.coding_rate.clamp(1, 4),
            low_data_rate: self.low_data_rate,
            implicit: self.implicit,
            crc: self.crc,
        }
    }

    /// Returns what the transmit half of the buffer holds.
    pub(super) fn outgoing(&self) -> Arc<[u8]> {
        let base = usize::from(self.tx_base);
        (0..usize::from(self.payload_length)).map(|index| self.at(base + index)).collect()
    }

    /// Returns the output power, dBm: `SetTxParams` counts from the most that `SetPaConfig` allows, table 13-21.
    pub(super) fn power_dbm(&self) -> f64 {
        let asked = f64::from(self.power.cast_signed());
        let [duty, most, device] = self.amplifier;
        match (device, duty, most) {
            // SX1261.
            (1, 0x06.., _) => asked.clamp(-17.0, 14.0) + 1.0,
            (1, 0x04..=0x05, _) => asked.clamp(-17.0, 14.0),
            (1, _, _) => asked.clamp(-17.0, 14.0) - 3.0,
            // SX1262.
            (_, _, 0x07..) => asked.clamp(-9.0, 22.0),
            (_, _, 0x05..=0x06) => asked.clamp(-9.0, 22.0) - 2.0,
            (_, _, 0x03..=0x04) => asked.clamp(-9.0, 22.0) - 5.0,
            (_, _, _) => asked.clamp(-9.0, 22.0) - 8.0,
        }
    }

    /// Puts a frame that arrived where the host looks for it.
    pub(super) fn store(&mut self, arrival: &Arrival) {
        let base = usize::from(self.rx_base);
        for (index, byte) in arrival.payload.iter().enumerate() {
            self.put(base + index, *byte);
        }
        self.rx_length = u8::try_from(arrival.payload.len()).unwrap_or(u8::MAX);
        self.rx_pointer = self.rx_base;
        self.packet = [
            raw_strength(arrival.rssi_dbm),
            raw_snr(arrival.snr_db),
            raw_strength(arrival.signal_dbm),
        ];
        self.counts.received = self.counts.received.wrapping_add(1);
        if arrival.crc == Checksum::Wrong {
            self.counts.crc_errors = self.counts.crc_errors.wrapping_add(1);
        }
    }
}
