//! Plans: what may be sent where, for how long, and how loud.

use crate::domain::radio::Modulation;
use std::time::Duration;

/// Gain of a dipole over an isotropic antenna, dB: effective radiated power is over the one, equivalent isotropic power
/// over the other.
pub(super) const DIPOLE_DBI: f64 = 2.15;
/// Bandwidth of our own frames but where a plan says otherwise.
pub const WF1_BANDWIDTH_HZ: u32 = 125_000;
/// A narrower signal must hop, or be short (FCC 47 CFR 15.247).
const WIDE_HZ: u32 = 500_000;

/// A stretch of frequencies with one rule.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Band {
    /// From here on, Hz.
    pub from_hz: u32,
    /// Up to here, Hz.
    pub to_hz: u32,
    /// Share of each hour that may be sent; none: no limit.
    pub duty: Option<f64>,
    /// Longest frame that is narrower than 500 kHz.
    pub narrow_dwell: Option<Duration>,
    /// Effective radiated power, dBm.
    pub erp_dbm: f64,
}

/// A plan by its name in RP002.
#[derive(Debug, PartialEq)]
pub struct Plan {
    /// Its name.
    pub name: &'static str,
    /// Where it lets anything be sent.
    pub bands: &'static [Band],
    /// Channel of our own frames, unless the operator names another, Hz.
    pub wf1_hz: u32,
    /// Their bandwidth, Hz.
    pub wf1_bandwidth_hz: u32,
}

impl Eq for Plan {}

const fn band(from_khz: u32, to_khz: u32, duty: Option<f64>, erp_dbm: f64) -> Band {
    Band { from_hz: from_khz * 1000, to_hz: to_khz * 1000, duty, narrow_dwell: None, erp_dbm }
}

const fn dwelling(from_khz: u32, to_khz: u32, duty: Option<f64>, erp_dbm: f64) -> Band {
    let narrow_dwell = Some(Duration::from_millis(400));
    Band { narrow_dwell, ..band(from_khz, to_khz, duty, erp_dbm) }
}

/// EN 300 220-2 annex B, as LoRa devices use it.
const EU868: &[Band] = &[
    band(863_000, 865_000, Some(0.001), 14.0),
    band(865_000, 868_600, Some(0.01), 14.0),
    band(868_700, 869_200, Some(0.001), 14.0),
    band(869_400, 869_650, Some(0.1), 27.0),
    band(869_700, 870_000, Some(0.01), 14.0),
];
/// EN 300 220-2 annex B; power by RP002-1.0.4 §2.5, 12.15 dBm EIRP.
const EU433: &[Band] = &[band(433_050, 434_790, Some(0.1), 10.0)];
/// RP002-1.0.4 §2.9: 30 dBm EIRP, no duty cycle.
const IN865: &[Band] = &[band(865_000, 867_000, None, 30.0 - DIPOLE_DBI)];
/// RP002-1.0.4 §2.10: 16 dBm EIRP; where one country asks for a dwell time and the next for a duty cycle, both are kept.
const AS923_1: &[Band] = &[dwelling(915_000, 928_000, Some(0.01), 16.0 - DIPOLE_DBI)];
const AS923_2: &[Band] = &[dwelling(920_000, 923_000, Some(0.01), 16.0 - DIPOLE_DBI)];
const AS923_3: &[Band] = &[dwelling(915_000, 921_000, Some(0.01), 16.0 - DIPOLE_DBI)];
const AS923_4: &[Band] = &[dwelling(917_000, 920_000, Some(0.01), 16.0 - DIPOLE_DBI)];
/// RP002-1.0.4 §2.8: 30 dBm EIRP; dwell time as in the United States, to be safe.
const AU915: &[Band] = &[dwelling(915_000, 928_000, None, 30.0 - DIPOLE_DBI)];
/// 47 CFR 15.247: 30 dBm conducted into 6 dBi; a narrow frame that does not hop lasts at most 400 ms.
const US915: &[Band] = &[dwelling(902_000, 928_000, None, 30.0 - DIPOLE_DBI)];
/// RP002-1.0.4 §2.11: 10 dBm EIRP below 922 MHz, 14 above, after listening.
const KR920: &[Band] = &[
    band(920_900, 922_000, None, 10.0 - DIPOLE_DBI),
    band(922_000, 923_300, None, 14.0 - DIPOLE_DBI),
];

const fn plan(name: &'static str, bands: &'static [Band], wf1_hz: u32) -> Plan {
    Plan { name, bands, wf1_hz, wf1_bandwidth_hz: WF1_BANDWIDTH_HZ }
}

/// Every plan. The channel of our own frames is one that LoRaWAN's devices must know, but for EU868, where they are
/// left alone.
pub static PLANS: &[Plan] = &[
    plan("EU868", EU868, 867_900_000),
    plan("EU433", EU433, 433_175_000),
    plan("IN865", IN865, 865_062_500),
    plan("AS923-1", AS923_1, 923_200_000),
    plan("AS923-2", AS923_2, 921_400_000),
    plan("AS923-3", AS923_3, 916_600_000),
    plan("AS923-4", AS923_4, 917_300_000),
    plan("AU915", AU915, 916_800_000),
    // Only a wide signal may stay on one channel there.
    Plan { wf1_bandwidth_hz: WIDE_HZ, ..plan("US915", US915, 903_000_000) },
    plan("KR920", KR920, 922_100_000),
];

impl Plan {
    /// Returns the plan of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<&'static Self> {
        PLANS.iter().find(|plan| plan.name == name)
    }

    /// Returns the band that holds a signal whole, by its middle and its width, and the band's place.
    #[must_use]
    pub fn band(&self, frequency_hz: u32, bandwidth_hz: u32) -> Option<(usize, &Band)> {
        let half = bandwidth_hz / 2;
        let fits = |band: &Band| {
            frequency_hz.saturating_sub(half) >= band.from_hz
                && frequency_hz.saturating_add(half) <= band.to_hz
        };
        self.bands.iter().enumerate().find(|(_, band)| fits(band))
    }
}

impl Band {
    /// Returns how long one frame may be, if that is limited.
    #[must_use]
    pub fn dwell(&self, modulation: Modulation) -> Option<Duration> {
        match modulation {
            Modulation::Lora { bandwidth_hz, .. } if bandwidth_hz >= WIDE_HZ => None,
            Modulation::Lora { .. } | Modulation::Fsk { .. } => self.narrow_dwell,
        }
    }
}
