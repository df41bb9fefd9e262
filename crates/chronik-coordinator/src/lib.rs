//! Groups, offsets and metadata as pure state machines.
//!
//! No I/O, no clock, no randomness: time and random ids come with requests, and what should happen comes back
//! as records to append, replies and timers ([`machine::Effects`]). The server carries them out.

pub mod group;
pub mod machine;
pub mod metadata;
pub mod shard;
