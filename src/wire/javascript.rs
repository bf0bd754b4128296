//! Codecs in JavaScript, as ChirpStack and The Things Stack share them: `decodeUplink(input)` from the device's maker or
//! from the public repository, unchanged. The older forms `Decoder(bytes, port)` and `Decode(fPort, bytes, variables)`
//! are taken, too.
//!
//! A script reaches nothing outside: no file, no socket, no other script. It finds what ChirpStack gives it as well: the
//! time of arrival as a `Date` in `recvTime` (if the calendar is set), `Buffer`, `atob` and `btoa`.
//! Each frame is read in a context of its own, as network servers do it: what a script leaves in its global variables
//! would else be read as the next node's values. Most of a frame's cost is that context, so it gets only what the
//! script names.
//! It may take so many steps, so much memory and so deep a stack; beyond that its frame is not read, and the next one finds
//! a fresh engine. Steps are counted, not timed, so that a frame is read on a fast machine if and only if it is on a
//! slow one; a second at the most bounds what a step can cost at its worst. (The engine's clock and dice are there; a codec
//! that asks them has itself to blame.)

use super::text::printable;
use rquickjs::context::{EvalOptions, intrinsic};
use rquickjs::function::Constructor;
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Function, Object, Runtime, Value};
use serde_json::value::RawValue;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;

/// Longest script, bytes: the longest of the public device repository has 100 kB.
pub const SCRIPT_BYTES_MAX: usize = 512 << 10;
/// Memory of one script, bytes.
const MEMORY_MAX: usize = 4 << 20;
/// Its stack, bytes.
const STACK_MAX: usize = 256 << 10;
/// How often the engine may ask whether to go on: about every 10,000 steps. Beyond that a script is taken to loop.
const ASKS_MAX: u32 = 300;
/// Beyond this a script is taken to loop, too: one step may fill all of its memory, or search it.
const TIME_MAX: Duration = Duration::from_secs(1);
/// Longest result, as JSON, bytes.
const RESULT_BYTES_MAX: usize = 64 << 10;
/// Longest message of a script that is passed on, letters.
const WORDS_MAX: usize = 200;
/// Warnings and errors of a script that are passed on.
const MESSAGES_MAX: usize = 8;

/// `Buffer`, for scripts that name it.
const BUFFER: &str = include_str!("javascript/buffer.js");
/// What a plain context does not have: a script in which one of these stands gets a whole one. (`Array` that follows a
/// width is a typed one.)
const WHOLE: [&str; 20] = [
    "8Array",
    "8Clamped",
    "16Array",
    "32Array",
    "64Array",
    "ArrayBuffer",
    "DataView",
    "Atomics",
    "Buffer",
    "Map",
    "Set",
    "Promise",
    "async",
    "Proxy",
    "WeakRef",
    "Finalization",
    "performance",
    "DOMException",
    "atob",
    "btoa",
];
/// All there is can be asked for by these without its name.
const ALL_OF_IT: [&str; 2] = ["globalThis", "fromAsync"];

/// A context for scripts that name nothing else; two fifths cheaper than a whole one.
type Plain = (
    intrinsic::Date,
    intrinsic::Eval,
    intrinsic::RegExpCompiler,
    intrinsic::RegExp,
    intrinsic::Json,
    // `import()` and `async` need it, and leave the engine broken without it.
    intrinsic::Promise,
);

/// Why a script does not read a frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It takes too many steps.
    #[error("the script does not come to an end")]
    Loops,
    /// It wants too much memory.
    #[error("the script wants more than {} MiB", MEMORY_MAX >> 20)]
    Memory,
    /// It calls too deeply.
    #[error("the script calls deeper than {} KiB of stack", STACK_MAX >> 10)]
    Stack,
    /// It throws.
    #[error("the script throws: {0}")]
    Throws(String),
    /// It says that it cannot read the frame.
    #[error("the script says: {0}")]
    Says(String),
    /// What it returns is too long.
    #[error("the script returns more than {} KiB", RESULT_BYTES_MAX >> 10)]
    TooLarge,
    /// What it returns is no result.
    #[error("the script returns {0}")]
    Nonsense(&'static str),
    /// It has no function that reads frames.
    #[error("the script has no function decodeUplink, Decoder or Decode")]
    NoFunction,
    /// The engine does not begin.
    #[error("the engine for scripts does not begin")]
    Engine,
}

impl Fault {
    /// Returns the kind of fault in constant words, to count by.
    #[must_use]
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Loops => "script does not end",
            Self::Memory => "script wants too much memory",
            Self::Stack => "script calls too deeply",
            Self::Throws(_) => "script throws",
            Self::Says(_) => "script says that it cannot",
            Self::TooLarge => "script returns too much",
            Self::Nonsense(_) => "script returns no result",
            Self::NoFunction => "script has no function",
            Self::Engine => "no engine for scripts",
        }
    }
}

/// What a script read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The values, as a JSON object.
    pub data: String,
    /// What the script warns of.
    pub warnings: Vec<String>,
}

/// A script, with its engine once that was needed. Clones share it.
#[derive(Clone)]
pub struct Script(Arc<Inner>);

