//! One setting: its facts, how its text is read, and what a wrong value is told. Messages are Apache Kafka's, word for word,
//! because tools and tests look at them.

use std::fmt;

/// The type of a setting. The numbers are those of DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i8)]
#[allow(missing_docs)]
pub enum Kind {
    Boolean = 1,
    String = 2,
    Int = 3,
    Short = 4,
    Long = 5,
    Double = 6,
    List = 7,
    Class = 8,
    Password = 9,
}

impl Kind {
    /// The name that Kafka prints.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Boolean => "BOOLEAN",
            Kind::String => "STRING",
            Kind::Int => "INT",
            Kind::Short => "SHORT",
            Kind::Long => "LONG",
            Kind::Double => "DOUBLE",
            Kind::List => "LIST",
            Kind::Class => "CLASS",
            Kind::Password => "PASSWORD",
        }
    }

    fn range(self) -> Option<(i64, i64)> {
        match self {
            Kind::Int => Some((i32::MIN.into(), i32::MAX.into())),
            Kind::Short => Some((i16::MIN.into(), i16::MAX.into())),
            Kind::Long => Some((i64::MIN, i64::MAX)),
            _ => None,
        }
    }
}

/// Which values are valid, beyond the type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Valid {
    /// Every value of the type.
    Any,
    /// Numbers from here on.
    AtLeast(i64),
    /// Numbers from the first to the second, both included.
    Between(i64, i64),
    /// 1 to 9, or −1 for the codec's default.
    GzipLevel,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// One of these words in any case.
    OneOfAnyCase(&'static [&'static str]),
    /// A list of these words.
    ListOf(&'static [&'static str]),
    /// Not the empty text.
    NonEmpty,
    /// `*` or `partition:broker` pairs.
    ThrottledReplicas,
}

/// How much most people should care.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Importance {
    High,
    Medium,
    Low,
}

/// Where a broker setting may be changed. Topic settings can always be changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Only by a restart.
    ReadOnly,
    /// At run time, for one broker.
    PerBroker,
    /// At run time, for one broker or for all.
    ClusterWide,
}

/// What a setting does in Chronik.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Here {
    /// What it says.
    Works,
    /// Nothing, and that is harmless for this reason. It is accepted, checked and given back.
    Inert(&'static str),
    /// Nothing, and silence would be a lie: every value but this one is refused for this reason.
    Only(&'static str, &'static str),
}

/// A row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Kafka's name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// The default as text; `None` is null.
    pub default: Option<&'static str>,
    /// Its valid values.
    pub valid: Valid,
    /// Its importance.
    pub importance: Importance,
    /// Where it may be changed.
    pub scope: Scope,
    /// What it does in Chronik.
    pub here: Here,
    /// What it is for.
    pub doc: &'static str,
}

#[allow(clippy::too_many_arguments)]
pub(super) const fn row(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    valid: Valid,
    importance: Importance,
    scope: Scope,
    here: Here,
    doc: &'static str,
) -> Setting {
    Setting { name, kind, default, valid, importance, scope, here, doc }
}

/// A value that was read.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A boolean.
    Boolean(bool),
    /// An integer of any width.
    Integer(i64),
    /// A floating-point number.
    Double(f64),
    /// Text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
}

/// A value that the setting does not take; displays as Kafka's message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidValue(pub String);

impl fmt::Display for Value {
    /// The canonical text, as DescribeConfigs gives it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Boolean(b) => write!(f, "{b}"),
            Value::Integer(n) => write!(f, "{n}"),
            Value::Double(d) => f.write_str(&java_double(*d)),
            Value::Text(t) => f.write_str(t),
            Value::List(items) => f.write_str(&items.join(",")),
        }
    }
}

/// `Double.toString`: plain between 10⁻³ and 10⁷, scientific outside, always with a digit behind the point.
fn java_double(d: f64) -> String {
    let magnitude = d.abs();
    if magnitude == 0.0 || (1e-3..1e7).contains(&magnitude) {
        let text = format!("{d}");
        return if text.contains('.') { text } else { format!("{text}.0") };
    }
    let text = format!("{d:E}");
    match text.split_once('E') {
        Some((mantissa, exponent)) if !mantissa.contains('.') => format!("{mantissa}.0E{exponent}"),
        _ => text,
    }
}

impl Setting {
    /// Whether the value is a secret that no answer may show.
    pub fn is_sensitive(&self) -> bool {
        self.kind == Kind::Password
    }

    /// Reads and checks a value.
    ///
    /// # Errors
    ///
    /// [`InvalidValue`] when the type or the range does not fit.
    pub fn parse(&self, raw: &str) -> Result<Value, InvalidValue> {
        let value = self.read(raw)?;
        self.check(&value)?;
        Ok(value)
    }

    /// The text that DescribeConfigs gives for a stored text: as it was read, or verbatim where it cannot be.
    pub fn canonical(&self, raw: &str) -> String {
        self.parse(raw).map_or_else(|_| raw.to_owned(), |value| value.to_string())
    }

    fn invalid(&self, value: &dyn fmt::Display, why: &str) -> InvalidValue {
        let shown = if self.is_sensitive() { "[hidden]".to_owned() } else { value.to_string() };
        InvalidValue(format!("Invalid value {shown} for configuration {}: {why}", self.name))
    }

