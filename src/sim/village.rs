//! The village's own files: configuration, rules, recipients and secrets, as a technician would write them.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;

/// Where things are in one run.
#[derive(Clone, Copy, Debug)]
pub struct Places<'a> {
    /// Folder of everything.
    pub folder: &'a Path,
    /// Address of the MQTT listener.
    pub mqtt: SocketAddr,
    /// Serial port of the modem.
    pub modem: &'a Path,
    /// Address of the SMS provider, such as `http://127.0.0.1:8080`.
    pub provider: &'a str,
}

/// User name of the nodes at the listener.
pub const NODES_USER: &str = "vituo";
/// Their password: it protects nothing but a simulation.
pub const NODES_PASSWORD: &str = "simulated-only";
/// Number of the SIM in the modem.
pub const OWN_NUMBER: &str = "+255700000000";

/// The rules that the gateway is shipped with, and one for drought that needs no month of history.
const RULES: [(&str, &str); 3] = [
    ("flood.toml", include_str!("../../deploy/rules.d/flood.toml")),
    ("frost.toml", include_str!("../../deploy/rules.d/frost.toml")),
    ("dry.toml", include_str!("village/dry.toml")),
];

/// Returns the files of the village: name below the folder, and content.
#[must_use]
pub fn files(places: &Places<'_>) -> Vec<(String, String)> {
    let mut files = vec![
        ("kengele.toml".to_owned(), kengele_toml(places)),
        ("people.csv".to_owned(), people_csv()),
        ("secrets/vituo".to_owned(), NODES_PASSWORD.to_owned()),
        ("secrets/provider".to_owned(), "simulated-only".to_owned()),
    ];
    files.extend(RULES.map(|(name, text)| (format!("rules.d/{name}"), text.to_owned())));
    files
}

fn kengele_toml(places: &Places<'_>) -> String {
    let folder = places.folder.display();
    include_str!("village/kengele.toml")
        .replace("@FOLDER@", &folder.to_string())
        .replace("@MQTT@", &places.mqtt.to_string())
        .replace("@MODEM@", &places.modem.display().to_string())
        .replace("@PROVIDER@", places.provider)
        .replace("@USER@", NODES_USER)
        .replace("@NUMBER@", OWN_NUMBER)
}

/// The people of the village. The numbers belong to nobody: no operator of the country has the prefix 70 00.
#[must_use]
pub fn people_csv() -> String {
    let people = [
        ("Amina Juma", "warden", "sw", "*", "yes"),
        ("Baraka Mushi", "warden", "sw", "*", "yes"),
        ("Chausiku Said", "warden", "sw", "*", "yes"),
        ("Daudi Mrema", "household", "sw", "bonde kijiji", "yes"),
        ("Esther Kimaro", "household", "sw", "bonde kijiji", "yes"),
        ("Farida Omari", "household", "sw", "bonde kijiji", "yes"),
        ("Grace Lema", "household", "en", "bonde kijiji", "yes"),
        ("Hamisi Ally", "household", "sw", "kijiji", "yes"),
        ("Imani Swai", "farmer", "sw", "bonde kijiji", "yes"),
        ("Joseph Massawe", "farmer", "en", "kijiji", "yes"),
        ("Khadija Musa", "farmer", "sw", "kijiji", "yes"),
        ("Lulu Mbise", "household", "sw", "bonde", "no"),
        ("Musa Nnko", "technician", "en", "*", "yes"),
    ];
    let mut csv = String::from("name,number,role,language,areas,consent\n");
    for (number, (name, role, language, areas, consent)) in (1..).zip(people) {
        writeln!(csv, "{name},+2557000000{number:02},{role},{language},{areas},{consent}")
            .expect("a String takes all that is written");
    }
    csv
}
