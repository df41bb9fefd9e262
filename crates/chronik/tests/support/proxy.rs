//! A proxy between clients and a broker that drops, repeats and swaps batches, once each, and counts exactly what it did.
//!
//! Repeats happen on the way in: a Produce request is sent twice and the second answer swallowed. Drops and swaps happen on
//! the way out: a batch is cut out of a Fetch answer, or two neighbours of equal length change places. A batch's base offset
//! lies outside its checksum, so what the consumer gets is whole and plausible.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use chronik_protocol::ApiKey;
use chronik_protocol::batch::Batches;
use chronik_protocol::frame::encode_response;
use chronik_protocol::generated::any::{RequestBody, ResponseBody};
use chronik_protocol::header::{parse_request, parse_response};
use chronik_protocol::messages::FetchResponse;
use chronik_protocol::wire::{Reader, Records};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// What to do to the traffic.
#[derive(Debug, Clone, Copy, Default)]
pub struct Plan {
    /// Cut so many batches out of Fetch answers.
    pub drop: u32,
    /// Send so many Produce requests twice.
    pub repeat: u32,
    /// Swap so many pairs of batches in Fetch answers.
    pub swap: u32,
}

/// How many records were touched, as the counter must report it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Damage {
    /// Records that no consumer gets.
    pub missing: u64,
    /// Records that are in the log twice.
    pub duplicated: u64,
    /// Records that come behind later ones.
    pub out_of_order: u64,
}

#[derive(Debug, Default)]
struct State {
    left: Plan,
    done: Damage,
    produced: u32,
}

/// A running proxy; it ends with the runtime.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

/// A request whose answer is due.
struct Due {
    key: ApiKey,
    version: i16,
    swallow: bool,
}

impl Proxy {
    /// Listens on a free port and passes everything on to `broker`, except for what the plan says.
    pub async fn start(broker: SocketAddr, plan: Plan) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State { left: plan, ..State::default() }));
        let shared = state.clone();
        tokio::spawn(async move {
            loop {
                let (client, _) = listener.accept().await.unwrap();
                let Ok(server) = TcpStream::connect(broker).await else { continue };
                client.set_nodelay(true).unwrap();
                server.set_nodelay(true).unwrap();
                let (from_client, to_client) = client.into_split();
                let (from_server, to_server) = server.into_split();
                let (due, dues) = mpsc::unbounded_channel();
                tokio::spawn(requests(from_client, to_server, due, shared.clone()));
                tokio::spawn(answers(from_server, to_client, dues, shared.clone(), address));
            }
        });
        Proxy { address, state }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it did.
    pub fn damage(&self) -> Damage {
        self.state.lock().unwrap().done
    }
}

async fn read_frame(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let length = from.read_u32().await.ok()?;
    let mut frame = vec![0; length as usize];
    from.read_exact(&mut frame).await.ok()?;
    Some(frame)
}

async fn write_frame(to: &mut OwnedWriteHalf, frame: &[u8]) -> Option<()> {
    to.write_u32(frame.len() as u32).await.ok()?;
    to.write_all(frame).await.ok()
}

async fn requests(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    dues: mpsc::UnboundedSender<Due>,
    state: Arc<Mutex<State>>,
) -> Option<()> {
    loop {
        let frame = read_frame(&mut from).await?;
        let request = parse_request(&frame).unwrap();
        let (key, version) = (request.key, request.version);
        let repeats = key == ApiKey::Produce && repeat(request.body, version, &state);
        dues.send(Due { key, version, swallow: false }).ok()?;
        write_frame(&mut to, &frame).await?;
        if repeats {
            dues.send(Due { key, version, swallow: true }).ok()?;
            write_frame(&mut to, &frame).await?;
        }
    }
}

