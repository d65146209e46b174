//! Objects and classes of a Java virtual machine, read from outside while it runs.
//!
//! An object may be moved or freed while it is looked at. So an object counts as one only if its class has a name and
//! a row of parents that ends; every length is bounded. Whether several reads belong together is for the caller to
//! check: read twice, compare.

use super::fields::{self, Field, MAX_FIELDS, SLOTS};
use super::layout::{Fields, Layout};
use crate::memory::Memory;
use crate::metered::Metered;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

/// Parents of a class that are followed.
const MAX_PARENTS: usize = 32;
/// Longer names of classes and fields are none that matter here.
const MAX_SYMBOL: usize = 512;
/// Classes that are remembered.
const MAX_CLASSES: usize = 4096;
/// Bytes of a text; what is longer is cut.
const MAX_TEXT: usize = 512;
/// Bytes of a stream of fields.
const MAX_STREAM: usize = 1 << 16;
/// Constants of a class: a class file has no more.
const MAX_CONSTANTS: u32 = 1 << 16;
/// `java.lang.String::coder` of texts in UTF-16; else it is Latin-1.
const UTF16: u8 = 1;

/// A class.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Class {
    /// As `java/lang/Thread`.
    pub(super) name: String,
    /// Its address, and that of its parent; 0: none.
    address: u64,
    parent: u64,
}

/// A field by the class that declares it, its name and its type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
}

/// A reader of objects.
pub(super) struct Objects<'m, M> {
    memory: Metered<'m, M>,
    layout: &'m Layout,
    classes: RefCell<HashMap<u64, Option<Rc<Class>>>>,
    offsets: RefCell<HashMap<(u64, Wanted), Option<u64>>>,
}

impl<'m, M: Memory> Objects<'m, M> {
    /// Reads `allowance` bytes at the most.
    pub(super) fn new(memory: &'m M, layout: &'m Layout, allowance: u64) -> Self {
        Self {
            memory: Metered::new(memory, allowance),
            layout,
            classes: RefCell::default(),
            offsets: RefCell::default(),
        }
    }

