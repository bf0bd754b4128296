//! MAC commands: what a device asks and answers, and what it is told (LoRaWAN 1.0.3 and 1.0.4, chapter 5).

/// Most bytes of commands beside a payload: the length has four bits (LoRaWAN 1.0.3 §4.3.1.6).
pub(super) const OPTIONS_BYTES_MAX: usize = 15;
/// From 1980-01-06, the beginning of GPS time, back to 1970-01-01, in Unix seconds.
const GPS_EPOCH_UNIX_S: i64 = 315_964_800;
/// GPS time minus UTC since 2017-01-01: IERS Bulletin C 52. No leap second was announced since.
const GPS_LEAP_S: i64 = 18;

/// What a device says of its power: LoRaWAN 1.0.3 §5.5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Battery {
    /// It has external power.
    External,
    /// It runs on a battery this full, in percent.
    Percent(u8),
    /// It cannot tell.
    Unknown,
}

impl Battery {
    fn from_octet(octet: u8) -> Self {
        match octet {
            0 => Self::External,
            255 => Self::Unknown,
            // 1 is empty and 254 is full.
            level => {
                let percent = (u16::from(level) - 1) * 100 / 253;
                Self::Percent(u8::try_from(percent).unwrap_or(100))
            }
        }
    }
}

/// What a device answered to a command of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MacAnswer {
    /// `LinkADRAns`: whether power, data rate and channels were all taken over.
    LinkAdr {
        /// The power was accepted.
        power: bool,
        /// The data rate was accepted.
        data_rate: bool,
        /// The channel mask was accepted.
        channels: bool,
    },
    /// `DutyCycleAns`.
    DutyCycle,
    /// `RXParamSetupAns`.
    RxParamSetup {
        /// The offset of the first window was accepted.
        rx1_offset: bool,
        /// The data rate of the second window was accepted.
        rx2_data_rate: bool,
        /// The frequency of the second window was accepted.
        frequency: bool,
    },
    /// `DevStatusAns`.
    Status {
        /// Its power.
        battery: Battery,
        /// How it heard the request, as SNR in dB: -32 to 31.
        margin_db: i8,
    },
    /// `NewChannelAns`.
    NewChannel {
        /// The data rates were accepted.
        data_rates: bool,
        /// The frequency was accepted.
        frequency: bool,
    },
    /// `RXTimingSetupAns`.
    RxTimingSetup,
    /// `TxParamSetupAns`.
    TxParamSetup,
    /// `DlChannelAns`.
    DlChannel {
        /// The uplink frequency exists.
        uplink: bool,
        /// The downlink frequency was accepted.
        frequency: bool,
    },
}

impl MacAnswer {
    /// Returns whether the device repeats this answer until it hears a downlink: LoRaWAN 1.0.3 §5.4, §5.7, §5.10.
    pub(super) const fn wants_downlink(self) -> bool {
        match self {
            Self::RxParamSetup { .. } | Self::RxTimingSetup | Self::DlChannel { .. } => true,
            Self::LinkAdr { .. }
            | Self::DutyCycle
            | Self::Status { .. }
            | Self::NewChannel { .. }
            | Self::TxParamSetup => false,
        }
    }
}

/// What a device said in its commands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) link_check: bool,
    pub(super) device_time: bool,
    pub(super) answers: Vec<MacAnswer>,
    /// The first command that is not known; what follows it cannot be read, for its length is not known either.
    pub(super) unknown: Option<u8>,
}

/// Reads the commands of an uplink, up to the first that is unknown or cut off.
pub(super) fn read(mut bytes: &[u8]) -> Said {
    let mut said = Said::default();
    while let Some((command, rest)) = bytes.split_first() {
        let Some(length) = length(*command) else {
            said.unknown = Some(*command);
            break;
        };
        let Some((body, rest)) = rest.split_at_checked(length) else { break };
        said.take(*command, body);
        bytes = rest;
    }
    said
}

/// Returns how many bytes follow the identifier of a command that a class A device sends.
const fn length(command: u8) -> Option<usize> {
    match command {
        0x02 | 0x04 | 0x08 | 0x09 | 0x0D => Some(0),
        0x03 | 0x05 | 0x07 | 0x0A => Some(1),
        0x06 => Some(2),
        _ => None,
    }
}

impl Said {
    fn take(&mut self, command: u8, body: &[u8]) {
        let bit = |n: u8| body.first().is_some_and(|octet| octet >> n & 1 == 1);
        let answer = match (command, body) {
            (0x02, _) => {
                self.link_check = true;
                return;
            }
            (0x0D, _) => {
                self.device_time = true;
                return;
            }
            (0x03, _) => MacAnswer::LinkAdr { power: bit(2), data_rate: bit(1), channels: bit(0) },
            (0x04, _) => MacAnswer::DutyCycle,
            (0x05, _) => MacAnswer::RxParamSetup {
                rx1_offset: bit(2),
                rx2_data_rate: bit(1),
                frequency: bit(0),
            },
            (0x06, [battery, margin]) => MacAnswer::Status {
                battery: Battery::from_octet(*battery),
                // Six bits with a sign.
                margin_db: (margin << 2).cast_signed() >> 2,
            },
            (0x07, _) => MacAnswer::NewChannel { data_rates: bit(1), frequency: bit(0) },
            (0x08, _) => MacAnswer::RxTimingSetup,
            (0x09, _) => MacAnswer::TxParamSetup,
            (0x0A, _) => MacAnswer::DlChannel { uplink: bit(1), frequency: bit(0) },
            _ => return,
        };
        self.answers.push(answer);
    }
}

