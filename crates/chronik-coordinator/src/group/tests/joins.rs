//! Members join, rebalance, sync and leave.

use super::*;

#[test]
fn a_first_member_is_told_its_id_and_is_alone_in_generation_1() {
    let mut group = Script::new();
    let first = group.join(joining("a"));
    let first = group.joined(first);
    assert_eq!((first.error, first.generation), (ErrorCode::MemberIdRequired, -1));
    assert!(first.member_id.starts_with("a-"), "{}", first.member_id);
    assert_eq!(group.state(), "Empty");

    let a = first.member_id;
    let joined = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    let joined = group.joined(joined);
    assert_eq!((joined.error, joined.generation), (ErrorCode::None, 1));
    assert_eq!((joined.leader.as_deref(), joined.protocol.as_deref()), (Some(&*a), Some("range")));
    assert_eq!(joined.members.len(), 1);
    assert_eq!(joined.members[0].metadata, subscription("t"));
    assert_eq!(group.state(), "CompletingRebalance");

    let synced = group.sync(&a, 1, &[(&a, "all")]);
    let synced = group.synced(synced);
    assert_eq!((synced.error, &synced.assignment[..]), (ErrorCode::None, b"all".as_slice()));
    assert_eq!((synced.protocol_type.as_deref(), synced.protocol.as_deref()), (Some("consumer"), Some("range")));
    assert_eq!(group.state(), "Stable");
    assert_eq!(group.heartbeat(&a, 1), ErrorCode::None);
}

#[test]
fn before_v4_a_member_is_in_with_its_first_request() {
    let mut group = Script::new();
    let ticket = group.join(Join { requires_member_id: false, ..joining("a") });
    let joined = group.joined(ticket);
    assert_eq!((joined.error, joined.generation, joined.members.len()), (ErrorCode::None, 1, 1));
}

#[test]
fn a_second_member_makes_the_first_rejoin() {
    let mut group = Script::new();
    let ([a], _) = group.stable(["a"]);
    let (b, b_joins) = group.join_new("b");
    assert!(group.is_parked(b_joins));
    assert_eq!(group.state(), "PreparingRebalance");
    assert_eq!(group.heartbeat(&a, 1), ErrorCode::RebalanceInProgress);

    let a_joins = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    let (to_a, to_b) = (group.joined(a_joins), group.joined(b_joins));
    assert_eq!((to_a.generation, to_b.generation), (2, 2));
    assert_eq!((to_a.members.len(), to_b.members.len()), (2, 0));
    assert_eq!(to_b.leader.as_deref(), Some(&*a));

    // The follower's SyncGroup waits for the leader's.
    let b_syncs = group.sync(&b, 2, &[]);
    assert!(group.is_parked(b_syncs));
    let a_syncs = group.sync(&a, 2, &[(&a, "0"), (&b, "1")]);
    assert_eq!(group.synced(a_syncs).assignment, "0");
    assert_eq!(group.synced(b_syncs).assignment, "1");
    assert_eq!(group.state(), "Stable");
}

#[test]
fn replies_leave_only_when_the_log_has_committed() {
    let mut group = Script::new();
    let (a, ticket) = group.join_new("a");
    group.joined(ticket);
    group.committing = false;
    let synced = group.sync(&a, 1, &[(&a, "all")]);
    assert!(group.is_parked(synced));
    let beat = group.send(GroupRequest::Heartbeat(check(&a, 1)));
    assert!(group.is_parked(beat), "it could have observed what is not committed");
    group.commit_log();
    assert_eq!(group.synced(synced).assignment, "all");
    assert_eq!(group.reply(beat), GroupReply::Heartbeat(ErrorCode::None));
}

#[test]
fn followers_with_the_same_metadata_are_answered_leaders_start_a_rebalance() {
    let mut group = Script::new();
    let ([a, b], generation) = group.stable(["a", "b"]);
    let again = group.join(Join { member_id: Arc::clone(&b), ..joining("b") });
    let again = group.joined(again);
    assert_eq!((again.error, again.generation, again.members.len()), (ErrorCode::None, generation, 0));
    assert_eq!(group.state(), "Stable");

    let changed =
        group.join(Join { member_id: Arc::clone(&b), protocols: vec![protocol("range", "u")], ..joining("b") });
    assert!(group.is_parked(changed));
    assert_eq!(group.heartbeat(&a, generation), ErrorCode::RebalanceInProgress);
    let leads = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    assert_eq!(group.joined(leads).generation, generation + 1);
    assert_eq!(group.joined(changed).generation, generation + 1);

    // In CompletingRebalance the same request gets the same generation again, the leader with all members.
    let again = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    let again = group.joined(again);
    assert_eq!((again.generation, again.members.len()), (generation + 1, 2));

    let synced = group.sync(&a, generation + 1, &[]);
    assert_eq!(group.synced(synced).assignment, "");
    let leads = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    assert!(group.is_parked(leads), "a leader that rejoins wants to assign again");
    assert_eq!(group.state(), "PreparingRebalance");
}

