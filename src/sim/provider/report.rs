//! Sends delivery reports to whoever asked for them, again until they are answered with 2xx.

use std::io;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

/// Tries at one report.
const TRIES_MAX: u32 = 5;

/// Wait before the second try; it doubles.
const TRY_INTERVAL: Duration = Duration::from_millis(50);

/// Longest wait for the answer to a report.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// A report that is to go out.
pub(super) struct Due {
    pub(super) delay: Duration,
    pub(super) request: Outgoing,
}

/// A request, ready to be written.
#[derive(Clone)]
pub(super) struct Outgoing {
    /// `host:port`.
    pub(super) authority: String,
    pub(super) bytes: Vec<u8>,
}

impl Outgoing {
    /// Returns a request to `url`, which is plain HTTP, or `None` when it is not.
    pub(super) fn new(
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Option<Self> {
        let rest = url.strip_prefix("http://")?;
        let (authority, target) = rest.split_once('/').unwrap_or((rest, ""));
        let mut head = format!("{method} /{target} HTTP/1.1\r\nHost: {authority}\r\n");
        for (name, value) in headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let length = body.len().to_string();
        head.extend(["Content-Length: ", &length, "\r\nConnection: close\r\n\r\n"]);
        let bytes = [head.as_bytes(), body.as_bytes()].concat();
        Some(Self { authority: authority.to_owned(), bytes })
    }
}

pub(super) async fn send_all(mut due: mpsc::Receiver<Due>) {
    let mut sending = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = sending.join_next() => {}
            next = due.recv() => match next {
                Some(next) => {
                    sending.spawn(send(next));
                }
                None => return,
            },
        }
    }
}

async fn send(due: Due) {
    sleep(due.delay).await;
    let mut interval = TRY_INTERVAL;
    for _ in 0..TRIES_MAX {
        if let Ok(Ok(200..300)) = timeout(ANSWER_TIMEOUT, try_send(&due.request)).await {
            return;
        }
        sleep(interval).await;
        interval *= 2;
    }
}

/// Writes the request and returns the status of the answer.
async fn try_send(request: &Outgoing) -> io::Result<u16> {
    let mut stream = TcpStream::connect(&request.authority).await?;
    stream.write_all(&request.bytes).await?;
    let mut start = [0; 12];
    stream.read_exact(&mut start).await?;
    let status = str::from_utf8(&start).ok().and_then(|start| start.strip_prefix("HTTP/1.1 "));
    status
        .and_then(|status| status.parse().ok())
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))
}
