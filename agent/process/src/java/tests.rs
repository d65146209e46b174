//! A machine made by hand: its tables, its threads, its objects; and what is refused.

mod hostile;

use super::*;

/// Where its memory begins.
const BASE: u64 = 0x10_0000;
/// Where classes and objects begin: references to them have 32 bits.
const HEAP: u64 = 0x20_0000;

/// Memory that is filled from its beginning on.
#[derive(Clone)]
struct Made {
    bytes: Vec<u8>,
    next: u64,
}

impl Memory for Made {
    fn read(&self, address: u64, buffer: &mut [u8]) -> Option<()> {
        let from = usize::try_from(address.checked_sub(BASE)?).ok()?;
        let bytes = self.bytes.get(from..from.checked_add(buffer.len())?)?;
        buffer.copy_from_slice(bytes);
        Some(())
    }
}

impl Made {
    fn new() -> Self {
        Self {
            bytes: vec![0; 0x18_0000],
            next: BASE + 64,
        }
    }

    /// Room for so many bytes.
    fn room(&mut self, bytes: usize) -> u64 {
        let at = self.next;
        self.next += (bytes as u64).next_multiple_of(16) + 16;
        at
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let from = usize::try_from(at - BASE).expect("inside");
        self.bytes[from..from + bytes.len()].copy_from_slice(bytes);
    }

    fn word(&mut self, at: u64, word: u64) {
        self.put(at, &word.to_ne_bytes());
    }

    fn half(&mut self, at: u64, word: u32) {
        self.put(at, &word.to_ne_bytes());
    }

    fn text(&mut self, text: &str) -> u64 {
        let at = self.room(text.len() + 1);
        self.put(at, text.as_bytes());
        at
    }

    /// A word of its own that holds this one.
    fn cell(&mut self, word: u64) -> u64 {
        let at = self.room(8);
        self.word(at, word);
        at
    }
}

/// Members that are no statics: structure, name, offset.
const MEMBERS: [(&str, &str, u64); 24] = [
    ("ThreadsList", "_length", 4),
    ("ThreadsList", "_threads", 16),
    ("JavaThread", "_threadObj", 8),
    ("Thread", "_osthread", 16),
    ("JavaThread", "_stack_base", 24),
    ("JavaThread", "_stack_size", 32),
    ("JavaThread", "_current_pending_monitor", 40),
    ("JavaThread", "_current_waiting_monitor", 48),
    ("OSThread", "_thread_id", 8),
    ("oopDesc", "_metadata._compressed_klass", 8),
    ("Klass", "_name", 24),
    ("Klass", "_super", 32),
    ("InstanceKlass", "_constants", 40),
    ("InstanceKlass", "_fields", 48),
    ("InstanceKlass", "_java_fields_count", 56),
    ("ConstantPool", "_length", 4),
    ("Symbol", "_length", 4),
    ("Symbol", "_body", 6),
    ("Array<int>", "_length", 0),
    ("Array<u2>", "_data", 4),
    ("ObjectMonitor", "_object", 8),
    ("ObjectMonitor", "_owner", 16),
    ("JVMFlag", "_name", 8),
    ("JVMFlag", "_addr", 0),
];

const CONSTANTS: [(&str, u32); 7] = [
    ("FieldInfo::name_index_offset", 1),
    ("FieldInfo::signature_index_offset", 2),
    ("FieldInfo::low_packed_offset", 4),
    ("FieldInfo::high_packed_offset", 5),
    ("FieldInfo::field_slots", 6),
    ("FIELDINFO_TAG_SIZE", 2),
    ("FIELDINFO_TAG_OFFSET", 1),
];

