//! The outbox reconciler: woken by a nudge, a timer, a lane or a receipt, it looks at what is due, writes down what it is
//! about to do, and does it. A lane never waits for another.

use crate::domain::message::{DeliveryId, NetworkReceipt, Priority, Submission, Submitted};
use crate::domain::outbox::{
    AttemptId, Begin, BootId, Change, Claim, Delivery, DeliveryState, Outbox, Settings, Stored,
};
use crate::domain::recipient::RecipientId;
use crate::domain::time::Timestamp;
use crate::store::{NewDelivery, Store};
use crate::supervise::Stop;
use crate::telemetry::{News, Telemetry};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

/// How long a shutdown waits for the lanes: what is still out then is unknown at the next start.
const FAREWELL: Duration = Duration::from_secs(10);
/// A delivery that could not be written down is tried again after this.
const DISK_RETRY: Duration = Duration::from_secs(2);
/// A channel that said that it does not work, and says nothing more, is tried again after this.
const DOWN_WAIT: Duration = Duration::from_mins(1);
/// Rows that wait in memory for a disk that fails.
const UNSAVED_MAX: usize = 65_536;

/// A way out.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Name of the channel, as roles name it.
    pub name: String,
    /// Takes what is to be handed over: as many at once as it has room for.
    pub handoff: mpsc::Sender<Handoff>,
    /// Whether the network says later what became of a text.
    pub reports: bool,
}

/// A submission, and where to say what became of it. A reply that is dropped means that nobody knows.
#[derive(Debug)]
pub struct Handoff {
    /// What is to be handed over.
    pub submission: Submission,
    /// What became of it.
    pub reply: oneshot::Sender<Submitted>,
}

/// What else the dispatcher hears.
#[derive(Debug)]
pub enum Word {
    /// A network's word about a segment; the reply says that it is kept.
    Receipt {
        /// Name of the channel.
        channel: String,
        /// The word.
        receipt: NetworkReceipt,
        /// Said when it is on disk.
        kept: oneshot::Sender<()>,
    },
    /// A channel works again.
    Up(String),
    /// A recipient does not want to hear any more.
    OptOut(RecipientId),
    /// Say how things stand.
    Status(oneshot::Sender<Standing>),
}

/// How things stand with the outbox.
#[derive(Debug)]
pub struct Standing {
    /// Every delivery that has not ended.
    pub open: Vec<Delivery>,
    /// Segments of the budget's day that have left, or may have.
    pub segments_today: u32,
}

/// The reconciler and what it owns.
pub struct Dispatch {
    outbox: Outbox,
    store: Store,
    lanes: Vec<Lane>,
    telemetry: Telemetry,
    nudge: Arc<Notify>,
    last_seen: i64,
    memory_only: i64,
    /// What has changed and is not on disk yet, each record as it is now.
    unsaved: BTreeMap<Record, Change>,
    /// The disk has failed, and is not bothered for the sake of advice before this.
    disk_retry_at: Option<Timestamp>,
    down_until: BTreeMap<String, Timestamp>,
    out: JoinSet<(DeliveryId, String, Submitted)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Record {
    Attempt(AttemptId),
    Delivery(DeliveryId),
}

impl Dispatch {
    /// Makes a reconciler that starts with what the last run has left.
    #[must_use]
    pub fn new(
        settings: Settings,
        (stored, boot): (Stored, BootId),
        store: Store,
        lanes: Vec<Lane>,
        telemetry: Telemetry,
        nudge: Arc<Notify>,
    ) -> Self {
        let now = telemetry.clock.now();
        let last_seen = stored.deliveries.iter().map(|d| d.id.0).max().unwrap_or(0);
        let (outbox, changes) = Outbox::recover(settings, stored, boot, now);
        let mut dispatch = Self {
            outbox,
            store,
            lanes,
            telemetry,
            nudge,
            last_seen,
            memory_only: 0,
            unsaved: BTreeMap::new(),
            disk_retry_at: None,
            down_until: BTreeMap::new(),
            out: JoinSet::new(),
        };
        dispatch.note(changes);
        dispatch
    }

