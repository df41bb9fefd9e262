//! Produce from outside: what is appended, what is refused and with which code, and that a refusal leaves no trace.

mod support;

use chronik_protocol::ErrorCode;
use chronik_protocol::batch::{BatchBuilder, crc32c};
use chronik_protocol::generated::produce_response::PartitionProduceResponse;
use chronik_protocol::messages::{
    FetchResponse, InitProducerIdRequest, InitProducerIdResponse, MetadataRequest, MetadataResponse, ProduceRequest,
    ProduceResponse,
};
use support::{Connection, TestBroker, batch, fetch, produce, values};

/// The answer for the one partition of a request.
async fn answer_of(
    client: &mut Connection,
    version: i16,
    request: &ProduceRequest<'_>,
) -> PartitionProduceResponse<'static> {
    let answer = client.call(version, request).await;
    answer.body::<ProduceResponse<'_>>().into_owned().responses.remove(0).partition_responses.remove(0)
}

/// Recomputes the checksum of a batch whose bytes were changed.
fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn changed(at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut batch = batch(&["a", "b"]);
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    sealed(batch)
}

#[tokio::test]
async fn a_refused_batch_leaves_no_gap() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    let good = || batch(&["a", "b"]);
    let wrong_crc = || {
        let mut batch = good();
        batch[17] ^= 1;
        batch
    };
    let rows: Vec<(&str, Vec<u8>, ErrorCode)> = vec![
        ("R01 crc", wrong_crc(), ErrorCode::CorruptMessage),
        (
            "R02 magic 1",
            {
                let mut b = good();
                b[16] = 1;
                b
            },
            ErrorCode::InvalidRecord,
        ),
        (
            "R02 magic 127",
            {
                let mut b = good();
                b[16] = 127;
                b
            },
            ErrorCode::CorruptMessage,
        ),
        ("R03 two batches", [good(), good()].concat(), ErrorCode::InvalidRecord),
        ("R04 none", Vec::new(), ErrorCode::InvalidRecord),
        ("R04 half", good()[..40].to_vec(), ErrorCode::InvalidRecord),
        ("R05 codec 5", changed(21, &[0, 5]), ErrorCode::UnsupportedCompressionType),
        ("R07 count", changed(57, &[0, 0, 0, 3]), ErrorCode::InvalidRecord),
        ("R08 count -1", changed(57, &[0xff; 4]), ErrorCode::InvalidRecord),
        ("R09 last offset", changed(23, &[0x7f, 0xff, 0xff, 0xff]), ErrorCode::InvalidRecord),
        (
            "R16 length",
            {
                let mut b = good();
                b[8..12].copy_from_slice(&[0x7f, 0xff, 0xff, 0xff]);
                b
            },
            ErrorCode::InvalidRecord,
        ),
        ("R18 control", changed(21, &[0, 0x20]), ErrorCode::InvalidRecord),
        ("R18 transactional", changed(21, &[0, 0x10]), ErrorCode::TransactionalIdAuthorizationFailed),
        ("R20 sequence", changed(43, &[0, 0, 0, 0, 0, 0, 0, 7]), ErrorCode::InvalidRecord),
        ("R21 timestamp", changed(27, &[0x7f, 0, 0, 0, 0, 0, 0, 0]), ErrorCode::InvalidTimestamp),
        ("R36 behind", [good(), vec![0; 4]].concat(), ErrorCode::InvalidRecord),
    ];
    let mut next = 0;
    for (row, records, expected) in rows {
        for version in [3, 9, 12] {
            let refused = answer_of(&mut client, version, &produce("t", 0, -1, records.clone())).await;
            assert_eq!(ErrorCode::from_code(refused.error_code), expected, "{row} v{version}: {refused:?}");
            assert_eq!(refused.base_offset, -1, "{row}");
        }
        assert_eq!(client.produce("t", 0, &["x", "y"]).await, next, "{row}");
        next += 2;
    }
    let answer = client.call(11, &fetch("t", &[(0, 0)], 1, 0)).await;
    assert_eq!(values(&answer.body::<FetchResponse<'_>>())[0].1.len() as i64, next);
    broker.stop().await;
}

#[tokio::test]
async fn requests_are_refused_as_kafka_does() {
    let broker = TestBroker::start(&[("message.max.bytes", "1000")]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    for acks in [5, -2] {
        let refused = answer_of(&mut client, 9, &produce("t", 0, acks, batch(&["a"]))).await;
        assert_eq!(refused.error_code, ErrorCode::InvalidRequiredAcks.code());
    }
    for (topic, partition) in [("none", 0), ("t", 99), ("t", -1)] {
        let refused = answer_of(&mut client, 9, &produce(topic, partition, 1, batch(&["a"]))).await;
        assert_eq!(refused.error_code, ErrorCode::UnknownTopicOrPartition.code(), "{topic} {partition}");
    }
    let refused = answer_of(&mut client, 9, &produce("t", 0, 1, batch(&["a".repeat(2000).as_str()]))).await;
    assert_eq!(refused.error_code, ErrorCode::MessageTooLarge.code());
    let mut null = produce("t", 0, 1, Vec::new());
    null.topic_data[0].partition_data[0].records = None;
    assert_eq!(answer_of(&mut client, 9, &null).await.error_code, ErrorCode::InvalidRecord.code());
    assert_eq!(client.produce("t", 0, &["a"]).await, 0);
    broker.stop().await;
}

#[tokio::test]
async fn topics_by_id() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    let answer = client.call(12, &MetadataRequest { topics: None, ..Default::default() }).await;
    let id = answer
        .body::<MetadataResponse<'_>>()
        .topics
        .iter()
        .find(|topic| topic.name.as_deref() == Some("t"))
        .unwrap()
        .topic_id;
    let mut request = produce("", 0, -1, batch(&["a"]));
    request.topic_data[0].topic_id = id;
    assert_eq!(answer_of(&mut client, 13, &request).await.error_code, 0);
    request.topic_data[0].topic_id = chronik_protocol::Uuid::from_u128(77);
    assert_eq!(answer_of(&mut client, 13, &request).await.error_code, ErrorCode::UnknownTopicId.code());
    broker.stop().await;
}

#[tokio::test]
async fn an_idempotent_producer_is_recognised_across_a_restart() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    let ask = InitProducerIdRequest {
        transactional_id: None,
        transaction_timeout_ms: 60_000,
        producer_id: -1,
        producer_epoch: -1,
    };
    let first = client.call(4, &ask).await.body::<InitProducerIdResponse>();
    let second = client.call(0, &ask).await;
    assert_eq!((first.error_code, first.producer_epoch), (0, 0));
    assert_ne!(second.body::<InitProducerIdResponse>().producer_id, first.producer_id);
    let half = InitProducerIdRequest { producer_id: 5, ..ask };
    let refused = client.call(4, &half).await.body::<InitProducerIdResponse>();
    assert_eq!(refused.error_code, ErrorCode::InvalidRequest.code());
    let send = |sequence: i32, epoch: i16| {
        let mut builder = BatchBuilder::new().producer(first.producer_id, epoch, sequence);
        builder.push(1_700_000_000_000, None, Some(b"v"), &[]);
        produce("t", 0, -1, builder.build().unwrap().to_vec())
    };
    for sequence in 0..6 {
        let answer = answer_of(&mut client, 9, &send(sequence, 0)).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(sequence)));
    }
    let dir = broker.stop().await;
    let broker = TestBroker::start_in(dir, &[]).await;
    let mut client = broker.connect().await;
    for sequence in 1..6 {
        let answer = answer_of(&mut client, 9, &send(sequence, 0)).await;
        assert_eq!((answer.error_code, answer.base_offset), (0, i64::from(sequence)), "one of the last five");
    }
    for (sequence, epoch, expected) in [
        (0, 0, ErrorCode::OutOfOrderSequenceNumber),
        (9, 0, ErrorCode::OutOfOrderSequenceNumber),
        (3, 1, ErrorCode::OutOfOrderSequenceNumber),
    ] {
        let answer = answer_of(&mut client, 9, &send(sequence, epoch)).await;
        assert_eq!(answer.error_code, expected.code(), "sequence {sequence} epoch {epoch}");
    }
    assert_eq!(answer_of(&mut client, 9, &send(0, 1)).await.base_offset, 6);
    assert_eq!(answer_of(&mut client, 9, &send(6, 0)).await.error_code, ErrorCode::InvalidProducerEpoch.code());
    broker.stop().await;
}
