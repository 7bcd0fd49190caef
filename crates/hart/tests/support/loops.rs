//! Random guests that loop: through pages that lie in another order than their addresses, some of which may
//! not be read or written, are the code itself, page tables or devices, along chains of pointers, with steps
//! left out now and then.

use hart::ram::BASE;

use super::{
    Computer, DMA, LINES, UART,
    floats::{float_value, float_word, quiet_comparison},
    random::{CODE, CODE_END, DATA, LEAVES, Random, branch, keep, prepare, word},
};

/// Registers that walk, a counter, and the others.
const WALKERS: [u32; 4] = [8, 9, 10, 18];
const COUNTER: u32 = 5;
const OTHERS: [u32; 7] = [11, 12, 13, 6, 7, 28, 29];
/// Counts the turns of an inner loop.
const INNER_COUNTER: u32 = 30;
/// Holds a node of a chain while its walker goes on.
const COPY: u32 = 14;
/// Strides: of bytes, of words, of rows.
const STRIDES: [i32; 14] = [1, 1, 2, 4, 4, 8, 8, 16, 24, 48, 100, 256, 264, 0];

/// Where walkers are sent to, and how many nodes of chains are in each page there.
const WALKED: u64 = 0x4000_0000;
const NODES: u64 = 32;

/// What a guest computes with in its loops.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Computes {
    /// Integers, and now and then it loads or stores a floating-point register.
    Integers,
    /// Floating-point numbers for the most part.
    Floats,
}

/// Fills memory and registers of a new computer.
pub fn prepare_loops(computer: &mut Computer, random: &mut Random) {
    prepare_for(computer, random, Computes::Integers);
}

/// The same, with loops that compute with floating-point numbers.
pub fn prepare_floats(computer: &mut Computer, random: &mut Random) {
    prepare_for(computer, random, Computes::Floats);
    for register in 0..32 {
        computer.hart.f[register] = float_value(random);
    }
    for place in (BASE + DATA..BASE + DATA + 0x3_0000).step_by(16) {
        if random.below(2) == 0 {
            let value = float_value(random).to_le_bytes();
            computer.ram.write(place + 8 * random.below(2), &value).unwrap();
        }
    }
}

fn prepare_for(computer: &mut Computer, random: &mut Random, computes: Computes) {
    prepare(computer, random);
    let mut put = |offset: u64, bytes: &[u8]| computer.ram.write(BASE + offset, bytes).unwrap();
    // Data pages: every order of the physical ones.
    let turn = 1 + 2 * random.below(24);
    let mut nodes = Vec::new();
    for page in (0..16).chain(19..32).chain(35..50) {
        let flags = match random.below(12) {
            0 => random.pick(&[0xc3, 0xd3, 0x07, 0x17, 0]),
            _ => random.pick(&[0xc7, 0xd7]),
        };
        let to = match random.below(40) {
            0..2 => BASE + CODE + random.below(3) * 0x1000,
            2 => BASE + LEAVES,
            3 => random.pick(&[UART, LINES, DMA]),
            _ => BASE + DATA + (page * turn % 48) * 0x1000,
        };
        put(LEAVES + page * 8, &(to >> 2 | flags).to_le_bytes());
        nodes.push((page, to));
    }
    // Chains of pointers, most of which stay in their page.
    for (page, to) in nodes.into_iter().filter(|&(_, to)| to >= BASE + DATA) {
        for node in 0..NODES {
            let other = random.below(50);
            let page = random.pick(&[page, page, page, other]);
            let next = WALKED + (page << 12) + node_offset(random.below(NODES));
            put(to - BASE + node_offset(node), &next.to_le_bytes());
        }
    }
    let mut words = Vec::new();
    while words.len() < (CODE_END - CODE) as usize / 4 - 80 {
        a_loop(&mut words, random, computes);
    }
    // And again.
    words.push(jump(-4 * words.len() as i32));
    let code: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    put(CODE, &code);
}

fn node_offset(node: u64) -> u64 {
    0x400 + node * 16
}

