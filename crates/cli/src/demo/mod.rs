//! `lockstep demo`: protect a guest, load it, kill its primary, report what the client saw.
//!
//! Everything is real and seen from outside: three processes of this program (gateway, backup, primary),
//! signals, and ordinary Redis clients that never reconnect. `processes` and `directory` are the pair,
//! `client` the load, `live` and `tail` what is said meanwhile, `figures` and `timeline` the report.

mod client;
mod directory;
mod figures;
mod live;
mod processes;
mod tail;
mod timeline;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use report::{HaltCode, RoleWord, amount};

use crate::args::{DemoArgs, Kill};
use crate::screen::Screen;
use client::{Client, Course, Seen};
use figures::{Loaded, Report};
use live::{Live, Stopped, TICK};
use processes::{Pair, Replica};

/// Timeouts for which `--kill stall` stops the primary.
const STALL_TIMEOUTS: u32 = 3;
/// Time that the guest may take to boot.
const BOOT_PATIENCE: Duration = Duration::from_secs(600);
/// Time that an orderly end may take.
const END_PATIENCE: Duration = Duration::from_secs(60);
/// Exit code of a demo that the operator has stopped, as after SIGINT.
const STOPPED: u8 = 130;

/// Runs the demo. Exit code 1 if anything was lost, wrong, reset or diverged.
pub fn run(args: &DemoArgs) -> Result<ExitCode> {
    match show(args) {
        Err(error) if error.is::<Stopped>() => {
            tell!("demo: {error}");
            Ok(ExitCode::from(STOPPED))
        }
        other => other,
    }
}

