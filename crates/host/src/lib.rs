//! placeholder
pub mod image;
pub mod net;
