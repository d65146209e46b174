//! Measures, colours and the few shapes of the picture.

use crate::text::clean;
use svg::node::element::{Line, Text};

/// Width of the picture, in pixels.
pub(super) const WIDTH: f64 = 1200.0;

/// Where text begins.
pub(super) const MARGIN: f64 = 28.0;

pub(super) const INK: &str = "#1d2329";
pub(super) const SOFT: &str = "#5c6670";
pub(super) const GRID: &str = "#e8eaed";
pub(super) const BAD: &str = "#b3261e";

/// How bad what is said of a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    /// Confirmed.
    Bad,
    /// Suspected.
    Doubtful,
    /// Nothing stays.
    Well,
    /// Nothing can be said.
    Open,
}

impl Mark {
    /// White text can be read on it.
    pub(super) const fn colour(self) -> &'static str {
        match self {
            Self::Bad => BAD,
            Self::Doubtful => "#b25a00",
            Self::Well => "#2f7d4f",
            Self::Open => "#66707a",
        }
    }
}

/// Text from the left, on its base line; whatever it says.
pub(super) fn text(x: f64, y: f64, size: f64, colour: &str, words: &str) -> Text {
    Text::new(clean(words))
        .set("x", round(x))
        .set("y", round(y))
        .set("font-size", size)
        .set("fill", colour)
}

pub(super) fn line(from: (f64, f64), to: (f64, f64), colour: &str) -> Line {
    Line::new()
        .set("x1", round(from.0))
        .set("y1", round(from.1))
        .set("x2", round(to.0))
        .set("y2", round(to.1))
        .set("stroke", colour)
}

/// To the tenth of a pixel: what nobody sees does not make the file larger.
pub(super) fn round(value: f64) -> f64 {
    let tenths = (value * 10.0).round() / 10.0;
    // Never "-0", nor anything that is no number.
    if tenths.is_finite() {
        tenths + 0.0
    } else {
        0.0
    }
}
