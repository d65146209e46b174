//! Which subjects do not answer, and what was given up.

use super::Step;
use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{LazyLock, Mutex, MutexGuard, PoisonError},
};

/// Different things given up that are told one by one; beyond them only their number is kept.
const MAX_TOLD: usize = 256;

/// What a step is about: where one step hangs, another would too.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Subject {
    /// The host as a whole: each step stands for itself.
    Host,
    /// A process, by its id: its memory lock is held, say.
    Process(u32),
    /// A file system, by its device number as major << 32 | minor: its server does not answer.
    Device(u64),
}

impl fmt::Display for Subject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host => write!(out, "this host"),
            Self::Process(pid) => write!(out, "process {pid}"),
            Self::Device(device) => {
                write!(out, "file system {}:{}", device >> 32, device & 0xffff_ffff)
            }
        }
    }
}

/// Something that was not there in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GivenUp {
    /// What was wanted.
    pub step: Step,
    /// Of what.
    pub about: Subject,
    /// How often.
    pub count: u64,
}

#[derive(Default)]
struct Register {
    /// Threads that hang, by subject.
    stuck: HashMap<Subject, u32>,
    given_up: BTreeMap<(Step, Subject), u64>,
}

static REGISTER: LazyLock<Mutex<Register>> = LazyLock::new(Mutex::default);

fn register() -> MutexGuard<'static, Register> {
    // Counters stay right whoever panicked.
    REGISTER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a step about this hangs now.
pub fn is_stuck(about: Subject) -> bool {
    about != Subject::Host && register().stuck.contains_key(&about)
}

/// Whether any step hangs now.
pub fn anything_hangs() -> bool {
    !register().stuck.is_empty()
}

/// One more thread hangs.
pub(super) fn hangs(about: Subject) {
    *register().stuck.entry(about).or_default() += 1;
}

/// One of them came back.
pub(super) fn came_back(about: Subject) {
    let mut register = register();
    if let Some(count) = register.stuck.get_mut(&about) {
        *count -= 1;
        if *count == 0 {
            register.stuck.remove(&about);
        }
    }
}

/// A step was given up.
pub fn note(step: Step, about: Subject) {
    let mut register = register();
    let full = register.given_up.len() >= MAX_TOLD;
    let key = match full && !register.given_up.contains_key(&(step, about)) {
        true => (step, Subject::Host),
        false => (step, about),
    };
    *register.given_up.entry(key).or_default() += 1;
}

/// What was given up since the last time.
pub fn take_given_up() -> Vec<GivenUp> {
    let given_up = std::mem::take(&mut register().given_up);
    let all = given_up.into_iter();
    all.map(|((step, about), count)| GivenUp { step, about, count })
        .collect()
}
