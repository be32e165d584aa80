//! Certificates of a test's own, made by openssl: authorities, and what they sign for 127.0.0.1.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tokio_rustls::TlsConnector;

const CURVE: [&str; 4] = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"];

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Pair {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// Makes an authority in a folder; its certificate is what others trust.
pub fn authority(folder: &Path, name: &str) -> Pair {
    let pair = Pair::named(folder, name);
    let mut request = Command::new("openssl");
    request.args(["req", "-x509", "-nodes", "-days", "2", "-subj", &format!("/CN={name}")]).args(CURVE);
    done(request.arg("-out").arg(&pair.certificate).arg("-keyout").arg(&pair.key));
    pair
}

impl Pair {
    fn named(folder: &Path, name: &str) -> Self {
        Self { certificate: folder.join(format!("{name}.crt")), key: folder.join(format!("{name}.key")) }
    }

    /// Signs a certificate for 127.0.0.1, good for a server and for a client.
    pub fn signs(&self, folder: &Path, name: &str) -> Pair {
        let (pair, [request, names]) =
            (Self::named(folder, name), ["csr", "ext"].map(|end| folder.join(format!("{name}.{end}"))));
        let mut asked = Command::new("openssl");
        asked.args(["req", "-new", "-nodes", "-subj", &format!("/CN={name}")]).args(CURVE);
        done(asked.arg("-out").arg(&request).arg("-keyout").arg(&pair.key));
        std::fs::write(&names, "subjectAltName=IP:127.0.0.1\n").expect("the test's folder can be written");
        let mut signed = Command::new("openssl");
        signed
            .args(["x509", "-req", "-days", "2", "-set_serial", &fastrand::u32(1..).to_string(), "-in"])
            .arg(&request);
        signed.arg("-CA").arg(&self.certificate).arg("-CAkey").arg(&self.key).arg("-extfile").arg(&names);
        done(signed.arg("-out").arg(&pair.certificate));
        pair
    }
}

/// A client that trusts an authority and may have a certificate of its own.
pub fn client(trusted: &Pair, own: Option<&Pair>) -> TlsConnector {
    let chain = |pair: &Pair| CertificateDer::from_pem_file(&pair.certificate).expect("a certificate");
    let mut roots = RootCertStore::empty();
    roots.add(chain(trusted)).expect("an authority can be trusted");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.expect("versions of TLS").with_root_certificates(roots);
    let config = match own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let key = PrivateKeyDer::from_pem_file(&own.key).expect("a key");
            builder.with_client_auth_cert(vec![chain(own)], key).expect("the key is the certificate's")
        }
    };
    TlsConnector::from(Arc::new(config))
}

fn done(command: &mut Command) {
    let output = command.output().expect("there is openssl");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
