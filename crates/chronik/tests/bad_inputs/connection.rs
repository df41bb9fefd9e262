//! One connection that speaks raw protocol: frames as bytes, answers decoded or not, and whether the broker closed it.

use std::io::{ErrorKind, Read, Write};
use std::marker::PhantomData;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use chronik_protocol::frame::encode_request;
use chronik_protocol::header::parse_response;
use chronik_protocol::wire::{Decode, Reader, Request};

/// How long an answer, or the end of the connection, may take.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Connection {
    stream: TcpStream,
    client_id: &'static str,
    correlation_id: i32,
}

/// An answer that is not decoded yet.
pub(crate) struct Answer<R> {
    frame: Vec<u8>,
    version: i16,
    request: PhantomData<R>,
}

impl<R: Request> Answer<R> {
    /// The answer's body, which must fill the frame.
    pub(crate) fn body(&self) -> R::Response<'_> {
        let (_, body) = parse_response(&self.frame, R::KEY, self.version).unwrap();
        let mut r = Reader::new(body);
        let response = R::Response::decode(&mut r, self.version).unwrap();
        r.finish().unwrap();
        response
    }
}

impl Connection {
    pub(crate) fn open(address: SocketAddr) -> Connection {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Connection { stream, client_id: "bad-inputs", correlation_id: 0 }
    }

    pub(crate) fn named(mut self, client_id: &'static str) -> Connection {
        self.client_id = client_id;
        self
    }

    /// Waits no longer than this for anything.
    pub(crate) fn patient_for(self, patience: Duration) -> Connection {
        self.stream.set_read_timeout(Some(patience)).unwrap();
        self
    }

    /// Waits for the first bytes of an answer, for the end of the connection or for nothing.
    pub(crate) fn anything(&mut self) {
        let _ = self.stream.read(&mut [0; 4096]);
    }

    /// Sends bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        // The broker may close before all is written: that is for the reading side to find out.
        let _ = self.stream.write_all(bytes);
    }

    /// Sends bytes behind their length.
    pub(crate) fn frame(&mut self, bytes: &[u8]) {
        self.raw(&[&(bytes.len() as i32).to_be_bytes(), bytes].concat());
    }

    /// Sends a request without waiting for its answer.
    pub(crate) fn send<R: Request>(&mut self, version: i16, request: &R) {
        self.correlation_id += 1;
        let frame = encode_request(version, self.correlation_id, Some(self.client_id), request).unwrap();
        self.raw(&frame.to_vec().unwrap());
    }

    /// Waits for the answer to the oldest request that has none.
    pub(crate) fn receive<R: Request>(&mut self, version: i16) -> Answer<R> {
        let frame = self.answer().unwrap_or_else(|| panic!("{} v{version}: connection closed", R::NAME));
        Answer { frame, version, request: PhantomData }
    }

    /// Sends a request and waits for its answer.
    pub(crate) fn call<R: Request>(&mut self, version: i16, request: &R) -> Answer<R> {
        self.send(version, request);
        self.receive(version)
    }

    /// The next frame without its length; `None` if the broker has closed the connection.
    pub(crate) fn answer(&mut self) -> Option<Vec<u8>> {
        let mut length = [0; 4];
        if !self.fill(&mut length) {
            return None;
        }
        let mut frame = vec![0; i32::from_be_bytes(length) as usize];
        assert!(self.fill(&mut frame), "closed in the middle of an answer");
        Some(frame)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> bool {
        match self.stream.read_exact(bytes) {
            Ok(()) => true,
            Err(e) if [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset].contains(&e.kind()) => false,
            Err(e) => panic!("neither an answer nor the end of the connection: {e}"),
        }
    }

    /// The broker must close the connection without an answer.
    pub(crate) fn must_close(&mut self, why: &str) {
        let answer = self.answer();
        assert_eq!(answer, None, "{why}: answered instead of closed");
    }
}
