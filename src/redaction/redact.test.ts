import { describe, expect, test } from "bun:test";
import { isSecretName, isSuspiciousJson, keepSecret, keepSecrets, keepSecretsOf, REDACTED, redact, redactText } from "./mod.ts";

const JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl";
const TOKEN = `tpu_0123456789ab_${"Zz9".repeat(13)}Q`;
const KEY = "-----BEGIN EC PRIVATE KEY-----\nabc\n-----END EC PRIVATE KEY-----";
const CERTIFICATE = "-----BEGIN CERTIFICATE-----\nabc\n-----END CERTIFICATE-----";
const base64 = (text: string): string => Buffer.from(text).toString("base64");

describe("what looks like a secret", () => {
  test.each([
    ["Authorization: Bearer abcdefghijkl", `Authorization: Bearer ${REDACTED}`],
    ["authorization: BASIC dXNlcjpwYXNz, then", `authorization: BASIC ${REDACTED}, then`],
    ["Authorization: Negotiate abc", `Authorization: ${REDACTED}`],
    ['{"set-cookie": "session=abc; Path=/"}', `{"set-cookie": "${REDACTED}"}`],
    ["Cookie: a=b; c=d\nHost: x", `Cookie: ${REDACTED}\nHost: x`],
    ["redis://user:hunter22@host:6379/0", `redis://user:${REDACTED}@host:6379/0`],
    ["redis://:hunter22@host", `redis://:${REDACTED}@host`],
    ["nats://a:b@one:4222,nats://c:d@e@two", `nats://a:${REDACTED}@one:4222,nats://c:${REDACTED}@two`],
    ["nats://sometokenoftwentychars@host", `nats://${REDACTED}@host`],
    ["https://user@host/x:y@z", "https://user@host/x:y@z"],
    [`token ${JWT} end`, `token ${REDACTED} end`],
    [`unsigned ${JWT.slice(0, -12)}. end`, `unsigned ${REDACTED} end`],
    [`with ${TOKEN}, refused`, `with tpu_0123456789ab_${REDACTED}, refused`],
    [`cut ${TOKEN.slice(0, -5)}`, `cut tpu_0123456789ab_${REDACTED}`],
    ["typo tpe_01234_6789abcdefghijklmn", `typo tpe_${REDACTED}`],
    [KEY, REDACTED],
    [`a ${KEY} b ${CERTIFICATE} c ${KEY}`, `a ${REDACTED} b ${CERTIFICATE} c ${REDACTED}`],
    ["cut off: -----BEGIN PRIVATE KEY-----\nMIIE", `cut off: ${REDACTED}`],
    [JSON.stringify({ pem: KEY }), `{"pem":"${REDACTED}"}`],
    [`client-key-data: ${base64(KEY)}`, `client-key-data: ${REDACTED}`],
    [`some-data: ${base64(KEY)}`, `some-data: ${REDACTED}`],
    [`certificate-authority-data: ${base64(CERTIFICATE)}`, `certificate-authority-data: ${base64(CERTIFICATE)}`],
    ["dial db password=hunter2 host=db", `dial db password=${REDACTED} host=db`],
    ["AWS_SECRET_ACCESS_KEY=abc/def+g other", `AWS_SECRET_ACCESS_KEY=${REDACTED} other`],
    ["https://h/p?access_token=abc&x=1", `https://h/p?access_token=${REDACTED}&x=1`],
    ['got {"password":"hun ter2","user":"a"}', `got {"password":"${REDACTED}","user":"a"}`],
    [JSON.stringify({ body: '{"password":"x y","n":1}' }), `{"body":"{\\"password\\":\\"${REDACTED}\\",\\"n\\":1}"}`],
    [
      "users:\n- user:\n    token: abc123def456\n    password: geheim\n  name: a",
      `users:\n- user:\n    token: ${REDACTED}\n    password: ${REDACTED}\n  name: a`,
    ],
    ['JSON Parse error: Unexpected identifier "hunter2"', `JSON Parse error: Unexpected identifier "${REDACTED}"`],
    ["token: password=hunter", `token: password=${REDACTED}`],
    ["token_id: 'x' password: 'y z'", `token_id: 'x' password: '${REDACTED}'`],
  ])("%j", (text, expected) => {
    expect(redactText(text)).toBe(expected);
    // What is clean stays as it is.
    expect(redactText(expected)).toBe(expected);
  });

  test.each([
    "nothing to hide",
    'secrets "db" is forbidden: User "x" cannot get resource "secrets" in API group "" at the cluster scope',
    "the token has expired",
    "Unexpected token: } in JSON",
    "Secret default/db: not found",
    "invalid token: it must begin with tpu_",
    "apiVersion: rbac.authorization.k8s.io/v1",
    "kind: ConfigMap\ndata:\n  a: b",
    "Send a bearer token, or basic authentication",
    "tokenId=abc secretName=db token_file=/x/y",
    "listening on 127.0.0.1:8080 at 2026-02-10T10:00:00Z",
    CERTIFICATE,
  ])("stands in none of %j", (text) => {
    expect(redactText(text)).toBe(text);
  });
});

