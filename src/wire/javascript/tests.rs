//! What scripts may do, and what they cannot.

use super::*;
use proptest::prelude::*;
use serde_json::Value as Json;

fn read(source: &str, bytes: &[u8]) -> Result<Decoded, Fault> {
    Script::new("codec.js", source).decode(bytes, Some(2), None)
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
fn steps_that_cost_as_much_as_memory_allows_come_to_an_end() {
    let hoards = "function decodeUplink() {
        for (;;) try { var a = []; for (;;) a.push(new Array(20000).fill(1)); } catch (e) {}
    }";
    assert_eq!(read(hoards, &[]), Err(Fault::Loops));
    let searches = "function decodeUplink() {
        var s = 'a'.repeat(1000000);
        for (var i = 0; i < 1000000; i++) s.indexOf('b');
        return { data: {} };
    }";
    assert_eq!(read(searches, &[]), Err(Fault::Loops));
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
        let read = script.decode(&[first], None, None);
        let next = script.decode(&[0], None, None).unwrap();
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
    assert_eq!(after(10).0, Err(Fault::TooLarge));
    assert_eq!(after(11).0, Err(Fault::Stack));
    assert_eq!(after(12).0.unwrap().data, r#"{"nan":null}"#);
    assert_eq!(after(13).0, Err(Fault::Loops), "a pattern that backtracks without end");
    assert_eq!(after(14).0, Err(Fault::Nonsense("no data")));
}

#[test]
fn a_script_reaches_nothing_outside() {
    for name in ["require", "process", "fetch", "std", "os", "XMLHttpRequest", "print", "console"] {
        let source =
            format!("function decodeUplink() {{ return {{ data: {{ t: typeof {name} }} }}; }}");
        assert_eq!(read(&source, &[]).unwrap().data, r#"{"t":"undefined"}"#, "{name}");
    }
    let import = "function decodeUplink() { import('fs'); return { data: {} }; }";
    let kept = read(import, &[]);
    assert!(kept.is_ok() || matches!(kept, Err(Fault::Throws(_))), "{kept:?}");
}

#[test]
fn what_a_plain_context_lacks_is_found_by_its_name() {
    let runtime = Runtime::new().unwrap();
    let names = |context: Context| -> Vec<String> {
        let asked =
            "Object.getOwnPropertyNames(globalThis).concat(Object.getOwnPropertyNames(Array))";
        context.with(|ctx| ctx.eval(asked).unwrap())
    };
    let plain = names(Context::custom::<Plain>(&runtime).unwrap());
    let mut all = names(Context::full(&runtime).unwrap());
    all.retain(|name| !plain.contains(name));
    assert!(all.len() > 20, "{all:?}");
    for name in all {
        let source =
            format!("function decodeUplink() {{ return {{ data: {{ t: typeof {name} }} }}; }}");
        assert!(Script::new("x.js", &source).0.wants_whole, "{name}");
    }
    assert!(!Script::new("x.js", "[1, 2].map((x) => x.toString(16)); /a/.test('b')").0.wants_whole);
}

#[test]
fn the_time_of_arrival_is_a_date_or_missing() {
    let source = "function decodeUplink(input) {
        if (!('recvTime' in input)) return { data: { none: 1 } };
        return { data: { is: input.recvTime instanceof Date, text: input.recvTime.toISOString(), at: input.recvTime } };
    }";
    let script = Script::new("x.js", source);
    let at = |unix_ms| script.decode(&[], None, unix_ms).unwrap().data;
    let text = "2026-03-01T06:30:00.125Z";
    assert_eq!(
        at(Some(1_772_346_600_125)),
        format!(r#"{{"is":true,"text":"{text}","at":"{text}"}}"#)
    );
    assert_eq!(at(None), r#"{"none":1}"#);
}

#[test]
fn a_buffer_reads_numbers_and_texts_and_its_parts_are_views() {
    let source = "function decodeUplink(input) {
        const b = Buffer.from(input.bytes), part = b.slice(1, 3);
        part[0] = 7;
        return { data: {
            n: [b.readUInt16BE(0), b.readInt16LE(2), b.readUIntBE(0, 3), b.readFloatBE(4), b.length],
            t: [b.toString('hex', 0, 2), Buffer.from('AP8=', 'base64').toString('hex'), Buffer.from('48690a', 'hex').toString()],
            is: Buffer.isBuffer(part) && part instanceof Uint8Array && new Buffer('01ff', 'hex').length === 2,
            atob: atob('SGk=') + btoa('Hi'),
        } };
    }";
    let data = read(source, &[1, 2, 0xFE, 0xFF, 0x41, 0x20, 0, 0]).unwrap().data;
    let expected =
        r#"{"n":[263,-2,67582,10,8],"t":["0107","00ff","Hi\n"],"is":true,"atob":"HiSGk="}"#;
    assert_eq!(data, expected);
    let beyond = "function decodeUplink(input) { return { data: { n: Buffer.from(input.bytes).readUInt16LE(1) } }; }";
    let Err(Fault::Throws(words)) = read(beyond, &[1, 2]) else { panic!() };
    assert!(words.contains("out of range"), "{words}");
}

#[test]
fn words_of_a_script_cannot_act_on_a_terminal() {
    let source = r"function decodeUplink(input) {
        const bad = '\x1b[2J\u202Eno\r\nroot:\x07\x9b31m';
        if (input.bytes[0] === 1) throw new Error(bad);
        if (input.bytes[0] === 2) return { errors: [bad] };
        return { data: {}, warnings: [bad, { a: '\x9b' }] };
    }";
    let clean =
        |words: &str| words.chars().all(|letter| !letter.is_control() && letter != '\u{202E}');
    let Err(Fault::Throws(words)) = read(source, &[1]) else { panic!() };
    assert!(clean(&words) && words.starts_with(" [2J no root: 31m"), "{words:?}");
    let Err(Fault::Says(words)) = read(source, &[2]) else { panic!() };
    assert_eq!(words, " [2J no root: 31m");
    let warnings = read(source, &[3]).unwrap().warnings;
    assert!(warnings.len() == 2 && warnings.iter().all(|words| clean(words)), "{warnings:?}");
}

