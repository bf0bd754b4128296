//! Regions: channels, data rates and receive windows (RP002-1.0.4, chapter 2).
//!
//! What a region permits to be sent (duty cycle, dwell time, power) is not here: that is the airtime accountant's.

use crate::domain::radio::Modulation;

const fn lora(spreading_factor: u8, bandwidth_khz: u32) -> Modulation {
    Modulation::Lora { spreading_factor, bandwidth_hz: bandwidth_khz * 1000 }
}

/// Returns the lowest SNR that can be demodulated, in dB: SX1276 data sheet, table 13. FSK has none.
pub(super) fn snr_floor_db(modulation: Modulation) -> Option<f32> {
    match modulation {
        Modulation::Lora { spreading_factor, .. } => {
            Some(-2.5 * (f32::from(spreading_factor) - 4.0))
        }
        Modulation::Fsk { .. } => None,
    }
}

/// A channel plan of RP002.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the names are those of RP002")]
pub enum Region {
    Eu868,
    Eu433,
    In865,
    As923_1,
    As923_2,
    As923_3,
    As923_4,
    Au915,
    Us915,
    Kr920,
}

/// The shapes that the regions share.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    /// Downlinks go out where the uplink came in; further channels are told at the join.
    Dynamic,
    /// 72 uplink channels and 8 downlink channels.
    Fixed,
}

impl Region {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Eu868,
        Self::Eu433,
        Self::In865,
        Self::As923_1,
        Self::As923_2,
        Self::As923_3,
        Self::As923_4,
        Self::Au915,
        Self::Us915,
        Self::Kr920,
    ];

    /// Returns the name used in the configuration.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Eu868 => "EU868",
            Self::Eu433 => "EU433",
            Self::In865 => "IN865",
            Self::As923_1 => "AS923-1",
            Self::As923_2 => "AS923-2",
            Self::As923_3 => "AS923-3",
            Self::As923_4 => "AS923-4",
            Self::Au915 => "AU915",
            Self::Us915 => "US915",
            Self::Kr920 => "KR920",
        }
    }

    /// Returns the region that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|region| region.as_str() == word)
    }

    const fn shape(self) -> Shape {
        match self {
            Self::Au915 | Self::Us915 => Shape::Fixed,
            Self::Eu868
            | Self::Eu433
            | Self::In865
            | Self::As923_1
            | Self::As923_2
            | Self::As923_3
            | Self::As923_4
            | Self::Kr920 => Shape::Dynamic,
        }
    }

    /// Returns whether further channels can be told at the join (`CFList` type 0).
    #[must_use]
    pub fn takes_channels(self) -> bool {
        self.shape() == Shape::Dynamic
    }

    /// Returns the channels that every device knows, in Hz; of AU915 and US915 see [`Plan::rx1_frequency_hz`].
    #[must_use]
    pub const fn join_channels_hz(self) -> &'static [u32] {
        match self {
            Self::Eu868 => &[868_100_000, 868_300_000, 868_500_000],
            Self::Eu433 => &[433_175_000, 433_375_000, 433_575_000],
            Self::In865 => &[865_062_500, 865_402_500, 865_985_000],
            Self::As923_1 => &[923_200_000, 923_400_000],
            Self::As923_2 => &[921_400_000, 921_600_000],
            Self::As923_3 => &[916_600_000, 916_800_000],
            Self::As923_4 => &[917_300_000, 917_500_000],
            Self::Kr920 => &[922_100_000, 922_300_000, 922_500_000],
            Self::Au915 | Self::Us915 => &[],
        }
    }

    /// Returns what a data rate is in this region.
    #[must_use]
    pub const fn modulation(self, data_rate: u8) -> Option<Modulation> {
        match (self, data_rate) {
            (Self::Us915, 0..=3) => Some(lora(10 - data_rate, 125)),
            (Self::Us915, 4) | (Self::Au915, 6) => Some(lora(8, 500)),
            (Self::Us915 | Self::Au915, 8..=13) => Some(lora(20 - data_rate, 500)),
            (Self::Us915, _) | (Self::Au915 | Self::Kr920, 6..) | (Self::In865, 6) | (_, 8..) => {
                None
            }
            (_, 0..=5) => Some(lora(12 - data_rate, 125)),
            (_, 6) => Some(lora(7, 250)),
            (_, 7) => Some(Modulation::Fsk { bit_rate: 50_000 }),
        }
    }

    /// Returns the number of the data rate that a device sends with.
    #[must_use]
    pub fn uplink_data_rate(self, modulation: Modulation) -> Option<u8> {
        (0..=7).find(|data_rate| self.modulation(*data_rate) == Some(modulation))
    }

    /// Returns the default data rate of the second window.
    #[must_use]
    pub const fn rx2_data_rate(self) -> u8 {
        match self {
            Self::Eu868 | Self::Eu433 | Self::Kr920 => 0,
            Self::In865 | Self::As923_1 | Self::As923_2 | Self::As923_3 | Self::As923_4 => 2,
            Self::Au915 | Self::Us915 => 8,
        }
    }

    /// Returns the frequency of the second window, in Hz.
    #[must_use]
    pub const fn rx2_frequency_hz(self) -> u32 {
        match self {
            Self::Eu868 => 869_525_000,
            Self::Eu433 => 434_665_000,
            Self::In865 => 866_550_000,
            Self::As923_1 => 923_200_000,
            Self::As923_2 => 921_400_000,
            Self::As923_3 => 916_600_000,
            Self::As923_4 => 917_300_000,
            Self::Au915 | Self::Us915 => 923_300_000,
            Self::Kr920 => 921_900_000,
        }
    }

    /// Returns the largest offset between an uplink's data rate and its first window's. (AS923 and IN865 also have
    /// two that make the window faster; they are not offered.)
    #[must_use]
    pub const fn rx1_offset_max(self) -> u8 {
        match self {
            Self::Us915 => 3,
            Self::Eu868
            | Self::Eu433
            | Self::In865
            | Self::As923_1
            | Self::As923_2
            | Self::As923_3
            | Self::As923_4
            | Self::Au915
            | Self::Kr920 => 5,
        }
    }
}

