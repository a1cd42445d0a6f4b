import { beforeAll, describe, expect, test } from "bun:test";
import { createPrivateKey, createPublicKey } from "node:crypto";
import type { FileChange, FileTexts, IdentityHome } from "../../src/agent/identity-files.ts";
import { certificatesOf, keySha256, renewalTime } from "../../src/agent/identity-record.ts";
import { IdentityKeeper, type IdentityOptions } from "../../src/agent/identity.ts";
import { TransporterError } from "../../src/kit/mod.ts";
import type { EnrolmentAnswer, EnrolmentRequest, ErrorCode, RenewalRequest } from "../../src/protocol/mod.ts";
import { makeKey } from "../../src/security/mod.ts";
import { readCsr } from "../../src/security/pki/csr.ts";
import { type Issuer, issueAgent, makeCa } from "../../src/security/pki/issue.ts";
import { fastPorts, keepingLogger, type LogLine } from "../support/agent.ts";
import { eventually } from "../support/eventually.ts";

const DAY_MS = 86_400_000;
let issuer: Issuer;
let trust: string;
beforeAll(async () => {
  ({ issuer } = await makeCa(Date.now()));
  trust = issuer.certificate.pem;
});

/** A place that can be taken by somebody else, and fail. */
class Home implements IdentityHome {
  readonly location = "memory";
  readonly files = new Map<string, string>();
  /** Called instead of the next writes that it answers; undefined: written as asked. */
  next: ((changes: readonly FileChange[]) => boolean | undefined) | undefined;

  read(): Promise<FileTexts> {
    return Promise.resolve(Object.fromEntries(this.files));
  }
  async write(changes: readonly FileChange[]): Promise<boolean> {
    const instead = this.next?.(changes);
    if (instead !== undefined) return instead;
    for (const [file, text] of changes)
      if (text === null) this.files.delete(file);
      else this.files.set(file, text);
    return true;
  }
}

/** What a control plane would answer, or throw. */
class Api {
  readonly keys: string[] = [];
  readonly bearers: string[] = [];
  renewals = 0;
  ttlMs = 30 * DAY_MS;
  agentId = "ship-1";
  /** In place of the next answers. */
  readonly instead: (ErrorCode | TransporterError | Partial<EnrolmentAnswer>)[] = [];

  pinnedCa(): Promise<string> {
    return Promise.resolve(trust);
  }
  enrol({ csr }: EnrolmentRequest, bearer: string): Promise<EnrolmentAnswer> {
    this.bearers.push(bearer);
    return this.#answer(csr);
  }
  renew({ csr }: RenewalRequest): Promise<EnrolmentAnswer> {
    this.renewals += 1;
    return this.#answer(csr);
  }
  async issue(key: string): Promise<string> {
    const publicKey = createPublicKey(createPrivateKey(key));
    return (await issueAgent(issuer, { publicKey, agentId: this.agentId, nowMs: Date.now(), ttlMs: this.ttlMs })).pem;
  }
  async #answer(csr: string): Promise<EnrolmentAnswer> {
    const request = readCsr(csr);
    this.keys.push(request.keySha256);
    const instead = this.instead.shift();
    if (typeof instead === "string") throw new TransporterError(instead, `refused with ${instead}`);
    if (instead instanceof TransporterError) throw instead;
    const nowMs = Date.now();
    const { pem } = await issueAgent(issuer, { publicKey: request.publicKey, agentId: this.agentId, nowMs, ttlMs: this.ttlMs });
    return { status: "issued", id: "e1", certificate: pem, trust_bundle: trust, audience: "here", agent_urls: [], ...instead };
  }
}

interface Rig {
  readonly keeper: IdentityKeeper;
  readonly home: Home;
  readonly api: Api;
  readonly lines: readonly LogLine[];
  readonly changes: () => number;
  token: string | undefined;
}

