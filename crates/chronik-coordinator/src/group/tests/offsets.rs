//! Offsets are committed, fetched, deleted, and expire.

use super::*;
use crate::group::api::DeleteOffsets;

fn commit_all(group: &mut Script, partitions: &[(i32, i64, &str)]) -> Vec<ErrorCode> {
    let ticket = group.send(GroupRequest::Commit(committing(simple(), "t", partitions)));
    match group.reply(ticket) {
        GroupReply::Commit(committed) => committed.unwrap().remove(0),
        other => panic!("{other:?}"),
    }
}

fn fetch(group: &mut Script, topics: Option<Vec<FetchTopic>>) -> Vec<(String, Vec<(i32, i64)>)> {
    let ticket = group.send(GroupRequest::Fetch(Fetch { group_id: GROUP.into(), topics }));
    let GroupReply::Fetch(topics) = group.reply(ticket) else { panic!() };
    let offsets = |topic: super::super::api::FetchedTopic| {
        let offset = |(partition, committed): (i32, Option<crate::group::OffsetAndMetadata>)| {
            (partition, committed.map_or(-1, |committed| committed.offset))
        };
        (topic.name.to_string(), topic.partitions.into_iter().map(offset).collect())
    };
    topics.into_iter().map(offsets).collect()
}

fn wanted(name: &str, partitions: &[i32]) -> FetchTopic {
    FetchTopic { name: name.into(), id: Uuid::ZERO, partitions: partitions.to_vec() }
}

#[test]
fn every_partition_that_is_asked_for_is_answered() {
    let mut group = Script::new();
    let asked = Some(vec![wanted("t", &[2, 0, 1, 2]), wanted("u", &[0])]);
    let none = vec![("t".into(), vec![(2, -1), (0, -1), (1, -1), (2, -1)]), ("u".into(), vec![(0, -1)])];
    assert_eq!(fetch(&mut group, asked.clone()), none);
    assert_eq!(fetch(&mut group, None), []);
    assert_eq!(group.state(), "Dead", "asking makes no group");
    assert_eq!(commit_all(&mut group, &[(1, 7, "")]), [ErrorCode::None]);
    let one = vec![("t".into(), vec![(2, -1), (0, -1), (1, 7), (2, -1)]), ("u".into(), vec![(0, -1)])];
    assert_eq!(fetch(&mut group, asked), one);
    assert_eq!(fetch(&mut group, None), [("t".to_string(), vec![(1, 7)])]);
    assert_eq!(group.state(), "Empty");
}

#[test]
fn any_offset_is_taken_and_of_a_partition_named_twice_the_last() {
    let mut group = Script::new();
    assert_eq!(commit_all(&mut group, &[(0, 1, ""), (1, -5, ""), (0, i64::MAX, "")]), [ErrorCode::None; 3]);
    assert_eq!(fetch(&mut group, None), [("t".to_string(), vec![(0, i64::MAX), (1, -5)])]);
}

#[test]
fn metadata_is_limited_in_characters() {
    let mut group = Script::new();
    let long = "ü".repeat(4096);
    let too_long = "x".repeat(4097);
    let pairs = "😀".repeat(2049);
    let codes = commit_all(&mut group, &[(0, 1, &long), (1, 2, &too_long), (2, 3, &pairs), (3, 4, "")]);
    let too_large = ErrorCode::OffsetMetadataTooLarge;
    assert_eq!(codes, [ErrorCode::None, too_large, too_large, ErrorCode::None]);
    assert_eq!(fetch(&mut group, None), [("t".to_string(), vec![(0, 1), (3, 4)])]);
}

#[test]
fn who_may_commit() {
    let mut group = Script::new();
    let nobody: Arc<str> = "nobody".into();
    assert_eq!(group.commit(check(&nobody, 1), "t", 1), Err(ErrorCode::GroupIdNotFound));
    let old = Commit { knows_group_id_not_found: false, ..committing(check(&nobody, 1), "t", &[(0, 1, "")]) };
    let old = group.send(GroupRequest::Commit(old));
    assert_eq!(group.reply(old), GroupReply::Commit(Err(ErrorCode::IllegalGeneration)));

    let ([a], generation) = group.stable(["a"]);
    assert_eq!(group.commit(check(&a, generation), "t", 10), Ok(ErrorCode::None));
    assert_eq!(group.commit(check(&a, generation + 1), "t", 11), Err(ErrorCode::IllegalGeneration));
    assert_eq!(group.commit(check(&nobody, generation), "t", 11), Err(ErrorCode::UnknownMemberId));
    assert_eq!(group.commit(simple(), "t", 11), Err(ErrorCode::UnknownMemberId), "members are there");

    // While others join, the old generation may still commit; from its rejoin to its sync it may not.
    let (_, b_joins) = group.join_new("b");
    assert_eq!(group.commit(check(&a, generation), "t", 12), Ok(ErrorCode::None));
    let rejoins = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    group.joined(rejoins);
    group.joined(b_joins);
    assert_eq!(group.commit(check(&a, generation), "t", 13), Err(ErrorCode::IllegalGeneration));
    assert_eq!(group.commit(check(&a, generation + 1), "t", 13), Err(ErrorCode::RebalanceInProgress));
    let leads = group.sync(&a, generation + 1, &[]);
    group.synced(leads);
    assert_eq!(group.commit(check(&a, generation + 1), "t", 13), Ok(ErrorCode::None));
    assert_eq!(group.committed("t"), 13);
}

