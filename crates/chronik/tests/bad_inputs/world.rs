//! What every row has at hand: the broker, a partition whose next offset is known, and the checks that follow a row.

use std::sync::atomic::{AtomicU32, Ordering};

use chronik_protocol::generated::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use chronik_protocol::generated::metadata_request::MetadataRequestTopic;
use chronik_protocol::generated::produce_request::{PartitionProduceData, TopicProduceData};
use chronik_protocol::messages::{
    ApiVersionsRequest, CreateTopicsRequest, InitProducerIdRequest, MetadataRequest, ProduceRequest,
};
use chronik_protocol::{ErrorCode, Uuid};

use crate::batches::Batch;
use crate::broker::Broker;
use crate::connection::Connection;

/// How much more memory than at the start the broker may hold after any row, in KiB.
const GROWTH_KIB: u64 = 64 * 1024;

/// The version of Produce that rows use where it does not matter.
pub(crate) const PRODUCE: i16 = 12;

pub(crate) struct World {
    pub(crate) broker: Broker,
    /// A connection of its own, opened at the start: bad input on others must not touch it.
    witness: Connection,
    /// The connection for everything that keeps the connection alive.
    pub(crate) connection: Connection,
    /// A topic with one partition …
    pub(crate) topic: String,
    /// … and the offset that its next record must get.
    pub(crate) next: i64,
    resident_kib: u64,
}

/// What Produce answered for one partition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Produced {
    pub(crate) code: i16,
    pub(crate) base_offset: i64,
    pub(crate) append_time_ms: i64,
    pub(crate) record_errors: Vec<i32>,
}

impl World {
    pub(crate) fn start(settings: &[&str]) -> World {
        let broker = Broker::start(settings);
        let witness = Connection::open(broker.address);
        let connection = Connection::open(broker.address);
        let mut world = World { broker, witness, connection, topic: String::new(), next: 0, resident_kib: 0 };
        world.topic = world.create_topic(1, &[]);
        for _ in 0..5 {
            world.good();
        }
        world.witness.call(0, &ApiVersionsRequest::default()); // a connection that says nothing is closed
        world.resident_kib = world.broker.resident_kib();
        world
    }

    /// The code that Apache Kafka gives, or ours where the table says that we are stricter.
    pub(crate) fn stricter(&self, kafka: i16, ours: i16) -> i16 {
        if self.broker.is_kafka() { kafka } else { ours }
    }

    pub(crate) fn open(&self) -> Connection {
        Connection::open(self.broker.address)
    }

    /// A name that no run has used before.
    pub(crate) fn name(&self, what: &str) -> String {
        static NAMES: AtomicU32 = AtomicU32::new(0);
        format!("bad-{what}-{}-{}", std::process::id(), NAMES.fetch_add(1, Ordering::Relaxed))
    }

    /// A new topic with these settings.
    pub(crate) fn create_topic(&mut self, partitions: i32, settings: &[(&'static str, &'static str)]) -> String {
        let name = self.name("topic");
        let configs = settings
            .iter()
            .map(|(name, value)| CreatableTopicConfig { name: (*name).into(), value: Some((*value).into()) })
            .collect();
        let topic = CreatableTopic {
            name: name.as_str().into(),
            num_partitions: partitions,
            replication_factor: 1,
            configs,
            ..Default::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..Default::default() };
        let answer = self.connection.call(7, &request);
        assert_eq!(answer.body().topics[0].error_code, 0, "{:?}", answer.body().topics[0].error_message);
        self.wait_for_leader(&name);
        name
    }

