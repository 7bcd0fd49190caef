//! `lockstep disk-server`: a process that offers disks, until a signal ends it.

use std::process::ExitCode;
use std::sync::Arc;

use ::disk_server::{Config, DiskServer};
use anyhow::{Context, Result};
use os::signals::Signals;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::args::DiskServerArgs;
use crate::usage;

/// Serves until a signal ends the process, or makes the state of a new server.
pub fn run(args: &DiskServerArgs) -> Result<ExitCode> {
    let config = Config::load(&args.config).map_err(usage::mark)?;
    if args.init {
        ::disk_server::init(&config.state)?;
        say!(
            "lockstep: {} is a disk server's state now; start it without --init",
            config.state.display()
        );
        return Ok(ExitCode::SUCCESS);
    }
    let signals = Signals::catch().context("cannot catch signals")?;
    let server = Arc::new(DiskServer::open(&config)?);
    let mut doors = server.doors().into_iter().map(ToString::to_string);
    let listen = config.listen.as_ref().and_then(|_| doors.next());
    let nbd = doors.next();
    if args.json {
        say!("{}", serde_json::json!({ "listen": listen, "nbd": nbd }));
    } else {
        let count = config.exports.len();
        let disks = if count == 1 {
            "1 disk".into()
        } else {
            format!("{count} disks")
        };
        for (door, whom) in [(listen, "Lockstep"), (nbd, "NBD programs")] {
            if let Some(door) = door {
                say!("lockstep: offers {disks} to {whom} at {door}");
            }
        }
    }
    let serving = Arc::clone(&server);
    let thread = std::thread::Builder::new().name("accept".into()).spawn(move || {
        if let Err(error) = serving.serve() {
            tell!("lockstep: {}", os::error::chain(&error));
            os::stderr::finish();
            std::process::exit(1);
        }
    });
    thread.context("the host gives no thread")?;
    loop {
        match poll(&mut [PollFd::new(&signals, PollFlags::IN)], None) {
            Err(Errno::INTR) => {}
            other => break other.map(drop).context("cannot wait for signals")?,
        }
    }
    server.close();
    Ok(ExitCode::SUCCESS)
}