    /// Runs until it is told to stop.
    ///
    /// # Errors
    ///
    /// None while it runs: what cannot be read or written now is tried again.
    pub async fn run(
        mut self,
        mut from_memory: mpsc::Receiver<NewDelivery>,
        mut words: mpsc::Receiver<Word>,
        mut stop: Stop,
    ) -> Result<(), Infallible> {
        let nudge = Arc::clone(&self.nudge);
        let clock = self.telemetry.clock.clone();
        while !stop.is_given() {
            self.reconcile().await;
            let wake = self.wake_at(clock.now());
            tokio::select! {
                () = stop.wait() => {}
                () = nudge.notified() => self.load().await,
                Some(delivery) = from_memory.recv() => self.take_from_memory(&delivery),
                Some(word) = words.recv() => self.hear(word).await,
                Some(done) = self.out.join_next() => self.landed(done),
                () = clock.sleep_until(wake) => {}
            }
        }
        self.farewell().await;
        Ok(())
    }

    fn wake_at(&self, now: Timestamp) -> Option<Timestamp> {
        let retry = (!self.unsaved.is_empty()).then(|| self.disk_retry_at.unwrap_or(now));
        let up = self.down_until.values().min().copied();
        [self.outbox.next_deadline(now), retry, up].into_iter().flatten().min()
    }

    /// Takes in what the pipeline has committed since.
    async fn load(&mut self) {
        match self.store.open_deliveries(self.last_seen).await {
            Ok(new) => {
                self.last_seen = new.iter().map(|d| d.id.0).max().unwrap_or(self.last_seen);
                let changes = self.outbox.insert(new, self.telemetry.clock.now());
                self.note(changes);
            }
            Err(error) => {
                tracing::error!(error = %crate::supervise::chain(&error), "the outbox cannot be read");
                self.nudge.notify_one();
                tokio::time::sleep(self.telemetry.clock.real(DISK_RETRY)).await;
            }
        }
    }

    fn take_from_memory(&mut self, new: &NewDelivery) {
        self.memory_only -= 1;
        let now = self.telemetry.clock.now();
        let planned = &new.planned;
        let delivery = Delivery {
            id: DeliveryId(self.memory_only),
            subject: new.subject(),
            recipient: planned.recipient,
            number: planned.number.as_str().into(),
            text: planned.text.as_str().into(),
            segments: new.segments,
            priority: planned.priority,
            rank: u8::try_from(planned.rank).unwrap_or(u8::MAX),
            flash: false,
            idempotency_key: key(new, now).into(),
            routes: new.routes(now),
            created: now,
            expires: planned.expires,
            state: DeliveryState::Queued,
            stop: None,
            attempts: 0,
            channel: None,
            reached: false,
            possible_duplicate: false,
            last_error: None,
            ended: None,
        };
        let changes = self.outbox.insert(vec![delivery], now);
        self.note(changes);
    }

    async fn hear(&mut self, word: Word) {
        let now = self.telemetry.clock.now();
        match word {
            Word::Receipt { channel, receipt, kept } => {
                let before = self.outbox.counters();
                let changes = self.outbox.on_receipt(&channel, &receipt, now);
                let counters = self.outbox.counters();
                let stray = counters.receipts_unmatched + counters.receipts_ambiguous
                    - before.receipts_unmatched
                    - before.receipts_ambiguous;
                self.telemetry.counters.stray_receipts.add(stray);
                self.note(changes);
                if self.write_down().await {
                    // Who gave it may have gone.
                    let _heard = kept.send(()).is_ok();
                }
            }
            Word::Up(channel) => {
                self.down_until.remove(&channel);
                self.outbox.on_channel_up(&channel);
            }
            Word::OptOut(recipient) => {
                let changes = self.outbox.opt_out(recipient, now);
                self.note(changes);
            }
            Word::Status(reply) => {
                let open = self.outbox.deliveries().filter(|d| d.end().is_none()).cloned();
                let segments_today = self.outbox.segments_spent(now);
                let standing = Standing { open: open.collect(), segments_today };
                let _heard = reply.send(standing).is_ok();
            }
        }
    }

    fn landed(&mut self, done: Result<(DeliveryId, String, Submitted), tokio::task::JoinError>) {
        match done {
            Ok((id, channel, outcome)) => self.submitted(id, &channel, outcome),
            Err(error) => tracing::error!(error = %error, "a lane failed"),
        }
    }

    fn submitted(&mut self, id: DeliveryId, channel: &str, outcome: Submitted) {
        let now = self.telemetry.clock.now();
        let changes = self.outbox.on_submitted(id, channel, outcome, now);
        if self.outbox.down(channel).is_some() {
            self.down_until.insert(channel.to_owned(), now + DOWN_WAIT);
        }
        self.note(changes);
    }

