//! The colour of a frame: its hue says what the frame stands for, its shade is a function of its
//! name, so that the same function looks the same in every picture.
//!
//! Inferno's own palettes guess the kind of code from the shape of a name (a capital letter is
//! Java, `::` is C++); here the kind is known.

use super::folded::{Class, Folded};
use inferno::flamegraph::color::{Color, PaletteMap};
use remora_model::FrameKind;

/// The hues in words, for the picture's subtitle.
pub(crate) const LEGEND: &str = "kernel blue, user orange";

/// Colours for every frame.
pub(crate) fn colours(folded: &Folded) -> PaletteMap {
    let mut map = PaletteMap::default();
    // The frame of the whole has no name; inferno would give it a random colour.
    map.insert("", colour(Class::Note, ""));
    for (name, class) in folded.classes() {
        map.insert(name, colour(class, name));
    }
    map
}

/// The darkest and the lightest shade of a class; black text is readable on both.
const fn shades(class: Class) -> ([u8; 3], [u8; 3]) {
    match class {
        Class::Reason => ([196, 172, 224], [212, 192, 236]),
        Class::Owner => ([198, 202, 208], [214, 217, 222]),
        Class::Note => ([224, 224, 224], [224, 224, 224]),
        Class::Code(FrameKind::Native) => ([232, 110, 60], [250, 176, 96]),
        Class::Code(FrameKind::Inlined) => ([232, 200, 80], [246, 222, 130]),
        Class::Code(FrameKind::Jit) => ([110, 190, 100], [160, 220, 140]),
        Class::Code(FrameKind::Python) => ([64, 180, 170], [130, 214, 200]),
        Class::Code(FrameKind::Kernel) => ([112, 160, 222], [164, 198, 240]),
    }
}

fn colour(class: Class, name: &str) -> Color {
    let (dark, light) = shades(class);
    let weight = u16::from(name_hash(name));
    let mix = |channel: usize| {
        let (from, to) = (u16::from(dark[channel]), u16::from(light[channel]));
        let mixed = (from * (255 - weight) + to * weight) / 255;
        u8::try_from(mixed).unwrap_or(u8::MAX)
    };
    Color {
        r: mix(0),
        g: mix(1),
        b: mix(2),
    }
}

/// FNV-1a folded to a byte: the same on every machine and in every release, unlike the standard
/// library's hasher.
fn name_hash(name: &str) -> u8 {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    hash.to_le_bytes()
        .into_iter()
        .fold(0, |folded, byte| folded ^ byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hue_tells_kernel_from_user_code() {
        let kernel = colour(Class::Code(FrameKind::Kernel), "schedule_[k]");
        let user = colour(Class::Code(FrameKind::Native), "schedule");
        assert!(
            kernel.b > kernel.r && user.r > user.b,
            "{kernel:?} {user:?}"
        );
    }

    #[test]
    fn shades_differ_by_name_and_stay() {
        let native = Class::Code(FrameKind::Native);
        assert_eq!(colour(native, "main"), colour(native, "main"));
        assert_ne!(colour(native, "main"), colour(native, "parse"));
    }
}
