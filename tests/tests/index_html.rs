//! `index.html` in a browser: nothing on its console, its figures are those of `report.json`, names from the target
//! are text and nothing else, and a report a thousand threads wide and an hour long can be used.

use remora_tests::background::{Background, free_port};
use remora_tests::browser::Browser;
use remora_tests::cases::{self, Program};
use remora_tests::gate::{privileged, skip};
use remora_tests::remora::Remora;
use remora_tests::servers::connect;
use remora_tests::specimen::{Specimen, Start};
use remora_tests::synthetic::{self, Size};
use serde_json::Value;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Every row of a table as `{column: value}`, by scrolling through it; spans of reasons as `{reason: value}`.
const ROWS: &str = "(async (name) => {
    const table = document.getElementById(`table-${name}`);
    const rows = new Map();
    const scroll = table.parentNode;
    for (let top = 0; ; top += 400) {
        scroll.scrollTop = top;
        await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
        for (const row of table.tBodies[0].querySelectorAll('tr.row-of')) {
            const cells = {};
            for (const cell of row.cells) {
                cells[cell.dataset.key] = { value: cell.dataset.value ?? null, text: cell.textContent };
                for (const span of cell.querySelectorAll('[data-reason]')) {
                    (cells.reasons ||= {})[span.dataset.reason] = Number(span.dataset.value);
                }
            }
            rows.set(row.getAttribute('aria-rowindex'), cells);
        }
        if (top >= scroll.scrollHeight) break;
    }
    scroll.scrollTop = 0;
    return [...rows.values()];
})";

fn rows(browser: &mut Browser, table: &str) -> Vec<Value> {
    let rows = browser.eval(&format!("{ROWS}('{table}')"));
    rows.as_array()
        .unwrap_or_else(|| panic!("{table}: {rows}"))
        .clone()
}

/// What a cell's attribute holds, as a number.
fn value(row: &Value, key: &str) -> f64 {
    let text = row[key]["value"].as_str();
    let number = text.and_then(|text| text.parse().ok());
    number.unwrap_or_else(|| panic!("no number in {key} of {row}"))
}

/// The attribute of an element, as a number.
fn figure(browser: &mut Browser, id: &str) -> f64 {
    let script = format!("Number(document.querySelector('#{id} [data-value]').dataset.value)");
    browser.eval(&script).as_f64().expect("a number")
}

/// Seconds of a time for people, such as `12.3 ms`.
fn seconds(text: &str) -> f64 {
    let mut words = text.trim_start_matches('~').split_whitespace();
    let number = words.next().expect("a number").replace(',', "");
    let number: f64 = number.parse().unwrap_or_else(|_| panic!("{text}"));
    number
        * match words.next() {
            Some("ns") => 1e-9,
            Some("µs") => 1e-6,
            Some("ms") => 1e-3,
            Some("min") => 60.0,
            Some("h") => 3_600.0,
            _ => 1.0,
        }
}

/// The text of a cell says what the report has, to three digits.
fn assert_shows(row: &Value, key: &str, ns: f64) {
    let text = row[key]["text"].as_str().expect("a text");
    let off = (seconds(text) - ns / 1e9).abs();
    assert!(off <= ns / 1e9 * 0.006, "{text:?} for {ns} ns of {key}");
}

fn assert_threads(browser: &mut Browser, report: &Value) {
    let threads = report["threads"].as_array().expect("threads");
    let rows = rows(browser, "threads");
    assert_eq!(rows.len(), threads.len());
    let number = |value: &Value| value.as_f64().expect("a number");
    for thread in threads {
        let tid = number(&thread["tid"]);
        let row = rows.iter().find(|row| value(row, "tid") == tid);
        let row = row.unwrap_or_else(|| panic!("no row for {tid}"));
        let queue = &thread["run_queue"];
        let queued = number(&queue["after_wake_ns"]) + number(&queue["preempted_ns"]);
        let (on_cpu, idle) = (number(&thread["on_cpu_ns"]), number(&thread["idle_ns"]));
        let times = [
            ("on_cpu_ns", on_cpu),
            ("run_queue_ns", queued),
            ("idle_ns", idle),
        ];
        for (key, ns) in times {
            assert_eq!(value(row, key), ns, "{key} of {tid}");
            assert_shows(row, key, ns);
        }
        let blocked = thread["blocked"].as_array().expect("reasons");
        let shown = row["reasons"].as_object().map_or(0, serde_json::Map::len);
        assert_eq!(shown, blocked.len(), "{row}");
        for wait in blocked {
            let reason = wait["reason"].as_str().expect("a word");
            assert_eq!(
                row["reasons"][reason].as_f64(),
                wait["total_ns"].as_f64(),
                "{reason}"
            );
        }
    }
}

