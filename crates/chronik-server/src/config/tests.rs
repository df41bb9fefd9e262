//! Sources over each other, files of Kafka, slips and values that cannot be.

use super::*;

fn load(
    file: Option<&std::path::Path>,
    environment: &[(&str, &str)],
    command_line: &[(&str, &str)],
) -> Result<BrokerConfig, ConfigError> {
    let owned = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let input = ConfigInput {
        file: file.map(std::path::Path::to_owned),
        environment: owned(environment),
        command_line: owned(command_line),
    };
    BrokerConfig::load(&input)
}

fn set(pairs: &[(&str, &str)]) -> Result<BrokerConfig, ConfigError> {
    load(None, &[], pairs)
}

#[test]
fn nothing_said_is_a_loopback_broker_in_chronik_data() {
    let config = set(&[]).unwrap();
    assert_eq!(config.node_id, 1);
    assert_eq!(config.data_dir, PathBuf::from("./chronik-data"));
    assert_eq!(config.listeners, [Listener { name: "PLAINTEXT".to_owned(), host: "127.0.0.1".to_owned(), port: 9092 }]);
    assert_eq!(config.advertised, []);
    assert_eq!(config.notices, [""; 0]);
    assert_eq!(config.groups.initial_rebalance_delay_ms, 0);
    assert_eq!(config.groups.offsets_retention_ms, 7 * 24 * 3_600_000);
    assert_eq!(config.logs.durability, Durability::Fsync);
    assert_eq!(config.network.request_max_bytes, 104_857_600);
    assert_eq!(config.network.threads, None);
    assert!(config.topics.auto_create && config.topics.delete);
    assert_eq!(config.topics.num_partitions, 1);
}

/// The file that Apache Kafka 4 ships, with its comments left out.
const KAFKAS_OWN: &str = "\
process.roles=broker,controller
node.id=1
controller.quorum.bootstrap.servers=localhost:9093
listeners=PLAINTEXT://:9092,CONTROLLER://:9093
inter.broker.listener.name=PLAINTEXT
advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT,SASL_SSL:SASL_SSL
num.network.threads=3
num.io.threads=8
socket.send.buffer.bytes=102400
socket.receive.buffer.bytes=102400
socket.request.max.bytes=104857600
log.dirs=/tmp/kraft-combined-logs
num.partitions=1
num.recovery.threads.per.data.dir=1
offsets.topic.replication.factor=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
log.retention.hours=168
log.segment.bytes=1073741824
log.retention.check.interval.ms=300000
";

#[test]
fn kafkas_own_file_works_unchanged() {
    let file = tempfile::Builder::new().suffix(".properties").tempfile().unwrap();
    std::fs::write(file.path(), KAFKAS_OWN).unwrap();
    let config = load(Some(file.path()), &[], &[]).unwrap();
    assert_eq!(config.listeners, [Listener { name: "PLAINTEXT".to_owned(), host: String::new(), port: 9092 }]);
    assert_eq!(
        config.advertised,
        [Listener { name: "PLAINTEXT".to_owned(), host: "localhost".to_owned(), port: 9092 }]
    );
    assert_eq!(config.data_dir, PathBuf::from("/tmp/kraft-combined-logs"));
    let about = |what: &str| config.notices.iter().filter(|notice| notice.contains(what)).count();
    assert_eq!(about("controller.quorum.bootstrap.servers does nothing here"), 1);
    assert_eq!(about("the listener CONTROLLER is not opened"), 1);
    assert_eq!(about("authentication is not built"), 1);
    assert_eq!(about("log.retention.hours"), 0);
}

#[test]
fn the_command_line_beats_the_environment_beats_the_file() {
    let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
    std::fs::write(file.path(), "num.partitions = 2\n[log.retention]\nms = 5\n[delete.topic]\nenable = false\n")
        .unwrap();
    let config = load(
        Some(file.path()),
        &[("KAFKA_NUM_PARTITIONS", "3"), ("KAFKA_LOG_RETENTION_MS", "6")],
        &[("num.partitions", "4")],
    );
    let config = config.unwrap();
    assert_eq!(config.topics.num_partitions, 4);
    assert!(!config.topics.delete);
    let effective = config.effective();
    let of = |name: &str| effective.iter().find(|setting| setting.name == name).unwrap();
    assert_eq!(of("num.partitions").origin, Origin::CommandLine);
    assert_eq!(of("log.retention.ms").origin, Origin::Environment("KAFKA_LOG_RETENTION_MS".to_owned()));
    assert_eq!(of("log.retention.ms").value.as_deref(), Some("6"));
    assert_eq!(of("delete.topic.enable").origin, Origin::File(file.path().to_owned(), 0));
    assert_eq!(of("log.retention.hours").origin, Origin::Default);
}

#[test]
fn typing_errors_are_told_the_nearest_name() {
    let error = set(&[("log.retension.ms", "5")]).unwrap_err();
    assert!(error.fix.contains("did you mean log.retention.ms?"), "{error}");
    let error = set(&[("completely.different", "5")]).unwrap_err();
    assert_eq!(error.what, "there is no setting completely.different");
    assert!(!error.fix.contains("did you mean"));
    assert!(
        set(&[("zookeeper.connect", "h:2181")]).unwrap().notices[0].contains("zookeeper.connect does nothing here")
    );
}

/// Two hundred slips, one in each of many names: never a start, and the right name is offered.
#[test]
fn two_hundred_slips() {
    let mut tried = 0;
    let mut offered = 0;
    for setting in broker_settings().filter(|setting| setting.name.len() > 8).take(200) {
        let at = setting.name.len() / 2;
        let slip = format!("{}q{}", &setting.name[..at], &setting.name[at + 1..]);
        let error = set(&[(&slip, "1")]).unwrap_err();
        tried += 1;
        offered += usize::from(error.fix.contains(&format!("did you mean {}?", setting.name)));
    }
    assert_eq!((tried, offered), (200, 200));
}

#[test]
fn values_that_cannot_be() {
    for (name, value, word) in [
        ("num.partitions", "0", "at least 1"),
        ("num.partitions", "x", "Not a number of type INT"),
        ("chronik.durability", "maybe", "fsync, os"),
        ("authorizer.class.name", "a.b.C", "access control lists"),
        ("remote.log.storage.system.enable", "true", "tiered storage is not built"),
        ("listeners", "SSL://:9093", "only PLAINTEXT is built"),
        ("advertised.listeners", "PLAINTEXT://0.0.0.0:9092", "every interface"),
        ("node.id", "-1", "node.id"),
    ] {
        let error = set(&[(name, value)]).unwrap_err();
        assert!(error.to_string().contains(word), "{name}={value}: {error}");
    }
    assert!(set(&[("node.id", "2"), ("broker.id", "3")]).is_err());
    assert_eq!(set(&[("broker.id", "3")]).unwrap().node_id, 3);
}
