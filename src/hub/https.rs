//! Gateways that come over HTTPS: `POST /v1/up` for packets, `POST /v1/enrol` for those who join, `GET /health`.
//!
//! Everything is bounded: connections, packets at a time, the length and the duration of a request. A gateway trusts the
//! tag of an answer and nothing else here.

use super::receive::{Received, receive};
use super::storage::{Enrolled, Storage};
use super::{Counters, Error, now_ms, token};
use crate::supervise::{Stop, chain};
use crate::wire::uplink::{DecodeError, Key, PACKET_BYTES_MAX};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use serde::Deserialize;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tracing::{debug, info, warn};

/// What a packet is called as the body of a request and of its answer.
pub const MEDIA_TYPE: &str = "application/vnd.kengele.packet";
/// Body of an enrolment, bytes.
const ENROLMENT_BYTES_MAX: usize = 4 * 1024;
/// Longest that a handshake or the head of a request may take.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
/// Requests of one HTTP/2 connection at a time: a gateway sends one packet after the other.
const STREAMS_MAX: u32 = 8;
/// How often a silent HTTP/2 connection is asked whether it lives.
const PING_EVERY: Duration = Duration::from_mins(2);
/// What a gateway is told to wait where there is no room or no storage, s.
const RETRY_AFTER_S: &str = "30";
/// How long connections may take to end.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// What the server is told at start.
#[derive(Debug)]
pub struct Settings {
    /// Addresses.
    pub listen: Vec<SocketAddr>,
    /// How TLS is spoken; `None`: it is not.
    pub tls: Option<Arc<rustls::ServerConfig>>,
    /// Most connections at a time.
    pub connections_max: u32,
    /// Most packets at a time.
    pub requests_max: u32,
    /// Longest that a request may take.
    pub timeout: Duration,
}

/// What requests need.
struct Shared {
    storage: Storage,
    counters: Arc<Counters>,
    requests: Semaphore,
    timeout: Duration,
}

/// A server on one address.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    router: Router,
    connections: Arc<Semaphore>,
}

/// Binds every address. The bounds hold for all of them together.
///
/// # Errors
///
/// [`Error::Listen`].
pub async fn bind(
    settings: Settings,
    storage: &Storage,
    counters: &Arc<Counters>,
) -> Result<Vec<Server>, Error> {
    let shared = Arc::new(Shared {
        storage: storage.clone(),
        counters: Arc::clone(counters),
        requests: Semaphore::new(settings.requests_max as usize),
        timeout: settings.timeout,
    });
    let router = Router::new()
        .route("/v1/up", post(up))
        .route("/v1/enrol", post(enrol))
        .route("/health", get(health))
        .with_state(shared);
    let connections = Arc::new(Semaphore::new(settings.connections_max as usize));
    let mut servers = Vec::new();
    for address in settings.listen {
        let listening = |source| Error::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(listening)?;
        servers.push(Server {
            address: listener.local_addr().map_err(listening)?,
            listener,
            tls: settings.tls.clone().map(TlsAcceptor::from),
            router: router.clone(),
            connections: Arc::clone(&connections),
        });
    }
    Ok(servers)
}

impl Server {
    /// Returns where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves connections until it is told to stop; what has begun is answered.
    ///
    /// # Errors
    ///
    /// None.
    pub async fn run(self, mut stop: Stop) -> Result<(), Infallible> {
        info!(address = %self.address, tls = self.tls.is_some(), "listening for gateways");
        let graceful = GracefulShutdown::new();
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                () = stop.wait() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.accept() => accepted,
            };
            let Some((stream, place)) = accepted else { continue };
            let tls = self.tls.clone();
            let (router, watcher) = (self.router.clone(), graceful.watcher());
            connections.spawn(async move {
                connection(stream, tls, router, watcher).await;
                drop(place);
            });
        }
        let ending = async {
            graceful.shutdown().await;
            while connections.join_next().await.is_some() {}
        };
        if timeout(END_TIMEOUT, ending).await.is_err() {
            debug!("some connections did not end in time");
        }
        Ok(())
    }

    /// Takes the next connection, once there is room for one.
    ///
    /// # Cancel safety
    ///
    /// May be dropped.
    async fn accept(&self) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let place = Arc::clone(&self.connections).acquire_owned().await.ok()?;
        match self.listener.accept().await {
            Ok((stream, _)) => Some((stream, place)),
            Err(error) => {
                // No more files, or a connection that was gone before it was taken.
                warn!(%error, "a connection was not taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
                None
            }
        }
    }
}

async fn connection(stream: TcpStream, tls: Option<TlsAcceptor>, router: Router, watcher: Watcher) {
    let Some(acceptor) = tls else { return serve(stream, router, watcher).await };
    match timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => serve(stream, router, watcher).await,
        Ok(Err(error)) => debug!(error = chain(&error), "TLS was not agreed on"),
        Err(_) => debug!("TLS was not agreed on in time"),
    }
}

