//! How long to wait before something far away is tried again.

use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use std::time::Duration;

/// Waits that double, each drawn between its half and its whole, so that the gateways of a district do not come back all
/// at once.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    wait: Duration,
    random: ChaCha8Rng,
}

impl Backoff {
    /// Makes one whose first wait is `first` at the most. It doubles with every failure, up to `longest`. A seed replays.
    #[must_use]
    pub fn seeded(first: Duration, longest: Duration, seed: u64) -> Self {
        Self { first, longest, wait: first, random: ChaCha8Rng::seed_from_u64(seed) }
    }

    /// Returns how long to wait now; the next wait is twice as long.
    pub fn draw(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(self.longest);
        self.scatter(wait)
    }

    /// Returns something between the half of `wait` and all of it.
    pub fn scatter(&mut self, wait: Duration) -> Duration {
        wait.mul_f64(f64::from(self.random.next_u32()) / f64::from(u32::MAX) / 2.0 + 0.5)
    }

    /// Begins anew with the first wait.
    pub const fn reset(&mut self) {
        self.wait = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_FIRST: Duration = Duration::from_secs(1);
    const WAIT_MAX: Duration = Duration::from_mins(1);

    fn seeded(seed: u64) -> Backoff {
        Backoff::seeded(WAIT_FIRST, WAIT_MAX, seed)
    }

    #[test]
    fn waits_double_up_to_the_longest_and_are_never_less_than_half() {
        let mut backoff = seeded(1);
        let mut whole = WAIT_FIRST;
        for _ in 0..20 {
            let wait = backoff.draw();
            assert!(wait >= whole / 2 && wait <= whole, "{wait:?} of {whole:?}");
            whole = (whole * 2).min(WAIT_MAX);
        }
        assert_eq!(whole, WAIT_MAX);
    }

    #[test]
    fn two_gateways_do_not_wait_equally_long() {
        let waits = |seed| {
            let mut backoff = seeded(seed);
            std::array::from_fn::<Duration, 8, _>(|_| backoff.draw())
        };
        assert_ne!(waits(1), waits(2));
        assert_eq!(waits(1), waits(1), "a seed replays");
    }

    #[test]
    fn a_connection_that_held_makes_the_next_wait_short_again() {
        let mut backoff = seeded(1);
        for _ in 0..10 {
            backoff.draw();
        }
        assert!(backoff.draw() > WAIT_FIRST);
        backoff.reset();
        assert!(backoff.draw() <= WAIT_FIRST);
    }
}
