//! The configuration of a hub: a file of its own.

use super::document::{self, Entry, Faults, Place};
use super::mqtt::{broker_address, is_loopback};
use super::people::{providers, url_has_password};
use super::section::Section;
use super::settings::{SmsProvider, TlsFiles};
use super::{Diagnostic, Source, files, keys};
use crate::domain::recipient::PhoneNumber;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What `hub.toml` says.
#[derive(Clone, Debug, PartialEq)]
pub struct Hub {
    /// Where everything is kept.
    pub database: HubDatabase,
    /// Gateways that come over HTTPS.
    pub https: Option<HubHttps>,
    /// Gateways that come over a broker.
    pub mqtt: Option<HubMqtt>,
    /// Unheard for longer than this a gateway is missed.
    pub silent_after: Duration,
    /// Who is told of that.
    pub tell: Vec<PhoneNumber>,
    /// By whom they are told, in order.
    pub providers: Vec<SmsProvider>,
}

/// `[database]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HubDatabase {
    /// A file of SQLite.
    File(PathBuf),
    /// A server of PostgreSQL.
    Postgres {
        /// Where it is, without the password.
        url: String,
        /// File that holds the password.
        password_file: Option<PathBuf>,
        /// Certificate authority of the server.
        ca_file: Option<PathBuf>,
        /// Most connections.
        connections_max: u32,
    },
}

/// `[https]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubHttps {
    /// Addresses.
    pub listen: Vec<SocketAddr>,
    /// Certificate and key; without them TLS is not spoken.
    pub tls: Option<TlsFiles>,
    /// Who has no certificate by this authority does not get in.
    pub client_ca_file: Option<PathBuf>,
    /// Most connections at a time.
    pub connections_max: u32,
    /// Most packets at a time.
    pub requests_max: u32,
    /// Longest that a request may take.
    pub timeout: Duration,
}

/// `[mqtt]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HubMqtt {
    /// Host name or address of the broker.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// Client identifier; without one it is drawn.
    pub client_id: Option<String>,
    /// Name of the shared subscription.
    pub share: String,
    /// User name.
    pub user: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// Certificate authority of the broker; `None`: the public ones.
    pub ca_file: Option<PathBuf>,
    /// Longest silence on the connection.
    pub keep_alive: Duration,
    /// Most packets that are being stored.
    pub inflight_max: u16,
}

/// A configuration of a hub that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadedHub {
    /// What it says.
    pub hub: Hub,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// Reads the configuration of a hub at `path`, and checks it. `presets` are the presets of providers that exist.
///
/// # Errors
///
/// Lists every fault, by file and line; the warnings among them too.
pub fn load_hub(path: &Path, presets: &[&str]) -> Result<LoadedHub, Vec<Diagnostic>> {
    let sources = [files::read_source(path).map_err(|fault| vec![*fault])?];
    parse_hub(&sources, presets)
}

fn parse_hub(sources: &[Source], presets: &[&str]) -> Result<LoadedHub, Vec<Diagnostic>> {
    let faults = Faults::new(sources);
    let hub = {
        let tables = document::parse(sources, &faults);
        let entries = tables.iter().flat_map(|table| table.iter());
        let mut entries: Vec<Entry<'_>> = entries.map(|(key, v)| Entry::new(0, key, v)).collect();
        entries.sort_by_key(|entry| entry.key_place);
        let top = Place { source: 0, start: 0, end: 0 };
        let root = Section::new("", top, entries, &keys::HUB, &faults);
        check(&root, presets, &faults)
    };
    let failed = faults.any_error();
    let warnings = faults.into_diagnostics();
    if failed { Err(warnings) } else { Ok(LoadedHub { hub, warnings }) }
}

fn check(root: &Section<'_>, presets: &[&str], faults: &Faults<'_>) -> Hub {
    let providers = providers(root, &[], presets, faults);
    let watch = root.child_or_empty("watch");
    let mut tell = Vec::new();
    for (written, place) in watch.list::<String>("tell") {
        match PhoneNumber::parse(&written) {
            Ok(number) => tell.push(number),
            Err(error) => {
                faults.error(place, error.to_string(), "write it such as \"+255 712 345 678\"");
            }
        }
    }
    if !tell.is_empty() && providers.is_empty() {
        let help = "add a [sms_provider.NAME], as in a gateway's configuration";
        faults.missing(watch.place_of("tell"), "there is nobody to send the text messages", help);
    }
    let (https, mqtt) = (https(root, faults), mqtt(root, faults));
    if root.written("https").is_none() && root.written("mqtt").is_none() {
        let help = "add [https] or [mqtt]";
        faults.missing(root.place, "no gateway can reach the hub", help);
    }
    Hub {
        database: database(&root.child_or_empty("database"), faults),
        https,
        mqtt,
        silent_after: watch.get("silent_after"),
        tell,
        providers,
    }
}

