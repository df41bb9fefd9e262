//! G: members that come at the wrong time or with the wrong identity, and offsets that mean nothing.

use std::time::{Duration, Instant};

use chronik_protocol::Uuid;
use chronik_protocol::generated::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use chronik_protocol::generated::offset_fetch_request::OffsetFetchRequestTopic;
use chronik_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest,
    OffsetCommitRequest, OffsetFetchRequest, SyncGroupRequest,
};

use crate::Row;
use crate::member::{JOIN, Member, find_coordinator, join, pair};
use crate::world::World;

pub(crate) const ROWS: &[Row] = &[
    Row { id: "G01", input: "an empty group id", run: no_group },
    Row { id: "G03", input: "no protocol, other protocols", run: protocols },
    Row { id: "G04", input: "a first join without a member id", run: no_member_id },
    Row { id: "G05", input: "unknown members, old generations, commits in a rebalance", run: strangers },
    Row { id: "G08", input: "commit metadata of 4,097 characters", run: metadata },
    Row { id: "G09", input: "a commit for a topic that is not there", run: missing_topic },
    Row { id: "G12", input: "a member that is killed", run: killed_member },
    Row { id: "G15", input: "deleting groups that have members or are not there", run: delete },
    Row { id: "G23", input: "a partition twice in a commit, offsets that cannot be", run: odd_commits },
    Row { id: "G24", input: "describing a group that is not there", run: missing_group },
];

/// An offset to commit, with its metadata.
fn commit(group: &str, topic: &str, offsets: &[(i32, i64, &str)]) -> OffsetCommitRequest<'static> {
    let partition = |(partition_index, committed_offset, metadata): &(i32, i64, &str)| OffsetCommitRequestPartition {
        partition_index: *partition_index,
        committed_offset: *committed_offset,
        committed_metadata: Some((*metadata).to_owned().into()),
        ..Default::default()
    };
    let partitions = offsets.iter().map(partition).collect();
    let topic = OffsetCommitRequestTopic { name: topic.to_owned().into(), partitions, ..Default::default() };
    OffsetCommitRequest { group_id: group.to_owned().into(), topics: vec![topic], ..Default::default() }
}

/// The code for each partition of a commit.
fn committed(world: &mut World, request: &OffsetCommitRequest<'static>) -> Vec<i16> {
    let answer = world.connection.call(8, request);
    answer.body().topics.iter().flat_map(|t| t.partitions.iter().map(|p| p.error_code)).collect()
}

/// The committed offset of partition 0.
fn fetched(world: &mut World, group: &str, topic: &str) -> (i16, i64) {
    let topic = OffsetFetchRequestTopic { name: topic.to_owned().into(), partition_indexes: vec![0] };
    let request =
        OffsetFetchRequest { group_id: group.to_owned().into(), topics: Some(vec![topic]), ..Default::default() };
    let answer = world.connection.call(5, &request);
    let partition = &answer.body().topics[0].partitions[0];
    (partition.error_code, partition.committed_offset)
}

/// Commits an offset, so that the topic of offsets is there.
pub(crate) fn use_offsets(world: &mut World) {
    let (group, topic) = (world.name("group"), world.topic.clone());
    find_coordinator(&mut world.connection, &group);
    assert_eq!(committed(world, &commit(&group, &topic, &[(0, 1, "")])), [0]);
}

fn delete_group(world: &mut World, groups: &[&str]) -> Vec<i16> {
    let groups_names = groups.iter().map(|g| (*g).to_owned().into()).collect();
    let answer = world.connection.call(2, &DeleteGroupsRequest { groups_names });
    let body = answer.body();
    let code = |group: &&str| body.results.iter().find(|r| r.group_id == **group).map_or(-2, |r| r.error_code);
    groups.iter().map(code).collect()
}

