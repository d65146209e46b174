//! Compressed sections. A file of a few kilobytes can unpack to terabytes, and the size in its
//! header is a claim: what blazesym unpacks, without a limit, is measured before, which costs the
//! time of one more decompression and no memory. What we unpack ourselves ends at its limit.

use flate2::bufread::ZlibDecoder;
use object::Endianness;
use object::elf::{ELFCOMPRESS_ZLIB, ELFCOMPRESS_ZSTD};
use object::read::elf::{CompressionHeader, FileHeader};
use std::io::{self, BufRead, Read};
use xz2::bufread::XzDecoder;

/// Bytes that the decoders may take for themselves: windows that a hostile stream asks for.
const DECODER_MEMORY_LOG: u32 = 27;

/// The unpacked size of an ELF section with a compression header, if it is the one that the header
/// claims and not above `limit`.
pub(super) fn section_size<H: FileHeader<Endian = Endianness>>(
    endian: Endianness,
    section: &[u8],
    limit: u64,
) -> Option<u64> {
    let (header, packed) = object::pod::from_bytes::<H::CompressionHeader>(section).ok()?;
    let claimed: u64 = header.ch_size(endian).into();
    if claimed > limit {
        return None;
    }
    let size = match header.ch_type(endian) {
        ELFCOMPRESS_ZLIB => measure(ZlibDecoder::new(packed), limit),
        ELFCOMPRESS_ZSTD => measure(zstd_decoder(packed).ok()?, limit),
        _ => None,
    };
    size.filter(|size| *size == claimed)
}

/// An xz stream (`.gnu_debugdata`) unpacked, if that is not above `limit` bytes.
pub(super) fn unpack_xz(packed: &[u8], limit: u64) -> Option<Vec<u8>> {
    let stream = xz2::stream::Stream::new_stream_decoder(1 << DECODER_MEMORY_LOG, 0).ok()?;
    let mut decoder = XzDecoder::new_stream(packed, stream).take(limit.checked_add(1)?);
    let mut unpacked = Vec::new();
    decoder.read_to_end(&mut unpacked).ok()?;
    (unpacked.len() as u64 <= limit).then_some(unpacked)
}

fn zstd_decoder(packed: &[u8]) -> io::Result<impl Read + '_> {
    let mut decoder = zstd::stream::Decoder::with_buffer(packed)?;
    decoder.window_log_max(DECODER_MEMORY_LOG)?;
    Ok(decoder)
}

fn measure(decoder: impl Read, limit: u64) -> Option<u64> {
    let mut reader = io::BufReader::new(decoder.take(limit.checked_add(1)?));
    let mut size = 0;
    loop {
        let read = reader.fill_buf().ok()?.len();
        if read == 0 {
            return (size <= limit).then_some(size);
        }
        size += read as u64;
        reader.consume(read);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object::elf::FileHeader64;
    use std::io::Write;

    fn zlib_section(claimed: u64, content: &[u8]) -> Vec<u8> {
        let mut section = Vec::new();
        section.extend_from_slice(&ELFCOMPRESS_ZLIB.to_ne_bytes());
        section.extend_from_slice(&[0; 4]);
        section.extend_from_slice(&claimed.to_ne_bytes());
        section.extend_from_slice(&1u64.to_ne_bytes());
        let mut encoder = flate2::write::ZlibEncoder::new(section, flate2::Compression::fast());
        encoder.write_all(content).unwrap();
        encoder.finish().unwrap()
    }

    fn size(section: &[u8], limit: u64) -> Option<u64> {
        section_size::<FileHeader64<Endianness>>(Endianness::default(), section, limit)
    }

    #[test]
    fn honest_sections_pass_and_bombs_do_not() {
        let zeros = vec![0; 1 << 20];
        assert_eq!(size(&zlib_section(1 << 20, &zeros), 1 << 20), Some(1 << 20));
        assert_eq!(size(&zlib_section(1 << 20, &zeros), 1000), None);
        assert_eq!(size(&zlib_section(100, &zeros), 1 << 20), None);
        assert_eq!(size(&zlib_section(u64::MAX, &zeros), u64::MAX - 1), None);
        assert_eq!(size(b"", 1000), None);
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
