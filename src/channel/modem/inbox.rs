//! What comes in: texts and status reports, stored on the SIM or direct.
//!
//! A stored message is deleted, and a direct report acknowledged, only after the other side has it for good. What is
//! dropped, or finds the queue full, comes again. So nothing is lost by a crash on either side, and some may come twice.

use super::port::{Port, Trouble};
use super::{Driver, Event, Handover};
use crate::domain::message::{InboundText, NetworkReceipt, ReceiptState};
use crate::domain::time::Timestamp;
use crate::wire::at::{self, Storage};
use crate::wire::segment::{Joined, Reassembler};
use crate::wire::tpdu::{
    Address, Concat, Deliver, Incoming, Outcome, Status, StatusReport, from_hex, split_smsc,
};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tracing::{debug, warn};

/// Unfinished inbound texts that are kept.
const UNFINISHED_MAX: usize = 32;
/// Items that are handed over and neither taken nor let go.
const PENDING_MAX: usize = 256;
/// Items that were not taken and wait to be offered again.
const AGAIN_MAX: usize = 64;
/// States of stored messages that came from the network: received unread, received read (3GPP TS 27.005 §3.1).
const RECEIVED: [&str; 4] = ["0", "1", "REC UNREAD", "REC READ"];

pub(super) struct Inbox {
    /// `AT+CSMS=1`: direct messages are acknowledged.
    pub(super) acknowledges: bool,
    /// The `AT+CNMI` in force; set again from time to time, because a modem drops it when an acknowledgement was late.
    pub(super) announce: String,
    pub(super) sweep_due: Instant,
    reassembler: Reassembler,
    slots: Vec<Slot>,
    pending: Vec<Pending>,
    again: VecDeque<(Item, Origin)>,
}

/// A stored message that is known.
struct Slot {
    place: u16,
    pdu: String,
    /// Sender and, for a segment, its message; `None` for reports.
    message: Option<(Address, Option<Concat>)>,
    read: Timestamp,
    state: SlotState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SlotState {
    /// Other segments are awaited.
    Waiting,
    /// The other side has been given it.
    Handed,
    /// To be deleted.
    Done,
}

/// Something handed over and not yet taken.
struct Pending {
    taken: oneshot::Receiver<()>,
    origin: Origin,
    item: Item,
}

/// Where an item came from, and so what is to be done when it is taken.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Origin {
    /// These places of the SIM.
    Stored(Vec<u16>),
    /// Another memory, such as `SR`.
    Elsewhere { memory: String, place: u16 },
    /// The line itself.
    Direct,
    /// Offered again: whatever had to be done was done.
    Again,
}

#[derive(Clone)]
enum Item {
    Receipt(NetworkReceipt),
    Text(InboundText),
}

/// What was taken, or let go.
pub(super) struct Settled {
    pending: Pending,
    taken: bool,
}

impl Inbox {
    pub(super) fn new(segments_wait: Duration) -> Self {
        Self {
            acknowledges: false,
            announce: String::new(),
            sweep_due: Instant::now(),
            reassembler: Reassembler::new(UNFINISHED_MAX, segments_wait),
            slots: Vec::new(),
            pending: Vec::new(),
            again: VecDeque::new(),
        }
    }

    pub(super) fn sweep_now(&mut self) {
        self.sweep_due = Instant::now();
    }

