//! Unpacks a compressed section, within a limit: its header's size is a claim.

use flate2::bufread::ZlibDecoder;
use object::LittleEndian;
use object::elf::{CompressionHeader64, ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD};
use std::io::Read;

/// Bytes that a decoder may take for its window, as a power of two.
const WINDOW_LOG: u32 = 27;

/// What a section with a compression header unpacks to, if that is what the header says and not
/// above `limit` bytes.
pub(super) fn section(section: &[u8], limit: u64) -> Option<Vec<u8>> {
    type Header = CompressionHeader64<LittleEndian>;
    let (header, packed) = object::pod::from_bytes::<Header>(section).ok()?;
    let size = header.ch_size.get(LittleEndian);
    if size > limit {
        return None;
    }
    match header.ch_type.get(LittleEndian) {
        ELFCOMPRESS_ZLIB => unpack(ZlibDecoder::new(packed), size),
        ELFCOMPRESS_ZSTD => {
            let mut decoder = zstd::stream::Decoder::with_buffer(packed).ok()?;
            decoder.window_log_max(WINDOW_LOG).ok()?;
            unpack(decoder, size)
        }
        _ => None,
    }
}

fn unpack(decoder: impl Read, size: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    decoder
        .take(size.checked_add(1)?)
        .read_to_end(&mut bytes)
        .ok()?;
    (bytes.len() as u64 == size).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn header(kind: u32, size: u64) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(&8_u64.to_le_bytes());
        bytes
    }

    fn zlib(claimed: u64, content: &[u8]) -> Vec<u8> {
        let out = header(ELFCOMPRESS_ZLIB, claimed);
        let mut encoder = flate2::write::ZlibEncoder::new(out, flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn both_formats_unpack() {
        let content = [7; 5000];
        assert_eq!(section(&zlib(5000, &content), 5000).unwrap(), content);
        let mut packed = header(ELFCOMPRESS_ZSTD, 5000);
        packed.extend(zstd::stream::encode_all(&content[..], 1).unwrap());
        assert_eq!(section(&packed, 5000).unwrap(), content);
    }

    #[test]
    fn liars_and_giants_are_refused() {
        let content = [7; 5000];
        assert_eq!(section(&zlib(5000, &content), 4999), None);
        assert_eq!(section(&zlib(4999, &content), 5000), None);
        assert_eq!(section(&zlib(5001, &content), 6000), None);
        assert_eq!(section(&zlib(u64::MAX, &content), u64::MAX), None);
        assert_eq!(section(b"", 5000), None);
    }
}
