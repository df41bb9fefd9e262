//! What a coordinator is: a machine without I/O, clock or randomness, driven from outside.
//!
//! A machine says what should happen (records to append, replies, timers) and changes its *stored* state
//! only in [`Machine::apply`], which is also what replays the log at start. Whatever else it holds (who is
//! waiting, which timers run) is soft: a restart may forget it.

/// Names one request that is waiting for its reply. Chosen by the shell, unique in a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// A coordinator: requests and timers go in, effects come out, committed records come back.
pub trait Machine {
    /// What can be asked.
    type Request;
    /// What is answered.
    type Reply;
    /// What is written to the log.
    type Record;
    /// What can be waited for. Setting an equal timer again moves it.
    type Timer: Ord + Clone;

    /// One request. Its reply may be among the effects of this call, or of any later one.
    fn request(&mut self, now_ms: i64, id: RequestId, request: Self::Request) -> Effects<Self>;

    /// A timer is due.
    fn expire(&mut self, now_ms: i64, timer: Self::Timer) -> Effects<Self>;

    /// The only thing that changes stored state: a record that was appended, now or before the last restart.
    fn apply(&mut self, record: &Self::Record);

    /// Records that make the stored state as it is now out of nothing.
    fn snapshot(&self) -> Vec<Self::Record>;

    /// The log has been replayed to its end: soft state is made from stored state, timers are set.
    fn loaded(&mut self, now_ms: i64) -> Effects<Self>;
}

/// What a machine wants done, in this order: records appended, then replies and timers.
#[derive(Debug)]
pub struct Effects<M: Machine + ?Sized> {
    /// Records to append, as one unit.
    pub records: Vec<M::Record>,
    /// Replies; each leaves once everything appended up to here is committed.
    pub replies: Vec<(RequestId, M::Reply)>,
    /// Timers to set and cancel, in order.
    pub timers: Vec<TimerChange<M::Timer>>,
}

/// A change of one timer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimerChange<T> {
    /// Wake at this time, instead of at an earlier setting's.
    Set {
        /// Which timer.
        timer: T,
        /// When, in milliseconds of the clock that requests carry.
        at_ms: i64,
    },
    /// Do not wake any more.
    Cancel(T),
}

impl<M: Machine + ?Sized> Default for Effects<M> {
    fn default() -> Self {
        Effects { records: Vec::new(), replies: Vec::new(), timers: Vec::new() }
    }
}

impl<M: Machine + ?Sized> Effects<M> {
    /// Appends a record.
    pub fn record(&mut self, record: M::Record) {
        self.records.push(record);
    }

    /// Answers a request.
    pub fn reply(&mut self, id: RequestId, reply: M::Reply) {
        self.replies.push((id, reply));
    }

    /// Sets a timer.
    pub fn set_timer(&mut self, timer: M::Timer, at_ms: i64) {
        self.timers.push(TimerChange::Set { timer, at_ms });
    }

    /// Cancels a timer.
    pub fn cancel_timer(&mut self, timer: M::Timer) {
        self.timers.push(TimerChange::Cancel(timer));
    }
}
