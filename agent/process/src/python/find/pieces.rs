//! Long parts of a file, read in pieces: tables of hundreds of megabytes need no memory for them.

use crate::maps::Content;
use std::ops::Range;

/// Bytes of a piece: a multiple of the size of a symbol.
pub(super) const PIECE: usize = 24 << 15;

/// Shows a part of a file to `see`, piece by piece, each with its offset in the part. A piece
/// begins with the last `overlap` bytes of the one in front. `None` when the file ends earlier.
pub(super) fn pieces(
    content: &Content,
    range: Range<u64>,
    overlap: usize,
    mut see: impl FnMut(u64, &[u8]),
) -> Option<()> {
    let mut piece = vec![0; PIECE];
    let mut at = range.start;
    while at < range.end {
        let len = usize::try_from(range.end - at).map_or(PIECE, |left| left.min(PIECE));
        content.read_exact_at(&mut piece[..len], at).ok()?;
        see(at - range.start, &piece[..len]);
        if len < PIECE {
            break;
        }
        at += (PIECE - overlap) as u64;
    }
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_cover_a_part_and_overlap() {
        let bytes: Vec<u8> = (0..PIECE * 2 + 100).map(|at| (at % 251) as u8).collect();
        let content = Content::Bytes(bytes.clone().into());
        for (range, overlap) in [
            (0..bytes.len(), 0),
            (7..bytes.len() - 1, 50),
            (5..5, 3),
            (5..9, 3),
        ] {
            let part = &bytes[range.clone()];
            let mut end = 0;
            let seen = pieces(
                &content,
                range.start as u64..range.end as u64,
                overlap,
                |at, piece| {
                    let at = at as usize;
                    assert_eq!(piece, &part[at..at + piece.len()]);
                    assert!(at == 0 || at == end - overlap);
                    end = at + piece.len();
                },
            );
            assert_eq!((seen, end), (Some(()), part.len()));
        }
        let beyond = 0..bytes.len() as u64 + 1;
        assert_eq!(pieces(&content, beyond, 0, |_, _| ()), None);
    }
}
