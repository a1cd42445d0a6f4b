import { TransporterError } from "../../kit/mod.ts";
import { command } from "../command.ts";

export const cpCaRotate = command({
  summary: "Begin with a new CA beside the old one",
  settings: {},
  examples: ["transporter cp ca rotate"],
  run: async () => {
    throw new TransporterError("USAGE", "this command does nothing yet");
  },
});

export const cpCaRetire = command({
  summary: "Stop trusting the old CA",
  settings: {},
  examples: ["transporter cp ca retire"],
  run: async () => {
    throw new TransporterError("USAGE", "this command does nothing yet");
  },
});
