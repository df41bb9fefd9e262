//! Fetch and the APIs about offsets, from outside.

mod support;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use chronik_protocol::generated::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use chronik_protocol::generated::list_offsets_response::ListOffsetsPartitionResponse;
use chronik_protocol::generated::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use chronik_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse, FetchRequest,
    FetchResponse, ListOffsetsRequest, ListOffsetsResponse, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use support::{Connection, TestBroker, fetch, values};

fn partitions(response: &FetchResponse<'_>) -> Vec<(i32, i16)> {
    let all = response.responses.iter().flat_map(|topic| &topic.partitions);
    all.map(|partition| (partition.partition_index, partition.error_code)).collect()
}

async fn fetched(client: &mut Connection, version: i16, request: &FetchRequest<'_>) -> FetchResponse<'static> {
    client.call(version, request).await.body::<FetchResponse<'_>>().into_owned()
}

#[tokio::test]
async fn sessions_tell_what_changed() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 3).await;
    let (mut client, mut writer) = (broker.connect().await, broker.connect().await);
    writer.produce("t", 1, &["a"]).await;
    let full = FetchRequest { session_epoch: 0, ..fetch("t", &[(0, 0), (1, 0), (2, 0)], 1, 0) };
    let first = fetched(&mut client, 11, &full).await;
    assert!(first.session_id > 0);
    assert_eq!(partitions(&first), [(0, 0), (1, 0), (2, 0)]);
    let next = |epoch: i32, changes: &[(i32, i64)], wait: i32| {
        let mut request =
            FetchRequest { session_id: first.session_id, session_epoch: epoch, ..fetch("t", changes, 1, wait) };
        if changes.is_empty() {
            request.topics.clear();
        }
        request
    };
    let empty = fetched(&mut client, 11, &next(1, &[(1, 1)], 0)).await;
    assert_eq!((partitions(&empty), empty.session_id), (vec![], first.session_id));
    writer.produce("t", 2, &["b"]).await;
    let told = fetched(&mut client, 11, &next(2, &[], 10_000)).await;
    assert_eq!(values(&told), [(2, vec!["b".to_owned()])]);
    let wrong = fetched(&mut client, 11, &next(2, &[], 0)).await;
    assert_eq!(wrong.error_code, ErrorCode::InvalidFetchSessionEpoch.code());
    let unknown = FetchRequest { session_id: first.session_id ^ 1, ..next(3, &[], 0) };
    assert_eq!(fetched(&mut client, 11, &unknown).await.error_code, ErrorCode::FetchSessionIdNotFound.code());
    broker.stop().await;
}

#[tokio::test]
async fn errors_are_for_their_partition_alone() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    client.produce("t", 0, &["a", "b"]).await;
    for offset in [3, -5, i64::MAX] {
        let response = fetched(&mut client, 11, &fetch("t", &[(0, offset)], 1, 10_000)).await;
        let partition = &response.responses[0].partitions[0];
        assert_eq!(
            (partition.error_code, partition.high_watermark),
            (ErrorCode::OffsetOutOfRange.code(), -1),
            "{offset}"
        );
    }
    let response = fetched(&mut client, 11, &fetch("t", &[(7, 0), (0, 1)], 1, 10_000)).await;
    assert_eq!(partitions(&response), [(7, ErrorCode::UnknownTopicOrPartition.code()), (0, 0)]);
    // A fetch inside a batch gives the whole batch.
    assert_eq!(values(&response)[1].1, ["a", "b"]);
    let replica = FetchRequest { replica_id: 0, ..fetch("t", &[(0, 0)], 1, 0) };
    assert_eq!(
        partitions(&fetched(&mut client, 11, &replica).await),
        [(0, ErrorCode::ClusterAuthorizationFailed.code())]
    );
    let mut fenced = fetch("t", &[(0, 0)], 1, 0);
    fenced.topics[0].partitions[0].current_leader_epoch = 1000;
    assert_eq!(partitions(&fetched(&mut client, 12, &fenced).await), [(0, ErrorCode::UnknownLeaderEpoch.code())]);
    let mut by_id = fetch("", &[(0, 0)], 1, 0);
    by_id.topics[0].topic_id = chronik_protocol::Uuid::from_u128(99);
    assert_eq!(partitions(&fetched(&mut client, 13, &by_id).await), [(0, ErrorCode::UnknownTopicId.code())]);
    broker.stop().await;
}

