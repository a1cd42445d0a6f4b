import { createHash } from "node:crypto";
import { TransporterError } from "../kit/mod.ts";
import { FetchFailed, type GuardedInit, guardedFetch, type ProxyEnv } from "../net/mod.ts";
import {
  CaSchema,
  type EnrolmentAnswer,
  EnrolmentAnswerSchema,
  type EnrolmentRequest,
  isErrorCode,
  ProblemSchema,
  type RenewalRequest,
} from "../protocol/mod.ts";
import * as v from "valibot";
import { certificatesOf } from "./identity-record.ts";

export interface EnrolmentApiOptions {
  /** http:// or https:// addresses of the API, without a slash at the end, asked in turn. Those without TLS only where any certificate will do. */
  readonly urls: readonly string[];
  readonly proxyEnv: ProxyEnv;
  /** Take any certificate, and http:// addresses. */
  readonly insecureTls: boolean;
}

function problemOf(text: string): v.InferOutput<typeof ProblemSchema> | undefined {
  try {
    const parsed = v.safeParse(ProblemSchema, JSON.parse(text));
    return parsed.success ? parsed.output : undefined;
  } catch {
    return undefined;
  }
}

/** What an answer that is no success means: the control plane's own code and words, or CP_ANSWER. */
function errorOf(url: string, response: Response, text: string): TransporterError {
  const problem = problemOf(text);
  const after = /^\d{1,6}$/.exec(response.headers.get("retry-after") ?? "");
  const details = { status: response.status, ...(after === null ? {} : { retry_after_ms: Number(after[0]) * 1000 }) };
  if (problem !== undefined && isErrorCode(problem.code))
    return new TransporterError(problem.code, problem.detail, { details, remedy: problem.remedy });
  return new TransporterError("CP_ANSWER", `the control plane at ${url} answered HTTP ${response.status}`, {
    details,
    remedy:
      "This may not be a control plane that has identities; check --cp-url, which has to name its API, such as https://cp.example.com:8080.",
  });
}

/** Whether asking again later may end otherwise. What a gateway says in its own words of nobody behind it passes too. */
export function mayPass(error: TransporterError): boolean {
  if (error.kind === "unavailable" || error.kind === "timeout") return true;
  const { status } = error.details;
  return error.code === "CP_ANSWER" && typeof status === "number" && status >= 500;
}

/** The part of a control plane's API that agents use, over TLS that is checked against what they trust. Nothing is kept here. */
export class EnrolmentApi {
  readonly #options: EnrolmentApiOptions;
  /** The address that answered last. */
  #at = 0;

  constructor(options: EnrolmentApiOptions) {
    this.#options = options;
  }

  /**
   * The CA that an address shows, of which `pin` (`sha256:` and the hex SHA-256 of its SubjectPublicKeyInfo) is known: PEM of that one and no
   * other, since who stands between could add his own. The server is not checked, and nothing is told to it. Throws CA_MISMATCH.
   */
  async pinnedCa(pin: string, signal: AbortSignal): Promise<string> {
    const { pem, url } = await this.#inTurn(async (url) => {
      const response = await this.#fetch(`${url}/v1/ca`, { signal }, undefined, true);
      const text = await response.text();
      if (response.status !== 200) throw errorOf(url, response, text);
      return { pem: this.#bundleOf(url, text), url };
    });
    const found = certificatesOf(pem).filter(
      ({ publicKey }) =>
        `sha256:${createHash("sha256")
          .update(publicKey.export({ type: "spki", format: "der" }))
          .digest("hex")}` === pin,
    );
    if (found.length === 0)
      throw new TransporterError("CA_MISMATCH", `the control plane at ${url} has no CA with the hash ${pin}`, { details: { cp_url: url } });
    return found.map((certificate) => certificate.toString()).join("\n");
  }

  /** Asks for the agent's first certificate. `ca`: what to trust; undefined for the system's. Throws what the control plane refuses with. */
  enrol(request: EnrolmentRequest, bearer: string, ca: string | undefined, signal: AbortSignal): Promise<EnrolmentAnswer> {
    return this.#post("/v1/enrolments", request, ca, signal, { authorization: `Bearer ${bearer}` });
  }

  renew(request: RenewalRequest, ca: string, signal: AbortSignal): Promise<EnrolmentAnswer> {
    return this.#post("/v1/enrolments/renew", request, ca, signal, {});
  }

  #post(
    path: string,
    body: unknown,
    ca: string | undefined,
    signal: AbortSignal,
    headers: Readonly<Record<string, string>>,
  ): Promise<EnrolmentAnswer> {
    return this.#inTurn(async (url) => {
      const init: GuardedInit = {
        method: "POST",
        headers: { ...headers, "content-type": "application/json", accept: "application/json" },
        body: JSON.stringify(body),
        signal,
      };
      const response = await this.#fetch(url + path, init, ca, this.#options.insecureTls);
      const text = await response.text();
      if (response.status < 200 || response.status > 299) throw errorOf(url, response, text);
      const answer = v.safeParse(EnrolmentAnswerSchema, parsed(text));
      if (answer.success) return answer.output;
      throw new TransporterError("CP_ANSWER", `the answer of the control plane at ${url} is not understood`);
    });
  }

  #bundleOf(url: string, text: string): string {
    const answer = v.safeParse(CaSchema, parsed(text));
    try {
      if (answer.success && certificatesOf(answer.output.trust_bundle).length > 0) return answer.output.trust_bundle;
    } catch {
      // Told below.
    }
    throw new TransporterError("CP_ANSWER", `the control plane at ${url} names no CA that can be read`);
  }

  async #fetch(url: string, init: GuardedInit, ca: string | undefined, insecureTls: boolean): Promise<Response> {
    try {
      return await guardedFetch(url, init, { ...(ca === undefined ? {} : { ca }), insecureTls, proxyEnv: this.#options.proxyEnv });
    } catch (error) {
      if (!(error instanceof FetchFailed)) throw error;
      const { origin } = new URL(url);
      if (error.untrusted)
        throw new TransporterError(
          "CA_MISMATCH",
          `the control plane at ${origin} does not show a certificate of a CA that is trusted: ${error.message}`,
          {
            details: { cp_url: origin },
            remedy:
              "Check the address, which has to be among the names of its certificate, and --ca-hash or --ca-file. Nothing secret was sent.",
            cause: error,
          },
        );
      throw new TransporterError("CP_UNREACHABLE", `the control plane at ${origin} cannot be reached: ${error.message}`, { cause: error });
    }
  }

  /** One address after the other, from the one that answered last, until one answers with more than that it cannot now. */
  async #inTurn<T>(ask: (url: string) => Promise<T>): Promise<T> {
    const urls = this.#options.urls.filter((url) => this.#options.insecureTls || url.startsWith("https://"));
    let last: unknown;
    for (let tried = 0; tried < urls.length; tried += 1) {
      const url = urls[this.#at % urls.length] ?? "";
      try {
        return await ask(url);
      } catch (error) {
        if (!(error instanceof TransporterError) || !mayPass(error)) throw error;
        last = error;
        this.#at += 1;
      }
    }
    if (last instanceof Error) throw last;
    throw new TransporterError("CONFIG_INVALID", "no address is known where the control plane's API is asked over TLS", {
      remedy: "Give --cp-url the API's address, such as https://cp.example.com:8080; --insecure allows http:// and any certificate.",
    });
  }
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
