//! `lockstep agent token` and `agent join`: how a further host becomes one of a site. The token is given by
//! an agent and carried by a person (`joining` of crate `membership`).
//!
//! All that can be wrong is found out before the site's key is asked for, which uses the token up, and before
//! anything is written.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::ExitCode;

use agent::types::TokenObject;
use anyhow::{Context, Result, anyhow, bail};
use arbiter::{Mark, Place};
use membership::config::{AGENT_PORT, Config, DirectoryConfig};
use membership::joining::{Giver, JoinError, Newcomer, Offer, Token};
use serde_json::json;

use crate::args::{JoinArgs, TokenArgs};
use crate::draft::Draft;
use crate::host_file::{KEY_FILE, OfSite, private_directory, text};
use crate::site::Site;
use crate::usage;

/// Bytes that are read of standard input at most: more than a token has.
const TOKEN_BYTES_MAX: u64 = 1_000;
/// Digits of the site's key in its file.
const KEY_DIGITS: usize = 64;

/// Prints a token.
pub fn token(args: &TokenArgs) -> Result<ExitCode> {
    let site = Site::needed()?;
    let body = json!({ "valid_s": args.valid.as_secs() });
    let given: TokenObject = site.make("/v1/tokens", &body)?;
    say!("{}", given.token);
    tell!(
        "lockstep: for one host, within {}; there: lockstep agent join {} --token {}",
        time(given.valid_s),
        given.agent,
        given.token
    );
    Ok(ExitCode::SUCCESS)
}

/// A time as people say it.
fn time(seconds: u64) -> String {
    match seconds {
        _ if seconds.is_multiple_of(3_600) => format!("{} h", seconds / 3_600),
        _ if seconds.is_multiple_of(60) => format!("{} min", seconds / 60),
        _ => format!("{seconds} s"),
    }
}

/// Makes this host one of the site whose agent is called.
pub fn join(args: &JoinArgs) -> Result<ExitCode> {
    let config = &args.place.config;
    let directory = config.parent().unwrap_or(Path::new("."));
    let key_file = directory.join(KEY_FILE);
    for file in [config, &key_file] {
        if file.exists() {
            bail!(
                "this host is one of a site already, since {} is there; remove it first if that is not so",
                file.display()
            );
        }
    }
    let token = token_of(&args.token)?;
    let place = address_of(&args.agent)?;
    if let Some(address) = args.address {
        check_own(address)?;
    }
    let mut giver = Giver::call(place, &token)?;
    let address = args.address.unwrap_or_else(|| giver.here());
    let host = args.place.host.clone().unwrap_or_else(os::identity::host_name);
    let newcomer = Newcomer::new(&host, address, env!("CARGO_PKG_VERSION"));
    let offer = giver.offer(&newcomer)?;
    check(&offer, &mut giver)?;
    let text = text(&args.place, address, &of_site(&offer)?)?;
    // What makes no sense is refused before it is written.
    Config::parse(&text, directory).map_err(|sentence| anyhow!("this host cannot join: {sentence}"))?;
    private_directory(directory)?;
    let mut key_draft = draft(&key_file, &"0".repeat(KEY_DIGITS))?;
    let file_draft = draft(config, &text)?;
    let key = giver.key(&newcomer)?;
    // From here on the token is used up, and nothing needs any more room.
    let cannot = |file: &Path| format!("cannot write {}", file.display());
    key_draft
        .file()
        .write_all_at(key.to_hex().as_bytes(), 0)
        .with_context(|| cannot(&key_file))?;
    key_draft.keep(false).with_context(|| cannot(&key_file))?;
    if let Err(error) = file_draft.keep(false) {
        // Without agent.toml the key is of no use, and in the way of the next attempt.
        let _ = std::fs::remove_file(&key_file);
        return Err(error).with_context(|| cannot(config));
    }
    say!(
        "{} is written; host {host} at {address} is one of {}'s site",
        config.display(),
        offer.host
    );
    say!("`lockstep agent run` starts its agent");
    Ok(ExitCode::SUCCESS)
}

