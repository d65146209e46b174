//! Sockets: what the iterator over descriptors writes of each, and where it finds that in the kernel's
//! structures.

use crate::config::ABSENT;

/// `receive_queue` is a lower bound: the queue of messages was longer than the walk over it, or changed
/// under it.
pub const SOCKET_RECEIVE_CUT: u32 = 1;
/// The TCP members are filled.
pub const SOCKET_TCP: u32 = 2;
/// The name that follows is the peer's: the socket itself has none.
pub const SOCKET_NAME_OF_PEER: u32 = 4;
/// `last_receive_jiffies` means something.
pub const SOCKET_LAST_RECEIVE: u32 = 8;
/// `last_send_jiffies` and `last_ack_jiffies` mean something.
pub const SOCKET_LAST_SEND: u32 = 16;

/// `AF_UNIX`, `AF_INET`, `AF_INET6`, `AF_NETLINK`, `AF_VSOCK` of `include/linux/socket.h`.
pub const AF_UNIX: u32 = 1;
/// See [`AF_UNIX`].
pub const AF_INET: u32 = 2;
/// See [`AF_UNIX`].
pub const AF_INET6: u32 = 10;
/// See [`AF_UNIX`].
pub const AF_NETLINK: u32 = 16;
/// See [`AF_UNIX`].
pub const AF_VSOCK: u32 = 40;

/// `SOCK_*` of `include/linux/net.h`.
pub const SOCK_STREAM: u32 = 1;
/// See [`SOCK_STREAM`].
pub const SOCK_DGRAM: u32 = 2;
/// See [`SOCK_STREAM`].
pub const SOCK_RAW: u32 = 3;
/// See [`SOCK_STREAM`].
pub const SOCK_SEQPACKET: u32 = 5;

/// `TCP_LISTEN` of `include/net/tcp_states.h`, which sockets of every family use.
pub const STATE_LISTEN: u32 = 10;

/// `IPPROTO_TCP`.
pub const PROTOCOL_TCP: u32 = 6;
/// `IPPROTO_UDP`.
pub const PROTOCOL_UDP: u32 = 17;
/// `IPPROTO_UDPLITE`.
pub const PROTOCOL_UDPLITE: u32 = 136;

/// Messages of one queue that are walked at the most, where the kernel keeps no sum. The default buffers of
/// unix sockets hold 277.
pub const QUEUE_WALK: u32 = 512;

/// Room for the name of a unix socket, in bytes: `sun_path` has 108.
pub const SOCKET_NAME_BYTES: usize = 120;

