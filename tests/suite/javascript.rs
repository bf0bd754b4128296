//! Codecs in JavaScript from the configuration to a reading, as a technician meets them.

use crate::dice::{Dice, asked};
use crate::gateway::Site;
use crate::peers::wait_for;
use kengele::sim::village;
use kengele::wire::javascript::{Fault, Script};
use kengele::wire::tpdu::from_hex;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

const CONFIG: &str = r#"
[gateway]
name = "kata"
sender = "Kamati"
language = "sw"
[[topic]]
template = "lora/{node}/raw"
format = "codec"
codec = "kipimo"
encoding = "hex"
[codec.kipimo]
kind = "javascript"
script = "codecs/kipimo.js"
field."/level/value" = { quantity = "water_level", unit = "mm" }
field.battery = { quantity = "battery_voltage" }
[node.mto]
interval = "5 min"
sensor.water_level = {}
sensor.battery_voltage = {}
"#;

/// Written as makers write: a table of channels, helpers on an object, typed arrays, an old form inside the new one.
const SCRIPT: &str = r"
var kipimo = {
  CHANNELS: [
    { flag: 1, name: 'level', unit: 'mm', read: function (b, p) { return (b[p] << 8) + b[p + 1]; }, length: 2 },
    { flag: 2, name: 'battery', read: function (b, p) { return b[p] / 50; }, length: 1 },
  ],
};

function Decoder(bytes, port) {
  var flags = bytes[0], at = 1, out = {};
  kipimo.CHANNELS.forEach(function (channel) {
    if (!(flags & channel.flag)) return;
    var value = channel.read.call(this, bytes, at);
    out[channel.name] = channel.unit ? { value: value, unit: channel.unit } : value;
    at += channel.length;
  }, kipimo);
  if (flags & 0x80) for (;;);
  return out;
}

function decodeUplink(input) {
  if (input.bytes.length < 2) return { errors: ['only ' + input.bytes.length + ' bytes'] };
  const data = Decoder(input.bytes, input.fPort);
  const raw = new Uint8Array(input.bytes);
  const hex = Array.from(raw, (byte) => byte.toString(16).padStart(2, '0')).join('');
  const warnings = data.battery !== undefined && data.battery < 3.3 ? ['battery low'] : [];
  return { data: { ...data, hex }, warnings };
}
";

struct Folder(TempDir);

impl Folder {
    fn with(script: &str) -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("codecs")).unwrap();
        fs::write(folder.path().join("codecs/kipimo.js"), script).unwrap();
        fs::write(folder.path().join("kengele.toml"), CONFIG).unwrap();
        Self(folder)
    }

    fn kengele(&self, arguments: &[&str]) -> Output {
        // From elsewhere: the script stands beside the configuration, wherever the command is given.
        Command::new(env!("CARGO_BIN_EXE_kengele"))
            .arg("--config")
            .arg(self.0.path().join("kengele.toml"))
            .args(arguments)
            .current_dir("/")
            .output()
            .unwrap()
    }

    fn json(&self, arguments: &[&str]) -> (Value, Option<i32>) {
        let output = self.kengele(&[&["--json"], arguments].concat());
        // What failed is said once more in a line of its own.
        let mut said = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
        (said.next().unwrap().unwrap(), output.status.code())
    }
}

#[test]
fn a_makers_script_becomes_readings_and_warns() {
    let folder = Folder::with(SCRIPT);
    let (said, code) = folder.json(&["decode", "--codec", "kipimo", "0307D0B9", "0300C8A0"]);
    assert_eq!(code, Some(0), "{said}");
    let value = |place: usize, of: usize| said[place]["values"][of]["value"].as_f64().unwrap();
    assert!((value(0, 0) - 2.0).abs() < 1e-9 && (value(0, 1) - 3.7).abs() < 1e-9, "{said}");
    assert_eq!(said[0]["troubles"], json!([]));
    assert_eq!(said[1]["troubles"], json!(["battery low"]));
    let (said, _) = folder.json(&["decode", "--topic", "lora/mto/raw", "0307D0B9"]);
    assert_eq!(
        (&said[0]["node"], &said[0]["values"][0]["name"]),
        (&json!("mto"), &json!("water_level"))
    );
}

