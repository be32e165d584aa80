//! Arbitrary bytes and arbitrary JSON: read or refused, and by door and bench alike.

use proptest::prelude::*;

use super::*;

/// Keys that mean something to us, for most objects to have some.
const KEYS: &str = "alerts labels annotations alertname namespace pod status startsAt kind type reason involvedObject \
                    regarding name source count series message eventTime";

/// JSON of any shape.
fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
        Just(json!("2026-11-21T07:00:00Z")),
        Just(json!("Warning")),
        Just(json!("Event")),
    ];
    let ours: Vec<String> = KEYS.split_whitespace().map(str::to_owned).collect();
    let key = prop_oneof![".{0,6}", prop::sample::select(ours)];
    leaf.prop_recursive(5, 60, 8, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..8).prop_map(Value::from),
            prop::collection::hash_map(key.clone(), inner, 0..8)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

fn any_headers() -> impl Strategy<Value = Headers> {
    let ours = [headers::SCHEMA, headers::SOURCE, headers::KIND, headers::RECEIVED_AT, headers::TRACEPARENT];
    let value = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..8),
        prop::sample::select(vec!["1", "prometheus", "kubernetes-events", "firing", "resolved", "closed"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    prop::collection::vec((prop::sample::select(ours.to_vec()), value), 0..4)
        .prop_map(|all| Headers(all.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect()))
}

/// Door and bench never disagree: what the one accepts the other reads, under the same fingerprint.
fn agree(value: Vec<u8>, headers: &Headers) -> Result<(), TestCaseError> {
    let rules = IdentityRules::default();
    let identity = identify(&value, headers, &rules);
    match parse(&Bytes::from(value.clone()), headers, AT, &rules) {
        Ok(Signal::Alert(alert)) => {
            prop_assert_eq!(alert.fingerprint, identity.clone().unwrap().fingerprint);
            prop_assert_eq!((alert.kind, alert.source), identity.map(|one| (one.kind, one.source)).unwrap());
            prop_assert_eq!(&alert.raw[..], &value[..]);
        }
        Ok(Signal::Closed(_)) => {}
        Err(fault) => {
            prop_assert!(fault.text.len() < 2_000 && !fault.text.chars().any(char::is_control));
            let closed = headers.last(headers::KIND) == Some(b"closed");
            prop_assert!(closed || identity == Err(fault));
        }
    }
    Ok(())
}

proptest! {
    #[test]
    fn o13_any_bytes_are_read_or_refused(value in prop::collection::vec(any::<u8>(), 0..200), headers in any_headers()) {
        agree(value.clone(), &headers)?;
        let _read = split(&Bytes::from(value));
    }

    #[test]
    fn o13_any_json_is_read_or_refused(value in any_json(), headers in any_headers()) {
        agree(value.to_string().into_bytes(), &headers)?;
        if let Ok(webhook) = split(&Bytes::from(value.to_string())) {
            prop_assert_eq!(webhook.alerts.len(), value["alerts"].as_array().unwrap().len());
        }
    }

    #[test]
    fn o13_an_example_with_some_bytes_changed_is_read_or_refused(
        example in prop::sample::select(vec![WEBHOOK, NODE, HOSTILE, CORE, EVENTS]),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = example.as_bytes().to_vec();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        agree(bytes.clone(), &Headers::default())?;
        if let Ok(webhook) = split(&Bytes::from(bytes)) {
            for alert in webhook.alerts {
                agree(alert.to_vec(), &Headers::default())?;
            }
        }
    }
}
