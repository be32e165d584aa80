//! The command line, as one would type it.

use std::{
    fs,
    io::{self, ErrorKind, Write},
};

use super::{say::tell, *};

/// What a command line ends with.
fn code(args: &[&str]) -> String {
    format!("{:?}", main(args.iter().map(OsString::from)))
}

fn code_of(code: u8) -> String {
    format!("{:?}", ExitCode::from(code))
}

/// Asserts the complaint about a command line, once it is checked.
fn check(args: &[&str], expected: &str) {
    let cli = Cli::try_parse_from(args).map_err(|error| error.to_string()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(start(cli.command)) {
        Err(Failure::Asked(told)) => assert_eq!(told, expected, "{args:?}"),
        other => panic!("{args:?}: {other:?}"),
    }
}

const SHIPPED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/alerts.yaml");

#[test]
fn q01_every_shipped_pipeline_checks_clean() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("pipelines");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    assert!(files.len() >= 3, "{files:?}");
    let told = super::check::check(&files);
    assert!(told.is_ok(), "{told:?}");
}

#[test]
fn q02_a_file_that_is_no_pipeline_ends_with_64_and_says_what_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("empty.yaml"), "").unwrap();
    fs::write(path("binary.yaml"), [0xff, 0xfe]).unwrap();
    fs::write(path("large.yaml"), "#".repeat(300_000)).unwrap();
    for (name, text) in [
        ("absent.yaml", "the file is not there"),
        ("", "the file is a folder"),
        ("empty.yaml", "the pipeline is empty"),
        ("binary.yaml", "the file is not UTF-8 text"),
        ("large.yaml", "the file is larger than 262144 bytes"),
    ] {
        let Err(Failure::Asked(told)) = check::check(&[path(name).into()]) else { panic!("{name} is good") };
        assert!(told.starts_with(&format!("{}:1:1: {text}", path(name))), "{told}");
        assert_eq!(code(&["breakwater", "check", SHIPPED, &path(name)]), code_of(64));
    }
    assert_eq!(code(&["breakwater", "check", SHIPPED]), code_of(0));
}

#[test]
fn q05_a_bad_broker_list_names_the_variable() {
    let form = "write HOST:PORT, separated by commas";
    for (brokers, why) in [
        ("kafka", "has no port"),
        ("kafka:0", "has no port from 1 to 65535"),
        ("kafka:9092,:9092", "has no host"),
        ("http://kafka:9092", "is no broker: there is no scheme, user or path in one"),
    ] {
        let shown = brokers.rsplit(',').next().unwrap();
        let expected = format!("BREAKWATER_KAFKA_BROKERS: {shown:?} {why}; {form}");
        check(&["breakwater", "ingest", "--pipeline", SHIPPED, "--kafka-brokers", brokers], &expected);
    }
    check(
        &["breakwater", "ingest", "--pipeline", SHIPPED],
        "BREAKWATER_KAFKA_BROKERS is not set; write HOST:PORT, separated by commas, there or as --kafka-brokers",
    );
}

#[test]
fn q05_a_bad_url_of_redis_names_the_variable_and_shows_no_secret() {
    let asked = ["breakwater", "run", "--pipeline", SHIPPED, "--kafka-brokers", "k:9092", "--redis-url"];
    for (url, shown) in [
        ("http://:hunter2@redis:6379", "http://***@redis:6379"),
        ("redis://user:hunter2@redis:notaport", "redis://***@redis:notaport"),
        ("hunter2", "***"),
    ] {
        let form = crate::memory::redis::link::FORMS;
        let args = [asked.as_slice(), &[url]].concat();
        check(&args, &format!("BREAKWATER_REDIS_URL: {shown} is no URL of Redis; write {form}"));
        let cli = Cli::try_parse_from(&args).unwrap();
        assert!(!format!("{cli:?}").contains("hunter2"));
    }
}

