//! How wide a line may be: 110 characters, in code as in prose (docs/style.md C6).
//!
//! rustfmt keeps code within that width, but leaves comments and texts in quotes alone, and nothing else
//! looks at documents and scripts. This rule reads every line of all of them. It counts characters, not
//! bytes, and lets pass what cannot be broken: a row of a table in a document, and a line that is one word,
//! such as an address.

use super::ratchet::Ratchet;
use super::{File, Finding};

/// Characters of a line.
const COLUMNS_MAX: usize = 110;

/// Files that still have wider lines: (path, how many). The numbers may only go down.
const WIDE: &[(&str, usize)] = &[
    ("ARCHITECTURE.md", 36),
    ("Cargo.toml", 1),
    ("crates/gateway/examples/churn.rs", 3),
    ("crates/gateway/tests/failover.rs", 1),
    ("crates/gateway/tests/hostile.rs", 2),
    ("crates/gateway/tests/strangers.rs", 5),
    ("crates/gateway/tests/support/guest.rs", 1),
    ("crates/hart/src/csr.rs", 2),
    ("crates/hart/src/csr/envcfg.rs", 1),
    ("crates/hart/src/decode.rs", 1),
    ("crates/hart/src/decode/bits.rs", 1),
    ("crates/hart/src/engine.rs", 1),
    ("crates/hart/src/groups.rs", 1),
    ("crates/hart/src/interp/bits.rs", 3),
    ("crates/hart/src/interp/code.rs", 3),
    ("crates/hart/src/interp/int.rs", 1),
    ("crates/hart/src/interp/meter.rs", 1),
    ("crates/hart/src/interp/mod.rs", 4),
    ("crates/hart/src/interp/translated.rs", 4),
    ("crates/hart/src/interp/zeal.rs", 1),
    ("crates/hart/src/jit/access.rs", 8),
    ("crates/hart/src/jit/emit.rs", 1),
    ("crates/hart/src/jit/emit/vector.rs", 1),
    ("crates/hart/src/jit/float.rs", 4),
    ("crates/hart/src/jit/flow.rs", 7),
    ("crates/hart/src/jit/frames.rs", 5),
    ("crates/hart/src/jit/memory.rs", 7),
    ("crates/hart/src/jit/mod.rs", 22),
    ("crates/hart/src/jit/registers.rs", 4),
    ("crates/hart/src/jit/simplify.rs", 4),
    ("crates/hart/src/jit/streams.rs", 9),
    ("crates/hart/src/jit/stubs.rs", 7),
    ("crates/hart/src/jit/system.rs", 2),
    ("crates/hart/src/jit/translate.rs", 7),
    ("crates/hart/src/jit/words.rs", 7),
    ("crates/hart/src/lib.rs", 3),
    ("crates/hart/src/mmu.rs", 2),
    ("crates/hart/src/profile.rs", 5),
    ("crates/hart/src/ram.rs", 4),
    ("crates/hart/src/tlb.rs", 8),
    ("crates/hart/tests/bits.rs", 2),
    ("crates/hart/tests/engine.rs", 1),
    ("crates/hart/tests/fpu/berkeley.rs", 2),
    ("crates/hart/tests/guests.rs", 2),
    ("crates/hart/tests/profile.rs", 1),
    ("crates/hart/tests/support/loops.rs", 3),
    ("crates/hart/tests/support/random.rs", 2),
    ("crates/hart/tests/text.rs", 1),
    ("crates/host/Cargo.toml", 1),
    ("crates/host/examples/latency.rs", 1),
    ("crates/host/src/arbiter/file.rs", 3),
    ("crates/host/src/arbiter/mod.rs", 5),
    ("crates/host/src/cables.rs", 2),
    ("crates/host/src/console/mod.rs", 2),
    ("crates/host/src/console/socket.rs", 1),
    ("crates/host/src/drive.rs", 3),
    ("crates/host/src/lib.rs", 2),
    ("crates/host/src/limits.rs", 2),
    ("crates/host/src/log_file.rs", 2),
    ("crates/host/src/needs.rs", 1),
    ("crates/host/src/net/announce.rs", 1),
    ("crates/host/src/net/dial.rs", 3),
    ("crates/host/src/net/mod.rs", 1),
    ("crates/host/src/net/plug.rs", 14),
    ("crates/host/src/net/port.rs", 2),
    ("crates/host/src/net/tap.rs", 2),
    ("crates/host/src/operator.rs", 5),
    ("crates/host/src/pair.rs", 5),
    ("crates/host/src/perf_map.rs", 3),
    ("crates/host/src/report/ending.rs", 1),
    ("crates/host/src/report/happening.rs", 7),
    ("crates/host/src/report/mod.rs", 2),
    ("crates/host/src/report/words.rs", 1),
    ("crates/host/src/spec.rs", 2),
    ("crates/host/src/symbols.rs", 4),
    ("crates/host/src/world.rs", 3),
    ("crates/host/tests/common/toy.rs", 1),
    ("crates/host/tests/net_keyed.rs", 1),
    ("crates/host/tests/pair.rs", 2),
    ("crates/host/tests/sandbox.rs", 1),
    ("crates/host/tests/sandbox/raw.rs", 1),
    ("crates/isa-programs/src/lib.rs", 1),
    ("crates/isa-programs/src/runtime/trap.rs", 2),
    ("crates/isa-programs/src/units/atomic.rs", 1),
    ("crates/isa-programs/src/units/bits.rs", 1),
    ("crates/isa-programs/src/units/fuzz.rs", 1),
    ("crates/isa-programs/src/units/mod.rs", 2),
    ("crates/machine/Cargo.toml", 1),
    ("crates/machine/examples/boot.rs", 4),
    ("crates/machine/examples/isa_diff/guest.rs", 1),
    ("crates/machine/examples/isa_diff/guest.sh", 3),
    ("crates/machine/examples/isa_diff/main.rs", 1),
    ("crates/machine/src/boot/fdt.rs", 1),
    ("crates/machine/src/boot/mod.rs", 4),
    ("crates/machine/src/devices/aclint.rs", 1),
    ("crates/machine/src/devices/rtc.rs", 1),
    ("crates/machine/src/devices/syscon.rs", 1),
    ("crates/machine/src/digest.rs", 3),
    ("crates/machine/src/effect.rs", 1),
    ("crates/machine/src/machine.rs", 1),
    ("crates/machine/src/virtio/blk.rs", 1),
    ("crates/machine/src/virtio/function.rs", 1),
    ("crates/machine/src/virtio/mod.rs", 1),
    ("crates/machine/src/virtio/slot.rs", 1),
    ("crates/replica/src/event.rs", 2),
    ("crates/replica/src/guest/disks.rs", 2),
    ("crates/replica/src/guest/mod.rs", 2),
    ("crates/replica/src/guest/outputs.rs", 7),
    ("crates/replica/src/guest/record.rs", 2),
    ("crates/replica/src/lib.rs", 3),
    ("crates/replica/src/limits.rs", 6),
    ("crates/replica/src/log/codec.rs", 1),
    ("crates/replica/src/log/logfile.rs", 2),
    ("crates/replica/src/log/mod.rs", 1),
    ("crates/replica/src/metrics.rs", 2),
    ("crates/replica/src/mutation.rs", 1),
    ("crates/replica/src/node.rs", 8),
    ("crates/replica/src/peer/channel.rs", 3),
    ("crates/replica/src/peer/detect.rs", 1),
    ("crates/replica/src/peer/handshake.rs", 3),
    ("crates/replica/src/peer/lag.rs", 2),
    ("crates/replica/src/peer/message.rs", 2),
    ("crates/replica/src/peer/mod.rs", 2),
    ("crates/replica/src/peer/pace.rs", 9),
    ("crates/replica/src/roles/backup.rs", 2),
    ("crates/replica/src/roles/gate.rs", 1),
    ("crates/replica/src/roles/mod.rs", 3),
    ("crates/replica/src/roles/primary.rs", 3),
    ("crates/replica/src/vm_name.rs", 2),
    ("crates/replica/tests/failover.rs", 1),
    ("crates/replica/tests/log.rs", 2),
    ("crates/sim/clippy.toml", 3),
    ("crates/sim/src/arbiter.rs", 2),
    ("crates/sim/src/bare.rs", 1),
    ("crates/sim/src/broken.rs", 1),
    ("crates/sim/src/cache.rs", 7),
    ("crates/sim/src/checker/durability.rs", 1),
    ("crates/sim/src/checker/logfile.rs", 1),
    ("crates/sim/src/checker/oracle.rs", 1),
    ("crates/sim/src/checker/single_primary.rs", 4),
    ("crates/sim/src/faults.rs", 2),
    ("crates/sim/src/lib.rs", 2),
    ("crates/sim/src/main.rs", 1),
    ("crates/sim/src/network.rs", 1),
    ("crates/sim/src/run.rs", 1),
    ("crates/sim/src/storage.rs", 2),
    ("crates/sim/src/subject.rs", 1),
    ("crates/sim/src/surroundings.rs", 1),
    ("crates/sim/src/toy.rs", 2),
    ("crates/sim/src/turns.rs", 1),
    ("crates/sim/src/world.rs", 1),
    ("crates/sim/tests/scenarios.rs", 1),
    ("crates/sim/tests/sweep.rs", 1),
    ("deny.toml", 1),
    ("docs/determinism.md", 9),
    ("docs/isa-differences.md", 4),
    ("docs/isa.md", 15),
    ("docs/profiling.md", 21),
    ("docs/testing.md", 82),
    ("docs/translator.md", 47),
    ("fuzz/Cargo.toml", 1),
    ("fuzz/fuzz_targets/decoder.rs", 1),
    ("fuzz/fuzz_targets/log.rs", 1),
    ("fuzz/fuzz_targets/messages.rs", 4),
    ("tests/e2e/campaign.py", 7),
    ("tests/e2e/churn.py", 18),
    ("tests/e2e/debian.py", 9),
    ("tests/e2e/guest/ledger.py", 7),
    ("tests/e2e/hostile.py", 4),
    ("tests/e2e/hostile_networks.py", 17),
    ("tests/e2e/hostile_operator.py", 20),
    ("tests/e2e/hostile_strangers.py", 17),
    ("tests/e2e/lib/cases.py", 1),
    ("tests/e2e/lib/halves.py", 15),
    ("tests/e2e/lib/ledger.py", 8),
    ("tests/e2e/lib/lossyfs.py", 15),
    ("tests/e2e/lib/namespaces.py", 12),
    ("tests/e2e/lib/networkfaults.py", 6),
    ("tests/e2e/lib/outside.py", 4),
    ("tests/e2e/lib/pair.py", 11),
    ("tests/e2e/lib/processfaults.py", 7),
    ("tests/e2e/lib/relay.py", 3),
    ("tests/e2e/lib/report.py", 4),
    ("tests/e2e/lossy.py", 26),
    ("tests/e2e/replay.py", 5),
];

