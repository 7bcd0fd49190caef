//! Which VM is which: forwards find their VM by its name, and two VMs with the same address hear of it.

#[path = "support/guest.rs"]
mod guest;
#[path = "support/scene.rs"]
mod scene;

use cable::mac::{Mac, is_for_vmms, notice, shared_address};
use cable::stream::Word;
use guest::{FIRST_LEASE, GATEWAY, GATEWAY_MAC, Gateway, Guest, Wire, arp, mac};
use link::Key;
use smoltcp::socket::tcp::State;
use smoltcp::wire::EthernetAddress;
use std::net::{Ipv4Addr, TcpStream};

/// A VM's own answer from the gateway, by which it is known that everything before was handled. Gives the
/// address that another VM has too, if the gateway has said so before.
fn synchronize(wire: &mut Wire, address: Ipv4Addr) -> Option<Mac> {
    wire.send(&arp(mac(1), address, GATEWAY));
    let mut shared = None;
    loop {
        let frame = wire.receive();
        if frame.get(12..14) == Some(&[8, 6]) {
            return shared;
        }
        shared = shared.or(shared_address(&frame));
    }
}

#[test]
fn a_forward_leads_to_the_vm_with_its_name_whichever_boots_first() {
    let gateway = Gateway::with_forward("tcp", "web:7");
    // Another VM is there before, and has the first lease.
    let other = Guest::with_lease(&gateway, 1);
    assert_eq!(other.interface.ipv4_addr(), Some(FIRST_LEASE));
    let mac = EthernetAddress(Mac::of_vm("web", 0).0);
    let mut web = Guest::with_mac(Wire::new(&gateway), mac);
    assert_eq!(web.lease().0, Ipv4Addr::new(10, 0, 2, 16));
    let server = web.listen(7);
    let _client = TcpStream::connect(gateway.forward()).unwrap();
    web.run_until(|web| web.tcp(server).state() == State::Established);
}

#[test]
fn a_vm_that_was_there_before_goes_on_using_an_address_and_both_are_told() {
    let gateway = Gateway::start(|_| {});
    let mut first = Wire::new(&gateway);
    assert_eq!(synchronize(&mut first, FIRST_LEASE), None);
    // The other one connects later, as a backup that takes over would.
    let mut second = Wire::new(&gateway);
    let told = loop {
        first.send(&arp(mac(1), FIRST_LEASE, GATEWAY));
        // The later one is served all the time.
        if let Some(mac) = synchronize(&mut second, FIRST_LEASE) {
            break mac;
        }
    };
    assert_eq!(told, Mac(mac(1).0));
    loop {
        let frame = first.receive();
        if is_for_vmms(&frame) {
            assert_eq!(shared_address(&frame), Some(told));
            break;
        }
    }
}

#[test]
fn a_guest_that_only_answers_is_found_out_when_another_vm_has_its_address() {
    let gateway = Gateway::start(|_| {});
    let mut first = Guest::with_lease(&gateway, 1);
    let mut second = Guest::with_lease(&gateway, 1);
    let served = std::thread::spawn(move || {
        let address = first.interface.ipv4_addr();
        // Its stack answers what the gateway asks.
        loop {
            let frame = first.wire.receive();
            if let Some(shared) = shared_address(&frame) {
                return (address, shared);
            }
            first.wire.put_back(frame);
            first.poll();
        }
    });
    loop {
        let frame = second.wire.receive();
        if let Some(shared) = shared_address(&frame) {
            assert_eq!(served.join().unwrap(), (second.interface.ipv4_addr(), shared));
            return;
        }
    }
}

#[test]
fn a_vm_with_the_key_that_goes_on_asking_after_it_lost_its_address_is_told() {
    let key = Key::new([1; 32]);
    let gateway = Gateway::start(|config| {
        config.insecure = false;
        config.keys.push(key.clone());
    });
    let mut first = Wire::live(&gateway, &key, 1);
    assert_eq!(synchronize(&mut first, FIRST_LEASE), None);
    // Its guest says nothing any more, but it is there.
    let mut second = Wire::live(&gateway, &key, 1);
    while synchronize(&mut second, FIRST_LEASE).is_none() {
        first.say(Word::Ping);
    }
    loop {
        if let Some(shared) = shared_address(&first.receive()) {
            assert_eq!(shared, Mac(mac(1).0));
            break;
        }
    }
}

#[test]
fn no_guest_can_tell_a_vm_that_its_address_is_shared() {
    let gateway = Gateway::start(|_| {});
    let mut victim = Wire::new(&gateway);
    synchronize(&mut victim, FIRST_LEASE);
    let mut forger = Wire::new(&gateway);
    forger.send(&notice(Mac(GATEWAY_MAC.0), Mac(mac(1).0)));
    let mut forged = notice(Mac(mac(2).0), Mac(mac(1).0));
    forger.send(&forged);
    forged[..6].fill(0xff);
    forger.send(&forged);
    // This one is relayed, and comes after them.
    forger.send(&arp(mac(2), Ipv4Addr::new(10, 0, 2, 20), FIRST_LEASE));
    assert!(victim.receive().get(12..14) == Some(&[8, 6]));
}
