//! Compressed sections. A file of a few kilobytes can unpack to terabytes, and the size in its
//! header is a claim. What a parser unpacks without a limit is measured before, which costs the time
//! of one more decompression and no memory. What we unpack ourselves ends at its limit.

use super::DECODER_MEMORY_LOG;
use flate2::bufread::ZlibDecoder;
use object::Endianness;
use object::elf::{CompressionHeader32, CompressionHeader64, ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD};
use object::pod::from_bytes;
use std::io::{self, BufRead, Read};
use xz2::bufread::XzDecoder;

/// What a section unpacks to.
struct Packed<'a> {
    decoder: Box<dyn Read + 'a>,
    /// Bytes that the header claims.
    claimed: u64,
}

impl<'a> Packed<'a> {
    /// Reads its header; `None` when it claims more than `limit` bytes. The decoder ends one byte
    /// behind the claim: so much tells a lie.
    fn of(is_64: bool, endian: Endianness, section: &'a [u8], limit: u64) -> Option<Self> {
        let (kind, claimed, packed) = if is_64 {
            let (header, packed) = from_bytes::<CompressionHeader64<Endianness>>(section).ok()?;
            (
                header.ch_type.get(endian),
                header.ch_size.get(endian),
                packed,
            )
        } else {
            let (header, packed) = from_bytes::<CompressionHeader32<Endianness>>(section).ok()?;
            let claimed = header.ch_size.get(endian).into();
            (header.ch_type.get(endian), claimed, packed)
        };
        if claimed > limit {
            return None;
        }
        let most = claimed.checked_add(1)?;
        let decoder: Box<dyn Read> = match kind {
            ELFCOMPRESS_ZLIB => Box::new(ZlibDecoder::new(packed).take(most)),
            ELFCOMPRESS_ZSTD => {
                let mut decoder = zstd::stream::Decoder::with_buffer(packed).ok()?;
                decoder.window_log_max(DECODER_MEMORY_LOG).ok()?;
                Box::new(decoder.take(most))
            }
            _ => return None,
        };
        Some(Self { decoder, claimed })
    }
}

/// What a section with a compression header unpacks to, if that is what the header says and not
/// above `limit` bytes.
pub(super) fn unpack(
    is_64: bool,
    endian: Endianness,
    section: &[u8],
    limit: u64,
) -> Option<Vec<u8>> {
    let mut packed = Packed::of(is_64, endian, section, limit)?;
    let mut bytes = Vec::new();
    packed.decoder.read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 == packed.claimed).then_some(bytes)
}

/// How many bytes [`unpack`] would give.
pub(super) fn unpacked_size(
    is_64: bool,
    endian: Endianness,
    section: &[u8],
    limit: u64,
) -> Option<u64> {
    let packed = Packed::of(is_64, endian, section, limit)?;
    let mut reader = io::BufReader::new(packed.decoder);
    let mut size = 0;
    loop {
        let read = reader.fill_buf().ok()?.len();
        if read == 0 {
            return (size == packed.claimed).then_some(size);
        }
        size += read as u64;
        reader.consume(read);
    }
}

/// An xz stream (`.gnu_debugdata`) unpacked, if that is not above `limit` bytes.
pub fn unpack_xz(packed: &[u8], limit: u64) -> Option<Vec<u8>> {
    let stream = xz2::stream::Stream::new_stream_decoder(1 << DECODER_MEMORY_LOG, 0).ok()?;
    let mut decoder = XzDecoder::new_stream(packed, stream).take(limit.checked_add(1)?);
    let mut unpacked = Vec::new();
    decoder.read_to_end(&mut unpacked).ok()?;
    (unpacked.len() as u64 <= limit).then_some(unpacked)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn header(kind: u32, claimed: u64) -> Vec<u8> {
        let mut bytes = kind.to_le_bytes().to_vec();
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(&claimed.to_le_bytes());
        bytes.extend_from_slice(&8_u64.to_le_bytes());
        bytes
    }

    fn zlib(header: Vec<u8>, content: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(header, flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    /// Unpacked, after a look whether it measures the same.
    fn unpacked(section: &[u8], limit: u64) -> Option<Vec<u8>> {
        let bytes = unpack(true, Endianness::Little, section, limit);
        let size = unpacked_size(true, Endianness::Little, section, limit);
        assert_eq!(size, bytes.as_ref().map(|bytes| bytes.len() as u64));
        bytes
    }

    #[test]
    fn both_formats_and_both_classes_unpack() {
        let content = [7; 5000];
        let section = zlib(header(ELFCOMPRESS_ZLIB, 5000), &content);
        assert_eq!(unpacked(&section, 5000).unwrap(), content);
        let mut section = header(ELFCOMPRESS_ZSTD, 5000);
        section.extend(zstd::stream::encode_all(&content[..], 1).unwrap());
        assert_eq!(unpacked(&section, 5000).unwrap(), content);
        let words = [ELFCOMPRESS_ZLIB, 5000, 8].map(u32::to_be_bytes);
        let section = zlib(words.concat(), &content);
        let bytes = unpack(false, Endianness::Big, &section, 5000);
        assert_eq!(bytes.unwrap(), content);
    }

    #[test]
    fn liars_and_bombs_are_refused() {
        let content = vec![0; 1 << 20];
        let section = |claimed| zlib(header(ELFCOMPRESS_ZLIB, claimed), &content);
        assert_eq!(unpacked(&section(1 << 20), (1 << 20) - 1), None);
        assert_eq!(unpacked(&section((1 << 20) - 1), 1 << 21), None);
        assert_eq!(unpacked(&section((1 << 20) + 1), 1 << 21), None);
        assert_eq!(unpacked(&section(100), 1 << 20), None);
        assert_eq!(unpacked(&section(u64::MAX), u64::MAX), None);
        assert_eq!(unpacked(&section(u64::MAX), u64::MAX - 1), None);
        assert_eq!(unpacked(&header(7, 0), 1000), None, "no such format");
        assert_eq!(unpacked(b"", 1000), None);
    }

    #[test]
    fn xz_is_unpacked_up_to_the_limit() {
        let mut encoder = xz2::write::XzEncoder::new(Vec::new(), 1);
        encoder.write_all(&[7; 5000]).unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(unpack_xz(&packed, 5000), Some(vec![7; 5000]));
        assert_eq!(unpack_xz(&packed, 4999), None);
        assert_eq!(unpack_xz(&packed[..packed.len() / 2], 5000), None);
        assert_eq!(unpack_xz(b"nonsense", 4999), None);
    }
}
