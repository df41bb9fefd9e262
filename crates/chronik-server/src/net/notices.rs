//! Log lines about peers that send what cannot be answered: enough to find the culprit, never enough to fill a disk.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long a peer and reason are silent after a line.
const PAUSE: Duration = Duration::from_secs(10);
/// How many pairs of peer and reason are remembered; beyond it, lines are counted only.
const REMEMBERED_MAX: usize = 1024;

/// Limits lines by peer and reason.
#[derive(Debug, Default)]
pub(crate) struct Notices {
    last: Mutex<HashMap<(IpAddr, &'static str), Said>>,
}

#[derive(Debug)]
struct Said {
    at: Instant,
    suppressed: u64,
}

impl Notices {
    /// Whether a line may be written now, and how many were left out since the last one.
    pub(crate) fn admit(&self, peer: IpAddr, reason: &'static str, now: Instant) -> Option<u64> {
        let mut last = self.last.lock();
        if let Some(said) = last.get_mut(&(peer, reason)) {
            if now.duration_since(said.at) < PAUSE {
                said.suppressed += 1;
                return None;
            }
            said.at = now;
            return Some(std::mem::take(&mut said.suppressed));
        }
        if last.len() >= REMEMBERED_MAX {
            last.retain(|_, said| now.duration_since(said.at) < PAUSE);
            if last.len() >= REMEMBERED_MAX {
                return None;
            }
        }
        last.insert((peer, reason), Said { at: now, suppressed: 0 });
        Some(0)
    }
}

/// What bytes look like that are not Kafka's, and what the person at the other end probably wants.
pub(crate) fn guess(bytes: &[u8]) -> Option<&'static str> {
    const METHODS: [&[u8]; 7] = [b"GET ", b"POST", b"PUT ", b"HEAD", b"OPTI", b"DELE", b"CONN"];
    if METHODS.iter().any(|method| bytes.starts_with(method)) {
        return Some(
            "this is HTTP: the Kafka listener does not speak it (see chronik.http.listen for the web endpoint)",
        );
    }
    // A TLS record: handshake (22), version 3.x.
    if bytes.starts_with(&[22, 3]) {
        return Some(
            "this is a TLS ClientHello: the listener is plaintext (security.protocol=PLAINTEXT in the client)",
        );
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_peer_and_reason_and_pause() {
        let notices = Notices::default();
        let (a, b): (IpAddr, IpAddr) = ([127, 0, 0, 1].into(), [127, 0, 0, 2].into());
        let start = Instant::now();
        assert_eq!(notices.admit(a, "x", start), Some(0));
        assert_eq!(notices.admit(a, "x", start), None);
        assert_eq!(notices.admit(a, "y", start), Some(0));
        assert_eq!(notices.admit(b, "x", start), Some(0));
        assert_eq!(notices.admit(a, "x", start + PAUSE), Some(1));
    }

    #[test]
    fn hints_for_http_and_tls() {
        assert!(guess(b"GET / HTTP/1.1").unwrap().contains("HTTP"));
        assert!(guess(&[22, 3, 1, 2, 0]).unwrap().contains("TLS"));
        assert_eq!(guess(b"\0\0\0\x10"), None);
    }
}
