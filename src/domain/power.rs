//! How long a field node lives on its cell: what each part draws, for how long, and what the cell gives at its
//! temperature.
//!
//! The currents are typical ones of data sheets at 3.3 V and 25 °C; none was measured by us. A linear regulator feeds the
//! node, so that what the node draws is what the cell gives, whatever its voltage. The times are those of the firmware in
//! `hardware/field-node`.

use crate::domain::radio::Modulation;
use std::time::Duration;

/// Semtech SX1261/2 data sheet, power consumption: asleep, settings kept.
const RADIO_ASLEEP_MA: f64 = 0.0006;
/// The same: standby on the RC oscillator.
const RADIO_STANDBY_MA: f64 = 0.6;
/// The same: receiving LoRa of 125 kHz, boosted gain, with the DC-DC converter.
const RADIO_RECEIVES_MA: f64 = 5.3;
/// The same: the SX1262 sends at 868 to 915 MHz with the optimal settings of table 13-21, which are those of the driver;
/// up to so many dBm, mA. Below the first the driver keeps the amplifier's setting, and
/// the data sheet is silent: it draws less.
const RADIO_SENDS_MA: [(i8, f64); 4] = [(14, 45.0), (17, 58.0), (20, 84.0), (22, 118.0)];
/// nRF52840 product specification, `ION_RAMON_RTC`: all memory kept, woken by the clock.
const CHIP_ASLEEP_MA: f64 = 0.003_16;
/// The same, `ICPU0`: it computes from flash at 64 MHz, with the DC-DC converter.
const CHIP_WORKS_MA: f64 = 3.3;
/// It waits for a bus with its fast clock running: our assumption, rather high.
const CHIP_WAITS_MA: f64 = 1.0;
/// Regulator, divider before the battery pin (2.5 MΩ: 1.5 µA), protection of the cell: our assumption.
const BOARD_MA: f64 = 0.008;
/// Sealing, journal and bus transfers of one frame: our assumption.
const FRAME_WORK_S: f64 = 0.05;
/// Bytes of a frame around its payload, and of an acknowledgement: `docs/formats/wf1.md`.
const FRAME_BYTES: usize = 12;
const ACK_BYTES: usize = FRAME_BYTES + 4;
/// The windows of the firmware: when they open, and the symbols for which they listen.
const WINDOWS_S: [f64; 2] = [1.0, 2.0];
const WINDOW_SYMBOLS: f64 = 16.0;
/// Symbols for which the driver listens before it sends: channel activity detection.
const BEFORE_SENDING_SYMBOLS: f64 = 8.0;
/// Frames that are sent again for one that nobody answers: the firmware's retries.
const RETRIES_MAX: i32 = 3;
const DAY_S: f64 = 86_400.0;
/// Days of a year.
const YEAR_DAYS: f64 = 365.25;

/// A sensor of the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sensor {
    /// Serial ultrasonic ranger: `MaxBotix` HRXL-MaxSonar-WR (MB7389 and its relatives).
    Ultrasonic,
    /// Ultrasonic ranger of trigger and echo: JSN-SR04T, at 5 V.
    Echo,
    /// Air temperature and humidity: Sensirion `SHT4x`.
    Climate,
    /// Tipping bucket with a reed contact.
    Bucket,
    /// Capacitive soil probe with an NE555.
    Soil,
}

impl Sensor {
    /// All of them.
    pub const ALL: [Self; 5] =
        [Self::Ultrasonic, Self::Echo, Self::Climate, Self::Bucket, Self::Soil];

    /// Returns the name that is typed.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ultrasonic => "ultrasonic",
            Self::Echo => "echo",
            Self::Climate => "climate",
            Self::Bucket => "bucket",
            Self::Soil => "soil",
        }
    }

    /// Returns what it draws, mA, and for how long at each measurement, s.
    fn draws(self) -> (f64, f64) {
        match self {
            // HRXL-MaxSonar-WR data sheet: 3.1 mA on average; 160 ms to begin, 148 ms for each of seven.
            Self::Ultrasonic => (3.1, 0.16 + 7.0 * 0.148),
            // Makers' pages: 30 mA at 5 V, by a converter of 80 % from 3.7 V: 51 mA; 60 ms for each of seven.
            Self::Echo => (51.0, 0.2 + 7.0 * 0.06),
            // SHT4x data sheet: 0.32 mA for 8.3 ms; the bus is awake for a few ms more.
            Self::Climate => (0.32, 0.012),
            // Closed for 0.1 s at each tip, over 13 kΩ: 0.25 mA; it does not depend on measurements.
            Self::Bucket => (0.0, 0.0),
            // Makers' pages: 5 mA; 0.3 s until it is steady.
            Self::Soil => (5.0, 0.3),
        }
    }
}

