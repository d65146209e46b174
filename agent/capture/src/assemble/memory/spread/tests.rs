//! Growth spread over stacks adds up to what the mappings say.

use super::*;
use proptest::prelude::*;
use remora_model::MappingKind;

const PAGE: u64 = 4096;
const MIB: u64 = 1 << 20;

fn mapping(
    kind: MappingKind,
    first: u64,
    regions: u64,
    start_bytes: u64,
    end_bytes: u64,
) -> Mapping {
    Mapping {
        name: String::new(),
        kind,
        start: first * REGION_BYTES,
        end: (first + regions) * REGION_BYTES,
        start_bytes,
        end_bytes,
        huge_bytes: 0,
    }
}

fn anon(first: u64, regions: u64, start_bytes: u64, end_bytes: u64) -> Mapping {
    mapping(
        MappingKind::Anonymous,
        first,
        regions,
        start_bytes,
        end_bytes,
    )
}

fn row(stack: usize, region: u64, samples: u64, faults: u64) -> Row {
    Row {
        thread: 0,
        stack,
        region,
        samples,
        faults,
    }
}

fn full(regions: impl IntoIterator<Item = u64>) -> HashMap<u64, Region> {
    let whole = Region {
        resident: REGION_BYTES,
        huge: false,
    };
    regions.into_iter().map(|region| (region, whole)).collect()
}

#[test]
fn growth_is_shared_by_faults_and_adds_up() {
    let mappings = [anon(10, 4, 0, 8 * MIB)];
    let mut rows: Vec<Row> = (10..13).map(|region| row(0, region, 9, 500)).collect();
    rows.push(row(1, 13, 8, 500));
    let shares = spread(&mappings, &rows, &full(10..14), PAGE);
    assert_eq!(shares.bytes.iter().sum::<f64>().round() as u64, 8 * MIB);
    let ratio = shares.bytes[..3].iter().sum::<f64>() / shares.bytes[3];
    assert!((2.9..3.1).contains(&ratio), "{shares:?}");
    assert_eq!((shares.unattributed, shares.returned), (0, 0));
}

#[test]
fn what_came_back_has_no_share() {
    // Touched again and again where nothing grew, and where nothing is mapped any more.
    let mappings = [anon(10, 1, 2 * MIB, 2 * MIB)];
    let rows = [row(0, 10, 100, 6100), row(0, 500, 50, 3050)];
    let shares = spread(&mappings, &rows, &HashMap::new(), PAGE);
    assert_eq!(shares.bytes, [0.0, 0.0]);
    assert_eq!(shares.returned, (6100 + 3050) * PAGE);
}

#[test]
fn regions_that_are_empty_again_leave_their_share_to_the_others() {
    let mappings = [anon(10, 2, 0, 2 * MIB)];
    let mut regions = full([10]);
    regions.insert(11, Region::default());
    let rows = [row(0, 10, 8, 512), row(1, 11, 8, 512)];
    let shares = spread(&mappings, &rows, &regions, PAGE);
    assert_eq!(shares.bytes, [(2 * MIB) as f64, 0.0]);
    assert_eq!(shares.returned, 2 * MIB);
}

#[test]
fn a_huge_page_counts_as_one() {
    let mappings = [anon(10, 9, 0, 18 * MIB)];
    let mut regions = full(10..19);
    for region in 10..18 {
        let huge = Region {
            resident: REGION_BYTES,
            huge: true,
        };
        regions.insert(region, huge);
    }
    let mut rows: Vec<Row> = (10..18).map(|region| row(0, region, 1, 1)).collect();
    rows.push(row(1, 18, 9, 512));
    let shares = spread(&mappings, &rows, &regions, PAGE);
    let huge: f64 = shares.bytes[..8].iter().sum();
    assert_eq!(huge.round() as u64, 16 * MIB);
    assert_eq!(shares.bytes[8].round() as u64, 2 * MIB);
}

#[test]
fn memory_that_was_populated_in_advance_is_nobodys() {
    let mappings = [anon(10, 512, 0, 1024 * MIB)];
    let shares = spread(&mappings, &[row(0, 10, 4, 4)], &full(10..522), PAGE);
    assert!(shares.bytes[0] < 16.0 * PAGE as f64, "{shares:?}");
    assert!(shares.unattributed > 1023 * MIB);
}

#[test]
fn a_fault_on_a_file_maps_its_neighbours_too() {
    let mappings = [mapping(MappingKind::File, 10, 1, 0, MIB)];
    let shares = spread(&mappings, &[row(0, 10, 16, 16)], &HashMap::new(), PAGE);
    assert_eq!(shares.bytes[0].round() as u64, MIB);
}

#[test]
fn a_region_with_two_mappings_goes_to_those_that_grew() {
    let mut first = anon(10, 1, 0, MIB);
    first.end -= MIB;
    let second = Mapping {
        start: first.end,
        end: first.end + MIB,
        end_bytes: 0,
        ..first.clone()
    };
    let rows = [row(0, 10, 8, 256)];
    let shares = spread(&[first, second], &rows, &HashMap::new(), PAGE);
    assert_eq!(shares.bytes[0].round() as u64, MIB);
}

#[test]
fn faults_without_a_region_have_what_is_left() {
    let mappings = [anon(10, 1, 0, 2 * MIB)];
    let shares = spread(&mappings, &[row(0, 0, 10, 256)], &HashMap::new(), PAGE);
    let bytes = shares.bytes[0].round() as u64;
    assert_eq!((bytes, shares.unattributed), (MIB, MIB));
}

#[test]
fn without_faults_all_growth_is_without_a_stack() {
    let shares = spread(&[anon(1, 1, MIB, 2 * MIB)], &[], &HashMap::new(), PAGE);
    let expected = Shares {
        bytes: Vec::new(),
        unattributed: MIB,
        returned: 0,
    };
    assert_eq!(shares, expected);
}

proptest! {
    #[test]
    fn shares_never_exceed_the_growth(
        growth in prop::collection::vec((0_u64..1 << 40, 0_u64..1 << 40), 0..8),
        rows in prop::collection::vec((0_u64..20, 0_u64..5, any::<u64>()), 0..20),
    ) {
        let at = |i: usize| 1 + 2 * i as u64;
        let mappings: Vec<_> = growth
            .iter()
            .enumerate()
            .map(|(i, (a, b))| anon(at(i), 1, *a, *b))
            .collect();
        let rows: Vec<_> = rows
            .into_iter()
            .map(|(region, samples, faults)| row(0, region, samples, faults))
            .collect();
        let shares = spread(&mappings, &rows, &full(3..6), PAGE);
        let grown: u64 = mappings.iter().map(Mapping::growth_bytes).sum();
        let shared: f64 = shares.bytes.iter().sum();
        let slack = grown as f64 * 0.001 + 1.0;
        prop_assert!(shared <= grown as f64 + slack);
        let all = shared + shares.unattributed as f64;
        prop_assert!((all - grown as f64).abs() <= slack);
    }
}
