import { TransporterError, toTransporterError } from "../kit/mod.ts";
import {
  type EnrolmentAnswer,
  type ErrorKind,
  type EnrolmentRequest,
  type EnrolmentView,
  type RenewalRequest,
  formatTimestamp,
  idProblem,
  renewalStatement,
} from "../protocol/mod.ts";
import { checkAgentCertificate } from "./agent-certificate.ts";
import { Approvals, enrolmentId } from "./approvals.ts";
import type { EnrolmentService, Origin } from "./gate.ts";
import { type Word, IdentityIssue } from "./identity-issue.ts";
import { Knock } from "./knock.ts";
import type { ClusterAccounts, EnrolmentToken, EnrolmentTokens, Parts } from "./parts.ts";
import type { Certificate } from "./pki/certificate.ts";
import { readCsr } from "./pki/csr.ts";
import type { Issuer } from "./pki/issue.ts";
import { verifyText } from "./pki/signature.ts";
import type { Principal } from "./principal.ts";
import { matchesPattern } from "./scope.ts";
import type { Trust } from "./trust.ts";

export interface EnrolmentOptions {
  readonly parts: Parts;
  readonly trust: Trust;
  readonly tokens: EnrolmentTokens;
  readonly clusters: ClusterAccounts;
  readonly certificateTtlMs: number;
  /** How long after its end a certificate may still be renewed. */
  readonly renewalGraceMs: number;
  /** Certificates wait until somebody approves. Renewals do not. */
  readonly approveByHand: boolean;
  readonly agentUrls: readonly string[];
}

/** Who vouches for an agent that is not known yet. */
type Voucher = Word & { readonly voucher: string; readonly agent: string; readonly token: EnrolmentToken | undefined };

/** Counts against whoever asks. What does not: a store or an issuer that does not answer, and a control plane that issues nothing. */
const HIS_FAULT: ReadonlySet<ErrorKind> = new Set(["denied", "invalid", "conflict"]);

export function createEnrolment(options: EnrolmentOptions): EnrolmentService {
  return new Enrolment(options);
}

class Enrolment implements EnrolmentService {
  readonly #options: EnrolmentOptions;
  readonly #parts: Parts;
  readonly #approvals: Approvals;
  readonly #issue: IdentityIssue;

  constructor(options: EnrolmentOptions) {
    this.#options = options;
    this.#parts = options.parts;
    this.#approvals = new Approvals(options.parts);
    this.#issue = new IdentityIssue(options);
  }

  request(request: EnrolmentRequest, bearer: string, from: Origin): Promise<EnrolmentAnswer> {
    return this.#guarded("enrolment_refused", from, request.agent_id, async (knock) => {
      const issuer = this.#issuer();
      const agentId = request.agent_id;
      const problem = idProblem(agentId);
      if (problem !== undefined)
        throw new TransporterError("INVALID_REQUEST", `agent_id ${problem}`, { details: { pointer: "/agent_id" } });
      const voucher = await this.#voucher(bearer);
      if (!matchesPattern(voucher.agent, agentId)) throw refused("what vouches for it is for another agent");
      const csr = readCsr(request.csr);
      const { token } = voucher;
      const to = { agentId, keySha256: csr.keySha256 };
      // Before the token is used up: who is refused for somebody else's sake may need it again.
      await this.#issue.checkFree(agentId, csr.keySha256, voucher);
      if (token !== undefined && !(await this.#options.tokens.bind(token.id, to)))
        throw refused("the token was used already, with another key");
      knock.right();
      const status = this.#options.approveByHand
        ? await this.#approvals.ask({ ...to, voucher: voucher.voucher, vouchedBy: voucher.by }, from)
        : "approved";
      if (status !== "approved") return this.#answer(status, to);
      return this.#issued(issuer, await this.#issue.enrol(issuer, agentId, csr, voucher, from), to);
    });
  }

