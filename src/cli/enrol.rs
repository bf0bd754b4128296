//! `enrol`: makes this gateway known to a hub.

use super::print::{self, Style};
use super::{Failure, block_on};
use anyhow::{Context, bail};
use kengele::hub::settings::client_tls;
use serde_json::{Value, json};
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) const HELP: &str = "\
Example:
  kengele enrol https://hub.example MZXW6YTBMZXW6YTBMZXW6YTBMZXW6YTB

The hub's operator makes the token: kengele hub token NAME. The key is drawn here, and stands in the key file alone.
If the answer is lost on the way, the same command does it again.";

/// Longest that the hub may take, connection included.
const TIMEOUT: Duration = Duration::from_mins(1);
/// Longest answer that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Enrol {
    /// Address of the hub
    url: String,
    /// The token
    token: String,
    /// Where the key and the gateway's number are kept
    #[arg(long, value_name = "FILE", default_value = "/etc/kengele/secrets/uplink.key")]
    key_file: PathBuf,
    /// Certificate authority in PEM that signed the hub's certificate; without it the public ones are trusted
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
}

pub(crate) fn run(enrol: &Enrol, style: Style) -> Result<(), Failure> {
    let url = enrol.url.trim_end_matches('/');
    if !(url.starts_with("https://") || is_here(url)) {
        let words = format!(
            "{url:?}: the token and the key must not cross a network without TLS: write https://"
        );
        return Err(Failure::Usage(words));
    }
    if enrol.key_file.exists() {
        let words = format!(
            "{} is there already: this gateway is known to a hub. Move the file away to enrol again",
            enrol.key_file.display()
        );
        return Err(Failure::Usage(words));
    }
    // The key outlives a lost answer: the hub knows the token's second use by it.
    let begun = beside(&enrol.key_file);
    let key = key(&begun)?;
    let tls = client_tls(enrol.ca_file.as_deref())?;
    let (gateway, name) = block_on(ask(url, &enrol.token, &key, &tls))??;
    let text = format!(
        "# The place of this gateway at its hub. Whoever has the key can speak for the gateway.\n\
         hub = {}\ngateway = {gateway}\nkey = \"{key}\"\n",
        toml::Value::from(url)
    );
    write_secret(&begun, &text, fs::OpenOptions::new().truncate(true))?;
    fs::rename(&begun, &enrol.key_file).with_context(|| cannot_write(&enrol.key_file))?;
    if style.json {
        print::json(&json!({ "gateway": gateway, "name": name, "key_file": enrol.key_file }));
    } else {
        print::line(&format!("enrolled as {name}, gateway {gateway}"));
        print::note(&format!("the key is in {}", enrol.key_file.display()));
    }
    Ok(())
}

fn is_here(url: &str) -> bool {
    let rest = url.strip_prefix("http://").unwrap_or_default();
    let host = rest.split(['/', ':']).next().unwrap_or_default();
    host == "localhost" || host.starts_with("127.") || rest.starts_with("[::1]")
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".begun");
    name.into()
}

fn cannot_write(path: &Path) -> String {
    format!("cannot write the key file {}", path.display())
}

/// Returns the key of an enrolment that has begun, else draws one.
fn key(begun: &Path) -> anyhow::Result<String> {
    match fs::read_to_string(begun) {
        Ok(text) => {
            let known = text.trim();
            let sound = known.len() == 64 && known.bytes().all(|byte| byte.is_ascii_hexdigit());
            if !sound {
                bail!("{} holds no key: remove it", begun.display());
            }
            Ok(known.to_owned())
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let bytes: [u8; 32] = kengele::hub::random()?;
            let key = bytes.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
            write_secret(begun, &key, fs::OpenOptions::new().create_new(true))?;
            Ok(key)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", begun.display())),
    }
}

/// Writes a file that nobody else may read, and waits until it is on the disk.
fn write_secret(path: &Path, text: &str, options: &mut fs::OpenOptions) -> anyhow::Result<()> {
    let write = || {
        let mut file = options.write(true).mode(0o600).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    let mut write = write;
    write().with_context(|| cannot_write(path))
}

async fn ask(
    url: &str,
    token: &str,
    key: &str,
    tls: &rustls::ClientConfig,
) -> anyhow::Result<(u32, String)> {
    let client = reqwest::Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .redirect(reqwest::redirect::Policy::none())
        .timeout(TIMEOUT)
        .user_agent(concat!("kengele/", env!("CARGO_PKG_VERSION")))
        .build()?;
    let body = json!({ "token": token, "key": key }).to_string();
    let request = client.post(format!("{url}/v1/enrol")).header("content-type", "application/json");
    let answer = request.body(body).send().await;
    let mut answer =
        answer.map_err(reqwest::Error::without_url).context("the hub does not answer")?;
    let status = answer.status();
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.context("the answer was cut off")? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            bail!("{url} gives an answer that no hub gives");
        }
    }
    if !status.is_success() {
        let words = String::from_utf8_lossy(&bytes);
        let words = words.lines().next().unwrap_or_default();
        bail!("the hub does not let this gateway in: {status} {words}");
    }
    // A portal of a guest network answers with a page of its own.
    let said: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    let number = said.get("gateway").and_then(Value::as_u64).and_then(|n| u32::try_from(n).ok());
    let name = said.get("name").and_then(Value::as_str);
    match (number, name) {
        (Some(number), Some(name)) => Ok((number, name.to_owned())),
        (_, _) => {
            bail!("{url} does not answer as a hub does: is something between here and there?")
        }
    }
}
