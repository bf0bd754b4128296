//! Deliberate faults, for the seeded search to find: a search that misses them proves nothing by passing.
//!
//! Without the cargo feature `planted` no fault can be turned on, and [`is`] is the constant `false`.

/// One deliberate fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// The outbox hands out a text whose attempt has not been given to the store.
    AttemptNotStoredFirst,
    /// The outbox takes an attempt that a restart cut short for one that never began.
    RecoveryForgetsWriting,
    /// The outbox sends advice again when its fate is unknown.
    UnknownAdviceResent,
    /// The outbox does not mark the text that may be a second copy.
    DuplicateUnmarked,
    /// The outbox sends what has expired.
    ExpiredSent,
    /// The outbox believes a receipt whose reference fits, whoever it is about.
    ReceiptByReferenceAlone,
    /// The outbox tells the all-clear to people who never heard of the warning.
    AllClearToEverybody,
    /// The outbox never tells the all-clear to those whose text was in flight when the warning ended.
    AllClearMissed,
    /// The outbox goes on sending what a later alert has replaced.
    SupersededSent,
    /// The outbox lets the budget hold danger back.
    BudgetBlocksDanger,
    /// The outbox lets advice overdraw the budget.
    AdviceOverdraws,
    /// The outbox tries the next channel while the network still has the text.
    FailoverInFlight,
    /// The outbox gives a delivery that has ended a second end.
    SecondEnd,
    /// The outbox serves the oldest first, whatever its priority.
    PriorityIgnored,
    /// The outbox comes back sooner than the network asked.
    RetryAfterIgnored,
    /// The engine lets a level end as soon as it is below where it began.
    HysteresisForgotten,
    /// The engine counts a hold over a gap in the readings.
    HoldOverGap,
    /// The engine judges by values that cannot be believed.
    SuspectJudged,
    /// The engine takes a reading that comes again for a new one.
    RepetitionTaken,
    /// The engine keeps what has just left a window in it.
    WindowTooLong,
    /// The engine forgets at a restart since when a condition holds.
    HoldForgottenAtRestart,
    /// The engine follows the rule's last level instead of the highest.
    HighestIgnored,
    /// The engine lets late readings raise levels.
    LateRaises,
    /// The engine takes what came after newer readings for the time at which a hold goes on.
    HoldAtOldTime,
    /// The engine counts what a silent node said last.
    SilentCounted,
    /// The engine takes a condition of which too little is known for one that fails.
    UnknownFails,
    /// The engine never finds a warning of silence alone out of date when its node is heard.
    SilenceUnended,
    /// The engine forgets an earlier silence for a later one that is waited for.
    LaterSilenceWaited,
    /// The engine counts the time without power as silence.
    OutageBlamed,
    /// The engine issues anew what the rule that spoke first saw, whether it is heard or not.
    ReissuedUnheard,
    /// The engine raises again at once what it has just cleared.
    CoolDownIgnored,
    /// The engine tells what each rule does by itself.
    RulesFollowedApart,
    /// The engine forgets at a reload which limits held.
    HysteresisForgottenAtReload,
    /// The engine takes a counter's wrap for a new beginning.
    WrapIgnored,
    /// The radio link's window moves one counter too few.
    RadioWindowOffByOne,
    /// A node goes on after a restart with counters that it may have used.
    RadioCounterReuse,
    /// The gateway acknowledges a frame before it is committed.
    RadioAckBeforeCommit,
    /// The gateway takes a new key for the only one as soon as it has offered it.
    RadioEpochMixUp,
}

impl Bug {
    /// The faults of the engine.
    pub const ENGINE: [Self; 7] = [
        Self::HysteresisForgotten,
        Self::HoldOverGap,
        Self::SuspectJudged,
        Self::RepetitionTaken,
        Self::WindowTooLong,
        Self::HoldForgottenAtRestart,
        Self::HighestIgnored,
    ];

    /// The faults of the engine that need a village of several nodes and rules to show.
    pub const VILLAGE: [Self; 12] = [
        Self::LateRaises,
        Self::HoldAtOldTime,
        Self::SilentCounted,
        Self::UnknownFails,
        Self::SilenceUnended,
        Self::LaterSilenceWaited,
        Self::OutageBlamed,
        Self::ReissuedUnheard,
        Self::CoolDownIgnored,
        Self::RulesFollowedApart,
        Self::HysteresisForgottenAtReload,
        Self::WrapIgnored,
    ];

    /// The faults of the radio link.
    pub const RADIO: [Self; 4] = [
        Self::RadioWindowOffByOne,
        Self::RadioCounterReuse,
        Self::RadioAckBeforeCommit,
        Self::RadioEpochMixUp,
    ];

    /// The faults of the outbox.
    pub const OUTBOX: [Self; 15] = [
        Self::AttemptNotStoredFirst,
        Self::RecoveryForgetsWriting,
        Self::UnknownAdviceResent,
        Self::DuplicateUnmarked,
        Self::ExpiredSent,
        Self::ReceiptByReferenceAlone,
        Self::AllClearToEverybody,
        Self::AllClearMissed,
        Self::SupersededSent,
        Self::BudgetBlocksDanger,
        Self::AdviceOverdraws,
        Self::FailoverInFlight,
        Self::SecondEnd,
        Self::PriorityIgnored,
        Self::RetryAfterIgnored,
    ];
}

#[cfg(feature = "planted")]
thread_local! {
    /// The one place where the pure core remembers something; it exists only in a build that is there to be wrong.
    static PLANTED: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

/// Turns one fault on for this thread, or all of them off.
#[cfg(feature = "planted")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

/// Returns whether `bug` is turned on.
#[cfg(feature = "planted")]
#[must_use]
pub fn is(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Returns whether `bug` is turned on: never, in this build.
#[cfg(not(feature = "planted"))]
#[must_use]
pub const fn is(_: Bug) -> bool {
    false
}
