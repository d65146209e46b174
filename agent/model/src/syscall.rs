//! A system call by its name: numbers differ between architectures.

use serde::{Deserialize, Deserializer, Serialize};
use std::str::FromStr as _;
use syscalls::{aarch64, x86_64};

/// A system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
pub struct Syscall(&'static str);

impl Syscall {
    /// The call of this name, as the kernel's tables have it.
    pub const fn named(name: &'static str) -> Self {
        Self(name)
    }

    /// The same of a name that was read; `None` where no architecture has such a call.
    fn known(name: &str) -> Option<Self> {
        let x86 = x86_64::Sysno::from_str(name).map(|call| call.name());
        let arm = || aarch64::Sysno::from_str(name).map(|call| call.name());
        x86.or_else(|()| arm()).ok().map(Self)
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl<'de> Deserialize<'de> for Syscall {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        let name = std::borrow::Cow::<str>::deserialize(reader)?;
        let unknown = || serde::de::Error::custom(format!("no system call is called \"{name}\""));
        Self::known(&name).ok_or_else(unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_comes_back_by_its_name_and_an_unknown_one_is_refused() {
        for name in ["futex", "epoll_wait", "newfstatat", "renameat"] {
            let text = serde_json::to_string(&Syscall::named(name)).expect("a name");
            let back: Syscall = serde_json::from_str(&text).expect("it was just written");
            assert_eq!(back.name(), name);
        }
        assert!(serde_json::from_str::<Syscall>("\"fut\\u0065x\"").is_ok());
        assert!(serde_json::from_str::<Syscall>("\"no_such_call\"").is_err());
    }
}
