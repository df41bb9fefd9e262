//! What is refused: anything that would have to be guessed at.

use chronik_protocol::messages::*;
use chronik_protocol::wire::{
    DecodeError, EncodeError, MAX_TAGS, Reader, Records, Writer, decode_exact, encode_to_vec, uvarint_len,
};

#[test]
fn null_in_a_field_that_cannot_be_null() {
    assert_eq!(decode_exact::<FindCoordinatorRequest<'_>>(b"\xff\xff", 0), Err(DecodeError::Null));
    assert_eq!(decode_exact::<FindCoordinatorRequest<'_>>(b"\xff\xfe", 0), Err(DecodeError::Null));
    assert_eq!(decode_exact::<DeleteGroupsRequest<'_>>(b"\xff\xff\xff\xff", 0), Err(DecodeError::Null));
    assert_eq!(decode_exact::<DeleteGroupsRequest<'_>>(b"\0\0", 2), Err(DecodeError::Null));
    // Metadata may ask for all topics by null from v1 on, in v0 not.
    assert_eq!(decode_exact::<MetadataRequest<'_>>(b"\xff\xff\xff\xff", 0), Err(DecodeError::Null));
    assert_eq!(decode_exact::<MetadataRequest<'_>>(b"\xff\xff\xff\xff", 1).unwrap().topics, None);
}

#[test]
fn varints_have_32_bits_in_five_bytes() {
    let read = |bytes: &[u8]| Reader::new(bytes).uvarint();
    assert_eq!(read(b"\xff\xff\xff\xff\x0f"), Ok(u32::MAX));
    assert_eq!(read(b"\x81\x80\x80\x80\0"), Ok(1), "overlong, but of a legal length");
    assert_eq!(read(b"\xff\xff\xff\xff\x1f"), Err(DecodeError::Varint));
    assert_eq!(read(b"\x80\x80\x80\x80\x80\0"), Err(DecodeError::Varint));
    assert_eq!(read(b"\x80\x80"), Err(DecodeError::Truncated));
    let long = |bytes: &[u8]| Reader::new(bytes).varlong();
    assert_eq!(long(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), Ok(i64::MIN));
    assert_eq!(long(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), Err(DecodeError::Varint));
    assert_eq!(long(b"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\0"), Err(DecodeError::Varint));
    for value in [0, 1, 127, 128, 16_383, 16_384, u32::MAX >> 4, u32::MAX] {
        let mut w = Writer::default();
        w.uvarint(value);
        assert_eq!(w.len(), uvarint_len(value));
        assert_eq!(read(&w.finish().to_vec().unwrap()), Ok(value));
    }
}

#[test]
fn lengths_end_within_the_frame_and_messages_with_it() {
    assert_eq!(decode_exact::<FindCoordinatorRequest<'_>>(b"\0\x05four", 0), Err(DecodeError::Truncated));
    assert_eq!(decode_exact::<FindCoordinatorRequest<'_>>(b"\0\x04four!", 0), Err(DecodeError::Trailing(1)));
    assert_eq!(decode_exact::<FindCoordinatorRequest<'_>>(b"\0\x02\xc3\x28", 0), Err(DecodeError::Utf8));
    let too_long = [&b"\x81\x80\x02"[..], &[b'x'; 0x8000]].concat();
    assert_eq!(Reader::new(&too_long).string(true), Err(DecodeError::StringTooLong(0x8000)));
    assert_eq!(decode_exact::<HeartbeatRequest<'_>>(&[], 99), Err(DecodeError::Version(99)));
}

#[test]
fn a_tagged_field_ends_where_its_size_says() {
    // ApiVersions response v3: error, one-element-less array, throttle time, then tag 1 (int64) of seven and nine bytes.
    let seven = b"\0\0\x01\0\0\0\0\x01\x01\x07\0\0\0\0\0\0\0";
    assert_eq!(decode_exact::<ApiVersionsResponse<'_>>(seven, 3), Err(DecodeError::Truncated));
    let nine = b"\0\0\x01\0\0\0\0\x01\x01\x09\0\0\0\0\0\0\0\x05\0";
    assert_eq!(decode_exact::<ApiVersionsResponse<'_>>(nine, 3), Err(DecodeError::TagSize(1)));
    let eight = b"\0\0\x01\0\0\0\0\x01\x01\x08\0\0\0\0\0\0\0\x05";
    assert_eq!(decode_exact::<ApiVersionsResponse<'_>>(eight, 3).unwrap().finalized_features_epoch, 5);
}

#[test]
fn more_than_ten_thousand_tagged_fields() {
    let frame = |count: u32| {
        let mut w = Writer::default();
        w.i32(0);
        w.uvarint(count);
        for tag in 0..count {
            w.uvarint(tag);
            w.uvarint(0);
        }
        w.finish().to_vec().unwrap()
    };
    let read = |bytes: &[u8]| Reader::new(&bytes[4..]).skip_tags();
    assert_eq!(read(&frame(MAX_TAGS)), Ok(()));
    assert_eq!(read(&frame(MAX_TAGS + 1)), Err(DecodeError::TooManyTags(MAX_TAGS + 1)));
}

#[test]
fn a_value_that_the_version_has_no_place_for_is_not_dropped() {
    let request = ProduceRequest { transactional_id: Some("id".into()), ..Default::default() };
    let error = EncodeError::Unsupported { message: "ProduceRequest", field: "transactional_id", version: 2 };
    assert_eq!(encode_to_vec(&request, 2), Err(error));
    assert!(encode_to_vec(&request, 3).is_ok());
    let request = MetadataRequest { topics: None, ..Default::default() };
    let error = EncodeError::Null { message: "MetadataRequest", field: "topics", version: 0 };
    assert_eq!(encode_to_vec(&request, 0), Err(error));
    assert_eq!(encode_to_vec(&request, 1), Ok(b"\xff\xff\xff\xff".to_vec()));
    let error = EncodeError::TooLong(0x8000);
    let request = FindCoordinatorRequest { key: "x".repeat(0x8000).into(), ..Default::default() };
    assert_eq!(encode_to_vec(&request, 0), Err(error));
    assert_eq!(encode_to_vec(&request, 99), Err(EncodeError::Version(99)));
}

#[test]
fn records_are_equal_by_their_bytes() {
    let owned: Records<'_> = bytes::Bytes::from_static(b"batch").into();
    assert_eq!(Records::Borrowed(b"batch"), owned);
    assert_ne!(Records::Borrowed(b"batcH"), owned);
}
