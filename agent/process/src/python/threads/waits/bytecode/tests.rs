//! Code made by hand, and noise.

use super::*;

const NAMES: Names = Names {
    acquire: Some(0),
    release: Some(1),
};

#[test]
fn calls_are_found_with_what_they_are_called_on() {
    // x.acquire(); self.a[k].acquire(); x.release(), in 3.8: LOAD_FAST, LOAD_METHOD, CALL_METHOD, POP_TOP.
    let code = [
        124, 0, 160, 0, 161, 0, 1, 0, // x.acquire()
        124, 1, 106, 2, 124, 2, 25, 0, 160, 0, 161, 0, 1, 0, // self.a[k].acquire()
        124, 0, 160, 1, 161, 0, 1, 0, // x.release()
    ];
    let found = sites(&code, 8, NAMES);
    let element = Value::Element(
        Box::new(Value::Attribute(Box::new(Value::Local(1)), 2)),
        Box::new(Value::Local(2)),
    );
    let expected = [
        (2, true, Value::Local(0)),
        (16, true, element),
        (24, false, Value::Local(0)),
    ];
    let expected = expected.map(|(at, takes, on)| Site { at, takes, on });
    assert_eq!(found, expected);
}

#[test]
fn words_between_instructions_are_no_instructions() {
    // 3.13: LOAD_FAST_LOAD_FAST 0 1, BINARY_SUBSCR with one word, LOAD_ATTR acquire with nine, made to look like code.
    let mut code = vec![88, 0x01, 5, 0, 85, 3, 82, 1];
    code.extend([85, 7, 82, 1].repeat(4));
    code.extend([82, 1]);
    code.extend([85, 2, 82, 3]);
    let found = sites(&code, 13, NAMES);
    let element = Value::Element(Box::new(Value::Local(0)), Box::new(Value::Local(1)));
    let on: Vec<_> = found.iter().map(|site| (site.takes, &site.on)).collect();
    assert_eq!(on, [(true, &element), (false, &Value::Local(2))]);
}

#[test]
fn what_a_call_returns_is_not_followed() {
    // lock_of(x).acquire(): CALL_FUNCTION stands between.
    let code = [116, 3, 124, 0, 131, 1, 160, 0, 161, 0];
    assert_eq!(sites(&code, 8, NAMES), []);
}

#[test]
fn a_frame_holds_between_its_last_acquire_and_the_release() {
    let site = |at, takes, local| Site {
        at,
        takes,
        on: Value::Local(local),
    };
    // acquire 0, acquire 1, release 1, release 0.
    let all = [
        site(10, true, 0),
        site(20, true, 1),
        site(30, false, 1),
        site(40, false, 0),
    ];
    let is = |local| move |value: &Value| *value == Value::Local(local);
    assert_eq!(holds(&all, 14, true, is(0)), None, "it waits for it");
    assert_eq!(holds(&all, 14, false, is(0)), Some(true));
    assert_eq!(holds(&all, 24, false, is(0)), Some(true));
    assert_eq!(holds(&all, 24, true, is(1)), None);
    assert_eq!(holds(&all, 34, false, is(1)), None);
    assert_eq!(holds(&all, 44, false, is(0)), None);
    assert_eq!(holds(&all, 5, false, is(0)), None);
    assert_eq!(
        holds(&all[..1], 14, false, is(0)),
        Some(false),
        "released elsewhere"
    );
}

#[test]
fn any_bytes_are_survived() {
    let mut random = 1_u64;
    let mut found = 0;
    for _ in 0..2000 {
        let bytes: Vec<u8> = std::iter::repeat_with(|| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            // Often one of those that mean something.
            let chosen = [124, 85, 88, 82, 160, 106, 25, 5, 144, 71, 0, 1];
            match (random >> 40) % 3 {
                0 => (random >> 33) as u8,
                _ => chosen[(random >> 33) as usize % chosen.len()],
            }
        })
        .take(400)
        .collect();
        for minor in 0..=20 {
            let sites = sites(&bytes, minor, NAMES);
            assert!(sites.is_sorted_by_key(|site| site.at) && sites.len() <= MAX_SITES);
            found += sites.len();
        }
    }
    assert!(found > 1000, "{found}");
}
