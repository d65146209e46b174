//! The one reader of `/proc/kallsyms`, and what only that table tells: names of functions as probes must give them (the
//! compiler renames what it changes, and a kprobe on the name in the source then finds nothing),
//! and where the scheduler's code lies.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::ops::{ControlFlow, Range};

/// Far beyond any `/proc/kallsyms`: 150,000 lines are some 8 MB.
const LIMIT_BYTES: u64 = 1 << 28;

/// A line of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Symbol<'a> {
    /// 0 where addresses are hidden.
    pub address: u64,
    /// It names code, and not data.
    pub is_code: bool,
    /// Its name, which need not be text.
    pub name: &'a [u8],
    /// The module that it is of, with brackets (`[ext4]`, `[bpf]`); the kernel's own have none.
    pub module: Option<&'a [u8]>,
    /// `t` or `T`: a function that no other replaces.
    is_plain: bool,
}

impl<'a> Symbol<'a> {
    /// Address, kind, name, module. An address that is no number is 0.
    fn parse(line: &'a [u8]) -> Option<Self> {
        let mut words = line.split(u8::is_ascii_whitespace);
        let (address, kind, name) = (words.next()?, words.next()?, words.next()?);
        let address = std::str::from_utf8(address).unwrap_or_default();
        Some(Self {
            address: u64::from_str_radix(address, 16).unwrap_or(0),
            is_code: matches!(kind, b"t" | b"T" | b"w" | b"W"),
            name,
            module: words.next(),
            is_plain: matches!(kind, b"t" | b"T"),
        })
    }

    /// A function of the kernel itself.
    fn is_own_function(&self) -> bool {
        self.is_plain && self.module.is_none()
    }
}

