//! A table as a search tree of chunks: what the kernel side reads.

use super::Table;
use remora_common::unwind::{CHUNK_ENTRIES, Child, Chunk, MAX_DEPTH, Row};

/// A table's tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Root {
    /// Number of the chunk at its root.
    pub chunk: u32,
    /// Levels: 1 for a root that holds rows.
    pub depth: u32,
    /// Every chunk of it, the root among them.
    pub chunks: Vec<u32>,
}

/// An entry that is not used: the greatest address, and nothing.
const UNUSED: u64 = u32::MAX as u64;

impl Table {
    /// Chunks that its tree takes.
    pub fn chunks(&self) -> usize {
        let mut level = self.rows.len().div_ceil(CHUNK_ENTRIES);
        let mut chunks = level;
        while level > 1 {
            level = level.div_ceil(CHUNK_ENTRIES);
            chunks += level;
        }
        chunks
    }
}

/// Cuts a table into the chunks whose numbers are given, [`Table::chunks`] of them, and hands each
/// to `put`, a child always before its parent. `None` when the numbers are too few or the rows too
/// many for a tree.
///
/// # Errors
/// The first one of `put`.
pub fn pack<E>(
    table: &Table,
    chunks: Vec<u32>,
    mut put: impl FnMut(u32, &Chunk) -> Result<(), E>,
) -> Result<Option<Root>, E> {
    if table.rows.is_empty() || chunks.len() != table.chunks() {
        return Ok(None);
    }
    let mut numbers = chunks.iter().copied();
    let mut level = put_level(&table.rows, &mut numbers, &mut put)?;
    let mut depth = 1;
    while level.len() > 1 {
        level = put_level(&level, &mut numbers, &mut put)?;
        depth += 1;
    }
    let root = level.first().filter(|_| depth <= MAX_DEPTH);
    Ok(root.map(|root| Root {
        chunk: root.chunk,
        depth,
        chunks: chunks.clone(),
    }))
}

/// Puts the chunks of one level, and returns the entries of the level above.
fn put_level<T: bytemuck::Pod, E>(
    entries: &[T],
    numbers: &mut impl Iterator<Item = u32>,
    put: &mut impl FnMut(u32, &Chunk) -> Result<(), E>,
) -> Result<Vec<Child>, E> {
    let mut parents = Vec::with_capacity(entries.len().div_ceil(CHUNK_ENTRIES));
    for (used, number) in entries.chunks(CHUNK_ENTRIES).zip(numbers) {
        let mut chunk = Chunk {
            entries: [UNUSED; CHUNK_ENTRIES],
        };
        for (entry, value) in chunk.entries.iter_mut().zip(used) {
            *entry = bytemuck::cast(*value);
        }
        put(number, &chunk)?;
        let first: Child = bytemuck::cast(chunk.entries[0]);
        parents.push(Child {
            pc: first.pc,
            chunk: number,
        });
    }
    Ok(parents)
}

/// Finds the row for an address relative to a table's base, as the kernel side does.
pub fn find(root: &Root, pc: u32, mut get: impl FnMut(u32) -> Option<Chunk>) -> Option<Row> {
    let mut chunk = root.chunk;
    for _ in 1..root.depth {
        let child: Child = bytemuck::cast(greatest(&get(chunk)?, pc)?);
        chunk = child.chunk;
    }
    greatest(&get(chunk)?, pc).map(bytemuck::cast)
}

/// The last used entry that is not above `pc`.
fn greatest(chunk: &Chunk, pc: u32) -> Option<u64> {
    let first = |entry: &u64| bytemuck::cast::<u64, Child>(*entry).pc;
    let behind = chunk
        .entries
        .partition_point(|entry| first(entry) != u32::MAX && first(entry) <= pc);
    chunk.entries.get(behind.checked_sub(1)?).copied()
}
