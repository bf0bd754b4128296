//! Why a frame changes nothing: one list for both sides, to be counted by reason.

use super::frame::FrameError;
use super::window::Seen;
use core::fmt;

/// Why a frame changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    /// It is too short or too long to be a frame.
    Length,
    /// It has another version.
    Version,
    /// It has the type that is kept for later.
    ReservedType,
    /// It goes the other way, or its type never goes its way.
    WrongWay,
    /// It names another node.
    ForeignNode,
    /// It has a key phase of which there is no key.
    OtherEpoch,
    /// No counter makes its tag right: forged, damaged, of another network, or of a key that is gone.
    Tag,
    /// It was heard before.
    Replayed,
    /// It is true, and so far behind the newest that nobody remembers whether it was heard.
    TooOld,
    /// It is true, and its counter is too far ahead.
    Gap,
    /// The operator has revoked the node.
    Revoked,
    /// It is an order that was sent before one that was heard.
    OutOfOrder,
    /// It is true, and says nothing that this program understands.
    Malformed,
}

impl Refusal {
    /// All of them, in the order of counters.
    pub const ALL: [Self; 13] = [
        Self::Length,
        Self::Version,
        Self::ReservedType,
        Self::WrongWay,
        Self::ForeignNode,
        Self::OtherEpoch,
        Self::Tag,
        Self::Replayed,
        Self::TooOld,
        Self::Gap,
        Self::Revoked,
        Self::OutOfOrder,
        Self::Malformed,
    ];

    /// Returns the name of its counter.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Version => "version",
            Self::ReservedType => "reserved_type",
            Self::WrongWay => "wrong_way",
            Self::ForeignNode => "foreign_node",
            Self::OtherEpoch => "other_epoch",
            Self::Tag => "tag",
            Self::Replayed => "replayed",
            Self::TooOld => "too_old",
            Self::Gap => "gap",
            Self::Revoked => "revoked",
            Self::OutOfOrder => "out_of_order",
            Self::Malformed => "malformed",
        }
    }
}

impl From<FrameError> for Refusal {
    fn from(error: FrameError) -> Self {
        match error {
            FrameError::Length(_) => Self::Length,
            FrameError::Version(_) => Self::Version,
            FrameError::ReservedType => Self::ReservedType,
            FrameError::WrongWay(..) => Self::WrongWay,
        }
    }
}

impl From<Seen> for Refusal {
    fn from(seen: Seen) -> Self {
        match seen {
            Seen::Replayed => Self::Replayed,
            Seen::TooOld => Self::TooOld,
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "frame is too short or too long",
            Self::Version => "frame has another version",
            Self::ReservedType => "frame has the type that is kept for later",
            Self::WrongWay => "frame goes the other way",
            Self::ForeignNode => "frame is of another node",
            Self::OtherEpoch => "frame is sealed with a key of another epoch",
            Self::Tag => "frame has a wrong tag",
            Self::Replayed => "frame was heard before",
            Self::TooOld => "frame is older than what is remembered",
            Self::Gap => "frame has a counter too far ahead",
            Self::Revoked => "node is revoked",
            Self::OutOfOrder => "order was sent before one that was heard",
            Self::Malformed => "frame says nothing that is understood",
        })
    }
}

impl core::error::Error for Refusal {}
