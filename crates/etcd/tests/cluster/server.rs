//! Real etcd servers for tests, here and in crates/store. Each cluster has loopback addresses of its own, so
//! that no two tests meet, and ends with this process, however that ends.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Runs etcd, says its process number, and ends it when the test's end of the pipe closes.
const KEEPER: &str = "\"$@\" & pid=$!; echo $pid; exec 2>/dev/null; read _; kill -9 $pid";
/// What a server says when it serves its clients.
const READY: &str = "ready to serve client requests";

/// Some servers that are one cluster.
pub struct Cluster {
    servers: Vec<Server>,
    /// What all servers are told beside their addresses.
    options: Vec<String>,
    scheme: &'static str,
    _data: TempDir,
}

struct Server {
    address: String,
    data: PathBuf,
    running: Option<Running>,
}

struct Running {
    keeper: Child,
    pid: Pid,
    /// Reads what the server says until it is gone.
    listener: JoinHandle<()>,
}

impl Cluster {
    /// A cluster of so many servers, which are ready.
    pub fn start(count: u8) -> Cluster {
        Cluster::start_with(count, "http", &|_| Vec::new())
    }

    /// As [`Cluster::start`], with options more, which may name the servers' addresses.
    pub fn start_with(
        count: u8,
        scheme: &'static str,
        options: &dyn Fn(&[String]) -> Vec<String>,
    ) -> Cluster {
        let data = tempfile::tempdir().unwrap();
        // Two numbers that no other cluster draws at the same time.
        let name = data.path().file_name().unwrap().as_encoded_bytes().to_vec();
        let hash = name
            .iter()
            .fold(0_u32, |hash, byte| hash.wrapping_mul(31) + u32::from(*byte));
        let (high, low) = (hash % 199 + 20, hash / 199 % 253 + 1);
        let server = |number: u8| Server {
            address: format!("127.{high}.{low}.{}", number + 1),
            data: data.path().join(number.to_string()),
            running: None,
        };
        let servers: Vec<Server> = (0..count).map(server).collect();
        let addresses: Vec<String> = servers.iter().map(|server| server.address.clone()).collect();
        let mut cluster = Cluster {
            servers,
            options: options(&addresses),
            scheme,
            _data: data,
        };
        let begun: Vec<Begun> = (0..count).map(|number| cluster.begin(number.into())).collect();
        for (number, begun) in begun.into_iter().enumerate() {
            cluster.servers[number].running = Some(begun.ready());
        }
        cluster
    }

    /// How clients call the servers.
    pub fn endpoints(&self) -> Vec<String> {
        let endpoint = |server: &Server| format!("{}://{}:2379", self.scheme, server.address);
        self.servers.iter().map(endpoint).collect()
    }

    /// Ends a server at once.
    pub fn kill(&mut self, number: usize) {
        let mut running = self.servers[number].running.take().expect("it runs");
        running.end();
    }

    /// Starts a server again that was killed, and waits until it is ready.
    pub fn restart(&mut self, number: usize) {
        self.servers[number].running = Some(self.begin(number).ready());
    }

    /// Has a server stand still, with its connections, or go on.
    pub fn stand(&self, number: usize, still: bool) {
        let running = self.servers[number].running.as_ref().expect("it runs");
        kill_process(running.pid, if still { Signal::STOP } else { Signal::CONT }).unwrap();
    }

    /// Has the first server forget what was before a revision, as operators do now and then.
    pub fn compact(&self, revision: u64) {
        self.ask("/v3/kv/compaction", &format!("{{\"revision\":\"{revision}\"}}"));
    }

    /// Asks the first server what no client of ours asks, until it has done so: one that is short of time
    /// gives up, and may have done it all the same.
    pub fn ask(&self, path: &str, body: &str) {
        loop {
            let answer = self.answer(path, body);
            let done = ["HTTP/1.0 200", "already exist", "has been compacted"];
            if done.iter().any(|word| answer.contains(word)) {
                return;
            }
            assert!(answer.starts_with("HTTP/1.0 503"), "{path}: {answer}");
        }
    }

    fn answer(&self, path: &str, body: &str) -> String {
        let mut stream = TcpStream::connect((self.servers[0].address.as_str(), 2379)).unwrap();
        let length = body.len();
        let head = format!("POST {path} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n");
        stream.write_all((head + body).as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn begin(&self, number: usize) -> Begun {
        let Cluster { servers, scheme, .. } = self;
        let name = |number: usize| format!("s{number}");
        let peer = |server: &Server| format!("http://{}:2380", server.address);
        let all: Vec<String> = (0..servers.len())
            .map(|number| format!("{}={}", name(number), peer(&servers[number])))
            .collect();
        let server = &servers[number];
        let clients = format!("{scheme}://{}:2379", server.address);
        let mut keeper = Command::new("sh")
            .args(["-c", KEEPER, "sh", etcd()])
            .args(["--name", &name(number)])
            .args(["--data-dir", server.data.to_str().unwrap()])
            .args([
                "--listen-client-urls",
                &clients,
                "--advertise-client-urls",
                &clients,
            ])
            .args(["--listen-peer-urls", &peer(server)])
            .args(["--initial-advertise-peer-urls", &peer(server)])
            .args(["--initial-cluster", &all.join(",")])
            .args(&self.options)
            .env_remove("ETCD_UNSUPPORTED_ARCH")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut pid = String::new();
        BufReader::new(keeper.stdout.take().unwrap())
            .read_line(&mut pid)
            .unwrap();
        Begun {
            pid: Pid::from_raw(pid.trim().parse().unwrap()).unwrap(),
            keeper,
        }
    }
}

/// A server that was started and has not said yet that it is ready.
struct Begun {
    keeper: Child,
    pid: Pid,
}

impl Begun {
    fn ready(mut self) -> Running {
        let mut lines = BufReader::new(self.keeper.stderr.take().unwrap()).lines();
        let mut said = Vec::new();
        loop {
            let Some(Ok(line)) = lines.next() else {
                panic!("etcd has ended instead of serving:\n{}", said.join("\n"));
            };
            if line.contains(READY) {
                break;
            }
            said.push(line);
        }
        Running {
            keeper: self.keeper,
            pid: self.pid,
            listener: std::thread::spawn(move || lines.for_each(drop)),
        }
    }
}

impl Running {
    fn end(&mut self) {
        // It may stand still, and be gone already.
        let _ = kill_process(self.pid, Signal::KILL);
        drop(self.keeper.stdin.take());
        self.keeper.wait().unwrap();
        while !self.listener.is_finished() {
            std::thread::yield_now();
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for server in &mut self.servers {
            if let Some(mut running) = server.running.take() {
                running.end();
            }
        }
    }
}

/// The program, if it is installed.
fn etcd() -> &'static str {
    let version = Command::new("etcd").arg("--version").output();
    assert!(
        version.is_ok_and(|output| output.status.success()),
        "etcd is not installed, which this test needs: `apt-get install etcd-server` installs it"
    );
    "etcd"
}
