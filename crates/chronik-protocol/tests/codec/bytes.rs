//! Messages as bytes, made from the schemas alone: an encoder that shares nothing with the generated one.

use std::ops::RangeInclusive;

use crate::schema::{Field, Message};

/// A small generator of numbers, the same for the same seed.
#[derive(Clone)]
pub(crate) struct Random(pub u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// A number with the extremes far more often than chance would have them.
    fn number(&mut self) -> i64 {
        match self.below(8) {
            0 => 0,
            1 => -1,
            2 => i64::MAX,
            3 => i64::MIN,
            4 => self.below(200) as i64,
            _ => self.next() as i64,
        }
    }
}

/// A value for a field, from who knows what the field means.
#[allow(dead_code)] // not every test names values
pub(crate) enum Value {
    Null,
    Number(i64),
    Bytes(Vec<u8>),
    /// This many elements.
    Count(u32),
}

/// Who knows what fields mean.
pub(crate) type Names = Box<dyn Fn(&Field) -> Option<Value>>;

/// What a message is filled with.
pub(crate) enum Fill {
    /// What the function says of a field; else its default, and one element.
    #[allow(dead_code)] // not every test names values
    Named(Names),
    /// Whatever the schema allows.
    Random(Random),
    /// Every field's default, no elements.
    Default,
    /// Like `Default`, but every array has one element, and the array with this number (counting from 0) claims
    /// `count` elements, with which the message ends.
    #[allow(dead_code)] // not every test lies about counts
    Claim { array: usize, count: u32, seen: usize, done: bool },
}

pub(crate) struct Encoder<'a> {
    pub(crate) message: &'a Message,
    pub(crate) version: i16,
    pub(crate) fill: Fill,
    pub(crate) out: Vec<u8>,
}

/// The bytes of a message.
pub(crate) fn encode(message: &Message, version: i16, fill: Fill) -> Encoder<'_> {
    let mut encoder = Encoder { message, version, fill, out: Vec::new() };
    encoder.fields(&message.fields);
    encoder
}

pub(crate) fn uvarint(out: &mut Vec<u8>, mut value: u32) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

