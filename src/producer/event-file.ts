import { TransporterError } from "../kit/mod.ts";

// The spellings that 0.1's YAML reader took: Go's field names in lower case.
const OLD_EVENT_KEYS: Readonly<Record<string, string>> = { targetagent: "target_agent", createdat: "created_at", createdby: "created_by" };
const OLD_PAYLOAD_KEYS: Readonly<Record<string, string>> = { policyrules: "policy_rules" };

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function renamed(record: Record<string, unknown>, names: Readonly<Record<string, string>>, from: string): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(record)) {
    const name = Object.hasOwn(names, key) ? (names[key] ?? key) : key;
    if (name !== key && Object.hasOwn(record, name))
      throw new TransporterError("INVALID_EVENT", `${from}: "${key}" and "${name}" are the same field; keep "${name}"`);
    // A key of `__proto__` must arrive where it is refused by name, not set a prototype.
    Object.defineProperty(out, name, { value, enumerable: true, configurable: true, writable: true });
  }
  return out;
}

/**
 * Reads an event file, JSON or YAML, with 0.1's spellings brought to the wire's. The event itself is not checked here. Throws
 * INVALID_EVENT, naming file, line and column where the text cannot be read, or where it is not one map.
 */
export async function parseEventFile(text: string, from: string): Promise<Record<string, unknown>> {
  const value = await parseText(text, from);
  if (!isRecord(value))
    throw new TransporterError("INVALID_EVENT", `${from}: an event file holds one map with id, type, target_agent and payload`, {
      remedy: "examples/events/sample-k8s-event.yaml shows one. To send manifests as they are, use `transporter send k8s -f`.",
    });
  if (typeof value["apiVersion"] === "string" && typeof value["kind"] === "string")
    throw new TransporterError("INVALID_EVENT", `${from} is a Kubernetes manifest (${value["kind"]}), not an event`, {
      remedy: `Send it with \`transporter send k8s --agent ID -f ${from}\`.`,
    });
  const event = renamed(value, OLD_EVENT_KEYS, from);
  if (isRecord(event["payload"])) event["payload"] = renamed(event["payload"], OLD_PAYLOAD_KEYS, from);
  return event;
}

async function parseText(text: string, from: string): Promise<unknown> {
  try {
    return JSON.parse(text);
  } catch {
    // Not JSON: YAML then, whose parser also says best where a broken JSON breaks.
  }
  const { isAlias, isCollection, isNode, isScalar, LineCounter, parseDocument, visit } = await import("yaml");
  const lines = new LineCounter();
  const document = parseDocument(text, { lineCounter: lines, prettyErrors: false });
  const fault = document.errors[0];
  if (fault !== undefined) {
    const at = lines.linePos(fault.pos[0]);
    throw new TransporterError("INVALID_EVENT", `${from}:${at.line}:${at.col}: neither JSON nor YAML: ${fault.message}`);
  }
  // No field has such a name, and a kilobyte of them, one inside the other, takes a minute to turn into text.
  visit(document, {
    Pair(_, { key }) {
      const name = isAlias(key) ? key.resolve(document) : key;
      const plain = !isCollection(name) && (!isScalar(name) || typeof name.value !== "object" || name.value === null);
      if (plain) return;
      const at = lines.linePos((isNode(key) ? key.range?.[0] : undefined) ?? 0);
      throw new TransporterError("INVALID_EVENT", `${from}:${at.line}:${at.col}: a field's name is a text, not a list, a map or bytes`);
    },
  });
  try {
    return document.toJS({ maxAliasCount: 100 });
  } catch (error) {
    throw new TransporterError("INVALID_EVENT", `${from}: its aliases cannot be resolved`, { cause: error });
  }
}
