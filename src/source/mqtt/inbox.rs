//! What a broker has sent and the gateway has yet to acknowledge.

use super::protocol::{Error, Publication, Requests, Ticket};
use super::{Client, Counters, DEAF_AFTER, INFLIGHT_MAX, PACKET_BYTES_MAX, STORE_RETRY};
use crate::domain::frame::{Acknowledge, Envelope, Frame, Origin, Outcome, Receipt};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

/// The words of the pipeline that have yet to be passed on.
#[derive(Default)]
pub(super) struct Words {
    heard: Mutex<Vec<(u64, Outcome)>>,
    pub(super) wake: Notify,
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
pub(super) struct Inbox {
    name: Arc<str>,
    frames: mpsc::Sender<Envelope>,
    counters: Arc<Counters>,
    words: Arc<Words>,
    pending: VecDeque<Pending>,
    /// Token of the first of them; those of the others follow.
    first_token: u64,
    /// Those among them that are not done.
    open: usize,
    /// When what could not be stored is handed over again.
    pub(super) retry_at: Option<Instant>,
    /// Since when nothing could be stored.
    pub(super) failing_since: Option<Instant>,
}

impl Inbox {
    pub(super) fn new(client: &Client, words: Arc<Words>) -> Self {
        Self {
            name: Arc::clone(&client.name),
            frames: client.frames.clone(),
            counters: Arc::clone(&client.counters),
            words,
            pending: VecDeque::new(),
            first_token: 0,
            open: 0,
            retry_at: None,
            failing_since: None,
        }
    }

    /// Returns when the broker's window will have been full for too long.
    pub(super) fn deaf_at(&self) -> Option<Instant> {
        self.failing_since.map(|since| since + DEAF_AFTER)
    }

    pub(super) fn has_room(&self) -> bool {
        self.open < usize::from(INFLIGHT_MAX)
    }

