//! The presets as data: they load, render as recorded, and let nothing out of its place.

use super::{ANNA, BEN, HOSTILE, PASSWORD, account, message, settings};
use kengele::channel::http_sms::{Account, BUILTIN, Error, HttpSms, Preset, Request};
use kengele::domain::message::{Priority, Submission};
use kengele::wire::http1;
use std::collections::BTreeMap;

#[test]
fn every_preset_loads_and_says_what_it_needs() {
    for (id, text) in BUILTIN {
        let preset = Preset::parse(text).unwrap_or_else(|error| panic!("{id}: {error:?}"));
        assert!(!preset.name.is_empty() && !preset.source.is_empty(), "{id}");
        assert!(preset.verified || !preset.note.is_empty(), "{id}: what is not verified?");
    }
    assert!(Preset::builtin("nobody").is_err());
}

#[test]
fn the_documentation_lists_every_preset() {
    let yes = |there: bool| if there { "yes" } else { "" };
    let mut table = String::from(
        "| preset | provider | where | checked | messages a request | reports by webhook | reports fetched | balance |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for (id, text) in BUILTIN {
        let preset = Preset::parse(text).unwrap();
        let cells = [
            format!("`{id}`"),
            preset.name.clone(),
            preset.countries.clone(),
            yes(preset.verified).to_owned(),
            preset.batch_max().to_string(),
            yes(preset.has_webhook()).to_owned(),
            yes(preset.can_poll()).to_owned(),
            yes(preset.has_balance()).to_owned(),
        ];
        table.extend(["| ", &cells.join(" | "), " |\n"]);
    }
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/sms-providers.md");
    let page = std::fs::read_to_string(path).unwrap();
    assert!(page.contains(&table), "docs/sms-providers.md must hold this table:\n{table}");
}

#[test]
fn every_preset_renders_as_recorded() {
    let mut seen = String::new();
    for (id, text) in BUILTIN {
        let preset = Preset::parse(text).unwrap();
        let mut account = account(&preset, "http://provider.test/");
        for (key, need) in &preset.settings {
            if let Some(default) = &need.default {
                account.settings.insert(key.clone(), default.clone());
            }
        }
        account.dlr_url = Some("http://gateway.test/path-secret".to_owned());
        let anna = message(1, ANNA, "Mto unapanda: 2.4 m. Hama sasa!");
        let ben = Submission { priority: Priority::Advice, ..message(2, BEN, "Mto 🌊 & more") };
        let mut cases = vec![vec![&anna], vec![&ben]];
        let anna_too = Submission { to: BEN.to_owned(), ..anna.clone() };
        if preset.batch_max() > 1 {
            cases.push(vec![&anna, &anna_too]);
        }
        for messages in cases {
            let request = preset.render(&account, &messages, Some("token-1")).unwrap();
            let mut lines = vec![format!("## {id}\n{} {}", request.method, request.url)];
            lines.extend(request.headers.iter().map(|(name, value)| format!("{name}: {value}")));
            lines.extend(
                request.basic.map(|(user, password)| format!("basic: {user} / {password}")),
            );
            lines.extend(request.body.map(|body| String::from_utf8(body).unwrap()));
            seen.push_str(&(lines.join("\n") + "\n\n"));
        }
    }
    insta::assert_snapshot!("requests", seen);
}

#[test]
fn hostile_texts_stay_in_their_place() {
    for (id, text) in BUILTIN {
        let preset = Preset::parse(text).unwrap();
        let account = account(&preset, "http://provider.test");
        let hostile = message(1, ANNA, HOSTILE);
        let request = preset.render(&account, &[&hostile], Some("token-1")).unwrap();
        let plain = message(1, ANNA, "plain \u{16a0}");
        let expected = preset.render(&account, &[&plain], Some("token-1")).unwrap();
        assert_eq!(request.headers, expected.headers, "{id}");
        let parts = |request: &Request| {
            let (_, query) = request.url.split_once('?').unwrap_or_default();
            let mut parts: BTreeMap<String, String> = http1::form(query).into_iter().collect();
            let body = String::from_utf8(request.body.clone().unwrap_or_default()).unwrap();
            if body.starts_with('{') {
                flatten("", &serde_json::from_str(&body).unwrap(), &mut parts);
            } else {
                parts.extend(http1::form(&body));
            }
            parts
        };
        let (got, expected) = (parts(&request), parts(&expected));
        assert_eq!(got.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{id}");
        let changed: Vec<&String> = got
            .iter()
            .filter(|(name, value)| expected.get(*name) != Some(value))
            .map(|p| p.1)
            .collect();
        assert_eq!(changed, [HOSTILE], "{id}");
    }
}

fn flatten(path: &str, value: &serde_json::Value, into: &mut BTreeMap<String, String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (name, value) in fields {
                flatten(&format!("{path}/{name}"), value, into);
            }
        }
        serde_json::Value::Array(items) => {
            for (place, value) in items.iter().enumerate() {
                flatten(&format!("{path}/{place}"), value, into);
            }
        }
        serde_json::Value::String(text) => {
            into.insert(path.to_owned(), text.clone());
        }
        serde_json::Value::Null | serde_json::Value::Bool(_) | serde_json::Value::Number(_) => {
            into.insert(path.to_owned(), value.to_string());
        }
    }
}

