//! The embedded MQTT listener (3.1.1 and 5): an acknowledgement leaves only after the commit.
//!
//! The protocol's state rules are those of `mqtt-protocol-core`, which does no input or output; what is ours is who may
//! do what (`access`), sessions, retained messages and who gets a copy (`hub`), and that the word to a publisher waits
//! for the disk (`connection`). One task serves a connection; a publication costs no task of its own.
//!
//! Sessions and what clients retain live in memory and are bounded; the current state of warnings is published again at
//! start. `docs/mqtt-conformance.md` goes through the standards.

mod access;
mod connection;
mod framing;
mod greeting;
mod hub;
mod inbound;
mod outbound;
mod packet;
mod reply;
mod session;

pub use access::{Credential, NodeRight, Rights};

use crate::domain::frame::Envelope;
use crate::supervise::Stop;
use access::Access;
use hub::{Hub, Message};
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

/// Name of the listener among the sources.
pub const LINK: &str = "listener";
/// How often sessions and wills are looked at.
const SWEEP: Duration = Duration::from_secs(1);
/// Pause after an accept that failed, as it does when file descriptors run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Why the listener could not start or go on.
#[derive(Debug, Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("cannot listen for MQTT on {address}")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// What a listener is told at start.
#[derive(Clone, Debug, Default)]
pub struct Settings {
    /// Addresses without TLS.
    pub listen: Vec<SocketAddr>,
    /// Addresses with TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// Certificate and key for those.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Who may connect.
    pub credentials: Vec<Credential>,
    /// What a client without a user name may do; `None`: it may not connect.
    pub anonymous: Option<Rights>,
    /// Bounds.
    pub limits: Limits,
}

/// Bounds.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Connections at a time.
    pub connections_max: usize,
    /// Bytes of a packet.
    pub packet_bytes_max: u32,
    /// Publications of one client that await their acknowledgement.
    pub inflight_max: u16,
    /// Publications of one client a second, over time; bursts of ten times as many pass.
    pub rate_max: f64,
    /// How long a session outlives its connection.
    pub session_expiry_max: Duration,
    /// Messages kept for a subscriber that is away or slow; the oldest go first.
    pub session_queue_max: usize,
    /// Sessions.
    pub sessions_max: usize,
    /// Subscriptions of one session.
    pub subscriptions_max: usize,
    /// Retained messages.
    pub retained_max: usize,
    /// Keep alive, in seconds, that a client of version 5 has to use if its own is longer or off; `None`: its own.
    pub keep_alive_s_max: Option<u16>,
    /// Wait for the first packet, for a slow reader, and for the end of a connection of which something could not be
    /// stored.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections_max: 20_000,
            packet_bytes_max: 64 * 1024,
            inflight_max: 128,
            rate_max: 100_000.0,
            session_expiry_max: Duration::from_hours(24 * 7),
            session_queue_max: 1000,
            sessions_max: 20_000,
            subscriptions_max: 64,
            retained_max: 10_000,
            keep_alive_s_max: None,
            patience: Duration::from_secs(5),
        }
    }
}

/// What has been counted.
#[derive(Debug, Default)]
pub struct Counters {
    /// Connections open now.
    pub connections: AtomicU64,
    /// Connections turned away because there were too many.
    pub too_many: AtomicU64,
    /// Connections refused for their user name or password.
    pub refused: AtomicU64,
    /// Publications or subscriptions without the right to.
    pub not_authorised: AtomicU64,
    /// Publications taken.
    pub publications: AtomicU64,
    /// Messages dropped because their subscriber was away or slow for too long.
    pub dropped: AtomicU64,
    /// Client identifiers made up for clients without one.
    pub assigned: AtomicU64,
    /// Connections closed for breaking the protocol.
    pub protocol_errors: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// What every connection shares.
struct Shared {
    hub: Mutex<Hub>,
    access: Access,
    limits: Limits,
    counters: Arc<Counters>,
    frames: mpsc::Sender<Envelope>,
}

impl Shared {
    fn hub(&self) -> std::sync::MutexGuard<'_, Hub> {
        self.hub.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The listener, bound and ready to run.
pub struct Listener {
    plain: Vec<TcpListener>,
    secure: Vec<TcpListener>,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
}

/// Publishes from inside, and shows what has been counted.
#[derive(Clone)]
pub struct Handle(Arc<Shared>);

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Handle")
    }
}

