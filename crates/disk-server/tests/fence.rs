//! Who may write, over sockets.

mod common;

use block::Mode;
use block::nbd::{Code, TransmissionFlags};
use common::{Site, ask, refusal};

#[test]
fn programs_without_epochs_only_read_while_a_vm_is_there() {
    let site = Site::new();
    let mut stock = site.connect("vda", None).unwrap();
    assert!(!stock.shape.flags.contains(TransmissionFlags::READ_ONLY));
    assert_eq!(stock.write(0, b"image"), Some(Ok(vec![])));
    let mut owner = site.writer(1, 1, 1).unwrap();
    assert_eq!(stock.write(0, b"more"), None, "it is cut off when the VM comes");
    let mut stock = site.connect("vda", None).unwrap();
    assert!(stock.shape.flags.contains(TransmissionFlags::READ_ONLY));
    assert_eq!(stock.read(0, 5), Some(Ok(b"image".to_vec())));
    assert!(matches!(stock.write(0, b"x"), Some(Err((Code::NotPermitted, _)))));
    assert_eq!(owner.write(0, b"owner"), Some(Ok(vec![])));
    owner.say_goodbye();
    let mut stock = site.connect("vda", None).unwrap();
    assert_eq!(stock.write(0, b"again"), Some(Ok(vec![])));
}

#[test]
fn a_vm_without_an_arbiter_has_its_disk_alone() {
    let site = Site::new();
    let start = |owner, session| site.connect("vda", Some(ask(0, owner, session, Mode::Start)));
    let mut first = start(1, 1).unwrap();
    assert!(refusal(start(2, 1)).contains("another process uses the disks"));
    assert_eq!(first.write(0, b"first"), Some(Ok(vec![])));
    first.say_goodbye();
    let mut second = start(2, 1).unwrap();
    assert_eq!(second.write(0, b"second"), Some(Ok(vec![])));
    assert!(refusal(site.writer(0, 1, 2)).contains("another process has epoch 0"));
}

#[test]
fn a_disk_is_of_one_vm_and_a_disk_of_nobody_has_no_epochs() {
    let site = Site::new();
    let mut other = ask(1, 1, 1, Mode::Write);
    other.vm = "mail".into();
    assert!(refusal(site.connect("vda", Some(other))).contains("belongs to the VM shop, not to mail"));
    let found = site.connect("free", Some(ask(1, 1, 1, Mode::Write)));
    assert!(refusal(found).contains("is no VM's"));
    let mut one = site.connect("free", None).unwrap();
    let mut two = site.connect("free", None).unwrap();
    assert_eq!(one.write(0, b"a"), Some(Ok(vec![])));
    assert_eq!(two.write(1, b"b"), Some(Ok(vec![])));
    assert!(site.content("free.raw").starts_with(b"ab"));
}
