//! The group coordinator's shell: one shard a partition of `__consumer_offsets`, each a pure machine tied to that
//! partition's log.
//!
//! A request runs at once, under the shard's lock: the machine decides, its records are appended, timers are set. The
//! answer, one's own or one that this request let go (a JoinGroup that was parked), is handed to whoever waits for it
//! together with the offset that must be committed first; the waiter waits for that too. So a parked request is an id
//! in the machine and a channel here, and no task.
//!
//! When an append or a commit fails, what the machine knows can no longer be trusted: the shard is dropped, everybody
//! who waits is sent to look for the coordinator again, and the shard is loaded anew from its log.

pub(crate) mod log;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use chronik_coordinator::group::api::{GroupReply, GroupRequest};
use chronik_coordinator::group::{GroupConfig, GroupMachine};
use chronik_coordinator::machine::RequestId;
use chronik_coordinator::shard::{Outgoing, Shard};
use chronik_protocol::ErrorCode;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, oneshot};

use self::log::{OffsetsLog, Writer, replay};

/// A shard whose log could not be read is loaded again after this pause.
const RELOAD_PAUSE: Duration = Duration::from_millis(200);
/// One whose log is damaged, after this one: somebody has to look at it first.
const DAMAGED_PAUSE: Duration = Duration::from_secs(60);
/// Logs that are read at the same time at start.
const LOADS_AT_ONCE: usize = 4;

/// A log is written anew when it has grown by this much, and by [`REWRITE_FACTOR`] times what is alive in it. So loading
/// it takes time in proportion to what is alive, not to how often it was committed.
const REWRITE_BYTES: u64 = 32 * 1024 * 1024;
const REWRITE_FACTOR: u64 = 4;
/// How often sizes are looked at.
const REWRITE_CHECK: Duration = Duration::from_secs(60);

/// What a shard answers: the machine's reply, or why there is none.
pub(crate) type Answer = Result<GroupReply, ErrorCode>;

/// All groups of this broker.
#[derive(Debug)]
pub(crate) struct GroupShards {
    config: GroupConfig,
    clock: Clock,
    /// By partition; empty until the topic is there.
    shards: RwLock<Vec<Arc<GroupShard>>>,
    /// The task that runs timers and loads logs sleeps until then; an earlier timer wakes it.
    wakes_at_ms: AtomicI64,
    wake: Notify,
    stopping: AtomicBool,
}

/// Wall-clock milliseconds that never jump: timers are as sure as a monotonic clock's, timestamps as good as the
/// wall clock at start.
#[derive(Debug)]
struct Clock {
    wall_ms: i64,
    started: Instant,
}

impl Clock {
    fn new() -> Clock {
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Clock { wall_ms: i64::try_from(wall.as_millis()).unwrap_or(i64::MAX / 2), started: Instant::now() }
    }

    fn now_ms(&self) -> i64 {
        self.wall_ms.saturating_add(i64::try_from(self.started.elapsed().as_millis()).unwrap_or(i64::MAX / 2))
    }
}

/// One partition of `__consumer_offsets` and its groups.
#[derive(Debug)]
struct GroupShard {
    log: Arc<dyn OffsetsLog>,
    state: Mutex<State>,
    lives: AtomicU64,
    growth: Mutex<Growth>,
}

/// What [`GroupShards::rewrite`] has to know of a log.
#[derive(Debug, Default, Clone, Copy)]
struct Growth {
    /// Its size when it was written anew.
    base_bytes: u64,
    /// How much of that was alive.
    alive_bytes: u64,
}

impl Growth {
    /// Whether a log of this size is to be written anew.
    fn is_due(&mut self, size: u64) -> bool {
        // What lies before the part that is alive goes file by file.
        self.base_bytes = self.base_bytes.min(size);
        size - self.base_bytes >= REWRITE_BYTES.max(REWRITE_FACTOR * self.alive_bytes)
    }
}

#[derive(Debug)]
enum State {
    /// Its log has not been replayed, or not since something failed.
    ToLoad,
    Loading,
    Running(Box<Running>),
    Stopped,
}

#[derive(Debug)]
struct Running {
    shard: Shard<GroupMachine>,
    /// Which of the shard's lives this is: one ends with a failure, the next begins with a load.
    life: u64,
    next_id: u64,
    waiting: HashMap<RequestId, oneshot::Sender<Released>>,
}

/// A reply, and the offset that must be committed before it may leave.
type Released = (GroupReply, i64);

/// A request that was handed in: answered, or waiting.
#[derive(Debug)]
pub(crate) enum Asked {
    /// The answer may leave.
    Now(Answer),
    /// The answer is still to come.
    Later(Waiting),
}