/// Loss, overhead and the figures at the top.
fn assert_totals(browser: &mut Browser, report: &Value) {
    let loss = report["loss"].as_object().expect("losses");
    let shown = rows(browser, "loss");
    assert_eq!(shown.len(), loss.len());
    for row in &shown {
        let name = row["name"]["value"].as_str().expect("a name");
        assert_eq!(Some(value(row, "count")), loss[name].as_f64(), "{name}");
    }
    let lost: f64 = loss.values().filter_map(Value::as_f64).sum();
    assert_eq!(figure(browser, "figure-loss"), lost);
    let threads = report["threads"].as_array().expect("threads");
    let on_cpu: f64 = threads
        .iter()
        .filter_map(|thread| thread["on_cpu_ns"].as_f64())
        .sum();
    assert_eq!(figure(browser, "figure-on_cpu_ns"), on_cpu);
    let complete = report["stacks"]["complete_pct"].as_f64();
    assert_eq!(Some(figure(browser, "figure-complete_pct")), complete);
    let overhead = report["overhead"].as_object().expect("an object");
    for (key, cost) in overhead.iter().filter(|(_, cost)| cost.is_number()) {
        let shown = figure(browser, &format!("overhead-{key}"));
        assert_eq!(Some(shown), cost.as_f64(), "{key}");
    }
    for row in &rows(browser, "signals") {
        let name = row["name"]["value"].as_str().expect("a name");
        assert_eq!(
            row["hook"]["value"], report["signals"][name]["hook"],
            "{name}"
        );
    }
}

/// The timeline, where the report has one: the figures beside the plots are those of the window.
fn assert_timeline(browser: &mut Browser, report: &Value) {
    let Some(threads) = report["timeline"]["threads"].as_array() else {
        return;
    };
    browser.eval("document.querySelector('.plot').focus()");
    browser.press("ArrowRight");
    let shown = browser.eval(
        "(() => { const of = document.getElementById('timeline-of').selectedOptions[0].textContent;
        const row = document.querySelector('.plot').parentNode;
        const window = row.querySelector('.at').textContent;
        return [of, window, Object.fromEntries([...row.querySelectorAll('.legend button')].map((one) =>
            [one.children[1].textContent, Number(one.children[2].dataset.value)]))]; })()",
    );
    let of = shown[0].as_str().expect("a name");
    let thread = threads
        .iter()
        .find(|thread| of.ends_with(&format!(" {}", thread["tid"])));
    let thread = thread.unwrap_or_else(|| panic!("{of}"));
    assert_eq!(
        thread["first"], 0,
        "the busiest thread was there from the start"
    );
    for state in synthetic::STATES {
        let label = match state {
            "on_cpu" => "on CPU".to_owned(),
            other => other.replace('_', " "),
        };
        let of = |label: &str| shown[2][label].as_f64().unwrap_or_default();
        // A worker's idle waits in a futex have a layer of their own.
        let idle = if state == "lock" {
            of("lock, idle")
        } else {
            0.0
        };
        let expected = thread[format!("{state}_pct")][0].as_f64();
        assert_eq!(Some(of(&label) + idle), expected, "{state}: {shown}");
    }
    browser.press("Escape");
}

