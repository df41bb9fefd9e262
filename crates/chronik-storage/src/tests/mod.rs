//! The store as a whole: appends and reads, ends of all kinds, damage.

mod append;
mod crash;
mod damage;
mod keep;
mod power;
mod random;
mod time;
