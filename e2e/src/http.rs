//! A tenant's product over HTTPS from the host, by `curl` as its users would: the forwarder's port, the
//! tenant's CA, cookies. Bodies go through standard input, so that no password is in a process's arguments.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::kube;
use crate::lab::{Lab, shell};

/// A user of one tenant.
#[derive(Debug)]
pub struct User {
    /// The tenant's URL.
    pub base: String,
    /// The file that `--cacert` takes.
    pub authority: PathBuf,
    cookies: PathBuf,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// The namespace that the tenant's status names.
pub fn namespace(lab: &Lab, tenant: &str) -> Result<String> {
    let object = kube::get(lab, &["tenant", tenant])?;
    Ok(object["status"]["namespace"]
        .as_str()
        .context("the tenant has no namespace yet")?
        .to_string())
}

impl User {
    /// A user without a session, who trusts the tenant's CA alone. `name` keeps the cookies of two users apart.
    pub fn of(lab: &Lab, tenant: &str, name: &str) -> Result<User> {
        let object = kube::get(lab, &["tenant", tenant])?;
        let base = object["status"]["url"]
            .as_str()
            .context("the tenant has no URL yet")?
            .to_string();
        let bundle = kube::get(lab, &["-n", &namespace(lab, tenant)?, "configmap", "ca"])?;
        let folder = lab.cluster().join("users");
        fs::create_dir_all(&folder)?;
        let authority = folder.join(format!("{tenant}-ca.crt"));
        fs::write(
            &authority,
            bundle["data"]["ca.crt"]
                .as_str()
                .context("the ConfigMap ca has no ca.crt")?,
        )?;
        Ok(User {
            base,
            authority,
            cookies: folder.join(format!("{tenant}-{name}.cookies")),
        })
    }

    /// One request on a connection of its own, without retries.
    pub fn request(
        &self,
        method: &str,
        path: &str,
        headers: &[&str],
        body: Option<&Value>,
    ) -> Result<Answer> {
        let mut command = Command::new("curl");
        command
            .args([
                "--silent",
                "--show-error",
                "--max-time",
                "15",
                "--request",
                method,
            ])
            .args(["--write-out", "\n%{http_code}", "--cacert"])
            .arg(&self.authority)
            .arg("--cookie")
            .arg(&self.cookies)
            .arg("--cookie-jar")
            .arg(&self.cookies)
            .args(["--header", &format!("Origin: {}", self.base)]);
        for header in headers {
            command.args(["--header", header]);
        }
        if body.is_some() {
            command.args([
                "--header",
                "Content-Type: application/json",
                "--data-binary",
                "@-",
            ]);
        }
        command.arg(format!("{}{path}", self.base));
        let input = body.map(Value::to_string).unwrap_or_default();
        let output = shell::feed(&mut command, input.as_bytes())?;
        let (body, status) = output.rsplit_once('\n').context("curl printed no status")?;
        Ok(Answer {
            status: status.parse()?,
            body: body.to_string(),
        })
    }

    /// The session as a header `Cookie` says it: whoever has it is this user.
    pub fn session(&self) -> Result<String> {
        let jar = fs::read_to_string(&self.cookies).context("this user has no cookies yet")?;
        session(&jar).context("this user has no session yet")
    }

    pub fn get(&self, path: &str) -> Result<Value> {
        self.request("GET", path, &[], None)?.json(path)
    }

    pub fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.request("POST", path, &[], Some(body))?.json(path)
    }

    /// A write that may be sent again: the product does it once for each key.
    pub fn post_once(&self, path: &str, key: &str, body: &Value) -> Result<Value> {
        self.request("POST", path, &[&format!("Idempotency-Key: {key}")], Some(body))?
            .json(path)
    }

    /// Becomes the account owner by the one-time link, or logs in when that was done before with this password.
    pub fn enter(&self, lab: &Lab, tenant: &str, password: &str) -> Result<()> {
        let object = kube::get(lab, &["tenant", tenant])?;
        let email = object["spec"]["owner"]["email"].as_str().unwrap_or_default();
        if self
            .post("/api/login", &json!({"email": email, "password": password}))
            .is_ok()
        {
            return Ok(());
        }
        let token = kube::secret(lab, &namespace(lab, tenant)?, "owner", "token")?;
        let welcome =
            json!({"token": token.trim(), "email": email, "name": "Account owner", "password": password});
        self.post("/api/welcome", &welcome)
            .context("neither the password nor the one-time link works")?;
        Ok(())
    }
}

/// The cookie in curl's file: one a line, name and value last, and those that scripts don't see after a mark.
fn session(jar: &str) -> Option<String> {
    let fields = jar.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let cookies: Vec<String> = fields
        .filter(|fields| fields.len() == 7)
        .map(|fields| format!("{}={}", fields[5], fields[6]))
        .collect();
    (!cookies.is_empty()).then(|| cookies.join("; "))
}

impl Answer {
    /// The body of a success; an error with the status and the body otherwise.
    pub fn json(self, path: &str) -> Result<Value> {
        if !(200..300).contains(&self.status) {
            bail!(
                "{path}: HTTP {}: {}",
                self.status,
                self.body.chars().take(200).collect::<String>()
            );
        }
        Ok(serde_json::from_str(&self.body).unwrap_or(Value::String(self.body)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_session_is_read_from_curls_file() {
        let comment = "# Netscape HTTP Cookie File\n# https://curl.se/docs/http-cookies.html\n\n";
        assert_eq!(session(comment), None);
        let cookie = "#HttpOnly_acme.localhost\tFALSE\t/\tTRUE\t0\t__Host-board_session\tticket\n";
        let expected = "__Host-board_session=ticket";
        assert_eq!(session(&format!("{comment}{cookie}")).as_deref(), Some(expected));
    }
}
