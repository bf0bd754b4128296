//! What one frame looks like on the air: how it is tuned, how long its parts last, how far its power carries.

use std::time::Duration;

/// Thermal noise, dBm in one hertz at 290 K, with a receiver's noise figure of 6 dB (SX1261/2 data sheet, table 3-8).
const NOISE_DBM_HZ: f64 = -174.0 + 6.0;

/// A place on the flat ground of the simulation, m.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Position {
    /// To the east.
    pub east_m: f64,
    /// To the north.
    pub north_m: f64,
}

impl Position {
    /// Returns the place so far east and north of the origin, m.
    #[must_use]
    pub const fn new(east_m: f64, north_m: f64) -> Self {
        Self { east_m, north_m }
    }

    /// Returns how far away another place is, m.
    #[must_use]
    pub fn distance_m(self, other: Self) -> f64 {
        (self.east_m - other.east_m).hypot(self.north_m - other.north_m)
    }
}

/// How power falls with distance: `at_1_km_db + 10 exponent log10(d / 1 km)`, with a fixed draw a link on top.
///
/// The default is what Petäjäjärvi et al. (ITST 2015) measured by car in Oulu at 868 MHz, without its shadowing of 7.8
/// dB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PathLoss {
    /// At one kilometre, dB.
    pub at_1_km_db: f64,
    /// How steeply it grows.
    pub exponent: f64,
    /// Standard deviation of what hills and walls do to a link for good, dB; drawn once a pair of places' owners.
    pub shadowing_db: f64,
    /// Standard deviation of what changes from frame to frame, dB.
    pub fading_db: f64,
}

impl Default for PathLoss {
    fn default() -> Self {
        Self { at_1_km_db: 128.95, exponent: 2.32, shadowing_db: 0.0, fading_db: 0.0 }
    }
}

impl PathLoss {
    /// Returns the loss over a distance, dB, without what is drawn; places nearer than 1 m count as 1 m apart.
    #[must_use]
    pub fn over_db(&self, distance_m: f64) -> f64 {
        self.at_1_km_db + 10.0 * self.exponent * (distance_m.max(1.0) / 1000.0).log10()
    }
}

/// Which family of chips; at spreading factors below 7 they do not understand each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// SX1261, SX1262.
    Sx126x,
    /// SX1276 to SX1279.
    Sx127x,
}

/// What sender and receiver must agree on before a preamble is heard.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// Whose waveform it is.
    pub family: Family,
    /// In Hz.
    pub frequency_hz: f64,
    /// In Hz.
    pub bandwidth_hz: f64,
    /// 5 to 12.
    pub spreading_factor: u8,
    /// Chirps run the other way: LoRaWAN's downlinks.
    pub inverted: bool,
}

/// How the parts behind a preamble are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// LoRa's sync word in its short spelling: `0x34` public, `0x12` private.
    pub sync_word: u8,
    /// Symbols, without the 4.25 or 6.25 of the sync word.
    pub preamble_symbols: u16,
    /// 1 to 4, for 4/5 to 4/8.
    pub coding_rate: u8,
    /// Fewer bits a symbol, for symbols of 16 ms and more.
    pub low_data_rate: bool,
    /// There is no header: length, coding rate and checksum are agreed beforehand.
    pub implicit: bool,
    /// A checksum follows the payload.
    pub crc: bool,
}

/// When the parts of a frame end, from its beginning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    /// The preamble without its sync word: where a receiver can still fall in.
    pub preamble: Duration,
    /// The preamble with its sync word.
    pub sync: Duration,
    /// The first eight symbols behind it, which hold the header.
    pub header: Duration,
    /// All of it.
    pub whole: Duration,
}

impl Tuning {
    /// Returns how long a symbol lasts, s.
    #[must_use]
    pub fn symbol_secs(&self) -> f64 {
        f64::from(1_u32 << self.spreading_factor.clamp(5, 12)) / self.bandwidth_hz.max(1.0)
    }

    /// Returns how long so many symbols last.
    #[must_use]
    pub fn symbols(&self, count: f64) -> Duration {
        Duration::from_secs_f64(count * self.symbol_secs())
    }

