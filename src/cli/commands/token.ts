import { PEOPLES_ROLES, choice, duration, list, pairs, text } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import { type CreatedToken, EventTypeSchema, LIMITS, NS_PER_MS, type TokenRequest, type TokenView } from "../../protocol/mod.ts";
import { type Call, command } from "../command.ts";
import { CLIENT_SETTINGS, clientFor, connect, findTarget } from "../connect.ts";
import { forEach } from "../each.ts";
import { caHashFor, enrolLines } from "../enrol-lines.ts";
import { EXIT } from "../exit.ts";
import { OUTPUT_SETTINGS, outputOf, printData, printList } from "../output.ts";
import { remaining, scopeText, tokenShape } from "../security-shapes.ts";
import { safeLine } from "../text.ts";

const CREATE_SETTINGS = {
  agent: text({
    describe: "Let this agent enrol, once: its id, or a pattern such as shop-* that its id must match",
    hint: "ID|PATTERN",
    flagOnly: true,
    completes: "agent",
  }),
  label: pairs({ describe: "With --agent: label of that agent, whatever it says of itself; repeatable", flagOnly: true }),
  role: choice(PEOPLES_ROLES, { describe: "For people and programs: what it may do", flagOnly: true }),
  name: text({ describe: "With --role: name for it; made up when not given", hint: "NAME", flagOnly: true }),
  agents: list({ describe: "With --role: only for agents of these ids or patterns", hint: "PATTERN", flagOnly: true }),
  selector: text({
    describe: "With --role: only for agents with these labels, such as env=test,tier in (web)",
    hint: "SELECTOR",
    flagOnly: true,
  }),
  types: list({
    describe: `With --role: only for events of these types (${EventTypeSchema.options.join(", ")})`,
    hint: "TYPE",
    flagOnly: true,
    check: (type) => (EventTypeSchema.options.some((known) => known === type) ? undefined : EventTypeSchema.options.join(", ")),
  }),
  ttl: duration({
    describe: "How long it is good; 15m for an agent, 2160h for people when nothing is said",
    min: 1000,
    max: LIMITS.ttlMaxMs,
    flagOnly: true,
  }),
  output: choice(["table", "token", "json", "yaml"], {
    short: "o",
    describe: "Form of the output; on a terminal table (for an agent the two lines that enrol it), else the token alone",
    flagOnly: true,
  }),
  ...CLIENT_SETTINGS,
} as const;
type CreateCall = Call<typeof CREATE_SETTINGS>;

const OF_PEOPLE = ["role", "name", "agents", "selector", "types"] as const;

function requestOf({ values, origins }: CreateCall): TokenRequest {
  const ttl = values.ttl === undefined ? {} : { ttl: values.ttl * NS_PER_MS };
  const given = (name: keyof typeof CREATE_SETTINGS): boolean => origins[name].from !== "default";
  if (values.agent !== undefined) {
    const other = OF_PEOPLE.find(given);
    if (other !== undefined)
      throw new TransporterError("USAGE", `--agent and --${other}: a token either lets an agent enrol, or is for people and programs`, {
        remedy: "Give --agent ID for an agent. For people give --role ROLE, and --agents for which agents it may be used.",
      });
    return { kind: "enrolment", agent: values.agent, ...(given("label") ? { labels: { ...values.label } } : {}), ...ttl };
  }
  if (given("label"))
    throw new TransporterError("USAGE", "--label needs --agent: the labels are an agent's", {
      remedy: "For people give --selector, which says what labels an agent must have.",
    });
  if (values.role === undefined)
    throw new TransporterError(
      "USAGE",
      "say whom the token is for: --agent ID lets an agent enrol, --role ROLE is for people and programs",
      {
        remedy: `Roles are ${PEOPLES_ROLES.join(", ")}.`,
      },
    );
  const scope = {
    ...(values.agents.length === 0 ? {} : { agents: [...values.agents] }),
    ...(values.selector === undefined ? {} : { selector: values.selector }),
    ...(values.types.length === 0 ? {} : { event_types: EventTypeSchema.options.filter((type) => values.types.includes(type)) }),
  };
  return {
    kind: "user",
    role: values.role,
    ...(values.name === undefined ? {} : { name: values.name }),
    ...(Object.keys(scope).length === 0 ? {} : { scope }),
    ...ttl,
  };
}

