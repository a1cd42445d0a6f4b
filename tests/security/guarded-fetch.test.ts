import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { type GuardedOptions, FetchFailed, guardedFetch } from "../../src/net/mod.ts";
import { connectProxy } from "../support/flaky-proxy.ts";

const TLS = join(import.meta.dir, "../fixtures/tls");
// For cp.internal and 127.0.0.1, signed by itself.
const cert = await Bun.file(join(TLS, "server.pem")).text();
const key = await Bun.file(join(TLS, "server-key.pem")).text();
const stranger = await Bun.file(join(TLS, "stranger.pem")).text();

interface Seen {
  readonly url: string;
  readonly host: string | null;
  readonly authorization: string | null;
}

function server(answer: (request: Request) => Response | Promise<Response>, secure = false) {
  const seen: Seen[] = [];
  const running = Bun.serve({
    hostname: "127.0.0.1",
    port: 0,
    ...(secure ? { tls: { cert, key } } : {}),
    fetch(request) {
      seen.push({ url: request.url, host: request.headers.get("host"), authorization: request.headers.get("authorization") });
      return answer(request);
    },
  });
  return { port: running.port ?? 0, seen, [Symbol.asyncDispose]: () => running.stop(true) };
}

/** A resolver that gives one answer after the other, and the last for ever. */
function resolver(...answers: readonly (readonly string[])[]) {
  const asked: string[] = [];
  const resolve = (host: string): Promise<readonly string[]> => {
    asked.push(host);
    return Promise.resolve(answers[Math.min(asked.length, answers.length) - 1] ?? []);
  };
  return { asked, resolve };
}

async function failure(url: string, options: GuardedOptions = {}, init: Parameters<typeof guardedFetch>[1] = {}): Promise<unknown> {
  try {
    const response = await guardedFetch(url, init, options);
    return `answered ${response.status}`;
  } catch (error) {
    return error;
  }
}

describe("addresses", () => {
  test.each([
    "file:///etc/passwd",
    "data:text/plain,x",
    "ftp://127.0.0.1/",
    "ws://127.0.0.1/",
    "blob:x",
    "no address",
    "http://user:password@127.0.0.1/",
    "http://user@127.0.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xa9.0xfe.0xa9.0xfe/",
    "http://[::ffff:169.254.169.254]/",
    "http://[fe80::1]/",
    "http://[fd00:ec2::254]/",
    "http://0.0.0.0/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://metadata.google.internal./",
  ])("%p is never asked", async (url) => {
    expect(await failure(url)).toMatchObject({ code: "ADDRESS_REFUSED" });
  });

  test("what stands in the address as a password is in no message", async () => {
    expect(String(await failure("http://user:hunter2@127.0.0.1/"))).not.toContain("hunter2");
  });

  test("a name is judged by every address that it has", async () => {
    await using target = server(() => new Response("x"));
    const { resolve } = resolver(["127.0.0.1", "::ffff:a9fe:a9fe"]);
    expect(await failure(`http://mixed.example:${target.port}/`, { resolve })).toMatchObject({
      code: "ADDRESS_REFUSED",
      message: expect.stringContaining("::ffff:a9fe:a9fe"),
    });
    expect(target.seen).toEqual([]);
  });

  test("a name that resolves otherwise a moment later is asked where it was judged, once", async () => {
    await using target = server(() => new Response("here"));
    const { resolve, asked } = resolver(["127.0.0.1"], ["169.254.169.254"]);
    const response = await guardedFetch(`http://rebinding.example:${target.port}/keys`, {}, { resolve });
    expect(await response.text()).toBe("here");
    expect(asked).toEqual(["rebinding.example"]);
    expect(target.seen[0]?.host).toBe(`rebinding.example:${target.port}`);
  });

  test("the next address is tried where nobody listens at the first", async () => {
    await using target = server(() => new Response("here"));
    const { resolve } = resolver(["127.0.0.2", "127.0.0.1"]);
    expect(await (await guardedFetch(`http://two.example:${target.port}/`, {}, { resolve })).text()).toBe("here");
  });

  test("a name without an address, and one that cannot be resolved, are told so", async () => {
    expect(await failure("http://none.example/", { resolve: () => Promise.resolve([]) })).toMatchObject({
      name: "FetchFailed",
      unsent: true,
    });
    const failed = await failure("http://none.example/", { resolve: () => Promise.reject(new Error("ENOTFOUND")) });
    expect(failed).toMatchObject({ name: "FetchFailed", unsent: true, message: expect.stringContaining("none.example") });
  });
});

