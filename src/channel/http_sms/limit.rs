//! The pace that a provider allows.

use super::preset::Limit;
use std::time::Duration;
use tokio::time::Instant;

/// A token bucket, and the pause that the provider last asked for.
#[derive(Debug)]
pub(super) struct Pace {
    limit: Option<Limit>,
    tokens: f64,
    counted: Instant,
    silent_until: Option<Instant>,
}

impl Pace {
    pub(super) fn new(limit: Option<Limit>, now: Instant) -> Self {
        let tokens = limit.map_or(0.0, |limit| f64::from(limit.burst.max(1)));
        Self { limit, tokens, counted: now, silent_until: None }
    }

    /// Returns how much of the pause that the provider asked for is left.
    pub(super) fn silence(&self, now: Instant) -> Option<Duration> {
        let left = self.silent_until?.saturating_duration_since(now);
        (!left.is_zero()).then_some(left)
    }

    /// Notes that the provider wants to hear nothing for `pause`.
    pub(super) fn silent_for(&mut self, pause: Duration, now: Instant) {
        self.silent_until = self.silent_until.max(Some(now + pause));
    }

    /// Takes a request's turn and returns how long to wait for it, or does nothing when that is more than `wait_max`.
    ///
    /// # Errors
    ///
    /// The time until a turn could be had.
    pub(super) fn take_turn(
        &mut self,
        wait_max: Duration,
        now: Instant,
    ) -> Result<Duration, Duration> {
        let Some(limit) = self.limit else { return Ok(Duration::ZERO) };
        // Slower than one request in a day is a slip in the preset, and would overflow the duration.
        let rate = limit.per_second.max(1.0 / 86_400.0);
        let gained = now.saturating_duration_since(self.counted).as_secs_f64() * rate;
        self.tokens = (self.tokens + gained).min(f64::from(limit.burst.max(1)));
        self.counted = now;
        let wait = Duration::from_secs_f64(((1.0 - self.tokens) / rate).max(0.0));
        if wait > wait_max {
            return Err(wait);
        }
        self.tokens -= 1.0;
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_after_the_burst_are_spread_over_time() {
        let start = Instant::now();
        let mut pace = Pace::new(Some(Limit { per_second: 2.0, burst: 2 }), start);
        let minute = Duration::from_mins(1);
        let waits: Vec<u128> =
            (0..4).map(|_| pace.take_turn(minute, start).unwrap().as_millis()).collect();
        assert_eq!(waits, [0, 0, 500, 1000]);
        assert_eq!(pace.take_turn(Duration::from_secs(1), start), Err(Duration::from_millis(1500)));
        let later = start + minute;
        assert_eq!(pace.take_turn(minute, later), Ok(Duration::ZERO));
        assert_eq!(pace.take_turn(minute, later), Ok(Duration::ZERO));
        assert_eq!(pace.take_turn(minute, later), Ok(Duration::from_millis(500)));
    }

    #[test]
    fn the_longest_pause_asked_for_holds() {
        let start = Instant::now();
        let mut pace = Pace::new(None, start);
        assert_eq!(pace.silence(start), None);
        pace.silent_for(Duration::from_secs(9), start);
        pace.silent_for(Duration::from_secs(3), start);
        assert_eq!(pace.silence(start), Some(Duration::from_secs(9)));
        assert_eq!(pace.silence(start + Duration::from_secs(9)), None);
    }
}
