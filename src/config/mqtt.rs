//! `[listener]` and `[[broker]]`.

use super::document::{Faults, Place};
use super::pattern;
use super::people::{unknown, url_has_password};
use super::section::{Bytes, Section};
use super::settings::{Broker, Credential, Listener, ListenerLimits, Protocol, TlsFiles};
use crate::domain::node::Node;
use std::net::{IpAddr, SocketAddr};

/// Name of the listener where brokers have theirs.
pub(super) const LISTENER_NAME: &str = "listener";

/// Longest packet that MQTT allows: MQTT 5 §1.5.5, a variable byte integer of four bytes.
const PACKET_BYTES_MAX: u64 = 268_435_455;

/// Shortest bound on packets that leaves room for a topic and a reading.
const PACKET_BYTES_MIN: u64 = 256;

/// Reads `[listener]`.
pub(super) fn listener(
    root: &Section<'_>,
    nodes: &[Node],
    faults: &Faults<'_>,
) -> Option<Listener> {
    let section = root.child("listener")?;
    let plain = section.list::<SocketAddr>("listen");
    let secured = section.list::<SocketAddr>("listen_tls");
    let anonymous: bool = section.get("anonymous");
    addresses(&section, &plain, &secured, faults);
    for (address, place) in plain.iter().filter(|(address, _)| !address.ip().is_loopback()) {
        if anonymous {
            let help = "give each node a credential, or listen on 127.0.0.1 only";
            faults.warn(
                *place,
                format!("anybody who reaches {address} can raise and hide warnings"),
                help,
            );
        } else {
            let help = "use `listen_tls`, or an address on a network that only nodes are on";
            faults.warn(
                *place,
                format!("passwords cross {} unencrypted", network(address.ip())),
                help,
            );
        }
    }
    let packet: Bytes = section.get("packet_max");
    let sound = PACKET_BYTES_MIN..=PACKET_BYTES_MAX;
    if section.opt::<Bytes>("packet_max").is_some_and(|packet| !sound.contains(&packet.0)) {
        let help = "write from 256 B to 256 MB; \"64 KiB\" is usual";
        faults.error(section.place_of("packet_max"), "no MQTT packet has this length", help);
    }
    let credentials = credentials(&section, nodes, faults);
    if credentials.is_empty() && !anonymous {
        let help = "add a [[listener.credential]]";
        faults.warn(section.place, "nobody can connect to the listener", help);
    }
    Some(Listener {
        listen: plain.into_iter().map(|(address, _)| address).collect(),
        listen_tls: secured.into_iter().map(|(address, _)| address).collect(),
        tls: section
            .opt("tls_cert_file")
            .zip(section.opt("tls_key_file"))
            .map(|(cert, key)| TlsFiles { cert, key }),
        anonymous,
        credentials,
        limits: ListenerLimits {
            connections_max: section.get("connections_max"),
            packet_bytes_max: u32::try_from(packet.0).unwrap_or(u32::MAX),
            inflight_max: u16::try_from(section.get::<u32>("inflight_max")).unwrap_or(u16::MAX),
            rate_max: section.get("rate_max"),
            session_expiry_max: section.get("session_expiry_max"),
            session_queue_max: section.get("session_queue_max"),
        },
    })
}

fn network(ip: IpAddr) -> String {
    if ip.is_unspecified() { "every network".to_owned() } else { format!("the network of {ip}") }
}

/// Checks that the addresses can be listened on.
fn addresses(
    section: &Section<'_>,
    plain: &[(SocketAddr, Place)],
    secured: &[(SocketAddr, Place)],
    faults: &Faults<'_>,
) {
    let none_written =
        section.written("listen").is_none() && section.written("listen_tls").is_none();
    if none_written {
        let help = "add `listen = [\"127.0.0.1:1883\"]`, or remove [listener]";
        faults.missing(section.place, "the listener has no address", help);
    }
    let mut seen: Vec<SocketAddr> = Vec::new();
    for (address, place) in plain.iter().chain(secured) {
        if seen.contains(address) {
            faults.error(*place, format!("{address} stands here twice"), "remove one of them");
        }
        seen.push(*address);
    }
    for key in ["tls_cert_file", "tls_key_file"] {
        if !secured.is_empty() && section.written(key).is_none() {
            let help = format!("add `{key}`");
            faults.missing(
                section.place_of("listen_tls"),
                "TLS needs a certificate and its key",
                help,
            );
        } else if secured.is_empty() && section.written(key).is_some() {
            let help = "add an address to `listen_tls`, or remove it";
            faults.warn(section.key_place(key), "no address has TLS", help);
        }
    }
}

fn credentials(section: &Section<'_>, nodes: &[Node], faults: &Faults<'_>) -> Vec<Credential> {
    let mut credentials: Vec<Credential> = Vec::new();
    for section in section.tables("credential") {
        let user: String = section.get("user");
        if !user.is_empty() && credentials.iter().any(|other| other.user == user) {
            let help = "a user has one password: join the two";
            faults.error(
                section.place_of("user"),
                format!("user \"{user}\" stands here twice"),
                help,
            );
        }
        let granted = ["nodes", "publish", "subscribe"]
            .iter()
            .any(|key| section.written(key).and_then(|list| list.elements().next()).is_some());
        if !granted {
            let help = "add `nodes`, `publish` or `subscribe`";
            faults.warn(section.place, format!("user \"{user}\" may do nothing"), help);
        }
        credentials.push(Credential {
            user,
            password_file: section.get("password_file"),
            nodes: credential_nodes(&section, nodes, faults),
            publish: filters(&section, "publish", faults),
            subscribe: filters(&section, "subscribe", faults),
        });
    }
    credentials
}

