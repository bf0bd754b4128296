//! `[gateway]` and `[sms]`.

use super::document::Faults;
use super::section::Section;
use super::settings::{Gateway, Sms, Timezone};

/// Reads `[gateway]`.
pub(super) fn gateway(root: &Section<'_>, faults: &Faults<'_>) -> Gateway {
    let section = root.child_or_empty("gateway");
    let name: String = section.get("name");
    if name.contains('_') {
        let place = section.place_of("name");
        faults.error(
            place,
            "the name of a gateway has no _",
            "use - instead: it is part of host names",
        );
    }
    Gateway {
        name,
        sender: section.get("sender"),
        language: section.get("language"),
        timezone: timezone(&section, faults),
        data: section.get("data"),
        socket: section.get("socket"),
    }
}

fn timezone(section: &Section<'_>, faults: &Faults<'_>) -> Timezone {
    let name: String = section.get("timezone");
    if name == "local" || name.is_empty() {
        return Timezone::Local;
    }
    let known = jiff::tz::db();
    if known.is_definitively_empty() {
        let help = "install the package tzdata";
        faults.warn(section.place_of("timezone"), "this computer knows no time zones", help);
        return Timezone::Named(name);
    }
    if known.get(&name).is_err() {
        let names: Vec<String> = known.available().map(|name| name.to_string()).collect();
        let near = super::amount::nearest(&name, names.iter().map(String::as_str));
        let help = match near {
            Some(near) => format!("did you mean \"{near}\"?"),
            None => {
                "write \"local\", or a name such as \"Africa/Dar_es_Salaam\" (`timedatectl list-timezones`)"
                    .to_owned()
            }
        };
        faults.error(section.place_of("timezone"), format!("unknown time zone \"{name}\""), help);
    }
    Timezone::Named(name)
}

/// Reads `[sms]`.
pub(super) fn sms(root: &Section<'_>) -> Sms {
    let section = root.child_or_empty("sms");
    Sms {
        budget_per_day: section.get("budget_per_day"),
        // A stand-in of nothing would make every text too long.
        segments_max: section.small("segments_max").max(1),
        price_per_segment: section.opt("price_per_segment"),
    }
}