/// What differs from one machine to another.
struct Make {
    major: u32,
    flags: Vec<(&'static str, bool)>,
    /// A member that its tables do not have.
    without: &'static str,
}

impl Default for Make {
    fn default() -> Self {
        Self {
            major: 17,
            flags: vec![
                ("UseCompressedOops", true),
                ("UseCompressedClassPointers", true),
                ("UseZGC", false),
            ],
            without: "",
        }
    }
}

/// A machine, with what its library exports.
struct Machine {
    memory: Made,
    exports: Exports,
    list: u64,
}

fn machine(make: &Make) -> Machine {
    let mut memory = Made::new();
    let mut exports = Vec::new();
    let mut export = |memory: &mut Made, name: &str, value: u64| {
        let at = memory.cell(value);
        exports.push((name.to_owned(), at));
    };
    for (name, value) in [
        ("StructEntryTypeNameOffset", 0),
        ("StructEntryFieldNameOffset", 8),
        ("StructEntryIsStaticOffset", 24),
        ("StructEntryOffsetOffset", 32),
        ("StructEntryAddressOffset", 40),
        ("StructEntryArrayStride", 48),
        ("TypeEntryTypeNameOffset", 0),
        ("TypeEntrySizeOffset", 24),
        ("TypeEntryArrayStride", 32),
        ("IntConstantEntryNameOffset", 0),
        ("IntConstantEntryValueOffset", 8),
        ("IntConstantEntryArrayStride", 16),
        ("LongConstantEntryNameOffset", 0),
        ("LongConstantEntryValueOffset", 8),
        ("LongConstantEntryArrayStride", 16),
    ] {
        export(&mut memory, name, value);
    }
    let list = memory.cell(0);
    let statics = statics(&mut memory, make, list);
    let structs = structs(&mut memory, &statics, make.without);
    export(&mut memory, "Structs", structs);
    let types = memory.room(32 * 3);
    for (at, (name, size)) in [("ConstantPool", 16), ("JVMFlag", 24)]
        .into_iter()
        .enumerate()
    {
        let entry = types + 32 * at as u64;
        let name = memory.text(name);
        memory.word(entry, name);
        memory.word(entry + 24, size);
    }
    export(&mut memory, "Types", types);
    let constants = memory.room(16 * (CONSTANTS.len() + 1));
    for (at, (name, value)) in CONSTANTS.into_iter().enumerate() {
        let name = memory.text(name);
        memory.word(constants + 16 * at as u64, name);
        memory.half(constants + 16 * at as u64 + 8, value);
    }
    export(&mut memory, "IntConstants", constants);
    let none = memory.room(16);
    export(&mut memory, "LongConstants", none);
    Machine {
        memory,
        exports: exports.into_iter().collect(),
        list,
    }
}

/// Static members: structure, name, address.
fn statics(memory: &mut Made, make: &Make, list: u64) -> Vec<(&'static str, &'static str, u64)> {
    let release = memory.text("17.0.15+6-Debian-1deb12u1");
    let release = memory.cell(release);
    let major = memory.cell(make.major.into());
    let flags = memory.room(24 * make.flags.len());
    for (at, (name, on)) in make.flags.iter().enumerate() {
        let value = memory.cell(u64::from(*on));
        let name = memory.text(name);
        memory.word(flags + 24 * at as u64, value);
        memory.word(flags + 24 * at as u64 + 8, name);
    }
    let flags = memory.cell(flags);
    let number = memory.cell(make.flags.len() as u64);
    let (zero, shift) = (memory.cell(0), memory.cell(3));
    vec![
        ("Abstract_VM_Version", "_vm_major_version", major),
        ("Abstract_VM_Version", "_s_vm_release", release),
        ("JVMFlag", "flags", flags),
        ("JVMFlag", "numFlags", number),
        ("ThreadsSMRSupport", "_java_thread_list", list),
        ("CompressedOops", "_narrow_oop._base", zero),
        ("CompressedOops", "_narrow_oop._shift", shift),
        ("CompressedKlassPointers", "_narrow_klass._base", zero),
        ("CompressedKlassPointers", "_narrow_klass._shift", shift),
    ]
}

fn structs(memory: &mut Made, statics: &[(&str, &str, u64)], without: &str) -> u64 {
    let members = MEMBERS.iter().map(|it| (it, 0));
    let all = members.chain(statics.iter().map(|it| (it, 1)));
    let all: Vec<_> = all.filter(|((_, name, _), _)| *name != without).collect();
    let table = memory.room(48 * (all.len() + 1));
    for (at, ((of, name, place), is_static)) in all.into_iter().enumerate() {
        let entry = table + 48 * at as u64;
        let (of, name) = (memory.text(of), memory.text(name));
        memory.word(entry, of);
        memory.word(entry + 8, name);
        memory.half(entry + 24, is_static);
        memory.word(entry + 32 + 8 * u64::from(is_static), *place);
    }
    table
}

fn narrow(address: u64) -> u32 {
    u32::try_from(address / 8).expect("low")
}

impl Machine {
    fn symbol(&mut self, text: &str) -> u64 {
        let at = self.memory.room(6 + text.len());
        let length = u16::try_from(text.len()).expect("short");
        self.memory.put(at + 4, &length.to_ne_bytes());
        self.memory.put(at + 6, text.as_bytes());
        at
    }

