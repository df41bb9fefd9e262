//! Groups are listed, described and deleted.

use super::*;
use crate::group::api::{Described, List, Listed};

fn delete(group: &mut Script) -> ErrorCode {
    let ticket = group.send(GroupRequest::Delete(GROUP.into()));
    match group.reply(ticket) {
        GroupReply::Delete(error) => error,
        other => panic!("{other:?}"),
    }
}

fn list(group: &mut Script, states: &[&str], types: &[&str]) -> Vec<Listed> {
    let owned = |names: &[&str]| names.iter().map(|name| Arc::from(*name)).collect();
    let ticket = group.send(GroupRequest::List(List { states: owned(states), types: owned(types) }));
    match group.reply(ticket) {
        GroupReply::List(listed) => listed,
        other => panic!("{other:?}"),
    }
}

fn describe(group: &mut Script) -> Option<Described> {
    let ticket = group.send(GroupRequest::Describe(GROUP.into()));
    match group.reply(ticket) {
        GroupReply::Describe(described) => described,
        other => panic!("{other:?}"),
    }
}

#[test]
fn only_empty_groups_can_be_deleted_and_their_offsets_go_with_them() {
    let mut group = Script::new();
    assert_eq!(delete(&mut group), ErrorCode::GroupIdNotFound);
    let ([a], generation) = group.stable(["a"]);
    group.commit(check(&a, generation), "t", 1).unwrap();
    assert_eq!(delete(&mut group), ErrorCode::NonEmptyGroup);
    group.leave(&[(&a, None)]);
    assert_eq!(delete(&mut group), ErrorCode::None);
    assert_eq!((group.state(), group.committed("t")), ("Dead", -1));
    assert!(group.shard.machine().stored().groups.is_empty());
    let ([_], generation) = group.stable(["a"]);
    assert_eq!(generation, 1, "a new group of that name begins anew");
}

#[test]
fn lists_are_filtered_by_state_and_type() {
    let mut group = Script::new();
    assert_eq!(list(&mut group, &[], &[]), []);
    group.stable(["a"]);
    let simple = MemberCheck { group_id: "s".into(), ..simple() };
    group.commit(simple, "t", 1).unwrap();
    let names = |listed: Vec<Listed>| listed.iter().map(|one| one.group_id.to_string()).collect::<Vec<_>>();
    let all = list(&mut group, &[], &[]);
    assert_eq!((all[0].state, &*all[0].protocol_type, all[0].group_type), ("Stable", "consumer", "classic"));
    assert_eq!((all[1].state, &*all[1].protocol_type), ("Empty", ""));
    assert_eq!(names(list(&mut group, &["empty", "Dead"], &[])), ["s"]);
    assert_eq!(names(list(&mut group, &["STABLE"], &["Classic"])), ["g"]);
    assert_eq!(names(list(&mut group, &["nonsense"], &[])), [""; 0]);
    assert_eq!(names(list(&mut group, &[], &["consumer", "share"])), [""; 0]);
}

#[test]
fn a_description_shows_protocol_and_metadata_only_while_stable() {
    let mut group = Script::new();
    assert_eq!(describe(&mut group), None);
    let ([a], _) = group.stable(["a"]);
    let stable = describe(&mut group).unwrap();
    assert_eq!((stable.state, &*stable.protocol_type, &*stable.protocol), ("Stable", "consumer", "range"));
    let member = &stable.members[0];
    assert_eq!((&member.member_id, &*member.client_id, &*member.client_host), (&a, "a", "/127.0.0.1"));
    assert_eq!((&member.metadata, &member.assignment), (&subscription("t"), &Bytes::from_static(b"a")));
    let (_, _) = group.join_new("b");
    let joining = describe(&mut group).unwrap();
    assert_eq!((joining.state, &*joining.protocol, joining.members.len()), ("PreparingRebalance", "", 2));
    let old = joining.members.iter().find(|member| member.member_id == a).unwrap();
    assert_eq!((&old.metadata[..], &old.assignment[..]), (b"".as_slice(), b"a".as_slice()));
}
