//! A group member that does exactly what it is told, one request at a time.

use std::time::{Duration, Instant};

use chronik_protocol::generated::join_group_request::JoinGroupRequestProtocol;
use chronik_protocol::generated::sync_group_request::SyncGroupRequestAssignment;
use chronik_protocol::messages::{
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, SyncGroupRequest,
};

use crate::connection::Connection;
use crate::world::World;

/// The last version in which a member joins without an id at the first attempt.
pub(crate) const JOIN: i16 = 3;

pub(crate) struct Member {
    pub(crate) connection: Connection,
    pub(crate) group: String,
    pub(crate) id: String,
    pub(crate) generation: i32,
    pub(crate) session_timeout_ms: i32,
}

/// What a JoinGroup was answered.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Joined {
    pub(crate) code: i16,
    pub(crate) generation: i32,
    pub(crate) leader: bool,
    /// The members, for the leader.
    pub(crate) members: Vec<String>,
}

/// A JoinGroup with these protocols.
pub(crate) fn join(group: &str, member: &str, protocols: &[&'static str]) -> JoinGroupRequest<'static> {
    let protocol = |name: &&'static str| JoinGroupRequestProtocol { name: (*name).into(), metadata: b"m"[..].into() };
    JoinGroupRequest {
        group_id: group.to_owned().into(),
        session_timeout_ms: 30_000,
        rebalance_timeout_ms: 30_000,
        member_id: member.to_owned().into(),
        protocol_type: "consumer".into(),
        protocols: protocols.iter().map(protocol).collect(),
        ..Default::default()
    }
}

impl Member {
    pub(crate) fn new(world: &World, group: &str) -> Member {
        let connection = world.open();
        Member { connection, group: group.to_owned(), id: String::new(), generation: -1, session_timeout_ms: 30_000 }
    }

    pub(crate) fn send_join(&mut self) {
        let request = join(&self.group, &self.id, &["range"]);
        let request = JoinGroupRequest { session_timeout_ms: self.session_timeout_ms, ..request };
        self.connection.send(JOIN, &request);
    }

    pub(crate) fn joined(&mut self) -> Joined {
        let answer = self.connection.receive::<JoinGroupRequest<'_>>(JOIN);
        let body = answer.body();
        if body.error_code == 0 {
            (self.id, self.generation) = (body.member_id.to_string(), body.generation_id);
        }
        Joined {
            code: body.error_code,
            generation: body.generation_id,
            leader: body.error_code == 0 && body.leader == body.member_id,
            members: body.members.iter().map(|m| m.member_id.to_string()).collect(),
        }
    }

    /// SyncGroup with an assignment for each of `members`; the code and the assignment of this member.
    pub(crate) fn sync(&mut self, members: &[String]) -> (i16, Vec<u8>) {
        self.send_sync(members);
        self.synced()
    }

    pub(crate) fn send_sync(&mut self, members: &[String]) {
        let assignment = |id: &String| SyncGroupRequestAssignment {
            member_id: id.clone().into(),
            assignment: id.clone().into_bytes().into(),
        };
        let request = SyncGroupRequest {
            group_id: self.group.clone().into(),
            generation_id: self.generation,
            member_id: self.id.clone().into(),
            assignments: members.iter().map(assignment).collect(),
            ..Default::default()
        };
        self.connection.send(3, &request);
    }

    pub(crate) fn synced(&mut self) -> (i16, Vec<u8>) {
        let answer = self.connection.receive::<SyncGroupRequest<'_>>(3);
        let body = answer.body();
        (body.error_code, body.assignment.to_vec())
    }

    pub(crate) fn heartbeat(&mut self) -> i16 {
        let request = HeartbeatRequest {
            group_id: self.group.clone().into(),
            generation_id: self.generation,
            member_id: self.id.clone().into(),
            ..Default::default()
        };
        self.connection.call(3, &request).body().error_code
    }

    pub(crate) fn leave(&mut self) -> i16 {
        let request = LeaveGroupRequest {
            group_id: self.group.clone().into(),
            member_id: self.id.clone().into(),
            ..Default::default()
        };
        self.connection.call(2, &request).body().error_code
    }

    /// Heartbeats until the group rebalances.
    pub(crate) fn wait_for_rebalance(&mut self, within: Duration) {
        let deadline = Instant::now() + within;
        loop {
            match self.heartbeat() {
                27 => return,
                0 => assert!(Instant::now() < deadline, "no rebalance within {within:?}"),
                code => panic!("heartbeat: {code}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// Asks for the group's coordinator until there is one, as every client does.
pub(crate) fn find_coordinator(connection: &mut Connection, group: &str) {
    let request = FindCoordinatorRequest { key: group.to_owned().into(), ..Default::default() };
    let deadline = Instant::now() + Duration::from_secs(10);
    while connection.call(2, &request).body().error_code != 0 {
        assert!(Instant::now() < deadline, "no coordinator");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A stable group of two: the leader first.
pub(crate) fn pair(world: &mut World, session_timeout_ms: i32) -> [Member; 2] {
    let group = world.name("group");
    find_coordinator(&mut world.connection, &group);
    let mut members = [Member::new(world, &group), Member::new(world, &group)];
    members.iter_mut().for_each(|m| m.session_timeout_ms = session_timeout_ms);
    let [first, second] = &mut members;
    first.send_join();
    let joined = first.joined();
    assert_eq!(joined.code, 0);
    assert_eq!(first.sync(&joined.members).0, 0);
    second.send_join();
    first.wait_for_rebalance(Duration::from_secs(5));
    first.send_join();
    let joined = first.joined();
    assert_eq!((joined.code, joined.leader, joined.members.len()), (0, true, 2));
    assert_eq!(second.joined().code, 0);
    assert_eq!(first.sync(&joined.members), (0, first.id.clone().into_bytes()));
    assert_eq!(second.sync(&[]), (0, second.id.clone().into_bytes()));
    members
}
