//! Demangled names, of bounded length.
//!
//! blazesym demangles too, with the same crates, but into strings without a limit; a mangled C++
//! name of a hundred bytes can stand for more text than there is memory, for each substitution
//! may name the one before twice. So its demangling is off, and this writes into a buffer that
//! refuses more than a name may have.

use super::text::MAX_CHARS;
use cpp_demangle::DemangleOptions;
use std::borrow::Cow;
use std::fmt::{self, Write};

/// Longer symbols are left as they are, in bytes.
const MAX_MANGLED: usize = 64 << 10;

/// The readable form of a symbol: Rust without its hash, C++ with its parameters; other names, and
/// those that cannot be demangled, as they are.
pub(super) fn demangle(symbol: &str) -> Cow<'_, str> {
    if symbol.len() > MAX_MANGLED {
        return Cow::Borrowed(symbol);
    }
    rust(symbol)
        .or_else(|| cpp(symbol))
        .map_or(Cow::Borrowed(symbol), Cow::Owned)
}

fn rust(symbol: &str) -> Option<String> {
    let name = rustc_demangle::try_demangle(symbol).ok()?;
    let mut bounded = Bounded::default();
    // The alternate form leaves out the hash.
    bounded.keep(|out| write!(out, "{name:#}"))
}

fn cpp(symbol: &str) -> Option<String> {
    if !["_Z", "__Z", "_GLOBAL_"]
        .iter()
        .any(|mark| symbol.starts_with(mark))
    {
        return None;
    }
    let parsed = cpp_demangle::Symbol::new(symbol).ok()?;
    let mut bounded = Bounded::default();
    bounded.keep(|out| parsed.structured_demangle(out, &DemangleOptions::new()))
}

/// Text up to a limit. Writing more fails, which ends the writer.
#[derive(Default)]
struct Bounded {
    text: String,
    full: bool,
    steps: usize,
}

/// Steps of one demangling, full of text or not.
const MAX_STEPS: usize = 1 << 16;

impl Bounded {
    /// What `write` wrote: whole, or cut at the limit; `None` when it failed otherwise.
    fn keep(&mut self, write: impl FnOnce(&mut Self) -> fmt::Result) -> Option<String> {
        let written = write(self).is_ok() || self.full;
        (written && !self.text.is_empty()).then(|| std::mem::take(&mut self.text))
    }
}

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        self.steps += 1;
        if self.text.len() + part.len() > 4 * MAX_CHARS || self.steps > MAX_STEPS {
            self.full = true;
            return Err(fmt::Error);
        }
        self.text.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rust_cpp_and_c() {
        let hashed = "_ZN4core3fmt5Write9write_fmt17h0123456789abcdefE";
        assert_eq!(demangle(hashed), "core::fmt::Write::write_fmt");
        assert_eq!(demangle("_RNvCs1234_7mycrate3foo"), "mycrate::foo");
        assert_eq!(demangle("_ZN5space3fooEibc"), "space::foo(int, bool, char)");
        assert_eq!(
            demangle("_PyEval_EvalFrameDefault"),
            "_PyEval_EvalFrameDefault"
        );
        assert_eq!(demangle("_Znonsense"), "_Znonsense");
    }

    #[test]
    fn a_name_that_doubles_is_cut() {
        // f(pair<int,int>, pair<that,that>, …): each parameter names the one before twice.
        let mut symbol = String::from("_Z1f1PIiiE");
        for level in 0..36 {
            let last = char::from_digit(level, 36).unwrap().to_ascii_uppercase();
            symbol.push_str(&format!("S_IS{last}_S{last}_E"));
        }
        let readable = demangle(&symbol);
        let kept = 2 * MAX_CHARS..=4 * MAX_CHARS;
        assert!(kept.contains(&readable.len()), "{}", readable.len());
    }

    proptest! {
        #[test]
        fn any_symbol_is_survived(tail in "[A-Za-z0-9_.$]{0,80}") {
            for mark in ["_Z", "_R", "_ZN", ""] {
                let _ = demangle(&format!("{mark}{tail}"));
            }
        }
    }
}
