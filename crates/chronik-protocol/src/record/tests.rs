//! Varints, strictness, and that the streaming walk judges as the other one does.

use super::*;
use crate::compression::{Codec, Inflate};
use proptest::prelude::*;

fn walk_all(payload: &[u8], count: i32) -> Result<Vec<RecordFacts>, WalkError> {
    let mut facts = Vec::new();
    let mut inflate = Inflate::new(Codec::None, payload, usize::MAX).unwrap();
    walk(&mut inflate, count, |record| facts.push(record))?;
    Ok(facts)
}

fn iterate(payload: &[u8], count: i32) -> Result<Vec<RecordFacts>, RecordError> {
    RecordIter::new(payload, count)
        .map(|record| {
            let RecordRef { offset_delta, timestamp_delta, key, .. } = record?;
            Ok(RecordFacts { offset_delta, timestamp_delta, has_key: key.is_some() })
        })
        .collect()
}

#[test]
fn varints_of_every_length_survive() {
    for shift in 0..64 {
        for value in [1i64 << shift, (1i64 << shift).wrapping_neg(), (1i64 << shift).wrapping_sub(1)] {
            let mut bytes = Vec::new();
            write_varint(&mut bytes, value);
            assert_eq!(bytes.len(), varint_size(value));
            assert_eq!(read_varlong(&mut &bytes[..]), Ok(value));
            if let Ok(small) = i32::try_from(value) {
                assert_eq!(read_varint(&mut &bytes[..]), Ok(small));
            }
        }
    }
}

#[test]
fn overlong_varints_are_errors_and_padded_ones_within_five_bytes_are_not() {
    assert_eq!(read_varint(&mut &[0x80, 0x80, 0x80, 0x80, 0x00][..]), Ok(0));
    assert_eq!(read_varint(&mut &[0x80, 0x80, 0x80, 0x80, 0x80, 0x00][..]), Err(RecordError::Varint));
    assert_eq!(read_varint(&mut &[0x80, 0x80][..]), Err(RecordError::Truncated));
    assert_eq!(read_varlong(&mut &[0x80; 11][..]), Err(RecordError::Varint));
}

#[test]
fn each_malformed_record_is_named() {
    let length = |what, value| RecordError::Length { what, value };
    // length, attributes, timestamp delta, offset delta, key, value, headers; zig-zag: 1 is −1, 3 is −2.
    let cases: [(&str, &[u8], RecordError); 13] = [
        ("no bytes", &[], RecordError::Truncated),
        ("negative length", &[1], length("record length", -1)),
        ("zero length", &[0], RecordError::Truncated),
        ("length behind the end", &[16, 0, 0, 0, 1, 1], RecordError::Truncated),
        ("key length −2", &[12, 0, 0, 0, 3, 1, 0], length("key length", -2)),
        ("value length −2", &[12, 0, 0, 0, 1, 3, 0], length("value length", -2)),
        ("key longer than the record", &[12, 0, 0, 0, 20, 1, 0], RecordError::Truncated),
        ("header count −1", &[12, 0, 0, 0, 1, 1, 1], length("header count", -1)),
        ("header count 2³¹−1", &[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f], RecordError::Truncated),
        ("null header key", &[16, 0, 0, 0, 1, 1, 2, 1, 1], length("header key length", -1)),
        ("header value length −2", &[16, 0, 0, 0, 1, 1, 2, 0, 3], length("header value length", -2)),
        ("bytes behind the headers", &[14, 0, 0, 0, 1, 1, 0, 0], RecordError::Trailing(1)),
        ("a record more than counted", &[12, 0, 0, 0, 1, 1, 0, 12, 0, 0, 0, 1, 1, 0], RecordError::MoreThanCounted),
    ];
    for (name, payload, error) in cases {
        assert_eq!(iterate(payload, 1), Err(error.clone()), "{name}");
        assert_eq!(walk_all(payload, 1), Err(WalkError::Record(error)), "{name}, streaming");
    }
}

proptest! {
    #[test]
    fn both_walks_judge_alike(payload in proptest::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(12), any::<u8>()], 0..200), count in 0..5i32) {
        let streamed = walk_all(&payload, count);
        let iterated = iterate(&payload, count);
        prop_assert_eq!(streamed.is_ok(), iterated.is_ok());
        if let (Ok(streamed), Ok(iterated)) = (streamed, iterated) {
            prop_assert_eq!(streamed, iterated);
        }
    }

    #[test]
    fn what_is_written_is_read(
        timestamp in any::<i64>(), offset in any::<i32>(),
        key in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        value in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
        headers in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..20), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..20))), 0..4),
    ) {
        let headers: Vec<(&[u8], Option<&[u8]>)> = headers.iter().map(|(key, value)| (&key[..], value.as_deref())).collect();
        let mut bytes = Vec::new();
        write_record(&mut bytes, timestamp, offset, key.as_deref(), value.as_deref(), &headers);
        prop_assert_eq!(bytes.len(), encoded_size(timestamp, offset, key.as_deref(), value.as_deref(), &headers));
        let record = RecordIter::new(&bytes, 1).next().unwrap().unwrap();
        prop_assert_eq!((record.timestamp_delta, record.offset_delta), (timestamp, offset));
        prop_assert_eq!((record.key, record.value), (key.as_deref(), value.as_deref()));
        prop_assert_eq!(record.headers().collect::<Vec<_>>(), headers);
    }
}
