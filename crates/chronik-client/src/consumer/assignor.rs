//! How a group's leader shares partitions out: pure functions of subscriptions and partition counts.

use std::collections::{BTreeMap, BTreeSet};

use super::assignment::{Partitions, Subscription};

/// An assignment strategy, by its protocol name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Assignor {
    /// Each topic's partitions in consecutive ranges, as Kafka's `RangeAssignor`.
    Range,
    /// All partitions dealt in turn, as Kafka's `RoundRobinAssignor`.
    RoundRobin,
    /// Balanced, and everybody keeps what it has as far as balance allows; partitions move in two steps, so that those that
    /// stay are read all the while (KIP-429).
    CooperativeSticky,
}

impl Assignor {
    /// The name in JoinGroup.
    pub fn name(self) -> &'static str {
        match self {
            Assignor::Range => "range",
            Assignor::RoundRobin => "roundrobin",
            Assignor::CooperativeSticky => "cooperative-sticky",
        }
    }

    /// The strategy of this name.
    pub fn find(name: &str) -> Option<Assignor> {
        [Assignor::Range, Assignor::RoundRobin, Assignor::CooperativeSticky].into_iter().find(|a| a.name() == name)
    }

    /// True if members keep their partitions through a rebalance.
    pub fn is_cooperative(self) -> bool {
        self == Assignor::CooperativeSticky
    }

    /// Shares the partitions of `counts` (topic → partitions) out to the members that subscribe to their topic.
    pub fn assign(
        self,
        members: &BTreeMap<String, Subscription>,
        counts: &BTreeMap<String, i32>,
    ) -> BTreeMap<String, Partitions> {
        let dealt = match self {
            Assignor::Range => range(members, counts),
            Assignor::RoundRobin => round_robin(members, counts),
            Assignor::CooperativeSticky => without_moves(members, sticky(members, counts)),
        };
        members.keys().map(|member| (member.clone(), grouped(dealt.get(member)))).collect()
    }
}

type Dealt = BTreeMap<String, BTreeSet<(String, i32)>>;

fn grouped(partitions: Option<&BTreeSet<(String, i32)>>) -> Partitions {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in partitions.into_iter().flatten() {
        topics.entry(topic).or_default().push(*partition);
    }
    topics.into_iter().map(|(topic, partitions)| (topic.to_owned(), partitions)).collect()
}

fn subscribers<'a>(members: &'a BTreeMap<String, Subscription>, topic: &str) -> Vec<&'a String> {
    members.iter().filter(|(_, s)| s.topics.iter().any(|name| name == topic)).map(|(member, _)| member).collect()
}

fn range(members: &BTreeMap<String, Subscription>, counts: &BTreeMap<String, i32>) -> Dealt {
    let mut dealt = Dealt::new();
    for (topic, &count) in counts {
        let subscribers = subscribers(members, topic);
        let mut next = 0;
        for (index, member) in subscribers.iter().enumerate() {
            let (each, rest) = (count / subscribers.len() as i32, count % subscribers.len() as i32);
            let take = each + i32::from((index as i32) < rest);
            dealt
                .entry((*member).clone())
                .or_default()
                .extend((next..next + take).map(|partition| (topic.clone(), partition)));
            next += take;
        }
    }
    dealt
}

fn round_robin(members: &BTreeMap<String, Subscription>, counts: &BTreeMap<String, i32>) -> Dealt {
    let mut dealt = Dealt::new();
    let mut turn = members.iter().cycle();
    for (topic, &count) in counts {
        if subscribers(members, topic).is_empty() {
            continue;
        }
        for partition in 0..count {
            // Somebody subscribes, so the cycle comes to that member.
            let next = turn.find(|(_, subscription)| subscription.topics.contains(topic));
            if let Some((member, _)) = next {
                dealt.entry(member.clone()).or_default().insert((topic.clone(), partition));
            }
        }
    }
    dealt
}

fn sticky(members: &BTreeMap<String, Subscription>, counts: &BTreeMap<String, i32>) -> Dealt {
    let mut dealt: Dealt = members.keys().map(|member| (member.clone(), BTreeSet::new())).collect();
    let mut owner: BTreeMap<(String, i32), (i32, String)> = BTreeMap::new();
    for (member, subscription) in members {
        for (topic, partitions) in subscription.owned.iter().filter(|(topic, _)| subscription.topics.contains(topic)) {
            for partition in partitions.iter().filter(|p| counts.get(topic).is_some_and(|count| *p < count)) {
                // Two members that claim a partition: the later generation has it.
                let claim = (subscription.generation, member.clone());
                let held = owner.entry((topic.clone(), *partition)).or_insert_with(|| claim.clone());
                if held.0 < claim.0 {
                    *held = claim;
                }
            }
        }
    }
    for (partition, (_, member)) in &owner {
        dealt.entry(member.clone()).or_default().insert(partition.clone());
    }
    for (topic, &count) in counts {
        for partition in (0..count).map(|partition| (topic.clone(), partition)).filter(|p| !owner.contains_key(p)) {
            let poorest = subscribers(members, topic).into_iter().min_by_key(|member| dealt[*member].len());
            if let Some(member) = poorest {
                dealt.entry(member.clone()).or_default().insert(partition);
            }
        }
    }
    while move_one(members, &mut dealt) {}
    dealt
}

