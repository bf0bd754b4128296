//! Client of MQTT brokers that others run (3.1.1 and 5): an acknowledgement leaves only after the commit.
//!
//! The session is persistent: while the gateway or the network is away, the broker keeps what is published and sends it
//! afterwards, and what was sent but not acknowledged it sends again when the connection comes back. Every connection
//! subscribes anew, because the broker may have lost the session and the templates may have changed.
//!
//! What could not be stored is not acknowledged. It is not worth a new connection either: the publication is still
//! here, so it goes to the pipeline again, marked as redelivered, until it is on disk. Meanwhile a broker sends no more
//! than its window of unacknowledged publications (mosquitto: 20), and a gateway that hears nothing new warns nobody.
//! Therefore, when the disk has failed for a while, the subscriptions are changed to QoS 0 until it works again: what is
//! said in that time is judged, and stored if the gateway lives until then.
//!
//! What the gateway itself has to say, orders to sirens behind a network server, goes out with QoS 1 while the broker is
//! heard. Otherwise it is dropped and counted, and so is what waits when a connection breaks: whoever orders says it again
//! as long as it is true, and nothing is said that is no longer.
//!
//! What a broker has *retained* is not taken: it does not say since when it holds, and a level of last month would be
//! judged as one of today. Everything since the session began comes through the session.

mod inbox;
mod protocol;

use crate::backoff::Backoff;
use crate::domain::frame::{Envelope, Publication};
use crate::supervise::{Stop, chain};
use crate::telemetry::Counter;
use inbox::{Inbox, Words};
use protocol::{Delivery, Error, Events, Incoming, Requests};
use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Longest first wait before a broker is tried again. It doubles with every failure …
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// … up to this.
const WAIT_MAX: Duration = Duration::from_mins(1);
/// Publications without the pipeline's word. With as many of them nothing more is read; a broker of MQTT 5 is told so.
/// After a broken connection all of them may come again: the engine knows as many of one sensor (`domain::window`).
const INFLIGHT_MAX: u16 = 128;
/// Longest publication that is taken: the listener's own bound. A broker of MQTT 5 keeps longer ones to itself.
const PACKET_BYTES_MAX: u32 = 64 * 1024;
/// Wait before what could not be stored is handed over again: as often as the pipeline tries the disk.
const STORE_RETRY: Duration = Duration::from_secs(2);
/// When nothing could be stored for so long, the broker is asked not to wait for acknowledgements.
const DEAF_AFTER: Duration = Duration::from_secs(10);
/// A connection that has held for so long has proved itself: the wait after its end is short.
const STEADY: Duration = Duration::from_secs(30);
/// Publications of our own that wait for the connection.
pub const PUBLICATIONS_MAX: usize = 64;
/// How long a broker may take to hear goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Which MQTT a broker speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

/// A user name, and perhaps a password.
#[derive(Clone)]
pub struct Login {
    user: String,
    password: Option<String>,
}

impl Login {
    /// Makes a login.
    #[must_use]
    pub fn new(user: String, password: Option<String>) -> Self {
        Self { user, password }
    }

    fn password(&self) -> &str {
        self.password.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// What a client is told at start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The broker's name in the configuration.
    pub name: String,
    /// Its host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How TLS is spoken; `None`: it is not.
    pub tls: Option<Arc<rustls::ClientConfig>>,
    /// Which MQTT.
    pub version: Version,
    /// Under what name the broker keeps the session.
    pub client_id: String,
    /// As whom.
    pub login: Option<Login>,
    /// Longest silence; from 5 s to 65,535 s.
    pub keep_alive: Duration,
    /// How long the broker keeps the session (MQTT 5).
    pub session_expiry: Duration,
    /// What to subscribe to.
    pub filters: Vec<String>,
    /// Seed of the jitter.
    pub seed: u64,
}

/// How the connection to a broker stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Link {
    /// It has not been reached yet.
    Connecting,
    /// Its publications are heard.
    Up,
    /// They are not, or not all of them.
    Down {
        /// Why, in words.
        error: String,
    },
}

/// What has been counted of one broker.
#[derive(Debug, Default)]
pub struct Counters {
    /// Publications that came, QoS 0 and those that came again included.
    pub publications: Counter,
    /// Publications that were not taken because the broker had retained them.
    pub retained: Counter,
    /// Publications that were not taken because they are too long, or their topic is no text.
    pub refused: Counter,
    /// Publications of our own.
    pub published: Counter,
    /// Publications of our own that were dropped because the broker was not heard.
    pub unpublished: Counter,
}

