//! Reading pieces of a file that may end earlier than it says.

use crate::maps::Content;
use object::read::ReadCacheOps;

/// Offset and length of a piece of a file.
pub type Range = (u64, u64);

/// A piece of a file; `None` when it is longer than `limit`, or the file ends before it does.
pub fn read(content: &Content, (offset, len): Range, limit: u64) -> Option<Vec<u8>> {
    if len > limit || offset.checked_add(len)? > content.len().ok()? {
        return None;
    }
    let mut bytes = vec![0; usize::try_from(len).ok()?];
    content.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

/// Reads a [`Content`] for `object`, without moving the position of the shared file handle.
#[derive(Debug)]
pub(super) struct Cursor<'a> {
    content: &'a Content,
    position: u64,
}

impl<'a> Cursor<'a> {
    /// At the content's beginning.
    pub(super) fn new(content: &'a Content) -> Self {
        Self {
            content,
            position: 0,
        }
    }
}

impl ReadCacheOps for Cursor<'_> {
    fn len(&mut self) -> Result<u64, ()> {
        self.content.len().map_err(drop)
    }

    fn seek(&mut self, position: u64) -> Result<u64, ()> {
        self.position = position;
        Ok(position)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ()> {
        let read = self.content.read_at(buffer, self.position).map_err(drop)?;
        self.position += read as u64;
        Ok(read)
    }

    fn read_exact(&mut self, buffer: &mut [u8]) -> Result<(), ()> {
        self.content
            .read_exact_at(buffer, self.position)
            .map_err(drop)?;
        self.position += buffer.len() as u64;
        Ok(())
    }
}
