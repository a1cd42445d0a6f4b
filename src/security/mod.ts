/**
 * Who is asking, and whether they may: principals, roles and scopes; tokens, OIDC and client certificates for people and programs; the CA,
 * enrolment, renewal, proof and revocation for agents; and the guards around them. It keeps what it knows as documents of the store, so that
 * every control plane knows the same. It refuses by throwing `denied` errors, and what it refuses stands in the audit. It promises that no
 * secret leaves it again: a token is shown once, and only its hash is kept.
 */
export * from "./access.ts";
export { AttemptLimiter } from "./rate-limit.ts";
export { parseToken } from "./token-format.ts";
export { allows, demand, judge, needsLabels, type Verdict } from "./authorize.ts";
export * from "./browser-guard.ts";
export type { Documents } from "./documents.ts";
export { createEnrolment, type EnrolmentOptions } from "./enrolment.ts";
export * from "./gate.ts";
export { createIdentities, type IdentitiesOptions } from "./identities.ts";
export type { FetchText, OidcOptions, TrustedCluster } from "./issuers.ts";
export { type InitialisedTrust, type InitTrustOptions, type MadeTrust, initTrust, serverNameProblem } from "./init-trust.ts";
export { hasInstallation } from "./installation.ts";
export { type KeepTrustOptions, type KeptTrust, LOCAL_NAMES, keepTrust, seeTrust } from "./kept-trust.ts";
export { memoryDocuments } from "./memory-documents.ts";
export { type Certificate, channelOf, pinOf, readCertificates } from "./pki/certificate.ts";
export { csrSha256, makeCsr, makeKey } from "./pki/csr.ts";
export { signText, verifyText } from "./pki/signature.ts";
export * from "./principal.ts";
export { type Refusal, RefusalAudit } from "./refusal-audit.ts";
export { type RotatedTrust, type TrustPlace, retireTrust, retiringCas, rotateTrust } from "./rotate-trust.ts";
export { isScoped, matchesPattern } from "./scope.ts";
export { createSecurity, type SecurityOptions, type TrustFiles } from "./security.ts";
export { parseSelector, selects } from "./selector.ts";
export { createTrust, type Trust } from "./trust.ts";
export { ADMIN_TOKEN_ENTRY, type TrustVault, type VaultContent, initVault } from "./trust-vault.ts";
export { TrustedProxies } from "./trusted-proxies.ts";