/// Shows how the connection to a broker stands.
#[derive(Clone, Debug)]
pub struct Handle {
    name: Arc<str>,
    link: watch::Receiver<Link>,
    counters: Arc<Counters>,
}

impl Handle {
    /// Returns the broker's name in the configuration.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns how the connection stands now.
    #[must_use]
    pub fn link(&self) -> Link {
        self.link.borrow().clone()
    }

    /// Returns what has been counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

/// What is to be said on one broker, and whether it is heard.
#[derive(Debug)]
pub struct Outbound {
    /// Publications, at most [`PUBLICATIONS_MAX`].
    pub publications: mpsc::Receiver<Publication>,
    /// Told whether the broker is heard.
    pub heard: watch::Sender<bool>,
}

/// The client of one broker.
pub struct Client {
    settings: Settings,
    name: Arc<str>,
    frames: mpsc::Sender<Envelope>,
    outbound: Outbound,
    link: watch::Sender<Link>,
    counters: Arc<Counters>,
    /// The broker has let us in since the start: it should know the session.
    known: bool,
}

impl Client {
    /// Makes a client that hands its frames to `frames`, and says what comes by `outbound`.
    #[must_use]
    pub fn new(settings: Settings, frames: mpsc::Sender<Envelope>, outbound: Outbound) -> Self {
        let name = Arc::from(settings.name.as_str());
        let link = watch::channel(Link::Connecting).0;
        let counters = Arc::default();
        Self { settings, name, frames, outbound, link, counters, known: false }
    }

