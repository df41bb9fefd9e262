//! Format verbs of `consume -f` and `produce -f`: kcat's, and rpk's where kcat has none.
//!
//! | verb | meaning | verb | meaning |
//! |---|---|---|---|
//! | `%t` | topic | `%T` | timestamp in ms |
//! | `%p` | partition | `%h` | headers, `key=value` with commas |
//! | `%o` | offset | `%H` | number of headers |
//! | `%k` | key | `%K` | key length, −1 for none |
//! | `%s`, `%v` | value | `%S`, `%V` | value length, −1 for none |
//! | `%d` | timestamp as RFC 3339, UTC | `%R` | value length, 4 bytes big endian |
//! | `%e` | leader epoch | `%%` | a percent sign |
//!
//! Escapes: `\n` `\t` `\r` `\0` `\\` `\xHH`.

use crate::fault::Fault;

/// A record as the formatter sees it.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition index.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// Milliseconds since the epoch, −1 for none.
    pub timestamp: i64,
    /// Leader epoch of the batch, −1 for none.
    pub leader_epoch: i32,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: Option<&'a [u8]>,
    /// Headers, in order.
    pub headers: &'a [(String, Option<Vec<u8>>)],
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Vec<u8>),
    Verb(u8),
}

/// A parsed output format.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template(Vec<Piece>);

const VERBS: &[u8] = b"tpokKsSvVThHdRe";

impl Template {
    /// Parses a format string.
    pub fn parse(format: &str) -> Result<Template, Fault> {
        let mut pieces = Vec::new();
        let mut text = Vec::new();
        let mut bytes = format.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'\\' => text.push(escape(&mut bytes, format)?),
                b'%' => match bytes.next() {
                    Some(b'%') => text.push(b'%'),
                    Some(verb) if VERBS.contains(&verb) => {
                        if !text.is_empty() {
                            pieces.push(Piece::Text(std::mem::take(&mut text)));
                        }
                        pieces.push(Piece::Verb(verb));
                    }
                    other => return Err(unknown_verb(format, other)),
                },
                _ => text.push(byte),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        Ok(Template(pieces))
    }

    /// Appends one record.
    pub fn write(&self, record: &View<'_>, out: &mut Vec<u8>) {
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text),
                Piece::Verb(verb) => write_verb(*verb, record, out),
            }
        }
    }
}

fn unknown_verb(format: &str, verb: Option<u8>) -> Fault {
    let shown = verb.map_or("at the end".to_owned(), |verb| format!("%{}", char::from(verb)));
    Fault::usage(
        format!("unknown verb {shown} in format {format:?}"),
        "use one of %t %p %o %k %K %s %S %v %V %T %d %h %H %e %R %%",
    )
}

fn escape(bytes: &mut impl Iterator<Item = u8>, format: &str) -> Result<u8, Fault> {
    let bad = || Fault::usage(format!("unknown escape in format {format:?}"), r"use one of \n \t \r \0 \\ \xHH");
    match bytes.next() {
        Some(b'n') => Ok(b'\n'),
        Some(b't') => Ok(b'\t'),
        Some(b'r') => Ok(b'\r'),
        Some(b'0') => Ok(0),
        Some(b'\\') => Ok(b'\\'),
        Some(b'x') => {
            let mut digit = || bytes.next().and_then(|b| char::from(b).to_digit(16)).ok_or_else(bad);
            Ok((digit()? * 16 + digit()?) as u8)
        }
        _ => Err(bad()),
    }
}

/// Turns `\n`, `\t`, `\xHH` … of a delimiter option into bytes.
pub fn unescape(text: &str) -> Result<Vec<u8>, Fault> {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        out.push(if byte == b'\\' { escape(&mut bytes, text)? } else { byte });
    }
    Ok(out)
}

fn write_verb(verb: u8, record: &View<'_>, out: &mut Vec<u8>) {
    let mut number = |value: i64| out.extend_from_slice(value.to_string().as_bytes());
    let length = |bytes: Option<&[u8]>| bytes.map_or(-1, |bytes| bytes.len() as i64);
    match verb {
        b't' => out.extend_from_slice(record.topic.as_bytes()),
        b'p' => number(i64::from(record.partition)),
        b'o' => number(record.offset),
        b'T' => number(record.timestamp),
        b'e' => number(i64::from(record.leader_epoch)),
        b'K' => number(length(record.key)),
        b'S' | b'V' => number(length(record.value)),
        b'H' => number(record.headers.len() as i64),
        b'k' => out.extend_from_slice(record.key.unwrap_or_default()),
        b's' | b'v' => out.extend_from_slice(record.value.unwrap_or_default()),
        b'R' => out.extend_from_slice(&(length(record.value) as i32).to_be_bytes()),
        b'd' => out.extend_from_slice(rfc3339(record.timestamp).as_bytes()),
        _ => write_headers(record.headers, out),
    }
}

fn write_headers(headers: &[(String, Option<Vec<u8>>)], out: &mut Vec<u8>) {
    for (index, (key, value)) in headers.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(key.as_bytes());
        out.push(b'=');
        match value {
            Some(value) => out.extend_from_slice(value),
            None => out.extend_from_slice(b"NULL"),
        }
    }
}

/// Milliseconds since the epoch as `2026-01-02T03:04:05.678Z`; empty for a record without a timestamp.
pub fn rfc3339(timestamp_ms: i64) -> String {
    if timestamp_ms < 0 {
        return String::new();
    }
    let (days, ms) = (timestamp_ms.div_euclid(86_400_000), timestamp_ms.rem_euclid(86_400_000));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", ms % 1000)
}

