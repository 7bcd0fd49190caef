//! What people read for each `Why`: one sentence that names the thing and says what to do. A status, a page,
//! a refusal and an event all show the same one.
//!
//! Sentences are for people and may change; programs read `Why::code`.

use messages::time::Span;
use report::amount::{bytes, lasted};
use report::{FlagWord, Reason};

use crate::host::HostName;
use crate::limits::SLOW_OUTPUTS;
use crate::why::{End, Loss, Scarce, Slow, Unlike, Why};

impl Why {
    /// The reason in a sentence, for people.
    #[must_use]
    pub fn sentence(&self) -> String {
        match self {
            Why::Choosing => "a host is being looked for, to be the backup".into(),
            Why::Connecting { host } => format!("{host} is called, to be the backup"),
            Why::Copying {
                host,
                done_bytes,
                total_bytes,
                bytes_per_second,
            } => {
                let amount = amount(*done_bytes, *total_bytes, *bytes_per_second);
                format!("memory is copied to {host}: {amount}")
            }
            Why::CatchingUp { host, lag } => {
                format!("{host} replays what has happened since, {} behind", lasted(*lag))
            }
            Why::Arming { host, outputs: 0 } => {
                format!("{host} has caught up, and the arbiter is asked whether the VM is still ours")
            }
            Why::Arming { host, outputs } => {
                format!("{host} has caught up; {outputs} earlier outputs still have to leave")
            }
            Why::SyncingDisks {
                disk,
                done_bytes,
                total_bytes,
                bytes_per_second,
            } => {
                let amount = amount(*done_bytes, *total_bytes, *bytes_per_second);
                format!("the backup's copy of disk {disk} is brought up to date: {amount}")
            }
            _ => self.of_a_host().unwrap_or_else(|| self.of_the_whole()),
        }
    }

    /// Code and sentence together, as programs get them.
    #[must_use]
    pub fn reason(&self) -> Reason {
        Reason::new(self.code(), self.sentence())
    }

    /// The sentence of a reason that is about one host; `None`: it is about the VM as a whole.
    fn of_a_host(&self) -> Option<String> {
        Some(match self {
            Why::HostFull { host, vm, scarce } => full(host, vm.as_str(), scarce),
            Why::HostSilent { host, age } => {
                format!(
                    "{host}'s agent {}; look whether {host} and its agent run",
                    silent(*age)
                )
            }
            Why::HostDraining { host, since, by } => {
                format!("{host} is being drained since {since} by {by}; `lockstep undrain {host}` ends that")
            }
            Why::HostSame { host, is_owner: true } => {
                format!("{host} runs the primary; choose another host for the backup")
            }
            Why::HostSame {
                host,
                is_owner: false,
            } => {
                format!("{host} holds the backup already; choose another host for a new one")
            }
            Why::HostZone { host, zone } => {
                format!("{host} is in zone {zone}, as the primary is; use a host in another zone")
            }
            Why::HostShunned {
                host,
                vm,
                why,
                at,
                until,
            } => format!(
                "{host} {why} at {at}; tried again at {until}, or now with `lockstep protect {vm} --to \
                 {host}`"
            ),
            Why::HostModel {
                host,
                version,
                unlike,
                wanted_version,
            } => {
                let wanted = wanted_version.as_deref().unwrap_or("the VM's version");
                format!(
                    "{host} runs Lockstep {version}, {}; install {wanted} there",
                    differ(unlike)
                )
            }
            Why::HostStorage { host, storage } => {
                format!("{host} does not see storage {storage}; mount it there")
            }
            Why::HostStorageOther { host, path } => format!(
                "{path} on {host} is another file (our mark is not in its lock), so it is not shared; mount \
                 the shared storage there"
            ),
            Why::HostNetwork { host, network } => {
                format!("{host} has no network {network}; add it to that host's agent.toml")
            }
            Why::HostSlow { host, slow } => slowly(host, *slow),
            Why::HostLimit { host, limit } => {
                format!("{host} holds its limit of {limit} protected VMs; raise `protected_max` there")
            }
            Why::HostRefused {
                host,
                sentence,
                until,
            } => format!("{host}: {sentence}; asked again at {until}"),
            _ => return None,
        })
    }

