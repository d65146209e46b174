//! Pictures are read back as XML: what a browser shows must be there, and be safe.

use super::*;
use remora_model::fixture::{Builder, ms};
use remora_model::{AgentLoss, Reason};
use roxmltree::{Document, ParsingOptions};

/// All text of an SVG; panics when it is not well-formed.
fn texts(svg: &[u8]) -> Vec<String> {
    let svg = std::str::from_utf8(svg).unwrap();
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(svg, options).unwrap();
    let shown = document
        .descendants()
        .filter(|node| matches!(node.tag_name().name(), "text" | "title"));
    shown
        .filter_map(|node| node.text().map(str::to_owned))
        .collect()
}

fn cpu(capture: &Capture) -> Vec<String> {
    texts(&on_cpu(capture, &Folded::on_cpu(capture)).unwrap())
}

fn off(capture: &Capture, idle: bool) -> Vec<String> {
    texts(&off_cpu(capture, &Folded::off_cpu(capture, idle), idle).unwrap())
}

fn holds(texts: &[String], part: &str) -> bool {
    texts.iter().any(|text| text.contains(part))
}

#[test]
fn titles_say_whose_time_and_how_much() {
    let mut builder = Builder::new(4711, "redis-server");
    builder.samples(0, &["main", "call<T>", "k:read"], 99);
    builder.wait(0, Reason::Disk, &["main", "fsync"], ms(2_500));
    builder.wait(0, Reason::Epoll, &["main", "epoll_wait"], ms(20_000));
    builder.0.threads[0].run_queue.preempted = ms(500);
    builder.0.losses.add(AgentLoss::MappingsUnreadable, 2);
    let capture = builder.finish();
    let on = cpu(&capture);
    assert!(
        holds(&on, "redis-server (4711) on CPU: 30.0 s at 99 Hz"),
        "{on:?}"
    );
    assert!(holds(&on, "999 ms on CPU in 99 samples"));
    assert!(holds(&on, "lost: mappings_unreadable 2"));
    assert!(holds(&on, "call<T> (99 samples, 100.00%)"));
    let off_cpu = off(&capture, false);
    assert!(holds(&off_cpu, "disk (2,500 ms, 83.33%)"), "{off_cpu:?}");
    assert!(holds(
        &off_cpu,
        "2.5 s blocked, 3.0 s with run queue · 20.0 s idle excluded (--idle)"
    ));
    assert!(!holds(&off_cpu, "epoll_wait"));
    assert!(holds(
        &off(&capture, true),
        "[idle] epoll (20,000 ms, 86.96%)"
    ));
}

#[test]
fn less_than_a_second_is_told_in_microseconds() {
    let mut builder = Builder::new(1, "target");
    builder.wait(0, Reason::Futex, &["main"], Duration::from_micros(1_234));
    assert!(holds(
        &off(&builder.finish(), false),
        "futex (1,234 µs, 100.00%)"
    ));
}

#[test]
fn nothing_to_draw_is_said_in_a_sentence() {
    let mut builder = Builder::new(1, "a<b&c");
    builder.wait(0, Reason::Epoll, &["main"], ms(29_000));
    builder.0.threads[0].on_cpu = Duration::from_micros(187);
    let capture = builder.finish();
    let on = cpu(&capture);
    assert!(
        holds(&on, "no CPU samples: 187 µs on CPU in 30.0 s"),
        "{on:?}"
    );
    assert!(holds(&on, "187 µs on CPU in 0 samples · nothing lost"));
    assert!(holds(&on, "a<b&c (1)"));
    let idle = off(&capture, false);
    assert!(holds(
        &idle,
        "nothing to draw but idle waits, 29.0 s in all: --idle draws them"
    ));
    let nothing = Builder::new(1, "target").finish();
    assert!(holds(
        &off(&nothing, true),
        "no thread of the target waited in 30.0 s"
    ));
}

#[test]
fn pictures_are_the_same_each_time() {
    let mut builder = Builder::new(1, "target");
    for function in 0..50 {
        builder.samples(0, &["main", &format!("function{function}"), "k:read"], 3);
    }
    let capture = builder.finish();
    let draw = || on_cpu(&capture, &Folded::on_cpu(&capture)).unwrap();
    assert!(draw() == draw(), "two drawings of one capture differ");
}

