//! Deliberate faults, for the search to find. A build without the feature `planted` has none; a node's firmware has not
//! even the feature.

#![allow(unexpected_cfgs, reason = "the nodes' firmware does not know the feature")]

/// One deliberate fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// The window moves one counter too few.
    WindowOffByOne,
    /// A node goes on after a restart where its last mark began, not where it ended.
    CounterReuse,
    /// The gateway takes a new key for the only one as soon as it has offered it.
    EpochMixUp,
}

/// Returns whether `fault` is turned on.
#[cfg(feature = "planted")]
pub(super) fn is(fault: Fault) -> bool {
    use super::super::super::domain::planted::{self, Bug};
    planted::is(match fault {
        Fault::WindowOffByOne => Bug::RadioWindowOffByOne,
        Fault::CounterReuse => Bug::RadioCounterReuse,
        Fault::EpochMixUp => Bug::RadioEpochMixUp,
    })
}

/// Returns whether `fault` is turned on: never, in this build.
#[cfg(not(feature = "planted"))]
pub(super) const fn is(_: Fault) -> bool {
    false
}
