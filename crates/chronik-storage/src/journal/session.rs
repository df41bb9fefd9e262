//! The name of a broker session: a ULID, so that names sort by age and are never given twice.

use std::fmt;
use std::io;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::rand::{GetRandomFlags, getrandom};

/// A broker session. Later sessions of a data directory compare greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId(pub u128);

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const RANDOM_BITS: u32 = 80;

impl SessionId {
    /// How long the text form is.
    pub const TEXT_LEN: usize = 26;

    /// A new session, which compares greater than the `last` one even when the clock has gone back.
    pub fn generate(last: Option<SessionId>) -> io::Result<SessionId> {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis());
        let mut random = [0; 16];
        let mut filled = 0;
        while filled < random.len() {
            filled += getrandom(&mut random[filled..], GetRandomFlags::empty())?;
        }
        Ok(SessionId::from_parts(now_ms, u128::from_ne_bytes(random), last))
    }

    fn from_parts(now_ms: u128, random: u128, last: Option<SessionId>) -> SessionId {
        let time = last.map_or(now_ms, |last| now_ms.max((last.0 >> RANDOM_BITS) + 1));
        SessionId((time << RANDOM_BITS) | (random & ((1 << RANDOM_BITS) - 1)))
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for digit in (0..Self::TEXT_LEN).rev() {
            let value = (self.0 >> (5 * digit)) & 31;
            write!(f, "{}", char::from(ALPHABET[value as usize]))?;
        }
        Ok(())
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The text is not a session id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a session id")]
pub struct NotASession;

impl FromStr for SessionId {
    type Err = NotASession;

    fn from_str(text: &str) -> Result<SessionId, NotASession> {
        if text.len() != Self::TEXT_LEN || text.as_bytes()[0] > b'7' {
            return Err(NotASession);
        }
        let mut value = 0;
        for byte in text.bytes() {
            let digit = ALPHABET.iter().position(|&c| c == byte).ok_or(NotASession)?;
            value = (value << 5) | digit as u128;
        }
        Ok(SessionId(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_and_back() {
        for id in [0, 1, u128::MAX, 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef] {
            let text = SessionId(id).to_string();
            assert_eq!(text.len(), SessionId::TEXT_LEN);
            assert_eq!(text.parse(), Ok(SessionId(id)));
        }
        for bad in ["", "8ZZZZZZZZZZZZZZZZZZZZZZZZZ", "0000000000000000000000000U", "00000000000000000000000000 "] {
            assert_eq!(bad.parse::<SessionId>(), Err(NotASession), "{bad}");
        }
    }

    #[test]
    fn later_sessions_are_greater_even_when_the_clock_goes_back() {
        let first = SessionId::from_parts(1_000_000, u128::MAX, None);
        let second = SessionId::from_parts(999_000, 0, Some(first));
        let third = SessionId::from_parts(1_000_001, 0, Some(second));
        assert!(first < second && second < third);
        assert!(first.to_string() < second.to_string());
        assert_ne!(SessionId::generate(None).unwrap(), SessionId::generate(None).unwrap());
    }
}
