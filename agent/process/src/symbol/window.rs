//! A view of a large file, of which a small piece is in memory: to walk over records and skip what
//! is between them.

use crate::maps::Content;

/// Bytes that are read at a time.
const SIZE: usize = 64 << 10;

/// A file, and the piece of it that was read last.
pub(super) struct Window<'a> {
    content: &'a Content,
    /// Nothing is shown from here on.
    limit: u64,
    start: u64,
    piece: Vec<u8>,
    /// Nothing follows the piece.
    is_last: bool,
}

impl<'a> Window<'a> {
    /// A view of the first `limit` bytes.
    pub(super) fn new(content: &'a Content, limit: u64) -> Self {
        Self {
            content,
            limit,
            start: 0,
            piece: Vec::new(),
            is_last: false,
        }
    }

    /// At most `len` bytes from `at` on: fewer at the end, and when reading fails.
    pub(super) fn bytes(&mut self, at: u64, len: usize) -> &[u8] {
        let len = len.min(SIZE);
        let inside = at.checked_sub(self.start).is_some_and(|from| {
            self.is_last || from.saturating_add(len as u64) <= self.piece.len() as u64
        });
        if !inside {
            self.read(at);
        }
        let from = usize::try_from(at - self.start).unwrap_or(usize::MAX);
        let piece = self.piece.get(from..).unwrap_or_default();
        &piece[..len.min(piece.len())]
    }

    /// The number of four bytes at `at`, in the byte order of this machine.
    pub(super) fn u32(&mut self, at: u64) -> Option<u32> {
        Some(u32::from_ne_bytes(self.bytes(at, 4).try_into().ok()?))
    }

    /// The number of eight bytes at `at`.
    pub(super) fn u64(&mut self, at: u64) -> Option<u64> {
        Some(u64::from_ne_bytes(self.bytes(at, 8).try_into().ok()?))
    }

    fn read(&mut self, at: u64) {
        let shown = self.limit.saturating_sub(at).min(SIZE as u64) as usize;
        self.piece.resize(shown, 0);
        let mut filled = 0;
        while filled < shown {
            match self
                .content
                .read_at(&mut self.piece[filled..], at + filled as u64)
            {
                Ok(0) | Err(_) => break,
                Ok(read) => filled += read,
            }
        }
        self.piece.truncate(filled);
        self.start = at;
        self.is_last = filled < SIZE;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_what_is_there_up_to_the_limit() {
        let bytes: Vec<u8> = (0..3 * SIZE).map(|at| (at % 251) as u8).collect();
        let content = Content::Bytes(bytes.clone().into());
        let mut window = Window::new(&content, u64::MAX);
        for at in [
            0,
            5,
            SIZE - 3,
            SIZE,
            2 * SIZE + 7,
            9,
            3 * SIZE - 4,
            3 * SIZE - 2,
        ] {
            let expected = &bytes[at..(at + 4).min(bytes.len())];
            assert_eq!(window.bytes(at as u64, 4), expected, "{at}");
        }
        assert!(window.bytes(u64::MAX, 4).is_empty());
        assert_eq!(window.u64(3 * SIZE as u64 - 7), None);
        let mut short = Window::new(&content, 10);
        assert_eq!(short.bytes(8, 4), &bytes[8..10]);
        assert!(short.bytes(11, 4).is_empty());
    }
}
