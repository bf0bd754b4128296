//! Temperature and humidity by Sensirion's `SHT3x` and `SHT4x`.

use crate::crc::crc8_sensirion;
use crate::filter::Raw;
use embedded_hal_async::delay::DelayNs;
use embedded_hal_async::i2c::I2c;

/// Which sensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Model {
    /// `SHT30`, `SHT31`, `SHT35`.
    Sht3x,
    /// `SHT40`, `SHT41`, `SHT45`.
    Sht4x,
}

/// Their address, unless the address pin or the order number says otherwise.
pub const ADDRESS: u8 = 0x44;

impl Model {
    /// One measurement of high repeatability, without clock stretching: `SHT3x-DIS` data sheet, table 9; `SHT4x`, table 7.
    const fn command(self) -> &'static [u8] {
        match self {
            Self::Sht3x => &[0x24, 0x00],
            Self::Sht4x => &[0xFD],
        }
    }

    /// Longest measurement, ms, rounded up: 15.5 (`SHT3x-DIS`, table 4), 8.3 (`SHT4x`, table 4).
    const fn wait_ms(self) -> u32 {
        match self {
            Self::Sht3x => 16,
            Self::Sht4x => 9,
        }
    }
}

/// Temperature in thousandths of a °C, relative humidity in thousandths of a %.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Climate {
    /// Of the air.
    pub temperature: Raw,
    /// Relative.
    pub humidity: Raw,
}

/// Measures once.
pub async fn measure(
    model: Model,
    bus: &mut impl I2c,
    address: u8,
    delay: &mut impl DelayNs,
) -> Climate {
    let mut answer = [0; 6];
    if bus.write(address, model.command()).await.is_err() {
        return Climate { temperature: Raw::Silent, humidity: Raw::Silent };
    }
    delay.delay_ms(model.wait_ms()).await;
    match bus.read(address, &mut answer).await {
        Ok(()) => read(model, answer),
        Err(_) => Climate { temperature: Raw::Silent, humidity: Raw::Silent },
    }
}

/// Reads an answer: two words, each with its checksum. A word whose checksum is wrong is no measurement.
///
/// `T = -45 + 175 · S / 65,535` °C for both; `RH = 100 · S / 65,535` % (`SHT3x-DIS` §4.13), `-6 + 125 · S / 65,535` %
/// (`SHT4x` §4.6).
#[must_use]
pub fn read(model: Model, answer: [u8; 6]) -> Climate {
    let [t_high, t_low, t_crc, h_high, h_low, h_crc] = answer;
    let word = |bytes: [u8; 2], crc| {
        (crc8_sensirion(&bytes) == crc).then(|| i64::from(u16::from_be_bytes(bytes)))
    };
    let scaled = |word: Option<i64>, offset: i64, span: i64, limits: [i64; 2]| {
        let Some(word) = word else { return Raw::Silent };
        let [low, high] = limits;
        let milli = (offset + (span * word + 32_767) / 65_535).clamp(low, high);
        i32::try_from(milli).map_or(Raw::Silent, Raw::Milli)
    };
    let temperature = scaled(word([t_high, t_low], t_crc), -45_000, 175_000, [-45_000, 130_000]);
    let [offset, span] = match model {
        Model::Sht3x => [0, 100_000],
        Model::Sht4x => [-6_000, 125_000],
    };
    // What lies a little outside of 0 to 100 % is noise: SHT4x §4.6.
    let humidity = scaled(word([h_high, h_low], h_crc), offset, span, [0, 100_000]);
    Climate { temperature, humidity }
}
