//! Codecs in JavaScript, as ChirpStack and The Things Stack share them: `decodeUplink(input)` from the device's maker or
//! from the public repository, unchanged. The older forms `Decoder(bytes, port)` and `Decode(fPort, bytes, variables)`
//! are taken, too.
//!
//! A script reaches nothing outside: no file, no socket, no other script. Each frame is read in a context of its own, as
//! network servers do it: what a script leaves in its global variables would else be read as the next node's values.
//! It may take so many steps, so much memory and so deep a stack; beyond that its frame is not read, and the next one finds
//! a fresh engine. Steps are counted, not timed, so that a frame is read on a fast machine if and only if it is on a
//! slow one. (The engine's clock and dice are there; a codec that asks them has itself to blame.)

use rquickjs::context::EvalOptions;
use rquickjs::{CatchResultExt, CaughtError, Context, Ctx, Function, Object, Runtime, Value};
use serde_json::value::RawValue;
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// Longest script, bytes: the longest of the public device repository has 100 kB.
pub const SCRIPT_BYTES_MAX: usize = 512 << 10;
/// Memory of one script, bytes.
const MEMORY_MAX: usize = 16 << 20;
/// Its stack, bytes.
const STACK_MAX: usize = 256 << 10;
/// How often the engine may ask whether to go on: about every 10,000 steps. Beyond that a script is taken to loop.
const ASKS_MAX: u32 = 300;
/// Longest result, as JSON, bytes.
const RESULT_BYTES_MAX: usize = 64 << 10;
/// Longest message of a script that is passed on, letters.
const WORDS_MAX: usize = 200;
/// Warnings and errors of a script that are passed on.
const MESSAGES_MAX: usize = 8;

/// Why a script does not read a frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum Fault {
    /// It takes too many steps.
    #[error("the script does not come to an end")]
    Loops,
    /// It wants too much memory.
    #[error("the script wants more than {} MiB", MEMORY_MAX >> 20)]
    Memory,
    /// It throws.
    #[error("the script throws: {0}")]
    Throws(String),
    /// It says that it cannot read the frame.
    #[error("the script says: {0}")]
    Says(String),
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
    engine: Mutex<Option<Engine>>,
}

