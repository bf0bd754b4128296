//! The configuration as operators meet it: what ships loads clean, and what is broken is told by line and column.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::string_slice,
    clippy::indexing_slicing,
    reason = "a test that finds nothing where something must be shall fail"
)]

use kengele::config::{
    Loaded, Outside, SegmentCount, Severity, Source, TableReference, TextReport, load, parse,
    reference, telling_time,
};
use kengele::domain::quantity::Quantity;
use kengele::domain::recipient::Role;
use kengele::domain::rule::{Function, Limit, Test};
use kengele::domain::warning::Level;
use kengele::wire::segment::{Encoding, Options, count};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn count_segments(text: &str) -> SegmentCount {
    let count = count(text, &Options::default());
    SegmentCount {
        segments: u32::try_from(count.segments).unwrap(),
        unicode: count.encoding == Encoding::Ucs2,
    }
}

const OUTSIDE: Outside<'static> =
    Outside { count_segments: &count_segments, presets: &["africastalking", "generic", "twilio"] };

fn here(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn shipped() -> Loaded {
    load(&here("deploy/kengele.toml"), &OUTSIDE).unwrap_or_else(|faults| {
        panic!("{}", faults.iter().map(|fault| fault.pretty() + "\n").collect::<String>())
    })
}

fn source(name: &str, text: &str) -> Source {
    Source { name: name.to_owned(), text: text.to_owned() }
}

fn faults(text: &str) -> Vec<String> {
    let diagnostics = match parse(&[source("kengele.toml", text)], &OUTSIDE) {
        Ok(loaded) => loaded.warnings,
        Err(faults) => faults,
    };
    diagnostics.iter().map(ToString::to_string).collect()
}

#[test]
fn what_ships_loads_without_a_word() {
    let loaded = shipped();
    let words: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(words, Vec::<String>::new());
    assert!(loaded.texts.iter().all(|text| text.count.segments <= 2), "{:#?}", loaded.texts);
}

#[test]
fn what_ships_says_what_it_means() {
    let config = shipped().config;
    assert_eq!(config.rules.nodes.len(), 4);
    assert_eq!(config.rules.version.len(), 12);
    let listener = config.listener.as_ref().unwrap();
    assert_eq!(listener.credentials[0].nodes, ["mto-*", "mvua-kilimani"]);
    assert_eq!(config.roles[1].channels, [["sim-ya-kwanza"], ["at"]]);
    let flood = config.rules.rules.iter().find(|rule| rule.name == "mafuriko").unwrap();
    let Test::AtLeast(1, any) = &flood.levels[1].test else { panic!("{flood:?}") };
    let Test::AtLeast(2, all) = &any[2] else { panic!("{any:?}") };
    let Test::Signal(rising) = &all[0] else { panic!("{all:?}") };
    assert!(rising.while_silent);
    assert_eq!(rising.signal.function, Function::Change(Duration::from_mins(30)));
    let Test::Signal(rises) = &any[1] else { panic!("{any:?}") };
    assert!(!rises.while_silent);
    let Limit::Above { enter, exit } = rises.limit else { panic!("{rises:?}") };
    assert!((enter - 0.5).abs() < 1e-9 && (exit - 0.2).abs() < 1e-9);
    let Test::AtLeast(2, gauges) = &flood.levels[2].test else { panic!("{flood:?}") };
    assert_eq!(gauges.len(), 2);
}

/// Returns the condition that `written` becomes, beside the nodes of the base.
fn condition(written: &str) -> Test {
    let rule = "[rule.x]\nhazard = \"x\"\narea = \"bonde\"\nall_clear.sw = \"x\"\n[[rule.x.level]]\n\
        level = \"danger\"\naudience = [\"warden\"]\ntext.sw = \"x\"\n";
    let text = format!("{rule}{written}\n{BASE}");
    let loaded = parse(&[source("kengele.toml", &text)], &OUTSIDE);
    let loaded = loaded.unwrap_or_else(|faults| panic!("{written}: {faults:#?}"));
    let rule = loaded.config.rules.rules.iter().find(|rule| rule.name == "x").cloned().unwrap();
    rule.levels.into_iter().next().unwrap().test
}

/// Returns the ends of a limit: where it begins and ends, or its band and margin.
fn ends(limit: Limit) -> (&'static str, Vec<f64>) {
    match limit {
        Limit::Above { enter, exit } => ("above", vec![enter, exit]),
        Limit::Below { enter, exit } => ("below", vec![enter, exit]),
        Limit::Outside { low, high, margin } => ("outside", vec![low, high, margin]),
        Limit::Inside { low, high, margin } => ("inside", vec![low, high, margin]),
    }
}

#[test]
fn each_form_of_a_limit_becomes_what_it_says_in_the_quantitys_own_unit() {
    let hour = Duration::from_hours(1);
    let (water, air) = ("mto/water_level", "hewa/air_temperature");
    for (signal, limit, function, expected) in [
        (
            water,
            "above = \"240 cm\"\nhysteresis = \"20 cm\"",
            Function::Last,
            ("above", vec![2.4, 2.2]),
        ),
        (
            water,
            "below = \"1 m\"\nhysteresis = \"0.2 m\"",
            Function::Last,
            ("below", vec![1.0, 1.2]),
        ),
        (
            water,
            "rises = \"0.3 m in 1 h\"\nhysteresis = \"0.1 m\"",
            Function::Change(hour),
            ("above", vec![0.3, 0.2]),
        ),
        (
            water,
            "falls = \"0.3 m in 1 h\"\nhysteresis = \"0.1 m\"",
            Function::Change(hour),
            ("below", vec![-0.3, -0.2]),
        ),
        (
            "mto/water_level max 60 min",
            "above = \"3 m\"",
            Function::Max(hour),
            ("above", vec![3.0, 3.0]),
        ),
        (
            "mto/water_level rate 1 h",
            "above = \"1 cm/min\"\nhysteresis = \"0.1 m/h\"",
            Function::Rate(hour),
            ("above", vec![0.6, 0.5]),
        ),
        ("hewa/rain sum 1 h", "above = \"5 cm\"", Function::Sum(hour), ("above", vec![50.0, 50.0])),
        ("hewa/rain count 1 h", "below = 3", Function::Count(hour), ("below", vec![3.0, 3.0])),
        (
            air,
            "outside = [\"50 °F\", \"30 °C\"]\nhysteresis = \"1.8 °F\"",
            Function::Last,
            ("outside", vec![10.0, 30.0, 1.0]),
        ),
        (air, "inside = [\"0 °C\", \"4 °C\"]", Function::Last, ("inside", vec![0.0, 4.0, 0.0])),
    ] {
        let Test::Signal(leaf) = condition(&format!("signal = \"{signal}\"\n{limit}")) else {
            panic!("{signal} {limit}")
        };
        assert_eq!(leaf.signal.function, function, "{signal} {limit}");
        let (form, values) = ends(leaf.limit);
        assert_eq!((form, values.len()), (expected.0, expected.1.len()), "{signal} {limit}");
        for (found, expected) in values.iter().zip(&expected.1) {
            assert!((found - expected).abs() < 1e-9, "{signal} {limit}: {values:?}");
        }
    }
}

#[test]
fn a_signal_goes_on_counting_only_where_the_same_condition_asks_for_its_silence() {
    let rising = "{ signal = \"mto/water_level\", rises = \"0.3 m in 1 h\" }";
    for (form, silent, counts) in [
        ("all", "mto", true),
        ("any", "mto", false),
        ("all", "hewa", false),
        ("at_least = 2\nof", "mto", true),
    ] {
        let written = format!(
            "{form} = [{{ any = [{rising}, {rising}] }}, {{ node = \"{silent}\", silent = \"1 h\" }}]"
        );
        let Test::AtLeast(_, parts) = condition(&written) else { panic!("{written}") };
        let Test::AtLeast(1, inner) = &parts[0] else { panic!("{written}") };
        let Test::Signal(leaf) = &inner[1] else { panic!("{written}") };
        assert_eq!(leaf.while_silent, counts, "{written}");
    }
}

#[test]
fn a_text_is_counted_in_its_worst_case() {
    let loaded = shipped();
    let text = |rule: &str, level, language: &str| {
        let of = |t: &&TextReport| t.rule == rule && t.level == level && t.language == language;
        loaded.texts.iter().find(of).unwrap()
    };
    let danger = text("mafuriko", Some(Level::Danger), "en");
    assert_eq!(
        danger.worst,
        "DANGER Lower valley: FLOOD! The water at Kivuko cha kati is at 6.00 m. \
         Leave now, go to high ground. Kamati ya Maafa 23:59 #99999-99"
    );
    assert_eq!((danger.count.segments, danger.count.unicode), (1, false));
    // A short place with a foreign letter costs more than the longest without.
    let text = BASE.replace("[node.mto]", "[node.mto]\nplace = \"Mŵezi\"").replace(
        "text.sw = \"Maji {value}\"",
        &format!("text.sw = \"{{place}} {}\"", "x".repeat(130)),
    );
    let text = text
        + "[node.mtoni]\nplace = \"Daraja la juu\"\ninterval = \"5 min\"\nsensor.water_level = {}\n";
    let text = text.replace("mto/water_level", "mto*/water_level");
    let loaded = parse(&[source("kengele.toml", &text)], &OUTSIDE).unwrap();
    let worst = &loaded.texts[0];
    assert!(worst.worst.starts_with("Mŵezi") && worst.count.unicode, "{worst:?}");
}

/// A line of a shipped file: its table and key, whether it shows a default, and what stands behind the `=`.
struct Line {
    table: &'static str,
    key: String,
    default: bool,
    value: String,
}

fn header_fits(written: &str, header: &str) -> bool {
    let (written, header): (Vec<&str>, Vec<&str>) =
        (written.split('.').collect(), header.split('.').collect());
    let free = |part: &str| part.trim_end_matches(']').bytes().all(|b| b.is_ascii_uppercase());
    written.len() == header.len()
        && written.iter().zip(header).all(|(written, header)| {
            free(header) && written.ends_with(']') == header.ends_with(']') || *written == header
        })
}

fn shipped_lines(tables: &[TableReference]) -> Vec<Line> {
    let mut lines = Vec::new();
    for path in ["kengele.toml", "rules.d/flood.toml", "rules.d/drought.toml", "rules.d/frost.toml"]
    {
        let text = std::fs::read_to_string(here("deploy").join(path)).unwrap();
        let (mut table, mut example) = (None, false);
        for line in text.lines() {
            // What follows "example:" is no default, up to the next empty line.
            example = !line.is_empty() && (example || line.ends_with("example:"));
            let commented = line.starts_with('#') && !line.starts_with("# ") && line.len() > 1;
            let line = if commented { &line[1..] } else { line };
            if line.starts_with('[') {
                table = tables.iter().find(|table| header_fits(line, table.header));
                // What is no table of its own is a key of the one above, such as `[rule.NAME.all_clear]`.
                if let (None, Some((above, key))) =
                    (table, line.trim_matches(['[', ']']).rsplit_once('.'))
                {
                    let above =
                        tables.iter().find(|t| header_fits(&format!("[{above}]"), t.header));
                    let (key, value) = (key.to_owned(), String::new());
                    let table = above.unwrap().header;
                    lines.push(Line { table, key, default: false, value });
                }
            } else if let (Some(table), Some((key, value))) = (table, line.split_once(" = "))
                && !line.starts_with(['#', ' '])
            {
                let key = key.split('.').next().unwrap().to_owned();
                let value = value.to_owned();
                lines.push(Line {
                    table: table.header,
                    key,
                    default: commented && !example,
                    value,
                });
            }
        }
    }
    lines
}

#[test]
fn the_shipped_files_show_every_option_and_the_true_defaults() {
    let tables = reference();
    let lines = shipped_lines(&tables);
    let inline = ["condition", "[topic.field]"];
    for table in tables.iter().filter(|table| !inline.contains(&table.header)) {
        for key in &table.keys {
            let mut found = lines.iter().filter(|l| l.table == table.header && l.key == key.name);
            let below = format!("{}.{}", table.header.trim_matches(['[', ']']), key.name);
            let has_table = key.kind.contains("table")
                && tables.iter().any(|t| t.header.trim_matches(['[', ']']).starts_with(&below));
            let inside = lines.iter().any(|line| line.value.contains(&format!("{} = ", key.name)));
            assert!(
                found.clone().next().is_some() || has_table || inside,
                "deploy/ does not show `{}` of {}",
                key.name,
                table.header
            );
            if let (Some(default), Some(line)) = (key.default, found.find(|line| line.default)) {
                assert_eq!(line.value, default, "{} {}", table.header, key.name);
            }
        }
    }
}

#[test]
fn the_shipped_files_are_sound_with_every_option_set() {
    let mut sources = Vec::new();
    for path in ["kengele.toml", "rules.d/flood.toml", "rules.d/drought.toml", "rules.d/frost.toml"]
    {
        let text = std::fs::read_to_string(here("deploy").join(path)).unwrap();
        let set = |line: &str| match line.strip_prefix('#') {
            Some(key) if !key.starts_with(' ') => key.to_owned() + "\n",
            Some(_) | None => line.to_owned() + "\n",
        };
        sources.push(source(path, &text.lines().map(set).collect::<String>()));
    }
    let faults = parse(&sources, &OUTSIDE).err().unwrap_or_default();
    let errors: Vec<String> = faults
        .iter()
        .filter(|fault| fault.severity == Severity::Error)
        .map(ToString::to_string)
        .collect();
    // `url` beside a preset and `custom` without one are both shown; nothing else disagrees.
    assert_eq!(errors, Vec::<String>::new());
}

/// The generated parts of `docs/configuration.md`: quantities, and every key.
fn quantities_text() -> String {
    let mut text = "| quantity | units |\n|---|---|\n".to_owned();
    for quantity in Quantity::all() {
        let units: Vec<&str> = quantity.units().iter().map(|unit| unit.symbol).collect();
        writeln!(text, "| `{quantity}` | {} |", units.join(", ")).unwrap();
    }
    text
}

fn reference_text() -> String {
    let mut text = String::new();
    for table in reference() {
        let title = if table.header == "condition" {
            "Conditions".into()
        } else {
            format!("`{}`", table.header)
        };
        write!(text, "\n### {title}\n\n{}\n\n", table.doc).unwrap();
        text += "| key | value | when not written | meaning |\n|---|---|---|---|\n";
        for key in table.keys {
            writeln!(text, "| `{}` | {} | {} | {} |", key.name, key.kind, key.otherwise, key.doc)
                .unwrap();
        }
    }
    text
}

#[test]
fn the_reference_in_the_documentation_is_that_of_the_code() {
    let path = here("docs/configuration.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let mut right = text.clone();
    for (name, generated) in [("quantities", quantities_text()), ("keys", reference_text())] {
        let (start, end) =
            (format!("<!-- generated: {name} -->\n"), format!("<!-- end of {name} -->"));
        let (before, rest) = right.split_once(&start).unwrap();
        let (_, after) = rest.split_once(&end).unwrap();
        right = format!("{before}{start}{generated}{end}{after}");
    }
    #[expect(clippy::disallowed_methods, reason = "a switch for the developer, not a setting")]
    if std::env::var("UPDATE_DOCS").is_ok() {
        std::fs::write(&path, &right).unwrap();
    } else {
        assert!(text == right, "docs/configuration.md is behind: run with UPDATE_DOCS=1");
    }
}

#[test]
fn every_example_in_the_documentation_is_sound() {
    let text = std::fs::read_to_string(here("docs/configuration.md")).unwrap();
    let mut examples =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let whole = examples.next().unwrap();
    assert_eq!(faults(whole), Vec::<String>::new());
    assert!(examples.next().is_none(), "an example that is not whole cannot be checked");
}

/// Each file of the corpus is a broken configuration; lines `#! 3:4 error: …` at its end are the faults to be found.
#[test]
fn each_broken_configuration_is_told_by_line_column_and_remedy() {
    let mut paths: Vec<PathBuf> =
        std::fs::read_dir(here("tests/configs")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() >= 40, "only {} files", paths.len());
    #[expect(clippy::disallowed_methods, reason = "a switch for the developer, not a setting")]
    let update = std::env::var("UPDATE_CONFIGS").is_ok();
    let mut wrong = String::new();
    for path in paths {
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("#!")).collect();
        let body = lines.join("\n") + "\n";
        let expected: Vec<&str> =
            text.lines().filter_map(|line| line.strip_prefix("#! ")).collect();
        // Files that are not marked as whole are followed by a sound base, so that each shows its own fault alone.
        let base = if body.starts_with("# whole") { "" } else { BASE };
        let whole = format!("{body}{base}");
        let found = faults(&whole);
        let found: Vec<&str> =
            found.iter().map(|f| f.strip_prefix("kengele.toml:").unwrap_or(f)).collect();
        if update {
            let expected = found.iter().map(|fault| "#! ".to_owned() + fault).collect::<Vec<_>>();
            let body = body.trim_end();
            std::fs::write(&path, format!("{body}\n{}\n", expected.join("\n"))).unwrap();
        } else if found != expected || expected.is_empty() {
            writeln!(wrong, "{}:\n found {found:#?}\n expected {expected:#?}", path.display())
                .unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// A sound configuration of what most of the corpus names.
const BASE: &str = include_str!("../config_base.toml");

#[test]
fn the_base_of_the_corpus_is_sound_itself() {
    assert_eq!(faults(BASE), Vec::<String>::new());
}

#[test]
fn a_template_that_is_taken_here_is_taken_where_topics_are_read() {
    for template in [
        "a/{node}",
        "+/{node}/{quantity}",
        "{node}",
        "a/b",
        "{node}/{node}",
        "{node}/#",
        "a/{nod}",
        "a/x{node}",
        "a+/{node}",
        "{node}/{quantity}/{quantity}",
    ] {
        let topic = format!("[[topic]]\ntemplate = \"{template}\"\nformat = \"number\"\n");
        let quantity = if template.contains("quantity") { "" } else { "quantity = \"rain\"\n" };
        // Without the base's own topic, so that nothing overlaps.
        let (before, rest) = BASE.split_once("[[topic]]").unwrap();
        let (_, after) = rest.split_once("format = \"number\"\n").unwrap();
        let found = parse(&[source("k", &format!("{topic}{quantity}{before}{after}"))], &OUTSIDE);
        let wire = kengele::wire::topic::Template::parse(template);
        assert_eq!(found.is_ok(), wire.is_ok(), "{template}: {found:?} {wire:?}");
    }
}

#[test]
fn two_files_may_not_share_a_name_and_rules_may_not_set_the_gateway() {
    let main = source("kengele.toml", BASE);
    let more = source(
        "rules.d/more.toml",
        "[gateway]\nname = \"x\"\n[node.mto]\ninterval = \"1 min\"\nsensor.rain = {}\n",
    );
    let found = parse(&[main, more], &OUTSIDE).unwrap_err();
    let found: Vec<String> = found.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(
        found[0].starts_with("rules.d/more.toml:1:2: error: `gateway` belongs in the main file")
    );
    assert!(
        found[1].starts_with(
            "rules.d/more.toml:3:7: error: node \"mto\" stands in kengele.toml already"
        )
    );
}

#[test]
fn the_version_of_the_rules_follows_their_text() {
    let version =
        |sources: &[Source]| parse(sources, &OUTSIDE).unwrap().config.rules.version.clone();
    let main = source("kengele.toml", BASE);
    let comment = source("rules.d/a.toml", "# a\n");
    let moved = source("elsewhere/kengele.toml", BASE);
    assert_eq!(version(std::slice::from_ref(&main)), version(&[moved]));
    assert_ne!(version(std::slice::from_ref(&main)), version(&[main, comment]));
}

#[test]
fn telling_everybody_takes_as_long_as_the_slowest_channel() {
    let config = shipped().config;
    let roles: Vec<Role> = ["warden", "household", "farmer"].map(|r| Role(r.into())).to_vec();
    let recipients =
        BTreeMap::from([(roles[0].clone(), 3), (roles[1].clone(), 57), (roles[2].clone(), 1000)]);
    // 60 people × 2 segments at 10 a minute by modem; 1,000 messages at 5 a second by the provider.
    assert_eq!(telling_time(&config, &roles, &recipients, 2), Duration::from_mins(12));
    assert_eq!(telling_time(&config, &roles[2..], &recipients, 2), Duration::from_secs(200));
    assert_eq!(telling_time(&config, &[], &recipients, 2), Duration::ZERO);
}

#[test]
fn a_secret_in_the_file_is_not_shown() {
    let text = std::fs::read_to_string(here("tests/configs/secrets-inline.toml")).unwrap();
    for fault in parse(&[source("kengele.toml", &text)], &OUTSIDE).unwrap_err() {
        let shown = fault.pretty() + &serde_json::to_string(&fault).unwrap();
        for secret in ["siri", "1234", "abc"] {
            assert!(!shown.contains(secret), "{shown}");
        }
    }
}

#[test]
fn every_file_with_a_secret_is_known() {
    let config = shipped().config;
    let files: Vec<String> =
        config.secret_files().map(|(key, path)| format!("{key} {}", path.display())).collect();
    assert_eq!(
        files,
        [
            "password_file /etc/kengele/secrets/mto",
            "password_file /etc/kengele/secrets/shamba",
            "password_file /etc/kengele/secrets/kingora",
            "secret_files /etc/kengele/secrets/africastalking",
        ]
    );
}

#[test]
fn text_nested_beyond_reason_is_answered() {
    for (open, close) in [("[", "]"), ("{a=", "}")] {
        let deep = format!("x = {}{}\n", open.repeat(20_000), close.repeat(20_000));
        assert!(!faults(&deep).is_empty());
    }
    let any = format!("{}1{}", "[{ any = ".repeat(60), " }]".repeat(60));
    assert!(!faults(&format!("[[rule.x.level]]\nany = {any}\n")).is_empty());
}

#[test]
fn a_configuration_of_ten_thousand_nodes_is_checked() {
    let mut text = BASE.to_owned();
    for node in 0..10_000 {
        writeln!(text, "[node.n{node}]\ninterval = \"5 min\"\nsensor.water_level = {{}}").unwrap();
    }
    text += "[listener]\nlisten = [\"127.0.0.1:1883\"]\n[[listener.credential]]\nuser = \"u\"\n";
    text += "password_file = \"/p\"\nnodes = [\"n*\", \"mto\"]\n";
    assert_eq!(faults(&text), Vec::<String>::new());
}

#[test]
fn files_are_read_from_the_folder_and_the_rules_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let main = folder.path().join("kengele.toml");
    let missing = load(&main, &OUTSIDE).unwrap_err();
    assert!(missing[0].to_string().contains("cannot read the file"), "{}", missing[0]);
    assert!(missing[0].to_string().contains("-c FILE"), "{}", missing[0]);
    std::fs::write(&main, BASE).unwrap();
    std::fs::create_dir(folder.path().join("rules.d")).unwrap();
    for (name, text) in
        [("b.toml", "x = 1\n"), ("a.toml", "y = 1\n"), (".c.toml", "z = 1"), ("d.bak", "=")]
    {
        std::fs::write(folder.path().join("rules.d").join(name), text).unwrap();
    }
    let found = load(&main, &OUTSIDE).unwrap_err();
    let found: Vec<&str> = found.iter().map(|fault| fault.message.as_str()).collect();
    assert_eq!(found, ["unknown key `y`", "unknown key `x`"]);
    std::fs::write(folder.path().join("rules.d/b.toml"), b"# \n\xff").unwrap();
    let found = load(&main, &OUTSIDE).unwrap_err();
    assert_eq!(found[0].message, "line 2 is not UTF-8");
}

#[test]
fn a_diagnostic_is_json_for_machines() {
    let found = parse(&[source("kengele.toml", "x = 1\n")], &OUTSIDE).unwrap_err();
    let json = serde_json::to_value(&found).unwrap();
    let unknown = json
        .as_array()
        .unwrap()
        .iter()
        .find(|f| f["line"] == 1 && f["message"] == "unknown key `x`");
    assert_eq!(unknown.unwrap()["severity"], "error");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn any_text_is_answered_and_never_panics(text in "\\PC{0,200}") {
        let _answered = faults(&text);
    }

    #[test]
    fn any_value_of_any_key_is_answered(
        cuts in prop::collection::vec((0usize..6000, 0usize..12, "[\\[\\]{}\"'=#.,/* a-z0-9°\\\\\n-]{0,6}"), 1..6)
    ) {
        let mut text = BASE.to_owned();
        for (at, length, put) in cuts {
            let floor = |mut at: usize| {
                at = at.min(text.len());
                while !text.is_char_boundary(at) { at -= 1; }
                at
            };
            let (start, end) = (floor(at % BASE.len()), floor(at % BASE.len() + length));
            text.replace_range(start..end, &put);
        }
        for fault in faults(&text) {
            prop_assert!(fault.starts_with("kengele.toml:"), "{fault}");
        }
    }
}

/// The examples of a page, each beside a sound configuration.
#[test]
fn every_example_of_devices_is_sound() {
    for (page, examples) in [("docs/network-servers.md", 4), ("docs/sirens.md", 3)] {
        let text = std::fs::read_to_string(here(page)).unwrap();
        let found = text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap());
        let mut count = 0;
        for example in found {
            let text = format!("{BASE}\n{example}");
            let faults =
                parse(&[source("kengele.toml", &text)], &OUTSIDE).err().unwrap_or_default();
            let errors: Vec<String> = faults
                .iter()
                .filter(|fault| fault.severity == Severity::Error)
                .map(ToString::to_string)
                .collect();
            assert_eq!(errors, Vec::<String>::new(), "{page}: {example}");
            count += 1;
        }
        assert_eq!(count, examples, "{page}");
    }
}
