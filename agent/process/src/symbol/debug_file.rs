//! Separate debug files: what distributions strip from a binary and ship beside it.
//!
//! Both ways of GDB are known ("Separate Debug Files" of its manual): by build id under
//! `/usr/lib/debug/.build-id`, and by the name in the binary's debug link. The second is accepted
//! only when the build ids are equal, instead of a checksum of the whole file.

use super::copy::SymbolCopy;
use super::symbolize::Limits;
use crate::maps::{Content, Layout, Module, open_regular};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where packages put debug files.
const DEBUG_ROOT: &str = "/usr/lib/debug";

/// The installed debug file of a build id, if it belongs to root (it is read in place) and is not
/// larger than `limit` bytes.
pub(super) fn installed(build_id: &[u8], limit: u64) -> Option<PathBuf> {
    let (first, rest) = build_id.split_first()?;
    let rest: String = rest.iter().map(|byte| format!("{byte:02x}")).collect();
    let path = PathBuf::from(format!("{DEBUG_ROOT}/.build-id/{first:02x}/{rest}.debug"));
    let metadata = std::fs::metadata(&path).ok()?;
    (metadata.is_file() && metadata.uid() == 0 && metadata.len() <= limit).then_some(path)
}

/// The debug file that `module` links to, beside it or under `/usr/lib/debug`.
pub(super) fn linked(module: &Module, link: &str, limits: &Limits) -> Option<SymbolCopy> {
    let build_id = module.layout.as_ref()?.build_id()?;
    let folder = module.path.parent()?;
    let below_root = Path::new(DEBUG_ROOT).join(folder.strip_prefix("/").ok()?);
    let folders = [folder.to_owned(), folder.join(".debug"), below_root];
    folders.iter().find_map(|folder| {
        let content = Content::File(open_regular(&folder.join(link), |_| true).ok()?);
        let layout = Layout::read(&content)?;
        (layout.build_id() == Some(build_id)).then(|| SymbolCopy::of(&content, limits).ok())?
    })
}
