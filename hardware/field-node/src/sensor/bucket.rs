//! Tipping bucket: a reed contact that closes once for each filling.

/// Two closings nearer than that are one, ms: a reed bounces for a few ms, and the fastest bucket needs longer to tip
/// (0.2 mm at 500 mm/h is one in 1.4 s).
pub const DEBOUNCE_MS: u64 = 150;

/// Counts tips. What fell between two reports the logic adds up ([`Gather::Sum`](crate::filter::Gather)).
#[derive(Clone, Debug, Default)]
pub struct Bucket {
    tips: u32,
    last_ms: Option<u64>,
}

impl Bucket {
    /// Takes a closing of the contact.
    pub fn close(&mut self, now_ms: u64) {
        if self.last_ms.is_none_or(|last_ms| now_ms.saturating_sub(last_ms) >= DEBOUNCE_MS) {
            self.tips = self.tips.saturating_add(1);
            self.last_ms = Some(now_ms);
        }
    }

    /// Returns the tips since the last time, and begins again.
    pub fn take(&mut self) -> u32 {
        core::mem::take(&mut self.tips)
    }
}
