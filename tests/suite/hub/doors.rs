//! The doors of a hub process: HTTPS with and without certificates of clients, its bounds, and what an operator types.

use super::gateway::{Gateway, stored};
use crate::external_broker::certificates;
use crate::peers::wait_for;
use kengele::hub::storage::{Place, Storage};
use kengele::wire::uplink::{GatewayNumber, Key, PACKET_BYTES_MAX, Up};
use serde_json::Value;
use sqlx::Connection;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// A hub with a SQLite file, as an operator runs it.
pub(super) struct Site {
    folder: TempDir,
    pub(super) address: SocketAddr,
    process: Option<Child>,
}

fn free_address() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

impl Site {
    /// Makes one whose `[https]` has these lines too.
    pub(super) fn new(more: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let (ca, cert, key) = certificates("hub");
        fs::write(folder.path().join("ca.pem"), ca).unwrap();
        fs::write(folder.path().join("cert.pem"), cert).unwrap();
        fs::write(folder.path().join("key.pem"), key).unwrap();
        let address = free_address();
        let here = folder.path().display();
        let config = format!(
            "[database]\nfile = \"{here}/hub.db\"\n\n[https]\nlisten = [\"{address}\"]\n{}\n",
            more.replace('@', &here.to_string())
        );
        fs::write(folder.path().join("hub.toml"), config).unwrap();
        Self { folder, address, process: None }
    }

