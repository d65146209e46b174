//! Names of the addresses of one module, from the best source that it has.
//!
//! In order: an installed debug file of its build id, a debug file that it links to, its own debug
//! information, its own symbol tables, the packed one among them, and for Go the table that its
//! run-time library walks stacks by. A source answers what those before it left open. All that
//! is parsed for a module is dropped with it: the peak is that of the largest, not of their sum.

use super::copy::{DebugInfo, SymbolCopy};
use super::debug_file;
use super::demangle::demangle;
use super::go;
use super::symbolize::{Limits, SymbolLosses};
use super::text::Names;
use crate::maps::{Content, Layout, Module};
use blazesym::symbolize::source::{Elf, Source};
use blazesym::symbolize::{CodeInfo, Input, Sym, Symbolized, Symbolizer};
use remora_model::{Frame, FrameKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Frames of one address: the function first, then what was inlined into it, root first.
pub(super) type Frames = Arc<[Frame]>;

/// The frames of each of `offsets`, in their order.
pub(super) fn resolve(
    module: &Module,
    offsets: &[u64],
    limits: &Limits,
    names: &mut Names,
    losses: &mut SymbolLosses,
) -> Vec<Frames> {
    let label = names.clean(&module.name);
    let addresses = match &module.layout {
        Some(layout) => offsets
            .iter()
            .map(|offset| layout.address(*offset))
            .collect(),
        None => vec![None; offsets.len()],
    };
    let mut job = Job {
        label,
        frames: vec![None; offsets.len()],
        addresses,
        names,
    };
    if job.addresses.iter().any(Option::is_some) && !matches!(module.content, Content::Missing) {
        job.ask_all(module, limits, losses);
    }
    job.finish(offsets)
}

/// The frames of offsets whose names could not be looked up: the file alone.
pub(super) fn without_names(module: &Module, offsets: &[u64], names: &mut Names) -> Vec<Frames> {
    let job = Job {
        label: names.clean(&module.name),
        frames: vec![None; offsets.len()],
        addresses: vec![None; offsets.len()],
        names,
    };
    job.finish(offsets)
}

/// Symbols without a size (hand-written assembly) are believed this far behind their address, in
/// bytes.
const SIZELESS_REACH: usize = 4096;
/// The same for the marks that every program carries at the head of its start and end sections,
/// behind which the linkage table follows.
const MARK_REACH: usize = 32;

/// Whether a symbol is a name for its address. One without a size is the nearest before it, and
/// may be far from it.
fn is_believable(symbol: &Sym<'_>) -> bool {
    let reach = match &*symbol.name {
        "_init" | "_fini" => MARK_REACH,
        _ => SIZELESS_REACH,
    };
    let sized = symbol.size.is_some_and(|size| size > 0);
    !symbol.name.trim().is_empty() && (sized || symbol.offset < reach)
}

struct Job<'a> {
    label: Arc<str>,
    addresses: Vec<Option<u64>>,
    frames: Vec<Option<Frames>>,
    names: &'a mut Names,
}

/// A source could not be used.
struct Unusable;

