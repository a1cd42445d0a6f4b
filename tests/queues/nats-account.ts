import { createHash } from "node:crypto";
import { nkeys } from "@nats-io/nats-core";

type Json = Record<string, unknown>;
type Key = ReturnType<typeof nkeys.createUser>;

const base64url = (bytes: Uint8Array | string): string => Buffer.from(bytes).toString("base64url");

/** A JWT as NATS has them: signed by an nkey, its id the hash of what it says. Source: nats-architecture-and-design, ADR-14. */
function jwt(issuer: Key, subject: Key, name: string, nats: Json): string {
  const claims: Json = { iat: 1_700_000_000, iss: issuer.getPublicKey(), sub: subject.getPublicKey(), name, nats };
  const jti = createHash("sha256").update(JSON.stringify(claims)).digest("hex");
  const text = `${base64url(JSON.stringify({ typ: "JWT", alg: "ed25519-nkey" }))}.${base64url(JSON.stringify({ jti, ...claims }))}`;
  return `${text}.${base64url(issuer.sign(new TextEncoder().encode(text)))}`;
}

/** The server's configuration and a user's credentials file, as `nsc` makes them: an operator, an account with JetStream, a user. */
export function natsAccount(): { readonly config: string; readonly creds: string } {
  const [operator, system, account, user] = [
    nkeys.createOperator(),
    nkeys.createAccount(),
    nkeys.createAccount(),
    nkeys.createUser(),
  ] as const;
  const unlimited = { subs: -1, data: -1, payload: -1, imports: -1, exports: -1, wildcards: true, conn: -1, leaf: -1 };
  const operatorJwt = jwt(operator, operator, "O", { type: "operator", version: 2, system_account: system.getPublicKey() });
  const systemJwt = jwt(operator, system, "SYS", { type: "account", version: 2, limits: unlimited });
  const storage = { mem_storage: -1, disk_storage: -1, streams: -1, consumer: -1 };
  const accountJwt = jwt(operator, account, "A", { type: "account", version: 2, limits: { ...unlimited, ...storage } });
  const userJwt = jwt(account, user, "U", { type: "user", version: 2, subs: -1, data: -1, payload: -1 });
  const seed = new TextDecoder().decode(user.getSeed());
  return {
    config: `operator: ${operatorJwt}
resolver: MEMORY
resolver_preload: { ${system.getPublicKey()}: ${systemJwt}, ${account.getPublicKey()}: ${accountJwt} }`,
    creds: `-----BEGIN NATS USER JWT-----
${userJwt}
------END NATS USER JWT------

-----BEGIN USER NKEY SEED-----
${seed}
------END USER NKEY SEED------
`,
  };
}
