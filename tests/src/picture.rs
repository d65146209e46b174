//! A flamegraph as a reader of the SVG file finds it: titles, frames, widths, colours.

/// One frame.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Its name.
    pub name: String,
    /// Its width, as a share of the picture (0 to 1).
    pub share: f64,
    /// Red, green and blue, 0 to 255.
    pub colour: [u8; 3],
}

/// The text of the element with this id, `title` or `subtitle`.
///
/// # Panics
/// When there is none.
pub fn text<'a>(svg: &'a str, id: &str) -> &'a str {
    let element = svg
        .split("<text")
        .find(|element| element.contains(&format!("id=\"{id}\"")));
    let element = element.unwrap_or_else(|| panic!("no {id} in {svg}"));
    between(element, ">", "</text>").unwrap_or_else(|| panic!("{element}"))
}

/// All frames.
///
/// # Panics
/// On a frame that is not as inferno writes it.
pub fn frames(svg: &str) -> Vec<Frame> {
    svg.split("<g><title>").skip(1).map(frame).collect()
}

fn frame(group: &str) -> Frame {
    let parse = || {
        let (title, rest) = group.split_once("</title>")?;
        let (name, _numbers) = title.rsplit_once(" (")?;
        let share: f64 = between(rest, "width=\"", "%\"")?.parse().ok()?;
        let mut colour = between(rest, "fill=\"rgb(", ")")?
            .split(',')
            .map(str::parse);
        let mut next = || colour.next()?.ok();
        Some(Frame {
            name: name.to_owned(),
            share: share / 100.0,
            colour: [next()?, next()?, next()?],
        })
    };
    parse().unwrap_or_else(|| panic!("{group}"))
}

fn between<'a>(text: &'a str, before: &str, after: &str) -> Option<&'a str> {
    text.split_once(before)?
        .1
        .split_once(after)
        .map(|(inside, _)| inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_titles_and_frames() {
        let svg = "<svg><text id=\"title\" x=\"1\">redis (7) on CPU</text><g><title>wait (a) \
                   (2,000 ms, 50.04%)</title><rect x=\"0%\" width=\"50.0426%\" \
                   fill=\"rgb(200,178,227)\"/><text>wait</text></g></svg>";
        assert_eq!(text(svg, "title"), "redis (7) on CPU");
        let [frame] = &frames(svg)[..] else {
            panic!("one frame")
        };
        assert_eq!(
            (frame.name.as_str(), frame.colour),
            ("wait (a)", [200, 178, 227])
        );
        assert!((frame.share - 0.500_426).abs() < 1e-9);
    }
}