async fn serve<S>(stream: S, router: Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .keep_alive_interval(PING_EVERY)
        .keep_alive_timeout(HEAD_TIMEOUT);
    let service = TowerToHyperService::new(router);
    let served = builder.serve_connection(TokioIo::new(stream), service);
    if let Err(error) = watcher.watch(served.into_owned()).await {
        debug!(%error, "a connection broke");
    }
}

/// Returns the answer to who cannot be served now.
fn later(shared: &Shared, words: &'static str) -> Response {
    shared.counters.put_off.add(1);
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, RETRY_AFTER_S)], words).into_response()
}

/// Reads the body of a request.
async fn body(
    request: Request<Body>,
    shared: &Shared,
    bytes_max: usize,
) -> Result<Bytes, Response> {
    match timeout(shared.timeout, to_bytes(request.into_body(), bytes_max)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(_)) => {
            Err((StatusCode::PAYLOAD_TOO_LARGE, "too long, or cut off\n").into_response())
        }
        Err(_) => Err((StatusCode::REQUEST_TIMEOUT, "too slow\n").into_response()),
    }
}

async fn up(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    // The body first: a slow link takes its time, and no place from others.
    let bytes = match body(request, &shared, PACKET_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(answer) => return answer,
    };
    let Ok(_place) = shared.requests.try_acquire() else { return later(&shared, "busy\n") };
    let received = receive(&shared.storage, &shared.counters, &bytes, now_ms());
    match timeout(shared.timeout, received).await {
        Ok(Ok(Received::Answered { answer, .. })) => {
            ([(header::CONTENT_TYPE, MEDIA_TYPE)], answer).into_response()
        }
        Ok(Ok(Received::Refused(error))) => {
            let status = match error {
                DecodeError::Gateway(_) | DecodeError::Tag => StatusCode::FORBIDDEN,
                DecodeError::TooLong(_)
                | DecodeError::Version(_)
                | DecodeError::Direction
                | DecodeError::Truncated
                | DecodeError::Items => StatusCode::BAD_REQUEST,
            };
            (status, format!("{error}\n")).into_response()
        }
        Ok(Err(error)) => {
            warn!(error = chain(&error), "a packet could not be stored");
            later(&shared, "the storage does not work\n")
        }
        Err(_) => later(&shared, "the storage is slow\n"),
    }
}

/// What who joins says.
#[derive(Deserialize)]
struct Enrolment {
    token: String,
    /// 64 hexadecimal digits.
    key: String,
}

async fn enrol(State(shared): State<Arc<Shared>>, request: Request<Body>) -> Response {
    let bytes = match body(request, &shared, ENROLMENT_BYTES_MAX).await {
        Ok(bytes) => bytes,
        Err(answer) => return answer,
    };
    let said: Option<Enrolment> = serde_json::from_slice(&bytes).ok();
    let Some((said, key)) = said.and_then(|said| key(&said.key).map(|key| (said, key))) else {
        return (StatusCode::BAD_REQUEST, "this is no enrolment\n").into_response();
    };
    match shared.storage.enrol(&token::hash(&said.token), &key, now_ms()).await {
        Ok(Enrolled::As(number, name)) => {
            info!(gateway = name, number = number.0, "a gateway has enrolled");
            let answer = serde_json::json!({ "gateway": number.0, "name": name });
            ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
        }
        Ok(Enrolled::Refused) => {
            info!("an enrolment was refused: the token is not known, used or too old");
            let words = "the token is not known, has been used, or is too old\n";
            (StatusCode::FORBIDDEN, words).into_response()
        }
        Err(error) => {
            warn!(error = chain(&error), "an enrolment could not be stored");
            later(&shared, "the storage does not work\n")
        }
    }
}

fn key(hex: &str) -> Option<Key> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let digits: Vec<u32> = hex.as_bytes().iter().map(digit).collect::<Option<_>>()?;
    let byte = |pair: &[u32]| pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    let bytes: Vec<u8> =
        digits.chunks_exact(2).map(|pair| u8::try_from(byte(pair)).ok()).collect::<Option<_>>()?;
    (digits.len() == 64).then(|| bytes.try_into().ok().map(Key::new)).flatten()
}

async fn health(State(shared): State<Arc<Shared>>) -> Response {
    let works = shared.storage.works().await;
    let counters = &shared.counters;
    let said = serde_json::json!({
        "works": works,
        "version": env!("CARGO_PKG_VERSION"),
        "packets": counters.packets.get(),
        "refused": counters.refused.get(),
        "put_off": counters.put_off.get(),
        "blocks": counters.blocks.get(),
        "blocks_repeated": counters.repeated.get(),
        "readings": counters.readings.get(),
    });
    let status = if works { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, [(header::CONTENT_TYPE, "application/json")], said.to_string()).into_response()
}
