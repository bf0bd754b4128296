//! `[gateway]`, `[store]` and `[sms]`.

use super::document::Faults;
use super::section::{Bytes, Section};
use super::settings::{Gateway, Sms, Store, Timezone};

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

/// Reads `[store]`.
pub(super) fn store(root: &Section<'_>, faults: &Faults<'_>) -> Store {
    let section = root.child_or_empty("store");
    let size: Bytes = section.get("size_max");
    if section.opt::<Bytes>("size_max").is_some_and(|size| size.0 < STORE_BYTES_MIN) {
        faults.error(
            section.place_of("size_max"),
            "the database has no room",
            "give it at least 16 MB",
        );
    }
    Store {
        keep_readings: section.get("keep_readings"),
        keep_deliveries: section.get("keep_deliveries"),
        keep_undecoded: section.get("keep_undecoded"),
        size_max: size.0,
    }
}

/// Below this the write-ahead log alone would fill the database.
const STORE_BYTES_MIN: u64 = 16_000_000;

/// Reads `[sms]`.
pub(super) fn sms(root: &Section<'_>, faults: &Faults<'_>) -> Sms {
    let section = root.child_or_empty("sms");
    let sms = Sms {
        budget_per_day: section.get("budget_per_day"),
        // A stand-in of nothing would make every text too long.
        segments_max: section.small("segments_max").max(1),
        price_per_segment: section.opt("price_per_segment"),
        attempts_max: section.small("attempts_max"),
        retry_delay: section.get("retry_delay"),
        retry_delay_max: section.get("retry_delay_max"),
    };
    if sms.retry_delay_max < sms.retry_delay {
        faults.error(
            section.place_of("retry_delay_max"),
            "the longest wait is shorter than the first",
            "raise `retry_delay_max`, or lower `retry_delay`",
        );
    }
    sms
}