#[test]
fn an_operators_xml_preset_is_escaped_as_xml() {
    let preset = Preset::parse(
        r#"
        name = "XML"
        verified = false
        source = "test"
        [secrets.key]
        about = "key"
        [send]
        method = "POST"
        url = "http://provider.test/{key}"
        [send.raw]
        template = "<sms to='{to_digits}' key='{secret.key}'>{text}</sms>"
        content_type = "text/xml"
        escape = "xml"
        [reply]
        format = "text"
        [[reply.rule]]
        status = [200]
        where = [{ contains = "<ok/>" }]
        then = "accepted"
        "#,
    )
    .unwrap();
    let account = account(&preset, "");
    let mut hostile = message(1, ANNA, "<b>'&\u{0}\"");
    hostile.idempotency_key = "a/../b?c".to_owned();
    let request = preset.render(&account, &[&hostile], None).unwrap();
    assert_eq!(request.url, "http://provider.test/a%2F..%2Fb%3Fc");
    assert_eq!(
        String::from_utf8(request.body.unwrap()).unwrap(),
        "<sms to='254711000111' key='s3cret &amp; more'>&lt;b&gt;&apos;&amp;&quot;</sms>"
    );
}

#[test]
fn a_preset_that_contradicts_itself_is_refused() {
    let head =
        "name='x'\nverified=false\nsource='x'\n[send]\nmethod='POST'\nurl='http://x/{setting.a}'\n";
    let declared = "[settings.a]\nabout='a'\n";
    let accepted = "[reply]\nformat='json'\n[[reply.rule]]\nstatus=[200]\nthen='accepted'\n";
    let faults = [
        (format!("{head}{accepted}"), "does not declare \"a\""),
        (format!("{head}{declared}[reply]\nformat='json'\nrule=[]"), "no rule says when"),
        (format!("{head}form={{a='b'}}\njson='{{}}'\n{declared}{accepted}"), "more than one of"),
        (
            format!(
                "{head}{declared}[reply]\nformat='json'\neach='m'\n[[reply.rule]]\nstatus=[200]\nthen='accepted'"
            ),
            "must look at the item",
        ),
        (
            format!("{head}{declared}[reply]\nformat='json'\n[[reply.rule]]\nthen='accepted'"),
            "HTTP statuses",
        ),
        (format!("{head}form={{i='{{key}}'}}\n{declared}[batch]\nmax=9\n{accepted}"), "{key}"),
        (format!("{head}colour='red'\n{declared}{accepted}"), "unknown field"),
        (format!("{head}form={{i='{{nobody}}'}}\n{declared}{accepted}"), "nobody"),
    ];
    for (text, expected) in faults {
        let error = Preset::parse(&text).unwrap_err();
        let words = kengele::supervise::chain(&error);
        assert!(words.contains(expected), "{expected}: {words}");
    }
}

#[test]
fn what_is_missing_from_an_account_is_named() {
    let mut bare = settings("sms-gateway-android", "http://x");
    bare.account = Account::default();
    let error = HttpSms::new(bare).err().unwrap();
    assert!(error.to_string().ends_with("setting.username, secret.password missing"), "{error}");
    let telesom = settings("telesom", "http://x");
    assert!(matches!(HttpSms::new(telesom), Err(Error::Unsupported { .. })));
}

#[test]
fn secrets_numbers_and_texts_have_no_readable_form() {
    let mut settings = settings("vonage", "http://provider.test");
    settings.account.dlr_url = Some("http://gateway.test/path-secret".to_owned());
    let request = settings.preset.render(&settings.account, &[&message(1, ANNA, "text!")], None);
    let words = format!("{settings:?} {request:?} {:?}", settings.account.secrets);
    for word in [PASSWORD, "path-secret", "711000111", "text!"] {
        assert!(!words.contains(word), "{word}");
    }
}
