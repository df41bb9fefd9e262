//! Topic names: which are legal, which collide, which are internal. Messages are Apache Kafka's.

/// The topic of committed offsets and group metadata.
pub const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic of transaction state.
pub const TRANSACTIONS_TOPIC: &str = "__transaction_state";
/// The log of the metadata itself; not a topic that anybody can create.
pub const METADATA_TOPIC: &str = "__cluster_metadata";

const INTERNAL: [&str; 3] = [OFFSETS_TOPIC, TRANSACTIONS_TOPIC, "__share_group_state"];
const LENGTH_MAX: usize = 249;

/// Whether clients may not write to it nor delete it.
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// Checks a name. Nothing that passes can leave the data directory.
///
/// # Errors
///
/// What is wrong with it.
pub fn check(name: &str) -> Result<(), String> {
    let why = if name.is_empty() {
        "the empty string is not allowed".to_owned()
    } else if name == "." || name == ".." {
        format!("'{name}' is not allowed")
    } else if name.chars().count() > LENGTH_MAX {
        format!("the length of '{name}' is longer than the max allowed length {LENGTH_MAX}")
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
        format!("'{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'")
    } else {
        return Ok(());
    };
    Err(format!("Topic name is invalid: {why}"))
}

/// What two names share when metrics could not tell them apart; `None` for a name that collides with none.
pub fn collision_key(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bad_names() {
        for name in ["", ".", "..", "../../x", "a/b", "a\0b", "a b", "thème", &"x".repeat(250)] {
            assert!(check(name).is_err(), "{name}");
        }
        for name in ["a", "...", "A-b_c.9", &"x".repeat(249)] {
            assert_eq!(check(name), Ok(()), "{name}");
        }
        assert_eq!(collision_key("a.b_c"), collision_key("a_b.c"));
        assert_eq!(collision_key("abc"), None);
    }
}