/// Every third Produce is sent twice, while the plan lasts.
fn repeat(body: &[u8], version: i16, state: &Mutex<State>) -> bool {
    let mut state = state.lock().unwrap();
    state.produced += 1;
    if state.left.repeat == 0 || !state.produced.is_multiple_of(3) {
        return false;
    }
    let RequestBody::Produce(produce) = RequestBody::decode(ApiKey::Produce, version, &mut Reader::new(body)).unwrap()
    else {
        unreachable!("decoded as Produce")
    };
    let mut records = 0;
    for partition in produce.topic_data.iter().flat_map(|topic| &topic.partition_data) {
        let bytes = partition.records.as_ref().and_then(Records::as_slice).unwrap();
        records +=
            Batches::new(bytes).map(|batch| u64::from(batch.unwrap().header.records_count.unsigned_abs())).sum::<u64>();
    }
    state.left.repeat -= 1;
    state.done.duplicated += records;
    true
}

async fn answers(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut dues: mpsc::UnboundedReceiver<Due>,
    state: Arc<Mutex<State>>,
    address: SocketAddr,
) -> Option<()> {
    loop {
        let frame = read_frame(&mut from).await?;
        let due = dues.recv().await?;
        if due.swallow {
            continue;
        }
        let (correlation, body) = parse_response(&frame, due.key, due.version).unwrap();
        if matches!(due.key, ApiKey::Metadata | ApiKey::FindCoordinator | ApiKey::DescribeCluster | ApiKey::Fetch) {
            let mut body = ResponseBody::decode(due.key, due.version, &mut Reader::new(body)).unwrap();
            change(&mut body, &mut state.lock().unwrap(), address);
            let encoded = encode_response(due.key, due.version, correlation, &body).unwrap().to_vec().unwrap();
            to.write_all(&encoded).await.ok()?;
        } else {
            write_frame(&mut to, &frame).await?;
        }
    }
}

fn change(body: &mut ResponseBody<'_>, state: &mut State, address: SocketAddr) {
    let port = i32::from(address.port());
    match body {
        ResponseBody::Metadata(metadata) => metadata.brokers.iter_mut().for_each(|broker| broker.port = port),
        ResponseBody::DescribeCluster(cluster) => cluster.brokers.iter_mut().for_each(|broker| broker.port = port),
        ResponseBody::FindCoordinator(found) => {
            found.port = if found.port > 0 { port } else { found.port };
            found.coordinators.iter_mut().filter(|found| found.port > 0).for_each(|found| found.port = port);
        }
        ResponseBody::Fetch(fetch) => damage(fetch, state),
        _ => {}
    }
}

fn damage(fetch: &mut FetchResponse<'_>, state: &mut State) {
    for partition in fetch.responses.iter_mut().flat_map(|topic| &mut topic.partitions) {
        let Some(bytes) = partition.records.as_ref().and_then(Records::as_slice) else { continue };
        let mut batches: VecDeque<Vec<u8>> =
            Batches::new(bytes).map_while(Result::ok).map(|batch| batch.bytes.to_vec()).collect();
        let count =
            |batch: &[u8]| u64::from(Batches::new(batch).next().unwrap().unwrap().header.records_count.unsigned_abs());
        let mut changed = false;
        // A batch in the middle: the consumer goes on behind the one that follows.
        if state.left.drop > 0 && batches.len() >= 2 {
            let dropped = batches.remove(batches.len() - 2).unwrap();
            state.left.drop -= 1;
            state.done.missing += count(&dropped);
            changed = true;
        } else if state.left.swap > 0
            && let Some(first) =
                (1..batches.len()).find(|at| count(&batches[at - 1]) == count(&batches[*at])).map(|at| at - 1)
        {
            let (one, two) = (batches[first][..8].to_vec(), batches[first + 1][..8].to_vec());
            batches.swap(first, first + 1);
            batches[first][..8].copy_from_slice(&one);
            batches[first + 1][..8].copy_from_slice(&two);
            state.left.swap -= 1;
            state.done.out_of_order += count(&batches[first + 1]);
            changed = true;
        }
        if changed {
            let joined: Vec<u8> = batches.into_iter().flatten().collect();
            partition.records = Some(Records::from(Bytes::from(joined)));
        }
    }
}
