//! Deliberate faults, to prove that the seeded search finds what it looks for. Without the feature `planted` none of
//! them exists in the program.

/// A deliberate fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Bug {
    /// A delivery whose fate is unknown is always sent again.
    ResendsEverything,
    /// A delivery is handed over although it has expired.
    SendsExpired,
    /// A receipt is matched by its reference alone.
    MatchesReferenceOnly,
    /// What was being written when the power went is taken for not sent.
    ForgetsWriting,
    /// Everybody gets the all-clear, told before or not.
    ClearsEverybody,
    /// An exhausted budget holds danger back.
    BudgetsDanger,
    /// A newer alert does not replace what still waits.
    KeepsSuperseded,
    /// The milder goes first.
    ReversesPriority,
    /// A level once reached forgets its hysteresis.
    ForgetsHysteresis,
    /// A hold is counted over gaps in the readings.
    HoldsOverGaps,
    /// A suspect reading is judged.
    JudgesSuspects,
    /// A repeated reading is stored again.
    StoresRepeats,
}

/// Every deliberate fault.
pub const ALL: [Bug; 12] = [
    Bug::ResendsEverything,
    Bug::SendsExpired,
    Bug::MatchesReferenceOnly,
    Bug::ForgetsWriting,
    Bug::ClearsEverybody,
    Bug::BudgetsDanger,
    Bug::KeepsSuperseded,
    Bug::ReversesPriority,
    Bug::ForgetsHysteresis,
    Bug::HoldsOverGaps,
    Bug::JudgesSuspects,
    Bug::StoresRepeats,
];

#[cfg(feature = "planted")]
mod switch {
    use super::Bug;
    use std::cell::Cell;

    thread_local! {
        static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
    }

    /// Plants a fault in this thread, or takes it out.
    pub fn plant(bug: Option<Bug>) {
        PLANTED.set(bug);
    }

    pub(crate) fn is(bug: Bug) -> bool {
        PLANTED.get() == Some(bug)
    }
}

#[cfg(not(feature = "planted"))]
mod switch {
    use super::Bug;

    pub(crate) const fn is(_: Bug) -> bool {
        false
    }
}

pub(crate) use switch::is;
#[cfg(feature = "planted")]
pub use switch::plant;
