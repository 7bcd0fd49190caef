//! Whole replicas in processes of their own, seen from outside: the test is the gateway they are plugged
//! into.
//!
//! `replica` is such a process as a test sees it; the other files are the tests: a VM `alone`, `forming` a
//! pair, its `failover`, its `ending`, how it uses its `disks`, and what is typed (`typing`). No test looks
//! into a process, only at what it shows.

mod alone;
#[path = "../../../machine/tests/rig/asm.rs"]
mod asm;
mod disks;
mod ending;
mod failover;
mod forming;
#[path = "../../../machine/tests/rig/guest.rs"]
mod guest;
mod replica;
#[path = "../site/mod.rs"]
mod site;
mod typing;
