//! One customer's instance: a database, the mounted files, and the tiers as processes.

use crate::{
    browser::Browser,
    certificates::{Authority, Volume},
    postgres::{self, PASSWORD},
};
use serde_json::{Value, json};
use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

pub const OWNER_TOKEN: &str = "kK3nq0s8Zc9pXw1u-owner-token";
pub const OWNER_PASSWORD: &str = "correct horse battery";

#[derive(Debug)]
pub struct Instance {
    pub directory: PathBuf,
    pub database: String,
    volume: Option<Volume>,
    processes: Vec<Process>,
}

#[derive(Debug)]
pub struct Process {
    pub child: Child,
    pub url: String,
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.processes.clear();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

impl Instance {
    /// The files and an empty database; nothing runs yet.
    pub async fn prepare() -> Self {
        let server = postgres::get();
        let database = server.create_database().await;
        let directory = std::env::temp_dir().join(format!("board-test-{}-{database}", std::process::id()));
        fs::create_dir_all(directory.join("database")).unwrap();
        let instance = Self {
            directory,
            database,
            volume: None,
            processes: Vec::new(),
        };
        let port = server.port.to_string();
        let values = [
            ("host", "localhost"),
            ("port", &port),
            ("dbname", &instance.database),
            ("username", "board"),
        ];
        for (name, value) in values.into_iter().chain([("password", PASSWORD)]) {
            fs::write(instance.directory.join("database").join(name), value).unwrap();
        }
        fs::write(instance.directory.join("ca.crt"), &server.authority).unwrap();
        fs::write(instance.directory.join("token"), format!("{OWNER_TOKEN}\n")).unwrap();
        instance.settings(json!({}));
        instance
    }

    /// The same with TLS, by leaves and roots of `root`.
    pub async fn encrypted(root: &Authority) -> Self {
        let mut instance = Self::prepare().await;
        let volume = Volume::at(instance.directory.join("tls"));
        volume.write(&root.issue(), &[root]);
        instance.volume = Some(volume);
        instance
    }

    /// Migrated, with an api that is ready.
    pub async fn start() -> Self {
        let mut instance = Self::prepare().await;
        instance.migrate();
        instance.spawn("api", &[]).await;
        instance
    }

    /// Writes the settings: the usual ones, changed by `over`.
    pub fn settings(&self, over: Value) {
        let mut settings = json!({
            "tenant": { "name": "acme", "displayName": "Acme Corp", "owner": "owner@acme.example", "seats": 3 },
            "url": "https://acme.localhost:8443",
        });
        if let (Some(settings), Some(over)) = (settings.as_object_mut(), over.as_object()) {
            settings.extend(over.clone());
        }
        fs::write(self.directory.join("settings.json"), settings.to_string()).unwrap();
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_board"));
        command
            .args(arguments)
            .env("FREEHOLD_SETTINGS", self.directory.join("settings.json"))
            .env("FREEHOLD_DATABASE_DIR", self.directory.join("database"))
            .env("FREEHOLD_DATABASE_CA", self.directory.join("ca.crt"))
            .env("FREEHOLD_OWNER_TOKEN_FILE", self.directory.join("token"))
            .stdin(Stdio::null());
        match &self.volume {
            Some(volume) => command.env("FREEHOLD_TLS_DIR", volume.path()),
            None => command.env("FREEHOLD_TLS", "disable"),
        };
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    #[track_caller]
    pub fn migrate(&self) -> String {
        let output = self.run(&["migrate", "--timeout", "20"]);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    /// Starts a tier and waits until it is alive; the place in `processes` is the return value.
    pub async fn spawn(&mut self, tier: &str, environment: &[(&str, &str)]) -> usize {
        let port = postgres::free_port();
        let child = self
            .command(&[tier, "--port", &port.to_string()])
            .env("DRAIN_SECONDS", "0.2")
            .envs(environment.iter().copied())
            .stdout(
                File::options()
                    .append(true)
                    .create(true)
                    .open(self.access_log(tier))
                    .unwrap(),
            )
            .stderr(
                File::options()
                    .append(true)
                    .create(true)
                    .open(self.directory.join("stderr"))
                    .unwrap(),
            )
            .spawn()
            .unwrap();
        let url = match &self.volume {
            Some(_) => format!("https://localhost:{port}"),
            None => format!("http://127.0.0.1:{port}"),
        };
        self.processes.push(Process { child, url });
        let browser = self.browser(self.processes.len() - 1);
        let started = Instant::now();
        while browser
            .try_send("GET".parse().unwrap(), "/healthz", &[], None)
            .await
            .is_err()
        {
            assert!(
                started.elapsed() < Duration::from_secs(20),
                "{tier} did not start"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        self.processes.len() - 1
    }

    pub fn access_log(&self, tier: &str) -> PathBuf {
        self.directory.join(format!("{tier}.log"))
    }

    pub fn process(&mut self, index: usize) -> &mut Process {
        &mut self.processes[index]
    }

    pub fn url(&self, index: usize) -> &str {
        &self.processes[index].url
    }

    /// With TLS it shows and trusts what the instance does.
    pub fn browser(&self, index: usize) -> Browser {
        match &self.volume {
            Some(volume) => Browser::over_tls(self.url(index), volume.client()),
            None => Browser::new(self.url(index)),
        }
    }

    pub fn volume(&self) -> &Volume {
        self.volume.as_ref().expect("this instance has no TLS")
    }

    /// A browser of the owner, who has just followed the one-time link.
    pub async fn owner(&self) -> Browser {
        let browser = self.browser(0);
        let welcome = json!({ "token": OWNER_TOKEN, "name": "Ada", "password": OWNER_PASSWORD });
        browser.post("/api/welcome", welcome).await.expect(201);
        browser
    }

    pub async fn sql(&self) -> tokio_postgres::Client {
        postgres::get().connect(&self.database).await
    }

    pub async fn count(&self, from: &str) -> i64 {
        self.sql()
            .await
            .query_one(&format!("select count(*) from {from}"), &[])
            .await
            .unwrap()
            .get(0)
    }
}

/// A board with its first lane, as `(board, lane)`.
pub async fn board(browser: &Browser) -> (i64, i64) {
    let board = browser
        .post("/api/boards", json!({ "name": "Launch" }))
        .await
        .expect(201)
        .json();
    let id = board["id"].as_i64().unwrap();
    let lanes = browser.get(&format!("/api/boards/{id}")).await.expect(200).json();
    (id, lanes["lanes"][0]["id"].as_i64().unwrap())
}
