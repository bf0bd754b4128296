//! A virtual SMS provider over HTTP, with faults.
//!
//! One server speaks the dialects of Africa's Talking, Vonage, SMS Gateway for Android and Kannel, told apart by path. It keeps
//! two truths: what it answered, and what its network really got. The second is the oracle of the tests.

mod dialect;
mod fault;
mod report;

pub use dialect::Dialect;
pub use fault::{Fault, Report, Taken};

use crate::wire::http1::{self, Request};
use dialect::{Asked, Word};
use rand_chacha::ChaCha8Rng;
use rand_core::{RngCore, SeedableRng};
use report::Due;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Largest request that the provider reads.
const REQUEST_BYTES_MAX: usize = 256 * 1024;

/// Most connections served at once; more are refused.
const CONNECTIONS_MAX: usize = 256;

/// Most reports waiting to be sent; more are lost, as they are at real providers.
const REPORTS_MAX: usize = 1024;

/// A text as a handset gets it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The handset's number, E.164 with the leading `+`.
    pub to: String,
    /// Sender as shown.
    pub from: String,
    /// The whole text.
    pub text: String,
}

/// Takes what arrives: the network that this provider shares with others.
pub type Deliver = Arc<dyn Fn(Arrival) + Send + Sync>;

/// A text that the provider took, whatever it answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenText {
    /// The provider's id.
    pub reference: String,
    /// The sender's own key, where the dialect carries one.
    pub key: Option<String>,
    /// What the network got.
    pub arrival: Arrival,
    /// The language in which it was asked.
    pub dialect: Dialect,
}

/// How the provider behaves.
#[derive(Clone)]
pub struct Plan {
    /// Port on the loopback interface; 0 is a free one.
    pub port: u16,
    /// Seed of the faults that come at random.
    pub seed: u64,
    /// One for each request in turn; then by [`Plan::rates`].
    pub script: Vec<Fault>,
    /// Faults at random, each with its share of the requests in thousandths.
    pub rates: Vec<(Fault, u32)>,
    /// What becomes of the delivery report of each message in turn; then [`Report::Once`].
    pub reports: Vec<Report>,
    /// From taking a message to its report.
    pub report_delay: Duration,
    /// Between two bytes of a slow answer.
    pub byte_interval: Duration,
    /// Password, key or secret of the only account, whose user name is `kengele`. `None` takes everybody.
    pub password: Option<String>,
    /// Signs the reports of the Android dialect.
    pub signing_key: Option<String>,
    /// Messages left on the account; `None` is no end of them.
    pub credit: Option<u64>,
    /// Numbers that the provider refuses.
    pub refused: BTreeSet<String>,
    /// Numbers whose telephone is off: taken, never arriving, reported as failed.
    pub unreachable: BTreeSet<String>,
    /// Takes what arrives, besides the provider's own record.
    pub deliver: Option<Deliver>,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            port: 0,
            seed: 0,
            script: Vec::new(),
            rates: Vec::new(),
            reports: Vec::new(),
            report_delay: Duration::from_millis(10),
            byte_interval: Duration::from_millis(20),
            password: None,
            signing_key: None,
            credit: None,
            refused: BTreeSet::new(),
            unreachable: BTreeSet::new(),
            deliver: None,
        }
    }
}

/// A running provider on the loopback interface. It ends when dropped.
pub struct VirtualProvider {
    shared: Arc<Shared>,
    port: u16,
    _tasks: JoinSet<()>,
}

struct Shared {
    plan: Plan,
    state: Mutex<State>,
    reports: mpsc::Sender<Due>,
}

struct State {
    rng: ChaCha8Rng,
    script: VecDeque<Fault>,
    reports: VecDeque<Report>,
    webhook: Option<String>,
    credit: Option<u64>,
    requests: u64,
    taken: Vec<TakenText>,
    by_key: BTreeMap<String, String>,
}