    fn with_tls(more: &str) -> Self {
        let files = "tls_cert_file = \"@/cert.pem\"\ntls_key_file = \"@/key.pem\"\n";
        Self::new(&format!("{files}{more}"))
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn kengele(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kengele"));
        command.current_dir(self.folder.path()).stdin(Stdio::null()).args(arguments);
        command.output().unwrap()
    }

    /// Runs a command of the hub that must succeed.
    pub(super) fn hub(&self, arguments: &[&str]) -> String {
        let output = self.kengele(&[&["hub", "--config", "hub.toml"], arguments].concat());
        assert!(output.status.success(), "{arguments:?}: {}", err(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    pub(super) async fn start(&mut self) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_kengele"));
        command.current_dir(self.folder.path()).args(["hub", "--config", "hub.toml", "run"]);
        let log = fs::File::create(self.file("log")).unwrap();
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.process = Some(command.spawn().unwrap());
        let address = self.address;
        wait_for("the hub listens", || TcpStream::connect(address).is_ok()).await;
    }

    /// Kills it as a power cut does.
    pub(super) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    pub(super) async fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        let pid = nix::unistd::Pid::from_raw(i32::try_from(process.id()).unwrap());
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
        wait_for("the hub ends", || process.try_wait().unwrap().is_some()).await;
        let log = fs::read_to_string(self.file("log")).unwrap();
        assert!(log.contains("ended") && !log.contains("ERROR"), "{log}");
    }

    pub(super) async fn storage(&self) -> Storage {
        Storage::open(&Place::Sqlite(self.file("hub.db"))).await.unwrap()
    }

    fn url(&self, scheme: &str, path: &str) -> String {
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    /// Returns a client that trusts the authority of the test.
    fn client(&self) -> reqwest::ClientBuilder {
        // Another test may have done it.
        let _done = rustls::crypto::ring::default_provider().install_default().is_ok();
        let ca = reqwest::Certificate::from_pem(&fs::read(self.file("ca.pem")).unwrap()).unwrap();
        reqwest::Client::builder().tls_certs_only([ca]).no_proxy()
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended already.
            let _ended = process.kill().is_ok();
            let _reaped = process.wait().is_ok();
        }
    }
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn packet_of(gateway: &mut Gateway) -> Vec<u8> {
    let readings = gateway.readings(10);
    let block = gateway.seal(&readings);
    gateway.pack(vec![Up::Block(block)])
}

#[tokio::test(flavor = "multi_thread")]
async fn packets_come_by_either_http_and_what_is_no_packet_is_told_so() {
    let mut site = Site::with_tls("");
    site.start().await;
    let storage = site.storage().await;
    let mut gateway = Gateway::enrol(&storage, "mto-juu", 1).await;
    let one = site.client().http1_only().build().unwrap();
    let two = site.client().build().unwrap();
    for (client, version) in [(&one, reqwest::Version::HTTP_11), (&two, reqwest::Version::HTTP_2)] {
        let packet = packet_of(&mut gateway);
        let post = || client.post(site.url("https", "/v1/up"));
        let answer = post().body(packet.clone()).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), answer.version()), (200, version));
        assert_eq!(answer.headers()["content-type"], "application/vnd.kengele.packet");
        let answer = answer.bytes().await.unwrap();
        assert!(gateway.answered(&packet, &answer).is_some());
        let mut forged = packet.clone();
        *forged.last_mut().unwrap() ^= 1;
        let cases = [
            (forged, 403),
            (b"GET / HTTP/1.1".to_vec(), 400),
            (Vec::new(), 400),
            (vec![0x10; PACKET_BYTES_MAX + 1], 413),
        ];
        for (bytes, status) in cases {
            assert_eq!(post().body(bytes).send().await.unwrap().status().as_u16(), status);
        }
    }
    assert_eq!(stored(&storage, "mto-juu").await.len(), 20);
    let get = |path: &str| two.get(site.url("https", path)).send();
    assert_eq!(get("/v1/up").await.unwrap().status().as_u16(), 405);
    assert_eq!(get("/").await.unwrap().status().as_u16(), 404);
    let health: Value =
        serde_json::from_slice(&get("/health").await.unwrap().bytes().await.unwrap()).unwrap();
    assert_eq!((&health["works"], &health["readings"]), (&true.into(), &20.into()), "{health}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_authority_for_clients_nobody_gets_in_without_a_certificate() {
    let mut site = Site::with_tls("client_ca_file = \"@/ca.pem\"\n");
    site.start().await;
    let storage = site.storage().await;
    let mut gateway = Gateway::enrol(&storage, "mto-juu", 1).await;
    let packet = packet_of(&mut gateway);
    let stranger = site.client().build().unwrap();
    let refused = stranger.post(site.url("https", "/v1/up")).body(packet.clone()).send().await;
    assert!(refused.is_err(), "{refused:?}");
    let pem = [fs::read(site.file("cert.pem")).unwrap(), fs::read(site.file("key.pem")).unwrap()];
    let identity = reqwest::Identity::from_pem(&pem.concat()).unwrap();
    let friend = site.client().identity(identity).build().unwrap();
    let answer = friend.post(site.url("https", "/v1/up")).body(packet.clone()).send().await;
    let answer = answer.unwrap().bytes().await.unwrap();
    assert!(gateway.answered(&packet, &answer).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_slow_holds_nobody_up_and_what_cannot_be_stored_is_not_answered() {
    let mut site = Site::new("requests_max = 1\ntimeout = \"2 s\"\n");
    site.start().await;
    let storage = site.storage().await;
    let mut gateway = Gateway::enrol(&storage, "mto-juu", 1).await;
    let client = site.client().build().unwrap();
    // Connections that say nothing, or only the beginning of something.
    let mut slow = Vec::new();
    for words in [
        "",
        "POST /v1/up HTTP/1.1\r\n",
        "POST /v1/up HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\nab",
    ] {
        let mut stream = TcpStream::connect(site.address).unwrap();
        stream.write_all(words.as_bytes()).unwrap();
        slow.push(stream);
    }
    let post = |packet: &[u8]| client.post(site.url("http", "/v1/up")).body(packet.to_vec()).send();
    let packet = packet_of(&mut gateway);
    let answer = post(&packet).await.unwrap().bytes().await.unwrap();
    assert!(gateway.answered(&packet, &answer).is_some(), "the slow ones hold nobody up");
    // Somebody else holds the database: the first packet waits for it, the second finds no room.
    let path = format!("sqlite://{}", site.file("hub.db").display());
    let mut holder = sqlx::SqliteConnection::connect(&path).await.unwrap();
    sqlx::query("begin immediate").execute(&mut holder).await.unwrap();
    let (held, busy) = (packet_of(&mut gateway), packet_of(&mut gateway));
    let (first, second) = tokio::join!(post(&held), post(&busy));
    let answers = [first.unwrap(), second.unwrap()];
    for answer in answers {
        assert_eq!(answer.status().as_u16(), 503);
        assert_eq!(answer.headers()["retry-after"], "30");
    }
    assert_eq!(stored(&storage, "mto-juu").await.len(), 10, "nothing of them is stored");
    sqlx::query("rollback").execute(&mut holder).await.unwrap();
    for packet in [held, busy] {
        let answer = post(&packet).await.unwrap().bytes().await.unwrap();
        assert!(gateway.answered(&packet, &answer).is_some(), "it works again");
    }
    assert_eq!(stored(&storage, "mto-juu").await.len(), 30);
    // A body that does not come is not waited for: the hub ends the request.
    let mut answer = String::new();
    slow[2].set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    slow[2].read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    site.stop().await;
}

/// Answers every request with a page, as the portal of a guest network does.
fn portal() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let page = "<html>Welcome! Please accept our terms.</html>";
            let mut request = [0; 4096];
            let _some = stream.read(&mut request).is_ok();
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{page}", page.len());
            let _said = stream.write_all(answer.as_bytes()).is_ok();
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_lets_a_gateway_in_and_asks_what_it_has_told() {
    let mut site = Site::with_tls("");
    site.start().await;
    let token = site.hub(&["token", "mto-juu"]);
    let enrol = |url: &str, token: &str| {
        site.kengele(&["enrol", url, token, "--key-file", "up.key", "--ca-file", "ca.pem"])
    };
    let hub = site.url("https", "/");
    let plain = enrol("http://hub.example", token.trim());
    assert_eq!(plain.status.code(), Some(2), "not without TLS: {}", err(&plain));
    let wrong = enrol(&hub, "MZXW6YTBMZXW6YTBMZXW6YTBMZXW6YTB");
    assert_eq!(wrong.status.code(), Some(1));
    assert!(err(&wrong).contains("403") && err(&wrong).contains("token"), "{}", err(&wrong));
    let drawn = fs::read_to_string(site.file("up.key.begun")).unwrap();
    let lured = enrol(&format!("http://{}", portal()), token.trim());
    assert_eq!(lured.status.code(), Some(1));
    assert!(err(&lured).contains("does not answer as a hub does"), "{}", err(&lured));
    let typed = token.trim().to_lowercase();
    let done = enrol(&hub, &typed);
    assert!(done.status.success(), "{}", err(&done));
    let file: toml::Table = fs::read_to_string(site.file("up.key")).unwrap().parse().unwrap();
    assert_eq!(file["key"].as_str(), Some(&*drawn), "the key outlives what fails");
    let mode = fs::metadata(site.file("up.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(enrol(&hub, token.trim()).status.code(), Some(2), "a key is not thrown away");

    let digit = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    let key: Vec<u8> = drawn.as_bytes().chunks(2).map(digit).collect();
    let number = GatewayNumber(u32::try_from(file["gateway"].as_integer().unwrap()).unwrap());
    let mut gateway = Gateway::known(number, Key::new(key.try_into().unwrap()), "mto-juu", 3);
    let readings = gateway.readings(40);
    let block = gateway.seal(&readings);
    let packet = gateway.pack(vec![Up::Block(block), Up::Health(super::alerts::health())]);
    let client = site.client().build().unwrap();
    let answer = client.post(site.url("https", "/v1/up")).body(packet).send().await.unwrap();
    assert_eq!(answer.status().as_u16(), 200);

    let status: Value = serde_json::from_str(&site.hub(&["status", "--json"])).unwrap();
    assert_eq!(status["gateways"][0]["state"], "heard", "{status}");
    assert_eq!(status["gateways"][0]["health"]["open_warnings"], 1, "{status}");
    assert!(site.hub(&["status"]).starts_with("1 gateway: 1 heard, 0 missing"));
    let gateways = site.hub(&["gateways", "--csv"]);
    assert!(gateways.contains("1,mto-juu,heard,2") && gateways.contains("disk_full modem_down"));
    let lines = |arguments: &[&str]| site.hub(arguments).lines().map(str::to_owned).collect();
    let all: Vec<String> = lines(&["readings"]);
    assert_eq!(all.len(), 41);
    assert_eq!(all[0], "time,gateway,node,quantity,value,unit,quality,clock,sequence");
    let rain: Vec<String> = lines(&["readings", "--quantity", "rain", "--gateway", "mto-juu"]);
    let of_rain = readings.iter().filter(|r| r.quantity.name() == "rain").count();
    assert_eq!(rain.len(), 1 + of_rain);
    assert!(rain[1..].iter().all(|line| line.contains(",mto-juu,mvua,rain,")));
    let last: Vec<String> = lines(&["readings", "--last", "3", "--json"]);
    let last: Vec<Value> = last.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(last.len(), 3);
    assert!(last[0]["unix_ms"].as_i64() <= last[2]["unix_ms"].as_i64());
    assert_eq!(site.hub(&["warnings", "--json"]).trim(), "[]");

    site.hub(&["suspend", "mto-juu"]);
    assert!(site.hub(&["gateways"]).contains("suspended"));
    site.hub(&["resume", "mto-juu"]);
    assert!(!site.hub(&["gateways"]).contains("suspended"));
    let nobody = site.kengele(&["hub", "--config", "hub.toml", "suspend", "nobody"]);
    assert_eq!(nobody.status.code(), Some(1));
    site.stop().await;
}

#[test]
fn a_wrong_configuration_of_a_hub_is_told_by_file_and_line() {
    let site = Site::new("");
    let wrong = "[database]\nfiel = \"hub.db\"\n[https]\nlisten = [\"0.0.0.0:80\"]\n";
    fs::write(site.file("hub.toml"), wrong).unwrap();
    for command in ["run", "check", "status"] {
        let output = site.kengele(&["hub", "--config", "hub.toml", command]);
        assert_eq!(output.status.code(), Some(2), "{command}");
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(said.contains("hub.toml:2:1") && said.contains("`file`"), "{said}");
        assert!(said.contains("hub.toml:4:11"), "{said}");
    }
    let shipped = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("deploy/hub/hub.toml");
    let shipped = shipped.display().to_string();
    let output = site.kengele(&["hub", "--config", &shipped, "check"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
