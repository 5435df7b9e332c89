//! One throw-away PostgreSQL for the test run, with TLS, on a free port of 127.0.0.1.
//!
//! A small shell is its guardian: it waits for the end of its input, which comes when the test process ends in whatever
//! way, then stops the server and removes its files.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, chown},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

pub const PASSWORD: &str = "only-for-this-test-run";

#[derive(Debug)]
pub struct Postgres {
    pub port: u16,
    /// The CA that issued the server's certificate, whose only name is `localhost`.
    pub authority: String,
    _guardian: Child,
}

const GUARDIAN: &str = r#"
    "$1/postgres" -D "$2/data" -p "$3" -k "$2" >"$2/log" 2>&1 &
    read _
    kill -INT $!
    wait
    rm -rf "$2"
"#;

pub fn get() -> &'static Postgres {
    static SERVER: OnceLock<Postgres> = OnceLock::new();
    SERVER.get_or_init(start)
}

fn start() -> Postgres {
    let binaries = binaries();
    let directory = std::env::temp_dir().join(format!("board-test-{}", std::process::id()));
    fs::create_dir_all(&directory).unwrap();
    let root = fs::metadata("/proc/self")
        .map(|me| std::os::unix::fs::MetadataExt::uid(&me))
        .unwrap()
        == 0;
    let owner = root.then(postgres_user);
    let give = |path: &Path| {
        if let Some((user, group)) = owner {
            chown(path, Some(user), Some(group)).unwrap();
        }
    };
    give(&directory);
    fs::write(directory.join("password"), PASSWORD).unwrap();
    give(&directory.join("password"));

    let initdb = as_postgres(root, &binaries.join("initdb"))
        .args(["-U", "board", "-A", "scram-sha-256", "--no-sync", "-D"])
        .arg(directory.join("data"))
        .arg("--pwfile")
        .arg(directory.join("password"))
        .output()
        .unwrap();
    assert!(
        initdb.status.success(),
        "initdb: {}",
        String::from_utf8_lossy(&initdb.stderr)
    );

    let authority = certificate(&directory);
    for file in ["server.key", "server.crt"] {
        give(&directory.join("data").join(file));
    }
    let settings = "listen_addresses = '127.0.0.1'\nssl = on\nfsync = off\nmax_connections = 200\n";
    let file = directory.join("data/postgresql.conf");
    fs::write(&file, fs::read_to_string(&file).unwrap() + settings).unwrap();

    let port = free_port();
    let _guardian = as_postgres(root, Path::new("sh"))
        .args(["-c", GUARDIAN, "guardian"])
        .arg(&binaries)
        .arg(&directory)
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let server = Postgres {
        port,
        authority,
        _guardian,
    };
    for _ in 0..200 {
        let ready = Command::new(binaries.join("pg_isready"))
            .args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()])
            .status()
            .unwrap();
        if ready.success() {
            return server;
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    panic!(
        "PostgreSQL did not start: {}",
        fs::read_to_string(directory.join("log")).unwrap_or_default()
    );
}

fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let mut found: Vec<PathBuf> = versions
        .map(|version| version.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().expect(
        "these tests need a PostgreSQL server, and /usr/lib/postgresql/*/bin/initdb is not there: \
         install the Debian package `postgresql`",
    )
}

/// PostgreSQL refuses to run as root.
fn as_postgres(root: bool, program: &Path) -> Command {
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}

fn postgres_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap();
    let line = users
        .lines()
        .find(|line| line.starts_with("postgres:"))
        .expect("no user postgres: install `postgresql`");
    let fields: Vec<&str> = line.split(':').collect();
    (fields[2].parse().unwrap(), fields[3].parse().unwrap())
}

fn certificate(directory: &Path) -> String {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(["localhost".to_owned()])
        .unwrap()
        .signed_by(&key, &ca)
        .unwrap();
    let file = directory.join("data/server.key");
    fs::write(&file, key.serialize_pem()).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(directory.join("data/server.crt"), leaf.pem()).unwrap();
    ca.pem()
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

impl Postgres {
    /// A connection for the test itself.
    pub async fn connect(&self, database: &str) -> tokio_postgres::Client {
        let config = format!(
            "host=127.0.0.1 port={} user=board password={PASSWORD} dbname={database}",
            self.port
        );
        let (client, connection) = tokio_postgres::connect(&config, tokio_postgres::NoTls)
            .await
            .unwrap();
        tokio::spawn(connection);
        client
    }

    pub async fn create_database(&self) -> String {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("board_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        self.connect("postgres")
            .await
            .batch_execute(&format!("create database {name}"))
            .await
            .unwrap();
        name
    }
}
