//! What the outbox keeps of a delivery and of an attempt: the rows that the store writes.

use crate::domain::message::{DeliveryId, Priority};
use crate::domain::recipient::RecipientId;
use crate::domain::time::Timestamp;
use crate::domain::warning::{MessageType, WarningId};
use std::fmt;
use std::sync::Arc;

/// Number of an attempt: counts up over all deliveries of a gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AttemptId(pub i64);

/// Number of a run of the gateway, from start to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BootId(pub i64);

/// What a delivery is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// An alert about a warning.
    Alert {
        /// Which warning.
        warning: WarningId,
        /// Which of its alerts, counted from one.
        number: u32,
        /// What it does to those before it.
        message_type: MessageType,
    },
    /// A fault that the technician should know of.
    Notice,
    /// A text that somebody asked for to see whether texts arrive.
    Test,
}

/// One channel that a delivery may take, and what came of it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Name of the channel.
    pub channel: Arc<str>,
    /// Where it stands in the order, the first being 0. Channels of one step share the work: whichever is free.
    pub step: u8,
    /// Attempts by it that failed and could be repeated.
    pub tries: u32,
    /// It is not tried before.
    pub not_before: Timestamp,
    /// Why it is never tried again, once that is known.
    pub rejected: Option<String>,
}

/// Where a delivery stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeliveryState {
    /// Waits for its turn.
    Queued,
    /// Chosen for a lane; nothing goes out before the attempt is stored. Lives in memory only.
    Armed {
        /// The attempt that is being stored.
        attempt: AttemptId,
    },
    /// The attempt is stored and bytes may be going out.
    Writing {
        /// The attempt in flight.
        attempt: AttemptId,
    },
    /// The network has every segment; its references are in the attempt. Waits for the receipts.
    Submitted {
        /// The attempt that the network took.
        attempt: AttemptId,
    },
    /// Something may have gone out.
    Unknown {
        /// The attempt whose fate is not known.
        attempt: AttemptId,
        /// Until when evidence is awaited; `None` once it is decided that the fate stays unknown, which is an end.
        decide_at: Option<Timestamp>,
    },
    /// End: in the recipient's telephone.
    Delivered,
    /// End: the network took it, and no receipt came in time.
    Accepted,
    /// End: no channel could bring it.
    Failed {
        /// Why, in the operator's words; holds no number and no text.
        reason: String,
    },
    /// End: it stopped being true before a network took it.
    Expired,
    /// End: a later alert replaced it, or it would have cleared what its recipient never heard of.
    Superseded,
    /// End: the recipient does not want to be told any more.
    OptedOut,
}

/// How a delivery ended, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum End {
    /// In the recipient's telephone.
    Delivered,
    /// The network took it, and no receipt came in time.
    Accepted,
    /// No channel could bring it.
    Failed,
    /// It stopped being true before a network took it.
    Expired,
    /// It may have gone out; nobody can say.
    Unknown,
    /// A later alert replaced it, or it would have cleared what its recipient never heard of.
    Superseded,
    /// The recipient does not want to be told any more.
    OptedOut,
}

impl End {
    /// Returns the word used in the database, in JSON and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Accepted => "accepted",
            Self::Failed => "failed",
            Self::Expired => "expired",
            Self::Unknown => "unknown",
            Self::Superseded => "superseded",
            Self::OptedOut => "opted out",
        }
    }
}

impl DeliveryState {
    /// Returns the word used in the database, in JSON and on screen. What is armed is stored as being written.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Armed { .. } | Self::Writing { .. } => "writing",
            Self::Submitted { .. } => "submitted",
            Self::Unknown { .. } => End::Unknown.as_str(),
            Self::Delivered => End::Delivered.as_str(),
            Self::Accepted => End::Accepted.as_str(),
            Self::Failed { .. } => End::Failed.as_str(),
            Self::Expired => End::Expired.as_str(),
            Self::Superseded => End::Superseded.as_str(),
            Self::OptedOut => End::OptedOut.as_str(),
        }
    }

    /// Returns how it ended; `None` while it has not.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        match self {
            Self::Queued
            | Self::Armed { .. }
            | Self::Writing { .. }
            | Self::Submitted { .. }
            | Self::Unknown { decide_at: Some(_), .. } => None,
            Self::Unknown { decide_at: None, .. } => Some(End::Unknown),
            Self::Delivered => Some(End::Delivered),
            Self::Accepted => Some(End::Accepted),
            Self::Failed { .. } => Some(End::Failed),
            Self::Expired => Some(End::Expired),
            Self::Superseded => Some(End::Superseded),
            Self::OptedOut => Some(End::OptedOut),
        }
    }
}

/// Why no further attempt is made at a delivery that has not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stop {
    /// A later alert of the same warning replaces it.
    Superseded,
    /// The recipient does not want to be told any more.
    OptedOut,
}

impl Stop {
    /// Both of them.
    pub const ALL: [Self; 2] = [Self::Superseded, Self::OptedOut];

    /// Returns the word used in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Superseded => End::Superseded.as_str(),
            Self::OptedOut => End::OptedOut.as_str(),
        }
    }
}

