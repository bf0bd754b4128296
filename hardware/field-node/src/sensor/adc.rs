//! Volts to values: capacitive soil moisture, battery.

use crate::filter::Raw;

/// A line through two points, found by measuring: a capacitive probe in dry and in wet soil of the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// mV at the first point, and the value there, thousandths.
    pub from: (i32, i32),
    /// mV at the second point, and the value there, thousandths.
    pub to: (i32, i32),
}

impl Line {
    /// Returns the value at so many mV, beyond both points too: what is impossible the filter refuses.
    #[must_use]
    pub fn at(&self, millivolts: i32) -> Raw {
        let ((x0, y0), (x1, y1)) = (self.from, self.to);
        let (run, rise) = (i64::from(x1) - i64::from(x0), i64::from(y1) - i64::from(y0));
        if run == 0 {
            return Raw::Silent;
        }
        let value = i64::from(y0) + (i64::from(millivolts) - i64::from(x0)) * rise / run;
        i32::try_from(value).map_or(Raw::Silent, Raw::Milli)
    }
}

/// Returns the mV at a pin, from an ADC's number, its full scale, and the divider before the pin (1:1 is `[1, 1]`).
#[must_use]
pub fn millivolts(sample: u32, sample_max: u32, reference_mv: u32, divider: [u32; 2]) -> i32 {
    let [over, under] = divider;
    let scaled = u64::from(sample) * u64::from(reference_mv) * u64::from(over);
    let whole = u64::from(sample_max.max(1)) * u64::from(under.max(1));
    i32::try_from(scaled / whole).unwrap_or(i32::MAX)
}
