//! Where the kernel side finds what it reads of sockets.

use super::{Absent, place};
use crate::btf::Btf;
use remora_common::{config::ABSENT, socket::SocketOffsets};

/// Where in [`SocketOffsets`] one offset goes.
type Slot = fn(&mut SocketOffsets) -> &mut u32;

/// One member: where its offset goes, the struct, and the member's path in it.
struct Wanted {
    slot: Slot,
    owner: &'static str,
    path: &'static str,
    /// What is lost without it; `None` for what only newer kernels have, and older ones do otherwise.
    cost: Option<&'static str>,
}

const NOTHING: &str = "sockets are not seen at all";
const ADDRESS: &str = "sockets have no address, so their peers are not found";
const QUEUES: &str = "queues of sockets show no bytes";
const UNIX_QUEUE: &str = "receive queues of unix sockets show messages, not bytes";
const TCP_QUEUE: &str = "queues of TCP show memory, not bytes of the stream";
const TCP_COUNTS: &str =
    "TCP connections have no counters of bytes: no rates, no age of unread bytes";
const RETRANSMITS: &str = "retransmits are not seen";
const WINDOW: &str = "a closed window of the peer is not seen";
const SILENT_FEED: &str =
    "a feed that fell silent, or a peer that takes nothing, is not told after the fact";
const UDP_QUEUE: &str = "receive queues of UDP show what the reader has taken over, too";
const UNIX_PEER: &str = "peers of unix sockets are not found";
const UNIX_NAME: &str = "unix sockets have no name";
const BACKLOG: &str = "listening sockets show no backlog";

macro_rules! table {
    ($($field:ident: $owner:literal $path:literal, $cost:expr;)*) => {
        &[$(Wanted {
            slot: |offsets| &mut offsets.$field,
            owner: $owner,
            path: $path,
            cost: $cost,
        },)*]
    };
}

const TABLE: &[Wanted] = table! {
    file_inode: "file" "f_inode", Some(NOTHING);
    inode_number: "inode" "i_ino", Some(NOTHING);
    socket_sock: "socket" "sk", Some(NOTHING);
    socket_inode: "socket_alloc" "vfs_inode", Some(UNIX_PEER);
    family: "sock" "__sk_common.skc_family", Some(NOTHING);
    state: "sock" "__sk_common.skc_state", Some(NOTHING);
    peer_v4: "sock" "__sk_common.skc_daddr", Some(ADDRESS);
    local_v4: "sock" "__sk_common.skc_rcv_saddr", Some(ADDRESS);
    // Kernels without IPv6 have neither, and no such sockets.
    peer_v6: "sock" "__sk_common.skc_v6_daddr", None;
    local_v6: "sock" "__sk_common.skc_v6_rcv_saddr", None;
    peer_port: "sock" "__sk_common.skc_dport", Some(ADDRESS);
    local_port: "sock" "__sk_common.skc_num", Some(ADDRESS);
    net: "sock" "__sk_common.skc_net", Some("network namespaces are not told apart");
    net_number: "net" "ns.inum", Some("network namespaces are not told apart");
    kind: "sock" "sk_type", Some(NOTHING);
    protocol: "sock" "sk_protocol", Some(NOTHING);
    receive_memory: "sock" "sk_backlog.rmem_alloc", Some(QUEUES);
    send_memory: "sock" "sk_wmem_alloc", Some(QUEUES);
    receive_queue: "sock" "sk_receive_queue", Some(NOTHING);
    queue_len: "sk_buff_head" "qlen", Some("queues of sockets show no messages");
    buffer_next: "sk_buff" "next", Some("unread messages have no age");
    buffer_len: "sk_buff" "len", Some(UNIX_QUEUE);
    buffer_cb: "sk_buff" "cb", Some(UNIX_QUEUE);
    unix_consumed: "unix_skb_parms" "consumed", Some(UNIX_QUEUE);
    receive_limit: "sock" "sk_rcvbuf", Some("sockets show no buffer limits");
    send_limit: "sock" "sk_sndbuf", Some("sockets show no buffer limits");
    error: "sock" "sk_err", Some("pending errors of sockets are not seen");
    shutdown: "sock" "sk_shutdown", Some("closed directions of sockets are not seen");
    backlog: "sock" "sk_ack_backlog", Some(BACKLOG);
    backlog_limit: "sock" "sk_max_ack_backlog", Some(BACKLOG);
    drops: "sock" "sk_drops", Some("drops of sockets are not seen");
    drop_counters: "sock" "sk_drop_counters", None;
    drops_first: "numa_drop_counters" "drops0", None;
    drops_second: "numa_drop_counters" "drops1", None;
    sock_socket: "sock" "sk_socket", Some(UNIX_PEER);
    tcp_received_to: "tcp_sock" "rcv_nxt", Some(TCP_QUEUE);
    tcp_read_to: "tcp_sock" "copied_seq", Some(TCP_QUEUE);
    tcp_written_to: "tcp_sock" "write_seq", Some(TCP_QUEUE);
    tcp_acked_to: "tcp_sock" "snd_una", Some(TCP_QUEUE);
    tcp_bytes_received: "tcp_sock" "bytes_received", Some(TCP_COUNTS);
    tcp_bytes_acked: "tcp_sock" "bytes_acked", Some(TCP_COUNTS);
    tcp_bytes_sent: "tcp_sock" "bytes_sent", Some(TCP_COUNTS);
    tcp_bytes_retransmitted: "tcp_sock" "bytes_retrans", Some(RETRANSMITS);
    tcp_retransmits: "tcp_sock" "total_retrans", Some(RETRANSMITS);
    tcp_peer_window: "tcp_sock" "snd_wnd", Some(WINDOW);
    tcp_probes: "inet_connection_sock" "icsk_probes_out", Some(WINDOW);
    tcp_last_receive: "inet_connection_sock" "icsk_ack.lrcvtime",
        Some("TCP connections do not say when data came last");
    tcp_last_send: "tcp_sock" "lsndtime", Some(SILENT_FEED);
    tcp_last_ack: "tcp_sock" "rcv_tstamp", Some(SILENT_FEED);
    tcp_data_segments_in: "tcp_sock" "data_segs_in", Some(SILENT_FEED);
    tcp_data_segments_out: "tcp_sock" "data_segs_out", Some(SILENT_FEED);
    tcp_segment_bytes: "inet_connection_sock" "icsk_ack.rcv_mss", Some(SILENT_FEED);
    tcp_accept_head: "inet_connection_sock" "icsk_accept_queue.rskq_accept_head",
        Some("connections that wait to be accepted have no age");
    request_sock: "request_sock" "sk",
        Some("connections that wait to be accepted have no age of before the capture");
    udp_deficit: "udp_sock" "forward_deficit", Some(UDP_QUEUE);
    udp_reader_queue: "udp_sock" "reader_queue", Some(UDP_QUEUE);
    unix_peer: "unix_sock" "peer", Some(UNIX_PEER);
    unix_address: "unix_sock" "addr", Some(UNIX_NAME);
    unix_address_len: "unix_address" "len", Some(UNIX_NAME);
    unix_address_name: "unix_address" "name", Some(UNIX_NAME);
    unix_queue_bytes: "unix_sock" "inq_len", None;
    // Where it is a module, its types are not in the kernel's own BTF.
    vsock_local: "vsock_sock" "local_addr", None;
    vsock_peer: "vsock_sock" "remote_addr", None;
};

