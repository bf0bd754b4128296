//! From what the configuration says to what each part of the daemon is told.

use super::radio;
use crate::channel::{http_sms, modem};
use crate::config::{self, Config, Loaded, Outside, SegmentCount, Source, Timezone};
use crate::dispatch::Lane;
use crate::domain::outbox::{self, Budget, LaneSettings};
use crate::domain::plan::Wording;
use crate::domain::rule::NodeIndex;
use crate::domain::siren::{self, Confirms, Exercises};
use crate::pipeline::{Payloads, Route, Rules, SirenNode, Way};
use crate::source::{broker, mqtt};
use crate::wire::binary::{Number, Order, Slot, When};
use crate::wire::javascript::{self, Script};
use crate::wire::network_server::Server;
use crate::wire::payload::{Field, Format, Path, PayloadMap, TimeField, TimeUnit};
use crate::wire::segment;
use crate::wire::text::Encoding;
use crate::wire::topic::Template;
use anyhow::{Context, bail};
use jiff::tz::TimeZone;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::BTreeMap;
use std::path::{Path as FilePath, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest wait for a delivery report: phones are off for days, and no alert holds longer.
const REPORT_WINDOW: Duration = Duration::from_hours(7 * 24);
/// Share of the daily budget that is kept for warnings, in percent.
const RESERVE_PERCENT: u32 = 20;

/// Reads and checks the configuration at `path`, with what the configuration itself cannot know.
///
/// # Errors
///
/// Every fault that was found.
pub fn load(path: &FilePath) -> Result<Loaded, Vec<config::Diagnostic>> {
    let mut loaded = with_outside(|outside| config::load(path, outside))?;
    let folder = path.parent().unwrap_or(FilePath::new(""));
    let faults: Vec<config::Diagnostic> = loaded
        .config
        .codecs
        .iter_mut()
        .filter_map(|codec| read_script(codec, folder).err().map(|fault| *fault))
        .collect();
    if faults.is_empty() { Ok(loaded) } else { Err(faults) }
}

/// Reads a codec's script, which stands beside the configuration if it has no whole path, and tries it.
fn read_script(
    codec: &mut config::Codec,
    folder: &FilePath,
) -> Result<(), Box<config::Diagnostic>> {
    let config::CodecKind::JavaScript { script, source } = &mut codec.kind else { return Ok(()) };
    *script = folder.join(&script);
    let fault = |message: String, help: &str| {
        Box::new(config::Diagnostic {
            file: script.display().to_string(),
            line: 0,
            column: 0,
            length: 0,
            severity: config::Severity::Error,
            message,
            help: Some(help.to_owned()),
            excerpt: String::new(),
        })
    };
    let named = format!("[codec.{}] names it in `script`", codec.name);
    let bytes = std::fs::read(&script)
        .map_err(|error| fault(format!("cannot read the file: {error}"), &named))?;
    if bytes.len() > javascript::SCRIPT_BYTES_MAX {
        let message = format!("the file is longer than {} KiB", javascript::SCRIPT_BYTES_MAX >> 10);
        return Err(fault(message, "take the maker's script, not what a bundler made of it"));
    }
    *source = String::from_utf8(bytes)
        .map_err(|_| fault("the file is not UTF-8".to_owned(), "save it as UTF-8"))?;
    Script::new(&shown(script), source).check().map_err(|error| fault(error.to_string(), &named))
}

/// Returns how a script is called in its own messages.
fn shown(script: &FilePath) -> String {
    script.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Checks texts that were read before, as the database keeps them.
///
/// # Errors
///
/// Every fault that was found.
pub fn parse(sources: &[Source]) -> Result<Loaded, Vec<config::Diagnostic>> {
    with_outside(|outside| config::parse(sources, outside))
}

/// Where a gateway keeps its database and answers questions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// Folder of the database.
    pub data: PathBuf,
    /// Local socket.
    pub socket: PathBuf,
}

/// Reads no more of a configuration than where its gateway is to be found: it must be possible to ask a gateway how it is
/// while its files are being edited.
///
/// # Errors
///
/// When the file cannot be read, or is no TOML.
pub fn places(path: &FilePath) -> anyhow::Result<Places> {
    if let Ok(loaded) = load(path) {
        let gateway = loaded.config.gateway;
        return Ok(Places { data: gateway.data, socket: gateway.socket });
    }
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    let table: toml::Table =
        text.parse().with_context(|| format!("cannot understand {}", path.display()))?;
    let gateway = table.get("gateway").and_then(toml::Value::as_table);
    let place = |key: &str, default: &str| {
        let written = gateway.and_then(|g| g.get(key)).and_then(toml::Value::as_str);
        PathBuf::from(written.unwrap_or(default))
    };
    Ok(Places {
        data: place("data", "/var/lib/kengele"),
        socket: place("socket", "/run/kengele/kengele.sock"),
    })
}

fn with_outside<T>(work: impl FnOnce(&Outside<'_>) -> T) -> T {
    let presets: Vec<&str> = http_sms::BUILTIN.iter().map(|(name, _)| *name).collect();
    work(&Outside { count_segments: &count, presets: &presets })
}

fn count(text: &str) -> SegmentCount {
    let count = segment::count(text, &segment::Options::default());
    SegmentCount {
        segments: u32::try_from(count.segments).unwrap_or(u32::MAX),
        unicode: matches!(count.encoding, segment::Encoding::Ucs2),
    }
}

/// Returns what readings are judged by, and how this gateway speaks; nothing that is secret.
///
/// # Errors
///
/// When the time zone cannot be found on this machine.
pub fn rules(loaded: &Loaded) -> anyhow::Result<Rules> {
    let config = &loaded.config;
    let sources: Vec<(&str, &str)> =
        loaded.sources.iter().map(|s| (s.name.as_str(), s.text.as_str())).collect();
    Ok(Rules {
        book: Arc::clone(&config.rules),
        sources: serde_json::to_string(&sources).context("cannot write the rule book down")?,
        routes: config
            .topics
            .iter()
            .map(|topic| route(topic, &config.codecs))
            .collect::<Result<_, _>>()?,
        wording: wording(config)?,
        lorawan: None,
        link: radio::link(config)?,
        sirens: sirens(config)?,
    })
}

/// Returns the sirens, each with the way to it.
fn sirens(config: &Config) -> anyhow::Result<Vec<SirenNode>> {
    let one = |siren: &config::Siren| -> anyhow::Result<SirenNode> {
        let way = match &siren.way {
            config::SirenWay::Link => Way::Link,
            config::SirenWay::Lorawan => {
                let device = config.lorawan_nodes.iter().find(|node| node.place == siren.place);
                if device.is_some_and(|node| node.listens) { Way::Listens } else { Way::Asks }
            }
            config::SirenWay::ChirpStack { broker, application, dev_eui } => Way::ChirpStack {
                broker: broker.clone(),
                topic: format!("application/{application}/device/{dev_eui}/command/down"),
                dev_eui: dev_eui.clone(),
            },
        };
        Ok(SirenNode {
            name: siren.name.clone(),
            node: NodeIndex(u32::try_from(siren.place).context("too many nodes")?),
            settings: siren::Settings {
                areas: siren.areas.clone(),
                hazards: siren.hazards.clone(),
                level: siren.level,
                max_on: siren.max_on,
                exercises: if siren.in_exercises { Exercises::Sound } else { Exercises::Silent },
                confirms: if siren.confirmed { Confirms::Yes } else { Confirms::No },
            },
            way,
            payloads: siren.payloads.as_ref().map_or_else(Payloads::default, |told| Payloads {
                port: told.port,
                on: told.on.clone(),
                off: told.off.clone(),
                test: told.test.clone(),
            }),
        })
    };
    config.sirens.iter().map(one).collect()
}

/// Returns the same, with what is secret: the keys of radio nodes.
///
/// # Errors
///
/// When the time zone cannot be found, or a key cannot be read.
pub fn rules_with_keys(loaded: &Loaded) -> anyhow::Result<Rules> {
    Ok(Rules { lorawan: radio::lorawan(&loaded.config)?, ..rules(loaded)? })
}

/// Returns the sources that [`rules`] wrote down.
///
/// # Errors
///
/// When they are not what [`rules`] wrote.
pub fn sources(written: &str) -> anyhow::Result<Vec<Source>> {
    let pairs: Vec<(String, String)> =
        serde_json::from_str(written).context("the rule book on record is damaged")?;
    Ok(pairs.into_iter().map(|(name, text)| Source { name, text }).collect())
}

fn route(topic: &config::Topic, codecs: &[config::Codec]) -> anyhow::Result<Route> {
    let time = |time: &config::TimeField| TimeField {
        path: Path::parse(&time.path),
        unit: match time.unit {
            config::TimeUnit::Seconds => TimeUnit::Seconds,
            config::TimeUnit::Millis => TimeUnit::Millis,
            config::TimeUnit::Rfc3339 => TimeUnit::Rfc3339,
        },
    };
    let (format, server) = match topic.format {
        // What a network server has decoded is an object; what it has not, the codec reads.
        config::Format::Json | config::Format::Codec => (Format::Json, None),
        config::Format::JsonArray => (Format::JsonArray, None),
        config::Format::SenmlJson => (Format::SenmlJson, None),
        config::Format::SenmlCbor => (Format::SenmlCbor, None),
        config::Format::Number => (Format::Number, None),
        config::Format::State => (Format::State, None),
        config::Format::ChirpStack => (Format::Json, Some(Server::ChirpStack)),
        config::Format::TheThingsStack => (Format::Json, Some(Server::TheThings)),
        config::Format::Helium => (Format::Json, Some(Server::Helium)),
        config::Format::Meshtastic => (Format::Json, Some(Server::Meshtastic)),
    };
    let named = codecs.iter().find(|codec| Some(&codec.name) == topic.codec.as_ref());
    let codec = named.map(codec_map);
    let of_topic = || PayloadMap {
        format,
        fields: topic.fields.iter().map(field).collect(),
        time: topic.time.as_ref().map(time),
    };
    let is_bytes = topic.format == config::Format::Codec;
    Ok(Route {
        template: Template::parse(&topic.template)
            .with_context(|| format!("topic {}", topic.template))?,
        from: topic.from.clone(),
        encoding: match topic.encoding {
            config::Encoding::Raw => Encoding::Raw,
            config::Encoding::Hex => Encoding::Hex,
            config::Encoding::Base64 => Encoding::Base64,
        },
        server,
        map: codec.clone().filter(|_| is_bytes).unwrap_or_else(of_topic),
        codec,
    })
}

fn field(field: &config::Field) -> Field {
    Field { path: Path::parse(&field.path), quantity: field.quantity, unit: field.unit }
}

/// Returns how a codec reads bytes.
#[must_use]
pub fn codec_map(codec: &config::Codec) -> PayloadMap {
    let slot = |slot: &config::Slot| Slot {
        bit: slot.bit,
        bits: slot.bits,
        number: match slot.number {
            config::Number::Unsigned => Number::Unsigned,
            config::Number::Signed => Number::Signed,
            config::Number::Float => Number::Float,
        },
        order: if slot.little { Order::Little } else { Order::Big },
        scale: slot.scale,
        add: slot.add,
        missing: slot.missing.map(u64::from),
        port: slot.port,
        when: slot.when.map(|(byte, is)| When { byte, is }),
    };
    PayloadMap {
        format: match &codec.kind {
            config::CodecKind::CayenneLpp => Format::CayenneLpp,
            config::CodecKind::Binary(slots) => Format::Binary(slots.iter().map(slot).collect()),
            config::CodecKind::JavaScript { script, source } => {
                Format::JavaScript(Script::new(&shown(script), source))
            }
        },
        fields: codec.fields.iter().map(field).collect(),
        time: None,
    }
}

fn wording(config: &Config) -> anyhow::Result<Wording> {
    let gateway = &config.gateway;
    let names = |area: &config::Area| {
        let mut names: BTreeMap<String, String> = area.titles.clone();
        names.entry(gateway.language.clone()).or_insert_with(|| area.title.clone());
        (area.name.clone(), names)
    };
    let timezone = match &gateway.timezone {
        Timezone::Local => TimeZone::system(),
        Timezone::Named(name) => {
            TimeZone::get(name).with_context(|| format!("time zone {name}"))?
        }
    };
    Ok(Wording {
        sender: gateway.sender.clone(),
        language: gateway.language.clone(),
        areas: config.areas.iter().map(names).collect(),
        timezone,
        channels: config.roles.iter().map(|r| (r.role.clone(), r.channels.clone())).collect(),
        exercise: None,
    })
}

/// Returns the tables that differ from those of the start and are read at a start only.
#[must_use]
pub fn read_at_start(started: &Config, now: &Config) -> Vec<&'static str> {
    let place = |config: &Config| {
        let gateway = config.gateway.clone();
        (gateway.name, gateway.data, gateway.socket)
    };
    // What is subscribed to and who may publish what; how payloads are read changes at once.
    let heard = |config: &Config| {
        let topics = config.topics.iter();
        topics.map(|topic| (topic.template.clone(), topic.from.clone())).collect::<Vec<_>>()
    };
    // What packet forwarders may send; how devices are spoken to changes at once.
    let region = |config: &Config| {
        let region = config.lorawan.as_ref().map(|lorawan| lorawan.region.clone());
        region.filter(|_| config.semtech_udp.is_some())
    };
    let tables = [
        ("gateway", place(started) == place(now)),
        ("listener", started.listener == now.listener),
        ("topic", heard(started) == heard(now)),
        ("broker", started.brokers == now.brokers),
        ("radio", started.radio == now.radio),
        ("semtech_udp", started.semtech_udp == now.semtech_udp),
        ("lorawan", region(started) == region(now)),
        ("modem", started.modems == now.modems),
        ("sms_provider", started.providers == now.providers),
        ("sms", started.sms.budget_per_day == now.sms.budget_per_day),
    ];
    tables.into_iter().filter(|(_, same)| !same).map(|(name, _)| name).collect()
}

/// Returns what the outbox goes by. The channels keep their own pace.
#[must_use]
pub fn outbox(config: &Config, lanes: &[Lane]) -> outbox::Settings {
    let lane = |lane: &Lane| LaneSettings {
        name: lane.name.as_str().into(),
        width: lane.handoff.max_capacity(),
        segment_interval: Duration::ZERO,
        report_window: if lane.reports { REPORT_WINDOW } else { Duration::ZERO },
    };
    let budget = config.sms.budget_per_day;
    let warning_reserve = budget * RESERVE_PERCENT / 100;
    outbox::Settings {
        lanes: lanes.iter().map(lane).collect(),
        budget: Some(Budget { segments_per_day: budget - warning_reserve, warning_reserve }),
        deliveries_max: outbox::DELIVERIES_MAX,
    }
}

/// Reads a file that holds one secret; white space at its ends does not belong to it.
pub(super) fn secret(path: &FilePath) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path)
        .with_context(|| format!("cannot read the secret {}", path.display()))?;
    let secret = text.trim();
    if secret.is_empty() {
        bail!("the secret {} is empty", path.display());
    }
    Ok(secret.to_owned())
}

