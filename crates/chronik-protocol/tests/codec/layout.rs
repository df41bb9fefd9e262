//! Every message in every version: what the schema's layout says is read and written, byte for byte.

use chronik_protocol::generated::api::{APIS, ApiKey};
use chronik_protocol::wire::DecodeError;

use crate::bytes::{self, Fill, Random};
use crate::{schema, typed};

/// Instances of each message in each version.
const INSTANCES: u64 = 24;

#[test]
fn every_message_in_every_version_is_written_as_it_was_read() {
    for message in schema::all() {
        for version in message.versions.clone() {
            for seed in 0..INSTANCES {
                let fill = if seed == 0 { Fill::Default } else { Fill::Random(Random(seed)) };
                let bytes = bytes::encode(&message, version, fill).out;
                let again = typed::again(&message, version, &bytes);
                assert_eq!(again.as_ref(), Ok(&bytes), "{} v{version}, seed {seed}", message.name);
            }
        }
    }
}

#[test]
fn a_message_cut_at_any_byte_is_refused_and_so_is_one_too_long() {
    for message in schema::all() {
        for version in message.versions.clone() {
            let mut bytes = bytes::encode(&message, version, Fill::Random(Random(7))).out;
            for cut in 0..bytes.len() {
                let result = typed::again(&message, version, &bytes[..cut]);
                assert!(result.is_err(), "{} v{version} cut at {cut} of {}", message.name, bytes.len());
            }
            bytes.push(0);
            assert_eq!(typed::again(&message, version, &bytes), Err(DecodeError::Trailing(1)), "{}", message.name);
        }
    }
}

#[test]
fn random_bytes_are_refused_or_stable() {
    let mut random = Random(1);
    for message in schema::all() {
        for version in message.versions.clone() {
            for _ in 0..INSTANCES {
                let mut bytes = bytes::encode(&message, version, Fill::Random(random.clone())).out;
                for _ in 0..=random.below(3) {
                    let at = random.below(bytes.len().max(1) as u64) as usize;
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte = random.next() as u8;
                    }
                }
                let Ok(once) = typed::again(&message, version, &bytes) else { continue };
                let twice = typed::again(&message, version, &once);
                assert_eq!(twice.as_ref(), Ok(&once), "{} v{version}: {bytes:02x?}", message.name);
            }
        }
    }
}

#[test]
fn the_table_of_apis_is_the_schemas() {
    let requests: Vec<_> = schema::all().into_iter().filter(|m| m.kind == "request").collect();
    assert_eq!(requests.len(), APIS.len());
    for message in &requests {
        let info = ApiKey::from_i16(message.key).unwrap().info();
        assert_eq!(info.key as i16, message.key);
        assert_eq!(format!("{}Request", info.name), message.name);
        assert_eq!((info.min, info.max), (*message.versions.start(), *message.versions.end()));
        for version in message.versions.clone() {
            let flexible = message.flexible.contains(&version);
            assert_eq!(version >= info.flexible_from, flexible);
            assert_eq!(info.key.request_header_version(version), 1 + i16::from(flexible), "{}", message.name);
            let response = i16::from(flexible && info.key != ApiKey::ApiVersions);
            assert_eq!(info.key.response_header_version(version), response, "{}", message.name);
        }
    }
    assert!(APIS.is_sorted_by_key(|api| api.key));
    assert_eq!(ApiKey::from_i16(999), None);
    assert_eq!(ApiKey::from_i16(-1), None);
}