fn a_loop(words: &mut Vec<u32>, random: &mut Random, computes: Computes) {
    let walkers = &WALKERS[..1 + random.below(4) as usize];
    let strides: Vec<i32> = walkers
        .iter()
        .map(|_| random.pick(&STRIDES) * random.pick(&[1, 1, -1]))
        .collect();
    let chained: Vec<bool> = walkers.iter().map(|_| random.below(5) == 0).collect();
    for (&walker, &chained) in walkers.iter().zip(&chained) {
        let page = (WALKED >> 12) as u32 + random.below(50) as u32;
        words.push(page << 12 | walker << 7 | 0x37);
        let offset = match chained {
            true => node_offset(random.below(NODES)) as i32,
            false => random.below(4096) as i32 - 2048,
        };
        words.push(add(walker, walker, offset));
    }
    // Words that are nearly too large, and what is larger.
    for _ in 0..random.below(4) {
        let register = random.pick(&OTHERS);
        words.push(random.next() as u32 & 0xffff_f000 | register << 7 | 0x37);
        words.push(random.pick(&[0, 0, 1, 32]) << 20 | register << 15 | 1 << 12 | register << 7 | 0x13);
        words.push(add(register, register, random.below(4096) as i32 - 2048));
    }
    let turns = random.pick(&[1, 3, 7, 20, 100, 300]) + random.below(20) as i32;
    words.push(add(COUNTER, 0, turns));
    let head = words.len();
    words.push(add(COUNTER, COUNTER, -1));
    for ((&walker, &stride), &chained) in walkers.iter().zip(&strides).zip(&chained) {
        some(words, random, head, (walker, walkers), computes);
        if chained {
            follow(words, random, walker);
            some(words, random, head, (walker, walkers), computes);
            continue;
        }
        if random.below(3) == 0 {
            an_inner_loop(words, random, head, (walker, walkers), computes);
        }
        let part = random.pick(&[stride, stride, stride, stride / 2, 0, 3 * stride]);
        words.push(add(walker, walker, part));
        some(words, random, head, (walker, walkers), computes);
        if part != stride {
            words.push(add(walker, walker, stride - part));
        }
    }
    words.push(branch(1, COUNTER, 0, (head as i32 - words.len() as i32) * 4));
}

/// A loop inside another one, mostly of few turns, in which a walker goes on.
fn an_inner_loop(
    words: &mut Vec<u32>,
    random: &mut Random,
    head: usize,
    (walker, walkers): (u32, &[u32]),
    computes: Computes,
) {
    words.push(add(INNER_COUNTER, 0, random.pick(&[1, 2, 3, 3, 4, 40])));
    let inner = words.len();
    some(words, random, head, (walker, walkers), computes);
    words.push(add(walker, walker, random.pick(&[0, 4, 8, 8, -8, 100])));
    some(words, random, head, (walker, walkers), computes);
    words.push(add(INNER_COUNTER, INNER_COUNTER, -1));
    words.push(branch(
        1,
        INNER_COUNTER,
        0,
        (inner as i32 - words.len() as i32) * 4,
    ));
}

/// To the next node: at once, from a copy of the pointer with something done to the node left behind, or two
/// nodes on.
fn follow(words: &mut Vec<u32>, random: &mut Random, walker: u32) {
    let load = |from: u32, to: u32| from << 15 | 3 << 12 | to << 7 | 0x03;
    match random.below(3) {
        0 => words.push(load(walker, walker)),
        1 => {
            words.extend([add(COPY, walker, 0), load(COPY, walker)]);
            // Reads what follows the pointer, or writes it.
            words.push(random.pick(&[
                8 << 20 | COPY << 15 | 3 << 12 | 12 << 7 | 0x03,
                12 << 20 | COPY << 15 | 3 << 12 | 8 << 7 | 0x23,
            ]));
        }
        _ => words.extend([load(walker, COPY), load(COPY, walker)]),
    }
}