  renew(request: RenewalRequest, from: Origin): Promise<EnrolmentAnswer> {
    let agentId: string | undefined;
    return this.#guarded(
      "renewal_refused",
      from,
      () => agentId,
      async (knock) => {
        const issuer = this.#issuer();
        const { trust, renewalGraceMs } = this.#options;
        const shown = checkAgentCertificate(request.certificate, trust.state(), this.#parts.ports.clock.now(), renewalGraceMs);
        ({ agentId } = shown);
        const csr = readCsr(request.csr);
        const statement = renewalStatement({ certificateSha256: shown.certificate.sha256, csrSha256: csr.sha256 });
        if (!verifyText(statement, request.signature, shown.certificate.publicKey))
          throw new TransporterError("IDENTITY_REFUSED", "the signature is not of the certificate's key");
        knock.right();
        const certificate = await this.#issue.renew(issuer, shown.agentId, shown.certificate.keySha256, csr, from);
        return this.#issued(issuer, certificate, { agentId: shown.agentId, keySha256: csr.keySha256 });
      },
    );
  }

  list(): Promise<readonly EnrolmentView[]> {
    return this.#approvals.list();
  }

  decide(id: string, approve: boolean, by: Principal, from: Origin): Promise<EnrolmentView> {
    return this.#approvals.decide(id, approve, by, from);
  }

  /** Holds off who fails too often, and writes down what is refused. */
  async #guarded(
    action: string,
    from: Origin,
    agent: string | (() => string | undefined),
    run: (knock: Knock) => Promise<EnrolmentAnswer>,
  ): Promise<EnrolmentAnswer> {
    let knock: Knock | undefined;
    try {
      knock = new Knock(this.#parts.attempts, from.address);
      return await run(knock);
    } catch (thrown) {
      const error = toTransporterError(thrown);
      const { code, message, details } = error;
      if (HIS_FAULT.has(error.kind) && code !== "ENROLMENT_DISABLED") knock?.wrong();
      else knock?.right();
      if (error.kind !== "unavailable" || code === "TOO_MANY_ATTEMPTS") {
        await this.#parts.refusals.note({
          action,
          code,
          ...from,
          agentId: typeof agent === "string" ? agent.slice(0, 253) : agent(),
          details: { reason: message, ...details },
        });
      }
      throw error;
    }
  }

  #issuer(): Issuer {
    const { issuer } = this.#options.trust.state();
    if (issuer === undefined) throw new TransporterError("ENROLMENT_DISABLED", "no key of a CA is here");
    return issuer;
  }

  async #voucher(bearer: string): Promise<Voucher> {
    const { clusters, tokens } = this.#options;
    if (clusters.claims(bearer)) {
      const found = await clusters.verify(bearer);
      if ("why" in found) throw refused(`the cluster's token is not taken: ${found.why}`);
      const { cluster, subject, agent } = found.account;
      const by = `cluster:${cluster}:${subject}`;
      // It is good again and again, so it must not undo a revocation, nor take labels away that somebody gave.
      return { by, voucher: by, agent, atMs: undefined, exact: !agent.includes("*"), labels: undefined, token: undefined };
    }
    const found = await tokens.find(bearer);
    if ("why" in found) throw refused(`the token is not taken: ${found.why}`, found.id);
    const { token } = found;
    const { agent, labels, createdAtMs } = token;
    return {
      by: `token:${token.name}`,
      voucher: `token:${token.id}`,
      agent,
      atMs: createdAtMs,
      exact: !agent.includes("*"),
      labels,
      token,
    };
  }

  #answer(status: EnrolmentAnswer["status"], of: { readonly agentId: string; readonly keySha256: string }): EnrolmentAnswer {
    const { trust, agentUrls } = this.#options;
    return {
      status,
      id: enrolmentId(of),
      trust_bundle: trust.bundle().pem,
      audience: this.#parts.audience,
      agent_urls: [...agentUrls],
    };
  }

  #issued(issuer: Issuer, certificate: Certificate, of: { readonly agentId: string; readonly keySha256: string }): EnrolmentAnswer {
    const nowMs = this.#parts.ports.clock.now();
    return {
      ...this.#answer("issued", of),
      certificate: [certificate.pem, ...issuer.chain].join(""),
      expires_at: formatTimestamp(certificate.notAfterMs),
      renew_at: formatTimestamp(Math.floor(nowMs + ((certificate.notAfterMs - nowMs) * 2) / 3)),
    };
  }
}

function refused(message: string, tokenId?: string): TransporterError {
  return new TransporterError("ENROLMENT_REFUSED", message, tokenId === undefined ? {} : { details: { token_id: tokenId } });
}