/// Moves a partition from a member that has at least two more than another that could take it. False when balanced.
fn move_one(members: &BTreeMap<String, Subscription>, dealt: &mut Dealt) -> bool {
    let mut by_size: Vec<(usize, String)> = dealt.iter().map(|(member, held)| (held.len(), member.clone())).collect();
    by_size.sort();
    for (rich, from) in by_size.iter().rev() {
        for (poor, to) in by_size.iter().take_while(|(poor, _)| poor + 1 < *rich) {
            debug_assert!(poor < rich);
            let movable = dealt[from].iter().rev().find(|(topic, _)| members[to].topics.contains(topic)).cloned();
            if let Some(partition) = movable {
                dealt.entry(from.clone()).or_default().remove(&partition);
                dealt.entry(to.clone()).or_default().insert(partition);
                return true;
            }
        }
    }
    false
}

/// Takes out what another member still owns: it is given only once its owner has let go, in the rebalance that follows.
fn without_moves(members: &BTreeMap<String, Subscription>, mut dealt: Dealt) -> Dealt {
    let held: BTreeMap<&str, BTreeSet<(String, i32)>> = members
        .iter()
        .map(|(member, subscription)| {
            let owned = subscription
                .owned
                .iter()
                .flat_map(|(topic, partitions)| partitions.iter().map(|p| (topic.clone(), *p)));
            (member.as_str(), owned.collect())
        })
        .collect();
    for (member, partitions) in &mut dealt {
        partitions.retain(|partition| !held.iter().any(|(other, owned)| *other != member && owned.contains(partition)));
    }
    dealt
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(list: &[(&str, &[&str])]) -> BTreeMap<String, Subscription> {
        let subscription = |topics: &[&str]| Subscription {
            topics: topics.iter().map(|topic| (*topic).to_owned()).collect(),
            generation: -1,
            ..Default::default()
        };
        list.iter().map(|(member, topics)| ((*member).to_owned(), subscription(topics))).collect()
    }

    fn counts(list: &[(&str, i32)]) -> BTreeMap<String, i32> {
        list.iter().map(|(topic, count)| ((*topic).to_owned(), *count)).collect()
    }

    fn of(assigned: &BTreeMap<String, Partitions>, member: &str) -> Vec<String> {
        assigned[member].iter().flat_map(|(topic, ps)| ps.iter().map(move |p| format!("{topic}{p}"))).collect()
    }

    #[test]
    fn range_gives_the_first_members_one_more() {
        let assigned =
            Assignor::Range.assign(&members(&[("a", &["t", "u"]), ("b", &["t", "u"])]), &counts(&[("t", 3), ("u", 3)]));
        assert_eq!(of(&assigned, "a"), ["t0", "t1", "u0", "u1"]);
        assert_eq!(of(&assigned, "b"), ["t2", "u2"]);
    }

    #[test]
    fn round_robin_deals_in_turn_and_respects_subscriptions() {
        let assigned =
            Assignor::RoundRobin.assign(&members(&[("a", &["t", "u"]), ("b", &["t"])]), &counts(&[("t", 3), ("u", 2)]));
        assert_eq!(of(&assigned, "a"), ["t0", "t2", "u0", "u1"]);
        assert_eq!(of(&assigned, "b"), ["t1"]);
    }

    #[test]
    fn a_member_without_partitions_has_an_empty_assignment() {
        let assigned = Assignor::Range.assign(&members(&[("a", &["t"]), ("b", &["t"])]), &counts(&[("t", 1)]));
        assert!(of(&assigned, "b").is_empty());
    }

    #[test]
    fn cooperative_members_keep_what_they_have_and_moves_take_two_steps() {
        let mut group = members(&[("a", &["t"]), ("b", &["t"])]);
        let counts = counts(&[("t", 4)]);
        group.get_mut("a").unwrap().owned = vec![("t".into(), vec![0, 1, 2, 3])];
        let first = Assignor::CooperativeSticky.assign(&group, &counts);
        assert_eq!(of(&first, "a"), ["t0", "t1"]);
        assert!(of(&first, "b").is_empty());
        group.get_mut("a").unwrap().owned = vec![("t".into(), vec![0, 1])];
        let second = Assignor::CooperativeSticky.assign(&group, &counts);
        assert_eq!(of(&second, "a"), ["t0", "t1"]);
        assert_eq!(of(&second, "b"), ["t2", "t3"]);
    }

    #[test]
    fn a_stale_claim_loses_to_a_later_generation() {
        let mut group = members(&[("a", &["t"]), ("b", &["t"])]);
        let owned = vec![("t".to_owned(), vec![0])];
        *group.get_mut("a").unwrap() = Subscription { owned: owned.clone(), generation: 3, ..group["a"].clone() };
        *group.get_mut("b").unwrap() = Subscription { owned, generation: 4, ..group["b"].clone() };
        let dealt = sticky(&group, &counts(&[("t", 1)]));
        assert_eq!(dealt["b"].len(), 1);
        assert!(dealt["a"].is_empty());
    }
}
