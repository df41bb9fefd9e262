//! Options that say how to reach a cluster, and how a failed request is told to a person.

use std::path::PathBuf;
use std::time::Duration;

use chronik_client::{Client, ClientOptions, Error};
use chronik_protocol::error::ErrorCode;
use clap::Args;

use crate::fault::{
    self, CONNECT, Code, Fault, GROUP_NOT_EMPTY, INVALID_SETTING, PARTLY, REFUSED, TIMEOUT, TOPIC_EXISTS, UNAUTHORIZED,
    UNKNOWN_GROUP, UNKNOWN_SETTING, UNKNOWN_TOPIC, UNREADABLE_FILE,
};

/// How to reach a cluster.
#[derive(Debug, Clone, Args)]
pub struct Connect {
    /// Brokers to ask first, HOST:PORT with commas
    #[arg(
        long = "bootstrap-server",
        short = 'b',
        visible_alias = "brokers",
        env = "CHRONIK_BOOTSTRAP_SERVER",
        value_name = "HOST:PORT",
        help_heading = "Connection"
    )]
    pub bootstrap: Option<String>,
    /// A client property, as in Kafka's client configuration
    #[arg(short = 'X', value_name = "KEY=VALUE", help_heading = "Connection")]
    pub properties: Vec<String>,
    /// A file of client properties
    #[arg(long, value_name = "FILE", help_heading = "Connection")]
    pub command_config: Option<PathBuf>,
    /// Seconds to wait for an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, help_heading = "Connection")]
    pub timeout: f64,
}

/// Where a broker without configuration listens.
const DEFAULT_BOOTSTRAP: &str = "127.0.0.1:9092";

/// Client properties that mean something here. Others of Kafka's are accepted where they tune what this client does not do.
const KNOWN: &[&str] =
    &["bootstrap.servers", "metadata.broker.list", "client.id", "security.protocol", "request.timeout.ms"];

impl Connect {
    /// The client options that these arguments ask for.
    pub fn options(&self) -> Result<ClientOptions, Fault> {
        if !self.timeout.is_finite() || self.timeout <= 0.0 {
            return Err(Fault::usage(format!("--timeout {} is no time to wait", self.timeout), "give seconds above 0"));
        }
        let mut options = ClientOptions::new(DEFAULT_BOOTSTRAP);
        options.request_timeout = Duration::from_secs_f64(self.timeout.min(86_400.0));
        options.connect_timeout = options.request_timeout.min(Duration::from_secs(10));
        for (key, value) in self.file_properties()? {
            apply(&mut options, &key, &value)?;
        }
        for property in &self.properties {
            let (key, value) = property
                .split_once('=')
                .ok_or_else(|| Fault::usage(format!("-X {property} has no '='"), "-X key=value"))?;
            apply(&mut options, key.trim(), value.trim())?;
        }
        if let Some(bootstrap) = &self.bootstrap {
            options.bootstrap = ClientOptions::new(bootstrap).bootstrap;
        }
        Ok(options)
    }

    fn file_properties(&self) -> Result<Vec<(String, String)>, Fault> {
        let Some(path) = &self.command_config else { return Ok(Vec::new()) };
        let text = std::fs::read_to_string(path).map_err(|error| {
            Fault::new(
                UNREADABLE_FILE,
                format!("cannot read {}", path.display()),
                error.to_string(),
                "check --command-config",
            )
        })?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', '!']));
        lines
            .map(|line| {
                line.split_once('=').map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).ok_or_else(
                    || {
                        Fault::new(
                            INVALID_SETTING,
                            format!("line {line:?} of {}", path.display()),
                            "it has no '='",
                            "key=value",
                        )
                    },
                )
            })
            .collect()
    }

    /// Connects.
    pub async fn client(&self) -> Result<Client, Fault> {
        Client::connect(self.options()?).await.map_err(told)
    }
}

fn apply(options: &mut ClientOptions, key: &str, value: &str) -> Result<(), Fault> {
    match key {
        "bootstrap.servers" | "metadata.broker.list" => options.bootstrap = ClientOptions::new(value).bootstrap,
        "client.id" => options.client_id = value.to_owned(),
        "security.protocol" if value.eq_ignore_ascii_case("plaintext") => {}
        "security.protocol" => {
            return Err(Fault::new(
                INVALID_SETTING,
                format!("security.protocol={value} is not supported"),
                "this client speaks PLAINTEXT only",
                "-X security.protocol=PLAINTEXT, against a listener without TLS and SASL",
            ));
        }
        "request.timeout.ms" => {
            let ms = value.parse().map_err(|_| {
                Fault::new(
                    INVALID_SETTING,
                    format!("request.timeout.ms={value}"),
                    "not a number of milliseconds",
                    "-X request.timeout.ms=30000",
                )
            })?;
            options.request_timeout = Duration::from_millis(ms);
        }
        _ => {
            return Err(Fault::new(
                UNKNOWN_SETTING,
                format!("unknown client property {key}"),
                "it is not one that this command uses",
                format!("one of {}", KNOWN.join(", ")),
            ));
        }
    }
    Ok(())
}

/// Runs a command on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = Result<T, Fault>>) -> Result<T, Fault> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Fault::new(fault::INTERNAL, "no runtime", error.to_string(), "free some threads or memory"))?;
    let result = runtime.block_on(future);
    runtime.shutdown_background();
    result
}

