//! What clients in the field send and Kafka takes.

use chronik_protocol::ApiKey;
use chronik_protocol::header::{HeaderError, parse_request};
use chronik_protocol::messages::*;
use chronik_protocol::wire::{DecodeError, Writer, decode_exact};

/// A Fetch request v12: fixed fields, no topics, no forgotten topics, an empty rack id, then these tagged fields.
fn fetch(version: i16, tags: &[(u32, &[u8])]) -> Vec<u8> {
    let mut w = Writer::default();
    if version < 15 {
        w.i32(-1);
    }
    for number in [500, 1, 1 << 20] {
        w.i32(number);
    }
    w.i8(0);
    w.i32(0);
    w.i32(-1);
    w.raw(&[1, 1, 1]);
    w.uvarint(tags.len() as u32);
    for (tag, content) in tags {
        w.uvarint(*tag);
        w.uvarint(content.len() as u32);
        w.raw(content);
    }
    w.finish().to_vec().unwrap()
}

/// The content of tag 1 of Fetch v15+: a replica's id and epoch.
const REPLICA: &[u8] = b"\0\0\0\x07\0\0\0\0\0\0\0\x09\0";

#[test]
fn tags_in_any_order_and_unknown_ones() {
    let bytes = fetch(15, &[(9_999, b"whatever"), (1, REPLICA), (0, b"\x08cluster"), (5, b"")]);
    let request = decode_exact::<FetchRequest<'_>>(&bytes, 15).unwrap();
    assert_eq!(request.cluster_id.as_deref(), Some("cluster"));
    assert_eq!((request.replica_state.replica_id, request.replica_state.replica_epoch), (7, 9));
}

#[test]
fn a_known_tag_below_its_version_is_skipped() {
    let request = fetch(12, &[(1, REPLICA), (0, b"\x08cluster")]);
    let request = decode_exact::<FetchRequest<'_>>(&request, 12).unwrap();
    assert_eq!(request.replica_state, Default::default());
    assert_eq!(request.cluster_id.as_deref(), Some("cluster"));
}

#[test]
fn any_negative_length_is_null_where_null_is_allowed() {
    for length in [-1i32, -2, i32::MIN] {
        let bytes = length.to_be_bytes();
        assert_eq!(decode_exact::<MetadataRequest<'_>>(&bytes, 1).unwrap().topics, None);
    }
    // 2³²−1 and 2³¹+1 in the compact form are −2 and −2³¹ to Kafka.
    for count in [&b"\0"[..], b"\xff\xff\xff\xff\x0f", b"\x81\x80\x80\x80\x08"] {
        let bytes = [count, b"\x01\0\0"].concat();
        assert_eq!(decode_exact::<MetadataRequest<'_>>(&bytes, 12).unwrap().topics, None);
    }
    let bytes = b"\x80\x80\x80\x80\x08\x01\0\0";
    let refused = decode_exact::<MetadataRequest<'_>>(bytes, 12);
    assert_eq!(refused, Err(DecodeError::ArrayTooLong(i32::MAX as u32)));
}

#[test]
fn a_header_with_any_client_id() {
    let frame = |client: &[u8]| [b"\0\x12\0\x03\0\0\0\x2a", client, b"\0\x01\x01\0"].concat();
    for (client, expected) in
        [(&b"\xff\xff"[..], None), (b"\xff\xfe", None), (b"\0\0", Some("")), (b"\0\x02me", Some("me"))]
    {
        let frame = frame(client);
        let request = parse_request(&frame).unwrap();
        assert_eq!((request.key, request.version, request.correlation_id), (ApiKey::ApiVersions, 3, 42));
        assert_eq!(request.client_id.as_deref(), expected);
        assert_eq!(request.body, b"\x01\x01\0");
    }
    assert_eq!(parse_request(b"\0\x12\0\x03"), Err(HeaderError::Malformed(DecodeError::Truncated)));
    assert_eq!(parse_request(b"\x03\xe7\0\0\0\0\0\0\0\0"), Err(HeaderError::UnknownKey(999)));
    assert_eq!(parse_request(&frame(b"\x7f\xffme")), Err(HeaderError::Malformed(DecodeError::Truncated)));
    // A version that does not exist yet still has the header of its encoding: it gets an answer of its own.
    assert_eq!(parse_request(b"\0\x12\0\x63\0\0\0\x2a\0\0\0").unwrap().version, 99);
}