#[test]
fn a_frame_that_a_script_cannot_read_says_why_and_the_next_is_read() {
    let folder = Folder::with(SCRIPT);
    let (said, code) =
        folder.json(&["decode", "--codec", "kipimo", "01", "830000", "00FF", "0307D0B9"]);
    assert_eq!(code, Some(1));
    assert_eq!(said[0]["error"], json!("the script says: only 1 bytes"));
    assert_eq!(said[1]["error"], json!("the script does not come to an end"));
    assert!(said[2]["error"].as_str().unwrap().contains("nothing in it is wanted"), "{said}");
    assert!(said[3]["values"].is_array(), "{said}");
}

#[test]
fn every_value_of_a_script_is_shown_by_the_name_that_a_field_gives_it() {
    let folder = Folder::with(SCRIPT);
    let script = folder.0.path().join("codecs/kipimo.js");
    let (said, code) = folder.json(&["decode", "--script", script.to_str().unwrap(), "0307D0B9"]);
    assert_eq!(code, Some(0));
    let names: Vec<&str> =
        said[0]["values"].as_array().unwrap().iter().map(|v| v["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["/battery", "/hex", "/level/unit", "/level/value"]);
}

#[test]
fn a_script_that_is_none_is_found_before_the_gateway_runs() {
    for (script, words) in [
        ("function decodeUplink(input) {\n  return { data: }\n}", "kipimo.js:2"),
        ("function decode() {}", "the script has no function decodeUplink, Decoder or Decode"),
        ("while (true) {}", "the script does not come to an end"),
    ] {
        let output = Folder::with(script).kengele(&["check"]);
        let said =
            String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words) && said.contains("[codec.kipimo]"), "{said}");
    }
    let folder = Folder::with(SCRIPT);
    fs::remove_file(folder.0.path().join("codecs/kipimo.js")).unwrap();
    let output = folder.kengele(&["check"]);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("cannot read the file"), "{said}");
}

/// 2026-03-01 06:30:00.125 UTC.
const UNIX_MS: i64 = 1_772_346_600_125;