    /// Waits until something that was handed over is taken or let go; for ever when there is nothing.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when the future is dropped.
    pub(super) async fn settled(&mut self) -> Settled {
        let pending = &mut self.pending;
        poll_fn(|context| {
            for place in 0..pending.len() {
                let Some(one) = pending.get_mut(place) else { break };
                if let Poll::Ready(word) = Pin::new(&mut one.taken).poll(context) {
                    return Poll::Ready(Settled {
                        pending: pending.swap_remove(place),
                        taken: word.is_ok(),
                    });
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Returns the places whose messages `is_part` of what is handed over, and marks them.
    fn claim(&mut self, is_part: impl Fn(&Slot) -> bool) -> Vec<u16> {
        let parts =
            self.slots.iter_mut().filter(|slot| slot.state == SlotState::Waiting && is_part(slot));
        parts
            .map(|slot| {
                slot.state = SlotState::Handed;
                slot.place
            })
            .collect()
    }

    fn mark_done(&mut self, places: &[u16]) {
        for slot in self.slots.iter_mut().filter(|slot| places.contains(&slot.place)) {
            slot.state = SlotState::Done;
        }
    }

    /// Gives up segments that nothing waits for any longer, such as repetitions and 8-bit data.
    fn strand(&mut self, now: Timestamp, after: Duration) {
        for slot in self.slots.iter_mut().filter(|slot| slot.state == SlotState::Waiting) {
            if now.since(slot.read) >= after {
                slot.state = SlotState::Done;
            }
        }
    }

    fn done(&self) -> Vec<u16> {
        self.slots
            .iter()
            .filter(|slot| slot.state == SlotState::Done)
            .map(|slot| slot.place)
            .collect()
    }

    fn forget(&mut self, places: &[u16]) {
        self.slots.retain(|slot| !places.contains(&slot.place));
    }
}

impl Driver {
    /// Reads everything that is stored, hands over what is new, and makes room.
    pub(super) async fn sweep(&mut self, port: &mut Port) -> Result<(), Trouble> {
        self.inbox.sweep_due = Instant::now() + self.settings.times.sweep;
        let announce = self.inbox.announce.clone();
        if !announce.is_empty() {
            port.command(&announce).await?;
        }
        let listed = port.command("AT+CMGL=4").await?;
        let mut present = Vec::with_capacity(listed.entries.len());
        let mut useless = Vec::new();
        for (header, pdu) in &listed.entries {
            let Some(place) = at::stored_index(header) else { continue };
            present.push(place);
            let received = at::fields(header).get(1).is_some_and(|state| RECEIVED.contains(state));
            if !received || !self.take_stored(place, pdu) {
                useless.push(place);
            }
        }
        if listed.error.is_none() {
            self.inbox.slots.retain(|slot| present.contains(&slot.place));
        }
        let storage = port.ask("AT+CPMS?", "+CPMS:").await?;
        self.health.storage = storage.line("+CPMS:").and_then(at::storage);
        if self.health.storage.is_some_and(Storage::is_nearly_full) {
            warn!(modem = %self.settings.name, useless = useless.len(), "SIM storage is nearly full");
            self.delete(port, &useless).await?;
        }
        for text in self.inbox.reassembler.expire((self.clock)()) {
            let places = self.claim_oldest(&text.from);
            self.deliver(text, places);
        }
        self.inbox.strand((self.clock)(), 2 * self.settings.times.segments_wait);
        let done = self.inbox.done();
        self.delete(port, &done).await?;
        for (item, origin) in std::mem::take(&mut self.inbox.again) {
            self.hand_over(item, origin);
        }
        self.publish();
        Ok(())
    }

    /// Takes a stored message; returns whether it makes sense.
    fn take_stored(&mut self, place: u16, pdu: &str) -> bool {
        if self.inbox.slots.iter().any(|slot| slot.place == place && slot.pdu == pdu) {
            return true;
        }
        self.inbox.forget(&[place]);
        let Some(incoming) = self.decode(pdu) else { return false };
        let mut slot = Slot {
            place,
            pdu: pdu.to_owned(),
            message: None,
            read: (self.clock)(),
            state: SlotState::Waiting,
        };
        match incoming {
            Incoming::StatusReport(report) => {
                slot.state = SlotState::Handed;
                self.inbox.slots.push(slot);
                self.hand_over(Item::Receipt(receipt(&report)), Origin::Stored(vec![place]));
            }
            Incoming::Deliver(deliver) => {
                slot.message = Some((deliver.from.clone(), deliver.data.concat()));
                self.inbox.slots.push(slot);
                self.take_text(&deliver, Some(place));
            }
        }
        true
    }

    /// Takes a message that came direct, and acknowledges what need not be kept.
    pub(super) async fn take_direct(&mut self, port: &mut Port, pdu: &str) -> Result<(), Trouble> {
        match self.decode(pdu) {
            Some(Incoming::StatusReport(report)) => {
                self.hand_over(Item::Receipt(receipt(&report)), Origin::Direct);
                Ok(())
            }
            Some(Incoming::Deliver(deliver)) => {
                self.take_text(&deliver, None);
                self.acknowledge(port).await
            }
            // The network would send it again for ever.
            None => self.acknowledge(port).await,
        }
    }

    /// Reads a status report that is stored where `AT+CMGL` does not look.
    pub(super) async fn read_elsewhere(
        &mut self,
        port: &mut Port,
        memory: &str,
        place: u16,
    ) -> Result<(), Trouble> {
        if memory.is_empty() || !memory.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Ok(());
        }
        port.command(&format!("AT+CPMS=\"{memory}\"")).await?;
        let read = port.command(&format!("AT+CMGR={place}")).await?;
        port.command(&format!("AT+CPMS=\"{}\"", self.quirks.storage)).await?;
        if let Some((_, pdu)) = read.entries.first()
            && let Some(Incoming::StatusReport(report)) = self.decode(pdu)
        {
            let origin = Origin::Elsewhere { memory: memory.to_owned(), place };
            self.hand_over(Item::Receipt(receipt(&report)), origin);
        }
        Ok(())
    }

    fn decode(&mut self, pdu: &str) -> Option<Incoming> {
        let octets = from_hex(pdu).ok();
        let tpdu =
            octets.as_deref().and_then(|octets| split_smsc(octets).ok()).map(|(_, tpdu)| tpdu);
        let incoming = tpdu.and_then(|tpdu| Incoming::decode(tpdu).ok());
        if incoming.is_none() {
            self.health.counts.undecodable = self.health.counts.undecodable.saturating_add(1);
        }
        incoming
    }

    fn take_text(&mut self, deliver: &Deliver, place: Option<u16>) {
        let concat = deliver.data.concat();
        let joined_alone = concat.is_none_or(|part| part.total <= 1);
        let joined = self.inbox.reassembler.add(&deliver.from, &deliver.data, (self.clock)());
        for text in joined {
            let places = match concat.filter(|part| part.total > 1) {
                Some(part) if text.missing == 0 => {
                    self.inbox.claim(|slot| is_part(slot, &text.from, part))
                }
                None if text.missing == 0 => self.inbox.claim(|slot| Some(slot.place) == place),
                Some(_) | None => self.claim_oldest(&text.from),
            };
            self.deliver(text, places);
        }
        if joined_alone {
            // 8-bit data is for nobody here.
            let useless = self.inbox.claim(|slot| Some(slot.place) == place);
            self.inbox.mark_done(&useless);
        }
    }

    /// Claims the places of the oldest unfinished message of a sender.
    fn claim_oldest(&mut self, from: &Address) -> Vec<u16> {
        let first = self.inbox.slots.iter().find_map(|slot| match &slot.message {
            Some((sender, Some(concat))) if sender == from && slot.state == SlotState::Waiting => {
                Some(*concat)
            }
            Some(_) | None => None,
        });
        first.map_or_else(Vec::new, |part| self.inbox.claim(|slot| is_part(slot, from, part)))
    }

    fn deliver(&mut self, text: Joined, places: Vec<u16>) {
        if let Some(test) = self.self_test.take_if(|test| text.text.contains(&test.word)) {
            let _asker_gone = test.reply.send(Ok(test.started.elapsed())).is_err();
            self.inbox.mark_done(&places);
            self.inbox.sweep_now();
            return;
        }
        let text = InboundText {
            from: text.from.as_str().to_owned(),
            text: text.text,
            received: (self.clock)(),
        };
        let origin = if places.is_empty() { Origin::Again } else { Origin::Stored(places) };
        self.hand_over(Item::Text(text), origin);
    }

    fn hand_over(&mut self, item: Item, origin: Origin) {
        if self.inbox.pending.len() >= PENDING_MAX {
            return self.refuse(item, origin);
        }
        let (taken, word) = oneshot::channel();
        let event = match item.clone() {
            Item::Receipt(item) => Event::Receipt(Handover { item, taken }),
            Item::Text(item) => Event::Text(Handover { item, taken }),
        };
        match self.events.try_send(event) {
            Ok(()) => self.inbox.pending.push(Pending { taken: word, origin, item }),
            Err(mpsc::error::TrySendError::Full(_) | mpsc::error::TrySendError::Closed(_)) => {
                self.refuse(item, origin);
            }
        }
    }

    fn refuse(&mut self, item: Item, origin: Origin) {
        let refused = &mut self.health.counts.handovers_refused;
        *refused = refused.saturating_add(1);
        self.offer_again(item, origin);
    }

    /// Keeps an item for the next sweep. What falls out by the bound is still on the SIM if it was stored there, and comes
    /// again after a restart.
    fn offer_again(&mut self, item: Item, origin: Origin) {
        if self.inbox.again.len() >= AGAIN_MAX {
            self.inbox.again.pop_front();
            warn!(modem = %self.settings.name, "a receipt or text that nobody takes is given up");
        }
        self.inbox.again.push_back((item, origin));
    }

    /// Does what has to be done about something that was taken, or let go.
    pub(super) async fn settle(
        &mut self,
        port: &mut Port,
        settled: Settled,
    ) -> Result<(), Trouble> {
        let Settled { pending, taken } = settled;
        if !taken {
            self.offer_again(pending.item, pending.origin);
            return Ok(());
        }
        match pending.origin {
            Origin::Stored(places) => {
                self.inbox.mark_done(&places);
                self.delete(port, &places).await
            }
            Origin::Elsewhere { memory, place } => {
                port.command(&format!("AT+CPMS=\"{memory}\"")).await?;
                port.command(&format!("AT+CMGD={place}")).await?;
                port.command(&format!("AT+CPMS=\"{}\"", self.quirks.storage)).await?;
                Ok(())
            }
            Origin::Direct => self.acknowledge(port).await,
            Origin::Again => Ok(()),
        }
    }

    /// Acknowledges a direct message: 3GPP TS 27.005 §3.4.4.
    async fn acknowledge(&mut self, port: &mut Port) -> Result<(), Trouble> {
        if self.inbox.acknowledges
            && let Some(error) = port.command("AT+CNMA").await?.error
        {
            debug!(modem = %self.settings.name, %error, "modem wants no acknowledgement");
        }
        Ok(())
    }

    pub(super) async fn delete(&mut self, port: &mut Port, places: &[u16]) -> Result<(), Trouble> {
        for place in places {
            if port.command(&format!("AT+CMGD={place}")).await?.error.is_none() {
                self.inbox.forget(&[*place]);
            }
        }
        Ok(())
    }
}

fn is_part(slot: &Slot, from: &Address, part: Concat) -> bool {
    slot.message.as_ref().is_some_and(|(sender, concat)| {
        sender == from
            && concat.is_some_and(|own| own.reference == part.reference && own.total == part.total)
    })
}

fn receipt(report: &StatusReport) -> NetworkReceipt {
    let state = match report.status.outcome() {
        Outcome::Delivered => ReceiptState::Delivered,
        // "Unconfirmed" is the service centre's last word, and says no more than that it took the text.
        Outcome::Unconfirmed | Outcome::Trying => ReceiptState::Pending,
        Outcome::Permanent if report.status == Status::EXPIRED => ReceiptState::Expired,
        Outcome::Permanent | Outcome::GaveUp => {
            ReceiptState::Failed { reason: report.status.words().to_owned() }
        }
    };
    NetworkReceipt {
        reference: report.reference.to_string(),
        to: Some(report.to.as_str().to_owned()),
        state,
    }
}
