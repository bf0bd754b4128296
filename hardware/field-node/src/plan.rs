//! What a node is: its sensors, its link, its siren. It is part of the firmware; keys and settings are not.

use crate::airtime::Modulation;
use crate::filter::Filter;
use crate::sealed::Schema;

/// When a node can be told something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listening {
    /// In two windows behind each of its frames; asleep otherwise (class A).
    Windows,
    /// Always: a siren on mains or sun.
    Always,
    /// Always, but it looks for a preamble now and then only. The gateway must send one that is longer than `asleep_ms`.
    Sampled {
        /// Listens for so long, ms.
        awake_ms: u32,
        /// Then sleeps for so long, ms.
        asleep_ms: u32,
    },
}

/// A siren on a relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Siren {
    /// It never sounds for longer without a pause, s, whatever it is told and however often.
    pub on_s_max: u16,
    /// As a test it never sounds for longer, s.
    pub test_s_max: u16,
}

/// Whether reports ask for an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirm {
    /// Each: what nobody acknowledged is sent again.
    All,
    /// Alarms and health. Other readings are let go of when they were sent.
    Alarms,
}

/// What a node is.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// Major and minor version of the firmware.
    pub firmware: [u8; 2],
    /// What its reports hold.
    pub schema: Schema,
    /// How each field of the schema is measured, in its order.
    pub filters: &'a [Filter],
    /// Measures so often, s.
    pub sample_s: u16,
    /// Reports so often, s, until it is told otherwise.
    pub interval_s: u16,
    /// Its link.
    pub modulation: Modulation,
    /// Frequency, Hz.
    pub frequency_hz: u32,
    /// Power, dBm.
    pub power_dbm: i8,
    /// Airtime, thousandths of the time.
    pub airtime_permille: u16,
    /// Longest payload of a frame, bytes: shorter ones are heard farther.
    pub payload_bytes_max: usize,
    /// Whether reports ask for an acknowledgement.
    pub confirm: Confirm,
    /// The two windows, ms from the end of its frame.
    pub windows_ms: [u16; 2],
    /// When it can be told something.
    pub listening: Listening,
    /// Its siren.
    pub siren: Option<Siren>,
}
