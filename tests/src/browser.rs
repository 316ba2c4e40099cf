//! A real browser without a window, driven by WebDriver as a person would use it.

use crate::{Http, LIMIT, until_async};
use fantoccini::wd::WindowHandle;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt::Display;
use std::io::{BufRead, BufReader, Lines};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use tokio::sync::{Mutex, MutexGuard};
use tokio::time::timeout;

/// Chromium with a profile of its own: one person's browser, with tabs. Dropped, it ends.
pub struct Browser {
    session: Session,
    driver: Driver,
}

/// A session has one current window, to which its commands go.
#[derive(Clone)]
struct Session {
    client: Client,
    driver: SocketAddr,
    id: String,
    current: Arc<Mutex<Option<WindowHandle>>>,
}

/// A tab of a browser.
pub struct Tab {
    session: Session,
    window: WindowHandle,
}

impl Browser {
    /// Starts one. `cargo xtask test` names it in `CHROMIUM`, and its driver in `CHROMEDRIVER`; or else they are looked for
    /// on PATH.
    ///
    /// # Panics
    /// There is none, or no driver of the same version.
    pub async fn start() -> Self {
        let driver = Driver::start();
        let program = named_in("CHROMIUM", "chromium");
        let profile = driver.folder.join("profile");
        // No sandbox, which containers do not allow. A tab behind another is as quick as the one in front.
        let options = [
            "--headless".to_owned(),
            "--no-sandbox".to_owned(),
            "--disable-gpu".to_owned(),
            "--disable-quic".to_owned(),
            "--disable-dev-shm-usage".to_owned(),
            "--no-first-run".to_owned(),
            "--disable-background-networking".to_owned(),
            "--disable-background-timer-throttling".to_owned(),
            "--disable-backgrounding-occluded-windows".to_owned(),
            "--disable-renderer-backgrounding".to_owned(),
            "--disable-component-update".to_owned(),
            "--disable-sync".to_owned(),
            "--window-size=1280,900".to_owned(),
            format!("--user-data-dir={}", profile.display()),
        ];
        let capabilities = json!({
            "browserName": "chrome",
            "goog:chromeOptions": { "binary": program.to_string_lossy(), "args": options },
            "goog:loggingPrefs": { "browser": "ALL" },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!("an object") };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        // From a disk that is cold, on a machine that is busy. The driver itself gives up after a minute.
        let url = format!("http://{}", driver.address);
        let session = timeout(3 * LIMIT, builder.capabilities(capabilities).connect(&url)).await;
        let client = session.expect("a browser in time").unwrap_or_else(|error| {
            panic!("no browser, {}: {error}; `cargo xtask test` installs one", program.to_string_lossy())
        });
        let id = client.session_id().await.ok().flatten().expect("the session's id");
        let session = Session { client, driver: driver.address, id, current: Arc::default() };
        Self { session, driver }
    }

    /// Opens a page in a new tab, and waits until it is loaded.
    pub async fn open(&self, url: impl Display) -> Tab {
        let mut current = self.session.current.lock().await;
        let window = match &*current {
            // It starts with a tab.
            None => self.session.client.window().await.expect("a tab"),
            Some(_) => {
                let window = self.session.client.new_window(true).await.expect("a new tab").handle;
                self.session.client.switch_to_window(window.clone()).await.expect("the new tab");
                window
            }
        };
        *current = Some(window.clone());
        self.session.client.goto(&url.to_string()).await.unwrap_or_else(|error| panic!("{url}: {error}"));
        drop(current);
        Tab { session: self.session.clone(), window }
    }

    /// Where it and its driver keep their files: nowhere else, and nobody else does.
    pub fn folder(&self) -> &Path {
        &self.driver.folder
    }
}

impl Session {
    /// The session with this tab in front; nobody else has it meanwhile.
    async fn on(&self, window: &WindowHandle) -> MutexGuard<'_, Option<WindowHandle>> {
        let mut current = self.current.lock().await;
        if current.as_ref() != Some(window) {
            self.client.switch_to_window(window.clone()).await.expect("the tab is there");
            *current = Some(window.clone());
        }
        current
    }
}

impl Tab {
    /// What this function body returns in the page; a promise is waited for.
    ///
    /// # Panics
    /// It throws.
    pub async fn run(&self, script: &str) -> Value {
        let _turn = self.session.on(&self.window).await;
        let returned = self.session.client.execute(script, Vec::new()).await;
        returned.unwrap_or_else(|error| panic!("{script}: {error}"))
    }

    /// Waits until this expression is true in the page.
    ///
    /// # Panics
    /// It is not in time; what the page shows is told.
    pub async fn until(&self, condition: &str) {
        let script = format!("return Boolean({condition})");
        let holds = until_async("", 2 * LIMIT, || async { self.run(&script).await == true });
        if timeout(LIMIT, holds).await.is_err() {
            let page = self.run("return document.documentElement.outerHTML").await;
            panic!("not within {LIMIT:?}: {condition}; the page is\n{}", page.as_str().unwrap_or_default());
        }
    }

    /// Waits until a person can see the element that this selects.
    async fn until_shown(&self, selector: &str) {
        self.until(&format!("document.querySelector({selector:?})?.checkVisibility()")).await;
    }

