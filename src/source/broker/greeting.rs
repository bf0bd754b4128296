//! CONNECT: who is let in, and how the others are told why not.

use super::access::Rights;
use super::connection::Connection;
use super::framing::{Framing, Protocol, Read};
use super::packet::{self, Connect, Incoming, Version};
use super::reply::{self, Refusal, Welcome};
use super::{Counters, Shared};
use mqtt_protocol_core::mqtt;
use mqtt_protocol_core::mqtt::common::Cursor;
use mqtt_protocol_core::mqtt::connection::{ConnectionOptions, Event};
use mqtt_protocol_core::mqtt::result_code::{DisconnectReasonCode, MqttError};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::time::timeout;

/// First byte of CONNECT.
const CONNECT: u8 = 0x10;

/// Waits for CONNECT, and lets the client in, or tells it why not. Returns what came with the CONNECT too.
pub(super) async fn greet<S: AsyncRead + AsyncWrite + Unpin>(
    mut io: S,
    shared: &Arc<Shared>,
) -> Option<(Connection<S>, Vec<Read>)> {
    let mut framing = Framing::new(shared.limits.packet_bytes_max);
    let options = ConnectionOptions::new().maximum_packet_size_recv(shared.limits.packet_bytes_max);
    let mut protocol = Protocol::with_options(mqtt::Version::Undetermined, options);
    let first = timeout(shared.limits.patience, framing.first_packet(&mut io)).await;
    let Ok(Some(Ok(first))) = first else {
        // Silence, the end of the stream, or too long for a CONNECT.
        Counters::add(&shared.counters.protocol_errors);
        return None;
    };
    match read_connect(first, &mut protocol) {
        Ok(connect) => {
            let greeted = admit(&mut protocol, &mut framing, &connect, shared).await;
            match greeted {
                Ok(admitted) => {
                    let mut connection =
                        Connection::new(io, protocol, framing, connect, shared, admitted);
                    let early = connection.begin();
                    Some((connection, early))
                }
                Err(refusal) => {
                    if refusal == Refusal::Credentials || refusal == Refusal::NoUser {
                        Counters::add(&shared.counters.refused);
                    }
                    say(&mut io, &reply::refusal(connect.version, refusal), shared).await;
                    None
                }
            }
        }
        Err(answer) => {
            Counters::add(&shared.counters.protocol_errors);
            if let Some(answer) = answer {
                say(&mut io, &answer, shared).await;
            }
            None
        }
    }
}

/// Reads the first packet. What is not a CONNECT that can be answered with a welcome or a refusal comes back with the
/// bytes to say, if the version has any for it.
fn read_connect(mut first: Vec<u8>, protocol: &mut Protocol) -> Result<Connect, Option<Vec<u8>>> {
    // Anything else first breaks the protocol (MQTT-3.1.0-1), and so do reserved bits (MQTT-2.1.3-1).
    if first.first() != Some(&CONNECT) {
        return Err(None);
    }
    let asked = Asked::read(&first);
    if asked.is_some_and(Asked::contradicts_itself) {
        return Err(no(asked, MqttError::MalformedPacket));
    }
    let no_aliases = asked.is_some_and(|asked| forbid_aliases(&mut first, asked));
    for event in protocol.recv(&mut Cursor::new(&first)) {
        match event {
            Event::NotifyPacketReceived(packet) => {
                return match packet::incoming(packet) {
                    Incoming::Connect(connect) => Ok(Connect {
                        takes_aliases: connect.takes_aliases && !no_aliases,
                        ..*connect
                    }),
                    Incoming::Publish { .. }
                    | Incoming::Puback { .. }
                    | Incoming::Pubrec { .. }
                    | Incoming::Pubrel { .. }
                    | Incoming::Pubcomp { .. }
                    | Incoming::Subscribe { .. }
                    | Incoming::Unsubscribe { .. }
                    | Incoming::Ping
                    | Incoming::Disconnect { .. }
                    | Incoming::Broken(_) => Err(None),
                };
            }
            Event::NotifyError(error) => return Err(no(asked, error)),
            // The protocol's own answer is not always the standard's.
            Event::RequestSendPacket { .. }
            | Event::RequestClose
            | Event::NotifyPacketIdReleased(_)
            | Event::RequestTimerReset { .. }
            | Event::RequestTimerCancel(_) => {}
        }
    }
    Err(None)
}

/// Returns how a CONNECT that breaks the protocol is answered.
fn no(asked: Option<Asked>, error: MqttError) -> Option<Vec<u8>> {
    match (asked.map(|asked| asked.level), error) {
        // Level 3 and before: 3.1.1 §3.1.2.2.
        (Some(..4), _) => Some(vec![0x20, 2, 0, 0x01]),
        // 3.1.1 has no code for it, and then nothing may be said (MQTT-3.2.2-6).
        (Some(4) | None, _) => None,
        (Some(5), error) => {
            let mut code = DisconnectReasonCode::from(error);
            if code == DisconnectReasonCode::UnspecifiedError {
                // The reader has words of its own for what is too short or too long.
                code = DisconnectReasonCode::MalformedPacket;
            }
            Some(vec![0x20, 3, 0, code as u8, 0])
        }
        (Some(6..), _) => Some(vec![0x20, 3, 0, 0x84, 0]),
    }
}

/// The head of a CONNECT, whatever it calls the protocol.
#[derive(Clone, Copy)]
struct Asked {
    level: u8,
    flags: u8,
    /// Where the keep alive ends.
    end: usize,
}