/// A cell, or cells.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// The name that is typed.
    pub name: &'static str,
    /// What it is.
    pub about: &'static str,
    /// mAh at 25 °C, new, down to what the node needs.
    pub capacity_mah: f64,
    /// Lost of it in a year at 25 °C, %.
    pub self_discharge_percent: f64,
    /// The share of it that is there at a temperature, °C and %, rising.
    pub usable: [(f64, f64); 4],
    /// After so long it is replaced, years.
    pub shelf_years: f64,
}

/// Cells that the command knows. Capacities are common ones of the trade. Self-discharge: Garche (2013) for lithium-ion
/// (2 % a month, the lower end of what stands there), makers' data for the others. Shares by temperature are read off
/// makers' curves at small currents, rounded down.
pub const CELLS: [Cell; 6] = [
    Cell {
        name: "18650",
        about: "one lithium-ion cell, 3.7 V",
        capacity_mah: 3_000.0,
        self_discharge_percent: 24.0,
        usable: [(-20.0, 55.0), (-10.0, 70.0), (0.0, 80.0), (25.0, 95.0)],
        shelf_years: 5.0,
    },
    Cell {
        name: "2x18650",
        about: "two lithium-ion cells side by side, 3.7 V",
        capacity_mah: 6_000.0,
        self_discharge_percent: 24.0,
        usable: [(-20.0, 55.0), (-10.0, 70.0), (0.0, 80.0), (25.0, 95.0)],
        shelf_years: 5.0,
    },
    Cell {
        name: "lfp-32700",
        about: "one lithium iron phosphate cell, 3.2 V: bears heat and sun, below 3.3 V at the end",
        capacity_mah: 6_000.0,
        self_discharge_percent: 24.0,
        usable: [(-20.0, 45.0), (-10.0, 60.0), (0.0, 75.0), (25.0, 90.0)],
        shelf_years: 8.0,
    },
    Cell {
        name: "2xaa-lithium",
        about: "two lithium iron disulfide cells in a row, 3 V",
        capacity_mah: 3_300.0,
        self_discharge_percent: 1.0,
        usable: [(-20.0, 80.0), (-10.0, 85.0), (0.0, 90.0), (25.0, 100.0)],
        shelf_years: 10.0,
    },
    Cell {
        name: "3xaa-alkaline",
        about: "three alkaline cells in a row, 4.5 V",
        capacity_mah: 2_300.0,
        self_discharge_percent: 3.0,
        usable: [(-20.0, 20.0), (-10.0, 45.0), (0.0, 65.0), (25.0, 95.0)],
        shelf_years: 5.0,
    },
    Cell {
        name: "er34615",
        about: "one lithium thionyl chloride cell of size D, 3.6 V: with a capacitor for the pulses",
        capacity_mah: 17_000.0,
        self_discharge_percent: 1.0,
        usable: [(-20.0, 70.0), (-10.0, 80.0), (0.0, 85.0), (25.0, 95.0)],
        shelf_years: 10.0,
    },
];

impl Cell {
    /// Returns the cell of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        CELLS.into_iter().find(|cell| cell.name.eq_ignore_ascii_case(name))
    }

    /// Returns what it gives at a temperature, mAh: between the points of its curve along straight lines, beyond them as
    /// at the last.
    #[must_use]
    pub fn usable_mah(&self, celsius: f64) -> f64 {
        let mut share = self.usable[0].1;
        for pair in self.usable.windows(2) {
            if let [(from, at_from), (to, at_to)] = pair
                && celsius > *from
            {
                let along = ((celsius - from) / (to - from)).min(1.0);
                share = at_from + along * (at_to - at_from);
            }
        }
        self.capacity_mah * share / 100.0
    }

    /// Returns what it loses by itself, mA, at a temperature: twice as much for each 10 °C above 25 °C, which is the rule
    /// of thumb of Arrhenius for such reactions; not less below.
    #[must_use]
    pub fn self_discharge_ma(&self, celsius: f64) -> f64 {
        let faster = 2_f64.powf(((celsius - 25.0) / 10.0).clamp(0.0, 4.0));
        self.capacity_mah * self.self_discharge_percent / 100.0 / (YEAR_DAYS * 24.0) * faster
    }
}

/// What a node does.
#[derive(Clone, Debug, PartialEq)]
pub struct Load {
    /// Reports so often.
    pub interval: Duration,
    /// Measures so often.
    pub sample: Duration,
    /// How it sends.
    pub modulation: Modulation,
    /// With which power, dBm.
    pub power_dbm: i8,
    /// Payload of a report, bytes.
    pub payload_bytes: usize,
    /// What it measures with.
    pub sensors: Vec<Sensor>,
    /// Of a hundred frames or acknowledgements so many are lost; each report is then sent again.
    pub loss_percent: f64,
    /// Whether it listens all the time.
    pub listens_always: bool,
}

