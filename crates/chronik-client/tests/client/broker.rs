//! A broker of one topic that keeps what it is given, checks sequences as Kafka does, and fails as it is told to.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chronik_protocol::batch::{Batch, increment_sequence, patch};
use chronik_protocol::frame::encode_response;
use chronik_protocol::generated::any::ResponseBody;
use chronik_protocol::generated::api_versions_response::ApiVersion;
use chronik_protocol::generated::fetch_response::{FetchableTopicResponse, PartitionData};
use chronik_protocol::generated::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use chronik_protocol::generated::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use chronik_protocol::header::{RequestFrame, parse_request};
use chronik_protocol::messages::*;
use chronik_protocol::record::RecordIter;
use chronik_protocol::validate::{AppendRules, prepare};
use chronik_protocol::wire::{EncodedFrame, Records, Request, decode_exact};
use chronik_protocol::{ErrorCode, Uuid};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// The topic's name.
pub(crate) const TOPIC: &str = "orders";
const TOPIC_ID: Uuid = Uuid::from_u128(77);
const NOW: i64 = 1_700_000_000_000;

/// What happens to a Produce request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing special.
    None,
    /// The connection breaks before anything is appended.
    LoseRequest,
    /// The connection breaks after everything was appended.
    LoseAnswer,
    /// Nothing is appended and every partition answers this.
    Refuse(ErrorCode),
    /// Everything is appended and every partition answers this all the same.
    AppendAndSay(ErrorCode),
    /// What is known of the partition's producers is forgotten; the request is handled as usual.
    ForgetProducers,
}

/// The last five batches of a producer: base sequence, count, base offset.
type Remembered = VecDeque<(i32, i32, i64)>;

#[derive(Default)]
struct Partition {
    values: Vec<String>,
    /// Last offset and bytes.
    batches: Vec<(i64, Bytes)>,
    producers: HashMap<i64, (i16, Remembered)>,
}

#[derive(Default)]
struct State {
    partitions: Vec<Partition>,
    faults: VecDeque<Fault>,
    epochs: Vec<(i64, i16)>,
    requests: usize,
    /// Rises with each restart; connections of an older one are broken.
    leader_epoch: i32,
    max_message_bytes: Option<usize>,
}

/// A running broker; it ends with the test's runtime.
#[derive(Clone)]
pub(crate) struct Broker {
    pub(crate) address: String,
    state: Arc<Mutex<State>>,
}

