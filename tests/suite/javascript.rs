//! Codecs in JavaScript from the configuration to a reading, as a technician meets them.

use serde_json::{Value, json};
use std::fs;
use std::process::{Command, Output};
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
