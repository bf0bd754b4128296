//! How a node's seconds lie on the gateway's time line: what tells a fresh frame from one that was held back.

/// A frame may always be so late, s.
pub const LATE_S: u64 = 120;
/// And so many hundredths of the time since the last fresh frame: what a node's clock may drift.
pub const DRIFT_PERCENT: u64 = 3;

/// Whether a frame was on its way for as long as it should.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Freshness {
    /// It came when it was sent, as far as drift lets us tell.
    Fresh,
    /// It fits the frames before it, but nothing shows that those were fresh: the node began again, or the gateway did.
    Unproven,
    /// It came later than drift explains: somebody may have held it back. It must not trigger anything alone.
    Stale {
        /// How much later than expected, s.
        lag_s: u32,
    },
}

/// The best known relation of gateway time to a node's counter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Anchor {
    /// Gateway seconds minus node seconds.
    pub(super) offset: i64,
    /// When a fresh frame was last heard, gateway seconds.
    pub(super) at: u64,
    /// Whether the node answered to something that was just sent.
    pub(super) proven: bool,
}

fn signed(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

impl Anchor {
    /// Returns the relation that a frame shows.
    pub(super) fn set(counter: u32, now_s: u64, proven: bool) -> Self {
        Self { offset: signed(now_s).saturating_sub(i64::from(counter)), at: now_s, proven }
    }

    /// Judges a frame that came now, and returns the relation from now on.
    ///
    /// A frame that is early shows that the frames before it were late: the relation follows it at once. One that is
    /// late moves the relation by no more than drift explains, so that nobody can hold frames back a little more each time.
    pub(super) fn judge(self, counter: u32, now_s: u64) -> (Self, Freshness) {
        let fresh = if self.proven { Freshness::Fresh } else { Freshness::Unproven };
        let seen = Self::set(counter, now_s, self.proven);
        let lag = seen.offset.saturating_sub(self.offset);
        let Some(lag) = u64::try_from(lag).ok().filter(|lag| *lag > 0) else {
            return (seen, fresh);
        };
        let drift = now_s.saturating_sub(self.at).saturating_mul(DRIFT_PERCENT) / 100;
        if lag > LATE_S.max(drift) {
            return (self, Freshness::Stale { lag_s: u32::try_from(lag).unwrap_or(u32::MAX) });
        }
        let offset = self.offset.saturating_add(signed(lag.min(drift)));
        (Self { offset, at: now_s, ..self }, fresh)
    }

    /// Returns what the node's seconds should be now, as far as they can be known.
    pub(super) fn counter_at(self, now_s: u64) -> u32 {
        let counter = signed(now_s).saturating_sub(self.offset).max(0);
        u32::try_from(counter).unwrap_or(u32::MAX)
    }
}