/// Waits for an answer, and for what it has to wait for.
#[derive(Debug)]
pub(crate) struct Waiting {
    shard: Arc<GroupShard>,
    life: u64,
    wait: Wait,
    shards: Arc<GroupShards>,
}

#[derive(Debug)]
enum Wait {
    Parked(oneshot::Receiver<Released>),
    Released(Released),
}

impl Waiting {
    /// The answer, once it may leave.
    pub(crate) async fn answer(self) -> Answer {
        let (reply, after) = match self.wait {
            Wait::Released(released) => released,
            // The shard failed or was stopped.
            Wait::Parked(parked) => parked.await.map_err(|_| ErrorCode::NotCoordinator)?,
        };
        if self.shard.log.high_watermark() <= after
            && let Err(error) = self.shard.log.committed(after).await
        {
            self.shards.failed(&self.shard, self.life, &error);
            return Err(ErrorCode::NotCoordinator);
        }
        Ok(reply)
    }
}

impl GroupShards {
    /// No shards yet; see [`GroupShards::open`].
    pub(crate) fn new(config: GroupConfig) -> Arc<GroupShards> {
        Arc::new(GroupShards {
            config,
            clock: Clock::new(),
            shards: RwLock::default(),
            wakes_at_ms: AtomicI64::new(i64::MAX),
            wake: Notify::new(),
            stopping: AtomicBool::new(false),
        })
    }

    /// Whether the logs are known.
    pub(crate) fn is_open(&self) -> bool {
        !self.shards.read().is_empty()
    }

    /// Takes the logs of the topic, by partition. Empty ones are ready at once, others are loaded in the background.
    /// Once they are known they stay: calling this again changes nothing.
    pub(crate) fn open(&self, logs: Vec<Arc<dyn OffsetsLog>>) {
        let mut shards = self.shards.write();
        if !shards.is_empty() {
            return;
        }
        for log in logs {
            let is_empty = log.is_empty();
            let shard = Arc::new(GroupShard {
                log,
                state: Mutex::new(State::ToLoad),
                lives: AtomicU64::new(0),
                growth: Mutex::default(),
            });
            if is_empty {
                self.install(&shard, Shard::new(GroupMachine::new(self.config.clone())), -1);
            }
            shards.push(shard);
        }
        drop(shards);
        self.wake.notify_one();
    }

    /// Hands in a request to a group; it has taken its effect when this returns.
    pub(crate) fn ask(self: &Arc<Self>, group_id: &str, request: GroupRequest) -> Asked {
        let shard = {
            let shards = self.shards.read();
            match shards.get(partition_for(group_id, shards.len())) {
                Some(shard) => Arc::clone(shard),
                None => return Asked::Now(Err(ErrorCode::NotCoordinator)),
            }
        };
        self.ask_shard(shard, request)
    }

    /// Hands in a request to every shard.
    pub(crate) fn ask_all(self: &Arc<Self>, request: &GroupRequest) -> Vec<Asked> {
        let shards = self.shards.read().clone();
        shards.into_iter().map(|shard| self.ask_shard(shard, request.clone())).collect()
    }

    /// Topics are gone, and with them what groups have committed for them. In every log when this returns, durable
    /// soon; a crash in between is made good when the logs are loaded.
    pub(crate) fn topics_deleted(self: &Arc<Self>, topics: &[Arc<str>]) {
        if !topics.is_empty() {
            self.ask_all(&GroupRequest::TopicsDeleted(topics.to_vec()));
        }
    }

    fn ask_shard(self: &Arc<Self>, shard: Arc<GroupShard>, request: GroupRequest) -> Asked {
        let now_ms = self.clock.now_ms();
        let mut state = shard.state.lock();
        let running = match &mut *state {
            State::Running(running) => running,
            State::ToLoad | State::Loading => return Asked::Now(Err(ErrorCode::CoordinatorLoadInProgress)),
            State::Stopped => return Asked::Now(Err(ErrorCode::NotCoordinator)),
        };
        running.next_id += 1;
        let (id, life) = (RequestId(running.next_id), running.life);
        let out = match running.shard.request(now_ms, id, request, &mut Writer::new(&*shard.log, now_ms)) {
            Ok(out) => out,
            Err(error) => {
                drop(state);
                self.failed(&shard, life, &error);
                return Asked::Now(Err(ErrorCode::NotCoordinator));
            }
        };
        let wait = match running.release(out, Some(id)) {
            Some(released) => Wait::Released(released),
            None => {
                let (sender, receiver) = oneshot::channel();
                running.waiting.insert(id, sender);
                Wait::Parked(receiver)
            }
        };
        let deadline_ms = running.shard.next_deadline_ms();
        drop(state);
        self.wake_by(deadline_ms);
        match wait {
            Wait::Released((reply, after)) if after < shard.log.high_watermark() => Asked::Now(Ok(reply)),
            wait => Asked::Later(Waiting { shard, life, wait, shards: Arc::clone(self) }),
        }
    }

