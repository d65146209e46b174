//! The name that a report gets when the user gives none.

use jiff::Timestamp;

/// `remora-COMM-PID-YYYYMMDD-HHMMSS`, in UTC: reports sort by name, and names of machines in
/// different time zones compare. What a file name should not hold is `_` in it.
pub fn default_name(comm: &str, pid: u32, started_unix_s: f64) -> String {
    let safe = |c: char| {
        if c.is_ascii_alphanumeric() || "._-".contains(c) {
            c
        } else {
            '_'
        }
    };
    let comm: String = comm.chars().take(32).map(safe).collect();
    format!(
        "remora-{comm}-{pid}-{}",
        format_utc(started_unix_s, "%Y%m%d-%H%M%S")
    )
}

/// A time in UTC by a `strftime` pattern; one outside of year -9999 to 9999 is the epoch.
pub(crate) fn format_utc(unix_s: f64, pattern: &str) -> String {
    // A cast from a float saturates.
    let time = Timestamp::from_second(unix_s as i64).unwrap_or_default();
    time.strftime(pattern).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_plain_whatever_the_process_calls_itself() {
        assert_eq!(
            default_name("redis-server", 4711, 1_700_000_000.9),
            "remora-redis-server-4711-20231114-221320"
        );
        assert_eq!(
            default_name("../a b\n漢", 1, f64::NAN),
            "remora-.._a_b__-1-19700101-000000"
        );
        assert_eq!(
            default_name("x", 1, f64::INFINITY),
            "remora-x-1-19700101-000000"
        );
    }
}
