//! Repository tasks.
fn main(){}