    /// Takes a publication in.
    pub(super) async fn take(&mut self, publication: Publication) {
        let Publication { ticket, dup, retain, topic, payload } = publication;
        self.counters.publications.add(1);
        let topic = topic.filter(|_| !retain && payload.len() <= PACKET_BYTES_MAX as usize);
        let Some(topic) = topic else {
            let (broker, bytes) = (&self.name, payload.len());
            if retain {
                self.counters.retained.add(1);
                tracing::debug!(%broker, "what was retained is not taken");
            } else {
                self.counters.refused.add(1);
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

    /// Takes in what the pipeline has said. When it can store again, what it could not store goes first: before an
    /// acknowledgement lets the broker send so much more that the engine would not know it again.
    pub(super) async fn hear_words(&mut self) {
        let heard =
            std::mem::take(&mut *self.words.heard.lock().unwrap_or_else(PoisonError::into_inner));
        for (token, outcome) in heard {
            self.settle(token, outcome);
        }
        if self.failing_since.is_none() && self.retry_at.is_some() {
            self.hand_over_again().await;
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
                self.failing_since.get_or_insert_with(Instant::now);
            }
            (Outcome::Committed | Outcome::Refused, Stage::Asked(_) | Stage::Withheld(_)) => {
                self.open -= 1;
                self.failing_since = None;
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
    pub(super) fn acknowledge(&mut self, requests: &Requests) -> Result<(), Error> {
        while let Some(ticket) = self.next_done() {
            requests.acknowledge(ticket)?;
        }
        Ok(())
    }

    /// Hands what could not be stored over once more.
    pub(super) async fn hand_over_again(&mut self) {
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
    use super::super::{Outbound, Settings, Version};
    use super::*;
    use crate::telemetry::Counter;
    use bytes::Bytes;
    use rumqttc::QoS;
    use std::time::Duration;
    use tokio::sync::watch;

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
        let settings = Settings {
            name: "broker".to_owned(),
            host: "localhost".to_owned(),
            port: 1883,
            tls: None,
            version: Version::V3,
            client_id: "gateway".to_owned(),
            login: None,
            keep_alive: Duration::from_mins(1),
            session_expiry: Duration::from_hours(1),
            filters: vec!["field/+/up".to_owned()],
            seed: 1,
        };
        let outbound =
            Outbound { publications: mpsc::channel(1).1, heard: watch::channel(false).0 };
        (Inbox::new(&Client::new(settings, frames, outbound), Arc::default()), frames_in)
    }

    fn settle(envelope: Envelope, outcome: Outcome) {
        envelope.receipt.unwrap().settle(outcome);
    }

    async fn done(inbox: &mut Inbox) -> Vec<u16> {
        inbox.hear_words().await;
        std::iter::from_fn(|| inbox.next_done()).map(|ticket| ticket.id).collect()
    }

    #[tokio::test]
    async fn publications_are_acknowledged_in_the_order_in_which_they_came() {
        let (mut inbox, mut pipeline) = inbox();
        for id in [7, 3, 5] {
            inbox.take(publication(id)).await;
        }
        let [first, second, third] = std::array::from_fn(|_| pipeline.try_recv().unwrap());
        assert!(done(&mut inbox).await.is_empty(), "nothing is on disk");
        settle(third, Outcome::Committed);
        assert!(done(&mut inbox).await.is_empty());
        settle(first, Outcome::Committed);
        assert_eq!(done(&mut inbox).await, [7]);
        settle(second, Outcome::Refused);
        assert_eq!(done(&mut inbox).await, [3, 5], "what is refused would come for ever");
    }

    #[tokio::test]
    async fn what_is_not_stored_is_handed_over_again_until_it_is() {
        let (mut inbox, mut pipeline) = inbox();
        inbox.take(publication(1)).await;
        inbox.take(publication(2)).await;
        let [first, second] = std::array::from_fn(|_| pipeline.try_recv().unwrap());
        settle(second, Outcome::Committed);
        settle(first, Outcome::NotStored);
        assert!(done(&mut inbox).await.is_empty());
        assert!(inbox.retry_at.is_some());
        for outcome in [Outcome::NotStored, Outcome::Committed] {
            inbox.hand_over_again().await;
            let again = pipeline.try_recv().unwrap();
            assert!(again.frame.redelivered && pipeline.try_recv().is_err());
            settle(again, outcome);
            inbox.hear_words().await;
        }
        assert!(inbox.has_room() && inbox.open == 0);
        assert_eq!(done(&mut inbox).await, [1, 2]);
    }

    #[tokio::test]
    async fn when_the_disk_works_again_what_was_not_stored_goes_before_anything_new() {
        let (mut inbox, mut pipeline) = inbox();
        inbox.take(publication(1)).await;
        inbox.take(publication(2)).await;
        let [first, second] = std::array::from_fn(|_| pipeline.try_recv().unwrap());
        settle(second, Outcome::NotStored);
        settle(first, Outcome::Committed);
        inbox.hear_words().await;
        let again = pipeline.try_recv().unwrap();
        assert!(again.frame.redelivered && inbox.retry_at.is_none());
        settle(again, Outcome::Committed);
        assert_eq!(done(&mut inbox).await, [1, 2]);
    }

    #[tokio::test]
    async fn what_the_pipeline_loses_is_not_acknowledged() {
        let (mut inbox, mut pipeline) = inbox();
        inbox.take(publication(1)).await;
        drop(pipeline.try_recv().unwrap());
        assert!(done(&mut inbox).await.is_empty() && inbox.retry_at.is_some());
        drop(pipeline);
        inbox.take(publication(2)).await;
        inbox.hand_over_again().await;
        assert!(done(&mut inbox).await.is_empty(), "a pipeline that has ended stores nothing");
    }

    #[tokio::test]
    async fn what_is_not_taken_is_acknowledged_in_its_turn_and_goes_nowhere() {
        let (mut inbox, mut pipeline) = inbox();
        inbox.take(publication(1)).await;
        inbox.take(Publication { retain: true, ..publication(2) }).await;
        let long = Bytes::from(vec![b' '; PACKET_BYTES_MAX as usize + 1]);
        inbox.take(Publication { payload: long, ..publication(3) }).await;
        inbox.take(Publication { topic: None, ..publication(4) }).await;
        assert!(done(&mut inbox).await.is_empty());
        settle(pipeline.try_recv().unwrap(), Outcome::Committed);
        assert!(pipeline.try_recv().is_err());
        assert_eq!(done(&mut inbox).await, [1, 2, 3, 4]);
        let counters = &inbox.counters;
        let counted = [&counters.publications, &counters.retained, &counters.refused];
        assert_eq!(counted.map(Counter::get), [4, 1, 2]);
    }

    #[tokio::test]
    async fn nobody_waits_for_a_word_about_qos_0() {
        let (mut inbox, mut pipeline) = inbox();
        let ticket = Ticket { qos: QoS::AtMostOnce, id: 0 };
        inbox.take(Publication { ticket, ..publication(0) }).await;
        assert!(pipeline.try_recv().unwrap().receipt.is_none());
        assert!(done(&mut inbox).await.is_empty() && inbox.pending.is_empty());
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
        assert_eq!(done(&mut inbox).await, [1]);
        assert!(inbox.has_room());
    }
}
