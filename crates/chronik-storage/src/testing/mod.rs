//! What the tests of this crate stand on: a disk in memory that can lose what was not synced, journals in memory, a world of both.

mod disk;
mod journals;
mod world;

pub(crate) use disk::MemDisk;
pub(crate) use journals::MemJournals;
pub(crate) use world::{World, batch, batch_of, id};