/** A keeper whose time runs 200 times as fast. */
function rig(of: { home?: Home; api?: Api; token?: string | undefined; checked?: boolean; factor?: number } = {}): Rig & Disposable {
  const { log, lines } = keepingLogger();
  const [home, api] = [of.home ?? new Home(), of.api ?? new Api()];
  let changes = 0;
  const options: IdentityOptions = {
    agentId: "ship-1",
    home,
    api,
    caHash: undefined,
    caPem: trust,
    token: () => Promise.resolve(made.token),
    ports: fastPorts(of.factor ?? 200),
    log,
    checked: of.checked ?? true,
    onChange: () => {
      changes += 1;
    },
  };
  const keeper = new IdentityKeeper(options);
  const made = {
    keeper,
    home,
    api,
    lines,
    changes: () => changes,
    token: "token" in of ? of.token : "t1",
    [Symbol.dispose]: () => void keeper.stop(),
  };
  return made;
}

/** Until all that needs no time has happened: what is kept here is in memory. */
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
const said = (lines: readonly LogLine[], message: string): number => lines.filter((line) => line.message === message).length;
const RENEWED = "Agent's certificate is renewed";
const HELPLESS = "The agent's certificate is not renewed any more, and only a fresh token helps";

describe("being enrolled", () => {
  test("without a token and an identity there is none", async () => {
    using one = rig({ token: undefined });
    expect(await one.keeper.open()).toBe(false);
    expect(() => one.keeper.prove({ type: "challenge", nonce: "n", audience: "here" }, "none")).toThrow("no identity");
  });

  test("an answer that was lost is asked for again with the same key, also by the next process", async () => {
    using first = rig();
    first.api.instead.push("CP_UNREACHABLE", "STORE_UNAVAILABLE");
    expect(await first.keeper.open()).toBe(true);
    expect(first.api.keys).toHaveLength(3);
    expect(new Set(first.api.keys).size).toBe(1);

    const [home, api] = [new Home(), new Api()];
    api.instead.push("CP_UNREACHABLE");
    const refusing = rig({ home, api, factor: 1 });
    const opening = refusing.keeper.open().catch((error: unknown) => error);
    await eventually(() => api.keys.length === 1);
    void refusing.keeper.stop();
    expect(await opening).toBeInstanceOf(Error);
    using second = rig({ home, api });
    await second.keeper.open();
    expect(api.keys[1]).toBe(api.keys[0] ?? "");
  });

  test("waits as long as it is told to", async () => {
    using one = rig();
    one.api.instead.push(new TransporterError("TOO_MANY_ATTEMPTS", "slowly", { details: { retry_after_ms: 20_000 } }));
    const startedMs = performance.now();
    await one.keeper.open();
    expect((performance.now() - startedMs) * 200).toBeGreaterThanOrEqual(20_000);
  });

  test.each(["ENROLMENT_REFUSED", "IDENTITY_CONFLICT", "ENROLMENT_DISABLED", "INVALID_CSR", "CA_MISMATCH", "CP_ANSWER"] as const)(
    "ends for good with %s",
    async (code) => {
      using one = rig();
      one.api.instead.push(code);
      expect(await one.keeper.open().catch((error: unknown) => error)).toMatchObject({ code });
      expect(one.api.keys).toHaveLength(1);
      expect(one.keeper.identity).toBeUndefined();
    },
  );

  test("that was denied, the next request has another key", async () => {
    using one = rig();
    one.api.instead.push({ status: "denied" });
    expect(await one.keeper.open().catch((error: unknown) => error)).toMatchObject({ code: "ENROLMENT_REFUSED" });
    await one.keeper.open();
    expect(one.api.keys[1]).not.toBe(one.api.keys[0] ?? "");
  });

  test.each([
    ["of another agent", (api: Api) => void (api.agentId = "ship-2")],
    ["of another key", async (api: Api) => void api.instead.push({ certificate: await api.issue(makeKey()) })],
    ["that is none", (api: Api) => void api.instead.push({ certificate: "nothing" })],
    ["without a CA", (api: Api) => void api.instead.push({ trust_bundle: "" })],
  ])("a certificate %s is not taken", async (_what, spoil) => {
    using one = rig();
    await spoil(one.api);
    expect(await one.keeper.open().catch((error: unknown) => error)).toMatchObject({ code: "IDENTITY_REFUSED" });
    expect(one.home.files.has("certificate.pem")).toBe(false);
  });

  test("somebody else who was quicker is the agent from now on, and nothing of his is overwritten", async () => {
    using other = rig();
    await other.keeper.open();
    using one = rig();
    one.home.next = () => {
      one.home.next = undefined;
      for (const [file, text] of other.home.files) one.home.files.set(file, text);
      return false;
    };
    await one.keeper.open();
    expect(one.api.keys).toEqual([]);
    expect(one.keeper.identity?.certificateSha256).toBe(other.keeper.identity?.certificateSha256 ?? "");
    expect([...one.home.files]).toEqual([...other.home.files]);
  });

  test("somebody who touched the place and not the identity is no hindrance", async () => {
    using one = rig();
    let refusals = 0;
    one.home.next = () => {
      refusals += 1;
      return refusals % 2 === 1 ? false : undefined;
    };
    await one.keeper.open();
    expect(one.home.files.get("certificate.pem")).toBe(one.keeper.identity?.certificate ?? "");
    expect(refusals).toBe(4);
  });

  test("a place that cannot be written to asks for nothing; one that fails after the answer costs nothing but a line", async () => {
    const broken = new TransporterError("FILE_UNREADABLE", "the disk is full");
    using nowhere = rig();
    nowhere.home.next = () => {
      throw broken;
    };
    expect(await nowhere.keeper.open().catch((error: unknown) => error)).toBe(broken);
    expect(nowhere.api.keys).toEqual([]);
    using later = rig();
    later.home.next = (changes) => {
      if (changes.length > 1) throw broken;
      return undefined;
    };
    expect(await later.keeper.open()).toBe(true);
    expect(said(later.lines, "The agent's identity could not be kept")).toBe(1);
    expect(later.keeper.identity).toBeDefined();
    // The key it asked with is there: the next process has the same answered alike.
    expect(keySha256(later.home.files.get("next-key.pem") ?? "")).toBe(later.api.keys[0] ?? "");
  });
});