    /// A class with these fields: name, type, offset.
    fn class(&mut self, name: &str, parent: u64, fields: &[(&str, &str, u16)]) -> u64 {
        let class = self.memory.room(64);
        let name = self.symbol(name);
        self.memory.word(class + 24, name);
        self.memory.word(class + 32, parent);
        let count = fields.len() * 2 + 1;
        let constants = self.memory.room(16 + 8 * count);
        self.memory
            .half(constants + 4, u32::try_from(count).expect("few"));
        let array = self.memory.room(4 + 12 * fields.len());
        self.memory
            .half(array, u32::try_from(6 * fields.len()).expect("few"));
        for (at, (name, kind, offset)) in fields.iter().enumerate() {
            let first = at as u64 * 2 + 1;
            for (number, text) in [(first, name), (first + 1, kind)] {
                let symbol = self.symbol(text);
                self.memory.word(constants + 16 + 8 * number, symbol);
            }
            let first = u16::try_from(first).expect("few");
            let words = [0, first, first + 1, 0, offset << 2 | 1, 0];
            let place = array + 4 + 12 * at as u64;
            self.memory.put(place, bytemuck::cast_slice(&words));
        }
        self.memory.word(class + 40, constants);
        self.memory.word(class + 48, array);
        let count = u16::try_from(fields.len()).expect("few");
        self.memory.put(class + 56, &count.to_ne_bytes());
        class
    }

    fn object(&mut self, class: u64) -> u64 {
        let object = self.memory.room(64);
        self.memory.half(object + 8, narrow(class));
        object
    }

