//! Scenarios: requests against the machine, the answers word for word as Apache Kafka 4.4 gives them, and after every step the log
//! replayed and a snapshot loaded give the same image.

use super::*;
use crate::metadata::config::Source;
use chronik_protocol::Uuid;
use chronik_protocol::generated::create_partitions_request::{CreatePartitionsAssignment, CreatePartitionsTopic};
use chronik_protocol::generated::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use chronik_protocol::generated::delete_topics_request::DeleteTopicState;
use chronik_protocol::generated::{alter_configs_request, incremental_alter_configs_request};
use chronik_protocol::messages::{
    AlterConfigsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    IncrementalAlterConfigsRequest,
};

type Told = (i16, Option<String>);

struct World {
    image: MetadataImage,
    log: Vec<Vec<u8>>,
    rules: Rules,
    ids: u128,
}

fn world() -> World {
    let rules = Rules {
        node_id: 1,
        num_partitions: 4,
        default_replication_factor: 1,
        delete_topics: true,
        static_broker: Overrides::new(),
    };
    let mut world = World { image: MetadataImage::default(), log: Vec::new(), rules, ids: 0 };
    world.session();
    world
}

fn said(code: i16, message: Option<Cow<'_, str>>) -> Told {
    (code, message.map(Cow::into_owned))
}

fn told(code: i16, message: &str) -> Told {
    (code, Some(message.to_owned()))
}

const OK: Told = (0, None);

impl World {
    fn commit(&mut self, records: Vec<MetadataRecord>) {
        for record in records {
            self.log.push(record.encode().unwrap());
            self.image.apply(&record).unwrap();
        }
        let mut replayed = MetadataImage::default();
        for bytes in &self.log {
            replayed.apply(&MetadataRecord::decode(bytes).unwrap()).unwrap();
        }
        assert_eq!(replayed, self.image);
        let mut loaded = MetadataImage::default();
        for record in self.image.to_records() {
            loaded.apply(&record).unwrap();
        }
        assert_eq!(loaded, self.image);
    }

    fn session(&mut self) {
        let number = self.image.sessions() + 1;
        self.commit(vec![MetadataRecord::session(1, Uuid::from_u128(1000 + u128::from(number)), number)]);
    }

    fn create_all(&mut self, request: &CreateTopicsRequest<'_>) -> Vec<Told> {
        let controller = Controller { image: &self.image, rules: &self.rules };
        let ids = &mut self.ids;
        let decision = controller.create_topics(request, &mut || {
            *ids += 1;
            Uuid::from_u128(*ids)
        });
        self.commit(decision.records);
        decision.response.topics.into_iter().map(|t| said(t.error_code, t.error_message)).collect()
    }

    fn create_as(&mut self, topic: CreatableTopic<'_>) -> Told {
        let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
        self.create_all(&request).remove(0)
    }

    fn create(&mut self, name: &str, partitions: i32, factor: i16) -> Told {
        self.create_as(new_topic(name, partitions, factor))
    }

    fn create_with(&mut self, name: &str, configs: &[(&str, Option<&str>)]) -> Told {
        let mut topic = new_topic(name, 1, 1);
        let config = |(name, value): &(&str, Option<&str>)| CreatableTopicConfig {
            name: (*name).to_owned().into(),
            value: value.map(|value| value.to_owned().into()),
        };
        topic.configs = configs.iter().map(config).collect();
        self.create_as(topic)
    }

    fn create_at(&mut self, name: &str, partitions: i32, factor: i16, assignments: &[(i32, &[i32])]) -> Told {
        let mut topic = new_topic(name, partitions, factor);
        let at = |(partition_index, brokers): &(i32, &[i32])| CreatableReplicaAssignment {
            partition_index: *partition_index,
            broker_ids: brokers.to_vec(),
        };
        topic.assignments = assignments.iter().map(at).collect();
        self.create_as(topic)
    }

