//! Nodes that are heard and not declared, in the form in which they can be declared.

use super::ask::{number, text};
use serde_json::Value;
use std::collections::BTreeSet;

/// Returns the lines to be pasted into the configuration, for each node that is heard and not declared.
///
/// Strangers choose names and payloads: what they wrote stays within its comment or string, whatever it holds.
pub(crate) fn declarations(status: &Value) -> Vec<String> {
    let list = |key: &str| status.get(key).and_then(Value::as_array).into_iter().flatten();
    let mut taken: BTreeSet<String> =
        list("nodes").map(|node| text(node, "node").to_owned()).collect();
    list("heard_but_not_declared").map(|node| declaration(node, &mut taken)).collect()
}

fn declaration(node: &Value, taken: &mut BTreeSet<String>) -> String {
    let (name, topic) = (text(node, "node"), text(node, "topic"));
    let heard = format!(
        "# {} frames on {}, last: {}",
        number(node, "count"),
        on_a_line(topic),
        on_a_line(text(node, "sample"))
    );
    let mut lines = vec![heard];
    if topic == "WF1" {
        lines.push(
            "# a node with our own radio link gets its keys from: kengele node add".to_owned(),
        );
        return indented(&lines);
    }
    let wanted = name_of(name);
    let mut own_name = wanted.clone();
    let mut number = 2;
    while !taken.insert(own_name.clone()) {
        own_name = format!("{wanted}-{number}");
        number += 1;
    }
    lines.push(format!("[node.{own_name}]"));
    if own_name != name && topic != "LoRaWAN" {
        lines.push(format!("heard_as = [{}]", quoted(name)));
    }
    lines.push("place = \"?\"".to_owned());
    lines.push("interval = \"10 min\"".to_owned());
    if topic == "LoRaWAN" {
        let key = if name.len() == 16 { "dev_eui" } else { "dev_addr" };
        lines.push(format!("lorawan = {{ {key} = {}, codec = \"?\" }}", quoted(name)));
    }
    let quantities = node.get("quantities").and_then(Value::as_array);
    let known: Vec<&str> = quantities.into_iter().flatten().filter_map(Value::as_str).collect();
    if known.is_empty() {
        lines.push("sensor.QUANTITY = {}  # what it measures, such as water_level".to_owned());
    }
    lines.extend(known.iter().map(|quantity| format!("sensor.{quantity} = {{}}")));
    indented(&lines)
}

fn indented(lines: &[String]) -> String {
    lines.iter().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n")
}

/// Returns a name that a node can have here. One of hexadecimal digits alone is a number, and marked as a node's.
fn name_of(heard: &str) -> String {
    let may_stand = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(c);
    let name: String = heard
        .to_ascii_lowercase()
        .chars()
        .map(|c| if may_stand(c) { c } else { '-' })
        .take(50)
        .collect();
    let name = name.trim_matches(|c| c == '-' || c == '_');
    if name.chars().all(|c| c.is_ascii_hexdigit()) {
        format!("node-{name}").trim_end_matches('-').to_owned()
    } else {
        name.to_owned()
    }
}

/// Returns a text as a basic string of TOML.
fn quoted(text: &str) -> String {
    format!("\"{}\"", on_a_line(&text.replace('\\', "\\\\").replace('"', "\\\"")))
}

/// Returns a text with its control characters written as TOML escapes them, so that no line and no terminal is broken.
fn on_a_line(text: &str) -> String {
    // Besides control characters: line ends and reversals of the writing direction that terminals and editors obey.
    let is_harmless = |c: char| {
        !c.is_control() && !matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if is_harmless(c) {
            line.push(c);
        } else {
            let escape = format!("\\u{:04x}", u32::from(c));
            line.push_str(&escape);
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::declarations;
    use serde_json::json;

    fn heard(node: &str, topic: &str, sample: &str, quantities: &[&str]) -> String {
        let heard = json!({
            "node": node, "topic": topic, "count": 2, "sample": sample, "quantities": quantities,
        });
        declarations(&json!({
            "nodes": [{ "node": "mto-juu" }],
            "heard_but_not_declared": [heard],
        }))
        .remove(0)
    }

    #[test]
    fn a_name_that_is_taken_is_not_given_again() {
        assert!(heard("Mto Juu", "field/Mto Juu/up", "", &[]).contains("[node.mto-juu-2]"));
    }

    #[test]
    fn a_stranger_is_shown_as_it_is_to_be_declared() {
        assert_eq!(
            heard("mto-mpya", "field/mto-mpya/up", "{\"level\":80}", &["water_level"]),
            "  # 2 frames on field/mto-mpya/up, last: {\"level\":80}\n  [node.mto-mpya]\n  \
             place = \"?\"\n  interval = \"10 min\"\n  sensor.water_level = {}"
        );
        let lorawan = heard("0011223344556677", "LoRaWAN", "\u{fffd}", &[]);
        assert!(lorawan.contains("[node.node-0011223344556677]"), "{lorawan}");
        assert!(lorawan.contains("dev_eui = \"0011223344556677\""), "{lorawan}");
        assert!(lorawan.contains("sensor.QUANTITY"), "{lorawan}");
        assert!(heard("wf1-7", "WF1", "", &[]).contains("kengele node add"));
    }

    #[test]
    fn whatever_strangers_call_themselves_and_say_stays_within_its_string_and_comment() {
        let said = "x\n[listener]\nanonymous = true\r\n\u{1b}[31m\u{2028}\u{7f}";
        for name in
            ["Mto Juu\"]\n[listener]\nanonymous=true\n#", "\u{1b}\\\"", "\u{7f}", "!!", "!0a0b"]
        {
            let pasted = heard(name, &format!("field/{name}/up"), said, &["rain"]);
            let table: toml::Table = pasted.parse().unwrap_or_else(|e| panic!("{e}\n{pasted}"));
            assert_eq!(table.keys().collect::<Vec<_>>(), ["node"], "{pasted}");
            let nodes = table["node"].as_table().unwrap();
            assert_eq!(nodes.len(), 1, "{pasted}");
            let node = nodes.values().next().unwrap();
            assert_eq!(node["heard_as"][0].as_str(), Some(name), "{pasted}");
            assert_eq!(pasted.chars().filter(|c| c.is_control() && *c != '\n').count(), 0);
        }
    }
}
