//! The functions of allocators, by name: which allocate, by which argument, and which free.
//!
//! Only such functions are here that cannot leave by an exception: a probe on a return puts another return
//! address on the stack, and unwinding past it would end the process. So `operator new` is not.

use remora_common::heap::Arguments;

/// What a function does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    /// It gives out a block.
    Allocates(Arguments),
    /// It takes the block back that its first argument names.
    Frees,
}

/// What stands before the names of an allocator that is linked into a program beside the C library's own.
/// `""` stands for the allocator that `malloc` leads to.
pub(super) const PREFIXES: [&str; 5] = ["", "je_", "_rjem_", "mi_", "tc_"];

const fn sized(size: u8) -> Call {
    Call::Allocates(Arguments {
        size,
        count: 0,
        old: 0,
        out: 0,
        mapping: 0,
        stepped: 0,
    })
}

const CALLOC: Call = Call::Allocates(Arguments {
    size: 2,
    count: 1,
    old: 0,
    out: 0,
    mapping: 0,
    stepped: 0,
});

const REALLOC: Call = Call::Allocates(Arguments {
    size: 2,
    count: 0,
    old: 1,
    out: 0,
    mapping: 0,
    stepped: 0,
});

const POSIX_MEMALIGN: Call = Call::Allocates(Arguments {
    size: 3,
    count: 0,
    old: 0,
    out: 1,
    mapping: 0,
    stepped: 0,
});

/// `mmap`: anonymous memory only.
pub(super) const MMAP: Call = Call::Allocates(Arguments {
    size: 2,
    count: 0,
    old: 0,
    out: 0,
    mapping: 1,
    stepped: 0,
});

/// Names without their prefix.
const CALLS: [(&str, Call); 21] = [
    ("malloc", sized(1)),
    ("calloc", CALLOC),
    ("realloc", REALLOC),
    ("memalign", sized(2)),
    ("aligned_alloc", sized(2)),
    ("posix_memalign", POSIX_MEMALIGN),
    ("valloc", sized(1)),
    ("pvalloc", sized(1)),
    ("free", Call::Frees),
    // jemalloc
    ("mallocx", sized(1)),
    ("rallocx", REALLOC),
    ("dallocx", Call::Frees),
    ("sdallocx", Call::Frees),
    // mimalloc
    ("zalloc", sized(1)),
    ("malloc_aligned", sized(1)),
    ("zalloc_aligned", sized(1)),
    ("realloc_aligned", REALLOC),
    ("rezalloc", REALLOC),
    ("free_size", Call::Frees),
    ("free_size_aligned", Call::Frees),
    ("free_aligned", Call::Frees),
];

/// The function of this name: the place of its prefix in [`PREFIXES`], and what it does.
pub(super) fn call(name: &str) -> Option<(usize, Call)> {
    let found = |(at, prefix): (usize, &&str)| {
        let name = name.strip_prefix(prefix)?;
        let (_, call) = CALLS.iter().find(|(known, _)| *known == name)?;
        Some((at, *call))
    };
    PREFIXES.iter().enumerate().find_map(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_with_their_prefix_and_no_other() {
        assert_eq!(call("malloc"), Some((0, sized(1))));
        assert_eq!(call("_rjem_sdallocx"), Some((2, Call::Frees)));
        assert_eq!(call("mi_realloc"), Some((3, REALLOC)));
        for stranger in [
            "xmalloc",
            "malloc_trim",
            "",
            "je_",
            "_Znwm",
            "__libc_malloc",
        ] {
            assert_eq!(call(stranger), None, "{stranger}");
        }
    }
}
