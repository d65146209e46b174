//! How long the oldest unread byte has been waiting, from samples alone: bounds that hold.

use remora_model::Unread;
use std::{collections::VecDeque, time::Duration};

/// Moments of a stream that are remembered. Where there are more, one between two others is dropped:
/// the bounds get wider and stay true.
const MARKS: usize = 32;

/// The stream had this length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    /// Bytes received so far.
    received: u64,
    /// It had it at this time, at the latest.
    first_ns: u64,
    /// It still had it at this time.
    last_ns: u64,
}

/// The arrival of a stream's bytes: what was received when.
#[derive(Clone, Debug, Default)]
pub(super) struct Arrivals {
    marks: VecDeque<Mark>,
}

impl Arrivals {
    /// Takes in a sample: at `at_ns` so many bytes had been received, the last of them at `last_ns` at the
    /// latest, and the reader has taken those before `taken`.
    pub(super) fn sample(&mut self, at_ns: u64, received: u64, taken: u64, last_ns: u64) {
        if self
            .marks
            .back()
            .is_some_and(|mark| received < mark.received)
        {
            // Another connection by the same socket.
            self.marks.clear();
        }
        match self.marks.back_mut() {
            Some(mark) if mark.received == received => mark.last_ns = at_ns,
            _ => self.marks.push_back(Mark {
                received,
                first_ns: last_ns.min(at_ns),
                last_ns: at_ns,
            }),
        }
        // Of what was read the last moment is enough: the next byte came after it.
        while self.marks.get(1).is_some_and(|mark| mark.received <= taken) {
            self.marks.pop_front();
        }
        if self.marks.len() > MARKS {
            self.thin_out();
        }
    }

    /// Drops the mark whose neighbours are closest to each other in time.
    fn thin_out(&mut self) {
        let gaps = (1..self.marks.len() - 1).filter_map(|at| {
            let (before, after) = (self.marks.get(at - 1)?, self.marks.get(at + 1)?);
            Some((after.first_ns.saturating_sub(before.last_ns), at))
        });
        if let Some((_, at)) = gaps.min() {
            self.marks.remove(at);
        }
    }

    /// How long the byte behind the first `taken` ones has been there at `now_ns`; `None`: it has not come.
    pub(super) fn age(&self, now_ns: u64, taken: u64) -> Option<Unread> {
        let came = self.marks.iter().find(|mark| mark.received > taken)?;
        let before = self.marks.iter().rfind(|mark| mark.received <= taken);
        Some(Unread {
            min: since(came.first_ns, now_ns),
            max: before.map(|mark| since(mark.last_ns, now_ns)),
            inferred: false,
        })
    }

    /// Since when nothing has come, at the latest.
    pub(super) fn last_ns(&self) -> Option<u64> {
        Some(self.marks.back()?.first_ns)
    }
}

/// The first message of a queue that counts no bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Head {
    head: u64,
    /// First seen in front at.
    first_ns: u64,
    /// The queue was empty at, if it ever was.
    empty_ns: Option<u64>,
}

impl Head {
    /// Takes in a sample; `head` 0 means an empty queue.
    pub(super) fn sample(&mut self, at_ns: u64, head: u64) {
        if head == 0 {
            self.empty_ns = Some(at_ns);
        } else if head != self.head {
            self.first_ns = at_ns;
        }
        self.head = head;
    }

    /// How long the first message has been there. Everything in the queue came after it was empty last.
    pub(super) fn age(&self, now_ns: u64) -> Option<Unread> {
        (self.head != 0).then(|| Unread {
            min: since(self.first_ns, now_ns),
            max: self.empty_ns.map(|empty| since(empty, now_ns)),
            inferred: true,
        })
    }
}

