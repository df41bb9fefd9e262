//! Connections from outside: order of answers, garbage, silence, the end.

mod support;

use std::time::{Duration, Instant};

use chronik_protocol::ErrorCode;
use chronik_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse, FetchResponse, ProduceResponse};
use support::{PATIENCE, TestBroker, batch, fetch, produce, values};
use tokio::io::AsyncWriteExt;

fn api_versions() -> ApiVersionsRequest<'static> {
    ApiVersionsRequest {
        client_software_name: "test".into(),
        client_software_version: "1".into(),
        ..Default::default()
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    let mut bytes = Vec::new();
    // A long poll, appends that wait for the disk, and questions that are answered at once: in one write.
    bytes.extend(client.encode(11, &fetch("t", &[(0, 0)], 1, 10_000)));
    for n in 0..50 {
        bytes.extend(client.encode(9, &produce("t", 0, -1, batch(&[&n.to_string()]))));
        bytes.extend(client.encode(3, &api_versions()));
    }
    client.stream.write_all(&bytes).await.unwrap();
    let polled = client.receive().await;
    assert_eq!(values(&polled.body::<FetchResponse<'_>>())[0].1[0], "0");
    for n in 0..50 {
        let answer = client.receive().await;
        let response: ProduceResponse<'_> = answer.body();
        assert_eq!(response.responses[0].partition_responses[0].base_offset, n);
        client.receive().await;
    }
    broker.stop().await;
}

#[tokio::test]
async fn an_answer_that_takes_long_does_not_hold_up_other_connections() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let (mut waiting, mut writing) = (broker.connect().await, broker.connect().await);
    waiting.send(11, &fetch("t", &[(0, 0)], 1, 20_000)).await;
    let begun = Instant::now();
    assert_eq!(writing.produce("t", 0, &["a", "b"]).await, 0);
    let answer = waiting.receive().await;
    assert_eq!(values(&answer.body::<FetchResponse<'_>>()), [(0, vec!["a".to_owned(), "b".to_owned()])]);
    assert!(begun.elapsed() < Duration::from_secs(10));
    broker.stop().await;
}

#[tokio::test]
async fn garbage_closes_the_connection_and_nothing_else() {
    let broker = TestBroker::start(&[]).await;
    let mut other = broker.connect().await;
    let rows: [&[u8]; 11] = [
        b"\x7f\xff\xff\xff",
        b"\x06\x40\x00\x01",
        b"\xff\xff\xff\xff",
        b"\0\0\0\0",
        b"GET / HTTP/1.1\r\n\r\n",
        &[22, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3],
        b"\0\0\0\x0a\x03\xe7\0\0\0\0\0\x01\xff\xff",
        b"\0\0\0\x0a\xff\xff\0\0\0\0\0\x01\xff\xff",
        b"\0\0\0\x04\0\x12\0\0",
        b"\0\0\0\x0a\0\x12\0\0\0\0\0\x01\x7f\xff",
        b"\0\0\0\x0e\0\x03\0\0\0\0\0\x01\xff\xff\x7f\xff\xff\xff",
    ];
    for row in rows {
        let mut client = broker.connect().await;
        client.stream.write_all(row).await.unwrap();
        assert!(client.is_closed().await, "{row:?}");
        assert_eq!(other.call(0, &ApiVersionsRequest::default()).await.body::<ApiVersionsResponse<'_>>().error_code, 0);
    }
    broker.stop().await;
}

#[tokio::test]
async fn what_was_asked_before_garbage_is_answered() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    let mut bytes = client.encode(9, &produce("t", 0, -1, batch(&["a"])));
    bytes.extend([0xff; 4]);
    client.stream.write_all(&bytes).await.unwrap();
    client.receive().await;
    assert!(client.is_closed().await);
    broker.stop().await;
}

#[tokio::test]
async fn api_versions_is_answered_in_every_case() {
    let broker = TestBroker::start(&[]).await;
    let mut client = broker.connect().await;
    // An unknown version: 35 in a v0 body with ApiVersions alone, and the connection goes on.
    client.stream.write_all(b"\0\0\0\x0b\0\x12\0\x63\0\0\0\x07\xff\xff\0").await.unwrap();
    let frame = client.frame().await.unwrap();
    assert_eq!(frame, [0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 5]);
    let ask = |name: &'static str| ApiVersionsRequest { client_software_name: name.into(), ..api_versions() };
    let bad = client.call(3, &ask("")).await;
    assert_eq!(bad.body::<ApiVersionsResponse<'_>>().error_code, ErrorCode::InvalidRequest.code());
    let good = client.call(4, &ask("a-b.c")).await;
    let response: ApiVersionsResponse<'_> = good.body();
    assert_eq!(response.error_code, 0);
    let range =
        |key| response.api_keys.iter().find(|api| api.api_key == key).map(|api| (api.min_version, api.max_version));
    assert_eq!((range(0), range(1), range(18)), (Some((0, 13)), Some((4, 18)), Some((0, 5))));
    // Not built, so not there.
    assert_eq!((range(26), range(68)), (None, None));
    let wrong = ApiVersionsRequest { cluster_id: Some("other".into()), node_id: 1, ..api_versions() };
    let answer = client.call(5, &wrong).await;
    assert_eq!(answer.body::<ApiVersionsResponse<'_>>().error_code, ErrorCode::RebootstrapRequired.code());
    let right = ApiVersionsRequest { cluster_id: Some(broker.server.cluster_id().to_owned().into()), ..wrong };
    assert_eq!(client.call(5, &right).await.body::<ApiVersionsResponse<'_>>().error_code, 0);
    broker.stop().await;
}

#[tokio::test]
async fn refused_versions_close_the_connection() {
    let broker = TestBroker::start(&[]).await;
    for (version, closed) in [(2, true), (3, false)] {
        let mut client = broker.connect().await;
        let mut request = produce("none", 0, 1, batch(&["a"]));
        request.topic_data[0].name = "none".into();
        client.send(version, &request).await;
        assert_eq!(client.is_closed().await, closed, "v{version}");
    }
    broker.stop().await;
}

#[tokio::test]
async fn acks_0_is_silent_and_an_error_closes() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    let bytes = client.encode(9, &produce("t", 0, 0, batch(&["a"])));
    client.stream.write_all(&bytes).await.unwrap();
    // No answer to it: the next one is that of the next request.
    let mut client = broker.connect().await;
    client.stream.write_all(&bytes).await.unwrap();
    assert_eq!(client.produce("t", 0, &["b"]).await, 2);
    let bad = broker.connect().await.encode(9, &produce("none", 0, 0, batch(&["a"])));
    client.stream.write_all(&bad).await.unwrap();
    assert!(client.is_closed().await);
    broker.stop().await;
}

#[tokio::test]
async fn silence_closes_a_connection() {
    let settings = [("connections.max.idle.ms", "300"), ("chronik.connection.setup.timeout.ms", "150")];
    let broker = TestBroker::start(&settings).await;
    let begun = Instant::now();
    let mut silent = broker.connect().await;
    assert!(silent.is_closed().await);
    assert!(begun.elapsed() >= Duration::from_millis(150) && begun.elapsed() < PATIENCE);
    let mut client = broker.connect().await;
    client.call(0, &ApiVersionsRequest::default()).await;
    let begun = Instant::now();
    assert!(client.is_closed().await);
    assert!(begun.elapsed() >= Duration::from_millis(290));
    broker.stop().await;
}

#[tokio::test]
async fn a_stop_answers_what_was_accepted() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    for n in 0..100 {
        client.send(9, &produce("t", 0, -1, batch(&[&n.to_string()]))).await;
    }
    // The first answer says that the requests have arrived in order up to there.
    client.receive().await;
    client.send(11, &fetch("t", &[(0, 1_000)], 1, 60_000)).await;
    let mut poll = broker.connect().await;
    poll.send(11, &fetch("t", &[(0, 100)], 1_000_000, 60_000)).await;
    poll.send(0, &ApiVersionsRequest::default()).await;
    let mut other = broker.connect().await;
    other.call(0, &ApiVersionsRequest::default()).await;
    let begun = Instant::now();
    let dir = broker.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    assert!(other.is_closed().await);
    let mut answered = 1;
    while client.frame().await.is_some() {
        answered += 1;
    }
    // Whatever was acknowledged is there after a restart.
    let broker = TestBroker::start_in(dir, &[]).await;
    let answer = broker.connect().await.call(11, &fetch("t", &[(0, 0)], 1, 0)).await;
    let kept = values(&answer.body::<FetchResponse<'_>>())[0].1.len();
    assert!(kept >= answered.min(100), "{kept} kept, {answered} answered");
    broker.stop().await;
}

#[tokio::test]
async fn a_waiting_client_that_leaves_is_forgotten() {
    let broker = TestBroker::start(&[]).await;
    broker.create_topic("t", 1).await;
    let mut client = broker.connect().await;
    client.send(11, &fetch("t", &[(0, 0)], 1, i32::MAX)).await;
    drop(client);
    // A stop waits for every connection: one that still waited would take the whole time for draining.
    let begun = Instant::now();
    broker.stop().await;
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_address_gets_as_many_connections_as_it_may() {
    let broker = TestBroker::start(&[("max.connections.per.ip", "2")]).await;
    let (mut first, mut second) = (broker.connect().await, broker.connect().await);
    first.call(0, &ApiVersionsRequest::default()).await;
    second.call(0, &ApiVersionsRequest::default()).await;
    assert!(broker.connect().await.is_closed().await);
    drop(first);
    let begun = Instant::now();
    loop {
        let mut next = broker.connect().await;
        next.send(0, &ApiVersionsRequest::default()).await;
        if next.frame().await.is_some() {
            break;
        }
        assert!(begun.elapsed() < PATIENCE, "the place of the connection that left is never free");
    }
    broker.stop().await;
}

#[tokio::test]
async fn a_peer_that_never_reads_is_not_read_any_more() {
    let broker =
        TestBroker::start(&[("socket.send.buffer.bytes", "65536"), ("socket.receive.buffer.bytes", "65536")]).await;
    let mut deaf = broker.connect().await;
    let request = deaf.encode(0, &ApiVersionsRequest::default());
    let many = request.repeat(1000);
    let mut sent = 0;
    while let Ok(written) = tokio::time::timeout(Duration::from_millis(500), deaf.stream.write_all(&many)).await {
        written.unwrap();
        sent += 1000;
        assert!(sent < 1_000_000, "reading never stops");
    }
    // The others do not notice.
    broker.connect().await.call(0, &ApiVersionsRequest::default()).await;
    broker.stop().await;
}