fn show(args: &DemoArgs) -> Result<ExitCode> {
    let image = crate::image::appliance(&::image::ApplianceOptions::default())?;
    let mut live = Live::new(args.json)?;
    let mut pair = Pair::start(&image, args)?;
    live.say("gateway, backup and primary are running; the guest boots");
    if args.keep {
        live.complain(&format!("the demo's files are in {}", pair.directory().display()));
    }
    pair.wait_until_ready(BOOT_PATIENCE, &mut live)?;
    let who = match args.clients {
        1 => "a client writes".to_owned(),
        count => format!("{} clients write", amount::grouped(count)),
    };
    live.say(&format!("Redis answers; {who} for {} s", args.seconds));
    let loaded = load(&mut pair, args, &mut live)?;
    live.say("reading back done; the guest is switched off");
    let ended = pair.wait_for_end(END_PATIENCE, &mut live)?;
    live.clear();
    let report = Report::new(args, &loaded, &pair, ended)?;
    // A report that nobody reads ends this process at once, and the demo shall leave no other process behind.
    drop(pair);
    if args.json {
        say!("{}", report.json(args)?);
    } else {
        say!("{}", report.text(&Screen::of_stdout()).trim_end());
    }
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The clients at work.
struct Load {
    began: Instant,
    course: Arc<Course>,
    clients: Receiver<Result<(Client, Seen)>>,
    seconds: u64,
}

/// Runs the clients, disturbs the pair half-way, waits for the clients to verify.
fn load(pair: &mut Pair, args: &DemoArgs, live: &mut Live) -> Result<Loaded> {
    let load = Load::begin(pair.redis, args);
    let half = Duration::from_secs(args.seconds) / 2;
    load.wait(half, pair, live)?;
    let mut loaded = Loaded {
        seen: Vec::new(),
        event: None,
        event_boottime_ns: None,
        stalled_halted: None,
    };
    if args.kill != Kill::None {
        loaded.event = Some(load.began.elapsed());
        loaded.event_boottime_ns = Some(os::sys::clock::now().0);
    }
    let mut rest = half;
    match args.kill {
        Kill::None => {}
        Kill::Primary => {
            pair.primary.kill()?;
            live.say(&format!("SIGKILL to the primary (process {})", pair.primary.id()));
        }
        Kill::Backup => {
            pair.backup.kill()?;
            live.say(&format!("SIGKILL to the backup (process {})", pair.backup.id()));
        }
        Kill::Stall => {
            pair.primary.stop()?;
            live.say(&format!(
                "SIGSTOP to the primary (process {}), {STALL_TIMEOUTS} timeouts long",
                pair.primary.id()
            ));
            let stall = Duration::from_millis(args.timeout_ms) * STALL_TIMEOUTS;
            load.wait(stall, pair, live)?;
            pair.primary.go_on()?;
            loaded.stalled_halted = Some(halted(&mut pair.primary, live)?);
            rest = half.saturating_sub(stall);
        }
    }
    load.wait(rest, pair, live)?;
    loaded.seen = load.end(args.clients, live)?;
    Ok(loaded)
}

impl Load {
    /// Starts the clients; each reports when it has verified its writes.
    fn begin(redis: SocketAddr, args: &DemoArgs) -> Load {
        let (sender, clients) = channel();
        let (began, course) = (Instant::now(), Arc::new(Course::default()));
        for id in 0..args.clients {
            let (sender, course) = (sender.clone(), Arc::clone(&course));
            std::thread::spawn(move || {
                let ended = Client::connect(redis, id).map(|mut client| {
                    let seen = client.load(began, &course);
                    (client, seen)
                });
                // The demo may have given up already, and then nobody listens.
                let _ = sender.send(ended);
            });
        }
        Load {
            began,
            course,
            clients,
            seconds: args.seconds,
        }
    }

    /// Lets time pass. A client that ends before it was told to end has lost its connection.
    fn wait(&self, time: Duration, pair: &mut Pair, live: &mut Live) -> Result<()> {
        let began = Instant::now();
        while let Some(left) = time.checked_sub(began.elapsed()) {
            match self.clients.recv_timeout(left.min(TICK)) {
                Err(RecvTimeoutError::Timeout) => live.tick(|| self.line(pair))?,
                Err(RecvTimeoutError::Disconnected) => bail!("all clients have died"),
                Ok(ended) => {
                    let (_, seen) = ended?;
                    bail!(
                        "a client lost its connection after {} writes: {}",
                        seen.acks.len(),
                        seen.reset.unwrap_or_default()
                    )
                }
            }
        }
        Ok(())
    }

    /// How far the load is, and how the pair does.
    fn line(&self, pair: &mut Pair) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        let writes = amount::grouped(self.course.acked.load(Ordering::Relaxed));
        let pair = match pair.figures() {
            None => String::new(),
            Some(figures) if figures.role == RoleWord::Primary => format!(
                ", backup {:.1} ms behind, outputs wait {:.0} us",
                figures.lag_ms, figures.output_delay.p50_us
            ),
            Some(_) => ", no backup now".to_owned(),
        };
        format!("{seconds:.1} of {} s, {writes} writes{pair}", self.seconds)
    }

    /// Has the clients verify, and the last of them switch the guest off.
    fn end(&self, clients: u64, live: &mut Live) -> Result<Vec<Seen>> {
        self.course.stop.store(true, Ordering::Relaxed);
        let (mut all, mut last) = (Vec::new(), None);
        while (all.len() as u64) < clients {
            match self.clients.recv_timeout(TICK) {
                Err(RecvTimeoutError::Timeout) => live.tick(|| "the clients read back".into())?,
                other => {
                    let (client, seen) = other.context("a client has died")??;
                    all.push(seen);
                    last = Some(client);
                }
            }
        }
        if let Some(client) = last {
            client.shut_down();
        }
        Ok(all)
    }
}

/// Whether a stalled primary that wakes has found that it has lost.
fn halted(primary: &mut Replica, live: &mut Live) -> Result<bool> {
    let lost = i32::from(HaltCode::Lost.exit_code());
    let status = primary.wait(END_PATIENCE, live)?;
    Ok(status.is_some_and(|status| status.code() == Some(lost)))
}
