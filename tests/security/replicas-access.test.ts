import { expect } from "bun:test";
import { redisTest, sharedRedis } from "../support/redis.ts";
import { startSecureCp } from "../support/secure-cp.ts";
import { anAgent } from "../support/store-inputs.ts";

interface Agents {
  readonly items: readonly { readonly id: string }[];
  readonly next_cursor?: string;
}

redisTest(
  "what one control plane gives and takes counts at the other: tokens, cookies, cursors, and the streams that stand there",
  async () => {
    const redis = await sharedRedis();
    const storeUrl = `${redis.url}?prefix=access-${crypto.randomUUID()}`;
    await using one = await startSecureCp({ storeUrl });
    await using other = await startSecureCp({ storeUrl, like: one });

    // A token of one is known to the other, and a cookie as well.
    const viewer = await one.token({ kind: "user", role: "viewer", scope: { agents: ["own-*"] } });
    expect((await other.fetch("/v1/whoami", { token: viewer.token })).status).toBe(200);
    const begun = await one.fetch("/v1/session", { method: "POST", token: viewer.token });
    const cookie = begun.headers.get("set-cookie")?.split(";")[0] ?? "";
    expect((await other.fetch("/v1/whoami", { headers: { cookie } })).status).toBe(200);

    // A cursor that one sealed leads on at the other.
    for (const id of ["own-1", "hidden", "own-2"])
      await one.store.importAgent(anAgent(id, { status: "disconnected", connectedAtMs: undefined }));
    const first = (await (await one.fetch("/v1/agents?limit=1", { token: viewer.token })).json()) as Agents;
    const second = (await (
      await other.fetch(`/v1/agents?limit=1&cursor=${first.next_cursor ?? ""}`, { token: viewer.token })
    ).json()) as Agents;
    expect([...first.items, ...second.items].map(({ id }) => id)).toEqual(["own-1", "own-2"]);

    // Revoked at one, it ends at the other, with the stream that it opened and the session that it began.
    const stream = await other.fetch("/v1/stream", { token: viewer.token });
    expect(stream.status).toBe(200);
    const byCookie = await other.fetch("/v1/stream", { headers: { cookie } });
    expect(byCookie.status).toBe(200);
    await one.json(`/v1/tokens/${viewer.id}`, { method: "DELETE" });
    expect(await stream.text()).toContain(": follow");
    expect(await byCookie.text()).toContain(": follow");
    expect((await other.fetch("/v1/whoami", { token: viewer.token })).status).toBe(401);
    expect((await other.fetch("/v1/whoami", { headers: { cookie } })).status).toBe(401);
  },
);
