//! Members that do anything in any order: whatever they do, every request is answered exactly once, what the machine
//! counts is what is there, and the log gives the stored state (the harness checks that after every step).

use proptest::prelude::*;

use super::*;

const CLIENTS: [&str; 5] = ["a", "b", "c", "d", "e"];

#[derive(Debug, Clone)]
enum Act {
    /// A client joins: with its id, or as if it had none; perhaps as a static member, perhaps with other protocols.
    Join {
        client: usize,
        forget: bool,
        named: bool,
        protocols: u8,
        v0: bool,
    },
    /// A client syncs, with its generation or another.
    Sync {
        client: usize,
        generation: i32,
    },
    Heartbeat {
        client: usize,
    },
    Commit {
        client: usize,
    },
    Leave {
        client: usize,
        by_name: bool,
    },
    Delete,
    Wait {
        ms: i64,
    },
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    let client = 0..CLIENTS.len();
    prop_oneof![
        8 => (client.clone(), any::<bool>(), any::<bool>(), 0u8..4, any::<bool>())
            .prop_map(|(client, forget, named, protocols, v0)| Act::Join { client, forget, named, protocols, v0 }),
        8 => (client.clone(), -1i32..2).prop_map(|(client, generation)| Act::Sync { client, generation }),
        4 => client.clone().prop_map(|client| Act::Heartbeat { client }),
        3 => client.clone().prop_map(|client| Act::Commit { client }),
        2 => (client, any::<bool>()).prop_map(|(client, by_name)| Act::Leave { client, by_name }),
        1 => Just(Act::Delete),
        4 => (0i64..20_000).prop_map(|ms| Act::Wait { ms }),
        1 => Just(Act::Restart),
    ]
}

/// What a client knows of itself.
#[derive(Default, Clone)]
struct Client {
    member_id: Arc<str>,
    generation: i32,
}

struct Chaos {
    script: Script,
    clients: Vec<Client>,
    waiting: Vec<(usize, Ticket)>,
}

impl Chaos {
    fn act(&mut self, act: &Act) {
        match *act {
            Act::Join { client, forget, named, protocols, v0 } => self.join(client, forget, named, protocols, v0),
            Act::Sync { client, generation } => {
                let Client { member_id, generation: known } = self.clients[client].clone();
                let all: Vec<_> = self.clients.iter().map(|client| Arc::clone(&client.member_id)).collect();
                let assignments: Vec<_> = all.iter().map(|id| (id, "x")).collect();
                let ticket = self.script.sync(&member_id, known + generation.min(0), &assignments);
                self.waiting.push((client, ticket));
            }
            Act::Heartbeat { client } => {
                let Client { member_id, generation } = self.clients[client].clone();
                self.script.heartbeat(&member_id, generation);
            }
            Act::Commit { client } => {
                let Client { member_id, generation } = self.clients[client].clone();
                let _ = self.script.commit(check(&member_id, generation), "t", generation.into());
            }
            Act::Leave { client, by_name } => {
                let member_id = self.clients[client].member_id.to_string();
                let leaving = if by_name { ("", Some(CLIENTS[client])) } else { (&*member_id, None) };
                self.script.leave(&[leaving]);
            }
            Act::Delete => {
                self.script.send(GroupRequest::Delete(GROUP.into()));
            }
            Act::Wait { ms } => self.script.advance_ms(ms),
            Act::Restart => {
                // Who was parked lost the connection with the broker.
                self.script.restart();
                self.waiting.clear();
            }
        }
        self.collect();
        self.script.shard.machine().groups.values().for_each(super::super::state::Classic::check_counts);
    }

    fn join(&mut self, client: usize, forget: bool, named: bool, protocols: u8, v0: bool) {
        let member_id = if forget { "".into() } else { Arc::clone(&self.clients[client].member_id) };
        let names = [&["range"][..], &["range", "sticky"], &["sticky", "range"], &["sticky"]][usize::from(protocols)];
        let ticket = self.script.join(Join {
            member_id,
            instance_id: named.then(|| CLIENTS[client].into()),
            protocols: names.iter().map(|name| protocol(name, "t")).collect(),
            requires_member_id: !v0,
            ..joining(CLIENTS[client])
        });
        self.waiting.push((client, ticket));
    }

    /// Clients learn from their answers.
    fn collect(&mut self) {
        let script = &mut self.script;
        let clients = &mut self.clients;
        self.waiting.retain(|(client, ticket)| {
            let Some(reply) = script.replies.remove(&ticket.0) else { return true };
            if let GroupReply::Join(joined) = reply {
                match joined.error {
                    ErrorCode::None => {
                        clients[*client] = Client { member_id: joined.member_id, generation: joined.generation };
                    }
                    ErrorCode::MemberIdRequired => clients[*client].member_id = joined.member_id,
                    _ => {}
                }
            }
            false
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_answered_once(acts in prop::collection::vec(act(), 1..80), delay in 0i32..2, max_size in 2usize..6) {
        let config = GroupConfig { initial_rebalance_delay_ms: delay * 3000, max_size, ..GroupConfig::default() };
        let mut chaos = Chaos {
            script: Script::with(config),
            clients: vec![Client::default(); CLIENTS.len()],
            waiting: Vec::new(),
        };
        for act in &acts {
            chaos.act(act);
        }
        // Nobody does anything any more: sessions run out, and with the last of them every wait.
        chaos.act(&Act::Wait { ms: 20 * 60 * 1000 });
        prop_assert!(chaos.waiting.is_empty(), "never answered: {:?}", chaos.waiting);
        let state = chaos.script.state();
        prop_assert!(state == "Empty" || state == "Dead", "{state}");
    }
}
