//! Fields with everything that the generator must know about them: Rust types, lifetimes, the versions that matter.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};

use super::names;
use crate::schemas::model::{Field, Message, Versions};

/// What one element of a field is.
#[derive(Clone, Debug, PartialEq)]
pub enum Element {
    /// A number, a bool or an id: the reader's method, and Rust's type.
    Plain(&'static str, &'static str),
    String,
    Bytes,
    Records,
    Struct(String),
}

/// A field in the versions that its struct has.
#[derive(Clone, Debug)]
pub struct Place<'a> {
    pub field: &'a Field,
    pub element: Element,
    pub array: bool,
    /// The versions in which the struct exists.
    pub within: Versions,
    /// The versions of these that have the field.
    pub versions: Versions,
    /// The versions of these in which it may be null.
    pub nullable: Versions,
    /// The versions of these in which it is a tagged field.
    pub tagged: Versions,
    /// The versions of the message in the flexible encoding.
    pub flexible: Versions,
    /// The element's struct has a lifetime parameter.
    pub borrows: bool,
}

/// A struct to generate: the message itself, a field's, or a shared one.
#[derive(Clone, Debug)]
pub struct Shape<'a> {
    pub name: String,
    pub within: Versions,
    pub flexible: Versions,
    pub places: Vec<Place<'a>>,
    pub borrows: bool,
}

/// All structs of a message, itself first.
pub fn shapes(message: &Message) -> Result<Vec<Shape<'_>>> {
    let mut found: Vec<(String, Versions, &[Field])> = Vec::new();
    collect(&mut found, names::camel(&message.name), message.stable(), &message.fields);
    for shared in &message.structs {
        let within = shared.versions.intersect(message.stable());
        collect(&mut found, names::camel(&shared.name), within, &shared.fields);
    }
    let borrows = borrowing(&found);
    let mut shapes = Vec::new();
    for (name, within, fields) in found {
        let places = fields.iter().filter_map(|f| place(f, within, message, &borrows).transpose());
        let places = places.collect::<Result<_>>()?;
        let borrows = borrows.get(&name) == Some(&true);
        shapes.push(Shape { name, within, flexible: message.flexible, places, borrows });
    }
    Ok(shapes)
}

fn collect<'a>(found: &mut Vec<(String, Versions, &'a [Field])>, name: String, within: Versions, fields: &'a [Field]) {
    found.push((name, within, fields));
    for field in fields.iter().filter(|f| !f.fields.is_empty()) {
        let within = field.versions.intersect(within);
        if !within.is_empty() {
            collect(found, names::camel(field.ty.trim_start_matches("[]")), within, &field.fields);
        }
    }
}

/// Which structs hold, themselves or in a struct of theirs, something that borrows.
fn borrowing(found: &[(String, Versions, &[Field])]) -> BTreeMap<String, bool> {
    let mut borrows: BTreeMap<String, bool> = found.iter().map(|f| (f.0.clone(), false)).collect();
    loop {
        let mut changed = false;
        for (name, within, fields) in found {
            let holds = fields.iter().filter(|f| !f.versions.intersect(*within).is_empty()).any(|f| {
                let ty = f.ty.trim_start_matches("[]");
                matches!(ty, "string" | "bytes" | "records") || borrows.get(&names::camel(ty)) == Some(&true)
            });
            if holds && borrows.insert(name.clone(), true) == Some(false) {
                changed = true;
            }
        }
        if !changed {
            return borrows;
        }
    }
}

fn place<'a>(
    field: &'a Field,
    within: Versions,
    message: &Message,
    borrows: &BTreeMap<String, bool>,
) -> Result<Option<Place<'a>>> {
    let versions = field.versions.intersect(within);
    if versions.is_empty() {
        return Ok(None);
    }
    let (array, ty) = field.ty.strip_prefix("[]").map_or((false, field.ty.as_str()), |ty| (true, ty));
    let element = element(ty);
    let borrowed = match &element {
        Element::Struct(name) => *borrows.get(name).with_context(|| format!("no struct {name}"))?,
        _ => false,
    };
    if element == Element::Records && array {
        bail!("{}: an array of records", field.name);
    }
    Ok(Some(Place {
        element,
        array,
        within,
        versions,
        nullable: field.nullable.intersect(versions),
        tagged: field.tagged.intersect(versions),
        flexible: if field.inflexible { Versions::NONE } else { message.flexible },
        borrows: borrowed,
        field,
    }))
}

fn element(ty: &str) -> Element {
    match ty {
        "bool" => Element::Plain("bool", "bool"),
        "int8" => Element::Plain("i8", "i8"),
        "int16" => Element::Plain("i16", "i16"),
        "uint16" => Element::Plain("u16", "u16"),
        "int32" => Element::Plain("i32", "i32"),
        "uint32" => Element::Plain("u32", "u32"),
        "int64" => Element::Plain("i64", "i64"),
        "float64" => Element::Plain("f64", "f64"),
        "uuid" => Element::Plain("uuid", "Uuid"),
        "string" => Element::String,
        "bytes" => Element::Bytes,
        "records" => Element::Records,
        name => Element::Struct(names::camel(name)),
    }
}

