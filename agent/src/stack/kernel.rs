//! Names of kernel addresses, from `/proc/kallsyms`.
//!
//! The whole table takes some 20 MB while it is read, so it is dropped after each batch. Without
//! the right to see addresses (`kernel.kptr_restrict`) the table is all zeros and has no names.

use super::demangle::demangle;
use super::text::Names;
use crate::model::{Frame, FrameKind};
use blazesym::MaybeDefault;
use blazesym::symbolize::source::{Kernel, Source};
use blazesym::symbolize::{Input, Symbolizer};
use std::sync::Arc;

/// Module of kernel frames.
pub(super) const KERNEL: &str = "[kernel]";

/// One frame for each address, in their order.
pub(super) fn resolve(addresses: &[u64], names: &mut Names) -> Vec<Frame> {
    let source = Source::Kernel(Kernel {
        kallsyms: MaybeDefault::Default,
        vmlinux: MaybeDefault::None,
        debug_syms: false,
        ..Kernel::default()
    });
    let symbolizer = Symbolizer::builder().enable_demangling(false).build();
    let symbols = symbolizer
        .symbolize(&source, Input::AbsAddr(addresses))
        .unwrap_or_default();
    let found = symbols
        .into_iter()
        .map(|symbol| symbol.into_sym().map(|symbol| symbol.name));
    let found = found.chain(std::iter::repeat(None));
    let module: Arc<str> = KERNEL.into();
    addresses
        .iter()
        .zip(found)
        .map(|(address, symbol)| Frame {
            name: match &symbol {
                Some(symbol) => names.clean(&demangle(symbol)),
                None => names.clean(&format!("kernel+{address:#x}")),
            },
            module: Some(module.clone()),
            file: None,
            line: None,
            kind: FrameKind::Kernel,
            named: symbol.is_some(),
        })
        .collect()
}
