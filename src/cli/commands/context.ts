import { CONTEXT_NAME, apiUrl, didYouMean, text, toggle } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import { command } from "../command.ts";
import { type Context, contextNamed, readContexts, writeContexts } from "../contexts.ts";
import { credentialNamed, readCredentials, writeCredential } from "../credentials.ts";
import { EXIT } from "../exit.ts";
import { OUTPUT_SETTINGS, type Shape, outputOf, printList } from "../output.ts";
import { safeLine } from "../text.ts";

const one = { name: "NAME", describe: "name of the context", min: 1, max: 1, completes: "context" } as const;

function missing(name: string, names: readonly string[]): TransporterError {
  return new TransporterError("CONFIG_INVALID", `there is no context ${JSON.stringify(name)}.${didYouMean(name, names)}`, {
    remedy: "`transporter context list` shows them.",
  });
}

export const contextAdd = command({
  summary: "Add or change a context",
  description: "A context keeps the address of a control plane. The first one becomes the current one by itself.",
  settings: {
    "cp-url": text({ describe: "Address of the control plane (required)", hint: "URL", flagOnly: true }),
    "ca-file": text({ describe: "PEM file of the CA that signed its certificate", hint: "FILE", flagOnly: true, completes: "file" }),
    use: toggle(false, { describe: "Make it the current one", flagOnly: true }),
  },
  positional: { ...one, describe: "name of the context: letters, digits, dot, dash and underscore" },
  examples: ["transporter context add prod --cp-url https://transporter.example.com --ca-file ca.pem --use"],
  run: async (call) => {
    const name = call.positionals[0] ?? "";
    const { values } = call;
    if (!CONTEXT_NAME.test(name))
      throw new TransporterError("USAGE", `${JSON.stringify(name)} cannot be the name of a context`, {
        remedy: "Use letters, digits, dot, dash and underscore, at most 63.",
      });
    if (values["cp-url"] === undefined)
      throw new TransporterError("USAGE", "--cp-url is required: a context keeps the address of a control plane");
    const url = apiUrl(values["cp-url"]);
    if (url === undefined)
      throw new TransporterError("USAGE", `flag --cp-url: ${JSON.stringify(values["cp-url"])} is not an http:// or https:// address`, {
        remedy: "Give it like https://transporter.example.com, without user, query or fragment.",
      });
    const contexts = await readContexts(call.places);
    const context: Context = { cp_url: url };
    if (values["ca-file"] !== undefined) {
      const { resolve } = await import("node:path");
      context.ca_file = resolve(values["ca-file"]);
    }
    const existed = contextNamed(contexts, name) !== undefined;
    const current = values.use || contexts.current === undefined ? name : contexts.current;
    await writeContexts(call.places, { ...contexts, current, contexts: { ...contexts.contexts, [name]: context } }, call.ports.ids.uuid());
    call.host.out.write(`context/${name} ${existed ? "changed" : "added"}${current === name ? " (current)" : ""}\n`);
    return EXIT.ok;
  },
});

export const contextUse = command({
  summary: "Make a context the current one",
  settings: {},
  positional: one,
  examples: ["transporter context use prod"],
  run: async (call) => {
    const name = call.positionals[0] ?? "";
    const contexts = await readContexts(call.places);
    if (contextNamed(contexts, name) === undefined) throw missing(name, Object.keys(contexts.contexts));
    await writeContexts(call.places, { ...contexts, current: name }, call.ports.ids.uuid());
    call.host.out.write(`context/${safeLine(name)} is the current one\n`);
    return EXIT.ok;
  },
});

export const contextRemove = command({
  summary: "Remove a context",
  settings: {},
  positional: one,
  examples: ["transporter context remove old"],
  run: async (call) => {
    const name = call.positionals[0] ?? "";
    const contexts = await readContexts(call.places);
    if (contextNamed(contexts, name) === undefined) throw missing(name, Object.keys(contexts.contexts));
    const { [name]: _removed, ...rest } = contexts.contexts;
    const { current, ...others } = contexts;
    const kept = current === undefined || current === name ? {} : { current };
    await writeCredential(call.places, name, undefined, call.ports.ids.uuid());
    await writeContexts(call.places, { ...others, ...kept, contexts: rest }, call.ports.ids.uuid());
    call.host.out.write(`context/${safeLine(name)} removed\n`);
    return EXIT.ok;
  },
});

interface Listed {
  readonly name: string;
  readonly current: boolean;
  readonly cp_url: string;
  readonly ca_file?: string | undefined;
  /** What is shown there. */
  readonly login?: "token" | "certificate";
}

const LIST_SHAPE: Shape<Listed> = {
  name: (context) => `context/${context.name}`,
  columns: [
    { head: "CURRENT", cell: (context) => (context.current ? "*" : " ") },
    { head: "NAME", cell: (context) => context.name },
    { head: "CP URL", cell: (context) => context.cp_url },
    { head: "LOGIN", cell: (context) => context.login ?? "" },
    { head: "CA FILE", cell: (context) => context.ca_file ?? "" },
  ],
};

export const contextList = command({
  summary: "List contexts",
  settings: OUTPUT_SETTINGS,
  examples: ["transporter context list"],
  run: async (call) => {
    const contexts = await readContexts(call.places);
    const saved = await readCredentials(call.places);
    const items = Object.entries(contexts.contexts)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, context]): Listed => {
        const login =
          credentialNamed(saved, name)?.cp_url === context.cp_url ? "token" : context.client_cert === undefined ? undefined : "certificate";
        return {
          name,
          current: name === contexts.current,
          cp_url: context.cp_url,
          ...(context.ca_file === undefined ? {} : { ca_file: context.ca_file }),
          ...(login === undefined ? {} : { login }),
        };
      });
    await printList(call.host.out, outputOf(call.values), LIST_SHAPE, items);
    if (items.length === 0) call.note("No contexts yet; `transporter context add NAME --cp-url URL` makes one.");
    return EXIT.ok;
  },
});
