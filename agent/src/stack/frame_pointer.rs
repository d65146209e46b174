//! Walks a chain of frame pointers in memory that somebody else owns: a pure function of the
//! registers and of a way to read two words.

use remora_common::aggregate::MAX_FRAMES;

/// Follows the chain from `fp`, leaf first: `ip`, then return addresses.
///
/// A frame on x86-64 and arm64 is two words, the caller's frame pointer and the return address
/// (System V ABI 3.2.2, AAPCS64 6.4.6). `read` returns them for an address, `None` where there is
/// no memory. The walk ends at a frame that is not above the one before, so it ends.
pub fn walk(ip: u64, fp: u64, read: impl Fn(u64) -> Option<[u64; 2]>) -> Vec<u64> {
    let mut frames = Vec::new();
    if ip != 0 {
        frames.push(ip);
    }
    let mut frame = fp;
    while frames.len() < MAX_FRAMES && frame != 0 && frame.is_multiple_of(8) {
        let Some([next, return_address]) = read(frame) else {
            break;
        };
        if return_address == 0 {
            break;
        }
        frames.push(return_address);
        if next <= frame {
            break;
        }
        frame = next;
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn memory(frames: &[(u64, u64, u64)]) -> HashMap<u64, [u64; 2]> {
        frames
            .iter()
            .map(|(at, next, ret)| (*at, [*next, *ret]))
            .collect()
    }

    #[test]
    fn a_chain_is_followed_to_its_end() {
        let memory = memory(&[(0x100, 0x200, 11), (0x200, 0x300, 12), (0x300, 0, 13)]);
        assert_eq!(
            walk(10, 0x100, |at| memory.get(&at).copied()),
            [10, 11, 12, 13]
        );
    }

    #[test]
    fn unaligned_missing_and_backward_frames_end_it() {
        let memory = memory(&[(0x100, 0x80, 11), (0x80, 0x100, 12)]);
        let read = |at| memory.get(&at).copied();
        assert_eq!(walk(10, 0x100, read), [10, 11], "backwards");
        assert_eq!(walk(10, 0x101, read), [10], "unaligned");
        assert_eq!(walk(10, 0x500, read), [10], "no memory");
        assert_eq!(walk(0, 0, read), [0; 0], "nothing");
    }

    proptest! {
        #[test]
        fn any_memory_ends_within_the_limit(ip: u64, fp: u64, seed: u64, step in 0_u64..64) {
            let frames = walk(ip, fp, |at| Some([at.wrapping_add(step * 8), at ^ seed | 1]));
            prop_assert!(frames.len() <= MAX_FRAMES);
        }
    }
}
