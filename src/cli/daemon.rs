//! `run` and `check`.

use super::print::{self, Style};
use super::{Failure, block_on};
use kengele::app::{Gateway, Options, convert};
use kengele::config::{self, Loaded};
use kengele::domain::recipient::Role;
use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::Path;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing_subscriber::EnvFilter;

/// How many people a role is taken to have, where nobody knows.
const ASSUMED_PEOPLE: u32 = 100;

/// Fastest clock of a simulation.
pub(super) const SPEED_MAX: f64 = 100_000.0;

/// Runs the gateway until SIGTERM or SIGINT; SIGHUP reloads the rules.
pub(crate) fn run(path: &Path, speed: f64) -> Result<(), Failure> {
    if !(1.0..=SPEED_MAX).contains(&speed) {
        return Err(Failure::Usage(format!("--speed {speed}: it lies between 1 and {SPEED_MAX}")));
    }
    log_to_stderr();
    if speed > 1.0 {
        tracing::warn!(speed, "the clock runs too fast for anything but a simulation");
    }
    let loaded = convert::load(path).map_err(Failure::Wrong)?;
    for warning in &loaded.warnings {
        tracing::warn!("{warning}");
    }
    let options = Options { speed, ..Options::default() };
    block_on(async move {
        let gateway = Gateway::start(&loaded, path, &options).await?;
        for address in &gateway.mqtt {
            tracing::info!(%address, "listening for MQTT");
        }
        tracing::info!(
            name = loaded.config.gateway.name,
            rules = loaded.config.rules.rules.len(),
            "running"
        );
        drop(loaded);
        let (reload, reloads) = mpsc::channel(1);
        let mut hang_up = signal(SignalKind::hangup())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let until = async move {
            loop {
                tokio::select! {
                    _ = terminate.recv() => return,
                    _ = interrupt.recv() => return,
                    // One that waits already will read the same files.
                    _ = hang_up.recv() => drop(reload.try_send(())),
                }
            }
        };
        gateway.run(until, reloads).await
    })??;
    Ok(())
}

fn log_to_stderr() {
    let filter = EnvFilter::builder()
        .with_env_var("KENGELE_LOG")
        .with_default_directive(tracing::level_filters::LevelFilter::INFO.into());
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter.from_env_lossy())
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        // A log that nobody reads any more must not end the task that writes to it.
        .log_internal_errors(false);
    // Set once; a second time is a test that runs several in one process.
    if log.try_init().is_err() {
        tracing::debug!("a log is set up already");
    }
}

/// Checks a configuration, and says what it would take to tell everybody.
pub(crate) fn check(path: &Path, people: &[String], style: Style) -> Result<(), Failure> {
    let people = People::of(path, people)?;
    let loaded = convert::load(path).map_err(Failure::Wrong)?;
    convert::rules(&loaded)?;
    let unread = unread_secrets(&loaded);
    if style.json {
        print::json(&serde_json::json!({
            "warnings": loaded.warnings,
            "nodes": loaded.config.rules.nodes.len(),
            "rules": loaded.config.rules.rules.len(),
            "version": loaded.config.rules.version,
            "unread_secrets": unread,
        }));
        return Ok(());
    }
    print::diagnostics(&loaded.warnings, style);
    for words in &unread {
        print::line(&format!("{} {words}", style.paint("33", "note:")));
    }
    print::line(&format!(
        "{}: {}, {}, version {}",
        path.display(),
        print::count(loaded.config.rules.nodes.len(), "node"),
        print::count(loaded.config.rules.rules.len(), "rule"),
        loaded.config.rules.version
    ));
    texts(&loaded, style);
    telling(&loaded, &people);
    Ok(())
}

/// Returns which secrets could not be read here and now. The gateway may run elsewhere, or as another user, so that it is no
/// fault; but it will not start without them.
fn unread_secrets(loaded: &Loaded) -> Vec<String> {
    let files = loaded.config.secret_files();
    let unread = files.filter_map(|(key, path)| {
        let error = std::fs::File::open(path).err()?;
        Some(format!("`{key}` cannot be read here: {}: {error}", path.display()))
    });
    unread.collect()
}

/// How many people each role has.
struct People {
    counts: BTreeMap<Role, u32>,
    /// How many a role has that is not counted.
    otherwise: u32,
}

impl People {
    /// Takes what the operator says; else those whom the gateway knows; else a round number.
    fn of(config: &Path, said: &[String]) -> Result<Self, Failure> {
        let mut counts = BTreeMap::new();
        for one in said {
            let pair = one
                .split_once('=')
                .and_then(|(role, count)| Some((role.to_owned(), count.parse().ok()?)));
            let (role, count) = pair.ok_or_else(|| {
                Failure::Usage(format!("--people {one}: write it as household=240"))
            })?;
            counts.insert(Role(role), count);
        }
        let assumed = Self { counts, otherwise: ASSUMED_PEOPLE };
        if !said.is_empty() {
            return Ok(assumed);
        }
        let Ok(known) = super::people::everybody(config) else { return Ok(assumed) };
        let mut counts = BTreeMap::new();
        for person in known.into_iter().filter(|person| person.consent) {
            *counts.entry(Role(person.role)).or_default() += 1;
        }
        Ok(if counts.is_empty() { assumed } else { Self { counts, otherwise: 0 } })
    }
}

fn texts(loaded: &Loaded, style: Style) {
    let rows: Vec<Vec<String>> = loaded
        .texts
        .iter()
        .map(|text| {
            vec![
                text.rule.clone(),
                text.level
                    .map_or_else(|| style.level("all-clear"), |level| style.level(level.as_str())),
                text.language.clone(),
                text.count.segments.to_string(),
                if text.count.unicode { "UCS-2" } else { "GSM-7" }.to_owned(),
            ]
        })
        .collect();
    if !rows.is_empty() {
        print::line("\nTexts in their worst case:");
        print::table(&["rule", "level", "language", "segments", "alphabet"], &rows);
    }
}

fn telling(loaded: &Loaded, people: &People) {
    print::line("\nTo tell everybody, once:");
    for rule in &loaded.config.rules.rules {
        for level in &rule.levels {
            let worst =
                loaded.texts.iter().filter(|t| t.rule == rule.name && t.level == Some(level.level));
            let segments = worst.map(|t| t.count.segments).max().unwrap_or(1);
            let mut whom = people.counts.clone();
            for role in &level.audience {
                whom.entry(role.clone()).or_insert(people.otherwise);
            }
            let count: u32 = level.audience.iter().filter_map(|role| whom.get(role)).sum();
            let assumed = level.audience.iter().any(|role| !people.counts.contains_key(role));
            let note = if assumed && people.otherwise > 0 {
                format!(" ({ASSUMED_PEOPLE} a role assumed: say --people ROLE=COUNT)")
            } else {
                String::new()
            };
            let time = config::telling_time(&loaded.config, &level.audience, &whom, segments);
            print::line(&format!(
                "  {} {}: {}, {} each, {}{note}",
                rule.name,
                level.level.as_str(),
                if count == 1 { "1 person".to_owned() } else { format!("{count} people") },
                print::count(segments, "segment"),
                print::span(time.as_secs())
            ));
        }
    }
}
