//! Unwind tables and address spaces, into the kernel's maps.

use super::{Probe, ProbeError, load, mapped::Mapped};
use aya::{
    Ebpf,
    maps::{Array, ArrayOfMaps, HashMap, MapData},
};
use remora_common::unwind::{Chunk, MAX_MAPPINGS, SEGMENT_CHUNKS, Space};
use remora_process::deadline::{self, Step, Subject};
use std::sync::atomic::{Ordering, fence};

/// The maps that a walk reads.
pub(super) struct UnwindMaps {
    /// `None`: a thread that hangs has it.
    outer: Option<ArrayOfMaps<MapData, Array<MapData, Chunk>>>,
    segments: Vec<Array<MapData, Chunk>>,
    spaces: Mapped<Space>,
    space_of: HashMap<MapData, u64, u32>,
}

impl UnwindMaps {
    pub(super) fn take(ebpf: &mut Ebpf) -> Result<Self, ProbeError> {
        Ok(Self {
            outer: Some(load::take(ebpf, "SEGMENTS")?),
            segments: Vec::new(),
            spaces: load::mapped(ebpf, "SPACES", load::SPACES)?,
            space_of: load::take(ebpf, "SPACE_OF")?,
        })
    }
}

impl Probe {
    /// Whether user stacks are walked by tables.
    pub fn unwinds(&self) -> bool {
        self.unwinds
    }

    /// Chunks that there is room for without growing.
    pub fn chunks(&self) -> u32 {
        self.unwind.segments.len() as u32 * SEGMENT_CHUNKS
    }

    /// Adds a segment of [`SEGMENT_CHUNKS`] chunks, 1 MiB of kernel memory. The kernel answers when no CPU runs a program
    /// that began before (`maybe_wait_bpf_programs`).
    ///
    /// # Errors
    /// When the kernel has no memory for it, no room in the outer map, or gives no answer.
    pub fn grow_chunks(&mut self) -> Result<(), ProbeError> {
        let silent = || ProbeError::Map {
            map: "SEGMENTS",
            why: "no answer from the kernel".to_owned(),
        };
        let mut outer = self.unwind.outer.take().ok_or_else(silent)?;
        let index = self.unwind.segments.len() as u32;
        let grown = deadline::run(Step::UnwindRoom, Subject::Host, move || {
            let segment = Array::create(SEGMENT_CHUNKS, 0);
            let segment = segment.and_then(|segment| {
                outer.set(index, &segment, 0)?;
                Ok(segment)
            });
            (outer, segment)
        });
        let (outer, segment) = grown.ok_or_else(silent)?;
        self.unwind.outer = Some(outer);
        let segment = segment.map_err(|error| load::map_error("SEGMENTS", &error))?;
        self.unwind.segments.push(segment);
        Ok(())
    }

    /// Writes a chunk that no table refers to yet.
    pub fn put_chunk(&mut self, number: u32, chunk: &Chunk) -> Result<(), ProbeError> {
        let segment = self
            .unwind
            .segments
            .get_mut((number / SEGMENT_CHUNKS) as usize)
            .ok_or(ProbeError::Mismatch("SEGMENTS"))?;
        segment
            .set(number % SEGMENT_CHUNKS, chunk, 0)
            .map_err(|error| load::map_error("SEGMENTS", &error))
    }

    /// Address spaces that there is room for; number 0 means none.
    pub fn spaces(&self) -> u32 {
        load::SPACES
    }

    /// Writes an address space that no process refers to.
    pub fn put_space(&mut self, number: u32, space: &Space) {
        // Its version last: rows that a late walk finds in between are not remembered as this one's.
        self.unwind.spaces.put(
            number as usize,
            Space {
                version: 0,
                ..*space
            },
        );
        fence(Ordering::SeqCst);
        let element = self.unwind.spaces.element(number as usize);
        // SAFETY: a live, aligned member that only the agent writes.
        unsafe { (&raw mut (*element).version).write_volatile(space.version) };
    }

    /// Whether the kernel side met an address that lies in no mapping of this address space.
    pub fn met_unknown(&self, number: u32) -> bool {
        let space = self.unwind.spaces.element(number as usize);
        // SAFETY: a live, aligned member.
        unsafe { (&raw const (*space).unknown).read_volatile() != 0 }
    }

    /// From now on such an address is news again.
    pub fn clear_unknown(&self, number: u32) {
        let space = self.unwind.spaces.element(number as usize);
        // SAFETY: a live, aligned member; a mark that is set meanwhile is set again by the next walk.
        unsafe { (&raw mut (*space).unknown).write_volatile(0) };
    }

    /// Which of the first `len` mappings of an address space were used since this was asked last.
    pub fn take_used(&self, number: u32, len: usize) -> Vec<bool> {
        let space = self.unwind.spaces.element(number as usize);
        (0..len.min(MAX_MAPPINGS))
            .map(|index| {
                // SAFETY: a live, aligned member of an element below the limit.
                unsafe {
                    let used = &raw mut (*space).mappings[index].used;
                    let was = used.read_volatile() != 0;
                    used.write_volatile(0);
                    was
                }
            })
            .collect()
    }

    /// From now on the stacks of a process, in the generation of its address space, are walked by
    /// the address space with this number.
    pub fn bind_space(
        &mut self,
        tgid: u32,
        generation: u32,
        number: u32,
    ) -> Result<(), ProbeError> {
        let key = u64::from(tgid) | u64::from(generation) << 32;
        self.unwind
            .space_of
            .insert(key, number, 0)
            .map_err(|error| load::map_error("SPACE_OF", &error))
    }

    /// The process is gone, or in another generation.
    pub fn unbind_space(&mut self, tgid: u32, generation: u32) {
        let key = u64::from(tgid) | u64::from(generation) << 32;
        // It may not be there: nothing is lost then.
        let _absent = self.unwind.space_of.remove(&key);
    }
}
