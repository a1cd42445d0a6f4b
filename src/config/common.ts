import { choice, list, text, toggle } from "./setting.ts";

/** What every command takes. */
export const COMMON_SETTINGS = {
  config: text({
    describe: "Configuration file (YAML); without it $HOME/.transporter.yaml where that exists",
    hint: "FILE",
    completes: "file",
  }),
  debug: toggle(false, { describe: "Log debug messages, and show the causes of errors" }),
} as const;

/** What the commands that run as a service take besides. */
export const LOG_SETTINGS = {
  "log-format": choice(["text", "json"], {
    describe: "Form of the log on standard error; text on a terminal, json otherwise",
  }),
} as const;

export const DEFAULT_CP_URL = "http://localhost:8080";

/** What the commands that talk to a control plane take. `cp-url` may also be written as the agent's (ws://…/ws). */
export const CONNECTION_SETTINGS = {
  "cp-url": list({
    describe: `Address of the control plane; without it that of the context, or ${DEFAULT_CP_URL}. Of several, separated by commas or by repeating the flag, the first that answers is asked`,
    hint: "URL",
  }),
  context: text({ describe: "Use this context of `transporter context` instead of the current one", hint: "NAME", completes: "context" }),
  "ca-file": text({ describe: "PEM file of the CA that signed the control plane's certificate", hint: "FILE", completes: "file" }),
  "token-file": text({
    describe:
      "File that holds the token to show, - for standard input; instead of what `transporter login` keeps. Also by TRANSPORTER_TOKEN itself, never as an argument",
    hint: "FILE",
    completes: "file",
  }),
  "client-cert": text({
    describe: "PEM file of a client certificate to log in with instead of a token, with what leads to its CA",
    hint: "FILE",
    completes: "file",
  }),
  "client-key": text({ describe: "PEM file of that certificate's key, which never leaves this machine", hint: "FILE", completes: "file" }),
  insecure: toggle(false, {
    describe: "Show the token even where others can read it: over http to another machine, or while NODE_TLS_REJECT_UNAUTHORIZED=0 is set",
    flagOnly: true,
  }),
} as const;

/** What a context may be called; it is the name of a file too. */
export const CONTEXT_NAME: RegExp = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** The hash of a CA's key, as `transporter cp init` prints it and `openssl` computes it. */
export const CA_HASH: RegExp = /^sha256:[0-9a-f]{64}$/i;

/** Tokens come by these; no flag takes one. */
export const TOKEN_VARIABLE = "TRANSPORTER_TOKEN";
export const ENROLMENT_TOKEN_VARIABLE = "TRANSPORTER_ENROLMENT_TOKEN";

export const OUTPUT_FORMATS = ["table", "wide", "json", "yaml", "name"] as const;
export type OutputFormat = (typeof OUTPUT_FORMATS)[number];
