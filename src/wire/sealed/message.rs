//! What is inside the frames that carry no readings: orders and acknowledgements down, outcomes and health up.

use super::buffer::{Buffer, Full, Reader, u24_bytes};
use super::frame::Kind;
use core::fmt;

/// The reference is the counter of the frame that is answered.
const ANSWER: u8 = 1;
/// That frame's readings are safe.
const ACK: u8 = 2;

/// The longest of these messages.
pub(super) const MESSAGE_BYTES_MAX: usize = 24;
pub(super) type Message = Buffer<MESSAGE_BYTES_MAX>;

/// What a node is told to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Sound the siren for so long, s.
    SirenOn {
        /// 1 to 65,535.
        seconds: u16,
    },
    /// Silence the siren.
    SirenOff,
    /// Sound the siren as a test.
    SirenTest {
        /// 1 to 65,535.
        seconds: u16,
    },
    /// Report so often, s.
    Interval {
        /// 1 to 65,535.
        seconds: u16,
    },
    /// Hear what time it is.
    Time {
        /// Seconds since 1970; none if the gateway does not know.
        unix_s: Option<u32>,
    },
    /// Take a new key: that of this epoch.
    Rekey {
        /// The new epoch.
        epoch: u16,
        /// What both sides make it of.
        random: [u8; 16],
    },
}

impl Command {
    /// Returns whether it speaks of a siren. Of these the last alone counts.
    #[must_use]
    pub const fn is_siren(&self) -> bool {
        match self {
            Self::SirenOn { .. } | Self::SirenOff | Self::SirenTest { .. } => true,
            Self::Interval { .. } | Self::Time { .. } | Self::Rekey { .. } => false,
        }
    }

    /// Returns the type of the frame that carries it.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::SirenOn { .. }
            | Self::SirenOff
            | Self::SirenTest { .. }
            | Self::Interval { .. } => Kind::Command,
            Self::Time { .. } => Kind::Time,
            Self::Rekey { .. } => Kind::Rekey,
        }
    }

    /// Writes what follows the order's number.
    pub(super) fn write(&self, out: &mut Message) -> Result<(), Full> {
        let mut coded = |code: u8, seconds: u16| {
            out.push(code)?;
            out.extend(&seconds.to_be_bytes())
        };
        match *self {
            Self::SirenOn { seconds } => coded(1, seconds),
            Self::SirenOff => out.push(2),
            Self::SirenTest { seconds } => coded(3, seconds),
            Self::Interval { seconds } => coded(4, seconds),
            Self::Time { unix_s } => out.extend(&unix_s.unwrap_or(u32::MAX).to_be_bytes()),
            Self::Rekey { epoch, random } => {
                out.extend(&epoch.to_be_bytes())?;
                out.extend(&random)
            }
        }
    }

    pub(super) fn read(kind: Kind, reader: &mut Reader<'_>) -> Option<Self> {
        let command = match kind {
            Kind::Command => match reader.byte()? {
                1 => Self::SirenOn { seconds: reader.u16()? },
                2 => Self::SirenOff,
                3 => Self::SirenTest { seconds: reader.u16()? },
                4 => Self::Interval { seconds: reader.u16()? },
                _ => return None,
            },
            Kind::Time => {
                let unix_s = reader.u32()?;
                Self::Time { unix_s: (unix_s != u32::MAX).then_some(unix_s) }
            }
            Kind::Rekey => Self::Rekey { epoch: reader.u16()?, random: reader.take()? },
            Kind::Telemetry | Kind::Alarm | Kind::Health | Kind::Ack => return None,
        };
        Some(command)
    }
}

/// Shows no key material.
impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SirenOn { seconds } => write!(f, "siren on for {seconds} s"),
            Self::SirenOff => f.write_str("siren off"),
            Self::SirenTest { seconds } => write!(f, "siren test for {seconds} s"),
            Self::Interval { seconds } => write!(f, "interval {seconds} s"),
            Self::Time { unix_s: Some(unix_s) } => write!(f, "time {unix_s}"),
            Self::Time { unix_s: None } => f.write_str("time unknown"),
            Self::Rekey { epoch, .. } => write!(f, "new key of epoch {epoch}"),
        }
    }
}

/// What stands before each message to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Preface {
    /// Whether `reference` is the counter of the frame that is answered; else it is the gateway's idea of the node's seconds.
    pub(super) answer: bool,
    /// Whether what that frame said is safe.
    pub(super) ack: bool,
    /// The low 24 bits.
    pub(super) reference: u32,
}

/// A message to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Down {
    pub(super) preface: Preface,
    /// The order and its number.
    pub(super) order: Option<(u16, Command)>,
}

impl Down {
    pub(super) fn kind(&self) -> Kind {
        self.order.map_or(Kind::Ack, |(_, command)| command.kind())
    }

