//! Cuts a stream into packets, and has the protocol read each of them.
//!
//! What the protocol's own reader lets pass is looked at here: the length before anything is kept, the reserved bits of the
//! first byte, and packet identifiers of zero.

use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::Event;
use mqtt_protocol_core::mqtt::result_code::DisconnectReasonCode;
use mqtt_protocol_core::mqtt::{self, role};
use std::collections::BTreeSet;
use std::pin::Pin;
use std::task::{Poll, ready};
use tokio::io::{AsyncRead, ReadBuf};

/// Bytes that are read at a time. They live on the stack, so that an idle connection costs no buffer.
const READ_BYTES: usize = 8 * 1024;
/// Bytes that the length of a packet may take: MQTT 5 §1.5.5.
const LENGTH_BYTES_MAX: usize = 4;

pub(super) type Protocol = mqtt::Connection<role::Server>;

/// What has been read.
#[expect(
    clippy::large_enum_variant,
    reason = "nearly all are events, and a box would cost each an allocation"
)]
pub(super) enum Read {
    /// The protocol's word.
    Event(Event),
    /// The client has heard that an identifier is free which an earlier connection used.
    Completed(u16),
    /// The client broke the protocol in a way that ends the connection.
    Fault(DisconnectReasonCode),
}

/// The bytes of a stream that are not a whole packet yet.
pub(super) struct Framing {
    rest: Vec<u8>,
    packet_bytes_max: usize,
    /// Identifiers whose release was sent for an earlier connection. The protocol of this one does not know them.
    pub resumed: BTreeSet<u16>,
}

/// What stands at the head of some bytes.
enum Head {
    /// Not enough to tell.
    Part,
    /// A packet of so many bytes, of which so many are its first byte and its length.
    Packet(usize, usize),
    Fault(DisconnectReasonCode),
}

impl Framing {
    pub(super) fn new(packet_bytes_max: u32) -> Self {
        let packet_bytes_max = usize::try_from(packet_bytes_max).unwrap_or(usize::MAX);
        Self { rest: Vec::new(), packet_bytes_max, resumed: BTreeSet::new() }
    }

    /// Reads what is there, and returns what it means to the protocol; `None` at the end of the stream.
    ///
    /// # Cancel safety
    ///
    /// Nothing that was read is lost when the future is dropped.
    pub(super) async fn read<S: AsyncRead + Unpin>(
        &mut self,
        io: &mut S,
        protocol: &mut Protocol,
    ) -> Option<Vec<Read>> {
        std::future::poll_fn(|context| {
            let mut space = [0; READ_BYTES];
            let mut buffer = ReadBuf::new(&mut space);
            if ready!(Pin::new(&mut *io).poll_read(context, &mut buffer)).is_err()
                || buffer.filled().is_empty()
            {
                return Poll::Ready(None);
            }
            Poll::Ready(Some(self.feed(buffer.filled(), protocol)))
        })
        .await
    }

    /// Reads until one packet is there, and returns it; what has come after it stays here.
    pub(super) async fn first_packet<S: AsyncRead + Unpin>(
        &mut self,
        io: &mut S,
    ) -> Option<Result<Vec<u8>, DisconnectReasonCode>> {
        loop {
            match self.head(&self.rest) {
                Head::Packet(bytes, _) if bytes <= self.rest.len() => {
                    let rest = self.rest.split_off(bytes);
                    return Some(Ok(std::mem::replace(&mut self.rest, rest)));
                }
                Head::Part | Head::Packet(..) => {}
                Head::Fault(code) => return Some(Err(code)),
            }
            let read = std::future::poll_fn(|context| {
                let mut space = [0; READ_BYTES];
                let mut buffer = ReadBuf::new(&mut space);
                let read = ready!(Pin::new(&mut *io).poll_read(context, &mut buffer));
                self.rest.extend(buffer.filled());
                Poll::Ready(read.is_ok() && !buffer.filled().is_empty())
            });
            if !read.await {
                return None;
            }
        }
    }

    /// Takes what has come after the first packet.
    pub(super) fn take_rest(&mut self, protocol: &mut Protocol) -> Vec<Read> {
        self.feed(&[], protocol)
    }

