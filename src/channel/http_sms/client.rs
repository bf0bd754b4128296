//! One HTTP exchange, and what is certain about it.

use super::reply::Answer;
use super::request::Request;
use super::{Error, Timeouts};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use std::error::Error as _;
use std::sync::Arc;

/// Largest answer that is read.
const ANSWER_BYTES_MAX: usize = 256 * 1024;

/// What happened to a request.
pub(super) enum Exchange {
    /// An answer came. Of its body, what came before a failure.
    Answered { answer: Answer, whole: bool },
    /// No byte of the request can have reached the provider.
    NotSent(String),
    /// The request may have been read and acted upon.
    Lost(String),
}

/// Returns a client that trusts the public authorities and those of `extra_roots_pem`, follows no redirect, and heeds no
/// proxy variables of the environment.
pub(super) fn build(
    timeouts: &Timeouts,
    extra_roots_pem: Option<&[u8]>,
) -> Result<reqwest::Client, Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    for root in CertificateDer::pem_slice_iter(extra_roots_pem.unwrap_or_default()) {
        roots.add(root.map_err(Error::RootPem)?).map_err(Error::Tls)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .retry(reqwest::retry::never())
        .connect_timeout(timeouts.connect)
        .timeout(timeouts.connect + timeouts.answer)
        .pool_idle_timeout(timeouts.idle)
        .user_agent(concat!("kengele/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(Error::Client)
}

/// Sends `request` and reads the answer.
///
/// # Cancel safety
///
/// Not cancel safe: after a drop the provider may have taken the message.
pub(super) async fn exchange(client: &reqwest::Client, request: &Request) -> Exchange {
    let method = if request.method == "GET" { reqwest::Method::GET } else { reqwest::Method::POST };
    let mut builder = client.request(method, &request.url);
    for (name, value) in &request.headers {
        builder = builder.header(name, value);
    }
    if let Some((user, password)) = &request.basic {
        builder = builder.basic_auth(user, Some(password));
    }
    if let Some(body) = &request.body {
        builder = builder.body(body.clone());
    }
    let mut response = match builder.send().await {
        Ok(response) => response,
        Err(error) if error.is_builder() => {
            return Exchange::NotSent(format!("cannot make the request: {}", root_words(&error)));
        }
        Err(error) if error.is_connect() => {
            return Exchange::NotSent(format!("cannot reach the provider: {}", root_words(&error)));
        }
        Err(error) if error.is_timeout() => {
            return Exchange::Lost("the provider did not answer in time".to_owned());
        }
        Err(error) => {
            return Exchange::Lost(format!("the answer was lost: {}", root_words(&error)));
        }
    };
    let headers = response.headers().iter().map(|(name, value)| {
        (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
    });
    let mut answer =
        Answer { status: response.status().as_u16(), headers: headers.collect(), body: Vec::new() };
    let whole = loop {
        match response.chunk().await {
            Ok(Some(chunk)) if answer.body.len() + chunk.len() <= ANSWER_BYTES_MAX => {
                answer.body.extend_from_slice(&chunk);
            }
            Ok(None) => break true,
            Ok(Some(_)) | Err(_) => break false,
        }
    };
    Exchange::Answered { answer, whole }
}

/// Returns the words of the innermost cause. The outer ones may hold the address, and with it secrets, number and text.
fn root_words(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut words = None;
    while let Some(next) = cause {
        words = Some(next.to_string());
        cause = next.source();
    }
    words.unwrap_or_else(|| "no cause given".to_owned())
}