#[tokio::test]
async fn max_bytes_never_means_no_progress() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 2).await;
    let mut client = broker.connect().await;
    for _ in 0..3 {
        client.produce("t", 0, &["a".repeat(5_000).as_str()]).await;
        client.produce("t", 1, &["b".repeat(5_000).as_str()]).await;
    }
    for version in [4, 8, 12] {
        let request = FetchRequest { max_bytes: 1, ..fetch("t", &[(0, 0), (1, 0)], 1, 0) };
        let counts: Vec<_> =
            values(&fetched(&mut client, version, &request).await).iter().map(|(_, v)| v.len()).collect();
        assert_eq!(counts, [1, 0], "v{version}");
        let request = FetchRequest { max_bytes: 11_000, ..request };
        let counts: Vec<_> =
            values(&fetched(&mut client, version, &request).await).iter().map(|(_, v)| v.len()).collect();
        assert_eq!(counts, [2, 0], "v{version}");
    }
    // Enough bytes only with the second append.
    let (mut waiting, mut writer) = (broker.connect().await, client);
    waiting.send(11, &fetch("t", &[(0, 3)], 6_000, 20_000)).await;
    writer.produce("t", 0, &["c".repeat(3_500).as_str()]).await;
    writer.produce("t", 0, &["d".repeat(3_500).as_str()]).await;
    let answer = waiting.receive().await;
    assert_eq!(values(&answer.body::<FetchResponse<'_>>())[0].1.len(), 2);
    broker.stop().await;
}

async fn offset_of(client: &mut Connection, version: i16, timestamp: i64) -> ListOffsetsPartitionResponse {
    let partition =
        ListOffsetsPartition { timestamp, max_num_offsets: 5, current_leader_epoch: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition] };
    let mut request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    if version > 0 {
        request.topics[0].partitions[0].max_num_offsets = 1;
    }
    let answer = client.call(version, &request).await;
    answer.body::<ListOffsetsResponse<'_>>().topics[0].partitions[0].clone()
}

#[tokio::test]
async fn offsets_by_time_and_place() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    let empty = offset_of(&mut client, 7, -3).await;
    assert_eq!((empty.error_code, empty.offset, empty.timestamp), (0, -1, -1));
    client.produce("t", 0, &["a", "b"]).await;
    client.produce("t", 0, &["c"]).await;
    let time = 1_700_000_000_000;
    let rows = [
        (1, -1, 0, 3, -1),
        (11, -1, 0, 3, -1),
        (1, -2, 0, 0, -1),
        (7, -3, 0, 0, time),
        (6, -3, 35, -1, -1),
        (8, -4, 0, 0, -1),
        (7, -4, 35, -1, -1),
        (9, -5, 0, -1, -1),
        (11, -6, 0, -1, -1),
        (10, -6, 35, -1, -1),
        (11, -99, 35, -1, -1),
        (5, time, 0, 0, time),
        (5, 0, 0, 0, time),
        (5, time + 1, 0, -1, -1),
    ];
    for (version, asked, error, offset, timestamp) in rows {
        let found = offset_of(&mut client, version, asked).await;
        assert_eq!((found.error_code, found.offset, found.timestamp), (error, offset, timestamp), "v{version} {asked}");
    }
    assert_eq!(offset_of(&mut client, 0, -1).await.old_style_offsets, [3, 0]);
    assert_eq!(offset_of(&mut client, 0, -2).await.old_style_offsets, [0]);
    let partition = ListOffsetsPartition { timestamp: -1, current_leader_epoch: -1, ..Default::default() };
    let topic = ListOffsetsTopic { name: "t".into(), partitions: vec![partition.clone(), partition] };
    let twice = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..Default::default() };
    let answer = client.call(5, &twice).await;
    let codes: Vec<_> =
        answer.body::<ListOffsetsResponse<'_>>().topics[0].partitions.iter().map(|p| p.error_code).collect();
    assert_eq!(codes, [42], "one answer, as Kafka gives");
    broker.stop().await;
}

