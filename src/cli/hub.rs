//! `hub`: the server that collects what many gateways tell, and what can be asked of it.

use super::print::{self, Style};
use super::readings::moment;
use super::{Failure, block_on};
use clap::Subcommand;
use kengele::app::convert;
use kengele::channel::http_sms::{self, HttpSms};
use kengele::config::{self, LoadedHub};
use kengele::domain::quantity::Quantity;
use kengele::hub::settings::{Providers, Settings, place};
use kengele::hub::storage::{
    Counts, GatewayRow, MeasuredRow, MeasuredWanted, Notice, Storage, WarningRow,
};
use kengele::hub::{self, now_ms, token};
use serde_json::{Value, json};
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};

/// Where the configuration of a hub is, unless `--config` says otherwise.
const CONFIG: &str = "/etc/kengele/hub.toml";
/// Longest life of a token, days.
const TOKEN_DAYS_MAX: u32 = 365;

pub(crate) const HELP: &str = "\
Examples:
  kengele hub run --config deploy/hub/hub.toml
  kengele hub token mto-juu                     a token for one gateway, good once and for 7 days
  kengele hub status
  kengele hub readings --gateway mto-juu --quantity water_level --from 2026-11-01
  kengele hub warnings --csv

Its configuration is /etc/kengele/hub.toml, unless --config names another. docs/hub.md tells the rest.";

#[derive(Debug, Subcommand)]
pub(crate) enum Hub {
    /// Run the hub
    Run,
    /// Check the configuration and print every fault
    Check,
    /// Make a one-time token for a gateway of that name
    Token {
        /// Name of the gateway; one that is known already gets a new key and keeps its number
        name: String,
        /// For how many days it is good
        #[arg(long, default_value_t = 7)]
        days: u32,
    },
    /// List the gateways, and how each was when it was last heard
    Gateways {
        /// Print CSV
        #[arg(long)]
        csv: bool,
    },
    /// Keep nothing of a gateway any more, until it is resumed
    Suspend {
        /// Name of the gateway
        name: String,
    },
    /// Let a suspended gateway in again
    Resume {
        /// Name of the gateway
        name: String,
    },
    /// Say how things stand: who is missed, who warns, what waits
    Status,
    /// Print readings as CSV, by gateway, signal and time
    Readings {
        /// Of this gateway only
        #[arg(long)]
        gateway: Option<String>,
        /// Of this node only
        #[arg(long)]
        node: Option<String>,
        /// Of this quantity only
        #[arg(long)]
        quantity: Option<String>,
        /// Not before, such as 2026-11-01 or 2026-11-01T06:00:00Z
        #[arg(long)]
        from: Option<String>,
        /// Before
        #[arg(long)]
        until: Option<String>,
        /// The newest so many, by time
        #[arg(long)]
        last: Option<u32>,
    },
    /// List warnings, newest first
    Warnings {
        /// Of this gateway only
        #[arg(long)]
        gateway: Option<String>,
        /// Print CSV
        #[arg(long)]
        csv: bool,
    },
}

pub(crate) fn run(config: &Path, command: Hub, style: Style) -> Result<(), Failure> {
    let config = if config == Path::new(super::CONFIG) { Path::new(CONFIG) } else { config };
    let loaded = load(config)?;
    match command {
        Hub::Run => serve(&loaded),
        Hub::Check => {
            print::diagnostics(&loaded.warnings, style);
            if !style.json {
                print::line(&format!("{}: nothing is wrong with it", config.display()));
            }
            Ok(())
        }
        Hub::Token { name, days } => make_token(&loaded, &name, days, style),
        Hub::Gateways { csv } => gateways(&loaded, csv, style),
        Hub::Suspend { name } => suspend(&loaded, &name, Some(now_ms()), style),
        Hub::Resume { name } => suspend(&loaded, &name, None, style),
        Hub::Status => status(&loaded, style),
        Hub::Readings { gateway, node, quantity, from, until, last } => {
            let wanted = MeasuredWanted {
                gateway,
                node,
                quantity: quantity.as_deref().map(known_quantity).transpose()?,
                from_ms: from.as_deref().map(moment).transpose()?,
                until_ms: until.as_deref().map(moment).transpose()?,
            };
            readings(&loaded, &wanted, last, style)
        }
        Hub::Warnings { gateway, csv } => warnings(&loaded, gateway.as_deref(), csv, style),
    }
}

fn load(path: &Path) -> Result<LoadedHub, Failure> {
    let presets: Vec<&str> = http_sms::BUILTIN.iter().map(|(name, _)| *name).collect();
    config::load_hub(path, &presets).map_err(Failure::Wrong)
}

