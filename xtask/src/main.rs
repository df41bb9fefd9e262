//! What builds, checks and measures Chronik.

fn main() {}
