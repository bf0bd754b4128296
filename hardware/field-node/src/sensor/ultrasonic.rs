//! Ultrasonic distance to water: serial sensors, and those of trigger and echo.

use crate::filter::Raw;

/// Reads the serial output of a `MaxBotix` HRXL-MaxSonar: `R`, four digits (mm) or five, carriage return; 9600 8N1.
///
/// Source: HRXL-MaxSonar-WR data sheet, "Pin 5: Serial Output". `R0300` is what it says for all that is nearer than its
/// blind zone, and `R5000` or `R9999`, by model, when nothing answers: neither is a measurement.
#[derive(Clone, Debug)]
pub struct SerialRanger {
    nothing_mm: u32,
    digits: u8,
    value: u32,
    inside: bool,
}

/// Nearer than that a HRXL-MaxSonar-WR does not measure, mm.
pub const BLIND_MM: u32 = 300;

impl SerialRanger {
    /// Returns a reader of a sensor that says `nothing_mm` when nothing answers: 5000 or 9999 by model.
    #[must_use]
    pub const fn new(nothing_mm: u32) -> Self {
        Self { nothing_mm, digits: 0, value: 0, inside: false }
    }

    /// Takes a byte; returns a measurement at the end of each, in mm, which are thousandths of a metre.
    pub fn byte(&mut self, byte: u8) -> Option<Raw> {
        match byte {
            b'R' => (self.inside, self.digits, self.value) = (true, 0, 0),
            b'0'..=b'9' if self.inside && self.digits < 5 => {
                self.value = self.value * 10 + u32::from(byte - b'0');
                self.digits += 1;
            }
            b'\r' if self.inside => {
                let is_whole = self.digits >= 4;
                (self.inside, self.digits) = (false, 0);
                return is_whole.then(|| self.judge());
            }
            // A letter in the middle: it is no measurement.
            _ => self.inside = false,
        }
        None
    }

    fn judge(&self) -> Raw {
        if self.value <= BLIND_MM || self.value >= self.nothing_mm {
            return Raw::Silent;
        }
        i32::try_from(self.value).map_or(Raw::Silent, Raw::Milli)
    }
}

/// Longest echo of a JSN-SR04T, µs: 6 m and back, at 0 °C, with a tenth to spare.
pub const ECHO_US_MAX: u32 = 40_000;
/// Shortest: its blind zone of 20 cm.
pub const ECHO_US_MIN: u32 = 1_100;

/// Returns the distance that an echo pulse of a JSN-SR04T or HC-SR04 means, in mm, with the air's temperature.
///
/// Speed of sound in dry air: 331.3 m/s + 0.606 m/s for each °C (linear form, within 0.2 % from -20 °C to 40 °C).
#[must_use]
pub fn echo(pulse_us: u32, air_milli_celsius: i32) -> Raw {
    if !(ECHO_US_MIN..=ECHO_US_MAX).contains(&pulse_us) {
        return Raw::Silent;
    }
    // mm/s: 606 mm/s a °C.
    let speed = 331_300 + i64::from(air_milli_celsius.clamp(-60_000, 60_000)) * 606 / 1000;
    let millimetres = i64::from(pulse_us) * speed / 2_000_000;
    i32::try_from(millimetres).map_or(Raw::Silent, Raw::Milli)
}

/// Returns the water level over the gauge's zero, when the sensor hangs so high over it; both in mm.
#[must_use]
pub fn level(height_mm: i32, distance: Raw) -> Raw {
    match distance {
        Raw::Milli(distance_mm) => Raw::Milli(height_mm.saturating_sub(distance_mm)),
        Raw::Silent => Raw::Silent,
    }
}
