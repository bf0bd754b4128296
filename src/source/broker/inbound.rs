//! Publications of clients: to the pipeline, and when they are on disk back to the publisher and on to subscribers.

use super::connection::{Connection, End};
use super::hub::Message;
use super::packet::Version;
use super::reply::{self, Answer};
use super::{Counters, LINK};
use crate::domain::frame::{Acknowledge, Envelope, Frame, Origin, Outcome, Receipt};
use mqtt_protocol_core::mqtt::packet::Packet;
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Notify;
use tokio::time::Instant;

/// The words of the pipeline that a connection has yet to pass on.
#[derive(Default)]
pub(super) struct Words {
    heard: Mutex<Vec<(u64, Outcome)>>,
    pub wake: Notify,
}

impl Acknowledge for Words {
    fn settle(&self, token: u64, outcome: Outcome) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).push((token, outcome));
        self.wake.notify_one();
    }
}

/// A publication that awaits the pipeline's word. They are answered in the order in which they came (MQTT-4.6.0-2).
pub(super) struct Pending {
    token: u64,
    qos: u8,
    id: u16,
    /// What subscribers get when it is on disk.
    copy: Option<Message>,
    answer: Option<Answer>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(super) async fn take_publication(
        &mut self,
        message: Message,
        id: Option<u16>,
        dup: bool,
    ) -> Result<(), End> {
        Counters::add(&self.shared.counters.publications);
        self.tokens -= 1.0;
        let authorised = self.rights.may_publish(&message.topic);
        if !authorised {
            Counters::add(&self.shared.counters.not_authorised);
        }
        let frame = self.frame(&message, dup);
        let wanted = message.retain || !self.shared.hub().nobody_listens();
        let Some(id) = id else {
            if authorised {
                self.hand_over(frame, None).await?;
                if wanted {
                    self.shared.hub().publish(&message, &self.shared.limits, &self.shared.counters);
                }
            }
            return Ok(());
        };
        let (token, qos, topic) = (self.next_token, message.qos, Arc::clone(&message.topic));
        self.next_token += 1;
        let copy = (wanted && authorised).then_some(message);
        let answer = (!authorised).then_some(Answer::NotAuthorised);
        self.pending.push_back(Pending { token, qos, id, copy, answer });
        if authorised {
            let words: Arc<dyn Acknowledge> = Arc::clone(&self.words) as _;
            self.hand_over(frame, Some(Receipt::new(words, token))).await?;
        } else if self.version == Version::V3 && !topic.starts_with('$') {
            // 3.1.1 has no word for it; without an end, the client would believe that it was heard (MQTT-3.3.5-2). Names
            // that begin with `$` are the server's; what is published to them goes nowhere (3.1.1 §4.7.2).
            return Err(End::Broken(None));
        }
        self.answer_in_order();
        Ok(())
    }

    /// Makes what the pipeline gets of a publication.
    pub(super) fn frame(&self, message: &Message, redelivered: bool) -> Frame {
        Frame {
            origin: Origin::Mqtt {
                link: Arc::from(LINK),
                client: Arc::clone(&self.attached.client),
                topic: Arc::clone(&message.topic),
            },
            payload: message.payload.clone(),
            redelivered,
        }
    }

    pub(super) async fn hand_over(
        &self,
        frame: Frame,
        receipt: Option<Receipt>,
    ) -> Result<(), End> {
        let envelope = Envelope { frame, receipt };
        let sent = self.shared.frames.send(envelope).await;
        sent.map_err(|_| End::Broken(Some(DisconnectReasonCode::ServerShuttingDown)))
    }

    /// Takes the pipeline's words in, and answers what can be answered.
    pub(super) fn pass_words_on(&mut self) {
        let heard =
            std::mem::take(&mut *self.words.heard.lock().unwrap_or_else(PoisonError::into_inner));
        for (token, outcome) in heard {
            let answer = match outcome {
                Outcome::Committed => Answer::Taken,
                Outcome::Refused => Answer::Refused,
                // No acknowledgement may leave: the client keeps it, and sends it again when it is back. Until then it
                // goes on being heard, for what it says next may be a danger that must be told from memory (P5).
                Outcome::NotStored => {
                    let patience = self.shared.limits.patience;
                    self.busy_until.get_or_insert_with(|| Instant::now() + patience);
                    continue;
                }
            };
            let first = self.pending.front().map_or(token, |pending| pending.token);
            let place = usize::try_from(token.saturating_sub(first)).unwrap_or(usize::MAX);
            if let Some(pending) = self.pending.get_mut(place) {
                pending.answer = Some(answer);
            }
        }
        self.answer_in_order();
    }

    fn answer_in_order(&mut self) {
        while let Some(pending) = self.pending.pop_front_if(|pending| pending.answer.is_some()) {
            let answer = pending.answer.unwrap_or(Answer::Refused);
            if answer == Answer::Taken
                && let Some(message) = &pending.copy
            {
                self.shared.hub().publish(message, &self.shared.limits, &self.shared.counters);
            }
            // In version 5 a refusal ends the matter; 3.1.1 goes on to PUBREL all the same.
            if pending.qos == 2 && (answer == Answer::Taken || self.version == Version::V3) {
                self.shared.hub().receive(&self.attached, pending.id);
            }
            self.send(reply::answer(self.version, pending.qos, pending.id, answer));
        }
    }

    /// Returns whether the protocol wants to acknowledge again what has not been acknowledged yet: a duplicate of QoS 2
    /// whose first copy still awaits the pipeline's word.
    pub(super) fn is_too_early(&self, packet: &Packet) -> bool {
        let waits = |id: u16| self.pending.iter().any(|p| p.qos == 2 && p.id == id);
        if let Packet::V3_1_1Pubrec(packet) = packet {
            waits(packet.packet_id())
        } else if let Packet::V5_0Pubrec(packet) = packet {
            waits(packet.packet_id())
        } else {
            false
        }
    }
}