    /// The memory, within the allowance.
    pub(super) fn memory(&self) -> &Metered<'m, M> {
        &self.memory
    }

    /// How it is laid out.
    pub(super) fn layout(&self) -> &'m Layout {
        self.layout
    }

    /// A pointer to something of the machine's; `None`: it is none.
    pub(super) fn pointer(&self, address: u64) -> Option<u64> {
        let pointer = self.memory.u64(address)?;
        (pointer != 0 && pointer.is_multiple_of(8)).then_some(pointer)
    }

    /// The class of an object.
    pub(super) fn class_of(&self, object: u64) -> Option<Rc<Class>> {
        if object == 0 || !object.is_multiple_of(8) {
            return None;
        }
        let heap = &self.layout.heap;
        let place = object.checked_add(heap.class)?;
        let narrow = match heap.class_shift {
            0 => self.memory.u32(place)?,
            shift => u32::try_from(self.memory.u64(place)? >> shift).ok()?,
        };
        let class = heap.classes.address(narrow);
        self.class_at(class).filter(|class| self.ends(class))
    }

    fn class_at(&self, address: u64) -> Option<Rc<Class>> {
        if let Some(known) = self.classes.borrow().get(&address) {
            return known.clone();
        }
        let class = self.read_class(address).map(Rc::new);
        let mut classes = self.classes.borrow_mut();
        if classes.len() >= MAX_CLASSES {
            classes.clear();
        }
        // What could not be read may have been on its way.
        if class.is_some() {
            classes.insert(address, class.clone());
        }
        class
    }

    fn read_class(&self, address: u64) -> Option<Class> {
        if address == 0 || !address.is_multiple_of(8) {
            return None;
        }
        let class = &self.layout.class;
        let name = self.pointer(address.checked_add(class.name)?)?;
        Some(Class {
            name: self.symbol(name)?,
            address,
            parent: self.memory.u64(address.checked_add(class.parent)?)?,
        })
    }

    /// A class and its parents.
    fn with_parents(&self, class: &Rc<Class>) -> impl Iterator<Item = Rc<Class>> {
        let first = Some(class.clone());
        let all = std::iter::successors(first, |class| self.class_at(class.parent));
        all.take(MAX_PARENTS)
    }

    /// Whether the row of its parents ends where all of them end.
    fn ends(&self, class: &Rc<Class>) -> bool {
        let last = self.with_parents(class).last();
        last.is_some_and(|last| last.parent == 0 && last.name == "java/lang/Object")
    }

    /// The names of the classes that an object is of, its own first, as Java writes them.
    pub(super) fn kinds(&self, object: u64) -> Option<Vec<String>> {
        let class = self.class_of(object)?;
        let all = self.with_parents(&class);
        Some(all.map(|class| class.name.replace('/', ".")).collect())
    }

    /// The text of a `Symbol`.
    fn symbol(&self, address: u64) -> Option<String> {
        let symbol = &self.layout.symbol;
        let length = self.memory.bytes(address.checked_add(symbol.length)?)?;
        let length = usize::from(u16::from_ne_bytes(length));
        if length == 0 || length > MAX_SYMBOL {
            return None;
        }
        let mut bytes = vec![0; length];
        let body = address.checked_add(symbol.body)?;
        self.memory.read(body, &mut bytes)?;
        String::from_utf8(bytes).ok()
    }

    /// Where a field of an object lies; `None` where its class has none of that kind.
    pub(super) fn field(&self, object: u64, wanted: Wanted) -> Option<u64> {
        let class = self.class_of(object)?;
        let key = (class.address, wanted);
        let known = self.offsets.borrow().get(&key).copied();
        let offset = match known {
            Some(known) => known,
            None => {
                let mut all = self.with_parents(&class);
                let declares = all.find(|class| class.name == wanted.class);
                let offset = declares.and_then(|class| self.offset(&class, wanted));
                let mut offsets = self.offsets.borrow_mut();
                if offsets.len() >= MAX_CLASSES {
                    offsets.clear();
                }
                offsets.insert(key, offset);
                offset
            }
        };
        object.checked_add(offset?)
    }

    /// The offset of a field that a class declares.
    fn offset(&self, class: &Class, wanted: Wanted) -> Option<u64> {
        let layout = &self.layout.class;
        let constants = self.pointer(class.address.checked_add(layout.constants)?)?;
        let count = self
            .memory
            .u32(constants.checked_add(layout.constants_length)?)?;
        let first = constants.checked_add(layout.constants_base)?;
        let is = |number: u32, text: &str| {
            let is_constant = number != 0 && number < count.min(MAX_CONSTANTS);
            let place = first
                .checked_add(u64::from(number) * 8)
                .filter(|_| is_constant)?;
            (self.symbol(self.pointer(place)?)? == text).then_some(())
        };
        let fields = self.fields(class.address)?;
        let mut fields = fields.into_iter();
        let found = fields.find(|field| {
            is(field.name, wanted.name).is_some() && is(field.kind, wanted.kind).is_some()
        });
        found.map(|field| field.offset.into())
    }

    fn fields(&self, class: u64) -> Option<Vec<Field>> {
        match self.layout.fields {
            Fields::Words {
                at,
                count,
                array_length,
                array_data,
            } => {
                let count = self.memory.bytes(class.checked_add(count)?)?;
                let wanted = usize::from(u16::from_ne_bytes(count)).min(MAX_FIELDS) * SLOTS;
                let array = self.pointer(class.checked_add(at)?)?;
                let length = self.memory.u32(array.checked_add(array_length)?)?;
                if wanted > usize::try_from(length).ok()? {
                    return None;
                }
                let mut words = vec![0_u16; wanted];
                let bytes = bytemuck::cast_slice_mut(&mut words);
                self.memory.read(array.checked_add(array_data)?, bytes)?;
                Some(fields::words(&words))
            }
            Fields::Stream {
                at,
                array_length,
                array_data,
            } => {
                let array = self.pointer(class.checked_add(at)?)?;
                let length = self.memory.u32(array.checked_add(array_length)?)?;
                let length = usize::try_from(length)
                    .ok()
                    .filter(|it| *it <= MAX_STREAM)?;
                let mut bytes = vec![0; length];
                self.memory
                    .read(array.checked_add(array_data)?, &mut bytes)?;
                Some(fields::stream(&bytes))
            }
        }
    }

    /// The object that a place in an object refers to; 0: none.
    pub(super) fn reference(&self, place: u64) -> Option<u64> {
        match self.layout.heap.narrow {
            Some(narrow) => Some(narrow.address(self.memory.u32(place)?)),
            None => self.memory.u64(place),
        }
    }

    /// The object that a field of an object refers to; 0: none.
    pub(super) fn refers(&self, object: u64, field: Wanted) -> Option<u64> {
        self.reference(self.field(object, field)?)
    }

    /// A text.
    pub(super) fn text(&self, object: u64) -> Option<String> {
        const CLASS: &str = "java/lang/String";
        const VALUE: Wanted = Wanted {
            class: CLASS,
            name: "value",
            kind: "[B",
        };
        const CODER: Wanted = Wanted {
            class: CLASS,
            name: "coder",
            kind: "B",
        };
        let array = self.refers(object, VALUE).filter(|array| *array != 0)?;
        let [coder] = self.memory.bytes(self.field(object, CODER)?)?;
        let length = array.checked_add(self.layout.heap.array_length)?;
        let all = usize::try_from(self.memory.u32(length)?).ok()?;
        let mut bytes = vec![0; all.min(MAX_TEXT)];
        self.memory.read(length.checked_add(4)?, &mut bytes)?;
        let mut text = match coder {
            UTF16 => {
                let units = bytes.chunks_exact(2);
                let units = units.map(|it| u16::from_ne_bytes([it[0], it[1]]));
                let units: Vec<u16> = units.collect();
                String::from_utf16_lossy(&units)
            }
            _ => bytes.iter().copied().map(char::from).collect(),
        };
        if all > MAX_TEXT {
            text.push('…');
        }
        Some(text)
    }
}
