//! What `lockstep demo` does: protect a guest, load it, kill its primary as often as wanted, report what the
//! client saw.
//!
//! Everything is real and seen from outside: processes of this program (gateway, backup, primary), signals,
//! and ordinary Redis clients that never reconnect. `options` is what is asked; `process`, `directory`,
//! `gateway` and `pair` are the VM, `client` and `load` its clients, `kills` what is done to it, `live` what
//! is said meanwhile, `failovers`, `figures` and `timeline` the report. `cluster` does it with whole hosts
//! and their agents.
#![forbid(unsafe_code)]

mod client;
mod cluster;
mod directory;
mod failovers;
mod figures;
mod gateway;
mod kills;
mod live;
mod load;
mod options;
mod pair;
mod process;
mod timeline;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use image::Appliance;
use report::{History, amount};
use terminal::{Screen, say, tell};

use figures::{Loaded, Report};
use kills::Kills;
use live::{Live, Stopped};
use load::Load;
use pair::{BOOT_PATIENCE, Pair};
use process::END_PATIENCE;

pub use options::{DirectoryKind, Kill, Options};

/// Exit code of a demo that the operator has stopped, as after SIGINT.
const STOPPED: u8 = 130;

/// Kills the halves of a pair. Exit code 1 if anything was lost, wrong, reset or diverged, 130 if the
/// operator has stopped it.
///
/// # Errors
/// A process does not start or does not come to life, or this host lacks what the demo needs.
pub fn of_pair(image: &Appliance, options: &Options) -> Result<ExitCode> {
    or_stopped(show(image, options))
}

/// Kills the hosts of a site. Exit codes as those of [`of_pair`].
///
/// # Errors
/// As those of [`of_pair`].
pub fn of_cluster(image: &Appliance, options: &Options) -> Result<ExitCode> {
    or_stopped(cluster::show(image, options))
}

fn or_stopped(shown: Result<ExitCode>) -> Result<ExitCode> {
    match shown {
        Err(error) if error.is::<Stopped>() => {
            tell!("demo: {error}");
            Ok(ExitCode::from(STOPPED))
        }
        other => other,
    }
}

fn show(image: &Appliance, args: &Options) -> Result<ExitCode> {
    let mut live = Live::new(args.json)?;
    let mut pair = Pair::start(image, args)?;
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
    let history = History::read(&pair.events()).context("cannot read what the replicas wrote")?;
    let report = Report::new(args, &loaded, &history, ended);
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

/// Runs the clients, kills meanwhile, waits for the clients to verify.
fn load(pair: &mut Pair, args: &Options, live: &mut Live) -> Result<Loaded> {
    let began_ns = os::sys::clock::now().0;
    let load = Load::begin(pair.redis, args);
    let mut kills = Kills {
        args,
        pair,
        load: &load,
        live,
    };
    let survived = kills.all()?;
    load.wait(Duration::from_secs(args.seconds), &mut || pair.figures(), live)?;
    let lasted = load.time();
    let (seen, last) = load.end(args.clients, live)?;
    if let Some(client) = last {
        client.shut_down();
    }
    Ok(Loaded {
        began_ns,
        lasted,
        seen,
        survived,
    })
}
