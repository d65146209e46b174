//! Two iterators over descriptors: one shows the targets' sockets, the other those of every process, to
//! find out who is at the other end.

use crate::{
    config::sockets as offsets,
    maps::SOCKET_RECORD,
    socket, table,
    task::{self, Task, probe},
};
use aya_ebpf::{
    bindings::seq_file,
    helpers::{
        bpf_ktime_get_ns,
        generated::{bpf_seq_write, bpf_sock_from_file},
    },
};
use remora_common::socket::SocketRecord;

/// `struct bpf_iter__task_file` and `struct bpf_iter_meta`: `kernel/bpf/task_iter.c`.
#[repr(C)]
pub struct FileIteration {
    meta: *const IterationMeta,
    task: Task,
    fd: u32,
    file: *mut u8,
}

#[repr(C)]
pub struct IterationMeta {
    seq: *mut seq_file,
}

/// The sockets of the targets.
#[unsafe(link_section = "iter/task_file")]
#[unsafe(no_mangle)]
pub fn sockets(context: *const FileIteration) -> i32 {
    show(context, true)
}

/// The sockets of every process.
#[unsafe(link_section = "iter/task_file")]
#[unsafe(no_mangle)]
pub fn sockets_of_host(context: *const FileIteration) -> i32 {
    show(context, false)
}

#[inline(always)]
fn show(context: *const FileIteration, targets_only: bool) -> i32 {
    // SAFETY: the kernel passes a valid context; task and file are null at the end of the iteration.
    let (seq, task, fd, file) = unsafe {
        (
            (*(*context).meta).seq,
            (*context).task,
            (*context).fd,
            (*context).file,
        )
    };
    if task.is_null() || file.is_null() {
        return 0;
    }
    if targets_only && table::index_of(task::tid(task)) == 0 {
        return 0;
    }
    // SAFETY: a file that the iterator holds; the helper returns null for one that is no socket.
    let found = unsafe { bpf_sock_from_file(file.cast()) };
    if found.is_null() {
        return 0;
    }
    let Some(sock) = probe::<u64>(found as u64, offsets::socket_sock()) else {
        return 0;
    };
    let Some(buffer) = SOCKET_RECORD.get_ptr_mut(0) else {
        return 0;
    };
    let record = buffer.cast::<SocketRecord>();
    // SAFETY: the scratch element holds the record and a name; one pass runs at a time.
    unsafe {
        record.write_bytes(0, 1);
        (*record).size = size_of::<SocketRecord>() as u32;
        (*record).tgid = task::tgid(task);
        (*record).fd = fd;
        (*record).at_ns = bpf_ktime_get_ns();
        (*record).inode = socket::inode_of(file as u64);
        let name = buffer.cast::<u8>().add(size_of::<SocketRecord>());
        let len = if sock == 0 {
            0
        } else {
            socket::fill(sock, &mut *record, name)
        };
        (*record).name_len = len;
        let bytes = size_of::<SocketRecord>() as u32 + ((len + 7) & 0x78);
        bpf_seq_write(seq, buffer.cast(), bytes);
    }
    0
}
