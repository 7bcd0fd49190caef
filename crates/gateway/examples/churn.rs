//! What a gateway's memory does while clients' connections come and go.
//!
//! `cargo run --release -p gateway --example churn [CONNECTIONS [PROGRAM ARGUMENTS..]]`. Clients on several
//! threads connect through a forward to a guest, which is a TCP stack of this process, exchange a few
//! kilobytes and close. The gateway is a process of its own: this program again, or the one given, for
//! instance `lockstep gateway --insecure --listen 127.0.0.1:0 --forward 127.0.0.1:0-:7`.

#[path = "../tests/support/guest.rs"]
mod guest;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use gateway::{self, GatewayConfig, GuestListen};
use guest::{Guest, Wire};
use smoltcp::socket::tcp::State;

const ROLE: &str = "LOCKSTEP_CHURN_ROLE";
const CLIENTS: usize = 16;
const LISTENERS: usize = 64;
const PAYLOAD_LEN: usize = 3000;

fn main() {
    if std::env::var_os(ROLE).is_some() {
        return serve();
    }
    let mut arguments = std::env::args().skip(1);
    let total = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(100_000);
    let program = arguments.next().unwrap_or_else(|| {
        std::env::current_exe()
            .expect("this program")
            .display()
            .to_string()
    });
    let mut gateway = Command::new(program)
        .args(arguments)
        .env(ROLE, "gateway")
        .stdout(Stdio::piped())
        .spawn()
        .expect("a gateway");
    let mut ready = String::new();
    let output = gateway.stdout.take().expect("its output");
    BufReader::new(output)
        .read_line(&mut ready)
        .expect("its first line");
    let ready: serde_json::Value = serde_json::from_str(&ready).expect("JSON");
    let address = |value: &serde_json::Value| -> SocketAddr {
        value
            .as_str()
            .and_then(|text| text.parse().ok())
            .expect("an address")
    };
    let (frames, forward) = (address(&ready["listen"]), address(&ready["forwards"][0]));
    let guest = Guest::on(Wire::plain(TcpStream::connect(frames).expect("the gateway")), 1);
    let done = Arc::new(AtomicUsize::new(0));
    for _ in 0..CLIENTS {
        let done = Arc::clone(&done);
        std::thread::spawn(move || {
            while done.fetch_add(1, Ordering::Relaxed) < total {
                exchange(forward);
            }
        });
    }
    answer(guest, &done, total, gateway.id());
    gateway.kill().expect("the gateway is ours");
    gateway.wait().expect("the gateway is ours");
}

fn serve() {
    let mut config = GatewayConfig::new(GuestListen::Tcp("127.0.0.1:0".parse().expect("an address")));
    config.insecure = true;
    config.forwards.push("127.0.0.1:0-:7".parse().expect("a forward"));
    gateway::run(config, |ready| {
        println!(
            "{}",
            serde_json::json!({
                "listen": ready.listen.to_string(),
                "forwards": [ready.forwards[0].to_string()],
            })
        );
    })
    .expect("a gateway");
}

/// One client: it closes first, as most do.
fn exchange(forward: SocketAddr) {
    let mut stream = TcpStream::connect(forward).expect("the forward");
    stream.write_all(&[7; PAYLOAD_LEN]).expect("a connection");
    stream.shutdown(Shutdown::Write).expect("a connection");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("an answer");
    assert_eq!(answer.len(), PAYLOAD_LEN);
}

/// The guest's part, until all clients are done. Prints the gateway's memory now and then.
fn answer(mut guest: Guest, done: &AtomicUsize, total: usize, gateway: u32) {
    let mut servers: Vec<_> = (0..LISTENERS).map(|_| guest.listen(7)).collect();
    guest.lease();
    let mut next = 0;
    guest.run_until(|guest| {
        for server in &mut servers {
            let socket = guest.tcp(*server);
            if socket.can_recv() && socket.can_send() {
                let bytes = socket.recv(|bytes| (bytes.len(), bytes.to_vec())).expect("bytes");
                socket.send_slice(&bytes).expect("room");
            }
            match socket.state() {
                State::CloseWait if !socket.can_recv() => socket.close(),
                State::Closed | State::TimeWait => {
                    socket.abort();
                    socket.listen(7).expect("a socket");
                }
                _ => {}
            }
        }
        let so_far = done.load(Ordering::Relaxed);
        if so_far >= next {
            println!("{so_far:>8} connections   {:>8} KiB resident", resident(gateway));
            next += total / 10;
        }
        so_far >= total + CLIENTS
    });
}

fn resident(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).expect("the gateway");
    let line = status.lines().find(|line| line.starts_with("VmRSS:"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
        .expect("a number")
}
