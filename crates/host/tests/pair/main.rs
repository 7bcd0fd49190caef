//! Whole replicas in processes of their own, seen from outside: the test is the gateway they are plugged
//! into.
//!
//! `replica` is such a process as a test sees it; the other files are the tests: a VM `alone`, `forming` a
//! pair, its `failover`, its `ending`, and how it uses its `disks`. No test looks into a process, only at
//! what it shows.

mod alone;
mod disks;
mod ending;
mod failover;
mod forming;
mod replica;
#[path = "../site/mod.rs"]
mod site;