    /// Returns a handle that shows how the connection stands.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle {
            name: Arc::clone(&self.name),
            link: self.link.subscribe(),
            counters: Arc::clone(&self.counters),
        }
    }

    /// Hears the broker until it is told to stop, connecting again as often as it takes.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(mut self, mut stop: Stop) -> Result<(), Infallible> {
        if self.settings.filters.is_empty() {
            tracing::warn!(broker = %self.name, "no topic is to be heard from this broker");
            stop.wait().await;
            return Ok(());
        }
        let mut backoff = Backoff::seeded(WAIT_FIRST, WAIT_MAX, self.settings.seed);
        loop {
            let begun = Instant::now();
            let Err(error) = self.connection(&mut stop).await else { return Ok(()) };
            if begun.elapsed() >= STEADY {
                backoff.reset();
            }
            self.show(Link::Down { error: chain(&error) });
            tokio::select! {
                () = stop.wait() => return Ok(()),
                () = sleep(backoff.draw()) => {}
            }
            self.forget_publications();
        }
    }

    /// Drops what was to be said while the broker was not heard.
    fn forget_publications(&mut self) {
        while self.outbound.publications.try_recv().is_ok() {
            self.counters.unpublished.add(1);
        }
    }

    /// Says something, unless the broker is not heard.
    fn publish(&self, publication: Publication, requests: &Requests) -> Result<(), Error> {
        if *self.link.borrow() == Link::Up {
            self.counters.published.add(1);
            requests.publish(publication)
        } else {
            self.counters.unpublished.add(1);
            Ok(())
        }
    }

    /// Shows how the connection stands, and logs it where it has changed.
    fn show(&self, link: Link) {
        if *self.link.borrow() == link {
            return;
        }
        match &link {
            Link::Connecting => {}
            Link::Up => tracing::info!(broker = %self.name, "the broker is heard"),
            Link::Down { error } => {
                tracing::warn!(broker = %self.name, error, "the broker is not heard; trying again");
            }
        }
        self.outbound.heard.send_replace(link == Link::Up);
        self.link.send_replace(link);
    }

    /// Serves one connection. Returns when it is told to stop.
    async fn connection(&mut self, stop: &mut Stop) -> Result<(), Error> {
        let (requests, mut events) = protocol::open(&self.settings);
        let words = Arc::<Words>::default();
        let mut inbox = Inbox::new(self, Arc::clone(&words));
        let mut connected = false;
        let mut delivery = Delivery::Acknowledged;
        loop {
            // A poll that has begun is never dropped while the connection is wanted; at the most it rests.
            let mut poll = pin!(events.poll());
            let incoming = loop {
                tokio::select! {
                    incoming = &mut poll, if inbox.has_room() => break Some(incoming?),
                    () = words.wake.notified() => {
                        inbox.hear_words().await;
                        inbox.acknowledge(&requests)?;
                        if delivery == Delivery::Unacknowledged && inbox.failing_since.is_none() {
                            delivery = self.ask_for(Delivery::Acknowledged, &requests)?;
                        }
                    }
                    () = until(inbox.deaf_at()), if delivery == Delivery::Acknowledged => {
                        delivery = self.ask_for(Delivery::Unacknowledged, &requests)?;
                    }
                    () = until(inbox.retry_at) => inbox.hand_over_again().await,
                    Some(publication) = self.outbound.publications.recv() => {
                        self.publish(publication, &requests)?;
                    }
                    () = stop.wait() => break None,
                }
            };
            match incoming {
                None => break,
                Some(Incoming::Connected { session }) => {
                    connected = true;
                    self.greet(session, &requests)?;
                }
                Some(Incoming::Subscribed(granted)) => self.check(&granted, delivery),
                Some(Incoming::Publication(publication)) => {
                    inbox.take(publication).await;
                    inbox.acknowledge(&requests)?;
                }
                Some(Incoming::Goodbye | Incoming::Nothing) => {}
            }
        }
        if connected {
            // What is on disk is acknowledged; the rest stays with the broker.
            inbox.hear_words().await;
            inbox.acknowledge(&requests)?;
            if delivery == Delivery::Unacknowledged {
                self.ask_for(Delivery::Acknowledged, &requests)?;
            }
            requests.goodbye()?;
            self.leave(&mut events).await;
        }
        Ok(())
    }

    fn greet(&mut self, session: bool, requests: &Requests) -> Result<(), Error> {
        if self.known && !session {
            tracing::warn!(
                broker = %self.name,
                "the broker has forgotten the session: what was published meanwhile is lost"
            );
        }
        self.known = true;
        requests.subscribe(&self.settings.filters, Delivery::Acknowledged)
    }

    /// Changes how the broker delivers.
    fn ask_for(&self, delivery: Delivery, requests: &Requests) -> Result<Delivery, Error> {
        match delivery {
            Delivery::Acknowledged => {
                tracing::info!(broker = %self.name, "the broker delivers with acknowledgement again");
            }
            Delivery::Unacknowledged => tracing::warn!(
                broker = %self.name,
                "nothing can be stored: the broker is asked to deliver without acknowledgement"
            ),
        }
        requests.subscribe(&self.settings.filters, delivery)?;
        Ok(delivery)
    }

    /// Looks at what the broker says to the subscriptions.
    fn check(&self, granted: &[Result<u8, &'static str>], asked: Delivery) {
        let refused = self.settings.filters.iter().zip(granted).find_map(|(filter, granted)| {
            granted.err().map(|why| format!("the broker does not grant {filter}: {why}"))
        });
        if asked == Delivery::Acknowledged && granted.contains(&Ok(0)) {
            tracing::warn!(
                broker = %self.name,
                "the broker grants no acknowledged delivery: readings may be lost on the way"
            );
        }
        self.show(refused.map_or(Link::Up, |error| Link::Down { error }));
    }

    /// Waits until goodbye is said, for as long as the broker may take.
    async fn leave(&self, events: &mut Events) {
        let said = timeout(GOODBYE, async {
            while !matches!(events.poll().await, Ok(Incoming::Goodbye) | Err(_)) {}
        });
        if said.await.is_err() {
            tracing::debug!(broker = %self.name, "the broker did not hear goodbye");
        }
    }
}

/// Leaves out every filter that another one covers: a broker may deliver once for each that fits.
#[must_use]
pub fn widest(mut filters: Vec<String>) -> Vec<String> {
    filters.sort_unstable();
    filters.dedup();
    let all = filters.clone();
    filters.retain(|filter| !all.iter().any(|other| other != filter && covers(other, filter)));
    filters
}

/// Returns whether every topic that fits `filter` fits `wide` too. Filters of templates know no `#`.
fn covers(wide: &str, filter: &str) -> bool {
    wide.split('/').count() == filter.split('/').count()
        && wide.split('/').zip(filter.split('/')).all(|(wide, level)| wide == "+" || wide == level)
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_that_another_covers_is_left_out() {
        let filters = ["a/+/up", "a/b/up", "a/+/+", "x/+", "x/+", "+/c/d/e"];
        let kept = widest(filters.map(str::to_owned).to_vec());
        assert_eq!(kept, ["+/c/d/e", "a/+/+", "x/+"]);
    }

    #[test]
    fn a_login_shows_no_password() {
        let login = Login::new("gateway".into(), Some("geheim".into()));
        let shown = format!("{login:?}");
        assert!(shown.contains("gateway") && !shown.contains("geheim"), "{shown}");
    }
}