struct Inner {
    name: String,
    source: String,
    wants_whole: bool,
    wants_buffer: bool,
    engine: Mutex<Option<Engine>>,
}

/// An engine for one script.
struct Engine {
    runtime: Runtime,
    patience: Arc<Patience>,
}

/// How long a script is listened to.
struct Patience {
    asks: AtomicU32,
    since: Mutex<Instant>,
}

impl Patience {
    fn new() -> Self {
        Self { asks: AtomicU32::new(0), since: Mutex::new(now()) }
    }

    fn begin(&self) {
        self.asks.store(0, Ordering::Relaxed);
        *self.since.lock().unwrap_or_else(PoisonError::into_inner) = now();
    }

    /// Answers the engine, which asks whether to stop.
    fn ends(&self) -> bool {
        let asks = self.asks.fetch_add(1, Ordering::Relaxed);
        let since = *self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if now().duration_since(since) > TIME_MAX {
            self.asks.fetch_max(ASKS_MAX + 1, Ordering::Relaxed);
        }
        asks >= ASKS_MAX || self.has_ended()
    }

    fn has_ended(&self) -> bool {
        self.asks.load(Ordering::Relaxed) > ASKS_MAX
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "a bound that no honest script comes near decides nothing else"
)]
fn now() -> Instant {
    Instant::now()
}

/// Two scripts are the same if they read the same.
impl PartialEq for Script {
    fn eq(&self, other: &Self) -> bool {
        self.0.name == other.0.name && self.0.source == other.0.source
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Script({}, {} bytes)", self.0.name, self.0.source.len())
    }
}

/// The shape of a result of `decodeUplink`.
#[derive(serde::Deserialize)]
struct Result_ {
    data: Option<Box<RawValue>>,
    #[serde(default)]
    warnings: Option<Vec<serde_json::Value>>,
    #[serde(default)]
    errors: Option<Vec<serde_json::Value>>,
}

impl Script {
    /// Takes a script; nothing of it is run yet. The name stands in its messages.
    #[must_use]
    pub fn new(name: &str, source: &str) -> Self {
        let names = |word: &&str| source.contains(*word);
        Self(Arc::new(Inner {
            name: printable(name, WORDS_MAX),
            source: source.to_owned(),
            wants_whole: WHOLE.iter().chain(&ALL_OF_IT).any(names),
            wants_buffer: source.contains("Buffer"),
            engine: Mutex::new(None),
        }))
    }

    /// Reads the script itself, and says whether it has a function that reads frames.
    ///
    /// # Errors
    ///
    /// Why it is no codec, with the line where that is known.
    pub fn check(&self) -> Result<(), Fault> {
        Engine::begin()?.with(&self.0, |_, ctx| function(ctx).map(drop))
    }

    /// Reads a frame that came at a Unix time in milliseconds, if that is known.
    ///
    /// # Errors
    ///
    /// Why not; it costs this frame, no more.
    pub fn decode(
        &self,
        bytes: &[u8],
        port: Option<u8>,
        unix_ms: Option<i64>,
    ) -> Result<Decoded, Fault> {
        let mut slot = self.0.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = match slot.take() {
            Some(engine) => engine,
            None => Engine::begin()?,
        };
        let read = engine.with(&self.0, |engine, ctx| engine.decode(ctx, bytes, port, unix_ms));
        // What went wrong may have left anything behind.
        if matches!(read, Ok(_) | Err(Fault::Says(_))) {
            *slot = Some(engine);
        }
        read
    }
}

impl Engine {
    fn begin() -> Result<Self, Fault> {
        let runtime = Runtime::new().map_err(|_| Fault::Engine)?;
        runtime.set_memory_limit(MEMORY_MAX);
        runtime.set_max_stack_size(STACK_MAX);
        let patience = Arc::new(Patience::new());
        let asked = Arc::clone(&patience);
        runtime.set_interrupt_handler(Some(Box::new(move || asked.ends())));
        Ok(Self { runtime, patience })
    }

