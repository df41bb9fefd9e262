//! What the codec costs on the hot paths: decoding Produce and Fetch, encoding Fetch and Metadata.
#![allow(missing_docs, reason = "criterion's macros generate undocumented items")]

use std::hint::black_box;

use bytes::Bytes;
use chronik_protocol::frame::{encode_request, encode_response};
use chronik_protocol::generated::any::{RequestBody, ResponseBody};
use chronik_protocol::generated::fetch_request::{FetchPartition, FetchTopic};
use chronik_protocol::generated::fetch_response::{FetchableTopicResponse, PartitionData};
use chronik_protocol::generated::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use chronik_protocol::generated::produce_request::{PartitionProduceData, TopicProduceData};
use chronik_protocol::header::parse_request;
use chronik_protocol::messages::{FetchRequest, FetchResponse, MetadataResponse, ProduceRequest};
use chronik_protocol::wire::{Reader, Records, Request};
use chronik_protocol::{ApiKey, Uuid};
use criterion::{Criterion, criterion_group, criterion_main};

const TOPIC: Uuid = Uuid::from_u128(0x0123_4567_89ab_cdef);

fn frame<R: Request>(version: i16, request: &R) -> Vec<u8> {
    let frame = encode_request(version, 7, Some("bench"), request).map(|f| f.to_vec().unwrap_or_default());
    frame.unwrap_or_default().split_off(4)
}

/// Header and body of one request, as the server reads them.
fn decode(frame: &[u8]) -> Option<RequestBody<'_>> {
    let request = parse_request(frame).ok()?;
    let mut r = Reader::new(request.body);
    let body = RequestBody::decode(request.key, request.version, &mut r).ok()?;
    r.finish().ok()?;
    Some(body)
}

fn produce(c: &mut Criterion) {
    let batch = Bytes::from(vec![7; 64 << 10]);
    let partition = |index| PartitionProduceData { index, records: Some(Records::Owned(batch.clone())) };
    let topic =
        TopicProduceData { topic_id: TOPIC, partition_data: (0..10).map(partition).collect(), ..Default::default() };
    let request = ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    let frame = frame(13, &request);
    assert!(decode(&frame).is_some());
    c.bench_function("decode Produce v13, 10 batches of 64 KiB", |b| b.iter(|| decode(black_box(&frame))));
}

fn fetch(c: &mut Criterion) {
    let partition = |partition| FetchPartition { partition, partition_max_bytes: 1 << 20, ..Default::default() };
    let topic = FetchTopic { topic_id: TOPIC, partitions: (0..100).map(partition).collect(), ..Default::default() };
    let request = FetchRequest { max_wait_ms: 500, min_bytes: 1, topics: vec![topic], ..Default::default() };
    let frame = frame(18, &request);
    assert!(decode(&frame).is_some());
    c.bench_function("decode Fetch v18, 100 partitions", |b| b.iter(|| decode(black_box(&frame))));
}

fn fetch_answer(c: &mut Criterion) {
    let records = Bytes::from(vec![7; 1 << 20]);
    let partition = PartitionData { high_watermark: 9, records: Some(Records::Owned(records)), ..Default::default() };
    let topic = FetchableTopicResponse { topic_id: TOPIC, partitions: vec![partition], ..Default::default() };
    let body: ResponseBody<'_> = FetchResponse { responses: vec![topic], ..Default::default() }.into();
    assert!(encode_response(ApiKey::Fetch, 18, 7, &body).is_ok_and(|frame| frame.len > 1 << 20));
    c.bench_function("encode Fetch v18, 1 MiB", |b| {
        b.iter(|| encode_response(ApiKey::Fetch, 18, 7, black_box(&body)));
    });
}

fn metadata_answer(c: &mut Criterion) {
    let partition = |partition_index| MetadataResponsePartition {
        partition_index,
        replica_nodes: vec![1],
        isr_nodes: vec![1],
        ..Default::default()
    };
    let topic = |n: i32| MetadataResponseTopic {
        name: Some(format!("topic-{n}").into()),
        topic_id: TOPIC,
        partitions: (0..10).map(partition).collect(),
        ..Default::default()
    };
    let broker = MetadataResponseBroker { node_id: 1, host: "localhost".into(), port: 9092, ..Default::default() };
    let topics = (0..100).map(topic).collect();
    let body: ResponseBody<'_> = MetadataResponse { brokers: vec![broker], topics, ..Default::default() }.into();
    assert!(encode_response(ApiKey::Metadata, 13, 7, &body).is_ok());
    c.bench_function("encode Metadata v13, 1,000 partitions", |b| {
        b.iter(|| encode_response(ApiKey::Metadata, 13, 7, black_box(&body)));
    });
}

criterion_group!(benches, produce, fetch, fetch_answer, metadata_answer);
criterion_main!(benches);