/// A region, and what its rules leave open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The region.
    pub region: Region,
    /// Whether downlinks last at most 400 ms, as AS923 has it unless the country does without.
    pub dwell_limited: bool,
}

impl Plan {
    /// Returns the plan of a region as devices have it before a network tells them otherwise.
    #[must_use]
    pub const fn new(region: Region) -> Self {
        let dwell_limited =
            matches!(region, Region::As923_1 | Region::As923_2 | Region::As923_3 | Region::As923_4);
        Self { region, dwell_limited }
    }

    /// Returns the data rate of the first window after an uplink.
    #[must_use]
    pub fn rx1_data_rate(&self, uplink: u8, offset: u8) -> Option<u8> {
        if offset > self.region.rx1_offset_max() {
            return None;
        }
        let (low, high, base) = match self.region {
            Region::Us915 => (8, 13, uplink.saturating_add(10)),
            Region::Au915 => (8, 13, uplink.saturating_add(8)),
            Region::As923_1 | Region::As923_2 | Region::As923_3 | Region::As923_4 => {
                (if self.dwell_limited { 2 } else { 0 }, 5, uplink)
            }
            Region::In865 | Region::Eu868 | Region::Eu433 | Region::Kr920 => (0, 7, uplink),
        };
        let found = base.saturating_sub(offset).clamp(low, high);
        self.region.modulation(found).map(|_| found)
    }

    /// Returns the frequency of the first window after an uplink, in Hz.
    #[must_use]
    pub fn rx1_frequency_hz(&self, uplink_hz: u32) -> Option<u32> {
        let (narrow_hz, wide_hz) = match self.region {
            Region::Us915 => (902_300_000, 903_000_000),
            Region::Au915 => (915_200_000, 915_900_000),
            Region::Eu868
            | Region::Eu433
            | Region::In865
            | Region::As923_1
            | Region::As923_2
            | Region::As923_3
            | Region::As923_4
            | Region::Kr920 => return Some(uplink_hz),
        };
        let number = |first_hz: u32, step_hz: u32, count: u32| {
            let above = uplink_hz.checked_sub(first_hz)?;
            (above % step_hz == 0 && above / step_hz < count).then(|| above / step_hz)
        };
        let channel = number(narrow_hz, 200_000, 64).or_else(|| number(wide_hz, 1_600_000, 8))?;
        Some(923_300_000 + 600_000 * (channel % 8))
    }

