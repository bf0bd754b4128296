//! `kengele survey report`: from a file of hearings to a table and a picture.

use serde_json::Value;
use std::fmt::Write as _;
use std::fs;
use std::process::{Command, Output};
use tempfile::TempDir;

const HEADINGS: &str = "unix_ms,place,counter,rssi_dbm,snr_db,spreading_factor\n";

fn report(text: &str, more: &[&str]) -> (Output, TempDir) {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("walk.csv");
    fs::write(&file, text).unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_kengele"))
        .args(["survey", "report", file.to_str().unwrap()])
        .args(more)
        .current_dir(folder.path())
        .output()
        .unwrap();
    (output, folder)
}

/// A walk of two places, and one from where nothing is heard.
fn walk() -> String {
    let mut text = HEADINGS.to_owned();
    text += "0,daraja,,,,\n";
    for n in 0..20 {
        writeln!(text, "{},daraja,{},-81,7.5,9", n * 10_000, 100 + n).unwrap();
    }
    text += "200000,\"mwembe <wa> \"\"Juma\"\" & mama\",,,,\n";
    for n in (20..40).step_by(2) {
        let place = "\"mwembe <wa> \"\"Juma\"\" & mama\"";
        writeln!(text, "{},{place},{},-119,-9,9", n * 10_000, 100 + n).unwrap();
    }
    text + "400000,kilima,,,,\n"
}

#[test]
fn a_walk_becomes_a_table_and_a_picture_that_is_sound() {
    let (output, folder) = report(&walk(), &["--json", "--svg", "walk.svg"]);
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let verdicts: Vec<&str> =
        rows.as_array().unwrap().iter().map(|row| row["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["good", "poor", "not heard"]);
    assert_eq!((&rows[0]["lost"], &rows[1]["lost"]), (&Value::from(0), &Value::from(9)));
    assert_eq!(rows[0]["spreading_factor"], 7);
    let svg = fs::read_to_string(folder.path().join("walk.svg")).unwrap();
    assert!(svg.contains("mwembe &lt;wa&gt;") && svg.contains("not heard"), "{svg}");
    // Judged by a parser of XML that is not ours.
    let lint = crate::peers::program("xmllint")
        .args(["--noout", "walk.svg"])
        .current_dir(folder.path())
        .output()
        .unwrap();
    assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stderr));
    let (table, _folder) = report(&walk(), &[]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(table.contains("9 (47 %)"), "{table}");
}

#[test]
fn a_file_that_is_none_is_told_by_its_line() {
    for (text, words) in [
        ("", ":1: the columns are not"),
        ("a,b\n", ":1: the columns are not"),
        (
            "unix_ms,place,counter,rssi_dbm,snr_db,spreading_factor\n1,x,2,-3,nan,9\n",
            ":2: snr_db is \"nan\"",
        ),
        (
            "unix_ms,place,counter,rssi_dbm,snr_db,spreading_factor\n1,x,,,,\n1,x,-2,-3,1,9\n",
            ":3: counter is \"-2\"",
        ),
        (
            "unix_ms,place,counter,rssi_dbm,snr_db,spreading_factor\n1,x,2,-3,1,13\n",
            ":2: spreading_factor is \"13\"",
        ),
        (
            "unix_ms,place,counter,rssi_dbm,snr_db,spreading_factor\nsoon,x,2,-3,1,9\n",
            ":2: unix_ms is \"soon\"",
        ),
        (
            "unix_ms,place,counter,rssi_dbm,snr_db,spreading_factor\n1,,2,-3,1,9\n",
            ":2: the place has no name",
        ),
    ] {
        let (output, _folder) = report(text, &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{text:?}: {said}");
        assert!(said.contains(words), "{text:?}: {said}");
    }
    let (output, _folder) = report(HEADINGS, &[]);
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn two_nodes_in_one_file_are_told_apart() {
    let file = |nodes: [&str; 2]| {
        let mut text = HEADINGS.replace("factor\n", "factor,node\n");
        for (node, n) in nodes.iter().zip(0..) {
            writeln!(text, "{},daraja,{},-81,7.5,9,{node}", n * 10_000, 100 + n).unwrap();
        }
        text
    };
    let (one, _folder) = report(&file(["mto-chini", "mto-chini"]), &["--json"]);
    let rows: Value = serde_json::from_slice(&one.stdout).unwrap();
    assert_eq!(rows[0]["heard"], 2);
    let (two, _folder) = report(&file(["mto-chini", "mto-juu"]), &[]);
    let said = String::from_utf8_lossy(&two.stderr).into_owned();
    assert_eq!(two.status.code(), Some(2), "{said}");
    assert!(said.contains(":3: of mto-juu, and the lines above are of mto-chini"), "{said}");
}
