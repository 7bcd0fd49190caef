//! `lockstep demo --cluster`: three hosts with agents, of which two die in turn and one comes back, while a
//! client writes on one connection.
//!
//! Nothing is done for the VM here: it is created, started and once handed over through the agents' API, and
//! all else is the agents' own doing. `network` is what lies between the hosts, `host` one of them, `etcd`
//! the store's server, `call` how an agent is asked, `dying` how a host dies, `site` all of that together;
//! `course` is what is done, and `table` what is told of it.

mod call;
mod course;
mod dying;
mod etcd;
mod host;
mod network;
mod site;
mod table;

use std::process::ExitCode;

use anyhow::{Context, Result};
use image::Appliance;
use report::History;
use terminal::say;

use super::live::Live;
use crate::options::Options;
use course::Course;
use site::Site;
use table::Table;
use terminal::Screen;

/// Runs the demo. Exit code 1 if anything was lost, wrong, reset or diverged.
pub fn show(image: &Appliance, args: &Options) -> Result<ExitCode> {
    if args.netns && !args.is_within {
        network::enter()?;
    }
    let mut live = Live::new(args.json)?;
    let mut site = Site::start(image, args, &mut live)?;
    if args.keep {
        live.complain(&format!("the demo's files are in {}", site.directory().display()));
    }
    let lived = Course::new(args, &mut site, &mut live).run()?;
    let ended_well = site.end(&mut live)?;
    live.clear();
    let history = History::read(&site.events()).context("cannot read what the replicas wrote")?;
    let table = Table::new(args, &site, &lived, &history, ended_well);
    // A report that nobody reads ends this process at once, and the demo shall leave no other process behind.
    drop(site);
    if args.json {
        say!("{}", table.json(args)?);
    } else {
        say!("{}", table.text(&Screen::of_stdout()).trim_end());
    }
    Ok(if table.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
