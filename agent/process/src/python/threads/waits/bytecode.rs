//! Where the code of a function takes and releases locks by name: `x.acquire()`, `self.locks[k].release()`.
//!
//! A function's instructions are read up to its end, and each call of a method `acquire` or `release` is kept with
//! what it is called on, as far as that is a name, an attribute or an element: enough to find the object again in
//! a frame of that function. What was computed by a call is not followed.
//!
//! The opcodes are those of `Include/opcode.h` of each version; from 3.11 on the interpreter replaces instructions in
//! place by specialised ones, and keeps words of its own between them (`_PyOpcode_Caches`, `_PyOpcode_Deopt` in
//! `pycore_opcode.h`).

/// Instructions of a function that are looked at.
const MAX_INSTRUCTIONS: usize = 1 << 14;
/// Calls of one function that are kept.
const MAX_SITES: usize = 256;
/// Attributes and elements of one expression.
const MAX_DEPTH: usize = 8;

/// Opcodes of one version.
struct Opcodes {
    load_fast: &'static [u8],
    /// Two locals at once, in four bits each: of those that load both, and of those that store the first.
    load_two: &'static [u8],
    store_and_load: &'static [u8],
    load_deref: u8,
    load_global: &'static [u8],
    load_name: u8,
    load_attribute: &'static [u8],
    load_method: &'static [u8],
    load_const: &'static [u8],
    subscript: &'static [u8],
    extended: &'static [u8],
    /// Words behind an instruction that are none, by their number.
    caches: &'static [(usize, &'static [u8])],
    /// The argument of a global is shifted by so many bits, that of an attribute by so many.
    global_shift: u32,
    attribute_shift: u32,
    /// A cell is given by its place among all variables, not among cells alone.
    cells_among_locals: bool,
}

const V3_8: Opcodes = Opcodes {
    load_fast: &[124],
    load_two: &[],
    store_and_load: &[],
    load_deref: 136,
    load_global: &[116],
    load_name: 101,
    load_attribute: &[106],
    load_method: &[160],
    load_const: &[100],
    subscript: &[25],
    extended: &[144],
    caches: &[],
    global_shift: 0,
    attribute_shift: 0,
    cells_among_locals: false,
};

const V3_11: Opcodes = Opcodes {
    load_fast: &[124, 45, 46],
    load_deref: 137,
    load_global: &[116, 47, 48, 55],
    load_attribute: &[106, 39, 40, 41, 42, 43],
    load_method: &[160, 56, 57, 58, 59, 62, 63],
    load_const: &[100, 44],
    subscript: &[25, 17, 18, 19, 20, 21],
    extended: &[144, 34],
    caches: &[
        (
            1,
            &[
                3, 4, 5, 6, 7, 8, 13, 14, 16, 60, 64, 65, 66, 67, 72, 73, 76, 77, 78, 79, 80, 81,
                92, 113, 121, 122, 127, 141, 143, 166, 168, 169, 170, 177, 178, 179, 180,
            ],
        ),
        (2, &[26, 27, 28, 29, 107]),
        (
            4,
            &[
                17, 18, 19, 20, 21, 22, 23, 24, 25, 39, 40, 41, 42, 43, 95, 106, 153, 154, 158,
                159, 171,
            ],
        ),
        (5, &[47, 48, 55, 116]),
        (10, &[56, 57, 58, 59, 62, 63, 160]),
    ],
    global_shift: 1,
    cells_among_locals: true,
    ..V3_8
};