/// Looks up every member that is read of sockets, and adds those that are missed to `absent`.
///
/// `unix_address` of kernels before 5.11 has its `hash` between `len` and `name`; both are looked up.
pub(crate) fn offsets(btf: &Btf<'_>, absent: &mut Vec<Absent>) -> SocketOffsets {
    let mut offsets = SocketOffsets::ALL_ABSENT;
    for wanted in TABLE {
        match (place(btf, wanted.owner, &[wanted.path]), wanted.cost) {
            (Ok(byte), _) => *(wanted.slot)(&mut offsets) = byte,
            (Err(_), None) => {}
            (Err(why), Some(cost)) => absent.push(Absent {
                member: format!("{}.{}", wanted.owner, wanted.path),
                cost,
                fatal: false,
                why,
            }),
        }
    }
    offsets
}

/// The first member that is missing without which sockets are not seen at all.
pub fn missing(offsets: &SocketOffsets) -> Option<String> {
    let mut offsets = *offsets;
    let needed = TABLE.iter().filter(|it| it.cost == Some(NOTHING));
    let mut missing = needed.filter(|it| *(it.slot)(&mut offsets) == ABSENT);
    missing
        .next()
        .map(|it| format!("{}.{} is missing from this kernel's BTF", it.owner, it.path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::writer::Writer;

    #[test]
    fn every_offset_has_its_line() {
        assert_eq!(4 * TABLE.len(), size_of::<SocketOffsets>());
        let mut offsets = SocketOffsets::ALL_ABSENT;
        for (number, wanted) in (0_u32..).zip(TABLE) {
            assert_eq!(*(wanted.slot)(&mut offsets), ABSENT, "{}", wanted.path);
            *(wanted.slot)(&mut offsets) = number;
        }
    }

    #[test]
    fn what_is_missing_is_named_unless_older_kernels_do_without() {
        let mut writer = Writer::new();
        let word = writer.int("long", 8);
        writer.structure("file", 64, &[("f_inode", word, 16 * 8, 0)]);
        let blob = writer.finish();
        let mut absent = Vec::new();
        let found = offsets(&Btf::parse(&blob).unwrap(), &mut absent);
        assert_eq!((found.file_inode, found.family), (16, ABSENT));
        let quiet = TABLE.iter().filter(|it| it.cost.is_none()).count();
        assert_eq!(absent.len(), TABLE.len() - quiet - 1);
        assert!(absent.iter().all(|it| !it.fatal));
        assert_eq!(
            missing(&found).as_deref(),
            Some("inode.i_ino is missing from this kernel's BTF")
        );
    }
}