fn known_quantity(name: &str) -> Result<Quantity, Failure> {
    Quantity::from_name(name).ok_or_else(|| {
        let known: Vec<&str> = Quantity::all().map(Quantity::name).collect();
        Failure::Usage(format!("--quantity {name}: there is none; there are {}", known.join(", ")))
    })
}

/// Runs the hub until SIGTERM or SIGINT.
fn serve(loaded: &LoadedHub) -> Result<(), Failure> {
    super::daemon::log_to_stderr();
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let mut providers = Vec::new();
    for provider in &loaded.hub.providers {
        providers.push(HttpSms::new(convert::provider(provider, 1.0)?)?);
    }
    let settings = Settings::of(&loaded.hub, Providers(providers))?;
    block_on(async move {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let hub = hub::Hub::start(settings).await?;
        let until = async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        };
        anyhow::Ok(hub.run(until).await?)
    })??;
    Ok(())
}

/// Does something with the storage that the configuration names.
fn with_storage<T>(
    loaded: &LoadedHub,
    work: impl AsyncFnOnce(&Storage) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let place = place(&loaded.hub.database)?;
    block_on(async {
        let storage = Storage::open(&place).await?;
        let done = work(&storage).await;
        storage.close().await;
        done
    })?
}

fn make_token(loaded: &LoadedHub, name: &str, days: u32, style: Style) -> Result<(), Failure> {
    let sound = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if name.is_empty() || name.len() > 63 || !name.chars().all(sound) {
        let words = format!("{name:?}: a gateway's name has lower-case letters, digits and -");
        return Err(Failure::Usage(words));
    }
    if !(1..=TOKEN_DAYS_MAX).contains(&days) {
        return Err(Failure::Usage(format!("--days {days}: from 1 to {TOKEN_DAYS_MAX}")));
    }
    let token = token::draw()?;
    let now_ms = now_ms();
    let expires_ms = now_ms + i64::from(days) * 86_400_000;
    let is_known = with_storage(loaded, async |storage| {
        let known = storage.gateways().await?.iter().any(|gateway| gateway.name == name);
        storage.add_token(&token::hash(&token), name, now_ms, expires_ms).await?;
        Ok(known)
    })?;
    if style.json {
        print::json(&json!({
            "token": token, "name": name, "expires_unix_ms": expires_ms, "known": is_known,
        }));
        return Ok(());
    }
    print::line(&token);
    print::note(&format!(
        "good once, until {}; on the gateway: kengele enrol https://THIS-HUB {token}",
        print::clock(expires_ms)
    ));
    if is_known {
        print::note(&format!(
            "{name} is known already: when this token is used, its present key is good no more"
        ));
    }
    Ok(())
}

fn suspend(
    loaded: &LoadedHub,
    name: &str,
    since_ms: Option<i64>,
    style: Style,
) -> Result<(), Failure> {
    let found = with_storage(loaded, async |storage| Ok(storage.suspend(name, since_ms).await?))?;
    if !found {
        return Err(anyhow::anyhow!("there is no gateway {name}: see kengele hub gateways").into());
    }
    let word = if since_ms.is_some() { "suspended" } else { "resumed" };
    if style.json {
        print::json(&json!({ "gateway": name, "state": word }));
    } else {
        print::line(&format!("{name} is {word}"));
    }
    Ok(())
}

/// Returns the word for how a gateway stands.
fn state(gateway: &GatewayRow) -> &'static str {
    match (gateway.suspended_ms, gateway.missing_ms, gateway.heard_ms) {
        (Some(_), _, _) => "suspended",
        (None, Some(_), _) => "missing",
        (None, None, None) => "never heard",
        (None, None, Some(_)) => "heard",
    }
}

fn gateway_json(gateway: &GatewayRow, counts: Counts) -> Value {
    let health: Option<Value> =
        gateway.health.as_deref().and_then(|text| serde_json::from_str(text).ok());
    json!({
        "number": gateway.number.0,
        "name": gateway.name,
        "state": state(gateway),
        "enrolled_unix_ms": gateway.enrolled_ms,
        "suspended_unix_ms": gateway.suspended_ms,
        "heard_unix_ms": gateway.heard_ms,
        "missing_unix_ms": gateway.missing_ms,
        "packets": gateway.packets,
        "blocks_waiting": counts.waiting,
        "blocks_unreadable": counts.unreadable,
        "blocks_misplaced": counts.misplaced,
        "health_unix_ms": gateway.health_ms,
        "health": health,
    })
}