impl Broker {
    /// Starts one with these many partitions, whose Produce requests meet these faults, in order.
    pub(crate) async fn start(partitions: usize, faults: impl IntoIterator<Item = Fault>) -> Broker {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let partitions = (0..partitions).map(|_| Partition::default()).collect();
        let state = State { partitions, faults: faults.into_iter().collect(), ..State::default() };
        let broker = Broker { address, state: Arc::new(Mutex::new(state)) };
        let server = broker.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let server = server.clone();
                tokio::spawn(async move { server.serve(stream).await });
            }
        });
        broker
    }

    /// The values in a partition, in order.
    pub(crate) fn values(&self, partition: usize) -> Vec<String> {
        self.state.lock().unwrap().partitions[partition].values.clone()
    }

    /// Every producer id and epoch that something was appended with.
    pub(crate) fn epochs(&self) -> Vec<(i64, i16)> {
        self.state.lock().unwrap().epochs.clone()
    }

    /// As after a crash: connections break, and the partitions have a new leader epoch.
    pub(crate) fn restart(&self) {
        self.state.lock().unwrap().leader_epoch += 1;
    }

    /// Sets the topic's `max.message.bytes`.
    pub(crate) fn limit_batches(&self, max_message_bytes: usize) {
        self.state.lock().unwrap().max_message_bytes = Some(max_message_bytes);
    }

    fn leader_epoch(&self) -> i32 {
        self.state.lock().unwrap().leader_epoch
    }

    /// Produce requests so far, and faults that are still to come.
    pub(crate) fn progress(&self) -> (usize, usize) {
        let state = self.state.lock().unwrap();
        (state.requests, state.faults.len())
    }

    async fn serve(&self, mut stream: TcpStream) -> Option<()> {
        let began = self.leader_epoch();
        loop {
            let length = stream.read_i32().await.ok()?;
            let mut frame = vec![0; length as usize];
            stream.read_exact(&mut frame).await.ok()?;
            if self.leader_epoch() != began {
                return None;
            }
            let answer = self.answer(&parse_request(&frame).unwrap())?;
            if let Some(answer) = answer {
                stream.write_all(&answer.to_vec().unwrap()).await.ok()?;
            }
        }
    }

    /// The answer; none at all for `acks=0`, and `None` to break the connection.
    fn answer(&self, request: &RequestFrame<'_>) -> Option<Option<EncodedFrame>> {
        let reply = |body: ResponseBody<'static>| {
            Some(Some(encode_response(request.key, request.version, request.correlation_id, &body).unwrap()))
        };
        match request.key {
            ApiVersionsRequest::KEY => reply(versions().into()),
            MetadataRequest::KEY => reply(self.metadata().into()),
            InitProducerIdRequest::KEY => {
                let body = InitProducerIdResponse { producer_id: 9, producer_epoch: 0, ..Default::default() };
                reply(body.into())
            }
            ProduceRequest::KEY => {
                let produce: ProduceRequest<'_> = decode_exact(request.body, request.version).unwrap();
                let body = self.produce(&produce)?;
                if produce.acks == 0 { Some(None) } else { reply(body.into()) }
            }
            FetchRequest::KEY => {
                let fetch: FetchRequest<'_> = decode_exact(request.body, request.version).unwrap();
                reply(self.fetch(&fetch).into())
            }
            key => panic!("{key:?} is not expected"),
        }
    }

    fn metadata(&self) -> MetadataResponse<'static> {
        let (host, port) = self.address.split_once(':').unwrap();
        let partition = |index| MetadataResponsePartition {
            partition_index: index,
            leader_id: 1,
            leader_epoch: self.leader_epoch(),
            replica_nodes: vec![1],
            isr_nodes: vec![1],
            ..Default::default()
        };
        let count = self.state.lock().unwrap().partitions.len() as i32;
        let topic = MetadataResponseTopic {
            name: Some(TOPIC.into()),
            topic_id: TOPIC_ID,
            partitions: (0..count).map(partition).collect(),
            ..Default::default()
        };
        let host = host.to_owned().into();
        let broker = MetadataResponseBroker { node_id: 1, host, port: port.parse().unwrap(), rack: None };
        MetadataResponse { brokers: vec![broker], controller_id: 1, topics: vec![topic], ..Default::default() }
    }

    /// One batch from the offset that is asked for, if the asker knows the leader epoch.
    fn fetch(&self, request: &FetchRequest<'_>) -> FetchResponse<'static> {
        let state = self.state.lock().unwrap();
        let mut answered = FetchableTopicResponse { topic_id: TOPIC_ID, ..Default::default() };
        for asked in request.topics.iter().flat_map(|topic| &topic.partitions) {
            let partition = &state.partitions[asked.partition as usize];
            let known = asked.current_leader_epoch == state.leader_epoch;
            let next = partition.batches.iter().find(|(last, _)| *last >= asked.fetch_offset);
            let records = next.filter(|_| known).map_or(Bytes::new(), |(_, bytes)| bytes.clone());
            let end = partition.values.len() as i64;
            answered.partitions.push(PartitionData {
                partition_index: asked.partition,
                error_code: if known { 0 } else { ErrorCode::FencedLeaderEpoch.code() },
                high_watermark: end,
                last_stable_offset: end,
                records: Some(Records::Owned(records)),
                ..Default::default()
            });
        }
        FetchResponse { responses: vec![answered], ..Default::default() }
    }

    fn produce(&self, request: &ProduceRequest<'_>) -> Option<ProduceResponse<'static>> {
        let mut state = self.state.lock().unwrap();
        state.requests += 1;
        let fault = state.faults.pop_front().unwrap_or(Fault::None);
        if fault == Fault::LoseRequest {
            return None;
        }
        let mut answered = TopicProduceResponse { topic_id: TOPIC_ID, ..Default::default() };
        for data in request.topic_data.iter().flat_map(|topic| &topic.partition_data) {
            let Some(Records::Borrowed(records)) = data.records else { panic!("no records") };
            let result = match fault {
                Fault::Refuse(code) => Err(code),
                _ => state.append(data.index as usize, records, fault == Fault::ForgetProducers),
            };
            let result = if let Fault::AppendAndSay(code) = fault { result.and(Err(code)) } else { result };
            answered.partition_responses.push(PartitionProduceResponse {
                index: data.index,
                error_code: result.err().map_or(0, ErrorCode::code),
                base_offset: result.unwrap_or(-1),
                ..Default::default()
            });
        }
        if fault == Fault::LoseAnswer {
            return None;
        }
        Some(ProduceResponse { responses: vec![answered], ..Default::default() })
    }
}

impl State {
    /// Kafka's rules: a repeated batch gets its old offset, a gap or an old epoch is an error, an unknown producer may begin
    /// anywhere.
    fn append(&mut self, partition: usize, records: &[u8], forget: bool) -> Result<i64, ErrorCode> {
        let rules =
            AppendRules { max_message_bytes: self.max_message_bytes.unwrap_or(usize::MAX), ..AppendRules::default() };
        let prepared = prepare(records, &rules, NOW * 2).map_err(|invalid| invalid.code)?;
        let header = prepared.header;
        let partition = &mut self.partitions[partition];
        if forget {
            partition.producers.clear();
        }
        let base_offset = partition.values.len() as i64;
        if header.has_producer_id() {
            let known =
                partition.producers.entry(header.producer_id).or_insert((header.producer_epoch, Remembered::new()));
            if header.producer_epoch < known.0 {
                return Err(ErrorCode::InvalidProducerEpoch);
            }
            if header.producer_epoch > known.0 {
                if header.base_sequence != 0 {
                    return Err(ErrorCode::OutOfOrderSequenceNumber);
                }
                *known = (header.producer_epoch, Remembered::new());
            }
            let same = |batch: &&(i32, i32, i64)| batch.0 == header.base_sequence && batch.1 == header.records_count;
            if let Some((_, _, offset)) = known.1.iter().find(same) {
                return Ok(*offset);
            }
            let next = known.1.back().map(|(sequence, count, _)| increment_sequence(*sequence, *count));
            if next.is_some_and(|next| next != header.base_sequence) {
                return Err(ErrorCode::OutOfOrderSequenceNumber);
            }
            known.1.push_back((header.base_sequence, header.records_count, base_offset));
            if known.1.len() > 5 {
                known.1.pop_front();
            }
            let epoch = (header.producer_id, header.producer_epoch);
            if self.epochs.last() != Some(&epoch) {
                self.epochs.push(epoch);
            }
        }
        let mut bytes = prepared.bytes.into_owned();
        patch(bytes.first_chunk_mut().unwrap(), base_offset, self.leader_epoch);
        let batch = Batch::parse(&bytes).unwrap();
        let values =
            RecordIter::new(batch.payload(), header.records_count).map(|record| record.unwrap().value.unwrap());
        partition.values.extend(values.map(|value| String::from_utf8(value.to_vec()).unwrap()));
        let last = batch.header.last_offset();
        partition.batches.push((last, bytes.into()));
        Ok(base_offset)
    }
}

fn versions() -> ApiVersionsResponse<'static> {
    fn range<R: Request>() -> ApiVersion {
        ApiVersion { api_key: R::KEY as i16, min_version: R::MIN_VERSION, max_version: R::MAX_VERSION }
    }
    let api_keys = vec![
        range::<ProduceRequest<'_>>(),
        range::<FetchRequest<'_>>(),
        range::<MetadataRequest<'_>>(),
        range::<InitProducerIdRequest<'_>>(),
        range::<ApiVersionsRequest<'_>>(),
    ];
    ApiVersionsResponse { api_keys, ..Default::default() }
}
