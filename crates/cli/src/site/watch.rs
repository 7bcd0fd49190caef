//! `lockstep status --watch`: how the VMs are, for as long as somebody looks. On a terminal the table stands
//! still and its content changes; elsewhere each change of a VM is a line.

use crate::exit::STOPPED;
use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use agent::changes::{RemovedObject, SnapshotObject, Topic, is_vm_changed};
use agent::types::VmObject;
use anyhow::Result;
use membership::listening::Told;
use os::signals::Signals;
use replica::VmName;
use rustix::termios::tcgetwinsize;

use super::changes::Changes;
use super::client::Site;
use super::text;
use membership::asking::AskError;
use terminal::Screen;

/// A signal is noticed within this time.
const TURN: Duration = Duration::from_millis(200);
/// Rows of a terminal of which nothing is known.
const ROWS_DEFAULT: usize = 24;

/// What is shown, and to whom.
struct View<'a> {
    /// The VM that is meant; `None`: all.
    name: Option<&'a VmName>,
    json: bool,
    is_terminal: bool,
    all: Option<SnapshotObject>,
    /// What was printed last of each VM.
    printed: BTreeMap<String, VmObject>,
    /// Widths of the columns of lines; `None`: nothing was printed yet.
    widths: Option<[usize; 5]>,
    /// Why there is no news; empty: there is.
    away: String,
    is_drawn: bool,
}

/// Shows how the VMs of the site are, or one, until a signal.
pub fn watch(site: &Site, name: Option<&VmName>, json: bool) -> Result<ExitCode> {
    if let Some(name) = name {
        site.vm(name)?;
    }
    let mut signals = Signals::catch()?;
    let mut changes = Changes::of(site, "site,vm,host,operation,figures");
    let mut view = View {
        name,
        json,
        is_terminal: !json && std::io::stdout().is_terminal(),
        all: None,
        printed: BTreeMap::new(),
        widths: None,
        away: String::new(),
        is_drawn: true,
    };
    while signals.take() == 0 {
        let patience = if view.is_drawn { TURN } else { Duration::ZERO };
        match changes.next(patience) {
            Ok(Some(told)) => {
                view.answers();
                view.take(&told)?;
            }
            Ok(None) => view.draw()?,
            Err(AskError::Call(error)) => {
                view.is_away(&error.to_string());
                view.draw()?;
                changes.pause();
            }
            Err(refused) => return Err(refused.into()),
        }
    }
    if view.is_terminal {
        say!("");
    }
    Ok(ExitCode::from(STOPPED))
}

/// Is this VM meant? `name`: the one that is; `None`: all are.
fn is_meant(name: Option<&VmName>, vm: &VmObject) -> bool {
    name.is_none_or(|name| name.as_str() == vm.name)
}

