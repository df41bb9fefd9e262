//! Fetch sessions (KIP-227): a consumer of many partitions says once which ones, and then only what changes.
//!
//! | state of the request's session | answer |
//! |---|---|
//! | id 0, epoch −1, or a version without sessions | every partition, no session |
//! | epoch 0 | every partition, and a new session (its id 0 if there is no room) |
//! | epoch as expected | what changed since the last answer |
//! | another epoch | 71 |
//! | unknown id | 70: the consumer begins again with epoch 0 |
//! | names where the session has topic ids, or the reverse | 106 |

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use chronik_protocol::generated::fetch_response::PartitionData;
use chronik_protocol::{ErrorCode, Uuid};
use parking_lot::Mutex;

/// A session is not put out for another one before this much time without use.
const EVICTION_MS: i64 = 120_000;
/// A session of more partitions is not kept: the consumer sends them each time.
const PARTITIONS_MAX: usize = 100_000;

/// The topic of a partition, as the session's versions name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    Name(Arc<str>),
    Id(Uuid),
}

/// What a consumer wants of a partition.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicKey,
    pub(crate) partition: i32,
    pub(crate) fetch_offset: i64,
    pub(crate) max_bytes: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
}

/// The header of a fetch request, as far as sessions go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SessionAsk {
    pub(crate) id: i32,
    pub(crate) epoch: i32,
    pub(crate) uses_topic_ids: bool,
}

/// How a fetch is answered.
#[derive(Debug)]
pub(crate) enum FetchContext {
    /// Everything, and nothing is remembered.
    Sessionless,
    /// Everything, and a session is begun with the answer.
    Begin { uses_topic_ids: bool },
    /// What has changed.
    Incremental(Arc<Mutex<Session>>),
}

/// What one consumer has said and was told.
#[derive(Debug)]
pub(crate) struct Session {
    id: i32,
    /// The epoch that the next request must have.
    epoch: i32,
    uses_topic_ids: bool,
    /// In the order in which they are read. Whatever gave records goes to the end, so that none starves.
    partitions: BTreeMap<u64, Cached>,
    places: HashMap<(TopicKey, i32), u64>,
    next_place: u64,
}

#[derive(Debug)]
struct Cached {
    wanted: Wanted,
    high_watermark: i64,
    log_start: i64,
}

impl Session {
    fn new(id: i32, uses_topic_ids: bool) -> Session {
        Session { id, epoch: 1, uses_topic_ids, partitions: BTreeMap::new(), places: HashMap::new(), next_place: 0 }
    }

    fn put(&mut self, wanted: Wanted) {
        let key = (wanted.topic.clone(), wanted.partition);
        let known = self.places.get(&key).and_then(|place| self.partitions.get_mut(place));
        match known {
            Some(cached) => cached.wanted = wanted,
            None => {
                self.places.insert(key, self.next_place);
                self.partitions.insert(self.next_place, Cached { wanted, high_watermark: -1, log_start: -1 });
                self.next_place += 1;
            }
        }
    }

    fn forget(&mut self, key: &(TopicKey, i32)) {
        if let Some(place) = self.places.remove(key) {
            self.partitions.remove(&place);
        }
    }

    fn wanted(&self) -> Vec<Wanted> {
        self.partitions.values().map(|cached| cached.wanted.clone()).collect()
    }

    /// Notes what a partition is told now; false if the consumer knows it all.
    fn tell(&mut self, wanted: &Wanted, data: &PartitionData<'_>) -> bool {
        let key = (wanted.topic.clone(), wanted.partition);
        let Some(place) = self.places.get(&key).copied() else { return true };
        let Some(cached) = self.partitions.get_mut(&place) else { return true };
        let has_records = data.records.as_ref().is_some_and(|records| !records.is_empty());
        let moved = cached.high_watermark != data.high_watermark || cached.log_start != data.log_start_offset;
        (cached.high_watermark, cached.log_start) = (data.high_watermark, data.log_start_offset);
        if has_records && let Some(cached) = self.partitions.remove(&place) {
            self.partitions.insert(self.next_place, cached);
            self.places.insert(key, self.next_place);
            self.next_place += 1;
        }
        has_records || moved || data.error_code != 0 || data.diverging_epoch.end_offset >= 0
    }
}

