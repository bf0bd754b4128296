//! Client of MQTT brokers that others run (3.1.1 and 5): an acknowledgement leaves only after the commit.
//!
//! The session is persistent: while the gateway or the network is away, the broker keeps what is published and sends it
//! afterwards, and what was sent but not acknowledged it sends again when the connection comes back. Every connection
//! subscribes anew, because the broker may have lost the session and the templates may have changed.
//!
//! What could not be stored is not acknowledged. It is not worth a new connection either: the publication is still
//! here, so it goes to the pipeline again, marked as redelivered, until it is on disk. Meanwhile the broker's window of
//! unacknowledged publications is all that is heard of it: mosquitto sends 20 by default.
//!
//! What a broker has *retained* is not taken: it does not say since when it holds, and a level of last month would be
//! judged as one of today. Everything since the session began comes through the session.

mod backoff;
mod protocol;

use crate::domain::frame::{Acknowledge, Envelope, Frame, Origin, Outcome, Receipt};
use crate::supervise::{Stop, chain};
use backoff::Backoff;
use protocol::{Error, Events, Incoming, Publication, Requests, Ticket};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Publications without the pipeline's word. With as many of them nothing more is read; a broker of MQTT 5 is told so.
/// After a broken connection all of them may come again: the engine knows as many of one sensor (`domain::window`).
const INFLIGHT_MAX: u16 = 128;
/// Longest publication that is taken: the listener's own bound. A broker of MQTT 5 keeps longer ones to itself.
const PACKET_BYTES_MAX: u32 = 64 * 1024;
/// Wait before what could not be stored is handed over again: as often as the pipeline tries the disk.
const STORE_RETRY: Duration = Duration::from_secs(2);
/// A connection that has held for so long has proved itself: the wait after its end is short.
const STEADY: Duration = Duration::from_secs(30);
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

/// The client of one broker.
pub struct Client {
    settings: Settings,
    name: Arc<str>,
    frames: mpsc::Sender<Envelope>,
    link: watch::Sender<Link>,
    /// The broker has let us in since the start: it should know the session.
    known: bool,
}

impl Client {
    /// Makes a client that hands its frames to `frames`.
    #[must_use]
    pub fn new(settings: Settings, frames: mpsc::Sender<Envelope>) -> Self {
        let name = Arc::from(settings.name.as_str());
        Self { settings, name, frames, link: watch::channel(Link::Connecting).0, known: false }
    }