    /// Returns whether both are on one channel: their centres no further apart than a quarter of the bandwidth, which
    /// is what a receiver makes up for (SX1276 data sheet §4.1.5), and of one bandwidth.
    #[must_use]
    pub fn shares_channel(&self, other: &Self) -> bool {
        (self.bandwidth_hz - other.bandwidth_hz).abs() < 1.0
            && (self.frequency_hz - other.frequency_hz).abs() <= self.bandwidth_hz / 4.0
    }

    /// Returns whether any part of the one's band lies in the other's.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        (self.frequency_hz - other.frequency_hz).abs()
            < f64::midpoint(self.bandwidth_hz, other.bandwidth_hz)
    }

    /// Returns whether a receiver that is tuned so notices the other's chirps.
    #[must_use]
    pub fn hears(&self, other: &Self) -> bool {
        self.shares_channel(other)
            && self.spreading_factor == other.spreading_factor
            && self.inverted == other.inverted
            && (self.spreading_factor >= 7 || self.family == other.family)
    }

    /// Returns the power of the noise in its band, dBm.
    #[must_use]
    pub fn noise_dbm(&self) -> f64 {
        NOISE_DBM_HZ + 10.0 * self.bandwidth_hz.max(1.0).log10()
    }

    /// Returns the least signal to noise that can be demodulated, dB: SX1276 data sheet table 13, SX1261/2 data sheet
    /// §6.1.1.1.
    #[must_use]
    pub fn floor_db(&self) -> f64 {
        -2.5 * (f64::from(self.spreading_factor.clamp(5, 12)) - 4.0)
    }
}

impl Shape {
    /// Returns when the parts of a frame of so many bytes end: SX1276 data sheet §4.1.1.7, and for spreading factors 5
    /// and 6 of the newer family SX1261/2 data sheet §6.1.4.
    #[must_use]
    pub fn parts(&self, tuning: &Tuning, bytes: usize) -> Parts {
        let factor = i64::from(tuning.spreading_factor.clamp(5, 12));
        let short = factor < 7 && tuning.family == Family::Sx126x;
        let sync_symbols = if short { 6.25 } else { 4.25 };
        let optimised = if self.low_data_rate && !short { 2 } else { 0 };
        let bits = 8 * i64::try_from(bytes).unwrap_or(i64::MAX / 16) - 4 * factor
            + if short { 0 } else { 8 }
            + if self.crc { 16 } else { 0 }
            + if self.implicit { 0 } else { 20 };
        let in_a_block = 4 * (factor - optimised);
        let blocks = (bits.max(0) + in_a_block - 1) / in_a_block;
        let preamble = f64::from(self.preamble_symbols);
        let sync = preamble + sync_symbols;
        let body = 8.0 + blocks as f64 * (f64::from(self.coding_rate.clamp(1, 4)) + 4.0);
        Parts {
            preamble: tuning.symbols(preamble),
            sync: tuning.symbols(sync),
            header: tuning.symbols(sync + 8.0),
            whole: tuning.symbols(sync + body),
        }
    }
}

/// Returns a power in mW.
#[must_use]
pub(super) fn milliwatts(dbm: f64) -> f64 {
    10_f64.powf(dbm / 10.0)
}

/// Returns a power in dBm.
#[must_use]
pub(super) fn decibels(milliwatts: f64) -> f64 {
    10.0 * milliwatts.max(1e-30).log10()
}

/// Draws that depend on a seed and on what they are for, never on how many were drawn before: two runs that differ in
/// one thing differ in that thing only.
#[derive(Clone, Copy, Debug)]
pub(super) struct Draws {
    seed: u64,
}

