//! `run` and `check`.

use super::print::{self, Style};
use super::{Failure, block_on};
use kengele::app::{Gateway, Options, convert};
use kengele::config::{self, Loaded};
use kengele::domain::recipient::Role;
use kengele::domain::warning::Level;
use std::collections::BTreeMap;
use std::fmt;
use std::io::IsTerminal;
use std::path::Path;
use std::time::Duration;
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

pub(super) fn log_to_stderr() {
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
    people.check(&loaded)?;
    let unread = unread_secrets(&loaded);
    let tellings = tellings(&loaded, &people);
    if style.json {
        let texts = loaded.texts.iter().map(|text| {
            serde_json::json!({
                "rule": text.rule, "level": text.level.map_or("all-clear", |level| level.as_str()),
                "language": text.language, "segments": text.count.segments, "unicode": text.count.unicode,
            })
        });
        let tellings = tellings.iter().map(|telling| {
            serde_json::json!({
                "rule": telling.rule, "level": telling.level.as_str(), "people": telling.people,
                "people_assumed": telling.is_assumed, "segments": telling.segments, "seconds": telling.time.as_secs(),
            })
        });
        print::json(&serde_json::json!({
            "warnings": loaded.warnings,
            "nodes": loaded.config.rules.nodes.len(),
            "rules": loaded.config.rules.rules.len(),
            "version": loaded.config.rules.version,
            "unread_secrets": unread,
            "texts": texts.collect::<Vec<_>>(),
            "telling": tellings.collect::<Vec<_>>(),
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
    print::line("\nTo tell everybody, once:");
    for telling in &tellings {
        print::line(&telling.to_string());
    }
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
    /// The roles that the operator named.
    said: Vec<Role>,
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
        let said_roles = counts.keys().cloned().collect();
        let assumed = Self { counts, said: said_roles, otherwise: ASSUMED_PEOPLE };
        if !said.is_empty() {
            return Ok(assumed);
        }
        let Ok(known) = super::people::everybody(config) else { return Ok(assumed) };
        let mut counts = BTreeMap::new();
        for person in known.into_iter().filter(|person| person.consent) {
            *counts.entry(Role(person.role)).or_default() += 1;
        }
        Ok(if counts.is_empty() {
            assumed
        } else {
            Self { counts, said: Vec::new(), otherwise: 0 }
        })
    }

    /// Refuses a role that the configuration does not have: its people would be reckoned with nowhere.
    fn check(&self, loaded: &Loaded) -> Result<(), Failure> {
        let roles: Vec<&str> =
            loaded.config.roles.iter().map(|role| role.role.0.as_str()).collect();
        match self.said.iter().find(|role| !roles.contains(&role.0.as_str())) {
            Some(Role(role)) => Err(Failure::Usage(format!(
                "--people {role}: there is no such role in the configuration; there are: {}",
                roles.join(", ")
            ))),
            None => Ok(()),
        }
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

/// How long it takes to tell everybody of a rule's level.
struct Telling<'a> {
    rule: &'a str,
    level: Level,
    people: u32,
    /// Whether the people of a role were not counted.
    is_assumed: bool,
    segments: u32,
    time: Duration,
}

impl fmt::Display for Telling<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let people = if self.people == 1 {
            "1 person".to_owned()
        } else {
            format!("{} people", self.people)
        };
        let segments = print::count(self.segments, "segment");
        let (rule, level, time) =
            (self.rule, self.level.as_str(), print::span(self.time.as_secs()));
        write!(f, "  {rule} {level}: {people}, {segments} each, {time}")?;
        if self.is_assumed {
            write!(f, " ({ASSUMED_PEOPLE} a role assumed: say --people ROLE=COUNT)")?;
        }
        Ok(())
    }
}

fn tellings<'a>(loaded: &'a Loaded, people: &People) -> Vec<Telling<'a>> {
    let levels = loaded
        .config
        .rules
        .rules
        .iter()
        .flat_map(|rule| rule.levels.iter().map(move |l| (rule, l)));
    let telling = levels.map(|(rule, level)| {
        let worst =
            loaded.texts.iter().filter(|t| t.rule == rule.name && t.level == Some(level.level));
        let segments = worst.map(|t| t.count.segments).max().unwrap_or(1);
        let mut whom = people.counts.clone();
        for role in &level.audience {
            whom.entry(role.clone()).or_insert(people.otherwise);
        }
        let is_unknown = level.audience.iter().any(|role| !people.counts.contains_key(role));
        Telling {
            rule: &rule.name,
            level: level.level,
            people: level.audience.iter().filter_map(|role| whom.get(role)).sum(),
            is_assumed: is_unknown && people.otherwise > 0,
            segments,
            time: config::telling_time(&loaded.config, &level.audience, &whom, segments),
        }
    });
    telling.collect()
}
