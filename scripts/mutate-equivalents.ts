/** A change that no test can notice, and why. */
export interface Equivalent {
  readonly what: string;
  /** Part of what is changed. */
  readonly original: string;
  /** Part of the lines where it stands, to tell it from others. */
  readonly within?: string;
  readonly because: string;
}

/** By file of the room. Only what makes no difference: a check that only lacks its test does not belong here. */
export const EQUIVALENTS: Readonly<Record<string, readonly Equivalent[]>> = {
  "scope.ts": [
    { what: "condition true", original: "selector === undefined", because: "what is remembered is read again, with the same outcome" },
  ],
  "identity-issue.ts": [
    {
      what: "part left out",
      original: "record.revokedAtMs !== undefined",
      within: "<= record.revokedAtMs)",
      because: "no number is at most undefined: it stands there for the types alone",
    },
  ],
  "knock.ts": [
    { what: "condition false", original: "error instanceof TransporterError", because: "the limiter throws nothing else" },
    { what: "throw left out", original: "throw error;", because: "the limiter throws nothing else" },
  ],
  "pki/der.ts": [
    {
      what: "bound moved",
      original: "value > Number.MAX_SAFE_INTEGER / 128",
      because: "the bound is no whole number, and the value is one",
    },
  ],
  "pki/issue.ts": [
    {
      what: "condition false",
      original: "certificate === undefined",
      within: "was issued",
      because: "what was issued here can be read here",
    },
    { what: "throw left out", original: "that was issued cannot be read", because: "what was issued here can be read here" },
  ],
  "pki/signature.ts": [
    {
      what: "condition true",
      original: 'asymmetricKeyType === "ed25519"',
      because: "SHA-256 is what the runtime takes for ECDSA and RSA where nothing is said, too",
    },
  ],
};