/// Reads frames by Node.js, and by our engine: each as its result, or as the name of what was thrown.
fn by_both(file: &Path, frames: &[Vec<u8>]) -> Vec<(Value, Value)> {
    let script = Script::new("codec.js", &fs::read_to_string(file).unwrap());
    script.check().unwrap();
    let mut node = crate::peers::node()
        .arg("tests/peers/codecs.js")
        .arg(file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Node.js starts");
    let mut asked = node.stdin.take().expect("stdin is piped");
    let mut answers = BufReader::new(node.stdout.take().expect("stdout is piped")).lines();
    let by_node = |frame: &Vec<u8>| {
        writeln!(asked, "{}", json!({ "bytes": frame, "port": 7, "unix_ms": UNIX_MS })).unwrap();
        let answer: Value = serde_json::from_str(&answers.next().unwrap().unwrap()).unwrap();
        answer
    };
    let by_node: Vec<Value> = frames.iter().map(by_node).collect();
    drop(asked);
    assert!(node.wait().unwrap().success());
    let by_us = |frame: &Vec<u8>| match script.decode(frame, Some(7), Some(UNIX_MS)) {
        Ok(decoded) => {
            let data: Value = serde_json::from_str(&decoded.data).unwrap();
            json!({ "data": data, "warnings": decoded.warnings })
        }
        Err(Fault::Throws(words)) => json!({ "throws": words }),
        Err(fault) => panic!("{fault} of {frame:02X?}"),
    };
    by_node.into_iter().zip(frames.iter().map(by_us)).collect()
}

/// Leaves of what an engine says about a fault only its kind: the words are each engine's own.
fn without_words(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field.as_str() {
                    Some(words) if name == "error" => {
                        let kind = words.split([' ', ':']).next().unwrap_or_default();
                        *field = json!(kind);
                    }
                    Some(_) | None => without_words(field),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(without_words),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The library of Adeunis for 20 of its products, 238 kB from npm as it is, with the frames of its own tests. It was written
/// for Node.js, with its `Buffer`; the function that network servers call is four lines of ours.
#[test]
fn a_makers_library_says_the_same_here_as_under_node() {
    const CALLED: &str = "
        function decodeUplink(input) {
            var hex = Buffer.from(input.bytes).toString('hex'), decoder = new codec.Decoder(), data = { at: input.recvTime };
            decoder.findDeviceTypes(hex).join('|').split('|').forEach(function (kind) {
                decoder.clearStoredData();
                decoder.setDeviceType(kind);
                data[kind] = decoder.decode(hex);
            });
            return { data: data, warnings: [] };
        }";
    let package =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/peers/node_modules/@adeunis/codecs");
    let library = fs::read_to_string(package.join("dist/index.js"))
        .expect("the package is there: run tests/setup first");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("adeunis.js");
    fs::write(&file, format!("{library}\n{CALLED}")).unwrap();
    let mut frames = Vec::new();
    own_frames(&package.join("src"), &mut frames);
    frames.sort();
    frames.dedup();
    assert!(frames.len() > 100, "only {} frames in the package's own tests", frames.len());
    let mut read = 0;
    for (place, (mut theirs, mut ours)) in by_both(&file, &frames).into_iter().enumerate() {
        without_words(&mut theirs);
        without_words(&mut ours);
        assert_eq!(theirs, ours, "{:02X?}", frames[place]);
        read += ours["data"].as_object().map_or(0, |data| data.len().saturating_sub(1));
    }
    assert!(read > 300, "only {read} results");
}

/// Collects what looks like a frame in the tests of a package: four bytes or more in hex between single quotes.
fn own_frames(folder: &Path, frames: &mut Vec<Vec<u8>>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            own_frames(&path, frames);
        } else if path.to_string_lossy().ends_with(".spec.ts") {
            let text = fs::read_to_string(path).unwrap();
            let written = text.split('\'').filter_map(|part| from_hex(part).ok());
            frames.extend(written.filter(|frame| frame.len() >= 4));
        }
    }
}

/// Every way to write a codec that we know of, and any bytes: in the small context that names nothing special, and in a
/// whole one.
#[test]
fn a_codec_of_many_ways_to_write_says_the_same_here_as_under_node() {
    let seed = asked("CODEC_SEED").unwrap_or(7);
    println!("CODEC_SEED={seed}");
    let mut dice = Dice::seeded(seed);
    let frames: Vec<Vec<u8>> = (0..180_u8)
        .map(|n| {
            let length = dice.below(34);
            let rest = (0..length).map(|_| u8::try_from(dice.below(256)).unwrap());
            std::iter::once(n).chain(rest).collect()
        })
        .collect();
    let peers = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers");
    let text = |name: &str| fs::read_to_string(peers.join(name)).unwrap();
    let plain = text("varied_codec.js");
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("codec.js");
    for (codec, kinds) in [(plain.clone(), 6), (plain + &text("varied_codec_whole.js"), 9)] {
        fs::write(&file, codec).unwrap();
        let (mut kinds_read, mut thrown) = (BTreeSet::new(), 0);
        for (place, (mut theirs, ours)) in by_both(&file, &frames).into_iter().enumerate() {
            if theirs["throws"].is_string() && ours["throws"].is_string() {
                thrown += 1;
                continue;
            }
            theirs.as_object_mut().expect("an object").remove("errors");
            assert_eq!(theirs, ours, "{:02X?}", frames[place]);
            kinds_read.insert(ours["data"]["kind"].to_string());
        }
        assert_eq!(kinds_read.len(), kinds, "{kinds_read:?}");
        assert!(thrown < 20, "{thrown} of {} throw", frames.len());
    }
}

/// One fault for each first byte.
const FAULTS: &str = r"function decodeUplink(input) {
  switch (input.bytes[0]) {
    case 1: for (;;) {}
    case 2: for (var all = [];;) all.push(new Array(100000).fill(1));
    case 3: return (function f(n) { return f(n + 1) + 1; })(0);
    case 4: throw new Error('no such \x1b[31mtype\r\n\u202E');
    case 5: throw 'just so';
    case 6: return { errors: ['\x9b2J only ' + input.bytes.length] };
    case 7: return { data: { level: 'x'.repeat(100000) } };
    case 8: return 17;
    case 9: return { data: { other: 1 } };
    case 10: return { data: { level: 'high' } };
  }
  // The last day of 2025 is behind whoever reads this.
  var known = input.recvTime instanceof Date && input.recvTime.getTime() > 1767139200000;
  return { data: { level: known ? Buffer.from(input.bytes).readUInt16BE(1) : -1 } };
}";

