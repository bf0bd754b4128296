//! A modem of a few lines, written for these tests alone: it does what each test tells it, to the byte.

use nix::pty::openpty;
use nix::sys::termios::{SetArg, cfmakeraw, tcgetattr, tcsetattr};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

/// What the peer says to a command.
pub enum Say {
    Text(String),
    Bytes(Vec<u8>),
    Later(Duration),
    /// From now on nothing is heard or said, and the port is gone.
    Unplug,
}

/// Answers a command, or `None` for the ordinary answer. A text that is sent comes as `SEND <pdu>`.
pub type Script = Box<dyn FnMut(&str, &mut PeerState) -> Option<Vec<Say>> + Send>;

/// A modem without faults.
pub fn plain() -> Script {
    Box::new(|_, _| None)
}

#[derive(Default)]
pub struct PeerState {
    /// PDUs that the network has.
    pub took: Vec<String>,
    /// Place to state and PDU.
    pub stored: BTreeMap<u16, (u8, String)>,
    pub commands: Vec<String>,
    pub reference: u8,
    pub echo: bool,
    pub text_mode: bool,
    pub at_prompt: bool,
    /// Unplugs itself after so many more bytes heard, or said.
    pub cut_heard: Option<usize>,
    pub cut_said: Option<usize>,
    line: Option<File>,
}

pub struct Peer {
    pub state: Arc<Mutex<PeerState>>,
    pub port: PathBuf,
    script: Arc<Mutex<Script>>,
    /// Held while a line is said: modems do not break their own lines.
    voice: Arc<Mutex<()>>,
    _folder: tempfile::TempDir,
}

impl Peer {
    pub fn new(script: Script) -> Self {
        let folder = tempfile::tempdir().expect("a folder for the port");
        let peer = Self {
            state: Arc::default(),
            port: folder.path().join("modem"),
            script: Arc::new(Mutex::new(script)),
            voice: Arc::default(),
            _folder: folder,
        };
        peer.state().echo = true;
        peer.state().text_mode = true;
        peer.plug();
        peer
    }

    pub fn state(&self) -> MutexGuard<'_, PeerState> {
        self.state.lock().expect("the peer's thread lives")
    }

    /// Says something unasked.
    pub fn speak(&self, text: &str) {
        let _one_at_a_time = self.voice.lock().expect("the peer's thread lives");
        let mut line = self
            .state()
            .line
            .as_ref()
            .expect("the modem is plugged in")
            .try_clone()
            .expect("a handle");
        line.write_all(text.as_bytes()).expect("the line takes it");
    }

    pub fn is_unplugged(&self) -> bool {
        self.state().line.is_none()
    }

    /// Returns how often a command was heard.
    pub fn heard(&self, command: &str) -> usize {
        self.state().commands.iter().filter(|heard| *heard == command).count()
    }

    /// Gives the modem a new port under the old name.
    pub fn plug(&self) {
        let pty = openpty(None, None).expect("a pseudo-terminal");
        let mut raw = tcgetattr(&pty.slave).expect("its settings");
        cfmakeraw(&mut raw);
        tcsetattr(&pty.slave, SetArg::TCSANOW, &raw).expect("a raw pseudo-terminal");
        let name = nix::unistd::ttyname(&pty.slave).expect("its name");
        if self.port.is_symlink() {
            std::fs::remove_file(&self.port).expect("the old name goes");
        }
        symlink(name, &self.port).expect("the port's name");
        let mut master = File::from(pty.master);
        {
            let mut state = self.state();
            state.line = Some(master.try_clone().expect("a second handle"));
            (state.cut_heard, state.cut_said) = (None, None);
        }
        let (state, script) = (Arc::clone(&self.state), Arc::clone(&self.script));
        let voice = Arc::clone(&self.voice);
        thread::spawn(move || {
            let mut line = Vec::new();
            // Held, lest the port count as gone while the driver has it closed.
            let slave = pty.slave;
            let mut byte = [0];
            while master.read_exact(&mut byte).is_ok() {
                let said = hear(byte[0], &mut line, &state, &script);
                if !say(said, &mut master, &state, &voice) {
                    break;
                }
            }
            state.lock().expect("the test lives").line = None;
            drop((master, slave));
        });
    }
}