/// Returns what the embedded listener is told.
///
/// # Errors
///
/// When a password or a certificate cannot be read.
pub fn listener(config: &Config, listener: &config::Listener) -> anyhow::Result<broker::Settings> {
    let credentials = listener.credentials.iter().map(|credential| {
        let mut nodes = Vec::new();
        for topic in &config.topics {
            let template = Template::parse(&topic.template)?;
            let patterns = credential.nodes.iter().cloned();
            let right = |pattern| broker::NodeRight { template: template.clone(), pattern };
            nodes.extend(patterns.map(right));
        }
        let (publish, subscribe) = (credential.publish.clone(), credential.subscribe.clone());
        let rights = broker::Rights { nodes, publish, subscribe };
        Ok(broker::Credential::new(
            credential.user.clone(),
            secret(&credential.password_file)?,
            rights,
        ))
    });
    let everything = || broker::Rights {
        nodes: Vec::new(),
        publish: vec!["#".into()],
        subscribe: vec!["#".into()],
    };
    let limits = &listener.limits;
    Ok(broker::Settings {
        listen: listener.listen.clone(),
        listen_tls: listener.listen_tls.clone(),
        tls: listener.tls.as_ref().map(tls).transpose()?,
        credentials: credentials.collect::<anyhow::Result<_>>()?,
        anonymous: listener.anonymous.then(everything),
        limits: broker::Limits {
            connections_max: limits.connections_max as usize,
            packet_bytes_max: limits.packet_bytes_max,
            inflight_max: limits.inflight_max,
            rate_max: f64::from(limits.rate_max.count) / limits.rate_max.per.as_secs_f64(),
            session_expiry_max: limits.session_expiry_max,
            session_queue_max: limits.session_queue_max as usize,
            sessions_max: limits.connections_max as usize,
            ..broker::Limits::default()
        },
    })
}

