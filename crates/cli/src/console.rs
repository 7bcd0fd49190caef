//! `console`: a running VM's serial line in this terminal, on whichever host of the site it runs. When the VM
//! goes on elsewhere the command looks for it there, and says how long it was away. Whatever becomes of this
//! program, the VM does not notice.

use std::io::Write;
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use anyhow::Result;
use caller::{CallError, Caller, Heard, VerbError, Watching};
use control::{ConsoleWish, RequestId};
use membership::asking::AskError;
use os::signals::Signals;
use os::terminal::RawMode;
use replica::VmName;
use report::StateWord;
use rustix::event::{PollFd, PollFlags, poll};

use crate::args::ConsoleArgs;
use crate::exit::STOPPED;
use crate::site::Site;
use crate::spec;

/// Ctrl-], as in telnet and virsh.
const LEAVE: u8 = 0x1d;
/// So many of the guest's last bytes are shown first: about a screen.
const SCREEN_BYTES: u64 = 2 << 10;
/// So many are wanted when the VM was away: all that its process keeps.
const KEPT_BYTES: u64 = control::limits::TAIL_LEN_MAX as u64;
/// A process that says nothing for so long is gone, or the way to it is.
const SILENCE: Duration = Duration::from_secs(4);
const _: () = assert!(SILENCE.as_secs() > 2 * control::limits::ALIVE_EVERY.as_secs());
/// Pause between two looks for a VM that is away.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// The same once it has been away for a while.
const AWAY_EVERY: Duration = Duration::from_secs(1);
/// While it is looked for, what is typed is looked at so often.
const OPEN_LOOK: Duration = Duration::from_millis(10);
/// A VM that no agent looks after has so long to come back on this host.
const LOCAL_PATIENCE: Duration = Duration::from_secs(3);
/// Bytes that are typed while the guest takes none of them; further ones are dropped.
const UNSENT_MAX: usize = 1 << 20;

/// Says something beside what the guest says.
macro_rules! notice {
    ($($text:tt)*) => {
        os::stderr::write_text(format_args!("\r\n[{}]\r\n", format_args!($($text)*)))
    };
}

/// Shows a VM's console until the person leaves it, or the VM is off.
pub fn console(args: &ConsoleArgs) -> Result<ExitCode> {
    let site = Site::of(&args.name)?;
    let mut place = Place {
        name: args.name.clone(),
        view: args.view,
        site,
        session: RequestId(os::entropy::random_u128()),
    };
    let mut watching = place.open(SCREEN_BYTES, args.force)?;
    let signals = Signals::catch()?;
    let raw = RawMode::enter()?;
    let verb = if args.view { "watch" } else { "are at" };
    let leaves = if raw.is_some() { "; Ctrl-] leaves it" } else { "" };
    tell!(
        "lockstep: you {verb} the console of {}{}{leaves}",
        args.name,
        place.host()
    );
    let mut hands = Hands {
        signals,
        is_stdin_open: true,
        is_terminal: raw.is_some(),
    };
    let end = loop {
        let heard = match attend(&mut place.view, &mut watching, &mut hands)? {
            Attended::Over(end) => break end,
            Attended::Away(heard) => heard,
        };
        match place.find((&watching, heard), &mut hands)? {
            Found::Seat(found) => watching = found,
            Found::Over(end) => break end,
        }
    };
    drop(raw);
    Ok(match end {
        End::Left => {
            let name = &args.name;
            tell!("\nlockstep: you have left the console of {name}; the VM runs on");
            ExitCode::SUCCESS
        }
        End::Stopped => ExitCode::from(STOPPED),
        End::Gone(why) => {
            tell!("\nlockstep: {why}");
            ExitCode::SUCCESS
        }
    })
}

/// Why nobody is at the console any more.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// The person has left it.
    Left,
    /// A signal has ended the command.
    Stopped,
    /// The VM has no console any more, for this reason.
    Gone(String),
}

/// What became of a connection to the console.
enum Attended {
    Over(End),
    /// The process says nothing any more, or that the guest goes on elsewhere; when it was heard last.
    Away(Instant),
}

/// Where the person types, and what else can end the command.
struct Hands {
    signals: Signals,
    is_stdin_open: bool,
    is_terminal: bool,
}

