//! What a checked configuration holds: plain values, every unit converted, every name known.

use super::board::Radio;
use super::link::{LinkNode, Report};
use super::siren::Siren;
use super::storage::Storage;
use super::uplink::Uplink;
use crate::domain::quantity::{Quantity, Unit};
use crate::domain::recipient::{PhoneNumber, Role};
use crate::domain::rule::RuleBook;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Everything that the files say, checked.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The gateway itself.
    pub gateway: Gateway,
    /// What is kept, and for how long.
    pub storage: Storage,
    /// The hub that it tells what it knows.
    pub uplink: Option<Uplink>,
    /// The embedded MQTT listener; `None` when the file has no `[listener]`.
    pub listener: Option<Listener>,
    /// Brokers that others run.
    pub brokers: Vec<Broker>,
    /// How publications become readings.
    pub topics: Vec<Topic>,
    /// Areas that can be warned.
    pub areas: Vec<Area>,
    /// How the bytes of devices become values.
    pub codecs: Vec<Codec>,
    /// The gateway's own radio.
    pub radio: Option<Radio>,
    /// LoRa gateways that others run.
    pub semtech_udp: Option<SemtechUdp>,
    /// What this gateway is to LoRaWAN devices.
    pub lorawan: Option<Lorawan>,
    /// Its LoRaWAN devices.
    pub lorawan_nodes: Vec<LorawanNode>,
    /// What nodes of our own radio link put into a report.
    pub reports: Vec<Report>,
    /// Nodes of our own radio link.
    pub link_nodes: Vec<LinkNode>,
    /// Sirens.
    pub sirens: Vec<Siren>,
    /// Roles of recipients, each with its channels.
    pub roles: Vec<RoleSettings>,
    /// Modems.
    pub modems: Vec<Modem>,
    /// Providers of text messages over HTTP.
    pub providers: Vec<SmsProvider>,
    /// What holds for every text message.
    pub sms: Sms,
    /// Declared nodes and the rules that judge their readings.
    pub rules: Arc<RuleBook>,
}

impl Config {
    /// Returns the area of that name.
    #[must_use]
    pub fn area(&self, name: &str) -> Option<&Area> {
        self.areas.iter().find(|area| area.name == name)
    }

    /// Returns every file that holds a secret, with the key that names it.
    pub fn secret_files(&self) -> impl Iterator<Item = (&'static str, &Path)> {
        let listener = self.listener.iter().flat_map(|listener| {
            let passwords =
                listener.credentials.iter().map(|c| ("password_file", &c.password_file));
            passwords.chain(listener.tls.iter().map(|tls| ("tls_key_file", &tls.key)))
        });
        let brokers = self.brokers.iter().filter_map(|broker| broker.password_file.as_ref());
        let pins = self.modems.iter().filter_map(|modem| modem.pin_file.as_ref());
        let providers = self.providers.iter().flat_map(|provider| {
            let hooks = provider.webhook.iter().map(|w| ("path_secret_file", &w.path_secret_file));
            provider.secret_files.values().map(|path| ("secret_files", path)).chain(hooks)
        });
        let radio = self.lorawan_nodes.iter().flat_map(|node| match &node.activation {
            Activation::Joins { app_key_file, .. } => vec![("app_key_file", app_key_file)],
            Activation::Fixed { nwk_s_key_file, app_s_key_file, .. } => {
                vec![("nwk_s_key_file", nwk_s_key_file), ("app_s_key_file", app_s_key_file)]
            }
        });
        let uplink = self.uplink.iter().map(|uplink| ("key_file", &uplink.key_file));
        let all = listener
            .chain(brokers.map(|path| ("password_file", path)))
            .chain(pins.map(|path| ("pin_file", path)))
            .chain(providers)
            .chain(radio)
            .chain(uplink);
        all.map(|(key, path)| (key, path.as_path()))
    }

    /// Returns the settings of that role.
    #[must_use]
    pub fn role(&self, role: &Role) -> Option<&RoleSettings> {
        self.roles.iter().find(|settings| settings.role == *role)
    }
}

/// `[gateway]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gateway {
    /// Its name: lower-case letters, digits and `-`.
    pub name: String,
    /// Who speaks: `{sender}` in texts.
    pub sender: String,
    /// BCP 47 tag of the language that every text must have, and that a recipient without a text in theirs gets.
    pub language: String,
    /// Where clock times in texts are told.
    pub timezone: Timezone,
    /// Folder of the database.
    pub data: PathBuf,
    /// Local socket on which a running gateway answers.
    pub socket: PathBuf,
}

/// Where clock times are told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timezone {
    /// As the operating system is set.
    Local,
    /// A name of the IANA time zone database.
    Named(String),
}

