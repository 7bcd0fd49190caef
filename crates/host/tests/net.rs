//! The guest's cables: a gateway that comes and goes, and a TAP interface where the kernel lets us have one.
//!
//! The gateway is the test itself; `net_keyed.rs` has the cable to a real one.

mod site;

use std::process::Command;

use os::sys::clock;
use os::wake::Waker;
use ports::{Endpoint, Lead, NetError, Port, PortSpec, Tap};
use replica::{Epoch, Time};
use rustix::event::{PollFd, PollFlags, poll};
use site::Gateway;

fn wait_for(waker: &Waker) {
    poll(&mut [PollFd::new(waker, PollFlags::IN)], None).unwrap();
    waker.clear();
}

fn plain(endpoint: Endpoint) -> PortSpec {
    PortSpec::Gateway { endpoint, key: None }
}

fn receive(port: &mut Port) -> Vec<u8> {
    loop {
        if let Some(frame) = port.receive().next() {
            return frame;
        }
        let fd = port.fd().unwrap();
        poll(&mut [PollFd::new(&fd, PollFlags::IN)], None).unwrap();
    }
}

#[test]
fn a_gateway_that_restarts_is_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let waker = Waker::new().unwrap();
    let endpoint = Endpoint::Unix(dir.path().join("gateway"));
    let spec = plain(endpoint);
    let mut port = Port::open(&spec, &waker).unwrap();
    let error = port.check(&spec).unwrap_err();
    assert!(
        error.to_string().contains("start it with `lockstep gateway`"),
        "{error}"
    );
    // Nobody there: frames are dropped, and a thread goes on calling.
    port.transmit(b"lost");
    port.go_live(Epoch(1));
    for round in 0..3_u8 {
        let gateway = Gateway::new(dir.path());
        while !port.on_wake() {
            wait_for(&waker);
        }
        let mut cable = gateway.accept();
        port.transmit(&[round; 60]);
        assert!(port.flush());
        assert_eq!(cable.receive().unwrap(), [round; 60]);
        cable.send(b"answer").unwrap();
        assert_eq!(receive(&mut port), b"answer");
        std::fs::remove_file(dir.path().join("gateway")).unwrap();
        drop((gateway, cable));
        while port.fd().is_some() {
            assert_eq!(port.receive().count(), 0);
        }
    }
}

#[test]
fn what_a_gateway_says_to_the_vmm_does_not_reach_the_guest() {
    let dir = tempfile::tempdir().unwrap();
    let waker = Waker::new().unwrap();
    let gateway = Gateway::new(dir.path());
    let spec = plain(Endpoint::Unix(dir.path().join("gateway")));
    let mut port = Port::open(&spec, &waker).unwrap();
    port.go_live(Epoch(1));
    let mut cable = gateway.accept();
    while !port.on_wake() {
        wait_for(&waker);
    }
    let mac = cable::mac::Mac::of_vm("vm", 0);
    cable
        .send(&cable::mac::notice(cable::mac::Mac([2; 6]), mac))
        .unwrap();
    cable.send(b"a frame of another guest").unwrap();
    assert_eq!(receive(&mut port), b"a frame of another guest");
}

#[test]
fn what_a_replica_shows_as_it_goes_live_is_not_lost() {
    // FT 2.3-c: the outputs that it holds leave before its cable is plugged in.
    let dir = tempfile::tempdir().unwrap();
    let waker = Waker::new().unwrap();
    let gateway = Gateway::new(dir.path());
    let spec = plain(Endpoint::Unix(dir.path().join("gateway")));
    let mut port = Port::open(&spec, &waker).unwrap();
    port.go_live(Epoch(1));
    port.transmit(b"held");
    port.flush();
    let mut cable = gateway.accept();
    while !port.on_wake() {
        wait_for(&waker);
    }
    assert!(port.flush());
    assert_eq!(cable.receive().unwrap(), b"held");
}

#[test]
fn a_gateway_that_does_not_read_loses_frames_and_holds_up_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let waker = Waker::new().unwrap();
    let gateway = Gateway::new(dir.path());
    let spec = plain(Endpoint::Unix(dir.path().join("gateway")));
    let mut port = Port::open(&spec, &waker).unwrap();
    port.check(&spec).unwrap();
    let mut cable = gateway.accept();
    let sent = 10_000;
    for _ in 0..sent {
        port.transmit(&[1; 1500]);
        port.flush();
    }
    drop(port);
    let came = std::iter::from_fn(|| cable.receive()).count();
    assert!(came > 0 && came < sent, "{came} of {sent} frames came");
}

#[test]
fn a_tap_that_is_not_there_is_said_to_be_so() {
    for name in ["", "a/b", "a name", "longer-than-fifteen"] {
        let error = Tap::open(name).unwrap_err();
        let NetError::Tap { source, .. } = &error else {
            panic!()
        };
        assert_eq!(source.kind(), std::io::ErrorKind::InvalidInput);
        assert!(
            error.to_string().contains("make it with `ip tuntap add"),
            "{error}"
        );
    }
}

