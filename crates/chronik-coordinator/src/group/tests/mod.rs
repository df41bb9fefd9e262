//! Scenarios: scripts of the protocol with a fake clock and a log in memory. After every step the log is
//! replayed, and must give the same stored state; replies are only seen once the log has committed.

mod admin;
mod chaos;
mod joins;
mod offsets;
mod statics;
mod timeouts;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::Uuid;
use chronik_protocol::error::ErrorCode;

use super::api::{
    Commit, CommitPartition, CommitTopic, Fetch, FetchTopic, GroupReply, GroupRequest, Join, Joined, Leave,
    LeavingMember, MemberCheck, Protocol, Sync, Synced,
};
use super::records;
use super::{GroupConfig, GroupMachine, GroupRecord, Stored};
use crate::machine::RequestId;
use crate::shard::{Log, Outgoing, Shard};

const GROUP: &str = "g";

/// A log of encoded records.
#[derive(Default)]
struct MemoryLog(Vec<(Bytes, Option<Bytes>)>);

impl Log<GroupRecord> for MemoryLog {
    type Error = std::convert::Infallible;

    fn append(&mut self, records: &[GroupRecord]) -> Result<i64, Self::Error> {
        self.0.extend(records.iter().map(|record| records::encode(record).unwrap()));
        Ok(self.0.len() as i64 - 1)
    }
}

impl MemoryLog {
    fn records(&self) -> Vec<GroupRecord> {
        let decode = |(key, value): &(Bytes, Option<Bytes>)| records::decode(key, value.as_deref()).unwrap().unwrap();
        self.0.iter().map(decode).collect()
    }
}

/// A request that was sent.
#[derive(Debug, Clone, Copy)]
struct Ticket(RequestId);

/// A group, its clock and its log.
struct Script {
    shard: Shard<GroupMachine>,
    config: GroupConfig,
    log: MemoryLog,
    now_ms: i64,
    next_id: u64,
    /// Replies wait here for the log to commit; normally that is at once.
    held: Vec<Outgoing<GroupReply>>,
    committing: bool,
    replies: BTreeMap<RequestId, GroupReply>,
}

impl Script {
    fn new() -> Script {
        Script::with(GroupConfig { offsets_retention_ms: 100_000, ..GroupConfig::default() })
    }

    fn with(config: GroupConfig) -> Script {
        let mut script = Script {
            shard: Shard::new(GroupMachine::new(config.clone())),
            config,
            log: MemoryLog::default(),
            now_ms: 1_000_000,
            next_id: 0,
            held: Vec::new(),
            committing: true,
            replies: BTreeMap::new(),
        };
        script.shard.loaded(script.now_ms, -1, &mut script.log).unwrap();
        script
    }

    fn send(&mut self, request: GroupRequest) -> Ticket {
        self.next_id += 1;
        let id = RequestId(self.next_id);
        let out = self.shard.request(self.now_ms, id, request, &mut self.log).unwrap();
        self.settle(out);
        Ticket(id)
    }

    fn advance_ms(&mut self, ms: i64) {
        let until = self.now_ms + ms;
        while let Some(at_ms) = self.shard.next_deadline_ms().filter(|at_ms| *at_ms <= until) {
            self.now_ms = self.now_ms.max(at_ms);
            let out = self.shard.fire(self.now_ms, &mut self.log).unwrap();
            self.settle(out);
        }
        self.now_ms = until;
    }

    fn settle(&mut self, out: Vec<Outgoing<GroupReply>>) {
        self.held.extend(out);
        if self.committing {
            self.commit_log();
        }
        self.replay();
    }

    fn commit_log(&mut self) {
        let end = self.log.0.len() as i64;
        for outgoing in self.held.drain(..) {
            assert!(outgoing.after < end);
            let twice = self.replies.insert(outgoing.id, outgoing.reply);
            assert!(twice.is_none(), "answered twice: {twice:?}");
        }
    }

    /// The log alone gives the same stored state.
    fn replay(&self) {
        let mut again = Stored::default();
        self.log.records().iter().for_each(|record| again.apply(record));
        assert_eq!(&again, self.shard.machine().stored());
    }

