import { join } from "node:path";
import { ROOT } from "../run.ts";
import type { Journey } from "./journey.ts";
import { configMap } from "./manifests.ts";
import { connected } from "./steps-install.ts";
import { SHOP } from "./values.ts";
import type { Step } from "./walk.ts";

const PAGE = "docs/operations.md";
const POD = "examples/helm/restore-pod.yaml";

/** The page's commands for a cluster: what makes the backup, and what puts it back. */
async function commands(journey: Journey): Promise<{ readonly backUp: string; readonly putBack: string }> {
  const page = await Bun.file(join(ROOT, PAGE)).text();
  const block = [...page.matchAll(/^```bash\n([\s\S]*?)^```$/gm)].map((match) => match[1] ?? "").find((text) => text.includes(POD));
  const [backUp, ...putBack] = (block ?? "").trim().split("\n\n");
  if (backUp === undefined || putBack.length === 0) throw new Error(`${PAGE} has no commands that back up, and put back by ${POD}`);
  const image = /^( +image: ).+$/m;
  const pod = (await Bun.file(join(ROOT, POD)).text()).replace(image, `$1${journey.image}`);
  return { backUp, putBack: putBack.join("\n").replace(POD, await journey.file("restore-pod.yaml", pod)) };
}

export const backupAndRestore: Step = {
  name: "a backup by kubectl exec, put back by a pod, both as the docs have them: what was before it is there, what came after it is not",
  async run(journey) {
    const { cp } = journey.ground;
    const { backUp, putBack } = await commands(journey);
    const place = await journey.file("backup-place", "");
    await journey.send("before-backup", configMap("before-backup", SHOP, { a: "1" }));
    await journey.completed("before-backup");
    // In the page it goes into the directory where one stands.
    await must(journey, backUp.replaceAll("cp-backup.db", `${place}.db`));
    const backup = Bun.file(`${place}.db`);
    if (!(await backup.text()).startsWith("SQLite format 3")) throw new Error("kubectl exec wrote no backup");
    await journey.send("after-backup", configMap("after-backup", SHOP, { a: "1" }));
    await journey.completed("after-backup");

    const said = await must(journey, putBack.replaceAll("cp-backup.db", `${place}.db`));
    if (!said.includes("Restored sqlite:")) throw new Error(`the pod did not say that it restored:\n${said}`);
    await journey.until("the control plane", () => journey.event("before-backup"));
    const gone = await journey.tryTransporter(["describe", "event", "after-backup"]);
    if (!gone.stderr.includes("EVENT_NOT_FOUND")) throw new Error(`the event after the backup: ${gone.stdout}${gone.stderr}`);
    await connected(journey);
    // The agent has it done: sent again it is answered from the ledger.
    await journey.send("after-backup", configMap("after-backup", SHOP, { a: "1" }));
    await journey.completed("after-backup");
    return `${backup.size} bytes, from ${cp.name} and back`;
  },
};

async function must(journey: Journey, script: string): Promise<string> {
  const { exitCode, stdout, stderr } = await journey.ground.cp.bash(script);
  if (exitCode !== 0) throw new Error(`it ended with ${exitCode}:\n${script}\n${stdout}${stderr}`);
  return stdout + stderr;
}
