//! The configuration: the files as written, checked into a [`Config`] or into every [`Diagnostic`].
//!
//! [`load`] reads the files, [`parse`] checks their texts and does nothing else, so that the rules of any day can be
//! had again from the texts that were kept. Every key stands once, in `keys`: unknown keys, defaults and
//! `docs/configuration.md` all come from there. What is wrong in one place hides nothing that is wrong in another.

mod amount;
mod board;
mod codec;
mod condition;
mod diagnostic;
mod document;
mod estimate;
mod files;
mod gateway;
mod hub;
mod keys;
mod limit;
mod link;
mod measure;
mod mqtt;
mod node;
mod pattern;
mod radio;
mod people;
mod reference;
mod rule;
mod section;
mod settings;
mod signal;
mod siren;
mod storage;
mod texts;
mod topic;
mod uplink;

pub use amount::span_as_written;
pub use board::{BOARDS, Chip, Radio, RadioBus, Wiring};
pub use diagnostic::{Diagnostic, Severity, Source};
pub use estimate::telling_time;
pub use files::read_sources;
pub use hub::{Hub, HubDatabase, HubHttps, HubMqtt, LoadedHub, load_hub};
pub use link::{LinkListens, LinkNode, Report, ReportField};
pub use reference::{KeyReference, TableReference, hub_reference, reference};
pub use settings::{
    Activation, Area, Balance, Broker, Codec, CodecKind, Config, CounterReset, Credential,
    Encoding, Field, Format, Gateway, Listener, ListenerLimits, Lorawan, LorawanNode,
    LorawanVersion, Modem, Number, Price, Protocol, Rate, RoleSettings, SegmentCount, SemtechUdp,
    Slot, Sms, SmsProvider, TextReport, TimeField, TimeUnit, Timezone, TlsFiles, Topic, Webhook,
};
pub use siren::{Siren, SirenPayloads, SirenWay};
pub use storage::{Removable, Storage};
pub use uplink::{History, Uplink};

use crate::domain::recipient::Role;
use crate::domain::rule::RuleBook;
use condition::Conditions;
use document::{Entry, Faults, Place};
use rule::Known;
use section::Section;
use sha2::{Digest, Sha256};
use std::path::Path;
use std::sync::Arc;
use texts::Texts;
use toml::de::DeTable;

/// What a configuration is checked against that other modules know.
pub struct Outside<'a> {
    /// Counts the segments of a text.
    pub count_segments: &'a dyn Fn(&str) -> SegmentCount,
    /// Names of the presets of SMS providers; empty when they are not known here: then any is taken.
    pub presets: &'a [&'a str],
}

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// What is probably not meant.
    pub warnings: Vec<Diagnostic>,
    /// What each text of the rules takes.
    pub texts: Vec<TextReport>,
    /// The texts that it was read from.
    pub sources: Vec<Source>,
}

/// Reads the configuration at `path` with the rules beside it, and checks it.
///
/// # Errors
///
/// Lists every fault, by file and line; the warnings among them too.
pub fn load(path: &Path, outside: &Outside<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    parse(&read_sources(path)?, outside)
}

/// Checks the texts of a configuration: the main file first, then files of rules.
///
/// # Errors
///
/// Lists every fault, by file and line; the warnings among them too.
pub fn parse(sources: &[Source], outside: &Outside<'_>) -> Result<Loaded, Vec<Diagnostic>> {
    let faults = Faults::new(sources);
    let (config, texts) = {
        let tables = document::parse(sources, &faults);
        check(&root(&tables, sources, &faults), sources, outside, &faults)
    };
    let failed = faults.any_error();
    let diagnostics = faults.into_diagnostics();
    if failed {
        return Err(diagnostics);
    }
    Ok(Loaded { config, warnings: diagnostics, texts, sources: sources.to_vec() })
}

/// Tables that may stand in files of rules.
const RULES_TABLES: [&str; 3] = ["rule", "node", "area"];

/// Joins the tops of all files, and reports what stands in the wrong one or twice.
fn root<'d>(tables: &'d [DeTable<'d>], sources: &[Source], faults: &'d Faults<'d>) -> Section<'d> {
    let mut all: Vec<Entry<'d>> = Vec::new();
    for (index, table) in tables.iter().enumerate() {
        let entries = table.iter().map(|(key, value)| Entry::new(index, key, value));
        let mut entries: Vec<Entry<'d>> = entries.collect();
        entries.sort_by_key(|entry| entry.key_place);
        for entry in entries {
            let belongs = index == 0 || RULES_TABLES.contains(&entry.key);
            if !belongs && keys::ROOT.key(entry.key).is_some() {
                let help = "files of rules have `rule`, `node` and `area` only";
                let message = format!("`{}` belongs in the main file", entry.key);
                faults.error(entry.key_place, message, help);
                continue;
            }
            twice(&entry, &all, sources, faults);
            all.push(entry);
        }
    }
    Section::new("", Place { source: 0, start: 0, end: 0 }, all, &keys::ROOT, faults)
}

/// Reports names that an earlier file has already; within one file TOML itself forbids it.
fn twice(entry: &Entry<'_>, earlier: &[Entry<'_>], sources: &[Source], faults: &Faults<'_>) {
    for named in entry.written.entries() {
        let same = earlier
            .iter()
            .filter(|other| other.key == entry.key)
            .flat_map(|other| other.written.entries())
            .find(|other| other.key == named.key);
        if let Some(other) = same {
            let file = sources.get(other.key_place.source).map_or("", |source| &source.name);
            faults.error(
                named.key_place,
                format!("{} \"{}\" stands in {file} already", entry.key, named.key),
                "give one of them another name, or remove it",
            );
        }
    }
}