impl Asked {
    fn read(connect: &[u8]) -> Option<Self> {
        let body = connect.iter().skip(1).position(|byte| byte & 0x80 == 0)? + 2;
        let name = u16::from_be_bytes([*connect.get(body)?, *connect.get(body + 1)?]);
        let at = body + 2 + usize::from(name);
        Some(Self { level: *connect.get(at)?, flags: *connect.get(at + 1)?, end: at + 4 })
    }

    /// Returns whether the flags say what cannot be: MQTT-3.1.2-3, -11 to -15, and for 3.1.1 -22.
    fn contradicts_itself(self) -> bool {
        let (user, password) = (self.flags & 0x80 != 0, self.flags & 0x40 != 0);
        let (will, qos, retain) =
            (self.flags & 4 != 0, self.flags >> 3 & 3, self.flags & 0x20 != 0);
        self.flags & 1 != 0
            || qos == 3
            || (!will && (qos != 0 || retain))
            || (self.level == 4 && password && !user)
    }
}

/// Changes the Topic Alias Maximum of a CONNECT that forbids aliases by naming zero, on which the protocol's reader
/// panics, to one. Returns whether it did; no alias may be sent then.
fn forbid_aliases(connect: &mut [u8], asked: Asked) -> bool {
    let Some(at) = (asked.level == 5).then(|| alias_max_at(connect, asked.end)).flatten() else {
        return false;
    };
    match connect.get_mut(at..at + 2) {
        Some([0, low @ 0]) => {
            *low = 1;
            true
        }
        _ => false,
    }
}

/// Returns where the value of Topic Alias Maximum stands among the properties that begin at `at`: MQTT 5 §3.1.2.11.
fn alias_max_at(connect: &[u8], mut at: usize) -> Option<usize> {
    let mut length = 0;
    for place in 0..4 {
        let byte = *connect.get(at)?;
        length |= usize::from(byte & 0x7F) << (7 * place);
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let end = at + length;
    let text = |at: usize| {
        let length = u16::from_be_bytes([*connect.get(at)?, *connect.get(at + 1)?]);
        Some(at + 2 + usize::from(length))
    };
    while at < end {
        let value = at + 1;
        at = match connect.get(at)? {
            0x22 => return Some(value),
            0x17 | 0x19 => value + 1,
            0x21 => value + 2,
            0x11 | 0x27 => value + 4,
            0x15 | 0x16 => text(value)?,
            0x26 => text(text(value)?)?,
            _ => return None,
        };
    }
    None
}

/// What a client is let in with.
pub(super) struct Admitted {
    pub rights: Arc<Rights>,
    pub attached: super::hub::Attached,
    pub resumed: super::hub::Resumed,
    pub welcome: Welcome,
}

async fn admit(
    protocol: &mut Protocol,
    framing: &mut Framing,
    connect: &Connect,
    shared: &Arc<Shared>,
) -> Result<Admitted, Refusal> {
    if let Some(fault) = connect.fault {
        return Err(fault);
    }
    let assigned = connect.client.is_empty();
    if assigned && connect.version == Version::V3 && !connect.clean {
        return Err(Refusal::Identifier);
    }
    let Some(rights) = rights_of(connect, shared).await else {
        let named = connect.user.is_some();
        return Err(if named { Refusal::Credentials } else { Refusal::NoUser });
    };
    let client: Arc<str> =
        if assigned { assigned_name(shared).into() } else { connect.client.as_str().into() };
    let limits = &shared.limits;
    let expiry = connect.expiry.min(limits.session_expiry_max);
    let user = connect.user.as_deref().unwrap_or_default();
    let (attached, resumed) = shared
        .hub()
        .attach(user, &client, connect.clean, expiry, limits, &shared.counters)
        .ok_or(Refusal::TooMany)?;
    protocol.restore_qos2_publish_handled(resumed.received.iter().copied().collect());
    framing.resumed = resumed.released.iter().copied().collect();
    let welcome = Welcome {
        version: connect.version,
        assigned: assigned.then(|| Arc::clone(&client)),
        present: attached.present,
        keep_alive_s: keep_alive_s(connect, limits.keep_alive_s_max),
        expiry: (expiry < connect.expiry).then_some(expiry),
        receive_max: limits.inflight_max,
    };
    Ok(Admitted { rights, attached, resumed, welcome })
}

/// Returns the keep alive that a client of version 5 has to use instead of its own (MQTT-3.1.2-21).
fn keep_alive_s(connect: &Connect, max: Option<u16>) -> Option<u16> {
    let too_long = |max: &u16| connect.keep_alive_s == 0 || connect.keep_alive_s > *max;
    max.filter(|max| connect.version == Version::V5 && too_long(max))
}

async fn say<S: AsyncWrite + Unpin>(io: &mut S, bytes: &[u8], shared: &Shared) {
    // Whether the client hears it changes nothing.
    let _heard = timeout(shared.limits.patience, io.write_all(bytes)).await.is_ok();
    let _closed = timeout(Duration::from_secs(1), io.shutdown()).await.is_ok();
}

async fn rights_of(connect: &Connect, shared: &Arc<Shared>) -> Option<Arc<Rights>> {
    let (user, password, client) =
        (connect.user.clone(), connect.password.clone(), connect.client.clone());
    if !shared.access.is_slow(user.as_deref()) {
        return shared.access.rights(user.as_deref(), password.as_deref(), &client);
    }
    let shared = Arc::clone(shared);
    let verified = tokio::task::spawn_blocking(move || {
        shared.access.rights(user.as_deref(), password.as_deref(), &client)
    });
    verified.await.ok().flatten()
}

/// A name that no client has had since the start.
fn assigned_name(shared: &Shared) -> String {
    let number = shared.counters.assigned.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    format!("kengele-assigned-{number}")
}
