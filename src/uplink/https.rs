//! Packets by HTTPS: one after the other, over a connection that is kept for a while.

use rustls::ClientConfig;
use std::time::Duration;
use thiserror::Error;

/// What a packet is called as the body of a request.
const MEDIA_TYPE: &str = "application/vnd.kengele.packet";
/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// How long a connection may take, its handshakes included: on a satellite link each turn takes seconds.
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// How long an answer may take besides the time that the bytes take …
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// … of which so many go out in a second at the least.
const BYTES_A_SECOND_MIN: u32 = 256;
/// A connection that is not used is kept for so long.
const IDLE_TIMEOUT: Duration = Duration::from_mins(5);
/// A connection on which nothing comes back is found dead after so long.
const ALIVE_EVERY: Duration = Duration::from_secs(45);

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Error {
    /// The client refuses the settings.
    #[error("cannot set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// Nothing came back.
    #[error("no answer came")]
    Request(#[source] reqwest::Error),
    /// It does not know this gateway, or its key.
    #[error("the hub does not know this gateway or its key: enrol it again with `kengele enrol`")]
    NotKnown,
    /// Something else than an answer came back.
    #[error("HTTP status {0} came back")]
    Status(u16),
    /// What came back is longer than any answer.
    #[error("what came back is longer than any answer of a hub")]
    TooLong,
}

/// A hub that is reached by HTTPS.
#[derive(Debug)]
pub struct Https {
    client: reqwest::Client,
    url: String,
}

impl Https {
    /// Makes the carrier to the hub at `hub`, such as `https://hub.example`. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Error::Client`].
    pub fn new(hub: &str, tls: &ClientConfig) -> Result<Self, Error> {
        let mut tls = tls.clone();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(1)
            .tcp_keepalive(ALIVE_EVERY)
            .user_agent(concat!("kengele/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(Error::Client)?;
        Ok(Self { client, url: format!("{}/v1/up", hub.trim_end_matches('/')) })
    }

    /// Sends a packet, and returns what came back with status 200: whether it is an answer, its tag says.
    ///
    /// # Errors
    ///
    /// All but [`Error::Client`].
    ///
    /// # Cancel safety
    ///
    /// After a drop the hub may have taken the packet: it takes nothing twice.
    pub async fn exchange(&self, packet: Vec<u8>) -> Result<Vec<u8>, Error> {
        let seconds = u32::try_from(packet.len()).unwrap_or(u32::MAX) / BYTES_A_SECOND_MIN;
        let timeout = CONNECT_TIMEOUT + ANSWER_TIMEOUT + Duration::from_secs(seconds.into());
        let request = self.client.post(&self.url).header("content-type", MEDIA_TYPE);
        let failed = |error: reqwest::Error| Error::Request(error.without_url());
        let mut answer = request.timeout(timeout).body(packet).send().await.map_err(failed)?;
        match answer.status().as_u16() {
            200 => {}
            403 => return Err(Error::NotKnown),
            other => return Err(Error::Status(other)),
        }
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(failed)? {
            if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(Error::TooLong);
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok(bytes)
    }
}