    /// Apache Kafka answers before the partition can be written to.
    fn wait_for_leader(&mut self, name: &str) {
        for _ in 0..200 {
            let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
            let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
            let answer = self.connection.call(12, &request);
            let topic = &answer.body().topics[0];
            if topic.error_code == 0 && topic.partitions.iter().all(|p| p.error_code == 0) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        panic!("{name} has no leader");
    }

    pub(crate) fn topic_id(&mut self, name: &str) -> Uuid {
        let topic = MetadataRequestTopic { name: Some(name.into()), ..Default::default() };
        let request = MetadataRequest { topics: Some(vec![topic]), ..Default::default() };
        let answer = self.connection.call(12, &request);
        answer.body().topics[0].topic_id
    }

    /// A producer id and its epoch.
    pub(crate) fn producer(&mut self) -> (i64, i16) {
        let request = InitProducerIdRequest { transaction_timeout_ms: 60_000, ..Default::default() };
        let answer = self.connection.call(4, &InitProducerIdRequest { transactional_id: None, ..request });
        let body = answer.body();
        assert_eq!(body.error_code, 0);
        (body.producer_id, body.producer_epoch)
    }

    /// Produces to the partition of this world.
    pub(crate) fn produce(&mut self, version: i16, records: Option<Vec<u8>>) -> Produced {
        let topic = self.topic.clone();
        self.produce_to(version, &topic, 0, records)
    }

    /// Produces with `acks=all`.
    pub(crate) fn produce_to(
        &mut self,
        version: i16,
        topic: &str,
        partition: i32,
        records: Option<Vec<u8>>,
    ) -> Produced {
        let request = produce_request(-1, topic, partition, records);
        let answer = self.connection.call(version, &request);
        let body = answer.body();
        let partition = &body.responses[0].partition_responses[0];
        Produced {
            code: partition.error_code,
            base_offset: partition.base_offset,
            append_time_ms: partition.log_append_time_ms,
            record_errors: partition.record_errors.iter().map(|e| e.batch_index).collect(),
        }
    }

    /// These record bytes must be refused with this code, and must leave no trace in the partition.
    pub(crate) fn refused(&mut self, why: &str, code: i16, records: Vec<u8>) {
        let produced = self.produce(PRODUCE, Some(records));
        assert_eq!(ErrorCode::from_code(produced.code), ErrorCode::from_code(code), "{why}");
        assert_eq!(produced.base_offset, -1, "{why}");
    }

    /// These record bytes must be taken, as `count` records at the partition's next offset.
    pub(crate) fn accepted(&mut self, why: &str, count: i64, records: Vec<u8>) {
        let produced = self.produce(PRODUCE, Some(records));
        assert_eq!(ErrorCode::from_code(produced.code), ErrorCode::None, "{why}");
        assert_eq!(produced.base_offset, self.next, "{why}");
        self.next += count;
    }

    /// Refused by ours with this code, taken by Apache Kafka as `count` records.
    pub(crate) fn refused_by_ours(&mut self, why: &str, code: i16, count: i64, records: Vec<u8>) {
        match self.broker.is_kafka() {
            true => self.accepted(why, count, records),
            false => self.refused(why, code, records),
        }
    }

    /// A good batch of two records.
    pub(crate) fn good(&mut self) {
        self.accepted("a good batch", 2, Batch::of(&["good", "better"]).bytes());
    }

    /// What must hold after every row.
    pub(crate) fn aftermath(&mut self) {
        assert!(self.broker.lives(), "the broker is gone: {}", self.broker.log());
        let answer = self.witness.call(0, &ApiVersionsRequest::default());
        assert_eq!(answer.body().error_code, 0, "other connections are served");
        self.good();
        let resident_kib = self.broker.resident_kib();
        let most = self.resident_kib + GROWTH_KIB;
        assert!(resident_kib <= most, "{resident_kib} KiB resident, {} at the start", self.resident_kib);
    }

    /// After a row that failed, or a restart: new connections, and the offset that the partition really has.
    pub(crate) fn recover(&mut self) {
        self.witness = self.open();
        self.connection = self.open();
        let produced = self.produce(PRODUCE, Some(Batch::of(&["after"]).bytes()));
        self.next = produced.base_offset + 1;
    }

    /// New connections to a broker that was started again.
    pub(crate) fn reconnect(&mut self) {
        self.witness = self.open();
        self.connection = self.open();
    }
}

/// A Produce request for one partition.
pub(crate) fn produce_request(
    acks: i16,
    topic: &str,
    partition: i32,
    records: Option<Vec<u8>>,
) -> ProduceRequest<'static> {
    let records = records.map(|r| bytes::Bytes::from(r).into());
    let topic = TopicProduceData {
        name: topic.to_owned().into(),
        partition_data: vec![PartitionProduceData { index: partition, records }],
        ..Default::default()
    };
    ProduceRequest { acks, timeout_ms: 10_000, topic_data: vec![topic], ..Default::default() }
}
