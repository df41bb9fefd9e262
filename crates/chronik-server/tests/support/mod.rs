//! A broker in this process, and a client that speaks the protocol with the codec's own messages and nothing more.

#![allow(dead_code, missing_docs, unreachable_pub, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

pub(crate) mod group;

use std::net::SocketAddr;
use std::time::Duration;

use chronik_protocol::batch::BatchBuilder;
use chronik_protocol::frame::encode_request;
use chronik_protocol::generated::create_topics_request::CreatableTopic;
use chronik_protocol::generated::fetch_request::{FetchPartition, FetchTopic};
use chronik_protocol::generated::produce_request::{PartitionProduceData, TopicProduceData};
use chronik_protocol::header::parse_response;
use chronik_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse,
};
use chronik_protocol::wire::{Decode, Encode, Message, Records, Request, decode_exact};
use chronik_server::Server;
use chronik_server::config::{BrokerConfig, ConfigInput};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// No test waits longer for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct TestBroker {
    pub(crate) server: Server,
    dir: TempDir,
}

impl TestBroker {
    pub(crate) async fn start(settings: &[(&str, &str)]) -> TestBroker {
        TestBroker::start_in(tempfile::tempdir().unwrap(), settings).await
    }

    pub(crate) async fn start_in(dir: TempDir, settings: &[(&str, &str)]) -> TestBroker {
        let own = [("listeners", "PLAINTEXT://127.0.0.1:0"), ("log.dirs", dir.path().to_str().unwrap())];
        let command_line =
            own.iter().chain(settings).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let config = BrokerConfig::load(&ConfigInput { file: None, environment: vec![], command_line }).unwrap();
        TestBroker { server: Server::start(config).await.unwrap(), dir }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.addresses()[0]
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection { stream: TcpStream::connect(self.address()).await.unwrap(), next_id: 0, waiting: Vec::new() }
    }

    /// Stops in good order and gives the directory back.
    pub(crate) async fn stop(self) -> TempDir {
        self.server.stop().await.unwrap();
        self.dir
    }

    pub(crate) async fn create_topic(&self, name: &str, partitions: i32) {
        let topic = CreatableTopic {
            name: name.to_owned().into(),
            num_partitions: partitions,
            replication_factor: -1,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 5000, ..Default::default() };
        let answer = self.connect().await.call(5, &request).await;
        let response: CreateTopicsResponse<'_> = answer.body();
        assert_eq!(response.topics[0].error_code, 0, "{response:?}");
    }
}

pub(crate) struct Connection {
    pub(crate) stream: TcpStream,
    next_id: i32,
    waiting: Vec<(i32, chronik_protocol::ApiKey, i16)>,
}

/// An answer and what it answers.
pub(crate) struct Answer {
    frame: Vec<u8>,
    key: chronik_protocol::ApiKey,
    version: i16,
    pub(crate) correlation_id: i32,
}

impl Answer {
    pub(crate) fn body<'a, T: Decode<'a> + Message>(&'a self) -> T {
        let (_, body) = parse_response(&self.frame, self.key, self.version).unwrap();
        decode_exact(body, self.version).unwrap()
    }
}

impl Connection {
    pub(crate) async fn send<R: Request + Encode>(&mut self, version: i16, request: &R) {
        let bytes = self.encode(version, request);
        self.stream.write_all(&bytes).await.unwrap();
    }

    /// The bytes of a request whose answer will be expected.
    pub(crate) fn encode<R: Request + Encode>(&mut self, version: i16, request: &R) -> Vec<u8> {
        self.next_id += 1;
        self.waiting.push((self.next_id, R::KEY, version));
        encode_request(version, self.next_id, Some("test"), request).unwrap().to_vec().unwrap()
    }

    /// The answer to the oldest request that has none: they come in this order.
    pub(crate) async fn receive(&mut self) -> Answer {
        let frame = self.frame().await.expect("an answer, not the end of the connection");
        let (expected, key, version) = self.waiting.remove(0);
        let correlation_id = parse_response(&frame, key, version).unwrap().0;
        assert_eq!(correlation_id, expected, "answers leave in the order of the requests");
        Answer { frame, key, version, correlation_id }
    }

    pub(crate) async fn call<R: Request + Encode>(&mut self, version: i16, request: &R) -> Answer {
        self.send(version, request).await;
        self.receive().await
    }

    /// The next frame; none when the broker has closed the connection.
    pub(crate) async fn frame(&mut self) -> Option<Vec<u8>> {
        let read = async {
            let mut prefix = [0; 4];
            self.stream.read_exact(&mut prefix).await.ok()?;
            let mut frame = vec![0; usize::try_from(i32::from_be_bytes(prefix)).unwrap()];
            self.stream.read_exact(&mut frame).await.ok()?;
            Some(frame)
        };
        tokio::time::timeout(PATIENCE, read).await.expect("an answer or the end in time")
    }

    pub(crate) async fn is_closed(&mut self) -> bool {
        self.frame().await.is_none()
    }

    pub(crate) async fn produce(&mut self, topic: &str, partition: i32, values: &[&str]) -> i64 {
        let answer = self.call(9, &produce(topic, partition, -1, batch(values))).await;
        let response: ProduceResponse<'_> = answer.body();
        let answer = &response.responses[0].partition_responses[0];
        assert_eq!(answer.error_code, 0, "{answer:?}");
        answer.base_offset
    }
}

pub(crate) fn batch(values: &[&str]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.push(1_700_000_000_000, None, Some(value.as_bytes()), &[]);
    }
    builder.build().unwrap().to_vec()
}

pub(crate) fn produce(topic: &str, partition: i32, acks: i16, records: Vec<u8>) -> ProduceRequest<'static> {
    let data = PartitionProduceData { index: partition, records: Some(Records::Owned(records.into())) };
    let topic = TopicProduceData { name: topic.to_owned().into(), partition_data: vec![data], ..Default::default() };
    ProduceRequest { acks, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() }
}

/// A fetch of partitions of one topic from these offsets.
pub(crate) fn fetch(topic: &str, offsets: &[(i32, i64)], min_bytes: i32, max_wait_ms: i32) -> FetchRequest<'static> {
    let partitions = offsets.iter().map(|(partition, offset)| FetchPartition {
        partition: *partition,
        fetch_offset: *offset,
        partition_max_bytes: 1 << 20,
        ..Default::default()
    });
    let topic = FetchTopic { topic: topic.to_owned().into(), partitions: partitions.collect(), ..Default::default() };
    FetchRequest {
        max_wait_ms,
        min_bytes,
        max_bytes: 50 << 20,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    }
}

/// The values of the records in an answer, by partition, in order.
pub(crate) fn values(response: &FetchResponse<'_>) -> Vec<(i32, Vec<String>)> {
    let partitions = response.responses.iter().flat_map(|topic| &topic.partitions);
    let of = |partition: &chronik_protocol::generated::fetch_response::PartitionData<'_>| {
        let bytes = partition.records.as_ref().and_then(|records| records.as_slice()).unwrap_or_default();
        let mut values = Vec::new();
        for batch in chronik_protocol::batch::Batches::new(bytes) {
            let batch = batch.unwrap();
            for record in chronik_protocol::record::RecordIter::new(batch.payload(), batch.header.records_count) {
                values.push(String::from_utf8(record.unwrap().value.unwrap().to_vec()).unwrap());
            }
        }
        values
    };
    partitions.map(|partition| (partition.partition_index, of(partition))).collect()
}
