//! The command line. In: arguments and environment. Out: one of the commands, started.

use std::io::{ErrorKind, Write as _};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use freehold_crds::Span;
use freehold_crds::generated_files;
use freehold_plan::{Endpoint, PRIVATE};
use jiff::SignedDuration;
use tracing_subscriber::EnvFilter;

use crate::fleet::status::{self as fleet, FleetArgs};
use crate::keys::{self, KeysArgs};
use crate::probe::{self, ProbeArgs};
use crate::show::{self, ShowArgs};
use crate::why::{self, WhyArgs};
use crate::{offline, run};

/// Gives each customer of a SaaS product a dedicated, isolated instance of it.
#[derive(Debug, Parser)]
#[command(name = "freehold", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the operator.
    Run(Box<RunArgs>),
    /// Print what would be done for the tenants in these files, without a cluster.
    Plan(PlanArgs),
    /// Say in words how a tenant is, what it waits for, and what ends the wait. Exits with 0 when it is Ready, with 1
    /// when it is not, with 2 when it can't be read.
    Why(WhyArgs),
    /// Look at the channels by which releases come to tenants.
    Fleet(FleetArgs),
    /// Try to connect to some targets, once, and tell which were reached: what verifies that tenants are kept apart.
    Probe(ProbeArgs),
    /// Answer every request with the certificate that is shown: by which it is seen whom a gateway trusts.
    Show(ShowArgs),
    /// Run the key service: the one that holds tenants' keys.
    Keys(Box<KeysArgs>),
    /// Print the CustomResourceDefinitions.
    Crds,
}

/// How the operator runs; each flag has an environment variable for the chart.
#[derive(Clone, Debug, Args)]
pub struct RunArgs {
    /// The operator's own namespace.
    #[arg(long, env = "POD_NAMESPACE", default_value = "freehold-system")]
    pub namespace: String,
    /// The name of this process, for the election.
    #[arg(long, env = "POD_NAME", default_value_t = default_identity())]
    pub identity: String,
    /// The operator's own ServiceAccount.
    #[arg(long, env = "SERVICE_ACCOUNT", default_value = "freehold")]
    pub service_account: String,
    /// The namespace that holds the tenants' certificate authorities.
    #[arg(long, env = "KEYS_NAMESPACE", default_value = "freehold-keys")]
    pub keys_namespace: String,
    /// The key service as `https://HOST:PORT`. Without it no volume is encrypted with a key of a tenant's own.
    #[arg(long, env = "KEY_SERVICE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub key_service: Option<String>,
    /// Connects to the key service at `HOST:PORT` instead of at its own name: for an operator outside of the cluster.
    #[arg(long, env = "KEY_SERVICE_ADDRESS")]
    pub key_service_address: Option<String>,
    /// The file with the token that the operator shows to the key service.
    #[arg(
        long,
        env = "KEY_SERVICE_TOKEN_FILE",
        default_value = "/var/run/secrets/freehold.dev/keys/token"
    )]
    pub key_service_token_file: PathBuf,
    /// For how long backups of what holds the keys are kept (of etcd with the provider `local`, of the HSM with `pkcs11`), from
    /// `1s` to `87600h`: said in the record of a destruction of keys. Without it that says that it is not known.
    #[arg(long, env = "KEY_BACKUPS_KEPT_FOR", value_parser = kept_for)]
    pub key_backups_kept_for: Option<Span>,
    /// The namespace in which CloudNativePG's operator runs.
    #[arg(long, env = "DATABASE_OPERATOR_NAMESPACE", default_value = "cnpg-system")]
    pub database_operator_namespace: String,
    /// Where database pods reach the API server, as `CIDR:PORT` or `CIDR` (ports 443 and 6443). Found out when not given.
    #[arg(long = "api-server-cidr", env = "API_SERVER_CIDRS", value_delimiter = ',', value_parser = endpoints)]
    pub api_server: Vec<Endpoints>,
    /// Address ranges of the cluster itself (nodes, pods, Services), which no egress that a tenant or a class declares
    /// ever reaches.
    #[arg(long = "cluster-cidr", env = "CLUSTER_CIDRS", value_delimiter = ',', value_parser = cidr, default_values_t = PRIVATE.map(str::to_owned))]
    pub cluster_cidrs: Vec<String>,
    /// For how long a hostname that a tenant gave up is kept from others, from `1s` to `8760h`.
    #[arg(long, env = "HOSTNAME_HOLD", default_value = "720h", value_parser = hold)]
    pub hostname_hold: SignedDuration,
    /// How many ended operations of each type are kept of a tenant, from 1 to 1000. More are, as long as a decision may need them; what is
    /// deleted goes to the log before.
    #[arg(long, env = "OPERATION_HISTORY", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub operation_history: u16,
    /// The image of the pods that verify the isolation: the operator's own. Without it nothing is verified.
    #[arg(long, env = "VERIFICATION_IMAGE", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub verification_image: Option<String>,
    /// The namespace of the unrestricted pods that must reach the same targets.
    #[arg(long, env = "VERIFICATION_NAMESPACE", default_value = "freehold-probes")]
    pub verification_namespace: String,
    /// How often the isolation is verified at rest, from `5m` to `168h`.
    #[arg(long, env = "VERIFY_EVERY", default_value = "6h", value_parser = every)]
    pub verify_every: SignedDuration,
    /// The cloud's metadata service as `ADDRESS:PORT`, which no tenant may reach; empty where there is none.
    #[arg(long, env = "METADATA_TARGET", default_value = "169.254.169.254:80", value_parser = target)]
    pub metadata_target: Target,
    /// Something outside of the cluster as `ADDRESS:PORT`, which only declared egress may reach; empty where there is
    /// none.
    #[arg(long, env = "INTERNET_TARGET", default_value = "1.1.1.1:443", value_parser = target)]
    pub internet_target: Target,
    /// The address of /healthz, /readyz and /metrics.
    #[arg(long, env = "LISTEN", default_value = "0.0.0.0:8080")]
    pub listen: std::net::SocketAddr,
    /// How many tenants are worked on at once.
    #[arg(long, env = "CONCURRENCY", default_value_t = 8)]
    pub concurrency: u16,
    /// The form of the log.
    #[arg(long, env = "LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// What is logged, for example `info` or `freehold=debug,info`.
    #[arg(long, env = "LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// What `plan` reads and how it prints.
