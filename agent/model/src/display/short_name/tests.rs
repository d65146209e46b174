//! A table of names as demanglers write them, and what a person wants to see.

use super::*;
use proptest::prelude::*;

/// Names of compiled code: in full, short.
const NATIVE: &[(&str, &str)] = &[
    // C, and places.
    ("main", "main"),
    ("foo.part.0", "foo.part.0"),
    ("libz.so.1.2.13+0x4a08", "libz.so.1.2.13+0x4a08"),
    ("", ""),
    // C++: templates and parameters.
    ("foo()", "foo()"),
    ("foo(int, bool)", "foo(int, bool)"),
    ("foo(int) [clone .isra.0]", "foo(int) [clone .isra.0]"),
    (
        "std::vector<int, std::allocator<int> >::push_back(int const&)",
        "std::vector<…>::push_back(int const&)",
    ),
    (
        "sea::Shark::bite(std::vector<int, std::allocator<int> > const&, unsigned int)",
        "sea::Shark::bite(…)",
    ),
    (
        "std::array<int, 3>::at(unsigned long)",
        "std::array<int, 3>::at(unsigned long)",
    ),
    ("Foo::Foo[abi:cxx11]()", "Foo::Foo[abi:cxx11]()"),
    ("Foo::~Foo()", "Foo::~Foo()"),
    // C++: what stands in front.
    (
        "void std::sort<int*>(int*, int*)",
        "std::sort<int*>(int*, int*)",
    ),
    (
        "std::map<int, std::string, std::less<int> >* make<int, std::string>(int)",
        "make<int, std::string>(int)",
    ),
    (
        "unsigned long max<unsigned char>(char)",
        "max<unsigned char>(char)",
    ),
    ("decltype ((g)({parm#1})) f<int>(int)", "f<int>(int)"),
    ("guard variable for foo()::x", "guard variable for foo()::x"),
    ("non-virtual thunk to A::f()", "non-virtual thunk to A::f()"),
    (
        "{virtual override thunk({offset(-16)}, Foo::bar())}",
        "{virtual override thunk({offset(-16)}, Foo::bar())}",
    ),
    ("{vtable(Foo)}", "{vtable(Foo)}"),
    (
        "(anonymous namespace)::foo(int)",
        "(anonymous namespace)::foo(int)",
    ),
    (
        "int (anonymous namespace)::foo<int>(int)",
        "(anonymous namespace)::foo<int>(int)",
    ),
    // C++: operators.
    ("operator<", "operator<"),
    (
        "Foo::operator<(Foo const&) const",
        "Foo::operator<(Foo const&) const",
    ),
    ("Foo::operator<<(int)", "Foo::operator<<(int)"),
    (
        "Foo::operator<=>(Foo const&) const",
        "Foo::operator<=>(Foo const&) const",
    ),
    ("Foo::operator>(int)", "Foo::operator>(int)"),
    ("Foo::operator>>(int)", "Foo::operator>>(int)"),
    ("Foo::operator->() const", "Foo::operator->() const"),
    ("Foo::operator->*(int)", "Foo::operator->*(int)"),
    ("Foo::operator()(int)", "Foo::operator()(int)"),
    (
        "Foo::operator[](unsigned long)",
        "Foo::operator[](unsigned long)",
    ),
    (
        "operator new[](unsigned long)",
        "operator new[](unsigned long)",
    ),
    ("Foo::operator bool() const", "Foo::operator bool() const"),
    (
        "Foo::operator std::vector<int>()",
        "Foo::operator std::vector<int>()",
    ),
    (
        "bool operator< <int>(int, int)",
        "operator< <int>(int, int)",
    ),
    (
        "std::basic_ostream<char, std::char_traits<char> >& std::operator<< <char, \
         std::char_traits<char> >(std::basic_ostream<char, std::char_traits<char> >&, \
         std::string const&)",
        "std::operator<< <…>(…)",
    ),
    (
        "my_operator<std::vector<std::string> >(int)",
        "my_operator<…>(int)",
    ),
    // C++: lambdas.
    (
        "main::{lambda()#1}::operator()() const",
        "main::{lambda()#1}::operator()() const",
    ),
    (
        "void foo<int>(int)::{lambda(int, std::string const&)#1}::operator()(int, std::string \
         const&) const",
        "foo<int>(int)::{lambda(…)#1}::operator()(…) const",
    ),
    ("f<(A)1, (B)(2 < 3), std::string>(int)", "f<…>(int)"),
    (
        "f<&Foo::operator->, std::allocator<int> >(int)",
        "f<…>(int)",
    ),
    // Rust.
    ("core::fmt::Write::write_fmt", "core::fmt::Write::write_fmt"),
    ("alloc::vec::Vec<T,A>::push", "alloc::vec::Vec<T,A>::push"),
    (
        "alloc::vec::Vec<alloc::string::String>::push",
        "alloc::vec::Vec<…>::push",
    ),
    (
        "<alloc::vec::Vec<T> as core::iter::traits::iterator::Iterator>::next",
        "<Vec<T> as Iterator>::next",
    ),
    (
        "core::fmt::num::<impl core::fmt::Debug for my::deep::Type>::fmt",
        "core::fmt::num::<impl Debug for Type>::fmt",
    ),
    (
        "<<a::A<x::X> as b::B>::Out as c::C>::run::{{closure}}",
        "<<A<x::X> as B>::Out as C>::run::{{closure}}",
    ),
    (
        "core::ptr::drop_in_place::<u8>",
        "core::ptr::drop_in_place::<u8>",
    ),
    (
        "core::ptr::drop_in_place::<alloc::vec::Vec<u8>>",
        "core::ptr::drop_in_place::<Vec<u8>>",
    ),
    (
        "run::<(first::A, second::B), third::C<fourth::D>, fifth::E>",
        "run::<…>",
    ),
    (
        "<fn() -> core::result::Result<(), alloc::string::String> as \
         core::ops::function::FnOnce<()>>::call_once",
        "<fn() -> Result<…> as FnOnce<()>>::call_once",
    ),
    (
        "core::ops::function::FnOnce::call_once{{vtable.shim}}",
        "core::ops::function::FnOnce::call_once{{vtable.shim}}",
    ),
    ("<[u8: 32] as my::Hash>::hash", "<[u8: 32] as Hash>::hash"),
    (
        "<&mut dyn std::io::Write as a::B>::f",
        "<&mut dyn Write as B>::f",
    ),
    ("<str>::find::{closure#0}", "<str>::find::{closure#0}"),
    // Go.
    ("main.main.func1", "main.main.func1"),
    ("net/http.(*conn).serve", "http.(*conn).serve"),
    ("main.Map[...]", "main.Map[...]"),
    (
        "main.(*Tree[go.shape.int,go.shape.string]).Walk",
        "main.(*Tree[…]).Walk",
    ),
    (
        "github.com/sea/fish/v2/internal/shark.Parse.func1",
        "shark.Parse.func1",
    ),
    (
        "type:.eq.github.com/sea/fish.Shark",
        "type:.eq.github.com/sea/fish.Shark",
    ),
    ("operator/(Foo const&, Foo)", "operator/(Foo const&, Foo)"),
    ("Foo::operator/(int)", "Foo::operator/(int)"),
    ("/srv/lib.so.1+0x10", "/srv/lib.so.1+0x10"),
    ("type:.eq.[2]string", "type:.eq.[2]string"),
    // Brackets that never close.
    ("std::vector<int, std::alloc…", "std::vector<…"),
    ("foo(std::string, std::str…", "foo(…"),
    ("foo>)]}", "foo>)]}"),
    ("<<<((([[[{{{", "<<<((([[[{{{"),
];