    fn feed(&mut self, bytes: &[u8], protocol: &mut Protocol) -> Vec<Read> {
        let mut read = Vec::new();
        if self.rest.is_empty() {
            let taken = self.cut(bytes, protocol, &mut read);
            self.rest.extend(bytes.get(taken..).unwrap_or_default());
            return read;
        }
        let mut all = std::mem::take(&mut self.rest);
        all.extend(bytes);
        let taken = self.cut(&all, protocol, &mut read);
        if taken < all.len() {
            all.drain(..taken);
            self.rest = all;
        }
        read
    }

    /// Has the protocol read every whole packet. Returns how many bytes they were.
    fn cut(&self, bytes: &[u8], protocol: &mut Protocol, read: &mut Vec<Read>) -> usize {
        let mut taken = 0;
        loop {
            let rest = bytes.get(taken..).unwrap_or_default();
            let (length, head) = match self.head(rest) {
                Head::Packet(length, head) if length <= rest.len() => (length, head),
                Head::Part | Head::Packet(..) => return taken,
                Head::Fault(code) => {
                    read.push(Read::Fault(code));
                    return taken;
                }
            };
            let (packet, _) = rest.split_at(length);
            taken += length;
            let body = packet.get(head..).unwrap_or_default();
            if let Some(code) = fault(packet.first().copied().unwrap_or(0), body) {
                read.push(Read::Fault(code));
                return taken;
            }
            if let Some(id) = self.completed(packet, body) {
                read.push(Read::Completed(id));
                continue;
            }
            let events = protocol.recv(&mut Cursor::new(packet));
            let over = events
                .iter()
                .any(|event| matches!(event, Event::RequestClose | Event::NotifyError(_)));
            read.extend(events.into_iter().map(Read::Event));
            if over {
                return taken;
            }
        }
    }

    /// Returns the identifier of a PUBCOMP that answers what an earlier connection began.
    fn completed(&self, packet: &[u8], body: &[u8]) -> Option<u16> {
        let id = u16::from_be_bytes([*body.first()?, *body.get(1)?]);
        (packet.first() == Some(&0x70) && self.resumed.contains(&id)).then_some(id)
    }

    fn head(&self, bytes: &[u8]) -> Head {
        let mut length = 0_usize;
        for (place, byte) in bytes.iter().skip(1).take(LENGTH_BYTES_MAX).enumerate() {
            length |= usize::from(byte & 0x7F) << (7 * place);
            if byte & 0x80 == 0 {
                let head = place + 2;
                if head + length > self.packet_bytes_max {
                    return Head::Fault(DisconnectReasonCode::PacketTooLarge);
                }
                return Head::Packet(head + length, head);
            }
        }
        if bytes.len() > LENGTH_BYTES_MAX {
            return Head::Fault(DisconnectReasonCode::MalformedPacket);
        }
        Head::Part
    }
}

/// Returns what is wrong with a packet that the protocol's reader would let pass: reserved bits (MQTT-2.1.3-1), a
/// duplicate that is none (MQTT-3.3.1-2), a packet identifier of zero (MQTT-2.2.1-3).
fn fault(first: u8, body: &[u8]) -> Option<DisconnectReasonCode> {
    let zero = |at: usize| body.get(at..at + 2) == Some(&[0, 0]);
    let (flags, malformed) = (first & 0x0F, Some(DisconnectReasonCode::MalformedPacket));
    match first >> 4 {
        // PUBLISH
        3 => {
            let topic = match body {
                [high, low, ..] => usize::from(u16::from_be_bytes([*high, *low])),
                _ => return malformed,
            };
            match flags >> 1 & 3 {
                0 if flags & 8 != 0 => malformed,
                0 => None,
                3 => malformed,
                _ => zero(2 + topic).then_some(DisconnectReasonCode::ProtocolError),
            }
        }
        // PUBREL, SUBSCRIBE, UNSUBSCRIBE
        6 | 8 | 10 if flags != 2 => malformed,
        8 | 10 if zero(0) => Some(DisconnectReasonCode::ProtocolError),
        6 | 8 | 10 => None,
        0 => malformed,
        _ => (flags != 0).then_some(DisconnectReasonCode::MalformedPacket),
    }
}
