//! A VM that runs without a pair, and the replay of what was recorded of one.
//!
//! The first things that must hold before there are two of them.

use host::ReplayOptions;

use crate::replica::ask;
use crate::site::{Site, Toy, vm};

#[test]
fn a_guest_alone_answers_and_its_power_off_ends_the_run() {
    let site = Site::new();
    let mut replica = site.start("run", None, false);
    let mut cable = site.gateway.accept();
    for n in 1..=50 {
        assert_eq!(ask(&mut cable, b"e-hello"), Some(n));
    }
    cable.send(b"w\x03data").unwrap();
    assert_eq!(cable.receive().unwrap()[..6], *b"w\x03data");
    assert_eq!(site.disk(3)[..6], *b"w\x03data");
    cable.send(b"r\x03").unwrap();
    assert_eq!(cable.receive().unwrap()[..8], *b"r\x03w\x03data");
    cable.send(b"o").unwrap();
    assert_eq!(replica.says("ended"), "Some(Off(Off))");
    let console = std::fs::read_to_string(site.dir.path().join("run.console")).unwrap();
    assert_eq!(console.lines().count(), 52);
    assert!(!site.dir.path().join("disk.lock").exists());
    assert_eq!(site.roles("run"), ["solo", "halted"]);
}

#[test]
fn a_recording_is_replayed_to_its_end_and_only_with_its_own_images() {
    let site = Site::new();
    let mut replica = site.start("record", None, false);
    let mut cable = site.gateway.accept();
    assert_eq!(ask(&mut cable, b"e-hello"), Some(1));
    assert_eq!(ask(&mut cable, b"e-again"), Some(2));
    cable.send(b"o").unwrap();
    assert_eq!(replica.says("ended"), "Some(Off(Off))");
    let (spec, log) = (vm(site.dir.path(), "replay"), site.dir.path().join("log"));
    let mut build = |_: &machine::Config| Ok(Toy::new().that_answers());
    let mut frames = Vec::new();
    let mut seen = |effect| {
        if let machine::Effect::NetTransmit { frame, .. } = effect {
            frames.push(frame[..7].to_vec());
        }
    };
    let (replayed, _) = host::replay(&spec, &log, ReplayOptions::default(), &mut build, &mut seen).unwrap();
    assert_eq!(replayed.end, Some(replica::End::Off));
    assert!(replayed.outputs >= 4 && replayed.digests >= 1, "{replayed:?}");
    assert_eq!(frames, [b"e-hello", b"e-again"]);

    let mut other = |_: &machine::Config| Ok(Toy::new().that_answers().that_breaks_at(1));
    let error = host::replay(&spec, &log, ReplayOptions::default(), &mut other, &mut |_| {})
        .err()
        .unwrap();
    assert!(matches!(error, host::ReplayError::Playback { .. }), "{error}");
    std::fs::write(site.dir.path().join("firmware"), b"other").unwrap();
    let error = host::replay(&spec, &log, ReplayOptions::default(), &mut build, &mut |_| {})
        .err()
        .unwrap();
    assert!(
        error.to_string().contains("recorded with other images"),
        "{error}"
    );
}

#[test]
fn a_machine_with_a_firmware_of_four_instructions_switches_itself_off() {
    let dir = tempfile::tempdir().unwrap();
    // lui t0, 0x100; lui t1, 5; addi t1, t1, 0x555; sw t1, 0(t0)
    let firmware: Vec<u8> = [0x0010_02b7_u32, 0x0000_5337, 0x5553_0313, 0x0062_a023]
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .collect();
    std::fs::write(dir.path().join("firmware"), firmware).unwrap();
    let mut spec = vm(dir.path(), "run");
    spec.memory = 64 << 20;
    spec.disks.clear();
    spec.nets.clear();
    let outcome = host::run(
        &spec,
        None,
        None,
        &mut host::build::machine(host::build::InterpreterOptions::default(), spec.images()),
    )
    .unwrap();
    assert_eq!(outcome.halt, Some(replica::Halt::Off(machine::PowerState::Off)));
    assert_eq!(outcome.figures.step, 4);
}