/// One descriptor of a socket; then come `name_len` bytes of a unix socket's name, filled up with
/// anything to a multiple of 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct SocketRecord {
    /// Size of this record without the name, in bytes: tells a reader that it is in step.
    pub size: u32,
    /// Process id.
    pub tgid: u32,
    /// Descriptor in that process.
    pub fd: u32,
    /// `SOCKET_*` flags.
    pub flags: u32,
    /// When it was read.
    pub at_ns: u64,
    /// Inode number of the socket: what `/proc/PID/fd` shows.
    pub inode: u64,
    /// Unix: inode number of the peer, 0 = it has none (yet).
    pub peer_inode: u64,
    /// Inode number of the network namespace.
    pub namespace: u32,
    /// `AF_*`.
    pub family: u32,
    /// `SOCK_*`.
    pub kind: u32,
    /// `IPPROTO_*`, or the family's own.
    pub protocol: u32,
    /// `TCP_*` states of `include/net/tcp_states.h`, for every family.
    pub state: u32,
    /// Local port, process or channel number; host byte order.
    pub local_port: u32,
    /// The same of the peer.
    pub peer_port: u32,
    /// Bytes of the name that follows.
    pub name_len: u32,
    /// Local address in network byte order; IPv4 in the first four bytes, vsock's context likewise.
    pub local: [u8; 16],
    /// The same of the peer.
    pub peer: [u8; 16],
    /// Bytes to be read, as `ss` shows them; of a listening socket connections to be accepted.
    pub receive_queue: u32,
    /// Bytes that are sent and not acknowledged (TCP), or charged to the sender (others).
    pub send_queue: u32,
    /// Messages in the receive queue.
    pub receive_messages: u32,
    /// Limit of the receive buffer, in bytes of kernel memory.
    pub receive_limit: u32,
    /// Limit of the send buffer.
    pub send_limit: u32,
    /// Listening: connections that wait to be accepted.
    pub backlog: u32,
    /// And how many may.
    pub backlog_limit: u32,
    /// Messages that were dropped on arrival; wraps.
    pub drops: u32,
    /// Pending error, a positive errno.
    pub error: u32,
    /// Bit 0: no more is received; bit 1: no more is sent.
    pub shutdown: u32,
    /// TCP: bytes received in order, so far. A FIN counts as one.
    pub bytes_received: u64,
    /// TCP: bytes that the peer acknowledged, so far.
    pub bytes_acked: u64,
    /// TCP: bytes sent so far, those sent again among them.
    pub bytes_sent: u64,
    /// TCP: bytes sent again so far.
    pub bytes_retransmitted: u64,
    /// What stands first in the receive queue (an address: only good to tell it from another).
    pub head: u64,
    /// TCP: segments sent again so far; wraps.
    pub retransmits: u32,
    /// TCP: the window that the peer offers, in bytes.
    pub peer_window: u32,
    /// TCP: probes of a closed window that are not answered yet.
    pub probes: u32,
    /// TCP: timer ticks since data came last. Listening: since the connection that waits first was made, or
    /// since its data came last.
    pub last_receive_jiffies: u32,
    /// TCP: timer ticks since data was sent last, probes with data and what is sent again included.
    pub last_send_jiffies: u32,
    /// TCP: segments with data that came in, so far; wraps.
    pub data_segments_in: u32,
    /// TCP: segments with data that were sent, so far; wraps.
    pub data_segments_out: u32,
    /// TCP: the size of segments that the peer sends, as the kernel guesses it, in bytes.
    pub segment_bytes: u32,
    /// Unix: bytes that were read of the first message.
    pub head_consumed: u32,
    /// TCP: timer ticks since the peer acknowledged something last, a probe included.
    pub last_ack_jiffies: u32,
}

const _: () = assert!(size_of::<SocketRecord>() == 224);

/// The longest record with its name.
pub const SOCKET_RECORD_MAX: usize = size_of::<SocketRecord>() + SOCKET_NAME_BYTES;

