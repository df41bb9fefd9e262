//! The store as a whole: appends and reads, ends of all kinds, damage.

mod append;
mod crash;
mod damage;
mod keep;
mod random;
mod time;