/// One part's share.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Part {
    /// What draws.
    pub name: &'static str,
    /// On average, mA.
    pub average_ma: f64,
}

/// What a node draws, and for how long its cell lasts.
#[derive(Clone, Debug, PartialEq)]
pub struct Budget {
    /// By part, in a fixed order.
    pub parts: Vec<Part>,
    /// What the parts draw together, mA.
    pub average_ma: f64,
    /// What the cell loses by itself, mA.
    pub self_discharge_ma: f64,
    /// What it gives at the temperature, mAh.
    pub usable_mah: f64,
    /// How long it lasts, days.
    pub days: f64,
    /// Whether it must be replaced by its age before it is empty.
    pub is_old_first: bool,
    /// Time on air of one report.
    pub time_on_air: Duration,
    /// Frames sent for one report, on average.
    pub frames_a_report: f64,
    /// Time on air, of a hundred.
    pub airtime_percent: f64,
}

/// Returns the current of the transmitter at a power, mA.
#[must_use]
pub fn transmit_ma(power_dbm: i8) -> f64 {
    let [.., (_, most)] = RADIO_SENDS_MA;
    let step = RADIO_SENDS_MA.iter().find(|(up_to, _)| power_dbm <= *up_to);
    step.map_or(most, |(_, current)| *current)
}

/// Returns what a node draws, and for how long a cell lasts at a temperature.
#[must_use]
pub fn budget(load: &Load, cell: &Cell, celsius: f64) -> Budget {
    let interval_s = load.interval.as_secs_f64().max(1.0);
    let sample_s = load.sample.as_secs_f64().clamp(1.0, interval_s);
    let air = |bytes| load.modulation.time_on_air(bytes, true);
    let time_on_air = air(FRAME_BYTES + load.payload_bytes);
    let air_s = time_on_air.as_secs_f64();
    let symbol_s = match load.modulation {
        Modulation::Lora { spreading_factor, bandwidth_hz } => {
            f64::from(1_u32 << spreading_factor.clamp(5, 12)) / f64::from(bandwidth_hz.max(1))
        }
        Modulation::Fsk { bit_rate } => 8.0 / f64::from(bit_rate.max(1)),
    };
    // A report counts as heard when it and its acknowledgement came through.
    let heard = (1.0 - load.loss_percent.clamp(0.0, 99.0) / 100.0).powi(2);
    let frames_a_report: f64 = (0..=RETRIES_MAX).map(|tried| (1.0 - heard).powi(tried)).sum();
    let frames_s = frames_a_report / interval_s;
    let window_s = WINDOW_SYMBOLS * symbol_s;
    let [first_s, second_s] = WINDOWS_S;
    let answered_s = air(ACK_BYTES).as_secs_f64();
    let listened_s = heard * answered_s + (1.0 - heard) * 2.0 * window_s;
    let waited_s = heard * first_s + (1.0 - heard) * (second_s - window_s).max(0.0);
    let listens_ma = if load.listens_always { RADIO_RECEIVES_MA } else { 0.0 };
    let draws = |sensor: &Sensor| sensor.draws();
    let longest_s = load.sensors.iter().map(|s| draws(s).1).fold(0.0, f64::max);
    let sensors_mas: f64 = load.sensors.iter().map(draws).map(|(ma, s)| ma * s).sum();
    let part = |name, average_ma| Part { name, average_ma };
    let parts = vec![
        part("asleep", CHIP_ASLEEP_MA + RADIO_ASLEEP_MA + BOARD_MA),
        part("sensors", sensors_mas / sample_s),
        part("chip, measuring", CHIP_WAITS_MA * longest_s / sample_s),
        part("chip, sealing", CHIP_WORKS_MA * FRAME_WORK_S * frames_s),
        part("radio, sending", transmit_ma(load.power_dbm) * air_s * frames_s),
        part(
            "radio, before sending",
            RADIO_RECEIVES_MA * BEFORE_SENDING_SYMBOLS * symbol_s * frames_s,
        ),
        part("radio, windows", RADIO_RECEIVES_MA * listened_s * frames_s),
        part("radio, waiting for them", RADIO_STANDBY_MA * waited_s * frames_s),
        part("radio, always listening", listens_ma),
    ];
    let average_ma: f64 = parts.iter().map(|part| part.average_ma).sum();
    let self_discharge_ma = cell.self_discharge_ma(celsius);
    let usable_mah = cell.usable_mah(celsius);
    let until_empty = usable_mah / (average_ma + self_discharge_ma) / 24.0;
    let shelf = cell.shelf_years * YEAR_DAYS;
    Budget {
        parts,
        average_ma,
        self_discharge_ma,
        usable_mah,
        days: until_empty.min(shelf),
        is_old_first: until_empty > shelf,
        time_on_air,
        frames_a_report,
        airtime_percent: air_s * frames_s * 100.0,
    }
}