    /// Clicks on the one element that this selects, once it is shown.
    pub async fn click(&self, selector: &str) {
        self.until_shown(selector).await;
        let _turn = self.session.on(&self.window).await;
        let clicked = async { self.session.client.find(Locator::Css(selector)).await?.click().await };
        clicked.await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Types into the element that this selects, once it is shown, and presses Enter.
    pub async fn enter(&self, selector: &str, text: &str) {
        self.until_shown(selector).await;
        let _turn = self.session.on(&self.window).await;
        // U+E007 is WebDriver's Enter key.
        let keys = format!("{text}\u{e007}");
        let typed = async { self.session.client.find(Locator::Css(selector)).await?.send_keys(&keys).await };
        typed.await.unwrap_or_else(|error| panic!("{selector}: {error}"));
    }

    /// Notes each value that this expression takes from now on, the present one first. Nothing is missed: an observer in
    /// the page sees each change of the document.
    pub async fn record(&self, name: &str, expression: &str) {
        let script = format!(
            "const read = () => ({expression});
             const seen = [read()];
             (window.recorded ??= {{}})[{name:?}] = seen;
             new MutationObserver(() => {{
                 const now = read();
                 if (now !== seen.at(-1)) seen.push(now);
             }}).observe(document, {{ subtree: true, childList: true, attributes: true, characterData: true }});"
        );
        self.run(&script).await;
    }

    /// What was recorded under this name.
    pub async fn recorded(&self, name: &str) -> Vec<Value> {
        let Value::Array(seen) = self.run(&format!("return window.recorded[{name:?}]")).await else {
            panic!("{name} is not recorded");
        };
        seen
    }

    /// Loads the page again, as F5 does, and waits until it is loaded.
    pub async fn reload(&self) {
        let _turn = self.session.on(&self.window).await;
        self.session.client.refresh().await.expect("the page once more");
    }

    /// Closes it, as its user does.
    pub async fn close(self) {
        let mut current = self.session.on(&self.window).await;
        self.session.client.close_window().await.expect("the tab is closed");
        // There is no current window until another is chosen.
        let left = self.session.client.windows().await.expect("the other tabs").remove(0);
        self.session.client.switch_to_window(left.clone()).await.expect("another tab");
        *current = Some(left);
    }

    /// What the browser's console tells of errors since it was last asked: exceptions, files that are not there, what the
    /// page's own policy forbids.
    pub async fn errors(&self) -> Vec<String> {
        let _turn = self.session.on(&self.window).await;
        // ChromeDriver's own command; it is not among those of the specification, and so not fantoccini's.
        let mut driver = Http::connect(self.session.driver).await;
        let body = json!({ "type": "browser" }).to_string();
        let head = format!("POST /session/{}/se/log HTTP/1.1\r\nhost: localhost", self.session.id);
        driver.send(format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len())).await;
        let answer = driver.answer().await;
        let entries: Value = serde_json::from_str(&answer.body).expect("JSON");
        let entries = entries["value"].as_array().unwrap_or_else(|| panic!("no log but {}", answer.body));
        let errors = entries.iter().filter(|entry| entry["level"] == "SEVERE");
        errors.map(|entry| entry["message"].to_string()).collect()
    }

    /// A picture of what it shows, as a PNG file.
    pub async fn screenshot(&self, file: &Path) {
        let _turn = self.session.on(&self.window).await;
        let picture = self.session.client.screenshot().await.expect("a picture");
        std::fs::write(file, picture).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
}

/// ChromeDriver, on a free port. Dropped, or when this process ends in whatever way, it ends with all that it has started.
struct Driver {
    address: SocketAddr,
    /// Where it and its browser keep their files.
    folder: PathBuf,
    /// The shell, whose input is open as long as the driver is to run.
    shell: Child,
    _output: Lines<BufReader<ChildStdout>>,
}

impl Driver {
    /// What the browser's processes have in common is the folder in their arguments. Only when they are gone does none of them
    /// write to it any more.
    const SHELL: &str = r#""$DRIVER" --port=0 & exec >&-; read -r _
        kill -KILL "$!"; while pkill -KILL -f "$TMPDIR/"; do sleep 0.05; done; rm -rf "$TMPDIR""#;

    fn start() -> Self {
        let program = named_in("CHROMEDRIVER", "chromedriver");
        let folder = std::env::temp_dir().join(crate::unique("asyncworker-browser"));
        std::fs::create_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut command = Command::new("sh");
        command.args(["-c", Self::SHELL]).env("DRIVER", &program).env("TMPDIR", &folder);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut shell = command.spawn().expect("a shell");
        let mut output = BufReader::new(shell.stdout.take().expect("a pipe")).lines();
        let port = output.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, port) = line.split_once("started successfully on port ")?;
            port.trim_end_matches('.').parse().ok()
        });
        let port = port.unwrap_or_else(|| {
            panic!("no ChromeDriver, {}: `cargo xtask test` installs one", program.to_string_lossy());
        });
        Self { address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), folder, shell, _output: output }
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}

/// The program that this variable names, or the one of this name on PATH, by its whole path: the driver looks for nothing.
fn named_in(variable: &str, otherwise: &str) -> OsString {
    let on_path = || {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).map(|folder| folder.join(otherwise)).find(|program| program.is_file())
    };
    std::env::var_os(variable).or_else(|| on_path().map(Into::into)).unwrap_or_else(|| otherwise.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::until;

    #[tokio::test]
    async fn a_browser_leaves_neither_processes_nor_files() {
        let browser = Browser::start().await;
        let _tab = browser.open("about:blank").await;
        let folder = browser.folder().to_owned();
        let pattern = format!("{}/", folder.display());
        let runs = || Command::new("pgrep").args(["-f", &pattern]).output().expect("pgrep").status.success();
        assert!(runs() && folder.is_dir());
        drop(browser);
        until("its processes have ended", LIMIT, || !runs()).await;
        assert!(!folder.exists());
    }
}
