//! The name of a function without what differs from one instance of it to the next: type parameters, arguments,
//! closures, what the compiler split off.

/// What compilers put behind the name of a part or a variant of a function. Go's names have dots of their own.
const SPLIT_OFF: [&str; 6] = [
    ".constprop.",
    ".part.",
    ".isra.",
    ".cold",
    ".llvm.",
    ".lto_priv",
];

/// Words of a function's name that say that it takes a lock (`pthread_mutex_lock`, `lock_contended`,
/// `pthread_rwlock_rdlock`): compared with whole words, for `block_on` and `clock` are none.
const LOCK_WORDS: [&str; 9] = [
    "lock",
    "lll",
    "rdlock",
    "wrlock",
    "clockrdlock",
    "clockwrlock",
    "timedlock",
    "rwlock",
    "contended",
];

/// Whether a function that nobody knows calls itself a lock: by its own name, not its type's or its module's.
pub(super) fn names_lock(name: &str) -> bool {
    let plain = native(name).to_ascii_lowercase();
    let own = plain.rsplit("::").next().unwrap_or(&plain);
    let mut words = own.split(|c: char| !c.is_ascii_alphanumeric());
    words.any(|word| LOCK_WORDS.contains(&word))
}

/// Of compiled code: `<std::sync::Mutex<i64>>::lock` and `std::sync::Mutex<T>::lock(…)` are `std::sync::Mutex::lock`.
pub(super) fn native(name: &str) -> String {
    let name = self_type(name.split(" [clone").next().unwrap_or(name));
    let mut plain = String::with_capacity(name.len());
    let mut depth = 0_u32;
    for c in name.chars() {
        match c {
            '<' | '(' | '{' | '[' => depth += 1,
            '>' | ')' | '}' | ']' => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            _ => plain.push(c),
        }
    }
    let plain = plain.trim_end_matches(" const").trim_end();
    // C++ puts the type of the result before the name of a template.
    let plain = plain.rsplit(' ').next().unwrap_or(plain);
    let plain = plain.split('@').next().unwrap_or(plain);
    let cut = SPLIT_OFF.iter().filter_map(|part| plain.find(part)).min();
    let plain = &plain[..cut.unwrap_or(plain.len())];
    let parts = plain.split("::").filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("::")
}

/// `<A as B>::f` and `<A>::f` are functions of `A`.
fn self_type(name: &str) -> String {
    let Some(inner) = name.strip_prefix('<') else {
        return name.to_owned();
    };
    let mut depth = 1_u32;
    for (at, c) in inner.char_indices() {
        match c {
            '<' => depth += 1,
            '>' if inner[..at].ends_with('-') => {}
            '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            let own = inner[..at].split(" as ").next().unwrap_or(&inner[..at]);
            return format!("{}{}", self_type(own), &inner[at + 1..]);
        }
    }
    name.to_owned()
}

/// Of Python: without `<locals>`.
pub(super) fn python(name: &str) -> String {
    name.replace(".<locals>", "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn instances_of_one_function_have_one_name() {
        let cases = [
            (
                "std::sync::mutex::Mutex<T>::lock",
                "std::sync::mutex::Mutex::lock",
            ),
            (
                "<std::sync::poison::mutex::Mutex<i64>>::lock",
                "std::sync::poison::mutex::Mutex::lock",
            ),
            (
                "<parking_lot::raw_mutex::RawMutex as lock_api::mutex::RawMutex>::lock",
                "parking_lot::raw_mutex::RawMutex::lock",
            ),
            (
                "(anonymous namespace)::Spin<int>::lock(long) const",
                "Spin::lock",
            ),
            (
                "node::(anonymous namespace)::PlatformWorkerThread(void*)",
                "node::PlatformWorkerThread",
            ),
            (
                "void std::condition_variable::wait<F>(std::unique_lock<std::mutex>&, F)",
                "std::condition_variable::wait",
            ),
            (
                "__pthread_rwlock_rdlock_full64",
                "__pthread_rwlock_rdlock_full64",
            ),
            ("pthread_cond_wait@@GLIBC_2.3.2", "pthread_cond_wait"),
            ("take.constprop.0", "take"),
            ("runtime.findRunnable", "runtime.findRunnable"),
            (
                "std::thread::Builder::spawn_unchecked_::{{closure}}",
                "std::thread::Builder::spawn_unchecked_",
            ),
        ];
        for (name, plain) in cases {
            assert_eq!(native(name), plain, "{name}");
        }
        assert_eq!(python("go.<locals>.worker"), "go.worker");
    }

    proptest! {
        #[test]
        fn any_name_is_survived(name in ".{0,80}") {
            prop_assert!(native(&name).len() <= name.len());
            python(&name);
        }

        #[test]
        fn brackets_in_any_order_are_survived(name in "[<>(){}:a -]{0,40}") {
            native(&name);
        }
    }
}
