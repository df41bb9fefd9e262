//! The task behind a producer: one owner of connections, requests on their way and the producer's identity.
//!
//! Everything that takes time is a future in one set, and each ends as an [`Event`]; between two events the task holds no
//! state but its own, so there is nothing to lock.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use chronik_protocol::messages::{InitProducerIdRequest, ProduceRequest};
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use tokio::time::Instant;

use super::accumulator::{Drained, Outgoing, until};
use super::delivery::Ending;
use super::request::{self, Verdict};
use super::{Acks, Shared};
use crate::cluster::Node;
use crate::connection::{Answer, Connection};
use crate::error::Error;

/// Pause after metadata, a connection or a producer id could not be had.
const PAUSE: Duration = Duration::from_millis(100);
/// Metadata that is older is asked for again, for partitions that were added.
const METADATA_AGE_MAX: Duration = Duration::from_secs(300);

type Work = Pin<Box<dyn Future<Output = Event> + Send>>;
type Produced = Option<Answer<ProduceRequest<'static>>>;

/// Something that took time has ended.
enum Event {
    Connected { leader: i32, result: Result<Connection, Error> },
    Answered { leader: i32, connection: Arc<Connection>, request: Vec<Outgoing>, result: Result<Produced, Error> },
    Metadata(Result<(), Error>),
    ProducerId(Result<(i64, i16), Error>),
}

/// A broker that leads partitions.
#[derive(Debug, Default)]
struct Leader {
    connection: Option<Arc<Connection>>,
    connecting: bool,
    /// Requests on their way.
    in_flight: usize,
    not_before: Option<Instant>,
}

/// Who the producer is to the brokers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Identity {
    /// Nobody: not idempotent.
    Anonymous,
    /// It needs an id.
    Needed { not_before: Option<Instant> },
    /// It has asked for one.
    Asking,
    /// It has one.
    Known { id: i64, epoch: i16 },
    /// Its epoch is spent: once nothing is on its way, the next one begins.
    Spent { id: i64, epoch: i16 },
}

pub(super) struct Sender {
    shared: Arc<Shared>,
    leaders: HashMap<i32, Leader>,
    work: FuturesUnordered<Work>,
    identity: Identity,
    /// Whether metadata was asked for and has not come.
    asking_metadata: bool,
    metadata_wanted: bool,
    metadata_not_before: Instant,
    metadata_at: Instant,
}

