//! `index.html`: the report for a person, one file that needs no other and no network.
//!
//! It holds `report.json` and the pictures as data, and a script that draws them: every figure on the page is one
//! of the report. The script is plain and hand-written, without a framework, because the file has to stand alone
//! and to open in ten years as it does today. Names are hostile: the data cannot end its element, whatever it says
//! (`pack`), and the script makes text nodes of it and nothing else.

mod pack;
#[cfg(test)]
mod tests;

use serde::Serialize;

/// Its name in the report folder.
pub const NAME: &str = "index.html";

/// A picture over this many bytes stays outside: the page links it and says so.
const LARGEST_PICTURE: usize = 4 << 20;

/// The page with places for its parts, each in double braces.
const TEMPLATE: &str = include_str!("html/template.html");

const STYLE: &str = include_str!("html/page.css");

/// The parts of the script, each building on those before it.
const SCRIPT: [&str; 11] = [
    include_str!("html/format.js"),
    include_str!("html/data.js"),
    include_str!("html/table.js"),
    include_str!("html/chart.js"),
    include_str!("html/digest.js"),
    include_str!("html/overview.js"),
    include_str!("html/timeline.js"),
    include_str!("html/strip.js"),
    include_str!("html/pictures.js"),
    include_str!("html/sections.js"),
    include_str!("html/page.js"),
];

/// A picture as it lies in the page.
#[derive(Serialize)]
struct Picture<'a> {
    bytes: usize,
    /// `null`: too large to carry.
    svg: Option<std::borrow::Cow<'a, str>>,
}

/// The page over a `report.json` and the pictures beside it, by file name and in the order of its tabs.
///
/// # Errors
/// The report is not JSON.
pub fn render(report: &[u8], pictures: &[(&str, &[u8])]) -> Result<Vec<u8>, serde_json::Error> {
    let report = pack::report(report)?;
    let pictures = pack::escaped(&picture_list(pictures)?);
    let mut page = String::with_capacity(report.len() + pictures.len() + (128 << 10));
    for (index, piece) in TEMPLATE.split("{{").enumerate() {
        let (name, rest) = match (index, piece.split_once("}}")) {
            (1.., Some(parts)) => parts,
            _ => ("", piece),
        };
        match name {
            "style" => page.push_str(STYLE),
            "report" => page.push_str(&report),
            "pictures" => page.push_str(&pictures),
            "script" => push_script(&mut page),
            _ => {}
        }
        page.push_str(rest);
    }
    Ok(page.into_bytes())
}

/// The script in a scope of its own.
fn push_script(page: &mut String) {
    page.push_str("(() => {\n'use strict';\n");
    for part in SCRIPT {
        page.push_str(part);
    }
    page.push_str("})();\n");
}

/// The pictures as a JSON object in the order given.
fn picture_list(pictures: &[(&str, &[u8])]) -> Result<String, serde_json::Error> {
    let mut members = Vec::with_capacity(pictures.len());
    for (name, svg) in pictures {
        let fits = svg.len() <= LARGEST_PICTURE;
        let picture = Picture {
            bytes: svg.len(),
            svg: fits.then(|| String::from_utf8_lossy(svg)),
        };
        let name = serde_json::to_string(name)?;
        members.push(format!("{name}:{}", serde_json::to_string(&picture)?));
    }
    Ok(format!("{{{}}}", members.join(",")))
}