#[test]
fn a_frame_is_one_box_also_beside_names_that_begin_like_it() {
    let mut builder = Builder::new(1, "target");
    builder.samples(0, &["f"], 10);
    builder.samples(0, &["f()"], 10);
    builder.samples(0, &["f", "g"], 10);
    let on = cpu(&builder.finish());
    let boxes: Vec<_> = on.iter().filter(|text| text.starts_with("f (")).collect();
    assert_eq!(boxes, ["f (20 samples, 66.67%)"]);
}

/// Text of the boxes and of the tooltips, in the order of the picture.
fn boxes(svg: &[u8]) -> Vec<(String, String)> {
    let options = ParsingOptions {
        allow_dtd: true,
        ..ParsingOptions::default()
    };
    let document = Document::parse_with_options(std::str::from_utf8(svg).unwrap(), options);
    let document = document.unwrap();
    let groups = document
        .descendants()
        .filter(|node| node.tag_name().name() == "g");
    let text = |group: &roxmltree::Node<'_, '_>, name: &str| {
        let child = group
            .children()
            .find(|child| child.tag_name().name() == name)?;
        Some(child.text().unwrap_or_default().to_owned())
    };
    groups
        .filter_map(|group| Some((text(&group, "text")?, text(&group, "title")?)))
        .collect()
}

#[test]
fn boxes_are_short_and_tooltips_in_full() {
    let mut builder = Builder::new(1, "target");
    let (push, other) = (
        "std::vector<int, std::allocator<int> >::push_back(int const&)",
        "std::vector<long, std::allocator<long> >::push_back(int const&)",
    );
    builder.samples(0, &["main", push, "i:<a::B<\"x\"> as c::D>::f"], 50);
    builder.samples(0, &["main", other, "JS:*f<a, b, c, d, e, f, g>"], 50);
    let capture = builder.finish();
    let folded = Folded::on_cpu(&capture);
    let svg = on_cpu(&capture, &folded).unwrap();
    let boxes = boxes(&svg);
    let shown = |title: &str| {
        let found = boxes.iter().find(|(_, whole)| whole.starts_with(title));
        found.map(|(text, _)| text.as_str())
    };
    let short = "std::vector<…>::push_back(int const&)";
    // Two functions with one short name are two boxes.
    assert_eq!(
        shown(&format!("{push} (50 samples")),
        Some(short),
        "{boxes:?}"
    );
    assert_eq!(shown(&format!("{other} (50 samples")), Some(short));
    assert_eq!(
        shown("<a::B<\"x\"> as c::D>::f (50"),
        Some("<B<\"x\"> as D>::f")
    );
    assert_eq!(shown("main (100"), Some("main"));
    // What a browser's script needs to write them again at another width.
    let svg = String::from_utf8(svg).unwrap();
    assert!(svg.contains("<g fg:label=\"std::vector&lt;…&gt;::push_back(int const&amp;)\">"));
    assert_eq!(svg.matches("var txt = label_of(e);").count(), 2);
    assert_eq!(svg.matches("function label_of(e)").count(), 1);
    // The stacks have the names in full.
    assert!(folded.text().contains(push) && !folded.text().contains('…'));
}

#[test]
fn narrow_boxes_have_what_fits() {
    let mut builder = Builder::new(1, "target");
    builder.samples(0, &["main", "wide"], 950);
    builder.samples(0, &["main", "narrow<one::Type, another::Type>(int)"], 40);
    builder.samples(0, &["main", "none<one::Type, another::Type>(int)"], 10);
    let capture = builder.finish();
    let boxes = boxes(&on_cpu(&capture, &Folded::on_cpu(&capture)).unwrap());
    let shown = |name: &str| boxes.iter().find(|(_, whole)| whole.starts_with(name));
    assert_eq!(shown("narrow").unwrap().0, "narr..");
    assert_eq!(shown("none").unwrap().0, "");
}

#[test]
fn memory_says_what_it_does_not_draw() {
    let mut builder = Builder::new(7, "solo");
    builder.grown(0, &["main", "leak"], 12 << 20, 1 << 20);
    let capture = builder.finish();
    let svg = memory(&capture, &Folded::memory(&capture)).unwrap();
    let svg = String::from_utf8(svg).unwrap();
    for words in [
        "memory growth: 13.0 MiB",
        "5.0 MiB touched and given back",
        "net +13.0 MiB",
        "3 of 200",
    ] {
        assert!(svg.contains(words), "{words}: {svg}");
    }
    let nothing = Builder::new(7, "solo").finish();
    let svg = memory(&nothing, &Folded::memory(&nothing)).unwrap();
    assert!(
        String::from_utf8(svg)
            .unwrap()
            .contains("no mapping of the target grew")
    );
}
