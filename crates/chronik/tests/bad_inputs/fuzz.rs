//! P23: well-formed and nearly well-formed requests of every API and version, at random.

use std::time::Duration;

use chronik_protocol::messages::ApiVersionsRequest;

use crate::bytes::{self, Fill, Random};
use crate::schema;
use crate::world::World;

/// Requests for each version of each API.
const REQUESTS: u64 = 12;

/// How long an answer is waited for: a random Fetch or JoinGroup may take as long as it likes.
const PATIENCE: Duration = Duration::from_millis(50);

#[test]
fn random_requests_of_every_api_do_no_harm() {
    let mut world = World::start(&[]);
    if world.broker.is_kafka() {
        return;
    }
    let answer = world.connection.call(0, &ApiVersionsRequest::default());
    let served = answer.body().api_keys.clone();
    let mut random = Random(23);
    for message in schema::all().iter().filter(|m| m.kind == "request") {
        let Some(api) = served.iter().find(|api| api.api_key == message.key) else { continue };
        let first = api.min_version.max(*message.versions.start());
        for version in first..=api.max_version {
            for n in 0..REQUESTS {
                let mut frame = [message.key.to_be_bytes(), version.to_be_bytes()].concat();
                frame.extend(b"\0\0\0\x01\xff\xff");
                frame.extend(message.flexible.contains(&version).then_some(0));
                frame.extend(bytes::encode(message, version, Fill::Random(random.clone())).out);
                if n % 3 > 0 {
                    let at = random.below(frame.len() as u64) as usize;
                    frame[at] = random.next() as u8;
                }
                random.next();
                let mut connection = world.open().patient_for(PATIENCE);
                connection.frame(&frame);
                connection.anything();
            }
        }
        assert!(world.broker.lives(), "{}: {}", message.name, world.broker.log());
    }
    world.reconnect();
    world.aftermath();
    for word in ["panicked", "cannot be written", "cannot be null"] {
        assert!(!world.broker.log().contains(word), "{}", world.broker.log());
    }
}