/// Days since 1970-01-01 to year, month, day (proleptic Gregorian; the era arithmetic of Howard Hinnant's date algorithms).
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// A format of `produce -f`: verbs `%k`, `%v`/`%s`, `%p`, `%h` with text between them, one record per match.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputTemplate(Vec<Piece>);

/// A record read with an [`InputTemplate`].
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Parsed {
    /// Key, if the format has `%k`.
    pub key: Option<Vec<u8>>,
    /// Value, if the format has `%v` or `%s`.
    pub value: Option<Vec<u8>>,
    /// Partition, if the format has `%p`.
    pub partition: Option<i32>,
    /// Headers as `key=value,key=value`, if the format has `%h`.
    pub headers: Vec<(String, Option<Vec<u8>>)>,
}

impl InputTemplate {
    /// Parses a format; two verbs must be separated by text, and the last verb takes the rest of the record.
    pub fn parse(format: &str) -> Result<InputTemplate, Fault> {
        let Template(pieces) = Template::parse(format)?;
        let pairs_ok = pieces.windows(2).all(|pair| !matches!(pair, [Piece::Verb(_), Piece::Verb(_)]));
        let verbs_ok =
            pieces.iter().all(|piece| matches!(piece, Piece::Text(_) | Piece::Verb(b'k' | b'v' | b's' | b'p' | b'h')));
        if pairs_ok && verbs_ok && !pieces.is_empty() {
            Ok(InputTemplate(pieces))
        } else {
            Err(Fault::usage(
                format!("input format {format:?} cannot be read unambiguously"),
                r"use %k %v %p %h with text between them, such as '%k\t%v'",
            ))
        }
    }

    /// Takes one record apart.
    pub fn read(&self, record: &[u8]) -> Result<Parsed, Fault> {
        let mismatch = || {
            Fault::usage(
                format!("a record does not match the format: {:?}", String::from_utf8_lossy(record)),
                "correct the input or -f",
            )
        };
        let mut rest = record;
        let mut parsed = Parsed::default();
        let mut pieces = self.0.iter().peekable();
        while let Some(piece) = pieces.next() {
            match piece {
                Piece::Text(text) => rest = rest.strip_prefix(text.as_slice()).ok_or_else(mismatch)?,
                Piece::Verb(verb) => {
                    let end = match pieces.peek() {
                        Some(Piece::Text(text)) => find(rest, text).ok_or_else(mismatch)?,
                        _ => rest.len(),
                    };
                    parsed.take(*verb, &rest[..end]).ok_or_else(mismatch)?;
                    rest = &rest[end..];
                }
            }
        }
        if rest.is_empty() { Ok(parsed) } else { Err(mismatch()) }
    }
}

impl Parsed {
    fn take(&mut self, verb: u8, bytes: &[u8]) -> Option<()> {
        match verb {
            b'k' => self.key = Some(bytes.to_vec()),
            b'p' => self.partition = Some(std::str::from_utf8(bytes).ok()?.trim().parse().ok()?),
            b'h' => {
                for header in bytes.split(|byte| *byte == b',').filter(|header| !header.is_empty()) {
                    let split = find(header, b"=")?;
                    let key = String::from_utf8(header[..split].to_vec()).ok()?;
                    self.headers.push((key, Some(header[split + 1..].to_vec())));
                }
            }
            _ => self.value = Some(bytes.to_vec()),
        }
        Some(())
    }
}

/// First position of `needle` in `haystack`.
pub fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len().max(1)).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(format: &str) -> String {
        let headers = [("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), None)];
        let view = View {
            topic: "t",
            partition: 2,
            offset: 7,
            timestamp: 1_767_323_045_678,
            leader_epoch: 3,
            key: Some(b"k"),
            value: None,
            headers: &headers,
        };
        let mut out = Vec::new();
        Template::parse(format).unwrap().write(&view, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn verbs_print_their_field() {
        assert_eq!(
            shown("%t/%p@%o %k=%s (%K,%S) %h %H %e %T %%\\n"),
            "t/2@7 k= (1,-1) a=1,b=NULL 2 3 1767323045678 %\n"
        );
        assert_eq!(shown("%d"), "2026-01-02T03:04:05.678Z");
        assert_eq!(shown("\\x41\\t"), "A\t");
    }

    #[test]
    fn bad_formats_name_the_verb() {
        assert!(Template::parse("%q").unwrap_err().what.contains("%q"));
        assert!(Template::parse("100%").unwrap_err().what.contains("at the end"));
        assert!(Template::parse("\\q").is_err());
    }

    #[test]
    fn dates_over_leap_years() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(-1), "");
    }

    #[test]
    fn input_is_taken_apart_by_the_text_between_verbs() {
        let template = InputTemplate::parse("%p:%k\\t%v").unwrap();
        let parsed = template.read(b"2:key\tva\tlue").unwrap();
        assert_eq!(parsed.partition, Some(2));
        assert_eq!(parsed.key.as_deref(), Some(&b"key"[..]));
        assert_eq!(parsed.value.as_deref(), Some(&b"va\tlue"[..]));
        assert!(template.read(b"no separators").is_err());
        assert!(InputTemplate::parse("%k%v").is_err());
        let headers = InputTemplate::parse("%h %v").unwrap().read(b"a=1,b= x").unwrap().headers;
        assert_eq!(headers, [("a".to_owned(), Some(b"1".to_vec())), ("b".to_owned(), Some(Vec::new()))]);
    }
}