fn no_group(world: &mut World) {
    find_coordinator(&mut world.connection, "");
    delete_group(world, &[""]); // a broker that others use may have it
    let connection = &mut world.connection;
    assert_eq!(connection.call(JOIN, &join("", "", &["range"])).body().error_code, 24);
    let sync = SyncGroupRequest { generation_id: 1, member_id: "m".into(), ..Default::default() };
    assert_eq!(connection.call(3, &sync).body().error_code, 24);
    let heartbeat = HeartbeatRequest { generation_id: 1, member_id: "m".into(), ..Default::default() };
    assert_eq!(connection.call(3, &heartbeat).body().error_code, 24);
    let leave = LeaveGroupRequest { member_id: "m".into(), ..Default::default() };
    assert_eq!(connection.call(2, &leave).body().error_code, 24);
    let topic = world.topic.clone();
    let simple = commit("", &topic, &[(0, 7, "")]);
    let with_generation =
        OffsetCommitRequest { generation_id_or_member_epoch: 1, member_id: "m".into(), ..simple.clone() };
    assert_eq!(committed(world, &with_generation), [22]);
    assert_eq!(committed(world, &simple), [0]);
    assert_eq!(fetched(world, "", &topic), (0, 7));
    let describe = DescribeGroupsRequest { groups: vec!["".into()], ..Default::default() };
    assert_eq!(world.connection.call(5, &describe).body().groups[0].error_code, 0);
    assert_eq!(delete_group(world, &[""]), [0]);
}

fn protocols(world: &mut World) {
    let fresh = world.name("group");
    find_coordinator(&mut world.connection, &fresh);
    assert_eq!(world.connection.call(JOIN, &join(&fresh, "", &[])).body().error_code, 23, "none");
    let untyped = JoinGroupRequest { protocol_type: "".into(), ..join(&fresh, "", &["range"]) };
    assert_eq!(world.connection.call(JOIN, &untyped).body().error_code, 23, "no type");
    let [mut first, mut second] = pair(world, 30_000);
    let group = first.group.clone();
    assert_eq!(world.connection.call(JOIN, &join(&group, "", &["roundrobin"])).body().error_code, 23);
    assert_eq!(world.connection.call(JOIN, &join(&group, "", &[])).body().error_code, 23);
    let other = JoinGroupRequest { protocol_type: "connect".into(), ..join(&group, "", &["range"]) };
    assert_eq!(world.connection.call(JOIN, &other).body().error_code, 23);
    assert_eq!((first.heartbeat(), second.heartbeat()), (0, 0), "the members are undisturbed");
}

fn no_member_id(world: &mut World) {
    let group = world.name("group");
    find_coordinator(&mut world.connection, &group);
    for version in [4, 5, 9] {
        let answer = world.connection.call(version, &join(&group, "", &["range"]));
        let body = answer.body();
        assert_eq!(body.error_code, 79, "v{version}");
        assert!(!body.member_id.is_empty(), "v{version}");
        let id = body.member_id.to_string();
        let again = join(&group, &id, &["range"]);
        let answer = world.connection.call(version, &again);
        let body = answer.body();
        assert_eq!((body.error_code, &*body.member_id), (0, &id[..]), "v{version}");
        let leave = LeaveGroupRequest { group_id: group.clone().into(), member_id: id.into(), ..Default::default() };
        assert_eq!(world.connection.call(2, &leave).body().error_code, 0);
    }
    let invented = join(&group, "invented", &["range"]);
    assert_eq!(world.connection.call(5, &invented).body().error_code, 25);
}

fn strangers(world: &mut World) {
    let [mut first, mut second] = pair(world, 30_000);
    let topic = world.topic.clone();
    let mut stranger =
        Member { id: "nobody".to_owned(), generation: first.generation, ..Member::new(world, &first.group) };
    assert_eq!((stranger.heartbeat(), stranger.sync(&[]).0, stranger.leave()), (25, 25, 25));
    let generation = first.generation;
    for wrong in [generation - 1, generation + 1] {
        first.generation = wrong;
        assert_eq!((first.heartbeat(), first.sync(&[]).0), (22, 22), "generation {wrong} for {generation}");
    }
    first.generation = generation;
    let as_member = |member: &Member| OffsetCommitRequest {
        generation_id_or_member_epoch: member.generation,
        member_id: member.id.clone().into(),
        ..commit(&member.group, &topic, &[(0, 3, "")])
    };
    assert_eq!(committed(world, &as_member(&first)), [0]);
    assert_eq!(committed(world, &as_member(&stranger)), [25]);
    let nobody = commit(&first.group, &topic, &[(0, 3, "")]);
    assert_eq!(committed(world, &nobody), [25], "not a member while the group has some");
    let mut third = Member::new(world, &first.group);
    third.send_join();
    first.wait_for_rebalance(Duration::from_secs(5));
    assert_eq!(committed(world, &as_member(&first)), [0], "until it rejoins");
    first.send_join();
    second.wait_for_rebalance(Duration::from_secs(5));
    second.send_join();
    let joined = first.joined();
    assert_eq!((second.joined().code, third.joined().code), (0, 0));
    assert_eq!(committed(world, &as_member(&first)), [27], "from its join to its sync");
    assert_eq!(first.sync(&joined.members).0, 0);
    assert_eq!(committed(world, &as_member(&first)), [0]);
    let old = OffsetCommitRequest { generation_id_or_member_epoch: generation, ..as_member(&first) };
    assert_eq!(committed(world, &old), [22]);
}

