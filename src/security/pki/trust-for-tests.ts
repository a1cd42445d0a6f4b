import type { TlsMaterial } from "../gate.ts";
import type { Trust } from "../trust.ts";
import { type Certificate, pinOf } from "./certificate.ts";
import { NO_REVOCATIONS } from "./crl.ts";
import type { TrustState } from "./trust-state.ts";
import type { Made } from "./certificates-for-tests.ts";
import { createPrivateKey } from "node:crypto";

const NO_TLS: TlsMaterial = { cert: "", key: "", clientCas: "", channel: "tls-server-end-point:00" };

/** What files would say: the first of `cas` issues, unless `issues` is false. */
export function stateOf(cas: readonly Made[], more: { readonly issues?: boolean } & Partial<TrustState> = {}): TrustState {
  const [first] = cas;
  const { issues = true, ...rest } = more;
  const certificates = cas.map(({ certificate }): Certificate => certificate);
  return {
    cas: certificates,
    bundle: { pem: cas.map(({ pem }) => pem).join(""), pins: certificates.map(pinOf) },
    issuer: first !== undefined && issues ? { certificate: first.certificate, key: createPrivateKey(first.keyPem), chain: [] } : undefined,
    server: [],
    tls: NO_TLS,
    revocations: NO_REVOCATIONS,
    clientCas: [],
    adminTokens: [],
    enrolmentTokens: [],
    ...rest,
  };
}

/** A trust without files: it changes when a test says so. */
export function trustForTests(first: TrustState): Trust & { change: (state: TrustState) => void } {
  let state = first;
  const listeners = new Set<() => void>();
  return {
    state: () => state,
    bundle: () => state.bundle,
    tls: () => state.tls ?? NO_TLS,
    adminTokens: () => state.adminTokens,
    enrolmentTokens: () => state.enrolmentTokens,
    clientCas: () => state.clientCas,
    findings: () => [],
    onChange: (listener) => {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
    reload: () => Promise.resolve(),
    named: () => Promise.resolve(),
    settled: () => Promise.resolve(),
    start: () => undefined,
    stop: () => undefined,
    change(next) {
      state = next;
      for (const listener of listeners) listener();
    },
  };
}
