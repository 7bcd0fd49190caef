//! Guests that hang: an agent probes them, tells that they are silent, and resets them if their settings say
//! so. The probes' other end is a listener of the test, as the address of a probe is just an address.

use std::net::TcpListener;

use super::*;

/// A kernel in supervisor mode that wants its timer's interrupt, which is due, and spins with interrupts off.
/// Before, its firmware opens memory to it, sets the timer to 0 and passes the interrupt on.
const HANGS: [u32; 18] = [
    0xfff0_0293, // li t0, -1
    0x3b02_9073, // csrw pmpaddr0, t0
    0x01f0_0293, // li t0, 0x1f
    0x3a02_9073, // csrw pmpcfg0, t0
    0x0200_0293, // li t0, 0x20
    0x3032_9073, // csrw mideleg, t0
    0x3042_9073, // csrw mie, t0
    0x0200_44b7, // lui s1, 0x2004
    0x0004_b023, // sd zero, 0(s1): mtimecmp
    0x3442_a073, // csrs mip, t0
    0x0010_0293, // li t0, 1
    0x00b2_9293, // slli t0, t0, 11
    0x3002_9073, // csrw mstatus, t0
    0x0000_0297, // auipc t0, 0
    0x0102_8293, // addi t0, t0, 16
    0x3412_9073, // csrw mepc, t0
    0x3020_0073, // mret
    0x0000_006f, // j .
];

/// What a kernel writes that panics, and stays as it is.
const PANIC: &str =
    "Kernel panic - not syncing: no root\n---[ end Kernel panic - not syncing: no root ]---\n";

/// A firmware that writes this to its console, and waits for ever.
fn writer(text: &str) -> Vec<u8> {
    // lui t0, 0x10000: the console
    let mut words = vec![0x1000_02b7];
    for sign in text.bytes() {
        // li t3, sign; sb t3, 0(t0)
        words.extend([(u32::from(sign) << 20) | 0x0e13, 0x01c2_8023]);
    }
    words.extend(WAITS);
    words.iter().flat_map(|word: &u32| word.to_le_bytes()).collect()
}

impl Host {
    /// Adds lines to the file of the VM web.
    fn add_settings(&self, lines: &str) {
        let path = self.site.path("web.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        std::fs::write(path, text + lines).unwrap();
    }

    /// Waits until the VM has the flag of a guest that is silent.
    fn await_flag(&self) {
        let is_flagged = |web: &Value| {
            let flags = web["protection"]["flags"].as_array();
            flags.is_some_and(|flags| flags.contains(&"guest-silent".into()))
        };
        while !is_flagged(&self.asks("GET", "/v1/vms/web", "", "").2) {}
    }

    /// How many events of this kind were told.
    fn count(&self, kind: &str) -> usize {
        let told = self.says("events web", 0);
        let kind = format!("\"kind\":\"{kind}\"");
        told.lines().filter(|line| line.contains(&kind)).count()
    }
}

/// A service answers two probes by ending their connections. The second one comes when what became of the
/// first one is known.
fn answers(well: &TcpListener) {
    for _ in 0..2 {
        well.accept().unwrap();
    }
}

/// The next event of this kind, as a sentence.
fn told(events: &mut Shown, kind: &str) -> String {
    let event = events.object(|event| event["kind"] == kind);
    event["sentence"].as_str().unwrap().to_owned()
}

#[test]
fn a_guest_that_falls_silent_is_told_reset_once_and_told_when_it_is_back() {
    let host = Host::new(56);
    let well = TcpListener::bind("127.0.56.9:0").unwrap();
    let address = well.local_addr().unwrap();
    host.add_settings(&format!("probe = \"tcp:{address}\"\nprobe_after = 5\n"));
    host.says("create {web.toml}", 0);
    host.says("start web", 0);
    let mut events = Shown::begin(&host, "events web --follow");
    answers(&well);
    drop(well);
    let silent = told(&mut events, "guest-silent");
    assert!(
        silent.contains(&format!("{address} refuses connections")),
        "{silent}"
    );
    host.await_flag();
    let status = host.says("status web", 3);
    assert!(
        status.contains("no failover cures it") && status.contains("`lockstep reset web`"),
        "{status}"
    );
    assert_eq!(
        host.count("guest-reset"),
        0,
        "it is only told unless its settings want more"
    );
    // The agent goes by these settings at once.
    host.says("set web on_hang=reset", 0);
    let reset = told(&mut events, "guest-reset");
    assert!(reset.contains("without anybody's word"), "{reset}");
    for round in 0..2 {
        let well = TcpListener::bind(address).unwrap();
        answers(&well);
        told(&mut events, "guest-back");
        if round == 0 {
            drop(well);
            told(&mut events, "guest-silent");
        }
    }
    assert_eq!((host.count("reset"), host.count("guest-reset")), (1, 1));
}

#[test]
fn a_kernel_with_its_interrupts_off_is_found_without_a_probe() {
    let host = Host::new(57);
    let bytes: Vec<u8> = HANGS.iter().flat_map(|word| word.to_le_bytes()).collect();
    std::fs::write(host.site.path("waits"), bytes).unwrap();
    host.add_settings("probe_after = 5\n");
    host.says("create {web.toml}", 0);
    host.says("start web", 0);
    let mut events = Shown::begin(&host, "events web --follow");
    let silent = told(&mut events, "guest-silent");
    assert!(silent.contains("interrupts off"), "{silent}");
    host.await_flag();
    assert_eq!(host.count("guest-reset"), 0);
}

#[test]
fn a_reset_after_a_panic_is_told_as_any_reset() {
    let host = Host::new(58);
    std::fs::write(host.site.path("waits"), writer(PANIC)).unwrap();
    host.add_settings("on_panic = \"reset\"\n");
    host.says("create {web.toml}", 0);
    let mut events = Shown::begin(&host, "events web --follow");
    host.says("start web", 0);
    told(&mut events, "guest-panic");
    let reset = told(&mut events, "reset");
    assert!(reset.contains("reset button"), "{reset}");
    // It boots, and panics again.
    told(&mut events, "guest-panic");
}