/// redis under its own load, where it is installed; it works in this folder.
fn redis(folder: &Path) -> Option<(Background, Background)> {
    let port = free_port().to_string();
    let mut server = Command::new("redis-server");
    server.args(["--port", &port, "--bind", "127.0.0.1", "--save", ""]);
    let server = Background::start(server.current_dir(folder));
    let server = server.map_err(|why| skip(&why)).ok()?;
    let connected = connect(port.parse().expect("a number"));
    connected.map_err(|why| skip(&why)).ok()?;
    let mut load = Command::new("redis-benchmark");
    load.args(["-p", &port, "-q", "-n", "100000000", "-t", "get,set"]);
    let load = Background::start(&mut load);
    Some((server, load.map_err(|why| skip(&why)).ok()?))
}

#[test]
fn its_figures_are_those_of_the_report() {
    let Some(_turn) = privileged() else { return };
    let mut browser = match Browser::start() {
        Ok(browser) => browser,
        Err(why) => return skip(&why),
    };
    let folder = tempfile::tempdir().expect("a folder");
    let (specimen, redis) = (Specimen::start("many-threads"), redis(folder.path()));
    let mut pids = vec![specimen.pid()];
    pids.extend(redis.as_ref().map(|(server, _)| server.pid()));
    let (run, _) = Remora::record(&pids, 3).capture();
    drop(redis);
    let report: Value = serde_json::from_str(&run.file("report.json")).expect("JSON");
    browser.open(&run.out.join("index.html"));
    assert_threads(&mut browser, &report);
    assert_totals(&mut browser, &report);
    assert_timeline(&mut browser, &report);
    let pid = browser.eval("Number(document.querySelector('h1').dataset.pid)");
    assert_eq!(pid, report["targets"][0]["pid"]);
    assert_eq!(rows(&mut browser, "targets").len(), pids.len());
    // The rows of 500 threads are not all in the page at once.
    let there = browser.eval("document.querySelectorAll('#table-threads tbody tr').length");
    assert!(there.as_u64().expect("a number") < 100, "{there}");
    pictures_run(&mut browser);
    browser.assert_quiet();
}

/// The pictures draw themselves in their frames, and take a click.
fn pictures_run(browser: &mut Browser) {
    for name in ["cpu.svg", "offcpu.svg"] {
        browser.eval(&format!("document.getElementById('tab-{name}').click()"));
        let place = "document.querySelector('#picture > :not(.away) iframe')";
        browser.until(&format!(
            "{place}.dataset.picture === '{name}' && {place}.src.startsWith('blob:')"
        ));
        browser.eval(&format!("{place}.scrollIntoView({{block: 'end'}})"));
        let at = browser.eval(&format!(
            "(() => {{ const box = {place}.getBoundingClientRect();
            return [box.left + box.width / 2, box.bottom - 60]; }})()"
        ));
        let number = |value: &Value| value.as_f64().expect("a number");
        browser.click(number(&at[0]), number(&at[1]));
    }
}

/// What a strip shows: how many colours its drawings have, whether it is marked, and its words.
const STRIPS: &str = "[...document.querySelectorAll('.finding')].map((one) => {
    const strip = one.querySelector('.strip');
    if (!strip) return { kind: one.dataset.kind };
    const colours = [...strip.querySelectorAll('canvas')].map((canvas) => {
        const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
        const seen = new Map();
        for (let at = 0; at < data.length; at += 4) {
            const colour = data[at + 3] === 255 ? `${data[at]},${data[at + 1]},${data[at + 2]}` : '';
            seen.set(colour, (seen.get(colour) || 0) + 1);
        }
        seen.delete('');
        return Math.max(0, ...seen.values()) / (canvas.width * canvas.height);
    });
    return { kind: one.dataset.kind, filled: colours, marked: !!strip.querySelector('.sick'),
        words: strip.querySelector('.since').innerText, whose: strip.querySelector('.whose').innerText };
})";