    fn read(&self, raw: &str) -> Result<Value, InvalidValue> {
        let text = raw.trim();
        match self.kind {
            Kind::Boolean if text.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            Kind::Boolean if text.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            Kind::Boolean => Err(self.invalid(&raw, "Expected value to be either true or false")),
            Kind::Int | Kind::Short | Kind::Long => {
                let (low, high) = self.kind.range().unwrap_or((i64::MIN, i64::MAX));
                match text.parse::<i64>() {
                    Ok(n) if (low..=high).contains(&n) => Ok(Value::Integer(n)),
                    _ => Err(self.invalid(&raw, &format!("Not a number of type {}", self.kind.name()))),
                }
            }
            Kind::Double => text
                .parse::<f64>()
                .map(Value::Double)
                .map_err(|_| self.invalid(&raw, &format!("Not a number of type {}", self.kind.name()))),
            Kind::List if text.is_empty() => Ok(Value::List(Vec::new())),
            Kind::List => Ok(Value::List(text.split(',').map(|item| item.trim().to_owned()).collect())),
            Kind::String | Kind::Class | Kind::Password => Ok(Value::Text(text.to_owned())),
        }
    }

    fn check(&self, value: &Value) -> Result<(), InvalidValue> {
        match (self.valid, value) {
            (Valid::AtLeast(low), v) => self.check_range(v, low as f64, f64::INFINITY),
            (Valid::Between(low, high), v) => self.check_range(v, low as f64, high as f64),
            (Valid::GzipLevel, Value::Integer(n)) if *n != -1 && !(1..=9).contains(n) => {
                Err(self.invalid(value, "Value must be between 1 and 9 or equal to -1"))
            }
            (Valid::OneOf(words), Value::Text(t)) if !words.contains(&t.as_str()) => {
                Err(self.invalid(value, &format!("String must be one of: {}", words.join(", "))))
            }
            (Valid::OneOfAnyCase(words), Value::Text(t)) if !words.iter().any(|w| w.eq_ignore_ascii_case(t)) => {
                Err(self.invalid(value, &format!("String must be one of (case insensitive): {}", words.join(", "))))
            }
            (Valid::ListOf(words), Value::List(items)) => self.check_list(words, items),
            (Valid::NonEmpty, Value::Text(t)) if t.is_empty() => Err(self.invalid(value, "String must be non-empty")),
            (Valid::ThrottledReplicas, Value::List(items)) => self.check_replicas(items),
            _ => Ok(()),
        }
    }

    fn check_range(&self, value: &Value, low: f64, high: f64) -> Result<(), InvalidValue> {
        let number = match value {
            Value::Integer(n) => *n as f64,
            Value::Double(d) => *d,
            _ => return Ok(()),
        };
        if number < low || number.is_nan() {
            return Err(self.invalid(value, &format!("Value must be at least {low}")));
        }
        if number > high {
            return Err(self.invalid(value, &format!("Value must be no more than {high}")));
        }
        Ok(())
    }

    fn check_list(&self, words: &[&str], items: &[String]) -> Result<(), InvalidValue> {
        for item in items {
            if item.is_empty() {
                return Err(InvalidValue(format!("Configuration '{}' values must not be empty.", self.name)));
            }
            if !words.contains(&item.as_str()) {
                return Err(self.invalid(item, &format!("String must be one of: {}", words.join(", "))));
            }
        }
        Ok(())
    }

    fn check_replicas(&self, items: &[String]) -> Result<(), InvalidValue> {
        let pair = |item: &String| {
            item.split_once(':').is_some_and(|(p, b)| {
                !p.is_empty() && !b.is_empty() && p.chars().chain(b.chars()).all(|c| c.is_ascii_digit())
            })
        };
        if items.is_empty() || matches!(items, [only] if only == "*") || items.iter().all(pair) {
            return Ok(());
        }
        let format = "[partitionId]:[brokerId],[partitionId]:[brokerId],...";
        let why =
            format!("{} must be the literal '*' or a list of replicas in the following format: {format}", self.name);
        Err(self.invalid(&format!("[{}]", items.join(", ")), &why))
    }

    /// Why this value is refused in Chronik although Kafka takes it, if it is.
    pub fn refusal(&self, value: &Value) -> Option<&'static str> {
        match self.here {
            Here::Only(allowed, why) if value.to_string() != allowed => Some(why),
            _ => None,
        }
    }

    /// The valid values as a person reads them; empty when the type says it all.
    pub fn valid_text(&self) -> String {
        match self.valid {
            Valid::Any | Valid::ThrottledReplicas => String::new(),
            Valid::AtLeast(low) => format!("≥ {low}"),
            Valid::Between(low, high) => format!("{low} to {high}"),
            Valid::GzipLevel => "1 to 9, or -1".to_owned(),
            Valid::OneOf(words) | Valid::ListOf(words) => words.join(", "),
            Valid::OneOfAnyCase(words) => format!("{} (any case)", words.join(", ")),
            Valid::NonEmpty => "not empty".to_owned(),
        }
    }
}