/// Asserts how the complaint about a command's further arguments begins.
fn refused(command: &[&str], args: &[&str], beginning: &str) {
    let cli = Cli::try_parse_from([command, args].concat()).map_err(|error| error.to_string()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    match runtime.block_on(start(cli.command)) {
        Err(Failure::Asked(told)) => assert!(told.starts_with(beginning), "{args:?}: {told}"),
        other => panic!("{args:?}: {other:?}"),
    }
}

#[test]
fn q05_who_may_come_in_is_told_whole_and_nothing_of_it_is_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("tokens"), "hunter2").unwrap();
    let (tokens, absent) = (path("tokens"), path("absent"));
    for (args, beginning) in [
        (
            &["--listen-auth", "tokens"][..],
            "BREAKWATER_LISTEN_TOKENS is not set; BREAKWATER_LISTEN_AUTH=tokens needs a file",
        ),
        (
            &["--listen-auth", "tokens", "--listen-tokens", &tokens],
            &format!("BREAKWATER_LISTEN_TOKENS: {tokens}:1: a token must"),
        ),
        (
            &["--listen-auth", "tokens", "--listen-tokens", &absent],
            &format!("BREAKWATER_LISTEN_TOKENS: {absent} is not there"),
        ),
        (
            &["--listen-tokens", &tokens],
            "BREAKWATER_LISTEN_TOKENS is set, and BREAKWATER_LISTEN_AUTH does not ask for it",
        ),
        (
            &["--listen-audience", "x"],
            "BREAKWATER_LISTEN_AUDIENCE is set, and BREAKWATER_LISTEN_AUTH does not ask for it",
        ),
        (&["--listen-auth", "kubernetes", "--kubeconfig", &absent], "KUBECONFIG: there is no file"),
        (&["--listen-tls-key", &tokens], "BREAKWATER_LISTEN_TLS_CERT is not set"),
        (&["--listen-tls-client-ca", &tokens], "BREAKWATER_LISTEN_TLS_CERT is not set"),
        (&["--listen-tls-cert", &tokens], "BREAKWATER_LISTEN_TLS_KEY is not set"),
        (
            &["--listen-tls-cert", &tokens, "--listen-tls-key", &tokens],
            &format!("BREAKWATER_LISTEN_TLS: {tokens} has no certificate in PEM"),
        ),
        (&["--trusted-proxies", "10.0.0.0/8,proxy"], "BREAKWATER_TRUSTED_PROXIES: \"proxy\" is no network; write"),
    ] {
        refused(&["breakwater", "ingest", "--pipeline", SHIPPED, "--kafka-brokers", "k:9092"], args, beginning);
    }
}

#[test]
fn q05_a_canary_that_could_not_sing_is_told_why() {
    for (args, beginning) in [
        (["--namespace", "../kube-system"], "BREAKWATER_CANARY_NAMESPACE: \"../kube-system\" is no namespace; write"),
        (["--every", "9s"], "BREAKWATER_CANARY_EVERY: \"9s\" is no span of at least 10s; write"),
        (["--door", "ftp://door"], "BREAKWATER_CANARY_DOOR: it is no URL"),
        (["--door", "https://me:hunter2@door"], "BREAKWATER_CANARY_DOOR: it is no URL, or one with a user; write"),
    ] {
        refused(&["breakwater", "canary"], &args, beginning);
    }
}

#[test]
fn j09_replicas_cannot_be_waited_for_in_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, "memory: { wait_replicas: 2 }").unwrap();
    let args = ["breakwater", "run", "--pipeline", file.to_str().unwrap(), "--kafka-brokers", "k:9092", "--redis-url"];
    let expected = "BREAKWATER_REDIS_URL: redis+cluster://***@redis:6379 is a cluster, where nobody can wait for replicas; \
                    set memory.wait_replicas to 0 in the pipeline file, not 2";
    check(&[args.as_slice(), &["redis+cluster://:hunter2@redis:6379"]].concat(), expected);
}

#[test]
fn q05_a_setting_of_the_pipeline_in_the_environment_is_refused() {
    let refuse = |name: &str| addresses::refuse_policy_in_environment([OsString::from(name)].into_iter());
    let Err(Failure::Asked(told)) = refuse("BREAKWATER_STORM_THRESHOLD") else { panic!("accepted") };
    let expected = "BREAKWATER_STORM_THRESHOLD: what is done has no place in the environment; \
                    set storm.threshold in the pipeline file";
    assert_eq!(told, expected);
    // What Kubernetes sets for a Service of our name is none of our business.
    for name in ["BREAKWATER_INGEST_SERVICE_HOST", "BREAKWATER_INGEST_PORT_8080_TCP", "BREAKWATER_LISTEN"] {
        assert!(refuse(name).is_ok());
    }
}

#[test]
fn g15_a_stage_without_its_pipeline_does_not_start() {
    check(
        &["breakwater", "ingest", "--pipeline", "absent.yaml", "--kafka-brokers", "k:9092"],
        "absent.yaml:1:1: the file is not there; name a pipeline, such as pipelines/alerts.yaml",
    );
}

#[test]
fn q07_an_unknown_subcommand_ends_with_64_and_names_the_nearest() {
    let refusal = Cli::command().try_get_matches_from(["breakwater", "ingst"]).unwrap_err().to_string();
    assert!(refusal.contains("a similar subcommand exists: 'ingest'"), "{refusal}");
    assert_eq!(code(&["breakwater", "ingst"]), code_of(64));
    assert_eq!(code(&["breakwater"]), code_of(64));
    assert_eq!(code(&["breakwater", "--help"]), code_of(0));
}

