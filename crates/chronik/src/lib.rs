//! The command line of Chronik, as a library so that its tests reach every part.

pub mod bench;
pub mod cli;
pub mod fault;
pub mod output;
pub mod style;
pub mod verbs;
