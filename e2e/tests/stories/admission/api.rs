//! The API server as one user asks it: `kubectl proxy`, and plain HTTP to that, so that each object has an answer of its
//! own, the API server's `Status`, a thousand of them in seconds. In: the lab, and whom to be. No client library.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use freehold_e2e::install;
use freehold_e2e::lab::{Lab, addons};
use serde_json::Value;

/// The operator's name. Who takes it by impersonation has an administrator's rights beside it: only admission is tried.
pub fn operator() -> String {
    format!("system:serviceaccount:{}:freehold", install::NAMESPACE)
}

/// A way to the API server as one user.
pub struct Api {
    proxy: Child,
    port: u16,
}

/// What came back.
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Api {
    /// The lab's administrator.
    pub fn administrator(lab: &Lab) -> Api {
        Api::with(lab, &[])
    }

    /// Somebody with an administrator's rights and another name.
    pub fn named(lab: &Lab, user: &str) -> Api {
        Api::with(lab, &["--as", user, "--as-group=system:masters"])
    }

    /// As [`Api::named`], and a member of some groups.
    pub fn member(lab: &Lab, user: &str, groups: &[&str]) -> Api {
        let groups: Vec<String> = groups.iter().map(|group| format!("--as-group={group}")).collect();
        let mut flags = vec!["--as", user, "--as-group=system:masters"];
        flags.extend(groups.iter().map(String::as_str));
        Api::with(lab, &flags)
    }

    fn with(lab: &Lab, user: &[&str]) -> Api {
        let kubectl = addons::kubectl(lab);
        // It ends with this thread, in whatever way that ends.
        let mut proxy = Command::new("setpriv")
            .args(["--pdeathsig", "KILL"])
            .arg(kubectl.get_program())
            .args(kubectl.get_args())
            .args(user)
            .args(["proxy", "--port=0"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut told = String::new();
        BufReader::new(proxy.stdout.take().unwrap())
            .read_line(&mut told)
            .unwrap();
        let port = told.trim().rsplit_once(':').unwrap().1.parse().unwrap();
        Api { proxy, port }
    }

    /// One request on a connection of its own. HTTP/1.0: an answer ends where the connection does.
    pub fn send(&self, method: &str, path: &str, body: &[u8]) -> Answer {
        let kind = match method {
            "PATCH" => "application/merge-patch+json",
            _ => "application/json",
        };
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let head = format!(
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A body that is too large is refused before its end.
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        let text = String::from_utf8_lossy(&answer);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
        Answer {
            status: status.unwrap_or_else(|| panic!("{method} {path}: no answer: {head}")),
            body: serde_json::from_str(body).unwrap_or_else(|_| Value::String(body.trim().to_owned())),
        }
    }

    pub fn get(&self, path: &str) -> Value {
        self.send("GET", path, b"").taken()
    }

    pub fn create(&self, path: &str, object: &Value) -> Answer {
        let path = format!("{path}?fieldValidation=Strict");
        self.send("POST", &path, object.to_string().as_bytes())
    }

    /// As [`Api::create`]; nothing is kept.
    pub fn try_create(&self, path: &str, object: &Value) -> Answer {
        let path = format!("{path}?dryRun=All&fieldValidation=Strict");
        self.send("POST", &path, object.to_string().as_bytes())
    }

    /// Replaces an object; nothing is kept.
    pub fn try_replace(&self, path: &str, object: &Value) -> Answer {
        let path = format!("{path}?dryRun=All&fieldValidation=Strict");
        self.send("PUT", &path, object.to_string().as_bytes())
    }

    /// Merges a patch into an object; nothing is kept.
    pub fn try_patch(&self, path: &str, patch: &Value) -> Answer {
        let path = format!("{path}?dryRun=All");
        self.send("PATCH", &path, patch.to_string().as_bytes())
    }

    /// Deletes an object, or with a collection's path all of it; nothing is deleted.
    pub fn try_delete(&self, path: &str, options: &str) -> Answer {
        self.send("DELETE", &format!("{path}?dryRun=All{options}"), b"")
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        let _ = self.proxy.kill();
        let _ = self.proxy.wait();
    }
}

impl Answer {
    pub fn is_taken(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// What the API server says to it, for people.
    pub fn message(&self) -> String {
        match (&self.body, self.body["message"].as_str()) {
            (_, Some(message)) => message.to_owned(),
            (Value::String(text), None) => text.clone(),
            _ => format!("HTTP {}", self.status),
        }
    }

    /// The object that was taken.
    pub fn taken(self) -> Value {
        assert!(self.is_taken(), "it was refused: {}", self.message());
        self.body
    }

    /// It was refused by one of this chart's policies, which says what to do.
    pub fn refused_by(&self, policy: &str, hint: &str) {
        let message = self.message();
        assert!(!self.is_taken(), "{policy} takes it");
        assert!(message.contains(policy), "not {policy} refuses it: {message}");
        assert!(message.contains(hint), "{hint} is missing: {message}");
    }
}
