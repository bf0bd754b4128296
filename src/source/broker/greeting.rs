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
    let options =
        ConnectionOptions::new().maximum_packet_size_recv(shared.limits.packet_bytes_max);
    let mut protocol = Protocol::with_options(mqtt::Version::Undetermined, options);
    let first = timeout(shared.limits.patience, framing.first_packet(&mut io)).await;
    let Ok(Some(Ok(first))) = first else {
        // Silence, the end of the stream, or too long for a CONNECT.
        Counters::add(&shared.counters.protocol_errors);
        return None;
    };
    match read_connect(&first, &mut protocol) {
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
fn read_connect(first: &[u8], protocol: &mut Protocol) -> Result<Connect, Option<Vec<u8>>> {
    // Anything else first breaks the protocol (MQTT-3.1.0-1), and so do reserved bits (MQTT-2.1.3-1).
    if first.first() != Some(&CONNECT) {
        return Err(None);
    }
    for event in protocol.recv(&mut Cursor::new(first)) {
        match event {
            Event::NotifyPacketReceived(packet) => {
                return match packet::incoming(packet) {
                    Incoming::Connect(connect) => Ok(*connect),
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
            Event::NotifyError(error) => return Err(no(first, error)),
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
fn no(first: &[u8], error: MqttError) -> Option<Vec<u8>> {
    match (level(first), error) {
        // Level 3 and before, and no such protocol: 3.1.1 and 5 §3.1.2.2.
        (Some(..4), _) => Some(vec![0x20, 2, 0, 0x01]),
        // 3.1.1 has no code for it, and then nothing may be said (MQTT-3.2.2-6).
        (Some(4) | None, _) => None,
        (Some(5), error) => {
            let code = DisconnectReasonCode::from(error) as u8;
            Some(vec![0x20, 3, 0, code, 0])
        }
        (Some(6..), _) => Some(vec![0x20, 3, 0, 0x84, 0]),
    }
}

/// Returns the protocol level that a CONNECT asks for, whatever it calls the protocol.
fn level(connect: &[u8]) -> Option<u8> {
    let length = connect.iter().skip(1).position(|byte| byte & 0x80 == 0)? + 1;
    let body = connect.get(1 + length..)?;
    let name = usize::from(u16::from_be_bytes([*body.first()?, *body.get(1)?]));
    body.get(2 + name).copied()
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
