//! Each bad input with its exact code, uncompressed and in every codec where that makes a difference.

use super::*;
use ErrorCode::{CorruptMessage, InvalidRecord, InvalidTimestamp, MessageTooLarge, UnsupportedCompressionType};

const COMPRESSING: [Codec; 4] = [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn check(row: &str, records: &[u8], expected: ErrorCode) {
    assert_eq!(code(records, &AppendRules::default()), Err(expected), "{row}");
}

/// A batch of one record whose payload is given, plain and in every codec.
fn check_payload(row: &str, payload: &[u8], count: i32, expected: ErrorCode) {
    for codec in Codec::ALL {
        let mut compressed = Vec::new();
        crate::compression::compress(codec.into(), payload, &mut compressed).unwrap();
        let bytes = around(&compressed, |header| {
            header.set_compression(codec);
            header.records_count = count;
            header.last_offset_delta = count - 1;
        });
        check(&format!("{row}, {codec}"), &bytes, expected);
    }
}

#[test]
fn r01_a_wrong_checksum_is_corrupt() {
    for codec in Codec::ALL {
        let mut bytes = good(codec);
        *bytes.last_mut().unwrap() ^= 1;
        check("R01", &bytes, CorruptMessage);
    }
}

#[test]
fn r02_old_and_unknown_magic() {
    for (magic, expected) in
        [(0i8, InvalidRecord), (1, InvalidRecord), (3, CorruptMessage), (127, CorruptMessage), (-1, CorruptMessage)]
    {
        check("R02", &changed(Codec::None, |header| header.magic = magic), expected);
    }
}

#[test]
fn r03_two_batches() {
    check("R03", &[good(Codec::None), good(Codec::Gzip)].concat(), InvalidRecord);
}

#[test]
fn r04_no_batch_and_every_piece_of_one() {
    let whole = good(Codec::None);
    for length in 0..whole.len() {
        check("R04", &whole[..length], InvalidRecord);
    }
}

#[test]
fn r05_codecs_that_do_not_exist() {
    for id in 5..=7 {
        check("R05", &changed(Codec::None, |header| header.attributes |= id), UnsupportedCompressionType);
    }
}

#[test]
fn r06_zstd_before_produce_7() {
    let old = AppendRules { produce_version: 6, ..AppendRules::default() };
    assert_eq!(code(&good(Codec::Zstd), &old), Err(UnsupportedCompressionType));
    assert_eq!(code(&good(Codec::Zstd), &AppendRules { produce_version: 7, ..old }), Ok(()));
}

#[test]
fn r07_r08_r09_counts() {
    for codec in Codec::ALL {
        for count in [4, 2, 1_000_000, i32::MAX] {
            let bytes = changed(codec, |header| {
                header.records_count = count;
                header.last_offset_delta = count - 1;
            });
            check("R07", &bytes, InvalidRecord);
        }
        for count in [-1, 0, i32::MIN] {
            check("R08", &changed(codec, |header| header.records_count = count), InvalidRecord);
        }
        for delta in [-1, 0, 1, 3, i32::MAX, i32::MIN] {
            check("R09", &changed(codec, |header| header.last_offset_delta = delta), InvalidRecord);
        }
    }
}

#[test]
fn r10_garbage_under_a_right_checksum() {
    for codec in COMPRESSING {
        for garbage in [&b""[..], b"\x01\x02\x03garbage, garbage", &[0xff; 300]] {
            let bytes = around(garbage, |header| header.set_compression(codec));
            check(&format!("R10, {codec}"), &bytes, CorruptMessage);
        }
    }
}

#[test]
fn r11_bombs_are_refused_when_they_pass_the_limit() {
    // One record whose value is 8 MiB of zeros.
    let mut payload = Vec::new();
    crate::record::write_record(&mut payload, 0, 0, None, Some(&vec![0; 8 << 20]), &[]);
    let rules =
        AppendRules { max_decompressed_bytes: 1 << 20, max_message_bytes: usize::MAX, ..AppendRules::default() };
    for codec in COMPRESSING {
        let mut compressed = Vec::new();
        crate::compression::compress(codec.into(), &payload, &mut compressed).unwrap();
        let bytes = around(&compressed, |header| {
            header.set_compression(codec);
            header.records_count = 1;
            header.last_offset_delta = 0;
        });
        assert_eq!(code(&bytes, &rules), Err(MessageTooLarge), "{codec}");
        assert_eq!(code(&bytes, &AppendRules { max_decompressed_bytes: 9 << 20, ..rules.clone() }), Ok(()), "{codec}");
    }
}

#[test]
fn r12_lengths_that_lie() {
    check_payload("R12 negative record length", &[1, 0, 0, 0, 1, 1, 0], 1, InvalidRecord);
    check_payload("R12 overlong varint", &[0x8c, 0x80, 0x80, 0x80, 0x80, 0x00, 0, 0, 0, 1, 1, 0], 1, InvalidRecord);
    check_payload("R12 past the end", &[100, 0, 0, 0, 1, 1, 0], 1, InvalidRecord);
    check_payload("R12 value length −2", &[12, 0, 0, 0, 1, 3, 0], 1, InvalidRecord);
    check_payload("R12 key length −2", &[12, 0, 0, 0, 3, 1, 0], 1, InvalidRecord);
    check_payload("R12 value past its record", &[12, 0, 0, 0, 1, 40, 0, 0, 0, 0], 1, InvalidRecord);
    check_payload("R12 bytes behind the last record", &[12, 0, 0, 0, 1, 1, 0, 9, 9], 1, InvalidRecord);
}

#[test]
fn r13_header_counts_and_null_keys() {
    check_payload("R13 count −1", &[12, 0, 0, 0, 1, 1, 1], 1, InvalidRecord);
    check_payload("R13 count 2³¹−1", &[20, 0, 0, 0, 1, 1, 0xfe, 0xff, 0xff, 0xff, 0x0f], 1, InvalidRecord);
    check_payload("R13 count −2³¹", &[20, 0, 0, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0x0f], 1, InvalidRecord);
    check_payload("R13 null header key", &[16, 0, 0, 0, 1, 1, 2, 1, 1], 1, InvalidRecord);
}

#[test]
fn r14_a_batch_beyond_max_message_bytes_whatever_else_is_wrong_with_it() {
    let mut bytes = good(Codec::None);
    let rules = AppendRules { max_message_bytes: bytes.len() - 1, ..AppendRules::default() };
    assert_eq!(code(&bytes, &rules), Err(MessageTooLarge));
    *bytes.last_mut().unwrap() ^= 1;
    assert_eq!(code(&bytes, &rules), Err(MessageTooLarge));
    assert_eq!(code(&good(Codec::None), &AppendRules { max_message_bytes: bytes.len(), ..rules }), Ok(()));
}

#[test]
fn r16_a_batch_length_that_lies() {
    let whole = good(Codec::None);
    let real = (whole.len() - LOG_OVERHEAD) as i32;
    for (length, expected) in [
        (real - 1, CorruptMessage),
        (49, CorruptMessage),
        (48, CorruptMessage),
        (0, CorruptMessage),
        (-1, CorruptMessage),
        (i32::MIN, CorruptMessage),
        (real + 1, InvalidRecord),
        (i32::MAX, InvalidRecord),
    ] {
        let mut bytes = whole.clone();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        check(&format!("R16 {length}"), &bytes, expected);
    }
}

#[test]
fn r18_control_batches_and_r20_missing_sequences_of_clients() {
    check("R18", &changed(Codec::None, |header| header.attributes |= 1 << 5), InvalidRecord);
    check("R20", &changed(Codec::None, |header| (header.producer_id, header.producer_epoch) = (7, 0)), InvalidRecord);
    check("base offset", &changed(Codec::None, |header| header.base_offset = 1), InvalidRecord);
}

#[test]
fn r21_timestamps_out_of_range_blame_their_records() {
    let hour = 3_600_000;
    for codec in Codec::ALL {
        for (timestamp, blamed) in [
            (NOW + hour, false),
            (NOW + hour + 1, true),
            (i64::MAX, true),
            (i64::MIN, true),
            (-1, false),
            (-5, false),
            (0, false),
        ] {
            // The record between must be within reach of a 64-bit delta.
            let between = if timestamp == i64::MIN { -1 } else { NOW };
            let bytes = batch_of(codec, &[(timestamp, None), (between, None), (timestamp, None)]);
            let result = prepare(&bytes, &AppendRules::default(), NOW);
            if blamed {
                let error = result.unwrap_err();
                assert_eq!(error.code, InvalidTimestamp, "{timestamp}");
                assert_eq!(error.record_errors.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [0, 2]);
            } else {
                assert_eq!(result.unwrap().header.max_timestamp, timestamp.max(NOW), "{timestamp}");
            }
        }
    }
}

#[test]
fn r21_timestamps_too_old_for_the_topic() {
    let rules = AppendRules { timestamp_before_max_ms: 1000, ..AppendRules::default() };
    assert_eq!(code(&batch_of(Codec::None, &[(NOW - 1000, None)]), &rules), Ok(()));
    assert_eq!(code(&batch_of(Codec::None, &[(NOW - 1001, None)]), &rules), Err(InvalidTimestamp));
    assert_eq!(code(&batch_of(Codec::None, &[(-1, None)]), &rules), Ok(()), "no timestamp is not an old one");
}

#[test]
fn r21_base_plus_delta_does_not_overflow() {
    for (base, expected) in [(i64::MAX, InvalidTimestamp), (i64::MIN, InvalidTimestamp)] {
        let bytes = around(&[12, 0, 2, 0, 1, 1, 0], |header| {
            (header.base_timestamp, header.records_count, header.last_offset_delta) = (base, 1, 0);
        });
        let error = prepare(&bytes, &AppendRules::default(), NOW).unwrap_err();
        assert_eq!((error.code, error.record_errors.len()), (expected, 1));
    }
}

#[test]
fn r21_many_bad_records_give_a_bounded_answer() {
    let records = vec![(i64::MAX, None); 5000];
    let error = prepare(&batch_of(Codec::Zstd, &records), &AppendRules::default(), NOW).unwrap_err();
    assert_eq!((error.code, error.record_errors.len()), (InvalidTimestamp, 1000));
}

#[test]
fn a_log_append_time_that_a_client_claims_is_refused_or_taken_back() {
    // As Kafka: refused where the broker sets the time, or where the record has none; otherwise the claim is dropped.
    let bytes = changed(Codec::None, |header| header.set_timestamp_type(TimestampType::LogAppendTime));
    let by_broker = AppendRules { timestamp_type: TimestampType::LogAppendTime, ..AppendRules::default() };
    let error = prepare(&bytes, &by_broker, NOW).unwrap_err();
    assert_eq!((error.code, error.record_errors.len()), (InvalidTimestamp, 3));
    let prepared = prepare(&bytes, &AppendRules::default(), NOW).unwrap();
    Batch::parse(&prepared.bytes).unwrap().check_crc().unwrap();
    assert_eq!(prepared.header.timestamp_type(), TimestampType::CreateTime);
    assert_eq!(prepared.bytes, good(Codec::None));
    let without = around(&batch_of(Codec::None, &[(-1, None)])[HEADER_SIZE..], |header| {
        (header.base_timestamp, header.records_count, header.last_offset_delta) = (-1, 1, 0);
        header.set_timestamp_type(TimestampType::LogAppendTime);
    });
    check("no timestamp", &without, InvalidTimestamp);
}

#[test]
fn r36_bytes_behind_the_batch() {
    let (whole, second) = (good(Codec::None), good(Codec::None));
    for (behind, expected) in [
        (&[1u8, 2, 3, 4][..], InvalidRecord),
        (&[0; 4], InvalidRecord),
        (&second[..second.len() / 2], InvalidRecord),
        (&second[..16], InvalidRecord),
        (&[0; 100], CorruptMessage),
    ] {
        check("R36", &[&whole[..], behind].concat(), expected);
    }
}

#[test]
fn compacted_topics_blame_records_without_a_key() {
    let rules = AppendRules { compacted: true, ..AppendRules::default() };
    for codec in Codec::ALL {
        let bytes = batch_of(codec, &[(NOW, Some(b"k")), (NOW, None), (NOW, Some(b"")), (NOW, None)]);
        let error = prepare(&bytes, &rules, NOW).unwrap_err();
        assert_eq!(error.code, InvalidRecord);
        assert_eq!(error.record_errors.iter().map(|(index, _)| *index).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(code(&bytes, &AppendRules::default()), Ok(()));
    }
}

#[test]
fn offset_deltas_that_do_not_count_up() {
    for codec in Codec::ALL {
        let mut payload = Vec::new();
        for delta in [0, 2] {
            crate::record::write_record(&mut payload, 0, delta, None, None, &[]);
        }
        check_payload(&format!("deltas, {codec}"), &payload, 2, InvalidRecord);
    }
}
