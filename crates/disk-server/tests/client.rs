//! A VM's disk at a server, as the VM's process uses it: through the server's end, its return, and the loss
//! of the right to write.

mod common;
#[path = "../../disk/tests/support/mod.rs"]
mod support;

use std::net::SocketAddr;

use common::{Site, refusal};
use disk::{Access, Completion, Disk, DiskError, Of};
use link::Security;
use machine::{DiskOperation, DiskStatus};
use replica::VmName;
use support::{Pool, holder};

fn open_as(vm: &str, place: &str) -> Result<Disk, DiskError> {
    let vm = VmName::new(vm).unwrap();
    let of = Of {
        vm: &vm,
        security: Some(&Security::Insecure),
    };
    Disk::open_nbd(place.parse().unwrap(), of, Access::Pair, false, "")
}

fn place(address: SocketAddr) -> String {
    format!("lockstep://{address}/vda")
}

fn disk(site: &Site) -> Disk {
    open_as("shop", &place(site.doors()[0])).unwrap()
}

fn write(sector: u64, byte: u8) -> DiskOperation {
    let data = vec![byte; 512].into();
    DiskOperation::Write { sector, data }
}

const READ: DiskOperation = DiskOperation::Read {
    sector: 7,
    bytes: 512,
};

const DONE: (DiskStatus, Vec<u8>) = (DiskStatus::Ok, Vec::new());

#[test]
fn a_guest_reads_what_it_has_written_at_either_door() {
    let site = Site::new();
    let [listen, nbd] = site.doors();
    for (epoch, place) in [(1, place(listen)), (2, format!("nbd://{nbd}/vda"))] {
        let disk = open_as("shop", &place).unwrap();
        assert_eq!(disk.config().sectors, common::BYTES / 512);
        disk.lock(&holder("shop", epoch, 5)).unwrap();
        let mut pool = Pool::new(vec![disk]);
        assert_eq!(pool.run(write(7, epoch as u8)), DONE);
        assert_eq!(pool.run(DiskOperation::Flush), DONE);
        assert_eq!(pool.run(READ), (DiskStatus::Ok, vec![epoch as u8; 512]));
        let (sector, sectors) = (7, 1);
        assert_eq!(pool.run(DiskOperation::Discard { sector, sectors }), DONE);
        let unmap = false;
        let zeroes = DiskOperation::WriteZeroes {
            sector,
            sectors,
            unmap,
        };
        assert_eq!(pool.run(zeroes), DONE);
        assert_eq!(pool.run(READ), (DiskStatus::Ok, vec![0; 512]));
    }
}

#[test]
fn a_guest_waits_for_a_server_that_is_away_and_sees_no_error() {
    let site = Site::new();
    let disk = disk(&site);
    disk.lock(&holder("shop", 1, 1)).unwrap();
    let mut pool = Pool::new(vec![disk]);
    assert_eq!(pool.run(write(7, 1)), DONE);
    let ended = site.end();
    let first = pool.submit(write(7, 2));
    match pool.completion() {
        Completion::Trouble(trouble) => {
            assert!(trouble.waits, "{}", trouble.sentence);
            assert!(
                trouble.sentence.contains("the guest waits"),
                "{}",
                trouble.sentence
            );
        }
        other => panic!("{other:?}"),
    }
    let site = ended.start();
    assert_eq!(pool.answer(), (first, DiskStatus::Ok));
    assert!(matches!(pool.completion(), Completion::Recovered { .. }));
    assert_eq!(pool.run(DiskOperation::Flush), DONE);
    assert_eq!(site.content("vda.raw")[7 * 512], 2);
}

