//! The virtual nodes: MQTT 3.1.1 clients over real TCP, one a node, QoS 1. They are foreign clients (`rumqttc`) on
//! purpose: the gateway must get along with them.

use super::world::Publication;
use rumqttc::{AsyncClient, Event, MqttOptions, Outgoing, Packet, QoS};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// Publications of one node that may await their acknowledgement.
const INFLIGHT_MAX: u16 = 64;
/// Pause before a node connects again.
const RECONNECT: Duration = Duration::from_millis(200);

/// Where and as whom nodes publish.
#[derive(Clone)]
pub struct Target {
    /// Host of the broker.
    pub host: String,
    /// Port of the broker.
    pub port: u16,
    /// User name and password, if it wants them.
    pub login: Option<(String, String)>,
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Target")
            .field("host", &self.host)
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}

/// What the nodes know of their publications: witnesses of what the gateway has promised to keep.
#[derive(Clone, Debug, Default)]
pub struct Witness(Arc<Mutex<Seen>>);

#[derive(Debug, Default)]
struct Seen {
    published: u64,
    acknowledged: Vec<Publication>,
}

impl Witness {
    /// Returns how many publications have been made.
    #[must_use]
    pub fn published(&self) -> u64 {
        self.seen().published
    }

    /// Returns the publications that have been acknowledged.
    #[must_use]
    pub fn acknowledged(&self) -> Vec<Publication> {
        self.seen().acknowledged.clone()
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Publishes everything at its time, `speed` times faster than real time, and returns when all of it has been
/// acknowledged or `patience` has passed after the last.
///
/// # Cancel safety
///
/// May be dropped: the nodes stop where they are.
pub async fn publish(
    publications: Vec<Publication>,
    target: &Target,
    speed: f64,
    patience: Duration,
    witness: &Witness,
) {
    let begin = Instant::now();
    let mut by_node: BTreeMap<&'static str, VecDeque<Publication>> = BTreeMap::new();
    for publication in publications {
        by_node.entry(publication.node).or_default().push_back(publication);
    }
    let mut nodes = JoinSet::new();
    for (node, queue) in by_node {
        let (target, witness) = (target.clone(), witness.clone());
        let last = queue.back().map_or(Duration::ZERO, |last| last.at);
        let until = begin + last.div_f64(speed) + patience;
        let life = run_node(node, queue, target, begin, speed, witness);
        nodes.spawn(async move {
            // One that was not heard to the end has its unacknowledged publications to show for it.
            let _heard = tokio::time::timeout_at(until, life).await.is_ok();
        });
    }
    while nodes.join_next().await.is_some() {}
}

async fn run_node(
    node: &'static str,
    mut queue: VecDeque<Publication>,
    target: Target,
    begin: Instant,
    speed: f64,
    witness: Witness,
) {
    let mut options = MqttOptions::new(format!("node-{node}"), target.host, target.port);
    options
        .set_keep_alive(Duration::from_secs(30))
        .set_clean_session(false)
        .set_inflight(INFLIGHT_MAX);
    if let Some((user, password)) = target.login {
        options.set_credentials(user, password);
    }
    let (client, mut events) = AsyncClient::new(options, usize::from(INFLIGHT_MAX));
    let mut handed: VecDeque<Publication> = VecDeque::new();
    // What the client takes along from a broken connection, and forgets when the broker knows no session of it.
    let mut carried: VecDeque<Publication> = VecDeque::new();
    let mut out: BTreeMap<u16, Publication> = BTreeMap::new();
    let mut early: BTreeSet<u16> = BTreeSet::new();
    let mut connected = false;
    while !(queue.is_empty() && handed.is_empty() && carried.is_empty() && out.is_empty()) {
        let due = queue.front().map(|next| begin + next.at.div_f64(speed));
        let room = handed.len() + carried.len() + out.len() < usize::from(INFLIGHT_MAX) / 2;
        tokio::select! {
            () = sleep_until(due), if room && due.is_some() => {
                if let Some(next) = queue.pop_front() {
                    let sent = client.try_publish(&next.topic, QoS::AtLeastOnce, false, next.payload.clone());
                    if sent.is_ok() {
                        witness.seen().published += 1;
                        handed.push_back(next);
                    } else {
                        queue.push_front(next);
                    }
                }
            }
            event = events.poll() => match event {
                Ok(Event::Outgoing(Outgoing::Publish(id))) => {
                    // After a reconnection the same identifier goes out again for the same publication.
                    if let std::collections::btree_map::Entry::Vacant(place) = out.entry(id)
                        && let Some(publication) = handed.pop_front()
                    {
                        place.insert(publication);
                    }
                    if early.remove(&id) && let Some(publication) = out.remove(&id) {
                        witness.seen().acknowledged.push(publication);
                    }
                }
                Ok(Event::Incoming(Packet::PubAck(ack))) => match out.remove(&ack.pkid) {
                    Some(publication) => witness.seen().acknowledged.push(publication),
                    None => { early.insert(ack.pkid); }
                },
                Ok(Event::Incoming(Packet::ConnAck(ack))) if ack.session_present => {
                    connected = true;
                    for publication in carried.drain(..).rev() {
                        handed.push_front(publication);
                    }
                }
                Ok(Event::Incoming(Packet::ConnAck(_))) => {
                    connected = true;
                    let lost: Vec<Publication> =
                        std::mem::take(&mut out).into_values().chain(carried.drain(..)).collect();
                    witness.seen().published -= lost.len() as u64;
                    for publication in lost.into_iter().rev() {
                        queue.push_front(publication);
                    }
                }
                Ok(_) => {}
                Err(_) => {
                    // The client would give out what it had noted on the broken connection after the next one is made, where an
                    // identifier means another publication. What was acknowledged there, is.
                    for noted in events.state.events.drain(..) {
                        if let Event::Incoming(Packet::PubAck(ack)) = noted
                            && let Some(publication) = out.remove(&ack.pkid)
                        {
                            witness.seen().acknowledged.push(publication);
                        }
                    }
                    // Only a connection that was there leaves something behind: after one that was refused, what has been
                    // handed over still waits in the client's channel.
                    if std::mem::take(&mut connected) {
                        carried.append(&mut handed);
                        early.clear();
                    }
                    tokio::time::sleep(RECONNECT).await;
                }
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