async fn all_gateways(storage: &Storage) -> Result<Vec<Value>, Failure> {
    let counts = storage.unread().await?;
    let gateways = storage.gateways().await?;
    let of = |gateway: &GatewayRow| counts.get(&gateway.number.0).copied().unwrap_or_default();
    Ok(gateways.iter().map(|gateway| gateway_json(gateway, of(gateway))).collect())
}

/// What a table and a CSV of gateways show: heading, and where it stands in the JSON.
const GATEWAY_COLUMNS: [(&str, &str); 12] = [
    ("number", "/number"),
    ("name", "/name"),
    ("state", "/state"),
    ("heard", "/heard_unix_ms"),
    ("version", "/health/version"),
    ("clock", "/health/clock"),
    ("nodes heard", "/health/nodes_heard"),
    ("declared", "/health/nodes_declared"),
    ("warnings", "/health/open_warnings"),
    ("backlog", "/health/backlog_blocks"),
    ("waiting", "/blocks_waiting"),
    ("faults", "/health/faults"),
];

/// What a table and a CSV of warnings show.
const WARNING_COLUMNS: [(&str, &str); 10] = [
    ("gateway", "/gateway"),
    ("warning", "/warning"),
    ("level", "/level"),
    ("highest", "/level_max"),
    ("hazard", "/hazard"),
    ("area", "/area"),
    ("raised", "/raised_unix_ms"),
    ("told last", "/told_unix_ms"),
    ("ended", "/ended_unix_ms"),
    ("ending", "/ending"),
];

/// Prints rows in the way that is asked for.
fn show(columns: &[(&str, &str)], rows: &[Value], csv: bool, style: Style) -> Result<(), Failure> {
    if style.json {
        print::json(&Value::Array(rows.to_vec()));
        return Ok(());
    }
    let cell = |row: &Value, place: &str| match row.pointer(place) {
        Some(Value::Number(ms)) if place.ends_with("unix_ms") => {
            let ms = ms.as_i64().unwrap_or(0);
            if csv { machine_time(ms) } else { print::clock(ms) }
        }
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(words)) => {
            words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" ")
        }
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let headings: Vec<&str> = columns.iter().map(|(heading, _)| *heading).collect();
    let rows = rows.iter().map(|row| columns.iter().map(|(_, place)| cell(row, place)).collect());
    let rows: Vec<Vec<String>> = rows.collect();
    if !csv {
        print::table(&headings, &rows);
        return Ok(());
    }
    let mut writer = csv::Writer::from_writer(print::Output);
    writer.write_record(headings.iter().map(|heading| heading.replace(' ', "_")))?;
    for row in &rows {
        writer.write_record(row)?;
    }
    Ok(writer.flush()?)
}

fn machine_time(unix_ms: i64) -> String {
    jiff::Timestamp::from_millisecond(unix_ms).map(|at| at.to_string()).unwrap_or_default()
}

fn gateways(loaded: &LoadedHub, csv: bool, style: Style) -> Result<(), Failure> {
    let rows = with_storage(loaded, async |storage| all_gateways(storage).await)?;
    show(&GATEWAY_COLUMNS, &rows, csv, style)
}

fn warning_json(warning: &WarningRow) -> Value {
    let (ended_ms, ending) = match &warning.ended {
        Some((at_ms, ending)) => (*at_ms, Some(ending.as_str())),
        // An all-clear is an end, too.
        None if warning.message_type == "Cancel" => (warning.told_unix_ms, Some("cleared")),
        None => (None, None),
    };
    let outcome = warning.outcome.map(|outcome| {
        json!({
            "recipients": outcome.recipients, "delivered": outcome.delivered, "accepted": outcome.accepted,
            "failed": outcome.failed, "expired": outcome.expired, "waiting": outcome.waiting,
            "acknowledged": outcome.acknowledged,
        })
    });
    json!({
        "gateway": warning.gateway,
        "warning": warning.warning,
        "level": warning.level,
        "level_max": warning.level_max,
        "hazard": warning.hazard,
        "area": warning.area,
        "message_type": warning.message_type,
        "alerts": warning.alerts,
        "raised_unix_ms": warning.raised_unix_ms,
        "told_unix_ms": warning.told_unix_ms,
        "expires_unix_ms": warning.expires_unix_ms,
        "received_unix_ms": warning.received_ms,
        "ended_unix_ms": ended_ms,
        "ending": ending,
        "outcome": outcome,
    })
}

