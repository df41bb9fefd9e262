//! The cluster as this client knows it: brokers, topics with their leaders, group coordinators, and a connection to each
//! broker that was needed so far.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use chronik_protocol::error::ErrorCode;
use chronik_protocol::messages::{FindCoordinatorRequest, MetadataRequest, MetadataResponse};
use chronik_protocol::uuid::Uuid;
use chronik_protocol::wire::{Message, Request};

use crate::connection::{Answer, Connection};
use crate::error::Error;

/// How to reach a cluster, and how long to wait.
#[derive(Debug, Clone)]
pub struct ClientOptions {
    /// Addresses to ask first, `host:port`.
    pub bootstrap: Vec<String>,
    /// Name that the broker sees in logs and quotas.
    pub client_id: String,
    /// Longest wait for a connection to be made.
    pub connect_timeout: Duration,
    /// Longest wait for an answer.
    pub request_timeout: Duration,
}

impl ClientOptions {
    /// Defaults: client id `chronik`, 10 s to connect, 30 s for an answer.
    pub fn new(bootstrap: &str) -> Self {
        Self {
            bootstrap: bootstrap
                .split(',')
                .map(|address| address.trim().to_owned())
                .filter(|a| !a.is_empty())
                .collect(),
            client_id: "chronik".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// A broker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broker {
    /// Its node id.
    pub id: i32,
    /// Host and port.
    pub address: String,
    /// Its rack, if it says one.
    pub rack: Option<String>,
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its id; zero if the broker is too old for topic ids.
    pub id: Uuid,
    /// True for topics such as `__consumer_offsets`.
    pub internal: bool,
    /// Its partitions, in order of their index.
    pub partitions: Vec<Partition>,
}

/// A partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition {
    /// Its index.
    pub index: i32,
    /// Node id of its leader, −1 while it has none.
    pub leader: i32,
    /// The leader's epoch, −1 if the broker is too old to say.
    pub leader_epoch: i32,
    /// Node ids of its replicas.
    pub replicas: Vec<i32>,
    /// Node ids of the replicas in sync.
    pub in_sync: Vec<i32>,
}

/// What the brokers said last. Immutable; a refresh makes a new one.
#[derive(Debug, Clone, Default)]
pub struct Cluster {
    /// The cluster's id.
    pub id: Option<String>,
    /// Node id of the controller, −1 if unknown.
    pub controller: i32,
    /// The brokers.
    pub brokers: Vec<Broker>,
    /// The topics that were asked for, by name.
    pub topics: HashMap<String, Topic>,
    /// Topics that were asked for and could not be had, with the reason.
    pub errors: HashMap<String, ErrorCode>,
}

impl Cluster {
    /// The partition, if it is known.
    pub fn partition(&self, topic: &str, index: i32) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.iter().find(|partition| partition.index == index)
    }

    /// The name of a topic by its id.
    pub fn name_of(&self, id: Uuid) -> Option<&str> {
        self.topics.iter().find(|(_, topic)| topic.id == id).map(|(name, _)| name.as_str())
    }

    fn from_response(body: &MetadataResponse<'_>) -> Cluster {
        let mut cluster = Cluster {
            id: body.cluster_id.as_ref().map(ToString::to_string),
            controller: body.controller_id,
            ..Cluster::default()
        };
        for broker in &body.brokers {
            let address = format_address(&broker.host, broker.port);
            cluster.brokers.push(Broker {
                id: broker.node_id,
                address,
                rack: broker.rack.as_ref().map(ToString::to_string),
            });
        }
        for topic in &body.topics {
            let Some(name) = topic.name.as_ref().map(ToString::to_string) else { continue };
            match ErrorCode::from_code(topic.error_code) {
                ErrorCode::None => {
                    let mut partitions: Vec<Partition> = topic
                        .partitions
                        .iter()
                        .map(|partition| Partition {
                            index: partition.partition_index,
                            leader: partition.leader_id,
                            leader_epoch: partition.leader_epoch,
                            replicas: partition.replica_nodes.clone(),
                            in_sync: partition.isr_nodes.clone(),
                        })
                        .collect();
                    partitions.sort_by_key(|partition| partition.index);
                    cluster.topics.insert(name, Topic { id: topic.topic_id, internal: topic.is_internal, partitions });
                }
                code => {
                    cluster.errors.insert(name, code);
                }
            }
        }
        cluster
    }
}

