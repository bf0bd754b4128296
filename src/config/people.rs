//! Areas, roles, and the channels by which roles are told.

use super::amount::{list_text, nearest};
use super::document::{Faults, Place};
use super::section::{Section, name};
use super::settings::{Area, Balance, Modem, RoleSettings, SmsProvider, Webhook};
use crate::domain::recipient::{PhoneNumber, Role};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// What a role may write for every modem, and for every provider.
const CHANNEL_KINDS: [&str; 2] = ["modem", "http"];

/// Returns the name of a named table, reported when it is none.
pub(super) fn checked_name(section: &Section<'_>, faults: &Faults<'_>) -> String {
    if let Err(complaint) = name(section.name) {
        faults.error(section.place, complaint.message, complaint.help);
    }
    section.name.to_owned()
}

/// Declared names that a diagnostic lists at the most.
const LISTED_MAX: usize = 12;

/// Reports a name that is none of `known`.
pub(super) fn unknown(faults: &Faults<'_>, at: Place, what: &str, name: &str, known: &[&str]) {
    let help = match (nearest(name, known.iter().copied()), known) {
        (Some(near), _) => format!("did you mean \"{near}\"?"),
        (None, []) => format!("no {what} is declared"),
        (None, _) if known.len() > LISTED_MAX => {
            let shown = known.get(..LISTED_MAX).unwrap_or_default().join(", ");
            format!("declared: {shown} and {} more", known.len() - LISTED_MAX)
        }
        (None, _) => format!("declared: {}", list_text(known, "and")),
    };
    faults.missing(at, format!("unknown {what} \"{name}\""), help);
}

/// Reads `[area.NAME]`.
pub(super) fn areas(root: &Section<'_>, faults: &Faults<'_>) -> Vec<Area> {
    let read = |section: &Section<'_>| {
        let name = checked_name(section, faults);
        Area {
            title: section.opt("name").unwrap_or_else(|| name.clone()),
            titles: section.get("name_in"),
            name,
        }
    };
    root.named("area").iter().map(read).collect()
}

/// Reads `[role.NAME]`; `modems` and `providers` are what they may name.
pub(super) fn roles(
    root: &Section<'_>,
    modems: &[Modem],
    providers: &[SmsProvider],
    faults: &Faults<'_>,
) -> Vec<RoleSettings> {
    let modems: Vec<&str> = modems.iter().map(|modem| modem.name.as_str()).collect();
    let providers: Vec<&str> = providers.iter().map(|provider| provider.name.as_str()).collect();
    let mut roles = Vec::new();
    for section in root.named("role") {
        let mut channels: Vec<Vec<String>> = Vec::new();
        for (word, place) in section.list::<String>("channels") {
            let meant: Vec<&str> = match word.as_str() {
                "modem" => modems.clone(),
                "http" => providers.clone(),
                own if modems.contains(&own) || providers.contains(&own) => vec![own],
                other => {
                    let known = [&modems[..], &providers, &CHANNEL_KINDS].concat();
                    unknown(faults, place, "channel", other, &known);
                    continue;
                }
            };
            if meant.is_empty() {
                let help = format!("declare a [{}.NAME], or remove the word", kind_table(&word));
                faults.missing(place, format!("there is no channel of kind \"{word}\""), help);
            }
            let known = channels.concat();
            let new = meant.into_iter().filter(|channel| !known.iter().any(|name| name == channel));
            let new: Vec<String> = new.map(str::to_owned).collect();
            if word == "modem" {
                channels.push(new);
            } else {
                channels.extend(new.into_iter().map(|channel| vec![channel]));
            }
        }
        if section.list::<String>("channels").is_empty() && section.written("channels").is_some() {
            let help = "name at least one modem or provider, or `modem`, or `http`";
            faults.error(section.place_of("channels"), "nobody of this role can be told", help);
        }
        channels.retain(|step| !step.is_empty());
        let role = Role(checked_name(&section, faults));
        roles.push(RoleSettings { role, channels });
    }
    roles
}

fn kind_table(word: &str) -> &'static str {
    if word == "modem" { "modem" } else { "sms_provider" }
}

/// Reads `[modem.NAME]`.
pub(super) fn modems(root: &Section<'_>, faults: &Faults<'_>) -> Vec<Modem> {
    let mut modems: Vec<Modem> = Vec::new();
    for section in root.named("modem") {
        let port: PathBuf = section.get("port");
        if let Some(other) = modems.iter().find(|other| other.port == port) {
            let message = format!("modem \"{}\" has this port already", other.name);
            faults.error(section.place_of("port"), message, "give each modem its own port");
        }
        let modem = Modem {
            name: channel_name(&section, faults),
            port,
            bauds: section.get("bauds"),
            pin_file: section.opt("pin_file"),
            model: section.opt("model"),
            service_centre: number(&section, "service_centre", faults),
            own_number: number(&section, "own_number", faults),
            rate: section.get("rate"),
            balance: section.child("balance").map(|balance| Balance {
                code: balance.get("code"),
                before: balance.opt("before").unwrap_or_default(),
                after: balance.opt("after").unwrap_or_default(),
            }),
            loopback_every: section.opt("loopback_every"),
            power_cycle: section.get("power_cycle"),
        };
        if modem.loopback_every.is_some() && section.written("own_number").is_none() {
            let place = section.place_of("loopback_every");
            let help = "add `own_number`, the number of its SIM";
            faults.missing(place, "a modem cannot text itself without knowing its number", help);
        }
        modems.push(modem);
    }
    modems
}

