use super::*;

const POLICY: DedupPolicy = DedupPolicy {
    ttl: Duration::from_secs(300),
    cooldown: Duration::ZERO,
    twin_window: Duration::ZERO,
    update_interval: Duration::from_secs(30),
    shards: 1,
};

/// `f@0` fires at 0 s, `f!@0` critically, `r@0` is resolved, `c@5` ends what was there until then, `=2` brings record
/// number 2 again. Answers: N new, d duplicate, r resolved, c closed, n new again, - read before, ! too many.
fn run(script: &str, policy: &DedupPolicy, unfinished: bool) -> (String, Memo) {
    let mut memo = Memo::default();
    let mut log: Vec<Sighting> = Vec::new();
    let mut answers = String::new();
    for word in script.split_whitespace() {
        let sighting = if let Some(number) = word.strip_prefix('=') {
            log[number.parse::<usize>().unwrap()].clone()
        } else {
            let read = read(word, i64::try_from(log.len()).unwrap());
            log.push(read.clone());
            read
        };
        let rules = Rules { policy, hold: Duration::from_secs(2), unfinished: &|_| unfinished };
        answers.push(match memo.apply(&sighting, &rules) {
            Ok(Answer::Opens { again: false, .. }) => 'N',
            Ok(Answer::Opens { again: true, .. }) => 'n',
            Ok(Answer::Duplicate) => 'd',
            Ok(Answer::Resolved) => 'r',
            Ok(Answer::Closed) => 'c',
            Ok(Answer::Again) => '-',
            Err(TooMany) => '!',
        });
    }
    (answers, memo)
}

fn read(word: &str, offset: i64) -> Sighting {
    let (what, at) = word.split_once('@').unwrap();
    let at = EventTime(at.parse::<i64>().unwrap() * 1000);
    let group = GroupId([0; 16]);
    let starts_at = Some(EventTime(0));
    let firing = |rank, name: &str| {
        What::Firing(Firing { severity: Severity { rank, name: name.into(), priority: None }, starts_at, group })
    };
    let what = match what {
        "f" => firing(1, "warning"),
        "f!" => firing(2, "critical"),
        "r" => What::Resolved { starts_at, group },
        _ => What::Closed { through: at },
    };
    Sighting { position: Position { partition: 0, offset }, at, what: what.into() }
}

fn check(script: &str, expected: &str) -> Memo {
    let (answers, memo) = run(script, &POLICY, false);
    assert_eq!(answers, expected, "{script}");
    memo
}

#[test]
fn a_repeat_is_never_a_second_incident() {
    let memo = check("f@0 f@1 f@2", "Ndd");
    assert_eq!(memo.current().unwrap().count, 3);
}

#[test]
fn e05_each_repeat_moves_the_ttl() {
    check("f@0 f@240 f@480 f@781", "NddN");
}

#[test]
fn e12_what_is_read_again_is_answered_as_before_and_counted_once() {
    let memo = check("f@0 f@1 =0 =1 f@2 =0 =2", "Ndn-dn-");
    assert_eq!(memo.current().unwrap().count, 3);
}

#[test]
fn e13_two_incidents_in_one_stretch_are_two_again() {
    let memo = check("f@0 c@1 f@2 =0 =1 =2", "NcNn-n");
    assert_eq!(memo.runs.len(), 2);
}

#[test]
fn a_third_incident_waits_for_the_first_to_be_finished() {
    let (answers, _) = run("f@0 c@1 f@2 c@3 f@4", &POLICY, true);
    assert_eq!(answers, "NcNc!");
    check("f@0 c@1 f@2 c@3 f@4", "NcNcN");
}

#[test]
fn a_topic_made_anew_is_no_redelivery() {
    let mut memo = check("f@0 f@1 f@2", "Ndd");
    let rules = Rules { policy: &POLICY, hold: Duration::ZERO, unfinished: &|_| false };
    assert_eq!(memo.apply(&read("f@60", 0), &rules), Ok(Answer::Duplicate), "offset 0 again, but later");
}

#[test]
fn k08_a_fingerprint_from_several_partitions_is_one_incident() {
    let mut memo = Memo::default();
    let rules = Rules { policy: &POLICY, hold: Duration::ZERO, unfinished: &|_| false };
    for turn in 0..2 {
        for partition in 0..4 {
            let mut sighting = read("f@7", 0);
            sighting.position.partition = partition;
            let answer = memo.apply(&sighting, &rules).unwrap();
            assert_eq!(answer == Answer::Duplicate, turn == 0 && partition > 0, "{turn} {partition}");
        }
    }
    assert_eq!(memo.current().unwrap().count, 4);
}

#[test]
fn e17_a_resolve_is_noted_and_a_later_firing_clears_it() {
    assert_eq!(check("f@0 r@9", "Nr").current().unwrap().resolved_at, Some(EventTime(9000)));
    let memo = check("f@0 r@9 f@10", "Nrd");
    assert_eq!((memo.current().unwrap().resolved_at, memo.current().unwrap().count), (None, 2));
}

#[test]
fn a12_a_resolve_of_the_unknown_opens_nothing() {
    check("r@0 f@1", "rN");
}

#[test]
fn e14_a_cooldown_delays_and_never_drops() {
    let policy = DedupPolicy { cooldown: Duration::from_secs(60), ..POLICY };
    let (answers, memo) = run("f@0 c@10 f@15 r@30", &policy, false);
    assert_eq!(answers, "NcNr");
    assert_eq!(memo.current().unwrap().due, EventTime(70_000));
}

#[test]
fn e09_a_firing_after_the_end_is_new_and_one_from_before_it_is_not() {
    check("f@0 c@9 f@10", "NcN");
    check("f@0 c@9 f@8", "Ncd");
}

#[test]
fn e20_the_highest_severity_stays() {
    let memo = check("f@0 f!@1 f@2", "Ndd");
    assert_eq!(memo.current().unwrap().severity.name, "critical");
}

#[test]
fn e21_twins_count_once_within_their_window() {
    let policy = DedupPolicy { twin_window: Duration::from_secs(10), ..POLICY };
    assert_eq!(run("f@0 f@1", &policy, false).1.current().unwrap().count, 1);
    assert_eq!(run("f@0 f@11", &policy, false).1.current().unwrap().count, 2);
    assert_eq!(run("f@0 f@1", &POLICY, false).1.current().unwrap().count, 2, "off by default");
}

#[test]
fn e12_a_leader_whose_clock_is_behind_makes_no_redelivery_a_duplicate() {
    check("f@100 f@90 =0 =1", "Ndn-");
}

#[test]
fn a_resolve_of_the_unknown_opens_nothing_when_it_is_read_again() {
    check("r@0 =0", "r-");
}

#[test]
fn e15_an_incident_that_waits_for_its_cooldown_is_live_until_it_is_out() {
    let policy = DedupPolicy { cooldown: Duration::from_secs(900), ..POLICY };
    assert_eq!(run("f@0 c@10 f@20 f@400 f@1200 f@1501", &policy, false).0, "NcNddN");
}