/// `[listener]`: the embedded MQTT listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Addresses without TLS.
    pub listen: Vec<SocketAddr>,
    /// Addresses with TLS.
    pub listen_tls: Vec<SocketAddr>,
    /// Certificate and key; present when `listen_tls` is not empty.
    pub tls: Option<TlsFiles>,
    /// Whether a client without a user name may publish and subscribe.
    pub anonymous: bool,
    /// Who may connect.
    pub credentials: Vec<Credential>,
    /// Bounds.
    pub limits: ListenerLimits,
}

/// PEM files of a TLS server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// Certificate chain.
    pub cert: PathBuf,
    /// Private key.
    pub key: PathBuf,
}

/// Bounds of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerLimits {
    /// Most connections at a time.
    pub connections_max: u32,
    /// Longest packet, bytes.
    pub packet_bytes_max: u32,
    /// Most publications of one client that await their acknowledgement.
    pub inflight_max: u16,
    /// Most publications of one client, over time.
    pub rate_max: Rate,
    /// Longest time that a session outlives its connection.
    pub session_expiry_max: Duration,
    /// Most messages kept for a subscriber that is away.
    pub session_queue_max: u32,
}

/// `[[listener.credential]]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// User name.
    pub user: String,
    /// File that holds the password or its Argon2 hash.
    pub password_file: PathBuf,
    /// Nodes that it may publish for, patterns resolved: whatever topic a template makes of them.
    pub nodes: Vec<String>,
    /// Topic filters that it may publish to besides.
    pub publish: Vec<String>,
    /// Topic filters that it may subscribe to.
    pub subscribe: Vec<String>,
}

/// How many in what time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rate {
    /// How many; at least one.
    pub count: u32,
    /// In what time; longer than zero.
    pub per: Duration,
}

impl Rate {
    /// Returns the mean time from one to the next.
    #[must_use]
    pub fn interval(self) -> Duration {
        self.per / self.count.max(1)
    }
}

/// `[[broker]]`: an MQTT broker that others run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// Its name here.
    pub name: String,
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Whether the connection is TLS.
    pub tls: bool,
    /// Which MQTT.
    pub protocol: Protocol,
    /// Client identifier.
    pub client_id: String,
    /// User name.
    pub user: Option<String>,
    /// File that holds the password.
    pub password_file: Option<PathBuf>,
    /// File with the certificate authority that signed the broker's certificate; `None`: the public ones.
    pub ca_file: Option<PathBuf>,
    /// Longest silence on the connection.
    pub keep_alive: Duration,
    /// How long the broker keeps the session when the gateway is away.
    pub session_expiry: Duration,
}

/// A version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 3.1.1.
    V3,
    /// MQTT 5.
    V5,
}

/// `[[topic]]`: how the publications on some topics become readings.
#[derive(Clone, Debug, PartialEq)]
pub struct Topic {
    /// Topic with `{node}`, perhaps `{quantity}`, and `+` for a level that does not matter.
    pub template: String,
    /// What a payload is.
    pub format: Format,
    /// Where values stand in a payload. For `number` and `state` one whose path is empty, or, where the template has
    /// `{quantity}`, what stands there.
    pub fields: Vec<Field>,
    /// Where the node's own time stands in a payload.
    pub time: Option<TimeField>,
    /// Names of the brokers that it holds for, and `listener`; empty: all.
    pub from: Vec<String>,
    /// Name of the codec that reads the bytes.
    pub codec: Option<String>,
    /// How those bytes are written.
    pub encoding: Encoding,
}

/// How bytes are written in a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As they are.
    #[default]
    Raw,
    /// In hexadecimal digits.
    Hex,
    /// In base64.
    Base64,
}

/// `[codec.NAME]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Codec {
    /// Its name.
    pub name: String,
    /// What the bytes are.
    pub kind: CodecKind,
    /// The values.
    pub fields: Vec<Field>,
}

/// What the bytes of a device are.
#[derive(Clone, Debug, PartialEq)]
pub enum CodecKind {
    /// Cayenne LPP.
    CayenneLpp,
    /// Numbers at places of their own, one for each field.
    Binary(Vec<Slot>),
    /// What a script makes of them.
    JavaScript {
        /// The file.
        script: PathBuf,
        /// What stands in it; empty until the file is read.
        source: String,
    },
}

/// Where a number stands in the bytes, and how it becomes a value.
#[derive(Clone, Debug, PartialEq)]
pub struct Slot {
    /// First bit, from the most significant of the first byte.
    pub bit: u32,
    /// How many bits, 1 to 64.
    pub bits: u32,
    /// What the number is.
    pub number: Number,
    /// The least significant byte comes first.
    pub little: bool,
    /// Multiplier.
    pub scale: f64,
    /// Added then.
    pub add: f64,
    /// The number that says that there is no value.
    pub missing: Option<u32>,
    /// The only port with this value.
    pub port: Option<u8>,
    /// A byte, and what it must be.
    pub when: Option<(u32, u8)>,
}