fn format_address(host: &str, port: i32) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Node {
    /// Any broker.
    Any,
    /// The controller.
    Controller,
    /// The broker of this id.
    Id(i32),
}

#[derive(Debug, Default)]
struct State {
    cluster: Arc<Cluster>,
    by_id: HashMap<i32, Arc<Connection>>,
    any: Option<Arc<Connection>>,
    coordinators: HashMap<String, i32>,
}

/// A client of one cluster. Clones share connections and metadata.
#[derive(Debug, Clone)]
pub struct Client {
    options: Arc<ClientOptions>,
    state: Arc<Mutex<State>>,
}

impl Client {
    /// Connects to the first bootstrap address that answers and learns the brokers.
    ///
    /// # Errors
    /// [`Error::Connect`] when none of them answers.
    pub async fn connect(options: ClientOptions) -> Result<Client, Error> {
        let client = Client { options: Arc::new(options), state: Arc::default() };
        client.refresh(&[]).await?;
        Ok(client)
    }

    /// The options that the client was made with.
    pub fn options(&self) -> &ClientOptions {
        &self.options
    }

    /// What the brokers said last.
    pub fn cluster(&self) -> Arc<Cluster> {
        self.lock().cluster.clone()
    }

    /// Sends a request in the highest version that both sides know.
    pub async fn call<R: Request>(&self, node: Node, request: &R) -> Result<Answer<R>, Error> {
        let connection = self.connection(node).await?;
        connection.call(request, self.options.request_timeout).await
    }

    /// Sends a request that looks different from version to version: `make` gets the one that is spoken.
    pub async fn call_with<R: Request>(&self, node: Node, make: impl FnOnce(i16) -> R) -> Result<Answer<R>, Error> {
        let connection = self.connection(node).await?;
        connection.call_with(i16::MAX, make, self.options.request_timeout).await
    }

    /// Asks about these topics only (none: just the brokers), never creating one, and keeps the answer.
    pub async fn refresh(&self, topics: &[&str]) -> Result<Arc<Cluster>, Error> {
        self.ask(Some(topics), false).await
    }

    /// Asks about all topics and keeps the answer.
    pub async fn refresh_all(&self) -> Result<Arc<Cluster>, Error> {
        self.ask(None, false).await
    }

    /// As [`Client::refresh`], creating topics that are missing if the broker is configured to.
    pub async fn refresh_or_create(&self, topics: &[&str]) -> Result<Arc<Cluster>, Error> {
        self.ask(Some(topics), true).await
    }

    /// Node id of a group's coordinator, asked once and kept until [`Client::forget_coordinator`].
    pub async fn coordinator(&self, group: &str) -> Result<i32, Error> {
        if let Some(id) = self.lock().coordinators.get(group) {
            return Ok(*id);
        }
        // From version 4 on, several keys can be asked for.
        let make = |version| match version {
            ..=3 => FindCoordinatorRequest { key: group.to_owned().into(), ..Default::default() },
            _ => FindCoordinatorRequest { coordinator_keys: vec![group.to_owned().into()], ..Default::default() },
        };
        let answer = self.call_with(Node::Any, make).await?;
        let body = answer.body()?;
        let what = || format!("coordinator of group {group}");
        let id = match body.coordinators.first() {
            Some(found) => {
                Error::check(found.error_code, what, found.error_message.as_deref())?;
                self.learn(found.node_id, &format_address(&found.host, found.port));
                found.node_id
            }
            None => {
                Error::check(body.error_code, what, body.error_message.as_deref())?;
                self.learn(body.node_id, &format_address(&body.host, body.port));
                body.node_id
            }
        };
        self.lock().coordinators.insert(group.to_owned(), id);
        Ok(id)
    }

    /// Forgets a coordinator that answered NOT_COORDINATOR or could not be reached.
    pub fn forget_coordinator(&self, group: &str) {
        self.lock().coordinators.remove(group);
    }

    /// An open connection to a broker, made if needed.
    pub async fn connection(&self, node: Node) -> Result<Arc<Connection>, Error> {
        let id = match node {
            Node::Any => return self.any().await,
            Node::Controller => self.cluster().controller,
            Node::Id(id) => id,
        };
        if id < 0 {
            return self.any().await;
        }
        if let Some(open) = self.lock().by_id.get(&id).filter(|connection| !connection.is_closed()) {
            return Ok(open.clone());
        }
        let address = self.address_of(id).await?;
        let connection = Arc::new(self.open(&address).await?);
        self.lock().by_id.insert(id, connection.clone());
        Ok(connection)
    }

