//! The house rules that a compiler does not know: who may import whom, how long a file may be, and that no test file
//! is forgotten.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom: DESIGN §2. `channel` and `source` also hear `supervise`'s word to stop; `sim` plays foreign
/// clients.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("supervise", &[]),
    ("telemetry", &["domain"]),
    ("wire", &["domain"]),
    ("store", &["domain"]),
    ("config", &["domain"]),
    ("source", &["domain", "wire", "config", "telemetry", "supervise"]),
    ("channel", &["domain", "wire", "config", "telemetry", "supervise"]),
    ("pipeline", &["domain", "wire", "store", "telemetry", "supervise"]),
    ("archive", &["domain", "wire", "config", "store", "telemetry", "supervise"]),
    ("uplink", &["domain", "wire", "store", "telemetry", "supervise"]),
    ("dispatch", &["domain", "store", "channel", "telemetry", "supervise"]),
    ("hub", &["domain", "wire", "config", "channel", "telemetry", "supervise"]),
    ("sim", &["domain", "wire", "config", "supervise"]),
    (
        "app",
        &[
            "domain",
            "wire",
            "config",
            "source",
            "channel",
            "pipeline",
            "archive",
            "uplink",
            "dispatch",
            "store",
            "telemetry",
            "supervise",
        ],
    ),
];

/// Outside crates, and the only places that may name them.
const FENCED: &[(&str, &[&str])] = &[
    ("sqlx", &["src/store/", "src/hub/storage/"]),
    ("rumqttc", &["src/source/mqtt", "src/sim/", "src/hub/mqtt"]),
    ("axum", &["src/hub/https"]),
    ("hyper_util", &["src/hub/https"]),
    ("mqtt_protocol_core", &["src/source/broker/"]),
    ("reqwest", &["src/channel/", "src/uplink/https", "src/cli/enrol"]),
    ("serial2_tokio", &["src/channel/modem/"]),
    ("lora_phy", &["src/source/lora/", "src/sim/"]),
    ("spidev", &["src/source/lora/"]),
    ("gpiocdev", &["src/source/lora/"]),
    ("rquickjs", &["src/wire/javascript"]),
    ("qrcode", &["src/cli/"]),
    ("clap", &["src/cli/", "src/main.rs"]),
];

/// Longest file, tests at its end included.
const LINES_MAX: usize = 700;

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn read(root: &str) -> BTreeMap<String, String> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let name = |path: &Path| path.strip_prefix(base).unwrap().to_string_lossy().into_owned();
    sources(&base.join(root)).iter().map(|p| (name(p), fs::read_to_string(p).unwrap())).collect()
}

/// Returns the lines that are code, numbered: without comments, and without the tests at the end of a file.
fn code(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let before_tests = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or(text);
    before_tests
        .lines()
        .enumerate()
        .map(|(n, line)| (n + 1, line))
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
}

fn module_of(file: &str) -> &str {
    let rest = file.strip_prefix("src/").unwrap();
    rest.split(['/', '.']).next().unwrap()
}

#[test]
fn nobody_imports_whom_they_may_not() {
    let mut faults = Vec::new();
    for (file, text) in read("src") {
        let module = module_of(&file);
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == module) else {
            continue;
        };
        if file.ends_with("/tests.rs") {
            continue;
        }
        for (number, line) in code(&text) {
            for part in line.split("crate::").skip(1) {
                let target: String =
                    part.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let known = MAY_IMPORT.iter().any(|(name, _)| *name == target);
                if known && target != module && !allowed.contains(&target.as_str()) {
                    faults.push(format!("{file}:{number}: {module} may not import {target}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn fenced_crates_stay_behind_their_fences() {
    let mut faults = Vec::new();
    for (file, text) in read("src") {
        for (number, line) in code(&text) {
            for (name, places) in FENCED {
                let named = line.contains(&format!("{name}::"));
                if named && !places.iter().any(|place| file.starts_with(place)) {
                    faults.push(format!(
                        "{file}:{number}: {name} may be named only in {}",
                        places.join(", ")
                    ));
                }
            }
            let pure = file.starts_with("src/domain/") || file.starts_with("src/wire/");
            if pure
                && (line.contains("tokio::") || line.contains("tracing::") || line.contains("rand"))
                && line.contains("use ")
            {
                faults.push(format!("{file}:{number}: domain and wire are pure"));
            }
            if file.starts_with("src/domain/") && line.contains("serde") {
                faults.push(format!("{file}:{number}: no serde on a domain type"));
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// The radio link is part of the nodes' firmware, too, which has neither heap nor operating system.
#[test]
fn the_radio_link_needs_nothing_but_core() {
    let mut faults = Vec::new();
    for (file, text) in read("src/wire/sealed") {
        if file.starts_with("src/wire/sealed/tests/") {
            continue;
        }
        for (number, line) in code(&text) {
            for name in ["std::", "alloc::", "crate::", "thiserror", "Vec<", "String", "format!"] {
                if line.contains(name) {
                    faults.push(format!("{file}:{number}: the radio link may not name {name}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn files_are_short() {
    let all = read("src").into_iter().chain(read("tests"));
    let long: Vec<String> = all
        .map(|(file, text)| (file, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .map(|(file, lines)| format!("{file}: {lines} lines"))
        .collect();
    assert!(long.is_empty(), "longer than {LINES_MAX} lines:\n{}", long.join("\n"));
}

#[test]
fn no_test_file_is_forgotten() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let main = fs::read_to_string(base.join("main.rs")).unwrap();
    let forgotten: Vec<String> = fs::read_dir(&base)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| Some(path.file_stem()?.to_string_lossy().into_owned()))
        .filter(|name| name != "main" && !main.contains(&format!("mod {name};")))
        .collect();
    assert!(forgotten.is_empty(), "not named in main.rs: {forgotten:?}");
}

#[test]
fn no_file_names_a_place_of_the_machine_that_it_was_written_on() {
    let base = Path::new(env!("CARGO_MANIFEST_DIR"));
    let needles = [["/wo", "rk/"].concat(), ["/ro", "ot/"].concat()];
    let mut faults = Vec::new();
    for root in
        ["src", "tests", "docs", "deploy", "README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"]
    {
        let path = base.join(root);
        let files = if path.is_dir() { every_file(&path) } else { vec![path] };
        for file in files.iter().filter(|f| f.exists()) {
            let text = String::from_utf8_lossy(&fs::read(file).unwrap()).into_owned();
            faults.extend(
                needles
                    .iter()
                    .filter(|n| text.contains(*n))
                    .map(|n| format!("{}: {n}", file.display())),
            );
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn every_file(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { every_file(&path) } else { vec![path] }).collect()
}