/// All sessions: at most `max.incremental.fetch.session.cache.slots`.
#[derive(Debug)]
pub(crate) struct FetchSessions {
    slots_max: usize,
    slots: Mutex<HashMap<i32, Slot>>,
    ids: RandomState,
}

#[derive(Debug)]
struct Slot {
    created_ms: i64,
    used_ms: i64,
    size: usize,
    session: Arc<Mutex<Session>>,
}

impl FetchSessions {
    pub(crate) fn new(slots_max: usize) -> FetchSessions {
        FetchSessions { slots_max, slots: Mutex::default(), ids: RandomState::new() }
    }

    /// Which partitions a request is about: those that it names, and in a session those that were named before.
    pub(crate) fn begin(
        &self,
        ask: SessionAsk,
        wanted: Vec<Wanted>,
        forgotten: &[(TopicKey, i32)],
        now_ms: i64,
    ) -> Result<(FetchContext, Vec<Wanted>), ErrorCode> {
        if ask.epoch <= 0 {
            self.slots.lock().remove(&ask.id);
            let context = match ask.epoch {
                0 if !wanted.is_empty() => FetchContext::Begin { uses_topic_ids: ask.uses_topic_ids },
                _ => FetchContext::Sessionless,
            };
            return Ok((context, wanted));
        }
        let mut slots = self.slots.lock();
        let slot = slots.get_mut(&ask.id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        let shared = Arc::clone(&slot.session);
        let mut session = shared.lock();
        if session.epoch != ask.epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        if session.uses_topic_ids != ask.uses_topic_ids {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        wanted.into_iter().for_each(|wanted| session.put(wanted));
        forgotten.iter().for_each(|key| session.forget(key));
        slot.used_ms = now_ms;
        slot.size = session.partitions.len();
        let all = session.wanted();
        if all.is_empty() || all.len() > PARTITIONS_MAX {
            slots.remove(&ask.id);
            return Ok((FetchContext::Sessionless, all));
        }
        session.epoch = if session.epoch == i32::MAX { 1 } else { session.epoch + 1 };
        drop(session);
        Ok((FetchContext::Incremental(shared), all))
    }

    /// Notes an answer: the session's id for the consumer, and which partitions are left in it.
    pub(crate) fn finish(
        &self,
        context: &FetchContext,
        answers: Vec<(Wanted, PartitionData<'static>)>,
        now_ms: i64,
    ) -> (i32, Vec<(Wanted, PartitionData<'static>)>) {
        match context {
            FetchContext::Sessionless => (0, answers),
            FetchContext::Begin { uses_topic_ids } => (self.create(*uses_topic_ids, &answers, now_ms), answers),
            FetchContext::Incremental(session) => {
                let mut session = session.lock();
                let told = answers.into_iter().filter(|(wanted, data)| session.tell(wanted, data)).collect();
                (session.id, told)
            }
        }
    }

    fn create(&self, uses_topic_ids: bool, answers: &[(Wanted, PartitionData<'static>)], now_ms: i64) -> i32 {
        if answers.len() > PARTITIONS_MAX {
            return 0;
        }
        let mut slots = self.slots.lock();
        if slots.len() >= self.slots_max && !evict(&mut slots, answers.len(), now_ms) {
            return 0;
        }
        let id = self.free_id(&slots);
        let mut session = Session::new(id, uses_topic_ids);
        for (wanted, data) in answers {
            session.put(wanted.clone());
            session.tell(wanted, data);
        }
        let (size, session) = (session.partitions.len(), Arc::new(Mutex::new(session)));
        slots.insert(id, Slot { created_ms: now_ms, used_ms: now_ms, size, session });
        id
    }

    fn free_id(&self, slots: &HashMap<i32, Slot>) -> i32 {
        let mut seed = slots.len() as u64;
        loop {
            seed = self.ids.hash_one((seed, std::time::Instant::now()));
            let id = (seed >> 33) as i32;
            if id != 0 && !slots.contains_key(&id) {
                return id;
            }
        }
    }
}

/// Makes room: for the session that was used least lately if that is long ago, or else for a smaller one that has had its time.
fn evict(slots: &mut HashMap<i32, Slot>, size: usize, now_ms: i64) -> bool {
    let oldest = slots.iter().min_by_key(|(_, slot)| slot.used_ms);
    let stale = oldest.filter(|(_, slot)| now_ms - slot.used_ms > EVICTION_MS).map(|(id, _)| *id);
    let smaller = || {
        let settled = slots.iter().filter(|(_, slot)| now_ms - slot.created_ms > EVICTION_MS && slot.size < size);
        settled.min_by_key(|(_, slot)| slot.size).map(|(id, _)| *id)
    };
    match stale.or_else(smaller) {
        Some(id) => slots.remove(&id).is_some(),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use chronik_protocol::wire::Records;

    use super::*;

    fn wanted(partition: i32, fetch_offset: i64) -> Wanted {
        let topic = TopicKey::Name("t".into());
        Wanted { topic, partition, fetch_offset, max_bytes: 100, leader_epoch: -1, last_fetched_epoch: -1 }
    }

    fn data(wanted: &Wanted, high_watermark: i64, records: &'static [u8]) -> (Wanted, PartitionData<'static>) {
        let data = PartitionData {
            partition_index: wanted.partition,
            high_watermark,
            log_start_offset: 0,
            records: Some(Records::Borrowed(records)),
            ..Default::default()
        };
        (wanted.clone(), data)
    }

    fn ask(id: i32, epoch: i32) -> SessionAsk {
        SessionAsk { id, epoch, uses_topic_ids: false }
    }

    fn partitions(answers: &[(Wanted, PartitionData<'static>)]) -> Vec<i32> {
        answers.iter().map(|(wanted, _)| wanted.partition).collect()
    }

    fn begun(sessions: &FetchSessions, count: i32, now_ms: i64) -> i32 {
        let all = (0..count).map(|partition| wanted(partition, 0)).collect();
        let (context, all) = sessions.begin(ask(0, 0), all, &[], now_ms).unwrap();
        let answers = all.iter().map(|wanted| data(wanted, 5, b"")).collect();
        sessions.finish(&context, answers, now_ms).0
    }

    #[test]
    fn only_what_changed_is_told() {
        let sessions = FetchSessions::new(10);
        let id = begun(&sessions, 3, 0);
        assert!(id > 0);
        let (context, all) = sessions.begin(ask(id, 1), vec![wanted(1, 7)], &[], 0).unwrap();
        assert_eq!(all.iter().map(|wanted| wanted.fetch_offset).collect::<Vec<_>>(), [0, 7, 0]);
        let answers = vec![data(&all[0], 5, b""), data(&all[1], 5, b"x"), data(&all[2], 6, b"")];
        let (told_id, told) = sessions.finish(&context, answers, 0);
        assert_eq!((told_id, partitions(&told)), (id, vec![1, 2]));
        // The one that gave records is read last from now on.
        let (_, all) = sessions.begin(ask(id, 2), vec![], &[(TopicKey::Name("t".into()), 2)], 0).unwrap();
        assert_eq!(all.iter().map(|wanted| wanted.partition).collect::<Vec<_>>(), [0, 1]);
    }

    #[test]
    fn epochs_and_ids_are_checked() {
        let sessions = FetchSessions::new(10);
        let id = begun(&sessions, 1, 0);
        let begin = |ask| sessions.begin(ask, vec![], &[], 0).map(|(_, all)| all.len());
        assert_eq!(begin(ask(id, 2)), Err(ErrorCode::InvalidFetchSessionEpoch));
        assert_eq!(begin(ask(id ^ 1, 1)), Err(ErrorCode::FetchSessionIdNotFound));
        let ids = SessionAsk { uses_topic_ids: true, ..ask(id, 1) };
        assert_eq!(begin(ids), Err(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(begin(ask(id, 1)), Ok(1));
        // A full fetch that ends the session.
        assert_eq!(begin(ask(id, -1)), Ok(0));
        assert_eq!(begin(ask(id, 2)), Err(ErrorCode::FetchSessionIdNotFound));
    }

    #[test]
    fn slots_are_bounded() {
        let sessions = FetchSessions::new(2);
        let (a, b) = (begun(&sessions, 1, 0), begun(&sessions, 3, 10));
        assert!(a != 0 && b != 0);
        assert_eq!(begun(&sessions, 2, 20), 0);
        // Long unused: gives way.
        assert!(begun(&sessions, 1, EVICTION_MS + 1) != 0);
        assert_eq!(sessions.begin(ask(a, 1), vec![], &[], 0).unwrap_err(), ErrorCode::FetchSessionIdNotFound);
        assert_eq!(sessions.slots.lock().len(), 2);
    }
}
