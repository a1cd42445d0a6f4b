import { command } from "../command.ts";
import { completionModel } from "../completion-model.ts";
import { EXIT } from "../exit.ts";

export const completion = command({
  summary: "Print a completion script for bash, zsh or fish",
  settings: {},
  positional: { name: "SHELL", describe: "the shell", min: 1, max: 1, choices: ["bash", "zsh", "fish"] },
  examples: [
    "source <(transporter completion bash)",
    'transporter completion zsh > "${fpath[1]}/_transporter"',
    "transporter completion fish > ~/.config/fish/completions/transporter.fish",
  ],
  run: async (call) => {
    const model = await completionModel();
    const [shell] = call.positionals;
    if (shell === "zsh") call.host.out.write((await import("../completion-zsh.ts")).zshScript(model));
    else if (shell === "fish") call.host.out.write((await import("../completion-fish.ts")).fishScript(model));
    else call.host.out.write((await import("../completion-bash.ts")).bashScript(model));
    return EXIT.ok;
  },
});