    /// A connection of its own to a broker, shared with nobody: for long polls, and for load that must not queue up behind
    /// other requests.
    pub async fn dedicated(&self, id: i32) -> Result<Connection, Error> {
        let address = self.address_of(id).await?;
        self.open(&address).await
    }

    async fn address_of(&self, id: i32) -> Result<String, Error> {
        let known =
            |cluster: &Cluster| cluster.brokers.iter().find(|broker| broker.id == id).map(|b| b.address.clone());
        if let Some(address) = known(&self.cluster()) {
            return Ok(address);
        }
        known(&*self.refresh(&[]).await?).ok_or_else(|| Error::Invalid(format!("the cluster has no broker {id}")))
    }

    async fn open(&self, address: &str) -> Result<Connection, Error> {
        Connection::open(address, &self.options.client_id, self.options.connect_timeout).await
    }

    async fn any(&self) -> Result<Arc<Connection>, Error> {
        {
            let state = self.lock();
            if let Some(open) = state.any.iter().chain(state.by_id.values()).find(|connection| !connection.is_closed())
            {
                return Ok(open.clone());
            }
        }
        let known = self.cluster();
        let mut last = None;
        for address in self.options.bootstrap.iter().chain(known.brokers.iter().map(|broker| &broker.address)) {
            match self.open(address).await {
                Ok(connection) => {
                    let connection = Arc::new(connection);
                    self.lock().any = Some(connection.clone());
                    return Ok(connection);
                }
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| Error::Invalid("no bootstrap address was given".to_owned())))
    }

    async fn ask(&self, topics: Option<&[&str]>, create: bool) -> Result<Arc<Cluster>, Error> {
        let connection = self.any().await?;
        let version = connection.versions().highest(
            MetadataRequest::KEY,
            MetadataRequest::MIN_VERSION,
            MetadataRequest::MAX_VERSION,
        )?;
        let request = MetadataRequest {
            // Version 0 has no null: there, an empty list means all topics.
            topics: match topics {
                None if version == 0 => Some(Vec::new()),
                None => None,
                Some(names) => Some(
                    names
                        .iter()
                        .map(|name| chronik_protocol::generated::metadata_request::MetadataRequestTopic {
                            name: Some((*name).into()),
                            ..Default::default()
                        })
                        .collect(),
                ),
            },
            allow_auto_topic_creation: create,
            ..Default::default()
        };
        let answer = connection.call_version(&request, version, self.options.request_timeout).await?;
        let mut cluster = Cluster::from_response(&answer.body()?);
        let mut state = self.lock();
        if let Some(asked) = topics {
            // An answer about some topics says nothing about the others.
            for (name, topic) in &state.cluster.topics {
                if !asked.contains(&name.as_str()) && !cluster.topics.contains_key(name) {
                    cluster.topics.insert(name.clone(), topic.clone());
                }
            }
        }
        let moved = |id: &i32| {
            let address = |cluster: &Cluster| cluster.brokers.iter().find(|b| b.id == *id).map(|b| b.address.clone());
            address(&state.cluster) == address(&cluster)
        };
        let stay: Vec<i32> = state.by_id.keys().filter(|id| moved(id)).copied().collect();
        state.by_id.retain(|id, connection| stay.contains(id) && !connection.is_closed());
        state.cluster = Arc::new(cluster);
        Ok(state.cluster.clone())
    }

    /// Adds a broker that an answer other than Metadata named.
    fn learn(&self, id: i32, address: &str) {
        let mut state = self.lock();
        if !state.cluster.brokers.iter().any(|broker| broker.id == id) {
            let mut cluster = (*state.cluster).clone();
            cluster.brokers.push(Broker { id, address: address.to_owned(), rack: None });
            state.cluster = Arc::new(cluster);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // The state is replaced whole in every critical section: a panic elsewhere leaves it usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bootstrap_lists_are_split() {
        assert_eq!(ClientOptions::new("a:1, b:2,").bootstrap, ["a:1", "b:2"]);
    }

    #[test]
    fn addresses_of_ipv6_hosts_have_brackets() {
        assert_eq!(format_address("::1", 9092), "[::1]:9092");
        assert_eq!(format_address("localhost", 1), "localhost:1");
    }
}
