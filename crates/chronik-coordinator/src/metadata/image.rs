//! Everything that the metadata log says, in memory. [`MetadataImage::apply`] alone changes it; replaying the log gives the same image.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chronik_protocol::Uuid;
use chronik_protocol::generated::metadata::{ConfigRecord, PartitionRecord, RegisterBrokerRecord, TopicRecord};

use super::config::{Layers, Overrides};
use super::names;
use super::records::MetadataRecord;

/// What a setting belongs to. The numbers are Kafka's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub enum ResourceKind {
    /// A topic.
    Topic = 2,
    /// One broker, or all when the name is empty.
    Broker = 4,
}

impl ResourceKind {
    /// The kind of this number.
    pub fn from_i8(number: i8) -> Option<ResourceKind> {
        match number {
            2 => Some(ResourceKind::Topic),
            4 => Some(ResourceKind::Broker),
            _ => None,
        }
    }
}

/// A topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id: unique for ever, also when a topic of the same name follows.
    pub id: Uuid,
    /// The number of its partitions.
    pub partitions: i32,
    /// Whether clients may not write to it.
    pub internal: bool,
    /// The number of the broker session in which it was created.
    pub created_session: u32,
}

/// A record that does not fit the image: the log is damaged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("metadata record does not fit: {0}")]
pub struct Misfit(pub String);

/// The state of the metadata.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct MetadataImage {
    cluster_id: Option<Uuid>,
    /// Incarnation id of the running session.
    incarnation: Uuid,
    node_id: i32,
    sessions: u32,
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    ids: BTreeMap<Uuid, Arc<str>>,
    /// Names by what they share with names that collide with them.
    collisions: BTreeMap<String, BTreeSet<Arc<str>>>,
    configs: BTreeMap<(ResourceKind, String), Arc<Overrides>>,
    next_producer_id: i64,
}

static NO_OVERRIDES: Overrides = Overrides::new();

impl MetadataImage {
    /// The id of the cluster; `None` before the first session.
    pub fn cluster_id(&self) -> Option<Uuid> {
        self.cluster_id
    }

    /// How many sessions have begun so far.
    pub fn sessions(&self) -> u32 {
        self.sessions
    }

