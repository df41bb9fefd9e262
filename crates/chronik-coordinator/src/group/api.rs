//! What can be asked of a group coordinator, and what it answers: the fields of Kafka's messages that matter
//! here, in every version. The server's API files translate.

use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::Uuid;
use chronik_protocol::error::ErrorCode;

/// A request to one group, or (listing, deleted topics) to all groups of a shard.
#[derive(Debug, Clone)]
pub enum GroupRequest {
    /// JoinGroup.
    Join(Join),
    /// SyncGroup.
    Sync(Sync),
    /// Heartbeat.
    Heartbeat(MemberCheck),
    /// LeaveGroup.
    Leave(Leave),
    /// OffsetCommit, of partitions that exist.
    Commit(Commit),
    /// OffsetFetch, one group of it.
    Fetch(Fetch),
    /// OffsetDelete, of partitions that exist.
    DeleteOffsets(DeleteOffsets),
    /// ListGroups.
    List(List),
    /// DescribeGroups, one group of it.
    Describe(Arc<str>),
    /// DeleteGroups, one group of it.
    Delete(Arc<str>),
    /// These topics are gone, and their committed offsets go with them.
    TopicsDeleted(Vec<Arc<str>>),
}

/// What a group coordinator answers; each variant belongs to the request's of the same name.
#[derive(Debug, Clone, PartialEq)]
pub enum GroupReply {
    /// To [`GroupRequest::Join`].
    Join(Joined),
    /// To [`GroupRequest::Sync`].
    Sync(Synced),
    /// To [`GroupRequest::Heartbeat`].
    Heartbeat(ErrorCode),
    /// To [`GroupRequest::Leave`].
    Leave(Left),
    /// To [`GroupRequest::Commit`].
    Commit(Committed),
    /// To [`GroupRequest::Fetch`]: one entry a topic, with one entry for each partition that was asked for.
    Fetch(Vec<FetchedTopic>),
    /// To [`GroupRequest::DeleteOffsets`].
    DeleteOffsets(Result<Vec<DeletedOffsets>, ErrorCode>),
    /// To [`GroupRequest::List`].
    List(Vec<Listed>),
    /// To [`GroupRequest::Describe`]; `None`: there is no such group.
    Describe(Option<Described>),
    /// To [`GroupRequest::Delete`].
    Delete(ErrorCode),
    /// To [`GroupRequest::TopicsDeleted`].
    TopicsDeleted,
}

/// JoinGroup v0–9.
#[derive(Debug, Clone)]
pub struct Join {
    /// The group.
    pub group_id: Arc<str>,
    /// Empty: a new member.
    pub member_id: Arc<str>,
    /// A static member's name (v5+).
    pub instance_id: Option<Arc<str>>,
    /// From the request header; the beginning of a generated member id.
    pub client_id: Arc<str>,
    /// As Java prints an address: `/127.0.0.1`.
    pub client_host: Arc<str>,
    /// After so long without a heartbeat a member is out.
    pub session_timeout_ms: i32,
    /// So long members may take to rejoin; v0 has the session timeout here.
    pub rebalance_timeout_ms: i32,
    /// "consumer", "connect", …
    pub protocol_type: Arc<str>,
    /// The assignors or such that the member knows, the liked best first.
    pub protocols: Vec<Protocol>,
    /// v4+ (KIP-394): a new member is first told its id, and joins with that.
    pub requires_member_id: bool,
    /// v9+ (KIP-814): a leader can be told to leave the assignment as it is.
    pub can_skip_assignment: bool,
    /// Random: what makes a generated member id unique.
    pub fresh_id: Uuid,
}

/// A protocol that a member supports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol {
    /// Its name.
    pub name: Arc<str>,
    /// The member's subscription, opaque but for the topics of the consumer protocol.
    pub metadata: Bytes,
}

/// What a JoinGroup is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Joined {
    /// Kafka's code.
    pub error: ErrorCode,
    /// −1 unless the member is in.
    pub generation: i32,
    /// The group's, if the member is in.
    pub protocol_type: Option<Arc<str>>,
    /// The protocol that was chosen.
    pub protocol: Option<Arc<str>>,
    /// The member that assigns.
    pub leader: Option<Arc<str>>,
    /// KIP-814.
    pub skip_assignment: bool,
    /// The member's own id.
    pub member_id: Arc<str>,
    /// To the leader: everyone.
    pub members: Vec<JoinedMember>,
}

/// A member, as the leader sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: Arc<str>,
    /// A static member's name.
    pub instance_id: Option<Arc<str>>,
    /// Its subscription for the chosen protocol.
    pub metadata: Bytes,
}

/// What names a member in Heartbeat, SyncGroup and OffsetCommit.
#[derive(Debug, Clone)]
pub struct MemberCheck {
    /// The group.
    pub group_id: Arc<str>,
    /// The member.
    pub member_id: Arc<str>,
    /// A static member's name.
    pub instance_id: Option<Arc<str>>,
    /// The generation that the member believes in; −1 for none.
    pub generation: i32,
}

