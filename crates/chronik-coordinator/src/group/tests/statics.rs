//! Static members: `group.instance.id`, KIP-345 and KIP-814.

use super::*;

fn named(client: &str, instance: &str) -> Join {
    Join { instance_id: Some(instance.into()), ..joining(client) }
}

/// Two static members, `i` (the leader) and `j`, stable.
fn two_statics(group: &mut Script) -> (Arc<str>, Arc<str>, i32) {
    let i = group.join(named("a", "i"));
    let i = group.joined(i);
    let leads = group.sync(&i.member_id, 1, &[(&i.member_id, "I")]);
    group.synced(leads);
    let j = group.join(named("b", "j"));
    let again = group.join(Join { member_id: Arc::clone(&i.member_id), ..named("a", "i") });
    group.joined(again);
    let j = group.joined(j).member_id;
    let leads = group.sync(&i.member_id, 2, &[(&i.member_id, "I"), (&j, "J")]);
    assert_eq!(group.synced(leads).assignment, "I");
    let follows = group.sync(&j, 2, &[]);
    assert_eq!(group.synced(follows).assignment, "J");
    (i.member_id, j, 2)
}

#[test]
fn a_static_member_needs_no_second_request_and_its_id_begins_with_its_name() {
    let mut group = Script::new();
    let ticket = group.join(named("a", "i"));
    let joined = group.joined(ticket);
    assert_eq!(joined.error, ErrorCode::None);
    assert!(joined.member_id.starts_with("i-"));
    assert_eq!(joined.members[0].instance_id.as_deref(), Some("i"));
}

#[test]
fn a_restart_gets_the_old_assignment_without_rebalance() {
    let mut group = Script::new();
    let (i, j, generation) = two_statics(&mut group);
    let back = group.join(named("b", "j"));
    let back = group.joined(back);
    assert_eq!((back.error, back.generation, back.skip_assignment), (ErrorCode::None, generation, false));
    assert_ne!(back.member_id, j);
    assert_eq!(back.leader.as_deref(), Some(&*i));
    let synced = group.sync(&back.member_id, generation, &[]);
    assert_eq!(group.synced(synced).assignment, "J");
    assert_eq!(group.heartbeat(&i, generation), ErrorCode::None);
    // The old process is fenced, wherever it shows up with its name.
    let old = MemberCheck { instance_id: Some("j".into()), ..check(&j, generation) };
    let beat = group.send(GroupRequest::Heartbeat(old.clone()));
    assert_eq!(group.reply(beat), GroupReply::Heartbeat(ErrorCode::FencedInstanceId));
    assert_eq!(group.commit(old, "t", 1), Err(ErrorCode::FencedInstanceId));
    let rejoin = group.join(Join { member_id: Arc::clone(&j), ..named("b", "j") });
    assert_eq!(group.joined(rejoin).error, ErrorCode::FencedInstanceId);
    assert_eq!(group.leave(&[(&j, Some("j"))]), [ErrorCode::FencedInstanceId]);
    assert_eq!(group.heartbeat(&j, generation), ErrorCode::UnknownMemberId);
    // The new id survives a restart of the broker.
    group.restart();
    assert_eq!(group.heartbeat(&back.member_id, generation), ErrorCode::None);
}

#[test]
fn a_leader_that_restarts_skips_the_assignment_if_it_can() {
    let mut group = Script::new();
    let (i, _, generation) = two_statics(&mut group);
    let back = group.join(named("a", "i"));
    let back = group.joined(back);
    assert_eq!((back.generation, back.skip_assignment, back.members.len()), (generation, true, 2));
    assert_eq!(back.leader.as_ref(), Some(&back.member_id));

    // Before v9 it is told that somebody else leads: its own old id.
    let old = group.join(Join { can_skip_assignment: false, ..named("a", "i") });
    let old = group.joined(old);
    assert_eq!((old.skip_assignment, old.members.len()), (false, 0));
    assert_eq!(old.leader, Some(back.member_id));
    assert_ne!(old.leader, Some(i));
    let synced = group.sync(&old.member_id, generation, &[]);
    assert_eq!(group.synced(synced).assignment, "I");
}

#[test]
fn a_restart_with_another_subscription_and_another_protocol_rebalances() {
    let mut group = Script::new();
    let i = group.join(Join { protocols: vec![protocol("range", "t"), protocol("sticky", "t")], ..named("a", "i") });
    let i = group.joined(i).member_id;
    let leads = group.sync(&i, 1, &[]);
    group.synced(leads);
    // The same protocol is chosen: no rebalance, whatever the subscription.
    let back = group.join(Join { protocols: vec![protocol("range", "u"), protocol("sticky", "u")], ..named("a", "i") });
    let back = group.joined(back);
    assert_eq!(back.generation, 1);
    let back = group.join(Join { protocols: vec![protocol("sticky", "u"), protocol("range", "u")], ..named("a", "i") });
    let back = group.joined(back);
    assert_eq!((back.generation, back.protocol.as_deref()), (2, Some("sticky")));
}

#[test]
fn a_restart_while_the_group_rebalances_fences_what_was_parked() {
    let mut group = Script::new();
    let (i, j, generation) = two_statics(&mut group);
    let (_, c_joins) = group.join_new("c");
    let parked = group.join(Join { member_id: Arc::clone(&j), ..named("b", "j") });
    assert!(group.is_parked(parked));
    let back = group.join(named("b", "j"));
    let fenced = group.joined(parked);
    assert_eq!((fenced.error, &fenced.member_id), (ErrorCode::FencedInstanceId, &j));
    assert!(group.is_parked(back));
    let leads = group.join(Join { member_id: Arc::clone(&i), ..named("a", "i") });
    let leads = group.joined(leads);
    let back = group.joined(back);
    group.joined(c_joins);
    assert_eq!((leads.generation, leads.members.len()), (generation + 1, 3));

    // In CompletingRebalance a new process of the same name starts another rebalance, and fences a parked sync.
    let parked = group.sync(&back.member_id, generation + 1, &[]);
    let again = group.join(named("b", "j"));
    assert_eq!(group.synced(parked).error, ErrorCode::FencedInstanceId);
    assert!(group.is_parked(again));
    assert_eq!(group.state(), "PreparingRebalance");
}

#[test]
fn a_static_member_is_out_by_session_or_by_name_not_by_being_late() {
    let mut group = Script::new();
    let (i, j, generation) = two_statics(&mut group);
    let leads = group.join(Join { member_id: Arc::clone(&i), session_timeout_ms: 100_000, ..named("a", "i") });
    for _ in 0..11 {
        group.advance_ms(5_000);
        assert_eq!(group.heartbeat(&j, generation), ErrorCode::RebalanceInProgress);
    }
    group.advance_ms(5_000);
    let leads = group.joined(leads);
    assert_eq!((leads.generation, leads.members.len()), (generation + 1, 2), "j is late and stays");
    assert_eq!(group.leave(&[("", Some("j"))]), [ErrorCode::None]);
    let again = group.join(Join { member_id: i, ..named("a", "i") });
    assert_eq!(group.joined(again).members.len(), 1);
}