const V3_12: Opcodes = Opcodes {
    load_fast: &[124, 127, 143, 86, 88],
    load_global: &[116, 111, 112],
    load_attribute: &[106, 70, 72, 73, 76, 77, 78, 79, 80, 81, 82],
    load_method: &[],
    load_const: &[100, 84],
    subscript: &[25, 19, 20, 21, 22],
    extended: &[144],
    caches: &[
        (
            1,
            &[
                6, 7, 8, 10, 13, 14, 16, 18, 19, 20, 21, 22, 25, 57, 58, 59, 60, 62, 63, 64, 65,
                66, 67, 92, 93, 107, 122, 123, 141, 159, 160, 161, 166, 167, 168,
            ],
        ),
        (
            3,
            &[
                23, 24, 28, 29, 34, 38, 39, 40, 41, 42, 43, 44, 45, 46, 47, 48, 56, 171,
            ],
        ),
        (4, &[95, 111, 112, 113, 116, 148, 153]),
        (9, &[70, 72, 73, 76, 77, 78, 79, 80, 81, 82, 106]),
    ],
    attribute_shift: 1,
    ..V3_11
};

const V3_13: Opcodes = Opcodes {
    load_fast: &[85, 86, 87],
    load_two: &[88],
    store_and_load: &[111],
    load_deref: 84,
    load_global: &[91, 203, 204],
    load_name: 92,
    load_attribute: &[
        82, 191, 192, 193, 194, 195, 196, 197, 198, 199, 200, 201, 202,
    ],
    load_const: &[83],
    subscript: &[5, 157, 158, 159, 160, 161],
    extended: &[71],
    caches: &[
        (
            1,
            &[
                3, 5, 39, 45, 58, 59, 72, 77, 93, 97, 98, 99, 100, 104, 117, 150, 151, 152, 153,
                154, 155, 156, 157, 158, 159, 160, 161, 182, 183, 184, 185, 186, 187, 188, 189,
                190, 205, 206, 208, 212, 213, 220, 221, 222,
            ],
        ),
        (
            3,
            &[
                40, 53, 162, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172, 173, 174, 175, 176,
                177, 178, 179, 180, 181, 214, 215, 216, 217, 218, 219,
            ],
        ),
        (4, &[91, 108, 203, 204, 209, 210, 211]),
        (
            9,
            &[
                82, 191, 192, 193, 194, 195, 196, 197, 198, 199, 200, 201, 202,
            ],
        ),
    ],
    ..V3_12
};

impl Opcodes {
    const fn of(minor: u8) -> Option<&'static Self> {
        match minor {
            8..=10 => Some(&V3_8),
            11 => Some(&V3_11),
            12 => Some(&V3_12),
            13 => Some(&V3_13),
            _ => None,
        }
    }

    fn caches_behind(&self, code: u8) -> usize {
        let mut caches = self.caches.iter();
        caches
            .find(|(_, codes)| codes.contains(&code))
            .map_or(0, |(words, _)| *words)
    }
}

/// What a method is called on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A local variable, by its place in the frame.
    Local(usize),
    /// What is in a cell: by its place in the frame, or (`false`) among cells.
    Cell(usize, bool),
    /// A global, by its place among the code's names.
    Global(usize),
    /// A constant, by its place.
    Constant(usize),
    /// An attribute: its place among the names.
    Attribute(Box<Self>, usize),
    /// An element.
    Element(Box<Self>, Box<Self>),
}

/// A call of `acquire` or `release`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// Offset of the instruction that fetches the method, in bytes.
    pub at: usize,
    /// Whether it takes.
    pub takes: bool,
    /// What it is called on.
    pub on: Value,
}

/// Places of names among those of a code object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Names {
    pub acquire: Option<usize>,
    pub release: Option<usize>,
}

