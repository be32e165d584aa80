//! Who may come in at the door, and by what way: flags and the environment, checked before anything is opened.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    Failure,
    addresses::{Api, asked, listen as address},
    stages,
};
use crate::ingest::{Auth, Guard, Judge, Proxies, Tls, TlsFiles, Tokens};

/// Where alerts are taken in.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Where alerts are taken in")]
pub(crate) struct Door {
    /// Address for webhooks and events
    #[arg(
        long,
        env = "BREAKWATER_LISTEN",
        hide_env_values = true,
        value_name = "HOST:PORT",
        default_value = "127.0.0.1:8080"
    )]
    listen: String,
}

/// Who may come in, and by what way.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Who may send alerts")]
pub(crate) struct Guarding {
    /// Who may come in at the door
    #[arg(long, env = "BREAKWATER_LISTEN_AUTH", hide_env_values = true, value_name = "WHO", default_value = "none")]
    listen_auth: Who,
    /// With `tokens`: a file of tokens, one a line; read anew when it changes
    #[arg(long, env = "BREAKWATER_LISTEN_TOKENS", hide_env_values = true, value_name = "FILE")]
    listen_tokens: Option<PathBuf>,
    /// With `kubernetes`: the audience that tokens must be for; without it, the API server's own
    #[arg(long, env = "BREAKWATER_LISTEN_AUDIENCE", hide_env_values = true, value_name = "NAME")]
    listen_audience: Option<String>,
    /// The door's certificate and those up to its authority, in PEM: the door then speaks TLS only; read anew when it changes
    #[arg(long, env = "BREAKWATER_LISTEN_TLS_CERT", hide_env_values = true, value_name = "FILE")]
    listen_tls_cert: Option<PathBuf>,
    /// The private key of that certificate, in PEM; read anew when it changes
    #[arg(long, env = "BREAKWATER_LISTEN_TLS_KEY", hide_env_values = true, value_name = "FILE")]
    listen_tls_key: Option<PathBuf>,
    /// Authorities in PEM: only who has a certificate of one of them may connect; read anew when it changes
    #[arg(long, env = "BREAKWATER_LISTEN_TLS_CLIENT_CA", hide_env_values = true, value_name = "FILE")]
    listen_tls_client_ca: Option<PathBuf>,
    /// Networks of proxies whose X-Forwarded-For is believed; without it, nobody's is
    #[arg(long, env = "BREAKWATER_TRUSTED_PROXIES", hide_env_values = true, value_name = "CIDR,…")]
    trusted_proxies: Option<String>,
}

/// Who may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Who {
    /// Everybody
    None,
    /// Who shows a token of --listen-tokens
    Tokens,
    /// Whom the Kubernetes API knows by a token, and permits to post to that path
    Kubernetes,
}

/// Where alerts are taken in, and from whom.
#[derive(Debug)]
pub(crate) struct Entrance {
    /// Address for webhooks and events.
    pub listen: SocketAddr,
    admits: Admits,
    tls: Option<Tls>,
    proxies: Proxies,
}

/// Who may come in, before the judge's client is made.
#[derive(Debug)]
enum Admits {
    Everybody,
    Tokens(Tokens),
    Judged { kubeconfig: Option<PathBuf>, audience: Option<String> },
}

impl Door {
    /// An address to listen on.
    pub(crate) fn check(&self) -> Result<SocketAddr, Failure> {
        address("BREAKWATER_LISTEN", &self.listen)
    }
}

impl Entrance {
    /// In plain HTTP, for everybody.
    pub(crate) fn open(listen: SocketAddr) -> Self {
        Self { listen, admits: Admits::Everybody, tls: None, proxies: Proxies::default() }
    }

    /// The guard of the door.
    pub(crate) async fn guard(self) -> anyhow::Result<Guard> {
        let auth = match self.admits {
            Admits::Everybody => Auth::Open,
            Admits::Tokens(tokens) => Auth::Tokens(tokens),
            Admits::Judged { kubeconfig, audience } => {
                Auth::Kubernetes(Judge::new(stages::config_by(kubeconfig.as_deref()).await?, audience)?)
            }
        };
        Ok(Guard { auth, tls: self.tls, proxies: self.proxies })
    }
}

impl Guarding {
    /// Files that can be read, networks that are such, and nothing that would be ignored.
    pub(crate) fn check(&self, door: &Door, api: &Api) -> Result<Entrance, Failure> {
        let (listen, admits) = (door.check()?, self.admits(api)?);
        Ok(Entrance { listen, admits, tls: self.tls()?, proxies: self.proxies()? })
    }

    fn admits(&self, api: &Api) -> Result<Admits, Failure> {
        let idle = |variable: &str, with: &str| {
            let mend = format!("set BREAKWATER_LISTEN_AUTH={with}, or unset it");
            Err(asked(format!("{variable} is set, and BREAKWATER_LISTEN_AUTH does not ask for it; {mend}")))
        };
        if self.listen_auth != Who::Tokens && self.listen_tokens.is_some() {
            return idle("BREAKWATER_LISTEN_TOKENS", "tokens");
        }
        if self.listen_auth != Who::Kubernetes && self.listen_audience.is_some() {
            return idle("BREAKWATER_LISTEN_AUDIENCE", "kubernetes");
        }
        match self.listen_auth {
            Who::None => Ok(Admits::Everybody),
            Who::Tokens => self.tokens().map(Admits::Tokens),
            Who::Kubernetes => {
                let audience = self.listen_audience.clone().filter(|audience| !audience.is_empty());
                Ok(Admits::Judged { kubeconfig: api.check()?, audience })
            }
        }
    }

    fn tokens(&self) -> Result<Tokens, Failure> {
        let Some(file) = &self.listen_tokens else {
            return Err(missing("BREAKWATER_LISTEN_TOKENS", "BREAKWATER_LISTEN_AUTH=tokens needs a file of tokens"));
        };
        Tokens::open(file).map_err(|why| asked(format!("BREAKWATER_LISTEN_TOKENS: {why}")))
    }

    fn tls(&self) -> Result<Option<Tls>, Failure> {
        let given = (&self.listen_tls_cert, &self.listen_tls_key, &self.listen_tls_client_ca);
        let files = match given {
            (None, None, None) => return Ok(None),
            (Some(certificate), Some(key), authorities) => {
                TlsFiles { certificate: certificate.clone(), key: key.clone(), client_authorities: authorities.clone() }
            }
            (None, _, _) => return Err(missing("BREAKWATER_LISTEN_TLS_CERT", "TLS needs the door's certificate")),
            (Some(_), None, _) => return Err(missing("BREAKWATER_LISTEN_TLS_KEY", "TLS needs the certificate's key")),
        };
        Tls::open(files).map(Some).map_err(|why| asked(format!("BREAKWATER_LISTEN_TLS: {why}")))
    }

    fn proxies(&self) -> Result<Proxies, Failure> {
        let Some(text) = self.trusted_proxies.as_deref().filter(|text| !text.trim().is_empty()) else {
            return Ok(Proxies::default());
        };
        Proxies::parse(text).map_err(|wrong| {
            let form = "write ADDRESS/BITS, separated by commas, such as 10.0.0.0/8,2001:db8::/32";
            asked(format!("BREAKWATER_TRUSTED_PROXIES: {wrong:?} is no network; {form}"))
        })
    }
}

fn missing(variable: &str, why: &str) -> Failure {
    let flag = variable.trim_start_matches("BREAKWATER_").to_lowercase().replace('_', "-");
    asked(format!("{variable} is not set; {why}, there or as --{flag}"))
}
