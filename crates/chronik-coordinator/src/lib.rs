//! Groups, offsets and metadata as pure state machines.
//!
//! No I/O, no clock, no randomness: time and random ids come with requests, and what should happen comes back
//! as records to append and replies. The server carries them out.

pub mod metadata;
