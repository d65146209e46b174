//! How CPython's containers and instances lie in memory, version by version: what [`Layout`] does not
//! have.
//!
//! [`Layout`]: crate::python::Layout
//!
//! Sources: `Include/cpython/{object,dictobject}.h`, `Include/internal/pycore_dict.h`,
//! `pycore_object.h`, `Objects/dict-common.h` of 3.8 to 3.13, compared with the debug information of
//! a build of each. All of them are for builds with a GIL on 64-bit machines: a free-threaded build
//! has another object header.

/// `ob_type` in an object; `ob_refcnt` is at 0.
pub const OBJECT_TYPE: u64 = 8;
/// `ob_size` of an object of variable size.
pub const VAR_SIZE: u64 = 16;
/// Where the first member of an object of variable size stands.
pub const VAR_ITEMS: u64 = 24;

/// Members of `PyTypeObject`, the same from 3.8 to 3.13.
pub mod type_object {
    /// `tp_name`
    pub const NAME: usize = 24;
    /// `tp_basicsize`
    pub const BASIC_SIZE: usize = 32;
    /// `tp_flags`
    pub const FLAGS: usize = 168;
    /// `tp_base`
    pub const BASE: usize = 256;
    /// `tp_dict`
    pub const DICT: usize = 264;
    /// `tp_dictoffset`
    pub const DICT_OFFSET: usize = 288;
    /// Bytes that hold all of these.
    pub const SIZE: usize = 296;
    /// `Py_TPFLAGS_INLINE_VALUES` (3.13).
    pub const INLINE_VALUES: u64 = 1 << 2;
    /// `Py_TPFLAGS_MANAGED_DICT` (3.11).
    pub const MANAGED_DICT: u64 = 1 << 4;
    /// `Py_TPFLAGS_HEAPTYPE`
    pub const HEAP: u64 = 1 << 9;
    /// `Py_TPFLAGS_TYPE_SUBCLASS`: its instances are types.
    pub const TYPE_SUBCLASS: u64 = 1 << 31;
}

/// Where an instance of a Python class keeps its attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Attributes {
    /// In a dict at `tp_dictoffset` (up to 3.10).
    Dict,
    /// In values four words before the object, else in a dict three words before it (3.11).
    ValuesBefore,
    /// In one of the two, three words before it; bit 0 tells (3.12).
    Tagged,
    /// In a dict three words before it; without one in values behind the object (3.13).
    ValuesBehind,
}

/// How `PyDictKeysObject` begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// `dk_size` as a number; entries are (hash, key, value) (up to 3.10).
    Sized,
    /// Its logarithm and a kind; entries of string keys are without a hash (3.11 on).
    Logarithmic,
}

/// What differs between versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ObjectLayout {
    /// The head of a dict's keys.
    pub keys: Keys,
    /// Attributes of instances.
    pub attributes: Attributes,
    /// `PyHeapTypeObject.ht_cached_keys`.
    pub cached_keys: u64,
    /// Where the pointers begin in `PyDictValues`.
    pub values_head: u64,
    /// An `int` keeps sign and number of digits in a tag (3.12 on), not in `ob_size`.
    pub tagged_int: bool,
}

impl ObjectLayout {
    /// The layout of CPython 3.`minor`; `None` when it is not known.
    pub fn of(minor: u8) -> Option<Self> {
        let v3_8 = Self {
            keys: Keys::Sized,
            attributes: Attributes::Dict,
            cached_keys: 872,
            values_head: 0,
            tagged_int: false,
        };
        let v3_11 = Self {
            keys: Keys::Logarithmic,
            attributes: Attributes::ValuesBefore,
            ..v3_8
        };
        let v3_12 = Self {
            attributes: Attributes::Tagged,
            cached_keys: 880,
            tagged_int: true,
            ..v3_11
        };
        let v3_13 = Self {
            attributes: Attributes::ValuesBehind,
            values_head: 8,
            ..v3_12
        };
        match minor {
            8..=10 => Some(v3_8),
            11 => Some(v3_11),
            12 => Some(v3_12),
            13 => Some(v3_13),
            _ => None,
        }
    }
}
