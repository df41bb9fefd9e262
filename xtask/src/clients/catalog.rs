//! Which clients there are, in which versions, and how each is started.

use std::path::Path;
use std::process::Command;

use super::options;

/// A client library in one version.
pub(crate) struct Client {
    /// Unique; also the name of its folder in the cache.
    pub(crate) name: &'static str,
    /// Its folder below `tests/clients`.
    pub(crate) folder: &'static str,
    pub(crate) runtime: Runtime,
}

/// What a client program is installed with and runs on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    /// A virtual environment made from this requirements file.
    Python { requirements: &'static str },
    /// Jars by this pom; our sources, and the folder of calls that differ between versions.
    Java { pom: &'static str, calls: &'static str },
    /// A module.
    Go,
    /// A package.json.
    Node,
    /// A command of the system's package of this name, driven by a Python program that needs no packages.
    Debian { package: &'static str },
}

const fn python(name: &'static str, folder: &'static str, requirements: &'static str) -> Client {
    Client { name, folder, runtime: Runtime::Python { requirements } }
}

const fn java(name: &'static str, pom: &'static str, calls: &'static str) -> Client {
    Client { name, folder: "java", runtime: Runtime::Java { pom, calls } }
}

/// All of them. The slow starters come first: they run two at a time.
pub(crate) const CLIENTS: &[Client] = &[
    java("java-4.4.0", "pom-4.4.0.xml", "calls-2.4-and-later"),
    java("java-2.8.2", "pom-2.8.2.xml", "calls-2.4-and-later"),
    java("java-1.1.1", "pom-1.1.1.xml", "calls-before-2.4"),
    LIBRDKAFKA,
    python("confluent-kafka-2.0.2", "confluent-kafka", "requirements-2.0.2.txt"),
    python("kafka-python-3.0.12", "kafka-python", "requirements-3.0.12.txt"),
    python("kafka-python-2.0.2", "kafka-python", "requirements-2.0.2.txt"),
    python("kafka-python-1.4.7", "kafka-python", "requirements-1.4.7.txt"),
    python("aiokafka-0.14.0", "aiokafka", "requirements-0.14.0.txt"),
    Client { name: "kafkajs-2.2.4", folder: "kafkajs", runtime: Runtime::Node },
    Client { name: "franz-go-1.22.2", folder: "franz-go", runtime: Runtime::Go },
    Client { name: "sarama-1.61.1", folder: "sarama", runtime: Runtime::Go },
    KCAT,
];

/// The newest librdkafka: also creates the topics of clients that cannot.
pub(crate) const LIBRDKAFKA: Client = python("confluent-kafka-2.16.1", "confluent-kafka", "requirements-2.16.1.txt");

/// kcat as Debian packages it.
pub(crate) const KCAT: Client = Client { name: "kcat", folder: "kcat", runtime: Runtime::Debian { package: "kcat" } };

/// All names, for a person who mistyped one.
pub(super) fn names() -> String {
    CLIENTS.iter().map(|client| client.name).collect::<Vec<_>>().join(", ")
}

impl Client {
    /// Whether its library can create topics.
    pub(super) fn creates_topics(&self) -> bool {
        !matches!(self.runtime, Runtime::Debian { .. })
    }

    /// The program, to which a command and its options are added.
    pub(super) fn program(&self, cache: &Path) -> Command {
        let home = cache.join(self.name);
        let folder = options::programs().join(self.folder);
        match self.runtime {
            Runtime::Python { .. } => {
                let mut command = Command::new(home.join("bin/python"));
                command.arg("-B").arg(folder.join("client.py"));
                command
            }
            Runtime::Debian { .. } => {
                let mut command = Command::new("python3");
                command.arg("-B").arg(folder.join("client.py"));
                command
            }
            Runtime::Java { .. } => {
                let mut command = Command::new("java");
                let path = format!("{0}/jars/*:{0}/classes", home.display());
                command.args(["-Xmx256m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp", &path]);
                command.args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "Client"]);
                command
            }
            Runtime::Go => Command::new(home.join("client")),
            Runtime::Node => {
                let mut command = Command::new("node");
                command.env("NODE_PATH", home.join("node_modules")).env("KAFKAJS_NO_PARTITIONER_WARNING", "1");
                command.arg(folder.join("client.js"));
                command
            }
        }
    }
}