    fn delete(&mut self, topics: &[(Option<&str>, u128)]) -> Vec<(Option<String>, Told)> {
        let state = |(name, id): &(Option<&str>, u128)| DeleteTopicState {
            name: name.map(|name| name.to_owned().into()),
            topic_id: Uuid::from_u128(*id),
        };
        let topics = topics.iter().map(state).collect();
        let request = DeleteTopicsRequest { topics, timeout_ms: 1000, ..DeleteTopicsRequest::default() };
        let decision = Controller { image: &self.image, rules: &self.rules }.delete_topics(&request, 6);
        self.commit(decision.records);
        let result = |r: chronik_protocol::generated::delete_topics_response::DeletableTopicResult<'static>| {
            (r.name.map(Cow::into_owned), said(r.error_code, r.error_message))
        };
        decision.response.responses.into_iter().map(result).collect()
    }

    fn grow(&mut self, name: &str, count: i32, assignments: Option<&[&[i32]]>) -> Told {
        let assignment = |brokers: &&[i32]| CreatePartitionsAssignment { broker_ids: brokers.to_vec() };
        let topic = CreatePartitionsTopic {
            name: name.to_owned().into(),
            count,
            assignments: assignments.map(|all| all.iter().map(assignment).collect()),
        };
        let request = CreatePartitionsRequest { topics: vec![topic], timeout_ms: 1000, validate_only: false };
        let decision = Controller { image: &self.image, rules: &self.rules }.create_partitions(&request);
        self.commit(decision.records);
        let result = decision.response.results.into_iter().next().unwrap();
        said(result.error_code, result.error_message)
    }

    fn alter(&mut self, kind: i8, name: &str, configs: &[(&str, Option<&str>)]) -> Told {
        let config = |(name, value): &(&str, Option<&str>)| alter_configs_request::AlterableConfig {
            name: (*name).to_owned().into(),
            value: value.map(|value| value.to_owned().into()),
        };
        let resource = alter_configs_request::AlterConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned().into(),
            configs: configs.iter().map(config).collect(),
        };
        let request = AlterConfigsRequest { resources: vec![resource], validate_only: false };
        let decision = Controller { image: &self.image, rules: &self.rules }.alter_configs(&request);
        self.commit(decision.records);
        let result = decision.response.responses.into_iter().next().unwrap();
        said(result.error_code, result.error_message)
    }

    fn change(&mut self, kind: i8, name: &str, key: &str, operation: i8, value: Option<&str>) -> Told {
        let resource = incremental_alter_configs_request::AlterConfigsResource {
            resource_type: kind,
            resource_name: name.to_owned().into(),
            configs: vec![incremental_alter_configs_request::AlterableConfig {
                name: key.to_owned().into(),
                config_operation: operation,
                value: value.map(|value| value.to_owned().into()),
            }],
        };
        let request = IncrementalAlterConfigsRequest { resources: vec![resource], validate_only: false };
        let decision = Controller { image: &self.image, rules: &self.rules }.incremental_alter_configs(&request);
        self.commit(decision.records);
        let result = decision.response.responses.into_iter().next().unwrap();
        said(result.error_code, result.error_message)
    }

    fn topic_config(&self, topic: &str, key: &str) -> (String, Source) {
        let layers = self.image.layers(&self.rules.static_broker);
        let described = layers.describe_topic(self.image.topic_overrides(topic));
        let found = described.into_iter().find(|d| d.name == key).unwrap();
        (found.value.unwrap_or_default(), found.source)
    }
}

fn new_topic(name: &str, num_partitions: i32, replication_factor: i16) -> CreatableTopic<'static> {
    CreatableTopic { name: name.to_owned().into(), num_partitions, replication_factor, ..CreatableTopic::default() }
}

#[test]
fn names_and_collisions() {
    let mut w = world();
    assert_eq!(w.create("", 1, 1), told(17, "Topic name is invalid: the empty string is not allowed"));
    assert_eq!(w.create("..", 1, 1), told(17, "Topic name is invalid: '..' is not allowed"));
    let illegal =
        "Topic name is invalid: 'a/b' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'";
    assert_eq!(w.create("a/b", 1, 1), told(17, illegal));
    assert_eq!(w.create("meta.x_y", 1, 1), OK);
    assert_eq!(w.create("meta_x.y", 1, 1), told(17, "Topic 'meta_x.y' collides with existing topic: meta.x_y"));
    assert_eq!(w.create("meta.x_y", 1, 1), told(36, "Topic 'meta.x_y' already exists."));
    let prohibited = "Creation of internal topic __cluster_metadata is prohibited.";
    assert_eq!(w.create("__cluster_metadata", 1, 1), told(42, prohibited));
    assert_eq!(w.delete(&[(Some("meta.x_y"), 0)]), [(Some("meta.x_y".to_owned()), OK)]);
    assert_eq!(w.create("meta_x.y", 1, 1), OK);
}