fn database(section: &Section<'_>, faults: &Faults<'_>) -> HubDatabase {
    let file: Option<PathBuf> = section.opt("file");
    let url: Option<String> = section.opt("url");
    match (file, url) {
        (Some(_), Some(_)) => {
            let help = "`file` is SQLite, `url` is PostgreSQL: remove one of them";
            faults.error(section.key_place("url"), "there is one database, not two", help);
        }
        (None, None) => {
            let help = "add `file = \"/var/lib/kengele-hub/hub.db\"`, or `url`";
            faults.missing(section.place, "[database] names no database", help);
        }
        (Some(file), None) => {
            for key in ["password_file", "ca_file", "connections_max"] {
                if section.written(key).is_some() {
                    let help = "it belongs to `url`: remove it";
                    faults.warn(section.key_place(key), "a file does not need this", help);
                }
            }
            return HubDatabase::File(file);
        }
        (None, Some(url)) => {
            check_url(section, &url, faults);
            return HubDatabase::Postgres {
                url,
                password_file: section.opt("password_file"),
                ca_file: section.opt("ca_file"),
                connections_max: section.get("connections_max"),
            };
        }
    }
    HubDatabase::File(PathBuf::new())
}

fn check_url(section: &Section<'_>, url: &str, faults: &Faults<'_>) {
    let place = section.place_of("url");
    if url_has_password(url) {
        let help = "put it into a file, and name that with `password_file`";
        faults.secret(place, "no secret stands in the configuration", help);
        return;
    }
    let rest = url.strip_prefix("postgres://").or(url.strip_prefix("postgresql://"));
    let database = rest.and_then(|rest| rest.split_once('/')).map(|(_, database)| database);
    if database.is_none_or(str::is_empty) {
        let help = "write postgres://USER@HOST/DATABASE";
        faults.error(place, format!("\"{url}\" is no address of a PostgreSQL database"), help);
    }
}

fn https(root: &Section<'_>, faults: &Faults<'_>) -> Option<HubHttps> {
    let section = root.child("https")?;
    let listen = section.list::<SocketAddr>("listen");
    let (cert, key): (Option<PathBuf>, Option<PathBuf>) =
        (section.opt("tls_cert_file"), section.opt("tls_key_file"));
    if cert.is_some() != key.is_some() {
        let written = if cert.is_some() { "tls_cert_file" } else { "tls_key_file" };
        let help = "write `tls_cert_file` and `tls_key_file`";
        faults.missing(section.key_place(written), "TLS needs a certificate and its key", help);
    }
    let tls = cert.zip(key).map(|(cert, key)| TlsFiles { cert, key });
    let behind_proxy: bool = section.get("behind_proxy");
    for (address, place) in &listen {
        let stays_here = address.ip().is_loopback() || behind_proxy;
        if section.written("tls_cert_file").is_none() && !stays_here {
            let help = "add `tls_cert_file` and `tls_key_file`, or `behind_proxy = true` where a proxy does TLS";
            faults.error(
                *place,
                format!("tokens and keys would cross the network at {address} unencrypted"),
                help,
            );
        }
    }
    if section.written("listen").is_some() && listen.is_empty() {
        let help = "write such as [\"0.0.0.0:8443\"]";
        faults.error(section.place_of("listen"), "there is no address to listen on", help);
    }
    if tls.is_none() && section.written("client_ca_file").is_some() {
        let help = "add `tls_cert_file` and `tls_key_file`";
        faults.error(
            section.key_place("client_ca_file"),
            "without TLS nobody shows a certificate",
            help,
        );
    }
    Some(HubHttps {
        listen: listen.into_iter().map(|(address, _)| address).collect(),
        tls,
        client_ca_file: section.opt("client_ca_file"),
        connections_max: section.get("connections_max"),
        requests_max: section.get("requests_max"),
        timeout: section.get("timeout"),
    })
}