    /// The sentence of a reason that is about the VM as a whole.
    fn of_the_whole(&self) -> String {
        match self {
            Why::NoHosts => "this site has one host; run `lockstep agent join` on another".into(),
            Why::ArbiterAway { place, age } => format!(
                "the arbiter {place} has not answered for {}; nothing was changed, see that it runs",
                lasted(*age)
            ),
            Why::Tries { count, last, next } => {
                let next = next.map_or_else(|| "given up".to_owned(), |next| format!("next at {next}"));
                let tries = if *count == 1 { "try" } else { "tries" };
                format!("{count} {tries} failed, the last: {last}; {next}")
            }
            Why::BackupLost { host, at, how } => lost(host.as_ref(), &at.to_string(), how),
            Why::User {
                vm,
                by,
                at,
                comment,
                undo,
            } => {
                let comment = if comment.is_empty() {
                    String::new()
                } else {
                    format!(": \"{comment}\"")
                };
                format!("by {by} at {at}{comment}; `lockstep {undo} {vm}` undoes it")
            }
            Why::Policy { vm } => {
                format!("`protect = false` in {vm}'s settings; `lockstep protect {vm}` changes that")
            }
            Why::Off { vm, how, at } => ended(vm.as_str(), how, &at.to_string()),
            Why::Panicked { line } => {
                format!("the guest's kernel has panicked: {line}; look at its console, or reset the VM")
            }
            Why::GuestSilent { vm, why, age } => silent_guest(vm.as_str(), why, *age),
            Why::DiskAway { disk, age } => format!(
                "{disk} has not answered for {}, and the guest's requests wait; look at its storage",
                lasted(*age)
            ),
            Why::ClaimOpen { vm, epoch, host } => format!(
                "epoch {epoch} may live on {host}; if that host is surely off: `lockstep release {vm} \
                 --epoch {epoch}`"
            ),
            Why::Lost { host, epoch } => {
                let host = host.as_ref().map_or("the other side", HostName::as_str);
                format!("{host} won epoch {epoch}, and the VM goes on there; give orders there")
            }
            Why::DirectoryAway { since } => format!(
                "settings cannot be read, and are as last known at {since}; see that the directory runs"
            ),
            Why::AgentAway { vm, host, age } => format!(
                "the agent of {host}, which runs {vm}, {}; the VM itself may be well, see that the agent \
                 runs",
                silent(*age)
            ),
            Why::ProcessSilent { vm, host, age } => format!(
                "the process of {vm} on {host} has not answered for {}; nothing is done with it until it \
                 does",
                lasted(*age)
            ),
            Why::Ordered => "the VM's process has been given an order, and carries it out".into(),
            Why::Turn { first } => format!("{first} goes first; this VM is next when that is done"),
            Why::ColdStart { at } => {
                format!("the VM is started anew at {at}, unless a backup of it goes on before")
            }
            Why::Flag { flag, what } => flagged(*flag, what),
            Why::Told(reason) => reason.sentence.clone(),
            _ => self.code().to_owned(),
        }
    }
}

/// For how long an agent has said nothing, as the end of a sentence.
fn silent(age: Option<Span>) -> String {
    match age {
        Some(age) => format!("has not answered for {}", lasted(age)),
        None => "has never answered".into(),
    }
}

fn silent_guest(vm: &str, why: &str, age: Span) -> String {
    format!(
        "the guest has been silent for {}: {why}; both halves compute the same, so no failover cures it: \
         look at its console, or `lockstep reset {vm}` boots it anew",
        lasted(age)
    )
}

fn amount(done: u64, total: u64, rate: Option<u64>) -> String {
    // Whole MiB are exact enough for people, and always short.
    let size = |count: u64| bytes(count >> 20 << 20);
    let text = format!("{} of {}", size(done), size(total));
    match rate {
        Some(rate) if rate > 0 => {
            let left = total.saturating_sub(done) / rate;
            let left = lasted(Span(left.saturating_mul(1_000_000_000)));
            format!("{text}, {}/s, ready in {left}", size(rate))
        }
        _ => text,
    }
}

