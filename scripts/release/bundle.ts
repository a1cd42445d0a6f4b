import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { MANIFEST, type Manifest, readManifest } from "./manifest.ts";
import { type TarEntry, writeTar } from "./tar.ts";
import { CHARTS } from "./versions.ts";

/** What has to be in it, or the site without internet would find out what is missing. */
function faultsOf({ artifacts, version }: Manifest): string[] {
  const has = (kind: string): boolean => artifacts.some((one) => one.kind === kind);
  const charts = CHARTS.filter((chart) => !artifacts.some(({ name }) => name === `${chart}-${version}.tgz`));
  return [
    ...(has("image") ? [] : ["no archive of the image"]),
    ...(has("executable") ? [] : ["no executable"]),
    ...charts.map((chart) => `no chart ${chart}`),
  ];
}

export function controlPlaneValues(version: string): string {
  return `# helm install transporter-cp ./transporter-cp-${version}.tgz --namespace transporter-system --create-namespace --values values-cp.yaml
image:
  # The registry inside, where the image was pushed to. Where it was imported on the nodes instead, leave the name as it is and keep
  # pullPolicy.
  repository: registry.example.internal/transporter
  tag: "${version}"
  pullPolicy: IfNotPresent
service:
  type: NodePort
  nodePort: 30080
  agentsNodePort: 30443
security:
  # What others call it: a name or address of a node.
  names:
    - cp.example.internal
`;
}

export function agentValues(version: string): string {
  return `# helm install transporter-agent ./transporter-agent-${version}.tgz --namespace transporter-system --create-namespace --values values-agent.yaml
image:
  repository: registry.example.internal/transporter
  tag: "${version}"
  pullPolicy: IfNotPresent
agent:
  agentID: agent-1
  cpURL: https://cp.example.internal:30443
  # As the notes of the control plane's chart show it.
  caHash: sha256:${"0".repeat(64)}
enrolment:
  # transporter token create --agent agent-1 --ttl 1h -o token |
  #   kubectl -n transporter-system create secret generic transporter-enrolment --from-file=token=/dev/stdin
  existingSecret: transporter-enrolment
`;
}

function readme({ version, commit, image, artifacts }: Manifest): string {
  const images = artifacts.filter(({ kind }) => kind === "image");
  const [first = "ARCHIVE", ...others] = images.map(({ name }) => name);
  const inside = `registry.example.internal/transporter:${version}`;
  const processors = images.map(({ platform = "" }) => platform.replace("linux-", ""));
  const several = `
Where nodes have several kinds of processor, all of them under one name:

    podman manifest create ${inside}
    for arch in ${processors.join(" ")}; do
      podman load --input transporter-${version}-image-linux-$arch.tar
      podman tag ${image} ${inside}-$arch
      podman push ${inside}-$arch
      podman manifest add ${inside} docker://${inside}-$arch
    done
    podman manifest push --all ${inside} docker://${inside}
`;
  return `# Transporter ${version} for a site without internet

Made from commit ${commit}. Nothing in here asks anything outside: carry the directory in, check it, load the image, install the charts.

## Check what arrived

    sha256sum --check SHA256SUMS

SHA256SUMS itself is what you compare, by another way, with that of the release's page.

## Give the image to the clusters

One archive for each kind of processor: take that of your nodes. ${image} is the name inside. Into a registry of yours:

    podman load --input ${first}
    podman tag ${image} ${inside}
    podman push ${inside}

\`docker load\`, \`tag\` and \`push\` do the same.
${others.length > 0 ? several : ""}
Or, without a registry, on each node with containerd:

    ctr --namespace k8s.io images import ${first}

and leave \`image.repository\` out of the values.

## Install

    helm install transporter-cp ./transporter-cp-${version}.tgz --namespace transporter-system --create-namespace --values values-cp.yaml
    helm install transporter-agent ./transporter-agent-${version}.tgz --namespace transporter-system --create-namespace --values values-agent.yaml

The charts' notes say the next command each time. \`transporter\` for your own machine is in transporter-${version}-PLATFORM.tar.gz.

Documentation: docs/install.md of the release's sources, section for sites without internet.
`;
}

/** One tar with everything that a site without internet has to carry in, below one directory. */
export async function writeBundle(directory: string, path: string): Promise<void> {
  const manifest = readManifest(await Bun.file(join(directory, MANIFEST)).text());
  const missing = faultsOf(manifest);
  if (missing.length > 0) throw new Error(`${directory} cannot be carried in: ${missing.join(", ")}`);
  const { version, created } = manifest;
  const below = `transporter-${version}-airgapped`;
  const files = (await readdir(directory)).map((name): TarEntry => ({
    name: `${below}/${name}`,
    content: { path: join(directory, name) },
  }));
  const texts = { "README.md": readme(manifest), "values-cp.yaml": controlPlaneValues(version), "values-agent.yaml": agentValues(version) };
  const added = Object.entries(texts).map(([name, text]): TarEntry => ({ name: `${below}/${name}`, content: { text } }));
  // What is in it is compressed already.
  await writeTar(path, [...files, ...added], { atSeconds: Date.parse(created) / 1000, gzip: false });
}