/// The calls in the instructions of a function of CPython 3.`minor`, in their order.
pub(super) fn sites(code: &[u8], minor: u8, names: Names) -> Vec<Site> {
    let Some(opcodes) = Opcodes::of(minor) else {
        return Vec::new();
    };
    let mut sites = Vec::new();
    // What is on top of the value stack, as far as it is known: emptied by all that is not followed.
    let mut stack: Vec<(Value, usize)> = Vec::new();
    let mut argument = 0_usize;
    let mut at = 0;
    for _ in 0..MAX_INSTRUCTIONS {
        let Some(&[opcode, low]) = code.get(at..at + 2) else {
            break;
        };
        argument = (argument << 8 | usize::from(low)) & 0xff_ffff;
        let here = at;
        at += 2 + 2 * opcodes.caches_behind(opcode);
        if opcodes.extended.contains(&opcode) {
            continue;
        }
        let full = std::mem::take(&mut argument);
        if let Some((name, is_method)) = fetched(opcodes, opcode, full) {
            match stack.pop() {
                Some((on, depth)) => {
                    let takes = names.acquire == Some(name);
                    if (takes || names.release == Some(name)) && sites.len() < MAX_SITES {
                        sites.push(Site {
                            at: here,
                            takes,
                            on,
                        });
                        stack.clear();
                    } else if depth < MAX_DEPTH && !is_method {
                        stack.push((Value::Attribute(Box::new(on), name), depth + 1));
                    } else {
                        stack.clear();
                    }
                }
                None => stack.clear(),
            }
        } else if opcodes.subscript.contains(&opcode) {
            match (stack.pop(), stack.pop()) {
                (Some((key, inner)), Some((of, outer))) if inner.max(outer) < MAX_DEPTH => {
                    let element = Value::Element(Box::new(of), Box::new(key));
                    stack.push((element, inner.max(outer) + 1));
                }
                _ => stack.clear(),
            }
        } else if !load(opcodes, opcode, full, &mut stack) {
            stack.clear();
        }
    }
    sites
}

/// The name that an instruction fetches from an object, and whether it is known to be a method.
fn fetched(opcodes: &Opcodes, opcode: u8, argument: usize) -> Option<(usize, bool)> {
    if opcodes.load_method.contains(&opcode) {
        return Some((argument, true));
    }
    let is_method = opcodes.attribute_shift > 0 && argument & 1 == 1;
    let name = argument >> opcodes.attribute_shift;
    opcodes
        .load_attribute
        .contains(&opcode)
        .then_some((name, is_method))
}

/// Puts what an instruction loads on the stack; whether it loads anything.
fn load(opcodes: &Opcodes, opcode: u8, argument: usize, stack: &mut Vec<(Value, usize)>) -> bool {
    let value = if opcodes.load_fast.contains(&opcode) {
        Value::Local(argument)
    } else if opcodes.load_two.contains(&opcode) {
        stack.push((Value::Local(argument >> 4), 0));
        Value::Local(argument & 15)
    } else if opcodes.store_and_load.contains(&opcode) {
        stack.clear();
        Value::Local(argument & 15)
    } else if opcode == opcodes.load_deref {
        Value::Cell(argument, opcodes.cells_among_locals)
    } else if opcodes.load_global.contains(&opcode) {
        Value::Global(argument >> opcodes.global_shift)
    } else if opcode == opcodes.load_name {
        Value::Global(argument)
    } else if opcodes.load_const.contains(&opcode) {
        Value::Constant(argument)
    } else {
        return false;
    };
    stack.push((value, 0));
    if stack.len() > 2 * MAX_DEPTH {
        stack.remove(0);
    }
    true
}

/// Whether a frame that stands at `instruction` is between an acquire and a release of what `is_it` accepts: the
/// last call before is one that takes. `Some(true)`: a release follows in the same function.
///
/// `waits`: it stands in a call that takes it.
pub(super) fn holds(
    sites: &[Site],
    instruction: usize,
    waits: bool,
    mut is_it: impl FnMut(&Value) -> bool,
) -> Option<bool> {
    let behind = sites.partition_point(|site| site.at < instruction);
    let (before, after) = sites.split_at_checked(behind)?;
    let before = match (waits, before.split_last()) {
        (true, Some((last, rest))) if last.takes && is_it(&last.on) => rest,
        _ => before,
    };
    let last = before.iter().rev().find(|site| is_it(&site.on))?;
    last.takes.then(|| {
        let mut after = after.iter().filter(|site| !site.takes);
        after.any(|site| is_it(&site.on))
    })
}

#[cfg(test)]
mod tests;
