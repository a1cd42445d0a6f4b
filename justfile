# The workshop. The doors that everybody uses are the scripts of package.json; the recipes of the same name open those.

bun := `command -v bun >/dev/null 2>&1 && echo bun || echo npx -y bun@1.4.5`

# List the recipes
_default:
    @{{ just_executable() }} --justfile {{ justfile() }} --list --unsorted

# Types, lint, format, unused code: what CI runs first
check:
    {{ bun }} run check

# Everything, a real API server included; arguments go to bun test
test *args:
    {{ bun }} run test {{ args }}

# The tests with their full counts; takes long
prove *args:
    {{ bun }} run prove {{ args }}

# Seeded runs of the shipped control plane and agent in a hostile world: --seeds N, or --seed N --trace for one again
simulate *args:
    {{ bun }} run simulate {{ args }}

# Measure the executable
bench *args:
    {{ bun }} run bench {{ args }}

# Make ./transporter
build:
    {{ bun }} run build

# A cluster, a control plane, an agent and a first event
quickstart *args:
    {{ bun }} run quickstart {{ args }}

# Control plane and agent from source against the sandbox, with debug logs, until Ctrl-C
dev *args:
    {{ bun }} scripts/dev.ts {{ args }}

# What stands in the way of a part of Transporter here: cp, agent or send
doctor part="send" *args:
    {{ bun }} bin/transporter.ts doctor {{ part }} {{ args }}

# Format everything in place
format:
    {{ bun }} x --bun --no-install oxfmt

# Take every check of the security room away, one at a time: a test must notice each. Takes long; names of files narrow it
mutate *args:
    {{ bun }} scripts/mutate.ts {{ args }}

# Known faults of the packages, their licences, and the bill of materials
supply: audit licences sbom

# Known faults of the packages, as the registry has them
audit:
    {{ bun }} scripts/audit.ts

# Licences of all packages against those that are allowed
licences:
    {{ bun }} scripts/licences.ts

# The bill of materials, CycloneDX
sbom file="transporter.cdx.json":
    {{ bun }} scripts/sbom.ts {{ file }}
