//! A file that holds code, held open so that it can be read after its process has exited, or
//! after its path leads to another file.

use super::layout::Layout;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

/// Where the bytes of a module come from.
#[derive(Debug)]
pub enum Content {
    /// An open file.
    File(File),
    /// A copy in memory (the vDSO has no file).
    Bytes(Box<[u8]>),
    /// It could not be opened; the loss is counted in [`super::FileLosses`].
    Missing,
}

impl Content {
    /// Its length in bytes.
    pub fn len(&self) -> io::Result<u64> {
        match self {
            Self::File(file) => Ok(file.metadata()?.len()),
            Self::Bytes(bytes) => Ok(bytes.len() as u64),
            Self::Missing => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Whether it has no bytes to read.
    pub fn is_empty(&self) -> bool {
        self.len().unwrap_or(0) == 0
    }

    /// Reads into `buffer` from `offset` on; returns the number of bytes, 0 at the end.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        match self {
            Self::File(file) => file.read_at(buffer, offset),
            Self::Bytes(bytes) => {
                let start = usize::try_from(offset)
                    .unwrap_or(usize::MAX)
                    .min(bytes.len());
                let count = buffer.len().min(bytes.len() - start);
                buffer[..count].copy_from_slice(&bytes[start..start + count]);
                Ok(count)
            }
            Self::Missing => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Fills `buffer` from `offset` on; fails when the content ends earlier.
    pub fn read_exact_at(&self, mut buffer: &mut [u8], mut offset: u64) -> io::Result<()> {
        while !buffer.is_empty() {
            let read = self.read_at(buffer, offset)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer = &mut buffer[read..];
            offset = offset
                .checked_add(read as u64)
                .ok_or(io::ErrorKind::InvalidInput)?;
        }
        Ok(())
    }
}

/// What makes two modules the same, for caches of symbols.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Identity {
    /// A build id, and the length of the file in bytes: one program in two images of a container
    /// is symbolised once.
    Build(Box<[u8]>, u64),
    /// Device, inode and path of a file without a build id, or that could not be read.
    Inode(u64, u64, PathBuf),
}

/// A file (or the vDSO) that is mapped as code somewhere.
#[derive(Debug)]
pub struct Module {
    /// Path as the process sees it, `[vdso]`, `[vsyscall]`; for people, may be lossy.
    pub name: Arc<str>,
    /// Path as the process sees it.
    pub path: PathBuf,
    /// What makes it the same as another.
    pub identity: Arc<Identity>,
    /// Device of its file, major << 32 | minor; 0 for what has no file.
    pub device: u64,
    /// Inode of its file.
    pub inode: u64,
    /// Its bytes.
    pub content: Content,
    /// Its segments and build id; `None` when it is no ELF file or could not be read.
    pub layout: Option<Layout>,
}

impl Module {
    pub(super) fn new(path: PathBuf, device: u64, inode: u64, content: Content) -> Self {
        let layout = Layout::read(&content);
        let build_id = layout.as_ref().and_then(Layout::build_id);
        let identity = match (build_id, content.len()) {
            (Some(id), Ok(len)) => Identity::Build(id.into(), len),
            _ => Identity::Inode(device, inode, path.clone()),
        };
        Self {
            name: path.to_string_lossy().into(),
            path,
            identity: identity.into(),
            device,
            inode,
            content,
            layout,
        }
    }

    /// The file at `path`, whoever maps it.
    #[cfg(test)]
    pub(crate) fn open(path: &std::path::Path) -> io::Result<Self> {
        Ok(Self::new(
            path.to_owned(),
            0,
            0,
            Content::File(File::open(path)?),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_end_where_they_end() {
        let content = Content::Bytes((*b"abc").into());
        let mut buffer = [0; 2];
        content.read_exact_at(&mut buffer, 1).unwrap();
        assert_eq!(&buffer, b"bc");
        assert!(content.read_exact_at(&mut buffer, 2).is_err());
        assert!(content.read_exact_at(&mut buffer, u64::MAX).is_err());
    }
}
