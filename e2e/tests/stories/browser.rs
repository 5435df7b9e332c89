//! What people have open while a release comes: their page takes it up by itself within half an hour, in a real browser whose
//! clock runs ahead.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use freehold_e2e::kube;
use serde_json::{Value, json};
use tungstenite::{Message, WebSocket};

use crate::stage::{MINUTE, calm, change, lab};
use crate::upgrade::guest;

/// Within this a page that nobody touches has the new version.
const PROMISED: Duration = Duration::from_secs(30 * 60);

/// A page of a browser of its own, by the DevTools protocol (<https://chromedevtools.github.io/devtools-protocol/>).
struct Page {
    browser: Child,
    profile: PathBuf,
    socket: WebSocket<TcpStream>,
    calls: u64,
}

impl Page {
    fn open() -> Page {
        let profile = std::env::temp_dir().join(format!("page-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&profile);
        let browser = Command::new("chromium")
            // It runs as root here, and opens our own page; whom the page's certificate is of, other stories show.
            .args(["--headless=new", "--no-sandbox", "--ignore-certificate-errors"])
            .args(["--disable-dev-shm-usage", "--remote-debugging-port=0"])
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let address = kube::until("the browser's page", MINUTE, || {
            let told = std::fs::read_to_string(profile.join("DevToolsActivePort"))?;
            let port: u16 = told.lines().next().unwrap_or_default().parse()?;
            Ok(page_at(port).map(|address| (port, address)))
        });
        let (port, address) = address.unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (socket, _) = tungstenite::client(address, stream).unwrap();
        Page {
            browser,
            profile,
            socket,
            calls: 0,
        }
    }

    fn call(&mut self, method: &str, params: &Value) -> Value {
        self.calls += 1;
        let call = json!({"id": self.calls, "method": method, "params": params});
        self.socket.send(Message::text(call.to_string())).unwrap();
        loop {
            let Message::Text(text) = self.socket.read().unwrap() else {
                continue;
            };
            let answer: Value = serde_json::from_str(&text).unwrap();
            // Events have no number.
            if answer["id"] == self.calls {
                assert!(answer["error"].is_null(), "{method}: {answer}");
                return answer["result"].clone();
            }
        }
    }

    fn evaluate(&mut self, expression: &str) -> Value {
        let told = self.call(
            "Runtime.evaluate",
            &json!({"expression": expression, "returnByValue": true}),
        );
        told["result"]["value"].clone()
    }

    /// What the page that is open was made by.
    fn version(&mut self) -> String {
        let version = self.evaluate("document.documentElement.dataset.version ?? ''");
        version.as_str().unwrap_or_default().to_owned()
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let _ = self.browser.kill();
        let _ = self.browser.wait();
        let _ = std::fs::remove_dir_all(&self.profile);
    }
}

/// Where the first page of a browser is talked to.
fn page_at(port: u16) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream
        .write_all(b"GET /json/list HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let mut answer = String::new();
    // It may leave the connection open.
    let _ = stream.read_to_string(&mut answer);
    let (_, body) = answer.split_once("\r\n\r\n")?;
    let pages: Value = serde_json::from_str(body).ok()?;
    let mut pages = pages.as_array()?.iter();
    let page = pages.find(|page| page["type"] == "page")?;
    page["webSocketDebuggerUrl"].as_str().map(String::from)
}

#[test]
#[ignore = "needs Chromium: cargo xtask bench an_open_page"]
fn an_open_page_says_that_there_is_a_new_version_and_has_it_within_half_an_hour() {
    calm();
    let guest = guest("surfer", "standard", "board-1.0.0");
    let object = kube::get(lab(), &["tenant", guest.0]).unwrap();
    let address = object["status"]["url"].as_str().unwrap().to_owned();
    let mut page = Page::open();
    page.call("Page.navigate", &json!({"url": address}));
    kube::until("the page to be there", MINUTE, || {
        Ok((page.version() == "1.0.0").then_some(()))
    })
    .unwrap();
    change(guest.0, &json!({"release": {"name": "board-1.1.0"}}));
    kube::until("1.1.0 to run", 10 * MINUTE, || {
        let object = kube::get(lab(), &["tenant", guest.0])?;
        let runs = object["status"]["version"] == "1.1.0" && kube::condition(&object, "UpToDate") == "True";
        Ok(runs.then_some(()))
    })
    .unwrap();
    // The page asks once a minute.
    kube::until("the page to say so", 2 * MINUTE, || {
        let told = page.evaluate("document.getElementById('notice').hidden === false");
        Ok((told == true).then_some(()))
    })
    .unwrap();
    assert_eq!(
        page.version(),
        "1.0.0",
        "nobody's page is taken away from under them"
    );
    let picture = page.call("Page.captureScreenshot", &json!({"format": "png"}));
    let path = lab().dir.join("new-version.png");
    std::fs::write(&path, STANDARD.decode(picture["data"].as_str().unwrap()).unwrap()).unwrap();
    println!("the page says so: {}", path.display());
    // Its clock runs as fast as it can from now on, and stands while a request is under way.
    let policy = json!({"policy": "pauseIfNetworkFetchesPending", "budget": PROMISED.as_millis() as u64});
    page.call("Emulation.setVirtualTimePolicy", &policy);
    kube::until("the page to have it", 3 * MINUTE, || {
        Ok((page.version() == "1.1.0").then_some(()))
    })
    .unwrap();
}
