//! Every threshold with its default, in one place.
//! `docs/findings.md` argues them.

use std::time::Duration;

/// A value that a threshold can have.
trait Value: Sized + Copy {
    /// From what was typed.
    fn parse(text: &str) -> Result<Self, String>;
    /// As it would be typed.
    fn show(self) -> String;
}

/// The longest time that makes sense.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);

impl Value for Duration {
    fn parse(text: &str) -> Result<Self, String> {
        let parsed = match text.parse::<f64>() {
            Ok(seconds) => Self::try_from_secs_f64(seconds).map_err(|_| ()),
            Err(_) => humantime::parse_duration(text).map_err(|_| ()),
        };
        match parsed {
            Ok(time) if time >= Self::from_millis(1) && time <= LONGEST => Ok(time),
            _ => Err("a time from 1ms to 7d, such as 500ms or 30s".to_owned()),
        }
    }

    fn show(self) -> String {
        humantime::format_duration(self).to_string()
    }
}

/// A share or a factor.
impl Value for f64 {
    fn parse(text: &str) -> Result<Self, String> {
        let (number, scale) = match text.strip_suffix('%') {
            Some(number) => (number, 0.01),
            None => (text, 1.0),
        };
        match number.trim().parse::<Self>() {
            Ok(value) if value.is_finite() && value > 0.0 && value * scale <= 1e6 => {
                Ok(value * scale)
            }
            _ => Err("a positive number or percentage, such as 20% or 0.2".to_owned()),
        }
    }

    fn show(self) -> String {
        self.to_string()
    }
}

/// Name, value and meaning of a threshold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// As typed: `not-consuming`.
    pub name: &'static str,
    /// Its value, as it would be typed.
    pub value: String,
    /// What it means.
    pub help: &'static str,
}

