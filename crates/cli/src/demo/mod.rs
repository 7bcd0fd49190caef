//! `lockstep demo`: protect a guest, load it, kill its primary, report what the client saw.
//!
//! Everything is real and seen from outside: three processes of this program (gateway, backup, primary),
//! signals, and ordinary Redis clients that never reconnect.

mod client;
mod figures;
mod processes;
mod timeline;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::args::{DemoArgs, Kill};
use client::{Client, Seen};
use figures::{Loaded, Report};
use processes::{Pair, Replica};

/// Timeouts for which `--kill stall` stops the primary.
const STALL_TIMEOUTS: u32 = 3;
/// Time that the guest may take to boot.
const BOOT_PATIENCE: Duration = Duration::from_secs(600);
/// Time that an orderly end may take.
const END_PATIENCE: Duration = Duration::from_secs(60);

/// Runs the demo. Exit code 1 if anything was lost, wrong, reset or diverged.
pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    if args.seconds < 2 || args.clients == 0 {
        bail!("give at least 2 seconds and 1 client");
    }
    let image = crate::image::appliance(&::image::ApplianceOptions::default())?;
    let say = |text: &str| {
        if !args.json {
            tell!("demo: {text}");
        }
    };
    let mut pair = Pair::start(&image, args)?;
    say("gateway, backup and primary are running; the guest boots");
    pair.wait_until_ready(BOOT_PATIENCE)?;
    say(&format!(
        "Redis answers; {} client(s) write for {} s",
        args.clients, args.seconds
    ));
    let loaded = load(&mut pair, args, &say)?;
    say("reading back done; the guest is switched off");
    let ended = pair.wait_for_end(END_PATIENCE)?;
    let report = Report::new(args, &loaded, &pair, ended)?;
    // A report that nobody reads ends this process at once, and the demo shall leave no other process behind.
    drop(pair);
    if args.json {
        say!("{}", serde_json::to_string_pretty(&report.figures)?);
    } else {
        say!("{}", report.text());
    }
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Runs the clients, disturbs the pair half-way, waits for the clients to verify.
fn load(pair: &mut Pair, args: &DemoArgs, say: &dyn Fn(&str)) -> Result<Loaded> {
    let stop = Arc::new(AtomicBool::new(false));
    let start = Instant::now();
    let clients = clients(pair.redis, args.clients, start, &stop)?;
    let half = Duration::from_secs(args.seconds) / 2;
    wait(half, &clients)?;
    let mut loaded = Loaded {
        seen: Vec::new(),
        event: None,
        event_boottime_ns: None,
        stalled_halted: None,
    };
    if args.kill != Kill::None {
        loaded.event = Some(start.elapsed());
        loaded.event_boottime_ns = Some(os::sys::clock::now().0);
    }
    let mut rest = half;
    match args.kill {
        Kill::None => {}
        Kill::Primary => {
            say(&format!("SIGKILL to the primary (process {})", pair.primary.id()));
            pair.primary.kill()?;
        }
        Kill::Backup => {
            say(&format!("SIGKILL to the backup (process {})", pair.backup.id()));
            pair.backup.kill()?;
        }
        Kill::Stall => {
            say(&format!(
                "SIGSTOP to the primary (process {}), {STALL_TIMEOUTS} timeouts long",
                pair.primary.id()
            ));
            pair.primary.stop()?;
            let stall = Duration::from_millis(args.timeout_ms) * STALL_TIMEOUTS;
            wait(stall, &clients)?;
            pair.primary.go_on()?;
            loaded.stalled_halted = Some(halted(&mut pair.primary)?);
            rest = half.saturating_sub(stall);
        }
    }
    wait(rest, &clients)?;
    stop.store(true, Ordering::Relaxed);
    let mut last = None;
    for _ in 0..args.clients {
        let (client, seen) = clients.recv().context("a client has died")?;
        loaded.seen.push(seen);
        last = Some(client);
    }
    if let Some(client) = last {
        client.shut_down();
    }
    Ok(loaded)
}

/// Starts the clients; each reports when it has verified its writes.
fn clients(
    redis: SocketAddr,
    count: usize,
    start: Instant,
    stop: &Arc<AtomicBool>,
) -> Result<Receiver<(Client, Seen)>> {
    let (sender, receiver) = channel();
    for id in 0..count {
        let mut client = Client::connect(redis, id)?;
        let (sender, stop) = (sender.clone(), Arc::clone(stop));
        std::thread::spawn(move || {
            let seen = client.load(start, &stop);
            // The demo may have given up already, and then nobody listens.
            let _ = sender.send((client, seen));
        });
    }
    Ok(receiver)
}

/// Lets time pass. A client that ends before it was told to end has lost its connection.
fn wait(time: Duration, clients: &Receiver<(Client, Seen)>) -> Result<()> {
    match clients.recv_timeout(time) {
        Err(RecvTimeoutError::Timeout) => Ok(()),
        Err(RecvTimeoutError::Disconnected) => bail!("all clients have died"),
        Ok((_, seen)) => bail!(
            "a client lost its connection after {} writes: {}",
            seen.acks.len(),
            seen.reset.unwrap_or_default()
        ),
    }
}

/// Whether a stalled primary that wakes has found that it has lost.
fn halted(primary: &mut Replica) -> Result<bool> {
    let status = primary.wait(END_PATIENCE)?;
    Ok(status.is_some_and(|status| status.code() == Some(1)))
}
