//! What the operator decides about the outbox, and the bounds and schedules that nobody needs to.

use std::sync::Arc;
use std::time::Duration;

/// Deliveries that have not ended which the outbox holds, unless told otherwise.
pub const DELIVERIES_MAX: usize = 50_000;

/// Recipients remembered as told, over all open warnings; above it the all-clear of a new warning goes to everybody.
pub const TOLD_MAX: usize = 200_000;

/// Failures of one delivery that may pass; at the longest wait between them they last for 33 hours. A channel that is
/// down does not count: the delivery is not to blame.
pub const TRIES_MAX: u32 = 200;

/// Receipts kept while the answer that names their reference is still to come, for each lane.
pub const EARLY_RECEIPTS_MAX: usize = 16;

/// How long evidence about an attempt of unknown fate is awaited: most status reports come within 90 s of the text.
pub const UNKNOWN_WINDOW: Duration = Duration::from_secs(90);

/// First wait after a failure that may pass: a GSM cell that refuses one text mostly takes it within seconds.
pub const RETRY_DELAY_MIN: Duration = Duration::from_secs(15);

/// Longest wait between two attempts: short against the life of an alert, long for a network that is down.
pub const RETRY_DELAY_MAX: Duration = Duration::from_mins(10);

/// Wait after a channel was found to be down, so that a channel that comes and goes is not tried in a tight loop.
pub const DOWN_DELAY: Duration = Duration::from_secs(5);

/// A day of the budget: 24 h of the gateway's own time line, because the calendar may be unknown.
pub const DAY_MS: i64 = 86_400_000;

/// One channel, as the outbox sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneSettings {
    /// Name of the channel.
    pub name: Arc<str>,
    /// Texts that may be on their way to it at once, at least 1: one for a modem, so that a crash leaves at most one whose
    /// fate nobody knows. Advice takes half of the places at the most, so that danger finds one.
    pub width: usize,
    /// Least time between the starts of two texts, for each segment of the former.
    pub segment_interval: Duration,
    /// How long a receipt is awaited; zero for a channel that gives none. Never beyond the expiry of the alert and
    /// [`UNKNOWN_WINDOW`], because the network drops an expired text.
    pub report_window: Duration,
}

/// Segments that may leave in a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Advice stops here; danger and the all-clear never do.
    pub segments_per_day: u32,
    /// Segments more that warnings may take.
    pub warning_reserve: u32,
}

/// What the outbox is told at its start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The channels.
    pub lanes: Vec<LaneSettings>,
    /// What may be spent; `None` for no limit.
    pub budget: Option<Budget>,
    /// Deliveries that have not ended which are held at once.
    pub deliveries_max: usize,
}
