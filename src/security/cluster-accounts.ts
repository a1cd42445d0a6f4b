import type { IssuerKeys } from "./issuer-keys.ts";
import type { TrustedCluster } from "./issuers.ts";
import { claimedIssuer, looksLikeJwt, verifyJwt } from "./jwt.ts";
import type { ClusterAccount, ClusterAccounts } from "./parts.ts";
import type { Clock } from "../kit/mod.ts";
import { matchesPattern } from "./scope.ts";

/** What API servers sign with. */
const ALGORITHMS = ["RS256", "ES256", "ES384", "ES512"] as const;
const SERVICE_ACCOUNT = /^system:serviceaccount:[a-z0-9.-]{1,253}:[a-z0-9.-]{1,253}$/;

export interface ClusterKeys {
  readonly cluster: TrustedCluster;
  readonly keys: IssuerKeys;
}

/** ServiceAccount tokens of clusters that are trusted to vouch for their agents. */
export class TrustedClusters implements ClusterAccounts {
  readonly #clusters: readonly ClusterKeys[];
  readonly #clock: Clock;

  constructor(clusters: readonly ClusterKeys[], clock: Clock) {
    this.#clusters = clusters;
    this.#clock = clock;
  }

  claims(bearer: string): boolean {
    return looksLikeJwt(bearer);
  }

  async verify(bearer: string): Promise<{ readonly account: ClusterAccount } | { readonly why: string }> {
    // Many clusters call themselves alike, as that is what their installer says; their keys tell them apart.
    const issuer = claimedIssuer(bearer);
    let why = "unknown issuer";
    for (const { cluster, keys } of this.#clusters) {
      if (cluster.issuer !== issuer) continue;
      const outcome = await verifyJwt(bearer, { issuer, audience: cluster.audience, algorithms: ALGORITHMS, keys }, this.#clock.now());
      if ("why" in outcome) {
        ({ why } = outcome);
        continue;
      }
      const subject = outcome.payload.sub ?? "";
      const trusted = SERVICE_ACCOUNT.test(subject) && cluster.subjects.some((pattern) => matchesPattern(pattern, subject));
      if (trusted) return { account: { cluster: cluster.name, subject, agent: cluster.agents } };
      why = "account not trusted";
    }
    return { why };
  }
}