describe("manifests of Secrets", () => {
  const secret = { apiVersion: "v1", kind: "Secret", metadata: { name: "db" }, data: { user: "cm9vdA==" }, stringData: { pw: 'a}"b' } };

  test("as values: keys stay, values go, at any depth", () => {
    const hidden = { ...secret, data: { user: REDACTED }, stringData: { pw: REDACTED } };
    expect(redact(secret)).toEqual(hidden);
    expect(redact({ items: [{ object: secret }] })).toEqual({ items: [{ object: hidden }] });
    const map = { kind: "ConfigMap", data: { a: "b" } };
    expect(redact(map)).toEqual(map);
  });

  test.each([
    ["JSON", JSON.stringify({ ...secret, stringData: undefined })],
    ["JSON, cut off", JSON.stringify({ kind: "Secret", metadata: {}, data: { user: "cm9vdA==" } }).slice(0, -5)],
    ["JSON within JSON", JSON.stringify({ last: JSON.stringify({ ...secret, stringData: undefined }) })],
    ["YAML", "bad:\napiVersion: v1\nkind: Secret\ndata:\n  user: cm9vdA==\n\n  more: |\n    cm9vdA==\nmetadata:\n  name: db\n"],
    ["YAML, in a list", "items:\n- data:\n    user: cm9vdA==\n  kind: Secret\n"],
    ["YAML within JSON", JSON.stringify({ m: ["kind: Secret\nstringData:\n  user: cm9vdA==\nmetadata: {name: db}"] })],
    ["YAML on one line", "kind: Secret\ndata: { user: cm9vdA== }"],
  ])("as text: %s", (_how, text) => {
    expect(text).toContain("cm9vdA");
    const clean = redactText(text);
    expect(clean).not.toContain("cm9vdA");
    expect(clean).toContain(REDACTED);
    if (text.includes("db")) expect(clean).toContain("db");
  });

  test("what an API server quotes of them is gone while they are in hand", () => {
    const objects = [
      {
        kind: "Secret",
        metadata: { name: "db-one", namespace: "shop-a" },
        stringData: { pin: 12345678, where: "shop-a", few: "abc" },
        data: { k: base64("top-sec/ret") },
      },
      { kind: "List", items: [{ kind: "Secret", metadata: { name: "inner" }, stringData: { x: [{ deep: "within-list" }] } }] },
      { kind: "ConfigMap", data: { x: "plain-text" } },
    ];
    const said = `Secret shop-a/db-one: value 12345678, top-sec/ret, ${base64("top-sec/ret")}, within-list, abc, plain-text`;
    const forget = keepSecretsOf(objects);
    expect(redactText(said)).toBe(`Secret shop-a/db-one: value ${REDACTED}, ${REDACTED}, ${REDACTED}, ${REDACTED}, abc, plain-text`);
    forget();
    expect(redactText(said)).toBe(said);
  });
});

describe("values that somebody named", () => {
  test("go in every form, until they are forgotten", () => {
    const value = 'pa/ss "word" ü';
    const forms = [value, JSON.stringify(value).slice(1, -1), encodeURIComponent(value), base64(value).replaceAll("=", "")];
    const forget = keepSecret(value);
    const again = keepSecret(value);
    for (const form of forms) expect(redactText(`<${form}>`)).toBe(`<${REDACTED}>`);
    expect(isSuspiciousJson(JSON.stringify({ a: value }))).toBe(true);
    forget();
    // Once is once, however often it is said.
    forget();
    expect(redactText(value)).toBe(REDACTED);
    again();
    expect(redactText(value)).toBe(value);
    expect(isSuspiciousJson('{"a":"plain"}')).toBe(false);
  });

  test("of several lines go line by line as well", () => {
    using kept = new DisposableStack();
    kept.defer(keepSecret("first line of it\r\nshort\nsecond line of it\n"));
    expect(redactText("near: second line of it; short")).toBe(`near: ${REDACTED}; short`);
  });

  test("may be very many, which costs a text no more than a few do", () => {
    using kept = new DisposableStack();
    const many = Array.from({ length: 20_000 }, (_, at) => `secret-${at}-${at * 7919}`);
    kept.defer(keepSecrets([...many, "secret-1-7919-and-more", "z".repeat(3000)]));
    const began = Bun.nanoseconds();
    expect(redactText(`a ${many[19_999]} b ${many[0]}, c secret-1-7919-and-more secret-2 ${"z".repeat(3000)}" d`)).toBe(
      `a ${REDACTED} b ${REDACTED}, c ${REDACTED} secret-2 ${REDACTED}" d`,
    );
    expect(redactText("nothing of it")).toBe("nothing of it");
    expect((Bun.nanoseconds() - began) / 1e6).toBeLessThan(5_000);
  });

  test.each([0, 100])("that are long go whole, and those that are short stay, among %i more", (more) => {
    using kept = new DisposableStack();
    const long = "x1Y".repeat(3000);
    kept.defer(keepSecrets([long, ...Array.from({ length: more }, (_, at) => `another-${at}`)]));
    kept.defer(keepSecret("hi"));
    expect(redactText(`a ${long} hi`)).toBe(`a ${REDACTED} hi`);
  });
});