#[test]
fn q07_a_closed_pipe_is_no_failure() {
    struct Closed;
    impl Write for Closed {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    assert!(tell(&mut Closed, "x").is_ok());
}

#[test]
fn q07_what_is_printed_is_what_is_committed() {
    use clap::ValueEnum;
    let kept = |name: &str| {
        let path = format!("{}/schemas/{name}", env!("CARGO_MANIFEST_DIR"));
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    assert_eq!(print::crd().map_err(|_| ()), Ok(kept("crd.yaml")));
    assert_eq!(print::help(Cli::command()), kept("help.txt"));
    assert_eq!(crate::telemetry::metrics::table(), kept("metrics.md"));
    for name in schemas::Name::value_variants() {
        let file = format!("{}.v1.json", name.to_possible_value().unwrap().get_name());
        assert_eq!(name.print(), kept(&file), "{file}");
    }
}

#[test]
fn q09_each_value_is_shown_with_where_it_comes_from() {
    let args = ["breakwater", "print", "config", "--pipeline", SHIPPED, "--redis-url", "redis://:hunter2@redis:6379"];
    let matches = Cli::command().try_get_matches_from(args).unwrap();
    let Ok(Cli { command: Command::Print(Print::Config(asked)) }) = Cli::from_arg_matches(&matches) else {
        panic!("another command")
    };
    let Ok(config) = print::config(&asked, &matches) else { panic!("refused") };
    for line in [
        "BREAKWATER_REDIS_URL = redis://***@redis:6379 (flag)",
        "BREAKWATER_LISTEN = 127.0.0.1:8080 (default)",
        "topics.replication = the broker's default (default)",
    ] {
        assert!(config.lines().any(|told| told == line), "{line} in\n{config}");
    }
    assert!(config.contains("storm.hold = 2s (") && config.contains("alerts.yaml:"), "{config}");
    assert!(!config.contains("hunter2"));
}

#[test]
fn q01_shipped_pipelines_pass_their_shipped_tests_which_touch_every_rule_of_them() {
    use crate::replay::trial::{Coverage, Trial, run};
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines/tests");
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let mut touched = std::collections::BTreeMap::<String, (Pipeline, Coverage)>::new();
    for file in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        let name = file.display().to_string();
        assert_eq!(code(&["breakwater", "test", "--coverage", &name]), code_of(0), "{name}");
        let trial = Trial::parse(&name, &fs::read_to_string(&file).unwrap()).unwrap();
        let path = file.parent().unwrap().join(trial.pipeline.as_deref().expect("a shipped test names its pipeline"));
        let about = path.display().to_string();
        let read = || Pipeline::parse(&about, &fs::read_to_string(&path).unwrap()).unwrap();
        let entry = touched.entry(about.clone()).or_insert_with(|| (read(), Coverage::default()));
        let pipeline = std::sync::Arc::new(entry.0.clone());
        for case in &trial.cases {
            runtime.block_on(run(case, &pipeline, &mut entry.1)).unwrap();
        }
    }
    let shipped = fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/pipelines")).unwrap();
    let shipped = shipped.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(".yaml"));
    assert_eq!(touched.len(), shipped.count(), "each shipped pipeline has a test: {:?}", touched.keys());
    for (about, (pipeline, coverage)) in touched {
        assert_eq!(coverage.untouched(&pipeline), [""; 0], "{about}");
    }
}

#[cfg(feature = "rego")]
#[test]
fn q06_a_pipeline_is_tested_with_the_rego_file_that_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("p.yaml"), "priority: { rego: { file: p.rego } }").unwrap();
    fs::write(path("p.rego"), "package breakwater\ndefault priority := \"P3\"").unwrap();
    let case = |priority: &str| {
        let expect = format!("expect: [{{ priority: {priority} }}]");
        format!("pipeline: p.yaml\ncases: [{{ name: x, alerts: [{{ labels: {{ alertname: A }} }}], {expect} }}]")
    };
    fs::write(path("met.yaml"), case("P3")).unwrap();
    fs::write(path("missed.yaml"), case("P0")).unwrap();
    assert_eq!(code(&["breakwater", "test", "--coverage", &path("met.yaml")]), code_of(0));
    assert_eq!(code(&["breakwater", "test", &path("missed.yaml")]), code_of(1));
}

#[test]
fn q06_a_missed_expectation_ends_with_1_and_a_broken_file_with_64() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let case = "cases: [{ name: x, alerts: [{ labels: { alertname: A } }], expect: [] }]";
    fs::write(path("missed.yaml"), case).unwrap();
    fs::write(path("broken.yaml"), "cases: [{ name: x }]").unwrap();
    fs::write(path("lost.yaml"), format!("pipeline: nowhere.yaml\n{case}")).unwrap();
    assert_eq!(code(&["breakwater", "test", &path("missed.yaml")]), code_of(1));
    assert_eq!(code(&["breakwater", "test", &path("broken.yaml")]), code_of(64));
    assert_eq!(code(&["breakwater", "test", &path("lost.yaml")]), code_of(64));
}