fn warnings(
    loaded: &LoadedHub,
    gateway: Option<&str>,
    csv: bool,
    style: Style,
) -> Result<(), Failure> {
    let rows = with_storage(loaded, async |storage| {
        Ok(storage.warnings(gateway).await?.iter().map(warning_json).collect::<Vec<_>>())
    })?;
    show(&WARNING_COLUMNS, &rows, csv, style)
}

fn notice_json(notice: &Notice) -> Value {
    json!({
        "gateway": notice.name,
        "kind": notice.kind.as_str(),
        "at_unix_ms": notice.at_ms,
        "told_unix_ms": notice.told_ms,
    })
}

fn status(loaded: &LoadedHub, style: Style) -> Result<(), Failure> {
    let now_ms = now_ms();
    let (gateways, tokens, notices) = with_storage(loaded, async |storage| {
        let tokens = storage.tokens(now_ms).await?;
        Ok((all_gateways(storage).await?, tokens, storage.notices().await?))
    })?;
    if style.json {
        let tokens = tokens
            .iter()
            .map(|token| json!({ "name": token.name, "expires_unix_ms": token.expires_ms }));
        print::json(&json!({
            "gateways": gateways,
            "tokens": tokens.collect::<Vec<_>>(),
            "notices": notices.iter().map(notice_json).collect::<Vec<_>>(),
        }));
        return Ok(());
    }
    let count = |word: &str| gateways.iter().filter(|gateway| gateway["state"] == word).count();
    let sum = |place: &str| {
        gateways.iter().filter_map(|gateway| gateway.pointer(place)?.as_i64()).sum::<i64>()
    };
    print::line(&format!(
        "{}: {} heard, {} missing, {} suspended, {} never heard; {} not used",
        print::count(gateways.len(), "gateway"),
        count("heard"),
        style.paint(if count("missing") > 0 { "31" } else { "32" }, &count("missing").to_string()),
        count("suspended"),
        count("never heard"),
        print::count(tokens.len(), "token"),
    ));
    print::line(&format!(
        "{} open; {} at the gateways; {} here for others before them, {} cannot be read",
        print::count(sum("/health/open_warnings"), "warning"),
        print::count(sum("/health/backlog_blocks"), "block"),
        sum("/blocks_waiting"),
        sum("/blocks_unreadable") + sum("/blocks_misplaced"),
    ));
    for notice in notices.iter().take(10) {
        let told = if notice.told_ms.is_some() { "told" } else { "not told yet" };
        let words = notice.kind.as_str().replace('_', " ");
        print::line(&format!("{} {} {words} ({told})", print::clock(notice.at_ms), notice.name));
    }
    Ok(())
}

fn reading_json(reading: &MeasuredRow) -> Value {
    json!({
        "unix_ms": reading.unix_ms,
        "gateway": reading.gateway,
        "node": reading.node,
        "quantity": reading.quantity.name(),
        "value": reading.value,
        "unit": reading.quantity.symbol(),
        "quality": reading.quality.as_str(),
        "clock": reading.clock.as_str(),
        "sequence": reading.sequence,
    })
}

fn reading_fields(reading: &MeasuredRow) -> [String; 9] {
    let value = if reading.value.is_nan() { String::new() } else { reading.value.to_string() };
    [
        machine_time(reading.unix_ms),
        reading.gateway.clone(),
        reading.node.clone(),
        reading.quantity.name().to_owned(),
        value,
        reading.quantity.symbol().to_owned(),
        reading.quality.as_str().to_owned(),
        reading.clock.as_str().to_owned(),
        reading.sequence.to_string(),
    ]
}

/// Prints readings as CSV; as JSON a line each, since they may be many.
fn readings(
    loaded: &LoadedHub,
    wanted: &MeasuredWanted,
    last: Option<u32>,
    style: Style,
) -> Result<(), Failure> {
    let mut writer = csv::Writer::from_writer(print::Output);
    if !style.json {
        writer.write_record([
            "time", "gateway", "node", "quantity", "value", "unit", "quality", "clock", "sequence",
        ])?;
    }
    let mut tell = |readings: &[MeasuredRow]| -> Result<(), Failure> {
        for reading in readings {
            if style.json {
                print::line(&reading_json(reading).to_string());
            } else {
                writer.write_record(reading_fields(reading))?;
            }
        }
        Ok(())
    };
    with_storage(loaded, async |storage| {
        if let Some(last) = last {
            return tell(&storage.measured_last(wanted, last).await?);
        }
        let mut page = storage.measured(wanted, None).await?;
        while let Some(end) = page.last().cloned() {
            tell(&page)?;
            page = storage.measured(wanted, Some(&end)).await?;
        }
        Ok(())
    })?;
    Ok(writer.flush()?)
}
