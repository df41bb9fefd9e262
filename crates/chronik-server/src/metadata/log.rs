//! Metadata records as bytes: the batches of the metadata log and the snapshot file, read and written.
//!
//! A snapshot is laid out as Apache Kafka's: a control batch that begins it, the records that make the image, a control batch that ends it.
//! Without its end it is not whole and is not used.

use bytes::Bytes;
use chronik_coordinator::metadata::{MetadataImage, MetadataRecord};
use chronik_protocol::batch::{BatchBuilder, Batches};
use chronik_protocol::generated::snapshot_footer_record::SnapshotFooterRecord;
use chronik_protocol::generated::snapshot_header_record::SnapshotHeaderRecord;
use chronik_protocol::record::RecordIter;
use chronik_protocol::wire::{Encode, Message, encode_to_vec};

/// Types of the control records that begin and end a snapshot.
const HEADER: i16 = 3;
const FOOTER: i16 = 4;
const RECORDS_PER_BATCH: usize = 1000;

/// Why bytes are not the metadata that they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset}: {what}")]
pub(crate) struct Unreadable {
    /// Where.
    pub(crate) offset: i64,
    /// What is wrong there.
    pub(crate) what: String,
}

/// One batch with these records.
pub(crate) fn batch(records: &[MetadataRecord], now_ms: i64) -> Result<Bytes, String> {
    let mut builder = BatchBuilder::with_capacity(records.len() * 64);
    for record in records {
        let value = record.encode().map_err(|e| e.to_string())?;
        builder.push(now_ms, None, Some(&value), &[]);
    }
    builder.build().map_err(|e| e.to_string())
}

/// Applies every record of a run of batches that begins at `next`. Gives the offset behind them.
pub(crate) fn replay(bytes: &[u8], mut next: i64, image: &mut MetadataImage) -> Result<i64, Unreadable> {
    for batch in Batches::new(bytes) {
        let at = next;
        let unreadable = |what: String| Unreadable { offset: at, what };
        let batch = batch.map_err(|e| unreadable(e.to_string()))?;
        batch.check_crc().map_err(|e| unreadable(e.to_string()))?;
        if batch.header.base_offset != next {
            return Err(unreadable(format!("the batch of offset {} lies here", batch.header.base_offset)));
        }
        next = batch.header.next_offset();
        if batch.header.is_control() {
            continue;
        }
        for record in RecordIter::new(batch.payload(), batch.header.records_count) {
            let record = record.map_err(|e| unreadable(e.to_string()))?;
            let value = record.value.ok_or_else(|| unreadable("a record without a value".to_owned()))?;
            let record = MetadataRecord::decode(value).map_err(|e| unreadable(e.to_string()))?;
            image.apply(&record).map_err(|e| unreadable(e.to_string()))?;
        }
    }
    Ok(next)
}

/// The image as the bytes of a snapshot file.
pub(crate) fn snapshot(image: &MetadataImage, now_ms: i64) -> Result<Vec<u8>, String> {
    let header = SnapshotHeaderRecord { version: 0, last_contained_log_timestamp: now_ms };
    let mut out = control(HEADER, &header, 0, now_ms)?.to_vec();
    let mut next = 1;
    for records in image.to_records().chunks(RECORDS_PER_BATCH) {
        let mut builder = BatchBuilder::new().position(next, 0);
        for record in records {
            let value = record.encode().map_err(|e| e.to_string())?;
            builder.push(now_ms, None, Some(&value), &[]);
        }
        next += i64::from(builder.count());
        out.extend_from_slice(&builder.build().map_err(|e| e.to_string())?);
    }
    out.extend_from_slice(&control(FOOTER, &SnapshotFooterRecord { version: 0 }, next, now_ms)?);
    Ok(out)
}

fn control<T: Encode + Message>(kind: i16, record: &T, offset: i64, now_ms: i64) -> Result<Bytes, String> {
    let mut key = [0; 4];
    key[2..].copy_from_slice(&kind.to_be_bytes());
    let value = encode_to_vec(record, 0).map_err(|e| e.to_string())?;
    let mut builder = BatchBuilder::new().control().position(offset, 0);
    builder.push(now_ms, Some(&key), Some(&value), &[]);
    builder.build().map_err(|e| e.to_string())
}

/// The image in a snapshot file.
pub(crate) fn load(bytes: &[u8]) -> Result<MetadataImage, Unreadable> {
    let mut image = MetadataImage::default();
    let end = replay(bytes, 0, &mut image)?;
    let last = Batches::new(bytes).filter_map(Result::ok).last();
    let footer = last.filter(|batch| batch.header.is_control()).and_then(|batch| {
        let record = RecordIter::new(batch.payload(), batch.header.records_count).next()?.ok()?;
        Some(record.key? == [0, 0, 0, FOOTER as u8])
    });
    if footer != Some(true) {
        return Err(Unreadable { offset: end, what: "the snapshot has no end".to_owned() });
    }
    Ok(image)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chronik_protocol::Uuid;

    fn image() -> MetadataImage {
        let mut image = MetadataImage::default();
        image.apply(&MetadataRecord::session(1, Uuid::from_u128(5), 1)).unwrap();
        for n in 0..700u128 {
            let topic = chronik_protocol::generated::metadata::TopicRecord {
                name: format!("topic-{n}").into(),
                topic_id: Uuid::from_u128(100 + n),
            };
            image.apply(&MetadataRecord::Topic(topic)).unwrap();
            image.apply(&MetadataRecord::partition(Uuid::from_u128(100 + n), 0, 1, 0)).unwrap();
        }
        image
    }

    #[test]
    fn a_snapshot_is_whole_or_refused() {
        let image = image();
        let bytes = snapshot(&image, 7).unwrap();
        assert_eq!(load(&bytes).unwrap(), image);
        let mut ends = Vec::new();
        let mut at = 0;
        for batch in Batches::new(&bytes) {
            at += batch.unwrap().bytes.len();
            ends.push(at);
        }
        assert_eq!(ends.len(), 4);
        for cut in ends[..3].iter().copied().chain([0, 10, bytes.len() - 1]) {
            assert!(load(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for at in (20..bytes.len()).step_by(997) {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            assert!(load(&flipped).is_err(), "flipped at {at}");
        }
    }
}