describe("a renewal", () => {
  test("comes before the end, each time with a key of its own; one that fails is tried again with the same", async () => {
    using one = rig();
    // Two thirds of which are a fifth of a second here.
    one.api.ttlMs = 60_000;
    await one.keeper.open();
    one.api.instead.push("CP_UNREACHABLE");
    await eventually(() => said(one.lines, RENEWED) >= 2);
    const [enrolled, failed, renewed, again] = one.api.keys;
    expect(renewed).toBe(failed);
    expect(new Set([enrolled, renewed, again]).size).toBe(3);
    expect(said(one.lines, "The agent's certificate could not be renewed yet")).toBe(1);
    expect(one.changes()).toBeGreaterThanOrEqual(3);
  });

  test.each([
    [0, 0.62],
    [1, 0.71],
  ])("is due around two thirds of what is left (%d)", async (random, share) => {
    const nowMs = Date.now();
    const certificate = await new Api().issue(makeKey());
    const leftMs = (certificatesOf(certificate)[0]?.validToDate.getTime() ?? 0) - nowMs;
    expect((renewalTime(certificate, nowMs, random) - nowMs) / leftMs).toBeCloseTo(share, 6);
  });

  test("is not due at once where the clock is far ahead, nor after its end where it is behind", async () => {
    const certificate = await new Api().issue(makeKey());
    const { validFromDate, validToDate } = certificatesOf(certificate)[0] ?? { validFromDate: new Date(), validToDate: new Date() };
    const lifetimeMs = validToDate.getTime() - validFromDate.getTime();
    for (const nowMs of [validToDate.getTime() + 365 * DAY_MS, validFromDate.getTime() - 365 * DAY_MS]) {
      const dueMs = renewalTime(certificate, nowMs, 0.5) - nowMs;
      expect(dueMs).toBeGreaterThan(0.6 * lifetimeMs);
      expect(dueMs).toBeLessThan(0.72 * lifetimeMs);
    }
  });

  test("that is refused for good looks for a fresh token, and tries none twice", async () => {
    using one = rig();
    one.api.ttlMs = 60_000;
    await one.keeper.open();
    one.token = "t2";
    const refusals: ErrorCode[] = ["IDENTITY_REVOKED", "ENROLMENT_REFUSED", "IDENTITY_REVOKED", "IDENTITY_REVOKED"];
    one.api.instead.push(...refusals);
    await eventually(() => said(one.lines, HELPLESS) >= 3);
    expect(one.api.bearers).toEqual(["t1", "t2"]);
    one.api.instead.push("IDENTITY_REVOKED");
    one.token = "t3";
    await eventually(() => said(one.lines, "Agent is enrolled") === 2);
    expect(one.api.bearers).toEqual(["t1", "t2", "t3"]);
  });
});

