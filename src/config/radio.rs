//! `[semtech_udp]`, `[lorawan]` and `[node.NAME.lorawan]`.

use super::document::Faults;
use super::people::unknown;
use super::section::Section;
use super::settings::{
    Activation, Codec, CounterReset, Lorawan, LorawanNode, LorawanVersion, SemtechUdp,
};

/// Reads `[semtech_udp]`.
pub(super) fn semtech_udp(root: &Section<'_>, faults: &Faults<'_>) -> Option<SemtechUdp> {
    let section = root.child("semtech_udp")?;
    if root.written("lorawan").is_none() {
        let help = "add a [lorawan] with the region, and a [node.NAME.lorawan] for each device";
        faults.warn(section.place, "nothing that these gateways hear is understood", help);
    }
    let written = section.list::<String>("gateways");
    if written.is_empty() && section.written("gateways").is_some() {
        let help = "name the EUI of each, 16 hexadecimal digits";
        faults.error(section.place_of("gateways"), "no gateway is listened to", help);
    }
    let mut gateways = Vec::new();
    for (digits, place) in written {
        match hex(&digits, 16) {
            Some(eui) => gateways.push(eui),
            None => faults.error(
                place,
                format!("\"{digits}\" is no EUI"),
                "write its 16 hexadecimal digits, without dashes",
            ),
        }
    }
    Some(SemtechUdp {
        listen: section.opt("listen")?,
        gateways,
        power_dbm: section.small("power_dbm"),
        airtime_per_hour: section.opt("airtime_per_hour"),
    })
}

/// Reads `[lorawan]`.
pub(super) fn lorawan(root: &Section<'_>) -> Option<Lorawan> {
    let section = root.child("lorawan")?;
    Some(Lorawan {
        region: section.opt("region")?,
        net_id: section.get("net_id"),
        rx1_delay_s: section.small("rx1_delay"),
        sub_band: section.written("sub_band").map(|_| section.small("sub_band")),
    })
}

/// Reads `[node.NAME.lorawan]` of every node, the node by its place.
pub(super) fn nodes(
    root: &Section<'_>,
    network: Option<&Lorawan>,
    codecs: &[Codec],
    faults: &Faults<'_>,
) -> Vec<LorawanNode> {
    let mut nodes: Vec<LorawanNode> = Vec::new();
    for (place, node) in root.named("node").iter().enumerate() {
        let Some(section) = node.child("lorawan") else { continue };
        if network.is_none() {
            let help = "add a [lorawan] with the region, or remove it";
            faults.error(
                section.place,
                "nothing says what this gateway is to LoRaWAN devices",
                help,
            );
        }
        let codec: String = section.get("codec");
        let known: Vec<&str> = codecs.iter().map(|codec| codec.name.as_str()).collect();
        if !codec.is_empty() && !known.contains(&codec.as_str()) {
            unknown(faults, section.place_of("codec"), "codec", &codec, &known);
        }
        let Some(activation) = activation(&section, faults) else { continue };
        if nodes.iter().any(|other| other.activation.is_of_the_same_device(&activation)) {
            let help = "each device is one node";
            faults.error(section.place, "another node is this device already", help);
        }
        let version = match section.get::<String>("version").as_str() {
            "1.0.2" => LorawanVersion::V1_0_2,
            "1.0.4" => LorawanVersion::V1_0_4,
            _ => LorawanVersion::V1_0_3,
        };
        let counter_reset = match section.get::<String>("counter_reset").as_str() {
            "once" => CounterReset::Once,
            "always" => CounterReset::Always,
            _ => CounterReset::Never,
        };
        let listens = section.get::<String>("class") == "C";
        let data_rate = data_rate(&section, network, faults);
        nodes.push(LorawanNode {
            place,
            codec,
            version,
            activation,
            counter_reset,
            data_rate,
            listens,
        });
    }
    nodes
}

fn data_rate(section: &Section<'_>, network: Option<&Lorawan>, faults: &Faults<'_>) -> Option<u8> {
    section.written("data_rate")?;
    let wanted = section.small("data_rate");
    // SF7 at 125 kHz, the fastest that every channel has: RP002-1.0.4, chapter 2.
    let highest = if network.is_some_and(|network| network.region == "US915") { 3 } else { 5 };
    if wanted > highest {
        let help = format!("write 0 to {highest}: that is SF7 in this region");
        let words = format!("{wanted} is no data rate of every channel");
        faults.error(section.place_of("data_rate"), words, help);
    }
    Some(wanted)
}

fn activation(section: &Section<'_>, faults: &Faults<'_>) -> Option<Activation> {
    let joins = ["dev_eui", "join_eui", "app_key_file"];
    let fixed = ["dev_addr", "nwk_s_key_file", "app_s_key_file"];
    let written = |keys: [&str; 3]| keys.iter().filter(|k| section.written(k).is_some()).count();
    let help = "write `dev_eui`, `join_eui` and `app_key_file`, or `dev_addr`, `nwk_s_key_file` and `app_s_key_file`";
    let digits = |key: &str, count: usize| -> Option<u64> {
        let text: String = section.opt(key)?;
        let number = hex(&text, count);
        if number.is_none() {
            let words = format!("\"{text}\" is no `{key}`");
            faults.error(
                section.place_of(key),
                words,
                format!("write its {count} hexadecimal digits"),
            );
        }
        number
    };
    match (written(joins), written(fixed)) {
        (3, 0) => Some(Activation::Joins {
            dev_eui: digits("dev_eui", 16)?,
            join_eui: digits("join_eui", 16)?,
            app_key_file: section.opt("app_key_file")?,
        }),
        (0, 3) => Some(Activation::Fixed {
            dev_addr: u32::try_from(digits("dev_addr", 8)?).ok()?,
            nwk_s_key_file: section.opt("nwk_s_key_file")?,
            app_s_key_file: section.opt("app_s_key_file")?,
        }),
        (0, _) | (_, 0) => {
            faults.missing(section.place, "the device's keys are not complete", help);
            None
        }
        (_, _) => {
            faults.error(section.place, "a device either joins or has fixed keys", help);
            None
        }
    }
}

fn hex(digits: &str, count: usize) -> Option<u64> {
    let plain = digits.len() == count && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    plain.then(|| u64::from_str_radix(digits, 16).ok()).flatten()
}