macro_rules! thresholds {
    ($($(#[doc = $help:literal])+ $field:ident, $name:literal: $kind:ty = $default:expr;)+) => {
        /// Every threshold.
        #[derive(Clone, Copy, Debug, PartialEq)]
        pub struct Thresholds {
            $($(#[doc = $help])+ pub $field: $kind,)+
        }

        impl Default for Thresholds {
            fn default() -> Self {
                Self { $($field: $default,)+ }
            }
        }

        impl Thresholds {
            /// All of them, as they are.
            pub fn entries(&self) -> Vec<Entry> {
                vec![$(Entry {
                    name: $name,
                    value: Value::show(self.$field),
                    help: concat!($($help),+).trim_ascii_start(),
                },)+]
            }

            /// Sets one by its name.
            ///
            /// # Errors
            /// Says what is wrong with the name or the value.
            pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
                match name {
                    $($name => self.$field = Value::parse(value)
                        .map_err(|wanted| format!("{name} wants {wanted}, not \"{value}\""))?,)+
                    _ => return Err(Self::unknown(name)),
                }
                Ok(())
            }
        }
    };
}

thresholds! {
    /// A receive queue is not empty, and nothing was read for this long.
    not_consuming, "not-consuming": Duration = Duration::from_secs(5);
    /// A send queue was not drained for this long.
    peer_not_consuming, "peer-not-consuming": Duration = Duration::from_secs(5);
    /// A process is stopped for this long.
    stopped, "stopped": Duration = Duration::from_secs(1);
    /// An event loop is blocked for this long.
    loop_blocked, "loop-blocked": Duration = Duration::from_secs(1);
    /// An iteration of an event loop takes longer than this.
    cycle, "cycle": Duration = Duration::from_millis(500);
    /// And this share of the iterations does.
    cycle_overruns, "cycle-overruns": f64 = 0.05;
    /// A cycle in the wait-for graph lasts this long.
    deadlock, "deadlock": Duration = Duration::from_secs(1);
    /// A thread waits for one lock for this long without a break.
    lock_stuck, "lock-stuck": Duration = Duration::from_secs(10);
    /// A peer that was asked says nothing for this long.
    no_answer, "no-answer": Duration = Duration::from_secs(30);
    /// A wait that nobody can explain lasts this long.
    unclear, "unclear": Duration = Duration::from_secs(30);
    /// A thread is blocked for this share of its time waiting for one lock.
    lock_contention, "lock-contention": f64 = 0.2;
    /// A thread waits for a CPU for this share of its runnable time.
    starved, "starved": f64 = 0.5;
    /// And one of these waits lasts this long, or its cgroup was throttled.
    starved_stretch, "starved-stretch": Duration = Duration::from_millis(500);
    /// A wait that is neither lock, loop nor socket lasts this long.
    blocked_syscall, "blocked-syscall": Duration = Duration::from_secs(5);
    /// A thread that spins uses this share of one CPU.
    busy_spin, "busy-spin": f64 = 0.8;
    /// A connection is silent for this many of its usual intervals.
    feed_gap_intervals, "feed-gap-intervals": f64 = 30.0;
    /// And for at least this long.
    feed_gap, "feed-gap": Duration = Duration::from_secs(5);
    /// Data that still arrive this long after the last send from this side are a feed.
    feed_life, "feed-life": Duration = Duration::from_secs(600);
    /// A socket is in CLOSE-WAIT for this long.
    close_wait, "close-wait": Duration = Duration::from_secs(10);
    /// This share of the limit on open files is in use.
    fd_limit, "fd-limit": f64 = 0.9;
    /// Descriptor growth needs a capture this long.
    fd_leak, "fd-leak": Duration = Duration::from_secs(20);
    /// Thread growth needs a capture this long.
    thread_leak, "thread-leak": Duration = Duration::from_secs(20);
    /// This share of the limit on threads is in use.
    thread_limit, "thread-limit": f64 = 0.9;
    /// Memory growth is a suspected leak when it lasts this long.
    memory_leak, "memory-leak": Duration = Duration::from_secs(30);
    /// And a confirmed one when it lasts this long.
    memory_leak_confirmed, "memory-leak-confirmed": Duration = Duration::from_secs(600);
}

impl Thresholds {
    /// Sets one from `name=value`.
    ///
    /// # Errors
    /// Says what is wrong with it.
    pub fn set_pair(&mut self, pair: &str) -> Result<(), String> {
        match pair.split_once('=') {
            Some((name, value)) => self.set(name.trim(), value.trim()),
            None => Err(format!(
                "\"{pair}\" is not NAME=VALUE, such as loop-blocked=2s"
            )),
        }
    }

    fn unknown(name: &str) -> String {
        let entries = Self::default().entries();
        let names = entries.iter().map(|entry| entry.name);
        let near = names
            .clone()
            .max_by(|a, b| strsim::jaro(a, name).total_cmp(&strsim::jaro(b, name)));
        match near.filter(|near| strsim::jaro(near, name) > 0.7) {
            Some(near) => format!("no threshold is called \"{name}\": did you mean {near}?"),
            None => format!(
                "no threshold is called \"{name}\": there are {}",
                names.collect::<Vec<_>>().join(", ")
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_threshold_can_be_set_by_its_name_to_what_it_shows() {
        for entry in Thresholds::default().entries() {
            let mut set = Thresholds::default();
            assert_eq!(set.set(entry.name, &entry.value), Ok(()), "{}", entry.name);
            assert_eq!(set, Thresholds::default());
        }
    }

    #[test]
    fn values_have_units() {
        let mut set = Thresholds::default();
        assert_eq!(set.set_pair("loop-blocked=250ms"), Ok(()));
        assert_eq!(set.set_pair("lock-contention = 35%"), Ok(()));
        assert_eq!(set.loop_blocked, Duration::from_millis(250));
        assert!((set.lock_contention - 0.35).abs() < 1e-9);
    }

    #[test]
    fn nonsense_is_refused_with_a_hint() {
        let mut set = Thresholds::default();
        for pair in [
            "loop-blocked",
            "loop-blocked=",
            "loop-blocked=-1",
            "loop-blocked=NaN",
            "loop-blocked=1e300",
            "starved=0",
            "starved=inf",
            "starved=-5%",
        ] {
            assert!(set.set_pair(pair).is_err(), "{pair}");
        }
        let error = set.set_pair("loop-blokced=1s").expect_err("misspelt");
        assert!(error.contains("did you mean loop-blocked"), "{error}");
        assert_eq!(set, Thresholds::default());
    }
}