/// One alert to one recipient, already rendered: a row of the outbox.
#[derive(Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its number.
    pub id: DeliveryId,
    /// What it is about.
    pub subject: Subject,
    /// Who is to be told.
    pub recipient: RecipientId,
    /// Their number, E.164 with the leading `+`.
    pub number: Arc<str>,
    /// The whole text.
    pub text: Arc<str>,
    /// Segments that the text takes: at least one.
    pub segments: u16,
    /// Which goes first.
    pub priority: Priority,
    /// Who goes first inside a priority: the lower, the earlier; wardens before households.
    pub rank: u8,
    /// Shown on the screen at once, not stored, where the channel can.
    pub flash: bool,
    /// The same for every attempt, so that a provider can drop a repetition.
    pub idempotency_key: Arc<str>,
    /// The channels it may take, the preferred first.
    pub routes: Vec<Route>,
    /// When it was decided that it goes.
    pub created: Timestamp,
    /// From this moment on it must not go out any more.
    pub expires: Timestamp,
    /// Where it stands.
    pub state: DeliveryState,
    /// Why no further attempt is made, once that is so.
    pub stop: Option<Stop>,
    /// Attempts begun.
    pub attempts: u32,
    /// By which channel the last of them was made.
    pub channel: Option<Arc<str>>,
    /// Whether a network took it, or may have: its recipient may have read it.
    pub reached: bool,
    /// Whether it goes, or went, again although an earlier attempt may have arrived.
    pub possible_duplicate: bool,
    /// The last thing that went wrong, in the operator's words; holds no number and no text.
    pub last_error: Option<String>,
    /// When it ended.
    pub ended: Option<Timestamp>,
}

impl Delivery {
    /// Returns how it ended; `None` while it has not.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        self.state.end()
    }

    /// Returns the earliest moment at which a channel may be tried; `None` when none may ever be.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.routes.iter().filter(|r| r.rejected.is_none()).map(|r| r.not_before).min()
    }

    /// Returns how many attempts failed and could be repeated, over all channels.
    #[must_use]
    pub fn tries(&self) -> u32 {
        self.routes.iter().map(|route| route.tries).sum()
    }

    /// Returns the warning and the number of the alert that it tells, when it tells one.
    #[must_use]
    pub const fn alert(&self) -> Option<(WarningId, u32)> {
        match self.subject {
            Subject::Alert { warning, number, .. } => Some((warning, number)),
            Subject::Notice | Subject::Test => None,
        }
    }

    /// Returns the warning that it says is over, when that is what it says.
    #[must_use]
    pub const fn clears(&self) -> Option<WarningId> {
        match self.subject {
            Subject::Alert { warning, message_type: MessageType::Cancel, .. } => Some(warning),
            Subject::Alert { message_type: MessageType::Alert | MessageType::Update, .. }
            | Subject::Notice
            | Subject::Test => None,
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("id", &self.id)
            .field("subject", &self.subject)
            .field("recipient", &self.recipient)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

/// What came of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing is known yet: it is in flight, or a power cut hides how it went.
    Open,
    /// Called off before a byte went out.
    CalledOff,
    /// The network took every segment.
    Accepted,
    /// Every segment is in the recipient's telephone.
    Delivered,
    /// Nothing went out; trying again may help.
    Retry {
        /// What was wrong.
        reason: String,
    },
    /// Nothing went out, and it never will by this channel.
    Rejected {
        /// What was wrong.
        reason: String,
    },
    /// Nothing went out: the channel itself does not work.
    ChannelDown {
        /// What was wrong.
        reason: String,
    },
    /// Something may have gone out.
    Unknown {
        /// What was seen instead of an answer.
        reason: String,
    },
    /// The network took it and later gave it up.
    GivenUp {
        /// Why, in the network's words.
        reason: String,
    },
}

impl Outcome {
    /// Returns the word used in the database.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::CalledOff => "called off",
            Self::Accepted => "accepted",
            Self::Delivered => "delivered",
            Self::Retry { .. } => "retry",
            Self::Rejected { .. } => "rejected",
            Self::ChannelDown { .. } => "channel down",
            Self::Unknown { .. } => "unknown",
            Self::GivenUp { .. } => "given up",
        }
    }

    /// Returns why, where there is a reason.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match self {
            Self::Open | Self::CalledOff | Self::Accepted | Self::Delivered => None,
            Self::Retry { reason }
            | Self::Rejected { reason }
            | Self::ChannelDown { reason }
            | Self::Unknown { reason }
            | Self::GivenUp { reason } => Some(reason),
        }
    }

    /// Returns whether segments may have gone out, and so count against the budget.
    #[must_use]
    pub const fn may_have_left(&self) -> bool {
        match self {
            Self::Open
            | Self::Accepted
            | Self::Delivered
            | Self::Unknown { .. }
            | Self::GivenUp { .. } => true,
            Self::CalledOff
            | Self::Retry { .. }
            | Self::Rejected { .. }
            | Self::ChannelDown { .. } => false,
        }
    }
}

/// A segment that left, as the network knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// A modem's message reference in decimal, or a provider's message id.
    pub reference: String,
    /// Whether a receipt said that it is in the recipient's telephone.
    pub delivered: bool,
}

/// One try at a delivery: a row of the store, written before the first byte goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Its number.
    pub id: AttemptId,
    /// At which delivery.
    pub delivery: DeliveryId,
    /// By which channel.
    pub channel: Arc<str>,
    /// In which run of the gateway.
    pub boot: BootId,
    /// When it was chosen for the lane.
    pub started: Timestamp,
    /// Segments that it takes from the budget of the day of `started`, if they leave.
    pub segments: u16,
    /// The last message reference (0 to 255) that the channel's modem gave before: a status report about a text whose
    /// own reference was lost bears the next one.
    pub reference_before: Option<u8>,
    /// What came of it.
    pub outcome: Outcome,
    /// When that was known.
    pub ended: Option<Timestamp>,
    /// The segments that left, in order, and their receipts.
    pub references: Vec<Reference>,
}

/// A record that the store must write; the whole of it, as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A delivery is now so.
    Delivery(Delivery),
    /// An attempt is now so.
    Attempt(Attempt),
}