    /// The log is written anew, and what came before is gone.
    fn rewrite(&mut self) {
        let rewritten = self.shard.rewrite(&mut self.log).unwrap();
        self.log.0.drain(..rewritten.needed_from as usize);
        self.replay();
    }

    /// The broker dies and comes back: what was parked is gone, what is in the log is not.
    fn restart(&mut self) {
        self.shard = Shard::new(GroupMachine::new(self.config.clone()));
        for record in self.log.records() {
            self.shard.replay(&record);
        }
        let last = self.log.0.len() as i64 - 1;
        let out = self.shard.loaded(self.now_ms, last, &mut self.log).unwrap();
        self.settle(out);
    }

    fn is_parked(&self, ticket: Ticket) -> bool {
        !self.replies.contains_key(&ticket.0)
    }

    fn reply(&mut self, ticket: Ticket) -> GroupReply {
        self.replies.remove(&ticket.0).expect("no reply yet")
    }

    fn joined(&mut self, ticket: Ticket) -> Joined {
        match self.reply(ticket) {
            GroupReply::Join(joined) => joined,
            other => panic!("{other:?}"),
        }
    }

    fn synced(&mut self, ticket: Ticket) -> Synced {
        match self.reply(ticket) {
            GroupReply::Sync(synced) => synced,
            other => panic!("{other:?}"),
        }
    }

    fn state(&mut self) -> &'static str {
        let ticket = self.send(GroupRequest::Describe(GROUP.into()));
        match self.reply(ticket) {
            GroupReply::Describe(described) => described.map_or("Dead", |described| described.state),
            other => panic!("{other:?}"),
        }
    }

    fn join(&mut self, join: Join) -> Ticket {
        self.send(GroupRequest::Join(join))
    }

    /// A new dynamic member's JoinGroup v4+: told its id, it joins with that.
    fn join_new(&mut self, client: &str) -> (Arc<str>, Ticket) {
        let first = self.join(joining(client));
        let first = self.joined(first);
        assert_eq!(first.error, ErrorCode::MemberIdRequired);
        let member_id = first.member_id;
        let ticket = self.join(Join { member_id: Arc::clone(&member_id), ..joining(client) });
        (member_id, ticket)
    }

    fn sync(&mut self, member: &Arc<str>, generation: i32, assignments: &[(&Arc<str>, &str)]) -> Ticket {
        let assignments =
            assignments.iter().map(|(id, text)| (Arc::clone(id), Bytes::copy_from_slice(text.as_bytes()))).collect();
        let member = check(member, generation);
        self.send(GroupRequest::Sync(Sync { member, protocol_type: None, protocol: None, assignments }))
    }

    fn heartbeat(&mut self, member: &Arc<str>, generation: i32) -> ErrorCode {
        let ticket = self.send(GroupRequest::Heartbeat(check(member, generation)));
        match self.reply(ticket) {
            GroupReply::Heartbeat(error) => error,
            other => panic!("{other:?}"),
        }
    }

    fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let leaving = |(member_id, instance_id): &(&str, Option<&str>)| LeavingMember {
            member_id: (*member_id).into(),
            instance_id: instance_id.map(Into::into),
        };
        let members = members.iter().map(leaving).collect();
        let ticket = self.send(GroupRequest::Leave(Leave { group_id: GROUP.into(), members }));
        match self.reply(ticket) {
            GroupReply::Leave(left) => left.into_iter().map(|(_, error)| error).collect(),
            other => panic!("{other:?}"),
        }
    }

    /// Commits one offset of partition 0.
    fn commit(&mut self, member: MemberCheck, topic: &str, offset: i64) -> Result<ErrorCode, ErrorCode> {
        let ticket = self.send(GroupRequest::Commit(committing(member, topic, &[(0, offset, "")])));
        match self.reply(ticket) {
            GroupReply::Commit(committed) => committed.map(|topics| topics[0][0]),
            other => panic!("{other:?}"),
        }
    }

    /// The committed offset of partition 0; −1 for none.
    fn committed(&mut self, topic: &str) -> i64 {
        let topics = Some(vec![FetchTopic { name: topic.into(), id: Uuid::ZERO, partitions: vec![0] }]);
        let ticket = self.send(GroupRequest::Fetch(Fetch { group_id: GROUP.into(), topics }));
        match self.reply(ticket) {
            GroupReply::Fetch(topics) => topics[0].partitions[0].1.as_ref().map_or(-1, |committed| committed.offset),
            other => panic!("{other:?}"),
        }
    }

    /// Members that join one after the other, and then are stable together in the generation that is returned.
    fn stable<const N: usize>(&mut self, clients: [&str; N]) -> ([Arc<str>; N], i32) {
        let mut members: Vec<Arc<str>> = Vec::new();
        let mut generation = 0;
        for client in clients {
            let (member, ticket) = self.join_new(client);
            let mut tickets = vec![ticket];
            for old in &members {
                tickets.push(self.join(Join { member_id: Arc::clone(old), ..joining(client_of(old)) }));
            }
            members.push(member);
            let answers: Vec<Joined> = tickets.into_iter().map(|ticket| self.joined(ticket)).collect();
            let leader = answers[0].leader.clone().unwrap();
            generation = answers[0].generation;
            assert!(answers.iter().all(|joined| joined.error == ErrorCode::None && joined.generation == generation));
            let texts: Vec<String> = members.iter().map(|member| client_of(member).to_string()).collect();
            let assignments: Vec<(&Arc<str>, &str)> = members.iter().zip(texts.iter().map(String::as_str)).collect();
            let leads = self.sync(&leader, generation, &assignments);
            assert_eq!(self.synced(leads).error, ErrorCode::None);
            for member in members.iter().filter(|member| **member != leader) {
                let ticket = self.sync(member, generation, &[]);
                assert_eq!(self.synced(ticket).assignment, client_of(member));
            }
        }
        assert_eq!(self.state(), "Stable");
        (members.try_into().unwrap(), generation)
    }
}