    /// Returns how many bytes of options and payload a downlink can have (`N` of RP002, for devices that are not
    /// behind a repeater). Where versions of RP002 differ it is the smaller number.
    #[must_use]
    pub const fn downlink_bytes_max(&self, data_rate: u8) -> usize {
        match (self.region, data_rate) {
            (Region::Us915 | Region::Au915, 8) => 53,
            (Region::Us915 | Region::Au915, 9) => 129,
            (Region::Us915 | Region::Au915, 10..=13) => 242,
            (Region::Us915 | Region::Au915, _) | (_, 8..) => 0,
            (_, 0 | 1) if self.dwell_limited => 0,
            (_, 2) if self.dwell_limited => 11,
            (_, 3) if self.dwell_limited => 53,
            (_, 4) if self.dwell_limited => 125,
            (_, 0..=2) => 51,
            (_, 3) => 115,
            (_, 4..=7) => 242,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_windows_follow_the_tables_of_rp002() {
        let rows: &[(Region, u8, &[u8])] = &[
            (Region::Eu868, 5, &[5, 4, 3, 2, 1, 0]),
            (Region::Eu868, 1, &[1, 0, 0, 0, 0, 0]),
            (Region::As923_1, 5, &[5, 4, 3, 2, 2, 2]),
            (Region::As923_3, 7, &[5, 5, 5, 4, 3, 2]),
            (Region::Us915, 0, &[10, 9, 8, 8]),
            (Region::Us915, 3, &[13, 12, 11, 10]),
            (Region::Us915, 4, &[13, 13, 12, 11]),
            (Region::Au915, 0, &[8, 8, 8, 8, 8, 8]),
            (Region::Au915, 5, &[13, 12, 11, 10, 9, 8]),
            (Region::Au915, 6, &[13, 13, 12, 11, 10, 9]),
        ];
        for (region, uplink, expected) in rows {
            let plan = Plan::new(*region);
            let found: Vec<_> = (0..8).map_while(|o| plan.rx1_data_rate(*uplink, o)).collect();
            assert_eq!(found, *expected, "{region:?} {uplink}");
        }
    }

    #[test]
    fn fixed_plans_answer_on_eight_channels() {
        let us = Plan::new(Region::Us915);
        assert_eq!(us.rx1_frequency_hz(902_300_000), Some(923_300_000));
        assert_eq!(us.rx1_frequency_hz(904_100_000), Some(923_900_000));
        assert_eq!(us.rx1_frequency_hz(914_900_000), Some(927_500_000));
        assert_eq!(us.rx1_frequency_hz(903_000_000 + 3 * 1_600_000), Some(925_100_000));
        assert_eq!(us.rx1_frequency_hz(902_400_000), None);
        let au = Plan::new(Region::Au915);
        assert_eq!(au.rx1_frequency_hz(916_800_000), Some(923_300_000));
        assert_eq!(au.rx1_frequency_hz(915_900_000), Some(923_300_000));
        assert_eq!(Plan::new(Region::In865).rx1_frequency_hz(865_062_500), Some(865_062_500));
    }

    #[test]
    fn every_region_has_a_second_window_that_carries_something() {
        for region in Region::ALL {
            let plan = Plan::new(region);
            assert!(plan.downlink_bytes_max(region.rx2_data_rate()) >= 11, "{region:?}");
            assert!(region.modulation(region.rx2_data_rate()).is_some(), "{region:?}");
            assert_eq!(Region::from_word(region.as_str()), Some(region));
            for data_rate in 0..=15 {
                let carries = plan.downlink_bytes_max(data_rate) > 0;
                assert!(!carries || plan.region.modulation(data_rate).is_some() || data_rate >= 6);
            }
        }
    }

    #[test]
    fn data_rates_are_found_from_what_is_on_the_air() {
        let sf8_500 = lora(8, 500);
        assert_eq!(Region::Us915.uplink_data_rate(sf8_500), Some(4));
        assert_eq!(Region::Au915.uplink_data_rate(sf8_500), Some(6));
        assert_eq!(Region::Eu868.uplink_data_rate(sf8_500), None);
        assert_eq!(Region::Us915.uplink_data_rate(lora(10, 125)), Some(0));
        assert_eq!(Region::Kr920.uplink_data_rate(lora(7, 125)), Some(5));
        assert_eq!(snr_floor_db(lora(7, 125)), Some(-7.5));
        assert_eq!(snr_floor_db(lora(12, 125)), Some(-20.0));
    }
}