impl Encoder<'_> {
    fn flexible(&self) -> bool {
        self.message.flexible.contains(&self.version)
    }

    /// Whether a claimed count has ended the message.
    fn done(&self) -> bool {
        matches!(self.fill, Fill::Claim { done: true, .. })
    }

    fn fields(&mut self, fields: &[Field]) {
        let mut tagged: Vec<(u32, Vec<u8>)> = Vec::new();
        let version = self.version;
        for field in fields.iter().filter(|f| f.versions.contains(&version)) {
            if self.done() {
                return;
            }
            if field.tagged.contains(&self.version) {
                if let Some(bytes) = self.tagged(field) {
                    tagged.push((field.tag, bytes));
                }
            } else {
                self.value(field, false);
            }
        }
        if self.flexible() && (!self.done() || !tagged.is_empty()) {
            tagged.sort();
            uvarint(&mut self.out, tagged.len() as u32);
            for (tag, bytes) in tagged {
                uvarint(&mut self.out, tag);
                uvarint(&mut self.out, bytes.len() as u32);
                self.out.extend(bytes);
            }
        }
    }

    /// The content of a tagged field, unless it is left out.
    fn tagged(&mut self, field: &Field) -> Option<Vec<u8>> {
        let left_out = match &mut self.fill {
            Fill::Default => true,
            Fill::Random(random) => random.one_in(2),
            Fill::Claim { .. } => false,
            Fill::Named(_) => true,
        };
        if left_out {
            return None;
        }
        let outer = std::mem::take(&mut self.out);
        self.value(field, true);
        let content = std::mem::replace(&mut self.out, outer);
        let mut default =
            Encoder { message: self.message, version: self.version, fill: Fill::Default, out: Vec::new() };
        default.value(field, true);
        let claims = matches!(self.fill, Fill::Claim { .. });
        (claims || content != default.out).then_some(content)
    }

    fn length(&mut self, length: Option<u32>, short: bool, flexible: bool) {
        match (flexible, short, length) {
            (true, _, length) => uvarint(&mut self.out, length.map_or(0, |l| l.wrapping_add(1))),
            (false, true, length) => self.out.extend(length.map_or(-1, |l| l as i16).to_be_bytes()),
            (false, false, length) => self.out.extend(length.map_or(-1, |l| l as i32).to_be_bytes()),
        }
    }

    fn value(&mut self, field: &Field, in_tag: bool) {
        let flexible = self.flexible() && !field.inflexible;
        let nullable = field.nullable.contains(&self.version);
        let null = nullable
            && match &mut self.fill {
                Fill::Random(random) => random.one_in(4),
                Fill::Default => field.default.as_deref() == Some("null"),
                Fill::Claim { .. } => false,
                Fill::Named(value) => match value(field) {
                    None => field.default.as_deref() == Some("null"),
                    given => matches!(given, Some(Value::Null)),
                },
            };
        if field.array {
            return self.array(field, null, flexible);
        }
        match field.ty.as_str() {
            "string" | "bytes" | "records" if null => self.length(None, field.ty == "string", flexible),
            "string" | "bytes" | "records" => self.blob(field, flexible),
            "bool" | "int8" | "int16" | "uint16" | "int32" | "uint32" | "int64" | "float64" | "uuid" => {
                self.number(field);
            }
            _ => {
                match (nullable, in_tag) {
                    (true, true) => uvarint(&mut self.out, u32::from(!null)),
                    (true, false) => self.out.push(if null { 0xff } else { 1 }),
                    (false, _) => {}
                }
                if !null {
                    self.fields(self.message.fields_of(field));
                }
            }
        }
    }

    fn array(&mut self, field: &Field, null: bool, flexible: bool) {
        let count = match &mut self.fill {
            _ if null => return self.length(None, false, flexible),
            Fill::Random(random) => random.below(4) as u32,
            Fill::Default => 0,
            Fill::Named(value) => match value(field) {
                Some(Value::Count(count)) => count,
                _ => 1,
            },
            Fill::Claim { array, count, seen, done } => {
                *seen += 1;
                *done = *seen > *array;
                if *done { *count } else { 1 }
            }
        };
        self.length(Some(count), false, flexible);
        let element = Field { array: false, nullable: RangeInclusive::new(0, -1), ..field.clone() };
        for _ in 0..count {
            if self.done() {
                return;
            }
            self.value(&element, false);
        }
    }

    fn blob(&mut self, field: &Field, flexible: bool) {
        let default = field.default.clone().filter(|d| d != "null").unwrap_or_default().into_bytes();
        let bytes = match &mut self.fill {
            Fill::Random(random) => {
                let length = match random.below(20) {
                    0 => 300,
                    1 if field.ty == "records" => 3000,
                    n => n,
                };
                (0..length).map(|_| b'a' + random.below(26) as u8).collect()
            }
            Fill::Named(value) => match value(field) {
                Some(Value::Bytes(bytes)) => bytes,
                _ => default,
            },
            _ => default,
        };
        self.length(Some(bytes.len() as u32), field.ty == "string", flexible);
        self.out.extend(bytes);
    }

    fn number(&mut self, field: &Field) {
        let text = field.default.as_deref().unwrap_or("0").to_lowercase();
        let default = match text.strip_prefix("0x") {
            Some(hex) => i64::from_str_radix(hex, 16).unwrap(),
            None => text.parse().unwrap_or(i64::from(text == "true")),
        };
        let number = match &mut self.fill {
            Fill::Random(random) => random.number(),
            Fill::Named(value) => match value(field) {
                Some(Value::Number(number)) => number,
                Some(Value::Bytes(bytes)) => return self.out.extend(bytes),
                _ => default,
            },
            _ => default,
        };
        match field.ty.as_str() {
            "bool" => self.out.push(number as u8 & 1),
            "int8" => self.out.push(number as u8),
            "int16" | "uint16" => self.out.extend((number as i16).to_be_bytes()),
            "int32" | "uint32" => self.out.extend((number as i32).to_be_bytes()),
            "int64" => self.out.extend(number.to_be_bytes()),
            "float64" => self.out.extend((number as f64).to_be_bytes()),
            _ => self.out.extend((number as u128).to_be_bytes()),
        }
    }
}