impl Hands {
    /// Waits until something is typed, or the console has something to say, or some time is over. Gives what
    /// was typed, and how the person wants to end. What comes from a file or a pipe waits there until the
    /// console takes it.
    fn wait(&mut self, console: Option<&Watching>, time: Duration) -> Result<(Vec<u8>, Option<End>)> {
        let time = os::sys::clock::timespec(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
        let stdin = rustix::stdio::stdin();
        let takes = self.is_terminal || console.is_some_and(|console| console.unsent() == 0);
        let has_typed = {
            let mut fds = vec![PollFd::new(&self.signals, PollFlags::IN)];
            let listens = self.is_stdin_open && takes;
            fds.extend(listens.then(|| PollFd::from_borrowed_fd(stdin, PollFlags::IN)));
            fds.extend(console.map(|console| {
                let mut wanted = PollFlags::IN;
                wanted.set(PollFlags::OUT, console.unsent() > 0);
                PollFd::from_borrowed_fd(console.as_fd(), wanted)
            }));
            match poll(&mut fds, Some(&time)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(std::io::Error::from(error).into()),
            }
            let typed = fds.get(1).filter(|_| listens);
            typed.is_some_and(|typed| !typed.revents().is_empty())
        };
        if self.signals.take() > 0 {
            return Ok((Vec::new(), Some(End::Stopped)));
        }
        let mut bytes = vec![0; control::limits::TYPED_LEN_MAX];
        let length = match has_typed.then(|| rustix::io::read(stdin, &mut bytes)) {
            Some(Ok(length)) => {
                self.is_stdin_open = length > 0;
                length
            }
            Some(Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR)) | None => 0,
            Some(Err(_)) => {
                self.is_stdin_open = false;
                0
            }
        };
        bytes.truncate(length);
        if self.is_terminal
            && let Some(at) = bytes.iter().position(|&byte| byte == LEAVE)
        {
            bytes.truncate(at);
            return Ok((bytes, Some(End::Left)));
        }
        // A terminal that has gone takes its person with it.
        let end = (self.is_terminal && !self.is_stdin_open).then_some(End::Stopped);
        Ok((bytes, end))
    }
}

/// Passes on what is typed and shows what is said, as long as the connection lasts. `view`: does the person
/// only watch?
fn attend(view: &mut bool, console: &mut Watching, hands: &mut Hands) -> Result<Attended> {
    let mut heard = Instant::now();
    let (mut is_full, mut has_more) = (false, false);
    loop {
        // However much the guest writes, the person is heard after each piece of it.
        let time = if has_more { Duration::ZERO } else { LOOK_EVERY };
        let (typed, end) = hands.wait(Some(console), time)?;
        let has_room = console.unsent() + typed.len() <= UNSENT_MAX;
        if !has_room && !std::mem::replace(&mut is_full, true) {
            notice!("the guest takes nothing; what you type is dropped until it does");
        }
        is_full &= !has_room;
        let typed = if *view || !has_room { &[] } else { typed.as_slice() };
        let is_sent = console.types(typed).is_ok();
        if let Some(end) = end {
            return Ok(Attended::Over(end));
        }
        let said = match console.hear() {
            Ok(said) => said,
            Err(CallError::Ended(_) | CallError::Silent(_) | CallError::Socket { .. }) => {
                return Ok(Attended::Away(heard));
            }
            Err(error @ CallError::Unknown { .. }) => return Err(error.into()),
        };
        has_more = said.is_some();
        if has_more {
            heard = Instant::now();
        } else if !is_sent || heard.elapsed() >= SILENCE {
            return Ok(Attended::Away(heard));
        }
        match said {
            Some(Heard::Bytes(bytes)) => show(&bytes)?,
            Some(Heard::Missed(count)) => notice!("{count} bytes of the guest are missing here"),
            Some(Heard::Taken(by)) => {
                notice!("{by} has taken the console; you watch");
                *view = true;
            }
            Some(Heard::Left) => return Ok(Attended::Away(heard)),
            Some(Heard::Alive) | None => {}
        }
    }
}

fn show(bytes: &[u8]) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(bytes)?;
    stdout.flush()?;
    Ok(())
}

/// What was found of a VM that was away.
enum Found {
    Seat(Watching),
    Over(End),
}

/// Where the console is asked for.
#[derive(Clone)]
struct Place {
    name: VmName,
    /// Does the person only watch?
    view: bool,
    /// The agent that looks after the VM; `None`: none does, and a process of this host is asked.
    site: Option<Site>,
    session: RequestId,
}

