//! What is written about the hub is so.

use kengele::config::hub_reference;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn reference_text() -> String {
    let mut text = String::new();
    for table in hub_reference() {
        write!(text, "\n### `{}`\n\n{}\n\n", table.header, table.doc).unwrap();
        text += "| key | value | when not written | meaning |\n|---|---|---|---|\n";
        for key in table.keys {
            writeln!(text, "| `{}` | {} | {} | {} |", key.name, key.kind, key.otherwise, key.doc)
                .unwrap();
        }
    }
    text
}

#[test]
fn the_reference_of_the_hubs_file_is_that_of_the_code() {
    let path = here("docs/hub.md");
    let text = fs::read_to_string(&path).unwrap();
    let (start, end) = ("<!-- generated: keys -->\n", "<!-- end of keys -->");
    let (before, rest) = text.split_once(start).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    let right = format!("{before}{start}{}{end}{after}", reference_text());
    #[expect(clippy::disallowed_methods, reason = "a switch for the developer, not a setting")]
    if std::env::var("UPDATE_DOCS").is_ok() {
        fs::write(&path, &right).unwrap();
    } else {
        assert!(text == right, "docs/hub.md is behind: run with UPDATE_DOCS=1");
    }
}

#[test]
fn the_shipped_file_shows_every_option_and_the_true_defaults() {
    let text = fs::read_to_string(here("deploy/hub/hub.toml")).unwrap();
    let mut lines = Vec::new();
    let mut header = "";
    for line in text.lines() {
        let bare = line.trim_start_matches(['#', ' ']);
        if bare.starts_with('[') {
            header = bare;
        } else if let Some((key, value)) = bare.split_once(" = ") {
            lines.push((header, key, value, line.starts_with(&format!("#{key}"))));
        }
    }
    for table in hub_reference() {
        for key in table.keys {
            let mut of = lines
                .iter()
                .filter(|(header, name, ..)| (*header, *name) == (table.header, key.name));
            // `client_id` has a default that is worked out, and two processes must not share one.
            let is_left_out = table.header == "[mqtt]" && key.name == "client_id";
            assert!(of.clone().next().is_some() || is_left_out, "{} {}", table.header, key.name);
            let default = of.find(|(.., is_default)| *is_default);
            if let (Some(right), Some((_, _, shown, _))) = (key.default, default) {
                assert_eq!(*shown, right, "{} {}", table.header, key.name);
            }
        }
    }
}

#[test]
fn what_compose_mounts_is_there_and_sound() {
    let text = fs::read_to_string(here("deploy/hub/compose.yaml")).unwrap();
    let mounted = text.split("\"./").skip(1).map(|rest| rest.split(':').next().unwrap());
    let mut count = 0;
    for file in mounted {
        assert!(here("deploy/hub").join(file).exists(), "{file}");
        count += 1;
    }
    assert_eq!(count, 2);
    let config = kengele::config::load_hub(&here("deploy/hub/compose-hub.toml"), &[]);
    assert_eq!(config.unwrap().warnings, []);
}
