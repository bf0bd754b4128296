//! The outbox reconciler: woken by a nudge, a timer, a lane or a receipt, it looks at what is due, writes down what it is
//! about to do, and does it. A lane never waits for another.

use crate::domain::message::{DeliveryId, NetworkReceipt, Priority, Submission, Submitted};
use crate::domain::outbox::{Delivery, Outbox, State};
use crate::domain::recipient::RecipientId;
use crate::store::{self, NewDelivery, OutboxStart, Store};
use crate::supervise::Stop;
use crate::telemetry::{News, Telemetry};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::task::JoinSet;

/// How long a shutdown waits for the lanes: what is still out then is unknown at the next start.
const FAREWELL: Duration = Duration::from_secs(10);
/// A delivery that could not be written down is tried again after this.
const DISK_RETRY: Duration = Duration::from_secs(2);
/// Rows that wait in memory for a disk that fails.
const UNSAVED_MAX: usize = 65_536;

/// Why the dispatcher ended.
#[derive(Debug, Error)]
pub enum Error {
    /// What the last run left could not be read.
    #[error("cannot read the outbox")]
    Start(#[source] store::Error),
}

/// A way out: takes one submission at a time.
#[derive(Clone, Debug)]
pub struct Lane {
    /// Name of the channel, as roles name it.
    pub name: String,
    /// Takes what is to be handed over.
    pub handoff: mpsc::Sender<Handoff>,
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
    /// Say what waits.
    Status(oneshot::Sender<Vec<Delivery>>),
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
    unsaved: BTreeMap<DeliveryId, Delivery>,
    out: JoinSet<(DeliveryId, Submitted)>,
}

impl Dispatch {
    /// Makes a reconciler that starts where the last run ended.
    ///
    /// # Errors
    ///
    /// [`Error::Start`].
    pub async fn new(
        mut outbox: Outbox,
        store: Store,
        lanes: Vec<Lane>,
        telemetry: Telemetry,
        nudge: Arc<Notify>,
    ) -> Result<Self, Error> {
        let now = telemetry.clock.now();
        let OutboxStart { open, told, segments_today } =
            store.outbox_start(now).await.map_err(Error::Start)?;
        let last_seen = open.iter().map(|d| d.id.0).max().unwrap_or(0);
        outbox.recover(open, told, segments_today, now);
        Ok(Self {
            outbox,
            store,
            lanes,
            telemetry,
            nudge,
            last_seen,
            memory_only: 0,
            unsaved: BTreeMap::new(),
            out: JoinSet::new(),
        })
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
    ) -> Result<(), Error> {
        let nudge = Arc::clone(&self.nudge);
        let clock = self.telemetry.clock.clone();
        while !stop.is_given() {
            self.reconcile().await;
            let retry = (!self.unsaved.is_empty()).then(|| clock.now() + DISK_RETRY);
            let wake = [self.outbox.next_deadline(), retry].into_iter().flatten().min();
            // What is due but waits for its lane must not make the loop spin.
            let wake = wake.map(|at| at.max(clock.now() + Duration::from_millis(20)));
            tokio::select! {
                () = stop.wait() => {}
                () = nudge.notified() => self.load().await,
                Some(delivery) = from_memory.recv() => self.take_from_memory(delivery),
                Some(word) = words.recv() => self.hear(word).await,
                Some(done) = self.out.join_next() => self.landed(done),
                () = clock.sleep_until(wake) => {}
            }
        }
        self.farewell().await;
        Ok(())
    }

    /// Takes in what the pipeline has committed since.
    async fn load(&mut self) {
        match self.store.open_deliveries(self.last_seen).await {
            Ok(new) => {
                self.last_seen = new.iter().map(|d| d.id.0).max().unwrap_or(self.last_seen);
                self.outbox.insert(new, self.telemetry.clock.now());
            }
            Err(error) => {
                tracing::error!(error = %crate::supervise::chain(&error), "the outbox cannot be read");
                self.nudge.notify_one();
                tokio::time::sleep(self.telemetry.clock.real(DISK_RETRY)).await;
            }
        }
    }