/// Reads and checks everything, in an order in which what is named comes before what names it.
fn check(
    root: &Section<'_>,
    sources: &[Source],
    outside: &Outside<'_>,
    faults: &Faults<'_>,
) -> (Config, Vec<TextReport>) {
    let gateway = gateway::gateway(root, faults);
    let storage = storage::storage(root, faults);
    let uplink = uplink::uplink(root);
    let sms = gateway::sms(root);
    let nodes = node::nodes(root, faults);
    let areas = people::areas(root, faults);
    let modems = people::modems(root, faults);
    let providers = people::providers(root, &modems, outside.presets, faults);
    let roles = people::roles(root, &modems, &providers, faults);
    let listener = mqtt::listener(root, &nodes, faults);
    let brokers = mqtt::brokers(root, &gateway.name, faults);
    let codecs = codec::codecs(root, faults);
    let lorawan = radio::lorawan(root);
    let lorawan_nodes = radio::nodes(root, lorawan.as_ref(), &codecs, faults);
    let reports = link::reports(root, faults);
    let link_nodes = link::nodes(root, &nodes, &reports, &lorawan_nodes, faults);
    let links = mqtt::link_names(&brokers, listener.as_ref());
    let topics = topic::topics(root, &links, &codecs, faults);
    topic::unheard(root, &topics, &codecs, (&link_nodes, &reports), &nodes, faults);
    let named = siren::Named {
        nodes: &nodes,
        lorawan: &lorawan_nodes,
        link: &link_nodes,
        areas: &areas,
        brokers: &brokers,
        topics: &topics,
    };
    let sirens = siren::sirens(root, &named, faults);
    let mut book = RuleBook { version: version(sources), nodes, rules: Vec::new() };
    let known = Known {
        areas: areas.iter().map(|area| area.name.as_str()).collect(),
        roles: roles.iter().map(|settings| settings.role.0.as_str()).collect(),
    };
    let mut texts = Texts::new(
        (&book, &areas),
        (&gateway.sender, &gateway.language),
        sms.segments_max,
        outside,
        faults,
    );
    let conditions = Conditions { nodes: &book.nodes, faults };
    let judged = rule::rules(root, &known, &conditions, &mut texts);
    let text_reports = texts.reports;
    book.rules = judged;
    let config = Config {
        rules: Arc::new(book),
        gateway,
        storage,
        uplink,
        listener,
        brokers,
        topics,
        codecs,
        radio: board::radio(root, !link_nodes.is_empty(), faults),
        semtech_udp: radio::semtech_udp(root, faults),
        lorawan,
        lorawan_nodes,
        reports,
        link_nodes,
        areas,
        sirens,
        roles,
        modems,
        providers,
        sms,
    };
    unlinked(root, &config, faults);
    (config, text_reports)
}

/// Warns of areas and roles that no rule names.
fn unlinked(root: &Section<'_>, config: &Config, faults: &Faults<'_>) {
    let rules = &config.rules.rules;
    for (name, place) in root.named_places("area") {
        if !rules.iter().any(|rule| rule.area == name) {
            faults.warn(
                place,
                format!("no rule warns area \"{name}\""),
                "add a rule, or remove it",
            );
        }
    }
    for (name, place) in root.named_places("role") {
        let told = |role: &Role| role.0 == name;
        let levels = || rules.iter().flat_map(|rule| &rule.levels);
        // Technicians hear of faults without any rule.
        if name != Role::TECHNICIAN && !levels().any(|level| level.audience.iter().any(told)) {
            let help = "add it to an `audience`, or remove it";
            faults.warn(place, format!("no rule tells role \"{name}\""), help);
        }
    }
}

/// Hexadecimal digits of a version: enough that no two versions of one gateway share theirs.
const VERSION_DIGITS: usize = 12;

/// Names the version of the rules that `sources` are: the start of the SHA-256 of their texts.
fn version(sources: &[Source]) -> String {
    let mut digest = Sha256::new();
    for source in sources {
        // The length keeps one file apart from the next.
        digest.update(u64::try_from(source.text.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(source.text.as_bytes());
    }
    let mut hex = format!("{:x}", digest.finalize());
    hex.truncate(VERSION_DIGITS);
    hex
}
