export interface KubectlOptions {
  /** Standard input. */
  readonly input?: string;
  /** Instead of the cluster's administrator. */
  readonly kubeconfigPath?: string;
}

export interface KubectlResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** Runs kubectl against exactly this kubeconfig and never another; whatever it answers is the result. */
export async function runKubectl(
  kubectlPath: string,
  kubeconfigPath: string,
  homeDirectory: string,
  args: readonly string[],
  input?: string,
): Promise<KubectlResult> {
  const child = Bun.spawn([kubectlPath, "--kubeconfig", kubeconfigPath, ...args], {
    // HOME holds kubectl's discovery cache, which must not be the user's.
    env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin", HOME: homeDirectory },
    stdin: input === undefined ? "ignore" : Buffer.from(input),
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, exitCode] = await Promise.all([child.stdout.text(), child.stderr.text(), child.exited]);
  return { exitCode, stdout, stderr };
}