fn since(then_ns: u64, now_ns: u64) -> Duration {
    Duration::from_nanos(now_ns.saturating_sub(then_ns))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const fn s(value: u64) -> u64 {
        value * 1_000_000_000
    }

    fn bounds(age: Option<Unread>) -> Option<(u64, Option<u64>)> {
        age.map(|age| (age.min.as_secs(), age.max.map(|max| max.as_secs())))
    }

    #[test]
    fn a_byte_came_between_two_samples() {
        let mut stream = Arrivals::default();
        stream.sample(s(1), 100, 100, s(1));
        assert_eq!(stream.age(s(1), 100), None, "all is read");
        stream.sample(s(2), 100, 100, s(2));
        stream.sample(s(3), 150, 100, s(3));
        stream.sample(s(7), 150, 100, s(7));
        assert_eq!(bounds(stream.age(s(7), 100)), Some((4, Some(5))));
        // Ten more come, and then the first fifty are read.
        stream.sample(s(8), 160, 100, s(8));
        assert_eq!(bounds(stream.age(s(8), 100)), Some((5, Some(6))));
        stream.sample(s(9), 160, 150, s(9));
        assert_eq!(bounds(stream.age(s(9), 150)), Some((1, Some(2))));
    }

    #[test]
    fn what_was_there_before_has_no_upper_bound() {
        let mut stream = Arrivals::default();
        stream.sample(s(5), 500, 100, s(5));
        assert_eq!(bounds(stream.age(s(9), 100)), Some((4, None)));
    }

    #[test]
    fn the_kernels_own_time_of_the_last_byte_tightens_the_lower_bound() {
        let mut stream = Arrivals::default();
        stream.sample(s(50), 500, 100, s(20));
        assert_eq!(bounds(stream.age(s(50), 100)), Some((30, None)));
    }

    #[test]
    fn a_socket_that_connects_again_starts_anew() {
        let mut stream = Arrivals::default();
        stream.sample(s(1), 500, 100, s(1));
        stream.sample(s(2), 10, 0, s(2));
        assert_eq!(bounds(stream.age(s(4), 0)), Some((2, None)));
    }

    #[test]
    fn a_message_in_front_has_waited_since_it_was_seen_there() {
        let mut queue = Head::default();
        assert_eq!(queue.age(s(1)), None);
        queue.sample(s(1), 0);
        queue.sample(s(2), 0xa);
        queue.sample(s(5), 0xa);
        assert_eq!(bounds(queue.age(s(6))), Some((4, Some(5))));
        queue.sample(s(7), 0xb);
        assert_eq!(bounds(queue.age(s(8))), Some((1, Some(7))));
        queue.sample(s(9), 0);
        assert_eq!(queue.age(s(9)), None);
        queue.sample(s(10), 0xb);
        assert_eq!(bounds(queue.age(s(11))), Some((1, Some(2))));
    }

    proptest! {
        /// A stream of bytes, each with its true time: the bounds hold, whatever is dropped.
        #[test]
        fn bounds_hold_and_memory_is_bounded(
            steps in prop::collection::vec((0_u64..5, 0_u64..50, 0_u64..60), 1..300),
        ) {
            let (mut stream, mut arrived, mut taken) = (Arrivals::default(), Vec::new(), 0_usize);
            let mut now = 0;
            for (pause, come, read) in steps {
                // Bytes come in the middle of the pause.
                arrived.extend(std::iter::repeat_n(now + s(pause) / 2, come as usize));
                now += s(pause) + 1;
                taken = (taken + read as usize).min(arrived.len());
                stream.sample(now, arrived.len() as u64, taken as u64, now);
                prop_assert!(stream.marks.len() <= MARKS);
                let age = stream.age(now, taken as u64);
                let Some(true_ns) = arrived.get(taken) else {
                    prop_assert_eq!(age, None);
                    continue;
                };
                let (age, truth) = (age.unwrap(), Duration::from_nanos(now - true_ns));
                prop_assert!(age.min <= truth, "{age:?} {truth:?}");
                prop_assert!(age.max.is_none_or(|max| max >= truth), "{age:?} {truth:?}");
            }
        }
    }
}
