//! Where things lie in the machine's memory, from its own tables: offsets in bytes.
//!
//! What no table says is the same in all versions that are read, and stands in the module that uses it with its
//! source.

use super::flags::Flags;
use super::{Refused, Tables, VERSIONS};
use crate::memory::Memory;

/// Members lie within so many bytes of their structure's beginning.
const MAX_OFFSET: u64 = 1 << 16;

/// Everything that is needed of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// As `17.0.15+6`.
    pub version: String,
    pub(super) list: List,
    pub(super) thread: Thread,
    /// `OSThread::_thread_id`.
    pub(super) os_thread_id: u64,
    pub(super) heap: Heap,
    pub(super) class: Class,
    pub(super) symbol: Symbol,
    pub(super) fields: Fields,
    pub(super) monitor: Monitor,
}

/// The list of threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct List {
    /// Address of the pointer to it.
    pub(super) at: u64,
    pub(super) length: u64,
    pub(super) threads: u64,
}

/// `JavaThread`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Thread {
    pub(super) object: u64,
    pub(super) os_thread: u64,
    pub(super) stack_base: u64,
    pub(super) stack_size: u64,
    /// The monitor that it is about to enter.
    pub(super) pending: u64,
    /// The monitor that it waits on.
    pub(super) waiting: u64,
    /// What monitors call their owner (since 24).
    pub(super) owner_id: Option<u64>,
    pub(super) lock_stack: Option<LockStack>,
}

/// The objects that a thread has locked without a monitor (since 21).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LockStack {
    /// Where it lies in the thread.
    pub(super) at: u64,
    /// Where in it the offset of its end stands.
    pub(super) top: u64,
    /// Where in it the objects stand.
    pub(super) base: u64,
}

/// Pointers in 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Narrow {
    pub(super) base: u64,
    pub(super) shift: u32,
}

impl Narrow {
    /// The address that a pointer stands for.
    pub(super) fn address(self, narrow: u32) -> u64 {
        match narrow {
            0 => 0,
            _ => self.base.wrapping_add(u64::from(narrow) << self.shift),
        }
    }
}

/// Objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heap {
    /// References in objects; `None`: they have 64 bits.
    pub(super) narrow: Option<Narrow>,
    /// References to classes.
    pub(super) classes: Narrow,
    /// Where the class stands in an object, and by how much it is shifted there.
    pub(super) class: u64,
    pub(super) class_shift: u32,
    /// The length of an array; its elements come behind it.
    pub(super) array_length: u64,
}

/// `Klass` and `InstanceKlass`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) name: u64,
    pub(super) parent: u64,
    /// Its constants.
    pub(super) constants: u64,
    pub(super) constants_length: u64,
    /// The first constant.
    pub(super) constants_base: u64,
}

/// `Symbol`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Symbol {
    pub(super) length: u64,
    pub(super) body: u64,
}

/// Where a class's fields are described.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// Up to 20: six numbers of 16 bits each.
    Words {
        at: u64,
        count: u64,
        array_length: u64,
        array_data: u64,
    },
    /// From 21 on: a stream of packed numbers.
    Stream {
        at: u64,
        array_length: u64,
        array_data: u64,
    },
}

/// `ObjectMonitor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Monitor {
    pub(super) object: u64,
    pub(super) owner: u64,
}

impl Layout {
    /// That of a machine.
    ///
    /// # Errors
    /// Says what is missing, or which version, collector or option is in the way.
    pub fn of(memory: &impl Memory, tables: &Tables) -> Result<Self, Refused> {
        let version = version(memory, tables)?;
        let flags = Flags::read(memory, tables)?;
        for (flag, collector) in [("UseZGC", "ZGC"), ("UseShenandoahGC", "Shenandoah")] {
            if flags.is_on(flag) {
                return Err(Refused::Collector(collector));
            }
        }
        let offset = |of, name, what| member(tables, of, name).ok_or(Refused::Missing(what));
        Ok(Self {
            version,
            list: list(tables)?,
            thread: thread(tables)?,
            os_thread_id: offset("OSThread", "_thread_id", "OSThread::_thread_id")?,
            heap: heap(memory, tables, &flags)?,
            class: class(tables)?,
            symbol: Symbol {
                length: offset("Symbol", "_length", "Symbol::_length")?,
                body: offset("Symbol", "_body", "Symbol::_body")?,
            },
            fields: fields(tables)?,
            monitor: Monitor {
                object: offset("ObjectMonitor", "_object", "ObjectMonitor::_object")?,
                owner: offset("ObjectMonitor", "_owner", "ObjectMonitor::_owner")?,
            },
        })
    }
}

fn member(tables: &Tables, of: &str, name: &str) -> Option<u64> {
    tables.offset(of, name).filter(|it| *it < MAX_OFFSET)
}

/// The text of the release, if its number is one of those that are read.
fn version(memory: &impl Memory, tables: &Tables) -> Result<String, Refused> {
    const OF: &str = "Abstract_VM_Version";
    let missing = Refused::Missing("Abstract_VM_Version");
    let major = tables
        .address(OF, "_vm_major_version")
        .ok_or(missing.clone())?;
    let release = tables.address(OF, "_s_vm_release").ok_or(missing)?;
    let major = memory.u32(major);
    let major = major.ok_or(Refused::Unreadable("version"))?;
    let release = memory.u64(release);
    let release =
        release.and_then(|at| super::tables::text(&mut crate::pages::Pages::new(memory), at));
    let text = release.unwrap_or_else(|| major.to_string());
    // From `17.0.15+6-Debian-1deb12u1` what counts.
    let short: String = text
        .chars()
        .take_while(|c| c.is_ascii_digit() || matches!(c, '.' | '+'))
        .collect();
    match VERSIONS.contains(&major) {
        true => Ok(short),
        false => Err(Refused::Version(short)),
    }
}

