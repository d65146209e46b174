//! The capabilities that matter, and what each is needed for.

use strum::{IntoStaticStr, VariantArray};

/// A capability (`include/uapi/linux/capability.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, VariantArray)]
#[repr(u8)]
#[strum(serialize_all = "SCREAMING_SNAKE_CASE", prefix = "CAP_")]
pub enum Capability {
    /// BPF.
    Bpf = 39,
    /// Performance events.
    Perfmon = 38,
    /// Reading any process.
    SysPtrace = 19,
    /// The one that stands for many.
    SysAdmin = 21,
    /// Kernel addresses.
    Syslog = 34,
    /// Reading any file.
    DacReadSearch = 2,
    /// Checkpoints.
    CheckpointRestore = 40,
}

impl Capability {
    /// All of them, in the order above.
    pub const ALL: &'static [Self] = Self::VARIANTS;

    /// Its name.
    pub fn name(self) -> &'static str {
        self.into()
    }

    /// What remora does with it.
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::DacReadSearch => "read the files of targets of other users, for their symbols",
            Self::SysPtrace => "read the mappings and files of targets of other users",
            Self::SysAdmin => "switch on BPF run-time statistics, for remora's own overhead",
            Self::Syslog => "read kernel addresses, for the names of kernel functions",
            Self::Perfmon => "sample CPUs, and let kernel programs read stacks and kernel memory",
            Self::Bpf => "load kernel programs and their maps",
            Self::CheckpointRestore => "open files that are mapped but deleted, for their symbols",
        }
    }

    /// Without it nothing can be observed; without another one something is missing in the report.
    pub const fn is_required(self) -> bool {
        matches!(self, Self::Bpf | Self::Perfmon | Self::SysPtrace)
    }

    /// Where the kernel takes CAP_SYS_ADMIN in its place: `bpf_capable`, `perfmon_capable` and
    /// `checkpoint_restore_ns_capable` (`include/linux/capability.h`).
    const fn is_part_of_sys_admin(self) -> bool {
        matches!(
            self,
            Self::SysAdmin | Self::Bpf | Self::Perfmon | Self::CheckpointRestore
        )
    }
}

/// Whether we have a capability.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CapState {
    /// Which one.
    pub capability: Capability,
    /// It is effective, or CAP_SYS_ADMIN is in its place.
    pub granted: bool,
}

/// What an effective set (`CapEff` of `/proc/self/status`) grants: one entry each of
/// [`Capability::ALL`], in that order.
pub(super) fn states(effective: u64) -> Vec<CapState> {
    let has = |capability: Capability| effective & (1 << capability as u8) != 0;
    let granted = |capability: Capability| {
        has(capability) || capability.is_part_of_sys_admin() && has(Capability::SysAdmin)
    };
    let states = Capability::ALL.iter().map(|&capability| CapState {
        capability,
        granted: granted(capability),
    });
    states.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn granted(effective: u64) -> Vec<Capability> {
        let states = states(effective).into_iter().filter(|state| state.granted);
        states.map(|state| state.capability).collect()
    }

    #[test]
    fn bits_are_those_of_the_kernel() {
        assert_eq!(granted(0), []);
        assert_eq!(granted(1 << 39), [Capability::Bpf]);
        assert_eq!(
            granted(1 << 38 | 1 << 34),
            [Capability::Perfmon, Capability::Syslog]
        );
        assert_eq!(
            granted(1 << 19 | 1 << 2),
            [Capability::SysPtrace, Capability::DacReadSearch]
        );
        assert_eq!(granted(1 << 40), [Capability::CheckpointRestore]);
        assert_eq!(granted(u64::MAX), Capability::ALL);
    }

    #[test]
    fn sys_admin_stands_for_some_only() {
        let expected = [
            Capability::Bpf,
            Capability::Perfmon,
            Capability::SysAdmin,
            Capability::CheckpointRestore,
        ];
        assert_eq!(granted(1 << 21), expected);
    }
}