describe("what the control plane says", () => {
  test("is to be trusted is kept, what cannot be read or has none of the CAs so far is left aside", async () => {
    using one = rig();
    await one.keeper.open();
    const stranger = (await makeCa(Date.now())).issuer.certificate.pem;
    const other = stranger + trust;
    one.keeper.trusts(stranger, false);
    one.keeper.trusts("no certificate", false);
    one.keeper.trusts("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", false);
    expect(one.keeper.identity?.trust).toBe(trust);
    one.keeper.trusts(other, false);
    expect(one.keeper.identity?.trust).toBe(other);
    await eventually(() => one.home.files.get("trust.pem") === other);
    expect(one.api.renewals).toBe(0);
    // The old one may go once the new one is known.
    one.keeper.trusts(stranger, false);
    expect(one.keeper.identity?.trust).toBe(stranger);
    one.keeper.trusts(other, true);
    await eventually(() => one.api.renewals === 1);
  });

  test("in an answer to a renewal is no other than that: one that would leave it with strangers is asked for again", async () => {
    using one = rig();
    await one.keeper.open();
    const before = one.keeper.identity?.certificateSha256;
    one.api.instead.push({ trust_bundle: (await makeCa(Date.now())).issuer.certificate.pem });
    one.keeper.trusts(trust, true);
    await eventually(() => said(one.lines, RENEWED) === 1);
    expect(one.api.renewals).toBe(2);
    expect(one.keeper.identity?.certificateSha256).not.toBe(before);
    expect(one.home.files.get("trust.pem")).toBe(trust);
  });

  test("counts for nothing where anybody could have said it", async () => {
    using one = rig({ checked: false });
    await one.keeper.open();
    one.keeper.trusts((await makeCa(Date.now())).issuer.certificate.pem, false);
    expect(one.keeper.identity?.trust).toBe(trust);
    expect(one.home.files.get("trust.pem")).toBe(trust);
  });

  test("against the agent leads to one renewal in half a minute, and to none while only a token helps", async () => {
    using one = rig({ factor: 1 });
    await one.keeper.open();
    one.keeper.unwelcome(undefined, "no");
    await eventually(() => said(one.lines, RENEWED) === 1);
    one.keeper.unwelcome("IDENTITY_REFUSED", "no");
    await turn();
    expect(one.api.renewals).toBe(1);
    using helpless = rig({ factor: 1 });
    await helpless.keeper.open();
    helpless.token = undefined;
    helpless.api.instead.push("IDENTITY_REVOKED");
    helpless.keeper.unwelcome("IDENTITY_REVOKED", "revoked");
    await eventually(() => said(helpless.lines, HELPLESS) === 1);
    helpless.keeper.unwelcome("IDENTITY_REVOKED", "revoked");
    helpless.keeper.unwelcome("TOO_MANY_ATTEMPTS", "slowly");
    helpless.keeper.unwelcome("IDENTITY_CONFLICT", "another");
    expect(said(helpless.lines, "Another key has this agent's id")).toBe(1);
    await turn();
    expect(helpless.api.renewals).toBe(1);
  });

  test("against the agent whose other process was renewed makes it take that", async () => {
    using one = rig({ factor: 1 });
    await one.keeper.open();
    using other = rig({ home: one.home, factor: 1 });
    await other.keeper.open();
    other.keeper.trusts(trust, true);
    await eventually(() => said(other.lines, RENEWED) === 1);
    const before = one.changes();
    one.keeper.unwelcome("IDENTITY_REFUSED", "no");
    await eventually(() => one.changes() === before + 1);
    expect(one.api.renewals).toBe(0);
    expect(one.keeper.identity?.certificateSha256).toBe(other.keeper.identity?.certificateSha256 ?? "");
  });
});
