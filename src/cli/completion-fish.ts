import { type CompletionFlag, type CompletionNode, aliasesOf } from "./completion-model.ts";

const quoted = (text: string): string => `'${text.replaceAll("\\", "\\\\").replaceAll("'", "\\'")}'`;

function valueArguments({ choices, completes }: Pick<CompletionFlag, "choices" | "completes">): string {
  if (choices.length > 0) return `-xa ${quoted(choices.join(" "))}`;
  switch (completes) {
    case "file":
      return "-rF";
    case "dir":
      return "-xa '(__fish_complete_directories)'";
    case "agent":
    case "event":
    case "context":
      return `-xa '(__transporter_asked ${completes})'`;
    case undefined:
      return "-x";
  }
}

/** A completion script for fish 3 and later. */
export function fishScript(nodes: readonly CompletionNode[]): string {
  const valueFlags = nodes.flatMap((node) => {
    const words = node.flags
      .filter((flag) => flag.takesValue)
      .flatMap((flag) => [`--${flag.name}`, ...(flag.short === undefined ? [] : [`-${flag.short}`])]);
    return words.length === 0
      ? []
      : [`        case ${quoted(node.path)}\n            contains -- $argv[1] ${words.join(" ")}; and return 0`];
  });
  const walk = [
    ...aliasesOf(nodes).map(([from, to]) => `                case ${quoted(from)}\n                    set where ${quoted(to)}`),
    ...nodes
      .filter((node) => node.path !== "")
      .map((node) => `                case ${quoted(node.path)}\n                    set where ${quoted(node.path)}`),
  ];
  const lines = nodes.flatMap((node) => {
    const at = `complete -c transporter -n ${quoted(`__transporter_at ${quoted(node.path)}`)}`;
    return [
      ...node.children.flatMap((child) => child.names.map((name) => `${at} -fa ${quoted(name)} -d ${quoted(child.describe)}`)),
      ...(node.choices.length > 0 ? [`${at} -fa ${quoted(node.choices.join(" "))}`] : []),
      ...(node.completes === undefined
        ? node.children.length === 0
          ? [`${at} -f`]
          : []
        : [`${at} ${valueArguments({ choices: [], completes: node.completes }).replace("-x", "-f")}`]),
      ...node.flags.map(
        (flag) =>
          `${at} -l ${flag.name}${flag.short === undefined ? "" : ` -s ${flag.short}`} ${flag.takesValue ? valueArguments(flag) : "-f"} -d ${quoted(flag.describe)}`,
      ),
    ];
  });
  return `# fish completion for transporter. Load it with: transporter completion fish | source

function __transporter_asked
    switch $argv[1]
        case agent
            transporter get agents -o name 2>/dev/null | string replace -r '^[^/]*/' ''
        case event
            transporter get events -o name 2>/dev/null | string replace -r '^[^/]*/' ''
        case context
            transporter context list -o name 2>/dev/null | string replace -r '^[^/]*/' ''
    end
end

function __transporter_takes_value
    switch "$argv[2]"
${valueFlags.join("\n")}
    end
    return 1
end

function __transporter_at
    set -l tokens (commandline -opc)
    set -l where ''
    set -l skip 0
    for token in $tokens[2..-1]
        if test $skip = 1
            set skip 0
        else if string match -q -- '-*' $token
            if not string match -q -- '*=*' $token; and __transporter_takes_value $token "$where"
                set skip 1
            end
        else
            switch (string trim "$where $token")
${walk.join("\n")}
            end
        end
    end
    test "$where" = "$argv[1]"
end

${lines.join("\n")}
`;
}
