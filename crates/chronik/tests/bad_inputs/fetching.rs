//! F: reading where there is nothing, what is damaged, and by times that mean nothing.

use std::fs;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use chronik_protocol::generated::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use chronik_protocol::generated::fetch_request::{FetchPartition, FetchTopic};
use chronik_protocol::generated::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use chronik_protocol::messages::{DeleteRecordsRequest, FetchRequest, ListOffsetsRequest};

use crate::Row;
use crate::batches::Batch;
use crate::world::{PRODUCE, World};

pub(crate) const ROWS: &[Row] = &[
    Row { id: "F01", input: "offsets that the partition does not have", run: out_of_range },
    Row { id: "F06", input: "a wait of 2³¹−1 ms, and the client is gone", run: waiters_are_freed },
    Row { id: "F09", input: "a damaged batch on the disk", run: damage },
    Row { id: "F10", input: "ListOffsets by every special timestamp and by none", run: list_offsets },
];

const FETCH: i16 = 12;

fn fetch(topic: &str, fetch_offset: i64, max_wait_ms: i32) -> FetchRequest<'static> {
    let partition = FetchPartition { fetch_offset, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic: topic.to_owned().into(), partitions: vec![partition], ..Default::default() };
    FetchRequest { max_wait_ms, min_bytes: 1, topics: vec![topic], ..Default::default() }
}

/// The error code, the high watermark and the record bytes.
fn fetched(world: &mut World, topic: &str, offset: i64) -> (i16, i64, Vec<u8>) {
    let answer = world.connection.call(FETCH, &fetch(topic, offset, 0));
    let body = answer.body();
    assert_eq!(body.error_code, 0);
    let partition = &body.responses[0].partitions[0];
    let records = partition.records.as_ref().and_then(|r| r.as_slice()).unwrap_or_default();
    (partition.error_code, partition.high_watermark, records.to_vec())
}

/// A topic with three batches of two records.
fn three_batches(world: &mut World) -> String {
    let topic = world.create_topic(1, &[]);
    for n in 0..3 {
        let produced = world.produce_to(PRODUCE, &topic, 0, Some(Batch::of(&["first", "second"]).bytes()));
        assert_eq!((produced.code, produced.base_offset), (0, 2 * n));
    }
    topic
}

fn out_of_range(world: &mut World) {
    let topic = three_batches(world);
    for offset in [7, i64::MAX, -5, -1, i64::MIN] {
        assert_eq!(fetched(world, &topic, offset), (1, -1, Vec::new()), "offset {offset}");
    }
    assert_eq!(fetched(world, &topic, 6), (0, 6, Vec::new()), "the end is no error");
    let partition = DeleteRecordsPartition { partition_index: 0, offset: 3 };
    let delete = DeleteRecordsTopic { name: topic.as_str().into(), partitions: vec![partition] };
    let request = DeleteRecordsRequest { topics: vec![delete], timeout_ms: 10_000 };
    let answer = world.connection.call(2, &request);
    let partition = &answer.body().topics[0].partitions[0];
    assert_eq!((partition.error_code, partition.low_watermark), (0, 3));
    assert_eq!(fetched(world, &topic, 2), (1, -1, Vec::new()), "below the log start");
    assert_eq!(fetched(world, &topic, 3).0, 0, "the log start");
}

fn waiters_are_freed(world: &mut World) {
    let Some(process) = world.broker.process_id() else { return };
    let descriptors = || fs::read_dir(format!("/proc/{process}/fd")).unwrap().count();
    let mut before = descriptors();
    loop {
        // Connections of earlier rows may still be closing.
        std::thread::sleep(Duration::from_millis(100));
        match descriptors() {
            same if same == before => break,
            other => before = other,
        }
    }
    let mut waiting: Vec<_> = (0..100).map(|_| world.open()).collect();
    for connection in &mut waiting {
        connection.send(FETCH, &fetch(&world.topic, world.next, i32::MAX));
    }
    let deadline = Instant::now() + Duration::from_secs(5);
    while descriptors() < before + 100 {
        assert!(Instant::now() < deadline, "the connections were not accepted");
    }
    drop(waiting);
    let deadline = Instant::now() + Duration::from_secs(1);
    while descriptors() > before {
        assert!(Instant::now() < deadline, "{} descriptors after 1 s, {before} before", descriptors());
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn damage(world: &mut World) {
    let Some(data) = world.broker.data() else { return };
    let topic = three_batches(world);
    let size = fetched(world, &topic, 0).2.len() as u64 / 3;
    let path = data.join(format!("{topic}-0/00000000000000000000.log"));
    let segment = fs::File::options().write(true).open(path).unwrap();
    segment.write_all_at(b"!", size + 70).unwrap();
    let (code, _, records) = fetched(world, &topic, 0);
    assert_eq!((code, records.len() as u64), (0, size), "what lies before the damage is served");
    for offset in [2, 3] {
        let (code, _, records) = fetched(world, &topic, offset);
        assert_eq!((code, records.len()), (2, 0), "the damage is named, not served, at {offset}");
    }
    assert_eq!(fetched(world, &topic, 4).0, 0, "what lies behind it is served");
}

/// The error code and offset of each timestamp, asked for one at a time.
fn offset_of(world: &mut World, version: i16, topic: &str, timestamp: i64) -> (i16, i64) {
    let partition = ListOffsetsPartition { timestamp, ..Default::default() };
    let topic = ListOffsetsTopic { name: topic.to_owned().into(), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let answer = world.connection.call(version, &request);
    let partition = &answer.body().topics[0].partitions[0];
    (partition.error_code, partition.offset)
}

fn list_offsets(world: &mut World) {
    let topic = world.create_topic(1, &[]);
    for base_timestamp in [1000, 3000, 2000] {
        let batch = Batch { base_timestamp, ..Batch::of(&["first", "second"]) };
        assert_eq!(world.produce_to(PRODUCE, &topic, 0, Some(batch.bytes())).code, 0);
    }
    for (version, timestamp, expected) in [
        (8, -1, (0, 6)),
        (8, -2, (0, 0)),
        (8, -3, (0, 2)),
        (8, -4, (0, 0)),
        (9, -5, (0, -1)),
        (11, -6, (0, -1)),
        (8, 0, (0, 0)),
        (8, 1000, (0, 0)),
        (8, 1001, (0, 2)),
        (8, 3000, (0, 2)),
        (8, 3001, (0, -1)),
        (8, i64::MAX, (0, -1)),
        (8, -99, (35, -1)),
        (6, -3, (35, -1)),
        (7, -4, (35, -1)),
        (1, -1, (0, 6)),
    ] {
        assert_eq!(offset_of(world, version, &topic, timestamp), expected, "timestamp {timestamp}, v{version}");
    }
    let twice = vec![ListOffsetsPartition { timestamp: -1, ..Default::default() }; 2];
    let topics = vec![ListOffsetsTopic { name: topic.into(), partitions: twice }];
    let request = ListOffsetsRequest { replica_id: -1, topics, ..Default::default() };
    let answer = world.connection.call(8, &request);
    let codes: Vec<i16> = answer.body().topics.iter().flat_map(|t| t.partitions.iter().map(|p| p.error_code)).collect();
    assert_eq!(codes, [42]);
}