/// An error of the client in the words of its user.
pub fn told(error: Error) -> Fault {
    let what = error.to_string();
    match &error {
        Error::Connect { address, cause } => Fault::new(
            CONNECT,
            format!("cannot connect to {address}"),
            cause.clone(),
            "start a broker (chronik start), or name one with -b HOST:PORT",
        ),
        Error::Disconnected { .. } => {
            Fault::new(CONNECT, what, "the broker closed the connection", "look at the broker's log, and repeat")
        }
        Error::Timeout { .. } => {
            Fault::new(TIMEOUT, what, "the broker is slow, stopped or unreachable", "--timeout SECONDS waits longer")
        }
        Error::Broker { code, message, .. } => {
            let (fault, fix) = explained(*code);
            let what = what.strip_suffix(message.as_str()).map_or(what.as_str(), |what| what.trim_end());
            Fault::new(fault, what, message.clone(), fix)
        }
        Error::Unsupported(api) => Fault::new(
            REFUSED,
            what.clone(),
            format!("{} is missing from its ApiVersions answer, or has no version in common", api.name()),
            "use a newer broker",
        ),
        Error::Malformed(_) => {
            Fault::new(fault::INTERNAL, what, "broker and client disagree about the protocol", "report this message")
        }
        Error::Invalid(_) => Fault::usage(what, "see --help"),
        Error::Closed => Fault::new(fault::INTERNAL, what, "used after close", "report this message"),
    }
}

fn explained(code: ErrorCode) -> (&'static Code, &'static str) {
    match code {
        ErrorCode::UnknownTopicOrPartition | ErrorCode::UnknownTopicId => {
            (UNKNOWN_TOPIC, "chronik topic list shows what is there")
        }
        ErrorCode::GroupIdNotFound => (UNKNOWN_GROUP, "chronik group list shows what is there"),
        ErrorCode::TopicAlreadyExists => (TOPIC_EXISTS, "--if-not-exists takes that as success"),
        ErrorCode::NonEmptyGroup | ErrorCode::GroupSubscribedToTopic | ErrorCode::UnknownMemberId => {
            (GROUP_NOT_EMPTY, "stop the group's consumers first")
        }
        ErrorCode::RequestTimedOut => (TIMEOUT, "--timeout SECONDS waits longer"),
        ErrorCode::TopicAuthorizationFailed
        | ErrorCode::GroupAuthorizationFailed
        | ErrorCode::ClusterAuthorizationFailed
        | ErrorCode::TransactionalIdAuthorizationFailed
        | ErrorCode::SaslAuthenticationFailed => (UNAUTHORIZED, "ask for the permission, or use other credentials"),
        ErrorCode::InvalidConfig => (REFUSED, "chronik config reference NAME shows type, range and default"),
        _ => (REFUSED, "look up the error's name in the documentation of Kafka"),
    }
}

/// One fault for several entries: the only one's own, or a summary when some were done and others not.
pub fn summary(failed: Vec<(String, Error)>, done: usize) -> Result<(), Fault> {
    let mut failed = failed.into_iter();
    match (failed.next(), failed.len(), done) {
        (None, _, _) => Ok(()),
        (Some((_, error)), 0, 0) => Err(told(error)),
        (Some((name, error)), others, 0) => {
            let mut fault = told(error);
            fault.what = format!("{} (and {others} more after {name})", fault.what);
            Err(fault)
        }
        (Some((_, error)), others, done) => {
            let first = told(error);
            Err(Fault::new(
                PARTLY,
                format!("{done} done, {} refused; the first: {}", others + 1, first.what),
                first.cause,
                first.fix,
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connect(properties: &[&str], bootstrap: Option<&str>) -> Connect {
        Connect {
            bootstrap: bootstrap.map(str::to_owned),
            properties: properties.iter().map(|property| (*property).to_owned()).collect(),
            command_config: None,
            timeout: 5.0,
        }
    }

    #[test]
    fn the_command_line_wins_over_properties_and_they_over_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# comment\nclient.id = from-file\nbootstrap.servers=f:1\n").unwrap();
        let mut arguments = connect(&["bootstrap.servers=x:1,y:2"], None);
        arguments.command_config = Some(file.path().to_owned());
        let options = arguments.options().unwrap();
        assert_eq!(
            (options.bootstrap, options.client_id.as_str()),
            (vec!["x:1".to_owned(), "y:2".to_owned()], "from-file")
        );
        arguments.bootstrap = Some("z:3".to_owned());
        assert_eq!(arguments.options().unwrap().bootstrap, ["z:3"]);
    }

    #[test]
    fn unknown_and_unsupported_properties_are_errors() {
        assert_eq!(connect(&["bootstrap.server=x"], None).options().unwrap_err().code, UNKNOWN_SETTING);
        assert_eq!(connect(&["security.protocol=SSL"], None).options().unwrap_err().code, INVALID_SETTING);
        assert_eq!(connect(&["nonsense"], None).options().unwrap_err().code.exit, 2);
    }

    #[test]
    fn each_kind_of_error_has_its_exit_status() {
        let broker = |code| told(Error::broker("x", code, None)).code.exit;
        assert_eq!(broker(ErrorCode::UnknownTopicOrPartition), 5);
        assert_eq!(broker(ErrorCode::TopicAlreadyExists), 6);
        assert_eq!(broker(ErrorCode::RequestTimedOut), 7);
        assert_eq!(broker(ErrorCode::TopicAuthorizationFailed), 4);
        assert_eq!(broker(ErrorCode::InvalidConfig), 1);
        assert_eq!(told(Error::Connect { address: "a".into(), cause: "refused".into() }).code.exit, 3);
        let refused = vec![("t".to_owned(), Error::broker("t", ErrorCode::UnknownTopicOrPartition, None))];
        assert_eq!(summary(refused, 2).unwrap_err().code.exit, 8);
    }
}
