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
    pub fn new(_unix_seconds: i64, _zone_quarters: i8) -> Option<Self> {
        todo!()
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
    pub fn lasting(_left: Duration) -> Self {
        todo!()
    }

    /// Returns how long a relative validity lasts.
    #[must_use]
    pub fn duration(self) -> Option<Duration> {
        todo!()
    }
}
