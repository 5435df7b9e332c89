//! A throw-away PostgreSQL with TLS on a free port of 127.0.0.1, of the Debian package `postgresql`.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use freehold_pki::Pair;

pub const PASSWORD: &str = "only-for-this-test-run";

pub struct Postgres {
    pub address: SocketAddr,
    /// Ends the server when its input ends, in whatever way this process goes.
    guardian: Child,
}

const GUARDIAN: &str = r#"
    "$1/postgres" -D "$2" -p "$3" -k "$2" >"$2/log" 2>&1 &
    read _
    kill -INT $!
    wait
"#;

impl Postgres {
    pub fn start(folder: &Path, shown: &Pair) -> Postgres {
        let (binaries, owner) = (binaries(), owner());
        let give = |path: &Path| {
            if let Some((user, group)) = owner {
                chown(path, Some(user), Some(group)).unwrap();
            }
        };
        let data = folder.join("data");
        fs::create_dir(&data).unwrap();
        give(&data);
        let password = folder.join("password");
        fs::write(&password, PASSWORD).unwrap();
        give(&password);
        let made = as_postgres(owner.is_some(), &binaries.join("initdb"))
            .args(["-U", "app", "-A", "scram-sha-256", "--no-sync", "-D"])
            .arg(&data)
            .arg("--pwfile")
            .arg(&password)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        for (name, text) in [
            ("server.crt", shown.certificate_pem.as_str()),
            ("server.key", shown.key_pem.as_str()),
        ] {
            let path = data.join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            give(&path);
        }
        let settings = data.join("postgresql.conf");
        let more = "listen_addresses = '127.0.0.1'\nssl = on\nfsync = off\n";
        fs::write(&settings, fs::read_to_string(&settings).unwrap() + more).unwrap();

        let port = super::server::free_port();
        let guardian = as_postgres(owner.is_some(), Path::new("sh"))
            .args(["-c", GUARDIAN, "guardian"])
            .arg(&binaries)
            .arg(&data)
            .arg(port.to_string())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let server = Postgres {
            address: SocketAddr::from(([127, 0, 0, 1], port)),
            guardian,
        };
        server.wait(&binaries, &data);
        server
    }

    fn wait(&self, binaries: &Path, data: &Path) {
        for _ in 0..400 {
            let ready = TcpStream::connect(self.address).is_ok()
                && Command::new(binaries.join("pg_isready"))
                    .args(["-q", "-h", "127.0.0.1", "-p", &self.address.port().to_string()])
                    .status()
                    .unwrap()
                    .success();
            if ready {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let log = fs::read_to_string(data.join("log")).unwrap_or_default();
        panic!("PostgreSQL did not start: {log}");
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.guardian.stdin.take());
        let _ = self.guardian.wait();
    }
}

fn binaries() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten();
    let all = versions.map(|version| version.path().join("bin"));
    let found = all.filter(|bin| bin.join("initdb").exists()).max();
    found.expect("this test needs a PostgreSQL server: install the Debian package `postgresql`")
}

/// The user `postgres`, if this is root: PostgreSQL refuses to run as that.
fn owner() -> Option<(u32, u32)> {
    if !nix::unistd::Uid::effective().is_root() {
        return None;
    }
    let user = nix::unistd::User::from_name("postgres").unwrap();
    let user = user.expect("no user postgres: install `postgresql`");
    Some((user.uid.as_raw(), user.gid.as_raw()))
}

fn as_postgres(root: bool, program: &Path) -> Command {
    if !root {
        return Command::new(program);
    }
    let mut command = Command::new("runuser");
    command.args(["-u", "postgres", "--"]).arg(program);
    command
}
