//! Random ids. The machines are given them: they have no randomness of their own.

use std::hash::{BuildHasher, RandomState};

use chronik_protocol::Uuid;
use rustix::rand::{GetRandomFlags, getrandom};

/// A random id: never zero, and no text that begins with a dash, which command lines take for an option (as Kafka's).
pub(crate) fn uuid() -> Uuid {
    loop {
        let id = Uuid::from_bytes(bytes());
        if id != Uuid::ZERO && !id.to_string().starts_with('-') {
            return id;
        }
    }
}

fn bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    // So few bytes come whole or not at all; where the system refuses the call, the standard library's keys serve.
    if getrandom(&mut bytes, GetRandomFlags::empty()) != Ok(bytes.len()) {
        let half = || u128::from(RandomState::new().hash_one(std::process::id()));
        bytes = (half() << 64 | half()).to_ne_bytes();
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::uuid;

    #[test]
    fn ids_differ() {
        assert_ne!(uuid(), uuid());
    }
}
