//! Warnings and the alerts about them, in the words of CAP 1.2.

use crate::domain::message::Priority;
use crate::domain::rule::Signal;
use crate::domain::time::Timestamp;

/// How bad it is. CAP severity and urgency follow from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Be aware (yellow): CAP severity Moderate.
    Advisory,
    /// Be prepared (orange): CAP severity Severe.
    Warning,
    /// Act now (red): CAP severity Extreme.
    Danger,
}

impl Level {
    /// Every level, from mild to severe.
    pub const ALL: [Self; 3] = [Self::Advisory, Self::Warning, Self::Danger];

    /// Returns the word used in configuration, database and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Advisory => "advisory",
            Self::Warning => "warning",
            Self::Danger => "danger",
        }
    }

    /// Returns the level that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|level| level.as_str() == word)
    }

    /// Returns how its texts rank on a scarce channel.
    #[must_use]
    pub const fn priority(self) -> Priority {
        match self {
            Self::Advisory => Priority::Advice,
            Self::Warning => Priority::Warning,
            Self::Danger => Priority::Danger,
        }
    }

    /// Returns CAP 1.2 `severity`.
    #[must_use]
    pub const fn severity(self) -> &'static str {
        match self {
            Self::Advisory => "Moderate",
            Self::Warning => "Severe",
            Self::Danger => "Extreme",
        }
    }

    /// Returns CAP 1.2 `urgency`.
    #[must_use]
    pub const fn urgency(self) -> &'static str {
        match self {
            Self::Advisory => "Future",
            Self::Warning => "Expected",
            Self::Danger => "Immediate",
        }
    }
}

/// CAP 1.2 `certainty`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Certainty {
    /// It has been measured.
    #[default]
    Observed,
    /// Probability above one half.
    Likely,
    /// Possible, but not likely.
    Possible,
}

impl Certainty {
    /// Returns the word that CAP spells.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Observed => "Observed",
            Self::Likely => "Likely",
            Self::Possible => "Possible",
        }
    }
}

/// Number of a warning: counts up from one on each gateway.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WarningId(pub u64);

/// CAP 1.2 `msgType`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MessageType {
    /// The first about a warning.
    Alert,
    /// Replaces what was said before.
    Update,
    /// The all-clear.
    Cancel,
}

impl MessageType {
    /// Every type.
    pub const ALL: [Self; 3] = [Self::Alert, Self::Update, Self::Cancel];

    /// Returns the type that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|message_type| message_type.as_str() == word)
    }

    /// Returns the word that CAP spells.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Alert => "Alert",
            Self::Update => "Update",
            Self::Cancel => "Cancel",
        }
    }
}

/// Why an alert was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The first level was reached.
    Raised,
    /// A more severe level was reached.
    Upgraded,
    /// Only a milder level holds now.
    Downgraded,
    /// Still so, and the alert before was about to expire.
    Reissued,
    /// No level holds any more.
    Cleared,
    /// The rule is gone from the configuration.
    Withdrawn,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 6] = [
        Self::Raised,
        Self::Upgraded,
        Self::Downgraded,
        Self::Reissued,
        Self::Cleared,
        Self::Withdrawn,
    ];

    /// Returns the reason that `word` names.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == word)
    }

    /// Returns the word used in the database, in JSON and on screen.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Raised => "raised",
            Self::Upgraded => "upgraded",
            Self::Downgraded => "downgraded",
            Self::Reissued => "reissued",
            Self::Cleared => "cleared",
            Self::Withdrawn => "withdrawn",
        }
    }
}

/// One immutable message about a warning.
#[derive(Clone, Debug, PartialEq)]
pub struct Alert {
    /// Which warning.
    pub warning: WarningId,
    /// Counts the alerts of that warning from one.
    pub number: u32,
    /// What it does to those before it.
    pub message_type: MessageType,
    /// Why it was made.
    pub reason: Reason,
    /// The level now; for an all-clear, the level that has ended.
    pub level: Level,
    /// The highest level that the warning has had.
    pub level_max: Level,
    /// What threatens.
    pub hazard: String,
    /// Where.
    pub area: String,
    /// Name of the rule that decided.
    pub rule: String,
    /// Version of the rule book that it stood in.
    pub rule_version: String,
    /// When it was decided.
    pub sent: Timestamp,
    /// When it stops being true of itself.
    pub expires: Timestamp,
    /// What was seen.
    pub observed: Vec<Observed>,
}

/// A signal's value at the moment of a decision.
#[derive(Clone, Debug, PartialEq)]
pub struct Observed {
    /// Which signal.
    pub signal: Signal,
    /// Its value, in the unit of the signal.
    pub value: f64,
}

/// Something that the technician should know; never told to the public.
#[derive(Clone, Debug, PartialEq)]
pub struct Notice {
    /// Which node, when it is about one.
    pub node: Option<crate::domain::rule::NodeIndex>,
    /// What about it.
    pub kind: NoticeKind,
    /// When it was found.
    pub at: Timestamp,
}

/// What a technician is told of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NoticeKind {
    /// A node is unheard for longer than it promised.
    Silent,
    /// A silent node is heard again.
    HeardAgain,
    /// A sensor's readings cannot be believed.
    Suspect(crate::domain::quantity::Quantity, crate::domain::reading::Quality),
    /// A node's own clock has been set anew.
    ClockStepped,
    /// A warning ran out because nothing has been heard that could renew or clear it.
    WarningExpired(WarningId),
}

impl NoticeKind {
    /// Returns the notice in words for the record and for the technician.
    #[must_use]
    pub fn words(self) -> String {
        match self {
            Self::Silent => "silent".to_owned(),
            Self::HeardAgain => "heard again".to_owned(),
            Self::Suspect(quantity, quality) => format!("{quantity} suspect: {}", quality.as_str()),
            Self::ClockStepped => "its clock was set".to_owned(),
            Self::WarningExpired(warning) => {
                format!(
                    "warning #{} ran out: nothing is heard that could renew or clear it",
                    warning.0
                )
            }
        }
    }
}
