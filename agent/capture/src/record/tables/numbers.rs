//! Address spaces by content: each distinct one has a number in the kernel's table, however many
//! processes have it.

use super::chunks::GRACE;
use remora_common::{
    python::Interpreter,
    unwind::{Mapping, NO_MAPPING, Space},
};
use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

/// What makes two address spaces the same to the kernel side.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    /// By address, at most [`remora_common::unwind::MAX_MAPPINGS`].
    pub mappings: Vec<Mapping>,
    /// The Python interpreter in it.
    pub interpreter: Option<Interpreter>,
}

impl Content {
    fn space(&self, version: u32) -> Box<Space> {
        let mut space: Box<Space> = Box::new(bytemuck::Zeroable::zeroed());
        space.version = version;
        space.len = self.mappings.len() as u32;
        space.interpreter = self.interpreter.unwrap_or(bytemuck::Zeroable::zeroed());
        for (at, mapping) in space.mappings.iter_mut().enumerate() {
            match self.mappings.get(at) {
                Some(known) => *mapping = *known,
                None => mapping.start = NO_MAPPING,
            }
        }
        space
    }
}

/// Who has which number.
#[derive(Debug)]
pub(super) struct Numbers {
    by_content: HashMap<Content, u32>,
    held: HashMap<u32, (Content, usize)>,
    /// First in, first out, each with the time from which it rests: a walk that began before may still
    /// read what a number meant.
    free: VecDeque<(Option<Instant>, u32)>,
    version: u32,
}

impl Numbers {
    /// Numbers 1 up to `count`.
    pub(super) fn new(count: u32) -> Self {
        Self {
            by_content: HashMap::new(),
            held: HashMap::new(),
            free: (1..count).map(|number| (None, number)).collect(),
            version: 0,
        }
    }

    /// The number of this content, written with `put` when it is new; `None` when all are taken.
    /// `held` is the caller's present number: unless it is returned, it stays his until he releases
    /// it.
    pub(super) fn of(
        &mut self,
        content: Content,
        held: Option<u32>,
        put: impl FnOnce(u32, &Space),
    ) -> Option<u32> {
        if let Some(number) = self.by_content.get(&content).copied() {
            if held != Some(number)
                && let Some((_, holders)) = self.held.get_mut(&number)
            {
                *holders += 1;
            }
            return Some(number);
        }
        let number = self.take(Instant::now())?;
        // Rows cached for a version that is used again after 65,535 others are long overwritten.
        self.version = self.version % 0xffff + 1;
        put(number, &content.space(self.version));
        self.by_content.insert(content.clone(), number);
        self.held.insert(number, (content, 1));
        Some(number)
    }

    fn take(&mut self, now: Instant) -> Option<u32> {
        let (since, _) = self.free.front()?;
        if since.is_some_and(|since| now.saturating_duration_since(since) < GRACE) {
            return None;
        }
        self.free.pop_front().map(|(_, number)| number)
    }

    /// One holder less.
    pub(super) fn release(&mut self, number: Option<u32>) {
        let Some(number) = number else { return };
        let Some((_, holders)) = self.held.get_mut(&number) else {
            return;
        };
        *holders -= 1;
        if *holders == 0
            && let Some((content, _)) = self.held.remove(&number)
        {
            self.by_content.remove(&content);
            self.free.push_back((Some(Instant::now()), number));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytemuck::Zeroable;

    fn content(start: u64) -> Content {
        Content {
            mappings: vec![Mapping {
                start,
                ..Zeroable::zeroed()
            }],
            interpreter: None,
        }
    }

    #[test]
    fn equal_contents_share_a_number_until_the_last_lets_go() {
        let mut numbers = Numbers::new(3);
        let mut written = 0;
        let first = numbers.of(content(1), None, |_, _| written += 1);
        let second = numbers.of(content(1), None, |_, _| written += 1);
        assert_eq!((first, second, written), (Some(1), Some(1), 1));
        assert_eq!(numbers.of(content(1), first, |_, _| ()), first, "his own");
        numbers.release(first);
        assert_eq!(numbers.of(content(2), None, |_, _| ()), Some(2));
        assert_eq!(numbers.of(content(3), None, |_, _| ()), None, "all taken");
        numbers.release(second);
        assert_eq!(numbers.of(content(3), None, |_, _| ()), None, "it rests");
        std::thread::sleep(GRACE);
        assert_eq!(numbers.of(content(3), None, |_, _| ()), Some(1));
    }

    #[test]
    fn unused_mappings_lie_behind_every_address() {
        let space = content(7).space(1);
        assert_eq!((space.len, space.mappings[0].start), (1, 7));
        assert!(space.mappings[1..].iter().all(|m| m.start == NO_MAPPING));
    }
}
