//! The rows R01–R36 of bad records, by name, and what the rules change in good ones.

use super::*;
use crate::batch::{Batch, BatchBuilder};
use crate::compression::decompress;

const NOW: i64 = 1_700_000_000_000;

mod bad;
mod properties;

fn batch_of(codec: Codec, records: &[(i64, Option<&[u8]>)]) -> Vec<u8> {
    let mut builder = BatchBuilder::new().compression(codec.into());
    for (timestamp, key) in records {
        builder.push(*timestamp, *key, Some(b"some value, some value"), &[(b"trace", Some(b"1"))]);
    }
    builder.build().unwrap().to_vec()
}

/// Three records with keys, all at `NOW`.
fn good(codec: Codec) -> Vec<u8> {
    batch_of(codec, &[(NOW, Some(b"a")), (NOW, Some(b"b")), (NOW, Some(b"c"))])
}

/// A batch around any payload, its checksum right.
fn around(payload: &[u8], change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let mut header = BatchHeader::parse(&good(Codec::None)).unwrap();
    change(&mut header);
    let mut bytes = vec![0; HEADER_SIZE];
    bytes.extend_from_slice(payload);
    crate::batch::finish(&mut header, &mut bytes);
    bytes
}

fn changed(codec: Codec, change: impl FnOnce(&mut BatchHeader)) -> Vec<u8> {
    let bytes = good(codec);
    around(&bytes[HEADER_SIZE..], |header| {
        *header = BatchHeader::parse(&bytes).unwrap();
        change(header);
    })
}

fn code(records: &[u8], rules: &AppendRules) -> Result<(), ErrorCode> {
    prepare(records, rules, NOW).map(drop).map_err(|error| error.code)
}

#[test]
fn a_good_batch_stays_as_it_was_sent() {
    for codec in Codec::ALL {
        let bytes = good(codec);
        let prepared = prepare(&bytes, &AppendRules::default(), NOW).unwrap();
        assert!(matches!(prepared.bytes, Cow::Borrowed(same) if same == bytes), "{codec}");
        assert_eq!(prepared.header, BatchHeader::parse(&bytes).unwrap());
        assert_eq!((prepared.log_append_time_ms, prepared.max_timestamp_offset_delta), (None, 0));
    }
}

#[test]
fn log_append_time_is_written_and_told() {
    let rules = AppendRules { timestamp_type: TimestampType::LogAppendTime, ..AppendRules::default() };
    for codec in Codec::ALL {
        let bytes = batch_of(codec, &[(5, None), (9, None)]);
        let prepared = prepare(&bytes, &rules, NOW).unwrap();
        assert_eq!(prepared.log_append_time_ms, Some(NOW));
        let batch = Batch::parse(&prepared.bytes).unwrap();
        batch.check_crc().unwrap();
        assert_eq!(batch.header, prepared.header);
        assert_eq!((batch.header.timestamp_type(), batch.header.max_timestamp), (TimestampType::LogAppendTime, NOW));
        assert_eq!((batch.header.base_timestamp, batch.payload()), (5, &bytes[HEADER_SIZE..]));
    }
}

#[test]
fn a_lying_max_timestamp_is_replaced() {
    for lie in [i64::MIN, -1, 0, NOW + 1, i64::MAX] {
        for codec in Codec::ALL {
            let bytes = changed(codec, |header| header.max_timestamp = lie);
            let prepared = prepare(&bytes, &AppendRules::default(), NOW).unwrap();
            let batch = Batch::parse(&prepared.bytes).unwrap();
            batch.check_crc().unwrap();
            assert_eq!((batch.header.max_timestamp, prepared.header), (NOW, batch.header));
        }
    }
}

#[test]
fn the_first_record_with_the_highest_timestamp_is_found() {
    for codec in Codec::ALL {
        let bytes = batch_of(codec, &[(7, None), (9, None), (8, None), (9, None)]);
        assert_eq!(prepare(&bytes, &AppendRules::default(), NOW).unwrap().max_timestamp_offset_delta, 1);
    }
    let bytes = batch_of(Codec::None, &[(7, None), (9, None)]);
    assert_eq!(PreparedBatch::trusted(&bytes).unwrap().max_timestamp_offset_delta, 1);
}

#[test]
fn a_topics_own_codec_is_applied_and_keeps_every_record() {
    for from in Codec::ALL {
        for to in Codec::ALL {
            let bytes = good(from);
            let rules = AppendRules { compression: TopicCompression::Topic(to.into()), ..AppendRules::default() };
            let prepared = prepare(&bytes, &rules, NOW).unwrap();
            let batch = Batch::parse(&prepared.bytes).unwrap();
            batch.check_crc().unwrap();
            assert_eq!((batch.header.compression(), batch.header), (Ok(to), prepared.header));
            let plain = good(Codec::None);
            assert_eq!(decompress(to, batch.payload(), 1 << 20).unwrap(), &plain[HEADER_SIZE..], "{from} to {to}");
            assert_eq!(matches!(prepared.bytes, Cow::Borrowed(_)), from == to);
        }
    }
}

#[test]
fn a_batch_that_grows_beyond_the_limit_by_recompression_is_too_large() {
    let bytes = batch_of(Codec::Gzip, &[(NOW, Some(&[7; 10_000]))]);
    let rules = AppendRules {
        compression: TopicCompression::Topic(Codec::None.into()),
        max_message_bytes: 5_000,
        ..AppendRules::default()
    };
    assert_eq!(code(&bytes, &rules), Err(ErrorCode::MessageTooLarge));
    assert_eq!(code(&bytes, &AppendRules { max_message_bytes: 5_000, ..AppendRules::default() }), Ok(()));
}

#[test]
fn coordinators_may_write_control_batches_at_offsets_of_their_own() {
    let marker = crate::control::EndTransactionMarker {
        control_type: crate::control::ControlType::Commit,
        coordinator_epoch: 1,
    };
    let bytes = marker.batch(5, 0, NOW).unwrap();
    let rules = AppendRules { origin: Origin::Coordinator, ..AppendRules::default() };
    assert_eq!(code(&bytes, &rules), Ok(()));
    assert_eq!(code(&bytes, &AppendRules::default()), Err(ErrorCode::InvalidRecord));
    assert_eq!(PreparedBatch::trusted(&bytes).unwrap().into_owned().bytes[..], bytes[..]);
}
