//! The generated codec, held against the schemas: layouts, strictness, leniency, and what it allocates.
#![allow(clippy::unwrap_used, clippy::panic)] // a test that cannot go on has failed

mod allocation;
mod bytes;
mod hostile;
mod layout;
mod lenient;
mod schema;
mod strict;
mod typed;
