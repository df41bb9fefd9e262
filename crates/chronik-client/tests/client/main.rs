//! The client against a broker that fails as it is told to.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod broker;
mod consumer;
mod producer;
