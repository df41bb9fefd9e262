//! What the group APIs share: texts and bytes that outlive the frame, and answers that come from several shards.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use bytes::Bytes;
use chronik_protocol::generated::any::ResponseBody;
use futures_util::future::join_all;

use super::Reply;
use crate::shards::{Answer, Asked};

/// A text that a group may keep.
pub(super) fn shared(text: &str) -> Arc<str> {
    if text.is_empty() { Arc::default() } else { Arc::from(text) }
}

/// A text that a group may keep, or null.
pub(super) fn shared_option(text: &Option<Cow<'_, str>>) -> Option<Arc<str>> {
    text.as_deref().map(shared)
}

/// A group's text in an answer.
pub(super) fn owned(text: &Arc<str>) -> Cow<'static, str> {
    owned_text(text)
}

/// Any text in an answer.
pub(super) fn owned_text(text: &str) -> Cow<'static, str> {
    if text.is_empty() { Cow::Borrowed("") } else { Cow::Owned(text.to_owned()) }
}

/// A group's bytes in an answer.
pub(super) fn blob(bytes: &Bytes) -> Cow<'static, [u8]> {
    Cow::Owned(bytes.to_vec())
}

/// An address as Java prints it: a slash before it, IPv6 without `::`.
pub(super) fn client_host(address: IpAddr) -> Arc<str> {
    match address.to_canonical() {
        IpAddr::V4(address) => format!("/{address}").into(),
        IpAddr::V6(address) => {
            let parts: Vec<String> = address.segments().iter().map(|part| format!("{part:x}")).collect();
            format!("/{}", parts.join(":")).into()
        }
    }
}

/// Answers when all have answered, in the order in which they were asked.
pub(super) fn replies(
    asked: Vec<Asked>,
    shape: impl FnOnce(Vec<Answer>) -> ResponseBody<'static> + Send + 'static,
) -> Reply {
    if asked.iter().all(|asked| matches!(asked, Asked::Now(_))) {
        let answer = |asked| match asked {
            Asked::Now(answer) => Some(answer),
            Asked::Later(_) => None,
        };
        return Reply::Ready(shape(asked.into_iter().filter_map(answer).collect()));
    }
    Reply::Later(Box::pin(async move { shape(join_all(asked.into_iter().map(Asked::answer)).await) }))
}

impl Asked {
    /// Answers when the group does.
    pub(super) fn reply(self, shape: impl FnOnce(Answer) -> ResponseBody<'static> + Send + 'static) -> Reply {
        match self {
            Asked::Now(answer) => Reply::Ready(shape(answer)),
            later => Reply::Later(Box::pin(async move { shape(later.answer().await) })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_printed_as_java_does() {
        let host = |text: &str| client_host(text.parse().unwrap()).to_string();
        assert_eq!(host("127.0.0.1"), "/127.0.0.1");
        assert_eq!(host("::ffff:10.0.0.7"), "/10.0.0.7");
        assert_eq!(host("::1"), "/0:0:0:0:0:0:0:1");
    }
}
