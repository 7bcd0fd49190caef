//! Tests of the crate through what it makes public, by behaviour: who is chosen, what is done, what is shown,
//! and what never happens in any world.

mod closed_loop;
mod faces;
mod hang;
mod memory;
mod placement;
mod properties;
mod reasons;
mod rules;
mod sample;
mod world;