/// `[semtech_udp]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SemtechUdp {
    /// Where forwarders send to.
    pub listen: SocketAddr,
    /// EUIs of the gateways that are listened to.
    pub gateways: Vec<u64>,
    /// Power of downlinks, dBm; less where the plan allows less.
    pub power_dbm: u8,
    /// Most airtime of downlinks of one gateway in an hour, where it is to be less than the plan allows.
    pub airtime_per_hour: Option<Duration>,
}

/// `[lorawan]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lorawan {
    /// Name of the channel plan, as RP002 has it.
    pub region: String,
    /// `NetID`.
    pub net_id: u32,
    /// Seconds to the first receive window, after a join.
    pub rx1_delay_s: u8,
    /// Which eight channels are heard, where there are more.
    pub sub_band: Option<u8>,
}

/// `[node.NAME.lorawan]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LorawanNode {
    /// Place of the node in the rule book.
    pub place: usize,
    /// Name of the codec.
    pub codec: String,
    /// The specification that the device follows.
    pub version: LorawanVersion,
    /// How it gets its keys.
    pub activation: Activation,
    /// Whether its counter may begin again.
    pub counter_reset: CounterReset,
    /// The data rate that it is asked to keep.
    pub data_rate: Option<u8>,
    /// Whether it always listens (class C), and not only after a frame of its own.
    pub listens: bool,
}

/// A version of LoRaWAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum LorawanVersion {
    V1_0_2,
    V1_0_3,
    V1_0_4,
}

/// How a LoRaWAN device gets its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Activation {
    /// It joins.
    Joins {
        /// `DevEUI`.
        dev_eui: u64,
        /// `JoinEUI`.
        join_eui: u64,
        /// File of its `AppKey`.
        app_key_file: PathBuf,
    },
    /// It has fixed keys.
    Fixed {
        /// `DevAddr`.
        dev_addr: u32,
        /// File of its `NwkSKey`.
        nwk_s_key_file: PathBuf,
        /// File of its `AppSKey`.
        app_s_key_file: PathBuf,
    },
}

impl Activation {
    /// Returns whether both are of one device, as far as identifiers tell.
    #[must_use]
    pub fn is_of_the_same_device(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Joins { dev_eui, .. }, Self::Joins { dev_eui: of_other, .. }) => {
                dev_eui == of_other
            }
            // Several devices may share an address; then their keys tell them apart.
            (
                Self::Fixed { nwk_s_key_file, dev_addr, .. },
                Self::Fixed { nwk_s_key_file: file_of_other, dev_addr: of_other, .. },
            ) => nwk_s_key_file == file_of_other && dev_addr == of_other,
            (Self::Joins { .. }, Self::Fixed { .. }) | (Self::Fixed { .. }, Self::Joins { .. }) => {
                false
            }
        }
    }
}

/// Whether a device with fixed keys may begin its counter again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CounterReset {
    /// Never.
    Never,
    /// Once.
    Once,
    /// Whenever it does.
    Always,
}

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Number {
    /// Zero or more.
    Unsigned,
    /// Two's complement.
    Signed,
    /// IEEE 754.
    Float,
}

/// What a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Format {
    /// A JSON object.
    Json,
    /// A JSON array of objects.
    JsonArray,
    /// A SenML pack in JSON (RFC 8428).
    SenmlJson,
    /// A SenML pack in CBOR (RFC 8428).
    SenmlCbor,
    /// A number as text.
    Number,
    /// The state of one entity, as Home Assistant, Tasmota and ESPHome publish it: a number, or a word such as
    /// `unavailable`.
    State,
    /// Bytes that a codec reads.
    Codec,
    /// Events of ChirpStack 4.
    ChirpStack,
    /// Events of The Things Stack 3.
    TheThingsStack,
    /// Events of Helium's console.
    Helium,
    /// Packets of Meshtastic.
    Meshtastic,
}

impl Format {
    /// Returns whether payloads are events that wrap what a device said.
    #[must_use]
    pub const fn is_event(self) -> bool {
        matches!(self, Self::ChirpStack | Self::TheThingsStack | Self::Helium | Self::Meshtastic)
    }
}

/// One value of a payload.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// JSON pointer, name of a SenML record, or what stands for `{quantity}`; empty for the payload as a whole.
    pub path: String,
    /// What it measures.
    pub quantity: Quantity,
    /// The unit it comes in; the quantity's own when the file names none.
    pub unit: Unit,
}

/// The node's own time in a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeField {
    /// JSON pointer.
    pub path: String,
    /// How it is written.
    pub unit: TimeUnit,
}

/// How a time is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
    /// Seconds since 1970, UTC; may have a fraction.
    Seconds,
    /// Milliseconds since 1970, UTC.
    Millis,
    /// A text in RFC 3339.
    Rfc3339,
}