    /// Returns how the connection stands, now and later.
    #[must_use]
    pub fn link(&self) -> watch::Receiver<Link> {
        self.link.subscribe()
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
        let mut backoff = Backoff::seeded(self.settings.seed);
        loop {
            let begun = Instant::now();
            let Err(error) = self.connection(&mut stop).await else { return Ok(()) };
            if begun.elapsed() >= STEADY {
                backoff.reset();
            }
            self.show(Link::Down { error: chain(&error) });
            tokio::select! {
                () = stop.wait() => return Ok(()),
                () = sleep(backoff.next()) => {}
            }
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
        self.link.send_replace(link);
    }

    /// Serves one connection. Returns when it is told to stop.
    async fn connection(&mut self, stop: &mut Stop) -> Result<(), Error> {
        let (requests, mut events) = protocol::open(&self.settings);
        let words = Arc::<Words>::default();
        let mut inbox = Inbox::new(Arc::clone(&self.name), self.frames.clone(), Arc::clone(&words));
        let mut connected = false;
        loop {
            // A poll that has begun is never dropped while the connection is wanted; at the most it rests.
            let mut poll = pin!(events.poll());
            let incoming = loop {
                tokio::select! {
                    incoming = &mut poll, if inbox.has_room() => break Some(incoming?),
                    () = words.wake.notified() => {
                        inbox.hear_words();
                        inbox.acknowledge(&requests)?;
                    }
                    () = until(inbox.retry_at) => inbox.hand_over_again().await,
                    () = stop.wait() => break None,
                }
            };
            match incoming {
                None => break,
                Some(Incoming::Connected { session }) => {
                    connected = true;
                    self.greet(session, &requests)?;
                }
                Some(Incoming::Subscribed(granted)) => self.check(&granted),
                Some(Incoming::Publication(publication)) => {
                    inbox.take(publication).await;
                    inbox.acknowledge(&requests)?;
                }
                Some(Incoming::Goodbye | Incoming::Nothing) => {}
            }
        }
        if connected {
            // What is on disk is acknowledged; the rest stays with the broker.
            inbox.hear_words();
            inbox.acknowledge(&requests)?;
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
        requests.subscribe(&self.settings.filters)
    }

    /// Looks at what the broker says to the subscriptions.
    fn check(&self, granted: &[Result<u8, &'static str>]) {
        let refused = self.settings.filters.iter().zip(granted).find_map(|(filter, granted)| {
            granted.err().map(|why| format!("the broker does not grant {filter}: {why}"))
        });
        if granted.contains(&Ok(0)) {
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

/// The words of the pipeline that have yet to be passed on.
#[derive(Default)]
struct Words {
    heard: Mutex<Vec<(u64, Outcome)>>,
    wake: Notify,
}

impl Acknowledge for Words {
    fn settle(&self, token: u64, outcome: Outcome) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push((token, outcome));
        self.wake.notify_one();
    }
}

/// A publication that the broker waits for a word about.
struct Pending {
    ticket: Ticket,
    stage: Stage,
}

enum Stage {
    /// The pipeline has it.
    Asked(Frame),
    /// It could not be stored, and is handed over again.
    Withheld(Frame),
    /// The broker may forget it.
    Done,
}

/// The publications of one connection that await their acknowledgement, in the order in which they came: they are
/// acknowledged in that order (MQTT-4.6.0-2). There are never more than the 65,535 packet identifiers.
struct Inbox {
    name: Arc<str>,
    frames: mpsc::Sender<Envelope>,
    words: Arc<Words>,
    pending: VecDeque<Pending>,
    /// Token of the first of them; those of the others follow.
    first_token: u64,
    /// Those among them that are not done.
    open: usize,
    retry_at: Option<Instant>,
}

impl Inbox {
    fn new(name: Arc<str>, frames: mpsc::Sender<Envelope>, words: Arc<Words>) -> Self {
        Self {
            name,
            frames,
            words,
            pending: VecDeque::new(),
            first_token: 0,
            open: 0,
            retry_at: None,
        }
    }

    fn has_room(&self) -> bool {
        self.open < usize::from(INFLIGHT_MAX)
    }

    /// Takes a publication in.
    async fn take(&mut self, publication: Publication) {
        let Publication { ticket, dup, retain, topic, payload } = publication;
        let topic = topic.filter(|_| !retain && payload.len() <= PACKET_BYTES_MAX as usize);
        let Some(topic) = topic else {
            let (broker, bytes) = (&self.name, payload.len());
            if retain {
                tracing::debug!(%broker, "what was retained is not taken");
            } else {
                tracing::warn!(%broker, bytes, "a publication is too long, or its topic no text");
            }
            if ticket.wants_word() {
                self.pending.push_back(Pending { ticket, stage: Stage::Done });
            }
            return;
        };
        let origin =
            Origin::Mqtt { link: Arc::clone(&self.name), client: Arc::clone(&self.name), topic };
        let frame = Frame { origin, payload, redelivered: dup };
        if !ticket.wants_word() {
            self.hand_over(frame, None).await;
            return;
        }
        let token = self.first_token + self.pending.len() as u64;
        self.pending.push_back(Pending { ticket, stage: Stage::Asked(frame.clone()) });
        self.open += 1;
        self.hand_over(frame, Some(token)).await;
    }

    /// Hands a frame to the pipeline; waits while its queue is full. A pipeline that has ended drops the receipt, which
    /// says that the frame is not stored.
    async fn hand_over(&self, frame: Frame, token: Option<u64>) {
        let receipt = token.map(|token| Receipt::new(Arc::<Words>::clone(&self.words), token));
        if self.frames.send(Envelope { frame, receipt }).await.is_err() {
            tracing::debug!(broker = %self.name, "the pipeline has ended");
        }
    }

    /// Takes in what the pipeline has said.
    fn hear_words(&mut self) {
        let heard =
            std::mem::take(&mut *self.words.heard.lock().unwrap_or_else(PoisonError::into_inner));
        for (token, outcome) in heard {
            self.settle(token, outcome);
        }
    }

    fn settle(&mut self, token: u64, outcome: Outcome) {
        let place =
            token.checked_sub(self.first_token).and_then(|place| usize::try_from(place).ok());
        let Some(pending) = place.and_then(|place| self.pending.get_mut(place)) else { return };
        match (outcome, std::mem::replace(&mut pending.stage, Stage::Done)) {
            (Outcome::NotStored, Stage::Asked(frame) | Stage::Withheld(frame)) => {
                pending.stage = Stage::Withheld(frame);
                self.retry_at.get_or_insert_with(|| Instant::now() + STORE_RETRY);
            }
            (Outcome::Committed | Outcome::Refused, Stage::Asked(_) | Stage::Withheld(_)) => {
                self.open -= 1;
            }
            (_, Stage::Done) => {}
        }
    }

    /// Returns the first publication, if there is nothing to wait for, and forgets it.
    fn next_done(&mut self) -> Option<Ticket> {
        let done = self.pending.pop_front_if(|pending| matches!(pending.stage, Stage::Done))?;
        self.first_token += 1;
        Some(done.ticket)
    }

    /// Acknowledges from the first on as far as there is nothing to wait for.
    fn acknowledge(&mut self, requests: &Requests) -> Result<(), Error> {
        while let Some(ticket) = self.next_done() {
            requests.acknowledge(ticket)?;
        }
        Ok(())
    }

    /// Hands what could not be stored over once more.
    async fn hand_over_again(&mut self) {
        self.retry_at = None;
        let mut again = Vec::new();
        for (token, pending) in (self.first_token..).zip(&mut self.pending) {
            if let Stage::Withheld(frame) = &mut pending.stage {
                frame.redelivered = true;
                again.push((token, frame.clone()));
                pending.stage = Stage::Asked(frame.clone());
            }
        }
        for (token, frame) in again {
            self.hand_over(frame, Some(token)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use rumqttc::QoS;

    fn publication(id: u16) -> Publication {
        Publication {
            ticket: Ticket { qos: QoS::AtLeastOnce, id },
            dup: false,
            retain: false,
            topic: Some(Arc::from("field/a/up")),
            payload: Bytes::from_static(b"{}"),
        }
    }

    /// An inbox, and the end of the pipeline.
    fn inbox() -> (Inbox, mpsc::Receiver<Envelope>) {
        let (frames, frames_in) = mpsc::channel(4 * usize::from(INFLIGHT_MAX));
        (Inbox::new(Arc::from("broker"), frames, Arc::default()), frames_in)
    }

    fn settle(envelope: Envelope, outcome: Outcome) {
        envelope.receipt.unwrap().settle(outcome);
    }

    fn done(inbox: &mut Inbox) -> Vec<u16> {
        inbox.hear_words();
        std::iter::from_fn(|| inbox.next_done()).map(|ticket| ticket.id).collect()
    }

    #[tokio::test]
    async fn publications_are_acknowledged_in_the_order_in_which_they_came() {
        let (mut inbox, mut pipeline) = inbox();
        for id in [7, 3, 5] {
            inbox.take(publication(id)).await;
        }
        let [first, second, third] = std::array::from_fn(|_| pipeline.try_recv().unwrap());
        assert!(done(&mut inbox).is_empty(), "nothing is on disk");
        settle(third, Outcome::Committed);
        assert!(done(&mut inbox).is_empty());
        settle(first, Outcome::Committed);
        assert_eq!(done(&mut inbox), [7]);
        settle(second, Outcome::Refused);
        assert_eq!(done(&mut inbox), [3, 5], "what is refused would come for ever");
    }

    #[tokio::test]
    async fn what_is_not_stored_is_handed_over_again_until_it_is() {
        let (mut inbox, mut pipeline) = inbox();
        inbox.take(publication(1)).await;
        inbox.take(publication(2)).await;
        settle(pipeline.try_recv().unwrap(), Outcome::NotStored);
        settle(pipeline.try_recv().unwrap(), Outcome::Committed);
        assert!(done(&mut inbox).is_empty());
        assert!(inbox.retry_at.is_some());
        for outcome in [Outcome::NotStored, Outcome::Committed] {
            inbox.hand_over_again().await;
            let again = pipeline.try_recv().unwrap();
            assert!(again.frame.redelivered && pipeline.try_recv().is_err());
            settle(again, outcome);
            inbox.hear_words();
        }
        assert!(inbox.has_room() && inbox.open == 0);
        assert_eq!(done(&mut inbox), [1, 2]);
    }

    #[tokio::test]
    async fn what_the_pipeline_loses_is_not_acknowledged() {
        let (mut inbox, mut pipeline) = inbox();
        inbox.take(publication(1)).await;
        drop(pipeline.try_recv().unwrap());
        assert!(done(&mut inbox).is_empty() && inbox.retry_at.is_some());
        drop(pipeline);
        inbox.take(publication(2)).await;
        inbox.hand_over_again().await;
        assert!(done(&mut inbox).is_empty(), "a pipeline that has ended stores nothing");
    }

    #[tokio::test]
    async fn what_is_not_taken_is_acknowledged_in_its_turn_and_goes_nowhere() {
        let (mut inbox, mut pipeline) = inbox();
        inbox.take(publication(1)).await;
        inbox.take(Publication { retain: true, ..publication(2) }).await;
        let long = Bytes::from(vec![b' '; PACKET_BYTES_MAX as usize + 1]);
        inbox.take(Publication { payload: long, ..publication(3) }).await;
        inbox.take(Publication { topic: None, ..publication(4) }).await;
        assert!(done(&mut inbox).is_empty());
        settle(pipeline.try_recv().unwrap(), Outcome::Committed);
        assert!(pipeline.try_recv().is_err());
        assert_eq!(done(&mut inbox), [1, 2, 3, 4]);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_word_about_qos_0() {
        let (mut inbox, mut pipeline) = inbox();
        let ticket = Ticket { qos: QoS::AtMostOnce, id: 0 };
        inbox.take(Publication { ticket, ..publication(0) }).await;
        assert!(pipeline.try_recv().unwrap().receipt.is_none());
        assert!(done(&mut inbox).is_empty() && inbox.pending.is_empty());
    }

    #[tokio::test]
    async fn reading_rests_while_too_much_is_unsettled() {
        let (mut inbox, mut pipeline) = inbox();
        for id in 1..=INFLIGHT_MAX {
            assert!(inbox.has_room());
            inbox.take(publication(id)).await;
        }
        assert!(!inbox.has_room());
        settle(pipeline.try_recv().unwrap(), Outcome::Committed);
        assert_eq!(done(&mut inbox), [1]);
        assert!(inbox.has_room());
    }

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
