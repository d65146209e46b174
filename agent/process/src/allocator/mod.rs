//! Which functions a process gets its memory from: those of the file that its `malloc` leads to, and of
//! allocators that are linked in beside it under names of their own.
//!
//! Which file `malloc` leads to is what the dynamic linker decides: the program before its libraries, those
//! before the C library. The linker's own order among several libraries is not known here; the first by address
//! that is not the C library is taken.

mod calls;
mod place;
mod symbols;

pub use calls::Call;
pub use place::Place;

use super::maps::{Content, Module, Snapshot};
use calls::{MMAP, PREFIXES};
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use symbols::Defined;

/// Files of a process that are looked at.
const MAX_FILES: usize = 1024;

/// A function to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its name.
    pub name: String,
    /// Where it begins in its file, in bytes.
    pub offset: u64,
    /// Where in it a probe belongs.
    pub place: Place,
    /// What it does.
    pub call: Call,
}

/// Functions of one file.
#[derive(Clone, Debug)]
pub struct Allocator {
    /// The file.
    pub module: Arc<Module>,
    /// In the order of their offsets; no offset twice.
    pub functions: Vec<Function>,
    /// It has an `operator new` of its own, which is not watched.
    pub has_operator_new: bool,
}

/// What a file is to the search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Role {
    /// The program itself.
    Program,
    Library,
    /// The C library: `malloc` leads here where nobody else has one.
    Libc,
    /// Its `malloc` is for itself alone.
    Linker,
}

/// The allocators of a process, by its mappings; `program` is the path of what it executes.
pub fn find(space: &Snapshot, program: Option<&Path>) -> Vec<Allocator> {
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    let modules = space.mappings().iter().filter_map(|one| one.module.clone());
    for module in modules.filter(|module| matches!(module.content, Content::File(_))) {
        if files.len() >= MAX_FILES || !seen.insert(Arc::as_ptr(&module)) {
            continue;
        }
        let role = role(&module.path, program);
        if role == Role::Linker {
            continue;
        }
        let wanted = |name: &str| is_wanted(name);
        if let Some(defined) = symbols::defined(&module.content, role == Role::Program, wanted)
            && !defined.functions.is_empty()
        {
            files.push((role, module, defined));
        }
    }
    let chosen = choose(files.iter().map(|(role, _, defined)| (*role, defined)));
    let found = files.into_iter().zip(chosen);
    found
        .filter(|(_, functions)| !functions.is_empty())
        .map(|((_, module, defined), mut functions)| {
            for function in &mut functions {
                function.place = placed(&module.content, function);
            }
            (module, defined, functions)
        })
        .map(|(module, defined, functions)| Allocator {
            has_operator_new: defined.functions.iter().any(|one| one.name == "_Znwm")
                && functions.iter().any(|one| one.name == "malloc"),
            module,
            functions,
        })
        .collect()
}

fn placed(content: &Content, function: &Function) -> Place {
    let mut code = [0; place::BYTES];
    let read = content.read_at(&mut code, function.offset).unwrap_or(0);
    place::place(code.get(..read).unwrap_or_default(), function.call)
}

/// Before its code was looked at.
const BEGINNING: Place = Place {
    skip: 0,
    stepped: true,
};

fn is_wanted(name: &str) -> bool {
    matches!(name, "mmap" | "munmap" | "_Znwm") || calls::call(name).is_some()
}

fn role(path: &Path, program: Option<&Path>) -> Role {
    if program == Some(path) {
        return Role::Program;
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is = |starts: &[&str]| starts.iter().any(|start| name.starts_with(start));
    // musl's C library is its linker, too.
    if is(&["ld-musl", "libc.so", "libc-", "libc.musl"]) {
        Role::Libc
    } else if is(&["ld-", "ld."]) {
        Role::Linker
    } else {
        Role::Library
    }
}

/// The functions of each file that are watched.
fn choose<'a>(files: impl Iterator<Item = (Role, &'a Defined)>) -> Vec<Vec<Function>> {
    let files: Vec<_> = files.collect();
    let mut chosen = vec![Vec::new(); files.len()];
    for (prefix, _) in PREFIXES.iter().enumerate() {
        let mut candidates: Vec<_> = files
            .iter()
            .enumerate()
            .map(|(at, (role, defined))| (*role, at, family(defined, prefix)))
            .filter(|(_, _, functions)| is_whole(functions))
            .collect();
        candidates.sort_by_key(|(role, at, _)| (*role, *at));
        if let Some((_, at, functions)) = candidates.into_iter().next() {
            chosen[at].extend(functions);
        }
    }
    // Memory that the program maps by itself, from wherever the C library is.
    let mappings = files.iter().position(|(role, defined)| {
        *role == Role::Libc || (*role == Role::Program && !defined.is_dynamic)
    });
    if let Some(at) = mappings {
        for function in &files[at].1.functions {
            let call = match function.name.as_str() {
                "mmap" => MMAP,
                "munmap" => Call::Frees,
                _ => continue,
            };
            chosen[at].push(Function {
                name: function.name.clone(),
                offset: function.offset,
                place: BEGINNING,
                call,
            });
        }
    }
    for functions in &mut chosen {
        functions.sort_by_key(|one| one.offset);
        functions.dedup_by_key(|one| one.offset);
    }
    chosen
}