#[test]
fn compiled_names() {
    for (name, expected) in NATIVE {
        assert_eq!(short(name, FrameKind::Native), *expected, "{name}");
        assert_eq!(short(name, FrameKind::Inlined), *expected, "{name}");
    }
}

#[test]
fn names_made_at_run_time_and_of_the_kernel() {
    let cases = [
        (
            FrameKind::Jit,
            "JS:*work /tmp/a (1).js:1:14",
            "JS:*work a (1).js:1:14",
        ),
        (
            FrameKind::Jit,
            "JS:^ file:///srv/app/main.mjs:1:1",
            "JS:^ main.mjs:1:1",
        ),
        (
            FrameKind::Jit,
            "JS:^next node:internal/per_context/primordials:330:9",
            "JS:^next node:internal/per_context/primordials:330:9",
        ),
        (
            FrameKind::Jit,
            "long Fish.findMe(long)",
            "Fish.findMe(long)",
        ),
        (
            FrameKind::Jit,
            "java.lang.Object jdk.internal.misc.Unsafe.getReferenceVolatile(java.lang.Object, long)",
            "jdk.internal.misc.Unsafe.getReferenceVolatile(…)",
        ),
        (FrameKind::Jit, "void Fish.<init>()", "Fish.<init>()"),
        (FrameKind::Jit, "Interpreter", "Interpreter"),
        (
            FrameKind::Jit,
            "py::<listcomp>:/srv/app.py",
            "py::<listcomp>:/srv/app.py",
        ),
        (
            FrameKind::Kernel,
            "bpf_prog_6deef7357e7b4530_on_switch",
            "bpf_prog_on_switch",
        ),
        (
            FrameKind::Kernel,
            "bpf_prog_6deef7357e7b453_x",
            "bpf_prog_6deef7357e7b453_x",
        ),
        (FrameKind::Kernel, "__x64_sys_read", "__x64_sys_read"),
    ];
    for (kind, name, expected) in cases {
        assert_eq!(short(name, kind), expected, "{name}");
    }
}

#[test]
fn huge_names_take_no_time() {
    let started = std::time::Instant::now();
    for part in [
        "<",
        ">",
        "(",
        ")",
        "a::",
        "<a::b as ",
        "operator<",
        "x<",
        " ",
        "f(",
        "::<",
    ] {
        let name = part.repeat((1 << 20) / part.len());
        assert!(short(&name, FrameKind::Native).len() <= name.len().max(3));
    }
    assert!(started.elapsed().as_secs() < 2, "{:?}", started.elapsed());
}

proptest! {
    #[test]
    fn any_name_is_survived_and_not_longer(
        name in "([<>()\\[\\]{}:, a→…*&-]|operator|::|impl | as |std|lambda){0,60}",
    ) {
        for kind in [FrameKind::Native, FrameKind::Inlined, FrameKind::Jit, FrameKind::Kernel] {
            let short = short(&name, kind);
            prop_assert!(short.chars().count() <= name.chars().count() + 1, "{short}");
            prop_assert!(name.is_empty() || !short.is_empty());
        }
    }
}
