//! Unwind rows for the agent's own walks: the tables of the files that sleepers run in, made when
//! their first frame in it is met.
//!
//! Nobody waits for it but the report, so it is bounded in memory and in time. Where a table cannot
//! be had, frame pointers serve, and the stack says so.

use remora_common::unwind::{CFA_NONE, Row};
use remora_process::maps::{Identity, Module, Snapshot};
use remora_process::unwind::{CompileError, Limits, Table, compile};
use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

/// Rows of all tables together, 8 bytes each.
const MAX_ROWS: usize = 16 << 20;

/// From the first table on, no other is begun after this time.
const LONGEST: Duration = Duration::from_secs(2);

/// There is code, and nothing is known of its frames.
const NO_ROW: Row = Row {
    pc: 0,
    cfa_offset: 0,
    fp_offset: 0,
    rule: CFA_NONE,
};

/// The tables that were made.
#[derive(Debug)]
pub(crate) struct Rows {
    tables: HashMap<Arc<Identity>, Result<Table, CompileError>>,
    room: usize,
    until: Instant,
    missed: bool,
}

impl Rows {
    /// None yet.
    pub(crate) fn new() -> Self {
        Self {
            tables: HashMap::new(),
            room: MAX_ROWS,
            until: Instant::now() + LONGEST,
            missed: false,
        }
    }

    /// The row for an address, as [`remora_process::unwind::walk`] asks for it.
    pub(crate) fn find(&mut self, space: &Snapshot, address: u64) -> Option<Row> {
        let mapping = space.find(address)?;
        // Code made at run time has no table.
        let Some(module) = &mapping.module else {
            return Some(NO_ROW);
        };
        match self.table(module) {
            Some(Ok(table)) => {
                let len = mapping.end - mapping.start;
                let bias = table.bias(mapping.start, len, mapping.offset);
                let pc = bias.and_then(|bias| u32::try_from(address.wrapping_sub(bias)).ok());
                Some(pc.and_then(|pc| table.row(pc)).unwrap_or(NO_ROW))
            }
            // Its frames have another shape, 32-bit code's.
            Some(Err(CompileError::Machine)) => None,
            Some(Err(_)) | None => {
                self.missed = true;
                Some(NO_ROW)
            }
        }
    }

    /// Whether a file had no table, since this was asked last.
    pub(crate) fn take_missed(&mut self) -> bool {
        std::mem::take(&mut self.missed)
    }

    fn table(&mut self, module: &Module) -> Option<&Result<Table, CompileError>> {
        if !self.tables.contains_key(&module.identity) {
            if self.room == 0 || Instant::now() > self.until {
                return None;
            }
            let limits = Limits {
                rows: self.room,
                ..Limits::default()
            };
            let table = compile(&module.content, &limits);
            let taken = table.as_ref().map_or(0, |table| table.rows.len());
            self.room = self.room.saturating_sub(taken);
            self.tables.insert(Arc::clone(&module.identity), table);
        }
        self.tables.get(&module.identity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use remora_common::unwind::CFA_SP;
    use remora_process::maps::Files;

    #[test]
    fn code_has_rows_and_a_table_without_room_is_missed() {
        let space = Snapshot::read(std::process::id(), 0, &mut Files::default()).unwrap();
        let code = code_has_rows_and_a_table_without_room_is_missed as *const () as u64;
        let mut rows = Rows::new();
        // Where a function begins, nothing has been pushed but the return address.
        let row = rows.find(&space, code).unwrap();
        assert_eq!((row.cfa_offset, row.rule), (1, CFA_SP));
        assert!(rows.room < MAX_ROWS && !rows.take_missed());
        assert_eq!(rows.find(&space, 0), None);

        let mut full = Rows {
            room: 0,
            ..Rows::new()
        };
        assert_eq!(full.find(&space, code), Some(NO_ROW));
        assert!(full.take_missed() && !full.take_missed());
    }
}
