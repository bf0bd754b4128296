//! The local socket on which a running daemon is asked: one JSON object a line in, one a line out. Whoever may open the
//! socket may ask: its file permissions are the rights.

pub use super::nodes::NodeCommand;
use super::{Hands, answer, convert};
use crate::archive;
use crate::channel::modem;
use crate::config::Diagnostic;
use crate::dispatch::{Standing, Word};
use crate::domain::message::Priority;
use crate::domain::plan::Planned;
use crate::domain::quantity::Quantity;
use crate::domain::recipient::{PhoneNumber, RecipientId, Role};
use crate::domain::siren;
use crate::domain::warning::MessageType;
use crate::pipeline::{Command, Status};
use crate::store::{NewDelivery, NewRecipient, Store, Turn};
use crate::supervise::Stop;
use crate::wire::segment;
use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use thiserror::Error;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Longest question, bytes.
const QUESTION_BYTES_MAX: u64 = 4 << 20;
/// Connections at a time.
const CONNECTIONS_MAX: usize = 16;
/// How long a question may take.
const PATIENCE: Duration = Duration::from_mins(3);
/// How long a copy of the database may take: a stick may be slow.
const PATIENCE_WITH_COPIES: Duration = Duration::from_hours(2);
/// A test text is worth nothing after this.
const TEST_VALID: Duration = Duration::from_mins(15);

/// A question to a running daemon.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "ask", rename_all = "snake_case", deny_unknown_fields)]
pub enum Question {
    /// How do things stand?
    Status,
    /// Which warnings are on record?
    Warnings,
    /// Why was that warning given?
    Why {
        /// Its number.
        warning: i64,
    },
    /// Which readings are stored?
    Readings {
        /// Of this node only.
        node: Option<String>,
        /// Of this quantity only.
        quantity: Option<String>,
        /// Not before, Unix ms.
        from_ms: Option<i64>,
        /// Before, Unix ms.
        until_ms: Option<i64>,
        /// The newest so many.
        last: Option<u32>,
        /// After the reading of this number: where the page before ended.
        after: i64,
    },
    /// What did the days of these come to?
    Days {
        /// From this day on, counted from 1970-01-01 UTC.
        from: i64,
        /// Before this day.
        until: i64,
    },
    /// Put the rules as they stand in the files in force.
    Reload,
    /// Who is to be told?
    People,
    /// Add or change these.
    PutPeople {
        /// Whom.
        people: Vec<PersonRow>,
    },
    /// Remove that one.
    RemovePerson {
        /// By number here, or by telephone number.
        who: String,
    },
    /// Send a text as a test.
    SendTest {
        /// To this number.
        to: String,
        /// What is said.
        text: String,
        /// By this channel; by the technician's channels when none is named.
        channel: Option<String>,
    },
    /// How much credit does each SIM have?
    Balance,
    /// How are the sirens?
    Sirens,
    /// Do something with a siren.
    Siren {
        /// Its name.
        name: String,
        /// `sound`, `silence` or `test`.
        command: SirenCommand,
    },
    /// How are the nodes of our own radio link?
    Nodes,
    /// How was a radio node heard of late?
    Hearings {
        /// Its name.
        node: String,
        /// Behind the hearing of that number.
        behind: u64,
    },
    /// Do something with a node of our own radio link.
    Node {
        /// Its name.
        name: String,
        /// What.
        command: NodeCommand,
    },
    /// Copy the database.
    Backup {
        /// Into this file, named by its whole path.
        file: PathBuf,
        /// Also in the place of an older copy.
        force: bool,
    },
    /// What became of the deliveries?
    Deliveries {
        /// Of this warning only.
        warning: Option<i64>,
    },
}

/// What may be done with a siren.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SirenCommand {
    /// Let it sound.
    Sound,
    /// Let it be silent until the next alert.
    Silence,
    /// Let it sound for a moment.
    Test,
}