export const tokenCreate = command({
  summary: "Make a token: for an agent to enrol with, or for people and programs",
  description:
    "The token is shown this once; the control plane keeps only its hash. Nobody can make a token that may more than they may themselves.",
  settings: CREATE_SETTINGS,
  examples: [
    "transporter token create --agent agent-1",
    "transporter token create --agent 'shop-*' --label env=prod --ttl 1h -o token",
    "transporter token create --role producer --name ci --agents 'shop-*' --ttl 720h -o token > ci.token",
  ],
  run: async (call) => {
    const { host, signal, ports, values } = call;
    const request = requestOf(call);
    const target = await findTarget(call);
    const client = await clientFor(target, call);
    const created = await client.createToken(request, { signal });
    const format = values.output ?? (host.out.isTerminal ? "table" : "token");
    if (format === "json" || format === "yaml") await printData(host.out, format, created);
    else if (format === "token" || created.kind === "user") host.out.write(`${created.token}\n`);
    else {
      // The token is made, and shown now or never: what cannot be found out is left out of the line.
      const caHash = await caHashFor(client, target, signal).catch(() => undefined);
      const agent = created.agent ?? "NAME";
      host.out.write(enrolLines({ token: created.token, agent, url: target.url, caHash }));
      if (agent.includes("*")) call.note(`NAME: any id that fits ${agent}.`);
    }
    call.note(summaryOf(created, ports.clock.now()));
    return EXIT.ok;
  },
});

function summaryOf(token: CreatedToken, nowMs: number): string {
  const what =
    token.kind === "enrolment"
      ? `lets one agent (${token.agent ?? ""}) enrol, once`
      : `${token.name}: role ${token.role ?? ""}, for ${scopeText(token.scope)}`;
  return `token/${token.id} ${what}; it ends in ${remaining(token.expires_at, nowMs)} and is not shown again.`;
}

export const tokenList = command({
  summary: "List tokens, with what they may and when they were last used; never the tokens themselves",
  settings: {
    kind: choice(["user", "enrolment"], { describe: "Only tokens of this kind", flagOnly: true }),
    ...OUTPUT_SETTINGS,
    ...CLIENT_SETTINGS,
  },
  examples: ["transporter token list", "transporter token list --kind enrolment -o wide"],
  run: async (call) => {
    const { host, ports, signal, values } = call;
    const client = await connect(call);
    const items: TokenView[] = [];
    let cursor: string | undefined;
    do {
      const page = await client.listTokens({ kind: values.kind, limit: LIMITS.pageMax, cursor }, { signal });
      items.push(...page.items);
      cursor = page.next_cursor;
    } while (cursor !== undefined);
    const output = outputOf(values);
    await printList(host.out, output, tokenShape(ports.clock.now()), items);
    if (items.length === 0 && (output.format === "table" || output.format === "wide")) call.note("No tokens found.");
    return EXIT.ok;
  },
});

export const tokenRevoke = command({
  summary: "End tokens, at once",
  description:
    "They count no more, on all control planes and on open streams. An agent that enrolled with one stays; `transporter agents revoke` ends it.",
  settings: CLIENT_SETTINGS,
  positional: { name: "TOKEN-ID", describe: "public ids of the tokens: the part between the first and the second _", min: 1, max: 1000 },
  examples: ["transporter token revoke 2fE0pLxQ7aNw"],
  run: async (call) => {
    const client = await connect(call);
    return forEach(call, async (id) => {
      const { name } = await client.revokeToken(id, { signal: call.signal });
      call.host.out.write(`token/${safeLine(id)} revoked (${safeLine(name)})\n`);
    });
  },
});
