//! Moments of service centres (TP-SCTS, TP-DT) and validity periods (TP-VP): 3GPP TS 23.040 §9.2.3.11, §9.2.3.12.

use std::time::Duration;

/// A civil moment with its zone, as service centres write it; years 2000 to 2099.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ServiceTime {
    unix_seconds: i64,
    zone_quarters: i8,
}

impl ServiceTime {
    /// Returns the moment `unix_seconds` in a zone that many quarter hours east of UTC (-79 to 79).
    ///
    /// `None` when the local year is outside 2000 to 2099 or the zone outside its range.
    #[must_use]
    pub fn new(unix_seconds: i64, zone_quarters: i8) -> Option<Self> {
        let local = unix_seconds.checked_add(i64::from(zone_quarters) * QUARTER_SECONDS)?;
        let fits = (CENTURY_START..CENTURY_END).contains(&local)
            && zone_quarters.unsigned_abs() <= ZONE_QUARTERS_MAX;
        fits.then_some(Self { unix_seconds, zone_quarters })
    }

    /// Returns the seconds since 1970 (UTC).
    #[must_use]
    pub const fn unix_seconds(self) -> i64 {
        self.unix_seconds
    }

    /// Returns the zone in quarter hours east of UTC.
    #[must_use]
    pub const fn zone_quarters(self) -> i8 {
        self.zone_quarters
    }

    pub(super) fn encode(self) -> [u8; 7] {
        let local = self.unix_seconds + i64::from(self.zone_quarters) * QUARTER_SECONDS;
        let since_2000 = local - CENTURY_START;
        let (days, seconds) = (since_2000 / DAY_SECONDS, since_2000 % DAY_SECONDS);
        // Leap years of this century are those that 4 divides, the first one included.
        let year = days * 4 / 1461;
        let day_of_year = days - days_before_year(year);
        let month = (1..=12)
            .rev()
            .find(|month| days_before_month(year, *month) <= day_of_year)
            .unwrap_or(1);
        let day = day_of_year - days_before_month(year, month) + 1;
        let sign = if self.zone_quarters < 0 { ZONE_SIGN } else { 0 };
        [
            swapped(year),
            swapped(month),
            swapped(day),
            swapped(seconds / 3600),
            swapped(seconds / 60 % 60),
            swapped(seconds % 60),
            swapped(i64::from(self.zone_quarters.unsigned_abs())) | sign,
        ]
    }

    /// Returns the moment, or `None` where the digits name none: some networks send zeros.
    pub(super) fn decode(octets: [u8; 7]) -> Option<Self> {
        let [year, month, day, hour, minute, second, zone] = octets;
        let year = number(year, 99)?;
        let month = number(month, 12).filter(|month| *month >= 1)?;
        let month_end = days_before_month(year, month + 1);
        let day_of_year = days_before_month(year, month) + number(day, 31)? - 1;
        if !(days_before_month(year, month)..month_end).contains(&day_of_year) {
            return None;
        }
        let days = days_before_year(year) + day_of_year;
        let seconds = number(hour, 23)? * 3600 + number(minute, 59)? * 60 + number(second, 59)?;
        let quarters = number(zone & !ZONE_SIGN, i64::from(ZONE_QUARTERS_MAX))?;
        let quarters = if zone & ZONE_SIGN == 0 { quarters } else { -quarters };
        let unix_seconds =
            CENTURY_START + days * DAY_SECONDS + seconds - quarters * QUARTER_SECONDS;
        Self::new(unix_seconds, i8::try_from(quarters).ok()?)
    }
}

/// 2000-01-01 in Unix seconds.
const CENTURY_START: i64 = 946_684_800;
/// 2100-01-01 in Unix seconds.
const CENTURY_END: i64 = 4_102_444_800;
const DAY_SECONDS: i64 = 86_400;
const QUARTER_SECONDS: i64 = 900;
/// What three bits of tens and a digit can say.
const ZONE_QUARTERS_MAX: u8 = 79;
/// Bit 3 of the zone's first semi-octet: west of UTC.
const ZONE_SIGN: u8 = 0b1000;

const fn days_before_year(year: i64) -> i64 {
    year * 365 + (year + 3) / 4
}

/// Days of the year before its month 1 to 12; 13 is the year's end.
const fn days_before_month(year: i64, month: i64) -> i64 {
    let leap_day = if year % 4 == 0 && month > 2 { 1 } else { 0 };
    leap_day
        + match month {
            ..=1 => 0,
            2 => 31,
            3 => 59,
            4 => 90,
            5 => 120,
            6 => 151,
            7 => 181,
            8 => 212,
            9 => 243,
            10 => 273,
            11 => 304,
            12 => 334,
            13.. => 365,
        }
}

/// Returns a number below 100 as semi-octets, tens in the low half.
fn swapped(number: i64) -> u8 {
    u8::try_from(number % 10 * 16 + number / 10).unwrap_or(0)
}

/// Reads what [`swapped`] writes, at most `max`.
fn number(octet: u8, max: i64) -> Option<i64> {
    let (tens, ones) = (octet & 0xF, octet >> 4);
    let number = i64::from(tens) * 10 + i64::from(ones);
    (tens < 10 && ones < 10 && number <= max).then_some(number)
}

/// TP-VP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Validity {
    /// The relative format's own octet; [`Validity::lasting`] makes it from a duration.
    Relative(u8),
    /// Until a moment.
    Absolute(ServiceTime),
    /// The enhanced format, kept as it is.
    Enhanced([u8; 7]),
}

impl Validity {
    /// Returns the longest relative validity that does not outlive `left`; at least the 5 minutes that networks can do.
    #[must_use]
    pub fn lasting(left: Duration) -> Self {
        (0..=u8::MAX)
            .rev()
            .find(|code| relative(*code) <= left)
            .map_or(Self::Relative(0), Self::Relative)
    }

    /// Returns how long a relative validity lasts; `None` for the other formats.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        match self {
            Self::Relative(code) => Some(relative(code)),
            Self::Absolute(_) | Self::Enhanced(_) => None,
        }
    }
}

/// §9.2.3.12.1.
const fn relative(code: u8) -> Duration {
    let n = code as u64;
    let minutes = match code {
        0..=143 => (n + 1) * 5,
        144..=167 => 12 * 60 + (n - 143) * 30,
        168..=196 => (n - 166) * 24 * 60,
        197..=255 => (n - 192) * 7 * 24 * 60,
    };
    Duration::from_secs(minutes * 60)
}
