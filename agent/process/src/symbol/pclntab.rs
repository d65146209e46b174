//! Go's table of functions, by which its run-time library walks stacks: it stays in a stripped
//! program, and it has a name for each function.
//!
//! Three layouts are read, told apart by their magic number: that of Go 1.2, of 1.16, and of 1.18
//! with 1.20 (equal for names). A table begins with a header: magic, two zeros, the smallest
//! instruction, the size of a pointer, then words of that size. Functions are pairs in the order of
//! their addresses: where one begins, and where its record lies; behind the last pair stands where
//! the last one ends. A record begins with its address again, then the offset of its name.
//! Sources: `src/debug/gosym/pclntab.go`, `src/runtime/symtab.go` (`pcHeader`, `_func`) and
//! `src/cmd/link/internal/ld/pcln.go` of Go 1.2 to 1.26.
//!
//! The bytes are hostile: nothing is believed of an offset but that it may lie inside.

/// Longer names are cut, in bytes: Go's own reach some hundred.
const MAX_NAME: usize = 4096;

/// How a table is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Go 1.2: addresses, and all offsets count from the beginning.
    Go12,
    /// Go 1.16: addresses; names and functions have tables of their own.
    Go116,
    /// Go 1.18: the same, with offsets of 4 bytes from the beginning of the code.
    Go118,
}

/// A table in memory.
#[derive(Clone, Copy, Debug)]
pub struct Table<'a> {
    layout: Layout,
    is_little_endian: bool,
    pointer_size: usize,
    names: &'a [u8],
    /// Pairs of functions, and what their second halves count from.
    functions: &'a [u8],
    records: &'a [u8],
    count: usize,
    text: u64,
}

impl<'a> Table<'a> {
    /// The table at the beginning of `data`; `None` when there is none, or a malformed one.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let (layout, is_little_endian) = magic(data)?;
        let pointer_size = match data.get(4..8)? {
            [0, 0, 1 | 2 | 4, size @ (4 | 8)] => usize::from(*size),
            _ => return None,
        };
        let mut table = Self {
            layout,
            is_little_endian,
            pointer_size,
            names: data,
            functions: data,
            records: data,
            count: 0,
            text: 0,
        };
        let header = data.get(8..)?;
        let word = |index: usize| table.number(header, index * pointer_size, pointer_size);
        let part = |index: usize| data.get(usize::try_from(word(index)?).ok()?..);
        let count = usize::try_from(word(0)?).ok()?;
        let text = word(2);
        let (names, functions) = match layout {
            Layout::Go12 => (data, data.get(8 + pointer_size..)?),
            Layout::Go116 => (part(2)?, part(6)?),
            Layout::Go118 => (part(3)?, part(7)?),
        };
        table.names = names;
        table.functions = functions;
        if layout != Layout::Go12 {
            table.records = functions;
        }
        if layout == Layout::Go118 {
            table.text = text?;
        }
        table.count = count;
        let fields = count.checked_mul(2)?.checked_add(1)?;
        let bytes = fields.checked_mul(table.field_size())?;
        (count > 0 && bytes <= functions.len()).then_some(table)
    }

    /// Where in `data` the table says at which address the code begins; `None` when it says
    /// nothing of it. A program that may be loaded anywhere has that word from a relocation, and
    /// Go 1.26 writes a zero.
    pub fn text_field(&self) -> Option<u64> {
        (self.layout == Layout::Go118).then_some(8 + 2 * self.pointer_size as u64)
    }

    /// What that word holds.
    pub fn text(&self) -> u64 {
        self.text
    }

    /// The same table of code that begins at `text`.
    pub fn with_text(self, text: u64) -> Self {
        Self { text, ..self }
    }

    /// Name of the function that holds `address`.
    pub fn find(&self, address: u64) -> Option<&'a [u8]> {
        let place = match self.layout {
            Layout::Go118 => address.checked_sub(self.text)?,
            _ => address,
        };
        let (mut low, mut high) = (0, self.count);
        // Before `low` all functions begin at `place` or earlier, from `high` on later.
        while low < high {
            let middle = low + (high - low) / 2;
            if self.start(middle)? <= place {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let index = low.checked_sub(1)?;
        // The next one begins where this one ends; behind the last stands the end of all.
        if place >= self.start(index + 1)? {
            return None;
        }
        self.name(index)
    }

    fn name(&self, index: usize) -> Option<&'a [u8]> {
        let size = self.field_size();
        let record = self.number(self.functions, (2 * index + 1) * size, size)?;
        let at = usize::try_from(record)
            .ok()?
            .checked_add(match self.layout {
                Layout::Go118 => 4,
                _ => self.pointer_size,
            })?;
        let offset = self.number(self.records, at, 4)?;
        let name = self.names.get(usize::try_from(offset).ok()?..)?;
        let name = &name[..name.len().min(MAX_NAME)];
        let end = name.iter().position(|byte| *byte == 0);
        let name = &name[..end.unwrap_or(name.len())];
        (!name.is_empty()).then_some(name)
    }

    fn start(&self, index: usize) -> Option<u64> {
        let size = self.field_size();
        self.number(self.functions, 2 * index * size, size)
    }

    fn field_size(&self) -> usize {
        match self.layout {
            Layout::Go118 => 4,
            _ => self.pointer_size,
        }
    }

    /// The unsigned number of `size` bytes at `at`.
    fn number(&self, data: &[u8], at: usize, size: usize) -> Option<u64> {
        let bytes = data.get(at..at.checked_add(size)?)?;
        let join = |sum: u64, byte: &u8| sum << 8 | u64::from(*byte);
        Some(if self.is_little_endian {
            bytes.iter().rev().fold(0, join)
        } else {
            bytes.iter().fold(0, join)
        })
    }
}