    /// The node of the running session.
    pub fn node_id(&self) -> i32 {
        self.node_id
    }

    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// The topic of this id.
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topics.get(self.ids.get(&id)?)
    }

    /// All topics, by name.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topics whose names come after this one, or from the first for the empty name.
    pub fn topics_from<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a Arc<Topic>> + use<'a> {
        self.topics
            .range::<str, _>((std::ops::Bound::Included(name), std::ops::Bound::Unbounded))
            .map(|(_, topic)| topic)
    }

    /// The leader epoch of all partitions of a topic: how many sessions have begun since the one that created it. A restart raises it by
    /// one without writing a record.
    pub fn leader_epoch(&self, topic: &Topic) -> i32 {
        i32::try_from(self.sessions.saturating_sub(topic.created_session)).unwrap_or(i32::MAX)
    }

    /// The first existing name that metrics could not tell apart from this one.
    pub fn collides(&self, name: &str) -> Option<&Arc<str>> {
        self.collisions.get(&names::collision_key(name)?)?.iter().find(|other| other.as_ref() != name)
    }

    /// A topic's own settings.
    pub fn topic_overrides(&self, name: &str) -> &Overrides {
        self.overrides(ResourceKind::Topic, name)
    }

    /// Settings of a broker made at run time; the empty name means all brokers.
    pub fn broker_overrides(&self, name: &str) -> &Overrides {
        self.overrides(ResourceKind::Broker, name)
    }

    /// Settings of a resource.
    pub fn overrides(&self, kind: ResourceKind, name: &str) -> &Overrides {
        self.configs.get(&(kind, name.to_owned())).map_or(&NO_OVERRIDES, |overrides| overrides)
    }

    /// The layers under a topic's own settings.
    pub fn layers<'a>(&'a self, static_broker: &'a Overrides) -> Layers<'a> {
        Layers {
            dynamic_broker: self.broker_overrides(&self.node_id.to_string()),
            dynamic_default: self.broker_overrides(""),
            static_broker,
        }
    }

    /// The first producer id that no block has covered.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// Makes the change that a record says.
    ///
    /// # Errors
    ///
    /// [`Misfit`] when the record cannot follow what came before; the image is as it was.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), Misfit> {
        match record {
            MetadataRecord::Session(record) => self.apply_session(record),
            MetadataRecord::Topic(record) => self.apply_topic(record),
            MetadataRecord::Partition(record) => self.apply_partition(record),
            MetadataRecord::RemoveTopic(record) => self.apply_removal(record.topic_id),
            MetadataRecord::Config(record) => self.apply_config(record),
            MetadataRecord::ProducerIds(record) if record.next_producer_id < self.next_producer_id => Err(Misfit(
                format!("producer ids go back from {} to {}", self.next_producer_id, record.next_producer_id),
            )),
            MetadataRecord::ProducerIds(record) => {
                self.next_producer_id = record.next_producer_id;
                Ok(())
            }
        }
    }

    fn apply_session(&mut self, record: &RegisterBrokerRecord<'_>) -> Result<(), Misfit> {
        let number = u32::try_from(record.broker_epoch).ok().filter(|number| *number > self.sessions);
        let number =
            number.ok_or_else(|| Misfit(format!("session {} after session {}", record.broker_epoch, self.sessions)))?;
        self.sessions = number;
        self.node_id = record.broker_id;
        self.incarnation = record.incarnation_id;
        self.cluster_id.get_or_insert(record.incarnation_id);
        Ok(())
    }

    fn apply_topic(&mut self, record: &TopicRecord<'_>) -> Result<(), Misfit> {
        if self.topics.contains_key(record.name.as_ref()) || self.ids.contains_key(&record.topic_id) {
            return Err(Misfit(format!("topic {} ({}) is there twice", record.name, record.topic_id)));
        }
        let name: Arc<str> = record.name.as_ref().into();
        let topic = Topic {
            name: name.clone(),
            id: record.topic_id,
            partitions: 0,
            internal: names::is_internal(&name),
            created_session: self.sessions,
        };
        if let Some(key) = names::collision_key(&name) {
            self.collisions.entry(key).or_default().insert(name.clone());
        }
        self.ids.insert(record.topic_id, name.clone());
        self.topics.insert(name, Arc::new(topic));
        Ok(())
    }

    fn apply_partition(&mut self, record: &PartitionRecord) -> Result<(), Misfit> {
        let sessions = self.sessions;
        let topic = self.ids.get(&record.topic_id).and_then(|name| self.topics.get_mut(name));
        let topic = topic.ok_or_else(|| Misfit(format!("a partition of an unknown topic {}", record.topic_id)))?;
        if record.partition_id != topic.partitions {
            let (name, next) = (&topic.name, topic.partitions);
            return Err(Misfit(format!("partition {} of {name} where {next} was due", record.partition_id)));
        }
        let topic = Arc::make_mut(topic);
        topic.partitions += 1;
        // In a snapshot the topic's record follows the newest session's; the epoch says how far back it was created.
        topic.created_session = sessions.saturating_sub(u32::try_from(record.leader_epoch).unwrap_or(0));
        Ok(())
    }

    fn apply_removal(&mut self, id: Uuid) -> Result<(), Misfit> {
        let name = self.ids.remove(&id).ok_or_else(|| Misfit(format!("removal of an unknown topic {id}")))?;
        self.topics.remove(&name);
        self.configs.remove(&(ResourceKind::Topic, name.as_ref().to_owned()));
        if let Some(key) = names::collision_key(&name)
            && let Some(set) = self.collisions.get_mut(&key)
        {
            set.remove(&name);
            if set.is_empty() {
                self.collisions.remove(&key);
            }
        }
        Ok(())
    }

    fn apply_config(&mut self, record: &ConfigRecord<'_>) -> Result<(), Misfit> {
        let kind = ResourceKind::from_i8(record.resource_type)
            .ok_or_else(|| Misfit(format!("settings of an unknown kind {}", record.resource_type)))?;
        let key = (kind, record.resource_name.as_ref().to_owned());
        match &record.value {
            Some(value) => {
                let overrides = Arc::make_mut(self.configs.entry(key).or_default());
                overrides.insert(record.name.as_ref().to_owned(), value.as_ref().to_owned());
            }
            None => {
                if let Some(overrides) = self.configs.get_mut(&key) {
                    Arc::make_mut(overrides).remove(record.name.as_ref());
                    if overrides.is_empty() {
                        self.configs.remove(&key);
                    }
                }
            }
        }
        Ok(())
    }

    /// Records that make this image out of an empty one: a snapshot.
    pub fn to_records(&self) -> Vec<MetadataRecord> {
        let mut out = Vec::with_capacity(self.topics.len() * 2 + 8);
        if let Some(cluster_id) = self.cluster_id {
            // The first session stays, because its incarnation id is the cluster's.
            out.push(MetadataRecord::session(self.node_id, cluster_id, 1));
            if self.sessions > 1 {
                out.push(MetadataRecord::session(self.node_id, self.incarnation, self.sessions));
            }
        }
        for topic in self.topics.values() {
            let name = topic.name.as_ref().to_owned().into();
            out.push(MetadataRecord::Topic(TopicRecord { name, topic_id: topic.id }));
            let epoch = self.leader_epoch(topic);
            out.extend((0..topic.partitions).map(|p| MetadataRecord::partition(topic.id, p, self.node_id, epoch)));
        }
        for ((kind, resource), overrides) in &self.configs {
            out.extend(
                overrides.iter().map(|(name, value)| MetadataRecord::config(*kind, resource, name, Some(value))),
            );
        }
        if self.next_producer_id > 0 {
            out.push(super::controller::producer_ids(self, self.next_producer_id));
        }
        out
    }
}