#[test]
fn counts_and_factors() {
    let mut w = world();
    let non_positive = told(37, "Number of partitions was set to an invalid non-positive value.");
    assert_eq!(w.create("t", 0, 1), non_positive);
    assert_eq!(w.create("t", -2, 1), non_positive);
    let factor = told(38, "Replication factor must be larger than 0, or -1 to use the default value.");
    assert_eq!(w.create("t", 1, 0), factor);
    assert_eq!(w.create("t", 1, -2), factor);
    assert_eq!(w.create("t", 1, 9).0, 38);
    assert_eq!(w.create("t", 10_001, 1), told(44, "Excessively large number of partitions per request."));
    assert_eq!(w.create("t", -1, -1), OK);
    assert_eq!(w.image.topic("t").unwrap().partitions, 4);
}

#[test]
fn manual_assignments() {
    let mut w = world();
    let set = "A manual partition assignment was specified, but replication factor was not set to -1.";
    assert_eq!(w.create_at("t", 1, 1, &[(0, &[1])]), told(42, set));
    let set = "A manual partition assignment was specified, but numPartitions was not set to -1.";
    assert_eq!(w.create_at("t", 1, -1, &[(0, &[1])]), told(42, set));
    let gap = told(39, "partitions should be a consecutive 0-based integer sequence");
    assert_eq!(w.create_at("t", -1, -1, &[(1, &[1])]), gap);
    assert_eq!(w.create_at("t", -1, -1, &[(0, &[1]), (2, &[1])]), gap);
    let stranger = "The manual partition assignment includes broker 2, but no such broker is registered.";
    assert_eq!(w.create_at("t", -1, -1, &[(0, &[2])]), told(39, stranger));
    let empty = "The manual partition assignment includes an empty replica list.";
    assert_eq!(w.create_at("t", -1, -1, &[(0, &[])]), told(39, empty));
    let twice = "The manual partition assignment includes the broker 1 more than once.";
    assert_eq!(w.create_at("t", -1, -1, &[(0, &[1, 1])]), told(39, twice));
    let many = "Found multiple manual partition assignments for partition 0";
    assert_eq!(w.create_at("t", -1, -1, &[(0, &[1]), (0, &[1])]), told(39, many));
    assert_eq!(w.create_at("t", -1, -1, &[(1, &[1]), (0, &[1])]), OK);
    assert_eq!(w.image.topic("t").unwrap().partitions, 2);
}

#[test]
fn settings_of_new_topics() {
    let mut w = world();
    assert_eq!(w.create_with("t", &[("bogus", Some("1"))]), told(40, "Unknown topic config name: bogus"));
    let null = "Null value not supported for topic configs: retention.ms";
    assert_eq!(w.create_with("t", &[("retention.ms", None)]), told(40, null));
    let tiers =
        "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage.";
    assert_eq!(w.create_with("t", &[("remote.storage.enable", Some("true"))]), told(40, tiers));
    let lags = [("min.compaction.lag.ms", Some("10")), ("max.compaction.lag.ms", Some("5"))];
    let conflict = "conflict topic config setting min.compaction.lag.ms (10) > max.compaction.lag.ms (5)";
    assert_eq!(w.create_with("t", &lags), told(40, conflict));
    assert_eq!(w.create_with("t", &[("retention.ms", Some("1")), ("retention.ms", Some("2"))]), OK);
    assert_eq!(w.topic_config("t", "retention.ms"), ("2".to_owned(), Source::Topic));
}

#[test]
fn repeated_late_and_rehearsed() {
    let mut w = world();
    let topics = vec![new_topic("a", 1, 1), new_topic("b", 1, 1), new_topic("a", 1, 1)];
    let mut request = CreateTopicsRequest { topics, timeout_ms: 1000, validate_only: true };
    assert_eq!(w.create_all(&request), [told(42, "Duplicate topic name."), OK]);
    assert_eq!(w.image.topics().len(), 0);
    request.validate_only = false;
    assert_eq!(w.create_all(&request), [told(42, "Duplicate topic name."), OK]);
    assert_eq!(w.image.topics().len(), 1);
    for timeout_ms in [0, -1] {
        request.timeout_ms = timeout_ms;
        assert_eq!(w.create_all(&request), [(7, None), (7, None)]);
    }
    assert_eq!(w.image.topics().len(), 1);
}