/// A recipient as a row of a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PersonRow {
    /// Their number here.
    #[serde(default)]
    pub id: i64,
    /// What they are called.
    pub name: String,
    /// Telephone number.
    pub number: String,
    /// What they do.
    pub role: String,
    /// Language.
    pub language: String,
    /// Areas, separated by spaces.
    pub areas: String,
    /// Whether they have agreed.
    pub consent: bool,
}

impl PersonRow {
    /// Returns what is put into the database.
    ///
    /// # Errors
    ///
    /// Says what is wrong with the row.
    pub fn checked(&self) -> anyhow::Result<NewRecipient> {
        if self.name.trim().is_empty() {
            bail!("the name is empty");
        }
        if self.role.is_empty()
            || !self.role.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'-')
        {
            bail!("the role {:?} is not a lower-case word", self.role);
        }
        if self.language.is_empty() {
            bail!("the language is empty: give a tag such as sw or en");
        }
        Ok(NewRecipient {
            name: self.name.trim().to_owned(),
            number: PhoneNumber::parse(&self.number)?,
            role: Role(self.role.clone()),
            language: self.language.clone(),
            areas: self.areas.split_whitespace().map(str::to_owned).collect(),
            consent: self.consent,
        })
    }
}

/// Why the socket cannot be had.
#[derive(Debug, Error)]
pub enum Error {
    /// Another daemon answers on it.
    #[error("another gateway runs already: it answers on {}", path.display())]
    Taken {
        /// Which socket.
        path: PathBuf,
    },
    /// It cannot be made.
    #[error("cannot make the socket {}", path.display())]
    Bind {
        /// Which socket.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
}

/// The socket, bound.
pub struct Control {
    listener: UnixListener,
    path: PathBuf,
    hands: Hands,
}

impl Control {
    /// Binds the socket, readable and writable for the owner and the group.
    ///
    /// # Errors
    ///
    /// [`Error::Taken`] and [`Error::Bind`].
    pub fn bind(path: &Path, hands: Hands) -> Result<Self, Error> {
        let failed = |source| Error::Bind { path: path.to_path_buf(), source };
        if std::os::unix::net::UnixStream::connect(path).is_ok() {
            return Err(Error::Taken { path: path.to_path_buf() });
        }
        if path.exists() {
            // What a daemon left that was killed.
            fs::remove_file(path).map_err(failed)?;
        }
        if let Some(folder) = path.parent().filter(|folder| !folder.exists()) {
            fs::DirBuilder::new().recursive(true).mode(0o750).create(folder).map_err(failed)?;
        }
        let listener = UnixListener::bind(path).map_err(failed)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o660)).map_err(failed)?;
        Ok(Self { listener, path: path.to_path_buf(), hands })
    }

    /// Answers until it is told to stop.
    ///
    /// # Errors
    ///
    /// None while it runs.
    pub async fn run(self, mut stop: Stop) -> Result<(), Infallible> {
        let mut asked = JoinSet::new();
        loop {
            tokio::select! {
                () = stop.wait() => break,
                Some(_) = asked.join_next() => {}
                accepted = self.listener.accept(), if asked.len() < CONNECTIONS_MAX => if let Ok((stream, _)) = accepted {
                    let hands = self.hands.clone();
                    asked.spawn(async move {
                        if let Err(error) = converse(stream, &hands).await {
                            tracing::debug!(error = %error, "a conversation on the socket ended early");
                        }
                    });
                }
            }
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(error = %error, "the socket was gone already");
        }
        Ok(())
    }
}

