//! What every carrier does with a packet: bytes in, and once everything in them is on disk, the answer's bytes out.

use super::Counters;
use super::storage::{self, Storage, Stored, Taken};
use crate::wire::uplink::{
    Answers, DecodeError, Down, GatewayNumber, Key, Mark, Packet, Tag, Up, gateway_of, open_up,
    seal_down,
};
use tracing::{debug, info};

/// What comes of the bytes that a carrier has brought.
#[derive(Clone, Debug, PartialEq)]
pub enum Received {
    /// They are a packet of this gateway, and this is the answer to it.
    Answered {
        /// Which gateway.
        gateway: GatewayNumber,
        /// The answer, sealed.
        answer: Vec<u8>,
    },
    /// They are no packet, or of nobody that is known. There is nothing to say to that.
    Refused(DecodeError),
}

/// Takes bytes in. When this returns an answer, everything that it acknowledges is on disk.
///
/// # Errors
///
/// When the storage cannot keep it now: nothing is answered, and the gateway sends it again.
///
/// # Cancel safety
///
/// Dropped, it has stored all or nothing; the gateway sends again what was not answered.
pub async fn receive(
    storage: &Storage,
    counters: &Counters,
    bytes: &[u8],
    now_ms: i64,
) -> Result<Received, storage::Error> {
    counters.packets.add(1);
    let key = match gateway_of(bytes) {
        Some(gateway) => storage.key(gateway).await?,
        None => None,
    };
    let opened = open_up(bytes, |_| key.clone());
    let (packet, key, mark) = match (opened, key, Mark::of(bytes)) {
        (Ok(packet), Some(key), Some(mark)) => (packet, key, mark),
        (Err(error), ..) => return Ok(refused(counters, error)),
        (Ok(packet), ..) => return Ok(refused(counters, DecodeError::Gateway(packet.gateway))),
    };
    let items = match storage.store(&packet, now_ms).await? {
        Taken::Unknown => return Ok(refused(counters, DecodeError::Gateway(packet.gateway))),
        Taken::Suspended => vec![Down::Suspended],
        Taken::Stored(stored) => {
            count(counters, &packet, &stored);
            words(&packet, mark, stored, now_ms)
        }
    };
    let gateway = packet.gateway;
    let answer = answer(gateway, packet.number, items, &key)?;
    Ok(Received::Answered { gateway, answer })
}

fn refused(counters: &Counters, error: DecodeError) -> Received {
    counters.refused.add(1);
    info!(%error, "a packet was refused");
    Received::Refused(error)
}

fn count(counters: &Counters, packet: &Packet<Up>, stored: &Stored) {
    counters.blocks.add(stored.blocks.into());
    counters.repeated.add(stored.blocks_known.into());
    counters.readings.add(stored.readings);
    let (gateway, number) = (packet.gateway.0, packet.number);
    let (blocks, readings) = (stored.blocks, stored.readings);
    debug!(gateway, number, blocks, readings, "a packet is on disk");
    if stored.alerts > 0 {
        info!(gateway, alerts = stored.alerts, "a gateway warns");
    }
}

/// Returns what there is to say to a packet that is on disk.
fn words(packet: &Packet<Up>, mark: Mark, stored: Stored, now_ms: i64) -> Vec<Down> {
    let answers = Answers { packet: packet.number, mark, refused: stored.refused };
    let mut items = vec![Down::Answers(answers)];
    items.extend(stored.lacks.into_iter().map(Down::Lacks));
    items.extend(stored.missing.into_iter().map(Down::Missing));
    if stored.wants_clock {
        items.push(Down::Clock(now_ms));
    }
    items
}

fn answer(
    gateway: GatewayNumber,
    number: u64,
    items: Vec<Down>,
    key: &Key,
) -> Result<Vec<u8>, storage::Error> {
    // The answer has the number of what it answers: no process needs to count.
    let packet = Packet { gateway, number, items };
    seal_down(&packet, key, Tag::Long).map_err(|_| storage::Error::Damaged { what: "answer" })
}