/// SyncGroup v0–5.
#[derive(Debug, Clone)]
pub struct Sync {
    /// Who asks.
    pub member: MemberCheck,
    /// v5+: must be the group's.
    pub protocol_type: Option<Arc<str>>,
    /// v5+: must be the chosen one.
    pub protocol: Option<Arc<str>>,
    /// From the leader: who gets what.
    pub assignments: Vec<(Arc<str>, Bytes)>,
}

/// What a SyncGroup is answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Synced {
    /// Kafka's code.
    pub error: ErrorCode,
    /// The group's.
    pub protocol_type: Option<Arc<str>>,
    /// The chosen one.
    pub protocol: Option<Arc<str>>,
    /// What the member got.
    pub assignment: Bytes,
}

/// LeaveGroup v0–5; before v3 there is one member.
#[derive(Debug, Clone)]
pub struct Leave {
    /// The group.
    pub group_id: Arc<str>,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// Somebody who leaves, or is made to leave.
#[derive(Debug, Clone, PartialEq)]
pub struct LeavingMember {
    /// Empty: whoever has the instance id.
    pub member_id: Arc<str>,
    /// A static member's name.
    pub instance_id: Option<Arc<str>>,
}

/// What a LeaveGroup is answered: the members as they were named, each with its own code.
pub type Left = Vec<(LeavingMember, ErrorCode)>;

/// OffsetCommit v0–10.
#[derive(Debug, Clone)]
pub struct Commit {
    /// Who commits; a simple consumer has generation −1 and an empty member id.
    pub member: MemberCheck,
    /// v9+ says GROUP_ID_NOT_FOUND where older versions say ILLEGAL_GENERATION.
    pub knows_group_id_not_found: bool,
    /// v2–4: the offsets expire so long after now, whatever the broker's retention; −1 for none.
    pub retention_ms: i64,
    /// What is committed.
    pub topics: Vec<CommitTopic>,
}

/// A topic of an OffsetCommit.
#[derive(Debug, Clone)]
pub struct CommitTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; ZERO where the request has names.
    pub id: Uuid,
    /// Its partitions, possibly one twice: then the last one counts.
    pub partitions: Vec<CommitPartition>,
}

/// A partition of an OffsetCommit.
#[derive(Debug, Clone)]
pub struct CommitPartition {
    /// Its index.
    pub partition: i32,
    /// The next offset to read. Anything is taken, as in Kafka.
    pub offset: i64,
    /// −1: unknown.
    pub leader_epoch: i32,
    /// v1 only: when this was committed; −1 for now.
    pub commit_timestamp_ms: i64,
    /// Whatever the client wants to remember.
    pub metadata: Option<Arc<str>>,
}

/// What an OffsetCommit is answered: a code for everything, or one a partition, in the request's order.
pub type Committed = Result<Vec<Vec<ErrorCode>>, ErrorCode>;

/// One group of an OffsetFetch v0–10.
#[derive(Debug, Clone)]
pub struct Fetch {
    /// The group.
    pub group_id: Arc<str>,
    /// `None`: everything that is committed.
    pub topics: Option<Vec<FetchTopic>>,
}

/// A topic of an OffsetFetch.
#[derive(Debug, Clone)]
pub struct FetchTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; an offset that was committed for another topic of that name is not given out. ZERO: do not check.
    pub id: Uuid,
    /// Its partitions.
    pub partitions: Vec<i32>,
}

/// A topic of the answer to an OffsetFetch.
#[derive(Debug, Clone, PartialEq)]
pub struct FetchedTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its partitions, each as asked for; `None`: nothing is committed.
    pub partitions: Vec<(i32, Option<super::OffsetAndMetadata>)>,
}

/// OffsetDelete v0.
#[derive(Debug, Clone)]
pub struct DeleteOffsets {
    /// The group.
    pub group_id: Arc<str>,
    /// Topics and partitions.
    pub topics: Vec<(Arc<str>, Vec<i32>)>,
}

/// What an OffsetDelete is answered: a topic, and a code for each of its partitions.
pub type DeletedOffsets = (Arc<str>, Vec<(i32, ErrorCode)>);

/// ListGroups v0–5.
#[derive(Debug, Clone, Default)]
pub struct List {
    /// v4+: only groups in these states, whatever the case of letters; empty: all.
    pub states: Vec<Arc<str>>,
    /// v5+: only groups of these types, whatever the case of letters; empty: all.
    pub types: Vec<Arc<str>>,
}

/// A group in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub group_id: Arc<str>,
    /// "consumer", …; empty if no member was ever there.
    pub protocol_type: Arc<str>,
    /// "Stable", ….
    pub state: &'static str,
    /// "classic".
    pub group_type: &'static str,
}

/// A group in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// "Stable", ….
    pub state: &'static str,
    /// "consumer", …
    pub protocol_type: Arc<str>,
    /// The chosen protocol, while the group is stable.
    pub protocol: Arc<str>,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// A member in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: Arc<str>,
    /// A static member's name.
    pub instance_id: Option<Arc<str>>,
    /// As it said when it joined.
    pub client_id: Arc<str>,
    /// Where it joined from.
    pub client_host: Arc<str>,
    /// Its subscription, while the group is stable.
    pub metadata: Bytes,
    /// What it got.
    pub assignment: Bytes,
}