/// `[area.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Area {
    /// Its name in rules and in the list of recipients.
    pub name: String,
    /// What people call it.
    pub title: String,
    /// What people call it in other languages.
    pub titles: BTreeMap<String, String>,
}

impl Area {
    /// Returns what people call it in `language`.
    #[must_use]
    pub fn title_in(&self, language: &str) -> &str {
        self.titles.get(language).unwrap_or(&self.title)
    }
}

/// `[role.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleSettings {
    /// Which role.
    pub role: Role,
    /// Names of modems and providers, in the order in which they are tried; those of one step share the work.
    pub channels: Vec<Vec<String>>,
}

/// `[modem.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Modem {
    /// Its name here.
    pub name: String,
    /// Serial port.
    pub port: PathBuf,
    /// Bits a second, in the order in which they are tried.
    pub bauds: Vec<u32>,
    /// File that holds the PIN of the SIM; `None`: it has none.
    pub pin_file: Option<PathBuf>,
    /// Name of its quirks, when it does not say itself what it is.
    pub model: Option<String>,
    /// Number of the service centre, when the SIM knows none.
    pub service_centre: Option<PhoneNumber>,
    /// Its own number, for the loop-back check.
    pub own_number: Option<PhoneNumber>,
    /// Most segments, over time.
    pub rate: Rate,
    /// How to ask for the balance.
    pub balance: Option<Balance>,
    /// How often it texts itself; `None`: never.
    pub loopback_every: Option<Duration>,
    /// Command and arguments that cut and restore its power.
    pub power_cycle: Vec<String>,
}

/// `[modem.NAME.balance]`: how to ask for the balance, and where it stands in the answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Balance {
    /// What to dial, such as `*102#`.
    pub code: String,
    /// What stands before the amount; empty: the first number is the amount.
    pub before: String,
    /// What stands after the amount; empty: anything.
    pub after: String,
}

/// `[sms_provider.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmsProvider {
    /// Its name here.
    pub name: String,
    /// Preset that knows its interface, or `custom`.
    pub preset: String,
    /// File with a preset of one's own; present when `preset` is `custom`.
    pub preset_file: Option<PathBuf>,
    /// Address, when it is not the preset's.
    pub url: Option<String>,
    /// Sender's name, number or short code.
    pub from: Option<String>,
    /// Country calling code in digits.
    pub country_code: Option<String>,
    /// Values of the preset's placeholders that are no secret, such as `username`.
    pub settings: BTreeMap<String, String>,
    /// Files with the values of the preset's placeholders that are secret, such as `api_key`.
    pub secret_files: BTreeMap<String, PathBuf>,
    /// Most messages, over time.
    pub rate: Rate,
    /// Longest wait for an answer.
    pub timeout: Duration,
    /// File with the certificate authority that signed the provider's certificate; `None`: the public ones.
    pub ca_file: Option<PathBuf>,
    /// How often delivery reports are asked for; `None`: never.
    pub poll_every: Option<Duration>,
    /// Where delivery reports come in.
    pub webhook: Option<Webhook>,
}

/// Where delivery reports of a provider come in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Webhook {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// Address at which the provider reaches it.
    pub public_url: String,
    /// File with the path of the requests: whoever knows it can report deliveries.
    pub path_secret_file: PathBuf,
}

/// `[sms]`: what holds for every text message.
#[derive(Clone, Debug, PartialEq)]
pub struct Sms {
    /// Most segments a day; danger may overdraw it.
    pub budget_per_day: u32,
    /// Most segments of one text, in its worst case.
    pub segments_max: u8,
    /// What one segment costs, for summaries.
    pub price_per_segment: Option<Price>,
}

/// An amount of money.
#[derive(Clone, Debug, PartialEq)]
pub struct Price {
    /// How much.
    pub amount: f64,
    /// ISO 4217 code of the currency.
    pub currency: String,
}

impl Price {
    /// Returns what `count` of them cost, in words.
    #[must_use]
    pub fn of(&self, count: u32) -> String {
        let cents = (self.amount * f64::from(count) * 100.0).round();
        format!("{} {}", cents / 100.0, self.currency)
    }
}

/// How long a text is as the network counts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentCount {
    /// Segments that it takes.
    pub segments: u32,
    /// Whether a letter outside the GSM alphabet makes it UCS-2.
    pub unicode: bool,
}

/// What one text of a rule takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextReport {
    /// Name of the rule.
    pub rule: String,
    /// Its level; `None` for the all-clear.
    pub level: Option<crate::domain::warning::Level>,
    /// Language of the text.
    pub language: String,
    /// The text with the longest that each placeholder can become.
    pub worst: String,
    /// What that takes.
    pub count: SegmentCount,
}
