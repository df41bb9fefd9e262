//! `api.rs` (the table of APIs) and `any.rs` (a request or response of any API).

use std::collections::BTreeMap;

use anyhow::{Context, Result};

use super::types::shapes;
use super::{BANNER, names};
use crate::schemas::model::{Kind, Message, Versions};

/// An API: its name, and its messages with whether they borrow.
struct Api<'a> {
    name: &'a str,
    request: &'a Message,
    response: &'a Message,
    request_borrows: bool,
    response_borrows: bool,
}

fn apis(messages: &[Message]) -> Result<Vec<Api<'_>>> {
    let mut by_key: BTreeMap<i16, (Option<&Message>, Option<&Message>)> = BTreeMap::new();
    for message in messages {
        let pair = by_key.entry(message.key.with_context(|| format!("{} has no key", message.name))?).or_default();
        *(if message.kind == Kind::Request { &mut pair.0 } else { &mut pair.1 }) = Some(message);
    }
    let mut apis = Vec::new();
    for (key, pair) in by_key {
        let (Some(request), Some(response)) = pair else { anyhow::bail!("key {key} lacks a message") };
        let borrows = |message| -> Result<bool> { Ok(shapes(message)?.first().is_some_and(|s| s.borrows)) };
        apis.push(Api {
            name: request.name.trim_end_matches("Request"),
            request,
            response,
            request_borrows: borrows(request)?,
            response_borrows: borrows(response)?,
        });
    }
    Ok(apis)
}

/// `api.rs`.
pub fn table(messages: &[Message]) -> Result<String> {
    let apis = apis(messages)?;
    let (mut variants, mut from, mut rows) = (String::new(), String::new(), String::new());
    for api in &apis {
        let (name, key) = (api.name, api.request.key.unwrap_or_default());
        variants.push_str(&format!("/// API key {key}.\n{name} = {key},\n"));
        from.push_str(&format!("{key} => Self::{name},\n"));
        let versions = api.request.stable();
        let flexible = match api.request.flexible.intersect(versions) {
            none if none.is_empty() => "i16::MAX".to_owned(),
            some => some.from.to_string(),
        };
        let listeners: Vec<String> =
            api.request.listeners.iter().map(|l| format!("Listener::{}", names::camel(l))).collect();
        rows.push_str(&format!(
            "ApiInfo {{ key: ApiKey::{name}, name: {name:?}, min: {}, max: {}, flexible_from: {flexible}, \
             latest_version_unstable: {}, listeners: &[{}] }},\n",
            versions.from,
            versions.to,
            api.request.latest_unstable,
            listeners.join(", ")
        ));
    }
    let request = header_versions(&apis, |api| api.request);
    let response = header_versions(&apis, |api| api.response);
    let template = include_str!("api.rs.template");
    Ok(template
        .replace("@BANNER@", BANNER)
        .replace("@VARIANTS@", &variants)
        .replace("@FROM@", &from)
        .replace("@ROWS@", &rows)
        .replace("@REQUEST_HEADERS@", &request)
        .replace("@RESPONSE_HEADERS@", &response))
}

/// The arms of a match over keys that gives the header version; keys with the same arm share it.
fn header_versions<'a>(apis: &[Api<'a>], message: impl Fn(&Api<'a>) -> &'a Message) -> String {
    let mut arms: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for api in apis {
        let ranges = &message(api).headers;
        let arm = match &ranges[..] {
            [(_, only)] => only.to_string(),
            [(low, before), .., (high, after)] if low.to + 1 == high.from => {
                format!("if version < {} {{ {before} }} else {{ {after} }}", high.from)
            }
            ranges => {
                let tests: Vec<String> =
                    ranges.iter().map(|(Versions { to, .. }, h)| format!("..={to} => {h}")).collect();
                format!("match version {{ {}, _ => 0 }}", tests.join(", "))
            }
        };
        arms.entry(arm).or_default().push(format!("Self::{}", api.name));
    }
    arms.into_iter().map(|(arm, keys)| format!("{} => {{ {arm} }}\n", keys.join(" | "))).collect()
}

/// `any.rs`.
pub fn bodies(messages: &[Message]) -> Result<String> {
    let apis = apis(messages)?;
    let mut out = format!(
        "//! A request or a response of any API. {BANNER}\n\nuse crate::generated::api::ApiKey;\n\
         use crate::generated::messages::*;\n\
         use crate::wire::{{Decode, DecodeError, EncodeError, Reader, Writer, encode_checked}};\n\n"
    );
    for (kind, about) in [("Request", "request"), ("Response", "response")] {
        let borrows = |api: &Api<'_>| if kind == "Request" { api.request_borrows } else { api.response_borrows };
        let (mut variants, mut keys, mut decode, mut encode, mut owned, mut from) =
            (String::new(), String::new(), String::new(), String::new(), String::new(), String::new());
        for api in &apis {
            let name = api.name;
            let lifetime = if borrows(api) { "<'a>" } else { "" };
            variants.push_str(&format!("/// `{name}{kind}`.\n{name}({name}{kind}{lifetime}),\n"));
            keys.push_str(&format!("Self::{name}(_) => ApiKey::{name},\n"));
            decode.push_str(&format!("ApiKey::{name} => Self::{name}(Decode::decode(r, version)?),\n"));
            encode.push_str(&format!("Self::{name}(body) => encode_checked(body, w, version),\n"));
            let body = if borrows(api) { "body.into_owned()" } else { "body" };
            owned.push_str(&format!("Self::{name}(body) => {kind}Body::{name}({body}),\n"));
            let generic = if borrows(api) { ("<'a>", "'a") } else { ("", "'_") };
            from.push_str(&format!(
                "impl{0} From<{name}{kind}{0}> for {kind}Body<{1}> {{\n#[inline]\nfn from(body: {name}{kind}{0}) -> Self {{ Self::{name}(body) }}\n}}\n",
                generic.0, generic.1
            ));
        }
        out.push_str(&format!(
            "/// The body of a {about}.\n#[derive(Debug, Clone, PartialEq)]\n\
             pub enum {kind}Body<'a> {{\n{variants}}}\n\n\
             impl<'a> {kind}Body<'a> {{\n/// The API.\npub fn key(&self) -> ApiKey {{ match self {{ {keys} }} }}\n\n\
             /// Reads the body of a {about}; what is left behind it stays in the reader.\n\
             pub fn decode(key: ApiKey, version: i16, r: &mut Reader<'a>) -> Result<Self, DecodeError> {{\n\
             if !key.has_version(version) {{ return Err(DecodeError::Version(version)); }}\n\
             Ok(match key {{ {decode} }})\n}}\n\n\
             /// Writes the body.\npub fn encode(&self, w: &mut Writer, version: i16) -> Result<(), EncodeError> {{\nmatch self {{ {encode} }}\n}}\n\n\
             /// The same body with nothing borrowed.\n#[inline]\npub fn into_owned(self) -> {kind}Body<'static> {{ match self {{ {owned} }} }}\n}}\n\n{from}\n"
        ));
    }
    Ok(out)
}