impl Draws {
    /// Returns the draws of a seed.
    #[must_use]
    pub(super) const fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Returns 64 bits for a purpose: `splitmix64` (Steele, Lea, Flood 2014) over the words.
    #[must_use]
    pub(super) fn bits(self, words: &[u64]) -> u64 {
        let mut state = self.seed;
        let mut mixed = mix(state);
        for word in words {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15).rotate_left(7) ^ word ^ mixed;
            mixed = mix(state);
        }
        mixed
    }

    /// Returns a number from 0 up to, but not, 1.
    #[must_use]
    pub(super) fn unit(self, words: &[u64]) -> f64 {
        (self.bits(words) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Returns a normal draw of mean 0 and standard deviation 1 (Box and Muller).
    #[must_use]
    pub(super) fn normal(self, words: &[u64]) -> f64 {
        let bits = self.bits(words);
        let radius = ((f64::from((bits >> 32) as u32) + 1.0) / 4_294_967_296.0).ln() * -2.0;
        let angle = f64::from((bits & 0xffff_ffff) as u32) / 4_294_967_296.0;
        radius.sqrt() * (angle * std::f64::consts::TAU).cos()
    }
}

fn mix(mut word: u64) -> u64 {
    word = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    word ^ (word >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::radio::Modulation;

    const SHAPE: Shape = Shape {
        sync_word: 0x12,
        preamble_symbols: 8,
        coding_rate: 1,
        low_data_rate: false,
        implicit: false,
        crc: true,
    };

    fn tuning(family: Family, spreading_factor: u8, bandwidth_hz: u32) -> Tuning {
        let bandwidth_hz = f64::from(bandwidth_hz);
        Tuning { family, frequency_hz: 868.1e6, bandwidth_hz, spreading_factor, inverted: false }
    }

    /// Every row of Semtech AN1200.13's formula as tabulated in `lora_time_on_air.csv`, and the same as the domain's.
    #[test]
    fn a_frame_lasts_as_long_as_published() {
        let rows = include_str!("../../../tests/vectors/lora_time_on_air.csv");
        let mut seen = 0;
        for row in rows.lines().filter(|row| row.starts_with(|c: char| c.is_ascii_digit())) {
            let fields: Vec<&str> = row.split(',').collect();
            let (factor, bandwidth) = (fields[0].parse().unwrap(), fields[1].parse().unwrap());
            let bytes: usize = fields[2].parse().unwrap();
            let published: f64 = fields[3].parse().unwrap();
            for family in [Family::Sx126x, Family::Sx127x] {
                let tuning = tuning(family, factor, bandwidth);
                let shape = Shape { low_data_rate: tuning.symbol_secs() >= 0.016, ..SHAPE };
                let whole = shape.parts(&tuning, bytes).whole.as_secs_f64() * 1000.0;
                assert!((whole - published).abs() < 1e-3, "{row}: {whole}");
                let domain = Modulation::Lora { spreading_factor: factor, bandwidth_hz: bandwidth };
                let told = domain.time_on_air(bytes, true).as_secs_f64() * 1000.0;
                assert!((whole - told).abs() < 1e-6, "{row}: {whole} {told}");
            }
            seen += 1;
        }
        assert_eq!(seen, 234);
    }

    /// SX1261/2 data sheet §6.1.4: 12 symbols of preamble, 6.25 of sync word, 8, and ceil((8·10 + 16 − 4·5 + 20)/20) ·
    /// 5 = 25.
    #[test]
    fn the_new_family_has_a_formula_of_its_own_below_7() {
        let shape = Shape { preamble_symbols: 12, ..SHAPE };
        let parts = shape.parts(&tuning(Family::Sx126x, 5, 125_000), 10);
        let symbols = parts.whole.as_secs_f64() / (32.0 / 125_000.0);
        assert!((symbols - (12.0 + 6.25 + 8.0 + 25.0)).abs() < 1e-6, "{symbols}");
    }

    #[test]
    fn sensitivity_is_the_data_sheets_within_two_decibels() {
        // SX1261/2 data sheet table 3-9, 125 kHz, boosted gain.
        for (factor, published) in [(7, -124.0), (9, -129.0), (10, -132.0), (12, -137.0)] {
            let tuning = tuning(Family::Sx126x, factor, 125_000);
            let found = tuning.noise_dbm() + tuning.floor_db();
            assert!((found - published).abs() <= 2.0, "SF{factor}: {found}");
        }
    }

    #[test]
    fn draws_are_even_and_repeat() {
        let draws = Draws::new(1);
        let mean = (0..10_000).map(|n| draws.unit(&[n])).sum::<f64>() / 10_000.0;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
        let normals: Vec<f64> = (0..10_000).map(|n| draws.normal(&[9, n])).collect();
        let square = normals.iter().map(|x| x * x).sum::<f64>() / 10_000.0;
        assert!((square - 1.0).abs() < 0.06, "{square}");
        assert_eq!(draws.bits(&[1, 2]), Draws::new(1).bits(&[1, 2]));
        assert_ne!(draws.bits(&[1, 2]), draws.bits(&[2, 1]));
        assert_ne!(draws.bits(&[1, 2]), Draws::new(2).bits(&[1, 2]));
    }
}
