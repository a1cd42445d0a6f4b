import { expect, test } from "bun:test";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { manualPorts } from "../../kit/mod.ts";
import { REDACTED, redactText } from "../../redaction/mod.ts";
import { loadKubeAccess } from "./load-access.ts";

test("the token of the account is shown to nobody while it is used; the one before it is forgotten", async () => {
  const accountDir = await mkdtemp(join(tmpdir(), "transporter-account-"));
  try {
    const [first, second] = ["first-account-word", "second-account-word"];
    await writeFile(join(accountDir, "token"), `${first}\n`);
    await writeFile(join(accountDir, "ca.crt"), "ca");
    const access = await loadKubeAccess({ inCluster: { host: "127.0.0.1", port: "1", accountDir }, ports: manualPorts().ports });
    expect(redactText(`said ${first}`)).toBe(`said ${first}`);
    expect((await access.credentials()).headers["authorization"]).toBe(`Bearer ${first}`);
    expect(redactText(`said ${first}`)).toBe(`said ${REDACTED}`);
    await writeFile(join(accountDir, "token"), second);
    access.reload();
    await access.credentials();
    expect(redactText(`said ${first}, ${second}`)).toBe(`said ${first}, ${REDACTED}`);
  } finally {
    await rm(accountDir, { recursive: true, force: true });
  }
});

test("so is the password of a kubeconfig's user", async () => {
  const directory = await mkdtemp(join(tmpdir(), "transporter-account-"));
  try {
    const kubeconfig = join(directory, "config");
    const user = { username: "me", password: "a:password of mine" };
    await writeFile(
      kubeconfig,
      JSON.stringify({
        "current-context": "c",
        clusters: [{ name: "c", cluster: { server: "http://127.0.0.1:1" } }],
        users: [{ name: "u", user }],
        contexts: [{ name: "c", context: { cluster: "c", user: "u" } }],
      }),
    );
    const access = await loadKubeAccess({ kubeconfig, ports: manualPorts().ports });
    const { authorization = "" } = (await access.credentials()).headers;
    expect(authorization).toStartWith("Basic ");
    expect(redactText(`it is ${user.password}; ${authorization.slice(6)}`)).toBe(`it is ${REDACTED}; ${REDACTED}`);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
});
