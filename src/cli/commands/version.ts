import { choice, toggle } from "../../config/mod.ts";
import { TransporterError } from "../../kit/mod.ts";
import type { VersionView } from "../../protocol/mod.ts";
import { command } from "../command.ts";
import { CLIENT_SETTINGS, connect } from "../connect.ts";
import { EXIT } from "../exit.ts";
import { printData } from "../output.ts";
import { safeLine } from "../text.ts";
import { versionView } from "../version-view.ts";

const line = (view: VersionView): string =>
  `${view.version} (commit ${view.commit}, protocol ${view.protocol}, bun ${view.bun}, ${view.platform})`;

export const version = command({
  summary: "Print the version, and with --server or --cp-url the control plane's too",
  settings: {
    server: toggle(false, { describe: "Ask the control plane for its version as well", flagOnly: true }),
    output: choice(["json", "yaml"], { short: "o", describe: "Form of the output", flagOnly: true }),
    ...CLIENT_SETTINGS,
  },
  examples: ["transporter version", "transporter version -o json", "transporter version --cp-url http://localhost:8080"],
  run: async (call) => {
    const { values, origins, host, signal } = call;
    const client = versionView();
    const asksServer = values.server || origins["cp-url"].from === "flag" || origins.context.from === "flag";
    let server: VersionView | undefined;
    let fault: TransporterError | undefined;
    if (asksServer) {
      try {
        server = await (await connect(call)).version({ signal });
      } catch (error) {
        if (!(error instanceof TransporterError)) throw error;
        fault = error;
      }
    }
    if (values.output !== undefined) await printData(host.out, values.output, server === undefined ? { client } : { client, server });
    else {
      host.out.write(`${asksServer ? "Client: " : "transporter "}${line(client)}\n`);
      if (server !== undefined) host.out.write(`Server: ${safeLine(line(server))}\n`);
    }
    if (fault !== undefined) throw fault;
    return EXIT.ok;
  },
});
