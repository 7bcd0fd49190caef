//! Guests that have an address at which they answer are probed from here, by the agent of their live process:
//! replicas are in a sandbox and connect to nobody. And what `hanging` finds is told.
//!
//! One probe of a guest at a time, and a bounded number of all: a guest that is slow to answer delays nobody.

use std::io;
use std::time::Duration;

use control::Status;
use messages::time::Time;
use messages::vm_name::VmName;
use plan::{Now, Vm, Why};
use report::FlagWord;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::hanging::{News, Target};
use super::{Mind, Told};
use crate::limits::{PROBE_EVERY, PROBE_PATIENCE, PROBES_MAX};

/// The guests whose next probe begins now, of all that are probed: each with when its last one began, and
/// whether that is still under way. Who has waited for longest goes first.
fn due(now: Time, mut all: Vec<(VmName, Option<Time>, bool)>) -> Vec<VmName> {
    let under_way = all.iter().filter(|(.., is_probing)| *is_probing).count();
    let is_due = |probed: Option<Time>| probed.is_none_or(|probed| now.since(probed) >= PROBE_EVERY);
    all.retain(|(_, probed, is_probing)| !is_probing && is_due(*probed));
    all.sort_by_key(|(_, probed, _)| *probed);
    let room = PROBES_MAX.saturating_sub(under_way);
    all.into_iter().take(room).map(|(name, ..)| name).collect()
}

impl Mind {
    /// Begins the probes that are due.
    pub(super) fn probe_guests(&mut self, now: Now) {
        let of_guest = self.handled.iter().filter_map(|(name, handled)| {
            let hang = &handled.hang;
            // One of a guest that is probed no more still takes its room.
            let is_probed = hang.target.is_some() || hang.is_probing;
            is_probed.then(|| (name.clone(), hang.probed, hang.is_probing))
        });
        for name in due(now.time, of_guest.collect()) {
            let hang = self.handled.get_mut(&name).map(|handled| &mut handled.hang);
            let Some((hang, target)) = hang.and_then(|hang| hang.target.map(|target| (hang, target))) else {
                continue;
            };
            (hang.probed, hang.is_probing) = (Some(now.time), true);
            let tell = self.tell.clone();
            self.runtime.spawn(async move {
                let said = probe(target, PROBE_PATIENCE).await;
                // Nobody listens any more when the agent ends.
                let _ = tell.send(Told::Probed(name, target, said));
            });
        }
    }

    /// Tells that a VM's guest has become silent, or is back.
    pub(super) fn tell_silence(&mut self, now: Now, vm: &Vm) {
        let Some(handled) = self.handled.get_mut(vm.name()) else {
            return;
        };
        let (hang, name) = (&mut handled.hang, vm.name());
        let tell = |word, sentence: String| {
            self.happenings
                .happened(now.wall.0, Some(name.as_str()), word, sentence);
        };
        let silence = vm.seen.hang.silence.as_ref();
        match (hang.news(now.time, silence), silence) {
            (Some(News::Silent), Some(silence)) => {
                let age = report::amount::lasted(now.time.since(silence.since));
                let sentence = format!(
                    "the guest of {name} has been silent for {age}: {}; no failover cures that",
                    silence.why
                );
                tell("guest-silent", sentence);
            }
            (Some(News::Back), _) => {
                tell("guest-back", format!("the guest of {name} is silent no more"));
            }
            _ => {}
        }
    }

    /// Adds to what a process says of its VM that the guest is silent, so that every agent shows it.
    pub(super) fn flag_silence(&self, now: Time, status: &mut Status) {
        if !status.is_live() {
            return;
        }
        let vm = VmName::new(&status.name).ok();
        let Some((vm, handled)) = vm.and_then(|vm| Some((vm.clone(), self.handled.get(&vm)?))) else {
            return;
        };
        let after = self.facts_of(&vm).map(|facts| facts.hang.after);
        let Some(silence) = after.ok().and_then(|after| handled.hang.answers.silence(after)) else {
            return;
        };
        let age = now.since(silence.since);
        let why = Why::GuestSilent {
            vm,
            why: silence.why,
            age,
        };
        status.protection.flags.push(FlagWord::GuestSilent);
        status.protection.reasons.push(why.reason());
    }
}