impl Handle {
    /// Publishes to whoever subscribes, QoS 1; retained, it is the current state for who subscribes later. An empty
    /// payload takes a retained message away.
    pub fn publish(&self, topic: &str, payload: &[u8], retain: bool) {
        let message = Message::own(topic, payload, retain);
        self.0.hub().publish(&message, &self.0.limits, &self.0.counters);
    }

    /// Returns what has been counted.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.0.counters
    }
}

impl Listener {
    /// Binds every address. Frames go to `frames`.
    ///
    /// # Errors
    ///
    /// [`Error::Bind`] for the first address that cannot be had.
    pub async fn bind(settings: Settings, frames: mpsc::Sender<Envelope>) -> Result<Self, Error> {
        let plain = bind_all(&settings.listen).await?;
        let secure = bind_all(&settings.listen_tls).await?;
        let shared = Shared {
            hub: Mutex::new(Hub::default()),
            access: Access::new(settings.credentials, settings.anonymous),
            limits: settings.limits,
            counters: Arc::default(),
            frames,
        };
        let tls = settings.tls.map(TlsAcceptor::from);
        Ok(Self { plain, secure, tls, shared: Arc::new(shared) })
    }

    /// Returns the addresses that it listens on, those with TLS last.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.plain
            .iter()
            .chain(&self.secure)
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// Returns a handle that publishes from inside.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }

    /// Serves connections until it is told to stop.
    ///
    /// # Errors
    ///
    /// None while it runs.
    pub async fn run(self, mut stop: Stop) -> Result<(), Error> {
        let Self { plain, secure, tls, shared } = self;
        let places = Arc::new(Semaphore::new(shared.limits.connections_max));
        let mut accepting = JoinSet::new();
        for listener in plain {
            accepting.spawn(accept(
                listener,
                None,
                Arc::clone(&shared),
                Arc::clone(&places),
                stop.clone(),
            ));
        }
        for listener in secure {
            accepting.spawn(accept(
                listener,
                tls.clone(),
                Arc::clone(&shared),
                Arc::clone(&places),
                stop.clone(),
            ));
        }
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            tokio::select! {
                () = stop.wait() => break,
                _ = sweep.tick() => shared.hub().sweep(&shared.limits, &shared.counters),
            }
        }
        while accepting.join_next().await.is_some() {}
        Ok(())
    }
}

async fn bind_all(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, Error> {
    let mut bound = Vec::with_capacity(addresses.len());
    for address in addresses {
        let listener = TcpListener::bind(address).await;
        bound.push(listener.map_err(|source| Error::Bind { address: *address, source })?);
    }
    Ok(bound)
}

async fn accept(
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    mut stop: Stop,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = stop.wait() => break,
            Some(_) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let Ok((socket, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            Counters::add(&shared.counters.too_many);
            continue;
        };
        let (shared, tls, stop) = (Arc::clone(&shared), tls.clone(), stop.clone());
        connections.spawn(async move {
            serve(socket, tls, shared, stop).await;
            drop(place);
        });
    }
    while connections.join_next().await.is_some() {}
}

async fn serve(socket: TcpStream, tls: Option<TlsAcceptor>, shared: Arc<Shared>, stop: Stop) {
    // Without it a PUBACK waits for company that does not come; the connection works all the same.
    let _undelayed = socket.set_nodelay(true).is_ok();
    let _open = Open::new(&shared.counters);
    match tls {
        None => Box::pin(connection::serve(socket, shared, stop)).await,
        Some(tls) => Box::pin(serve_secure(socket, tls, shared, stop)).await,
    }
}

async fn serve_secure(socket: TcpStream, tls: TlsAcceptor, shared: Arc<Shared>, stop: Stop) {
    match tokio::time::timeout(shared.limits.patience, tls.accept(socket)).await {
        Ok(Ok(stream)) => connection::serve(stream, Arc::clone(&shared), stop).await,
        Ok(Err(_)) | Err(_) => Counters::add(&shared.counters.protocol_errors),
    }
}

/// Counts a connection for as long as it lives.
struct Open(Arc<Counters>);

impl Open {
    fn new(counters: &Arc<Counters>) -> Self {
        Counters::add(&counters.connections);
        Self(Arc::clone(counters))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
