//! Shares the growth of each mapping out among the stacks whose sampled faults fell into it.
//!
//! What a fault brings is estimated first: a page, or 2 MiB where its region is one huge page and no
//! other fault was sampled there; less where the region's pages are gone again. Then the estimates of a
//! mapping are scaled to its exact growth; mappings too small for that to mean anything are taken
//! together by kind. So memory that was touched and given back, or touched again
//! where it was there before, has no share; and growth without faults (populated in advance) is not
//! laid at the door of those that had some.

use remora_common::aggregate::FAULT_REGION_BITS;
use remora_model::{Mapping, MappingKind};
use remora_process::Region;
use std::collections::HashMap;

/// Bytes of a region.
const REGION_BYTES: u64 = 1 << FAULT_REGION_BITS;

/// Pages that one fault on a file maps: `fault_around_bytes`, 64 KiB by default (`mm/memory.c`).
const FAULT_AROUND: f64 = 16.0;

/// An estimate from `n` samples may be too small by so many times 1/√n of itself: three standard
/// deviations, and one for good measure.
const DEVIATIONS: f64 = 4.0;

/// Samples from which on a mapping's growth is shared out by its own.
const ENOUGH: f64 = 25.0;

/// Sampled faults of one thread in one stack and one region.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    pub(crate) thread: usize,
    pub(crate) stack: usize,
    /// Number of the region, 0 where it was not kept.
    pub(crate) region: u64,
    pub(crate) samples: u64,
    /// Faults that they stand for.
    pub(crate) faults: u64,
}

/// What each row has of the growth.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Shares {
    /// Bytes, in the order of the rows.
    pub(crate) bytes: Vec<f64>,
    /// Growth without a fault that explains it, in bytes.
    pub(crate) unattributed: u64,
    /// Touched, and gone or replaced, in bytes.
    pub(crate) returned: u64,
}

/// Part of the estimate of a row that fell into a mapping.
struct Part {
    row: usize,
    mapping: usize,
    bytes: f64,
}

/// Shares out. `mappings` are by address and apart; `page` is the size of one in bytes.
pub(super) fn spread(
    mappings: &[Mapping],
    rows: &[Row],
    regions: &HashMap<u64, Region>,
    page: u64,
) -> Shares {
    let touched = touched(rows, regions, page);
    let left = left(rows, &touched, regions);
    let mut parts = Vec::new();
    let mut sums = vec![(0.0_f64, 0.0_f64); mappings.len()];
    for (at, row) in rows.iter().enumerate().filter(|(_, row)| row.region != 0) {
        for (mapping, share) in places(mappings, row.region) {
            let bytes = left[at] * share;
            sums[mapping].0 += bytes;
            sums[mapping].1 += row.samples as f64 * share;
            parts.push(Part {
                row: at,
                mapping,
                bytes,
            });
        }
    }
    let scales = scales(mappings, &sums);
    let mut bytes = vec![0.0; rows.len()];
    for part in &parts {
        bytes[part.row] += part.bytes * scales[part.mapping];
    }
    let growth = mappings.iter().map(Mapping::growth_bytes);
    let growth = growth.fold(0, u64::saturating_add) as f64;
    let without = (growth - bytes.iter().sum::<f64>()).max(0.0);
    placeless(rows, &left, &mut bytes, without);
    let attributed: f64 = bytes.iter().sum();
    Shares {
        unattributed: (growth - attributed).max(0.0).round() as u64,
        returned: (touched.iter().sum::<f64>() - attributed).max(0.0).round() as u64,
        bytes,
    }
}

/// What the faults of each row brought, in bytes.
fn touched(rows: &[Row], regions: &HashMap<u64, Region>, page: u64) -> Vec<f64> {
    let mut samples: HashMap<u64, u64> = HashMap::new();
    for row in rows {
        *samples.entry(row.region).or_default() += row.samples;
    }
    let unit = |row: &Row| {
        let huge = regions.get(&row.region).is_some_and(|region| region.huge);
        // A huge page comes with one fault. Of one that was put together later, each page had its own.
        if huge && samples.get(&row.region) == Some(&1) {
            REGION_BYTES
        } else {
            page
        }
    };
    rows.iter()
        .map(|row| row.faults as f64 * unit(row) as f64)
        .collect()
}

