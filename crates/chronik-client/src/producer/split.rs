//! Halves of a batch that a broker found too large: the topic's limit is not known to a producer, and a batch is measured
//! by it only after compression.

use chronik_protocol::batch::{Batch as BatchView, BatchBuilder};
use chronik_protocol::compression::{Compression, decompress};
use chronik_protocol::record::{RecordIter, RecordRef};

use super::delivery::Outcome;
use super::queue::{Batch, Content};

/// Two batches with the records of one, in order. `None` if it has but one record, or was halved too often.
pub(super) fn halves(batch: &Batch, compression: Compression) -> Option<[Batch; 2]> {
    let Content::Built(bytes) = &batch.content else { return None };
    if batch.count < 2 || batch.id_span < 2 {
        return None;
    }
    let view = BatchView::parse(bytes).ok()?;
    let codec = view.header.compression().ok()?;
    let payload = decompress(codec, view.payload(), usize::MAX).ok()?;
    let records: Vec<RecordRef<'_>> = RecordIter::new(&payload, batch.count).collect::<Result<_, _>>().ok()?;
    let (first, second) = records.split_at(records.len() / 2);
    let id_span = batch.id_span / 2;
    let part = |records: &[RecordRef<'_>], id, reserved| Batch {
        id,
        id_span,
        content: Content::Building(build(records, view.header.base_timestamp, compression)),
        count: records.len() as i32,
        outcome: Outcome::new(batch.outcome.partition()),
        reserved,
        opened: batch.opened,
        // Numbered anew at once, behind what was appended before.
        sequence: batch.sequence,
        ambiguous: false,
        last_error: batch.last_error.clone(),
    };
    let reserved = batch.reserved / 2;
    Some([part(first, batch.id, reserved), part(second, batch.id + id_span, batch.reserved - reserved)])
}

fn build(records: &[RecordRef<'_>], base_timestamp: i64, compression: Compression) -> BatchBuilder {
    let mut builder = BatchBuilder::new().compression(compression);
    for record in records {
        let headers: Vec<(&[u8], Option<&[u8]>)> = record.headers().collect();
        let timestamp = base_timestamp.wrapping_add(record.timestamp_delta);
        builder.push(timestamp, record.key, record.value, &headers);
    }
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_protocol::compression::Codec;
    use tokio::time::Instant;

    fn batch(count: i32, codec: Codec) -> Batch {
        let mut builder = BatchBuilder::new().compression(codec.into());
        for i in 0..count {
            let key = [i as u8];
            builder.push(1000 + i64::from(i), Some(&key), None, &[(b"h", Some(&key))]);
        }
        Batch {
            id: 64,
            id_span: 64,
            content: Content::Built(builder.build().unwrap()),
            count,
            outcome: Outcome::new(1),
            reserved: 101,
            opened: Instant::now(),
            sequence: Some(7),
            ambiguous: false,
            last_error: None,
        }
    }

    #[test]
    fn halves_hold_the_same_records_and_share_ids_and_bytes() {
        for codec in Codec::ALL {
            let halves = halves(&batch(5, codec), codec.into()).unwrap();
            assert_eq!(
                halves.each_ref().map(|half| (half.id, half.id_span, half.count, half.reserved)),
                [(64, 32, 2, 50), (96, 32, 3, 51)]
            );
            let mut seen = Vec::new();
            for half in halves {
                let Content::Building(builder) = half.content else { panic!("not to be built yet") };
                let bytes = builder.build().unwrap();
                let view = BatchView::parse(&bytes).unwrap();
                let payload = decompress(codec, view.payload(), 1 << 20).unwrap();
                for record in RecordIter::new(&payload, half.count) {
                    let record = record.unwrap();
                    assert_eq!(record.headers().next(), Some((&b"h"[..], record.key)));
                    seen.push((record.key.unwrap()[0], view.header.base_timestamp + record.timestamp_delta));
                }
            }
            assert_eq!(seen, [(0, 1000), (1, 1001), (2, 1002), (3, 1003), (4, 1004)]);
        }
    }

    #[test]
    fn a_single_record_is_not_halved() {
        assert!(halves(&batch(1, Codec::None), Compression::none()).is_none());
    }
}