#[test]
fn of_several_ports_one_that_leads_nowhere_counts_and_else_the_oldest_news() {
    let (old, new) = (Lead::Somewhere(Time(1)), Lead::Somewhere(Time(2)));
    for (one, other, both) in [
        (Lead::Unknown, Lead::Unknown, Lead::Unknown),
        (Lead::Unknown, new, new),
        (new, old, old),
        (new, Lead::Nowhere, Lead::Nowhere),
        (Lead::Unknown, Lead::Nowhere, Lead::Nowhere),
    ] {
        assert_eq!((one.and(other), other.and(one)), (both, both));
    }
}

/// Set in a child that is in a network namespace of its own.
const CHILD: &str = "LOCKSTEP_TEST_TAP";

#[test]
fn frames_pass_through_a_tap() {
    if std::env::var_os(CHILD).is_none() {
        // Where namespaces or `ip` are not to be had there is nothing to test with.
        let probe = Command::new("unshare")
            .args(["-rn", "ip", "tuntap", "add", "lk0", "mode", "tap"])
            .output();
        if !probe.is_ok_and(|output| output.status.success()) {
            eprintln!("no network namespace: nothing tested");
            return;
        }
        let status = Command::new("unshare")
            .args(["-rn"])
            .arg(std::env::current_exe().unwrap())
            .args(["--exact", "frames_pass_through_a_tap"])
            .env(CHILD, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let ip = |line: &str| {
        let status = Command::new("ip").args(line.split(' ')).status();
        assert!(status.unwrap().success());
    };
    ip("tuntap add lk0 mode tap");
    let mut port = Port::Tap(Tap::open("lk0").unwrap());
    port.on_time(clock::now());
    assert_eq!(port.lead(clock::now()), Lead::Nowhere, "it is down");
    ip("link set lk0 address 02:00:00:00:00:01 up");
    ip("addr add 10.1.1.1/24 dev lk0");
    let up = port.deadline().unwrap();
    port.on_time(up);
    assert_eq!(port.lead(up), Lead::Somewhere(up));
    port.go_live(Epoch(1));
    // "Who has 10.1.1.1? Tell 10.1.1.2": the kernel answers.
    let mac = [2, 0, 0, 0, 0, 2];
    let mut request = vec![0xff; 6];
    request.extend(mac);
    request.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    request.extend(mac);
    request.extend([10, 1, 1, 2, 0, 0, 0, 0, 0, 0, 10, 1, 1, 1]);
    port.transmit(&request);
    loop {
        let frame = receive(&mut port);
        // The kernel says other things of its own accord.
        if frame[..6] == mac && frame[12..14] == [8, 6] {
            assert_eq!(frame[20..32], [0, 2, 2, 0, 0, 0, 0, 1, 10, 1, 1, 1]);
            break;
        }
    }
}

/// A bridge with the tap `lk0`, whose cable is `mv0`; the other end of the cable is `v1`.
const BRIDGE: &str = "mount -t sysfs none /sys
    ip link add br0 type bridge
    ip tuntap add lk0 mode tap
    ip link add v0 type veth peer name v1
    ip link add link v0 name mv0 type macvlan mode passthru
    ip link set lk0 master br0
    ip link set mv0 master br0
    for name in v0 v1 mv0 lk0 br0; do ip link set $name up; done";

#[test]
fn a_tap_leads_nowhere_while_the_cable_of_its_bridge_is_out() {
    let in_namespaces = || {
        let mut command = Command::new("unshare");
        command.arg("-rnm");
        command
    };
    if std::env::var_os(CHILD).is_none() {
        let probe = in_namespaces().args(["sh", "-ec", BRIDGE]).output();
        if !probe.is_ok_and(|output| output.status.success()) {
            eprintln!("no namespaces with a bridge: nothing tested");
            return;
        }
        let status = in_namespaces()
            .arg(std::env::current_exe().unwrap())
            .args([
                "--exact",
                "a_tap_leads_nowhere_while_the_cable_of_its_bridge_is_out",
            ])
            .env(CHILD, "1")
            .status();
        assert!(status.unwrap().success());
        return;
    }
    let does = |script: &str| {
        let status = Command::new("sh").args(["-ec", script]).status();
        assert!(status.unwrap().success(), "{script}");
    };
    does(BRIDGE);
    let mut port = Port::Tap(Tap::open("lk0").unwrap());
    // The kernel passes a change of a carrier on when it has time.
    let mut leads = |somewhere: bool| {
        loop {
            port.on_time(clock::now());
            match port.lead(clock::now()) {
                Lead::Somewhere(_) if somewhere => return String::new(),
                Lead::Nowhere if !somewhere => return port.obstacle(),
                _ => std::thread::yield_now(),
            }
        }
    };
    leads(true);
    does("ip link set v1 down");
    let obstacle = leads(false);
    assert_eq!(obstacle, "no cable of the bridge that lk0 is in has a carrier");
    does("ip link set v1 up");
    leads(true);
    // A cable that is gone says nothing, and the tap itself does.
    does("ip link del v0");
    leads(true);
    does("ip link set lk0 down");
    assert_eq!(leads(false), "the tap interface lk0 is down or has no carrier");
}
