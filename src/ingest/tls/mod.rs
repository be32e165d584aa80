//! TLS at the door: a certificate and its key, and for mutual TLS the authorities of clients, from files that are read
//! anew when they change.
//!
//! **Invariant:** with authorities for clients, nobody comes in without a certificate of one of them.

use std::{fmt, path::PathBuf, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
};
use tokio_rustls::TlsAcceptor;

use super::followed::{Content, Followed};

/// Where the door's certificates lie; all in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The door's certificate, then those between it and its authority.
    pub certificate: PathBuf,
    /// The private key of the first.
    pub key: PathBuf,
    /// Who signs clients' certificates; without it nobody is asked for one.
    pub client_authorities: Option<PathBuf>,
}

/// TLS as its files say now.
#[derive(Clone, Debug)]
pub struct Tls(pub(super) Arc<Followed<Offer>>);

/// What a client is offered.
pub(super) struct Offer(Arc<ServerConfig>);

impl fmt::Debug for Offer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("tls")
    }
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// Which file can't be used, and why. No key is shown.
    pub fn open(files: TlsFiles) -> Result<Self, String> {
        let TlsFiles { certificate, key, client_authorities } = files;
        let all = [certificate, key].into_iter().chain(client_authorities).collect();
        Followed::open(all, offer).map(|followed| Self(Arc::new(followed)))
    }

    /// For a new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.now().0))
    }
}

fn offer(contents: &[Content]) -> Result<Offer, String> {
    let [certificate, key, authorities @ ..] = contents else { return Err("a certificate needs its key".to_owned()) };
    let (chain, secret) = (certificates(certificate)?, private_key(key)?);
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let builder = match authorities.first() {
        None => builder.with_no_client_auth(),
        Some(file) => builder.with_client_cert_verifier(verifier(file, provider)?),
    };
    let unfit = |error| format!("{} and {} do not fit: {error}", certificate.file, key.file);
    let mut config = builder.with_single_cert(chain, secret).map_err(unfit)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Offer(Arc::new(config)))
}

fn verifier(
    file: &Content,
    provider: Arc<rustls::crypto::CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let unusable = |error: &dyn fmt::Display| format!("{} has an authority that cannot be used: {error}", file.file);
    let mut roots = RootCertStore::empty();
    for authority in certificates(file)? {
        roots.add(authority).map_err(|error| unusable(&error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|error| unusable(&error))
}

fn certificates(file: &Content) -> Result<Vec<CertificateDer<'static>>, String> {
    let read: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&file.bytes).collect();
    match read {
        Ok(all) if !all.is_empty() => Ok(all),
        Ok(_) => Err(format!("{} has no certificate in PEM", file.file)),
        Err(error) => Err(format!("{} has no certificate in PEM: {error}", file.file)),
    }
}

fn private_key(file: &Content) -> Result<PrivateKeyDer<'static>, String> {
    // without the reader's own words, which might quote what stands there
    PrivateKeyDer::from_pem_slice(&file.bytes).map_err(|_| format!("{} has no private key in PEM", file.file))
}

#[cfg(test)]
mod tests;
