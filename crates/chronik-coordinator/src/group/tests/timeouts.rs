//! What time does: sessions, rebalance timeouts, the initial delay, restarts.

use super::*;

#[test]
fn a_silent_member_is_out_after_its_session() {
    let mut group = Script::new();
    let ([a, b], generation) = group.stable(["a", "b"]);
    group.advance_ms(9_999);
    assert_eq!(group.heartbeat(&a, generation), ErrorCode::None);
    group.advance_ms(2);
    assert_eq!(group.heartbeat(&b, generation), ErrorCode::UnknownMemberId);
    assert_eq!(group.heartbeat(&a, generation), ErrorCode::RebalanceInProgress);
    let alone = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    assert_eq!(group.joined(alone).members.len(), 1);
    let synced = group.sync(&a, generation + 1, &[]);
    group.synced(synced);
    group.advance_ms(10_000);
    assert_eq!(group.state(), "Empty");
    assert_eq!(group.heartbeat(&a, generation + 1), ErrorCode::UnknownMemberId);
}

#[test]
fn a_commit_counts_as_a_heartbeat() {
    let mut group = Script::new();
    let ([a], generation) = group.stable(["a"]);
    for _ in 0..3 {
        group.advance_ms(9_000);
        assert_eq!(group.commit(check(&a, generation), "t", 5), Ok(ErrorCode::None));
    }
    assert_eq!(group.state(), "Stable");
}

#[test]
fn who_does_not_rejoin_in_time_is_out() {
    let mut group = Script::new();
    let ([a, b], generation) = group.stable(["a", "b"]);
    let leads = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    for _ in 0..11 {
        group.advance_ms(5_000);
        assert_eq!(group.heartbeat(&b, generation), ErrorCode::RebalanceInProgress);
        assert!(group.is_parked(leads), "b is alive, and may still come");
    }
    group.advance_ms(5_000);
    let leads = group.joined(leads);
    assert_eq!((leads.generation, leads.members.len()), (generation + 1, 1));
    assert_eq!(group.heartbeat(&b, generation), ErrorCode::UnknownMemberId);
}

#[test]
fn who_does_not_sync_in_time_is_out() {
    let mut group = Script::new();
    let ([a, b], generation) = group.stable(["a", "b"]);
    let leads = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    let follows = group.join(Join { member_id: Arc::clone(&b), ..joining("b") });
    group.joined(leads);
    group.joined(follows);
    let parked = group.sync(&b, generation + 1, &[]);
    for _ in 0..11 {
        group.advance_ms(5_000);
        assert_eq!(group.heartbeat(&a, generation + 1), ErrorCode::None);
        assert!(group.is_parked(parked));
    }
    group.advance_ms(5_000);
    assert_eq!(group.synced(parked).error, ErrorCode::RebalanceInProgress);
    assert_eq!(group.heartbeat(&a, generation + 1), ErrorCode::UnknownMemberId);
    let alone = group.join(Join { member_id: b, ..joining("b") });
    assert_eq!(group.joined(alone).members.len(), 1);
}

#[test]
fn a_member_whose_client_is_gone_while_its_first_join_is_parked_is_out_after_five_minutes() {
    let mut group = Script::new();
    let ([a], generation) = group.stable(["a"]);
    let long = |join: Join| Join { rebalance_timeout_ms: 1_000_000, session_timeout_ms: 1_000_000, ..join };
    let rejoins =
        group.join(long(Join { member_id: Arc::clone(&a), protocols: vec![protocol("range", "u")], ..joining("a") }));
    let again = group.joined(rejoins);
    assert_eq!(again.generation, generation + 1);
    let synced = group.sync(&a, generation + 1, &[]);
    group.synced(synced);
    let first = group.join(long(joining("b")));
    let b = group.joined(first).member_id;
    let parked = group.join(long(Join { member_id: b, ..joining("b") }));
    group.advance_ms(5 * 60 * 1000 - 1);
    assert!(group.is_parked(parked));
    group.advance_ms(1);
    let answer = group.joined(parked);
    assert_eq!((answer.error, &*answer.member_id), (ErrorCode::UnknownMemberId, ""));
}