#[test]
fn a_script_that_is_none_is_told_with_its_line() {
    let check = |source: &str| Script::new("x.js", source).check();
    assert_eq!(check("function decodeUplink(input) {}"), Ok(()));
    assert_eq!(check("function decode() {}"), Err(Fault::NoFunction));
    assert_eq!(check("var decodeUplink = 3"), Err(Fault::NoFunction));
    let Err(Fault::Throws(words)) = check("var a = 1;\nfunction decodeUplink( {") else { panic!() };
    assert!(words.contains("x.js:2"), "{words}");
    assert_eq!(check("for (;;) {}"), Err(Fault::Loops));
}

#[test]
fn scripts_and_frames_are_apart_from_each_other() {
    let one =
        Script::new("a.js", "var x = 1; function decodeUplink() { return { data: { x: x++ } }; }");
    let two = Script::new("a.js", "function decodeUplink() { return { data: { x: typeof x } }; }");
    assert_eq!(one.decode(&[], None, None).unwrap().data, r#"{"x":1}"#);
    assert_eq!(one.decode(&[], None, None).unwrap().data, r#"{"x":1}"#, "left by another frame");
    assert_eq!(two.decode(&[], None, None).unwrap().data, r#"{"x":"undefined"}"#);
}

/// What fills memory, by which the end is met at many places of the engine.
const HUNGRY: [&str; 12] = [
    "a.push(new Array(n).fill(k))",
    "a.push('x'.repeat(n) + k)",
    "a.push({ k: k, s: String(k) })",
    "a.push(() => k)",
    "a.push(/(a+)b?/.exec('aaab' + k))",
    r#"a.push(JSON.parse("[" + "{\"a\":[1,2]},".repeat(n % 50) + "1]"))"#,
    "a.push(new Uint8Array(n))",
    "a.push(new Map([[k, new Set([k])]]))",
    "a.push((function* () { yield k; })().next())",
    "a.push(Promise.resolve(k).then((x) => a.push(x)))",
    "a.push(eval('(function(){return [' + k + ']})')())",
    "a.push(String(k).split('').map((c) => c + n)), a.push(new Date(k), BigInt(k) << 200n)",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn memory_that_ends_anywhere_costs_one_frame(
        what in prop::collection::vec(prop::sample::select(&HUNGRY[..]), 1..4), n in 1_u32..5_000, kept in 0_u32..3_000,
    ) {
        let steps = what.join(";");
        let source = format!("function decodeUplink(input) {{
            var n = {n}, a = ['x'.repeat({kept})];
            if (input.bytes[0]) try {{ for (var k = 0; ; k++) {{ {steps}; }} }} finally {{ a.push(n); }}
            return {{ data: {{ ok: a.length }} }};
        }}");
        let script = Script::new("hungry.js", &source);
        let read = script.decode(&[1], None, None);
        prop_assert!(matches!(read, Err(Fault::Memory | Fault::Loops | Fault::Throws(_))), "{:?}", read);
        prop_assert_eq!(script.decode(&[0], None, None).unwrap().data, r#"{"ok":1}"#);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_bytes_reach_the_script_as_they_are(bytes in prop::collection::vec(any::<u8>(), 0..260), port in any::<Option<u8>>()) {
        let script = Script::new("echo.js", "function decodeUplink(i) { return { data: { b: i.bytes, p: i.fPort } }; }");
        let read = script.decode(&bytes, port, None).unwrap();
        let value: serde_json::Value = serde_json::from_str(&read.data).unwrap();
        prop_assert_eq!(&value["b"], &serde_json::json!(bytes));
        prop_assert_eq!(&value["p"], &serde_json::json!(port.unwrap_or(0)));
    }

    #[test]
    fn any_text_is_a_script_or_a_fault(source in "[ -~\n]{0,200}") {
        let _read = Script::new("any.js", &source).decode(&[1, 2], None, None);
    }
}

/// Any JSON, with the names that mean something here.
fn any_json() -> impl Strategy<Value = Json> {
    let leaf = prop_oneof![
        Just(Json::Null),
        any::<bool>().prop_map(Json::from),
        any::<i32>().prop_map(Json::from),
        // Neither whole nor long, so that it is written alike everywhere.
        any::<i32>().prop_map(|n| Json::from((f64::from(n) + 0.5) / 8.0)),
        "\\PC{0,12}".prop_map(Json::from),
        "[\\x00-\\x1f\\x7f-\u{9f}]{0,4}".prop_map(Json::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        let name = prop_oneof![
            3 => prop::sample::select(&["data", "errors", "warnings", "level", "__proto__", "toJSON", "length"][..])
                .prop_map(str::to_owned),
            1 => "\\PC{0,6}",
        ];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Json::from),
            prop::collection::btree_map(name, inner, 0..5)
                .prop_map(|fields| Json::Object(fields.into_iter().collect())),
        ]
    })
}

/// A result as it should be, but for what stands in its parts.
fn any_result() -> impl Strategy<Value = Json> {
    let part = || prop::option::weighted(0.8, any_json());
    let whole = (part(), part(), part()).prop_map(|(data, warnings, errors)| {
        let parts = [("data", data), ("warnings", warnings), ("errors", errors)];
        let written = parts.into_iter().filter_map(|(name, part)| Some((name.to_owned(), part?)));
        Json::Object(written.collect())
    });
    prop_oneof![4 => whole, 1 => any_json()]
}

/// What must come of a result, from what it says.
fn expected(result: &Json) -> Result<(), Fault> {
    const NO_RESULT: Fault = Fault::Nonsense("no { data, warnings, errors }");
    let Some(fields) = result.as_object() else { return Err(NO_RESULT) };
    let list = |name: &str| match fields.get(name) {
        None | Some(Json::Null) => Ok(&[][..]),
        Some(Json::Array(items)) => Ok(items.as_slice()),
        Some(_) => Err(NO_RESULT),
    };
    let (errors, _warnings) = (list("errors")?, list("warnings")?);
    if !errors.is_empty() {
        return Err(Fault::Says(String::new()));
    }
    match fields.get("data") {
        None | Some(Json::Null) => Err(Fault::Nonsense("no data")),
        Some(Json::Object(_)) => Ok(()),
        Some(_) => Err(Fault::Nonsense("data that are no object")),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// The frame is the result: what a script returns is as hostile as its frames are.
    #[test]
    fn any_result_is_data_or_a_fault_and_its_words_act_on_nothing(result in any_result()) {
        let script = Script::new("echo.js", "function decodeUplink(input) {
            return JSON.parse(Buffer.from(input.bytes).toString());
        }");
        let read = script.decode(&serde_json::to_vec(&result).unwrap(), None, None);
        match (read, expected(&result)) {
            (Ok(decoded), Ok(())) => {
                let data: Json = serde_json::from_str(&decoded.data).unwrap();
                prop_assert_eq!(&data, &result["data"]);
                prop_assert!(decoded.warnings.len() <= MESSAGES_MAX);
                for words in decoded.warnings {
                    prop_assert!(words.chars().count() <= WORDS_MAX && !words.contains(char::is_control), "{:?}", words);
                }
            }
            (Err(Fault::Says(words)), Err(Fault::Says(_))) => {
                prop_assert!(words.chars().count() <= MESSAGES_MAX * (WORDS_MAX + 2));
                prop_assert!(!words.contains(char::is_control), "{:?}", words);
            }
            (read, expected) => prop_assert_eq!(read.map(drop), expected),
        }
    }
}