impl Place {
    /// Connects to the console of the process that shows the guest, which first says so many of the guest's
    /// last bytes. `force`: is whoever types there to watch from then on?
    fn open(&self, last: u64, force: bool) -> Result<Watching> {
        let (name, session, view) = (&self.name, self.session, self.view);
        let Some(site) = &self.site else {
            let process = caller::process(&spec::local_directory(), name)?;
            let wish = ConsoleWish {
                by: os::identity::user_name(),
                session,
                view,
                force,
                last,
            };
            let caller = process.call(caller::PATIENCE).map_err(VerbError::Call)?;
            return Ok(Watching::begin(caller, wish)?);
        };
        let path = format!("/v1/vms/{name}/console?session={session}&view={view}&force={force}&last={last}");
        let caller = Caller::over(name.as_str(), site.lead_on(&path)?);
        Ok(Watching::begun(caller)?)
    }

    /// Where the VM runs, for people: ` on HOST`, or nothing.
    fn host(&self) -> String {
        let seen = self.site.as_ref().and_then(|site| site.vm(&self.name).ok());
        let primary = seen.and_then(|vm| vm.primary);
        primary.map_or(String::new(), |primary| format!(" on {}", primary.host))
    }

    /// Looks for the VM until its console is there, it is off, or the person leaves. `before`: the connection
    /// that is lost, and when something was heard over it last.
    fn find(&mut self, before: (&Watching, Instant), hands: &mut Hands) -> Result<Found> {
        let (before, away) = before;
        let mut is_told = false;
        loop {
            // It may take seconds, in which the person is to be heard.
            let (tell, told) = channel();
            let asking = self.clone();
            std::thread::Builder::new()
                .name("console".into())
                .spawn(move || {
                    // Nobody listens any more if the person has left.
                    let opened = asking.open(KEPT_BYTES, false);
                    let over = opened
                        .as_ref()
                        .err()
                        .and_then(|error| asking.is_over(error, away));
                    let _ = tell.send((opened, over));
                })?;
            let (opened, over) = loop {
                if let Ok(said) = told.try_recv() {
                    break said;
                }
                if let (_, Some(end)) = hands.wait(None, OPEN_LOOK)? {
                    return Ok(Found::Over(end));
                }
            };
            match opened {
                Ok(mut console) => {
                    let ms = away.elapsed().as_millis();
                    notice!("{} is live{}, {ms} ms", self.name, self.host());
                    let missing = console.resume(before.process, before.position);
                    if missing > 0 {
                        notice!("{missing} bytes of the guest are missing here");
                    }
                    return Ok(Found::Seat(console));
                }
                Err(error) if !self.view && is_taken(&error) => {
                    notice!("{error}; you watch");
                    self.view = true;
                    continue;
                }
                Err(_) => {}
            }
            if let Some(why) = over {
                return Ok(Found::Over(End::Gone(why)));
            }
            let is_long = away.elapsed() > SILENCE;
            if is_long && !std::mem::replace(&mut is_told, true) {
                notice!(
                    "{} is away; Ctrl-] leaves, and what you type is dropped meanwhile",
                    self.name
                );
            }
            let pause = if is_long { AWAY_EVERY } else { LOOK_EVERY };
            let until = Instant::now() + pause;
            while Instant::now() < until {
                if let (_, Some(end)) = hands.wait(None, OPEN_LOOK)? {
                    return Ok(Found::Over(end));
                }
            }
        }
    }

    /// Why nobody need wait for the VM any more; `None`: it may come back.
    fn is_over(&self, error: &anyhow::Error, away: Instant) -> Option<String> {
        let name = &self.name;
        let Some(site) = &self.site else {
            let is_over = away.elapsed() > LOCAL_PATIENCE;
            return is_over.then(|| match error.downcast_ref() {
                Some(VerbError::Refused(sentence)) => sentence.clone(),
                _ => format!("{name} runs on this host no more"),
            });
        };
        let Some(AskError::Problem(problem)) = error.downcast_ref() else {
            return None;
        };
        match problem.code.as_str() {
            "no-vm" => Some(format!("{name} is a VM of the site no more")),
            "not-now" => {
                let seen = site.vm(name).ok()?;
                (seen.protection.state == StateWord::Off).then(|| format!("{name} is off"))
            }
            _ => None,
        }
    }
}

/// Does somebody else type at the console?
fn is_taken(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(AskError::Problem(problem)) if problem.code == "console-taken")
}
