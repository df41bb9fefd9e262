//! The load generator. Its counts are exact by construction: see [`ledger`].

pub mod latency;
pub mod ledger;
pub mod payload;