fn hear(
    byte: u8,
    line: &mut Vec<u8>,
    state: &Mutex<PeerState>,
    script: &Mutex<Script>,
) -> Vec<Say> {
    let mut state = state.lock().expect("the test lives");
    if spend(&mut state.cut_heard) {
        return vec![Say::Unplug];
    }
    let mut said = Vec::new();
    if state.echo && byte != 0x1B {
        said.push(Say::Bytes(vec![byte]));
    }
    match byte {
        0x1B => {
            line.clear();
            if std::mem::take(&mut state.at_prompt) {
                said.push(Say::Text("\r\nOK\r\n".to_owned()));
            }
        }
        b'\r' | 0x1A => {
            let heard = String::from_utf8_lossy(&std::mem::take(line)).into_owned();
            let command = match (std::mem::take(&mut state.at_prompt), byte) {
                (true, 0x1A) => format!("SEND {heard}"),
                (true, _) => {
                    state.at_prompt = true;
                    return said;
                }
                (false, _) => heard,
            };
            if !command.is_empty() {
                state.commands.push(command.clone());
                let own = (script.lock().expect("the test lives"))(&command, &mut state);
                said.extend(own.unwrap_or_else(|| ordinary(&command, &mut state)));
            }
        }
        byte => line.push(byte),
    }
    said
}

/// Returns whether the peer is still plugged in.
fn say(said: Vec<Say>, master: &mut File, state: &Mutex<PeerState>, voice: &Mutex<()>) -> bool {
    for one in said {
        let bytes = match one {
            Say::Text(text) => text.into_bytes(),
            Say::Bytes(bytes) => bytes,
            Say::Later(wait) => {
                thread::sleep(wait);
                continue;
            }
            Say::Unplug => return false,
        };
        let _one_at_a_time = voice.lock().expect("the test lives");
        for byte in bytes {
            if spend(&mut state.lock().expect("the test lives").cut_said)
                || master.write_all(&[byte]).is_err()
            {
                return false;
            }
        }
    }
    true
}

/// Returns whether the budget, if there is one, is spent.
fn spend(budget: &mut Option<usize>) -> bool {
    match budget {
        None => false,
        Some(0) => true,
        Some(left) => {
            *left -= 1;
            false
        }
    }
}

/// The network takes the PDU.
pub fn take(command: &str, state: &mut PeerState) -> u8 {
    let pdu = command.strip_prefix("SEND ").expect("a text that is sent");
    state.took.push(pdu.to_owned());
    state.reference = state.reference.wrapping_add(1);
    state.reference
}

pub fn text(text: &str) -> Vec<Say> {
    vec![Say::Text(text.to_owned())]
}

/// What a modem without faults says.
pub fn ordinary(command: &str, state: &mut PeerState) -> Vec<Say> {
    let info = match command {
        "AT+CGMI" => "Peer\r\n".to_owned(),
        "AT+CGMM" => "P1\r\n".to_owned(),
        "AT+CPIN?" => "+CPIN: READY\r\n".to_owned(),
        "AT+CFUN?" => "+CFUN: 1\r\n".to_owned(),
        "AT+CMGF?" => format!("+CMGF: {}\r\n", u8::from(state.text_mode)),
        "AT+CNMI=?" => "+CNMI: (0-2),(0-3),(0,2),(0-2),(0,1)\r\n".to_owned(),
        "AT+CSCA?" => "+CSCA: \"+10000000\",145\r\n".to_owned(),
        "AT+CREG?" => "+CREG: 1,1\r\n".to_owned(),
        "AT+CGREG?" => "+CGREG: 1,0\r\n".to_owned(),
        "AT+CEREG?" => return text("\r\n+CME ERROR: 4\r\n"),
        "AT+CSQ" => "+CSQ: 20,0\r\n".to_owned(),
        "AT+COPS?" => "+COPS: 0,0,\"Test\",0\r\n".to_owned(),
        "AT+CPMS?" => format!("+CPMS: {0}{0}\"SM\",{1},10\r\n", "\"SM\",0,10,", state.stored.len()),
        "AT+CMGL=4" => {
            let list = state
                .stored
                .iter()
                .map(|(place, (kind, pdu))| format!("+CMGL: {place},{kind},,20\r\n{pdu}\r\n"));
            list.collect()
        }
        _ if command.starts_with("AT+CPMS=") => {
            format!("+CPMS: 0,10,0,10,{},10\r\n", state.stored.len())
        }
        _ if command.starts_with("AT+CMGS=") => {
            state.at_prompt = true;
            return text("\r\n> ");
        }
        _ if command.starts_with("SEND ") => format!("+CMGS: {}\r\n", take(command, state)),
        _ => String::new(),
    };
    if let Some(place) = command.strip_prefix("AT+CMGD=").and_then(|place| place.parse().ok()) {
        state.stored.remove(&place);
    }
    match command {
        "ATE0" => state.echo = false,
        "AT+CMGF=0" => state.text_mode = false,
        _ => {}
    }
    text(&format!("\r\n{info}\r\nOK\r\n"))
}