async fn converse(stream: UnixStream, hands: &Hands) -> anyhow::Result<()> {
    // Who asks, as the kernel knows it: user and process.
    let asker = stream.peer_cred().map_or_else(
        |_| "unknown".to_owned(),
        |peer| format!("uid {} pid {}", peer.uid(), peer.pid().unwrap_or(0)),
    );
    let (read, mut write) = stream.into_split();
    let mut line = String::new();
    let mut reader = BufReader::new(read.take(QUESTION_BYTES_MAX));
    tokio::time::timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let question = serde_json::from_str::<Question>(&line);
    let is_copy = matches!(question, Ok(Question::Backup { .. }));
    let patience = if is_copy { PATIENCE_WITH_COPIES } else { PATIENCE };
    let answering = async {
        match question {
            Ok(Question::Siren { name, command }) => hands.siren(name, command, &asker).await,
            Ok(Question::Node { name, command }) => hands.node(name, command, &asker).await,
            Ok(question) => hands.answer(question).await,
            Err(error) => Err(anyhow::anyhow!("not a question: {error}")),
        }
    };
    let answer = match tokio::time::timeout(patience, answering).await? {
        Ok(value) => json!({ "ok": value }),
        Err(error) => json!({ "error": format!("{error:#}") }),
    };
    let telling = async {
        write.write_all(answer.to_string().as_bytes()).await?;
        write.write_all(b"\n").await?;
        write.shutdown().await
    };
    tokio::time::timeout(PATIENCE, telling).await??;
    Ok(())
}

/// Asks a running daemon.
///
/// # Errors
///
/// When none answers, or it says no.
pub async fn ask(socket: &Path, question: &Question) -> anyhow::Result<Value> {
    let mut stream = UnixStream::connect(socket)
        .await
        .with_context(|| format!("no gateway answers on {}: is it running?", socket.display()))?;
    stream.write_all(serde_json::to_string(question)?.as_bytes()).await?;
    stream.write_all(b"\n").await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let mut answer: Value =
        serde_json::from_str(&answer).context("the gateway's answer is cut off")?;
    if let Some(error) = answer.get("error").and_then(Value::as_str) {
        bail!("{error}");
    }
    Ok(answer.get_mut("ok").map(Value::take).unwrap_or_default())
}

impl Hands {
    /// Answers a question.
    ///
    /// # Errors
    ///
    /// Why it cannot be answered, in words.
    pub async fn answer(&self, question: Question) -> anyhow::Result<Value> {
        match question {
            Question::Status => self.status().await,
            Question::Reload => {
                let (version, later) = self.reload().await?;
                Ok(json!({ "version": version, "at_next_start": later }))
            }
            Question::PutPeople { people } => {
                let added = put_people(&self.store, &people).await?;
                self.people_changed().await?;
                Ok(added)
            }
            Question::RemovePerson { who } => {
                let removed = remove_person(&self.store, &who).await?;
                if let Some(id) = removed {
                    self.words.send(Word::OptOut(id)).await.context("the outbox has ended")?;
                }
                self.people_changed().await?;
                Ok(json!({ "removed": removed.is_some() }))
            }
            Question::SendTest { to, text, channel } => self.send_test(&to, text, channel).await,
            Question::Balance => self.balance().await,
            Question::Sirens => Ok(self
                .standing()
                .await?
                .sirens
                .iter()
                .map(answer::siren)
                .collect::<Vec<_>>()
                .into()),
            Question::Siren { name, command } => self.siren(name, command, "this process").await,
            Question::Nodes => self.nodes().await,
            Question::Hearings { node, behind } => self.hearings(node, behind).await,
            Question::Node { name, command } => self.node(name, command, "this process").await,
            Question::Backup { file, force } => self.backup(&file, force).await,
            Question::Warnings
            | Question::Why { .. }
            | Question::Readings { .. }
            | Question::Days { .. }
            | Question::People
            | Question::Deliveries { .. } => answer_from_store(&self.store, question).await,
        }
    }

