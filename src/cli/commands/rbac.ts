import { TransporterError } from "../../kit/mod.ts";
import { command } from "../command.ts";

export const agentRbac = command({
  summary: "Print the rights that an agent needs in its cluster",
  settings: {},
  examples: ["transporter agent rbac"],
  run: async () => {
    throw new TransporterError("USAGE", "this command does nothing yet");
  },
});
