//! Text that is safe and short: names come from hostile places (a thread may call itself anything),
//! and figures are read by a tired person.

use std::borrow::Cow;
use std::time::Duration;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text with every character that could steer a terminal or break an XML file written as its
/// escape (`\u{1b}`): controls, line separators, direction marks, non-characters.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_unsafe(c) {
            safe.extend(c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

/// Whether a character does something instead of showing something.
fn is_unsafe(c: char) -> bool {
    let marks = matches!(c,
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || marks || matches!(c, '\u{fffe}' | '\u{ffff}')
}

/// The text in at most `width` columns; cut text ends with `…`.
pub fn fit(text: &str, width: usize) -> Cow<'_, str> {
    if text.width() <= width {
        return Cow::Borrowed(text);
    }
    let mut room = width.saturating_sub(1);
    let mut cut = String::new();
    for c in text.chars() {
        let columns = c.width().unwrap_or(0);
        if columns > room {
            break;
        }
        room -= columns;
        cut.push(c);
    }
    if width > 0 {
        cut.push('…');
    }
    Cow::Owned(cut)
}

/// A share in percent: `12.3 %`; what is there but rounds to nothing is `<0.1 %`.
pub fn percent(part: f64, whole: f64) -> String {
    let share = if whole > 0.0 {
        part / whole * 100.0
    } else {
        0.0
    };
    if share > 0.0 && share < 0.05 {
        "<0.1 %".to_owned()
    } else {
        format!("{share:.1} %")
    }
}

/// A share of time in percent.
pub fn share(part: Duration, whole: Duration) -> String {
    percent(part.as_secs_f64(), whole.as_secs_f64())
}

/// A duration in the unit that reads best: `850 ns`, `12 µs`, `350 ms`, `31.2 s`, `5 min 12 s`,
/// `3 h 12 min`, `5 d 3 h`.
pub fn duration(time: Duration) -> String {
    let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
    match seconds {
        0 if nanos < 1_000 => format!("{nanos} ns"),
        0 if nanos < 1_000_000 => format!("{} µs", nanos / 1_000),
        0 if nanos < 10_000_000 => format!("{:.1} ms", f64::from(nanos) / 1e6),
        0 => format!("{} ms", nanos / 1_000_000),
        1..120 => format!("{:.1} s", time.as_secs_f64()),
        120..3_600 => format!("{} min {} s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{} d {} h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// A capture's length in seconds, one decimal: the unit that the user gave it in.
pub fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

/// A number with thousands set apart: `12,345`.
pub fn count(value: u64) -> String {
    let digits = value.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A change in bytes, with its sign: `+12.4 MiB`.
pub fn signed_bytes(value: i64) -> String {
    let sign = if value < 0 { '−' } else { '+' };
    format!("{sign}{}", bytes(value.unsigned_abs()))
}

/// Bytes in the unit that shows them: `512 bytes`, `2.2 KiB`, `40.2 MiB`, `1.5 GiB`.
pub fn bytes(value: u64) -> String {
    // What would round to 1,024.0 is one of the next unit.
    const NEXT: f64 = 1023.95;
    let kib = value as f64 / 1024.0;
    match value {
        1 => "1 byte".to_owned(),
        0..1024 => format!("{value} bytes"),
        _ if kib < NEXT => format!("{kib:.1} KiB"),
        _ if kib / 1024.0 < NEXT => format!("{:.1} MiB", kib / 1024.0),
        _ => format!("{:.1} GiB", kib / 1024.0 / 1024.0),
    }
}

/// The length of a queue: exact as long as that is short.
pub fn queue_bytes(value: u64) -> String {
    match value {
        1024..10_000 => format!("{} bytes", count(value)),
        _ => bytes(value),
    }
}

/// So many of a thing, in the plural where there are several: `1 thread`, `2,277 bytes`, `3 processes`.
pub fn counted(number: u64, what: &str) -> String {
    let plural = match number {
        1 => "",
        _ if what.ends_with('s') => "es",
        _ => "s",
    };
    format!("{} {what}{plural}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_steers_a_terminal_is_escaped() {
        assert_eq!(clean("redis-server"), "redis-server");
        assert_eq!(
            clean("a\u{1b}[31mb\nc\u{202e}d"),
            r"a\u{1b}[31mb\nc\u{202e}d"
        );
        assert_eq!(clean("naïve 漢字"), "naïve 漢字");
    }

    #[test]
    fn wide_characters_count_two_columns() {
        assert_eq!(fit("漢字漢字", 8), "漢字漢字");
        assert_eq!(fit("漢字漢字", 7), "漢字漢…");
        assert_eq!(fit("漢字漢字", 6), "漢字…");
        assert_eq!(fit("abc", 0), "");
    }

    #[test]
    fn durations_read_in_their_unit() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (12_345, "12 µs"),
            (1_250_000, "1.2 ms"),
            (350_999_999, "350 ms"),
            (31_240_000_000, "31.2 s"),
            (312_000_000_000, "5 min 12 s"),
            (11_520_000_000_000, "3 h 12 min"),
            (443_000_000_000_000, "5 d 3 h"),
        ];
        for (nanos, expected) in cases {
            assert_eq!(duration(Duration::from_nanos(nanos)), expected);
        }
    }

    #[test]
    fn shares_do_not_round_what_is_there_to_nothing() {
        assert_eq!(percent(0.0, 0.0), "0.0 %");
        assert_eq!(percent(1.0, 1e6), "<0.1 %");
        assert_eq!(percent(1.0, 3.0), "33.3 %");
    }

    #[test]
    fn thousands_are_set_apart() {
        assert_eq!(
            [count(0), count(999), count(1_000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn sizes_have_the_unit_that_shows_them() {
        let cases = [
            (0, "0 bytes"),
            (1, "1 byte"),
            (1_023, "1023 bytes"),
            (1_024, "1.0 KiB"),
            ((1 << 20) - 1, "1.0 MiB"),
            (300 << 20, "300.0 MiB"),
            (1 << 30, "1.0 GiB"),
            (64 << 30, "64.0 GiB"),
        ];
        for (value, expected) in cases {
            assert_eq!(bytes(value), expected, "{value}");
        }
        assert_eq!(queue_bytes(2_277), "2,277 bytes");
        assert_eq!(queue_bytes(178_893), "174.7 KiB");
        assert_eq!(counted(1, "thread"), "1 thread");
        assert_eq!(counted(2_000, "thread"), "2,000 threads");
        assert_eq!(counted(3, "process"), "3 processes");
    }

    proptest! {
        #[test]
        fn fitted_text_fits(text in "\\PC{0,40}", width in 0..30_usize) {
            prop_assert!(fit(&text, width).width() <= width);
        }

        #[test]
        fn clean_text_is_clean(text in any::<String>()) {
            let safe = clean(&text);
            prop_assert!(!safe.contains(is_unsafe));
        }
    }
}