impl Sender {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let now = Instant::now();
        let idempotent = shared.options.is_idempotent();
        Self {
            leaders: HashMap::new(),
            work: FuturesUnordered::new(),
            identity: if idempotent { Identity::Needed { not_before: None } } else { Identity::Anonymous },
            asking_metadata: false,
            metadata_wanted: false,
            metadata_not_before: now,
            metadata_at: now,
            shared,
        }
    }

    /// Runs until the producer is closed and every batch has its outcome.
    pub(super) async fn run(mut self) {
        let shared = self.shared.clone();
        loop {
            let next = self.step(Instant::now());
            {
                let accumulator = shared.lock();
                if accumulator.closed.is_some() && accumulator.is_idle() {
                    return;
                }
            }
            let woken = shared.wake.notified();
            tokio::select! {
                Some(event) = self.work.next(), if !self.work.is_empty() => self.handle(event),
                () = woken => {}
                () = tokio::time::sleep(until(next, Instant::now())) => {}
            }
        }
    }

    /// Starts whatever can start now, and says when to look again.
    fn step(&mut self, now: Instant) -> Option<Instant> {
        let (freed, lost) = self.shared.lock().expire(now);
        self.shared.room.add_permits(freed);
        if lost {
            self.spend_epoch();
        }
        let mut next = self.shared.lock().next_expiry();
        let mut look_at = |at: Instant| next = Some(next.map_or(at, |next| next.min(at)));
        if let Some(at) = self.pump_identity(now) {
            look_at(at);
        }
        while let Some(drained) = self.drain(now) {
            if drained.leaderless {
                self.metadata_wanted = true;
            }
            for leader in &drained.wanted {
                if let Some(at) = self.connect(*leader, now) {
                    look_at(at);
                }
            }
            drained.next.into_iter().for_each(&mut look_at);
            if drained.requests.is_empty() {
                break;
            }
            for (leader, request) in drained.requests {
                self.produce(leader, request);
            }
        }
        look_at(self.pump_metadata(now));
        next
    }

    /// What leaves now; `None` while the producer has no identity to send with.
    fn drain(&mut self, now: Instant) -> Option<Drained> {
        let numbered = match self.identity {
            Identity::Anonymous => false,
            Identity::Known { .. } => true,
            Identity::Needed { .. } | Identity::Asking | Identity::Spent { .. } => return None,
        };
        let (leaders, in_flight_max) = (&self.leaders, self.shared.options.max_in_flight);
        let can_send = |id: i32| {
            let open =
                leaders.get(&id).filter(|leader| leader.connection.as_ref().is_some_and(|open| !open.is_closed()));
            open.is_some_and(|leader| leader.in_flight < in_flight_max)
        };
        Some(self.shared.lock().drain(now, numbered, can_send))
    }

    /// Begins to connect to a leader that is not connected; when to try, if not yet.
    fn connect(&mut self, id: i32, now: Instant) -> Option<Instant> {
        let leader = self.leaders.entry(id).or_default();
        if leader.connection.as_ref().is_some_and(|open| !open.is_closed()) || leader.connecting {
            return None;
        }
        if let Some(at) = leader.not_before.filter(|at| *at > now) {
            return Some(at);
        }
        leader.connection = None;
        leader.connecting = true;
        let client = self.shared.client.clone();
        self.work.push(Box::pin(async move { Event::Connected { leader: id, result: client.dedicated(id).await } }));
        None
    }

    /// Sends a request. It is handed to the connection when its future is first polled, and futures are polled first in the
    /// order of their making: requests to one leader keep their order.
    fn produce(&mut self, id: i32, mut request: Vec<Outgoing>) {
        let Some(leader) = self.leaders.get_mut(&id) else { return self.retry(request, &Error::Closed, false) };
        let Some(connection) = leader.connection.clone() else { return self.retry(request, &Error::Closed, false) };
        let identity = match self.identity {
            Identity::Known { id, epoch } => Some((id, epoch)),
            _ => None,
        };
        let limit = self.shared.client.options().request_timeout;
        let message = match request::encode(&mut request, connection.versions(), &self.shared.options, identity, limit)
        {
            Ok(message) => message,
            Err(error) => return self.refuse(request, &error),
        };
        leader.in_flight += 1;
        let acks = self.shared.options.acks;
        self.work.push(Box::pin(async move {
            let result = exchange(&connection, message, acks, limit).await;
            Event::Answered { leader: id, connection, request, result }
        }));
    }

    fn handle(&mut self, event: Event) {
        let now = Instant::now();
        match event {
            Event::Connected { leader: id, result } => {
                let leader = self.leaders.entry(id).or_default();
                leader.connecting = false;
                match result {
                    Ok(connection) => leader.connection = Some(Arc::new(connection)),
                    Err(error) => {
                        tracing::debug!(broker = id, %error, "cannot connect to a leader");
                        leader.not_before = Some(now + PAUSE);
                        self.metadata_wanted = true;
                    }
                }
            }
            Event::Answered { leader, connection, request, result } => {
                self.answered(leader, &connection, request, result)
            }
            Event::Metadata(result) => {
                self.asking_metadata = false;
                self.metadata_not_before = now + PAUSE;
                match result {
                    Ok(()) => self.metadata_at = now,
                    Err(error) => {
                        tracing::debug!(%error, "no metadata");
                        self.metadata_wanted = true;
                    }
                }
            }
            Event::ProducerId(Ok((id, epoch))) => {
                self.shared.lock().restart_sequences();
                self.identity = Identity::Known { id, epoch };
            }
            Event::ProducerId(Err(error)) if error.is_retriable() => {
                tracing::debug!(%error, "no producer id yet");
                self.identity = Identity::Needed { not_before: Some(now + PAUSE) };
            }
            Event::ProducerId(Err(error)) => {
                // Without an id nothing can be sent, and asking again would not help.
                self.identity = Identity::Needed { not_before: Some(now + METADATA_AGE_MAX) };
                self.shared.close(error.clone());
                let freed = self.shared.lock().fail_all(&error);
                self.shared.room.add_permits(freed);
            }
        }
    }

    fn answered(
        &mut self,
        id: i32,
        connection: &Arc<Connection>,
        request: Vec<Outgoing>,
        result: Result<Produced, Error>,
    ) {
        let leader = self.leaders.entry(id).or_default();
        leader.in_flight -= 1;
        let answer = match result {
            Ok(answer) => answer,
            Err(error) => {
                // After a lost answer the connection's order is unknown; one that failed is of no use either way.
                if leader.connection.as_ref().is_some_and(|open| Arc::ptr_eq(open, connection)) {
                    leader.connection = None;
                }
                self.metadata_wanted = true;
                return if error.is_retriable() {
                    self.retry(request, &error, true)
                } else {
                    self.refuse(request, &error)
                };
            }
        };
        let verdicts = match answer.as_ref().map(Answer::body).transpose() {
            Ok(body) => request::verdicts(&request, body.as_ref()),
            Err(error) => return self.refuse(request, &error),
        };
        for (outgoing, verdict) in request.into_iter().zip(verdicts) {
            self.judge(outgoing, verdict);
        }
    }

    fn judge(&mut self, outgoing: Outgoing, verdict: Verdict) {
        match verdict {
            Verdict::Appended { base_offset, log_append_time } => {
                let mut accumulator = self.shared.lock();
                accumulator.queue(outgoing.queue).succeeded(outgoing.batch.id);
                let freed = accumulator.end(&outgoing.batch, Ending::Appended { base_offset, log_append_time });
                drop(accumulator);
                self.shared.room.add_permits(freed);
            }
            Verdict::Again { error, maybe_appended, stale_metadata } => {
                self.metadata_wanted |= stale_metadata;
                self.retry(vec![outgoing], &error, maybe_appended);
            }
            Verdict::OutOfSequence { error } => {
                // Behind a batch that has not arrived this is no surprise; otherwise the broker has lost count.
                let behind = self.shared.lock().queue(outgoing.queue).has_earlier(outgoing.batch.id);
                if !behind {
                    tracing::debug!(topic = %outgoing.topic, partition = outgoing.partition, %error, "a new epoch is needed");
                    self.spend_epoch();
                }
                self.retry(vec![outgoing], &error, false);
            }
            Verdict::TooLarge { error } => {
                let Outgoing { queue, batch, .. } = outgoing;
                let whole = self.shared.lock().split(queue, batch);
                if let Some(batch) = whole {
                    self.judge(Outgoing { batch, ..outgoing }, Verdict::Refused { error, record_errors: Vec::new() });
                }
            }
            Verdict::Refused { error, record_errors } => {
                if outgoing.batch.ambiguous {
                    self.spend_epoch();
                }
                let mut accumulator = self.shared.lock();
                accumulator.queue(outgoing.queue).refused(&outgoing.batch);
                let freed = accumulator.end(&outgoing.batch, Ending::Refused { error, record_errors });
                drop(accumulator);
                self.shared.room.add_permits(freed);
            }
        }
    }

    /// These batches go again.
    fn retry(&mut self, request: Vec<Outgoing>, error: &Error, maybe_appended: bool) {
        let now = Instant::now();
        let mut accumulator = self.shared.lock();
        for mut outgoing in request {
            outgoing.batch.ambiguous |= maybe_appended;
            outgoing.batch.last_error = Some(error.clone());
            accumulator.queue(outgoing.queue).failed(outgoing.batch, now);
        }
    }

    /// These batches will not go again.
    fn refuse(&mut self, request: Vec<Outgoing>, error: &Error) {
        for outgoing in request {
            self.judge(outgoing, Verdict::Refused { error: error.clone(), record_errors: Vec::new() });
        }
    }

    fn spend_epoch(&mut self) {
        if let Identity::Known { id, epoch } = self.identity {
            self.identity = Identity::Spent { id, epoch };
        }
    }

    /// Asks for a producer id, or begins the next epoch; when to look again, if not yet. An idempotent producer that is not
    /// transactional counts its epochs by itself, as Java's does.
    fn pump_identity(&mut self, now: Instant) -> Option<Instant> {
        match self.identity {
            Identity::Spent { id, epoch } if !self.shared.lock().has_in_flight() => {
                self.shared.lock().restart_sequences();
                self.identity = match epoch.checked_add(1) {
                    Some(epoch) => Identity::Known { id, epoch },
                    None => Identity::Needed { not_before: None },
                };
                self.pump_identity(now)
            }
            Identity::Needed { not_before: Some(at) } if at > now => Some(at),
            Identity::Needed { .. } if !self.shared.lock().is_idle() => {
                self.identity = Identity::Asking;
                let client = self.shared.client.clone();
                self.work.push(Box::pin(async move {
                    let request = InitProducerIdRequest {
                        transactional_id: None,
                        transaction_timeout_ms: i32::MAX,
                        ..Default::default()
                    };
                    let asked = async {
                        let answer = client.call(Node::Any, &request).await?;
                        let body = answer.body()?;
                        Error::check(body.error_code, || "a producer id".to_owned(), None)?;
                        Ok((body.producer_id, body.producer_epoch))
                    };
                    Event::ProducerId(asked.await)
                }));
                None
            }
            _ => None,
        }
    }

    /// Asks for metadata if it is due; when to look again.
    fn pump_metadata(&mut self, now: Instant) -> Instant {
        let stale_at = self.metadata_at + METADATA_AGE_MAX;
        if self.asking_metadata {
            return now + METADATA_AGE_MAX;
        }
        if !self.metadata_wanted && now < stale_at {
            return stale_at;
        }
        if now < self.metadata_not_before {
            return self.metadata_not_before;
        }
        self.metadata_wanted = false;
        self.asking_metadata = true;
        self.metadata_at = now;
        let shared = self.shared.clone();
        self.work.push(Box::pin(async move {
            let names = shared.lock().topics();
            let names: Vec<&str> = names.iter().map(|name| &**name).collect();
            let learned = shared.client.refresh(&names).await.map(|cluster| shared.lock().learn(&cluster, None));
            Event::Metadata(learned)
        }));
        now + METADATA_AGE_MAX
    }
}

async fn exchange(
    connection: &Connection,
    message: request::Encoded,
    acks: Acks,
    limit: Duration,
) -> Result<Produced, Error> {
    let request::Encoded { request, version } = message;
    if acks == Acks::None {
        return connection.send_only(&request, version, limit).await.map(|()| None);
    }
    connection.start(&request, version, limit).await?.wait(limit).await.map(Some)
}