    /// Reads the script in a fresh context, and works with what it defines.
    fn with<T>(
        &self,
        script: &Inner,
        work: impl FnOnce(&Self, &Ctx<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.patience.begin();
        let mut options = EvalOptions::default();
        options.strict = false;
        options.filename = Some(script.name.replace('\0', ""));
        let context = if script.wants_whole {
            Context::full(&self.runtime)
        } else {
            Context::custom::<Plain>(&self.runtime)
        };
        context.map_err(|_| Fault::Engine)?.with(|ctx| {
            if script.wants_buffer {
                let given = ctx.eval::<(), _>(BUFFER).catch(&ctx);
                given.map_err(|error| self.fault(&error))?;
            }
            ctx.eval_with_options::<Value<'_>, _>(script.source.as_str(), options)
                .catch(&ctx)
                .map_err(|error| self.fault(&error))?;
            work(self, &ctx)
        })
    }

    fn decode(
        &self,
        ctx: &Ctx<'_>,
        bytes: &[u8],
        port: Option<u8>,
        unix_ms: Option<i64>,
    ) -> Result<Decoded, Fault> {
        let (function, form) = function(ctx)?;
        let json = call(ctx, &function, form, bytes, port, unix_ms);
        let json = json.catch(ctx).map_err(|error| self.fault(&error))?;
        let json = json.ok_or(Fault::Nonsense("nothing"))?;
        if json.len() > RESULT_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        match form {
            Form::DecodeUplink => result(&json),
            Form::Decoder | Form::Decode => object(json, Vec::new()),
        }
    }

    /// Says in our words what the engine reports.
    fn fault(&self, error: &CaughtError<'_>) -> Fault {
        if self.patience.has_ended() {
            return Fault::Loops;
        }
        let words = match error {
            CaughtError::Exception(exception) => {
                let message = exception.message().unwrap_or_default();
                if message.contains("out of memory") {
                    return Fault::Memory;
                }
                if message.contains("call stack size exceeded") {
                    return Fault::Stack;
                }
                let stack = exception.stack().unwrap_or_default();
                match stack.lines().next().map(str::trim).filter(|line| !line.is_empty()) {
                    Some(place) => format!("{message} ({place})"),
                    None => message,
                }
            }
            CaughtError::Value(value) => match value.as_string().map(rquickjs::String::to_string) {
                Some(Ok(text)) => text,
                Some(Err(_)) | None => "something that is no error".to_owned(),
            },
            CaughtError::Error(error) => error.to_string(),
        };
        Fault::Throws(printable(&words, WORDS_MAX))
    }
}

/// The form that a script's function has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// `decodeUplink({ bytes, fPort, variables })`, which returns `{ data, warnings, errors }`.
    DecodeUplink,
    /// `Decoder(bytes, port)`: The Things Network, version 2.
    Decoder,
    /// `Decode(fPort, bytes, variables)`: ChirpStack 3.
    Decode,
}

fn function<'js>(ctx: &Ctx<'js>) -> Result<(Function<'js>, Form), Fault> {
    let forms = [
        ("decodeUplink", Form::DecodeUplink),
        ("Decoder", Form::Decoder),
        ("Decode", Form::Decode),
    ];
    let found = forms.into_iter().find_map(|(name, form)| {
        if let Ok(function) = ctx.globals().get::<_, Function<'js>>(name) {
            return Some((function, form));
        }
        // Asked of the engine: a function that is a `const` is no member of the global object.
        let asked = format!("typeof {name} === 'function' ? {name} : null");
        let function = ctx.eval::<Option<Function<'js>>, _>(asked).ok().flatten();
        function.map(|function| (function, form))
    });
    found.ok_or(Fault::NoFunction)
}

fn call<'js>(
    ctx: &Ctx<'js>,
    function: &Function<'js>,
    form: Form,
    bytes: &[u8],
    port: Option<u8>,
    unix_ms: Option<i64>,
) -> rquickjs::Result<Option<String>> {
    let bytes = bytes.to_vec();
    let variables = Object::new(ctx.clone())?;
    let returned: Value<'js> = match form {
        Form::DecodeUplink => {
            let input = Object::new(ctx.clone())?;
            input.set("bytes", bytes)?;
            input.set("fPort", port.unwrap_or(0))?;
            input.set("variables", variables)?;
            if let Some(unix_ms) = unix_ms {
                let date: Constructor<'js> = ctx.globals().get("Date")?;
                #[expect(
                    clippy::cast_precision_loss,
                    reason = "milliseconds of a calendar are far below 2^53"
                )]
                let at: Value<'js> = date.construct((unix_ms as f64,))?;
                input.set("recvTime", at)?;
            }
            function.call((input,))?
        }
        Form::Decoder => function.call((bytes, port.unwrap_or(0)))?,
        Form::Decode => function.call((port.unwrap_or(0), bytes, variables))?,
    };
    let text = ctx.json_stringify(returned)?;
    text.map(|text| text.to_string()).transpose()
}

/// Reads what `decodeUplink` returned.
fn result(json: &str) -> Result<Decoded, Fault> {
    let none = Fault::Nonsense("no { data, warnings, errors }");
    // Of a list, the first would be taken as the data.
    if !json.starts_with('{') {
        return Err(none);
    }
    let read: Result_ = serde_json::from_str(json).map_err(|_| none)?;
    let errors = messages(read.errors);
    if !errors.is_empty() {
        return Err(Fault::Says(errors.join("; ")));
    }
    let data = read.data.ok_or(Fault::Nonsense("no data"))?;
    object(data.get().to_owned(), messages(read.warnings))
}

fn object(json: String, warnings: Vec<String>) -> Result<Decoded, Fault> {
    if json.starts_with('{') {
        Ok(Decoded { data: json, warnings })
    } else {
        Err(Fault::Nonsense("data that are no object"))
    }
}

fn messages(written: Option<Vec<serde_json::Value>>) -> Vec<String> {
    let words = |value: serde_json::Value| {
        let text = value.as_str().map(str::to_owned);
        printable(&text.unwrap_or_else(|| value.to_string()), WORDS_MAX)
    };
    written.unwrap_or_default().into_iter().take(MESSAGES_MAX).map(words).collect()
}

#[cfg(test)]
mod tests;