fn channel_name(section: &Section<'_>, faults: &Faults<'_>) -> String {
    let name = checked_name(section, faults);
    if CHANNEL_KINDS.contains(&name.as_str()) {
        let message = format!("\"{name}\" means every channel of that kind");
        faults.error(section.place, message, "choose another name");
    }
    name
}

/// Reads a telephone number.
fn number(section: &Section<'_>, key: &str, faults: &Faults<'_>) -> Option<PhoneNumber> {
    let written: String = section.opt(key)?;
    match PhoneNumber::parse(&written) {
        Ok(number) => Some(number),
        Err(error) => {
            let help = "write it such as \"+255 712 345 678\"";
            faults.error(section.place_of(key), error.to_string(), help);
            None
        }
    }
}

/// Reads `[sms_provider.NAME]`. `presets` are the presets that exist; none means that nobody knows.
pub(super) fn providers(
    root: &Section<'_>,
    modems: &[Modem],
    presets: &[&str],
    faults: &Faults<'_>,
) -> Vec<SmsProvider> {
    let mut providers: Vec<SmsProvider> = Vec::new();
    for section in root.named("sms_provider") {
        let name = channel_name(&section, faults);
        if modems.iter().any(|modem| modem.name == name) {
            let message = format!("a modem is named \"{name}\" too");
            faults.error(section.place, message, "roles name channels: each needs its own name");
        }
        preset(&section, presets, faults);
        secrets(&section, faults);
        let polled: Duration = section.get("poll_every");
        let webhook = section.child("webhook").and_then(|webhook| {
            Some(Webhook {
                listen: webhook.opt("listen")?,
                public_url: webhook.get("public_url"),
                path_secret_file: webhook.get("path_secret_file"),
            })
        });
        if let Some(webhook) = &webhook
            && !webhook.public_url.starts_with("https://")
        {
            let help = "put a proxy with TLS before it, and write its https:// address";
            faults.warn(section.place_of("webhook"), "delivery reports come in unencrypted", help);
        }
        providers.push(SmsProvider {
            name,
            preset: section.get("preset"),
            preset_file: section.opt("preset_file"),
            url: section.opt("url"),
            from: section.opt("from"),
            country_code: section.opt("country_code"),
            settings: section.get("settings"),
            secret_files: section.get::<BTreeMap<String, PathBuf>>("secret_files"),
            rate: section.get("rate"),
            timeout: section.get("timeout"),
            ca_file: section.opt("ca_file"),
            poll_every: (!polled.is_zero()).then_some(polled),
            webhook,
        });
    }
    providers
}

fn preset(section: &Section<'_>, presets: &[&str], faults: &Faults<'_>) {
    let Some(preset) = section.opt::<String>("preset") else { return };
    let own = section.written("preset_file").is_some();
    if preset == "custom" && !own {
        let help = "name the file of your preset with `preset_file`";
        faults.missing(section.place_of("preset"), "a custom preset needs its file", help);
    } else if preset != "custom" && own {
        let help = "write `preset = \"custom\"`, or remove it";
        faults.error(section.key_place("preset_file"), "this file is never read", help);
    } else if preset != "custom" && !presets.is_empty() && !presets.contains(&preset.as_str()) {
        let known = [presets, &["custom"]].concat();
        unknown(faults, section.place_of("preset"), "preset", &preset, &known);
    }
    if let Some(code) = section.opt::<String>("country_code")
        && !(code.bytes().all(|b| b.is_ascii_digit()) && (1..=3).contains(&code.len()))
    {
        // ITU-T E.164 §6.2.1: a country code has one to three digits.
        let help = "write its one to three digits, such as \"255\"";
        faults.error(section.place_of("country_code"), "this is no country calling code", help);
    }
    let url: String = section.opt("url").unwrap_or_default();
    if url_has_password(&url) {
        let help = "put it into a file, and name that in `secret_files`";
        faults.secret(section.place_of("url"), "no secret stands in the configuration", help);
    }
    let stays_here =
        ["http://127.", "http://[::1]", "http://localhost"].iter().any(|own| url.starts_with(own));
    if url.starts_with("http://") && !stays_here {
        let help = "use https://, if the provider has it";
        faults.warn(section.place_of("url"), "texts and keys go out unencrypted", help);
    }
}

/// Returns whether a URL carries a password before its host (RFC 3986 §3.2.1).
pub(super) fn url_has_password(url: &str) -> bool {
    let Some((_, rest)) = url.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
}

/// Words in the names of settings that are secret.
const SECRET_WORDS: [&str; 8] =
    ["password", "passwd", "passphrase", "secret", "token", "api_key", "apikey", "signing_key"];

/// Refuses secrets among the settings.
fn secrets(section: &Section<'_>, faults: &Faults<'_>) {
    let Some(settings) = section.written("settings") else { return };
    for entry in settings.entries() {
        let key = entry.key.to_lowercase();
        if SECRET_WORDS.iter().any(|word| key.contains(word)) {
            faults.secret(
                entry.key_place,
                format!("`{}` is a secret, and no secret stands in the configuration", entry.key),
                "put it into a file that only the gateway can read, and name that in `secret_files`",
            );
        }
    }
}