    pub(super) fn write(&self) -> Result<Message, Full> {
        let mut out = Message::new();
        let Preface { answer, ack, reference } = self.preface;
        out.push(if answer { ANSWER } else { 0 } | if ack { ACK } else { 0 })?;
        out.extend(&u24_bytes(reference))?;
        if let Some((number, command)) = self.order {
            out.extend(&number.to_be_bytes())?;
            command.write(&mut out)?;
        }
        Ok(out)
    }

    pub(super) fn read(kind: Kind, bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let flags = reader.byte().filter(|flags| flags & !(ANSWER | ACK) == 0)?;
        let (answer, ack) = (flags & ANSWER != 0, flags & ACK != 0);
        let preface = Preface { answer, ack, reference: reader.u24()? };
        let order = if kind == Kind::Ack {
            None
        } else {
            Some((reader.u16()?, Command::read(kind, &mut reader)?))
        };
        reader.is_empty().then_some(Self { preface, order })
    }
}

/// What became of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is done.
    Done,
    /// The node has no such thing, or may not do it.
    Refused,
    /// It came too late by the node's clock: the gateway tries again.
    Late,
}

/// What a node says of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderAck {
    /// The order's number on the air.
    pub number: u16,
    /// What became of it.
    pub outcome: Outcome,
}

impl OrderAck {
    /// Returns the payload of the uplink of type [`Kind::Ack`].
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 3] {
        let outcome = match self.outcome {
            Outcome::Done => 0,
            Outcome::Refused => 1,
            Outcome::Late => 2,
        };
        let [high, low] = self.number.to_be_bytes();
        [high, low, outcome]
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let [high, low, outcome] = bytes else { return None };
        let outcome = match outcome {
            0 => Outcome::Done,
            1 => Outcome::Refused,
            2 => Outcome::Late,
            _ => return None,
        };
        Some(Self { number: u16::from_be_bytes([*high, *low]), outcome })
    }
}

/// Why a node began again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Boot {
    /// It did not: this is a word in between.
    Running,
    /// Power came.
    PowerOn,
    /// Its watchdog bit.
    Watchdog,
    /// Its supply broke in.
    BrownOut,
    /// Somebody pressed the button.
    Button,
    /// New firmware.
    Update,
    /// It was just provisioned.
    Provisioned,
    /// It does not know.
    Unknown,
}

/// How a node is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether, and why, it began again.
    pub boot: Boot,
    /// Firmware, major and minor.
    pub firmware: [u8; 2],
    /// Digest of the schema that its reports follow: [`super::Schema::digest`].
    pub schema: u8,
    /// Since it began, s.
    pub uptime_s: u32,
    /// Battery, mV; 0 if it does not measure it.
    pub battery_mv: u16,
    /// How often it began again, modulo 65,536.
    pub boots: u16,
    /// Readings that it had to drop, modulo 65,536.
    pub dropped: u16,
    /// Frames that it had to send again, modulo 65,536.
    pub repeats: u16,
}

impl Health {
    /// Bytes of its payload.
    pub const BYTES: usize = 16;

    /// Returns the payload of the uplink of type [`Kind::Health`].
    ///
    /// # Panics
    ///
    /// Never: the longest fits.
    #[must_use]
    pub fn to_bytes(&self) -> Buffer<{ Self::BYTES }> {
        let boot = match self.boot {
            Boot::Running => 0,
            Boot::PowerOn => 1,
            Boot::Watchdog => 2,
            Boot::BrownOut => 3,
            Boot::Button => 4,
            Boot::Update => 5,
            Boot::Provisioned => 6,
            Boot::Unknown => 7,
        };
        let [major, minor] = self.firmware;
        let mut out = Buffer::new();
        let parts: [&[u8]; 6] = [
            &[boot, major, minor, self.schema],
            &self.uptime_s.to_be_bytes(),
            &self.battery_mv.to_be_bytes(),
            &self.boots.to_be_bytes(),
            &self.dropped.to_be_bytes(),
            &self.repeats.to_be_bytes(),
        ];
        for part in parts {
            out.extend(part).expect("4 + 4 + 2 + 2 + 2 + 2 is 16");
        }
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut reader = Reader(bytes);
        let boot = match reader.byte()? {
            0 => Boot::Running,
            1 => Boot::PowerOn,
            2 => Boot::Watchdog,
            3 => Boot::BrownOut,
            4 => Boot::Button,
            5 => Boot::Update,
            6 => Boot::Provisioned,
            7 => Boot::Unknown,
            _ => return None,
        };
        let health = Self {
            boot,
            firmware: reader.take()?,
            schema: reader.byte()?,
            uptime_s: reader.u32()?,
            battery_mv: reader.u16()?,
            boots: reader.u16()?,
            dropped: reader.u16()?,
            repeats: reader.u16()?,
        };
        reader.is_empty().then_some(health)
    }
}