fn tls(files: &config::TlsFiles) -> anyhow::Result<Arc<rustls::ServerConfig>> {
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect)
        .with_context(|| format!("cannot read the certificate {}", files.cert.display()))?;
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("cannot read the key {}", files.key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let server = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .context("the certificate and its key do not go together")?;
    Ok(Arc::new(server))
}

/// Returns what the client of a broker that others run is told.
///
/// # Errors
///
/// When the password or the certificate authority cannot be read.
pub fn broker(
    config: &Config,
    broker: &config::Broker,
    seed: u64,
) -> anyhow::Result<mqtt::Settings> {
    let heard = |topic: &&config::Topic| topic.from.is_empty() || topic.from.contains(&broker.name);
    let filter = |topic: &config::Topic| Ok(Template::parse(&topic.template)?.filter(None));
    let filters: Vec<String> =
        config.topics.iter().filter(heard).map(filter).collect::<anyhow::Result<_>>()?;
    let password = broker.password_file.as_deref().map(secret).transpose()?;
    Ok(mqtt::Settings {
        name: broker.name.clone(),
        host: broker.host.clone(),
        port: broker.port,
        tls: broker.tls.then(|| client_tls(broker.ca_file.as_deref())).transpose()?,
        version: match broker.protocol {
            config::Protocol::V3 => mqtt::Version::V3,
            config::Protocol::V5 => mqtt::Version::V5,
        },
        client_id: broker.client_id.clone(),
        login: broker.user.clone().map(|user| mqtt::Login::new(user, password)),
        keep_alive: broker.keep_alive,
        session_expiry: broker.session_expiry,
        filters: mqtt::widest(filters),
        seed,
    })
}