fn list(tables: &Tables) -> Result<List, Refused> {
    let missing = || Refused::Missing("ThreadsSMRSupport::_java_thread_list");
    Ok(List {
        at: tables
            .address("ThreadsSMRSupport", "_java_thread_list")
            .ok_or_else(missing)?,
        length: member(tables, "ThreadsList", "_length").ok_or_else(missing)?,
        threads: member(tables, "ThreadsList", "_threads").ok_or_else(missing)?,
    })
}

fn thread(tables: &Tables) -> Result<Thread, Refused> {
    // Some of them moved between the class and its parent from one version to the next.
    let anywhere =
        |name| member(tables, "JavaThread", name).or_else(|| member(tables, "Thread", name));
    let offset = |name, what| anywhere(name).ok_or(Refused::Missing(what));
    let of_stack = |name| member(tables, "LockStack", name);
    let lock_stack = anywhere("_lock_stack")
        .zip(of_stack("_top"))
        .zip(of_stack("_base[0]"));
    Ok(Thread {
        object: offset("_threadObj", "JavaThread::_threadObj")?,
        os_thread: offset("_osthread", "Thread::_osthread")?,
        stack_base: offset("_stack_base", "JavaThread::_stack_base")?,
        stack_size: offset("_stack_size", "JavaThread::_stack_size")?,
        pending: offset(
            "_current_pending_monitor",
            "JavaThread::_current_pending_monitor",
        )?,
        waiting: offset(
            "_current_waiting_monitor",
            "JavaThread::_current_waiting_monitor",
        )?,
        owner_id: anywhere("_monitor_owner_id"),
        lock_stack: lock_stack.map(|((at, top), base)| LockStack { at, top, base }),
    })
}

fn heap(memory: &impl Memory, tables: &Tables, flags: &Flags) -> Result<Heap, Refused> {
    if !flags.is_on("UseCompressedClassPointers") {
        return Err(Refused::Option("-XX:-UseCompressedClassPointers"));
    }
    let compact = flags.is_on("UseCompactObjectHeaders");
    let shift = tables.constant("markWord::klass_shift");
    let class = match compact {
        true => member(tables, "oopDesc", "_mark").zip(shift),
        false => member(tables, "oopDesc", "_metadata._compressed_klass").zip(Some(0)),
    };
    let (class, shift) = class.ok_or(Refused::Missing("oopDesc::_metadata"))?;
    let narrow = flags
        .is_on("UseCompressedOops")
        .then(|| narrow(memory, tables, ["CompressedOops", "_narrow_oop"]));
    Ok(Heap {
        narrow: narrow.transpose()?,
        classes: self::narrow(memory, tables, ["CompressedKlassPointers", "_narrow_klass"])?,
        class,
        class_shift: u32::try_from(shift)
            .ok()
            .filter(|shift| *shift <= 56)
            .ok_or(Refused::Unreadable("mark word"))?,
        // Behind the class, which has 32 bits, or is in the mark word (`arrayOopDesc::length_offset_in_bytes`).
        array_length: match compact {
            true => class + 8,
            false => class + 4,
        },
    })
}

/// How references are packed.
fn narrow(
    memory: &impl Memory,
    tables: &Tables,
    [of, before]: [&str; 2],
) -> Result<Narrow, Refused> {
    // Since 23 they stand there by themselves.
    let place = |name: &str| {
        let nested = tables.address(of, &format!("{before}.{name}"));
        nested.or_else(|| tables.address(of, name))
    };
    let missing = Refused::Missing("CompressedOops");
    let (Some(base), Some(shift)) = (place("_base"), place("_shift")) else {
        return Err(missing);
    };
    let base = memory.u64(base);
    let shift = memory.u32(shift).filter(|shift| *shift <= 16);
    match (base, shift) {
        (Some(base), Some(shift)) => Ok(Narrow { base, shift }),
        _ => Err(Refused::Unreadable("compressed references")),
    }
}

fn class(tables: &Tables) -> Result<Class, Refused> {
    let offset = |of, name, what| member(tables, of, name).ok_or(Refused::Missing(what));
    Ok(Class {
        name: offset("Klass", "_name", "Klass::_name")?,
        parent: offset("Klass", "_super", "Klass::_super")?,
        constants: offset("InstanceKlass", "_constants", "InstanceKlass::_constants")?,
        constants_length: offset("ConstantPool", "_length", "ConstantPool::_length")?,
        constants_base: tables
            .size("ConstantPool")
            .filter(|size| *size < MAX_OFFSET)
            .ok_or(Refused::Missing("ConstantPool"))?,
    })
}

fn fields(tables: &Tables) -> Result<Fields, Refused> {
    let array_length = member(tables, "Array<int>", "_length");
    let data = |of| member(tables, of, "_data");
    let missing = Refused::Missing("InstanceKlass::_fields");
    let array_length = array_length.ok_or_else(|| missing.clone())?;
    if let Some(at) = member(tables, "InstanceKlass", "_fieldinfo_stream") {
        return Ok(Fields::Stream {
            at,
            array_length,
            array_data: data("Array<u1>").ok_or(missing)?,
        });
    }
    if !super::fields::words_are_known(tables) {
        return Err(Refused::Missing("FieldInfo"));
    }
    let at = member(tables, "InstanceKlass", "_fields");
    let count = member(tables, "InstanceKlass", "_java_fields_count");
    match (at, count, data("Array<u2>")) {
        (Some(at), Some(count), Some(array_data)) => Ok(Fields::Words {
            at,
            count,
            array_length,
            array_data,
        }),
        _ => Err(missing),
    }
}
