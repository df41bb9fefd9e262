//! The driver of one machine over one log: it appends, applies, keeps timers, and says what each reply waits for.
//!
//! A reply may have observed any record that was appended before it, committed or not; so it carries the
//! offset of the last one, and the shell lets it go when that offset is committed. Nothing is ever undone:
//! if an append or a commit fails, the shell drops the shard and loads a new one from the log.

use std::collections::{BTreeMap, BTreeSet};

use crate::machine::{Effects, Machine, RequestId, TimerChange};

/// Where records go. The implementation assigns offsets; durability comes later.
pub trait Log<R> {
    /// Why an append failed. The shard cannot be used afterwards.
    type Error;

    /// Appends the records in order, and says the offset of the last one.
    fn append(&mut self, records: &[R]) -> Result<i64, Self::Error>;
}

/// A reply on its way out.
#[derive(Debug)]
pub struct Outgoing<R> {
    /// Whose request this answers.
    pub id: RequestId,
    /// The answer.
    pub reply: R,
    /// It may leave once every offset up to this one is committed; −1: at once.
    pub after: i64,
}

/// What [`Shard::rewrite`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// The first offset that is still needed.
    pub needed_from: i64,
    /// What must be committed before the others can go.
    pub after: i64,
}

/// A machine, its timers, and the end of its log.
#[derive(Debug)]
pub struct Shard<M: Machine> {
    machine: M,
    timers: Timers<M::Timer>,
    last_offset: i64,
}

impl<M: Machine> Shard<M> {
    /// A shard over an empty machine; records are then replayed with [`Shard::replay`].
    pub fn new(machine: M) -> Self {
        Shard { machine, timers: Timers::default(), last_offset: -1 }
    }

    /// Replays one record of the log.
    pub fn replay(&mut self, record: &M::Record) {
        self.machine.apply(record);
    }

    /// The log has been replayed; `last_offset` is the offset of its last record, −1 if it has none.
    pub fn loaded<L: Log<M::Record>>(
        &mut self,
        now_ms: i64,
        last_offset: i64,
        log: &mut L,
    ) -> Result<Vec<Outgoing<M::Reply>>, L::Error> {
        self.last_offset = last_offset;
        let effects = self.machine.loaded(now_ms);
        self.settle(now_ms, effects, log)
    }

    /// One request; returns the replies that it led to, to whomever.
    pub fn request<L: Log<M::Record>>(
        &mut self,
        now_ms: i64,
        id: RequestId,
        request: M::Request,
        log: &mut L,
    ) -> Result<Vec<Outgoing<M::Reply>>, L::Error> {
        let effects = self.machine.request(now_ms, id, request);
        self.settle(now_ms, effects, log)
    }

    /// Runs the timers that are due.
    pub fn fire<L: Log<M::Record>>(&mut self, now_ms: i64, log: &mut L) -> Result<Vec<Outgoing<M::Reply>>, L::Error> {
        self.settle(now_ms, Effects::default(), log)
    }

    /// Writes the stored state anew, at the end of the log. Returns the offset of the first record that is still needed:
    /// once everything that was appended is committed, those before can go.
    pub fn rewrite<L: Log<M::Record>>(&mut self, log: &mut L) -> Result<Rewritten, L::Error> {
        let needed_from = self.last_offset + 1;
        let records = self.machine.snapshot();
        if !records.is_empty() {
            self.last_offset = log.append(&records)?;
        }
        Ok(Rewritten { needed_from, after: self.last_offset })
    }

    /// When [`Shard::fire`] has something to do next.
    pub fn next_deadline_ms(&self) -> Option<i64> {
        self.timers.next_deadline_ms()
    }

    /// The machine, to look at.
    pub fn machine(&self) -> &M {
        &self.machine
    }

    /// Carries out effects, then those of timers that are due by now: a delay of 0 takes no detour.
    fn settle<L: Log<M::Record>>(
        &mut self,
        now_ms: i64,
        mut effects: Effects<M>,
        log: &mut L,
    ) -> Result<Vec<Outgoing<M::Reply>>, L::Error> {
        let mut out = Vec::new();
        loop {
            if !effects.records.is_empty() {
                self.last_offset = log.append(&effects.records)?;
                for record in &effects.records {
                    self.machine.apply(record);
                }
            }
            let after = self.last_offset;
            out.extend(effects.replies.into_iter().map(|(id, reply)| Outgoing { id, reply, after }));
            for change in effects.timers {
                self.timers.change(change);
            }
            match self.timers.pop_due(now_ms) {
                Some(timer) => effects = self.machine.expire(now_ms, timer),
                None => return Ok(out),
            }
        }
    }
}

/// Timers by name and by time. Moving one costs two look-ups, whatever their number.
#[derive(Debug)]
struct Timers<T> {
    deadlines: BTreeMap<T, i64>,
    queue: BTreeSet<(i64, T)>,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers { deadlines: BTreeMap::new(), queue: BTreeSet::new() }
    }
}

