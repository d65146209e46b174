//! Which locks a frame will release.
//!
//! - A frame in the body of `with x:` has the `__exit__` of `x` on its value stack, for the interpreter to call it
//!   at the end of the body. `x` is a lock, a condition, a semaphore, or an object whose `__exit__` uses an
//!   attribute that is one; the frame of a generator behind `contextlib.contextmanager`, which is looked at in the
//!   same way; or an `ExitStack`, which keeps the `__exit__` of all that were entered.
//! - A frame that stands behind `x.acquire()` and before `x.release()` ([`bytecode`](super::bytecode)), where `x` is
//!   a name, an attribute or an element that leads to the lock now. Behind an `acquire` whose `release` stands in no
//!   such place of the same function it counts only where nobody is known better.

use super::bytecode::{self, Names, Site, Value};
use super::frames::Place;
use super::{MAX_SLOTS, METHOD_SELF, PythonWait, Reader};
use crate::memory::Memory;
use crate::python::threads::at;
use std::rc::Rc;

/// `m_ml`, whose first member is the method's name.
const METHOD_DEFINITION: u64 = 16;
/// `im_func` of a bound method.
const METHOD_FUNCTION: u64 = 16;
/// `func_code` up to 3.9, and from 3.10 on.
const FUNCTION_CODE: [u64; 2] = [16, 48];
/// `ob_ref` of a cell.
const CELL_CONTENT: u64 = 16;
/// Generators and exit stacks within each other.
const MAX_NESTING: usize = 4;
/// Names of a code object, and callbacks of an exit stack, that are looked at.
const MAX_NAMES: usize = 256;
const MAX_CALLBACKS: usize = 64;
/// Bytes of a function's code.
const MAX_CODE: usize = 1 << 15;
/// Code objects of which the calls are kept.
const MAX_CODES: usize = 4096;

/// A thread that may hold what is waited for; `known`: the place of its release is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Holder {
    state: u64,
    known: bool,
}