    /// Asks the pipeline how things stand.
    async fn standing(&self) -> anyhow::Result<Status> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(Command::Status(reply)).await.context("the pipeline has ended")?;
        answer.await.context("the pipeline has ended")
    }

    /// Does something with a siren. Silence is less sensitive than what was: who wants it stands in the log.
    async fn siren(
        &self,
        name: String,
        command: SirenCommand,
        asker: &str,
    ) -> anyhow::Result<Value> {
        let wanted = match command {
            SirenCommand::Sound => siren::Command::Sound,
            SirenCommand::Silence => siren::Command::Silence,
            SirenCommand::Test => siren::Command::Test,
        };
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Siren(name.clone(), wanted, reply))
            .await
            .context("the pipeline has ended")?;
        answer.await.context("the pipeline has ended")?.map_err(anyhow::Error::msg)?;
        match wanted {
            siren::Command::Silence => {
                tracing::warn!(siren = name, asker, "a siren is silenced by an operator");
            }
            siren::Command::Sound | siren::Command::Test => {
                tracing::info!(siren = name, asker, command = ?command, "an operator orders a siren");
            }
        }
        let sirens = self.standing().await?.sirens;
        let siren = sirens.iter().find(|siren| siren.name == name);
        Ok(siren.map(answer::siren).unwrap_or_default())
    }

    async fn status(&self) -> anyhow::Result<Value> {
        let status = self.standing().await?;
        let (reply, answer) = oneshot::channel();
        self.words.send(Word::Status(reply)).await.context("the outbox has ended")?;
        let outbox = answer.await.context("the outbox has ended")?;
        Ok(self.status_json(&status, &outbox))
    }

    fn status_json(&self, status: &Status, outbox: &Standing) -> Value {
        let config = Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner));
        let counters = &self.telemetry.counters;
        let clock = &self.telemetry.clock;
        let wall = clock.wall();
        let disk = self.disk.answer(status, &self.inspection, counters.readings.get());
        json!({
            "rule_book": status.rule_book,
            "clock": { "unix_ms": wall.unix_ms(clock.now()), "quality": wall.quality.as_str() },
            "disk": disk,
            "uplink": self.uplink.as_ref().map(|uplink| answer::uplink(uplink, clock.now())),
            "archive": self.archive.standing().map(|standing| answer::archive(&standing)),
            "nodes": status.nodes.iter().map(|(name, place, heard, silent)| json!({
                "node": name, "place": place, "heard_s_ago": heard.map(|ago| ago.as_secs()), "silent": silent,
            })).collect::<Vec<_>>(),
            "warnings": status.warnings.iter().map(|(id, hazard, area, level, left)| json!({
                "warning": id.0, "hazard": hazard, "area": area, "level": level.as_str(), "valid_s": left.as_secs(),
            })).collect::<Vec<_>>(),
            "heard_but_not_declared": status.heard.iter().map(|heard| json!({
                "node": heard.node, "topic": heard.topic, "count": heard.count, "sample": heard.sample,
                "quantities": heard.quantities.iter().map(|quantity| quantity.name()).collect::<Vec<_>>(),
            })).collect::<Vec<_>>(),
            "outbox": answer::outbox(outbox, &config.sms),
            "modems": self.health.iter().map(|(name, health)| answer::modem(name, &health.borrow())).collect::<Vec<_>>(),
            "brokers": self.brokers.iter().map(answer::broker).collect::<Vec<_>>(),
            "listener": self.listener.as_ref().map(answer::listener),
            "radio": {
                "refused": status.radio_refused.iter().map(|(reason, count)| (*reason, *count)).collect::<BTreeMap<_, _>>(),
                "own": self.radio.as_deref().map(|radio| answer::radio(radio, clock.now())),
                "packet_forwarders": self.forwarders.as_deref().map(|f| answer::forwarders(f, clock.now())),
            },
            "undecoded": status.undecoded.iter().copied().collect::<BTreeMap<_, _>>(),
            "sirens": status.sirens.iter().map(answer::siren).collect::<Vec<_>>(),
            "counters": {
                "publications_dropped": counters.publications_dropped.get(), "shown_missed": counters.shown_missed.get(),
                "radio_refused": counters.radio_refused.get(), "downlinks_dropped": counters.downlinks_dropped.get(),
                "frames": counters.frames.get(), "readings": counters.readings.get(),
                "suspect": counters.suspect.get(), "repeated": counters.repeated.get(),
                "no_template": counters.no_template.get(), "undeclared_nodes": counters.undeclared_nodes.get(),
                "undeclared_quantities": counters.undeclared_quantities.get(), "undecoded": counters.undecoded.get(),
                "not_stored": counters.not_stored.get(), "turns": counters.turns.get(),
                "alerts": counters.alerts.get(), "deliveries": counters.deliveries.get(),
                "write_failures": counters.write_failures.get(),
                "readings_dropped": counters.readings_dropped.get(), "stray_receipts": counters.stray_receipts.get(),
            },
        })
    }

    /// Puts the rules as they stand in the files in force, all or nothing. Returns their version, and the tables of the
    /// files that have changed and hold only after the next start.
    ///
    /// # Errors
    ///
    /// Every fault of the files, or why the database could not record them.
    pub async fn reload(&self) -> anyhow::Result<(String, Vec<&'static str>)> {
        let loaded = convert::load(&self.config_path).map_err(|faults| {
            let list: Vec<String> = faults.iter().map(Diagnostic::to_string).collect();
            anyhow::anyhow!("{}", list.join("\n"))
        })?;
        let rules = convert::rules_with_keys(&loaded)?;
        let version = rules.book.version.clone();
        let (reply, answer) = oneshot::channel();
        self.commands
            .send(Command::Reload(Box::new(rules), reply))
            .await
            .context("the pipeline has ended")?;
        answer.await.context("the pipeline has ended")??;
        let later = convert::read_at_start(&self.started, &loaded.config);
        if !later.is_empty() {
            tracing::warn!(tables = later.join(", "), "changed, but read at the next start only");
        }
        *self.config.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(loaded.config);
        Ok((version, later))
    }

    async fn balance(&self) -> anyhow::Result<Value> {
        let mut answers = serde_json::Map::new();
        for (name, requests) in self.modems.iter() {
            let (reply, answer) = oneshot::channel();
            requests
                .send(modem::Request::Balance { reply })
                .await
                .context("the modem has ended")?;
            let words = match answer.await.context("the modem has ended")? {
                Ok(amount) => json!({ "balance": amount }),
                Err(refused) => json!({ "error": refused.to_string() }),
            };
            answers.insert(name.clone(), words);
        }
        for (name, provider) in self.providers.iter() {
            let words = match provider.balance().await {
                Ok(balance) => json!({ "balance": balance.said, "amount": balance.amount }),
                Err(error) => json!({ "error": crate::supervise::chain(&error) }),
            };
            answers.insert(name.clone(), words);
        }
        Ok(answers.into())
    }

    async fn people_changed(&self) -> anyhow::Result<()> {
        let people = self.store.recipients().await?;
        self.commands.send(Command::Recipients(people)).await.context("the pipeline has ended")
    }

    /// Plans a test text, which goes the way of every other.
    async fn send_test(
        &self,
        to: &str,
        text: String,
        channel: Option<String>,
    ) -> anyhow::Result<Value> {
        let number = PhoneNumber::parse(to)?;
        if text.trim().is_empty() {
            bail!("the text is empty: say what is to be sent, or leave it out for a text of ours");
        }
        let config = Arc::clone(&self.config.lock().unwrap_or_else(PoisonError::into_inner));
        let technician =
            config.role(&Role(Role::TECHNICIAN.to_owned())).map(|role| role.channels.clone());
        let all = || {
            let modems = config.modems.iter().map(|m| m.name.clone());
            modems.chain(config.providers.iter().map(|p| p.name.clone())).collect::<Vec<_>>()
        };
        let channels = match channel {
            Some(name) if all().contains(&name) => vec![vec![name]],
            Some(name) => bail!("there is no channel {name}; there are: {}", all().join(", ")),
            None => {
                technician.unwrap_or_else(|| all().into_iter().map(|name| vec![name]).collect())
            }
        };
        if channels.is_empty() {
            bail!("no channel is configured: add a [modem.NAME] or an [sms_provider.NAME]");
        }
        let now = self.telemetry.clock.now();
        let segments = segment::count(&text, &segment::Options::default()).segments;
        let most = usize::from(config.sms.segments_max);
        if segments > most {
            bail!("the text takes {segments} segments, and one may take {most}: shorten it");
        }
        let planned = Planned {
            alert: None,
            message_type: MessageType::Alert,
            recipient: RecipientId(0),
            number,
            text,
            priority: Priority::Warning,
            rank: 0,
            channels,
            expires: now + TEST_VALID,
        };
        let segments = u16::try_from(segments).unwrap_or(u16::MAX);
        let delivery = NewDelivery { planned, segments, test: true, told_from_memory: false };
        let before = self.store.last_delivery().await?;
        self.store.commit(Turn { at: now, deliveries: vec![delivery], ..Turn::default() }).await?;
        self.nudge.notify_one();
        Ok(json!({ "delivery": before + 1, "segments": segments }))
    }
}