    fn wake_by(&self, deadline_ms: Option<i64>) {
        if deadline_ms.is_some_and(|at_ms| at_ms < self.wakes_at_ms.load(Ordering::Acquire)) {
            self.wake.notify_one();
        }
    }

    fn install(&self, shard: &GroupShard, mut loaded: Shard<GroupMachine>, last_offset: i64) {
        let now_ms = self.clock.now_ms();
        let started = loaded.loaded(now_ms, last_offset, &mut Writer::new(&*shard.log, now_ms));
        let mut state = shard.state.lock();
        if matches!(*state, State::Stopped) {
            return;
        }
        *state = match started {
            Ok(_) => {
                let life = shard.lives.fetch_add(1, Ordering::Relaxed);
                State::Running(Box::new(Running { shard: loaded, life, next_id: 0, waiting: HashMap::new() }))
            }
            Err(_) => State::ToLoad,
        };
    }

    /// Nobody can say what the log holds of what was appended last: forget everything, and ask the log. Who learns late
    /// of the end of an earlier life does not end the one after it.
    fn failed(&self, shard: &GroupShard, life: u64, error: &log::LogError) {
        let mut state = shard.state.lock();
        if matches!(&*state, State::Running(running) if running.life == life) {
            tracing::error!(partition = shard.log.partition(), %error, "group coordinator: loading the log again");
            *state = State::ToLoad;
            drop(state);
            self.wake.notify_one();
        }
    }

    /// Runs timers and loads logs until [`GroupShards::stop`]; one task for all shards. `is_topic` says whether a topic
    /// is there: offsets of others are taken away when a log has been loaded.
    pub(crate) async fn run(self: Arc<Self>, is_topic: impl Fn(&str) -> bool + Send + Sync) {
        let mut loads = FuturesUnordered::new();
        let mut sizes = tokio::time::interval(REWRITE_CHECK);
        while !self.stopping.load(Ordering::Acquire) {
            while loads.len() < LOADS_AT_ONCE
                && let Some(shard) = self.next_to_load()
            {
                loads.push(Arc::clone(&self).load(shard));
            }
            // Said before the timers are looked at, so that one which is set meanwhile is not slept over.
            self.wakes_at_ms.store(i64::MIN, Ordering::Release);
            let next_ms = self.fire();
            self.wakes_at_ms.store(next_ms, Ordering::Release);
            if self.next_deadline_ms() < next_ms {
                continue;
            }
            let pause_ms = u64::try_from(next_ms.saturating_sub(self.clock.now_ms())).unwrap_or(0).min(3_600_000);
            tokio::select! {
                () = tokio::time::sleep(Duration::from_millis(pause_ms)) => {}
                () = self.wake.notified() => {}
                Some(shard) = loads.next() => self.forget_missing_topics(shard, &is_topic),
                _ = sizes.tick() => self.rewrite_what_has_grown().await,
            }
        }
    }

