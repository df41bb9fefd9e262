//! The header, the checksum, iteration, and the sequence arithmetic.

use super::*;
use crate::compression::{Codec, Compression};
use crate::record::RecordIter;

/// A batch that Apache Kafka's Java producer made: one record, key `k`, value `v`, timestamp 1 700 000 000 000, producer 4 epoch 1 sequence 9.
fn java_batch() -> Vec<u8> {
    let mut builder = BatchBuilder::new().producer(4, 1, 9);
    builder.push(1_700_000_000_000, Some(b"k"), Some(b"v"), &[]);
    builder.build().unwrap().to_vec()
}

#[test]
fn the_layout_is_kafkas_byte_by_byte() {
    let bytes = java_batch();
    let expected: &[u8] = &[
        0, 0, 0, 0, 0, 0, 0, 0, // base offset
        0, 0, 0, 58, // length
        0xff, 0xff, 0xff, 0xff, // leader epoch
        2,    // magic
    ];
    assert_eq!(&bytes[..17], expected);
    assert_eq!(&bytes[21..23], &[0, 0], "attributes");
    assert_eq!(&bytes[23..27], &[0, 0, 0, 0], "last offset delta");
    assert_eq!(&bytes[27..35], &1_700_000_000_000i64.to_be_bytes());
    assert_eq!(&bytes[35..43], &1_700_000_000_000i64.to_be_bytes());
    assert_eq!(&bytes[43..51], &4i64.to_be_bytes());
    assert_eq!(&bytes[51..53], &[0, 1]);
    assert_eq!(&bytes[53..57], &[0, 0, 0, 9]);
    assert_eq!(&bytes[57..61], &[0, 0, 0, 1]);
    assert_eq!(&bytes[61..], &[16, 0, 0, 0, 2, b'k', 2, b'v', 0]);
}

#[test]
fn the_header_survives_a_round_trip() {
    let bytes = java_batch();
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!(header.to_bytes()[..], bytes[..HEADER_SIZE]);
    assert_eq!(header.size_in_bytes(), bytes.len());
    assert_eq!((header.last_offset(), header.next_offset(), header.last_sequence()), (0, 1, 9));
    assert_eq!(header.compression(), Ok(Codec::None));
    assert!(
        header.has_producer_id() && !header.is_control() && !header.is_transactional() && !header.has_delete_horizon()
    );
}

#[test]
fn a_patch_changes_position_and_not_the_checksum() {
    let mut bytes = java_batch();
    patch(bytes.first_chunk_mut().unwrap(), 1 << 40, 17);
    check_crc(&bytes).unwrap();
    let header = BatchHeader::parse(&bytes).unwrap();
    assert_eq!((header.base_offset, header.partition_leader_epoch), (1 << 40, 17));
    assert_eq!(header, BatchHeader::parse(&java_batch()).unwrap().with_position(1 << 40, 17));
}

#[test]
fn every_flipped_bit_behind_the_checksum_is_found() {
    let bytes = java_batch();
    for at in CRC_AT..bytes.len() {
        for bit in 0..8 {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert!(matches!(check_crc(&damaged), Err(BatchError::Crc { .. })), "byte {at} bit {bit}");
        }
    }
}

#[test]
fn what_is_no_batch_says_why() {
    let with = |at: usize, value: &[u8]| {
        let mut bytes = java_batch();
        bytes[at..at + value.len()].copy_from_slice(value);
        Batch::parse(&bytes).map(|batch| batch.bytes.len())
    };
    let available = java_batch().len();
    assert_eq!(with(16, &[0]), Err(BatchError::OldMagic(0)));
    assert_eq!(with(16, &[1]), Err(BatchError::OldMagic(1)));
    assert_eq!(with(16, &[3]), Err(BatchError::Magic(3)));
    assert_eq!(with(16, &[0xff]), Err(BatchError::Magic(-1)));
    assert_eq!(with(8, &(-1i32).to_be_bytes()), Err(BatchError::Length(-1)));
    assert_eq!(with(8, &48i32.to_be_bytes()), Err(BatchError::Length(48)));
    assert_eq!(
        with(8, &i32::MAX.to_be_bytes()),
        Err(BatchError::Truncated { needed: LOG_OVERHEAD + i32::MAX as usize, available })
    );
    assert_eq!(with(8, &49i32.to_be_bytes()), Ok(61));
}

#[test]
fn batches_iterates_and_reports_a_cut_last_one() {
    let one = java_batch();
    let run = [one.clone(), one.clone(), one[..40].to_vec()].concat();
    let seen: Vec<_> = Batches::new(&run).collect();
    assert_eq!(seen.len(), 3);
    assert_eq!(seen[0].as_ref().unwrap().bytes, one);
    assert_eq!(seen[1].as_ref().unwrap().bytes, one);
    assert_eq!(*seen[2].as_ref().unwrap_err(), BatchError::Truncated { needed: 70, available: 40 });
    assert_eq!(Batches::new(&[]).count(), 0);
}

#[test]
fn sequences_wrap_from_the_highest_to_zero() {
    for (sequence, increment, sum) in
        [(0, 1, 1), (i32::MAX, 1, 0), (i32::MAX - 1, 3, 1), (i32::MAX, i32::MAX, i32::MAX - 1)]
    {
        assert_eq!(increment_sequence(sequence, increment), sum, "{sequence} + {increment}");
        assert_eq!(decrement_sequence(sum, increment), sequence, "{sum} - {increment}");
    }
}

#[test]
fn the_checksum_is_castagnolis_on_this_machine() {
    assert!(crc32c_self_test());
    assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa, "RFC 3720 B.4");
    assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43, "RFC 3720 B.4");
}

#[test]
fn builder_and_walk_agree_in_every_codec() {
    for codec in Codec::ALL {
        let mut builder = BatchBuilder::new().compression(Compression::of(codec));
        for i in 0..1000i64 {
            let value = format!("value {i}").into_bytes();
            let headers: [(&[u8], Option<&[u8]>); 2] = [(b"h", Some(b"x")), (b"none", None)];
            builder.push(
                1_000_000 - i,
                (i % 3 != 0).then_some(&value[..5]),
                Some(&value),
                &headers[..(i % 3) as usize],
            );
        }
        let bytes = builder.build().unwrap();
        let batch = Batch::parse(&bytes).unwrap();
        batch.check_crc().unwrap();
        assert_eq!(batch.header.compression(), Ok(codec));
        assert_eq!((batch.header.base_timestamp, batch.header.max_timestamp), (1_000_000, 1_000_000));
        let payload = crate::compression::decompress(codec, batch.payload(), 1 << 20).unwrap();
        let records: Vec<_> = RecordIter::new(&payload, 1000).map(Result::unwrap).collect();
        assert_eq!(records.len(), 1000);
        for (i, record) in (0i64..).zip(&records) {
            assert_eq!((i64::from(record.offset_delta), record.timestamp_delta), (i, -i));
            assert_eq!(record.value, Some(format!("value {i}").as_bytes()));
            assert_eq!(record.key, (i % 3 != 0).then_some(&b"value"[..]));
            assert_eq!(record.headers().count(), (i % 3) as usize);
        }
        assert_eq!(records[2].headers().last(), Some((&b"none"[..], None)));
    }
}
