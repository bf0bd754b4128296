//! TP-ST: 3GPP TS 23.040 §9.2.3.15.

/// TP-ST as received.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Status(pub u8);

/// What a status means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It is in the recipient's telephone.
    Delivered,
    /// The service centre is done with it, and does not know whether it arrived.
    Unconfirmed,
    /// Not yet; the service centre goes on trying.
    Trying,
    /// Never: sending it again would not help.
    Permanent,
    /// Not delivered for a passing reason, and the service centre tries no more: sending it again may help.
    GaveUp,
}

impl Status {
    /// Received by the recipient's telephone.
    pub const DELIVERED: Self = Self(0x00);
    /// The validity period ran out first.
    pub const EXPIRED: Self = Self(0x46);

    /// Returns what the status means for the message.
    #[must_use]
    pub const fn outcome(self) -> Outcome {
        match self.0 {
            0x00 => Outcome::Delivered,
            0x01..=0x1F => Outcome::Unconfirmed,
            0x20..=0x3F => Outcome::Trying,
            0x40..=0x5F => Outcome::Permanent,
            // §9.2.3.15: reserved values are read as 0x63, "service rejected".
            0x60..=0xFF => Outcome::GaveUp,
        }
    }

    /// Returns the status in the standard's words.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self.0 {
            0x00 => "delivered",
            0x01 => "forwarded, delivery unconfirmed",
            0x02 => "replaced by the service centre",
            0x03..=0x1F => "completed for a reason of the service centre's own",
            0x20 => "congestion, still trying",
            0x21 => "recipient busy, still trying",
            0x22 => "no response from recipient, still trying",
            0x23 => "service rejected, still trying",
            0x24 => "quality of service not available, still trying",
            0x25 => "error in recipient's telephone, still trying",
            0x26..=0x3F => "not delivered yet, still trying",
            0x40 => "remote procedure error",
            0x41 => "incompatible destination",
            0x42 => "connection rejected by recipient's telephone",
            0x43 => "recipient not obtainable",
            0x44 => "quality of service not available",
            0x45 => "no interworking available",
            0x46 => "validity period expired",
            0x47 => "deleted by the sender",
            0x48 => "deleted by the service centre's administration",
            0x49 => "message does not exist",
            0x4A..=0x5F => "not delivered, permanent error",
            0x60 => "congestion, given up",
            0x61 => "recipient busy, given up",
            0x62 => "no response from recipient, given up",
            0x63 => "service rejected, given up",
            0x64 => "quality of service not available, given up",
            0x65 => "error in recipient's telephone, given up",
            0x66..=0xFF => "not delivered, given up",
        }
    }
}