    /// Stops: whoever is parked is sent to look for another coordinator, or for this one after its restart.
    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        for shard in self.shards.read().iter() {
            *shard.state.lock() = State::Stopped;
        }
        self.wake.notify_one();
    }

    fn next_to_load(&self) -> Option<Arc<GroupShard>> {
        let shards = self.shards.read();
        shards.iter().find_map(|shard| {
            let mut state = shard.state.lock();
            matches!(*state, State::ToLoad).then(|| {
                *state = State::Loading;
                Arc::clone(shard)
            })
        })
    }

    async fn load(self: Arc<Self>, shard: Arc<GroupShard>) -> Arc<GroupShard> {
        let log = Arc::clone(&shard.log);
        let machine = GroupMachine::new(self.config.clone());
        let loaded = tokio::task::spawn_blocking(move || replay(&*log, machine)).await;
        match loaded {
            Ok(Ok((loaded, last_offset))) => self.install(&shard, loaded, last_offset),
            Ok(Err(error)) => {
                tracing::error!(partition = shard.log.partition(), %error, "group coordinator: cannot load the log");
                let damaged = matches!(error, log::LogError::Damaged { .. });
                tokio::time::sleep(if damaged { DAMAGED_PAUSE } else { RELOAD_PAUSE }).await;
                self.to_load(&shard);
            }
            // The runtime is shutting down.
            Err(_) => self.to_load(&shard),
        }
        shard
    }

    fn to_load(&self, shard: &GroupShard) {
        let mut state = shard.state.lock();
        if matches!(*state, State::Loading) {
            *state = State::ToLoad;
        }
    }

    fn forget_missing_topics(self: &Arc<Self>, shard: Arc<GroupShard>, is_topic: impl Fn(&str) -> bool) {
        let missing = match &*shard.state.lock() {
            State::Running(running) => running.shard.machine().stored().topics(|topic| !is_topic(topic)),
            _ => return,
        };
        if !missing.is_empty() {
            self.ask_shard(shard, GroupRequest::TopicsDeleted(missing));
        }
    }

    async fn rewrite_what_has_grown(&self) {
        let shards = self.shards.read().clone();
        for shard in shards {
            let size = shard.log.size_in_bytes();
            if shard.growth.lock().is_due(size)
                && let Err((life, error)) = self.rewrite(&shard, size).await
            {
                self.failed(&shard, life, &error);
            }
        }
    }

    /// Writes what is alive in a log at its end, and lets go of the rest.
    async fn rewrite(&self, shard: &GroupShard, size: u64) -> Result<(), (u64, log::LogError)> {
        let (life, rewritten) = match &mut *shard.state.lock() {
            State::Running(running) => {
                let mut writer = Writer::new(&*shard.log, self.clock.now_ms());
                let life = running.life;
                (life, running.shard.rewrite(&mut writer).map_err(|error| (life, error))?)
            }
            _ => return Ok(()),
        };
        let base_bytes = shard.log.size_in_bytes();
        *shard.growth.lock() = Growth { base_bytes, alive_bytes: base_bytes.saturating_sub(size) };
        if rewritten.after >= 0 {
            shard.log.committed(rewritten.after).await.map_err(|error| (life, error))?;
        }
        let log = Arc::clone(&shard.log);
        let trimmed = tokio::task::spawn_blocking(move || log.trim(rewritten.needed_from)).await;
        // Not trimmed is not lost: the next time will do.
        if let Ok(Err(error)) = trimmed {
            tracing::warn!(partition = shard.log.partition(), %error, "group coordinator: old records stay");
        }
        tracing::debug!(partition = shard.log.partition(), ?rewritten, "group coordinator: log written anew");
        Ok(())
    }

    /// Runs what is due, and says when something will be next.
    fn fire(&self) -> i64 {
        let shards = self.shards.read().clone();
        let now_ms = self.clock.now_ms();
        for shard in shards {
            let mut state = shard.state.lock();
            let State::Running(running) = &mut *state else { continue };
            if running.shard.next_deadline_ms().is_none_or(|at_ms| at_ms > now_ms) {
                continue;
            }
            match running.shard.fire(now_ms, &mut Writer::new(&*shard.log, now_ms)) {
                Ok(out) => {
                    running.release(out, None);
                }
                Err(error) => {
                    let life = running.life;
                    drop(state);
                    self.failed(&shard, life, &error);
                }
            }
        }
        self.next_deadline_ms()
    }

    fn next_deadline_ms(&self) -> i64 {
        let shards = self.shards.read();
        let deadline = |shard: &Arc<GroupShard>| match &*shard.state.lock() {
            State::Running(running) => running.shard.next_deadline_ms(),
            _ => None,
        };
        shards.iter().filter_map(deadline).min().unwrap_or(i64::MAX)
    }
}

impl Running {
    /// Hands replies to those who wait for them; the one to `own`, if it is among them, is returned. Somebody whose
    /// connection is gone does not wait any more.
    fn release(&mut self, out: Vec<Outgoing<GroupReply>>, own: Option<RequestId>) -> Option<Released> {
        let mut mine = None;
        for Outgoing { id, reply, after } in out {
            if Some(id) == own {
                mine = Some((reply, after));
            } else if let Some(waiting) = self.waiting.remove(&id) {
                let _ = waiting.send((reply, after));
            }
        }
        mine
    }
}

impl Asked {
    /// The answer, once it may leave.
    pub(crate) async fn answer(self) -> Answer {
        match self {
            Asked::Now(answer) => answer,
            Asked::Later(waiting) => waiting.answer().await,
        }
    }
}

/// The partition that holds a group: Java's hash of the id, as Kafka and its tools compute it.
pub(crate) fn partition_for(group_id: &str, partitions: usize) -> usize {
    if partitions == 0 {
        return 0;
    }
    let hash = group_id.encode_utf16().fold(0i32, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)));
    let positive = hash.checked_abs().unwrap_or(0);
    usize::try_from(positive).unwrap_or(0) % partitions
}
