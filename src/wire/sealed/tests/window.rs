//! The window and the freshness, each against a naive model.

use super::super::clock::Anchor;
use super::super::window::{Seen, Window};
use super::*;
use std::collections::BTreeSet;

/// Every order of up to four counters below 64, with a window of 4 and 3 bits on the air, is judged as by a set that
/// remembers everything.
#[test]
fn a_small_window_is_right_about_everything() {
    const WIDTH: u32 = 4;
    fn go(window: Window<WIDTH>, seen: &mut BTreeSet<u32>, depth: u32) -> u32 {
        if depth == 0 {
            return 1;
        }
        let mut judged = 0;
        for counter in 0..64 {
            let highest = seen.last().copied();
            let verdict = window.admit(counter);
            let expected = match highest {
                Some(highest) if counter + WIDTH <= highest => Err(Seen::TooOld),
                _ if seen.contains(&counter) => Err(Seen::Replayed),
                _ => Ok(()),
            };
            assert_eq!(verdict.map(|_| ()), expected, "{counter} after {seen:?}");
            // What the bits on the air mean: the counter itself, if it is in the window or less than a turn above it.
            let candidates = window.candidates(counter & 7, 3);
            let floor = highest.map_or(0, |highest| highest.saturating_sub(WIDTH - 1));
            if (floor..floor + 8).contains(&counter) {
                assert_eq!(candidates.ahead(0), Some(counter));
            } else if (floor + 8..floor + 16).contains(&counter) {
                assert_eq!(candidates.ahead(1), Some(counter));
            } else if counter < floor && counter + 8 >= floor {
                assert_eq!(candidates.behind(), Some(counter));
            }
            if let Ok(next) = verdict {
                let added = seen.insert(counter);
                judged += go(next, seen, depth - 1);
                if added {
                    seen.remove(&counter);
                }
            }
        }
        judged
    }
    assert!(go(Window::default(), &mut BTreeSet::new(), 3) > 40_000);
}

#[test]
fn the_whole_window_is_64_wide() {
    let mut window = Window::<WINDOW>::default().admit(1000).unwrap();
    for counter in (937..1000).rev() {
        window = window.admit(counter).unwrap();
        assert_eq!(window.admit(counter), Err(Seen::Replayed));
    }
    assert_eq!(window.admit(936), Err(Seen::TooOld));
    assert_eq!(window.admit(1064).unwrap().admit(1000), Err(Seen::TooOld));
    assert_eq!(window.admit(1063).unwrap().admit(1000), Err(Seen::Replayed));
    assert_eq!(Window::<WINDOW>::closed_at(9).admit(9), Err(Seen::Replayed));
    assert!(Window::<WINDOW>::closed_at(9).admit(10).is_ok());
}

#[test]
fn counters_end_without_overflow() {
    let window = Window::<WINDOW>::default().admit(u32::MAX).unwrap();
    let candidates = window.candidates(0x00FF_FFFF, 24);
    assert_eq!(candidates.ahead(0), Some(u32::MAX));
    assert_eq!(candidates.ahead(1), None);
    assert_eq!(window.candidates(0, 24).ahead(0), None);
}

#[test]
fn a_frame_is_late_beyond_120_seconds_or_3_percent() {
    let anchor = Anchor::set(1000, 5000, true);
    assert_eq!(anchor.judge(1600, 5600).1, Freshness::Fresh);
    assert_eq!(anchor.judge(1600, 5720).1, Freshness::Fresh);
    assert_eq!(anchor.judge(1600, 5721).1, Freshness::Stale { lag_s: 121 });
    // After 100,000 s, 3 % are 3000 s.
    assert_eq!(anchor.judge(98_000, 105_000).1, Freshness::Fresh);
    assert_eq!(anchor.judge(97_850, 105_000).1, Freshness::Stale { lag_s: 3150 });
}

#[test]
fn a_frame_that_is_early_shows_that_those_before_were_late() {
    let anchor = Anchor::set(1000, 5000, true);
    let (anchor, fresh) = anchor.judge(1700, 5600);
    assert_eq!(fresh, Freshness::Fresh);
    assert_eq!(anchor.judge(1700, 5721).1, Freshness::Stale { lag_s: 121 });
}

/// One who holds frames back a little more each time gets no further than the drift that is granted.
#[test]
fn nobody_creeps_further_than_drift() {
    let (mut anchor, mut delay, mut now) = (Anchor::set(0, 0, true), 0_u64, 0_u64);
    for _ in 0..144 {
        now += 600;
        while delay < now {
            let counter = u32::try_from(now - delay - 1).unwrap();
            match anchor.judge(counter, now) {
                (next, Freshness::Fresh) => {
                    delay += 1;
                    if delay.is_multiple_of(60) {
                        anchor = next;
                        break;
                    }
                }
                _ => break,
            }
        }
    }
    assert!(delay <= 120 + now * 3 / 100, "{delay} s after {now} s");
}

#[test]
fn a_clock_that_drifts_steadily_stays_fresh() {
    for drift_per_mille in [-25_i64, -1, 0, 1, 25, 50] {
        let mut anchor = Anchor::set(10_000, 10_000, true);
        for n in 1..=4320_i64 {
            let now = 10_000 + n * 600;
            let counter = 10_000 + n * 600 * (1000 + drift_per_mille) / 1000;
            let (next, fresh) =
                anchor.judge(u32::try_from(counter).unwrap(), u64::try_from(now).unwrap());
            assert_eq!(fresh, Freshness::Fresh, "{drift_per_mille} per mille, frame {n}");
            anchor = next;
        }
    }
}
