//! What must hold for each device, whatever the guest does to it: one suite, generated per device.

mod rig;

use machine::parts::{Aclint, Device, Plic, Rtc, Syscon, Uart, restore_part, save_part};
use rig::{Random, Rig};

const ACCESSES: usize = 4000;

/// Does something random to the device; says what came of it.
fn poke(device: &mut dyn Device, rig: &mut Rig, random: &mut Random, size: u64) -> Option<u64> {
    let width = random.width();
    let limit = if random.below(4) == 0 {
        size
    } else {
        size.min(0x40)
    };
    let offset = random.below(limit) & !(width.bytes() - 1);
    let value = match random.below(3) {
        0 => random.next(),
        1 => random.below(256),
        _ => 0,
    };
    rig.now = rig.now.after(random.below(30_000));
    rig.wake(device);
    if random.below(2) == 0 {
        let value = device.read(offset, width, &mut rig.reach());
        value.map(|value| value & width.mask())
    } else {
        device
            .write(offset, width, value & width.mask(), &mut rig.reach())
            .then_some(0)
    }
}

fn trace(device: &mut dyn Device, size: u64, seed: u64) -> (Vec<Option<u64>>, Vec<u8>, u64, String) {
    let mut rig = Rig::new();
    let mut random = Random(seed);
    let answers = (0..ACCESSES)
        .map(|_| poke(device, &mut rig, &mut random, size))
        .collect();
    (
        answers,
        save_part(device),
        rig.irq.0,
        format!("{:?}", rig.effects),
    )
}

fn the_same_twice(make: impl Fn() -> Box<dyn Device>, size: u64) {
    for seed in 0..20 {
        assert_eq!(trace(&mut *make(), size, seed), trace(&mut *make(), size, seed));
    }
}

fn restored_in_the_middle(make: impl Fn() -> Box<dyn Device>, size: u64) {
    for seed in 0..20 {
        let (mut one, mut rig, mut random) = (make(), Rig::new(), Random(seed));
        for _ in 0..ACCESSES / 2 {
            poke(&mut *one, &mut rig, &mut random, size);
        }
        let bytes = save_part(&mut *one);
        let mut other = make();
        restore_part(&mut *other, &bytes).unwrap();
        assert_eq!(save_part(&mut *other), bytes);
        let mut other_rig = Rig::new();
        (other_rig.now, other_rig.irq) = (rig.now, rig.irq);
        let mut other_random = Random(random.0);
        rig.effects.clear();
        for _ in 0..ACCESSES / 2 {
            let answer = poke(&mut *one, &mut rig, &mut random, size);
            assert_eq!(answer, poke(&mut *other, &mut other_rig, &mut other_random, size));
        }
        assert_eq!(save_part(&mut *one), save_part(&mut *other));
        assert_eq!((rig.irq, rig.effects), (other_rig.irq, other_rig.effects));
    }
}

fn garbage_restores_to_an_error_or_a_device_that_works(make: impl Fn() -> Box<dyn Device>, size: u64) {
    for seed in 0..200 {
        let mut random = Random(seed);
        let mut device = make();
        let mut bytes = save_part(&mut *device);
        for _ in 0..random.below(4) {
            if !bytes.is_empty() {
                let at = random.below(bytes.len() as u64) as usize;
                bytes[at] = random.next() as u8;
            }
        }
        if random.below(4) == 0 {
            bytes.truncate(random.below(bytes.len() as u64 + 1) as usize);
        }
        if restore_part(&mut *device, &bytes).is_ok() {
            let mut rig = Rig::new();
            for _ in 0..200 {
                poke(&mut *device, &mut rig, &mut random, size);
            }
        }
    }
}

fn reset_twice_is_reset_once(make: impl Fn() -> Box<dyn Device>, size: u64) {
    let mut device = make();
    trace(&mut *device, size, 5);
    device.reset();
    let once = save_part(&mut *device);
    device.reset();
    assert_eq!(save_part(&mut *device), once);
}

macro_rules! suite {
    ($($name:ident: $make:expr, $size:expr;)*) => {$(
        mod $name {
            use super::*;

            fn make() -> Box<dyn Device> {
                Box::new($make)
            }

            #[test]
            fn answers_the_same_twice() {
                the_same_twice(make, $size);
            }

            #[test]
            fn goes_on_equally_when_restored_in_the_middle() {
                restored_in_the_middle(make, $size);
            }

            #[test]
            fn survives_garbage() {
                garbage_restores_to_an_error_or_a_device_that_works(make, $size);
            }

            #[test]
            fn is_reset_by_reset() {
                reset_twice_is_reset_once(make, $size);
            }
        }
    )*};
}

suite! {
    uart: Uart::default(), 0x100;
    plic: Plic::new(2), 0x60_0000;
    aclint: Aclint::new(8), 0x1_0000;
    rtc: Rtc::new(1_700_000_000_000_000_000), 0x1000;
    syscon: Syscon::default(), 0x1000;
}