#[test]
fn offsets_of_topics_that_members_read_cannot_be_deleted() {
    let mut group = Script::new();
    let delete = |topic: &str| {
        let topics = vec![(topic.into(), vec![0, 1])];
        GroupRequest::DeleteOffsets(DeleteOffsets { group_id: GROUP.into(), topics })
    };
    let missing = group.send(delete("t"));
    assert_eq!(group.reply(missing), GroupReply::DeleteOffsets(Err(ErrorCode::GroupIdNotFound)));
    let ([a], generation) = group.stable(["a"]);
    for topic in ["t", "u"] {
        assert_eq!(group.commit(check(&a, generation), topic, 5), Ok(ErrorCode::None));
    }
    let answer = |topic: &str, error| GroupReply::DeleteOffsets(Ok(vec![(topic.into(), vec![(0, error), (1, error)])]));
    let reads = group.send(delete("t"));
    assert_eq!(group.reply(reads), answer("t", ErrorCode::GroupSubscribedToTopic));
    let other = group.send(delete("u"));
    assert_eq!(group.reply(other), answer("u", ErrorCode::None));
    assert_eq!((group.committed("t"), group.committed("u")), (5, -1));
    group.leave(&[(&a, None)]);
    let left = group.send(delete("t"));
    assert_eq!(group.reply(left), answer("t", ErrorCode::None));
    assert_eq!(group.committed("t"), -1);
    assert_eq!(group.state(), "Empty");
}

#[test]
fn offsets_of_other_protocols_cannot_be_deleted_while_members_are_there() {
    let mut group = Script::new();
    let worker = group.join(Join { protocol_type: "connect".into(), requires_member_id: false, ..joining("w") });
    group.joined(worker);
    let request = DeleteOffsets { group_id: GROUP.into(), topics: vec![("t".into(), vec![0])] };
    let refused = group.send(GroupRequest::DeleteOffsets(request));
    assert_eq!(group.reply(refused), GroupReply::DeleteOffsets(Err(ErrorCode::NonEmptyGroup)));
}

#[test]
fn a_simple_consumers_offsets_expire_by_their_commit() {
    let mut group = Script::new();
    assert_eq!(group.commit(simple(), "t", 1), Ok(ErrorCode::None));
    group.advance_ms(600_000);
    assert_eq!((group.committed("t"), group.state()), (-1, "Dead"));
    // One that said when: not before, and not later.
    let request = Commit { retention_ms: 1_000_000, ..committing(simple(), "t", &[(0, 2, "")]) };
    group.send(GroupRequest::Commit(request));
    group.advance_ms(600_000);
    assert_eq!(group.committed("t"), 2);
    group.advance_ms(600_000);
    assert_eq!(group.committed("t"), -1);
}

#[test]
fn a_groups_offsets_expire_when_it_has_been_empty_long_enough() {
    let mut group = Script::with(GroupConfig { offsets_retention_ms: 1_000_000, ..GroupConfig::default() });
    let ([a], generation) = group.stable(["a"]);
    assert_eq!(group.commit(check(&a, generation), "t", 1), Ok(ErrorCode::None));
    assert_eq!(group.commit(check(&a, generation), "u", 1), Ok(ErrorCode::None));
    for _ in 0..400 {
        group.advance_ms(5_000);
        assert_eq!(group.heartbeat(&a, generation), ErrorCode::None);
    }
    assert_eq!((group.committed("t"), group.committed("u")), (1, -1), "only u is not subscribed");
    group.leave(&[(&a, None)]);
    group.restart();
    group.advance_ms(999_999);
    assert_eq!(group.committed("t"), 1);
    group.advance_ms(600_000);
    assert_eq!((group.committed("t"), group.state()), (-1, "Dead"));
}

#[test]
fn an_empty_group_without_offsets_is_taken_away() {
    let mut group = Script::new();
    let ([a], _) = group.stable(["a"]);
    group.leave(&[(&a, None)]);
    assert_eq!(group.state(), "Empty");
    group.advance_ms(600_000);
    assert_eq!(group.state(), "Dead");
    assert!(group.shard.machine().stored().groups.is_empty());
}

#[test]
fn deleted_topics_take_their_offsets_with_them() {
    let mut group = Script::new();
    for topic in ["t", "u"] {
        assert_eq!(group.commit(simple(), topic, 3), Ok(ErrorCode::None));
    }
    group.send(GroupRequest::TopicsDeleted(vec!["u".into(), "v".into()]));
    assert_eq!(fetch(&mut group, None), [("t".to_string(), vec![(0, 3)])]);
}

#[test]
fn an_offset_of_a_topic_that_was_made_again_is_not_given_out() {
    let mut group = Script::new();
    let (first, second) = (Uuid::from_bytes([1; 16]), Uuid::from_bytes([2; 16]));
    let mut request = committing(simple(), "t", &[(0, 9, "m")]);
    request.topics[0].id = first;
    group.send(GroupRequest::Commit(request));
    let with = |id| Some(vec![FetchTopic { id, ..wanted("t", &[0]) }]);
    assert_eq!(fetch(&mut group, with(first)), [("t".to_string(), vec![(0, 9)])]);
    assert_eq!(fetch(&mut group, with(Uuid::ZERO)), [("t".to_string(), vec![(0, 9)])]);
    assert_eq!(fetch(&mut group, with(second)), [("t".to_string(), vec![(0, -1)])]);
}