/// Trusts the authorities in `ca_file`, or the public ones.
pub(super) fn client_tls(ca_file: Option<&FilePath>) -> anyhow::Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    match ca_file {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(path) => {
            let certificates: Vec<CertificateDer<'static>> =
                CertificateDer::pem_file_iter(path).and_then(Iterator::collect).with_context(
                    || format!("cannot read the certificate authority {}", path.display()),
                )?;
            let (taken, _) = roots.add_parsable_certificates(certificates);
            if taken == 0 {
                bail!("{} holds no certificate authority", path.display());
            }
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let client = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(client))
}

/// Returns what a modem is told. Every time is divided by `factor`, for demonstrations.
///
/// # Errors
///
/// When its PIN cannot be read.
pub fn modem(modem: &config::Modem, factor: f64, seed: u64) -> anyhow::Result<modem::Settings> {
    let pin = match &modem.pin_file {
        Some(path) => {
            let digits = secret(path)?;
            Some(
                modem::Pin::new(&digits)
                    .with_context(|| format!("{} holds no PIN", path.display()))?,
            )
        }
        None => None,
    };
    let per_minute = f64::from(modem.rate.count) * 60.0 / modem.rate.per.as_secs_f64() * factor;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "clamped to what fits"
    )]
    let texts_per_minute = per_minute.round().clamp(1.0, 1e6) as u32;
    let mut settings = modem::Settings::new(&modem.name, modem.port.clone());
    settings.bauds.clone_from(&modem.bauds);
    settings.pin = pin;
    settings.model.clone_from(&modem.model);
    settings.service_centre = modem.service_centre.as_ref().map(|n| n.as_str().to_owned());
    settings.own_number = modem.own_number.as_ref().map(|n| n.as_str().to_owned());
    settings.power_cycle.clone_from(&modem.power_cycle);
    settings.texts_per_minute = texts_per_minute;
    settings.balance = modem.balance.as_ref().map(|balance| modem::Balance {
        code: balance.code.clone(),
        before: balance.before.clone(),
        after: balance.after.clone(),
    });
    settings.seed = seed;
    Ok(settings)
}

