//! The judge of group R is judged: a small world that is as it shall be, and each thing that may be wrong with it.

use crate::harness::alerts::{alert, resolved};
use crate::harness::kafka::Record;
use crate::harness::load::{Book, Place, Promise};
use crate::harness::oracle::{Evidence, Outcomes};
use breakwater::alert::Fingerprint;
use k8s_openapi::ByteString;
use serde_json::{Value, json};

/// A fingerprint of 32 equal bytes.
fn print(byte: u8) -> String {
    format!("{byte:02x}").repeat(32)
}

/// What was sent, promised, set aside, and made of it.
struct World {
    alerts: Vec<Record>,
    dead: Vec<Record>,
    objects: Vec<Value>,
    book: Book,
}

impl World {
    /// One alert fires twice, is resolved, ends, and fires again; twelve kin at once; one that nobody can use.
    fn well() -> Self {
        let mut world = Self { alerts: Vec::new(), dead: Vec::new(), objects: Vec::new(), book: Book::default() };
        let own = alert("Own", "shop", "p");
        world.sent(1, &own, "firing");
        world.sent(1, &own, "firing");
        world.sent(1, &resolved(&own), "resolved");
        world.sent(1, &json!({ "fingerprint": print(1), "object": "shop/own-0" }), "closed");
        world.sent(1, &own, "firing");
        for kin in 10..22 {
            world.sent(kin, &alert("Storm", "shop", &format!("p{kin}")), "firing");
        }
        world.objects = vec![world.own("own-0", 0, 2, "Completed"), world.own("own-4", 4, 1, ""), Self::storm()];
        let unusable = "{}".to_owned();
        world.dead.push(Record { value: Some(unusable.clone().into()), ..world.alerts[0].clone() });
        world.book.promises.push(Promise { id: 99, bytes: unusable, place: None });
        world
    }

    fn sent(&mut self, print_of: u8, value: &Value, kind: &str) {
        let (offset, fingerprint, bytes) = (self.alerts.len() as i64, print(print_of), value.to_string());
        self.alerts.push(Record {
            partition: 0,
            offset,
            timestamp: 1_000 + offset,
            key: Some(fingerprint.clone().into()),
            value: Some(bytes.clone().into()),
            headers: vec![("breakwater-kind".to_owned(), kind.into())],
        });
        if kind != "closed" {
            let place = Some(Place { fingerprint, partition: 0, offset });
            self.book.promises.push(Promise { id: offset.unsigned_abs(), bytes, place });
        }
    }

    fn own(&self, name: &str, opened: usize, count: u64, phase: &str) -> Value {
        let payload = String::from_utf8_lossy(self.alerts[opened].value.as_deref().unwrap_or_default()).into_owned();
        json!({
            "metadata": { "name": name, "annotations": { "breakwater.io/generation": format!("1000/0/{opened}") } },
            "spec": { "isStorm": false, "signalFingerprint": print(1), "originalPayload": payload },
            "status": { "overallPhase": phase, "deduplication": { "occurrenceCount": count } },
        })
    }

    fn storm() -> Value {
        let members =
            ByteString((10..22).flat_map(|kin| *Fingerprint::from_bytes([kin; 32]).brief().bytes()).collect());
        json!({
            "metadata": { "name": "storm-5" },
            "spec": { "isStorm": true, "signalName": "Storm" },
            "status": { "deduplication": { "occurrenceCount": 12 },
                        "stormAggregation": { "totalAffectedResources": 12, "members": members } },
        })
    }

    fn judged(self) -> Result<Outcomes, String> {
        Evidence::of(self.alerts, &[], self.dead, &self.objects).judge(&self.book)
    }
}

#[test]
fn r13_the_judge_finds_nothing_wrong_with_a_world_that_is_well() {
    let all = Outcomes { opened: 2, in_storms: 12, duplicates: 1, resolved: 1, dead_letters: 1, storms: 1 };
    assert_eq!(World::well().judged(), Ok(all));
}

/// Spoils the world; among the violations must be this one.
fn spoiled(what: &str, spoil: impl FnOnce(&mut World)) {
    let mut world = World::well();
    spoil(&mut world);
    let found = world.judged().expect_err(what);
    assert!(found.contains(what), "{what}: {found}");
}

#[test]
fn r13_the_judge_sees_what_is_lost_doubled_miscounted_or_changed() {
    spoiled("where no record lies", |world| world.book.promises[0].place.as_mut().unwrap().offset = 77);
    spoiled("where another lies", |world| world.book.promises[0].bytes.push(' '));
    spoiled("is no dead letter", |world| world.dead.clear());
    spoiled("nobody was told of", |world| world.dead.push(world.alerts[5].clone()));
    spoiled("lost: 0101", |world| drop(world.objects.drain(..2)));
    spoiled("after the end of own-0", |world| drop(world.objects.remove(1)));
    spoiled("was opened at", |world| drop(world.objects.remove(0)));
    spoiled("live at once", |world| world.objects[0]["status"]["overallPhase"] = json!("Executing"));
    spoiled("counts 2 of 1", |world| world.objects[1]["status"]["deduplication"]["occurrenceCount"] = json!(2));
    spoiled("counts 3 of 2", |world| world.objects[0]["status"]["deduplication"]["occurrenceCount"] = json!(3));
    spoiled("the payload of own-4", |world| world.objects[1]["spec"]["originalPayload"] = json!("{}"));
    spoiled("says resolved", |world| world.objects[1]["status"]["resolvedAt"] = json!("2026-11-21T12:00:00Z"));
    spoiled("12 kin within", |world| drop(world.objects.pop()));
    spoiled("counts 11 firings", |world| world.objects[2]["status"]["deduplication"]["occurrenceCount"] = json!(11));
    spoiled("storm that does not know", |world| {
        let mut twice = world.own("own-9", 9, 1, "");
        twice["spec"]["signalFingerprint"] = json!(print(14));
        world.objects.push(twice);
    });
    spoiled("about nothing that was sent", |world| {
        world.objects[1]["spec"]["signalFingerprint"] = json!(print(200));
    });
}
