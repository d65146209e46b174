//! A socket's queues and counters, read at offsets from BTF. Nothing is locked: figures of one socket
//! may be some nanoseconds apart, as they are in `ss`.

use crate::{config::sockets as offsets, task::probe};
use aya_ebpf::helpers::{bpf_jiffies64, generated::bpf_probe_read_kernel};
use remora_common::{config::ABSENT, socket::*};

/// `sun_family` before the name of a unix socket.
const FAMILY_BYTES: u32 = 2;
/// `svm_port` and `svm_cid` of `struct sockaddr_vm`: `include/uapi/linux/vm_sockets.h`.
const VSOCK_PORT: u32 = 4;
const VSOCK_CONTEXT: u32 = 8;

/// A member; zero where this kernel does not have it, or the memory is gone.
#[inline(always)]
fn read<T: Copy + Default>(base: u64, offset: u32) -> T {
    if offset == ABSENT {
        return T::default();
    }
    probe(base, offset).unwrap_or_default()
}

/// The inode number of a file.
#[inline(always)]
pub fn inode_of(file: u64) -> u64 {
    read(
        read::<u64>(file, offsets::file_inode()),
        offsets::inode_number(),
    )
}

/// Fills the record of a socket, and its name; returns the bytes of that.
#[inline(always)]
pub fn fill(sock: u64, record: &mut SocketRecord, name: *mut u8) -> u32 {
    common(sock, record);
    match record.family {
        AF_INET | AF_INET6 => {
            addresses(sock, record);
            match (record.kind, record.protocol) {
                (SOCK_STREAM, PROTOCOL_TCP) => tcp(sock, record),
                (SOCK_DGRAM, PROTOCOL_UDP | PROTOCOL_UDPLITE) => udp(sock, record),
                _ => {}
            }
            0
        }
        AF_UNIX => unix(sock, record, name),
        AF_VSOCK => {
            vsock(sock, record);
            0
        }
        _ => 0,
    }
}

/// What every family has.
#[inline(always)]
fn common(sock: u64, record: &mut SocketRecord) {
    record.family = read::<u16>(sock, offsets::family()) as u32;
    record.state = read::<u8>(sock, offsets::state()) as u32;
    record.kind = read::<u16>(sock, offsets::kind()) as u32;
    record.protocol = read::<u16>(sock, offsets::protocol()) as u32;
    let net: u64 = read(sock, offsets::net());
    record.namespace = read(net, offsets::net_number());
    record.receive_limit = read(sock, offsets::receive_limit());
    record.send_limit = read(sock, offsets::send_limit());
    record.error = read(sock, offsets::error());
    record.shutdown = read::<u8>(sock, offsets::shutdown()) as u32;
    record.drops = drops(sock);
    record.receive_queue = at_least_zero(read(sock, offsets::receive_memory()));
    // One is held by the socket itself: `sk_wmem_alloc_get`, include/net/sock.h.
    record.send_queue = read::<u32>(sock, offsets::send_memory()).saturating_sub(1);
    let queue = sock + offsets::receive_queue() as u64;
    record.receive_messages = read(queue, offsets::queue_len());
    record.head = first(queue);
    if record.state == STATE_LISTEN {
        record.backlog = read(sock, offsets::backlog());
        record.backlog_limit = read(sock, offsets::backlog_limit());
    }
}

/// `sk_drops_read`, include/net/sock.h.
#[inline(always)]
fn drops(sock: u64) -> u32 {
    let counters: u64 = read(sock, offsets::drop_counters());
    if counters == 0 {
        return read(sock, offsets::drops());
    }
    let first: u32 = read(counters, offsets::drops_first());
    first.wrapping_add(read(counters, offsets::drops_second()))
}

#[inline(always)]
fn at_least_zero(value: i32) -> u32 {
    if value > 0 { value as u32 } else { 0 }
}

/// The first buffer of a queue, 0 for an empty one: a queue is a ring that its head is part of.
#[inline(always)]
fn first(queue: u64) -> u64 {
    let first: u64 = read(queue, offsets::buffer_next());
    if first == queue { 0 } else { first }
}

