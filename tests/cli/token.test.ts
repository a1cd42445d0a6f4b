import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type CliRun, runCli, startCli } from "../support/cli.ts";
import { anEvent } from "../support/cp.ts";
import { eventually } from "../support/eventually.ts";
import { type SecureControlPlane, startSecureCp } from "../support/secure-cp.ts";

/** The command line as whoever has this token, who trusts the CA by its file. */
async function as(cp: SecureControlPlane, token: string): Promise<(args: readonly string[], terminal?: number) => Promise<CliRun>> {
  const env = { TRANSPORTER_TOKEN: token, TRANSPORTER_CP_URL: cp.url, TRANSPORTER_CA_FILE: join(cp.directory, "ca.crt") };
  return (args, terminal) => runCli(args, { env, ...(terminal === undefined ? {} : { terminal }) });
}

describe("token create", () => {
  test("for an agent: the token alone in a pipe, and the two lines that enrol on a terminal", async () => {
    await using cp = await startSecureCp();
    const admin = await as(cp, cp.tokens.admin);
    const piped = await admin(["token", "create", "--agent", "agent-7", "--ttl", "10m", "--label", "env=prod"]);
    expect(piped.code).toBe(0);
    expect(piped.out).toMatch(/^tpe_[0-9A-Za-z]{12}_[0-9A-Za-z]{40}\n$/);
    expect(piped.err).toMatch(/lets one agent \(agent-7\) enrol, once; it ends in (10m|9m\d\ds) and is not shown again\.\n$/);
    expect(piped.err).not.toContain(piped.out.trim());

    const lines = await admin(["token", "create", "--agent", "it's 7", "-o", "table"]);
    const [first = "", second = ""] = lines.out.split("\n");
    expect(first).toMatch(/^export TRANSPORTER_ENROLMENT_TOKEN=tpe_\w+$/);
    expect(second).toBe(`transporter agent --agent-id 'it'\\''s 7' --cp-url ${cp.url} --ca-hash ${cp.pin}`);
    expect((await admin(["token", "create", "--agent", "shop-*"], 80)).out).toContain("--agent-id NAME --cp-url");

    const json = JSON.parse((await admin(["token", "create", "--agent", "agent-8", "--label", "a=b", "-o", "json"])).out) as Record<
      string,
      unknown
    >;
    expect(json).toMatchObject({ kind: "enrolment", agent: "agent-8", labels: { a: "b" }, created_by: "token:bootstrap-admin" });
  });

  test("for people: a role and a scope, which hold", async () => {
    await using cp = await startSecureCp();
    const admin = await as(cp, cp.tokens.admin);
    const made = await admin(
      [
        "token",
        "create",
        "--role",
        "producer",
        "--name",
        "ci",
        "--agents",
        "shop-*,till-1",
        "--selector",
        "env=prod",
        "--types",
        "k8s_resource",
      ].concat(["--ttl", "1h"]),
    );
    expect(made.out).toMatch(/^tpu_\w+\n$/);
    expect(made.err).toContain("ci: role producer, for agents shop-*,till-1; labels env=prod; types k8s_resource; it ends in");
    const ci = await as(cp, made.out.trim());
    expect((await ci(["whoami"])).out).toMatch(
      /^token:ci +producer +agents shop-\*,till-1; labels env=prod; types k8s_resource +token +(59m|1h|60m)/m,
    );
    expect(await ci(["can-i", "events:create", "--agent", "other"])).toMatchObject({ code: 1, out: expect.stringMatching(/^no: ./) });
    expect(await ci(["can-i", "events:read"])).toMatchObject({ code: 0, out: "yes\n" });
    expect(await ci(["auth", "can-i", "tokens:manage", "-o", "json"])).toMatchObject({
      code: 1,
      out: expect.stringContaining('"allowed": false'),
    });
    expect((await ci(["can-i", "tokens:mange"])).err).toContain("Did you mean tokens:manage?");
    const denied = await ci(["token", "create", "--role", "viewer"]);
    expect(denied.code).toBe(3);
    expect(denied.err).toMatch(/ACCESS_DENIED[\s\S]*transporter whoami/);
  });

  test.each([
    [[], "say whom the token is for"],
    [["--agent", "a", "--role", "viewer"], "--agent and --role"],
    [["--agent", "a", "--agents", "b"], "--agent and --agents"],
    [["--role", "viewer", "--label", "a=b"], "--label needs --agent"],
    [["--role", "root"], "viewer, producer, operator, admin"],
    [["--role", "viewer", "--types", "k8s"], "k8s_resource, script, policy"],
    [["--agent", "a", "--ttl", "15"], "--ttl"],
  ])("refuses %j before anybody is asked", async (args, words) => {
    const run = await runCli(["token", "create", "--cp-url", "http://127.0.0.1:1", ...args], { env: {} });
    expect(run.code).toBe(2);
    expect(run.err).toContain(words);
  });
});

