//! The same machine with wrong words in its memory, and cut off.

use super::*;
use proptest::prelude::*;

proptest! {
    #[test]
    fn wrong_words_anywhere_are_survived(
        wrong in proptest::collection::vec((0_u64..0x2_0000, any::<u64>(), any::<bool>()), 1..60),
    ) {
        let mut made = running(&Make::default(), true);
        let end = made.memory.next;
        for (at, word, near) in wrong {
            // Most of the memory is empty: what is used lies at its beginning, and from the heap on.
            let place = (if near { BASE } else { HEAP } + at * 8 % 0x6000).min(end - 8);
            // Small numbers and addresses inside lead further than any word.
            let word = match word % 3 {
                0 => word,
                1 => word % 300,
                _ => BASE + word % (end - BASE),
            };
            made.memory.word(place, word);
        }
        if let Ok(java) = open(&made.memory, &made.exports) {
            let all = threads(&java, &made.memory);
            prop_assert!(all.threads.len() <= 16_384);
        }
    }

    #[test]
    fn memory_that_ends_anywhere_is_survived(end in 0_usize..0x18_0000) {
        let mut made = running(&Make::default(), false);
        made.memory.bytes.truncate(end);
        if let Ok(java) = open(&made.memory, &made.exports) {
            threads(&java, &made.memory);
        }
    }
}