#[test]
fn a_finding_has_its_piece_of_the_timeline() {
    let Some(_turn) = privileged() else { return };
    let mut browser = match Browser::start() {
        Ok(browser) => browser,
        Err(why) => return skip(&why),
    };
    let sick = match cases::start(Program::Python("sick_loops.py", "recv")) {
        Ok(sick) => sick,
        Err(why) => return skip(&why),
    };
    std::thread::sleep(Duration::from_secs(4));
    let (run, _) = Remora::record(&[sick.pid()], 4).capture();
    browser.open(&run.out.join("index.html"));
    let strips = browser.eval(STRIPS);
    let of_loop = strips
        .as_array()
        .and_then(|all| all.iter().find(|one| one["kind"] == "loop_blocked"));
    let strip = of_loop.unwrap_or_else(|| panic!("no finding: {strips}"));
    let filled = strip["filled"][0].as_f64().unwrap_or_default();
    assert!(filled > 0.3, "nothing is drawn: {strips}");
    assert_eq!(strip["marked"], true, "{strip}");
    let words = strip["words"].as_str().unwrap_or_default();
    assert!(words.contains("began before the capture"), "{words}");
    let whose = strip["whose"].as_str().unwrap_or_default();
    assert!(whose.contains(&sick.pid().to_string()), "{whose}");

    // A click leads to the thread in the timeline.
    browser.eval("document.querySelector('#timeline-of').selectedIndex = 0");
    browser.eval("document.querySelector('.strip').click()");
    let chosen =
        browser.eval("document.querySelector('#timeline-of').selectedOptions[0].textContent");
    let chosen = chosen.as_str().unwrap_or_default().to_owned();
    assert!(chosen.ends_with(&format!(" {}", sick.pid())), "{chosen}");
    browser.until("scrollY > 100");
    browser.assert_quiet();
}

/// A thread's name has fifteen bytes.
const NAMED: &str = "</script><b id>";

#[test]
fn names_from_the_target_are_text() {
    let Some(_turn) = privileged() else { return };
    let mut browser = match Browser::start() {
        Ok(browser) => browser,
        Err(why) => return skip(&why),
    };
    // A path that holds an end tag and an image that would run a script.
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("<");
    std::fs::create_dir(&place).expect("an own folder");
    let program = place.join("script><img src=x onerror=document.title='owned'>");
    std::fs::copy(remora_tests::compile::specimen(), &program).expect("an own folder");
    let specimen = Start::mode("burn").at(&program).start();
    // Its loop does not come back: a finding names it, too.
    let rename = format!(
        "import asyncio, ctypes, time\nctypes.CDLL(None).prctl(15, b'{NAMED}')\n\
         async def wedge(): time.sleep(99)\nasyncio.run(wedge())"
    );
    let named = Background::start(Command::new("python3").args(["-c", &rename])).expect("python3");
    let comm =
        || std::fs::read_to_string(format!("/proc/{}/comm", named.pid())).unwrap_or_default();
    let started = Instant::now();
    while comm().trim() != NAMED {
        assert!(started.elapsed() < Duration::from_secs(20), "{:?}", comm());
        std::thread::sleep(Duration::from_millis(10));
    }
    std::thread::sleep(Duration::from_secs(4));
    let (run, _) = Remora::record(&[named.pid(), specimen.pid()], 2).capture();
    browser.open(&run.out.join("index.html"));
    let text = browser.eval("document.getElementById('page').innerText + document.title");
    let text = text.as_str().expect("a text");
    for name in [NAMED, "</script><img src=x onerror=document.title='owned'>"] {
        assert!(text.contains(name), "{name} is not in {text}");
    }
    let strip = browser.eval("document.querySelector('.strip .whose b').textContent");
    assert_eq!(
        strip, NAMED,
        "the name in the finding's piece of the timeline"
    );
    let made =
        browser.eval("document.querySelectorAll('img, b[id]').length + document.scripts.length");
    assert_eq!(made, 3, "elements that the page does not have by itself");
    assert!(
        !browser
            .eval("document.title")
            .as_str()
            .expect("a text")
            .contains("owned")
    );
    browser.assert_quiet();
}