describe("values with fields", () => {
  test("go by the names of their fields at any depth and leave the rest", () => {
    expect(redact({ redisPassword: "x", nested: [{ api_key: "y", name: "z" }], tokenCount: undefined, empty: { password: "" } })).toEqual({
      redisPassword: REDACTED,
      nested: [{ api_key: REDACTED, name: "z" }],
      tokenCount: undefined,
      empty: { password: "" },
    });
    expect(
      redact({
        env: [
          { name: "DB_PASSWORD", value: "x" },
          { name: "PORT", value: "1" },
        ],
      }),
    ).toEqual({
      env: [
        { name: "DB_PASSWORD", value: REDACTED },
        { name: "PORT", value: "1" },
      ],
    });
  });

  test.each([
    "password",
    "PASSWD",
    "api-key",
    "connectionToken",
    "Authorization",
    "client-key-data",
    "tls.key",
    ".dockerconfigjson",
    "clientSecret",
  ])("%s is the name of a secret", (name) => expect(isSecretName(name)).toBe(true));
  test.each(["token_id", "secretName", "tokenFile", "tokens_revoked", "token_expires_at", "key", "data", "author", "passenger"])(
    "%s is not",
    (name) => expect(isSecretName(name)).toBe(false),
  );

  test("a name that stands for the prototype stays a name", () => {
    const clean = redact(JSON.parse('{"__proto__":{"password":"x"}}')) as object;
    expect(Object.getPrototypeOf(clean)).toBe(Object.prototype);
    expect(JSON.stringify(clean)).toBe(`{"__proto__":{"password":"${REDACTED}"}}`);
  });

  test("keeps the causes of errors readable without their secrets", () => {
    const cause = new AggregateError([new Error("password=x1")], "dial redis://a:secret1@h failed");
    expect(redact({ error: new Error("outer", { cause }) })).toEqual({
      error: {
        name: "Error",
        message: "outer",
        cause: {
          name: "AggregateError",
          message: `dial redis://a:${REDACTED}@h failed`,
          errors: [{ name: "Error", message: `password=${REDACTED}` }],
        },
      },
    });
  });

  test("what refers to itself ends", () => {
    const self: Record<string, unknown> = {};
    self["self"] = self;
    expect(JSON.stringify(redact(self))).toContain("[…]");
  });
});

describe("time", () => {
  const size = 256 * 1024;
  test.each([
    "a.",
    "eyJ-",
    "eyJ",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY----- -----END ",
    "://a:",
    "://",
    "@",
    "bearer ",
    "basic    ",
    "token:",
    "JSON Parse error: ",
    'JSON Parse error: a"',
    "token=token: ",
    'token"',
    "token='",
    "password: ",
    "secret\\\\",
    "cookie: ",
    "tpu_",
    "tpu_0123456789ab_",
    "LS0tLS1CRUdJTi",
    'kind: Secret\ndata: {"data": {',
    '"data":{ kind: Secret ',
    "kind: Secret\ndata:\n  ",
    "kind:Secret \\n",
    "\\",
    '"',
    " ",
    "\n",
  ])("%j over and over is done soon", (part) => {
    const text = part.repeat(Math.ceil(size / part.length));
    const began = Bun.nanoseconds();
    redactText(text);
    // What is not linear takes minutes; how quick this machine is just now is not the question.
    expect((Bun.nanoseconds() - began) / 1e6).toBeLessThan(3_000);
  });
});
