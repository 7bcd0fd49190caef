//! `lockstep log`: looks inside a log.