#[tokio::test]
async fn records_are_deleted_and_stay_deleted() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    for value in ["a", "b", "c"] {
        client.produce("t", 0, &[value]).await;
    }
    let delete = |offset| DeleteRecordsRequest {
        topics: vec![DeleteRecordsTopic {
            name: "t".into(),
            partitions: vec![DeleteRecordsPartition { partition_index: 0, offset }],
        }],
        timeout_ms: 5_000,
    };
    for (offset, expected) in [(4, (1, -1)), (-2, (1, -1)), (2, (0, 2)), (1, (0, 2))] {
        let answer = client.call(2, &delete(offset)).await;
        let partition = &answer.body::<DeleteRecordsResponse<'_>>().topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.low_watermark), expected, "{offset}");
    }
    let broker = TestBroker::start_in(broker.stop().await, &[]).await;
    let mut client = broker.connect().await;
    assert_eq!(offset_of(&mut client, 5, -2).await.offset, 2);
    assert_eq!(partitions(&fetched(&mut client, 11, &fetch("t", &[(0, 1)], 1, 0)).await), [(0, 1)]);
    let answer = client.call(1, &delete(-1)).await;
    assert_eq!(answer.body::<DeleteRecordsResponse<'_>>().topics[0].partitions[0].low_watermark, 3);
    assert_eq!(client.produce("t", 0, &["d"]).await, 3);
    broker.stop().await;
}

#[tokio::test]
async fn leader_epochs_rise_with_each_start() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    broker.connect().await.produce("t", 0, &["a", "b"]).await;
    let broker = TestBroker::start_in(broker.stop().await, &[]).await;
    let mut client = broker.connect().await;
    client.produce("t", 0, &["c"]).await;
    let latest = offset_of(&mut client, 5, -1).await.leader_epoch;
    let earliest = offset_of(&mut client, 5, -2).await.leader_epoch;
    assert_eq!(latest, earliest + 1);
    let end_of = async |client: &mut Connection, current_leader_epoch, leader_epoch| {
        let partition = OffsetForLeaderPartition { partition: 0, current_leader_epoch, leader_epoch };
        let topic = OffsetForLeaderTopic { topic: "t".into(), partitions: vec![partition] };
        let answer = client.call(4, &OffsetForLeaderEpochRequest { replica_id: -1, topics: vec![topic] }).await;
        let found = answer.body::<OffsetForLeaderEpochResponse<'_>>().topics[0].partitions[0].clone();
        (found.error_code, found.leader_epoch, found.end_offset)
    };
    assert_eq!(end_of(&mut client, -1, earliest).await, (0, earliest, 2));
    assert_eq!(end_of(&mut client, latest, latest).await, (0, latest, 3));
    assert_eq!(end_of(&mut client, earliest, earliest).await.0, ErrorCode::FencedLeaderEpoch.code());
    assert_eq!(end_of(&mut client, latest + 1, earliest).await.0, ErrorCode::UnknownLeaderEpoch.code());
    // A consumer that read further in the old epoch than we have is told where the epoch ended.
    let mut diverging = fetch("t", &[(0, 3)], 1, 10_000);
    diverging.topics[0].partitions[0].last_fetched_epoch = earliest;
    let response = fetched(&mut client, 12, &diverging).await;
    let told = &response.responses[0].partitions[0].diverging_epoch;
    assert_eq!((told.epoch, told.end_offset), (earliest, 2));
    broker.stop().await;
}

#[tokio::test]
async fn log_dirs_have_sizes() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 2).await;
    let mut client = broker.connect().await;
    client.produce("t", 1, &["a"]).await;
    for version in [0, 1, 3, 5] {
        let answer = client.call(version, &DescribeLogDirsRequest { topics: None }).await;
        let response: DescribeLogDirsResponse<'_> = answer.body();
        assert_eq!(response.results[0].topics.len(), 1);
        let sizes: Vec<_> = response.results[0].topics[0].partitions.iter().map(|p| p.partition_size > 0).collect();
        assert_eq!(sizes, [false, true]);
        assert!(version < 4 || response.results[0].usable_bytes > 0);
    }
    broker.stop().await;
}