const RATCHET: Ratchet = Ratchet {
    known: WIDE,
    list: "width.rs",
    message: "wider than 110 columns: break the line",
};

pub fn check(files: &[File], findings: &mut Vec<Finding>) {
    for file in files.iter().filter(|file| is_written_by_hand(file)) {
        let wide = file.text.lines().enumerate();
        let wide = wide.filter(|(_, line)| is_too_wide(&file.path, line));
        let lines: Vec<usize> = wide.map(|(index, _)| index + 1).collect();
        RATCHET.check(file, &lines, findings);
    }
}

/// Code, documents, settings and scripts; a script may do without an ending if it names its interpreter.
fn is_written_by_hand(file: &File) -> bool {
    let ending = file.path.rsplit_once('.').map_or("", |(_, ending)| ending);
    matches!(ending, "rs" | "md" | "py" | "toml" | "sh") || file.text.starts_with("#!")
}

fn is_too_wide(path: &str, line: &str) -> bool {
    let is_table_row = path.ends_with(".md") && line.trim_start().starts_with('|');
    let is_one_word = line
        .trim_start_matches(['/', '!', '#', ' ', '-'])
        .split_whitespace()
        .nth(1)
        .is_none();
    line.chars().count() > COLUMNS_MAX && !is_table_row && !is_one_word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings_of(path: &str, text: &str) -> Vec<String> {
        let mut findings = Vec::new();
        let file = File {
            path: path.to_owned(),
            text: text.to_owned(),
        };
        check(&[file], &mut findings);
        findings.into_iter().map(|finding| finding.place).collect()
    }

    #[test]
    fn a_line_of_111_characters_is_found_and_one_of_110_is_not() {
        let prose = "é ".repeat(55);
        assert!(findings_of("docs/new.md", &prose).is_empty());
        assert_eq!(
            findings_of("docs/new.md", &format!("short\n{prose}!")),
            ["docs/new.md:2"]
        );
        assert_eq!(
            findings_of("bench/new", &format!("#!/bin/sh\n{prose}!")),
            ["bench/new:2"]
        );
    }

    #[test]
    fn what_cannot_be_broken_may_be_wide() {
        let cells = format!("| {}|", "cell ".repeat(30));
        let address = format!("/// <https://example.org/{}>", "x".repeat(120));
        assert!(findings_of("docs/new.md", &cells).is_empty());
        assert!(findings_of("crates/new/src/lib.rs", &address).is_empty());
        assert!(findings_of("bench/results/new.txt", &"x ".repeat(99)).is_empty());
    }
}