#[test]
fn an_id_that_does_not_come_back_holds_the_rebalance_until_its_session_is_over() {
    let mut group = Script::new();
    let ([a], generation) = group.stable(["a"]);
    let pending = group.join(joining("b"));
    let pending = group.joined(pending).member_id;
    let (_, c_joins) = group.join_new("c");
    let leads = group.join(Join { member_id: Arc::clone(&a), ..joining("a") });
    assert!(group.is_parked(leads), "b has an id and may be on its way");
    group.advance_ms(10_000);
    assert_eq!(group.joined(leads).generation, generation + 1);
    group.joined(c_joins);
    let late = group.join(Join { member_id: pending, ..joining("b") });
    assert_eq!(group.joined(late).error, ErrorCode::UnknownMemberId);
}

#[test]
fn the_first_generation_waits_for_more_members_but_not_for_ever() {
    let mut group = Script::with(GroupConfig { initial_rebalance_delay_ms: 3_000, ..GroupConfig::default() });
    let v0 = |client: &str| Join { requires_member_id: false, rebalance_timeout_ms: 7_000, ..joining(client) };
    let a = group.join(v0("a"));
    group.advance_ms(2_000);
    let b = group.join(v0("b"));
    group.advance_ms(1_000);
    assert!(group.is_parked(a), "b's coming prolongs the wait");
    group.advance_ms(2_000);
    let c = group.join(v0("c"));
    group.advance_ms(1_000);
    assert!(group.is_parked(a));
    group.advance_ms(1_000);
    assert_eq!(group.joined(a).members.len(), 3);
    assert_eq!((group.joined(b).generation, group.joined(c).generation), (1, 1));
}

#[test]
fn a_group_without_further_members_starts_after_the_initial_delay() {
    let mut group = Script::with(GroupConfig { initial_rebalance_delay_ms: 3_000, ..GroupConfig::default() });
    let (_, joins) = group.join_new("a");
    group.advance_ms(2_999);
    assert!(group.is_parked(joins));
    group.advance_ms(1);
    assert_eq!(group.joined(joins).generation, 1);
}

#[test]
fn a_restart_of_the_broker_keeps_members_and_generation() {
    let mut group = Script::new();
    let ([a, b], generation) = group.stable(["a", "b"]);
    assert_eq!(group.commit(check(&a, generation), "t", 42), Ok(ErrorCode::None));
    group.restart();
    assert_eq!(group.state(), "Stable");
    assert_eq!(group.heartbeat(&a, generation), ErrorCode::None);
    let synced = group.sync(&b, generation, &[]);
    assert_eq!(group.synced(synced).assignment, "b");
    assert_eq!(group.committed("t"), 42);
    group.advance_ms(10_001);
    assert_eq!(group.heartbeat(&a, generation), ErrorCode::UnknownMemberId, "sessions began anew with the restart");

    // A rebalance that was not finished is forgotten: the members are in their last generation.
    let ([a], generation) = group.stable(["a"]);
    let (_, joins) = group.join_new("b");
    assert!(group.is_parked(joins));
    group.restart();
    assert_eq!(group.heartbeat(&a, generation), ErrorCode::None);
}

#[test]
fn a_group_larger_than_a_lowered_limit_rebalances_after_a_restart() {
    let mut group = Script::new();
    let ([a, b], generation) = group.stable(["a", "b"]);
    group.config.max_size = 1;
    group.restart();
    assert_eq!(group.heartbeat(&a, generation), ErrorCode::RebalanceInProgress);
    let fast = group.join(Join { member_id: a, ..joining("a") });
    let slow = group.join(Join { member_id: b, ..joining("b") });
    assert_eq!(group.joined(slow).error, ErrorCode::GroupMaxSizeReached);
    group.advance_ms(60_000);
    assert_eq!(group.joined(fast).members.len(), 1);
}

#[test]
fn a_log_that_was_written_anew_holds_all_that_counts() {
    let mut group = Script::new();
    let ([a, b], generation) = group.stable(["a", "b"]);
    for offset in 0..100 {
        assert_eq!(group.commit(check(&a, generation), "t", offset), Ok(ErrorCode::None));
    }
    assert!(group.log.0.len() > 100);
    group.rewrite();
    assert_eq!(group.log.0.len(), 2);
    group.restart();
    assert_eq!((group.committed("t"), group.heartbeat(&b, generation)), (99, ErrorCode::None));
}
