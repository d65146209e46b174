//! One counter for each way to lose something. A figure without its loss line is a bug.

macro_rules! losses {
    ($($(#[$doc:meta])* $name:ident = $value:literal, $key:literal;)*) => {
        /// What was lost; the index of a per-CPU counter.
        #[cfg_attr(feature = "user", derive(serde::Deserialize, serde::Serialize))]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u32)]
        pub enum Loss {
            $($(#[$doc])* $name = $value,)*
        }

        impl Loss {
            /// Every loss, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name in `report.json`.
            pub const fn key(self) -> &'static str {
                match self { $(Self::$name => $key,)* }
            }
        }
    };
}

losses! {
    /// The stack table had no room within its probes.
    StackTableFull = 0, "stack_table_full";
    /// The kernel could not walk a user stack.
    UserStackFailed = 1, "user_stack_failed";
    /// The kernel could not walk a kernel stack.
    KernelStackFailed = 2, "kernel_stack_failed";
    /// The aggregate table had no room: time is in the thread's totals, its stack is not.
    AggregateTableFull = 3, "aggregate_table_full";
    /// A new thread of a target found no free slot: it is not seen at all.
    ThreadTableFull = 4, "thread_table_full";
    /// The ring of rare events was full.
    EventRingFull = 5, "event_ring_full";
    /// Waits of 32-bit tasks: counted, not interpreted.
    Compat32Waits = 6, "compat32_waits";
    /// Saved registers could not be read: the reason is `unknown`.
    RegistersUnreadable = 7, "registers_unreadable";
    /// A descriptor's kind could not be read: the wait counts as a plain system call.
    DescriptorUnreadable = 8, "descriptor_unreadable";
    /// Long waits whose stack the switch-out fallback did not sample.
    WaitStackSkipped = 9, "wait_stack_skipped";
    /// A thread id beyond the table (`pid_max` was raised after the start).
    TidOutOfRange = 10, "tid_out_of_range";
    /// A state that did not follow from the one before: the kernel let a thread run without the
    /// tracepoint (seen where a CPU leaves its idle task). That run counts as the end of a wait.
    StateTorn = 11, "state_torn";
    /// Stacks cut at the frame limit.
    StackTruncated = 12, "stack_truncated";
    /// Stacks whose Python frames were not found: the interpreter has more threads than are searched.
    PythonThreadNotFound = 13, "python_thread_not_found";
    /// Event loops beyond the table: their iterations are not seen.
    EventLoopTableFull = 14, "event_loop_table_full";
    /// Samples and waits of a late iteration that are not marked as such: there were too many before it
    /// was late, or the tables were emptied in between.
    LateMarksLost = 15, "late_marks_lost";
    /// Sampled page faults whose region was not kept, as the table was filling up: they have their stack.
    FaultRegionDropped = 16, "fault_region_dropped";
    /// Sampled page faults without a stack, as the table was nearly full: their growth has no stack.
    FaultSampleDropped = 17, "fault_sample_dropped";
    /// Sampled blocks that were not kept, as the table of blocks was full.
    HeapTableFull = 18, "heap_table_full";
    /// Sampled blocks whose stack was not taken: another thread was taking one on this CPU, or the table of
    /// sums was nearly full. They count, under no stack.
    HeapStackDropped = 19, "heap_stack_dropped";
    /// Blocks that were freed in a way that was not seen: another one was given their address.
    HeapFreeMissed = 20, "heap_free_missed";
    /// Sampled allocations whose return was not seen: they are not in the figures.
    HeapReturnMissed = 21, "heap_return_missed";
}

/// How many counters there are.
pub const LOSSES: usize = 22;

const _: () = assert!(Loss::ALL.len() == LOSSES);