fn client_of(member: &str) -> &str {
    member.split('-').next().unwrap()
}

fn check(member: &Arc<str>, generation: i32) -> MemberCheck {
    MemberCheck { group_id: GROUP.into(), member_id: Arc::clone(member), instance_id: None, generation }
}

fn simple() -> MemberCheck {
    check(&"".into(), -1)
}

/// A subscription of the consumer protocol, v0, to one topic.
fn subscription(topic: &str) -> Bytes {
    let mut bytes = vec![0, 0, 0, 0, 0, 1, 0, topic.len() as u8];
    bytes.extend_from_slice(topic.as_bytes());
    bytes.extend_from_slice(&[0xff; 4]);
    bytes.into()
}

fn protocol(name: &str, topic: &str) -> Protocol {
    Protocol { name: name.into(), metadata: subscription(topic) }
}

/// A new consumer's JoinGroup, v9: topic "t", session 10 s, rebalance 60 s.
fn joining(client: &str) -> Join {
    static COUNT: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);
    Join {
        group_id: GROUP.into(),
        member_id: "".into(),
        instance_id: None,
        client_id: client.into(),
        client_host: "/127.0.0.1".into(),
        session_timeout_ms: 10_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".into(),
        protocols: vec![protocol("range", "t")],
        requires_member_id: true,
        can_skip_assignment: true,
        fresh_id: Uuid::from_bytes([COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed); 16]),
    }
}

fn committing(member: MemberCheck, topic: &str, partitions: &[(i32, i64, &str)]) -> Commit {
    let partition = |(partition, offset, metadata): &(i32, i64, &str)| CommitPartition {
        partition: *partition,
        offset: *offset,
        leader_epoch: -1,
        commit_timestamp_ms: -1,
        metadata: Some((*metadata).into()),
    };
    Commit {
        member,
        knows_group_id_not_found: true,
        retention_ms: -1,
        topics: vec![CommitTopic {
            name: topic.into(),
            id: Uuid::ZERO,
            partitions: partitions.iter().map(partition).collect(),
        }],
    }
}