#[inline(always)]
fn addresses(sock: u64, record: &mut SocketRecord) {
    record.local_port = read::<u16>(sock, offsets::local_port()) as u32;
    record.peer_port = u16::from_be(read(sock, offsets::peer_port())) as u32;
    if record.family == AF_INET6 {
        record.local = read(sock, offsets::local_v6());
        record.peer = read(sock, offsets::peer_v6());
    } else {
        let (local, peer) = (&raw mut record.local, &raw mut record.peer);
        // SAFETY: the first four of sixteen bytes, each.
        unsafe {
            local
                .cast::<[u8; 4]>()
                .write(read(sock, offsets::local_v4()));
            peer.cast::<[u8; 4]>().write(read(sock, offsets::peer_v4()));
        }
    }
}

/// As `tcp_diag_get_info`, net/ipv4/tcp_diag.c.
#[inline(always)]
fn tcp(sock: u64, record: &mut SocketRecord) {
    record.flags |= SOCKET_TCP;
    if record.state == STATE_LISTEN {
        record.receive_queue = record.backlog;
        record.send_queue = 0;
        record.head = read(sock, offsets::tcp_accept_head());
        if record.head != 0 && offsets::request_sock() != ABSENT {
            let child: u64 = read(record.head, offsets::request_sock());
            last_receive(child, record);
        }
        return;
    }
    let received: u32 = read(sock, offsets::tcp_received_to());
    let taken: u32 = read(sock, offsets::tcp_read_to());
    record.receive_queue = at_least_zero(received.wrapping_sub(taken) as i32);
    let written: u32 = read(sock, offsets::tcp_written_to());
    let acked: u32 = read(sock, offsets::tcp_acked_to());
    record.send_queue = written.wrapping_sub(acked);
    record.bytes_received = read(sock, offsets::tcp_bytes_received());
    record.bytes_acked = read(sock, offsets::tcp_bytes_acked());
    record.bytes_sent = read(sock, offsets::tcp_bytes_sent());
    record.bytes_retransmitted = read(sock, offsets::tcp_bytes_retransmitted());
    record.retransmits = read(sock, offsets::tcp_retransmits());
    record.peer_window = read(sock, offsets::tcp_peer_window());
    record.probes = read::<u8>(sock, offsets::tcp_probes()) as u32;
    record.data_segments_in = read(sock, offsets::tcp_data_segments_in());
    record.data_segments_out = read(sock, offsets::tcp_data_segments_out());
    record.segment_bytes = read::<u16>(sock, offsets::tcp_segment_bytes()) as u32;
    last_receive(sock, record);
}

/// When a connection received last, and sent last.
#[inline(always)]
fn last_receive(sock: u64, record: &mut SocketRecord) {
    if sock == 0 || offsets::tcp_last_receive() == ABSENT {
        return;
    }
    // SAFETY: the helper has no preconditions.
    let now = unsafe { bpf_jiffies64() } as u32;
    record.last_receive_jiffies = now.wrapping_sub(read(sock, offsets::tcp_last_receive()));
    record.flags |= SOCKET_LAST_RECEIVE;
    if offsets::tcp_last_send() != ABSENT && offsets::tcp_last_ack() != ABSENT {
        record.last_ack_jiffies = now.wrapping_sub(read(sock, offsets::tcp_last_ack()));
        record.last_send_jiffies = now.wrapping_sub(read(sock, offsets::tcp_last_send()));
        record.flags |= SOCKET_LAST_SEND;
    }
}

/// As `udp_rqueue_get`, include/net/udp.h: the reader takes messages over in bulk, and gives their memory
/// back in bulk.
#[inline(always)]
fn udp(sock: u64, record: &mut SocketRecord) {
    let deficit: i32 = read(sock, offsets::udp_deficit());
    record.receive_queue = at_least_zero(record.receive_queue as i32 - deficit);
    if offsets::udp_reader_queue() == ABSENT {
        return;
    }
    let taken_over = sock + offsets::udp_reader_queue() as u64;
    record.receive_messages += read::<u32>(taken_over, offsets::queue_len());
    let head = first(taken_over);
    if head != 0 {
        record.head = head;
    }
}