/// An engine for one script.
struct Engine {
    runtime: Runtime,
    asks: Arc<AtomicU32>,
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
        let (name, source) = (name.to_owned(), source.to_owned());
        Self(Arc::new(Inner { name, source, engine: Mutex::new(None) }))
    }

    /// Reads the script itself, and says whether it has a function that reads frames.
    ///
    /// # Errors
    ///
    /// Why it is no codec, with the line where that is known.
    pub fn check(&self) -> Result<(), Fault> {
        Engine::begin()?.with(&self.0, |_, ctx| function(ctx).map(drop))
    }

    /// Reads a frame.
    ///
    /// # Errors
    ///
    /// Why not; it costs this frame, no more.
    pub fn decode(&self, bytes: &[u8], port: Option<u8>) -> Result<Decoded, Fault> {
        let mut slot = self.0.engine.lock().unwrap_or_else(PoisonError::into_inner);
        let engine = match slot.take() {
            Some(engine) => engine,
            None => Engine::begin()?,
        };
        let read = engine.with(&self.0, |engine, ctx| engine.decode(ctx, bytes, port));
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
        let asks = Arc::new(AtomicU32::new(0));
        let asked = Arc::clone(&asks);
        let stop = move || asked.fetch_add(1, Ordering::Relaxed) >= ASKS_MAX;
        runtime.set_interrupt_handler(Some(Box::new(stop)));
        Ok(Self { runtime, asks })
    }

    /// Reads the script in a fresh context, and works with what it defines.
    fn with<T>(
        &self,
        script: &Inner,
        work: impl FnOnce(&Self, &Ctx<'_>) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        self.asks.store(0, Ordering::Relaxed);
        let mut options = EvalOptions::default();
        options.strict = false;
        options.filename = Some(script.name.replace('\0', ""));
        let context = Context::full(&self.runtime).map_err(|_| Fault::Engine)?;
        context.with(|ctx| {
            ctx.eval_with_options::<Value<'_>, _>(script.source.as_str(), options)
                .catch(&ctx)
                .map_err(|error| self.fault(&error))?;
            work(self, &ctx)
        })
    }

    fn decode(&self, ctx: &Ctx<'_>, bytes: &[u8], port: Option<u8>) -> Result<Decoded, Fault> {
        let (function, form) = function(ctx)?;
        let json = call(ctx, &function, form, bytes, port);
        let json = json.catch(ctx).map_err(|error| self.fault(&error))?;
        let json = json.ok_or(Fault::Nonsense("nothing"))?;
        if json.len() > RESULT_BYTES_MAX {
            return Err(Fault::Nonsense("more than 64 KiB"));
        }
        match form {
            Form::DecodeUplink => result(&json),
            Form::Decoder | Form::Decode => object(json, Vec::new()),
        }
    }

    /// Says in our words what the engine reports.
    fn fault(&self, error: &CaughtError<'_>) -> Fault {
        if self.asks.load(Ordering::Relaxed) > ASKS_MAX {
            return Fault::Loops;
        }
        let words = match error {
            CaughtError::Exception(exception) => {
                let message = exception.message().unwrap_or_default();
                if message.contains("out of memory") {
                    return Fault::Memory;
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
        Fault::Throws(shortened(&words))
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
) -> rquickjs::Result<Option<String>> {
    let bytes = bytes.to_vec();
    let variables = Object::new(ctx.clone())?;
    let returned: Value<'js> = match form {
        Form::DecodeUplink => {
            let input = Object::new(ctx.clone())?;
            input.set("bytes", bytes)?;
            input.set("fPort", port.unwrap_or(0))?;
            input.set("variables", variables)?;
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
    let read: Result_ =
        serde_json::from_str(json).map_err(|_| Fault::Nonsense("no { data, warnings, errors }"))?;
    let errors = messages(read.errors);
    if !errors.is_empty() {
        return Err(Fault::Says(errors.join("; ")));
    }
    let data = read.data.ok_or(Fault::Nonsense("no data"))?;
    object(data.get().to_owned(), messages(read.warnings))
}

fn object(json: String, warnings: Vec<String>) -> Result<Decoded, Fault> {
    if json.trim_start().starts_with('{') {
        Ok(Decoded { data: json, warnings })
    } else {
        Err(Fault::Nonsense("data that are no object"))
    }
}

fn messages(written: Option<Vec<serde_json::Value>>) -> Vec<String> {
    let words = |value: serde_json::Value| {
        let text = value.as_str().map(str::to_owned);
        shortened(&text.unwrap_or_else(|| value.to_string()))
    };
    written.unwrap_or_default().into_iter().take(MESSAGES_MAX).map(words).collect()
}

fn shortened(words: &str) -> String {
    words.chars().take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(source: &str, bytes: &[u8]) -> Result<Decoded, Fault> {
        Script::new("codec.js", source).decode(bytes, Some(2))
    }

    #[test]
    fn every_form_that_makers_write_is_taken() {
        let data = |json: &str| Ok(Decoded { data: json.to_owned(), warnings: Vec::new() });
        let modern = "function decodeUplink(input) { return { data: { t: input.bytes[0] / 2, p: input.fPort } }; }";
        assert_eq!(read(modern, &[41]), data(r#"{"t":20.5,"p":2}"#));
        let second = "function Decoder(bytes, port) { return { t: bytes[0], p: port }; }";
        assert_eq!(read(second, &[41]), data(r#"{"t":41,"p":2}"#));
        let third =
            "function Decode(fPort, bytes, variables) { return { n: bytes.length, p: fPort }; }";
        assert_eq!(read(third, &[1, 2, 3]), data(r#"{"n":3,"p":2}"#));
        let arrow = "const decodeUplink = (input) => ({ data: { hex: input.bytes.map(b => ('0' + b.toString(16)).slice(-2)).join('') } });";
        assert_eq!(read(arrow, &[0xAB, 0x01]), data(r#"{"hex":"ab01"}"#));
    }

    #[test]
    fn warnings_are_passed_on_and_errors_refuse_the_frame() {
        let source = "function decodeUplink(input) {
            if (input.bytes.length == 0) return { errors: ['empty', 3] };
            return { data: {}, warnings: ['battery low'], errors: [] };
        }";
        assert_eq!(read(source, &[1]).unwrap().warnings, ["battery low"]);
        assert_eq!(read(source, &[]), Err(Fault::Says("empty; 3".to_owned())));
    }

    #[test]
    fn a_script_that_misbehaves_costs_one_frame() {
        let source = "var calls = 0;
        function decodeUplink(input) {
            calls += 1;
            switch (input.bytes[0]) {
                case 1: for (;;) {}
                case 2: var all = []; for (;;) all.push(new Array(100000).fill(calls));
                case 3: throw new Error('no such type');
                case 4: throw 'just so';
                case 5: return undefined;
                case 6: return 17;
                case 7: var a = {}; a.a = a; return { data: a };
                case 8: return { data: { big: 10n } };
                case 9: return { data: [1, 2] };
                case 10: return { data: { s: 'x'.repeat(100000) } };
                case 11: return (function f(n) { return f(n + 1) + 1; })(0);
                case 12: return { data: { f: function () {}, nan: 0 / 0, u: undefined } };
                case 13: return /(a+)+b/.test('a'.repeat(40)) ? {} : { data: {} };
                case 14: return { warnings: [] };
                default: return { data: { calls: calls } };
            }
        }";
        let script = Script::new("bad.js", source);
        let after = |first: u8| {
            let read = script.decode(&[first], None);
            let next = script.decode(&[0], None).unwrap();
            (read, next.data)
        };
        let fresh = r#"{"calls":1}"#;
        assert_eq!(after(1), (Err(Fault::Loops), fresh.to_owned()));
        assert_eq!(after(2), (Err(Fault::Memory), fresh.to_owned()));
        let (thrown, next) = after(3);
        let Err(Fault::Throws(words)) = thrown else { panic!("{thrown:?}") };
        assert!(words.contains("no such type") && words.contains("bad.js:7"), "{words}");
        assert_eq!(next, fresh);
        assert_eq!(after(4).0, Err(Fault::Throws("just so".to_owned())));
        assert_eq!(after(5).0, Err(Fault::Nonsense("nothing")));
        assert!(matches!(after(6).0, Err(Fault::Nonsense(_))));
        assert!(matches!(after(7).0, Err(Fault::Throws(_))));
        assert!(matches!(after(8).0, Err(Fault::Throws(_))));
        assert_eq!(after(9).0, Err(Fault::Nonsense("data that are no object")));
        assert_eq!(after(10).0, Err(Fault::Nonsense("more than 64 KiB")));
        assert!(matches!(after(11).0, Err(Fault::Throws(_))), "a stack without end");
        assert_eq!(after(12).0.unwrap().data, r#"{"nan":null}"#);
        assert_eq!(after(13).0, Err(Fault::Loops), "a pattern that backtracks without end");
        assert_eq!(after(14).0, Err(Fault::Nonsense("no data")));
    }

    #[test]
    fn a_script_reaches_nothing_outside() {
        for name in
            ["require", "process", "fetch", "std", "os", "XMLHttpRequest", "print", "console"]
        {
            let source =
                format!("function decodeUplink() {{ return {{ data: {{ t: typeof {name} }} }}; }}");
            assert_eq!(read(&source, &[]).unwrap().data, r#"{"t":"undefined"}"#, "{name}");
        }
        let import = "function decodeUplink() { import('fs'); return { data: {} }; }";
        let kept = read(import, &[]);
        assert!(kept.is_ok() || matches!(kept, Err(Fault::Throws(_))), "{kept:?}");
    }

    #[test]
    fn a_script_that_is_none_is_told_with_its_line() {
        let check = |source: &str| Script::new("x.js", source).check();
        assert_eq!(check("function decodeUplink(input) {}"), Ok(()));
        assert_eq!(check("function decode() {}"), Err(Fault::NoFunction));
        assert_eq!(check("var decodeUplink = 3"), Err(Fault::NoFunction));
        let Err(Fault::Throws(words)) = check("var a = 1;\nfunction decodeUplink( {") else {
            panic!()
        };
        assert!(words.contains("x.js:2"), "{words}");
        assert_eq!(check("for (;;) {}"), Err(Fault::Loops));
    }

    #[test]
    fn scripts_and_frames_are_apart_from_each_other() {
        let one = Script::new(
            "a.js",
            "var x = 1; function decodeUplink() { return { data: { x: x++ } }; }",
        );
        let two =
            Script::new("a.js", "function decodeUplink() { return { data: { x: typeof x } }; }");
        assert_eq!(one.decode(&[], None).unwrap().data, r#"{"x":1}"#);
        assert_eq!(one.decode(&[], None).unwrap().data, r#"{"x":1}"#, "left by another frame");
        assert_eq!(two.decode(&[], None).unwrap().data, r#"{"x":"undefined"}"#);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_bytes_reach_the_script_as_they_are(bytes in prop::collection::vec(any::<u8>(), 0..260), port in any::<Option<u8>>()) {
            let script = Script::new("echo.js", "function decodeUplink(i) { return { data: { b: i.bytes, p: i.fPort } }; }");
            let read = script.decode(&bytes, port).unwrap();
            let value: serde_json::Value = serde_json::from_str(&read.data).unwrap();
            prop_assert_eq!(&value["b"], &serde_json::json!(bytes));
            prop_assert_eq!(&value["p"], &serde_json::json!(port.unwrap_or(0)));
        }

        #[test]
        fn any_text_is_a_script_or_a_fault(source in "[ -~\n]{0,200}") {
            let _read = Script::new("any.js", &source).decode(&[1, 2], None);
        }
    }
}
