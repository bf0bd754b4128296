//! What the parts of a hub are told at start: the configuration, with what its files hold.

use super::storage::{Password, Place};
use super::{Error, https, mqtt};
use crate::channel::http_sms::HttpSms;
use crate::config::{self, HubDatabase, HubHttps, HubMqtt, TlsFiles};
use crate::domain::recipient::PhoneNumber;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What a hub is told at start.
#[derive(Debug)]
pub struct Settings {
    /// Where everything is kept.
    pub place: Place,
    /// Gateways that come over HTTPS.
    pub https: Option<https::Settings>,
    /// Gateways that come over a broker.
    pub mqtt: Option<mqtt::Settings>,
    /// Unheard for longer than this a gateway is missed.
    pub silent_after: Duration,
    /// Who is told of that.
    pub tell: Vec<PhoneNumber>,
    /// By whom they are told, in order.
    pub providers: Providers,
}

/// Providers of text messages.
#[derive(Default)]
pub struct Providers(pub Vec<HttpSms>);

impl std::fmt::Debug for Providers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Providers").field(&self.0.len()).finish()
    }
}

impl Settings {
    /// Makes the settings of a configuration: passwords, certificates and keys are read.
    ///
    /// # Errors
    ///
    /// [`Error::File`] and [`Error::Tls`].
    pub fn of(hub: &config::Hub, providers: Providers) -> Result<Self, Error> {
        Ok(Self {
            place: place(&hub.database)?,
            https: hub.https.as_ref().map(https).transpose()?,
            mqtt: hub.mqtt.as_ref().map(mqtt).transpose()?,
            silent_after: hub.silent_after,
            tell: hub.tell.clone(),
            providers,
        })
    }
}

/// Returns where the storage of a configuration is.
///
/// # Errors
///
/// [`Error::File`], when the password cannot be read.
pub fn place(database: &HubDatabase) -> Result<Place, Error> {
    Ok(match database {
        HubDatabase::File(path) => Place::Sqlite(path.clone()),
        HubDatabase::Postgres { url, password_file, ca_file, connections_max } => Place::Postgres {
            url: url.clone(),
            password: password_file.as_deref().map(secret).transpose()?.map(Password),
            ca_file: ca_file.clone(),
            connections_max: *connections_max,
        },
    })
}

fn https(https: &HubHttps) -> Result<https::Settings, Error> {
    let client_ca_file = https.client_ca_file.as_deref();
    let tls = https.tls.as_ref().map(|files| server_tls(files, client_ca_file)).transpose()?;
    Ok(https::Settings {
        listen: https.listen.clone(),
        tls,
        connections_max: https.connections_max,
        requests_max: https.requests_max,
        timeout: https.timeout,
    })
}

fn mqtt(mqtt: &HubMqtt) -> Result<mqtt::Settings, Error> {
    let password = mqtt.password_file.as_deref().map(secret).transpose()?.map(Password);
    Ok(mqtt::Settings {
        host: mqtt.host.clone(),
        port: mqtt.port,
        tls: mqtt.tls.then(|| client_tls(mqtt.ca_file.as_deref())).transpose()?,
        client_id: mqtt.client_id.clone().map_or_else(client_id, Ok)?,
        share: mqtt.share.clone(),
        login: mqtt.user.clone().map(|user| (user, password)),
        keep_alive: mqtt.keep_alive,
        inflight_max: mqtt.inflight_max,
    })
}

fn client_id() -> Result<String, Error> {
    let drawn: [u8; 8] = super::random()?;
    Ok(drawn.iter().fold("kengele-hub-".to_owned(), |id, byte| format!("{id}{byte:02x}")))
}

/// Reads a file that holds one secret; white space at its ends does not belong to it.
fn secret(path: &Path) -> Result<String, Error> {
    let read = std::fs::read_to_string(path);
    let text =
        read.map_err(|source| Error::File { path: path.to_owned(), source: source.into() })?;
    match text.trim() {
        "" => Err(Error::File { path: path.to_owned(), source: "it is empty".into() }),
        secret => Ok(secret.to_owned()),
    }
}

fn pem<T: PemObject>(path: &Path) -> Result<Vec<T>, Error> {
    let failed = |source: Box<dyn std::error::Error + Send + Sync>| Error::File {
        path: path.to_owned(),
        source,
    };
    let found: Result<Vec<T>, _> = T::pem_file_iter(path).and_then(Iterator::collect);
    let found = found.map_err(|error| failed(error.into()))?;
    if found.is_empty() { Err(failed("it holds none in PEM".into())) } else { Ok(found) }
}

fn roots(path: &Path) -> Result<RootCertStore, Error> {
    let mut roots = RootCertStore::empty();
    for certificate in pem::<CertificateDer<'static>>(path)? {
        roots.add(certificate).map_err(Error::Tls)?;
    }
    Ok(roots)
}

fn server_tls(files: &TlsFiles, client_ca_file: Option<&Path>) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = pem::<CertificateDer<'static>>(&files.cert)?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .map_err(|error| Error::File { path: files.key.clone(), source: error.into() })?;
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?;
    let builder = match client_ca_file {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build();
            let unusable =
                |error| Error::File { path: path.to_owned(), source: Box::new(error) as _ };
            builder.with_client_cert_verifier(verifier.map_err(unusable)?)
        }
    };
    let mut server = builder.with_single_cert(chain, key).map_err(Error::Tls)?;
    server.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(server))
}

/// Returns how a client speaks TLS that trusts the authorities in `ca_file`, or the public ones.
///
/// # Errors
///
/// [`Error::File`] and [`Error::Tls`].
pub fn client_tls(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, Error> {
    let roots = match ca_file {
        Some(path) => roots(path)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(Error::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(client))
}