#[tokio::test(flavor = "multi_thread")]
async fn frames_that_a_script_cannot_read_are_kept_with_the_reason_and_counted_by_it() {
    let mut site = Site::of(|places| {
        let mut files = village::files(places);
        let main = files.iter_mut().find(|(name, _)| name == "kengele.toml").unwrap();
        main.1 = main.1.replace("nodes = [\"*\"]", "nodes = [\"*\"]\npublish = [\"#\"]");
        main.1 += r#"
[[topic]]
template = "script/{node}"
format = "codec"
codec = "faults"
encoding = "hex"
[codec.faults]
kind = "javascript"
script = "faults.js"
field.level = { quantity = "water_level", unit = "mm" }
[node.faulty]
interval = "5 min"
sensor.water_level = {}
"#;
        files.push(("faults.js".to_owned(), FAULTS.to_owned()));
        files
    })
    .await;
    site.start().await;
    // No script works for a stranger.
    assert!(site.mosquitto("script/stranger", "01\n", 20));
    assert!(site.mosquitto(
        "script/faulty",
        "01\n02\n03\n04\n05\n06\n07\n08\n09\n0A\n0004D2\n",
        20
    ));
    wait_for("the sound frame is stored", || site.stored() == 1).await;
    let status = site.ask(&["status"]);
    let reasons = json!({
        "script does not end": 1, "script wants too much memory": 1, "script calls too deeply": 1, "script throws": 2,
        "script says that it cannot": 1, "script returns too much": 1, "script returns no result": 1,
        "payload without a wanted value": 1, "payload whose values cannot be read": 1,
    });
    assert_eq!(status["undecoded"], reasons);
    assert_eq!(status.pointer("/heard_but_not_declared/0/node"), Some(&json!("stranger")));
    assert_eq!(status.pointer("/counters/undecoded"), Some(&json!(10)));
    assert!(site.kengele(&["status"]).contains("2 not read: script throws\n"));
    site.stop().await;
    let kept = crate::peers::program("sqlite3")
        .arg(site.database())
        .arg("select hex(payload), reason from undecoded order by id")
        .output()
        .unwrap();
    let kept = String::from_utf8(kept.stdout).unwrap();
    let lines: Vec<&str> = kept.lines().collect();
    assert_eq!(lines.len(), 10, "{kept}");
    assert!(lines[3].contains("the script throws: no such  [31mtype  (at "), "{}", lines[3]);
    assert!(lines[5].ends_with("the script says:  2J only 1"), "{}", lines[5]);
    let acts = |letter: char| (letter.is_control() && letter != '\n') || letter == '\u{202E}';
    assert!(!kept.contains(acts), "{kept:?}");
    assert!(site.kengele(&["readings", "--node", "faulty"]).contains("water_level,1.234"));
}
