//! The topics in a consumer's subscription: the one thing in a member's metadata that the coordinator looks at.

/// The topics of a `ConsumerProtocolSubscription`, read as v0, which every later version begins with;
/// `None`: this is not one.
pub(super) fn subscribed_topics(metadata: &[u8]) -> Option<Vec<String>> {
    let mut rest = metadata;
    let version = i16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?);
    if version < 0 {
        return None;
    }
    let count = usize::try_from(i32::from_be_bytes(take(&mut rest, 4)?.try_into().ok()?)).ok()?;
    // Each name takes at least its length field: a count beyond that is a lie, and nothing is allocated for it.
    if count > rest.len() / 2 {
        return None;
    }
    (0..count).map(|_| topic(&mut rest)).collect()
}

fn topic(rest: &mut &[u8]) -> Option<String> {
    let length = usize::try_from(i16::from_be_bytes(take(rest, 2)?.try_into().ok()?)).ok()?;
    String::from_utf8(take(rest, length)?.to_vec()).ok()
}

fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

#[cfg(test)]
mod tests {
    use super::subscribed_topics;

    #[test]
    fn reads_the_topics_of_any_version_and_refuses_what_is_none() {
        let v1 = [b"\0\x01\0\0\0\x02\0\x01a\0\x02bc".as_slice(), b"\xff\xff\xff\xff\0\0\0\0"].concat();
        assert_eq!(subscribed_topics(&v1), Some(vec!["a".to_string(), "bc".to_string()]));
        assert_eq!(subscribed_topics(b"\0\0\0\0\0\0"), Some(vec![]));
        for broken in [b"".as_slice(), b"\0", b"\0\0\0\0\0\x01", b"\0\0\x7f\xff\xff\xff\0\0", b"\0\0\xff\xff\xff\xff"] {
            assert_eq!(subscribed_topics(broken), None);
        }
    }
}
