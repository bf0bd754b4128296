//! What can go wrong at a provider.

use std::time::Duration;

/// Whether the provider took the messages before it misbehaved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Taken {
    /// They are on their way.
    Yes,
    /// They are not.
    No,
}

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// Nothing.
    None,
    /// No answer ever comes.
    Silence(Taken),
    /// The connection is reset as soon as a byte of the request is there; nothing is taken.
    ResetBeforeReading,
    /// The connection is reset after the whole request was read.
    Reset(Taken),
    /// HTTP 200 with a body that is not what it should be.
    Garbage(Taken),
    /// HTTP 500.
    Error(Taken),
    /// HTTP 503; nothing is taken.
    Unavailable,
    /// HTTP 429 with `Retry-After`; nothing is taken.
    Throttled {
        /// What it asks for.
        retry_after_secs: u64,
    },
    /// HTTP 200 with the page of a captive portal; the request never reached the provider.
    LoginPage,
    /// HTTP 302 to the page of a captive portal; the request never reached the provider.
    Redirect,
    /// Taken, but the answer ends before its announced length.
    CutAnswer,
    /// Taken, and the answer comes a byte at a time.
    SlowAnswer,
    /// The account has no credit, in the dialect's words; nothing is taken.
    NoCredit,
    /// Every recipient is refused, in the dialect's words; nothing is taken.
    Refuse,
    /// A lie: refused in the dialect's words, and taken all the same.
    RefuseButTake,
    /// A lie: accepted in the dialect's words, and lost.
    AcceptButLose,
}

impl Fault {
    /// Returns whether the provider takes what it would otherwise take.
    #[must_use]
    pub const fn takes(self) -> bool {
        match self {
            Self::None
            | Self::CutAnswer
            | Self::SlowAnswer
            | Self::RefuseButTake
            | Self::Silence(Taken::Yes)
            | Self::Reset(Taken::Yes)
            | Self::Garbage(Taken::Yes)
            | Self::Error(Taken::Yes) => true,
            Self::Silence(Taken::No)
            | Self::Reset(Taken::No)
            | Self::Garbage(Taken::No)
            | Self::Error(Taken::No)
            | Self::ResetBeforeReading
            | Self::Unavailable
            | Self::Throttled { .. }
            | Self::LoginPage
            | Self::Redirect
            | Self::NoCredit
            | Self::Refuse
            | Self::AcceptButLose => false,
        }
    }
}

/// What becomes of one message's delivery report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// It comes once.
    Once,
    /// It comes twice.
    Twice,
    /// It comes this much later.
    Late(Duration),
    /// It never comes.
    Missing,
}

impl Report {
    pub(super) fn delays(self, usual: Duration) -> Vec<Duration> {
        match self {
            Self::Once => vec![usual],
            Self::Twice => vec![usual, usual * 2],
            Self::Late(more) => vec![usual + more],
            Self::Missing => Vec::new(),
        }
    }
}
