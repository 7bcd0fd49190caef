//! `lockstep agent`: makes this host the first one of a site, and runs its agent. How a further one joins is
//! in `joining`.

use std::path::Path;
use std::process::ExitCode;

use agent::{HangFacts, Program, VmFacts};
use anyhow::{Context, Result, anyhow, bail};
use arbiter::{Place, Process};
use link::Key;
use membership::config::{Config, DirectoryConfig};
use replica::Span;

use crate::args::{AgentCommand, AgentRunArgs, HangPolicy, InitArgs};
use crate::host_file::{KEY_FILE, OfSite, private_directory, text, write_new};
use crate::vm_file::VmFile;
use crate::{joining, spec, usage, values};

/// Seconds for which a guest may be silent before that is told, unless its settings say otherwise.
const PROBE_AFTER_DEFAULT: u64 = 30;

/// Does what the command says.
pub fn run(command: &AgentCommand) -> Result<ExitCode> {
    match command {
        AgentCommand::Init(args) => init(args),
        AgentCommand::Token(args) => joining::token(args),
        AgentCommand::Join(args) => joining::join(args),
        AgentCommand::Run(args) => serve(args),
    }
}

/// Runs the agent.
fn serve(args: &AgentRunArgs) -> Result<ExitCode> {
    if let Some(parent) = args.ends_with
        && !os::parent::end_with(parent)?
    {
        bail!("process {parent}, with which this one was to end, is not its parent any more");
    }
    let config = Config::load(&args.config).map_err(usage::mark)?;
    let program = Program {
        executable: std::env::current_exe().context("cannot find this program's own file")?,
        version: env!("CARGO_PKG_VERSION"),
        translates: host::build::can_translate().is_ok(),
        sockets: spec::local_directory(),
        read_vm,
        trial: args.trial.clone(),
    };
    agent::serve(&config, program, &mut |socket| {
        tell!(
            "lockstep: the agent of host {} answers at {} and {}",
            config.host,
            socket.display(),
            config.agent_address()
        );
        os::stderr::write_early();
    })?;
    tell!("lockstep: the agent of host {} ends; its VMs go on", config.host);
    Ok(ExitCode::SUCCESS)
}

/// Reads the settings of a VM that an agent is to look after.
fn read_vm(toml: &str) -> Result<VmFacts, String> {
    let mut file = VmFile::of_text(toml)?;
    let Some(name) = file.name.clone() else {
        return Err("a VM that an agent looks after has a name: give `name`, such as \"shop\"".into());
    };
    let of_site = [
        ("backup", file.backup.is_some()),
        ("key", file.key.is_some()),
        ("arbiter", file.arbiter.is_some()),
        ("insecure", file.insecure),
    ];
    if let Some((setting, _)) = of_site.iter().find(|(_, is_given)| *is_given) {
        return Err(format!("`{setting}` is the site's business; leave it out"));
    }
    // The agent starts each process with the site's key, by which a gateway may be called too. No file is
    // opened here.
    file.key = Some(KEY_FILE.into());
    let vm = spec::vm(&file).map_err(|error| format!("{error:#}"))?;
    Ok(VmFacts {
        name: values::name(&name).map_err(|error| format!("{error:#}"))?,
        memory_bytes: vm.memory,
        has_console: file.serial.is_some(),
        hang: hang(&file).map_err(|error| format!("{error:#}"))?,
    })
}

/// How the settings want the guest to be watched for a hang.
fn hang(file: &VmFile) -> Result<HangFacts> {
    let probe = file.probe.as_deref().map(values::probe).transpose()?;
    let seconds = file.probe_after.unwrap_or(PROBE_AFTER_DEFAULT);
    Ok(HangFacts {
        probe,
        after: Span::from_ms(seconds.saturating_mul(1_000)),
        resets: file.on_hang == Some(HangPolicy::Reset),
    })
}

/// Makes this host one of a site.
fn init(args: &InitArgs) -> Result<ExitCode> {
    let file = &args.place.config;
    let directory = file.parent().unwrap_or(Path::new("."));
    private_directory(directory)?;
    let of_site = of_site(args)?;
    let is_first = make_common(&of_site)?;
    make_key(&directory.join(KEY_FILE), is_first)?;
    let text = text(&args.place, args.address, &of_site)?;
    write_new(file, &text)?;
    let config = Config::load(file)?;
    say!(
        "{} is written; host {} is one of the site",
        file.display(),
        config.host
    );
    say!("`lockstep agent run` starts the agent");
    if is_first {
        say!(
            "each other host joins by two lines:\n    here:  lockstep agent token\n    there: lockstep agent \
             join {} --token TOKEN",
            config.address
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the site keeps what its hosts have in common.
fn of_site(args: &InitArgs) -> Result<OfSite> {
    let shared = args.shared.as_deref().map(std::path::absolute).transpose()?;
    if let Some(shared) = shared.as_ref().filter(|shared| !shared.is_dir()) {
        return Err(usage::mark(anyhow!(
            "there is no directory {}; mount what the hosts share first",
            shared.display()
        )));
    }
    // The command line has it unless the other two are given.
    let shared = shared.unwrap_or_default();
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.into());
    let arbiter = args.arbiter.clone().map(|place| place.with_paths(whole));
    Ok(OfSite {
        directory: match args.etcd.is_empty() {
            true => DirectoryConfig::Shared {
                path: shared.join("directory"),
            },
            false => DirectoryConfig::etcd(&args.etcd),
        },
        arbiter: arbiter.unwrap_or_else(|| Place::Directory(shared.join("arbiter"))),
        ports: None,
    })
}

/// Makes what the hosts of the site have in common, unless it is there; true: it was not.
fn make_common(of_site: &OfSite) -> Result<bool> {
    let mut is_first = true;
    if let Some(arbiter) = of_site.arbiter.directory() {
        is_first = !arbiter.exists();
        private_directory(arbiter)?;
    } else {
        // It must be reached from here, and be written.
        of_site.arbiter.open(Process::here(None))?;
    }
    match &of_site.directory {
        DirectoryConfig::Shared { path } => {
            is_first &= !path.exists();
            private_directory(path)?;
            agent::create_store(path)?;
        }
        DirectoryConfig::Etcd { .. } if of_site.arbiter.directory().is_none() => {
            is_first = !agent::has_hosts(&of_site.directory)?;
        }
        // The directory of the arbiter tells.
        DirectoryConfig::Etcd { .. } => {}
    }
    Ok(is_first)
}

/// Makes the site's key on its first host, unless it is there.
fn make_key(key: &Path, is_first: bool) -> Result<()> {
    if key.exists() {
        Key::load(key)?;
        return Ok(());
    }
    if !is_first {
        bail!(
            "this site has other hosts already: `lockstep agent token` on one of them prints a token by \
             which this one can join (`lockstep agent join`), or copy the site's key from there to {} first",
            key.display()
        );
    }
    write_new(key, &Key::generate()?.to_hex())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_over_tcp_needs_no_other_key_than_the_sites() {
        let vm = "name = \"shop\"\nkernel = \"/Image\"\nnet = \"gateway=10.0.0.9:7700\"\n";
        assert_eq!(read_vm(vm).map(|facts| facts.memory_bytes), Ok(512 << 20));
        let refusal = read_vm(&format!("{vm}key = \"/key\"\n")).unwrap_err();
        assert!(refusal.contains("the site's business"), "{refusal}");
    }
}
