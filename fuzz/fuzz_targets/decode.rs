//! Requests and responses of every API and version: what decodes is written and decodes to the same again.
#![no_main]

use chronik_protocol::generated::any::{RequestBody, ResponseBody};
use chronik_protocol::generated::api::APIS;
use chronik_protocol::header::parse_request;
use chronik_protocol::wire::{Reader, Writer};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = parse_request(data);
    let [which, version, side, bytes @ ..] = data else { return };
    let api = &APIS[*which as usize % APIS.len()];
    let version = api.min + i16::from(*version) % (api.max - api.min + 1);
    let mut r = Reader::new(bytes);
    let mut w = Writer::default();
    if side & 1 == 0 {
        let Ok(body) = RequestBody::decode(api.key, version, &mut r) else { return };
        body.encode(&mut w, version).expect("what was read can be written");
        let written = w.finish().to_vec().expect("no file is in it");
        let again = RequestBody::decode(api.key, version, &mut Reader::new(&written)).expect("and read");
        assert_eq!(format!("{again:?}"), format!("{body:?}"));
    } else {
        let Ok(body) = ResponseBody::decode(api.key, version, &mut r) else { return };
        body.encode(&mut w, version).expect("what was read can be written");
        let written = w.finish().to_vec().expect("no file is in it");
        let again = ResponseBody::decode(api.key, version, &mut Reader::new(&written)).expect("and read");
        assert_eq!(format!("{again:?}"), format!("{body:?}"));
    }
});
