//! A capture, and what the analyzers say of it.

use super::{Capture, Judgement};

/// What a report is made of. The judge reads the capture and does not change it.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was seen.
    pub capture: Capture,
    /// What the analyzers found; `None` where none looked.
    pub judgement: Option<Judgement>,
}

impl Report {
    /// Joins the two.
    pub const fn new(capture: Capture, judgement: Judgement) -> Self {
        Self {
            capture,
            judgement: Some(judgement),
        }
    }
}

/// A capture that nobody judged.
impl From<Capture> for Report {
    fn from(capture: Capture) -> Self {
        Self {
            capture,
            judgement: None,
        }
    }
}
