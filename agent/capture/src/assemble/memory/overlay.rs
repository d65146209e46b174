//! The mappings of the start and those of the end, laid over each other.
//!
//! The kernel merges neighbours, splits what is protected or unmapped in part, and reuses addresses; so
//! mappings that overlap are taken as one, whose growth is exact whatever became of its parts.

use crate::inspect::memory::Vma;
use remora_model::{Mapping, MappingKind};

/// One [`Mapping`] for each set of mappings that overlap, by address. Both lists are by address.
pub(super) fn overlay(start: &[Vma], end: &[Vma]) -> Vec<Mapping> {
    let before = start.iter().map(|one| (one, false));
    let mut all: Vec<(&Vma, bool)> = before.chain(end.iter().map(|one| (one, true))).collect();
    all.sort_by_key(|(one, is_end)| (one.start, one.end, *is_end));
    let mut joined: Vec<Joined<'_>> = Vec::new();
    for (one, is_end) in all {
        match joined.last_mut() {
            Some(last) if one.start < last.end => last.add(one, is_end),
            _ => joined.push(Joined::new(one, is_end)),
        }
    }
    joined.into_iter().map(Joined::finish).collect()
}

struct Joined<'a> {
    start: u64,
    end: u64,
    start_bytes: u64,
    end_bytes: u64,
    huge_bytes: u64,
    /// What it is named by: the largest part, one of the end before one of the start.
    named_by: (&'a Vma, bool),
}

impl<'a> Joined<'a> {
    fn new(one: &'a Vma, is_end: bool) -> Self {
        let mut joined = Self {
            start: one.start,
            end: one.end,
            start_bytes: 0,
            end_bytes: 0,
            huge_bytes: 0,
            named_by: (one, is_end),
        };
        joined.add(one, is_end);
        joined
    }

    fn add(&mut self, one: &'a Vma, is_end: bool) {
        self.end = self.end.max(one.end);
        if is_end {
            self.end_bytes = self.end_bytes.saturating_add(one.rss);
            self.huge_bytes = self.huge_bytes.saturating_add(one.huge);
        } else {
            self.start_bytes = self.start_bytes.saturating_add(one.rss);
        }
        let rank = |(one, is_end): (&Vma, bool)| (one.rss > 0, is_end, one.rss);
        if rank((one, is_end)) > rank(self.named_by) {
            self.named_by = (one, is_end);
        }
    }

    fn finish(self) -> Mapping {
        let kind = self.named_by.0.kind;
        let name = match (self.named_by.0.name.as_str(), kind) {
            ("", MappingKind::Arena) => format!("arena at {:#x}", self.start),
            ("", MappingKind::ThreadStack) => format!("stack at {:#x}", self.start),
            ("", _) => format!("memory at {:#x}", self.start),
            (name, _) => name.to_owned(),
        };
        Mapping {
            name,
            kind,
            start: self.start,
            end: self.end,
            start_bytes: self.start_bytes,
            end_bytes: self.end_bytes,
            huge_bytes: self.huge_bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::memory::Smaps;

    fn vmas(lines: &[(u64, u64, &str, u64)]) -> Vec<Vma> {
        let text: String = lines
            .iter()
            .map(|(start, end, name, kib)| {
                format!(
                    "{start:x}-{end:x} rw-p 0 00:00 0 {name}\nRss: {kib} kB\nAnonymous: {kib} kB\n"
                )
            })
            .collect();
        Smaps::parse(text.as_bytes()).expect("bytes").mappings
    }

    fn shown(
        start: &[(u64, u64, &str, u64)],
        end: &[(u64, u64, &str, u64)],
    ) -> Vec<(u64, u64, u64, u64)> {
        let kib = |bytes: u64| bytes >> 10;
        let joined = overlay(&vmas(start), &vmas(end)).into_iter();
        joined
            .map(|one| (one.start, one.end, kib(one.start_bytes), kib(one.end_bytes)))
            .collect()
    }

    #[test]
    fn what_grew_was_split_or_merged_is_one() {
        let before = [(0x1000, 0x5000, "", 16), (0x5000, 0x9000, "", 8)];
        let after = [
            (0x1000, 0x3000, "", 8),
            (0x4000, 0x7000, "", 12),
            (0x7000, 0xf000, "", 20),
        ];
        assert_eq!(shown(&before, &after), [(0x1000, 0xf000, 24, 40)]);
    }

    #[test]
    fn neighbours_that_do_not_overlap_stay_apart() {
        let both = [(0x1000, 0x2000, "[heap]", 4), (0x2000, 0x3000, "", 4)];
        assert_eq!(
            shown(&both, &both),
            [(0x1000, 0x2000, 4, 4), (0x2000, 0x3000, 4, 4)]
        );
    }

    #[test]
    fn what_came_and_what_went_stand_alone() {
        assert_eq!(
            shown(&[(0x1000, 0x2000, "", 4)], &[]),
            [(0x1000, 0x2000, 4, 0)]
        );
        assert_eq!(
            shown(&[], &[(0x1000, 0x2000, "", 4)]),
            [(0x1000, 0x2000, 0, 4)]
        );
    }

    #[test]
    fn the_name_is_that_of_the_largest_part_at_the_end() {
        let before = vmas(&[(0x1000, 0x9000, "[heap]", 99)]);
        let after = vmas(&[(0x1000, 0x2000, "", 4), (0x2000, 0x9000, "[heap]", 8)]);
        let joined = overlay(&before, &after);
        assert_eq!(
            (joined[0].name.as_str(), joined[0].kind),
            ("[heap]", MappingKind::Heap)
        );
    }
}
