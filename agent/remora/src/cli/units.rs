//! Values with units, as people type them.

use bytesize::ByteSize;
use remora_analyze::Thresholds;
use remora_model::Cpus;
use std::time::Duration;

/// The longest capture.
const LONGEST: Duration = Duration::from_secs(7 * 24 * 3600);
/// The longest threshold of a wait.
const LONGEST_BLOCK: Duration = Duration::from_secs(60);

/// A time: a plain number of seconds (`30`, `0.5`), or with units (`500ms`, `10m`, `1h 30m`).
fn time(text: &str) -> Result<Duration, String> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| "not a length of time".into());
    }
    humantime::parse_duration(text).map_err(|error| error.to_string())
}

/// Length of a capture.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let duration = time(text)?;
    if duration < Duration::from_millis(100) {
        return Err("too short to see anything: at least 100ms".into());
    }
    if duration > LONGEST {
        return Err("at most 7 days: for longer, run one capture after another".into());
    }
    Ok(duration)
}

/// Threshold of a long wait; 0 makes every wait a long one.
pub(super) fn min_block(text: &str) -> Result<Duration, String> {
    let threshold = time(text)?;
    if threshold > LONGEST_BLOCK {
        return Err("at most 60s: with more, no wait would get a stack".into());
    }
    Ok(threshold)
}

/// Length from which an iteration of an event loop is late.
pub(super) fn late(text: &str) -> Result<Duration, String> {
    let threshold = time(text)?;
    if threshold < Duration::from_micros(1) || threshold > LONGEST_BLOCK {
        return Err("choose a time from 1us to 60s".into());
    }
    Ok(threshold)
}

/// Length of a window of the timeline.
pub(super) fn window(text: &str) -> Result<Duration, String> {
    let window = time(text)?;
    if window < Duration::from_millis(100) || window > Duration::from_secs(3600) {
        return Err("choose a time from 100ms to 1h".into());
    }
    Ok(window)
}

/// Samples of the sockets a second.
pub(super) fn socket_hz(text: &str) -> Result<f64, String> {
    let hz: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if hz == 0.0 || (0.01..=100.0).contains(&hz) {
        Ok(hz)
    } else {
        Err("choose from 0.01 to 100 samples a second, or 0 for none".to_owned())
    }
}

/// A slow-down in percent, with or without the sign; as a share.
pub(super) fn heap_budget(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    let percent: f64 = number.parse().map_err(|_| "not a number".to_owned())?;
    if (0.1..=1000.0).contains(&percent) {
        Ok(percent / 100.0)
    } else {
        Err("choose from 0.1 % to 1000 %".to_owned())
    }
}

/// Bytes from a sampled one to the next, in the mean.
pub(super) fn heap_sample(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text.parse()?;
    if size <= ByteSize::gib(1) {
        Ok(size)
    } else {
        Err("at most 1 GiB: with more, nothing would be sampled".to_owned())
    }
}

/// CPUs as the kernel lists them, one at least.
pub(super) fn cpus(text: &str) -> Result<Cpus, String> {
    let cpus: Cpus = text.parse()?;
    if cpus.is_empty() {
        return Err("names no CPU: write 0-3,8".to_owned());
    }
    Ok(cpus)
}

/// Thresholds, each as `NAME=VALUE`, over the defaults.
pub(super) fn thresholds(pairs: &[String]) -> Result<Thresholds, String> {
    let mut thresholds = Thresholds::default();
    for pair in pairs {
        thresholds.set_pair(pair)?;
    }
    Ok(thresholds)
}

/// Kernel memory for unwind tables.
pub(super) fn unwind_memory(text: &str) -> Result<ByteSize, String> {
    let size: ByteSize = text
        .parse()
        .map_err(|_| "not a size: write 64MiB or 1GiB".to_owned())?;
    if size < ByteSize::mib(1) || size > ByteSize::gib(4) {
        return Err("choose a size from 1MiB to 4GiB".to_owned());
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_numbers_are_seconds_and_units_are_units() {
        assert_eq!(duration("30"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("0.5"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("10m"), Ok(Duration::from_secs(600)));
        assert_eq!(min_block("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(min_block("0"), Ok(Duration::ZERO));
    }

    #[test]
    fn sockets_are_looked_at_by_the_second() {
        assert_eq!(socket_hz("2"), Ok(2.0));
        assert_eq!(socket_hz("0"), Ok(0.0));
        assert_eq!(socket_hz("0.1"), Ok(0.1));
        for text in ["-1", "0.001", "101", "NaN", "inf", "", "two"] {
            assert!(socket_hz(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cpus_are_a_list_of_the_kernels() {
        assert_eq!(cpus("0-2,8").map(|cpus| cpus.len()), Ok(4));
        for text in ["", " ", "a", "2-1", "0,", "-1"] {
            assert!(cpus(text).is_err(), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["0", "-1", "NaN", "inf", "1e300", "abc", "", "8d", "0s"] {
            assert!(duration(text).is_err(), "{text}");
        }
        for text in ["-1ms", "61s", "1h", "x"] {
            assert!(min_block(text).is_err(), "{text}");
        }
    }
}
