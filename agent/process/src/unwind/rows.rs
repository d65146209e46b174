//! Rows in the making: each address has one, and a row that says what the one before says is left
//! out.

use super::rule::Rule;
use remora_common::unwind::Row;

/// There are more rows than the limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// Rows by address.
pub(super) struct Rows {
    rows: Vec<Row>,
    limit: usize,
}

impl Rows {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            rows: Vec::new(),
            limit,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// From `pc` on, `rule` holds. Addresses do not go back; at an equal one, the later rule holds.
    pub(super) fn push(&mut self, pc: u32, rule: Rule) -> Result<(), Full> {
        if self.rows.last().is_some_and(|last| last.pc >= pc) {
            self.rows.pop();
        }
        let row = rule.at(pc);
        let repeats = |last: &Row| rule.at(last.pc) == *last;
        if self.rows.last().is_some_and(repeats) {
            return Ok(());
        }
        if self.rows.len() == self.limit {
            return Err(Full);
        }
        self.rows.push(row);
        Ok(())
    }

    pub(super) fn finish(mut self) -> Vec<Row> {
        self.rows.shrink_to_fit();
        self.rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeats_are_left_out_and_equal_addresses_replaced() {
        let mut rows = Rows::new(3);
        rows.push(0, Rule::NONE).unwrap();
        rows.push(4, Rule::sp(1)).unwrap();
        rows.push(8, Rule::sp(1)).unwrap();
        rows.push(9, Rule::sp(2)).unwrap();
        rows.push(9, Rule::sp(1)).unwrap();
        rows.push(10, Rule::sp(3)).unwrap();
        assert_eq!(rows.push(11, Rule::sp(4)), Err(Full));
        let expected = [Rule::NONE.at(0), Rule::sp(1).at(4), Rule::sp(3).at(10)];
        assert_eq!(rows.finish(), expected);
    }
}