#[test]
fn a_join_while_others_sync_sends_them_back() {
    let mut group = Script::new();
    let ([a, b], generation) = group.stable(["a", "b"]);
    let leads = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    let follows = group.join(Join { member_id: Arc::clone(&b), ..joining("b") });
    assert_eq!(group.joined(leads).generation, generation + 1);
    group.joined(follows);
    let syncs = group.sync(&b, generation + 1, &[]);
    assert!(group.is_parked(syncs));
    let (_, c_joins) = group.join_new("c");
    assert_eq!(group.synced(syncs).error, ErrorCode::RebalanceInProgress);
    let late = group.sync(&a, generation + 1, &[]);
    assert_eq!(group.synced(late).error, ErrorCode::RebalanceInProgress);
    assert!(group.is_parked(c_joins));
}

#[test]
fn protocols_must_be_shared() {
    let mut group = Script::new();
    let none = group.join(Join { protocols: vec![], ..joining("a") });
    assert_eq!(group.joined(none).error, ErrorCode::InconsistentGroupProtocol);
    let untyped = group.join(Join { protocol_type: "".into(), ..joining("a") });
    assert_eq!(group.joined(untyped).error, ErrorCode::InconsistentGroupProtocol);

    let ([a], generation) = group.stable(["a"]);
    let other = group.join(Join { protocols: vec![protocol("sticky", "t")], ..joining("b") });
    assert_eq!(group.joined(other).error, ErrorCode::InconsistentGroupProtocol);
    let other = group.join(Join { protocol_type: "connect".into(), ..joining("b") });
    assert_eq!(group.joined(other).error, ErrorCode::InconsistentGroupProtocol);
    let wrong = Sync {
        member: check(&a, generation),
        protocol_type: Some("consumer".into()),
        protocol: Some("sticky".into()),
        assignments: vec![],
    };
    let wrong = group.send(GroupRequest::Sync(wrong));
    assert_eq!(group.synced(wrong).error, ErrorCode::InconsistentGroupProtocol);
    assert_eq!(group.heartbeat(&a, generation), ErrorCode::None, "the member is undisturbed");
    assert_eq!(group.state(), "Stable");
}

#[test]
fn the_protocol_with_most_votes_among_the_shared_is_chosen() {
    let mut group = Script::new();
    let both = |first: &str, second: &str| vec![protocol(first, "t"), protocol(second, "t")];
    let v0 = |client: &str, protocols| Join { requires_member_id: false, protocols, ..joining(client) };
    let a = group.join(v0("a", both("range", "sticky")));
    let a = group.joined(a);
    assert_eq!(a.protocol.as_deref(), Some("range"));
    let b = group.join(v0("b", both("sticky", "range")));
    let c = group.join(v0("c", both("sticky", "range")));
    let again = group.join(Join { member_id: a.member_id, ..v0("a", both("range", "sticky")) });
    assert_eq!(group.joined(again).protocol.as_deref(), Some("sticky"));
    assert_eq!(group.joined(b).protocol.as_deref(), Some("sticky"));
    let left = group.joined(c).member_id;
    // A member with only one of them decides.
    assert_eq!(group.leave(&[(&left, None)]), [ErrorCode::None]);
    let d = group.join(v0("d", vec![protocol("range", "t")]));
    assert!(group.is_parked(d));
}

#[test]
fn leaving_is_answered_member_by_member() {
    let mut group = Script::new();
    let ([a, b], generation) = group.stable(["a", "b"]);
    let left = group.leave(&[(&a, None), ("nobody", None), ("", None), ("", Some("i")), (&a, Some("i"))]);
    use ErrorCode::{None as Ok, UnknownMemberId as Unknown};
    assert_eq!(left, [Ok, Unknown, Unknown, Unknown, Unknown]);
    assert_eq!(group.heartbeat(&a, generation), Unknown);
    assert_eq!(group.heartbeat(&b, generation), ErrorCode::RebalanceInProgress);
    let leads = group.join(Join { member_id: Arc::clone(&b), ..joining("b") });
    let leads = group.joined(leads);
    assert_eq!((leads.leader.as_deref(), leads.members.len()), (Some(&*b), 1));
    assert_eq!(group.leave(&[(&b, None)]), [Ok]);
    assert_eq!(group.state(), "Empty");
    assert_eq!(group.leave(&[(&b, None)]), [Unknown]);
}

#[test]
fn a_member_that_leaves_while_its_join_is_parked_gets_its_answer() {
    let mut group = Script::new();
    let ([a], generation) = group.stable(["a"]);
    let (b, b_joins) = group.join_new("b");
    assert_eq!(group.leave(&[(&b, None)]), [ErrorCode::None]);
    assert_eq!(group.joined(b_joins).error, ErrorCode::UnknownMemberId);
    assert_eq!(group.state(), "PreparingRebalance");
    let again = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    assert_eq!(group.joined(again).generation, generation + 1);
}

