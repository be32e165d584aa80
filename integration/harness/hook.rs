//! An admission webhook of a test's own: HTTPS under a certificate of its own, one answer a connection.

use super::process::free_port;
use k8s_openapi::ByteString;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

type Noted = Arc<Mutex<Vec<Value>>>;

/// A webhook: its address and its certificate are known before it listens.
pub struct Hook {
    port: u16,
    certificate: PathBuf,
    key: PathBuf,
    stop: Arc<AtomicBool>,
    heard: Noted,
}

impl Hook {
    /// A webhook that nobody answers for yet.
    pub fn planned(folder: &Path) -> Self {
        let port = free_port();
        let [certificate, key] = ["crt", "key"].map(|end| folder.join(format!("hook-{port}.{end}")));
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=hook"])
            .args(["-addext", "subjectAltName=IP:127.0.0.1", "-out"])
            .arg(&certificate)
            .arg("-keyout")
            .arg(&key)
            .output()
            .expect("there is openssl");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self { port, certificate, key, stop: Arc::default(), heard: Noted::default() }
    }

    /// Begins to answer: nothing = let it pass, a sentence = why not.
    pub fn listen(&self, verdict: Option<&'static str>) {
        let chain = CertificateDer::from_pem_file(&self.certificate).expect("a certificate");
        let key = PrivateKeyDer::from_pem_file(&self.key).expect("a key");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.expect("versions of TLS").with_no_client_auth().with_single_cert(vec![chain], key);
        let config = Arc::new(config.expect("the key is the certificate's"));
        let listener = TcpListener::bind(("127.0.0.1", self.port)).expect("nobody took our port");
        let (stop, heard) = (Arc::clone(&self.stop), Arc::clone(&self.heard));
        std::thread::spawn(move || {
            for stream in listener.incoming().take_while(|_| !stop.load(Ordering::Relaxed)) {
                let connection = ServerConnection::new(Arc::clone(&config)).expect("the settings are whole");
                let tls = StreamOwned::new(connection, stream.expect("a listener accepts"));
                let _hung_up = answer(tls, verdict, &heard);
            }
        });
    }

    /// The objects that it was asked about in earnest, not in a dry run.
    pub fn heard(&self) -> Vec<Value> {
        self.heard.lock().expect("nobody panics while noting").clone()
    }

    /// What makes the API server ask it before a RemediationRequest is made in a namespace.
    pub fn manifest(&self, name: &str, namespace: &str) -> Value {
        let certificate = ByteString(std::fs::read(&self.certificate).expect("a certificate"));
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": name },
            "webhooks": [{
                "name": "hook.example.org",
                "clientConfig": { "url": format!("https://127.0.0.1:{}/", self.port), "caBundle": certificate },
                "rules": [{ "apiGroups": ["remediation.kubernaut.io"], "apiVersions": ["v1alpha1"],
                            "operations": ["CREATE"], "resources": ["remediationrequests"] }],
                "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } },
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "admissionReviewVersions": ["v1"],
            }],
        })
    }
}

impl Drop for Hook {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _woken = TcpStream::connect(("127.0.0.1", self.port));
    }
}

/// One request, one answer, and the connection is closed.
fn answer(
    mut tls: StreamOwned<ServerConnection, TcpStream>,
    verdict: Option<&str>,
    heard: &Noted,
) -> std::io::Result<()> {
    let mut reader = BufReader::new(&mut tls);
    let (mut line, mut length) = (String::new(), 0);
    while reader.read_line(&mut line)? > 2 {
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        line.clear();
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let review: Value = serde_json::from_slice(&body)?;
    if review["request"]["dryRun"] != json!(true) {
        heard.lock().expect("nobody panics while noting").push(review["request"]["object"].clone());
    }
    let status = verdict.map(|message| json!({ "code": 403, "reason": "Forbidden", "message": message }));
    let response = json!({ "uid": review["request"]["uid"], "allowed": verdict.is_none(), "status": status });
    let said = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response });
    let said = said.to_string();
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length:";
    write!(tls, "{head} {}\r\n\r\n{said}", said.len())?;
    tls.conn.send_close_notify();
    tls.flush()
}
