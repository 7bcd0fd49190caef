//! `examine`: everything in its order. What cannot be looked at since something before it is missing is left
//! out, and the line of that says so.

use std::io;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use agent::examination::{Examination, PeerObject};
use arbiter::Mark;
use link::Key;
use membership::client::{Question, Where, ask};
use membership::config::{Config, ConfigError};
use membership::joining::Newcomer;
use serde::de::DeserializeOwned;

use crate::limits::AGENT_PATIENCE;
use crate::line::Line;
use crate::peers::{self, PeerFacts};
use crate::{files, host, leftovers, ports, probing, reading, site};

/// What is to be examined.
#[derive(Clone, Debug)]
pub struct Patient {
    /// Path of the agent's file of settings.
    pub config: PathBuf,
    /// The directory of this user's control sockets, where the agent's file names no other.
    pub sockets: PathBuf,
    /// The agent's socket, if somebody has named it; `None`: where the agent's file says.
    pub agent: Option<PathBuf>,
    /// Why guests' code cannot be translated here; `None`: it can.
    pub no_translation: Option<String>,
    /// Version of the program that examines.
    pub version: &'static str,
    /// Whether the other hosts are examined too.
    pub peers: bool,
}

/// Examines this host, and the others of its site if that is wanted.
#[must_use]
pub fn examine(patient: &Patient) -> Vec<Line> {
    let (config, of_config) = read_config(&patient.config);
    let sockets = match &config {
        Some(config) => config.sockets(&patient.sockets),
        None => patient.sockets.clone(),
    };
    let socket = patient
        .agent
        .clone()
        .unwrap_or_else(|| sockets.join("agent.sock"));
    let pid = agent_pid(&socket).unwrap_or_else(std::process::id);
    let facts = reading::host(pid, patient.no_translation.clone());
    let mut lines = host::judge(&facts);
    lines.push(of_config);
    lines.push(files::sockets(&sockets, files::look(&sockets)));
    if let Some(config) = &config {
        lines.push(files::key(
            Key::load(&config.key).map(drop).map_err(|error| chain(&error)),
        ));
        lines.push(files::state(&config.state_dir, files::room(&config.state_dir)));
        let tables = ["tcp", "tcp6", "udp", "udp6"];
        let tables =
            tables.map(|name| std::fs::read_to_string(format!("/proc/net/{name}")).unwrap_or_default());
        lines.push(ports::judge(
            &config.ports(),
            &ports::taken(&tables, config.address),
        ));
    }
    let arbiter = config.as_ref().map(|config| &config.arbiter.place);
    lines.extend(leftovers::judge(&leftovers::look(&sockets, arbiter), arbiter));
    match &config {
        Some(config) => lines.extend(of_site(patient, config, &socket)),
        None if patient.peers => lines.push(Line::no(
            "site",
            "this host is of no site, so there are no other hosts to look at",
        )),
        None => {}
    }
    lines
}

/// The agent's file; `None`: it is not there, or of no use.
fn read_config(path: &Path) -> (Option<Config>, Line) {
    match Config::load(path) {
        Ok(config) => {
            let sentence = format!("{} makes this host {} of its site", path.display(), config.host);
            (Some(config), Line::ok("site", sentence))
        }
        Err(ConfigError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            let sentence = format!(
                "this host is of none, since {} is not there; `lockstep agent init` or `agent join` \
                 writes it",
                path.display()
            );
            (None, Line::warn("site", sentence))
        }
        Err(error) => (None, Line::no("site", error.to_string())),
    }
}

/// Looks at this host's part of its site, and from there at the other hosts.
fn of_site(patient: &Patient, config: &Config, socket: &Path) -> Vec<Line> {
    let to = Where::Socket(socket.to_owned());
    let found: Result<Examination, String> = get(&to, "/v1/examination");
    let mut lines = vec![site::agent(socket, &found, patient.version)];
    let began = os::sys::clock::now();
    let tried = agent::try_store(&config.directory, &config.host);
    let ms = os::sys::clock::now().since(began).0 / 1_000_000;
    lines.push(site::store(tried.map(|()| ms).map_err(|error| error.to_string())));
    let place = &config.arbiter.place;
    let mark = Mark::leave(place).map_err(|error| chain(&error));
    let own = place
        .directory()
        .and_then(|path| rustix::fs::statfs(path).ok())
        .and_then(|system| site::own_kind(system.f_type));
    lines.push(site::arbiter(
        place,
        &mark.as_ref().map(drop).map_err(Clone::clone),
        own,
    ));
    if !patient.peers {
        return lines;
    }
    if found.is_err() {
        lines.push(Line::no(
            "other hosts",
            "were not looked at, since no agent answers here",
        ));
        return lines;
    }
    let name = mark.as_ref().map_or("", |mark| mark.name());
    let all: Result<Vec<PeerObject>, String> = get(&to, &format!("/v1/peers?mark={name}&echo=true"));
    match all {
        Err(why) => lines.push(Line::no("other hosts", format!("were not looked at ({why})"))),
        Ok(all) if all.is_empty() => lines.push(Line::warn(
            "other hosts",
            "there are none, so no VM can have a backup; `lockstep agent join` on another host",
        )),
        Ok(all) => lines.extend(of_peers(patient, config, all)),
    }
    lines
}

/// Calls the ports of all hosts that answer for a moment, beside each other, and judges the hosts.
fn of_peers(patient: &Patient, config: &Config, all: Vec<PeerObject>) -> Vec<Line> {
    let here = Newcomer::new(&config.host, config.address, patient.version);
    let calls = all.into_iter().map(|peer| {
        std::thread::spawn(move || {
            let echo = peer.examination.as_ref().and_then(|told| told.echo.as_ref());
            let reached = echo.map(probing::reach);
            PeerFacts { peer, reached }
        })
    });
    let calls: Vec<_> = calls.collect();
    // A panic aborts the process, so nobody ever joins a thread that has panicked.
    let found = calls.into_iter().filter_map(|call| call.join().ok());
    found
        .flat_map(|facts| peers::judge(&facts, &here, &config.arbiter.place))
        .collect()
}

/// Asks the agent of this host; the sentence of an error says why there is no answer.
fn get<T: DeserializeOwned>(to: &Where, path: &str) -> Result<T, String> {
    let answer = ask(to, &Question::get(path), AGENT_PATIENCE).map_err(|error| error.reason().to_owned())?;
    if answer.is_good() {
        return serde_json::from_slice(&answer.body).map_err(|error| error.to_string());
    }
    let problem: Result<membership::problem::Problem, _> = serde_json::from_slice(&answer.body);
    Err(problem.map_or_else(|error| error.to_string(), |problem| problem.detail))
}

/// Number of the process that answers at this socket.
fn agent_pid(socket: &Path) -> Option<u32> {
    let stream = UnixStream::connect(socket).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&stream).ok()?;
    u32::try_from(peer.pid.as_raw_nonzero().get()).ok()
}

/// An error with all that is behind it.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut behind = error.source();
    while let Some(error) = behind {
        text += &format!(": {error}");
        behind = error.source();
    }
    text
}