#[test]
fn a_repeated_join_lets_go_of_the_one_that_was_parked() {
    let mut group = Script::new();
    let ([a], _) = group.stable(["a"]);
    let (b, first) = group.join_new("b");
    let second = group.join(Join { member_id: Arc::clone(&b), ..joining("b") });
    assert_eq!(group.joined(first).error, ErrorCode::RebalanceInProgress);
    let rejoins = group.join(Join { member_id: a, ..joining("a") });
    assert_eq!((group.joined(second).generation, group.joined(rejoins).generation), (2, 2));
}

#[test]
fn wrong_ids_and_generations() {
    let mut group = Script::new();
    let nobody: Arc<str> = "nobody".into();
    let unknown = group.join(Join { member_id: Arc::clone(&nobody), ..joining("a") });
    assert_eq!(group.joined(unknown).error, ErrorCode::UnknownMemberId);
    assert_eq!(group.state(), "Dead");
    assert_eq!(group.heartbeat(&nobody, 0), ErrorCode::UnknownMemberId);
    let synced = group.sync(&nobody, 0, &[]);
    assert_eq!(group.synced(synced).error, ErrorCode::UnknownMemberId);

    let ([a], generation) = group.stable(["a"]);
    assert_eq!(group.heartbeat(&nobody, generation), ErrorCode::UnknownMemberId);
    assert_eq!(group.heartbeat(&a, generation + 1), ErrorCode::IllegalGeneration);
    let synced = group.sync(&a, generation - 1, &[]);
    assert_eq!(group.synced(synced).error, ErrorCode::IllegalGeneration);
    let unknown = group.join(Join { member_id: nobody, ..joining("a") });
    assert_eq!(group.joined(unknown).error, ErrorCode::UnknownMemberId);
}

#[test]
fn empty_group_ids_and_session_timeouts_out_of_range_are_refused() {
    let mut group = Script::new();
    let unnamed = group.join(Join { group_id: "".into(), ..joining("a") });
    assert_eq!(group.joined(unnamed).error, ErrorCode::InvalidGroupId);
    for session_timeout_ms in [5_999, 1_800_001, -1, i32::MIN] {
        let refused = group.join(Join { session_timeout_ms, ..joining("a") });
        assert_eq!(group.joined(refused).error, ErrorCode::InvalidSessionTimeout);
    }
    let unnamed = MemberCheck { group_id: "".into(), ..check(&"m".into(), 1) };
    let beat = group.send(GroupRequest::Heartbeat(unnamed.clone()));
    assert_eq!(group.reply(beat), GroupReply::Heartbeat(ErrorCode::InvalidGroupId));
    let sync = Sync { member: unnamed, protocol_type: None, protocol: None, assignments: vec![] };
    let sync = group.send(GroupRequest::Sync(sync));
    assert_eq!(group.synced(sync).error, ErrorCode::InvalidGroupId);
    assert!(group.log.0.is_empty());
}

#[test]
fn a_full_group_takes_no_more() {
    let mut group = Script::with(GroupConfig { max_size: 2, ..GroupConfig::default() });
    let ([a, _], generation) = group.stable(["a", "b"]);
    let c = group.join(joining("c"));
    let c = group.joined(c);
    assert_eq!((c.error, &*c.member_id), (ErrorCode::GroupMaxSizeReached, ""));
    assert_eq!(group.heartbeat(&a, generation), ErrorCode::None);
}

#[test]
fn a_group_record_too_large_for_the_log_is_refused() {
    let mut group = Script::with(GroupConfig { max_record_bytes: 2000, ..GroupConfig::default() });
    let (a, ticket) = group.join_new("a");
    group.joined(ticket);
    let synced = group.sync(&a, 1, &[(&a, &"x".repeat(2000))]);
    assert_eq!(group.synced(synced).error, ErrorCode::UnknownServerError);
    assert_eq!(group.state(), "PreparingRebalance");
    let again = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    assert_eq!(group.joined(again).generation, 2);
}

#[test]
fn a_thousand_members_join_at_once() {
    let mut group = Script::with(GroupConfig { initial_rebalance_delay_ms: 3000, ..GroupConfig::default() });
    let waiting: Vec<_> = (0..1000).map(|n| group.join_new_unreplayed(&format!("c{n}"))).collect();
    group.advance_ms(6_000);
    let answers: Vec<Joined> = waiting.into_iter().map(|ticket| group.joined(ticket)).collect();
    assert!(answers.iter().all(|joined| (joined.error, joined.generation) == (ErrorCode::None, 1)));
    assert_eq!(answers.iter().map(|joined| joined.members.len()).sum::<usize>(), 1000);
}

impl Script {
    /// As a v0 member, without the two requests and the replay after each that make a thousand slow.
    fn join_new_unreplayed(&mut self, client: &str) -> Ticket {
        self.next_id += 1;
        let id = RequestId(self.next_id);
        let fresh_id = Uuid::from_u128(self.next_id.into());
        let request = Join { requires_member_id: false, fresh_id, ..joining(client) };
        let out = self.shard.request(self.now_ms, id, GroupRequest::Join(request), &mut self.log).unwrap();
        assert!(out.is_empty());
        Ticket(id)
    }
}