/// As `unix_inq_len`, net/unix/af_unix.c.
#[inline(always)]
fn unix(sock: u64, record: &mut SocketRecord, name: *mut u8) -> u32 {
    let peer: u64 = read(sock, offsets::unix_peer());
    if peer != 0 {
        let socket: u64 = read(peer, offsets::sock_socket());
        if socket != 0 && offsets::socket_inode() != ABSENT {
            record.peer_inode = read(
                socket + offsets::socket_inode() as u64,
                offsets::inode_number(),
            );
        }
    }
    if record.state == STATE_LISTEN {
        record.backlog = record.receive_messages;
        record.receive_queue = record.receive_messages;
        record.send_queue = 0;
        return unix_names(sock, peer, record, name);
    }
    if record.head != 0 && record.kind != SOCK_DGRAM {
        record.head_consumed = consumed(record.head);
    }
    if record.kind == SOCK_STREAM && offsets::unix_queue_bytes() != ABSENT {
        record.receive_queue = read(sock, offsets::unix_queue_bytes());
    } else if record.kind == SOCK_DGRAM {
        record.receive_queue = if record.head == 0 {
            0
        } else {
            read(record.head, offsets::buffer_len())
        };
    } else {
        sum_queue(sock + offsets::receive_queue() as u64, record);
    }
    unix_names(sock, peer, record, name)
}

/// The bytes of a message that were read.
#[inline(always)]
fn consumed(buffer: u64) -> u32 {
    if offsets::buffer_cb() == ABSENT {
        return 0;
    }
    read(
        buffer + offsets::buffer_cb() as u64,
        offsets::unix_consumed(),
    )
}

/// The name of a unix socket, or its peer's; returns its bytes.
#[inline(always)]
fn unix_names(sock: u64, peer: u64, record: &mut SocketRecord, name: *mut u8) -> u32 {
    let own = unix_name(sock, name);
    if own != 0 || peer == 0 {
        return own;
    }
    let theirs = unix_name(peer, name);
    if theirs != 0 {
        record.flags |= SOCKET_NAME_OF_PEER;
    }
    theirs
}

/// The bytes of every message that were not read yet.
#[inline(always)]
fn sum_queue(queue: u64, record: &mut SocketRecord) {
    let (mut buffer, mut sum, mut messages) = (first(queue), 0_u32, 0_u32);
    for _ in 0..QUEUE_WALK {
        if buffer == 0 || buffer == queue {
            break;
        }
        let len: u32 = read(buffer, offsets::buffer_len());
        sum = sum.wrapping_add(len.wrapping_sub(consumed(buffer)));
        messages += 1;
        buffer = read(buffer, offsets::buffer_next());
    }
    record.receive_queue = sum;
    if messages != record.receive_messages {
        record.flags |= SOCKET_RECEIVE_CUT;
    }
}

/// Copies the name of a unix socket; returns its bytes.
#[inline(always)]
fn unix_name(sock: u64, name: *mut u8) -> u32 {
    let address: u64 = read(sock, offsets::unix_address());
    if address == 0 || offsets::unix_address_name() == ABSENT {
        return 0;
    }
    let len = read::<u32>(address, offsets::unix_address_len()).wrapping_sub(FAMILY_BYTES) & 0x7f;
    if len == 0 || len > SOCKET_NAME_BYTES as u32 {
        return 0;
    }
    let from = address + offsets::unix_address_name() as u64 + FAMILY_BYTES as u64;
    // SAFETY: there is room for SOCKET_NAME_BYTES; the helper checks the source.
    let failed = unsafe { bpf_probe_read_kernel(name.cast(), len, from as *const _) };
    if failed == 0 { len } else { 0 }
}

#[inline(always)]
fn vsock(sock: u64, record: &mut SocketRecord) {
    if offsets::vsock_local() == ABSENT || offsets::vsock_peer() == ABSENT {
        return;
    }
    let local = sock + offsets::vsock_local() as u64;
    let peer = sock + offsets::vsock_peer() as u64;
    record.local_port = read(local, VSOCK_PORT);
    record.peer_port = read(peer, VSOCK_PORT);
    let (to_local, to_peer) = (&raw mut record.local, &raw mut record.peer);
    // SAFETY: the first four of sixteen bytes, each.
    unsafe {
        to_local.cast::<[u8; 4]>().write(read(local, VSOCK_CONTEXT));
        to_peer.cast::<[u8; 4]>().write(read(peer, VSOCK_CONTEXT));
    }
}