#[test]
fn a_server_that_comes_and_goes_costs_no_request() {
    let mut site = Site::new();
    let disk = disk(&site);
    disk.lock(&holder("shop", 1, 1)).unwrap();
    let mut pool = Pool::new(vec![disk]);
    for round in 0..5_u8 {
        let ids: Vec<u64> = (0..20).map(|at| pool.submit(write(at, round))).collect();
        site = site.restart();
        let mut answers: Vec<_> = ids.iter().map(|_| pool.answer()).collect();
        answers.sort_unstable_by_key(|(id, _)| *id);
        assert_eq!(
            answers,
            ids.iter().map(|id| (*id, DiskStatus::Ok)).collect::<Vec<_>>()
        );
        assert_eq!(site.content("vda.raw")[..20 * 512], vec![round; 20 * 512]);
    }
}

#[test]
fn a_primary_that_a_later_epoch_has_replaced_hears_so_from_the_server() {
    // FT 2.3-e.
    let site = Site::new();
    let primary = disk(&site);
    let one = holder("shop", 1, 1);
    primary.lock(&one).unwrap();
    let mut primary = Pool::new(vec![primary]);
    assert_eq!(primary.run(write(7, 1)), DONE);

    // The backup sees that its primary's disk is this one, and takes it over.
    let backup = disk(&site);
    backup.check_writer(&one).unwrap();
    let error = backup
        .check_writer(&holder("shop", 1, 9))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("the disk server knows epoch 1 of 'shop'"),
        "{error}"
    );
    let mut backup = Pool::new(vec![backup]);
    backup.pool.become_writer(&holder("shop", 2, 2), true);
    assert!(matches!(backup.completion(), Completion::Writer));
    assert_eq!(backup.run(READ), (DiskStatus::Ok, vec![1; 512]));
    assert_eq!(backup.run(write(7, 2)), DONE);

    primary.submit(write(7, 3));
    match primary.completion() {
        Completion::Fenced(error) => {
            let text = error.to_string();
            assert!(text.contains("belongs to epoch 2 of VM 'shop' now"), "{text}");
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(site.content("vda.raw")[7 * 512], 2);
}

#[test]
fn an_owner_goes_on_under_its_next_epoch() {
    let site = Site::new();
    let disk = disk(&site);
    disk.lock(&holder("shop", 1, 1)).unwrap();
    let mut pool = Pool::new(vec![disk]);
    assert_eq!(pool.run(write(7, 1)), DONE);
    pool.pool.become_writer(&holder("shop", 2, 1), false);
    assert!(matches!(pool.completion(), Completion::Writer));
    assert_eq!(pool.run(write(7, 2)), DONE);
    assert!(refusal(site.writer(1, 9, 1)).contains("epoch 2 has the disks now"));
}

#[test]
fn a_vm_whose_process_ends_well_leaves_its_disk_to_anybody() {
    let site = Site::new();
    for owner in 1..4 {
        let disk = disk(&site);
        // Without an arbiter there is no epoch that says that the one before is over.
        disk.lock(&holder("shop", 0, owner)).unwrap();
        let mut pool = Pool::new(vec![disk]);
        assert_eq!(pool.run(write(7, owner as u8)), DONE);
        let late = self::disk(&site)
            .lock(&holder("shop", 0, 99))
            .unwrap_err()
            .to_string();
        assert!(late.contains("another process uses the disks"), "{late}");
    }
    assert_eq!(site.content("vda.raw")[7 * 512], 3);
}

#[test]
fn a_disk_of_another_vm_or_of_nobody_is_refused_with_a_sentence() {
    let site = Site::new();
    let [listen, nbd] = site.doors();
    let refused = |vm, place: String| os::error::chain(&open_as(vm, &place).unwrap_err());
    let text = refused("mail", place(listen));
    assert!(text.contains("belongs to the VM shop, not to mail"), "{text}");
    let text = refused("shop", format!("nbd://{nbd}/free"));
    assert!(text.contains("is no VM's"), "{text}");
    let text = refused("shop", format!("nbd://{nbd}/vdx"));
    assert!(
        text.contains("there is no export 'vdx' here, but free, vda"),
        "{text}"
    );
}