/// The layout, and whether numbers begin with their lowest byte.
fn magic(data: &[u8]) -> Option<(Layout, bool)> {
    let bytes: [u8; 4] = data.get(..4)?.try_into().ok()?;
    let layout = |magic: u32| match magic {
        0xffff_fffb => Some(Layout::Go12),
        0xffff_fffa => Some(Layout::Go116),
        0xffff_fff0 | 0xffff_fff1 => Some(Layout::Go118),
        _ => None,
    };
    let little = layout(u32::from_le_bytes(bytes)).map(|layout| (layout, true));
    little.or_else(|| layout(u32::from_be_bytes(bytes)).map(|layout| (layout, false)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A writer of small tables, of the functions given as (start, name), and their end.
    fn table(layout: Layout, little: bool, pointer: usize, functions: &[(u64, &str)]) -> Vec<u8> {
        const TEXT: u64 = 0x1000;
        let number = |value: u64, size: usize| match little {
            true => value.to_le_bytes()[..size].to_vec(),
            false => value.to_be_bytes()[8 - size..].to_vec(),
        };
        let (magic, field): (u64, usize) = match layout {
            Layout::Go12 => (0xffff_fffb, pointer),
            Layout::Go116 => (0xffff_fffa, pointer),
            Layout::Go118 => (0xffff_fff1, 4),
        };
        let words = match layout {
            Layout::Go12 => 1,
            Layout::Go116 => 7,
            Layout::Go118 => 8,
        };
        let header = 8 + words * pointer;
        let count = functions.len() - 1;
        let pairs = (2 * count + 1) * field;
        let record = if layout == Layout::Go118 {
            8
        } else {
            pointer + 4
        };
        let names_at = header + pairs + count * record;
        // What names and records count from.
        let (name_base, record_base) = match layout {
            Layout::Go12 => (0, 0),
            _ => (names_at, header),
        };
        let relative = if layout == Layout::Go118 { TEXT } else { 0 };
        let mut data = number(magic, 4);
        data.extend([0, 0, 1, pointer as u8]);
        let mut head = vec![0; words];
        head[0] = count as u64;
        if layout == Layout::Go118 {
            head[2] = TEXT;
        }
        if layout != Layout::Go12 {
            head[words - 5] = names_at as u64;
            head[words - 1] = header as u64;
        }
        head.iter()
            .for_each(|word| data.extend(number(*word, pointer)));
        let (mut records, mut names) = (Vec::new(), Vec::new());
        for (index, (start, name)) in functions.iter().enumerate() {
            data.extend(number(start - relative, field));
            if index == count {
                break;
            }
            let at = header + pairs + records.len() - record_base;
            data.extend(number(at as u64, field));
            records.extend(number(start - relative, record - 4));
            let at = names_at + names.len() - name_base;
            records.extend(number(at as u64, 4));
            names.extend(name.bytes().chain([0]));
        }
        [data, records, names].concat()
    }

    const LAYOUTS: [Layout; 3] = [Layout::Go12, Layout::Go116, Layout::Go118];
    const FUNCTIONS: [(u64, &str); 4] = [
        (0x1000, "runtime.text"),
        (0x1040, "main.(*T).Method"),
        (0x1100, ""),
        (0x1200, "the end"),
    ];

    #[test]
    fn all_layouts_orders_and_sizes() {
        for layout in LAYOUTS {
            for (little, pointer) in [(true, 8), (true, 4), (false, 8), (false, 4)] {
                let data = table(layout, little, pointer, &FUNCTIONS);
                let table = Table::parse(&data).unwrap();
                let find = |address| table.find(address).map(String::from_utf8_lossy);
                let what = (layout, little, pointer);
                assert_eq!(find(0xfff), None, "{what:?}");
                assert_eq!(find(0x1000).unwrap(), "runtime.text", "{what:?}");
                assert_eq!(find(0x103f).unwrap(), "runtime.text", "{what:?}");
                assert_eq!(find(0x1040).unwrap(), "main.(*T).Method", "{what:?}");
                assert_eq!(find(0x1100), None, "without a name: {what:?}");
                assert_eq!(find(0x1200), None, "behind the end: {what:?}");
                assert_eq!(find(u64::MAX), None, "{what:?}");
            }
        }
    }

    #[test]
    fn code_that_begins_elsewhere() {
        let data = table(Layout::Go118, true, 8, &FUNCTIONS);
        let table = Table::parse(&data).unwrap();
        assert_eq!((table.text_field(), table.text()), (Some(24), 0x1000));
        let moved = table.with_text(0x70_0000);
        assert_eq!(moved.find(0x70_0041), Some(&b"main.(*T).Method"[..]));
        assert_eq!(moved.find(0x1041), None);
    }

    #[test]
    fn what_is_no_table() {
        let good = table(Layout::Go118, true, 8, &FUNCTIONS);
        assert!(Table::parse(b"").is_none());
        assert!(Table::parse(&good[..40]).is_none());
        let with = |at: usize, byte: u8| {
            let mut data = good.clone();
            data[at] = byte;
            Table::parse(&data).is_some()
        };
        assert!(with(6, 4));
        assert!(!with(0, 0xf2), "magic");
        assert!(!with(4, 1), "padding");
        assert!(!with(6, 3), "instruction");
        assert!(!with(7, 5), "pointer");
        assert!(!with(9, 0xff), "more functions than bytes");
        assert!(!with(8, 0), "no function");
    }

    proptest! {
        #[test]
        fn damage_is_survived(
            layout in 0usize..3,
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
            keep in any::<prop::sample::Index>(),
            address in 0u64..0x2000,
        ) {
            let mut data = table(LAYOUTS[layout], true, 8, &FUNCTIONS);
            for (at, value) in damage {
                *at.get_mut(&mut data) = value;
            }
            data.truncate(keep.index(data.len()) + 1);
            if let Some(table) = Table::parse(&data) {
                for address in [address, 0, u64::MAX, table.text()] {
                    let name = table.find(address).unwrap_or_default();
                    prop_assert!(name.len() <= MAX_NAME);
                }
            }
        }
    }
}