#[derive(Debug, Args)]
pub struct PlanArgs {
    /// Files with Tenants and the TenantClasses and Releases that they name; folders are read whole.
    #[arg(short, long = "filename", required = true)]
    pub files: Vec<PathBuf>,
    /// The form of what is printed.
    #[arg(short, long, value_enum, default_value_t = Output::Yaml)]
    pub output: Output,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Output {
    Yaml,
    Json,
}

/// One value of `--api-server-cidr`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoints(pub Vec<Endpoint>);

fn endpoints(text: &str) -> Result<Endpoints, String> {
    let (cidr, ports) = match text.split_once('/').and_then(|(_, rest)| rest.split_once(':')) {
        Some((_, port)) => {
            let port: u16 = port.parse().map_err(|_| format!("{port} is not a port"))?;
            (text.rsplit_once(':').map_or(text, |(cidr, _)| cidr), vec![port])
        }
        None => (text, vec![443, 6443]),
    };
    let range = self::cidr(cidr)?;
    let endpoint = |port| Endpoint {
        cidr: range.clone(),
        port,
    };
    Ok(Endpoints(ports.into_iter().map(endpoint).collect()))
}

/// A value of `--metadata-target` or `--internet-target`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target(pub Option<String>);

fn target(text: &str) -> Result<Target, String> {
    if text.is_empty() {
        return Ok(Target(None));
    }
    match text.parse::<SocketAddr>() {
        Ok(_) => Ok(Target(Some(text.to_owned()))),
        Err(_) => Err(format!("{text} is not ADDRESS:PORT, as in 192.0.2.1:443")),
    }
}

fn cidr(text: &str) -> Result<String, String> {
    let (address, length) = text
        .split_once('/')
        .ok_or("expected an address range like 10.0.0.0/8")?;
    let address: IpAddr = address
        .parse()
        .map_err(|_| format!("{address} is not an address"))?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    if length.parse::<u8>().ok().is_none_or(|length| length > max) {
        return Err(format!("{length} is not a prefix length up to {max}"));
    }
    Ok(text.to_owned())
}

fn hold(text: &str) -> Result<SignedDuration, String> {
    const HOUR: u64 = 3600;
    within(text, "1s", "8760h", 1, 8760 * HOUR)
}

fn every(text: &str) -> Result<SignedDuration, String> {
    within(text, "5m", "168h", 300, 168 * 3600)
}

fn kept_for(text: &str) -> Result<Span, String> {
    within(text, "1s", "87600h", 1, 87600 * 3600).map(|_| Span::from(text))
}

fn within(text: &str, from: &str, to: &str, least: u64, most: u64) -> Result<SignedDuration, String> {
    let bounds = (Duration::from_secs(least), Duration::from_secs(most));
    Span::from(text)
        .within(bounds.0, bounds.1)
        .and_then(|span| SignedDuration::try_from(span).ok())
        .ok_or_else(|| format!("expected a length of time from {from} to {to}, as in 90s, 30m or 6h"))
}

fn default_identity() -> String {
    format!("freehold-{}", std::process::id())
}

/// Reads the arguments and does what they say.
pub fn main() -> anyhow::Result<ExitCode> {
    match Cli::parse().command {
        Command::Run(args) => {
            log(&args.log_level, args.log_format)?;
            run::main(*args)?;
        }
        Command::Keys(args) => {
            log(&keys::log_level(&args.log_level), args.log_format)?;
            keys::main(*args)?;
        }
        Command::Plan(args) => offline::main(&args)?,
        Command::Why(args) => return why::main(&args),
        Command::Fleet(args) => return fleet::main(&args),
        Command::Probe(args) => probe::main(&args)?,
        Command::Show(args) => show::main(&args)?,
        Command::Crds => {
            for file in generated_files()?
                .into_iter()
                .filter(|file| file.path.starts_with("crds/"))
            {
                print(&format!("---\n{}", file.text))?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints. A reader that has seen enough (`| head`) is no error.
pub fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        result => result.context("can't print"),
    }
}

/// What is logged. The client warns with the whole body of an answer that it can't read, which may hold a Secret.
fn filter(level: &str) -> anyhow::Result<EnvFilter> {
    EnvFilter::try_new(format!("kube_client::client=error,{level}")).context("--log-level can't be read")
}

fn log(level: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = filter(level)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(true).init(),
    }
    Ok(())
}

/// What `run` is told by some arguments.
#[cfg(test)]
#[allow(clippy::panic, reason = "all of this is a test")]
pub fn run_args(args: &[&str]) -> RunArgs {
    match Cli::parse_from(args).command {
        Command::Run(args) => *args,
        other => panic!("{other:?}"),
    }
}

/// What `keys` is told by some arguments, or why not.
#[cfg(test)]
#[allow(clippy::panic, reason = "all of this is a test")]
pub fn keys_args(args: &[&str]) -> Result<KeysArgs, clap::Error> {
    match Cli::try_parse_from(args)?.command {
        Command::Keys(args) => Ok(*args),
        other => panic!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn the_client_does_not_log_answers_that_it_cannot_read_unless_somebody_asks_for_it() {
        let said = filter("info").unwrap().to_string();
        assert!(said.contains("kube_client::client=error"), "{said}");
        assert!(said.contains("info"), "{said}");
        let said = filter("kube_client::client=debug,info").unwrap().to_string();
        assert!(!said.contains("kube_client::client=error"), "{said}");
        assert!(filter("x=y=z").is_err());
    }

    #[test]
    fn lengths_of_time_and_targets_have_their_bounds() {
        assert_eq!(hold("1s"), Ok(SignedDuration::from_secs(1)));
        assert_eq!(hold("8760h"), Ok(SignedDuration::from_hours(8760)));
        assert_eq!(every("6h"), Ok(SignedDuration::from_hours(6)));
        for bad in ["0s", "8761h", "1d", "", "h", "-1s", "1.5h"] {
            assert!(hold(bad).is_err(), "{bad}");
        }
        assert_eq!(kept_for("720h"), Ok(Span::from("720h")));
        assert!(kept_for("87601h").is_err() && kept_for("").is_err());
        for bad in ["4m", "169h"] {
            assert!(every(bad).is_err(), "{bad}");
        }
        assert_eq!(target(""), Ok(Target(None)));
        assert_eq!(target("[fd00::1]:80"), Ok(Target(Some("[fd00::1]:80".into()))));
        for bad in ["1.1.1.1", "example.com:443", ":80"] {
            assert!(target(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn api_server_ranges_are_read_with_and_without_port() {
        let one = |cidr: &str, port| Endpoint {
            cidr: cidr.to_owned(),
            port,
        };
        assert_eq!(
            endpoints("10.0.0.1/32:6443"),
            Ok(Endpoints(vec![one("10.0.0.1/32", 6443)]))
        );
        assert_eq!(
            endpoints("fd00::1/128"),
            Ok(Endpoints(vec![one("fd00::1/128", 443), one("fd00::1/128", 6443)]))
        );
        for bad in ["10.0.0.1", "x/32", "10.0.0.0/33", "10.0.0.0/8:x"] {
            assert!(endpoints(bad).is_err(), "{bad}");
        }
    }
}
