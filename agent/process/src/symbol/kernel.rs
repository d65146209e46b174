//! Names of kernel addresses, from `/proc/kallsyms`: functions of the kernel and of its modules, and
//! BPF programs.
//!
//! The table has no sizes, and is sorted only in parts: modules and BPF programs stand behind the
//! kernel, in the order of their loading. It is streamed, keeping for each address that was asked
//! for the nearest symbol before it. Data counts as a symbol there, so that code behind it is not
//! named after the function in front of it. Without the right to see addresses
//! (`kernel.kptr_restrict`) the table is all zeros and has no names.

use super::demangle::demangle;
use super::text::Names;
use remora_kernel::kallsyms::{self, Symbol as Line};
use remora_model::{Frame, FrameKind};
use std::ops::ControlFlow;
use std::sync::Arc;

/// Module of the kernel's own frames; those of a module and of BPF programs have its name in
/// brackets, as the table does: `[ext4]`, `[bpf]`.
pub(super) const KERNEL: &str = "[kernel]";
/// A function is believed this far behind its address, in bytes: large ones have some tens of
/// thousand, and what is farther was unloaded since.
const REACH: u64 = 1 << 20;
/// The same for a BPF program, which others surround that come and go.
const BPF_REACH: u64 = 64 << 10;
/// The same for trampolines and the like, which are shown as `[__builtin__…]`: a page.
const BUILTIN_REACH: u64 = 4096;

/// One frame for each address, in their order, which must be ascending.
pub(super) fn resolve(addresses: &[u64], names: &mut Names) -> Vec<Frame> {
    let mut nearest = Nearest::to(addresses);
    // The file is the kernel's own: a line that cannot be read ends it.
    let _what_was_read = kallsyms::symbols(|symbol| nearest.see(symbol));
    let found = nearest.found();
    let kernel: Arc<str> = KERNEL.into();
    let frames = addresses.iter().zip(found).map(|(address, symbol)| Frame {
        name: match &symbol {
            Some(symbol) => names.clean(&demangle(&symbol.name)),
            None => names.clean(&format!("kernel+{address:#x}")),
        },
        module: match symbol.as_ref().and_then(|symbol| symbol.module.as_ref()) {
            Some(module) => Some(names.clean(module)),
            None => Some(kernel.clone()),
        },
        file: None,
        line: None,
        kind: FrameKind::Kernel,
        named: symbol.is_some(),
    });
    frames.collect()
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Symbol {
    start: u64,
    is_code: bool,
    name: String,
    /// With its brackets.
    module: Option<String>,
}

impl Symbol {
    /// `None` when its name is no text.
    fn of(line: &Line<'_>) -> Option<Self> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(Self {
            start: line.address,
            is_code: line.is_code,
            name: text(line.name)?,
            module: line.module.and_then(text),
        })
    }

    fn is_believable_at(&self, address: u64) -> bool {
        let reach = match self.module.as_deref() {
            Some("[bpf]") => BPF_REACH,
            Some(module) if module.starts_with("[__builtin__") => BUILTIN_REACH,
            _ => REACH,
        };
        self.is_code && address - self.start < reach
    }
}

/// The function that each of some addresses (ascending) lies in.
struct Nearest<'a> {
    addresses: &'a [u64],
    /// The last symbol between the address before and each address: one comparison a line.
    last: Vec<Option<Symbol>>,
}

impl<'a> Nearest<'a> {
    fn to(addresses: &'a [u64]) -> Self {
        Self {
            addresses,
            last: vec![None; addresses.len()],
        }
    }

    fn see(&mut self, line: &Line<'_>) -> ControlFlow<()> {
        let start = line.address;
        let slot = self.addresses.partition_point(|address| *address < start);
        // Of several names for one address, the first.
        if start != 0
            && let Some(known) = self.last.get_mut(slot)
            && known.as_ref().is_none_or(|known| known.start < start)
            && let Some(symbol) = Symbol::of(line)
        {
            *known = Some(symbol);
        }
        ControlFlow::Continue(())
    }

