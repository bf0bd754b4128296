//! How long to wait before a broker is tried again.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use std::time::Duration;

/// Longest first wait. It doubles with every failure …
pub(super) const WAIT_FIRST: Duration = Duration::from_secs(1);
/// … up to this.
pub(super) const WAIT_MAX: Duration = Duration::from_mins(1);

/// Waits that double, each drawn between its half and its whole, so that the gateways of a district do not come back to
/// their broker all at once.
#[derive(Debug)]
pub(super) struct Backoff {
    wait: Duration,
    random: ChaCha8Rng,
}

impl Backoff {
    pub(super) fn seeded(seed: u64) -> Self {
        Self { wait: WAIT_FIRST, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Returns how long to wait now; the next wait is twice as long.
    pub(super) fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(WAIT_MAX);
        wait.mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX) / 2.0 + 0.5)
    }

    /// Begins anew with the first wait.
    pub(super) fn reset(&mut self) {
        self.wait = WAIT_FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_less_than_half() {
        let mut backoff = Backoff::seeded(1);
        let mut whole = WAIT_FIRST;
        for _ in 0..20 {
            let wait = backoff.next();
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(WAIT_MAX);
        }
        assert_eq!(whole, WAIT_MAX);
    }

    #[test]
    fn two_gateways_do_not_wait_equally_long() {
        let waits = |seed| {
            let mut backoff = Backoff::seeded(seed);
            std::array::from_fn::<Duration, 8, _>(|_| backoff.next())
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1), "a seed replays");
    }

    #[test]
    fn a_connection_that_held_makes_the_next_wait_short_again() {
        let mut backoff = Backoff::seeded(1);
        for _ in 0..10 {
            backoff.next();
        }
        assert!(backoff.next() > WAIT_FIRST);
        backoff.reset();
        assert!(backoff.next() <= WAIT_FIRST);
    }
}