fn metadata(world: &mut World) {
    let (group, topic) = (world.name("group"), world.create_topic(3, &[]));
    find_coordinator(&mut world.connection, &group);
    let (most, more) = ("m".repeat(4096), "m".repeat(4097));
    let wide = "\u{df}".repeat(4096);
    let codes = committed(world, &commit(&group, &topic, &[(0, 1, &most), (1, 1, &more), (2, 1, &wide)]));
    assert_eq!(codes, [0, 12, 0]);
    assert_eq!(fetched(world, &group, &topic), (0, 1));
}

fn missing_topic(world: &mut World) {
    let group = world.name("group");
    find_coordinator(&mut world.connection, &group);
    assert_eq!(committed(world, &commit(&group, "no-such-topic-anywhere", &[(0, 1, "")])), [3]);
    let topic = world.topic.clone();
    assert_eq!(committed(world, &commit(&group, &topic, &[(99, 1, ""), (0, 1, "")])), [3, 0]);
    let mut by_id = commit(&group, "", &[(0, 1, "")]);
    by_id.topics[0].topic_id = Uuid::from_u128(0x7777);
    let answer = world.connection.call(10, &by_id);
    assert_eq!(answer.body().topics[0].partitions[0].error_code, 100);
}

fn killed_member(world: &mut World) {
    let [mut first, second] = pair(world, 1000);
    drop(second);
    let since = Instant::now();
    first.wait_for_rebalance(Duration::from_secs(2));
    first.send_join();
    let joined = first.joined();
    assert_eq!((joined.code, joined.members), (0, vec![first.id.clone()]));
    assert_eq!(first.sync(&[first.id.clone()]).1, first.id.clone().into_bytes());
    assert!(since.elapsed() <= Duration::from_secs(2), "{:?}", since.elapsed());
}

fn delete(world: &mut World) {
    let [first, _second] = pair(world, 30_000);
    assert_eq!(delete_group(world, &[&first.group, "no-such-group"]), [68, 69]);
    assert_eq!(delete_group(world, &["no-such-group", &first.group]), [69, 68]);
}

fn odd_commits(world: &mut World) {
    let (group, topic) = (world.name("group"), world.topic.clone());
    find_coordinator(&mut world.connection, &group);
    assert_eq!(committed(world, &commit(&group, &topic, &[(0, 1, ""), (0, 2, "")])), [0, 0]);
    assert_eq!(fetched(world, &group, &topic), (0, 2), "the last one is kept");
    for offset in [i64::MAX, 1 << 40, -5] {
        assert_eq!(committed(world, &commit(&group, &topic, &[(0, offset, "")])), [0]);
        assert_eq!(fetched(world, &group, &topic), (0, offset));
    }
}

fn missing_group(world: &mut World) {
    let name = world.name("no-group");
    find_coordinator(&mut world.connection, &name);
    let request = DescribeGroupsRequest { groups: vec![name.into()], ..Default::default() };
    for version in 0..=6 {
        let answer = world.connection.call(version, &request);
        let group = &answer.body().groups[0];
        let code = if version < 6 { 0 } else { 69 };
        assert_eq!((group.error_code, &*group.group_state), (code, "Dead"), "v{version}");
    }
}
