//! The hub: a server that collects what many gateways tell.
//!
//! [`receive`](mod@receive) knows what a packet is and no carrier: bytes in, and once everything in them is on disk, the
//! answer's bytes out. [`storage`] is SQLite or PostgreSQL. [`https`] and [`mqtt`] are the carriers, and [`watch`] misses
//! gateways. Several processes may share a PostgreSQL and a broker; none keeps anything that another needs.

pub mod receive;
pub mod storage;
pub mod https;
pub mod mqtt;
pub mod watch;
pub mod settings;
pub mod token;

use crate::supervise::Tasks;
use crate::telemetry::Counter;
use settings::Settings;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use storage::Storage;
use thiserror::Error;
use tracing::{error, info};

/// How long the parts may take to end.
const STOP_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a hub cannot be run.
#[derive(Debug, Error)]
pub enum Error {
    /// A password, certificate or key cannot be read.
    #[error("cannot use the file {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// TLS refuses the certificate or its key.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
    /// An address cannot be listened on.
    #[error("cannot listen on {address}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The storage cannot be opened.
    #[error("cannot open the storage")]
    Storage(#[from] storage::Error),
    /// The system gives no random bytes.
    #[error("this machine gives no random bytes")]
    Random,
    /// A part of the hub has ended by itself.
    #[error("{name} has ended: {why}")]
    Ended {
        /// Which.
        name: &'static str,
        /// What it said.
        why: String,
    },
}

/// What a hub process has counted since it started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Packets that came.
    pub packets: Counter,
    /// Packets that are of nobody, or no packets.
    pub refused: Counter,
    /// Packets that could not be stored, or not now.
    pub put_off: Counter,
    /// Blocks that were new.
    pub blocks: Counter,
    /// Blocks that had come before.
    pub repeated: Counter,
    /// Readings that were new.
    pub readings: Counter,
}

/// A hub process.
pub struct Hub {
    storage: Storage,
    tasks: Tasks,
    /// Where it listens.
    pub addresses: Vec<SocketAddr>,
}

impl Hub {
    /// Opens the storage, then every door.
    ///
    /// # Errors
    ///
    /// [`Error::Storage`] and [`Error::Listen`].
    pub async fn start(settings: Settings) -> Result<Self, Error> {
        let storage = Storage::open(&settings.place).await?;
        let counters = Arc::<Counters>::default();
        let mut tasks = Tasks::default();
        let mut addresses = Vec::new();
        if let Some(https) = settings.https {
            for server in https::bind(https, &storage, &counters).await? {
                addresses.push(server.address());
                tasks.spawn("https", server.run(tasks.stop_signal()));
            }
        }
        if let Some(mqtt) = settings.mqtt {
            let client = mqtt::Client::new(mqtt, storage.clone(), Arc::clone(&counters));
            tasks.spawn("mqtt", client.run(tasks.stop_signal()));
        }
        let watch = watch::Watch {
            storage: storage.clone(),
            silent_after: settings.silent_after,
            tell: settings.tell,
            providers: settings.providers,
        };
        tasks.spawn("watch", watch.run(tasks.stop_signal()));
        Ok(Self { storage, tasks, addresses })
    }

    /// Runs until `until`, then ends in order: what has begun is stored and answered.
    ///
    /// # Errors
    ///
    /// [`Error::Ended`], when a part has ended by itself.
    pub async fn run(mut self, until: impl Future<Output = ()>) -> Result<(), Error> {
        let ended = tokio::select! {
            () = until => None,
            ended = self.tasks.next_ended() => ended,
        };
        self.tasks.stop();
        let all = async { while self.tasks.next_ended().await.is_some() {} };
        if tokio::time::timeout(STOP_TIMEOUT, all).await.is_err() {
            error!("a part of the hub does not end; it is left");
        }
        self.storage.close().await;
        info!("ended");
        ended.map_or(Ok(()), |ended| {
            let why = ended.failure.unwrap_or_else(|| "without a word".to_owned());
            Err(Error::Ended { name: ended.name, why })
        })
    }
}

/// Returns the calendar's time, Unix ms. Gateways do not depend on it.
#[must_use]
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Draws random bytes from the generator that TLS keys come from.
///
/// # Errors
///
/// [`Error::Random`].
pub fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut bytes).map_err(|_| Error::Random)?;
    Ok(bytes)
}