impl VirtualProvider {
    /// Starts a provider on the loopback interface.
    ///
    /// # Errors
    ///
    /// When the port cannot be bound.
    pub async fn start(plan: Plan) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", plan.port)).await?;
        let port = listener.local_addr()?.port();
        let (reports, due) = mpsc::channel(REPORTS_MAX);
        let state = State {
            rng: ChaCha8Rng::seed_from_u64(plan.seed),
            script: plan.script.iter().copied().collect(),
            reports: plan.reports.iter().copied().collect(),
            webhook: None,
            credit: plan.credit,
            requests: 0,
            taken: Vec::new(),
            by_key: BTreeMap::new(),
        };
        let shared = Arc::new(Shared { plan, state: Mutex::new(state), reports });
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, Arc::clone(&shared)));
        tasks.spawn(report::send_all(due));
        Ok(Self { shared, port, _tasks: tasks })
    }

    /// Returns the address to use instead of a real provider's.
    #[must_use]
    pub fn base(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Sets where reports go in the dialects that name no address in each request: Africa's Talking and Android.
    pub fn set_webhook(&self, url: impl Into<String>) {
        self.shared.state().webhook = Some(url.into());
    }

    /// Adds faults for the next requests.
    pub fn script(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.state().script.extend(faults);
    }

    /// Returns what the provider took, in order, whatever it answered.
    #[must_use]
    pub fn submissions(&self) -> Vec<TakenText> {
        self.shared.state().taken.clone()
    }

    /// Returns the texts that arrived at `number`.
    #[must_use]
    pub fn inbox(&self, number: &str) -> Vec<String> {
        let unreachable = self.shared.plan.unreachable.contains(number);
        let taken = self.submissions().into_iter().map(|taken| taken.arrival);
        taken.filter(|text| text.to == number && !unreachable).map(|text| text.text).collect()
    }

    /// Returns how many requests came, of any kind.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.shared.state().requests
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn next_fault(&self) -> Fault {
        let mut state = self.state();
        state.requests += 1;
        if let Some(fault) = state.script.pop_front() {
            return fault;
        }
        let mut draw = state.rng.next_u32() % 1000;
        for (fault, share) in &self.plan.rates {
            if draw < *share {
                return *fault;
            }
            draw -= share;
        }
        Fault::None
    }

    /// Judges what was asked, without taking anything.
    fn word(&self, asked: &Asked, fault: Fault) -> Word {
        let state = self.state();
        let known = asked.key.as_ref().and_then(|key| state.by_key.get(key));
        if let Some(reference) = known {
            return Word::Repeated(reference.clone());
        }
        if fault == Fault::NoCredit || state.credit == Some(0) {
            return Word::NoCredit;
        }
        let refused = matches!(fault, Fault::Refuse | Fault::RefuseButTake);
        if refused || self.plan.refused.contains(&asked.to) {
            return Word::Refused;
        }
        Word::Taken(format!("sim-{:06}", state.taken.len() + 1))
    }

    /// Takes one text: records it, brings it to the handset and puts its report on the way.
    fn take(&self, asked: &Asked, dialect: Dialect) -> String {
        let arrival =
            Arrival { to: asked.to.clone(), from: asked.from.clone(), text: asked.text.clone() };
        let (reference, report, webhook) = {
            let mut state = self.state();
            let reference = match (&asked.key, dialect) {
                (Some(key), Dialect::Android) => key.clone(),
                (Some(_) | None, _) => format!("sim-{:06}", state.taken.len() + 1),
            };
            if let Some(key) = &asked.key {
                state.by_key.insert(key.clone(), reference.clone());
            }
            state.credit = state.credit.map(|credit| credit.saturating_sub(1));
            let (key, arrival) = (asked.key.clone(), arrival.clone());
            state.taken.push(TakenText { reference: reference.clone(), key, arrival, dialect });
            (reference, state.reports.pop_front().unwrap_or(Report::Once), state.webhook.clone())
        };
        let arrives = !self.plan.unreachable.contains(&asked.to);
        if let Some(deliver) = self.plan.deliver.as_ref().filter(|_| arrives) {
            deliver(arrival);
        }
        let url = asked.callback.clone().or(webhook);
        let key = self.plan.signing_key.as_deref();
        let fate = (asked.to.as_str(), arrives);
        if let Some(request) = url.and_then(|url| dialect.report(&url, &reference, fate, key)) {
            for delay in report.delays(self.plan.report_delay) {
                if self.reports.try_send(Due { delay, request: request.clone() }).is_err() {
                    tracing::warn!("report of the virtual provider dropped");
                }
            }
        }
        reference
    }

    /// Returns status, content type and body of the answer to `request`.
    fn answer(&self, request: &Request, fault: Fault) -> Answer {
        let password = self.plan.password.as_deref();
        let Some(dialect) = Dialect::of(request) else { return Answer::text(404, "no such page") };
        if let Some(refusal) = password.and_then(|password| dialect.refusal(request, password)) {
            return refusal;
        }
        if let Some(question) = dialect.question(request) {
            let state = self.state();
            let taken = state.taken.iter().find(|taken| taken.reference == question);
            let arrives = taken.map(|taken| !self.plan.unreachable.contains(&taken.arrival.to));
            return dialect.state(question, arrives, state.credit);
        }
        let Some(asked) = dialect.read(request) else { return Answer::text(400, "bad request") };
        let words = asked.into_iter().map(|asked| {
            let word = self.word(&asked, fault);
            let word = match word {
                Word::Taken(_) if fault.takes() => Word::Taken(self.take(&asked, dialect)),
                Word::Refused if fault == Fault::RefuseButTake => {
                    self.take(&asked, dialect);
                    Word::Refused
                }
                said @ (Word::Taken(_) | Word::Repeated(_) | Word::Refused | Word::NoCredit) => {
                    said
                }
            };
            (asked, word)
        });
        dialect.answer(&words.collect::<Vec<_>>())
    }
}

