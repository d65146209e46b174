//! The kernel side's object, compiled in.

/// The object as `build.rs` left it; empty when there was no eBPF tool chain.
pub(super) static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/remora"));

/// Whether this build can observe anything.
pub fn has_kernel_side() -> bool {
    !OBJECT.is_empty()
}
