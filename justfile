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

# The manifests, as they would be applied
manifests:
    @kubectl kustomize --load-restrictor LoadRestrictionsNone deploy