macro_rules! socket_offsets {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Byte offsets of what is read of sockets, from BTF; absent ones are [`ABSENT`].
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
        #[repr(C)]
        pub struct SocketOffsets {
            $($(#[$doc])* pub $name: u32,)*
        }

        impl SocketOffsets {
            /// Nothing known.
            pub const ALL_ABSENT: Self = Self { $($name: ABSENT,)* };
        }
    };
}

socket_offsets! {
    /// `file.f_inode`.
    file_inode,
    /// `inode.i_ino`.
    inode_number,
    /// `socket.sk`.
    socket_sock,
    /// From a `socket` to its inode: `socket_alloc.vfs_inode`.
    socket_inode,
    /// `sock.__sk_common.skc_family`.
    family,
    /// `sock.__sk_common.skc_state`.
    state,
    /// `sock.__sk_common.skc_daddr`.
    peer_v4,
    /// `sock.__sk_common.skc_rcv_saddr`.
    local_v4,
    /// `sock.__sk_common.skc_v6_daddr`.
    peer_v6,
    /// `sock.__sk_common.skc_v6_rcv_saddr`.
    local_v6,
    /// `sock.__sk_common.skc_dport`, network byte order.
    peer_port,
    /// `sock.__sk_common.skc_num`, host byte order.
    local_port,
    /// `sock.__sk_common.skc_net`.
    net,
    /// `net.ns.inum`.
    net_number,
    /// `sock.sk_type`.
    kind,
    /// `sock.sk_protocol`.
    protocol,
    /// `sock.sk_backlog.rmem_alloc`.
    receive_memory,
    /// `sock.sk_wmem_alloc`.
    send_memory,
    /// `sock.sk_receive_queue`.
    receive_queue,
    /// `sk_buff_head.qlen`.
    queue_len,
    /// `sk_buff.next`, also of a queue's head.
    buffer_next,
    /// `sk_buff.len`.
    buffer_len,
    /// `sk_buff.cb`.
    buffer_cb,
    /// `unix_skb_parms.consumed`, in `sk_buff.cb`.
    unix_consumed,
    /// `sock.sk_rcvbuf`.
    receive_limit,
    /// `sock.sk_sndbuf`.
    send_limit,
    /// `sock.sk_err`.
    error,
    /// `sock.sk_shutdown`.
    shutdown,
    /// `sock.sk_ack_backlog`.
    backlog,
    /// `sock.sk_max_ack_backlog`.
    backlog_limit,
    /// `sock.sk_drops`.
    drops,
    /// `sock.sk_drop_counters` (6.18): where it is set, drops are counted there.
    drop_counters,
    /// `numa_drop_counters.drops0`.
    drops_first,
    /// `numa_drop_counters.drops1`.
    drops_second,
    /// `sock.sk_socket`.
    sock_socket,
    /// `tcp_sock.rcv_nxt`.
    tcp_received_to,
    /// `tcp_sock.copied_seq`.
    tcp_read_to,
    /// `tcp_sock.write_seq`.
    tcp_written_to,
    /// `tcp_sock.snd_una`.
    tcp_acked_to,
    /// `tcp_sock.bytes_received`.
    tcp_bytes_received,
    /// `tcp_sock.bytes_acked`.
    tcp_bytes_acked,
    /// `tcp_sock.bytes_sent`.
    tcp_bytes_sent,
    /// `tcp_sock.bytes_retrans`.
    tcp_bytes_retransmitted,
    /// `tcp_sock.total_retrans`.
    tcp_retransmits,
    /// `tcp_sock.snd_wnd`.
    tcp_peer_window,
    /// `inet_connection_sock.icsk_probes_out`.
    tcp_probes,
    /// `inet_connection_sock.icsk_ack.lrcvtime`.
    tcp_last_receive,
    /// `tcp_sock.lsndtime`.
    tcp_last_send,
    /// `tcp_sock.rcv_tstamp`.
    tcp_last_ack,
    /// `tcp_sock.data_segs_in`.
    tcp_data_segments_in,
    /// `tcp_sock.data_segs_out`.
    tcp_data_segments_out,
    /// `inet_connection_sock.icsk_ack.rcv_mss`.
    tcp_segment_bytes,
    /// `inet_connection_sock.icsk_accept_queue.rskq_accept_head`.
    tcp_accept_head,
    /// `request_sock.sk`: the connection that waits to be accepted.
    request_sock,
    /// `udp_sock.forward_deficit`.
    udp_deficit,
    /// `udp_sock.reader_queue`.
    udp_reader_queue,
    /// `unix_sock.peer`.
    unix_peer,
    /// `unix_sock.addr`.
    unix_address,
    /// `unix_address.len`: of the name with its family.
    unix_address_len,
    /// `unix_address.name`.
    unix_address_name,
    /// `unix_sock.inq_len` (6.18): bytes in the receive queue of a stream.
    unix_queue_bytes,
    /// `vsock_sock.local_addr`.
    vsock_local,
    /// `vsock_sock.remote_addr`.
    vsock_peer,
}

#[cfg(feature = "loader")]
mod loader {
    // SAFETY: `repr(C)` of `u32`s: no padding.
    unsafe impl aya::Pod for super::SocketOffsets {}
}