impl Place<'_> {
    pub fn name(&self) -> String {
        names::field(&self.field.name)
    }

    pub fn local(&self) -> String {
        names::local(&self.field.name)
    }

    pub fn is_nullable(&self) -> bool {
        !self.nullable.is_empty()
    }

    /// The Rust type, e.g. `Option<Vec<Str<'a>>>`.
    pub fn rust_type(&self) -> String {
        let element = match &self.element {
            Element::Plain(_, ty) => (*ty).to_owned(),
            Element::String => "Str<'a>".to_owned(),
            Element::Bytes => "Blob<'a>".to_owned(),
            Element::Records => "Records<'a>".to_owned(),
            Element::Struct(name) => format!("{name}{}", if self.borrows { "<'a>" } else { "" }),
        };
        let element = if self.array { format!("Vec<{element}>") } else { element };
        if self.is_nullable() { format!("Option<{element}>") } else { element }
    }

    /// The default of the schema as an expression.
    pub fn default(&self) -> Result<String> {
        let given = self.field.default.as_deref();
        if self.is_nullable() {
            return Ok(match given {
                Some("null") => "None".to_owned(),
                _ => format!("Some({})", self.default_element()?),
            });
        }
        self.default_element()
    }

    fn default_element(&self) -> Result<String> {
        let given = self.field.default.as_deref();
        if self.array {
            return Ok("Vec::new()".to_owned());
        }
        Ok(match (&self.element, given) {
            (Element::Plain("uuid", _), None) => "Uuid::ZERO".to_owned(),
            (Element::Plain("bool", _), None) => "false".to_owned(),
            (Element::Plain("f64", _), None) => "0.0".to_owned(),
            (Element::Plain(..), None) => "0".to_owned(),
            (Element::Plain("bool", _), Some(text)) => text.to_lowercase(),
            (Element::Plain(_, ty), Some(text)) => {
                let (minus, digits) = text.strip_prefix('-').map_or(("", text), |d| ("-", d));
                let number = match digits.strip_prefix("0x") {
                    Some(hex) => i64::from_str_radix(hex, 16)?,
                    None => digits.parse()?,
                };
                match (minus, number) {
                    ("-", 2_147_483_648) if *ty == "i32" => "i32::MIN".to_owned(),
                    ("", 2_147_483_647) if *ty == "i32" => "i32::MAX".to_owned(),
                    ("", i64::MAX) => "i64::MAX".to_owned(),
                    _ => format!("{minus}{number}"),
                }
            }
            (Element::String, None) => "Cow::Borrowed(\"\")".to_owned(),
            (Element::String, Some(text)) => format!("Cow::Borrowed({text:?})"),
            (Element::Bytes, _) => "Cow::Borrowed(&[])".to_owned(),
            (Element::Records, _) => "Records::EMPTY".to_owned(),
            (Element::Struct(name), _) => format!("{name}::default()"),
        })
    }

    /// Whether the default is what `Default` of the type gives.
    pub fn default_is_rusts(&self) -> bool {
        match self.field.default.as_deref() {
            Some("null") => self.is_nullable(),
            Some("0" | "false" | "False") | None => !self.is_nullable(),
            Some(_) => false,
        }
    }
}

/// A condition that `version` lies in `inner`, knowing that it lies in `outer`; `None` if it always does.
pub fn condition(inner: Versions, outer: Versions) -> Option<String> {
    match (inner.from <= outer.from, outer.to <= inner.to) {
        (true, true) => None,
        (false, true) => Some(format!("version >= {}", inner.from)),
        (true, false) if inner.to == 0 => Some("version == 0".to_owned()),
        (true, false) => Some(format!("version <= {}", inner.to)),
        (false, false) if inner.from == inner.to => Some(format!("version == {}", inner.from)),
        (false, false) => Some(format!("({}..={}).contains(&version)", inner.from, inner.to)),
    }
}

/// A condition that `version` does not lie in `inner`, knowing that it lies in `outer`; `None` if it always does.
pub fn outside(inner: Versions, outer: Versions) -> Option<String> {
    match (inner.from <= outer.from, outer.to <= inner.to) {
        (true, true) => None,
        (false, true) => Some(format!("version < {}", inner.from)),
        (true, false) => Some(format!("version > {}", inner.to)),
        (false, false) => Some(format!("!({}..={}).contains(&version)", inner.from, inner.to)),
    }
}

/// The expression for "the flexible encoding", knowing that the version lies in `outer`.
pub fn flexible(flexible: Versions, outer: Versions) -> &'static str {
    let both = flexible.intersect(outer);
    if both.is_empty() {
        "false"
    } else if flexible.covers(outer) {
        "true"
    } else {
        "flexible"
    }
}