    fn string(&mut self, class: u64, text: &str) -> u64 {
        let (string, array) = (self.object(class), self.memory.room(16 + text.len()));
        self.memory.half(string + 12, narrow(array));
        self.memory
            .half(array + 12, u32::try_from(text.len()).expect("short"));
        self.memory.put(array + 16, text.as_bytes());
        string
    }
}

/// Statuses of JVMTI: parked, at a monitor.
const PARKED: u32 = 0x291;
const AT_MONITOR: u32 = 0x401;

/// Three threads: `one` is parked on a lock that `two` has, `two` stands at a monitor that `one` has, `main` runs. `held`
/// says of which thread's the monitor's word is: an address on its stack, or its own.
fn running(make: &Make, on_stack: bool) -> Machine {
    let mut it = machine(make);
    it.memory.next = HEAP;
    let object = it.class("java/lang/Object", 0, &[]);
    let string = it.class(
        "java/lang/String",
        object,
        &[("value", "[B", 12), ("coder", "B", 16)],
    );
    let thread = it.class(
        "java/lang/Thread",
        object,
        &[
            ("name", "Ljava/lang/String;", 12),
            ("parkBlocker", "Ljava/lang/Object;", 16),
            ("threadStatus", "I", 20),
            ("eetop", "J", 24),
        ],
    );
    let own = it.class("com/acme/Worker", thread, &[("name", "I", 40)]);
    let ownable = it.class(
        "java/util/concurrent/locks/AbstractOwnableSynchronizer",
        object,
        &[("exclusiveOwnerThread", "Ljava/lang/Thread;", 12)],
    );
    let sync = it.class(
        "java/util/concurrent/locks/ReentrantLock$NonfairSync",
        ownable,
        &[],
    );
    let lock = it.object(sync);
    let mut natives = Vec::new();
    for (tid, name) in [(71, "main"), (72, "one"), (73, "two")] {
        let native = it.memory.room(64);
        let (os_thread, java) = (it.memory.room(16), it.object(own));
        let handle = it.memory.cell(java);
        let name = it.string(string, name);
        it.memory.half(os_thread + 8, tid);
        it.memory.word(native + 8, handle);
        it.memory.word(native + 16, os_thread);
        it.memory
            .word(native + 24, 0x7000_0000 + u64::from(tid) * 0x1_0000);
        it.memory.word(native + 32, 0x8000);
        it.memory.half(java + 12, narrow(name));
        it.memory.word(java + 24, native);
        natives.push((native, java));
    }
    let [(main, _), (one, java_one), (two, java_two)] = natives[..] else {
        unreachable!("three of them");
    };
    it.memory.half(java_one + 20, PARKED);
    it.memory.half(java_one + 16, narrow(lock));
    it.memory.half(lock + 12, narrow(java_two));
    let guarded = it.object(object);
    let (monitor, weak) = (it.memory.room(32), it.memory.cell(guarded));
    it.memory.word(monitor + 8, weak);
    it.memory
        .word(monitor + 16, if on_stack { 0x7048_0000 - 64 } else { one });
    it.memory.half(java_two + 20, AT_MONITOR);
    it.memory.word(two + 40, monitor);
    let array = it.memory.room(24);
    for (at, native) in [main, one, two].into_iter().enumerate() {
        it.memory.word(array + 8 * at as u64, native);
    }
    let list = it.memory.room(24);
    it.memory.half(list + 4, 3);
    it.memory.word(list + 16, array);
    let at = it.list;
    it.memory.word(at, list);
    it
}

#[test]
fn two_threads_that_wait_for_each_other_are_read_with_names_and_owners() {
    for on_stack in [false, true] {
        let made = running(&Make::default(), on_stack);
        let java = open(&made.memory, &made.exports).expect("it is whole");
        assert_eq!(java.version, "17.0.15+6");
        let all = threads(&java, &made.memory);
        assert_eq!((all.unread, all.torn, all.truncated), (0, false, false));
        let names: Vec<_> = all
            .threads
            .iter()
            .map(|it| (it.tid, it.name.as_deref()))
            .collect();
        assert_eq!(
            names,
            [(71, Some("main")), (72, Some("one")), (73, Some("two"))]
        );
        let [main, one, two] = &all.threads[..] else {
            panic!("{all:?}");
        };
        assert_eq!(main.wait, None);
        let parked = one.wait.as_ref().expect("it is parked");
        assert_eq!((parked.on, &parked.owner), (On::Park, &Owner::Thread(73)));
        assert_eq!(
            parked.classes[0],
            "java.util.concurrent.locks.ReentrantLock$NonfairSync"
        );
        let stands = two.wait.as_ref().expect("it stands at a monitor");
        assert_eq!(
            (stands.on, &stands.owner),
            (On::Monitor, &Owner::Thread(72)),
            "{on_stack}"
        );
        assert_eq!(stands.classes, ["java.lang.Object"]);
    }
}

#[test]
fn an_owner_that_has_ended_is_told_by_its_name() {
    let mut made = running(&Make::default(), false);
    let java = open(&made.memory, &made.exports).expect("it is whole");
    let two = threads(&java, &made.memory).threads.remove(2);
    assert_eq!(two.name.as_deref(), Some("two"));
    // Its `eetop` is what leads from the object to the native thread.
    let list = made.memory.u64(made.list).expect("a list");
    let array = made.memory.u64(list + 16).expect("an array");
    let native = made.memory.u64(array + 16).expect("a thread");
    let object = made
        .memory
        .u64(made.memory.u64(native + 8).expect("a handle"));
    made.memory.word(object.expect("an object") + 24, 0);
    let one = threads(&java, &made.memory).threads.remove(1);
    let owner = one.wait.expect("it is parked").owner;
    assert_eq!(owner, Owner::Ended(Some("two".into())));
}

#[test]
fn what_is_not_known_is_refused_by_name() {
    let refused = |make: &Make| {
        let made = running(make, false);
        open(&made.memory, &made.exports).expect_err("it is not known")
    };
    let on = |flag| {
        let mut make = Make::default();
        make.flags.push((flag, true));
        make
    };
    assert_eq!(
        refused(&on("UseShenandoahGC")),
        Refused::Collector("Shenandoah")
    );
    let mut make = Make::default();
    make.flags[1].1 = false;
    assert!(matches!(refused(&make), Refused::Option(_)));
    make.flags.clear();
    assert!(matches!(
        refused(&make),
        Refused::Missing("UseCompressedOops")
    ));
    for major in [11, 26] {
        let make = Make {
            major,
            ..Make::default()
        };
        assert!(matches!(refused(&make), Refused::Version(_)), "{major}");
    }
    for (of, name, _) in MEMBERS {
        let make = Make {
            without: name,
            ..Make::default()
        };
        // Two structures have a `_length` and a `_name` that are needed each.
        assert!(
            matches!(refused(&make), Refused::Missing(_)),
            "{of}::{name}"
        );
    }
    let made = running(&Make::default(), false);
    assert_eq!(
        open(&made.memory, &Exports::default()),
        Err(Refused::NoTables)
    );
}

#[test]
fn the_library_of_a_machine_exports_the_tables() {
    let paths = ["/usr/lib/jvm/default-java/lib/server/libjvm.so"];
    let there = paths.iter().find_map(|path| std::fs::File::open(path).ok());
    let Some(file) = there else {
        remora_testing::skip("there is no OpenJDK here");
        return;
    };
    let found = exports(&crate::maps::Content::File(file)).expect("they are exported");
    for name in ["Structs", "Types", "IntConstants", "StructEntryArrayStride"] {
        assert!(found.get(name).is_some(), "{name}");
    }
}
