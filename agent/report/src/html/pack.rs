//! `report.json` made small and harmless, for the page that carries it.
//!
//! White space goes. In the timeline, each array of numbers becomes one string, `1.5,0*58,null`: the values as the
//! report has them, by commas, and `*n` behind one that stands n times. An hour of a thousand threads is thirty
//! million numbers, most of them the same as the one before; as strings they cost the page nothing until they are
//! drawn.
//!
//! The text stands inside a `<script>` element, where a browser knows no entities and looks for `</script` and
//! `<!--`. Outside of strings JSON has no `<`, and inside it may be written as `\u003c`: so it always is.

use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// The member whose arrays of numbers are packed.
const TIMELINE: &str = "timeline";

/// An object in the order in which it is written, its values as text.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// The report for the page.
///
/// # Errors
/// It is not a JSON object.
pub(super) fn report(json: &[u8]) -> Result<String, serde_json::Error> {
    let mut out = String::with_capacity(json.len() / 2);
    object(
        serde_json::from_slice(json)?,
        &mut out,
        |name, value, out| {
            if name == TIMELINE {
                return packed(value, out);
            }
            compact(value.get(), out);
            Ok(())
        },
    )?;
    Ok(out)
}

/// JSON without white space that can stand in a `<script>` element.
pub(super) fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len() + json.len() / 8);
    compact(json, &mut out);
    out
}

fn object<'a>(
    Members(members): Members<'a>,
    out: &mut String,
    mut each: impl FnMut(&str, &'a RawValue, &mut String) -> Result<(), serde_json::Error>,
) -> Result<(), serde_json::Error> {
    out.push('{');
    for (index, (name, value)) in members.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        compact(&serde_json::to_string(&name)?, out);
        out.push(':');
        each(&name, value, out)?;
    }
    out.push('}');
    Ok(())
}

/// A value with its arrays of numbers as strings. As deep as the value is, which is a report's own.
fn packed(value: &RawValue, out: &mut String) -> Result<(), serde_json::Error> {
    let text = value.get();
    if text.starts_with('{') {
        let members: Members<'_> = serde_json::from_str(text)?;
        return object(members, out, |_, value, out| packed(value, out));
    }
    let Some(inside) = text.strip_prefix('[') else {
        compact(text, out);
        return Ok(());
    };
    if !inside.contains(['[', '{', '"', 't', 'f']) {
        column(inside.trim_end_matches(']'), out);
        return Ok(());
    }
    out.push('[');
    let elements: Vec<&RawValue> = serde_json::from_str(text)?;
    for (index, element) in elements.into_iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        packed(element, out)?;
    }
    out.push(']');
    Ok(())
}

/// Numbers and nulls, by commas, as one string.
fn column(values: &str, out: &mut String) {
    out.push('"');
    let mut values = values.split(',').map(str::trim).peekable();
    let mut first = true;
    while let Some(value) = values.next() {
        let mut times = 1_u64;
        while values.next_if_eq(&value).is_some() {
            times += 1;
        }
        if !first {
            out.push(',');
        }
        first = false;
        // The shortest form of a whole number.
        out.push_str(value.strip_suffix(".0").unwrap_or(value));
        if times > 1 {
            out.push_str(&format!("*{times}"));
        }
    }
    out.push('"');
}

/// Copies JSON without its white space and with `<` escaped.
fn compact(json: &str, out: &mut String) {
    let (mut in_string, mut escape) = (false, false);
    let mut kept = 0;
    for (at, byte) in json.bytes().enumerate() {
        let instead = match byte {
            b' ' | b'\n' | b'\r' | b'\t' if !in_string => "",
            b'<' => "\\u003c",
            _ => {
                in_string ^= byte == b'"' && !escape;
                escape = byte == b'\\' && !escape;
                continue;
            }
        };
        escape = false;
        // The replaced byte is ASCII: both ends are boundaries of characters.
        out.push_str(json.get(kept..at).unwrap_or_default());
        out.push_str(instead);
        kept = at + 1;
    }
    out.push_str(json.get(kept..).unwrap_or_default());
}
