//! The receiver of delivery reports: HTTP/1.1, one request a connection, everything bounded.
//!
//! Each route has a secret in its path. A report is answered with 200 only after whoever takes the reports has said that they
//! are kept; a provider that hears anything else brings them again.

use super::account::{Account, Secret};
use super::preset::Preset;
use super::receipt::{self, parse_webhook, webhook_answer};
use crate::domain::message::NetworkReceipt;
use crate::wire::http1::{self, Request};
use sha2::{Digest, Sha256};
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, warn};

/// Largest request, head and body.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// Most connections served at once; more wait to be accepted.
const CONNECTIONS_MAX: usize = 32;

/// Wait after a failed accept, which is a lack of file descriptors and passes.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Reports that one webhook call brought.
#[derive(Debug)]
pub struct Reported {
    /// Place of the route in the list that the receiver was given.
    pub route: usize,
    /// What the network says.
    pub receipts: Vec<NetworkReceipt>,
    /// To be fired when the receipts are committed; dropped otherwise.
    pub kept: oneshot::Sender<()>,
}

/// One provider's way in.
#[derive(Clone, Debug)]
pub struct Route {
    /// The only path segment. Whoever knows it can send reports.
    pub path_secret: Secret,
    /// The provider.
    pub preset: Preset,
    /// The account, for its signing secret.
    pub account: Account,
}

/// Why the receiver ended.
#[derive(Debug, Error)]
pub enum WebhooksError {
    /// The address cannot be used.
    #[error("cannot listen for delivery reports on {address}")]
    Bind {
        /// As configured.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nobody takes the reports any more.
    #[error("cannot hand on delivery reports: their queue is closed")]
    QueueClosed,
}

/// A bound receiver.
#[derive(Debug)]
pub struct Webhooks {
    listener: TcpListener,
    routes: Arc<[Route]>,
    request_timeout: Duration,
}

impl Webhooks {
    /// Binds `address`, such as `127.0.0.1:8090`. Each request has `request_timeout` from its first byte to our answer.
    ///
    /// # Errors
    ///
    /// [`WebhooksError::Bind`].
    pub async fn bind(
        address: &str,
        routes: Vec<Route>,
        request_timeout: Duration,
    ) -> Result<Self, WebhooksError> {
        let listener = TcpListener::bind(address)
            .await
            .map_err(|source| WebhooksError::Bind { address: address.to_owned(), source })?;
        Ok(Self { listener, routes: routes.into(), request_timeout })
    }

    /// Returns the port that was bound.
    ///
    /// # Errors
    ///
    /// When the system cannot say.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.listener.local_addr()?.port())
    }

    /// Serves until `stop` is ready, handing the reports to `queue`.
    ///
    /// # Errors
    ///
    /// [`WebhooksError::QueueClosed`].
    ///
    /// # Cancel safety
    ///
    /// May be dropped: requests under way are cut off, and the provider brings them again.
    pub async fn serve(
        self,
        queue: mpsc::Sender<Reported>,
        stop: impl Future<Output = ()>,
    ) -> Result<(), WebhooksError> {
        let mut stop = std::pin::pin!(stop);
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut connections = JoinSet::new();
        loop {
            let accept = async {
                let place = Arc::clone(&places).acquire_owned().await;
                (place, self.listener.accept().await)
            };
            tokio::select! {
                () = &mut stop => return Ok(()),
                () = queue.closed() => return Err(WebhooksError::QueueClosed),
                Some(_ended) = connections.join_next() => {}
                (place, accepted) = accept => match accepted {
                    Ok((stream, _)) => {
                        let routes = Arc::clone(&self.routes);
                        let (queue, limit) = (queue.clone(), self.request_timeout);
                        connections.spawn(async move {
                            if timeout(limit, serve_one(stream, &routes, &queue)).await.is_err() {
                                debug!("delivery report not served in time");
                            }
                            drop(place);
                        });
                    }
                    Err(error) => {
                        warn!(%error, "connection of a delivery report not accepted");
                        tokio::time::sleep(ACCEPT_PAUSE).await;
                    }
                },
            }
        }
    }
}

async fn serve_one(mut stream: TcpStream, routes: &[Route], queue: &mpsc::Sender<Reported>) {
    let (status, body) = match read_request(&mut stream).await {
        Ok(Some(request)) => answer(&request, routes, queue).await,
        Ok(None) => return,
        Err(http1::Error::Malformed(_)) => (400, ""),
        Err(http1::Error::TooLarge { .. }) => (413, ""),
    };
    let head = format!(
        "HTTP/1.1 {status} {}\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        phrase(status),
        body.len()
    );
    let sent = async {
        stream.write_all(head.as_bytes()).await?;
        stream.write_all(body.as_bytes()).await?;
        stream.shutdown().await
    };
    if let Err(error) = sent.await {
        debug!(%error, "answer to a delivery report not sent");
    }
}

/// Reads a request; `None` when the peer goes away before its end.
async fn read_request(stream: &mut TcpStream) -> Result<Option<Request>, http1::Error> {
    let mut bytes = Vec::new();
    let mut part = [0; 4096];
    loop {
        let Ok(count @ 1..) = stream.read(&mut part).await else { return Ok(None) };
        bytes.extend_from_slice(part.get(..count).unwrap_or_default());
        if let Some(request) = http1::read(&bytes, REQUEST_BYTES_MAX)? {
            return Ok(Some(request));
        }
    }
}

async fn answer<'r>(
    request: &Request,
    routes: &'r [Route],
    queue: &mpsc::Sender<Reported>,
) -> (u16, &'r str) {
    let asked = Sha256::digest(request.path.trim_start_matches('/').as_bytes());
    // Digests are compared, not the secrets, so that the time taken tells nothing about them.
    let is_asked = |route: &Route| {
        let secret = route.path_secret.reveal();
        !secret.is_empty() && Sha256::digest(secret.as_bytes()) == asked
    };
    let Some(place) = routes.iter().position(is_asked) else { return (404, "") };
    let Some(route) = routes.get(place) else { return (404, "") };
    if !matches!(request.method.as_str(), "GET" | "POST") {
        return (405, "");
    }
    let receipts = match parse_webhook(&route.preset, &route.account, request) {
        Ok(receipts) => receipts,
        Err(error) => {
            debug!(route = place, %error, "delivery report not taken");
            return match error {
                receipt::Error::Signature => (403, ""),
                receipt::Error::TooMany => (413, ""),
                receipt::Error::NoWebhook | receipt::Error::Body => (400, ""),
            };
        }
    };
    if receipts.is_empty() {
        return (200, webhook_answer(&route.preset));
    }
    let (kept, committed) = oneshot::channel();
    if queue.send(Reported { route: place, receipts, kept }).await.is_err() {
        return (503, "");
    }
    match committed.await {
        Ok(()) => (200, webhook_answer(&route.preset)),
        Err(_) => (503, ""),
    }
}

const fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        413 => "Content Too Large",
        _ => "Service Unavailable",
    }
}