test("tokens are listed without themselves, and revoked at once", async () => {
  await using cp = await startSecureCp();
  const admin = await as(cp, cp.tokens.admin);
  const made = (await admin(["token", "create", "--role", "viewer", "--name", "soon gone"])).out.trim();
  const viewer = await as(cp, made);
  expect((await viewer(["get", "agents"])).code).toBe(0);
  const list = await admin(["token", "list", "--kind", "user"]);
  const id = made.split("_")[1] ?? "";
  expect(list.out).toMatch(new RegExp(`^${id} +user +soon gone +viewer +everything +good `, "m"));
  expect(list.out).not.toContain(made.slice(17));
  expect(await admin(["token", "revoke", id])).toMatchObject({ code: 0, out: `token/${id} revoked (soon gone)\n` });
  expect((await admin(["token", "revoke", "nope"])).code).toBe(4);
  const ended = await viewer(["get", "agents"]);
  expect(ended.code).toBe(3);
  expect(ended.err).toMatch(/the token in TRANSPORTER_TOKEN was shown[\s\S]*UNAUTHENTICATED[\s\S]*transporter login/);
  expect((await admin(["token", "list"])).out).toMatch(new RegExp(`^${id} .* revoked `, "m"));
});

test("a live stream ends with the token that it was opened with, and says so", async () => {
  await using cp = await startSecureCp();
  const admin = await as(cp, cp.tokens.admin);
  const made = (await admin(["token", "create", "--role", "viewer"])).out.trim();
  const env = { TRANSPORTER_TOKEN: made, TRANSPORTER_CP_URL: cp.url, TRANSPORTER_CA_FILE: join(cp.directory, "ca.crt") };
  const watching = startCli(["watch"], { env });
  // Events until it has shown one: then the stream is open.
  await eventually(
    async () => {
      await cp.fetch("/events", { method: "POST", token: cp.tokens.admin, body: JSON.stringify(anEvent()) });
      return watching.out() === "" ? undefined : true;
    },
    { what: "the stream to be opened" },
  );
  await admin(["token", "revoke", made.split("_")[1] ?? ""]);
  const ended = await watching.ended;
  expect(ended.code).toBe(3);
  expect(ended.err).toMatch(/the token in TRANSPORTER_TOKEN was shown\)\ncode: {2}UNAUTHENTICATED/);
});

test("guessing is stopped, and told with how long to wait", async () => {
  await using cp = await startSecureCp();
  const guess = await as(cp, "guessed");
  let last: CliRun = { code: 0, out: "", err: "" };
  for (let tries = 0; tries < 40 && !last.err.includes("TOO_MANY_ATTEMPTS"); tries += 1) last = await guess(["whoami"]);
  expect(last.code).toBe(7);
  expect(last.err).toMatch(/nothing is looked at for \d+ s\ncode: {2}TOO_MANY_ATTEMPTS/);
  // Whoever is known is not held up by it.
  expect((await (await as(cp, cp.tokens.admin))(["whoami"])).code).toBe(0);
});

test("agents wait for approval where it is asked for, have identities, and lose them", async () => {
  await using cp = await startSecureCp({ securityOptions: { approveByHand: true } });
  const operator = await as(cp, cp.tokens.operator);
  const { makeCsr, makeKey } = await import("../../src/security/mod.ts");
  const ask = async (agentId: string, csr: string, token: string): Promise<{ status: string; id: string }> =>
    (await (
      await cp.fetch("/v1/enrolments", {
        method: "POST",
        token,
        headers: { "content-type": "application/json" },
        body: JSON.stringify({ agent_id: agentId, csr }),
      })
    ).json()) as { status: string; id: string };
  const newcomer = async (agentId: string): Promise<() => Promise<{ status: string; id: string }>> => {
    const token = (await operator(["token", "create", "--agent", agentId])).out.trim();
    const csr = makeCsr(makeKey());
    return () => ask(agentId, csr, token);
  };
  const good = await newcomer("good");
  const bad = await newcomer("bad");
  const [goodId, badId] = [(await good()).id, (await bad()).id];
  expect((await operator(["get", "enrolments"])).out).toMatch(new RegExp(`^${goodId} +good +pending `, "m"));
  expect(await operator(["agents", "approve", goodId])).toMatchObject({
    code: 0,
    out: expect.stringContaining("agent good gets its certificate"),
  });
  expect(await operator(["agents", "deny", badId])).toMatchObject({ code: 0, out: `enrolment/${badId} denied (agent bad)\n` });
  expect((await operator(["agents", "approve", "nope"])).code).toBe(4);
  expect((await good()).status).toBe("issued");
  expect((await operator(["get", "identities"])).out).toMatch(/^good +good +29d /m);
  expect((await operator(["get", "identity", "good", "-o", "json"])).out).toContain('"agent_id": "good"');
  expect(await operator(["agents", "revoke", "good"])).toMatchObject({ code: 0, out: "agent/good revoked\n" });
  expect((await operator(["get", "identities"])).out).toMatch(/^good +revoked /m);
  expect((await operator(["get", "identity", "nobody"])).err).toContain("IDENTITY_NOT_FOUND");
});