#[test]
fn an_hour_of_a_thousand_threads_can_be_used() {
    let Some(_turn) = privileged() else { return };
    let mut browser = match Browser::start() {
        Ok(browser) => browser,
        Err(why) => return skip(&why),
    };
    let size = Size {
        threads: 1_000,
        windows: 3_600,
        sockets: 5_000,
    };
    let specimen = Specimen::start("nanosleep");
    let (run, _) = Remora::record(&[specimen.pid()], 1).capture();
    let page = synthetic::page_with(&run.file("index.html"), &synthetic::report(size));
    let path = run.out.join("large.html");
    std::fs::write(&path, &page).expect("an own folder");
    let opened = browser.open(&path);
    browser.until("document.getElementById('timeline-chart').dataset.digested === '1000'");
    let digested = browser.eval("Math.round(performance.now())");
    println!(
        "{} MB: drawn after {opened:?}, all threads after {digested} ms",
        page.len() >> 20
    );

    for (what, script) in [
        ("filter", "{ const box = document.getElementById('filter-sockets'); box.value = 'close_wait 10.0.1.';
            box.dispatchEvent(new Event('input')); }"),
        ("sort", "document.querySelector('#table-sockets th[data-key=receive_queue_bytes] button').click()"),
        ("scroll", "document.querySelector('#table-threads').parentNode.scrollTop = 1e9"),
        ("overview", "document.querySelector('.many').scrollTop = 9000"),
        ("sum", "{ const box = document.getElementById('timeline-of'); box.value = box.options[0].value;
            box.dispatchEvent(new Event('change')); }"),
    ] {
        let took = browser.eval(&format!("(async () => {{ const from = performance.now(); {script};
            await new Promise((done) => requestAnimationFrame(() => setTimeout(done, 0)));
            return Math.round(performance.now() - from); }})()"));
        println!("{what}: {took} ms");
    }
    // Ascending now: the click turned the order.
    let shown = rows(&mut browser, "sockets");
    let expected = (0..size.sockets).filter(|socket| socket % 10 == 3 && socket / 250 == 1);
    let mut unread: Vec<_> = expected
        .map(|socket| synthetic::unread(socket, size.windows - 1) as f64)
        .collect();
    unread.sort_by(f64::total_cmp);
    let found: Vec<_> = shown
        .iter()
        .map(|row| value(row, "receive_queue_bytes"))
        .collect();
    assert_eq!(found, unread);
    let last = browser.eval("[...document.querySelectorAll('#table-threads tr.row-of')].pop().getAttribute('aria-rowindex')");
    assert_eq!(last, "1001", "the head is the first row");
    let there = browser.eval("document.querySelectorAll('tr').length");
    assert!(there.as_u64().expect("a number") < 1_000, "{there}");
    assert_sum(&mut browser, size);
    // Of a report that has next to nothing, a page shows that, and nothing breaks.
    for little in [
        serde_json::json!({"schema": 1}),
        serde_json::json!({"timeline": {"start_s": ""}, "threads": []}),
    ] {
        let path = run.out.join("little.html");
        let page = synthetic::page_with(&page, &little);
        std::fs::write(&path, page).expect("an own folder");
        browser.open(&path);
        assert_eq!(
            browser.eval("document.querySelectorAll('.fault').length"),
            0
        );
        assert!(
            browser
                .eval("document.getElementById('timeline')")
                .is_null()
        );
    }
    browser.assert_quiet();
}

/// By keyboard: the sum of a window is that of all threads, and a head sorts.
fn assert_sum(browser: &mut Browser, size: Size) {
    browser.eval("document.querySelector('.plot').focus()");
    browser.press("ArrowRight");
    browser.press("ArrowRight");
    let shown = browser.eval(
        "Number([...document.querySelector('.legend').querySelectorAll('button')].pop().children[2].dataset.value)",
    );
    let expected: usize = (0..size.threads)
        .map(|thread| synthetic::on_cpu(thread, 1))
        .sum();
    let off = shown.as_f64().expect("a number") - expected as f64 / 100.0;
    assert!(off.abs() < 1e-6, "{shown}, not {expected} hundredths");
    browser.eval("document.querySelector('#table-threads th[data-key=tid] button').focus()");
    browser.press("Enter");
    let sorted = browser.eval(
        "document.querySelector('#table-threads th[data-key=tid]').getAttribute('aria-sort')",
    );
    assert_eq!(sorted, "descending");
}
