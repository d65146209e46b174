//! Read-only globals, set by the agent before the load.
//!
//! They are frozen then, so the verifier treats each read as a constant: a branch on a feature
//! that is off costs nothing, and a member's offset folds into the load.

use core::ptr::read_volatile;
use remora_common::{
    config::{Offsets, Params},
    socket::SocketOffsets,
};

#[unsafe(no_mangle)]
static OFFSETS: Offsets = Offsets::ALL_ABSENT;

#[unsafe(no_mangle)]
static SOCKET_OFFSETS: SocketOffsets = SocketOffsets::ALL_ABSENT;

#[unsafe(no_mangle)]
static PARAMS: Params = Params::ZERO;

/// Reads one member of a read-only global; volatile, or the compiler would use its initial value.
macro_rules! global {
    ($global:ident . $($member:tt)+) => {
        // SAFETY: the static is initialised, aligned and never written while programs run.
        unsafe { read_volatile(&raw const $global.$($member)+) }
    };
}

macro_rules! getters {
    ($global:ident: $($name:ident),* $(,)?) => {
        $(#[inline(always)] pub fn $name() -> u32 { global!($global.$name) })*
    };
}

getters!(OFFSETS:
    task_pid, task_tgid, task_state, task_comm, task_files, task_stack, task_on_cpu,
    task_exec_start, task_run_time, task_run_time_before, task_prio, task_last_arrival, task_migrations, task_cfs_rq,
    cfs_rq_rq, rq_clock, rq_clock_task, task_group_leader, task_start_boottime, task_in_iowait,
    task_in_iowait_mask, files_fdt, fdtable_fd, fdtable_max_fds, file_inode, inode_mode,
    regs_syscall, regs_ip, regs_sp, regs_fp, regs_mode, regs_lr, task_tls,
    task_pagefault_disabled, task_restart,
);

getters!(PARAMS:
    aggregates_per_bank, stacks_per_bank, follow_children, switch_has_state, has_task_pt_regs,
    regs_from_stack, switch_out_one_in, compat_mask, compat_value, unwind, is_arm64, python,
    fault_period,
);

#[inline(always)]
pub fn min_block_ns() -> u64 {
    global!(PARAMS.min_block_ns)
}

#[inline(always)]
pub fn late_ns() -> u64 {
    global!(PARAMS.late_ns)
}

/// Number of the system call that goes on in a restart block of kind `N`.
#[inline(always)]
pub fn restart_call<const N: usize>() -> u32 {
    global!(PARAMS.restart_calls[N])
}

/// Address of the kernel function that a restart block of kind `N` names; 0 where it is not known.
#[inline(always)]
pub fn restart<const N: usize>() -> u64 {
    global!(PARAMS.restarts[N])
}

#[inline(always)]
pub fn heap_sample() -> u64 {
    global!(PARAMS.heap_sample)
}

#[inline(always)]
pub fn code_mask() -> u64 {
    global!(PARAMS.code_mask)
}

/// Offset of system call argument `N` in the saved registers.
#[inline(always)]
pub fn regs_arg<const N: usize>() -> u32 {
    global!(OFFSETS.regs_args[N])
}

/// Offsets of what is read of sockets.
pub mod sockets {
    use super::{SOCKET_OFFSETS, read_volatile};

    getters!(SOCKET_OFFSETS:
        file_inode, inode_number, socket_sock, socket_inode, family, state, peer_v4,
        local_v4, peer_v6, local_v6, peer_port, local_port, net, net_number, kind,
        protocol, receive_memory, send_memory, receive_queue, queue_len, buffer_next,
        buffer_len, buffer_cb, unix_consumed, receive_limit, send_limit, error,
        shutdown, backlog, backlog_limit, drops, drop_counters, drops_first,
        drops_second, sock_socket, tcp_received_to, tcp_read_to, tcp_written_to,
        tcp_acked_to, tcp_bytes_received, tcp_bytes_acked, tcp_bytes_sent,
        tcp_bytes_retransmitted, tcp_retransmits, tcp_peer_window, tcp_probes,
        tcp_last_receive, tcp_last_send, tcp_last_ack, tcp_data_segments_in, tcp_data_segments_out,
        tcp_segment_bytes, tcp_accept_head, request_sock, udp_deficit, udp_reader_queue, unix_peer,
        unix_address, unix_address_len, unix_address_name, unix_queue_bytes,
        vsock_local, vsock_peer,
    );
}