impl Budget {
    /// Returns what a part takes in a day, mAh.
    #[must_use]
    pub fn mah_a_day(&self, part: &Part) -> f64 {
        part.average_ma * DAY_S / 3600.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load() -> Load {
        Load {
            interval: Duration::from_mins(10),
            sample: Duration::from_mins(2),
            modulation: Modulation::Lora { spreading_factor: 9, bandwidth_hz: 125_000 },
            power_dbm: 14,
            payload_bytes: 11,
            sensors: vec![Sensor::Ultrasonic, Sensor::Climate, Sensor::Bucket],
            loss_percent: 0.0,
            listens_always: false,
        }
    }

    fn part(budget: &Budget, name: &str) -> f64 {
        budget.parts.iter().find(|part| part.name == name).unwrap().average_ma
    }

    fn near(found: f64, expected: f64) -> bool {
        (found - expected).abs() < expected.abs() * 1e-9
    }

    /// Worked by hand: 23 bytes at SF9 are 205.824 ms (The Things Stack's `consumed_airtime`).
    #[test]
    fn each_part_is_its_current_times_its_share_of_time() {
        let cell = Cell::named("18650").unwrap();
        let budget = budget(&load(), &cell, 25.0);
        assert!(near(part(&budget, "radio, sending"), 45.0 * 0.205_824 / 600.0));
        assert!(near(part(&budget, "sensors"), (3.1 * 1.196 + 0.32 * 0.012) / 120.0));
        assert!(near(part(&budget, "chip, sealing"), 3.3 * 0.05 / 600.0));
        assert!(near(part(&budget, "asleep"), 0.011_76));
        let sum: f64 = budget.parts.iter().map(|part| part.average_ma).sum();
        assert!(near(budget.average_ma, sum));
        let loses = 3_000.0 * 0.24 / 8_766.0;
        assert!(near(budget.days, 2_850.0 / (sum + loses) / 24.0));
        assert!(!budget.is_old_first);
    }

    #[test]
    fn what_costs_more_lasts_shorter() {
        let cell = Cell::named("2xaa-lithium").unwrap();
        let days = |change: &dyn Fn(&mut Load), celsius| {
            let mut changed = load();
            change(&mut changed);
            budget(&changed, &cell, celsius).days
        };
        let base = days(&|_| {}, 25.0);
        let slower =
            |spreading_factor| Modulation::Lora { spreading_factor, bandwidth_hz: 125_000 };
        assert!(days(&|load| load.interval = Duration::from_mins(5), 25.0) < base);
        assert!(days(&|load| load.modulation = slower(12), 25.0) < base);
        assert!(days(&|load| load.power_dbm = 22, 25.0) < base);
        assert!(days(&|load| load.loss_percent = 30.0, 25.0) < base);
        assert!(days(&|load| load.sensors.push(Sensor::Echo), 25.0) < base);
        assert!(days(&|load| load.listens_always = true, 25.0) < 30.0);
        assert!(days(&|_| {}, -10.0) < base);
        assert!(days(&|_| {}, 45.0) < base);
    }

    #[test]
    fn lost_frames_are_sent_again_up_to_four_times_in_all() {
        let cell = Cell::named("18650").unwrap();
        let frames =
            |loss_percent| budget(&Load { loss_percent, ..load() }, &cell, 25.0).frames_a_report;
        assert!(near(frames(0.0), 1.0));
        // Half of both ways: a quarter is heard; 1 + 3/4 + 9/16 + 27/64.
        assert!(near(frames(50.0), 2.734_375));
        assert!(frames(100.0) <= 4.0);
    }

    #[test]
    fn a_cell_gives_what_its_curve_says() {
        let cell = Cell::named("18650").unwrap();
        for (celsius, mah) in
            [(-40.0, 1_650.0), (-20.0, 1_650.0), (-5.0, 2_250.0), (0.0, 2_400.0), (40.0, 2_850.0)]
        {
            assert!(near(cell.usable_mah(celsius), mah), "{celsius}: {}", cell.usable_mah(celsius));
        }
        assert!(near(cell.self_discharge_ma(45.0), 4.0 * cell.self_discharge_ma(25.0)));
        assert!(near(cell.self_discharge_ma(-20.0), cell.self_discharge_ma(25.0)));
    }

    #[test]
    fn the_transmitter_draws_by_the_next_step_of_its_table() {
        for (power_dbm, milliamperes) in
            [(-9, 45.0), (14, 45.0), (15, 58.0), (20, 84.0), (22, 118.0), (30, 118.0)]
        {
            assert!(near(transmit_ma(power_dbm), milliamperes), "{power_dbm} dBm");
        }
    }
}