fn full(host: &HostName, vm: &str, scarce: &Scarce) -> String {
    match scarce {
        Scarce::Memory {
            free_bytes,
            needed_bytes,
        } => format!(
            "{host} has {} MiB free, {} MiB needed; stop something there or give {vm} less memory",
            free_bytes >> 20,
            needed_bytes.div_ceil(1 << 20)
        ),
        Scarce::Processors { all } => {
            format!("each of {host}'s {all} processors is busy; stop something there")
        }
    }
}

fn differ(unlike: &Unlike) -> String {
    match unlike {
        Unlike::Model {
            newest: Some(newest),
            wanted,
        } => format!("machine model {newest}, and the VM has {wanted}"),
        Unlike::Model { newest: None, wanted } => format!("without the VM's machine model {wanted}"),
        Unlike::Protocol { spoken, wanted } => format!(
            "which speaks protocols {} to {}, and the VM's process {} to {}",
            spoken.oldest, spoken.newest, wanted.oldest, wanted.newest
        ),
    }
}

fn slowly(host: &HostName, slow: Slow) -> String {
    match slow {
        Slow::Percent(percent) => format!(
            "{host} would run at {percent} % of the primary's speed; `protect --to {host}` takes it all the \
             same"
        ),
        Slow::NoTranslator => format!(
            "{host} cannot translate the guest's code, and would be about 8 times slower; `protect --to \
             {host}` takes it all the same"
        ),
    }
}

fn lost(host: Option<&HostName>, at: &str, how: &Loss) -> String {
    let host = host.map_or_else(String::new, |host| format!(" {host}"));
    match how {
        Loss::Suspected(why) => format!("backup{host} was lost at {at}: {}", why.as_clause()),
        Loss::TookOver => {
            let from = if host.is_empty() { "" } else { " from" };
            format!("the VM was taken over{from}{host} at {at}, and nobody follows it yet")
        }
        Loss::Diverged { step, part } => format!(
            "backup{host} was lost at {at}: it diverged at step {step} in {part}; please send `lockstep \
             report`"
        ),
    }
}

fn ended(vm: &str, how: &End, at: &str) -> String {
    match how {
        End::Never => format!("it was never started; `lockstep start {vm}` starts it"),
        End::SwitchedOff => {
            format!("the guest switched itself off at {at}; `lockstep start {vm}` starts it")
        }
        End::Stopped { by } => format!("{by} stopped it at {at}; `lockstep start {vm}` starts it"),
        End::Died => format!("its process ended at {at}, unasked; `lockstep start {vm}` starts it anew"),
    }
}

fn flagged(flag: FlagWord, what: &str) -> String {
    match flag {
        FlagWord::SlowOutputs => format!(
            "outputs wait {what} for the backup, more than {} ms; look at the link between the two hosts",
            SLOW_OUTPUTS.0 / 1_000_000
        ),
        FlagWord::OnePath => {
            format!("the two halves reach each other by {what} only; a second way would survive its loss")
        }
        FlagWord::NoSpareHost => {
            "no host is left that could take a backup after a failure; see the other hosts' reasons".into()
        }
        FlagWord::Unfenced => format!(
            "a write that is under way may land on {what} after a takeover; a disk server closes the gap"
        ),
        FlagWord::Insecure => {
            "what the two halves say to each other is not encrypted; give both the site's key".into()
        }
        FlagWord::Skewed => format!("the two halves are of different builds, {what}; finish the upgrade"),
        FlagWord::Behind => format!("the backup is {what} behind; a takeover would last so much longer"),
        FlagWord::Throttled => {
            format!("the guest runs at {what} of its speed, so that the backup can follow")
        }
        FlagWord::DiskTrouble => format!("{what} is ill, and the guest's requests wait; look at its storage"),
        FlagWord::Panicked => format!("the guest's kernel has panicked: {what}"),
        FlagWord::GuestSilent => format!("the guest is silent: {what}"),
        FlagWord::Paused => "the guest stands, as its operator wants; `lockstep resume` has it run on".into(),
        FlagWord::ArbiterAway => format!("the arbiter {what} does not answer; see that it runs"),
    }
}