/// Answers what the database alone can: for a daemon that runs, and for the command line when none does.
///
/// # Errors
///
/// Why it cannot be answered, in words.
pub async fn answer_from_store(store: &Store, question: Question) -> anyhow::Result<Value> {
    match question {
        Question::Warnings => {
            Ok(store.warnings(None).await?.iter().map(answer::warning).collect::<Vec<_>>().into())
        }
        Question::Why { warning } => {
            let found = store.warnings(Some(warning)).await?;
            let found = found.first().with_context(|| format!("there is no warning #{warning}"))?;
            let mut answer = answer::warning(found);
            let deliveries = store.deliveries(Some(warning)).await?;
            if let Some(fields) = answer.as_object_mut() {
                fields.insert(
                    "deliveries".to_owned(),
                    deliveries.iter().map(answer::delivery).collect(),
                );
            }
            Ok(answer)
        }
        Question::Readings { node, quantity, from_ms, until_ms, last, after } => {
            let quantity = quantity
                .map(|name| {
                    Quantity::from_name(&name)
                        .with_context(|| format!("there is no quantity {name}"))
                })
                .transpose()?;
            let wanted = archive::Wanted { node, quantity, from_ms, until_ms, last, after };
            Ok(answer::readings(&archive::readings(store, &wanted).await?))
        }
        Question::Days { from, until } => {
            Ok(store.days(from, until).await?.iter().map(answer::day).collect::<Vec<_>>().into())
        }
        Question::People => {
            let people = store.recipients().await?;
            let rows = people.into_iter().map(|person| PersonRow {
                id: person.id.0,
                name: person.name,
                number: person.number.as_str().to_owned(),
                role: person.role.0,
                language: person.language,
                areas: person.areas.join(" "),
                consent: person.consent,
            });
            Ok(serde_json::to_value(rows.collect::<Vec<_>>())?)
        }
        Question::PutPeople { people } => put_people(store, &people).await,
        Question::RemovePerson { who } => {
            Ok(json!({ "removed": remove_person(store, &who).await?.is_some() }))
        }
        Question::Deliveries { warning } => Ok(store
            .deliveries(warning)
            .await?
            .iter()
            .map(answer::delivery)
            .collect::<Vec<_>>()
            .into()),
        Question::Status
        | Question::Reload
        | Question::SendTest { .. }
        | Question::Sirens
        | Question::Siren { .. }
        | Question::Nodes
        | Question::Hearings { .. }
        | Question::Node { .. }
        | Question::Backup { .. }
        | Question::Balance => {
            bail!("only a running gateway can do that: start it with kengele run")
        }
    }
}

async fn put_people(store: &Store, people: &[PersonRow]) -> anyhow::Result<Value> {
    let checked = people.iter().map(PersonRow::checked).collect::<anyhow::Result<Vec<_>>>()?;
    let added = store.put_recipients(checked).await?;
    Ok(json!({ "new": added.new, "changed": added.changed, "same": added.same }))
}

async fn remove_person(store: &Store, who: &str) -> anyhow::Result<Option<RecipientId>> {
    let people = store.recipients().await?;
    let number = PhoneNumber::parse(who).ok();
    let found =
        people.iter().find(|p| p.id.0.to_string() == who || number.as_ref() == Some(&p.number));
    match found {
        Some(person) if store.remove_recipient(person.id).await? => Ok(Some(person.id)),
        Some(_) | None => Ok(None),
    }
}