impl View<'_> {
    fn answers(&mut self) {
        if !self.away.is_empty() && !self.is_terminal {
            tell!("lockstep: the agent answers again");
        }
        self.away.clear();
    }

    fn is_away(&mut self, why: &str) {
        if self.away.is_empty() && !self.is_terminal {
            tell!("lockstep: {why}; it is called again and again");
        }
        self.is_drawn = self.away == why;
        why.clone_into(&mut self.away);
    }

    fn take(&mut self, told: &Told) -> Result<()> {
        match (&mut self.all, told.event.as_str()) {
            (all, "snapshot") => *all = Some(serde_json::from_str(&told.data).map_err(AskError::Unknown)?),
            (Some(all), event) => all.take(event, &told.data).map_err(AskError::Unknown)?,
            (None, _) => {}
        }
        if self.is_terminal {
            self.is_drawn = false;
        } else {
            self.print()?;
        }
        Ok(())
    }

    /// Prints a line for each VM of which there is news.
    fn print(&mut self) -> Result<()> {
        let vms = self.all.as_ref().map_or_else(Vec::new, |all| all.vms.clone());
        if self.widths.is_none() && self.all.is_some() {
            self.begin(&vms);
        }
        for vm in vms.iter().filter(|vm| is_meant(self.name, vm)) {
            let before = self.printed.get(&vm.name);
            if before.is_some_and(|before| !is_vm_changed(before, vm)) {
                continue;
            }
            if self.json {
                say!("{}", serde_json::to_string(vm)?);
            } else if before.is_none_or(|before| text::cells(before) != text::cells(vm)) {
                self.line(&text::cells(vm));
            }
            self.printed.insert(vm.name.clone(), vm.clone());
        }
        let is_gone = |name: &&String| !vms.iter().any(|vm| vm.name == **name);
        let gone: Vec<String> = self.printed.keys().filter(is_gone).cloned().collect();
        for name in gone {
            self.printed.remove(&name);
            let topic = Topic::Vm;
            if self.json {
                say!("{}", serde_json::to_string(&RemovedObject { topic, name })?);
            } else {
                let dash = || "-".to_owned();
                self.line(&[name, "deleted".into(), dash(), dash(), dash(), String::new()]);
            }
        }
        Ok(())
    }

    /// Prints the head of the table, which says how wide its columns are from now on.
    fn begin(&mut self, vms: &[VmObject]) {
        let head = ["VM", "GUEST", "PROTECTION", "PRIMARY", "BACKUP", "WHY"].map(str::to_owned);
        // The longest words that may come later.
        let mut widths = [0, "running".len(), "needs-backup".len(), 0, 0];
        for cells in vms.iter().map(text::cells).chain([head.clone()]) {
            for (width, cell) in widths.iter_mut().zip(&cells) {
                *width = (*width).max(cell.chars().count());
            }
        }
        self.widths = Some(widths);
        if !self.json {
            self.write_line("TIME", &head);
        }
    }

    fn line(&self, cells: &[String; 6]) {
        let now = agent::types::moment_of(os::sys::clock::wall_ns());
        self.write_line(&now, cells);
    }

    fn write_line(&self, time: &str, cells: &[String; 6]) {
        let widths = self.widths.unwrap_or_default();
        let mut line = format!("{time:<20}");
        for (cell, width) in cells.iter().zip(widths.into_iter().chain([0])) {
            line += &format!("  {cell:<width$}");
        }
        say!("{}", line.trim_end());
    }

    /// Draws the screen of a terminal anew, if there is something new.
    fn draw(&mut self) -> Result<()> {
        if self.is_drawn || !self.is_terminal {
            self.is_drawn = true;
            return Ok(());
        }
        self.is_drawn = true;
        let text = self.screen();
        let screen = Screen::of_stdout();
        let rows = tcgetwinsize(std::io::stdout()).map_or(ROWS_DEFAULT, |size| usize::from(size.ws_row));
        // The line below the last one is the cursor's.
        let rows = if rows > 1 { rows - 1 } else { ROWS_DEFAULT };
        let mut drawn = String::from("\x1b[H");
        for line in text.lines().take(rows) {
            drawn.extend(line.chars().take(screen.width));
            drawn += "\x1b[K\r\n";
        }
        drawn += "\x1b[J";
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(drawn.as_bytes())?;
        Ok(stdout.flush()?)
    }

    /// What stands on the screen.
    fn screen(&self) -> String {
        let (utf8, now_ns) = (Screen::of_stdout().utf8, os::sys::clock::wall_ns());
        let mut text = String::new();
        if !self.away.is_empty() {
            text += &format!("{}; it is called again and again. What was so last:\n", self.away);
        }
        let Some(all) = &self.all else {
            return text;
        };
        match self.name {
            Some(name) => match all.vms.iter().find(|vm| is_meant(self.name, vm)) {
                Some(vm) => text += &text::vm(vm, utf8, now_ns),
                None => text += &format!("there is no VM called {name} any more\n"),
            },
            None => {
                text += &text::site(&all.site);
                text += &match all.vms.as_slice() {
                    [] => "there is no VM; `lockstep create VM.toml` makes one\n".to_owned(),
                    vms => text::vms(vms, utf8, now_ns),
                };
            }
        }
        text
    }
}
