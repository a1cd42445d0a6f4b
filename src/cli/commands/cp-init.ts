import { TransporterError } from "../../kit/mod.ts";
import { command } from "../command.ts";

export const cpInit = command({
  summary: "Make a CA, a server certificate and the first admin token",
  settings: {},
  examples: ["transporter cp init"],
  run: async () => {
    throw new TransporterError("USAGE", "this command does nothing yet");
  },
});