/// Shows each symbol of this kernel to `see`, until that breaks off.
///
/// # Errors
/// When the file cannot be read.
pub fn symbols(see: impl FnMut(&Symbol<'_>) -> ControlFlow<()>) -> io::Result<()> {
    symbols_of(BufReader::new(File::open("/proc/kallsyms")?), see)
}

/// Shows each symbol of a table to `see`, until that breaks off. Lines that are none are passed over.
///
/// # Errors
/// When the table cannot be read.
pub fn symbols_of(
    table: impl BufRead,
    mut see: impl FnMut(&Symbol<'_>) -> ControlFlow<()>,
) -> io::Result<()> {
    for line in table.take(LIMIT_BYTES).split(b'\n') {
        if Symbol::parse(&line?).is_some_and(|symbol| see(&symbol).is_break()) {
            break;
        }
    }
    Ok(())
}

/// The symbol of `finish_task_switch`, the function in which a thread comes back to the CPU: the
/// plain name, or the one that the compiler gave it (`finish_task_switch.isra.0`).
///
/// Reads all of `/proc/kallsyms`, some tens of milliseconds: for when it is needed.
///
/// # Errors
/// When the file cannot be read. A kernel without such a symbol is `None`.
pub fn finish_task_switch_symbol() -> io::Result<Option<String>> {
    symbol(
        BufReader::new(File::open("/proc/kallsyms")?),
        "finish_task_switch",
    )
}

/// Where the functions lie that sleep on their caller's behalf (`__sched`, `kernel/sched/`): the
/// kernel leaves them out when it shows where a sleeping task stands.
///
/// `None` where addresses are hidden. Reads `/proc/kallsyms`, as above.
///
/// # Errors
/// When the file cannot be read.
pub fn scheduler_text() -> io::Result<Option<Range<u64>>> {
    section(
        BufReader::new(File::open("/proc/kallsyms")?),
        ["__sched_text_start", "__sched_text_end"],
    )
}

/// Where the functions lie by which interrupted waits with a time limit go on after a stop (`restart_syscall`), each
/// 0 where it is not known: of a futex, a sleep, a poll.
///
/// # Errors
/// When the file cannot be read.
pub fn restart_functions() -> io::Result<[u64; 3]> {
    functions(
        BufReader::new(File::open("/proc/kallsyms")?),
        [
            // What `futex_wait_restart` leaves behind while it waits.
            "do_no_restart_syscall",
            "hrtimer_nanosleep_restart",
            "do_restart_poll",
        ],
    )
}

/// The addresses of functions of the kernel itself, 0 for those that are not there or hidden.
fn functions<const N: usize>(kallsyms: impl BufRead, names: [&str; N]) -> io::Result<[u64; N]> {
    let mut found = [0; N];
    symbols_of(kallsyms, |symbol| {
        if symbol.is_own_function()
            && let Some(at) = names.iter().position(|one| one.as_bytes() == symbol.name)
            && let Some(slot) = found.get_mut(at)
        {
            *slot = symbol.address;
        }
        until(!found.contains(&0))
    })?;
    Ok(found)
}

/// Breaks off when all is found.
fn until(is_all_found: bool) -> ControlFlow<()> {
    if is_all_found {
        return ControlFlow::Break(());
    }
    ControlFlow::Continue(())
}

/// The addresses between two symbols.
fn section(kallsyms: impl BufRead, [from, to]: [&str; 2]) -> io::Result<Option<Range<u64>>> {
    let (mut start, mut end) = (0, 0);
    symbols_of(kallsyms, |symbol| {
        match symbol.name {
            _ if symbol.module.is_some() => {}
            name if name == from.as_bytes() => start = symbol.address,
            name if name == to.as_bytes() => end = symbol.address,
            _ => {}
        }
        until(start != 0 && end != 0)
    })?;
    Ok((start != 0 && start < end).then_some(start..end))
}

/// The symbol of function `base`: exact, else its first renamed form.
fn symbol(kallsyms: impl BufRead, base: &str) -> io::Result<Option<String>> {
    let (mut plain, mut renamed) = (None, None);
    symbols_of(kallsyms, |symbol| {
        let suffix = symbol.name.strip_prefix(base.as_bytes());
        match suffix.filter(|_| symbol.is_own_function()) {
            Some([]) => plain = Some(base.to_owned()),
            Some(suffix) if renamed.is_none() && is_whole_function(suffix) => {
                renamed = String::from_utf8(symbol.name.to_vec()).ok();
            }
            _ => {}
        }
        until(plain.is_some())
    })?;
    Ok(plain.or(renamed))
}

/// Whether the compiler's suffix names the function itself and not a part that was split off
/// (`.cold`, `.part.N`). GCC: `.isra.N`, `.constprop.N`; Clang: `.llvm.HASH`.
fn is_whole_function(suffix: &[u8]) -> bool {
    let whole = [&b".isra."[..], b".constprop.", b".llvm."];
    whole.iter().any(|start| suffix.starts_with(start))
        && !suffix.ends_with(b".cold")
        && !suffix.windows(6).any(|part| part == b".part.")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(kallsyms: &str) -> Option<String> {
        symbol(kallsyms.as_bytes(), "finish_task_switch").unwrap()
    }

    #[test]
    fn the_renamed_function_is_found_among_its_relatives() {
        let kallsyms = "\
            ffffffff813a2370 t __pfx_finish_task_switch.isra.0\n\
            ffffffff813a2300 t finish_task_switch.isra.0.cold\n\
            ffffffff813a2310 t finish_task_switch.part.0\n\
            ffffffff813a2320 t finish_task_switch_other\n\
            ffffffff813a2330 d finish_task_switch.isra.9\n\
            ffffffffc0002330 t finish_task_switch.isra.8\t[module]\n\
            ffffffff813a2380 t finish_task_switch.isra.0\n";
        assert_eq!(
            found(kallsyms).as_deref(),
            Some("finish_task_switch.isra.0")
        );
    }

    #[test]
    fn the_plain_name_comes_first() {
        let kallsyms = "0000000000000000 t finish_task_switch.constprop.1\n\
                        0000000000000000 T finish_task_switch\n";
        assert_eq!(found(kallsyms).as_deref(), Some("finish_task_switch"));
    }

    #[test]
    fn no_such_symbol_is_no_error() {
        assert_eq!(found(""), None);
        assert_eq!(found("\n \nt\nffff t\nffff t finish_task\n"), None);
        assert_eq!(
            symbol(&b"0 t \xff\xfe\n0 t f.isra.\xff\n"[..], "f").unwrap(),
            None
        );
    }

    #[test]
    fn a_section_is_what_lies_between_its_symbols() {
        let find = |text: &str| section(text.as_bytes(), ["from", "to"]).unwrap();
        assert_eq!(find("10 T from\n11 t x\n20 T to\n"), Some(0x10..0x20));
        assert_eq!(find("20 T to\n10 T from\n"), Some(0x10..0x20));
        assert_eq!(find("0 T from\n0 T to\n"), None, "hidden addresses");
        assert_eq!(find("20 T from\n10 T to\n"), None, "backwards");
        assert_eq!(find("zz T from\n10 T to\n"), None);
        assert_eq!(find("10 T from\n"), None);
    }

    #[test]
    fn functions_are_those_of_the_kernel_itself() {
        let text = "10 t one\n11 t one\t[module]\n20 T two\n30 d three\n";
        let find = |names| functions(text.as_bytes(), names).unwrap();
        assert_eq!(find(["one", "two", "three"]), [0x10, 0x20, 0]);
        assert_eq!(
            functions(&b"0 t one\n"[..], ["one"]).unwrap(),
            [0],
            "hidden"
        );
    }

    #[test]
    fn this_kernel_answers() {
        match finish_task_switch_symbol() {
            Ok(Some(name)) => assert!(name.starts_with("finish_task_switch"), "{name}"),
            Ok(None) => remora_testing::skip("this kernel has no symbol finish_task_switch"),
            Err(why) => remora_testing::skip(format_args!("/proc/kallsyms: {why}")),
        }
    }
}