#[test]
fn deletion() {
    let mut w = world();
    w.create("a", 2, 1);
    w.create("b", 1, 1);
    w.create("__consumer_offsets", 50, 1);
    let id = w.image.topic("a").unwrap().id.as_u128();
    let twice = told(42, "Duplicate topic name.");
    let answers = w.delete(&[
        (Some("none"), 0),
        (Some("b"), 0),
        (Some("b"), 0),
        (None, 99),
        (None, 0),
        (Some("a"), id),
        (Some("__consumer_offsets"), 0),
    ]);
    let told_of: Vec<_> = answers.iter().map(|(name, told)| (name.as_deref(), told.0)).collect();
    assert_eq!(answers[1].1, twice);
    assert_eq!(
        told_of,
        [
            (Some("none"), 3),
            (Some("b"), 42),
            (None, 100),
            (None, 42),
            (Some("a"), 42),
            (Some("__consumer_offsets"), 44)
        ]
    );
    assert_eq!(w.image.topics().len(), 3);
    assert_eq!(w.delete(&[(None, id)]), [(Some("a".to_owned()), OK)]);
    assert_eq!(w.create("a", 1, 1), OK);
    assert_ne!(w.image.topic("a").unwrap().id.as_u128(), id);
    w.rules.delete_topics = false;
    assert_eq!(w.delete(&[(Some("a"), 0)])[0].1, told(73, "Topic deletion is disabled."));
}

#[test]
fn a_name_and_its_id_are_one_topic() {
    let mut w = world();
    w.create("a", 1, 1);
    let id = w.image.topic("a").unwrap().id.as_u128();
    let answers = w.delete(&[(Some("a"), 0), (None, id)]);
    assert_eq!(answers[0].1, OK);
    assert_eq!(answers[1].1, told(42, "The provided topic name maps to an ID that was already supplied."));
}

#[test]
fn growth() {
    let mut w = world();
    w.create("t", 1, 1);
    assert_eq!(w.grow("none", 2, None), (3, None));
    assert_eq!(w.grow("t", 1, None), told(37, "Topic already has 1 partition(s)."));
    assert_eq!(
        w.grow("t", -1, None),
        told(37, "The topic t currently has 1 partition(s); -1 would not be an increase.")
    );
    assert_eq!(w.grow("t", 20_000, None), told(44, "Excessively large number of additional partitions per request."));
    let few = "Attempted to add 2 additional partition(s), but only 1 assignment(s) were specified.";
    assert_eq!(w.grow("t", 3, Some(&[&[1]])), told(39, few));
    assert_eq!(w.grow("t", 2, Some(&[&[2]])).0, 39);
    assert_eq!(w.grow("t", 2, Some(&[&[1]])), OK);
    w.session();
    assert_eq!(w.grow("t", 5, None), OK);
    let topic = w.image.topic("t").unwrap();
    assert_eq!((topic.partitions, w.image.leader_epoch(topic)), (5, 1));
}

#[test]
fn every_session_raises_every_epoch_by_one() {
    let mut w = world();
    w.create("a", 1, 1);
    w.session();
    w.create("b", 1, 1);
    w.session();
    let epoch = |name: &str| w.image.leader_epoch(w.image.topic(name).unwrap());
    assert_eq!((epoch("a"), epoch("b")), (2, 1));
    assert_eq!(w.image.cluster_id(), Some(Uuid::from_u128(1001)));
}

#[test]
fn replaced_settings() {
    let mut w = world();
    w.create_with("t", &[("retention.ms", Some("1000"))]);
    assert_eq!(w.alter(2, "t", &[("segment.ms", Some(" 0900 ")), ("preallocate", Some("TRUE"))]), OK);
    assert_eq!(w.topic_config("t", "retention.ms"), ("604800000".to_owned(), Source::Default));
    assert_eq!(w.topic_config("t", "segment.ms"), ("900".to_owned(), Source::Topic));
    assert_eq!(w.alter(2, "none", &[]), told(3, "The topic 'none' does not exist."));
    assert_eq!(w.alter(2, "", &[]), told(42, "Default topic resources are not allowed."));
    assert_eq!(w.alter(4, "2", &[]), told(42, "Unexpected broker id, expected 1, but received 2"));
    assert_eq!(w.alter(4, "x", &[]), told(42, "Node id must be an integer, but it is: x"));
    assert_eq!(w.alter(99, "x", &[]), told(42, "Unknown resource type 99"));
    assert_eq!(w.alter(2, "t", &[("segment.ms", None)]), told(42, "Null value not supported for : segment.ms"));
    assert_eq!(w.alter(2, "t", &[("bogus", Some("1"))]), told(40, "Unknown topic config name: bogus"));
    let twice = [("segment.ms", Some("1")), ("segment.ms", Some("2"))];
    assert_eq!(w.alter(2, "t", &twice), told(42, "Error due to duplicate config keys"));
    assert_eq!(w.topic_config("t", "segment.ms"), ("900".to_owned(), Source::Topic));
}

