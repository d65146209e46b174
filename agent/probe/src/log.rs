//! The kernel side's own diagnostics, in builds with the feature `debug-log` only: about 360 ns and
//! 2,600 instructions a message, so a release has none.

use super::ProbeError;
use aya::Ebpf;
use aya_log::EbpfLogger;
use log::{Log, Metadata, Record};

/// Messages of the kernel side, on standard error.
pub(super) struct KernelLog(EbpfLogger<ToStderr>);

struct ToStderr;

impl Log for ToStderr {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        eprintln!("kernel side: {} {}", record.level(), record.args());
    }

    fn flush(&self) {}
}

impl KernelLog {
    /// Takes the ring of messages out of the object.
    pub(crate) fn attach(ebpf: &mut Ebpf) -> Result<Self, ProbeError> {
        let logger = EbpfLogger::init_with_logger(ebpf, ToStderr);
        logger.map(Self).map_err(|error| ProbeError::Map {
            map: "AYA_LOGS",
            why: error.to_string(),
        })
    }

    /// Prints what came since the last time.
    pub(crate) fn show(&mut self) {
        self.0.flush();
    }
}