/// Returns what a provider's channel is told.
///
/// # Errors
///
/// When a secret or an own preset cannot be read.
pub fn provider(provider: &config::SmsProvider, factor: f64) -> anyhow::Result<http_sms::Settings> {
    let preset = match &provider.preset_file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the preset {}", path.display()))?;
            http_sms::Preset::parse(&text).with_context(|| format!("preset {}", path.display()))?
        }
        None => http_sms::Preset::builtin(&provider.preset)
            .with_context(|| format!("there is no preset {}", provider.preset))?,
    };
    let mut settings = provider.settings.clone();
    if let Some(url) = &provider.url {
        settings.insert("base".to_owned(), url.clone());
    }
    let mut secrets = BTreeMap::new();
    for (name, path) in &provider.secret_files {
        secrets.insert(name.clone(), http_sms::Secret::new(secret(path)?));
    }
    let dlr_url = provider.webhook.as_ref().map(|hook| -> anyhow::Result<String> {
        Ok(format!("{}/{}", hook.public_url.trim_end_matches('/'), secret(&hook.path_secret_file)?))
    });
    let per_second = f64::from(provider.rate.count) / provider.rate.per.as_secs_f64() * factor;
    Ok(http_sms::Settings {
        preset,
        account: http_sms::Account {
            from: provider.from.clone(),
            settings,
            secrets,
            dlr_url: dlr_url.transpose()?,
            country_code: provider.country_code.clone(),
        },
        limit: Some(http_sms::Limit { per_second, burst: provider.rate.count.max(1) }),
        timeouts: http_sms::Timeouts {
            answer: provider.timeout,
            connect: provider.timeout.min(Duration::from_secs(20)),
            ..http_sms::Timeouts::default()
        },
        extra_roots_pem: provider
            .ca_file
            .as_ref()
            .map(std::fs::read)
            .transpose()
            .context("cannot read the CA file")?,
    })
}

/// Returns the route of a provider's delivery reports, if it has a webhook.
///
/// # Errors
///
/// When the secret of its path cannot be read.
pub fn webhook(
    provider: &config::SmsProvider,
    settings: &http_sms::Settings,
) -> anyhow::Result<Option<http_sms::Route>> {
    let Some(hook) = &provider.webhook else { return Ok(None) };
    Ok(Some(http_sms::Route {
        path_secret: http_sms::Secret::new(secret(&hook.path_secret_file)?),
        preset: settings.preset.clone(),
        account: settings.account.clone(),
    }))
}
