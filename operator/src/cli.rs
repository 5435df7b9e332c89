//! The command line. In: arguments and environment. Out: one of the commands, started.

use std::io::{ErrorKind, Write as _};
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand, ValueEnum};
use freehold_crds::generated_files;
use freehold_plan::Endpoint;
use tracing_subscriber::EnvFilter;

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
    Run(RunArgs),
    /// Print what would be done for the tenants in these files, without a cluster.
    Plan(PlanArgs),
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
    /// The namespace in which CloudNativePG's operator runs.
    #[arg(long, env = "DATABASE_OPERATOR_NAMESPACE", default_value = "cnpg-system")]
    pub database_operator_namespace: String,
    /// Where database pods reach the API server, as `CIDR:PORT` or `CIDR` (ports 443 and 6443). Found out when not given.
    #[arg(long = "api-server-cidr", env = "API_SERVER_CIDRS", value_delimiter = ',', value_parser = endpoints)]
    pub api_server: Vec<Endpoints>,
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
    let (address, length) = cidr
        .split_once('/')
        .ok_or("expected an address range like 10.0.0.1/32")?;
    let address: std::net::IpAddr = address
        .parse()
        .map_err(|_| format!("{address} is not an address"))?;
    let max = if address.is_ipv4() { 32 } else { 128 };
    if length.parse::<u8>().ok().is_none_or(|length| length > max) {
        return Err(format!("{length} is not a prefix length up to {max}"));
    }
    let endpoint = |port| Endpoint {
        cidr: cidr.to_owned(),
        port,
    };
    Ok(Endpoints(ports.into_iter().map(endpoint).collect()))
}

fn default_identity() -> String {
    format!("freehold-{}", std::process::id())
}

/// Reads the arguments and does what they say.
pub fn main() -> anyhow::Result<()> {
    match Cli::parse().command {
        Command::Run(args) => {
            log(&args)?;
            run::main(args)
        }
        Command::Plan(args) => offline::main(&args),
        Command::Crds => {
            for file in generated_files()?
                .into_iter()
                .filter(|file| file.path.starts_with("crds/"))
            {
                print(&format!("---\n{}", file.text))?;
            }
            Ok(())
        }
    }
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

fn log(args: &RunArgs) -> anyhow::Result<()> {
    let filter = filter(&args.log_level)?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    match args.log_format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).with_current_span(true).init(),
    }
    Ok(())
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