fn mqtt(root: &Section<'_>, faults: &Faults<'_>) -> Option<HubMqtt> {
    let section = root.child("mqtt")?;
    let (host, port, tls) = broker_address(&section, faults).unwrap_or_default();
    if !tls && section.written("password_file").is_some() && !is_loopback(&host) {
        let help = "use mqtts://, if the broker has it";
        faults.warn(section.place_of("url"), "the password goes out unencrypted", help);
    }
    let share: String = section.get("share");
    Some(HubMqtt {
        host,
        port,
        tls,
        client_id: section.opt("client_id"),
        share,
        user: section.opt("user"),
        password_file: section.opt("password_file"),
        ca_file: section.opt("ca_file"),
        keep_alive: section.get("keep_alive"),
        inflight_max: u16::try_from(section.get::<u32>("inflight_max")).unwrap_or(u16::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(text: &str) -> Vec<String> {
        let sources = [Source { name: "hub.toml".to_owned(), text: text.to_owned() }];
        let faults = match parse_hub(&sources, &["africastalking"]) {
            Ok(loaded) => loaded.warnings,
            Err(faults) => faults,
        };
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_hub_is_read_from_its_file_and_the_rest_is_as_documented() {
        let text = "[database]\nurl = \"postgres://hub@db.example/kengele\"\n\n\
                    [https]\nlisten = [\"127.0.0.1:8080\"]\n\n[mqtt]\nurl = \"mqtts://broker.example\"\n";
        let sources = [Source { name: "hub.toml".to_owned(), text: text.to_owned() }];
        let hub = parse_hub(&sources, &[]).unwrap().hub;
        assert_eq!(hub.silent_after, Duration::from_hours(3));
        let https = hub.https.unwrap();
        assert_eq!((https.requests_max, https.timeout), (64, Duration::from_secs(30)));
        let mqtt = hub.mqtt.unwrap();
        assert_eq!((&*mqtt.host, mqtt.port, mqtt.tls), ("broker.example", 8883, true));
        assert_eq!((&*mqtt.share, mqtt.inflight_max, mqtt.client_id), ("kengele-hub", 64, None));
    }

    #[test]
    fn what_would_show_keys_to_the_network_is_refused_where_it_stands() {
        let open = "[database]\nfile = \"hub.db\"\n[https]\nlisten = [\"0.0.0.0:8080\"]\n";
        let faults = faults_of(open);
        assert!(
            faults[0].starts_with("hub.toml:4:11: error: tokens and keys would cross"),
            "{faults:?}"
        );
        assert_eq!(faults_of(&format!("{open}behind_proxy = true\n")), Vec::<String>::new());
        let secret = "[database]\nurl = \"postgres://hub:geheim@db/kengele\"\n[https]\nlisten = [\"127.0.0.1:1\"]\n";
        let faults = faults_of(secret);
        assert!(faults[0].starts_with("hub.toml:2:7: error: no secret"), "{faults:?}");
        assert!(!faults[0].contains("geheim"), "{faults:?}");
    }

    #[test]
    fn what_cannot_work_is_told_at_once_and_by_line() {
        let faults = faults_of(
            "[database]\nfile = \"hub.db\"\nurl = \"mysql://x/y\"\n[mqtt]\nurl = \"http://b\"\n\
             [watch]\ntell = [\"12\"]\nsilent_afetr = \"1 h\"\n",
        );
        let expected = [
            "hub.toml:3:1: error: there is one database",
            "hub.toml:5:7: error: \"http://b\" is no address of a broker",
            "hub.toml:7:9: error:",
            "hub.toml:8:1: error: unknown key `silent_afetr`; did you mean `silent_after`?",
        ];
        for words in expected {
            assert!(faults.iter().any(|fault| fault.starts_with(words)), "{words}: {faults:?}");
        }
        let nobody = faults_of("[database]\nfile = \"hub.db\"\n");
        assert!(nobody[0].contains("no gateway can reach the hub"), "{nobody:?}");
        let both = faults_of("[https]\nlisten = [\"127.0.0.1:1\"]\n");
        assert!(both.iter().any(|fault| fault.contains("has no `database`")), "{both:?}");
    }
}