    fn found(mut self) -> Vec<Option<Symbol>> {
        let mut before: Option<Symbol> = None;
        for (symbol, address) in self.last.iter_mut().zip(self.addresses) {
            before = symbol.take().or(before);
            *symbol = before
                .clone()
                .filter(|before| before.is_believable_at(*address));
        }
        self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TABLE: &str = "\
        0000000000000000 A percpu\n\
        ffffffff81000000 T first\n\
        ffffffff81000000 T alias\n\
        ffffffff81000100 t second\n\
        ffffffff81200200 D data\n\
        ffffffffc0800000 t of_module\t[ext4]\n\
        ffffffffc0800080 r table_of_module\t[ext4]\n\
        nonsense\n\
        ffffffffc0201000 t bpf_prog_6deef7357e7b4530_on_switch\t[bpf]\n";

    fn nearest(table: &str, addresses: &[u64]) -> Vec<Option<Symbol>> {
        let mut nearest = Nearest::to(addresses);
        kallsyms::symbols_of(table.as_bytes(), |symbol| nearest.see(symbol)).unwrap();
        nearest.found()
    }

    fn found(address: u64) -> Option<(String, Option<String>)> {
        let symbol = nearest(TABLE, &[address]).pop()?;
        symbol.map(|symbol| (symbol.name, symbol.module))
    }

    #[test]
    fn functions_modules_and_bpf_programs() {
        let own = |name: &str| Some((name.to_owned(), None));
        let of = |name: &str, module: &str| Some((name.to_owned(), Some(module.to_owned())));
        assert_eq!(found(0xffff_ffff_8100_0000), own("first"));
        assert_eq!(found(0xffff_ffff_8100_00ff), own("first"));
        assert_eq!(found(0xffff_ffff_8100_0100), own("second"));
        assert_eq!(found(0xffff_ffff_8120_0200), None, "data is no function");
        assert_eq!(found(0xffff_ffff_80ff_ffff), None, "before the first");
        assert_eq!(found(0xffff_ffff_c080_007f), of("of_module", "[ext4]"));
        assert_eq!(found(0xffff_ffff_c080_0080), None);
        let program = of("bpf_prog_6deef7357e7b4530_on_switch", "[bpf]");
        assert_eq!(found(0xffff_ffff_c020_1044), program);
        let behind = 0xffff_ffff_c020_1000 + BPF_REACH;
        assert_eq!(found(behind), None, "a program that is gone");
        let behind = 0xffff_ffff_8100_0100 + REACH;
        assert_eq!(found(behind), None, "far behind all code");
    }

    #[test]
    fn hidden_addresses_have_no_names() {
        let table = "0000000000000000 T first\n0000000000000000 T second\n";
        assert_eq!(nearest(table, &[0, 5]), [None, None]);
    }

    #[test]
    fn frames_carry_their_module() {
        let mut one = None;
        let read = kallsyms::symbols(|line| match Symbol::of(line) {
            Some(symbol) if symbol.is_code && symbol.module.is_some() => {
                one = Some(symbol);
                ControlFlow::Break(())
            }
            _ => ControlFlow::Continue(()),
        });
        let Some(symbol) = one.filter(|_| read.is_ok()) else {
            return remora_testing::skip("no module and no BPF program is loaded here");
        };
        if symbol.start == 0 {
            return remora_testing::skip("kernel addresses are hidden here");
        }
        let frame = resolve(&[symbol.start], &mut Names::default()).remove(0);
        assert_eq!(
            (frame.module.as_deref(), frame.named),
            (symbol.module.as_deref(), true)
        );
    }

    proptest! {
        #[test]
        fn agrees_with_the_plain_definition(
            starts in proptest::collection::vec((1u64..200, any::<bool>()), 0..30),
            addresses in proptest::collection::btree_set(0u64..220, 0..20),
        ) {
            let table: String = starts.iter().enumerate()
                .map(|(index, (start, code))| {
                    format!("{start:x} {} f{index}\n", if *code { 't' } else { 'd' })
                })
                .collect();
            let addresses: Vec<u64> = addresses.into_iter().collect();
            let found = nearest(&table, &addresses);
            for (address, found) in addresses.iter().zip(found) {
                let nearest = starts.iter().map(|(start, _)| *start)
                    .filter(|start| start <= address).max();
                let expected = starts.iter().enumerate()
                    .find(|(_, (start, _))| Some(*start) == nearest)
                    .filter(|(_, (_, code))| *code)
                    .map(|(index, _)| format!("f{index}"));
                prop_assert_eq!(found.map(|symbol| symbol.name), expected);
            }
        }
    }
}