    fn take_from_memory(&mut self, new: NewDelivery) {
        self.memory_only -= 1;
        let now = self.telemetry.clock.now();
        let planned = new.planned;
        let delivery = Delivery {
            id: DeliveryId(self.memory_only),
            alert: planned.alert,
            message_type: planned.message_type,
            recipient: planned.recipient,
            number: planned.number,
            text: planned.text,
            segments: new.segments,
            priority: planned.priority,
            rank: planned.rank,
            channels: planned.channels,
            channel_number: 0,
            refused: Vec::new(),
            created: now,
            expires: planned.expires,
            due: now,
            attempts: 0,
            possible_duplicate: false,
            state: State::Queued,
            reason: None,
            ended: None,
        };
        self.outbox.insert(vec![delivery], now);
    }

    async fn hear(&mut self, word: Word) {
        let now = self.telemetry.clock.now();
        match word {
            Word::Receipt { channel, receipt, kept } => {
                if !self.outbox.receipt(&channel, &receipt, now) {
                    self.telemetry.counters.stray_receipts.add(1);
                }
                if self.write_down().await {
                    // Who gave it may have gone.
                    let _heard = kept.send(()).is_ok();
                }
            }
            Word::Up(channel) => self.outbox.channel_up(&channel),
            Word::OptOut(recipient) => self.outbox.opt_out(recipient, now),
            Word::Status(reply) => {
                let _heard = reply.send(self.outbox.open().cloned().collect()).is_ok();
            }
        }
    }

    fn landed(&mut self, done: Result<(DeliveryId, Submitted), tokio::task::JoinError>) {
        match done {
            Ok((id, outcome)) => self.outbox.submitted(id, outcome, self.telemetry.clock.now()),
            Err(error) => tracing::error!(error = %error, "a lane failed"),
        }
    }

    /// Does all that is due: gives every free lane its next delivery, which is on disk as being written before it goes.
    async fn reconcile(&mut self) {
        let now = self.telemetry.clock.now();
        self.outbox.tick(now);
        let mut claimed = Vec::new();
        for lane in &self.lanes {
            if let Some(submission) = self.outbox.claim(&lane.name, now) {
                claimed.push((lane.clone(), submission));
            }
        }
        let written = self.write_down().await;
        for (lane, submission) in claimed {
            if written || submission.priority != Priority::Advice {
                self.hand_over(&lane, submission);
            } else {
                // Without a record of it, a text might be repeated: advice is not worth that, danger is.
                self.outbox.disarm(submission.delivery, now + DISK_RETRY);
            }
        }
    }

    fn hand_over(&mut self, lane: &Lane, submission: Submission) {
        let id = submission.delivery;
        let (reply, answer) = oneshot::channel();
        let handed = lane.handoff.try_send(Handoff { submission, reply });
        if handed.is_err() {
            let reason = format!("the channel {} does not take anything", lane.name);
            self.outbox.submitted(
                id,
                Submitted::ChannelDown { reason },
                self.telemetry.clock.now(),
            );
            return;
        }
        self.out.spawn(async move {
            let unknown = || Submitted::Unknown {
                reason: "the channel stopped before it answered".to_owned(),
                references: Vec::new(),
            };
            (id, answer.await.unwrap_or_else(|_| unknown()))
        });
    }

    /// Writes down what has changed. Returns whether everything is on disk.
    async fn write_down(&mut self) -> bool {
        for row in self.outbox.take_changes() {
            self.tell(&row);
            // What came from memory has no row: the turn that planned it records it when the disk is back.
            if row.id.0 > 0 && self.unsaved.len() < UNSAVED_MAX {
                self.unsaved.insert(row.id, row);
            }
        }
        if self.unsaved.is_empty() {
            return true;
        }
        let rows: Vec<Delivery> = self.unsaved.values().cloned().collect();
        match self.store.update_deliveries(rows, self.telemetry.clock.now()).await {
            Ok(()) => {
                self.unsaved.clear();
                true
            }
            Err(error) => {
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
            channel = row.channel(),
            reason = row.reason,
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
