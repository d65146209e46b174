//! Objects of real interpreters, of each version that is installed, against what Python says of
//! them.

use super::*;
use crate::memory::ProcessMemory;
use crate::python::installed;
use crate::python::specimen::Specimen;
use std::collections::HashMap;

/// Prints the addresses of objects by name, and ends with its input.
const PROGRAM: &str = "
import sys, weakref
class Plain:
    def __init__(self): self.first = 1; self.second = 'two'
class Late(Plain):
    pass
class Slots:
    __slots__ = ('one', 'other')
class Derived(str):
    pass
plain, late, gone, slots = Plain(), Late(), Plain(), Slots()
late.__dict__; late.third = 3
for i in range(40): setattr(late, 'more%d' % i, i)
slots.other = 2.5
numbers = {i: i * i for i in range(300)}
for i in range(0, 300, 2): del numbers[i]
many = set(range(1000))
for i in range(10, 1000): many.discard(i)
objects = {
    'ascii': 'plain', 'latin': 'gr\\u00f6\\u00dfe', 'wide': '\\u043c\\u0438\\u0440',
    'widest': '\\U0001f600!', 'empty': '', 'long': 'x' * 2000, 'derived': Derived('inner \\u00e9'),
    'zero': 0, 'small': 7, 'digit': 2 ** 30, 'word': 2 ** 63 + 5, 'huge': 2 ** 64, 'minus': -3,
    'true': True, 'float': 2.5, 'none': None,
    'list': [1, 2, 3], 'nothing': [], 'tuple': (1, 2), 'frozen': frozenset([1]),
    'plain': plain, 'late': late, 'slots': slots, 'numbers': numbers, 'many': many,
    'strings': {'key': 'value', 'other': 'more'}, 'mixed': {'key': 1, 2: 3},
    'alive': weakref.ref(plain), 'dead': weakref.ref(gone),
}
del gone
print(' '.join('%s:%d' % (name, id(it)) for name, it in objects.items()), flush=True)
sys.stdin.read()
";