impl<M: Memory> Reader<'_, M> {
    /// Adds the threads that will release the locks and semaphores.
    pub(super) fn find_holders(&mut self, states: &[u64], found: &mut [PythonWait]) {
        let unnamed = found.iter().filter(|wait| wait.is_unnamed());
        let mut wanted: Vec<u64> = unnamed.map(|wait| wait.object).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut holders: Vec<Vec<Holder>> = vec![Vec::new(); wanted.len()];
        for state in states {
            let own = found.iter().find(|wait| wait.state == *state);
            let awaited = own.map(|wait| wait.object);
            let mut acquiring = awaited.is_some();
            let frames = self.frames(*state);
            let given_up = frames.first().and_then(|leaf| self.given_up(leaf));
            for place in frames {
                if awaited.is_some() && self.function(&place).is_some_and(|(_, it)| it) {
                    // Of `threading` itself: what it does inside a semaphore or condition is not the program's.
                    continue;
                }
                let exits = self.exits_of(&place, 0);
                let kept = wanted.iter().zip(&mut holders);
                for (object, of) in kept.filter(|(object, _)| given_up != Some(**object)) {
                    let known = if exits.contains(object) {
                        Some(true)
                    } else {
                        let waits = acquiring && awaited == Some(*object);
                        self.acquired(&place, waits, *object)
                    };
                    // One that waits for it as well, and never releases it: it uses the lock as a signal.
                    let known = known.filter(|known| *known || awaited != Some(*object));
                    if let Some(known) = known {
                        of.push(Holder {
                            state: *state,
                            known,
                        });
                    }
                }
                acquiring = false;
            }
        }
        for wait in found.iter_mut().filter(|wait| wait.is_unnamed()) {
            if let Ok(index) = wanted.binary_search(&wait.object)
                && let Some(all) = holders.get(index)
            {
                let any_known = all.iter().any(|holder| holder.known);
                let best = all.iter().filter(|holder| holder.known == any_known);
                wait.holders = best.map(|holder| holder.state).collect();
                wait.holders.dedup();
            }
        }
    }

    /// The lock that a thread in the `wait` of a condition has given up until it is notified.
    fn given_up(&mut self, leaf: &Place) -> Option<u64> {
        let (function, is_threading) = self.function(leaf)?;
        let condition = *self.slots(leaf, 0, 1).first()?;
        (is_threading && function == "wait").then(|| self.core(condition))?
    }

    /// What the `with` blocks around a frame's place will release.
    fn exits_of(&self, place: &Place, nesting: usize) -> Vec<u64> {
        let depth = self.depth(place).unwrap_or(0).min(MAX_SLOTS);
        let slots = self.slots(place, place.locals, depth);
        let objects = slots.iter().filter(|slot| **slot != 0);
        objects
            .flat_map(|slot| self.exits(*slot, nesting))
            .collect()
    }

    /// What the call of a method `__exit__` releases.
    fn exits(&self, slot: u64, nesting: usize) -> Vec<u64> {
        self.exit_of(slot, nesting).unwrap_or_default()
    }

    fn exit_of(&self, slot: u64, nesting: usize) -> Option<Vec<u64>> {
        let kind = self.objects.type_of(slot)?;
        let memory = self.objects.memory();
        let object = || memory.u64(slot.checked_add(METHOD_SELF)?);
        match kind.name.as_str() {
            "builtin_function_or_method" => {
                let definition = memory.u64(slot.checked_add(METHOD_DEFINITION)?)?;
                let name = memory.up_to(memory.u64(definition)?, 9);
                let releases = name.starts_with(b"__exit__\0") || name.starts_with(b"release\0");
                releases.then(object)?.map(|object| vec![object])
            }
            "method" => self.object_exit(slot, object()?, nesting),
            _ => None,
        }
    }

    /// What a method of a Python object releases: `__exit__`, or what an exit stack keeps.
    fn object_exit(&self, method: u64, object: u64, nesting: usize) -> Option<Vec<u64>> {
        if let Some(core) = self.core(object) {
            return Some(vec![core]);
        }
        if nesting >= MAX_NESTING {
            return None;
        }
        let kind = self.objects.type_of(object)?;
        if kind.is_a("_GeneratorContextManagerBase") {
            let generator = self.objects.attribute(object, "gen")?;
            let place = self.generator_frame(generator)?;
            let mut exits = self.exits_of(&place, nesting + 1);
            exits.extend(self.all_acquired(&place));
            return Some(exits);
        }
        if kind.is_a("_BaseExitStack") {
            let callbacks = self.objects.attribute(object, "_exit_callbacks")?;
            let callbacks = self.objects.deque(callbacks, MAX_CALLBACKS)?;
            let methods = callbacks.into_iter().filter_map(|pair| {
                let pair = self.objects.sequence(pair, 2)?;
                pair.get(1).copied()
            });
            return Some(
                methods
                    .flat_map(|method| self.exits(method, nesting + 1))
                    .collect(),
            );
        }
        // An object of the program: its `__exit__` names the attribute.
        let memory = self.objects.memory();
        let function = memory.u64(method.checked_add(METHOD_FUNCTION)?)?;
        let offset = FUNCTION_CODE[usize::from(self.minor >= 10)];
        let code = memory.u64(function.checked_add(offset)?)?;
        let names = self.names(code)?.into_iter();
        let named = names.filter_map(|name| {
            let name = self.objects.text(name)?;
            self.core(self.objects.named(object, &name)?)
        });
        Some(named.collect())
    }

    /// The suspended frame of a generator.
    fn generator_frame(&self, generator: u64) -> Option<Place> {
        if self.objects.type_of(generator)?.name != "generator" {
            return None;
        }
        let inside = at(generator, self.layout.generator.frame);
        let frame = if self.minor < 11 {
            self.objects.memory().u64(inside)?
        } else {
            inside
        };
        self.frame_at(frame)
    }

    /// The lock that an object is: itself, the one of a condition; or the semaphore.
    fn core(&self, object: u64) -> Option<u64> {
        let kind = self.objects.type_of(object)?;
        match kind.name.as_str() {
            "_thread.lock" | "_thread.RLock" => Some(object),
            "Condition" => self.objects.attribute(object, "_lock"),
            _ => kind.is_a("Semaphore").then_some(object),
        }
    }

    /// Whether a frame stands behind an `acquire` of the object, and whether its `release` is seen.
    fn acquired(&self, place: &Place, waits: bool, object: u64) -> Option<bool> {
        let sites = self.sites_of(place.code);
        if sites.is_empty() {
            return None;
        }
        let is_it = |value: &Value| {
            let value = self.value(place, value);
            value.and_then(|value| self.core(value)) == Some(object)
        };
        bytecode::holds(&sites, place.instruction as usize, waits, is_it)
    }

    /// All that a suspended frame has acquired.
    fn all_acquired(&self, place: &Place) -> Vec<u64> {
        let sites = self.sites_of(place.code);
        let taken = sites.iter().filter(|site| site.takes);
        let mut objects: Vec<u64> = taken
            .filter_map(|site| self.core(self.value(place, &site.on)?))
            .collect();
        objects.retain(|object| self.acquired(place, false, *object).is_some());
        objects
    }

    /// The calls of `acquire` and `release` in a code object.
    fn sites_of(&self, code: u64) -> Rc<Vec<Site>> {
        if let Some(known) = self.sites.borrow().get(&code) {
            return Rc::clone(known);
        }
        let sites = Rc::new(self.read_sites(code).unwrap_or_default());
        let mut all = self.sites.borrow_mut();
        if all.len() < MAX_CODES {
            all.insert(code, Rc::clone(&sites));
        }
        sites
    }

    fn read_sites(&self, code: u64) -> Option<Vec<Site>> {
        let names = self.names(code)?;
        let place = |text| {
            let mut names = names.iter();
            names.position(|name| self.objects.text_is(*name, text))
        };
        let names = Names {
            acquire: place("acquire"),
            release: place("release"),
        };
        names.acquire?;
        let memory = self.objects.memory();
        let instructions = at(code, self.layout.code.instructions);
        let (first, size) = if self.minor < 11 {
            let bytes = memory.u64(instructions)?;
            let size = memory.u64(at(bytes, self.layout.object.items))?;
            (at(bytes, self.layout.bytes_data), size)
        } else {
            // `ob_size` of a code object: its instructions.
            let units = memory.u64(at(code, self.layout.object.items))?;
            (instructions, units.checked_mul(2)?)
        };
        let size = usize::try_from(size).ok().filter(|it| *it <= MAX_CODE)?;
        Some(bytecode::sites(
            &memory.up_to(first, size),
            self.minor,
            names,
        ))
    }

    /// `co_consts` and `co_names`: before `co_flags`, or behind `co_code`.
    fn member_of_code(&self, code: u64, back: u16, behind: u16) -> Option<u64> {
        let offset = match self.minor {
            ..11 => self.layout.code.instructions.checked_add(behind)?,
            _ => self.layout.code.flags.checked_sub(back)?,
        };
        self.objects.memory().u64(at(code, offset))
    }

    fn names(&self, code: u64) -> Option<Vec<u64>> {
        let names = self.member_of_code(code, 16, 16)?;
        self.objects.sequence(names, MAX_NAMES)
    }

    /// The object that an expression leads to in a frame.
    fn value(&self, place: &Place, value: &Value) -> Option<u64> {
        let memory = self.objects.memory();
        let slot = |index: usize| {
            let inside = (index < place.locals).then_some(index)?;
            self.slots(place, inside, 1).first().copied()
        };
        let name = |index: usize| {
            let names = self.names(place.code)?;
            self.objects.text(*names.get(index)?)
        };
        match value {
            Value::Local(index) => slot(*index),
            Value::Cell(index, among_locals) => {
                let before = match among_locals {
                    true => 0,
                    // `co_nlocals`
                    false => memory.u32(at(place.code, self.layout.code.locals))?,
                };
                let cell = slot(index.checked_add(before as usize)?)?;
                memory.u64(cell.checked_add(CELL_CONTENT)?)
            }
            Value::Global(index) => {
                let globals = memory.u64(at(place.frame, self.globals()))?;
                self.objects.dict_value(globals, &name(*index)?)
            }
            Value::Constant(index) => {
                let constants = self.member_of_code(place.code, 24, 8)?;
                let constants = self.objects.sequence(constants, index.checked_add(1)?)?;
                constants.get(*index).copied()
            }
            Value::Attribute(of, index) => {
                let of = self.value(place, of)?;
                self.objects.named(of, &name(*index)?)
            }
            Value::Element(of, key) => {
                let (of, key) = (self.value(place, of)?, self.value(place, key)?);
                self.objects.element(of, key)
            }
        }
    }

    /// `f_globals` of a frame.
    const fn globals(&self) -> u16 {
        match self.minor {
            ..11 => 48,
            11 => 8,
            _ => 24,
        }
    }
}
