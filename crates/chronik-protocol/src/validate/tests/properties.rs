//! Whatever bytes come: an answer, never a panic, and what is accepted can be read back whole.

use super::*;
use proptest::prelude::*;

fn codec() -> impl Strategy<Value = Codec> {
    (0..5usize).prop_map(|index| Codec::ALL[index])
}

/// Accepted means: one batch with the right checksum, whose records a consumer can read, counted and numbered as the header says.
fn check_readable(prepared: &PreparedBatch<'_>) {
    let batch = Batch::parse(&prepared.bytes).unwrap();
    batch.check_crc().unwrap();
    assert_eq!((batch.bytes.len(), batch.header), (prepared.bytes.len(), prepared.header));
    let payload = decompress(batch.header.compression().unwrap(), batch.payload(), 1 << 24).unwrap();
    let records: Vec<_> = RecordIter::new(&payload, batch.header.records_count).map(Result::unwrap).collect();
    assert_eq!(records.len(), batch.header.records_count as usize);
    let deltas = records.iter().map(|record| record.offset_delta);
    assert!(deltas.eq(0..batch.header.records_count));
    let timestamps = records.iter().map(|record| batch.header.base_timestamp.wrapping_add(record.timestamp_delta));
    if prepared.log_append_time_ms.is_none() {
        assert_eq!(batch.header.max_timestamp, timestamps.max().unwrap_or(-1).max(-1));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn any_bytes_get_an_answer(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = prepare(&bytes, &AppendRules::default(), NOW);
    }

    #[test]
    fn damage_under_a_right_checksum_is_refused_or_harmless(
        codec in codec(), to in codec(), recompress in any::<bool>(), append_time in any::<bool>(),
        edits in proptest::collection::vec((21usize..200, any::<u8>()), 0..6),
    ) {
        let mut bytes = good(codec);
        for (at, value) in edits {
            let at = at % bytes.len();
            if at >= 21 {
                bytes[at] = value;
            }
        }
        crate::batch::write_crc(&mut bytes);
        let rules = AppendRules {
            compression: if recompress { TopicCompression::Topic(to.into()) } else { TopicCompression::Producer },
            timestamp_type: if append_time { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
            max_decompressed_bytes: 1 << 20,
            ..AppendRules::default()
        };
        if let Ok(prepared) = prepare(&bytes, &rules, NOW) {
            check_readable(&prepared);
        }
    }

    #[test]
    fn every_batch_that_the_builder_makes_is_accepted(
        codec in codec(),
        records in proptest::collection::vec(
            (0..NOW, proptest::option::of(proptest::collection::vec(any::<u8>(), 0..40)), proptest::option::of(proptest::collection::vec(any::<u8>(), 0..400))),
            1..40,
        ),
    ) {
        let mut builder = BatchBuilder::new().compression(codec.into());
        for (timestamp, key, value) in &records {
            builder.push(*timestamp, key.as_deref(), value.as_deref(), &[]);
        }
        let bytes = builder.build().unwrap();
        let prepared = prepare(&bytes, &AppendRules::default(), NOW).unwrap();
        prop_assert!(matches!(prepared.bytes, Cow::Borrowed(_)));
        check_readable(&prepared);
    }
}
