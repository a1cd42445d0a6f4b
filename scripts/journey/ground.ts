/** What a program wrote and how it ended. */
export interface Ran {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** A cluster of the journey's own. */
export interface GroundCluster {
  readonly name: string;
  /** Where pods of the other cluster reach its node, and with it every NodePort. */
  readonly nodeAddress: string;
  /** As its administrator, whatever the exit code. */
  kubectl(args: readonly string[], input?: string): Promise<Ran>;
  helm(args: readonly string[]): Promise<Ran>;
  /** Commands of a page, with its kubectl and helm in front of the user's. */
  bash(script: string): Promise<Ran>;
  /** Puts the images of an archive (`docker save`, `podman save`) where its pods find them. */
  loadImage(archivePath: string): Promise<void>;
}

/** What cuts the way between the two clusters, and makes it whole again. */
export interface Link {
  cut(): Promise<void>;
  heal(): Promise<void>;
}

/** Where the journey takes place. In the form with one cluster both names mean the same one. */
export interface Ground {
  /** For people, one sentence. */
  readonly description: string;
  readonly cp: GroundCluster;
  readonly agent: GroundCluster;
  /** Port of 127.0.0.1 that leads to a NodePort of the control plane's cluster. */
  hostPort(nodePort: number): Promise<number>;
  /** Absent where a volume is made for whoever claims one. */
  readonly makeVolumes?: (() => Promise<void>) | undefined;
  readonly link?: Link | undefined;
}

/** Runs a program with nothing of the user's environment but PATH, and a home of its own. */
export async function runProgram(
  command: readonly string[],
  options: { readonly home: string; readonly env?: Readonly<Record<string, string>>; readonly input?: string | undefined },
): Promise<Ran> {
  const child = Bun.spawn([...command], {
    env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: options.home, ...options.env },
    stdin: options.input === undefined ? "ignore" : Buffer.from(options.input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { exitCode, stdout, stderr };
}

export interface ClusterPrograms {
  readonly name: string;
  readonly kubeconfigPath: string;
  readonly kubectlPath: string;
  readonly helmPath: string;
  /** For what the two programs keep. */
  readonly home: string;
}

/** kubectl and helm held to one cluster, whatever the user's own configuration says. */
export function clusterPrograms(programs: ClusterPrograms): Pick<GroundCluster, "kubectl" | "helm" | "bash"> {
  const { kubeconfigPath, home } = programs;
  return {
    kubectl: (args, input) => runProgram([programs.kubectlPath, "--kubeconfig", kubeconfigPath, ...args], { home, input }),
    helm: (args) => runProgram([programs.helmPath, "--kubeconfig", kubeconfigPath, ...args], { home }),
    bash: (script) =>
      runProgram(
        [
          "bash",
          "-euo",
          "pipefail",
          "-c",
          `kubectl() { '${programs.kubectlPath}' "$@"; }\nhelm() { '${programs.helmPath}' "$@"; }\n${script}`,
        ],
        {
          home,
          env: { KUBECONFIG: kubeconfigPath },
        },
      ),
  };
}
