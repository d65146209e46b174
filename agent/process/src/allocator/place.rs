//! Where in a function a probe costs least.
//!
//! The kernel emulates some instructions in place of the one that a probe covers (`push`, jumps, `nop`). Any other
//! it lets the processor execute elsewhere, and is interrupted behind it: a second exception, which on a virtual
//! machine may leave to the hypervisor and cost ten times as much as all the rest. So a probe is put behind a
//! beginning that changes nothing that it looks at: the marker of a branch target, and in `free` the test for
//! a null pointer.

use super::Call;

/// A place in a function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// Bytes from the function's beginning.
    pub skip: u64,
    /// The instruction there is one that the processor must step over.
    pub stepped: bool,
}

/// Bytes of a function that are looked at.
pub(super) const BYTES: usize = 24;

const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
/// `test %rdi,%rdi`
const TEST: [u8; 3] = [0x48, 0x85, 0xff];

/// The place in a function that begins with `code`.
pub(super) fn place(code: &[u8], call: Call) -> Place {
    if !cfg!(target_arch = "x86_64") {
        return Place {
            skip: 0,
            stepped: true,
        };
    }
    let marked = code.starts_with(&ENDBR64);
    let begin = if marked { ENDBR64.len() } else { 0 };
    let rest = code.get(begin..).unwrap_or_default();
    let behind_test = test_for_null(rest)
        .filter(|behind| call == Call::Frees && rest.get(*behind..).is_some_and(is_emulated));
    let skip = begin + behind_test.unwrap_or(0);
    Place {
        skip: skip as u64,
        stepped: !code.get(skip..).is_some_and(is_emulated),
    }
}

/// The length of a test for null that jumps away where it is.
fn test_for_null(code: &[u8]) -> Option<usize> {
    let jump = code.strip_prefix(&TEST)?;
    match jump {
        [0x74, ..] => Some(TEST.len() + 2),
        [0x0f, 0x84, ..] => Some(TEST.len() + 6),
        _ => None,
    }
}

/// Whether the kernel emulates the instruction: `branch_setup_xol_ops`, `push_setup_xol_ops` of
/// `arch/x86/kernel/uprobes.c`.
fn is_emulated(code: &[u8]) -> bool {
    matches!(
        code,
        [0x50..=0x57 | 0xe8 | 0xe9 | 0xeb | 0x90 | 0x70..=0x7f, ..]
            | [0x41, 0x50..=0x57, ..]
            | [0x0f, 0x1f | 0x80..=0x8f, ..]
    )
}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use remora_common::heap::Arguments;

    const GIVES: Call = Call::Allocates(Arguments {
        size: 1,
        count: 0,
        old: 0,
        out: 0,
        mapping: 0,
        stepped: 0,
    });

    fn at(skip: u64, stepped: bool) -> Place {
        Place { skip, stepped }
    }

    #[test]
    fn a_push_is_the_place() {
        assert_eq!(place(&[0x41, 0x54, 0x55], GIVES), at(0, false));
        assert_eq!(place(&[0xf3, 0x0f, 0x1e, 0xfa, 0x55], GIVES), at(4, false));
    }

    #[test]
    fn free_is_probed_behind_its_test_for_null() {
        let near = [0x48, 0x85, 0xff, 0x74, 0x10, 0x53];
        let far = [0x48, 0x85, 0xff, 0x0f, 0x84, 0xbf, 0, 0, 0, 0x55];
        assert_eq!(place(&near, Call::Frees), at(5, false));
        assert_eq!(place(&far, Call::Frees), at(9, false));
        assert_eq!(place(&far, GIVES), at(0, true));
        let marked = [&ENDBR64[..], &far].concat();
        assert_eq!(place(&marked, Call::Frees), at(13, false));
    }

    #[test]
    fn what_is_not_known_is_probed_at_its_beginning() {
        let stepped = [0x48, 0x85, 0xff, 0x74, 0x10, 0x48, 0x83];
        assert_eq!(place(&stepped, Call::Frees), at(0, true));
        assert_eq!(place(&[0xb8, 0x0b], Call::Frees), at(0, true));
        assert_eq!(place(&[], GIVES), at(0, true));
    }

    proptest! {
        #[test]
        fn any_bytes_give_a_place_inside(code in proptest::collection::vec(any::<u8>(), 0..BYTES)) {
            for call in [GIVES, Call::Frees] {
                prop_assert!(place(&code, call).skip <= code.len() as u64);
            }
        }
    }
}
