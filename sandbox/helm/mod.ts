/** What charts are proven with: helm, kubeconform, a registry on 127.0.0.1, and the definitions of custom resources that charts may make objects of. */
import { access } from "node:fs/promises";
import { join } from "node:path";
import { goModuleDirectory } from "../go-module.ts";
import { GoPrograms } from "../go-programs.ts";

/** Unstamped, helm takes itself for one of Kubernetes 1.20, and renders charts for that. */
function helmStamp(version: string): string {
  const stamps = { "internal/version.version": version };
  const kubernetes = ["pkg/chartutil", "pkg/lint/rules"].flatMap((place) => [
    [`${place}.k8sVersionMajor`, "1"],
    [`${place}.k8sVersionMinor`, "35"],
  ]);
  return [...Object.entries(stamps), ...kubernetes].map(([name, value]) => `-X helm.sh/helm/v3/${name}=${value}`).join(" ");
}

export const HELM = new GoPrograms({
  directory: import.meta.dir,
  packages: { helm: "helm.sh/helm/v3/cmd/helm", registry: "github.com/google/go-containerregistry/cmd/registry" },
  versionOf: "helm.sh/helm/v3",
  stamp: helmStamp,
  label: "Helm",
  prefix: "helm-",
  cost: "With nothing cached, 2 cores and a fast connection, expect 3 to 4 minutes.",
});

export const KUBECONFORM = new GoPrograms({
  directory: join(import.meta.dir, ".."),
  packages: { kubeconform: "github.com/yannh/kubeconform/cmd/kubeconform" },
  versionOf: "github.com/yannh/kubeconform",
  label: "kubeconform",
  prefix: "kubeconform-",
  cost: "Takes ten seconds.",
});

/** Module to the files in it. TLSRoute is in the experimental channel only. */
const DEFINITIONS = {
  "github.com/prometheus-operator/prometheus-operator": [
    "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
  ],
  "sigs.k8s.io/gateway-api": [
    "config/crd/standard/gateway.networking.k8s.io_gateways.yaml",
    "config/crd/standard/gateway.networking.k8s.io_httproutes.yaml",
    "config/crd/standard/gateway.networking.k8s.io_backendtlspolicies.yaml",
    "config/crd/experimental/gateway.networking.k8s.io_tlsroutes.yaml",
  ],
  "github.com/cert-manager/cert-manager": ["deploy/crds/cert-manager.io_certificates.yaml", "deploy/crds/cert-manager.io_issuers.yaml"],
} as const;

const DEFINITIONS_MODULE = join(import.meta.dir, "crds");

/** Files with CustomResourceDefinitions, from Go's module cache; downloads what is not there. */
export async function definitionFiles(): Promise<readonly string[]> {
  const files: string[] = [];
  for (const [module, paths] of Object.entries(DEFINITIONS)) {
    const directory = await goModuleDirectory(DEFINITIONS_MODULE, module);
    for (const path of paths) {
      await access(join(directory, path));
      files.push(join(directory, path));
    }
  }
  return files;
}
