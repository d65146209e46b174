//! States of sockets.

use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// State of a socket: `TCP_*` of `include/net/tcp_states.h`; sockets that are not TCP use some of them.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize, Serialize, IntoStaticStr, VariantArray,
)]
#[serde(rename_all = "snake_case")]
#[strum(serialize_all = "snake_case")]
pub enum SocketState {
    /// Connected.
    Established,
    /// Handshake: our SYN is not answered yet.
    SynSent,
    /// Handshake: the peer's SYN is answered.
    SynRecv,
    /// This side closed; its FIN is not acknowledged.
    FinWait1,
    /// This side closed; the peer has not.
    FinWait2,
    /// Closed by both sides.
    TimeWait,
    /// Has no peer and needs none (UDP, unix datagrams).
    Unconnected,
    /// Not connected.
    Closed,
    /// The peer has closed the connection and this side has not.
    CloseWait,
    /// The peer closed, then this side; its FIN is not acknowledged.
    LastAck,
    /// Waits for connections.
    Listen,
    /// Both sides closed at once.
    Closing,
    /// Handshake of a connection without a socket of its own.
    NewSynRecv,
    /// Newer than this table.
    Unknown,
}

impl SocketState {
    /// From the kernel's number.
    pub const fn of(number: u32, connectionless: bool) -> Self {
        match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 => Self::SynRecv,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 if connectionless => Self::Unconnected,
            7 => Self::Closed,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            12 => Self::NewSynRecv,
            _ => Self::Unknown,
        }
    }

    /// As the RFC and `ss` write it.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Established => "ESTABLISHED",
            Self::SynSent => "SYN-SENT",
            Self::SynRecv | Self::NewSynRecv => "SYN-RECV",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::TimeWait => "TIME-WAIT",
            Self::Unconnected => "UNCONNECTED",
            Self::Closed => "CLOSED",
            Self::CloseWait => "CLOSE-WAIT",
            Self::LastAck => "LAST-ACK",
            Self::Listen => "LISTEN",
            Self::Closing => "CLOSING",
            Self::Unknown => "unknown state",
        }
    }

    /// Its name in `report.json`.
    pub fn name(self) -> &'static str {
        self.into()
    }
}
