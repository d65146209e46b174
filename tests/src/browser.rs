//! A browser without a window that opens the pages of a report: headless Chromium, driven over the pipe of its
//! DevTools protocol. What any of its pages or frames says on its console is kept.

use serde_json::{Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A large page takes seconds on a busy machine; a browser that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(90);

/// Messages that may wait to be read; then the browser waits.
const MESSAGES_WAITING: usize = 1024;

/// The protocol's pipe is on descriptors 3 and 4, which are made of those that every child has.
const START: &str = "exec 3<&0 4>&1 0</dev/null 1>&2; exec chromium \"$@\"";

const OPTIONS: [&str; 13] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,900",
    "--remote-debugging-pipe",
    "--enable-logging=stderr",
    "--v=0",
];

/// A running browser with one page; ended when dropped.
#[derive(Debug)]
pub struct Browser {
    child: Child,
    input: ChildStdin,
    messages: Receiver<Value>,
    session: Value,
    next: u64,
    log: PathBuf,
    _profile: TempDir,
}

impl Browser {
    /// Starts one.
    ///
    /// # Errors
    /// In words, when it is not installed.
    pub fn start() -> Result<Self, String> {
        let found = std::env::var_os("PATH").is_some_and(|path| {
            std::env::split_paths(&path).any(|folder| folder.join("chromium").exists())
        });
        if !found {
            return Err("chromium is not installed".to_owned());
        }
        let profile = TempDir::new().expect("a temporary folder");
        let log = profile.path().join("log");
        let mut child = Command::new("sh")
            .args(["-c", START, "sh"])
            .args(OPTIONS)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(File::create(&log).expect("an own folder"))
            .spawn()
            .map_err(|error| format!("cannot run sh: {error}"))?;
        let input = child.stdin.take().expect("it was piped");
        let output = BufReader::new(child.stdout.take().expect("it was piped"));
        let (sender, messages) = sync_channel(MESSAGES_WAITING);
        std::thread::spawn(move || {
            for message in output.split(0).map_while(Result::ok) {
                let message = serde_json::from_slice(&message).expect("the protocol is JSON");
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser = Self {
            child,
            input,
            messages,
            session: Value::Null,
            next: 0,
            log,
            _profile: profile,
        };
        let target = browser.call("Target.createTarget", &json!({"url": "about:blank"}));
        let attach = json!({"targetId": target["targetId"], "flatten": true});
        browser.session = browser.call("Target.attachToTarget", &attach)["sessionId"].take();
        browser.call("Page.enable", &json!({}));
        Ok(browser)
    }

    /// Sends a command and waits for its answer.
    ///
    /// # Panics
    /// When the browser refuses, or does not answer.
    pub fn call(&mut self, method: &str, parameters: &Value) -> Value {
        self.next += 1;
        let mut message = json!({"id": self.next, "method": method, "params": parameters});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        write!(self.input, "{message}\0").expect("the browser listens");
        let started = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(started.elapsed());
            let answer = self.messages.recv_timeout(left);
            let mut answer =
                answer.unwrap_or_else(|_| panic!("{method}: no answer\n{}", self.last_words()));
            if answer["id"] == self.next {
                assert!(answer["error"].is_null(), "{method}: {}", answer["error"]);
                return answer["result"].take();
            }
        }
    }

    /// Opens a report's page and waits until it is drawn.
    pub fn open(&mut self, page: &Path) -> Duration {
        let address = format!("file://{}", page.display());
        let started = Instant::now();
        let gone = self.call("Page.navigate", &json!({"url": address}));
        assert!(gone["errorText"].is_null(), "{gone}");
        self.until("(document.getElementById('page') || {dataset: {}}).dataset.ready === 'yes'");
        started.elapsed()
    }

    /// The value of an expression in the page; of a promise, what it comes to.
    ///
    /// # Panics
    /// When it throws.
    pub fn eval(&mut self, script: &str) -> Value {
        let parameters = json!({"expression": script, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", &parameters);
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{script}: {thrown}");
        answer["result"]["value"].take()
    }

    /// Waits until an expression is true.
    ///
    /// # Panics
    /// When it takes too long.
    pub fn until(&mut self, script: &str) {
        let started = Instant::now();
        while self.eval(script) != Value::Bool(true) {
            assert!(
                started.elapsed() < PATIENCE,
                "never true: {script}\n{:?}\n{}",
                self.console(),
                self.eval("document.body ? document.body.innerText.slice(0, 2000) : ''")
            );
            std::thread::sleep(Duration::from_millis(30));
        }
    }

    /// Presses and releases a key, such as `Enter`.
    pub fn press(&mut self, key: &str) {
        let mut event = json!({"type": "keyDown", "key": key, "code": key});
        // What a page does by itself on a key, such as the click of a button, hangs on these.
        match key {
            "Enter" => {
                event["text"] = json!("\r");
                event["windowsVirtualKeyCode"] = json!(13);
            }
            "ArrowRight" => event["windowsVirtualKeyCode"] = json!(39),
            _ => {}
        }
        self.call("Input.dispatchKeyEvent", &event);
        event["type"] = json!("keyUp");
        self.call("Input.dispatchKeyEvent", &event);
    }

    /// Clicks at a place in the window.
    pub fn click(&mut self, x: f64, y: f64) {
        for kind in ["mousePressed", "mouseReleased"] {
            let event = json!({"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1});
            self.call("Input.dispatchMouseEvent", &event);
        }
    }

    /// Everything that was said on the console so far, by the page and by its frames.
    pub fn console(&self) -> Vec<String> {
        let log = std::fs::read(&self.log).expect("it was made at the start");
        let log = String::from_utf8_lossy(&log);
        let lines = log.lines().filter(|line| line.contains(":CONSOLE"));
        lines.map(str::to_owned).collect()
    }

    /// Panics when anything was said on the console.
    pub fn assert_quiet(&mut self) {
        // Whatever is on its way is said by then.
        self.eval("new Promise((done) => requestAnimationFrame(() => setTimeout(done, 50)))");
        assert_eq!(self.console(), Vec::<String>::new());
    }

    fn last_words(&self) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let close = json!({"id": u64::MAX >> 12, "method": "Browser.close"});
        // It may have ended by itself.
        drop(write!(self.input, "{close}\0"));
        let started = Instant::now();
        while started.elapsed() < Duration::from_secs(5) {
            if matches!(self.child.try_wait(), Ok(Some(_)) | Err(_)) {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
