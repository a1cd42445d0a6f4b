import { StandardAuthenticator } from "./authenticator.ts";
import { SESSION_CREDENTIAL, StoredBrowserSessions } from "./browser-sessions.ts";
import type { Credentials } from "./gate.ts";
import { testIssuer } from "./issuer-for-tests.ts";
import { KnownCallers } from "./known-callers.ts";
import { LastUse } from "./last-use.ts";
import { memoryDocuments } from "./memory-documents.ts";
import { Oidc } from "./oidc.ts";
import { ADMIN, FROM, testParts } from "./parts-for-tests.ts";
import type { Principal } from "./principal.ts";
import { Tokens } from "./tokens.ts";

/** An authenticator with its real parts around it, but for certificates and identities, which tests put in. */
export async function authenticatorBench(documents = memoryDocuments(), withOidc = true) {
  const parts = testParts(documents);
  const known = new KnownCallers(parts.ports.clock);
  const lastUse = new LastUse(parts);
  const tokens = new Tokens(parts, lastUse, (id) => known.end(id));
  const issuer = await testIssuer(parts.manual);
  const roles = [{ role: "viewer", value: "staff" }] as const;
  const oidc = new Oidc(
    { issuer: issuer.url, audience: "transporter", algorithms: ["ES256"], usernameClaim: "sub", rolesClaim: "groups", roles },
    issuer.keys(),
    "default",
  );
  const shorts = new Map<string, Principal>();
  const identities = new Map<string, { readonly revoked_at?: string }>();
  const sessions = new StoredBrowserSessions(
    parts,
    (credential) => authenticator.credentialIsCurrent(credential),
    (id) => known.end(`${SESSION_CREDENTIAL}${id}`),
  );
  const authenticator = new StandardAuthenticator({
    parts,
    tokens,
    lastUse,
    sessions,
    oidc: withOidc ? oidc : undefined,
    known,
    certificates: {
      find: async (bearer) => {
        const principal = shorts.get(bearer);
        return principal === undefined ? { why: "unknown" } : { principal };
      },
      isCurrent: async (id) => [...shorts.values()].some(({ credential }) => credential === `short:${id}`),
      challenge: () => ({ nonce: "n", audience: "a", expires_at: "e" }),
      login: async (login, from) => ({ token: login.nonce, expires_at: from.address }),
    },
    identities: {
      get: async (id) => {
        const found = identities.get(id);
        return found === undefined ? undefined : { agent_id: id, enrolled_at: "", enrolled_by: "", labels: {}, certificates: [], ...found };
      },
    },
  });
  const ask = (authorization: string | null, more: Partial<Credentials> = {}) =>
    authenticator.authenticate({ method: "GET", authorization, cookie: null, csrf: null, ...FROM, ...more });
  const user = (more: object = {}) => tokens.create({ kind: "user", role: "viewer", ...more }, ADMIN, FROM);
  /** Why the last one was refused. */
  const whys = (): unknown[] =>
    documents.audit.filter(({ action }) => action === "authentication_refused").map(({ details }) => details?.["why"]);
  return { ...parts, known, lastUse, tokens, issuer, shorts, identities, sessions, authenticator, ask, user, whys };
}
