//! What lies in the page is what the report says, whatever the report says.

use super::*;
use proptest::prelude::*;
use serde_json::{Value, json};

fn page(report: &Value, pictures: &[(&str, &[u8])]) -> String {
    let report = serde_json::to_vec_pretty(report).unwrap();
    String::from_utf8(render(&report, pictures).unwrap()).unwrap()
}

/// The text of the element with this id, as a browser finds it: up to the first end tag.
fn element<'a>(page: &'a str, id: &str) -> &'a str {
    let open = format!("<script type=\"application/json\" id=\"{id}\">");
    let (_, rest) = page.split_once(&open).unwrap();
    rest.split_once("</script").unwrap().0
}

fn embedded(page: &str) -> Value {
    serde_json::from_str(element(page, "report")).unwrap()
}

/// A column as the page reads it.
fn unpacked(column: &str) -> Vec<Option<f64>> {
    let mut values = Vec::new();
    for word in column.split(',').filter(|word| !word.is_empty()) {
        let (value, times) = word.split_once('*').unwrap_or((word, "1"));
        let value = (value != "null").then(|| value.parse().unwrap());
        values.extend(std::iter::repeat_n(value, times.parse().unwrap()));
    }
    values
}

#[test]
fn the_page_holds_the_report_as_it_is() {
    let report = json!({"schema": 1, "loss": {"a": 0, "b": 12}, "findings": [], "list": [1, 2.5, null],
        "text": "two  spaces, \"quotes\", a \\ and a tab\t"});
    assert_eq!(embedded(&page(&report, &[])), report);
    // Nothing is there that the report does not have.
    assert!(!element(&page(&report, &[]), "report").contains("timeline"));
    assert_eq!(element(&page(&report, &[]), "pictures"), "{}");
}

#[test]
fn white_space_is_left_out_but_in_strings() {
    let text = element(
        &page(&json!({"a b": ["c  d", {"e": [1, 2]}]}), &[]),
        "report",
    )
    .to_owned();
    assert_eq!(text, r#"{"a b":["c  d",{"e":[1,2]}]}"#);
}

#[test]
fn columns_of_the_timeline_are_strings() {
    let threads = json!([{"tid": 7, "comm": "[1,2]", "first": 3, "on_cpu_pct": [0.0, 0.0, 12.25, 0.5],
        "loop": {"p50_s": [null, null, 0.001]}, "none": []}]);
    let report = json!({"timeline": {"window_s": 1.0, "start_s": [0.0, 1.0], "threads": threads,
        "sockets": []}, "other": [1, 1, 1]});
    let expected = json!({"timeline": {"window_s": 1.0, "start_s": "0,1", "threads": [{"tid": 7,
        "comm": "[1,2]", "first": 3, "on_cpu_pct": "0*2,12.25,0.5",
        "loop": {"p50_s": "null*2,0.001"}, "none": ""}], "sockets": ""}, "other": [1, 1, 1]});
    assert_eq!(embedded(&page(&report, &[])), expected);
}

#[test]
fn an_hour_of_an_idle_thread_takes_no_room() {
    let hour: Vec<f64> = vec![100.0; 3_600];
    let report = json!({"timeline": {"threads": [{"event_wait_pct": hour}]}});
    assert!(element(&page(&report, &[]), "report").len() < 100);
}

#[test]
fn names_cannot_leave_their_element() {
    let names = [
        "</script><img src=x onerror=alert(1)>",
        "<!--<script>",
        "</ScRiPt >",
        "{{script}}{{report}}",
        "\u{2028}\u{2029}\u{0}\u{feff}",
        "\\</script>",
    ];
    let report =
        json!({"threads": names, "timeline": {"threads": [{"comm": names[0]}]}, "</script>": 1});
    let quiet = page(&json!({}), &[]);
    let made = page(
        &report,
        &[("</script>.svg", b"<svg></script><!--</svg>\xff")],
    );
    assert_eq!(embedded(&made), report);
    for mark in ["<script", "</script", "<!--", "<img"] {
        let lower = |text: &str| text.to_lowercase().matches(mark).count();
        assert_eq!(lower(&made), lower(&quiet), "{mark}");
    }
    let pictures: Value = serde_json::from_str(element(&made, "pictures")).unwrap();
    assert_eq!(
        pictures["</script>.svg"]["svg"],
        "<svg></script><!--</svg>\u{fffd}"
    );
}

#[test]
fn a_picture_that_is_too_large_is_only_linked() {
    let large = vec![b'x'; LARGEST_PICTURE + 1];
    let made = page(&json!({}), &[("small.svg", b"<svg/>"), ("cpu.svg", &large)]);
    let pictures: Value = serde_json::from_str(element(&made, "pictures")).unwrap();
    assert_eq!(
        pictures["cpu.svg"],
        json!({"bytes": large.len(), "svg": null})
    );
    assert_eq!(pictures["small.svg"]["svg"], "<svg/>");
    assert!(made.len() < 1 << 20);
}

#[test]
fn the_same_report_gives_the_same_page() {
    let report = json!({"b": 1, "a": {"d": [1], "c": null}, "timeline": {"x": [1, 1]}});
    let pictures: &[(&str, &[u8])] = &[("b.svg", b"<svg/>"), ("a.svg", b"<svg></svg>")];
    assert_eq!(page(&report, pictures), page(&report, pictures));
    let made = page(&report, pictures);
    // In the order given, not in that of names.
    assert!(made.find("b.svg") < made.find("a.svg"));
}

#[test]
fn what_is_no_report_is_an_error() {
    for text in ["", "[1]", "{\"a\":", "null"] {
        assert!(render(text.as_bytes(), &[]).is_err(), "{text}");
    }
}

#[test]
fn the_page_needs_nothing_from_elsewhere() {
    let own = [TEMPLATE, STYLE]
        .into_iter()
        .chain(SCRIPT)
        .collect::<String>();
    for word in [
        "http:",
        "https:",
        "@import",
        "url(",
        "fetch(",
        "XMLHttpRequest",
        "import(",
        "src=\"",
    ] {
        assert!(!own.contains(word), "{word}");
    }
    // Data becomes text nodes, never markup; nothing is run that is not written here.
    for word in [
        "innerHTML",
        "outerHTML",
        "insertAdjacentHTML",
        "document.write",
        "eval(",
        "new Function",
    ] {
        assert!(!own.contains(word), "{word}");
    }
    let script: String = SCRIPT.concat();
    assert!(!script.contains("</script") && !script.contains("<!--"));
    assert!(!STYLE.contains("</"));
}

proptest! {
    #[test]
    fn any_text_comes_through(text in any::<String>(), key in any::<String>()) {
        let report = json!({"a": {key: [text.clone(), {"b": text}]}});
        prop_assert_eq!(embedded(&page(&report, &[])), report);
    }

    #[test]
    fn any_column_comes_through(values in proptest::collection::vec(
        proptest::option::of(prop_oneof![Just(0.0), Just(100.0), -1e3..1e3, any::<f64>().prop_filter(
            "JSON has no others", |value| value.is_finite())]), 0..50)) {
        let report = json!({"timeline": {"threads": [{"column": values}]}});
        let made = embedded(&page(&report, &[]));
        let column = made["timeline"]["threads"][0]["column"].as_str().unwrap();
        prop_assert_eq!(unpacked(column), values);
    }
}
