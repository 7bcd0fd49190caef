//! What a server promises when its storage hangs or fails, and when it is killed: FT 2.3-e.

mod common;

use block::nbd::{CommandFlags, Operation};
use common::{Site, refusal};
use disk_server::faults;

/// All in one test, since faults concern the whole process.
#[test]
fn only_the_newest_epoch_writes_and_a_write_that_hangs_is_waited_for() {
    let site = Site::new();
    let mut six = site.writer(6, 60, 1).unwrap();
    assert_eq!(six.write(0, b"epoch 6"), Some(Ok(vec![])));

    // S1: a write of epoch 6 is held up in the server, and epoch 7 is let in only behind it.
    faults::hold_writes();
    six.send(Operation::Write, CommandFlags::empty(), 0, b"late of 6", 9);
    faults::wait_for_held(1);
    let (told, heard) = std::sync::mpsc::channel();
    let mut seven = std::thread::scope(|scope| {
        let seven = scope.spawn(|| {
            let seven = site.writer(7, 70, 1).unwrap();
            told.send(site.content("vda.raw")[..9].to_vec()).unwrap();
            seven
        });
        // The old connection is closed at once, though the new one is not let in yet.
        assert_eq!(six.reply(), None);
        assert!(
            heard.try_recv().is_err(),
            "epoch 7 was let in before the write of epoch 6 had ended"
        );
        faults::release_writes();
        seven.join().unwrap()
    });
    assert_eq!(
        heard.recv().unwrap(),
        b"late of 6",
        "what was begun is done before the answer"
    );
    assert_eq!(seven.write(0, b"epoch 7"), Some(Ok(vec![])));

    // Nobody of epoch 6 comes back, and the refusal names the epoch.
    assert!(refusal(site.writer(6, 60, 2)).contains("epoch 7 has the disks now"));
    assert!(refusal(site.writer(7, 71, 1)).contains("another process has epoch 7"));
    assert!(site.content("vda.raw").starts_with(b"epoch 7"));

    // S1 once more, with a reconnection: what the old connection has begun is over before the new one is in.
    faults::hold_writes();
    seven.send(Operation::Write, CommandFlags::empty(), 512, b"old session", 11);
    faults::wait_for_held(1);
    let mut again = std::thread::scope(|scope| {
        let again = scope.spawn(|| site.writer(7, 70, 2).unwrap());
        assert_eq!(seven.reply(), None);
        faults::release_writes();
        again.join().unwrap()
    });
    assert_eq!(again.write(512, b"new session"), Some(Ok(vec![])));
    assert!(site.content("vda.raw")[512..].starts_with(b"new session"));
    assert!(refusal(site.writer(7, 70, 1)).contains("a later connection"));

    // What the server has decided outlives it.
    let site = site.restart();
    assert!(refusal(site.writer(6, 60, 9)).contains("epoch 7 has the disks now"));
    let mut back = site.writer(7, 70, 1).unwrap();
    assert_eq!(back.write(1024, b"after"), Some(Ok(vec![])));

    // A flush that fails is not answered: whoever comes back sees that writes may be lost.
    let before = back.shape.answer.unwrap().volatile;
    faults::fail_a_flush();
    assert_eq!(back.flush(), None);
    let mut back = site.writer(7, 70, 2).unwrap();
    let after = back.shape.answer.unwrap().volatile;
    assert_ne!(before, after);
    assert_eq!(back.flush(), Some(Ok(vec![])));
    let site = site.restart();
    let back = site.writer(7, 70, 1).unwrap();
    assert_eq!(
        back.shape.answer.unwrap().volatile,
        after,
        "the loss is remembered"
    );
}
