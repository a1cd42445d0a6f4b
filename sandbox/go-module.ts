/** The files of a Go module that a go.mod of ours requires, in Go's module cache; downloads what is not there. Only what go.sum has is taken. */
export async function goModuleDirectory(directory: string, module: string): Promise<string> {
  const go = Bun.which("go");
  if (go === null) throw new Error(`the files of ${module} come as a Go module, and Go is not on PATH`);
  const download = Bun.spawn([go, "mod", "download", "-json", module], {
    cwd: directory,
    env: { ...process.env, GOWORK: "off", GOFLAGS: "-mod=readonly" },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, code] = await Promise.all([download.stdout.text(), download.stderr.text(), download.exited]);
  const answer: unknown = code === 0 || stdout.trim() !== "" ? JSON.parse(stdout) : {};
  const found = typeof answer === "object" && answer !== null && "Dir" in answer ? answer.Dir : undefined;
  if (code !== 0 || typeof found !== "string") throw new Error(`${module} cannot be downloaded: ${(stderr || stdout).trim()}`);
  return found;
}