impl Job<'_> {
    fn ask_all(&mut self, module: &Module, limits: &Limits, losses: &mut SymbolLosses) {
        let build_id = module.layout.as_ref().and_then(Layout::build_id);
        let installed = build_id
            .filter(|_| limits.debug_info)
            .and_then(|id| debug_file::installed(id, limits.debug_bytes));
        if let Some(path) = &installed {
            losses.files_unparsable += u64::from(self.ask_installed(path).is_err());
        }
        if self.pending().is_empty() {
            return;
        }
        let Ok(copy) = SymbolCopy::of(&module.content, limits) else {
            losses.files_unparsable += 1;
            return;
        };
        if limits.debug_info
            && installed.is_none()
            && let Some(link) = &copy.debug_link
        {
            let linked = debug_file::linked(module, link, limits);
            let asked = linked.map_or(Ok(()), |linked| self.ask_copy(&linked));
            losses.files_unparsable += u64::from(asked.is_err());
        }
        losses.debug_info_skipped += u64::from(copy.debug == DebugInfo::LeftOut);
        losses.files_unparsable += u64::from(self.ask_copy(&copy).is_err());
        if self.pending().is_empty() {
            return;
        }
        if let Some(packed) = copy.of_packed(&module.content, limits) {
            let asked = packed.map_err(|_| Unusable);
            let asked = asked.and_then(|packed| self.ask_copy(&packed));
            losses.files_unparsable += u64::from(asked.is_err());
        }
        losses.files_unparsable += u64::from(self.ask_go(module, limits).is_err());
    }

    /// Asks the table of a Go program.
    fn ask_go(&mut self, module: &Module, limits: &Limits) -> Result<(), go::Damaged> {
        let pending = self.pending();
        let addresses: Vec<u64> = pending.iter().map(|(_, address)| *address).collect();
        if addresses.is_empty() {
            return Ok(());
        }
        let names = go::names(&module.content, limits, &addresses)?;
        for ((index, _), name) in pending.iter().zip(names.unwrap_or_default()) {
            self.frames[*index] =
                name.map(|name| Frames::from([self.frame(&name, None, FrameKind::Native)]));
        }
        Ok(())
    }

    /// Asks a copy: its debug information, then its symbol tables alone for what is left.
    fn ask_copy(&mut self, copy: &SymbolCopy) -> Result<(), Unusable> {
        let path = copy.path();
        let debug = match copy.debug {
            DebugInfo::Present => self.ask(&path, true, Some(&[])),
            DebugInfo::Absent | DebugInfo::LeftOut => Ok(()),
        };
        self.ask(&path, false, Some(&[])).and(debug)
    }

    /// Asks a debug file of the system: it belongs to root, and may refer to others in its folder.
    fn ask_installed(&mut self, path: &Path) -> Result<(), Unusable> {
        self.ask(path, true, None)
    }

    /// Asks one file. `debug_folders` are where it may refer to, `None` for the usual ones.
    ///
    /// A parser that panics on a hostile file costs that file its names, not the agent its life.
    fn ask(
        &mut self,
        path: &Path,
        debug_syms: bool,
        debug_folders: Option<&[PathBuf]>,
    ) -> Result<(), Unusable> {
        let pending = self.pending();
        if pending.is_empty() {
            return Ok(());
        }
        let addresses: Vec<u64> = pending.iter().map(|(_, address)| *address).collect();
        let mut elf = Elf::new(path);
        elf.debug_syms = debug_syms;
        let asked = catch_unwind(AssertUnwindSafe(|| {
            let symbolizer = Symbolizer::builder()
                .enable_demangling(false)
                .enable_auto_reload(false)
                .set_debug_dirs(debug_folders)
                .build();
            let symbols = symbolizer.symbolize(&Source::Elf(elf), Input::VirtOffset(&addresses));
            let symbols = symbols.map_err(|_| Unusable)?;
            for ((index, _), symbol) in pending.iter().zip(symbols) {
                self.frames[*index] = self.convert(symbol);
            }
            Ok(())
        }));
        asked.unwrap_or(Err(Unusable))
    }

    /// Indices and addresses that no source has named yet.
    fn pending(&self) -> Vec<(usize, u64)> {
        let open = self.frames.iter().zip(&self.addresses).enumerate();
        open.filter(|(_, (frames, _))| frames.is_none())
            .filter_map(|(index, (_, address))| Some((index, (*address)?)))
            .collect()
    }

    fn convert(&mut self, symbol: Symbolized<'_>) -> Option<Frames> {
        let symbol = symbol.into_sym().filter(is_believable)?;
        let Sym {
            name,
            code_info,
            inlined,
            ..
        } = symbol;
        let mut frames = vec![self.frame(&name, code_info.as_deref(), FrameKind::Native)];
        for function in &inlined {
            let kind = FrameKind::Inlined;
            frames.push(self.frame(&function.name, function.code_info.as_ref(), kind));
        }
        Some(frames.into())
    }

    fn frame(&mut self, symbol: &str, place: Option<&CodeInfo<'_>>, kind: FrameKind) -> Frame {
        Frame {
            name: self.names.clean(&demangle(symbol)),
            module: Some(self.label.clone()),
            file: place.map(|place| self.names.clean(&place.to_path().to_string_lossy())),
            line: place.and_then(|place| place.line),
            kind,
            named: true,
        }
    }

    /// The frames of all; those without a name say where they lie: the address that the module's
    /// own symbols would use (what `addr2line` and `objdump` take), else the offset in the file.
    fn finish(self, offsets: &[u64]) -> Vec<Frames> {
        let Self {
            label,
            addresses,
            frames,
            names,
        } = self;
        let base = label.rsplit('/').next().unwrap_or(&label);
        let places = offsets.iter().zip(addresses);
        frames
            .into_iter()
            .zip(places)
            .map(|(frames, (offset, address))| {
                frames.unwrap_or_else(|| {
                    let place = address.unwrap_or(*offset);
                    Arc::new([Frame {
                        name: names.clean(&format!("{base}+{place:#x}")),
                        module: Some(label.clone()),
                        file: None,
                        line: None,
                        kind: FrameKind::Native,
                        named: false,
                    }])
                })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizeless_symbols_reach_only_so_far() {
        let believable = |name: &'static str, size, offset| {
            is_believable(&Sym {
                name: name.into(),
                module: None,
                addr: 0x1000,
                offset,
                size,
                code_info: None,
                inlined: Box::new([]),
                _non_exhaustive: (),
            })
        };
        assert!(believable("f", Some(1 << 20), 1 << 19));
        assert!(believable("assembly", None, 1000));
        assert!(!believable("assembly", None, 1 << 20));
        assert!(believable("_init", None, 4));
        assert!(!believable("_init", None, 40));
        assert!(!believable(" ", Some(8), 0));
    }
}