/// Asks the guest for nothing: connects, says that nothing comes, and waits for the end of what the guest
/// says, or its first byte. A connection alone says too little, since a gateway takes one in the place of a
/// guest that hangs. The clause of an error says what came instead; `None`: nothing that tells of the guest.
async fn probe(target: Target, patience: Duration) -> Option<Result<(), String>> {
    let asked = tokio::time::timeout(patience, async {
        let mut stream = TcpStream::connect(target).await?;
        // A connection that is given up is reset: else a service that does not answer would keep one half of
        // each for ever.
        stream.set_zero_linger()?;
        stream.shutdown().await?;
        stream.read(&mut [0]).await
    });
    match asked.await {
        Ok(Ok(_)) => Some(Ok(())),
        Ok(Err(error)) => silence(target, &error).map(Err),
        Err(_) => {
            let seconds = patience.as_secs();
            Some(Err(format!("{target} has not answered within {seconds} s")))
        }
    }
}

/// What an error of a connection to this address says of the guest, as a clause; `None`: nothing, since it is
/// the agent's own, which has no descriptor, port or route left, or may not connect.
fn silence(target: Target, error: &io::Error) -> Option<String> {
    use io::ErrorKind::{ConnectionRefused, ConnectionReset, HostUnreachable, NotConnected, TimedOut};
    match error.kind() {
        // A connection that was taken back is not connected any more.
        ConnectionRefused | ConnectionReset | NotConnected => Some(format!("{target} refuses connections")),
        HostUnreachable | TimedOut => Some(format!("{target} cannot be reached ({error})")),
        _ => {
            tracing::debug!("{target} cannot be probed: {error}");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bounded_number_is_probed_at_once_and_who_has_waited_longest_goes_first() {
        let name = |number: usize| VmName::new(&format!("vm{number:03}")).unwrap();
        let now = Time(100 * PROBE_EVERY.0);
        let at = |number: usize| Some(Time(now.0 - PROBE_EVERY.0 - number as u64));
        let all: Vec<_> = (0..2 * PROBES_MAX)
            .map(|number| (name(number), at(number), false))
            .collect();
        let first = due(now, all.clone());
        assert_eq!(first.len(), PROBES_MAX);
        assert_eq!(first[0], name(2 * PROBES_MAX - 1));
        let under_way = all
            .iter()
            .map(|(name, at, _)| (name.clone(), *at, first.contains(name)));
        assert_eq!(due(now, under_way.collect()), []);
        assert_eq!(
            due(now, vec![(name(0), Some(now), false), (name(1), None, false)]),
            [name(1)]
        );
    }

    #[test]
    fn what_is_amiss_with_the_agent_itself_says_nothing_of_the_guest() {
        let target = "10.0.0.9:80".parse().unwrap();
        let says = |number| silence(target, &io::Error::from_raw_os_error(number));
        // EACCES, EPERM, EMFILE, ENFILE, ENOBUFS, EADDRNOTAVAIL, ENETUNREACH.
        for own in [13, 1, 24, 23, 105, 99, 101] {
            assert_eq!(says(own), None, "{own}");
        }
        // ECONNREFUSED, ECONNRESET, ENOTCONN.
        for refused in [111, 104, 107] {
            assert_eq!(says(refused).unwrap(), "10.0.0.9:80 refuses connections");
        }
        // ETIMEDOUT, EHOSTUNREACH.
        for unreached in [110, 113] {
            assert!(
                says(unreached).unwrap().contains("cannot be reached"),
                "{unreached}"
            );
        }
    }

    #[tokio::test]
    async fn a_service_that_does_not_answer_is_left_with_no_half_of_a_connection() {
        let service = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = service.local_addr().unwrap();
        let said = probe(target, Duration::from_millis(50)).await;
        assert!(said.unwrap().unwrap_err().contains("has not answered"));
        let (mut taken, _) = service.accept().await.unwrap();
        // The end of the connection that the probe has said, and behind it that it was taken back.
        assert_eq!(taken.read(&mut [0]).await.ok().unwrap_or(0), 0);
        taken.ready(tokio::io::Interest::ERROR).await.unwrap();
        assert!(taken.take_error().unwrap().is_some() || taken.peer_addr().is_err());
        drop(service);
        let refused = probe(target, Duration::from_secs(60)).await;
        assert_eq!(refused, Some(Err(format!("{target} refuses connections"))));
    }
}
