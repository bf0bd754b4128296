//! What the daemon knows of itself: the clock, counters, and the news of what it does.

use crate::domain::time::{ClockQuality, Timestamp, WallClock};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// News that a slow listener may miss before it is told so.
const NEWS_MAX: usize = 1024;

/// The time line, as it passes. A factor makes it pass faster than real time, for demonstrations.
#[derive(Clone, Debug)]
pub struct Clock {
    begin: Timestamp,
    began: Instant,
    factor: f64,
    wall: Arc<Mutex<WallClock>>,
}

impl Clock {
    /// Makes a clock that stands at `begin` now.
    #[must_use]
    pub fn new(begin: Timestamp, wall: WallClock, factor: f64) -> Self {
        Self { begin, began: Instant::now(), factor, wall: Arc::new(Mutex::new(wall)) }
    }

    /// Returns the moment that it is.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.begin + self.began.elapsed().mul_f64(self.factor)
    }

    /// Returns where the time line stands on the calendar.
    #[must_use]
    pub fn wall(&self) -> WallClock {
        *self.wall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the Unix time in milliseconds at `at`, unless nothing has set the calendar yet.
    #[must_use]
    pub fn calendar_ms(&self, at: Timestamp) -> Option<i64> {
        let wall = self.wall();
        (wall.quality != ClockQuality::Unset).then(|| wall.unix_ms(at))
    }

    /// Sets where the time line stands on the calendar.
    pub fn set_wall(&self, wall: WallClock) {
        *self.wall.lock().unwrap_or_else(PoisonError::into_inner) = wall;
    }

    /// Returns how long `span` of the time line takes in real time.
    #[must_use]
    pub fn real(&self, span: Duration) -> Duration {
        span.div_f64(self.factor)
    }

    /// Waits until the time line reaches `at`; for ever where there is none.
    ///
    /// # Cancel safety
    ///
    /// May be dropped.
    pub async fn sleep_until(&self, at: Option<Timestamp>) {
        match at {
            Some(at) => tokio::time::sleep(self.real(at.since(self.now()))).await,
            None => std::future::pending().await,
        }
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds to it.
    pub fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    /// Returns it.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the pipeline has counted since it started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames taken in.
    pub frames: Counter,
    /// Readings stored.
    pub readings: Counter,
    /// Readings stored that cannot be believed.
    pub suspect: Counter,
    /// Readings that came again and were not stored again.
    pub repeated: Counter,
    /// Frames on topics that no template describes.
    pub no_template: Counter,
    /// Frames of nodes that are not declared.
    pub undeclared_nodes: Counter,
    /// Values of quantities that their node does not declare.
    pub undeclared_quantities: Counter,
    /// Frames that could not be read.
    pub undecoded: Counter,
    /// Frames that could not be stored, and must be sent again.
    pub not_stored: Counter,
    /// Transactions.
    pub turns: Counter,
    /// Radio frames that were not true, not new, or no frames.
    pub radio_refused: Counter,
    /// Answers to radio nodes that found no room.
    pub downlinks_dropped: Counter,
    /// Orders to sirens that found no broker, or no room on the way to it.
    pub publications_dropped: Counter,
    /// Changes that the display of warnings missed.
    pub shown_missed: Counter,
    /// Alerts made.
    pub alerts: Counter,
    /// Deliveries planned.
    pub deliveries: Counter,
    /// Writes that failed.
    pub write_failures: Counter,
    /// Readings that were judged and never stored, because the disk failed for too long.
    pub readings_dropped: Counter,
    /// Receipts of networks that belong to nothing.
    pub stray_receipts: Counter,
}

/// What happens, for whoever wants to watch: the demonstration, `kengele status --follow`, tests.
#[derive(Clone, Debug)]
pub enum News {
    /// Readings were stored.
    Readings {
        /// How many.
        count: usize,
    },
    /// People are being told.
    Alert(Arc<crate::domain::warning::Alert>),
    /// The technician is being told.
    Notice {
        /// Which node.
        node: Option<String>,
        /// What about it.
        words: String,
        /// When.
        at: Timestamp,
    },
    /// A delivery changed its state.
    Delivery(Arc<crate::domain::outbox::Delivery>),
    /// The disk fails, or works again.
    Disk {
        /// Whether it works.
        works: bool,
    },
}

/// The daemon's news.
#[derive(Clone, Debug)]
pub struct Telemetry {
    /// The clock.
    pub clock: Clock,
    /// Counters.
    pub counters: Arc<Counters>,
    news: broadcast::Sender<News>,
}

impl Telemetry {
    /// Makes the telemetry of a daemon.
    #[must_use]
    pub fn new(clock: Clock) -> Self {
        Self { clock, counters: Arc::default(), news: broadcast::channel(NEWS_MAX).0 }
    }

    /// Tells whoever listens.
    pub fn tell(&self, news: impl FnOnce() -> News) {
        if self.news.receiver_count() > 0 {
            // It fails only when the last listener has just gone.
            let _heard = self.news.send(news()).is_ok();
        }
    }

    /// Listens from now on.
    #[must_use]
    pub fn listen(&self) -> broadcast::Receiver<News> {
        self.news.subscribe()
    }
}
