//! Looking and changing nothing: L01, L07, L10 and L11. One calm hour serves all that only look.

use super::*;
use crate::harness::alerts::{at_severity, kin, strangers};
use crate::harness::case::{count, unlimited};
use std::time::Duration;
use tokio::sync::OnceCell;

/// Stages behind which a calm hour lies: five incidents, one of them critical, that fired twice, and a storm. No door
/// is open, so nothing comes any more.
struct Calm {
    stages: Deployment,
    /// Where its objects lie.
    shop: String,
}

impl Calm {
    async fn get() -> &'static Self {
        static CALM: OnceCell<Calm> = OnceCell::const_new();
        CALM.get_or_init(Self::begin).await
    }

    async fn begin() -> Self {
        let shape = Shape { work: 1, ..SINK };
        let (case, stages) = Case::after("calm", unlimited(), shape, |shop| {
            let begin = crate::harness::past::ago(50);
            let mut calm = strangers("Calm", shop, 5);
            calm[0] = at_severity(&calm[0], "critical");
            [at(begin, &calm), at(begin + 600_000, &kin("Storm", shop, 12)), at(begin + 60_000, &calm)].concat()
        })
        .await;
        case.until("shop", "five that count two, and a storm", |seen| {
            seen.len() == 6 && seen.iter().filter(|object| count(object) == 2).count() == 5
        })
        .await;
        case.settled().await;
        Self { stages, shop: case.namespace("shop") }
    }
}

#[tokio::test]
async fn l01_a_replay_of_a_calm_hour_finds_everything_and_changes_nothing() {
    let Calm { stages, shop } = Calm::get().await;
    let case = Case::of("l01", &[], stages).await;
    let before = everything_in(&case, shop).await;
    let memory = keys(&stages.work).await;
    let report = replay(&stages.ingest, &["--from", "-1h"]).await;
    assert_eq!(counts(&report), [0, 6, 0, 0], "{report}");
    let outcomes = ["created", "duplicate", "joined_storm"].map(|outcome| report["outcomes"][outcome].clone());
    assert_eq!(outcomes, [json!(5), json!(5), json!(12)], "{report}");
    let table = stages.ingest.succeed(&["replay", "--from", "-1h"]).await;
    assert!(table.starts_with("would create: 0\nexist: 6\ndiffer: 0\nover: 0\n"), "{table}");
    assert_eq!(everything_in(&case, shop).await, before, "end offsets and versions of objects");
    assert_eq!(keys(&stages.work).await, memory, "what Redis holds");
}

/// The memos and groups that memory holds, with their values; marks and vouchers move by themselves.
async fn keys(setting: &Setting) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let client = redis::Client::open(setting.redis.as_str()).expect("a URL of Redis");
    let mut eyes = client.get_multiplexed_async_connection().await.expect("redis answers");
    let pipeline = crate::harness::kube::manifests(&setting.pipeline);
    let prefix = pipeline[0]["memory"]["prefix"].as_str().expect("a prefix").to_owned();
    let all: Vec<Vec<u8>> =
        redis::cmd("KEYS").arg(format!("{prefix}*")).query_async(&mut eyes).await.expect("redis answers");
    let moves = |key: &[u8]| {
        let key = String::from_utf8_lossy(key).into_owned();
        key.contains("{marks}") || key.rsplit_once('}').is_none_or(|(_, rest)| rest.starts_with('v'))
    };
    let mut held = BTreeMap::new();
    for key in all.into_iter().filter(|key| !moves(key)) {
        let value: Option<Vec<u8>> = redis::cmd("DUMP").arg(&key).query_async(&mut eyes).await.expect("redis answers");
        held.insert(key, value.unwrap_or_default());
    }
    assert!(!held.is_empty(), "memory holds what was decided");
    held
}

