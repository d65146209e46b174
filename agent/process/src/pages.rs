//! Memory by the page: neighbours in a list are often neighbours in memory, and a read of a page costs hardly
//! more than one of a word. What is kept is old; who minds reads it anew.

use super::memory::Memory;

const PAGE: u64 = 4096;

/// Pages kept: 2 MiB.
const KEPT: usize = 512;

/// A page, and where it is from.
struct Page {
    number: u64,
    bytes: Box<[u8]>,
}

/// Memory of which some pages are kept.
pub struct Pages<'m, M> {
    memory: &'m M,
    kept: Vec<Option<Page>>,
}

impl<M> std::fmt::Debug for Pages<'_, M> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Pages").finish_non_exhaustive()
    }
}

impl<'m, M: Memory> Pages<'m, M> {
    /// None is kept yet.
    pub fn new(memory: &'m M) -> Self {
        Self {
            memory,
            kept: (0..KEPT).map(|_| None).collect(),
        }
    }

    /// What it reads.
    pub fn memory(&self) -> &'m M {
        self.memory
    }

    /// `N` bytes, perhaps old.
    pub fn bytes<const N: usize>(&mut self, address: u64) -> Option<[u8; N]> {
        let at = (address % PAGE) as usize;
        if at + N > PAGE as usize {
            return self.memory.bytes(address);
        }
        let page = self.page(address / PAGE)?;
        page.get(at..at + N)?.try_into().ok()
    }

    /// `N` bytes as they are now.
    pub fn fresh<const N: usize>(&mut self, address: u64) -> Option<[u8; N]> {
        let number = address / PAGE;
        if let Some(slot) = self.kept.get_mut(number as usize % KEPT) {
            slot.take_if(|page| page.number == number);
        }
        self.memory.bytes(address)
    }

    fn page(&mut self, number: u64) -> Option<&[u8]> {
        let slot = self.kept.get_mut(number as usize % KEPT)?;
        if slot.as_ref().is_none_or(|page| page.number != number) {
            let mut bytes = match slot.take() {
                Some(page) => page.bytes,
                None => vec![0; PAGE as usize].into_boxed_slice(),
            };
            self.memory.read(number.checked_mul(PAGE)?, &mut bytes)?;
            *slot = Some(Page { number, bytes });
        }
        slot.as_ref().map(|page| &*page.bytes)
    }
}
