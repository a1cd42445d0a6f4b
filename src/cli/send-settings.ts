import { OUTPUT_SETTINGS } from "./output.ts";
import { choice, choiceOr, duration, integer, integerOr, maybe, pairs, text, textOr } from "../config/mod.ts";
import { LIMITS, idProblem } from "../protocol/mod.ts";
import { CLIENT_SETTINGS } from "./connect.ts";

const ttlBounds = { min: LIMITS.ttlMinMs, max: LIMITS.ttlMaxMs } as const;
const checkId = (id: string): string | undefined =>
  id === "" || idProblem(id) !== undefined ? "1 to 253 characters, none of them a control character" : undefined;

/** What `send k8s` and `send from-file` share: 0.1's flags and ours. Most belong to one call, so only the flag can set them. */
export const SEND_SETTINGS = {
  agent: text({ describe: "Agent that is to do it", hint: "ID", flagOnly: true, completes: "agent", check: checkId }),
  id: text({ describe: "Id of the event; a new UUID when not given", hint: "ID", flagOnly: true, check: checkId }),
  name: text({ describe: "A name for people, kept as the label `name`", hint: "NAME", flagOnly: true }),
  label: pairs({ short: "l", describe: "Label of the event; repeatable", flagOnly: true }),
  ttl: duration({ describe: "How long it may wait for its start; 24h when nothing is said", flagOnly: true, ...ttlBounds }),
  deadline: duration({ describe: "How long the execution may take; 1h when nothing is said", flagOnly: true, ...ttlBounds }),
  priority: integer({
    describe: "Higher goes first; 0 when nothing is said",
    min: -LIMITS.priorityAbs,
    max: LIMITS.priorityAbs,
    flagOnly: true,
  }),
  "created-by": text({ describe: "Who sends it, a claim for the record; `cli` when nothing is said", hint: "NAME", flagOnly: true }),
  wait: maybe({ describe: "Wait for the end and show the way there; without it only on a terminal", flagOnly: true }),
  "wait-timeout": duration({ describe: "How long to wait at most", min: 1, max: LIMITS.ttlMaxMs, flagOnly: true }),
  "dry-run": choice(["client"], { describe: "Check here, print the event, and send nothing", flagOnly: true }),
  ...OUTPUT_SETTINGS,
  mode: choiceOr("http", ["http", "memphis"], {
    describe: "How to hand it in; memphis is not available in this version yet",
    flagOnly: true,
  }),
  "memphis-host": text({ describe: "Memphis broker", hint: "HOST:PORT" }),
  "memphis-username": textOr("root", { describe: "Memphis user", hint: "NAME" }),
  "memphis-password": text({ describe: "Password of that user", hint: "SECRET", secret: true }),
  "memphis-connection-token": text({ describe: "Connection token, instead of user and password", hint: "SECRET", secret: true }),
  "memphis-station": textOr("transporter-events", { describe: "Memphis station", hint: "NAME" }),
  "memphis-account-id": integerOr(1, { describe: "Memphis account", min: 0, max: 2_147_483_647 }),
  ...CLIENT_SETTINGS,
} as const;
export type SendSettings = typeof SEND_SETTINGS;