    /// Does all that is due: gives every lane that has room its next deliveries, whose attempts are on disk before they go.
    async fn reconcile(&mut self) {
        let now = self.telemetry.clock.now();
        for (channel, _) in self.down_until.extract_if(.., |_, until| *until <= now) {
            self.outbox.on_channel_up(&channel);
        }
        let changes = self.outbox.tick(now);
        self.note(changes);
        let mut claimed = Vec::new();
        if self.disk_retry_at.is_none_or(|at| at <= now) || self.is_urgent() {
            for lane in &self.lanes.clone() {
                while let Some(claim) = self.outbox.claim(&lane.name, now) {
                    let Claim { delivery, changes, .. } = claim;
                    self.note(changes);
                    claimed.push((lane.clone(), delivery));
                }
            }
        }
        let written = self.write_down().await;
        for (lane, id) in claimed {
            let advice = self.outbox.get(id).is_none_or(|d| d.priority == Priority::Advice);
            let now = self.telemetry.clock.now();
            if written || !advice {
                match self.outbox.begin(id, now) {
                    Begin::Send(submission) => self.hand_over(&lane, submission),
                    Begin::CalledOff(changes) => self.note(changes),
                }
            } else {
                // Without a record of it, a text might be repeated: advice is not worth that, danger is.
                let changes = self.outbox.disarm(id, now);
                self.note(changes);
            }
        }
    }

    /// Returns whether something waits that is worth bothering a disk that has just failed.
    fn is_urgent(&self) -> bool {
        self.outbox
            .deliveries()
            .any(|d| d.priority != Priority::Advice && d.state == DeliveryState::Queued)
    }

    fn hand_over(&mut self, lane: &Lane, submission: Submission) {
        let (id, channel) = (submission.delivery, lane.name.clone());
        let (reply, answer) = oneshot::channel();
        if lane.handoff.try_send(Handoff { submission, reply }).is_err() {
            let reason = format!("the channel {channel} does not take anything");
            self.submitted(id, &channel, Submitted::ChannelDown { reason });
            return;
        }
        self.out.spawn(async move {
            let unknown = || Submitted::Unknown {
                reason: "the channel stopped before it answered".to_owned(),
                references: Vec::new(),
            };
            (id, channel, answer.await.unwrap_or_else(|_| unknown()))
        });
    }

    /// Takes note of what has changed, to be written down.
    fn note(&mut self, changes: Vec<Change>) {
        for change in changes {
            let (record, delivery) = match &change {
                Change::Delivery(row) => {
                    self.tell(row);
                    (Record::Delivery(row.id), row.id)
                }
                Change::Attempt(row) => (Record::Attempt(row.id), row.delivery),
            };
            // What came from memory has no row: the turn that planned it records it when the disk is back.
            if delivery.0 < 0 {
                self.outbox.stored(std::slice::from_ref(&change));
            } else if self.unsaved.len() < UNSAVED_MAX || self.unsaved.contains_key(&record) {
                self.unsaved.insert(record, change);
            }
        }
    }

    /// Writes down what has changed. Returns whether everything is on disk.
    async fn write_down(&mut self) -> bool {
        if self.unsaved.is_empty() {
            return true;
        }
        let changes: Vec<Change> = self.unsaved.values().cloned().collect();
        match self.store.update_outbox(changes.clone()).await {
            Ok(()) => {
                self.unsaved.clear();
                self.disk_retry_at = None;
                self.outbox.stored(&changes);
                true
            }
            Err(error) => {
                self.disk_retry_at = Some(self.telemetry.clock.now() + DISK_RETRY);
                tracing::warn!(error = %crate::supervise::chain(&error), "the outbox cannot be written down");
                false
            }
        }
    }

    fn tell(&self, row: &Delivery) {
        tracing::info!(
            delivery = row.id.0,
            recipient = row.recipient.0,
            state = row.state.as_str(),
            channel = row.channel.as_deref(),
            reason = row.last_error,
            "a delivery changed"
        );
        self.telemetry.tell(|| News::Delivery(Arc::new(row.clone())));
    }

    async fn farewell(&mut self) {
        let until = tokio::time::Instant::now() + FAREWELL;
        while let Ok(Some(done)) = tokio::time::timeout_at(until, self.out.join_next()).await {
            self.landed(done);
        }
        if !self.write_down().await {
            tracing::error!("what became of the last texts could not be written down");
        }
    }
}

/// Makes the idempotency key of a delivery that the database does not know: for no other the same.
fn key(new: &NewDelivery, now: Timestamp) -> String {
    let planned = &new.planned;
    let (whom, when) = (planned.number.as_str(), now.as_millis());
    let digest = Sha256::digest(format!("{:?} {whom} {when} {}", planned.alert, planned.text));
    digest.iter().take(16).fold(String::new(), |key, byte| format!("{key}{byte:02x}"))
}