impl<T: Ord + Clone> Timers<T> {
    fn change(&mut self, change: TimerChange<T>) {
        match change {
            TimerChange::Set { timer, at_ms } => {
                if let Some(old_ms) = self.deadlines.insert(timer.clone(), at_ms) {
                    self.queue.remove(&(old_ms, timer.clone()));
                }
                self.queue.insert((at_ms, timer));
            }
            TimerChange::Cancel(timer) => {
                if let Some(old_ms) = self.deadlines.remove(&timer) {
                    self.queue.remove(&(old_ms, timer));
                }
            }
        }
    }

    fn pop_due(&mut self, now_ms: i64) -> Option<T> {
        if self.queue.first()?.0 > now_ms {
            return None;
        }
        let (_, timer) = self.queue.pop_first()?;
        self.deadlines.remove(&timer);
        Some(timer)
    }

    fn next_deadline_ms(&self) -> Option<i64> {
        self.queue.first().map(|(at_ms, _)| *at_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remembers numbers; answers each request with their sum; a timer adds 100.
    #[derive(Debug, Default)]
    struct Sum(i64);

    impl Machine for Sum {
        type Request = i64;
        type Reply = i64;
        type Record = i64;
        type Timer = &'static str;

        fn request(&mut self, now_ms: i64, id: RequestId, add: i64) -> Effects<Self> {
            let mut effects = Effects::default();
            if add != 0 {
                effects.record(add);
            }
            effects.set_timer("hundred", now_ms + add);
            effects.reply(id, self.0 + add);
            effects
        }

        fn expire(&mut self, _now_ms: i64, _timer: &'static str) -> Effects<Self> {
            let mut effects = Effects::default();
            effects.record(100);
            effects
        }

        fn apply(&mut self, record: &i64) {
            self.0 += record;
        }

        fn snapshot(&self) -> Vec<i64> {
            vec![self.0]
        }

        fn loaded(&mut self, _now_ms: i64) -> Effects<Self> {
            Effects::default()
        }
    }

    impl Log<i64> for Vec<i64> {
        type Error = ();

        fn append(&mut self, records: &[i64]) -> Result<i64, ()> {
            if self.len() >= 4 {
                return Err(());
            }
            self.extend_from_slice(records);
            Ok(self.len() as i64 - 1)
        }
    }

    #[test]
    fn a_reply_waits_for_all_that_was_appended_before_it() {
        let (mut shard, mut log) = (Shard::new(Sum::default()), Vec::new());
        let out = shard.request(0, RequestId(1), 5, &mut log).unwrap();
        assert_eq!((out[0].id, out[0].reply, out[0].after), (RequestId(1), 5, 0));
        assert_eq!(shard.next_deadline_ms(), Some(5));
        // Setting the timer again moves it; one that is due at once fires in the same call.
        let out = shard.request(1, RequestId(2), 0, &mut log).unwrap();
        assert_eq!((out[0].reply, out[0].after), (5, 0));
        assert_eq!(log, [5, 100]);
        assert_eq!(shard.next_deadline_ms(), None);
        // A reply that appends nothing itself waits for what others appended.
        let out = shard.request(9, RequestId(3), 0, &mut log).unwrap();
        assert_eq!((out[0].reply, out[0].after), (105, 1));
        assert_eq!(log, [5, 100, 100]);
    }

    #[test]
    fn a_log_that_was_written_anew_needs_nothing_from_before() {
        let (mut shard, mut log) = (Shard::new(Sum::default()), Vec::new());
        shard.request(0, RequestId(1), 5, &mut log).unwrap();
        shard.request(0, RequestId(1), 6, &mut log).unwrap();
        let rewritten = shard.rewrite(&mut log).unwrap();
        assert_eq!(rewritten, Rewritten { needed_from: 2, after: 2 });
        let mut again = Shard::new(Sum::default());
        log[2..].iter().for_each(|record| again.replay(record));
        assert_eq!(again.machine().0, 11);
    }

    #[test]
    fn replay_gives_the_same_state_and_a_failed_append_is_reported() {
        let (mut shard, mut log) = (Shard::new(Sum::default()), Vec::new());
        shard.request(0, RequestId(1), 5, &mut log).unwrap();
        assert!(shard.fire(4, &mut log).unwrap().is_empty());
        shard.fire(5, &mut log).unwrap();
        let mut again = Shard::new(Sum::default());
        log.iter().for_each(|record| again.replay(record));
        again.loaded(9, 1, &mut log).unwrap();
        assert_eq!(again.machine().0, shard.machine().0);
        assert_eq!(again.request(9, RequestId(1), 1, &mut log).unwrap()[0].after, 2);
        again.request(9, RequestId(2), 2, &mut log).unwrap();
        assert_eq!(again.request(9, RequestId(3), 2, &mut log).map(|_| ()), Err(()));
    }
}
