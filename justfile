_default:
    @just --list --unsorted

# All three rings: unit, sim, and real against Kafka, Redis and an API server
test *args:
    integration/test {{args}}

# The rings that need no server: seconds
quick *args:
    cargo test --locked --lib --bins --test sim {{args}}

# Ring three: real servers, our binary as processes; tests by name, as in: just prove e07_
prove *args:
    integration/test --test real {{args}}

# Breaks everything under load for so long, and judges: just chaos --seconds 600 --seed 7
chaos *args:
    integration/chaos {{args}}

# Pairs of faults without a server, in virtual time: just pairs 5000 begins where another run ended
pairs seed='0' many='1000':
    BREAKWATER_SIM_SEED={{seed}} BREAKWATER_SIM_SEEDS={{many}} cargo test --locked --test sim r02_

# 8 judges, each killed or asked to end 16 times, while 100 000 numbered alerts pass; then every one is judged
interrupted seed='16':
    BREAKWATER_INTERRUPTED_JUDGES=8 BREAKWATER_INTERRUPTED_TIMES=16 BREAKWATER_INTERRUPTED_ALERTS=100000 \
        BREAKWATER_CHAOS_SEED={{seed}} integration/test --test real -- --nocapture interrupted::

# 10 minutes without an API server while 200 000 alerts of 1 000 incidents arrive, and Redis forgets everything half-way
outage:
    BREAKWATER_OUTAGE_ALERTS=200000 BREAKWATER_OUTAGE_INCIDENTS=1000 BREAKWATER_OUTAGE_SECONDS=600 \
        integration/test --test real -- --nocapture outage::

# An hour of 50 000 records, 300 incidents and 5 storms: its objects are lost, and come back as they were
hour:
    BREAKWATER_HOUR_RECORDS=50000 integration/test --test real -- --nocapture replay::hour::

# Live alerts beside replays of 100 000 records: how long the slowest hundredth takes, with and without
beside:
    BREAKWATER_BESIDE_ROUNDS=7 BREAKWATER_BESIDE_FIRINGS=190 integration/test --test real -- --nocapture replay::measured::beside::

# A replay of 1 000 000 records, optimised: its rate and memory, beside the rate of reading them and no more
million:
    cargo build --release --locked
    BREAKWATER_MILLION_PROGRAM="{{ env('CARGO_TARGET_DIR', justfile_directory() / 'target') }}/release/breakwater" \
        BREAKWATER_MILLION_RECORDS=1000000 BREAKWATER_MILLION_TIMES=3 integration/test --test real -- --nocapture replay::million::

# All tests three times: what is flaky is broken
thrice *args:
    for n in 1 2 3; do integration/test {{args}} || exit 1; done

# What a judgement costs: matrix, CEL and Rego in one run, as shipped and at the worst
policy-cost:
    cargo bench --locked --features rego --bench policy

# Formats, lints, checks what is generated
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets --features crash-points,rego -- -D warnings
    integration/gen check

# Writes what the program prints about itself into schemas/
gen:
    integration/gen write

# Compares schemas/ with what the program prints
gen-check:
    integration/gen check

# Licences, doubled crates, sources
deny:
    cargo deny --locked check licenses bans sources

# What CI does, whole
ci:
    .ci/run

# The manifests of an overlay, as they would be applied: just manifests production
manifests overlay="base":
    @kubectl kustomize --load-restrictor LoadRestrictionsNone deploy/{{overlay}}

# The status page in a real Chromium: a storm is sent and grows on it; pictures of light, dark and phone go to DIR
look dir:
    cargo build --locked --features crash-points,rego
    integration/look {{dir}}
