//! How the memory of a process moved through a capture, in figures: whether it grows and stays, how fast,
//! and until when that can go on.

use super::MemoryLimit;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use strum::{IntoStaticStr, VariantArray};

/// What a series of readings looks like.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, IntoStaticStr, VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum GrowthForm {
    /// It does not grow.
    Flat,
    /// It grows at a pace that lasts.
    Steady,
    /// It grew, and does so less and less.
    LevelsOff,
    /// It comes back to where it was.
    ComesBack,
    /// It grew in a few places.
    Steps,
}

impl GrowthForm {
    /// Its name in `report.json`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// How sure it is that growth is a leak.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Deserialize,
    Serialize,
    IntoStaticStr,
    VariantArray,
)]
#[strum(serialize_all = "snake_case")]
pub enum LeakLevel {
    /// It is steady and strong, and was not watched for long.
    Suspected,
    /// It lasted.
    Confirmed,
}

impl LeakLevel {
    /// Its name in reports.
    pub fn name(self) -> &'static str {
        self.into()
    }
}

/// When a limit is reached if it goes on like this.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub struct Reached {
    /// The limit that is reached first.
    pub limit: MemoryLimit,
    /// From the end of the capture on.
    pub after: Duration,
    /// At the upper end of the interval of the pace.
    pub soonest: Duration,
    /// At the lower end; `None` where that is no growth.
    pub latest: Option<Duration>,
}

/// The trend of a process's anonymous memory, swapped out or not; page cache and shared memory apart.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct MemoryTrend {
    /// The process.
    pub pid: u32,
    /// What it looks like.
    pub form: GrowthForm,
    /// Pace, in bytes a second.
    pub slope: f64,
    /// Lower end of its interval, at 95 %.
    pub low: f64,
    /// Upper end.
    pub high: f64,
    /// The fitted line at `from`, in bytes.
    pub start_bytes: u64,
    /// Growth that stayed, by the pace, in bytes.
    pub grown_bytes: u64,
    /// From then on, since the beginning of the capture.
    pub from: Duration,
    /// For so long.
    pub span: Duration,
    /// Parts of that time in which it grew.
    pub parts_grown: usize,
    /// Parts.
    pub parts: usize,
    /// Only its low points count: it falls in between.
    pub by_low_points: bool,
    /// Whether it is a leak.
    pub level: Option<LeakLevel>,
    /// Until when it can go on; `None` where it does not grow, or no limit is known.
    pub reached: Option<Reached>,
}
