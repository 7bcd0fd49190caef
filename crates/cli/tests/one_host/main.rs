//! A site of one host, whose agent is a real process: what changes is told to whoever watches, in the API and
//! in the commands that rest on it.

mod changing;
mod hanging;
#[path = "../site/mod.rs"]
mod site;
#[path = "../terminal/mod.rs"]
mod terminal;
mod watching;

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout};

use serde_json::Value;
use site::{Ended, Running, Site};

/// A firmware that waits for ever: `j .`
const WAITS: [u32; 1] = [0x0000_006f];

/// A host with an agent. Everything that runs there ends with this value.
struct Host {
    site: Site,
    agent: Option<Running>,
}

impl Drop for Host {
    fn drop(&mut self) {
        if self.agent.is_some() {
            let _ = self.command("stop web --hard --yes").output();
        }
        self.agent = None;
    }
}

impl Host {
    /// A host at the address 127.0.`net`.1, and a file of a VM called web.
    fn new(net: u8) -> Host {
        let site = Site::new(&[("waits", &WAITS)]);
        std::fs::create_dir(site.path("shared")).unwrap();
        let file = format!(
            "# Waits.\nname = \"web\"\nfirmware = \"{}\"\nmemory = \"16M\" # enough\nserial = \"none\"\n",
            site.path("waits").display()
        );
        std::fs::write(site.path("web.toml"), file).unwrap();
        site.ends(&format!(
            "agent init --host a --address 127.0.{net}.1 --shared {{shared}} --config {{agent.toml}} \
             --state-dir {{state}} --run-dir {{agent}}"
        ))
        .with(0);
        let mut host = Host { site, agent: None };
        host.begin_agent();
        host
    }

    fn begin_agent(&mut self) {
        let mut agent = self.site.begins("agent run --config {agent.toml}");
        agent.says("answers at");
        self.agent = Some(agent);
    }

    fn agent_dies(&mut self) {
        self.agent.take().unwrap().dies();
    }

    fn socket(&self) -> std::path::PathBuf {
        self.site.path("agent/lockstep/agent.sock")
    }

    fn command(&self, words: &str) -> std::process::Command {
        let mut command = self.site.lockstep(words);
        command.env("LOCKSTEP_HOST", format!("unix:{}", self.socket().display()));
        command
    }

    /// What a command says when it has ended with this code.
    fn says(&self, words: &str, code: i32) -> String {
        Ended(self.command(words).output().unwrap()).with(code)
    }

    /// Asks the agent by HTTP: status, head and body of the answer.
    fn asks(&self, method: &str, path: &str, more: &str, body: &str) -> (u16, String, Value) {
        let mut stream = UnixStream::connect(self.socket()).unwrap();
        let length = body.len();
        let head = format!("{method} {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n{more}");
        write!(stream, "{head}content-length: {length}\r\n\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (
            status,
            head.to_owned(),
            serde_json::from_str(body).unwrap_or(Value::Null),
        )
    }
}

/// A command that goes on, and what it prints.
struct Shown {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl Drop for Shown {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Shown {
    fn begin(host: &Host, words: &str) -> Shown {
        let mut child = host.command(words).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Shown { child, lines }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let length = self.lines.read_line(&mut line).unwrap();
        assert_ne!(length, 0, "it prints nothing more");
        line.trim_end().to_owned()
    }

    /// The next line with these words in it.
    fn line_with(&mut self, words: &str) -> String {
        loop {
            let line = self.line();
            if line.contains(words) {
                return line;
            }
        }
    }

    /// The next object for which this holds.
    fn object(&mut self, is_wanted: impl Fn(&Value) -> bool) -> Value {
        loop {
            let object: Value = serde_json::from_str(&self.line()).unwrap();
            if is_wanted(&object) {
                return object;
            }
        }
    }
}