fn credential_nodes(section: &Section<'_>, nodes: &[Node], faults: &Faults<'_>) -> Vec<String> {
    let known: Vec<&str> = nodes.iter().map(|node| &*node.name.0).collect();
    let patterns = section.list::<String>("nodes");
    for (pattern, place) in &patterns {
        if known.iter().any(|name| pattern::matches(pattern, name)) {
            continue;
        }
        if pattern.contains('*') {
            let help = "nodes are declared with [node.NAME]";
            faults.missing(*place, format!("no node fits \"{pattern}\""), help);
        } else {
            unknown(faults, *place, "node", pattern, &known);
        }
    }
    patterns.into_iter().map(|(pattern, _)| pattern).collect()
}

fn filters(section: &Section<'_>, key: &str, faults: &Faults<'_>) -> Vec<String> {
    let mut filters = Vec::new();
    for (filter, place) in section.list::<String>(key) {
        if let Err(complaint) = pattern::filter(&filter) {
            faults.error(place, complaint.message, complaint.help);
        }
        filters.push(filter);
    }
    filters
}

/// Reads `[[broker]]`.
pub(super) fn brokers(root: &Section<'_>, gateway: &str, faults: &Faults<'_>) -> Vec<Broker> {
    let mut brokers: Vec<Broker> = Vec::new();
    for section in root.tables("broker") {
        let name: String = section.get("name");
        if name == LISTENER_NAME
            || brokers.iter().any(|other| other.name == name && !name.is_empty())
        {
            let message = format!("the name \"{name}\" is taken");
            faults.error(section.place_of("name"), message, "choose another");
        }
        let address = broker_address(&section, faults);
        let (host, port, tls) = address.unwrap_or((String::new(), 0, false));
        let user: Option<String> = section.opt("user");
        if user.is_none() && section.written("password_file").is_some() {
            // MQTT 3.1.1 §3.1.2.9: without the user name flag there is no password.
            let help = "add `user`";
            faults.missing(
                section.key_place("password_file"),
                "a password needs a user name",
                help,
            );
        }
        if !tls && section.written("password_file").is_some() && !is_loopback(&host) {
            let help = "use mqtts://, if the broker has it";
            faults.warn(section.place_of("url"), "the password goes out unencrypted", help);
        }
        if !tls && section.written("ca_file").is_some() {
            faults.warn(
                section.key_place("ca_file"),
                "without TLS this is never read",
                "use mqtts://",
            );
        }
        let three = section.opt::<String>("protocol").is_some_and(|word| word == "3.1.1");
        brokers.push(Broker {
            client_id: section.opt("client_id").unwrap_or_else(|| format!("kengele-{gateway}")),
            name,
            host,
            port,
            tls,
            protocol: if three { Protocol::V3 } else { Protocol::V5 },
            user,
            password_file: section.opt("password_file"),
            ca_file: section.opt("ca_file"),
            keep_alive: section.get("keep_alive"),
            session_expiry: section.get("session_expiry"),
        });
    }
    brokers
}

pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Ports of MQTT without and with TLS, as registered with IANA.
const PORTS: (u16, u16) = (1883, 8883);

pub(super) fn broker_address(
    section: &Section<'_>,
    faults: &Faults<'_>,
) -> Option<(String, u16, bool)> {
    let url: String = section.opt("url")?;
    let place = section.place_of("url");
    if url_has_password(&url) {
        let help = "write it with `user` and `password_file`";
        faults.secret(place, "no secret stands in the configuration", help);
        return None;
    }
    let address = split_url(&url);
    if address.is_none() {
        let help = "write mqtt://HOST, mqtts://HOST, or with a port such as mqtts://HOST:8883";
        faults.error(place, format!("\"{url}\" is no address of a broker"), help);
    }
    address
}

fn split_url(url: &str) -> Option<(String, u16, bool)> {
    let (scheme, rest) = url.split_once("://")?;
    let tls = match scheme {
        "mqtt" => false,
        "mqtts" => true,
        _ => return None,
    };
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (host, port) = match rest.strip_prefix('[') {
        Some(six) => {
            let (host, port) = six.split_once(']')?;
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port)
        }
        None => rest.split_at_checked(rest.find(':').unwrap_or(rest.len()))?,
    };
    let port = match port {
        "" if tls => PORTS.1,
        "" => PORTS.0,
        written => written.strip_prefix(':')?.parse().ok().filter(|port| *port > 0)?,
    };
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_' | ':');
    (!host.is_empty() && host.chars().all(letter)).then(|| (host.to_owned(), port, tls))
}

/// Returns the names by which a topic can say where it holds.
pub(super) fn link_names(brokers: &[Broker], listener: Option<&Listener>) -> Vec<String> {
    let own = listener.map(|_| LISTENER_NAME.to_owned());
    brokers.iter().map(|broker| broker.name.clone()).chain(own).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brokers_address_has_a_host_and_a_port() {
        assert_eq!(split_url("mqtts://b.example"), Some(("b.example".into(), 8883, true)));
        assert_eq!(split_url("mqtt://10.0.0.1:2000/"), Some(("10.0.0.1".into(), 2000, false)));
        assert_eq!(split_url("mqtt://[::1]:99"), Some(("::1".into(), 99, false)));
        for bad in [
            "b.example",
            "http://b",
            "mqtt://",
            "mqtt://b:0",
            "mqtt://b:x",
            "mqtt://[zz]",
            "mqtt://a b",
        ] {
            assert_eq!(split_url(bad), None, "{bad}");
        }
    }
}
