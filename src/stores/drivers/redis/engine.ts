import { createHash } from "node:crypto";
import { judgeStatus, LIMITS, NEXT_STATES, OPEN_STATES, type State } from "../../../protocol/mod.ts";
import { GRACE_MS } from "../../ending.ts";
import { STATE_CODES, STATES } from "./codes.ts";
import agents from "./lua/agents.lua" with { type: "text" };
import core from "./lua/core.lua" with { type: "text" };
import delivery from "./lua/delivery.lua" with { type: "text" };
import documents from "./lua/documents.lua" with { type: "text" };
import endings from "./lua/endings.lua" with { type: "text" };
import handling from "./lua/handling.lua" with { type: "text" };
import listing from "./lua/listing.lua" with { type: "text" };
import main from "./lua/main.lua" with { type: "text" };
import payloads from "./lua/payloads.lua" with { type: "text" };
import waiting from "./lua/waiting.lua" with { type: "text" };

/** Answers of writing calls that are kept for each client: more than are ever on their way at once. */
export const KEPT_ANSWERS = 64;
const KEPT_MS = 120_000;

const OPEN: ReadonlySet<State> = new Set<State>(OPEN_STATES);

/** A Lua list of what each state is given; states are told by their number. */
function byState(of: (state: State) => string): string {
  return `{ ${STATES.map((state) => of(state)).join(", ")} }`;
}

/** States as digits in a text: a table of tables would be made anew in each call. */
function digits(states: readonly State[]): string {
  return JSON.stringify(states.map((state) => STATE_CODES[state]).join(""));
}

// What the protocol says stands in one place; the script is given it.
const PRELUDE = `
local STATES = ${byState((state) => JSON.stringify(state))}
local CREATED, QUEUED, ASSIGNED, IN_PROGRESS, COMPLETED, FAILED, EXPIRED, CANCELLED = 1, 2, 3, 4, 5, 6, 7, 8
local SIDE = { "q", "q", "f", "f" }
local ENTERED = { 1, 2, 4, 8 }
local OPEN = ${byState((state) => String(OPEN.has(state)))}
local NEXT = ${byState((state) => digits(NEXT_STATES[state]))}
local TOLD = ${byState((from) => digits(STATES.filter((state) => judgeStatus({ state: from }, { state }) === "apply")))}
local GRACE_MS, DEADLINE_MS, CLOCK_SLACK_MS = ${GRACE_MS}, ${LIMITS.deadlineDefaultMs}, ${24 * 3_600_000}
local EARLIER_BOOTS, MOST_PUT_OFF, RELEASED_AT_ONCE = 32, 64, 250
local KEPT_ANSWERS, KEPT_MS = ${KEPT_ANSWERS}, ${KEPT_MS}
`;

/** What is asked seldom is made only in the calls that ask for it: a call makes all functions anew. */
function seldom(parts: readonly string[]): string {
  return `local function cold(ops, looks)\n${parts.map((part) => `(function()\n${part}\nend)();`).join("\n")}\nend`;
}

/** The whole engine: what one call of it does is told in `core.lua` and `main.lua`. */
export const ENGINE: string = [
  PRELUDE,
  core,
  delivery,
  handling,
  waiting,
  seldom([endings, agents, listing, payloads, documents]),
  main,
].join("\n");
export const ENGINE_SHA: string = createHash("sha1").update(ENGINE).digest("hex");
