//! Counts that lie: an error, and memory in proportion to the bytes that are there.

use chronik_protocol::ApiKey;
use chronik_protocol::generated::any::{RequestBody, ResponseBody};
use chronik_protocol::wire::{DecodeError, MAX_ELEMENTS, Reader};

use crate::allocation::peak;
use crate::bytes::{self, Fill};
use crate::schema::{self, Message};

/// What a frame of this length may cost.
fn bound(frame: usize) -> usize {
    16 * frame + 64 * 1024
}

/// Decodes a request or response; whether that worked, and what it allocated.
fn cost(message: &Message, version: i16, frame: &[u8]) -> (Result<(), DecodeError>, usize) {
    let key = ApiKey::from_i16(message.key).unwrap();
    peak(|| {
        let mut r = Reader::new(frame);
        match message.kind.as_str() {
            "request" => RequestBody::decode(key, version, &mut r).map(drop),
            _ => ResponseBody::decode(key, version, &mut r).map(drop),
        }
    })
}

/// Calls `check` for every array of every API in every version, with the bytes up to and with its count.
fn every_array(count: u32, mut check: impl FnMut(&Message, i16, Vec<u8>)) {
    for message in schema::all().iter().filter(|m| m.folder == "api") {
        for version in message.versions.clone() {
            for array in 0.. {
                let fill = Fill::Claim { array, count, seen: 0, done: false };
                let encoder = bytes::encode(message, version, fill);
                if !matches!(encoder.fill, Fill::Claim { done: true, .. }) {
                    break;
                }
                check(message, version, encoder.out);
            }
        }
    }
}

#[test]
fn counts_up_to_the_limit_of_their_type_cost_nothing() {
    for count in [i32::MAX as u32, MAX_ELEMENTS + 1, MAX_ELEMENTS, 100_000, 16] {
        let mut arrays = 0;
        every_array(count, |message, version, frame| {
            let (result, bytes) = cost(message, version, &frame);
            assert!(result.is_err(), "{} v{version}: {frame:02x?}", message.name);
            assert!(bytes <= bound(frame.len()), "{} v{version}: {bytes} bytes for {}", message.name, frame.len());
            arrays += 1;
        });
        assert!(arrays > 1000, "only {arrays} arrays were tried");
    }
}

#[test]
fn elements_of_the_least_bytes_stay_within_the_budget() {
    const COUNT: u32 = 20_000;
    for fill in [0u8, 1, 2, 0xff] {
        every_array(COUNT, |message, version, mut frame| {
            frame.resize(frame.len() + COUNT as usize, fill);
            let (_, bytes) = cost(message, version, &frame);
            assert!(bytes <= bound(frame.len()), "{} v{version}: {bytes} bytes for {}", message.name, frame.len());
        });
    }
}

#[test]
fn a_million_elements_that_are_there_are_the_limit() {
    let message = schema::all().into_iter().find(|m| m.name == "OffsetFetchRequest").unwrap();
    // v1: the group, then an array of topics, each a name and an array of partition numbers.
    let frame = |partitions: u32| {
        let mut frame = b"\0\x01g\0\0\0\x01\0\x01t".to_vec();
        frame.extend(partitions.to_be_bytes());
        frame.resize(frame.len() + 4 * partitions as usize, 0);
        frame
    };
    assert_eq!(cost(&message, 1, &frame(MAX_ELEMENTS)).0, Ok(()));
    let refused = Err(DecodeError::ArrayTooLong(MAX_ELEMENTS + 1));
    assert_eq!(cost(&message, 1, &frame(MAX_ELEMENTS + 1)).0, refused);
}
