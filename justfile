# The workshop. The doors that everybody uses are the scripts of package.json; the recipes of the same name open those.

bun := `command -v bun >/dev/null 2>&1 && echo bun || echo npx -y bun@1.4.5`

# List the recipes
_default:
    @{{ just_executable() }} --justfile {{ justfile() }} --list --unsorted

# Types, lint, format, unused code: what CI runs first
[group('every day')]
check:
    {{ bun }} run check

# Everything, a real API server included; arguments go to bun test
[group('every day')]
test *args:
    {{ bun }} run test {{ args }}

# The pure tests, which need no other program and run wherever Bun does
[group('every day')]
test-pure *args:
    {{ bun }} test --timeout=30000 ./src {{ args }}

# Make ./transporter
[group('every day')]
build:
    {{ bun }} run build

# Format everything in place
[group('every day')]
format:
    {{ bun }} x --bun --no-install oxfmt

# A cluster, a control plane, an agent and a first event
[group('every day')]
quickstart *args:
    {{ bun }} run quickstart {{ args }}

# Control plane and agent from source against the sandbox, with debug logs, until Ctrl-C
[group('every day')]
dev *args:
    {{ bun }} scripts/dev.ts {{ args }}

# What stands in the way of a part of Transporter here: cp, agent or send
[group('every day')]
doctor part="send" *args:
    {{ bun }} bin/transporter.ts doctor {{ part }} {{ args }}

# Two kind clusters talking: charts installed, an agent enrolled, events sent, trouble made, taken down; --keep leaves them
[group('clusters')]
e2e-kind *args:
    {{ bun }} run e2e-kind {{ args }}

# Two kind clusters with control plane and agent, which stay
[group('clusters')]
kind-up *args:
    {{ bun }} scripts/kind.ts up {{ args }}

# One kind cluster with both, which stays
[group('clusters')]
kind-all *args:
    {{ bun }} scripts/kind.ts all {{ args }}

# Take down what the kind recipes left
[group('clusters')]
kind-down *args:
    {{ bun }} scripts/kind.ts down {{ args }}

# An image for kind's nodes where none can be pulled, made of packages and Go modules; Linux and root. Then: just e2e-kind --node-image NAME
[group('clusters')]
kind-node-image *engine:
    {{ bun }} scripts/kind-node-image.ts {{ engine }}

# The same as e2e-kind on two real clusters with real pods that this machine makes itself; needs Linux and root
[group('clusters')]
e2e-local *args:
    {{ bun }} run e2e-local {{ args }}

# The tests with their full counts; takes long
[group('proofs')]
prove *args:
    {{ bun }} run prove {{ args }}

# Seeded runs of the shipped control plane and agent in a hostile world: --seeds N, or --seed N --trace for one again
[group('proofs')]
simulate *args:
    {{ bun }} run simulate {{ args }}

# Measure the executable
[group('proofs')]
bench *args:
    {{ bun }} run bench {{ args }}

# Take every check of the security room away, one at a time: a test must notice each. Takes long; names of files narrow it
[group('proofs')]
mutate *args:
    {{ bun }} scripts/mutate.ts {{ args }}

# Known faults of the packages, their licences, and the bill of materials
[group('supply')]
supply: audit licences sbom

# Known faults of the packages, as the registry has them
[group('supply')]
audit:
    {{ bun }} scripts/audit.ts

# Licences of all packages against those that are allowed
[group('supply')]
licences:
    {{ bun }} scripts/licences.ts

# The bill of materials, CycloneDX
[group('supply')]
sbom file="transporter.cdx.json":
    {{ bun }} scripts/sbom.ts {{ file }}

# Executables for every platform into dist/, or for those that are named (linux-arm64, …), with checksums; --sbom adds the bill of materials
[group('release')]
build-all *args:
    {{ bun }} scripts/build-all.ts {{ args }}

# The image as dist/transporter-image-ARCH.tar, without a registry: --arch amd64|arm64, --tag NAME, --engine NAME, --sizes
[group('release')]
image *args:
    {{ bun }} scripts/image.ts {{ args }}

# Both charts through helm lint --strict
[group('release')]
charts-lint *args:
    {{ bun }} scripts/charts.ts lint {{ args }}

# Both charts as .tgz into dist/charts
[group('release')]
charts-package *args:
    {{ bun }} scripts/charts.ts package {{ args }}

# Both charts into an OCI registry
[group('release')]
charts-push registry *args:
    {{ bun }} scripts/charts.ts push {{ registry }} {{ args }}

# Executables, charts, image archives, bill of materials, notes and checksums into dist/release: --targets all --images amd64,arm64
[group('release')]
release *args:
    {{ bun }} scripts/release.ts {{ args }}

# Whether a directory of a release is whole
[group('release')]
release-verify directory="dist/release":
    {{ bun }} scripts/release.ts --verify {{ directory }}

# What the changelog says about this version
[group('release')]
release-notes:
    {{ bun }} scripts/release.ts --notes

# The version that every file must agree on: --tag vX.Y.Z holds a tag to it
[group('release')]
release-version *args:
    {{ bun }} scripts/release.ts --versions {{ args }}

# One tar for a site without internet, dist/transporter-VERSION-airgapped.tar, of the release in dist/release
[group('release')]
bundle *args:
    {{ bun }} scripts/release.ts --bundle {{ args }}

# The image for every platform by docker buildx, its bases by digest: REPOSITORY TAG…; --push puts it into the registry
[group('publish')]
image-multi repository *args:
    {{ bun }} scripts/publish.ts image {{ repository }} {{ args }}

# Sign what was pushed, without a key, as the workflow that runs it: REPOSITORY@sha256:…
[group('publish')]
sign *references:
    {{ bun }} scripts/publish.ts sign {{ references }}

# A release's page with everything in a directory: TAG
[group('publish')]
release-publish tag directory="dist/release" *files:
    {{ bun }} scripts/publish.ts release {{ tag }} {{ directory }} {{ files }}