/// An answer before it becomes bytes.
struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
}

impl Answer {
    fn text(status: u16, body: impl Into<String>) -> Self {
        let headers = vec![("Content-Type", "text/plain".to_owned())];
        Self { status, headers, body: body.into() }
    }

    fn json(status: u16, body: &serde_json::Value) -> Self {
        let headers = vec![("Content-Type", "application/json".to_owned())];
        Self { status, headers, body: body.to_string() }
    }

    fn html(status: u16) -> Self {
        let headers = vec![("Content-Type", "text/html".to_owned())];
        let body = "<!DOCTYPE html><html><body>Welcome to Hotspot. Please log in.</body></html>";
        Self { status, headers, body: body.to_owned() }
    }

    fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Returns the bytes, with a `Content-Length` that promises `missing` more than there are.
    fn bytes(&self, missing: usize) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {} Answer\r\n", self.status);
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let length = (self.body.len() + missing).to_string();
        head.extend(["Content-Length: ", &length, "\r\nConnection: close\r\n\r\n"]);
        [head.as_bytes(), self.body.as_bytes()].concat()
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            Some(_ended) = connections.join_next() => {}
            Ok((stream, _)) = listener.accept() => {
                if connections.len() < CONNECTIONS_MAX {
                    let shared = Arc::clone(&shared);
                    connections.spawn(async move {
                        // A peer that goes away is part of the play.
                        drop(serve_one(stream, &shared).await);
                    });
                }
            }
        }
    }
}

async fn serve_one(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.readable().await?;
    let fault = shared.next_fault();
    if fault == Fault::ResetBeforeReading {
        return stream.set_zero_linger();
    }
    let Some(request) = read_request(&mut stream).await? else { return Ok(()) };
    let honest = |taken: Taken| match taken {
        Taken::Yes => Some(shared.answer(&request, fault)),
        Taken::No => None,
    };
    let answer = match fault {
        Fault::None
        | Fault::NoCredit
        | Fault::Refuse
        | Fault::RefuseButTake
        | Fault::AcceptButLose => shared.answer(&request, fault),
        Fault::ResetBeforeReading => return Ok(()),
        Fault::Silence(taken) => {
            drop(honest(taken));
            return std::future::pending().await;
        }
        Fault::Reset(taken) => {
            drop(honest(taken));
            return stream.set_zero_linger();
        }
        Fault::Garbage(taken) => {
            drop(honest(taken));
            Answer::text(200, "{\"SMSMessageData\": {\"Recipi\u{fffd}")
        }
        Fault::Error(taken) => {
            drop(honest(taken));
            Answer::text(500, "Internal Server Error")
        }
        Fault::Unavailable => Answer::text(503, "Service Unavailable"),
        Fault::Throttled { retry_after_secs } => {
            Answer::text(429, "slow down").with("Retry-After", retry_after_secs.to_string())
        }
        Fault::LoginPage => Answer::html(200),
        Fault::Redirect => Answer::html(302).with("Location", "http://login.invalid/"),
        Fault::CutAnswer => {
            let answer = shared.answer(&request, fault);
            return stream.write_all(&answer.bytes(7)).await;
        }
        Fault::SlowAnswer => {
            let answer = shared.answer(&request, fault);
            return trickle(&mut stream, &answer.bytes(0), shared.plan.byte_interval).await;
        }
    };
    stream.write_all(&answer.bytes(0)).await?;
    stream.shutdown().await
}

async fn trickle(stream: &mut TcpStream, bytes: &[u8], interval: Duration) -> io::Result<()> {
    for byte in bytes {
        stream.write_all(&[*byte]).await?;
        tokio::time::sleep(interval).await;
    }
    stream.shutdown().await
}

async fn read_request(stream: &mut TcpStream) -> io::Result<Option<Request>> {
    let mut bytes = Vec::new();
    let mut part = [0; 8192];
    loop {
        let count = stream.read(&mut part).await?;
        bytes.extend_from_slice(part.get(..count).unwrap_or_default());
        match http1::read(&bytes, REQUEST_BYTES_MAX) {
            Ok(None) if count > 0 => {}
            Ok(request) => return Ok(request),
            Err(error) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}
