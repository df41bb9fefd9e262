//! A member of a group, in requests as a client sends them.

use std::time::Duration;

use chronik_protocol::ErrorCode;
use chronik_protocol::generated::join_group_request::JoinGroupRequestProtocol;
use chronik_protocol::generated::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use chronik_protocol::generated::offset_fetch_request::OffsetFetchRequestTopic;
use chronik_protocol::generated::sync_group_request::SyncGroupRequestAssignment;
use chronik_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, HeartbeatRequest, HeartbeatResponse, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse,
    OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::{Connection, TestBroker};

pub(crate) struct Member {
    pub(crate) connection: Connection,
    pub(crate) group: String,
    pub(crate) id: String,
    pub(crate) generation: i32,
    pub(crate) session: Duration,
}

impl Member {
    /// A consumer that has found its coordinator.
    pub(crate) async fn new(broker: &TestBroker, group: &str) -> Member {
        let mut connection = broker.connect().await;
        let request = FindCoordinatorRequest { key: group.to_owned().into(), ..Default::default() };
        let answer = connection.call(2, &request).await;
        let found: FindCoordinatorResponse<'_> = answer.body();
        assert_eq!((found.error_code, found.port), (0, i32::from(broker.address().port())), "{found:?}");
        Member {
            connection,
            group: group.to_owned(),
            id: String::new(),
            generation: -1,
            session: Duration::from_secs(30),
        }
    }

    pub(crate) fn join_request(&self) -> JoinGroupRequest<'static> {
        let protocol = JoinGroupRequestProtocol {
            name: "range".into(),
            metadata: b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff".as_slice().into(),
        };
        JoinGroupRequest {
            group_id: self.group.clone().into(),
            session_timeout_ms: self.session.as_millis() as i32,
            rebalance_timeout_ms: 60_000,
            member_id: self.id.clone().into(),
            protocol_type: "consumer".into(),
            protocols: vec![protocol],
            ..Default::default()
        }
    }

    /// Until the answer that is not MEMBER_ID_REQUIRED: whether it is in, or why not, and the members if it leads.
    pub(crate) async fn join(&mut self) -> Result<Option<Vec<String>>, ErrorCode> {
        loop {
            let request = self.join_request();
            let answer = self.connection.call(5, &request).await;
            match self.joined(&answer.body()) {
                Err(ErrorCode::MemberIdRequired) => {}
                outcome => return outcome,
            }
        }
    }

    pub(crate) fn joined(&mut self, joined: &JoinGroupResponse<'_>) -> Result<Option<Vec<String>>, ErrorCode> {
        match ErrorCode::from_code(joined.error_code) {
            ErrorCode::None => {
                self.id = joined.member_id.to_string();
                self.generation = joined.generation_id;
                let members = joined.members.iter().map(|member| member.member_id.to_string()).collect();
                Ok((joined.leader == joined.member_id).then_some(members))
            }
            error => {
                if matches!(error, ErrorCode::MemberIdRequired | ErrorCode::UnknownMemberId) {
                    self.id = joined.member_id.to_string();
                }
                Err(error)
            }
        }
    }

    /// As the leader if there are members, each of whom then gets its own id.
    pub(crate) async fn sync(&mut self, members: Option<Vec<String>>) -> Result<Vec<u8>, ErrorCode> {
        let assignment = |id: String| SyncGroupRequestAssignment {
            assignment: id.clone().into_bytes().into(),
            member_id: id.into(),
        };
        let request = SyncGroupRequest {
            group_id: self.group.clone().into(),
            generation_id: self.generation,
            member_id: self.id.clone().into(),
            assignments: members.into_iter().flatten().map(assignment).collect(),
            ..Default::default()
        };
        let answer = self.connection.call(3, &request).await;
        let synced: SyncGroupResponse<'_> = answer.body();
        match ErrorCode::from_code(synced.error_code) {
            ErrorCode::None => Ok(synced.assignment.to_vec()),
            error => Err(error),
        }
    }

    /// Joins and syncs until it is in a generation that everybody has synced.
    pub(crate) async fn settle(&mut self) {
        loop {
            let Ok(members) = self.join().await else { continue };
            if let Ok(assignment) = self.sync(members).await {
                assert_eq!(assignment, self.id.as_bytes());
                return;
            }
        }
    }

    pub(crate) async fn heartbeat(&mut self) -> ErrorCode {
        let request = HeartbeatRequest {
            group_id: self.group.clone().into(),
            generation_id: self.generation,
            member_id: self.id.clone().into(),
            ..Default::default()
        };
        let answer = self.connection.call(3, &request).await;
        ErrorCode::from_code(answer.body::<HeartbeatResponse>().error_code)
    }

    pub(crate) async fn leave(&mut self) -> ErrorCode {
        let request = LeaveGroupRequest {
            group_id: self.group.clone().into(),
            member_id: std::mem::take(&mut self.id).into(),
            ..Default::default()
        };
        let answer = self.connection.call(1, &request).await;
        ErrorCode::from_code(answer.body::<LeaveGroupResponse<'_>>().error_code)
    }

    /// Commits an offset of partition 0; without having joined, as a simple consumer.
    pub(crate) async fn commit(&mut self, topic: &str, offset: i64) -> ErrorCode {
        let partition = OffsetCommitRequestPartition { committed_offset: offset, ..Default::default() };
        let topic = OffsetCommitRequestTopic {
            name: topic.to_owned().into(),
            partitions: vec![partition],
            ..Default::default()
        };
        let request = OffsetCommitRequest {
            group_id: self.group.clone().into(),
            generation_id_or_member_epoch: self.generation,
            member_id: self.id.clone().into(),
            topics: vec![topic],
            ..Default::default()
        };
        let answer = self.connection.call(8, &request).await;
        let committed: OffsetCommitResponse<'_> = answer.body();
        ErrorCode::from_code(committed.topics[0].partitions[0].error_code)
    }

    /// The committed offset of partition 0.
    pub(crate) async fn committed(&mut self, topic: &str) -> i64 {
        let topic = OffsetFetchRequestTopic { name: topic.to_owned().into(), partition_indexes: vec![0] };
        let request =
            OffsetFetchRequest { group_id: self.group.clone().into(), topics: Some(vec![topic]), ..Default::default() };
        loop {
            let answer = self.connection.call(7, &request).await;
            let fetched: OffsetFetchResponse<'_> = answer.body();
            match ErrorCode::from_code(fetched.error_code) {
                ErrorCode::None => return fetched.topics[0].partitions[0].committed_offset,
                ErrorCode::CoordinatorLoadInProgress => tokio::time::sleep(Duration::from_millis(5)).await,
                error => panic!("{error:?}"),
            }
        }
    }
}