/// A file that is to be there, with this content, for which the disk has room.
fn draft(path: &Path, content: &str) -> Result<Draft> {
    let written = Draft::make(path).and_then(|mut draft| {
        draft.file().write_all(content.as_bytes())?;
        draft.file().sync_all()?;
        Ok(draft)
    });
    written.with_context(|| format!("cannot write {}; the token is still good", path.display()))
}

/// The token that was given, or that stands in standard input.
fn token_of(given: &str) -> Result<Token> {
    let mut text = given.to_owned();
    if given == "-" {
        text.clear();
        std::io::stdin().take(TOKEN_BYTES_MAX).read_to_string(&mut text)?;
    }
    Token::parse(&text).ok_or_else(|| {
        usage::mark(anyhow!(
            "this is no token, or not all of one; give what `lockstep agent token` has printed, lsj_ and 68 \
             digits"
        ))
    })
}

/// Where the agent is called.
fn address_of(text: &str) -> Result<SocketAddr> {
    let found = match text.parse::<IpAddr>() {
        Ok(address) => return Ok((address, AGENT_PORT).into()),
        Err(_) if text.contains(':') => text.to_socket_addrs(),
        Err(_) => (text, AGENT_PORT).to_socket_addrs(),
    };
    let first = found.ok().and_then(|mut all| all.next());
    first.with_context(|| format!("{text} cannot be resolved; give the host's address, such as 10.0.0.1"))
}

/// Refuses an address that is none of this host's.
fn check_own(address: IpAddr) -> Result<()> {
    match UdpSocket::bind((address, 0)) {
        Ok(_) => Ok(()),
        Err(error) => bail!("{address} is no address of this host ({error})"),
    }
}

/// Refuses a host that does not reach what the hosts of the site share.
fn check(offer: &Offer, giver: &mut Giver) -> Result<()> {
    let arbiter: Place = offer.arbiter.parse()?;
    let directory = arbiter.directory();
    if directory.is_some_and(|directory| !directory.is_dir()) {
        bail!("there is no directory {arbiter} here; mount what the hosts of the site share first");
    }
    check_files(offer, &arbiter.files())?;
    let mark = Mark::leave(&arbiter)?;
    if !giver.sees(mark.name())? {
        let kind = if directory.is_some() { "directory" } else { "etcd" };
        bail!("{arbiter} on {} is another {kind}; it is not shared", offer.host);
    }
    check_files(offer, &offer.directory.files())?;
    let known = agent::has_host(&offer.directory, &offer.host);
    if !known.context("the site's directory cannot be used here")? {
        let what = match &offer.directory {
            DirectoryConfig::Shared { path } => path.display().to_string(),
            DirectoryConfig::Etcd { endpoints, .. } => format!("the etcd at {}", endpoints.join(", ")),
        };
        bail!(
            "{what} does not know host {}; it is not what the site uses",
            offer.host
        );
    }
    Ok(())
}

/// Refuses a host that has not the files by which etcd is reached.
fn check_files(offer: &Offer, files: &[&Path]) -> Result<()> {
    for file in files {
        if !file.exists() {
            let file = file.display();
            bail!(
                "{file}, by which the site's etcd is reached, is not here; copy it from {}",
                offer.host
            );
        }
    }
    Ok(())
}

/// What this host's file says of the site.
fn of_site(offer: &Offer) -> Result<OfSite> {
    let ports = [offer.port, offer.first_port, offer.last_port];
    Ok(OfSite {
        directory: offer.directory.clone(),
        arbiter: offer.arbiter.parse()?,
        ports: (ports != [AGENT_PORT, 7800, 7899]).then_some(ports),
    })
}

/// The exit code of a host that has not joined: 4 the site does not take it, 1 anything else.
pub fn exit_code(error: &JoinError) -> u8 {
    match error {
        JoinError::Problem(problem) => problem.exit_code(),
        JoinError::Token(_) => 4,
        JoinError::Nobody(_) => 5,
        _ => 1,
    }
}
