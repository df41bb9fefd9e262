//! `listeners`, `advertised.listeners` and the protocols they speak.

use std::collections::BTreeMap;

use super::ConfigError;

/// A place to listen at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listener {
    /// Its name, for example `PLAINTEXT`.
    pub name: String,
    /// The host or address; empty means every interface.
    pub host: String,
    /// The port; 0 takes a free one.
    pub port: u16,
}

impl Listener {
    /// Whether only this machine can reach it.
    pub fn is_loopback(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

fn wrong(key: &str, value: &str, cause: &str) -> ConfigError {
    ConfigError {
        what: format!("{key} cannot be used: {value}"),
        cause: cause.to_owned(),
        fix: format!("write it as NAME://host:port, for example {key}=PLAINTEXT://127.0.0.1:9092"),
    }
}

fn entry(key: &str, text: &str) -> Result<Listener, ConfigError> {
    let (name, address) = text.split_once("://").ok_or_else(|| wrong(key, text, "there is no ://"))?;
    let (host, port) = address.rsplit_once(':').ok_or_else(|| wrong(key, text, "there is no port"))?;
    let port = port.parse().map_err(|_| wrong(key, text, "the port is not a number from 0 to 65535"))?;
    if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "_-.".contains(c)) {
        return Err(wrong(key, text, "the name must be letters, digits, '_', '-' or '.'"));
    }
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Ok(Listener { name: name.to_ascii_uppercase(), host: host.to_owned(), port })
}

fn entries(key: &str, text: &str) -> Result<Vec<Listener>, ConfigError> {
    let mut out: Vec<Listener> = Vec::new();
    for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
        let listener = entry(key, item)?;
        if out.iter().any(|other| other.name == listener.name) {
            return Err(wrong(key, text, &format!("the name {} is there twice", listener.name)));
        }
        out.push(listener);
    }
    Ok(out)
}

/// Which listeners are opened: all but the controllers', each with a protocol that is built.
pub(super) fn open(
    text: &str,
    controllers: &str,
    protocols: &str,
) -> Result<(Vec<Listener>, Vec<String>), ConfigError> {
    let skip: Vec<String> = controllers.split(',').map(|name| name.trim().to_ascii_uppercase()).collect();
    let mut map: BTreeMap<String, String> = BTreeMap::new();
    for pair in protocols.split(',').map(str::trim).filter(|pair| !pair.is_empty()) {
        let (name, protocol) = pair.split_once(':').ok_or_else(|| ConfigError {
            what: format!("listener.security.protocol.map cannot be used: {pair}"),
            cause: "there is no colon".to_owned(),
            fix: "write NAME:PROTOCOL with commas between, for example PLAINTEXT:PLAINTEXT".to_owned(),
        })?;
        map.insert(name.trim().to_ascii_uppercase(), protocol.trim().to_ascii_uppercase());
    }
    let (closed, opened): (Vec<_>, Vec<_>) =
        entries("listeners", text)?.into_iter().partition(|listener| skip.contains(&listener.name));
    if opened.is_empty() {
        return Err(wrong("listeners", text, "there is no listener for clients"));
    }
    for listener in &opened {
        match map.get(&listener.name).map(String::as_str) {
            Some("PLAINTEXT") => {}
            Some(protocol) => {
                return Err(ConfigError {
                    what: format!("the listener {} asks for {protocol}", listener.name),
                    cause:
                        "only PLAINTEXT is built; opening it without its protection would be worse than not starting"
                            .to_owned(),
                    fix: format!(
                        "take {} out of listeners, or map it to PLAINTEXT in listener.security.protocol.map",
                        listener.name
                    ),
                });
            }
            None => {
                return Err(ConfigError {
                    what: format!("the listener {} has no security protocol", listener.name),
                    cause: "its name is not in listener.security.protocol.map".to_owned(),
                    fix: format!("set listener.security.protocol.map={}:PLAINTEXT", listener.name),
                });
            }
        }
    }
    Ok((opened, closed.into_iter().map(|listener| listener.name).collect()))
}

/// What clients are told, for the listeners that are opened.
pub(super) fn advertised(text: &str, opened: &[Listener]) -> Result<Vec<Listener>, ConfigError> {
    let mut all = entries("advertised.listeners", text)?;
    all.retain(|listener| opened.iter().any(|open| open.name == listener.name));
    for listener in &all {
        if ["", "0.0.0.0", "::"].contains(&listener.host.as_str()) {
            return Err(wrong(
                "advertised.listeners",
                text,
                "no client can connect to an address that means every interface",
            ));
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAP: &str = "CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL,INSIDE:PLAINTEXT";

    #[test]
    fn controllers_are_left_out() {
        let (opened, closed) = open("PLAINTEXT://:9092,CONTROLLER://:9093", "CONTROLLER", MAP).unwrap();
        assert_eq!(opened, [Listener { name: "PLAINTEXT".to_owned(), host: String::new(), port: 9092 }]);
        assert_eq!(closed, ["CONTROLLER"]);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            "SSL://:9093",
            "OTHER://:1",
            "PLAINTEXT",
            "PLAINTEXT://:x",
            "PLAINTEXT://:1,PLAINTEXT://:2",
            "",
            "CONTROLLER://:1",
        ] {
            assert!(open(text, "CONTROLLER", MAP).is_err(), "{text}");
        }
        let opened = open("INSIDE://:1", "", MAP).unwrap().0;
        assert!(advertised("INSIDE://0.0.0.0:1", &opened).is_err());
        assert_eq!(advertised("INSIDE://h:1,CONTROLLER://h:2", &opened).unwrap().len(), 1);
    }

    #[test]
    fn ipv6_and_loopback() {
        let (opened, _) = open("PLAINTEXT://[::1]:9092", "", MAP).unwrap();
        assert_eq!(opened[0].host, "::1");
        assert!(opened[0].is_loopback());
        assert!(!open("PLAINTEXT://:9092", "", MAP).unwrap().0[0].is_loopback());
    }
}