fn each(check: impl Fn(&Objects<'_, ProcessMemory>, &dyn Fn(&str) -> u64, u8)) {
    for installed in installed::all() {
        if installed.version.minor > 13 {
            continue;
        }
        let mut specimen = Specimen::start(&installed, PROGRAM);
        let line = specimen.line();
        let pairs = line.split(' ').filter_map(|pair| pair.split_once(':'));
        let ids: HashMap<&str, u64> = pairs
            .map(|(name, id)| (name, id.parse().unwrap()))
            .collect();
        let memory = specimen.memory();
        let python = crate::python::find(&specimen.snapshot(), &memory).unwrap();
        let minor = python.version.minor;
        let reader = Objects::new(&memory, &python.layout, minor, 1 << 24).unwrap();
        check(&reader, &|name| ids[name], minor);
    }
}

#[test]
fn strings_of_every_width() {
    each(|objects, at, minor| {
        let text = |name| objects.text(at(name));
        for (name, expected) in [
            ("ascii", "plain"),
            ("latin", "größe"),
            ("wide", "мир"),
            ("widest", "😀!"),
            ("empty", ""),
            ("derived", "inner é"),
        ] {
            assert_eq!(text(name).as_deref(), Some(expected), "3.{minor} {name}");
        }
        assert_eq!(text("long"), Some("x".repeat(1024) + "…"), "3.{minor}");
        assert_eq!((text("zero"), text("list")), (None, None), "3.{minor}");
        assert!(objects.text_is(at("ascii"), "plain"));
        assert!(!objects.text_is(at("ascii"), "plai"));
        assert!(objects.text_is(at("empty"), ""));
    });
}

#[test]
fn numbers_within_64_bits() {
    each(|objects, at, minor| {
        for (name, expected) in [
            ("zero", Some(0)),
            ("small", Some(7)),
            ("digit", Some(1 << 30)),
            ("word", Some((1 << 63) + 5)),
            ("true", Some(1)),
            ("huge", None),
            ("minus", None),
            ("ascii", None),
        ] {
            assert_eq!(objects.unsigned(at(name)), expected, "3.{minor} {name}");
        }
        assert_eq!(objects.float(at("float")), Some(2.5));
        assert_eq!(objects.float(at("small")), None);
    });
}

#[test]
fn containers_in_all_their_forms() {
    each(|objects, at, minor| {
        let numbers = |items: Vec<u64>| -> Vec<u64> {
            let numbers = items.iter().filter_map(|item| objects.unsigned(*item));
            numbers.collect()
        };
        let sequence = |name| objects.sequence(at(name), 2).map(numbers);
        assert_eq!(sequence("list"), Some(vec![1, 2]), "two at the most");
        assert_eq!(sequence("tuple"), Some(vec![1, 2]));
        assert_eq!(sequence("nothing"), Some(vec![]));
        assert_eq!(sequence("many"), None);
        let many = objects.set(at("many"), 100).unwrap();
        let mut members = numbers(many.items);
        members.sort_unstable();
        assert_eq!(
            members,
            (0..10).collect::<Vec<u64>>(),
            "3.{minor}: not the deleted ones"
        );
        assert_eq!((many.cut, many.torn), (0, false));
        let few = objects.set(at("many"), 4).unwrap();
        assert_eq!((few.items.len(), few.cut), (4, 6), "3.{minor}");
        assert_eq!(objects.set(at("frozen"), 9).unwrap().items.len(), 1);
        let pairs = objects.dict(at("numbers")).unwrap();
        let pairs: Vec<_> = pairs
            .into_iter()
            .map(|(key, value)| (objects.unsigned(key), objects.unsigned(value)))
            .collect();
        let odd = (0..150).map(|i| 2 * i + 1);
        let expected: Vec<_> = odd.map(|i| (Some(i), Some(i * i))).collect();
        assert_eq!(pairs, expected, "3.{minor}");
        let value = |dict, key| objects.dict_value(at(dict), key);
        assert_eq!(
            value("strings", "other").and_then(|it| objects.text(it)),
            Some("more".to_owned()),
            "3.{minor}"
        );
        assert_eq!(
            value("mixed", "key").and_then(|it| objects.unsigned(it)),
            Some(1)
        );
        assert_eq!(value("strings", "none"), None);
        assert_eq!(value("list", "key"), None);
    });
}

#[test]
fn attributes_wherever_they_are() {
    each(|objects, at, minor| {
        let number = |name, attribute| {
            let value = objects.attribute(at(name), attribute)?;
            objects.unsigned(value)
        };
        assert_eq!(number("plain", "first"), Some(1), "3.{minor}");
        assert_eq!(number("plain", "third"), None);
        assert_eq!(number("late", "third"), Some(3), "3.{minor}");
        assert_eq!(number("late", "more39"), Some(39), "3.{minor}");
        let two = objects.attribute(at("late"), "second").unwrap();
        assert_eq!(objects.text(two).as_deref(), Some("two"), "3.{minor}");
        let slot = objects.slot(at("slots"), "other").unwrap();
        assert_eq!(objects.float(slot), Some(2.5), "3.{minor}");
        assert_eq!(objects.slot(at("slots"), "nothing"), None);
        assert_eq!(objects.slot(at("plain"), "first"), None);
    });
}

#[test]
fn types_and_references() {
    each(|objects, at, minor| {
        let late = objects.type_of(at("late")).unwrap();
        assert_eq!(late.name, "Late", "3.{minor}");
        assert!(late.is_a("Late") && late.is_a("Plain") && late.is_a("object"));
        assert!(!late.is_a("str"));
        assert_eq!(
            objects.referent(at("alive")),
            Some(at("plain")),
            "3.{minor}"
        );
        assert_eq!(objects.referent(at("dead")), None, "3.{minor}");
        assert_eq!(objects.referent(at("plain")), None);
        for nothing in [0, 8, at("plain") + 4, u64::MAX - 7] {
            assert!(objects.type_of(nothing).is_none(), "3.{minor} {nothing:#x}");
        }
        // Inside of an object: no living one begins there.
        assert!(objects.type_of(at("long") + 64).is_none(), "3.{minor}");
    });
}
