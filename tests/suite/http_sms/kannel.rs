//! Kannel 1.4.5, which we did not write, as the provider: smsbox takes the text, bearerbox hands it to its own fake SMSC.

use super::receipt::receiver;
use super::{ANNA, PASSWORD, TIMEOUTS, kind, message, wait_for};
use crate::peers::program;
use kengele::channel::http_sms::{Account, HttpSms, Preset, Secret, Settings};
use kengele::domain::message::{ReceiptState, Submission, Submitted};
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// A daemon that ends with the test.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _killed = self.0.kill().is_ok();
        let _waited = self.0.wait().is_ok();
    }
}

fn start(name: &str, config: &Path) -> Daemon {
    let log = fs::File::create(config.with_extension(name)).unwrap();
    let child = program(name)
        .arg(config)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    Daemon(child)
}

fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [TcpListener; N] =
        std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

async fn connect(port: u16) -> TcpStream {
    for _ in 0..1000 {
        if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await {
            return stream;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nobody listens on port {port}");
}

fn config([admin, boxes, smsc, sendsms]: [u16; 4]) -> String {
    format!(
        "group = core\nadmin-port = {admin}\nadmin-interface = 127.0.0.1\nadmin-password = x\n\
         smsbox-port = {boxes}\nsmsbox-interface = 127.0.0.1\nbox-allow-ip = 127.0.0.1\n\
         dlr-storage = internal\n\n\
         group = smsc\nsmsc = fake\nsmsc-id = fake\nport = {smsc}\nconnect-allow-ip = 127.0.0.1\n\n\
         group = smsbox\nbearerbox-host = 127.0.0.1\nsendsms-port = {sendsms}\n\
         sendsms-interface = 127.0.0.1\n\n\
         group = sendsms-user\nusername = kengele\npassword = \"{PASSWORD}\"\n\
         max-messages = 10\nconcatenation = true\n\n\
         group = sms-service\nkeyword = default\ntext = none\n"
    )
}

/// Reads UTF-16BE as the fake SMSC writes it: percent-encoded octets, with `+` for 0x20.
fn ucs2(escaped: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = escaped;
    while let Some(c) = rest.chars().next() {
        if let Some(hex) = rest.strip_prefix('%').and_then(|rest| rest.get(..2)) {
            bytes.push(u8::from_str_radix(hex, 16).unwrap());
            rest = &rest[3..];
        } else {
            bytes.push(if c == '+' { b' ' } else { u8::try_from(c).unwrap() });
            rest = &rest[c.len_utf8()..];
        }
    }
    let units: Vec<u16> =
        bytes.chunks(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]])).collect();
    String::from_utf16(&units).unwrap()
}

#[tokio::test]
async fn kannel_takes_our_texts_and_its_reports_come_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kannel.conf");
    let ports = free_ports();
    fs::write(&path, config(ports)).unwrap();
    let [_, boxes, smsc, sendsms] = ports;
    let _bearerbox = start("bearerbox", &path);
    drop(connect(boxes).await);
    let network = connect(smsc).await;
    let _smsbox = start("smsbox", &path);
    drop(connect(sendsms).await);
    let lines = Arc::new(Mutex::new(Vec::new()));
    let (into, mut tasks) = (Arc::clone(&lines), JoinSet::new());
    tasks.spawn(async move {
        let mut reader = BufReader::new(network).lines();
        while let Ok(Some(line)) = reader.next_line().await {
            into.lock().unwrap().push(line);
        }
    });

    let (url, kept, _receiver) = receiver("kannel", |_| true).await;
    let mut settings = Settings {
        preset: Preset::builtin("kannel").unwrap(),
        account: Account {
            from: Some("KENGELE".to_owned()),
            dlr_url: Some(url),
            ..Account::default()
        },
        limit: None,
        timeouts: TIMEOUTS,
        extra_roots_pem: None,
    };
    let base = format!("http://127.0.0.1:{sendsms}");
    settings.account.settings.insert("base".to_owned(), base);
    settings.account.settings.insert("username".to_owned(), "kengele".to_owned());
    settings.account.secrets.insert("password".to_owned(), Secret::new(PASSWORD));
    let channel = HttpSms::new(settings.clone()).unwrap();
    let plain = "Mto unapanda & 2.4 m: +50% ?";
    let arabic = "الماء+يرتفع 🌊";
    for (id, text) in [(1, plain), (2, arabic)] {
        let accepted = Submitted::Accepted { references: vec![format!("key-{id}")] };
        assert_eq!(channel.submit(&message(id, ANNA, text)).await, accepted);
    }
    wait_for("both texts reach the network", || lines.lock().unwrap().len() == 2).await;
    let mut got = lines.lock().unwrap().clone();
    got.sort();
    assert_eq!(got[0], format!("KENGELE {ANNA} text {plain}"));
    let coded = got[1].strip_prefix(&format!("KENGELE {ANNA} ucs-2 ")).unwrap();
    assert_eq!(ucs2(coded), arabic);

    let delivered = |key: &str| {
        let kept = kept.lock().unwrap();
        kept.iter().any(|receipt| {
            receipt.reference == key
                && receipt.state == ReceiptState::Delivered
                && receipt.to.as_deref() == Some(ANNA)
        })
    };
    wait_for("both reports", || delivered("key-1") && delivered("key-2")).await;

    let nobody = Submission { to: "+123".to_owned(), ..message(3, ANNA, "a") };
    assert_eq!(kind(&channel.submit(&nobody).await), "rejected");
    settings.account.secrets.insert("password".to_owned(), Secret::new("wrong"));
    let stranger = HttpSms::new(settings).unwrap().submit(&message(4, ANNA, "a")).await;
    assert_eq!(kind(&stranger), "down", "{stranger:?}");
}
