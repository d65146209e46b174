//! A CPython version, as far as structures depend on it.

use std::fmt;

/// A version of CPython.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version {
    /// 3.
    pub major: u8,
    /// The part that decides the layout of structures.
    pub minor: u8,
    /// The patch release; `None` where only the minor version could be found.
    pub micro: Option<u8>,
}

impl Version {
    /// From `PY_VERSION_HEX` (`Include/patchlevel.h`): major, minor, micro, level and serial, in
    /// 8, 8, 8, 4 and 4 bits.
    pub fn from_hex(hex: u32) -> Self {
        let [major, minor, micro, _] = hex.to_be_bytes();
        Self {
            major,
            minor,
            micro: Some(micro),
        }
    }

    /// Whether it is this minor version of Python 3, or a later one.
    pub fn is_from(self, minor: u8) -> bool {
        (self.major, self.minor) >= (3, minor)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}.{}", self.major, self.minor)?;
        match self.micro {
            Some(micro) => write!(formatter, ".{micro}"),
            None => Ok(()),
        }
    }
}