/// One setting of a device's data rate and channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkAdr {
    pub(super) data_rate: u8,
    pub(super) mask: u16,
    pub(super) mask_control: u8,
}

/// Commands for a downlink; what does not fit is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Commands {
    bytes: Vec<u8>,
    bytes_max: usize,
}

impl Commands {
    pub(super) const fn within(bytes_max: usize) -> Self {
        Self { bytes: Vec::new(), bytes_max }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn put(&mut self, command: &[u8]) -> bool {
        let fits = self.bytes.len() + command.len() <= self.bytes_max;
        if fits {
            self.bytes.extend_from_slice(command);
        }
        fits
    }

    /// `LinkCheckAns`: dB above what could just be demodulated, and how many gateways heard it.
    pub(super) fn link_check(&mut self, margin_db: u8, gateways: u8) {
        self.put(&[0x02, margin_db.min(254), gateways]);
    }

    /// `DeviceTimeAns` (LoRaWAN 1.0.3 §5.9): GPS time at the end of the uplink, from Unix milliseconds.
    pub(super) fn device_time(&mut self, unix_ms: i64) {
        let seconds = unix_ms.div_euclid(1000) - GPS_EPOCH_UNIX_S + GPS_LEAP_S;
        let Ok(seconds) = u32::try_from(seconds) else { return };
        let fraction = u8::try_from(unix_ms.rem_euclid(1000) * 256 / 1000).unwrap_or(u8::MAX);
        let [a, b, c, d] = seconds.to_le_bytes();
        self.put(&[0x0D, a, b, c, d, fraction]);
    }

    /// `DevStatusReq`. Returns whether it fitted.
    pub(super) fn status(&mut self) -> bool {
        self.put(&[0x06])
    }

    /// A block of `LinkADRReq` that the device takes over as one (LoRaWAN 1.0.3 §5.2), at full power and with one
    /// transmission per frame. Returns whether it fitted.
    pub(super) fn link_adr(&mut self, block: &[LinkAdr]) -> bool {
        let bytes: Vec<u8> = block
            .iter()
            .flat_map(|ask| {
                let [low, high] = ask.mask.to_le_bytes();
                [0x03, ask.data_rate << 4, low, high, ask.mask_control << 4 | 1]
            })
            .collect();
        self.put(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_of_a_device_is_read() {
        let said = read(&[
            0x02, 0x03, 0x07, 0x04, 0x05, 0x05, 0x06, 254, 0x3F, 0x07, 0x02, 0x08, 0x09, 0x0A,
            0x01, 0x0D,
        ]);
        assert!(said.link_check && said.device_time);
        assert_eq!(said.unknown, None);
        assert_eq!(
            said.answers,
            [
                MacAnswer::LinkAdr { power: true, data_rate: true, channels: true },
                MacAnswer::DutyCycle,
                MacAnswer::RxParamSetup { rx1_offset: true, rx2_data_rate: false, frequency: true },
                MacAnswer::Status { battery: Battery::Percent(100), margin_db: -1 },
                MacAnswer::NewChannel { data_rates: true, frequency: false },
                MacAnswer::RxTimingSetup,
                MacAnswer::TxParamSetup,
                MacAnswer::DlChannel { uplink: false, frequency: true },
            ]
        );
    }

    #[test]
    fn an_unknown_command_stops_the_reading_of_the_rest() {
        let said = read(&[0x04, 0x10, 0x02]);
        assert_eq!((said.answers, said.unknown), (vec![MacAnswer::DutyCycle], Some(0x10)));
        assert!(!said.link_check);
    }

    #[test]
    fn a_command_that_is_cut_off_is_not_read() {
        assert_eq!(read(&[0x04, 0x06, 100]).answers, [MacAnswer::DutyCycle]);
    }

    #[test]
    fn margin_has_six_bits_and_a_sign() {
        for (octet, expected) in [(0, 0), (31, 31), (32, -32), (63, -1), (0xC5, 5)] {
            let status = MacAnswer::Status { battery: Battery::External, margin_db: expected };
            assert_eq!(read(&[0x06, 0, octet]).answers, [status]);
        }
        let level = |octet| Battery::from_octet(octet);
        assert_eq!((level(1), level(255)), (Battery::Percent(0), Battery::Unknown));
    }

    #[test]
    fn gps_time_counts_the_leap_seconds() {
        // 2017-01-01 00:00:18.5 UTC is 1 167 264 036.5 s of GPS time: 13 510 days and 36 seconds.
        let mut commands = Commands::within(OPTIONS_BYTES_MAX);
        commands.device_time(1_483_228_818_500);
        let [a, b, c, d] = (13_510_u32 * 86_400 + 36).to_le_bytes();
        assert_eq!(commands.bytes(), [0x0D, a, b, c, d, 128]);
    }

    #[test]
    fn commands_that_do_not_fit_are_left_for_the_next_downlink() {
        let mut commands = Commands::within(OPTIONS_BYTES_MAX);
        commands.link_check(255, 1);
        commands.device_time(1_483_228_818_500);
        let ask = LinkAdr { data_rate: 3, mask: 7, mask_control: 0 };
        assert!(!commands.link_adr(&[ask, ask]));
        assert!(commands.link_adr(&[ask]) && commands.status() && !commands.status());
        assert_eq!(commands.bytes().len(), OPTIONS_BYTES_MAX);
        assert_eq!(&commands.bytes()[..3], [0x02, 254, 1]);
    }
}