describe("certificates", () => {
  test("name and certificate are those of the URL, though the connection goes to the address", async () => {
    await using target = server(() => new Response("here"), true);
    const { resolve } = resolver(["127.0.0.1"]);
    const response = await guardedFetch(`https://cp.internal:${target.port}/`, {}, { ca: cert, resolve });
    expect(await response.text()).toBe("here");
    expect(target.seen[0]?.host).toBe(`cp.internal:${target.port}`);
  });

  test("another name at the same address is refused, also right after the good one", async () => {
    await using target = server(() => new Response("here"), true);
    const { resolve } = resolver(["127.0.0.1"]);
    await guardedFetch(`https://cp.internal:${target.port}/`, {}, { ca: cert, resolve });
    expect(await failure(`https://other.internal:${target.port}/`, { ca: cert, resolve })).toMatchObject({ untrusted: true, unsent: true });
    expect(target.seen).toHaveLength(1);
  });

  test.each([
    ["another CA", { ca: stranger }],
    ["the system's", {}],
  ])("%s does not do", async (_what, options) => {
    await using target = server(() => new Response("here"), true);
    expect(await failure(`https://127.0.0.1:${target.port}/`, options)).toMatchObject({ untrusted: true });
    expect(target.seen).toEqual([]);
  });

  test("none is checked only where that was asked for", async () => {
    await using target = server(() => new Response("here"), true);
    const response = await guardedFetch(`https://127.0.0.1:${target.port}/`, {}, { insecureTls: true });
    expect(await response.text()).toBe("here");
  });

  test("whoever asked may refuse a certificate, before anything is sent", async () => {
    await using target = server(() => new Response("here"), true);
    const options = { ca: cert, checkServerIdentity: () => new Error("CERT_NOT_MINE") };
    expect(await failure(`https://127.0.0.1:${target.port}/`, options)).toMatchObject({ name: "FetchFailed", untrusted: true });
    expect(target.seen).toEqual([]);
  });
});

describe("answers", () => {
  test("a redirect is answered as it is, and nobody is asked with the credentials", async () => {
    await using elsewhere = server(() => new Response("secrets, please"));
    await using target = server(() => new Response(null, { status: 302, headers: { location: `http://127.0.0.1:${elsewhere.port}/` } }));
    const response = await guardedFetch(`http://127.0.0.1:${target.port}/`, { headers: { authorization: "Bearer mine" } });
    expect(response.status).toBe(302);
    expect(target.seen[0]?.authorization).toBe("Bearer mine");
    expect(elsewhere.seen).toEqual([]);
  });

  test("one that is too large is not read to its end", async () => {
    let sent = 0;
    await using target = server(
      () =>
        new Response(
          new ReadableStream({
            async pull(controller) {
              sent += 1;
              controller.enqueue(new Uint8Array(16 * 1024));
              await Bun.sleep(0);
            },
          }),
        ),
    );
    expect(await failure(`http://127.0.0.1:${target.port}/`, { maxBytes: 100_000 })).toMatchObject({
      message: expect.stringContaining("larger than 100000 bytes"),
    });
    expect(sent).toBeLessThan(4_000);
  });

  test("one of just the size is taken", async () => {
    await using target = server(() => new Response("x".repeat(100)));
    const response = await guardedFetch(`http://127.0.0.1:${target.port}/`, {}, { maxBytes: 100 });
    expect(await response.text()).toHaveLength(100);
  });

  test("one that is packed is refused, whatever it would unfold to", async () => {
    await using target = server(() => new Response(Bun.gzipSync(Buffer.alloc(50_000_000)), { headers: { "content-encoding": "gzip" } }));
    expect(await failure(`http://127.0.0.1:${target.port}/`)).toMatchObject({ message: expect.stringContaining("packed (gzip)") });
  });

  test("one that never comes, and one that never ends, are given up in time", async () => {
    await using silent = server(() => new Promise<Response>(() => undefined));
    await using trickling = server(
      () =>
        new Response(
          new ReadableStream({
            async pull(controller) {
              controller.enqueue(new Uint8Array(1));
              await Bun.sleep(20);
            },
          }),
        ),
    );
    for (const { port } of [silent, trickling]) {
      const failed = await failure(`http://127.0.0.1:${port}/`, { timeoutMs: 150 });
      expect(failed).toBeInstanceOf(FetchFailed);
      expect(failed).toMatchObject({ message: "no whole answer within 0.15 s", unsent: false });
    }
  });

  test("a resolver that never answers is given up in time", async () => {
    const never = { timeoutMs: 50, resolve: () => new Promise<readonly string[]>(() => undefined) };
    expect(await failure("http://slow.example/", never)).toBeInstanceOf(FetchFailed);
  });

  test("whoever asked may stop it", async () => {
    await using silent = server(() => new Promise<Response>(() => undefined));
    const stop = new AbortController();
    const asking = failure(`http://127.0.0.1:${silent.port}/`, {}, { signal: stop.signal });
    stop.abort(new Error("enough"));
    expect(await asking).toMatchObject({ message: "enough" });
  });

  test("any status is an answer, also one without a body", async () => {
    await using target = server((request) => new Response(null, { status: Number(new URL(request.url).pathname.slice(1)) }));
    for (const status of [204, 304, 404, 500])
      expect((await guardedFetch(`http://127.0.0.1:${target.port}/${status}`)).status).toBe(status);
  });
});

describe("behind a proxy", () => {
  test("the proxy is asked for the name, and what is written as an address or a metadata name is refused before", async () => {
    await using target = server(() => new Response("here"), true);
    await using proxy = await connectProxy();
    const options = { ca: cert, proxyEnv: { HTTPS_PROXY: `http://127.0.0.1:${proxy.port}`, HTTP_PROXY: `http://127.0.0.1:${proxy.port}` } };
    const response = await guardedFetch(`https://cp.internal:${target.port}/`, {}, options);
    expect(await response.text()).toBe("here");
    expect(proxy.requests.map(({ line }) => line)).toEqual([`CONNECT cp.internal:${target.port} HTTP/1.1`]);
    for (const url of ["http://169.254.169.254/", "http://metadata.google.internal/"])
      expect(await failure(url, options)).toMatchObject({ code: "ADDRESS_REFUSED" });
    expect(proxy.requests).toHaveLength(1);
  });
});
