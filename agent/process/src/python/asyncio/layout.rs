//! How asyncio's C accelerator lays out futures and tasks.
//!
//! Source: `Modules/_asynciomodule.c` (`FutureObj_HEAD`, `TaskObj`) of 3.8 to 3.13, compared with the
//! debug information of a build of each. `tp_basicsize` of the target's own type is compared with
//! [`TaskLayout::size`] before a task is read by it.

/// `FutureObj.fut_loop`, `.fut_callback0`: the same in all versions.
pub(super) const LOOP: usize = 16;
/// See [`LOOP`].
pub(super) const CALLBACK: u64 = 24;

/// `fut_state`: `STATE_PENDING`.
pub(super) const PENDING: u32 = 0;

/// Where a thread's running loop is noted, from the beginning of its `PyThreadState`, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum RunningLoop {
    /// In its `dict`, which is there.
    Dict(u64),
    /// In `_PyThreadStateImpl.asyncio_running_loop` (3.13 on).
    Member(u64),
}

/// Members of `TaskObj` and of what it needs, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TaskLayout {
    /// `sizeof(TaskObj)`.
    pub size: u64,
    /// `fut_state`, an `int`.
    pub state: usize,
    /// `task_fut_waiter`
    pub waiter: usize,
    /// `task_coro`
    pub coroutine: usize,
    /// `task_name`: a `str`, or from 3.12 on an `int` of which the name is made when asked for.
    pub name: usize,
    /// `task_must_cancel`, an `int`, or a bit of it.
    pub must_cancel: usize,
    /// The bits of `must_cancel` that say so.
    pub must_cancel_mask: u32,
    /// Where a thread's running loop is noted.
    pub running_loop: RunningLoop,
    /// `PyFunctionObject.func_qualname`
    pub function_name: u64,
    /// `PyFunctionObject.func_closure`
    pub function_closure: u64,
}

impl TaskLayout {
    /// The layout of CPython 3.`minor`; `None` when it is not known. 3.14 keeps its tasks in lists
    /// of its own.
    pub(super) fn of(minor: u8) -> Option<Self> {
        let v3_8 = Self {
            size: 144,
            state: 72,
            waiter: 104,
            coroutine: 112,
            name: 120,
            must_cancel: 136,
            must_cancel_mask: u32::MAX,
            running_loop: RunningLoop::Dict(152),
            function_name: 104,
            function_closure: 48,
        };
        let v3_9 = Self {
            size: 184,
            state: 80,
            waiter: 144,
            coroutine: 152,
            name: 160,
            must_cancel: 176,
            ..v3_8
        };
        let v3_10 = Self {
            size: 192,
            state: 88,
            waiter: 152,
            coroutine: 160,
            name: 168,
            must_cancel: 184,
            function_name: 40,
            function_closure: 72,
            ..v3_9
        };
        let v3_11 = Self {
            size: 176,
            waiter: 128,
            coroutine: 136,
            name: 144,
            must_cancel: 160,
            running_loop: RunningLoop::Dict(128),
            ..v3_10
        };
        let v3_12 = Self {
            running_loop: RunningLoop::Dict(112),
            ..v3_11
        };
        let v3_13 = Self {
            size: 144,
            state: 96,
            waiter: 112,
            coroutine: 120,
            name: 128,
            must_cancel: 100,
            must_cancel_mask: 1 << 2,
            running_loop: RunningLoop::Member(304),
            ..v3_12
        };
        match minor {
            8 => Some(v3_8),
            9 => Some(v3_9),
            10 => Some(v3_10),
            11 => Some(v3_11),
            12 => Some(v3_12),
            13 => Some(v3_13),
            _ => None,
        }
    }
}
