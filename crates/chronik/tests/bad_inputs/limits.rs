//! Rows that need a broker with settings of its own, or that put load on it. Ours only: they say nothing of Kafka.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use chronik_protocol::generated::delete_topics_request::DeleteTopicState;
use chronik_protocol::messages::DeleteTopicsRequest;

use crate::member::{JOIN, Member, find_coordinator, join, pair};
use crate::world::World;

/// G10: the members that join at once, and how long they and their memory may take.
const MEMBERS: usize = 1000;
const STABLE: Duration = Duration::from_secs(10);
const MEMBERS_KIB: u64 = 20 * 1024;

/// G11: the members that come and go, how long they do, and how soon the group must be stable after.
const FLAPPING: usize = 100;
const STORM: Duration = Duration::from_secs(60);
/// How long they do where somebody waits for the test: outside CI.
const SHORT_STORM: Duration = Duration::from_secs(5);
const CALM: Duration = Duration::from_secs(5);

/// T09 and G07.
#[test]
fn topics_that_may_not_be_deleted_and_groups_that_are_full() {
    let mut world = World::start(&["delete.topic.enable=false", "group.max.size=2"]);
    if world.broker.is_kafka() {
        return;
    }
    let name = Some(world.topic.clone().into());
    let topics = vec![DeleteTopicState { name, ..Default::default() }];
    let request = DeleteTopicsRequest { topics, timeout_ms: 10_000, ..Default::default() };
    assert_eq!(world.connection.call(6, &request).body().responses[0].error_code, 73);
    let [mut first, mut second] = pair(&mut world, 30_000);
    for version in [JOIN, 5, 9] {
        let third = join(&first.group, "", &["range"]);
        let code = world.connection.call(version, &third).body().error_code;
        assert!(code == 81 || (code == 79 && version > JOIN), "v{version}: {code}");
    }
    assert_eq!((first.heartbeat(), second.heartbeat()), (0, 0));
    world.aftermath();
}

/// What the members of a large group share: the generation in which the leader saw all of them.
struct Goal {
    members: usize,
    generation: AtomicI32,
    stop: AtomicBool,
}

/// Joins, syncs and heartbeats until the group has had all members in one generation, and this one was in it.
fn be_a_member(mut member: Member, goal: &Goal) -> Member {
    while !goal.stop.load(Ordering::Relaxed) {
        member.send_join();
        let joined = member.joined();
        match joined.code {
            0 => {}
            25 => {
                member.id.clear();
                continue;
            }
            27 => continue,
            code => panic!("join: {code}"),
        }
        if joined.leader && joined.members.len() == goal.members {
            goal.generation.store(joined.generation, Ordering::Relaxed);
        }
        let synced = member.sync(&joined.members).0;
        while synced == 0 && !goal.stop.load(Ordering::Relaxed) {
            if goal.generation.load(Ordering::Relaxed) == member.generation {
                return member;
            }
            if member.heartbeat() != 0 {
                break;
            }
            thread::sleep(Duration::from_millis(50));
        }
    }
    member
}

/// Starts one thread a member; they end when the group is stable with all of them.
fn gather(world: &World, group: &str, members: usize) -> (Arc<Goal>, Vec<thread::JoinHandle<Member>>) {
    let goal = Arc::new(Goal { members, generation: AtomicI32::new(-1), stop: AtomicBool::new(false) });
    let start = |_| {
        let (member, goal) = (Member::new(world, group), Arc::clone(&goal));
        let thread = thread::Builder::new().stack_size(256 * 1024);
        thread.spawn(move || be_a_member(member, &goal)).unwrap()
    };
    let threads = (0..members).map(start).collect();
    (goal, threads)
}

/// Waits until all are in one generation.
fn settle(goal: &Goal, threads: Vec<thread::JoinHandle<Member>>, within: Duration) -> Vec<Member> {
    let deadline = Instant::now() + within;
    while !threads.iter().all(thread::JoinHandle::is_finished) {
        if Instant::now() > deadline {
            let late = threads.iter().filter(|t| !t.is_finished()).count();
            goal.stop.store(true, Ordering::Relaxed);
            panic!("{late} members are not in a stable group after {within:?}");
        }
        thread::sleep(Duration::from_millis(10));
    }
    threads.into_iter().map(|t| t.join().unwrap()).collect()
}

/// G10 and G11.
#[test]
fn a_thousand_members_and_a_storm_of_rebalances() {
    let mut world = World::start(&["group.min.session.timeout.ms=100"]);
    if world.broker.is_kafka() {
        return;
    }
    let before = world.broker.resident_kib();
    let group = world.name("thousand");
    find_coordinator(&mut world.connection, &group);
    let (goal, threads) = gather(&world, &group, MEMBERS);
    let members = settle(&goal, threads, STABLE);
    let grown = world.broker.resident_kib().saturating_sub(before);
    // Each member also has a connection.
    assert!(grown <= MEMBERS_KIB + MEMBERS as u64 * 16, "{grown} KiB for {MEMBERS} members");
    drop(members);
    world.aftermath();

    // Only one of the two beats its heart.
    let [mut quiet, _other] = pair(&mut world, 300_000);
    let group = world.name("storm");
    let end = Instant::now() + if std::env::var_os("CI").is_some() { STORM } else { SHORT_STORM };
    let flap = |_| {
        let mut member = Member::new(&world, &group);
        thread::spawn(move || {
            while Instant::now() < end {
                member.id.clear();
                member.send_join();
                if member.joined().code == 0 {
                    member.leave();
                }
            }
        })
    };
    let storm: Vec<_> = (0..FLAPPING).map(flap).collect();
    let mut slowest = Duration::ZERO;
    while Instant::now() < end {
        let since = Instant::now();
        assert_eq!(quiet.heartbeat(), 0, "another group is undisturbed");
        slowest = slowest.max(since.elapsed());
        thread::sleep(Duration::from_millis(20));
    }
    assert!(slowest < Duration::from_secs(1), "a heartbeat of another group took {slowest:?}");
    storm.into_iter().for_each(|t| t.join().unwrap());
    let (goal, threads) = gather(&world, &group, FLAPPING);
    settle(&goal, threads, CALM);
    world.aftermath();
}
