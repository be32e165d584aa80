//! What a demonstration sends itself: Alertmanager webhooks over HTTP, as Alertmanager would.

use std::net::SocketAddr;

use anyhow::Context;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::report::Object;

/// One part of the load, and what is to come of it.
pub(super) struct Act {
    /// For a person.
    pub what: &'static str,
    /// Webhooks, in order.
    pub bodies: Vec<String>,
    objects: usize,
    occurrences: u64,
    resolved: usize,
}

impl Act {
    /// What is to be there afterwards, for a person.
    pub(super) fn expects(&self, before: usize) -> String {
        let resolved = if self.resolved == 0 { String::new() } else { format!(", {} resolved", self.resolved) };
        format!("{} objects that stand for {} firings{resolved}", before + self.objects, self.occurrences)
    }

    /// Whether it is there. Objects of an earlier demonstration in the same folder count for themselves.
    pub(super) fn is_met(&self, before: usize, objects: &[Object]) -> bool {
        let occurrences: u64 = objects.iter().map(|object| object.count).sum();
        let resolved = objects.iter().filter(|object| object.resolved).count();
        objects.len() == before + self.objects
            && (before > 0 || occurrences == self.occurrences && resolved == self.resolved)
    }
}

/// Singles, repeats of them, a storm, and an end; in sum 5 + 20 + 20 firings, one of them resolved.
pub(super) fn acts() -> Vec<Act> {
    let singles = [
        ("HighErrorRate", "checkout-prod", "deployment", "payment", "critical"),
        ("HighLatency", "checkout-staging", "deployment", "payment", "warning"),
        ("PersistentVolumeFillingUp", "data-prod", "persistentvolumeclaim", "orders-0", "warning"),
        ("CertificateExpiresSoon", "edge-dev", "service", "gateway", "info"),
        ("NodeDiskPressure", "", "node", "worker-3", "critical"),
    ];
    let all: Vec<Value> = singles.iter().map(|single| alert(*single, "firing")).collect();
    let crash =
        |pod: usize| alert(("PodCrashLooping", "shop-prod", "pod", &format!("cart-{pod}"), "critical"), "firing");
    vec![
        Act { what: "5 different alerts", bodies: vec![webhook(&all)], objects: 5, occurrences: 5, resolved: 0 },
        Act {
            what: "the same 5 again, 4 times",
            bodies: vec![webhook(&all); 4],
            objects: 5,
            occurrences: 25,
            resolved: 0,
        },
        Act {
            what: "a storm: 15 pods of one service crash at once, then 5 more",
            bodies: vec![
                webhook(&(0..15).map(crash).collect::<Vec<_>>()),
                webhook(&(15..20).map(crash).collect::<Vec<_>>()),
            ],
            objects: 6,
            occurrences: 45,
            resolved: 0,
        },
        Act {
            what: "the end of one of them",
            bodies: vec![webhook(&[alert(singles[1], "resolved")])],
            objects: 6,
            occurrences: 45,
            resolved: 1,
        },
    ]
}

fn alert((name, namespace, kind, resource, severity): (&str, &str, &str, &str, &str), status: &str) -> Value {
    let mut labels = json!({ "alertname": name, "severity": severity, "cluster": "demo", kind: resource });
    if !namespace.is_empty() {
        labels["namespace"] = json!(namespace);
    }
    json!({
        "status": status,
        "labels": labels,
        "annotations": { "summary": format!("{name} on {resource}") },
        "startsAt": "2026-01-01T00:00:00Z",
        "endsAt": "0001-01-01T00:00:00Z",
        "generatorURL": "http://prometheus.example/graph",
    })
}

fn webhook(alerts: &[Value]) -> String {
    json!({ "version": "4", "receiver": "breakwater", "groupKey": "{}:{}", "status": "firing", "alerts": alerts })
        .to_string()
}

/// Posts one webhook; anything but 202 is a failure.
pub(super) async fn post(door: SocketAddr, body: &str) -> anyhow::Result<()> {
    let mut stream = TcpStream::connect(door).await.context("the door does not open")?;
    let head = format!(
        "POST /api/v1/signals/prometheus HTTP/1.1\r\nhost: {door}\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(body.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    let status = answer.lines().next().unwrap_or_default();
    anyhow::ensure!(status.contains(" 202 "), "the door answered {status:?}");
    Ok(())
}
