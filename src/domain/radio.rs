//! What is on the air: how bits are sent, for how long, how a frame was heard, and the way back.

use crate::domain::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;

/// How bits are put on the air.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Modulation {
    /// LoRa.
    Lora {
        /// 5 to 12.
        spreading_factor: u8,
        /// In Hz.
        bandwidth_hz: u32,
    },
    /// Frequency shift keying.
    Fsk {
        /// In bit/s.
        bit_rate: u32,
    },
}

/// Which frames a receiver lets through: LoRa's sync word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SyncWord {
    /// `0x34`, `0x3444`: LoRaWAN.
    Public,
    /// `0x12`, `0x1424`: everything else, our own link among it.
    Private,
}

/// How a frame was heard, by the gateway that heard it best.
#[derive(Clone, Debug, PartialEq)]
pub struct Hearing {
    /// Name of the source.
    pub link: Arc<str>,
    /// Whose frames they are, as far as the air tells.
    pub sync_word: SyncWord,
    /// EUI of the gateway.
    pub gateway: u64,
    /// The gateway's own clock at the end of the frame, µs; it begins again every 71.6 minutes.
    pub tmst: u32,
    /// When it reached this program.
    pub at: Timestamp,
    /// On which frequency, Hz.
    pub frequency_hz: u32,
    /// As what.
    pub modulation: Modulation,
    /// Signal to noise, dB.
    pub snr_db: Option<f64>,
    /// Strength, dBm.
    pub rssi_dbm: Option<f64>,
    /// How many gateways heard it.
    pub gateways: u8,
}

/// When, where and how an answer may be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// From the end of the frame that is answered.
    pub delay: Duration,
    /// In Hz.
    pub frequency_hz: u32,
    /// As what.
    pub modulation: Modulation,
}

/// A frame for a node.
#[derive(Clone, Debug, PartialEq)]
pub struct Downlink {
    /// Name of the source that brings it on the air.
    pub link: Arc<str>,
    /// The bytes.
    pub phy: Vec<u8>,
    /// When the node listens.
    pub when: When,
    /// Whether airtime that is held back for danger may be used.
    pub urgency: Urgency,
}

/// When a node listens.
#[derive(Clone, Debug, PartialEq)]
pub enum When {
    /// In a receive window behind a frame of its own, or not at all (class A).
    Answer {
        /// How the frame was heard that is answered.
        hearing: Arc<Hearing>,
        /// The windows, first and second; each may be missing.
        windows: [Option<Window>; 2],
    },
    /// Always, on the channel of its link: a siren with mains or sun.
    Always,
    /// Always, on the channel of its second receive window (class C).
    Now {
        /// How it was heard last: by the gateway that reaches it.
        hearing: Arc<Hearing>,
        /// The channel; the delay is nothing.
        window: Window,
    },
}

/// How urgent a transmission is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// Acknowledgements, settings, tests, the all-clear.
    Ordinary,
    /// It warns of danger.
    Danger,
}

impl When {
    /// Returns whether there is a moment left.
    #[must_use]
    pub fn is_possible(&self) -> bool {
        match self {
            Self::Answer { windows, .. } => windows.iter().any(Option::is_some),
            Self::Always | Self::Now { .. } => true,
        }
    }
}

impl Modulation {
    /// Returns how long a frame of so many bytes is on the air, with a preamble of 8 symbols and coding rate 4/5; LoRa with
    /// an explicit header, `crc` with a checksum behind the payload.
    ///
    /// Source: Semtech AN1200.13, SX1276 data sheet §4.1.1.7; FSK with 5 bytes of preamble, 3 of sync word, length
    /// and checksum (LoRaWAN regional parameters, EU868).
    #[must_use]
    pub fn time_on_air(self, bytes: usize, crc: bool) -> Duration {
        match self {
            Self::Lora { spreading_factor, bandwidth_hz } => {
                let factor = i64::from(spreading_factor.clamp(5, 12));
                let bandwidth = f64::from(bandwidth_hz.max(1));
                let symbol = f64::from(1_u32 << factor) / bandwidth;
                // The low data rate optimisation, from 16 ms a symbol on.
                let optimised = if symbol >= 0.016 { 2 } else { 0 };
                let bits = 8 * i64::try_from(bytes).unwrap_or(i64::MAX / 16) - 4 * factor
                    + 28
                    + if crc { 16 } else { 0 };
                let in_a_block = 4 * (factor - optimised);
                let blocks = (bits.max(0) + in_a_block - 1) / in_a_block;
                Duration::from_secs_f64((8.0 + 4.25 + 8.0 + 5.0 * blocks as f64) * symbol)
            }
            Self::Fsk { bit_rate } => {
                let bits = (bytes + 5 + 3 + 1 + if crc { 2 } else { 0 }) * 8;
                Duration::from_secs_f64(bits as f64 / f64::from(bit_rate.max(1)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of `lora_time_on_air.csv` (Semtech AN1200.13); the two of 23 bytes are what The Things Stack reports as
    /// `consumed_airtime`.
    #[test]
    fn time_on_air_is_as_published() {
        let rows = [
            (7, 125_000, 1, 25.856),
            (7, 125_000, 10, 41.216),
            (7, 125_000, 13, 46.336),
            (7, 125_000, 23, 61.696),
            (8, 125_000, 23, 113.152),
            (9, 125_000, 23, 205.824),
            (10, 125_000, 23, 370.688),
            (11, 125_000, 23, 823.296),
            (12, 125_000, 23, 1482.752),
        ];
        for (spreading_factor, bandwidth_hz, bytes, milliseconds) in rows {
            let air = Modulation::Lora { spreading_factor, bandwidth_hz }.time_on_air(bytes, true);
            let found = air.as_secs_f64() * 1000.0;
            assert!((found - milliseconds).abs() < 1e-6, "SF{spreading_factor} {bytes}: {found}");
        }
    }

    #[test]
    fn nothing_that_is_asked_for_overflows() {
        for (spreading_factor, bandwidth_hz) in [(0, 0), (255, 1), (5, u32::MAX)] {
            let _air =
                Modulation::Lora { spreading_factor, bandwidth_hz }.time_on_air(65_535, false);
        }
        let _air = Modulation::Fsk { bit_rate: 0 }.time_on_air(65_535, true);
    }
}
