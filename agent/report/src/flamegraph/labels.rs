//! Short names in the boxes of a picture, over the names in full.
//!
//! Inferno draws one name in both places: the box and its tooltip. It is given the names in full,
//! for two functions whose short names are equal must not become one box; here the boxes of the
//! finished picture get the short ones. Its script writes the boxes anew whenever the picture's
//! width changes, from the tooltip: it is made to ask for the short name first. Searching goes on
//! to look at the names in full.

use super::{WIDTH, escape_xml};
use crate::folded::{Class, Folded};
use crate::short_name;
use inferno::flamegraph::defaults;
use remora_model::FrameKind;
use std::collections::HashMap;

/// Where the script takes a box's text from, in both of its ways to fit it.
const TEXT_OF_BOX: &str = r#"find_child(e, "title").textContent.replace(/\([^(]*\)$/,"")"#;
/// What it takes instead, and the function that this calls.
const LABEL_OF_BOX: &str = "label_of(e)";
const LABEL_OF: &str = r#"function label_of(e) {
    var label = e.attributes["fg:label"];
    return label ? label.value : find_child(e, "title").textContent.replace(/\([^(]*\)$/,"");
}
"#;
/// The script's first function, before which ours is put.
const FIRST_FUNCTION: &str = "function get_params()";
/// How a box begins.
const BOX: &str = "<g><title>";

/// The short names of the frames that have one, by the name that the picture shows.
pub(super) fn labels(folded: &Folded) -> HashMap<&str, String> {
    let code = folded.classes().filter_map(|(name, class)| {
        let Class::Code(kind) = class else {
            return None;
        };
        let shown = without_suffix(name, kind);
        let short = short_name::short(shown, kind);
        (short != shown).then(|| (shown, short.into_owned()))
    });
    code.collect()
}

/// A frame's name in folded stacks without the suffix of its kind, which inferno does not show.
fn without_suffix(name: &str, kind: FrameKind) -> &str {
    match kind {
        FrameKind::Native => name,
        _ => name.rfind("_[").map_or(name, |suffix| &name[..suffix]),
    }
}

/// The picture with `labels` in its boxes.
pub(super) fn put(svg: &str, labels: &HashMap<&str, String>) -> String {
    let svg = &svg.replace(TEXT_OF_BOX, LABEL_OF_BOX).replacen(
        FIRST_FUNCTION,
        &format!("{LABEL_OF}{FIRST_FUNCTION}"),
        1,
    );
    let mut labelled = String::with_capacity(svg.len());
    let mut boxes = svg.split(BOX);
    labelled.extend(boxes.next());
    for one in boxes {
        match label(one, labels).and_then(|label| Some((label, text_of(one, label)?))) {
            Some((label, (before, text, after))) => {
                let label = escape_xml(label).replace('"', "&quot;");
                labelled.push_str(&format!("<g fg:label=\"{label}\"><title>{before}"));
                labelled.push_str(&format!("{}{after}", escape_xml(&text)));
            }
            None => labelled.extend([BOX, one]),
        }
    }
    labelled
}

/// The label of a box, by the name before the figures in its tooltip.
fn label<'a>(one: &str, labels: &'a HashMap<&str, String>) -> Option<&'a str> {
    let (tooltip, _) = one.split_once("</title>")?;
    let (name, _figures) = tooltip.rsplit_once(" (")?;
    labels.get(&*unescape(name)).map(String::as_str)
}

/// What stands before a box's text, as much of `label` as fits there, and what stands behind.
fn text_of<'a>(one: &'a str, label: &str) -> Option<(&'a str, String, &'a str)> {
    let text = one.find("<text ")?;
    let begin = text + one[text..].find('>')? + 1;
    let end = begin + one[begin..].find("</text>")?;
    let width = one.split_once("width=\"")?.1.split_once('%')?.0;
    // As inferno does it: a browser with its script fits the text again.
    let letter = defaults::FONT_SIZE as f64 * defaults::FONT_WIDTH;
    let per_cent = WIDTH as f64 / 100.0;
    let room = (width.parse::<f64>().ok()? * per_cent / letter) as usize;
    let fitted = match room {
        0..3 => String::new(),
        _ if label.chars().count() < room => label.to_owned(),
        _ => label.chars().take(room - 2).chain("..".chars()).collect(),
    };
    Some((&one[..begin], fitted, &one[end..]))
}

/// The text that an XML file holds as `text`, as far as inferno escapes it.
fn unescape(text: &str) -> String {
    let marks = [
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&quot;", "\""),
        ("&apos;", "'"),
        ("&amp;", "&"),
    ];
    marks
        .iter()
        .fold(text.to_owned(), |text, (mark, character)| {
            text.replace(mark, character)
        })
}