/// Of that, what can still be there.
fn left(rows: &[Row], touched: &[f64], regions: &HashMap<u64, Region>) -> Vec<f64> {
    let mut sums: HashMap<u64, (f64, u64)> = HashMap::new();
    for (row, bytes) in rows.iter().zip(touched) {
        let sum = sums.entry(row.region).or_default();
        sum.0 += bytes;
        sum.1 += row.samples;
    }
    let part = |row: &Row| match (regions.get(&row.region), sums.get(&row.region)) {
        (Some(region), _) if region.resident == 0 => 0.0,
        // A single sample stands for faults in other regions too.
        (Some(region), Some((sum, 2..))) => (region.resident as f64 / sum.max(1.0)).min(1.0),
        _ => 1.0,
    };
    rows.iter()
        .zip(touched)
        .map(|(row, bytes)| part(row) * bytes)
        .collect()
}

/// The mappings that grew in a region, with the share that each may have of its faults.
fn places(mappings: &[Mapping], region: u64) -> Vec<(usize, f64)> {
    let start = region.saturating_mul(REGION_BYTES);
    let end = start.saturating_add(REGION_BYTES);
    let first = mappings.partition_point(|mapping| mapping.end <= start);
    let here = mappings.iter().enumerate().skip(first);
    let here = here.take_while(|(_, mapping)| mapping.start < end);
    let mut places: Vec<(usize, f64)> = here
        .map(|(at, mapping)| {
            let overlap = mapping.end.min(end) - mapping.start.max(start);
            (at, overlap.min(mapping.growth_bytes()) as f64)
        })
        .filter(|(_, room)| *room > 0.0)
        .collect();
    let room: f64 = places.iter().map(|(_, room)| room).sum();
    places.iter_mut().for_each(|(_, share)| *share /= room);
    places
}

/// What the estimates of each mapping are multiplied by; `sums`: its estimate and samples.
fn scales(mappings: &[Mapping], sums: &[(f64, f64)]) -> Vec<f64> {
    let mut pools: HashMap<MappingKind, (f64, f64, f64)> = HashMap::new();
    let small = |samples: f64| samples < ENOUGH;
    let grew = |mapping: &Mapping| mapping.growth_bytes() as f64;
    for (mapping, (bytes, samples)) in mappings.iter().zip(sums).filter(|(_, sum)| small(sum.1)) {
        let pool = pools.entry(mapping.kind).or_default();
        pool.0 += grew(mapping);
        pool.1 += bytes;
        pool.2 += samples;
    }
    let of = |(mapping, sum): (&Mapping, &(f64, f64))| {
        let alone = (grew(mapping), sum.0, sum.1);
        let pool = pools.get(&mapping.kind).filter(|_| small(sum.1));
        scale(mapping.kind, *pool.unwrap_or(&alone))
    };
    mappings.iter().zip(sums).map(of).collect()
}

fn scale(kind: MappingKind, (growth, estimate, samples): (f64, f64, f64)) -> f64 {
    if estimate <= 0.0 {
        return 0.0;
    }
    let around = if kind.is_file() { FAULT_AROUND } else { 1.0 };
    let most = around * (1.0 + DEVIATIONS / samples.max(1.0).sqrt());
    (growth / estimate).min(most)
}

/// Rows whose region was not kept have what is without a stack, as far as their faults go.
fn placeless(rows: &[Row], left: &[f64], bytes: &mut [f64], without: f64) {
    let mine = || rows.iter().enumerate().filter(|(_, row)| row.region == 0);
    let sum: f64 = mine().map(|(at, _)| left[at]).sum();
    if sum > 0.0 {
        let scale = (without / sum).min(1.0);
        mine().for_each(|(at, _)| bytes[at] += left[at] * scale);
    }
}

#[cfg(test)]
mod tests;