/// Some accesses and other things, mostly of one walker, now and then of another.
fn some(
    words: &mut Vec<u32>,
    random: &mut Random,
    head: usize,
    (walker, walkers): (u32, &[u32]),
    computes: Computes,
) {
    for _ in 0..random.pick(&[0, 1, 1, 2, 2, 5]) {
        let walker = match random.below(3) {
            0 => random.pick(walkers),
            _ => walker,
        };
        something(words, random, head, walker);
        if computes == Computes::Floats {
            words.extend(
                (0..random.below(5))
                    .map(|_| float_word(random, &OTHERS))
                    .collect::<Vec<_>>(),
            );
            if random.below(6) == 0 {
                words.extend(quiet_comparison(random, &OTHERS));
            }
        }
        words.extend((random.below(3) == 0).then(|| keep(random.pick(&OTHERS))));
    }
}

/// An access, a computation, or a branch over what follows or to the next turn.
fn something(words: &mut Vec<u32>, random: &mut Random, head: usize, walker: u32) {
    let (one, other) = (random.pick(&OTHERS), random.pick(&OTHERS));
    let width = random.pick(&[0, 1, 2, 3, 3]);
    let offset = (random.below(16) as i32 - 4) << width;
    // Misaligned now and then, or further away than neighbours that share a lookup.
    let offset = match random.below(30) {
        0 => offset + 1,
        1..4 => offset + random.pick(&[-1200, 1200]),
        _ => offset,
    };
    // FLW, FLD, FSW and FSD differ from the others by one bit.
    let float = if width > 1 && random.below(4) == 0 { 4 } else { 0 };
    let word = match random.below(20) {
        0..5 => (offset as u32) << 20 | walker << 15 | width << 12 | one << 7 | 0x03 | float,
        5..9 => {
            let (high, low) = ((offset as u32 >> 5) & 127, offset as u32 & 31);
            high << 25 | one << 20 | walker << 15 | width << 12 | low << 7 | 0x23 | float
        }
        9 => add(one, other, random.below(64) as i32 - 32),
        // Accesses through the walker may share a lookup all the same.
        12 if random.below(2) == 0 => add(walker, walker, random.pick(&[4, 8, 8, 16])),
        // Another walker's, or one that is computed.
        10 => random.pick(&WALKERS) << 20 | walker << 15 | one << 7 | 0x33,
        // AMOs, LR and SC, of words and doublewords; CBO.ZERO.
        14 => {
            let kind = random.pick(&[0, 0, 1, 2, 3, 4, 8, 0xc, 0x10, 0x1c]);
            let other = if kind == 2 { 0 } else { other };
            kind << 27 | other << 20 | walker << 15 | random.pick(&[2, 3]) << 12 | one << 7 | 0x2f
        }
        15 => 4 << 20 | walker << 15 | 2 << 12 | 0x0f,
        11 => random.pick(&[0, 0x20]) << 25 | other << 20 | one << 15 | one << 7 | 0x33,
        16..19 => {
            let word = word(random, &OTHERS);
            words.push(word);
            // And what reads all of the result, if it has one.
            random.pick(&[0, 0x20]) << 25 | other << 20 | (word >> 7 & 31) << 15 | one << 7 | 0x33
        }
        _ => {
            // In some turns, or as the data is.
            let mask = random.pick(&[1, 3, 7, 3, 31]);
            words
                .push(mask << 20 | random.pick(&[COUNTER, COUNTER, other]) << 15 | 7 << 12 | one << 7 | 0x13);
            let next = (head as i32 - words.len() as i32) * 4;
            let distance = random.pick(&[8, 8, 12, 16, next, next]);
            branch(random.pick(&[0, 1]), one, 0, distance)
        }
    };
    words.push(word);
}

fn add(rd: u32, rs1: u32, value: i32) -> u32 {
    (value as u32) << 20 | rs1 << 15 | rd << 7 | 0x13
}

fn jump(distance: i32) -> u32 {
    let to = distance as u32;
    (to >> 20 & 1) << 31 | (to >> 1 & 0x3ff) << 21 | (to >> 11 & 1) << 20 | (to >> 12 & 0xff) << 12 | 0x6f
}