#[test]
fn single_settings() {
    let mut w = world();
    w.create("t", 1, 1);
    let policy = |w: &World| w.topic_config("t", "cleanup.policy").0;
    assert_eq!(w.change(2, "t", "cleanup.policy", 2, Some("compact")), OK);
    assert_eq!(w.change(2, "t", "cleanup.policy", 2, Some("compact")), OK);
    assert_eq!(policy(&w), "delete,compact");
    assert_eq!(w.change(2, "t", "cleanup.policy", 3, Some("delete")), OK);
    assert_eq!(policy(&w), "compact");
    assert_eq!(w.change(2, "t", "cleanup.policy", 3, Some("compact")), OK);
    assert_eq!(w.topic_config("t", "cleanup.policy"), (String::new(), Source::Topic));
    assert_eq!(w.change(2, "t", "cleanup.policy", 1, None), OK);
    assert_eq!(w.topic_config("t", "cleanup.policy"), ("delete".to_owned(), Source::Default));
    let not_a_list = "Can't APPEND to key retention.ms because its type is not LIST.";
    assert_eq!(w.change(2, "t", "retention.ms", 2, Some("1")), told(40, not_a_list));
    assert_eq!(w.change(2, "t", "bogus", 1, None), OK);
    assert_eq!(w.change(2, "t", "bogus", 0, Some("1")), told(40, "Unknown topic config name: bogus"));
    assert_eq!(w.change(2, "t", "retention.ms", 9, Some("1")).0, 42);
    assert_eq!(w.change(2, "t", "retention.ms", 0, None), told(42, "Null value not supported for : retention.ms"));
}

#[test]
fn settings_of_brokers() {
    let mut w = world();
    w.create("t", 1, 1);
    let fixed = told(42, "Cannot update these configs dynamically: [num.partitions]");
    assert_eq!(w.change(4, "1", "num.partitions", 0, Some("3")), fixed);
    assert_eq!(w.change(4, "", "num.partitions", 0, Some("3")), fixed);
    let text = "Invalid value x for configuration message.max.bytes: Not a number of type INT";
    assert_eq!(w.change(4, "1", "message.max.bytes", 0, Some("x")), told(42, text));
    assert_eq!(w.change(4, "", "log.retention.ms", 0, Some("5")), OK);
    assert_eq!(w.topic_config("t", "retention.ms"), ("5".to_owned(), Source::DynamicDefaultBroker));
    assert_eq!(w.change(4, "1", "log.retention.ms", 0, Some("6")), OK);
    assert_eq!(w.topic_config("t", "retention.ms"), ("6".to_owned(), Source::DynamicBroker));
    assert_eq!(w.change(4, "1", "log.retention.ms", 1, None), OK);
    assert_eq!(w.change(4, "", "log.retention.ms", 1, None), OK);
    assert_eq!(w.topic_config("t", "retention.ms"), ("604800000".to_owned(), Source::Default));
}

#[test]
fn producer_ids_never_repeat() {
    let mut w = world();
    for first in [0, 1000, 2000] {
        let decision = Controller { image: &w.image, rules: &w.rules }.allocate_producer_ids();
        assert_eq!(decision.response, first);
        w.commit(decision.records);
    }
}

#[test]
fn what_cannot_follow_is_refused() {
    let mut w = world();
    w.create("t", 1, 1);
    let id = w.image.topic("t").unwrap().id;
    for record in [
        MetadataRecord::partition(id, 2, 1, 0),
        MetadataRecord::partition(Uuid::from_u128(77), 0, 1, 0),
        MetadataRecord::session(1, Uuid::ZERO, 1),
        MetadataRecord::RemoveTopic(chronik_protocol::generated::metadata::RemoveTopicRecord {
            topic_id: Uuid::from_u128(77),
        }),
    ] {
        let before = w.image.clone();
        assert!(w.image.apply(&record).is_err());
        assert_eq!(w.image, before);
    }
    assert!(MetadataRecord::decode(&[1, 99, 0]).is_err());
    assert!(MetadataRecord::decode(&[2, 2, 0]).is_err());
    assert!(MetadataRecord::decode(&[]).is_err());
}