#[tokio::test]
async fn l10_to_a_terminal_there_is_a_bar_with_share_and_time_left_and_into_a_pipe_no_control_character() {
    let Calm { stages, .. } = Calm::get().await;
    let case = Case::of("l10", &[], stages).await;
    let line = format!("{} replay --from -1h", env!("CARGO_BIN_EXE_breakwater"));
    // `script` gives a command a terminal
    let mut command = std::process::Command::new("script");
    environment(&mut command, &stages.ingest).env("TERM", "xterm").args(["-qec", &line, "/dev/null"]);
    let mut running = Process::start("script", &command, &case.scope.path("script.log"));
    assert!(running.exit(Duration::from_secs(120)).await.success(), "{}", running.printed());
    let printed = running.printed();
    for part in ["%", "left", "records", "exist: 6"] {
        assert!(printed.contains(part), "{part:?} is told to a terminal: {printed:?}");
    }
    let control = |text: &[u8]| text.iter().any(|byte| byte.is_ascii_control() && *byte != b'\n');
    for output in ["table", "json"] {
        let piped = stages.ingest.run(&["replay", "--from", "-1h", "--output", output]).await;
        assert!(piped.status.success() && !control(&piped.stderr), "{}", String::from_utf8_lossy(&piped.stderr));
        assert!(!control(&piped.stdout), "{}", String::from_utf8_lossy(&piped.stdout));
        assert_eq!(serde_json::from_slice::<Value>(&piped.stdout).is_ok(), output == "json");
    }
}

#[tokio::test]
async fn l11_an_edited_pipeline_over_real_traffic_tells_which_fields_would_differ() {
    let Calm { stages, shop } = Calm::get().await;
    let case = Case::of("l11", &[], stages).await;
    let mut edited = crate::harness::pipeline::of(&stages.scope, unlimited());
    let row = json!({ "*": "P3" });
    edited["priority"] = json!({ "matrix": { "critical": row, "warning": { "*": "P2" }, "info": row } });
    let file = case.scope.path("edited.yaml");
    std::fs::write(&file, edited.to_string()).expect("the test's folder can be written");
    let file = file.display().to_string();
    let report = replay(&stages.ingest, &["--from", "-1h", "--pipeline", &file]).await;
    assert_eq!(counts(&report), [0, 5, 1, 0], "{report}");
    let differing = &report["differing"][0];
    let object = differing["object"].as_str().expect("a name");
    assert!(object.starts_with(&format!("{shop}/calm0-")), "{report}");
    assert_eq!(differing["fields"], json!([{ "field": "spec.priority", "then": "P1", "now": "P3" }]));
    let table = stages.ingest.succeed(&["replay", "--from", "-1h", "--pipeline", &file]).await;
    assert!(table.contains(&format!("\ndiffer:\n  {object} ")), "{table}");
    assert!(table.contains("\n    spec.priority: \"P1\" then, \"P3\" now\n"), "{table}");
}

/// No stage runs: who is asked wrongly reads nothing, and what is published lies in the topic.
#[tokio::test]
async fn l07_a_filter_narrows_and_what_is_asked_wrongly_ends_with_64() {
    let past = |shop: &str| {
        let own = [strangers("Left", shop, 3), strangers("Right", shop, 2)].concat();
        at(crate::harness::past::ago(30), &[own, strangers("Far", &format!("{shop}-other"), 2)].concat())
    };
    let (case, stages) = Case::after("l07", unlimited(), Shape::NONE, past).await;
    let near = format!("alert.namespace == '{}'", case.namespace("shop"));
    let report = replay(&stages.ingest, &["--from", "-1h", "--filter", &near]).await;
    assert_eq!(found(&report), ([5, 0, 0, 0], 0), "{report}");
    let filter = format!("{near} && alert.name.startsWith('Right')");
    let flags = ["--from", "-1h", "--filter", &filter, "--mode", "missing-only", "--rate", "100/s"];
    let report = replay(&stages.ingest, &flags).await;
    assert_eq!(found(&report), ([2, 0, 0, 0], 2), "{report}");
    let drafts = drafts(&case, &BTreeMap::new()).await;
    let mut signals: Vec<String> = drafts.iter().map(|draft| draft.json()["spec"]["signalName"].to_string()).collect();
    signals.sort();
    assert_eq!(signals, ["\"Right0\"", "\"Right1\""]);
    for (flags, why) in [
        (&["--from", "-1h", "--filter", "alert.nam == 'x'"][..], "--filter:1:"),
        (&["--from", "-1h", "--filter", "alert.name =="], "--filter:1:"),
        (&["--from", "-1h", "--to", "-2h"], "--from must lie before --to"),
        (&[], "--from is not given"),
        (&["--from", "yesterday"], "--from: \"yesterday\" is no moment"),
        (&["--from", "-1h", "--rate", "0/s"], "--rate: \"0/s\" is no rate"),
    ] {
        let told = stages.ingest.run(&[&["replay"], flags].concat()).await;
        let text = String::from_utf8_lossy(&told.stderr);
        assert_eq!(told.status.code(), Some(64), "{flags:?}: {text}");
        assert!(text.starts_with(why), "{flags:?}: {text}");
    }
}