/// The functions of one allocator in a file. What a dynamic program keeps to itself, nobody reaches by the
/// plain names.
fn family(defined: &Defined, prefix: usize) -> Vec<Function> {
    let all = defined.functions.iter();
    all.filter(|one| one.exported || prefix != 0 || !defined.is_dynamic)
        .filter_map(|one| {
            let (of, call) = calls::call(&one.name)?;
            (of == prefix).then(|| Function {
                name: one.name.clone(),
                offset: one.offset,
                place: BEGINNING,
                call,
            })
        })
        .collect()
}

/// Whether it both gives and takes: what only gives would look like a leak.
fn is_whole(functions: &[Function]) -> bool {
    functions.iter().any(|one| one.call == Call::Frees)
        && functions
            .iter()
            .any(|one| matches!(one.call, Call::Allocates(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(names: &[&str], exported: bool, is_dynamic: bool) -> Defined {
        let numbered = names.iter().zip(1..);
        Defined {
            functions: numbered
                .map(|(name, offset)| symbols::Function {
                    name: (*name).to_owned(),
                    offset,
                    exported,
                })
                .collect(),
            is_dynamic,
        }
    }

    fn chosen(files: &[(Role, Defined)]) -> Vec<Vec<String>> {
        let named = |functions: Vec<Function>| functions.into_iter().map(|one| one.name).collect();
        choose(files.iter().map(|(role, defined)| (*role, defined)))
            .into_iter()
            .map(named)
            .collect()
    }

    const LIBC: [&str; 5] = ["malloc", "calloc", "free", "mmap", "munmap"];

    #[test]
    fn malloc_leads_to_the_c_library_unless_somebody_else_has_one() {
        let libc = (Role::Libc, file(&LIBC, true, false));
        let program = (Role::Program, file(&["main"], true, true));
        let found = chosen(&[program.clone(), libc.clone()]);
        assert_eq!(found, [Vec::<&str>::new(), LIBC.to_vec()]);
        let other = (Role::Library, file(&["free", "malloc"], true, false));
        let found = chosen(&[program, libc, other]);
        let rest = vec!["mmap", "munmap"];
        assert_eq!(found, [vec![], rest, vec!["free", "malloc"]]);
    }

    #[test]
    fn a_static_program_has_its_own_and_a_dynamic_ones_private_malloc_is_not_reached() {
        let alone = (Role::Program, file(&LIBC, false, false));
        assert_eq!(chosen(&[alone]), [LIBC.to_vec()]);
        let private = (Role::Program, file(&["malloc", "free"], false, true));
        assert_eq!(chosen(&[private]), [Vec::<&str>::new()]);
    }

    #[test]
    fn an_allocator_beside_the_c_librarys_is_watched_too() {
        let names = ["_rjem_mallocx", "_rjem_sdallocx", "main"];
        let program = (Role::Program, file(&names, false, true));
        let libc = (Role::Libc, file(&LIBC, true, false));
        let found = chosen(&[program, libc]);
        assert_eq!(found, [names[..2].to_vec(), LIBC.to_vec()]);
    }

    #[test]
    fn what_gives_and_does_not_take_is_left() {
        let odd = (Role::Library, file(&["malloc"], true, false));
        assert_eq!(chosen(&[odd]), [Vec::<&str>::new()]);
    }

    #[test]
    fn one_place_with_two_names_is_one_function() {
        let mut defined = file(&["memalign", "aligned_alloc", "free"], true, false);
        defined.functions[1].offset = 1;
        assert_eq!(chosen(&[(Role::Libc, defined)]), [["memalign", "free"]]);
    }

    #[test]
    fn files_have_their_roles_by_name() {
        let program = Path::new("/opt/app/libc.so.6");
        let of = |path: &str| role(Path::new(path), Some(program));
        assert_eq!(of("/opt/app/libc.so.6"), Role::Program);
        assert_eq!(of("/lib/x86_64-linux-gnu/libc.so.6"), Role::Libc);
        assert_eq!(of("/lib/ld-musl-x86_64.so.1"), Role::Libc);
        assert_eq!(of("/lib64/ld-linux-x86-64.so.2"), Role::Linker);
        assert_eq!(of("/usr/lib/libjemalloc.so.2"), Role::Library);
    }
}
